#!/usr/bin/env bash
# pooler.sh - the relay refuses to work through PgBouncer, and a consumer warns of it; an append through it works.
set -euo pipefail
# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$root/tests/rig/lib_inbox.sh"

if ! command -v pgbouncer >/dev/null; then
    skip relay_refuses_a_pooler "pgbouncer is not installed"
    exit 0
fi

# PgBouncer, like PostgreSQL, does not run as root.
as=()
[[ $(id -u) -ne 0 ]] || as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
socket=$(psql -XqAt "$dsn" -c "select split_part(current_setting('unix_socket_directories'), ',', 1)")
port=$(psql -XqAt "$dsn" -c "show port")
name=$(psql -XqAt "$dsn" -c "select current_database()")
mkdir -m 0777 "$dir/bouncer"
inbox_reset
make_topic
# consumer NAME: one is linked to the database, and ends
consumer() {
    worker_start "$1"
    holds "$1_is_linked" wait_until 30 grep -q 'linked to database' "$dir/$1.log"
    worker_kill "$1"
}
consumer without_a_pooler
equal no_pooler_is_seen_where_there_is_none 0 "$(grep -c "goes through a pooler" "$dir/without_a_pooler.log" || true)"
for mode in transaction session; do
    cat >"$dir/bouncer/$mode.ini" <<EOF
[databases]
$name = host=$socket port=$port dbname=$name user=outbox
[pgbouncer]
unix_socket_dir = $dir/bouncer
listen_addr =
listen_port = 6432
auth_type = any
pool_mode = $mode
ignore_startup_parameters = extra_float_digits
EOF
    chmod 0644 "$dir/bouncer/$mode.ini"
    "${as[@]}" pgbouncer -q "$dir/bouncer/$mode.ini" >"$dir/$mode.log" 2>&1 &
    relay_pid[bouncer]=$! # ended by the clean-up whatever happens
    through="host=$dir/bouncer port=6432 dbname=$name user=outbox"
    holds "pgbouncer_in_${mode}_mode_answers" wait_until 10 psql -XqAt "$through" -c "select 1"
    holds "append_through_${mode}_pooling" psql -XqAt "$through" -c "select outbox.append('t', 'k', 'x', 'p')"
    status=0
    "$OUTBOX_RELAY" run -X "dsn=$through" -X "kafka.bootstrap.servers=$brokers" >"$dir/relay.log" 2>&1 || status=$?
    equal "relay_refuses_${mode}_pooling" 78 "$status"
    holds "the_refusal_of_${mode}_pooling_says_why" grep -q "through a pooler" "$dir/relay.log"
    worker_dsn=$through consumer "consumer_behind_${mode}_pooling"
    holds "consumer_behind_${mode}_pooling_warns" grep -q "goes through a pooler" "$dir/consumer_behind_${mode}_pooling.log"
    kill "${relay_pid[bouncer]}"
    wait "${relay_pid[bouncer]}" || true
done
exit $bad
