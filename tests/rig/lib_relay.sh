# shellcheck shell=bash
# lib_relay.sh - what the relay's shell tests share: cases, one database, relays as processes, the judge.
# Sourced by tests/integration and, through lib_faults.sh, by tests/faults. Sets `dir` (removed at exit)
# and ends every process that it started.
#
# A test sets dsn (what psql and the judge use), relay_dsn (what the relay uses) and brokers, then:
#   reset [TOPIC]          empty tables; the case's topic prefix is $topic, a new one each time
#   relay_start NAME ...   `outbox-relay run` with quick retries and these arguments; log $dir/NAME.log
#   relay_end NAME SECONDS waits for its end; its exit status is in $status
#   steady                 arguments of a relay whose lead must last however slow the machine is
#   judge NAME KEY=VALUE.. the oracle's verdict on $topic* must be good and have these numbers; they
#                          are added up in n_rows and n_duplicates

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
pg=$root/tests/tools/pg
broker=$root/tests/tools/broker
oracle=$OUTBOX_TOOLS/oracle
dsn=$OUTBOX_TEST_DSN
writer_dsn= # where writer_start writes; empty: $dsn
writer_pause=0 # seconds between its transactions, four at a time
relay_dsn=$OUTBOX_TEST_DSN
brokers=$OUTBOX_TEST_BROKERS
export OUTBOX_RELAY_HTTP_LISTEN=off # many relays run at once; -X of a test wins
dir=$(mktemp -d "${TMPDIR:-/tmp}/outbox-relay.XXXXXX")
chmod 0711 "$dir" # the database's user passes through it
declare -A relay_pid=()
writer_pid=
watch_pid=
proxy_pids=()
mounts=()
topic=
n_resets=0
status=0
n_kills=0
n_rows=0
n_duplicates=0

cleanup() {
    local pid home
    {
        for pid in "${relay_pid[@]}" $writer_pid $watch_pid "${proxy_pids[@]}"; do
            ! is_child "$pid" || kill -KILL "$pid" || true
        done
        wait
    } 2>/dev/null # bash has a word for each that was killed
    for home in "$dir"/*/; do # what a test starts in directories of its own
        [[ ! -e $home/kind ]] || "$broker" remove "$home" || true
        [[ ! -e $home/home ]] || "$pg" remove "$home" || true
    done
    rests_on=: # what it looks at is gone
    for home in "${mounts[@]}"; do wait_until 60 umount "$home" || true; done
    wait_until 10 rm -rf "$dir" 2>/dev/null || true # tests/check removes what is left
}
trap cleanup EXIT

# mocks_live: nothing that a test waits for comes when the mock broker is gone, which no test ends by itself
mocks_live() {
    local home kind pid
    for home in "$dir/broker" "${OUTBOX_TEST_BROKER_DIR-}"; do
        [[ -e $home/pid ]] || continue
        read -r kind <"$home/kind"
        [[ $kind == mock ]] || continue
        read -r pid <"$home/pid"
        alive "$pid" || die "the mock broker ended by itself: $(tail -n 1 "$home/log")"
    done
}
# shellcheck disable=SC2034 # for wait_until
rests_on=mocks_live
# relays_live: where one ended by itself, more time would not have helped
relays_live() {
    local pid
    for pid in "${relay_pid[@]}"; do alive "$pid" || return 1; done
}
# shellcheck disable=SC2034 # for wait_until
late_if=relays_live

# --- the database --------------------------------------------------------------------------------

sql() { PGOPTIONS='-c client_min_messages=error' psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" -c "$1"; }

reset() {
    n_resets=$((n_resets + 1))
    topic=${1:-${0##*/}}
    topic=${topic%.sh}-$$-${n_resets}x # closed, so that "$topic*" is of this case and run alone
    outbox_anew
}
# outbox_anew: as if nothing had been written, and nobody had led
outbox_anew() {
    sql "truncate outbox.event, outbox.sent, outbox.held restart identity;
         insert into outbox.relay (name) values ('default') on conflict do nothing;
         update outbox.relay set owner = null, lease_expires_at = null, leading_since = null, cursor_id = 0,
             cursor_snapshot = pg_current_snapshot(), floor_id = 0"
}

