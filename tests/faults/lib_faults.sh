# shellcheck shell=bash
# lib_faults.sh - what the fault tests share: servers of their own, streams to disturb, what is counted.
# Sourced; brings tests/rig/lib_relay.sh with it. A file looks like this:
#
#   own_database; own_mock                servers that may be broken; `mock COMMAND...` drives the broker
#   stream_start NAME -X key=value ...    a writer, a relay NAME and the oracle's watch on a new topic
#   fault COMMAND...                      runs the command and counts it as a fault
#   moving                                more rows become marked than are now
#   stream_judge NAME [KEY=VALUE ...]     the writer ends, all must arrive, be marked and be in order
#   stop_clean NAME                       TERM, and the exit status must be 0
#   schedule_begin; schedule_end          faults in an order that a seed decides, which is printed
#   progress TEXT                         for who looks at a terminal; nothing when it is empty
#   finish                                prints the counts, which tests/check adds up, and exits

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

n_faults=0
declare -A session_fd=()

# --- servers -------------------------------------------------------------------------------------

# own_database [name=value ...]: on a port of 127.0.0.1 as well
own_database() {
    "$pg" start "$dir/pg" listen=auto max_prepared_transactions=5 "$@" >/dev/null
    "$pg" schema "$dir/pg"
    dsn=$("$pg" conninfo "$dir/pg")
    relay_dsn=$dsn
}

# tcp_address DIRECTORY: where a cluster listens, as a proxy wants it
tcp_address() { printf '127.0.0.1:%s\n' "$(<"$1/port")"; }

# own_proxy: before the database; $proxied_dsn goes through it
own_proxy() {
    proxy_start pgproxy "$(tcp_address "$dir/pg")"
    # shellcheck disable=SC2034 # for the tests
    proxied_dsn="host=127.0.0.1 port=$port user=outbox dbname=outbox"
}

# own_mock [option of mock_broker ...]
own_mock() { brokers=$("$broker" start "$dir/broker" mock "$@"); }
mock() { "$broker" cmd "$dir/broker" "$@"; }

# own_kafka [server.setting=value ...]: a real one, which can be killed and started on its data; `make_topic` and
# `proxy kafka` work with it. What has $through_proxy among its arguments reaches it through that proxy alone.
own_kafka() {
    local through
    through=$(free_port)
    # A broker that was killed is let in again only when its old session is over.
    brokers=$("$broker" start "$dir/broker" kafka "via=$through" broker.session.timeout.ms=2000 \
        broker.heartbeat.interval.ms=300 "$@")
    proxy_start kafka "$(<"$dir/broker/via")" "$through"
    # shellcheck disable=SC2034 # for the tests
    through_proxy=(-X "kafka.bootstrap.servers=127.0.0.1:$through")
}
# Who may write to a topic can be changed there.
# shellcheck disable=SC2034 # for the tests
with_acls=(allow.everyone.if.no.acl.found=true
    authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer)
make_topic() { "$broker" topic "$dir/broker" "$@"; }

# times_lost PROXY: so many answers has it lost, as it was told to
times_lost() { grep -c lost "$dir/$1.log" || true; }
# lost_more_than PROXY N
lost_more_than() { (($(times_lost "$1") > $2)); }

# A broker that refuses a batch refuses those behind it, for their sequence numbers do not follow. The mock
# looks at those of transactional producers only: it would take the batch behind a refused one, which then
# overtakes, or lets librdkafka believe that the refused one was written as well. So what may be on its way
# behind is told what a broker would say: five requests of each producer. A producer that comes after sends
# the first record of a partition alone; if the answers last until then, nothing is behind it.
# (kafka_broker.sh has several batches on their way to a real broker.)
behind() { printf 'OUT_OF_ORDER_SEQUENCE_NUMBER %.0s' $(seq "$1"); }
# refuse_at BROKER CODE...: the next answers of a broker to Produce
# shellcheck disable=SC2046 # words
refuse_at() { mock push-error-at "$1" 0 "${@:2}" $(behind 10); }
# refuse RELAY CODE...: those of all of them, until the relay has another producer
refuse() {
    local name=$1 before
    shift
    before=$(times_said "$name" 'producer was replaced.*lane=main')
    # shellcheck disable=SC2046 # words
    mock push-error 0 "$@" $(behind 40)
    wait_until 20 said_often "$name" 'producer was replaced.*lane=main' $((before + 1)) ||
        not_ok "${name}_replaces_its_producer" "$(tail -n 3 "$dir/$name.log")"
    mock clear-errors 0
}

# --- sessions of the database that stay open --------------------------------------------------------

# session_start NAME [CONNINFO]
session_start() {
    local fd
    mkfifo "$dir/$1.session"
    : >"$dir/$1.out"
    psql -XqAt -d "${2:-$dsn}" 0<>"$dir/$1.session" >>"$dir/$1.out" 2>&1 &
    proxy_pids+=("$!")
    exec {fd}<>"$dir/$1.session"
    session_fd[$1]=$fd
}
# session_send NAME SQL: does not wait for the answer
session_send() { printf '%s;\n' "$2" >&"${session_fd[$1]}"; }
# session NAME SQL: waits for it
session() {
    local mark="done $RANDOM$RANDOM"
    session_send "$1" "$2"
    printf '\\echo %s\n' "$mark" >&"${session_fd[$1]}"
    wait_until 20 grep -qxF "$mark" "$dir/$1.out" || die "session $1: $2: $(tail -n 3 "$dir/$1.out")"
}

# --- streams -------------------------------------------------------------------------------------

