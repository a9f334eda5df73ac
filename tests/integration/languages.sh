#!/usr/bin/env bash
# languages.sh - outbox.append() from other languages: the examples of the manual, lib/examples/*, run
# against a real server; and the C library called without a compiler.
#
# Each language is skipped, with the reason, where it or its driver cannot be had. Drivers are fetched
# once into .cache/drivers.
set -euo pipefail
# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

cache=$root/.cache/drivers
python_driver='psycopg>=3.1,<4'
java_driver=42.7.8
examples=$root/lib/examples
mkdir -p "$cache"

# A server with a port: not every driver knows unix sockets.
"$pg" start "$dir/pg" listen=auto >/dev/null
"$pg" schema "$dir/pg"
dsn=$("$pg" conninfo "$dir/pg" tcp)
port=$(<"$dir/pg/port")
sql "create table orders (id bigint primary key, item text)"

order=0
# run_example NAME COMMAND...: the command with an order's number stores order and event; with the same
# number again it fails, and there is no second event.
run_example() {
    local name=$1 said status=0
    shift
    order=$((order + 1 + RANDOM)) # none has the one of another
    if ! said=$("$@" "$order" 2>"$dir/said"); then
        not_ok "${name}_stores_an_order_and_its_event" "$(tail -n 3 "$dir/said" | tr '\n' ' ')"
        return
    fi
    equal "${name}_stores_an_order_and_its_event" \
        "$said|orders|$order|com.example.order.placed|application/json|[[\"tenant\", \"eu\"]]|$order|book" \
        "$(sql "select event_id, topic, convert_from(key, 'UTF8'), type, content_type, headers,
                convert_from(payload, 'UTF8')::json ->> 'order', convert_from(payload, 'UTF8')::json ->> 'item'
                from outbox.event join orders on convert_from(key, 'UTF8') = orders.id::text
                where orders.id = $order")"
    "$@" "$order" >"$dir/said" 2>&1 || status=$?
    holds "${name}_fails_when_the_order_cannot_be_stored" test "$status" -ne 0
    equal "${name}_leaves_no_event_of_an_order_that_failed" 1 \
        "$(sql "select count(*) from outbox.event where key = convert_to('$order', 'UTF8')")"
    sql "delete from orders where id = $order" >/dev/null
}

# fetch_python: into a directory of its own, with the libpq that is here
fetch_python() {
    [[ ! -e $cache/python/psycopg ]] || return 0
    command -v python3 >/dev/null || { echo 'python3 is not installed'; return 1; }
    rm -rf "$cache/python"
    python3 -m pip install --quiet --disable-pip-version-check --no-compile --target "$cache/python" \
        "$python_driver" >"$dir/fetch" 2>&1 || { echo "pip cannot fetch psycopg: $(last "$dir/fetch")"; return 1; }
}

fetch_java() {
    [[ ! -e $cache/postgresql-$java_driver.jar ]] || return 0
    command -v java >/dev/null || { echo 'java is not installed'; return 1; }
    command -v mvn >/dev/null || { echo 'Maven is not installed'; return 1; }
    mvn -q -B dependency:copy -Dartifact="org.postgresql:postgresql:$java_driver" -DoutputDirectory="$cache" \
        >"$dir/fetch" 2>&1 || { echo "Maven cannot fetch the driver: $(last "$dir/fetch")"; return 1; }
}

# go ARGUMENTS: the toolchain must be the one that is here, and what it fetches can be deleted again
in_time=()
go_here() {
    (cd "$examples/go" && GOTOOLCHAIN=local GOFLAGS='-mod=readonly -modcacherw' GOMODCACHE=$root/.cache/go/mod \
        GOCACHE=$root/.cache/go/build CGO_ENABLED=0 "${in_time[@]}" go "$@")
}
fetch_go() {
    command -v go >/dev/null || { echo 'go is not installed'; return 1; }
    go_here mod download >"$dir/fetch" 2>&1 || { echo "go cannot fetch pgx: $(last "$dir/fetch")"; return 1; }
    # Once, and most of it is Go's own packages.
    in_time=(timeout 300)
    go_here build github.com/jackc/pgx/v5 >"$dir/fetch" 2>&1 || { echo "pgx was not compiled, in 300 s at most: $(last "$dir/fetch")"; return 1; }
}

if reason=$(fetch_python); then
    run_example python env PYTHONPATH="$cache/python" python3 "$examples/python/append.py" "$dsn"
else
    skip python "$reason"
fi
if reason=$(fetch_go); then
    holds go_builds_the_example go_here build -o "$dir/append-go" .
    run_example go "$dir/append-go" "$dsn"
else
    skip go "$reason"
fi
if reason=$(fetch_java); then
    run_example java java -XX:TieredStopAtLevel=1 -cp "$cache/postgresql-$java_driver.jar" "$examples/java/Append.java" \
        "jdbc:postgresql://127.0.0.1:$port/outbox?user=outbox"
else
    skip java "$reason"
fi

# --- the C library without a compiler ---

library=$OUTBOX_BUILD/liboutbox.so.0
if ! command -v python3 >/dev/null; then
    skip ctypes 'python3 is not installed'
elif nm -D "$library" | grep -qE '__(asan|tsan)_'; then
    skip ctypes 'the library has sanitizers, Python has none'
else
    holds ctypes_appends_in_a_transaction_of_the_same_libpq \
        python3 "$root/tests/integration/ctypes_append.py" "$library" "$dsn" ctypes
    equal ctypes_leaves_what_was_committed kept \
        "$(sql "select convert_from(payload, 'UTF8') from outbox.event where topic = 'ctypes'")"
fi
exit $bad