# append N [TOPIC [KEY-EXPRESSION [PAYLOAD-EXPRESSION]]]: n is the number of the row
append() {
    sql "insert into outbox.event (topic, type, key, payload)
         select '${2:-$topic}', 'test', ${3:-"convert_to('k' || n % 13, 'UTF8')"}, ${4:-"convert_to(n::text, 'UTF8')"}
         from generate_series(1, $1) n"
}

# Of a bucket that is neither today's nor the next one: an expression, for SQL.
# shellcheck disable=SC2034 # for the tests
old_bucket="(((floor(date_part('epoch', now()))::bigint / 86400) & 7) + 3) % 8"

is() { [[ $(sql "$1") == "$2" ]]; }
# wait_sql SECONDS VALUE QUERY
wait_sql() {
    local ended=0
    wait_until "$1" is "$3" "$2" || ended=$?
    ((ended == 0)) || printf 'it is still: %s\n' "$(sql "$3")"
    return "$ended"
}
unsent='select count(*) from outbox.event e where not exists (select from outbox.sent s where s.id = e.id)'
sent='select count(*) from outbox.sent'
wait_sent() { wait_sql "${1:-30}" 0 "$unsent"; }
# The tables are insert-only whoever looks.
updates="select coalesce(sum(n_tup_upd + n_tup_del), 0) from pg_stat_user_tables
         where schemaname = 'outbox' and (relname like 'event%' or relname like 'sent%')"

# A writer in the background: transactions of one to fifty rows, some rolled back, until it is stopped.
# Four go through each psql, which ends at the first error.
write_on() {
    local n=0 end text
    while [[ ! -e $dir/writer_stop ]]; do
        text=
        for _ in 1 2 3 4; do
            n=$((n + 1)) end=commit
            ((n % 7 != 0)) || end=rollback
            text+="begin; insert into outbox.event (topic, type, key, payload)
                select '$topic' || case n % 3 when 0 then '-b' else '' end, 'test',
                    case n % 5 when 4 then null else convert_to('k' || n % 11, 'UTF8') end, convert_to('$n.' || n, 'UTF8')
                from generate_series(1, 1 + (random() * 49)::int) n; $end;"
        done
        psql -XqAt -v ON_ERROR_STOP=1 -d "${writer_dsn:-$dsn}" <<<"$text" >/dev/null 2>&1 || true
        [[ $writer_pause == 0 ]] || sleep "$writer_pause"
    done
}
writer_start() {
    rm -f "$dir/writer_stop"
    write_on &
    writer_pid=$!
}
writer_stop() {
    : >"$dir/writer_stop"
    wait "$writer_pid" || true
    writer_pid=
}

# --- relays ---------------------------------------------------------------------------------------

# relay_args: what every relay of these tests is given; arguments that follow win.
relay_args() {
    args=(-X "dsn=$relay_dsn" -X "kafka.bootstrap.servers=$brokers" -X retry.base=20ms -X retry.max=200ms
        -X lease.ttl=1s "$@")
}

# shellcheck disable=SC2034 # for the tests
steady=(-X lease.ttl=60s)

relay_start() {
    local name=$1 args
    shift
    relay_args "$@"
    : >>"$dir/$name.log"
    "$OUTBOX_RELAY" run "${args[@]}" >>"$dir/$name.log" 2>&1 </dev/null &
    relay_pid[$name]=$!
}

relay_signal() { kill "-$2" "${relay_pid[$1]}"; }

relay_end() {
    local pid=${relay_pid[$1]}
    status=0
    if ! wait_until "$2" gone "$pid"; then
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        status=still_running
    else
        wait "$pid" 2>/dev/null || status=$?
    fi
    unset "relay_pid[$1]"
}

relay_kill() {
    relay_signal "$1" KILL
    wait "${relay_pid[$1]}" || true
    unset "relay_pid[$1]"
    n_kills=$((n_kills + 1))
} 2>/dev/null

# relay_once NAME ARGUMENT...: to its end; exit status in $status. It gives up when it does not lead within lease.ttl
# and a second, which a slow machine must not miss.
relay_once() {
    local name=$1
    shift
    relay_start "$name" --once "${steady[@]}" "$@"
    relay_end "$name" 60
}

