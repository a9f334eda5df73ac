#!/usr/bin/env bash
# kafka_inbox_kills.sh - consumers of libinbox are killed at any moment, PostgreSQL crashes without what it committed
# last, and Kafka is killed under them; in the end every event has taken effect once, in the order of its key.
# A database and a broker of its own. INBOX_KILLS=n makes it longer.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"
session_ms=6000 # who was killed is missed soon
own_database synchronous_commit=off wal_writer_delay=10000 # a crash loses what was committed last
brokers=$("$broker" start "$dir/broker" kafka)
inbox_reset
"$broker" topic "$dir/broker" "$topic" 6
kills=${INBOX_KILLS:-12}

# A twentieth fails first, some are rejected, and every tenth comes a second time, some of them much later.
n_events=$((kills * 400))
awk -v n_events="$n_events" 'BEGIN {
    srand(); for (n = 1; n <= n_events; n++) {
        what = n % 20 == 7 ? "fail=" 1 + n % 3 : n % 50 == 11 ? "sql=1" : n % 97 == 13 ? "reject" : n % 31 == 3 ? "exit=0 sleep=20" : "sleep=1"
        line = "k" n % 53 "\tid-" n "\t" what; print line
        if (n % 10 == 0) print line
        if (n % 70 == 0) print late
        if (n % 70 == 35) late = line } }' >"$dir/in"
grep . "$dir/in" >"$dir/in2"
send "$dir/in2"

start() { worker_start "$1" retry.attempts 8; }
grew() { (($(sql 'select count(*) from public.effect' 2>/dev/null || echo 0) > $1)); }
for name in a b c; do start "$name"; done
names=(a b c)
for ((k = 1; k <= kills; k++)); do
    before=$(sql 'select count(*) from public.effect')
    wait_until 40 grew $((before < n_events * 9 / 10 ? before + 50 : n_events * 9 / 10)) || not_ok "work_goes_on_$k" "$(tail -n 2 "$dir"/[abc].log)"
    name=${names[RANDOM % 3]}
    case $((k % 6)) in
    3) fault "$pg" kill "$dir/pg" && "$pg" start "$dir/pg" >/dev/null && n_kills=$((n_kills + 1)) ;;
    5) # it stands still for longer than the group waits, and then does not know that others have its partitions
        fault worker_signal "$name" STOP
        wait_until 30 is "select count(distinct owner) <= 2 from inbox.position" t || true
        worker_signal "$name" CONT ;;
    *) fault worker_kill "$name" && start "$name" ;;
    esac
done
"$broker" kill "$dir/broker" && "$broker" restart "$dir/broker" >/dev/null && n_kills=$((n_kills + 1))
effects_are everything_took_effect_once_in_order 90
equal each_rejected_event_is_dead_once "$(awk -F'\t' '$3 ~ /reject/ && !seen[$2]++' "$dir/sent" | wc -l)" \
    "$(sql "select count(distinct event_id) from inbox.dead where reason = 'rejected' having count(distinct event_id) = count(*)")"
for name in a b c; do
    worker_signal "$name" TERM
    worker_end "$name" 30
    equal "${name}_ends_clean" 0 "$status"
done
finish