fault() {
    n_faults=$((n_faults + 1))
    "$@"
}

# The reader is at rest: it has not asked for rows for much longer than poll.max, so the relay holds all that
# it may. (Once a second it looks for what is due in outbox.held all the same.)
# shellcheck disable=SC2034 # for the tests
at_rest="select count(*) = 1 from pg_stat_activity where application_name = 'outbox-relay'
         and query like '%outbox_read%' and state = 'idle' and now() - state_change > interval '500 ms'"

grows() { (($(sql "$sent") > $1)); }
# moving [SECONDS]. A database that is only just there again may not answer the first question.
moving() {
    local before=
    wait_until "${1:-20}" counts_sent && wait_until "${1:-20}" grows "$before"
}
counts_sent() { before=$(sql "$sent"); }
# must_move NAME RELAY [SECONDS]
must_move() { moving "${3:-20}" || not_ok "$1" "nothing is marked any more: $(tail -n 3 "$dir/$2.log")"; }

stream_start() {
    reset
    watch_start
    writer_start
    relay_start "$@"
    wait_until 20 grows 100 || not_ok "$1_starts" "$(tail -n 3 "$dir/$1.log")"
}
stream_judge() {
    [[ -z $writer_pid ]] || writer_stop
    judge "$1" --deadline 40 unmarked=0 gaps=0 "${@:2}"
    watch_stop
}
stop_clean() {
    relay_signal "$1" TERM
    relay_end "$1" 20
    [[ $status == 0 ]] || not_ok "$1_ends_clean" "exit status $status: $(tail -n 3 "$dir/$1.log")"
}

# --- schedules -----------------------------------------------------------------------------------

# schedule_begin: from here on nothing but the schedule draws from $RANDOM in this shell; $seed, or SEED, replays it
schedule_begin() {
    seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
    printf '# seed %s\n' "$seed"
    RANDOM=$seed
}
schedule_end() { ((bad == 0)) || printf '# replay with SEED=%s\n' "$seed"; }

n_postgres=0 # times that it was killed
# postgres_crash HOW: immediate, or kill; and it starts again
postgres_crash() {
    if [[ $1 == kill ]]; then "$pg" kill "$dir/pg"; else "$pg" stop "$dir/pg" "$1"; fi
    "$pg" start "$dir/pg" >/dev/null
    n_postgres=$((n_postgres + 1))
}
# postgres_silent MS: what goes through the proxy comes so much later
postgres_silent() {
    proxy pgproxy stall
    pause_of "$1"
    proxy pgproxy resume
}
# freeze NAME MS: it stands still, and does not know of it
freeze() {
    relay_signal "$1" STOP
    pause_of "$2"
    relay_signal "$1" CONT
}
# pause_of MS
pause_of() {
    local ms
    printf -v ms '%04d' "$1"
    sleep "${ms%???}.${ms: -3}"
}
# For the time in which nothing may be left to chance: a pause of 0 to $1 milliseconds, by $RANDOM.
chance_pause() { pause_of $((RANDOM % $1)); }

# kill_loop NAME N [ARGUMENT ...]: N lives of a relay that bears one name, each ended by SIGKILL: some
# while it starts, most while it leads, and every tenth after it was seen to make progress.
kill_loop() {
    local name=$1 n count=$2
    shift 2
    for ((n = 1; n <= count; n++)); do
        heir_start "$name" -X "lease.owner=$name" "$@"
        if ((n % 10 == 0)); then
            moving || not_ok "${name}_life_$n" "it marks nothing: $(tail -n 3 "$dir/$name.log")"
        elif ((n % 3 != 0)); then
            wait_said "$name" msg=leading || not_ok "${name}_life_$n" 'it does not lead'
        fi
        chance_pause 120 # where it hits is left to chance
        fault relay_kill "$name"
        excuse "$name"
    done
}

# Where an heir cannot read the ends of the topics in its five seconds, as on a machine that is slow just then, it
# sends once more what may be there, and says so: of what was not marked when it came.
end_unread='the end of a topic could not be read'
# heir_start NAME [ARGUMENT ...]: where no relay runs
heir_start() {
    log_anew "$1"
    sql "select e.event_id from outbox.event e where not exists (select from outbox.sent s where s.id = e.id)" >"$dir/unmarked"
    relay_start "$@"
}
# excuse NAME: what heir_start found, if NAME could not read an end
excuse() { ! said "$1" "$end_unread" || cat "$dir/unmarked" >>"$dir/excused"; }
# repeats: records that came again, but for those that are excused
repeats() {
    : >>"$dir/excused"
    awk -F '\t' 'FILENAME == ARGV[1] { excused[$1]; next } $6 != "-" && n[$6]++ && !($6 in excused) { more++ } END { print more + 0 }' \
        "$dir/excused" "$dir/records"
}
# few_repeats REPEATS KILLS: fewer than one record per ten kills
few_repeats() {
    printf '%d records came again after %d kills; %d rows would have been excused\n' "$1" "$2" "$(wc -l <"$dir/excused")"
    (($1 * 10 < $2))
}

# progress TEXT: a line that overwrites itself, where somebody looks
progress() {
    [[ -n ${OUTBOX_TEST_TERMINAL-} ]] || return 0
    { printf '\r\033[K%s' "$*" >"$OUTBOX_TEST_TERMINAL"; } 2>/dev/null || true
}

finish() {
    printf '# counts faults=%d kills=%d rows=%d duplicates=%d\n' "$n_faults" "$n_kills" "$n_rows" "$n_duplicates"
    exit "$bad"
}