# log_anew NAME: what is looked for must have been said from now on
log_anew() {
    [[ ! -e $dir/$1.log ]] || cat "$dir/$1.log" >>"$dir/$1.log.old"
    : >"$dir/$1.log"
}
said() { grep -q -e "$2" "$dir/$1.log"; }
times_said() { grep -c -e "$2" "$dir/$1.log" || true; }
# said_often NAME PATTERN N
said_often() { (($(times_said "$1" "$2") >= $3)); }
# wait_said NAME PATTERN [SECONDS]
wait_said() {
    local ended=0
    wait_until "${3:-20}" said "$1" "$2" || ended=$?
    ((ended == 0)) || tail -n 5 "$dir/$1.log"
    return "$ended"
}
# memory NAME FIELD: VmRSS or VmHWM in kB
memory() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/${relay_pid[$1]}/status"; }

# --- proxies ---------------------------------------------------------------------------------------

# proxy_start NAME TARGET [PORT]: its port is in $port
proxy_start() {
    local fd
    mkfifo "$dir/$1.in" "$dir/$1.out"
    exec {fd}<>"$dir/$1.out"
    "$OUTBOX_TOOLS/proxy" "${3:-0}" "$2" 0<>"$dir/$1.in" 1<>"$dir/$1.out" 2>"$dir/$1.log" &
    proxy_pids+=("$!")
    read -r -t "$ample" port <&"$fd"
    printf '%d\n' "$fd" >"$dir/$1.fd"
}

proxy() {
    local answer fd
    fd=$(<"$dir/$1.fd")
    printf '%s\n' "$2" >"$dir/$1.in"
    read -r -t "$ample" answer <&"$fd"
    [[ $answer == ok ]] || die "proxy $1: $2: $answer"
}

# --- the judge -------------------------------------------------------------------------------------

watch_start() {
    "$oracle" watch --brokers "$brokers" --topics "$topic*" --out "$dir/records" 2>"$dir/watch.log" &
    watch_pid=$!
    wait_until 20 test -e "$dir/records"
}

watch_stop() {
    kill -TERM "$watch_pid"
    wait "$watch_pid" || die "the oracle's watch failed: $(<"$dir/watch.log")"
    watch_pid=
}

watch_all() {
    "$oracle" watch --brokers "$brokers" --topics "$topic*" --out "$dir/records" --to-end
}

number() { sed -n "s/^$1=//p" "$dir/numbers"; }

# The events that are marked, for judge --ledger: did these arrive and no others?
marked="select event_id from outbox.event_status where sent_at is not null"

# Nothing is there to add when it could not judge.
add_up() {
    local rows duplicates
    rows=$(number committed)
    duplicates=$(number duplicates)
    n_rows=$((n_rows + ${rows:-0}))
    n_duplicates=$((n_duplicates + ${duplicates:-0}))
}

# judge NAME [--option VALUE ...] [KEY=VALUE ...]; a deadline is as that of wait_until, ample at the least
judge() {
    local name=$1 args=() said=0 pair
    shift
    while [[ ${1-} == --* ]]; do
        case $1 in
        --allow-*) args+=("$1") ;;
        --deadline) args+=("$1" "$(($2 > 30 ? $2 * patience : ample))") && shift ;;
        *) args+=("$1" "$2") && shift ;;
        esac
        shift
    done
    timed_out=
    "$oracle" check --dsn "$dsn" --records "$dir/records" "${args[@]}" >"$dir/numbers" 2>"$dir/examples" || said=$?
    add_up
    if ((said != 0)); then
        not_ok "$name" "verdict $said: $(tr '\n' ' ' <"$dir/numbers") $(head -n 5 "$dir/examples")"
        return 0
    fi
    for pair in "$@"; do
        grep -qxF "$pair" "$dir/numbers" || { not_ok "$name" "wanted $pair: $(tr '\n' ' ' <"$dir/numbers")"; return 0; }
    done
    ok "$name"
    # The sweep is for defects; a row that it finds was passed by.
    ! grep -h -m 1 "neither sent nor held" "$dir"/*.log* || not_ok "${name}_without_the_sweep" 'it found rows that were passed by'
}
