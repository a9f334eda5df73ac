# shellcheck shell=bash
# lib_inbox.sh - what the tests of libinbox share: workers as processes, records to consume, the judge of
# what took effect. Sourced after lib_relay.sh (or lib_faults.sh).
#
#   inbox_reset              empty tables of the inbox and of the workers, a new $topic
#   send FILE                its lines "key <tab> id <tab> payload" become records; key or id -: none
#   worker_start NAME ...    tests/tools/inbox_worker with these settings; log $dir/NAME.log
#   worker_end NAME SECONDS  waits for its end; its exit status is in $status
#   worker_kill NAME         kill -9
#   effects_are NAME [SECONDS]  when all is finished: each event that was sent took effect once, in the order of
#                            its key, but those whose payload says dead or reject

worker=$OUTBOX_TOOLS/inbox_worker
session_ms=15000 # a worker that is slow for some seconds stays in its group

inbox_reset() {
    n_resets=$((n_resets + 1))
    topic=inbox-$$-${n_resets}
    : >"$dir/sent"
    n_sent=0
    sql "truncate inbox.position, inbox.attempt, inbox.dead, inbox.consumer, inbox.seen;
         create table if not exists public.parent (id int primary key);
         create table if not exists public.child (id int references public.parent deferrable initially deferred);
         create table if not exists public.effect (n bigint generated always as identity, event_id text,
             key text, payload text, attempt int, pid int);
         create table if not exists public.gate ();
         truncate public.effect, public.child, public.gate"
}

send() {
    awk -F'\t' -v topic="$topic" '{ printf "%s\t%s\t%s\t%s\n", topic, $1,
        $2 == "-" ? "ce_type=test" : "ce_id=" $2 ";ce_type=test;ce_source=tests", $3 }' "$1" |
        "$OUTBOX_TOOLS/produce" "$brokers"
    cat "$1" >>"$dir/sent"
    n_sent=$(wc -l <"$dir/sent")
}

finished='select coalesce(sum(next_offset), 0) from inbox.position'
first_of_each() { awk -F'\t' '($2 == "-" || !seen[$2]++) && $3 !~ /dead|reject/' "$dir/sent" | LC_ALL=C sort -s -t "$(printf '\t')" -k 1,1; }
took_effect() { PGOPTIONS= psql -XqAt -F "$(printf '\t')" -d "$dsn" -c "select coalesce(key, '-'), coalesce(event_id, '-'), payload
    from public.effect order by key collate \"C\" nulls first, n"; }
effects_are() {
    wait_until "${2:-30}" is "$finished" "$n_sent" || not_ok "$1" "$(sql "$finished") of $n_sent are finished"
    first_of_each >"$dir/wanted"
    took_effect >"$dir/have"
    n_rows=$((n_rows + $(wc -l <"$dir/wanted")))
    holds "$1" diff "$dir/wanted" "$dir/have"
}

worker_start() {
    local name=$1
    shift
    : >>"$dir/$name.log"
    "$worker" "${worker_dsn:-$dsn}" "$brokers" "$topic" group "$topic" kafka.session.timeout.ms "$session_ms" \
        kafka.heartbeat.interval.ms 500 "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    relay_pid[$name]=$!
}
worker_signal() { relay_signal "$@"; }
worker_end() { relay_end "$@"; }
worker_kill() { relay_kill "$@"; }

# make_topic [PARTITIONS]
make_topic() { "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" "${1:-4}"; }
# lines N KEYS [PAYLOAD-EXPRESSION]: of awk; n counts
lines() { awk -v n_lines="$1" -v keys="$2" "BEGIN { for (n = 1; n <= n_lines; n++)
    printf \"k%d\\t%s\\t%s\\n\", n % keys, \"id-\" n, ${3:-"\"p\" n"} }"; }
# metric NAME: of the worker whose worker.metrics is $dir/metrics
metric() { [[ ! -e $dir/metrics ]] || sed -n "s/^inbox_$1{[^}]*} //p" "$dir/metrics"; } # no file before its first second
metric_is() { [[ $(metric "$1") == "$2" ]]; }
# claims_shut: from here on no partition can be claimed, until claims_open
claims_shut() {
    PGAPPNAME=claims psql -Xq -d "$dsn" -c 'begin; lock table inbox.position in share mode; select pg_sleep(600)' >/dev/null 2>&1 &
    locker=$!
    wait_sql 30 1 "select count(*) from pg_locks where relation = 'inbox.position'::regclass and mode = 'ShareLock' and granted" ||
        not_ok nothing_can_be_claimed
}
claims_open() {
    sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'claims'" >/dev/null
    wait "$locker" || true
}
# fence: an owner whose handler waits at the gate is none any more, and the gate opens. What it had written by then
# has numbers up to $fenced_to.
fence() {
    wait_sql 30 t "select count(*) > 0 from pg_stat_activity where datname = current_database() and query = 'SELECT FROM public.gate'" ||
        not_ok a_handler_waits_at_the_gate
    fenced_to=$(sql 'select last_value from public.effect_n_seq')
    sql "update inbox.position set owner = 'somebody else'; insert into public.gate default values"
}
