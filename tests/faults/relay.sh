#!/usr/bin/env bash
# relay_faults.sh - the relay among failing parts: killed, cut off, stalled, refused. After each fault the
# judge compares what arrived with what was committed.
#
# Starts a PostgreSQL and a mock broker of its own, for it breaks them; proxies stand before both.
set -euo pipefail

# shellcheck source=tests/integration/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_relay.sh"

"$pg" start "$dir/pg" listen=auto >/dev/null
"$pg" schema "$dir/pg"
brokers=$("$broker" start "$dir/broker" mock)
dsn=$("$pg" conninfo "$dir/pg")
mock() { "$broker" cmd "$dir/broker" "$@"; }

proxy_start pgproxy "127.0.0.1:$(sed "s/.*port=\([0-9]*\).*/\1/" <<<"$("$pg" conninfo "$dir/pg" tcp)")"
direct_dsn=$dsn
proxied_dsn="host=127.0.0.1 port=$port user=outbox dbname=outbox"
relay_dsn=$direct_dsn

grows() { (($(sql "$sent") > $1)); }
# The stream moves: more is marked than now.
moving() { wait_until "${1:-20}" grows "$(sql "$sent")"; }
stream_start() {
    reset
    watch_start
    writer_start
    relay_start "$@"
    wait_until 20 grows 100 || true
}
# stream_judge NAME [KEY=VALUE ...]
stream_judge() {
    writer_stop
    judge "$1" --deadline 40 unmarked=0 gaps=0 "${@:2}"
    watch_stop
}
# The reader is at rest: nothing was read for a second, so the relay holds all that it may.
at_rest="select count(*) = 1 from pg_stat_activity where application_name = 'outbox-relay'
         and query like '%outbox_read%' and state = 'idle' and now() - state_change > interval '1 s'"
stop_clean() {
    relay_signal "$1" TERM
    relay_end "$1" 20
    [[ $status == 0 ]] || not_ok "$1_ends_clean" "exit status $status: $(tail -n 3 "$dir/$1.log")"
}

# --- the relay is killed -------------------------------------------------------------------------

reset
watch_start
writer_start
for n in {1..20}; do
    relay_start killed -X lease.owner=killed
    wait_until 20 grows "$(sql "$sent")" || not_ok "start_$n" 'it marks nothing'
    sleep "0.0$((RANDOM % 100))" # where it hits is left to chance
    relay_kill killed
done
relay_start killed -X lease.owner=killed
stream_judge killed_twenty_times
stop_clean killed

# --- the database -------------------------------------------------------------------------------

relay_dsn=$proxied_dsn
stream_start cut
pid=${relay_pid[cut]}
for _ in {1..4}; do
    proxy pgproxy cut
    moving || not_ok moves_after_a_cut "$(tail -n 3 "$dir/cut.log")"
    sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
    moving || not_ok moves_after_terminate "$(tail -n 3 "$dir/cut.log")"
done
proxy pgproxy refuse
proxy pgproxy cut
wait_said cut 'cannot use PostgreSQL' || not_ok refusal_is_logged
said cut 'msg="no longer leading"' || not_ok end_of_lead_is_logged
proxy pgproxy resume
stream_judge connections_cut_and_backends_terminated
equal it_is_the_same_process "$pid" "${relay_pid[cut]}"
stop_clean cut

stream_start silent -X statement.timeout=500ms
n=$(times_said silent 'no answer from PostgreSQL within the deadline')
stalled_at=$(now_ms)
proxy pgproxy stall-down
wait_until 5 said silent 'no answer from PostgreSQL within the deadline' ||
    not_ok silence_is_noticed "$(tail -n 3 "$dir/silent.log")"
took=$(($(now_ms) - stalled_at))
if ((took < 2000)); then ok silent_database_is_noticed_within_the_deadline; else
    not_ok silent_database_is_noticed_within_the_deadline "after $took ms"
fi
proxy pgproxy cut
proxy pgproxy resume
moving || not_ok moves_after_silence "$(tail -n 3 "$dir/silent.log")"
proxy pgproxy stall
wait_until 5 said silent 'cannot use PostgreSQL' || not_ok both_directions_silent "$(tail -n 3 "$dir/silent.log")"
proxy pgproxy resume
stream_judge silent_database
stop_clean silent
relay_dsn=$direct_dsn

stream_start restarted
for _ in 1 2; do
    "$pg" stop "$dir/pg" immediate
    "$pg" start "$dir/pg" >/dev/null
    moving || not_ok moves_after_a_crash_of_the_database "$(tail -n 3 "$dir/restarted.log")"
done
stream_judge database_crashed_twice
stop_clean restarted

# --- the broker ----------------------------------------------------------------------------------

mock down
reset
append 500
relay_start early
wait_said early 'ALL_BROKERS_DOWN\|TRANSPORT' || not_ok absent_broker_is_logged
equal nothing_is_marked_without_a_broker 0 "$(sql "$sent")"
mock up
watch_start
judge broker_that_comes_later --deadline 30 committed=500 unmarked=0
watch_stop
stop_clean early

stream_start outage
mock down
wait_said outage 'ALL_BROKERS_DOWN\|TRANSPORT' || true
# Longer than any retry: the backlog is more than the relay may hold, and it has long been at rest.
append 12000 "$topic-c"
wait_sql 20 t "${at_rest/1 s/3 s}" || not_ok outage_comes_to_rest
mock up
moving || not_ok moves_after_the_outage "$(tail -n 3 "$dir/outage.log")"
stream_judge broker_down_in_mid_stream duplicates=0
stop_clean outage

reset
mock topic "$topic-gone" 2
mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
append 300 "$topic-gone"
append 300
watch_start
relay_start missing -X kafka.topic.metadata.propagation.max.ms=200
holds other_topics_flow_beside_a_missing_one wait_sql 20 300 "$sent"
append 300
append 300 "$topic-gone"
holds and_go_on_flowing wait_sql 20 600 "$sent"
equal nothing_of_it_is_marked 0 "$(sql "select count(*) from outbox.event_status where topic = '$topic-gone' and sent_at is not null")"
mock topic-error "$topic-gone" 0
judge topic_created_later --deadline 30 committed=1200 unmarked=0
watch_stop
stop_clean missing

# --- refusals --------------------------------------------------------------------------------------

reset
append 40
sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'k5', convert_to(repeat('x', 5000), 'UTF8'))"
append 40
watch_start
relay_start large -X kafka.message.max.bytes=2000
# 13 keys: the large row, and the rows of its key behind it, stay
rest=$(sql "select count(*) from outbox.event where key = 'k5' and id > 40")
holds others_pass_a_row_that_is_too_large wait_sql 20 "$rest" "$unsent"
equal rows_before_it_went 0 "$(sql "$unsent and e.id < 41")"
append 40 "$topic" "convert_to('k' || n % 5, 'UTF8')"
holds later_rows_of_other_keys_pass_too wait_sql 20 "$rest" "$unsent"
holds refused_row_is_logged_with_its_id said large "did not accept.*id=41 .*code=MSG_SIZE_TOO_LARGE"
holds relay_lives alive "${relay_pid[large]}"
judge refused_row_keeps_its_key_only --deadline 10 --ledger "$marked" --allow-pending "arrived=$((121 - rest))"
stop_clean large
relay_start large -X kafka.message.max.bytes=20000
judge refused_row_goes_when_it_may --deadline 20 committed=121 unmarked=0
watch_stop
stop_clean large

# refused NAME CODES...: one stream, and for each line of codes three times these answers to Produce
refused() {
    local name=$1 codes
    stream_start "$name" -X kafka.batch.num.messages=5 # several are on their way at any time
    for codes in "${@:2}"; do
        for _ in 1 2 3; do
            # shellcheck disable=SC2086 # words
            mock push-error 0 $codes
            moving || not_ok "moves_after_${codes// /_}" "$(tail -n 3 "$dir/$name.log")"
        done
    done
    mock clear-errors 0
    stream_judge "$name"
    stop_clean "$name"
}
refused batch_is_refused MSG_SIZE_TOO_LARGE
holds producer_was_replaced_after_the_refusal said batch_is_refused 'producer was replaced'
refused producer_is_fatally_wrong OUT_OF_ORDER_SEQUENCE_NUMBER
holds producer_was_replaced_after_the_fatal_error said producer_is_fatally_wrong 'producer was replaced'
refused other_answers_of_the_broker 'INVALID_RECORD MSG_SIZE_TOO_LARGE POLICY_VIOLATION' TOPIC_AUTHORIZATION_FAILED \
    'NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT NOT_ENOUGH_REPLICAS' UNKNOWN_PRODUCER_ID INVALID_PRODUCER_EPOCH

# --- stopping --------------------------------------------------------------------------------------

stream_start drained -X lease.ttl=60s
relay_signal drained TERM
relay_end drained 20
equal term_in_mid_stream_ends_with_0 0 "$status"
writer_stop
watch_stop
judge all_that_was_confirmed_is_marked --ledger "$marked" --allow-pending
equal lease_is_released '' "$(sql "select owner from outbox.relay")"
began=$(now_ms)
relay_start heir -X lease.ttl=60s
holds next_relay_begins_at_once wait_said heir 'msg=leading' 3
holds within_a_second test $(($(now_ms) - began)) -lt 1500
wait_sent || not_ok heir_marks_the_rest
watch_all
judge nothing_went_twice_over_a_clean_stop duplicates=0 unmarked=0
stop_clean heir

# term_taken NAME: the signal is no longer pending, so the handler ran
term_taken() { awk '$1 == "ShdPnd:" || $1 == "SigPnd:" { if (substr($2, 13, 1) ~ /[4-7c-f]/) n = 1 } END { exit n }' "/proc/${relay_pid[$1]}/status"; }
reset
mock down
append 100
# librdkafka says so when the first row of a topic is produced; signals come in only after that.
wordy=(-X log.level=debug -X kafka.debug=topic)
relay_start twice "${wordy[@]}"
wait_said twice "New local topic: $topic" || not_ok rows_are_out
relay_signal twice TERM
wait_until 10 term_taken twice
holds drain_waits_for_confirmations alive "${relay_pid[twice]}"
relay_signal twice TERM
relay_end twice 2
equal second_signal_ends_at_once 143 "$status"
relay_start timed "${wordy[@]}" -X drain.timeout=300ms
wait_said timed "New local topic: $topic" || not_ok rows_are_out_again
relay_signal timed TERM
relay_end timed 12
holds drain_ends_at_its_timeout test "$status" != still_running
mock up
relay_start timed
holds what_was_left_goes_out wait_sent
watch_all
judge what_was_left_arrived_once committed=100 duplicates=0
stop_clean timed

# --- leader and standby ------------------------------------------------------------------------------

stream_start one -X lease.ttl=2s
relay_start two -X lease.ttl=2s
wait_said two 'msg=connected' || true
holds one_leads_only test "$(times_said two 'msg=leading')" = 0
relay_kill one
killed_at=$(now_ms)
holds standby_takes_over wait_said two 'msg=leading' 6
took=$(($(now_ms) - killed_at))
holds "no_later_than_the_lease_lasts" test "$took" -lt 3500
moving || not_ok moves_after_the_takeover "$(tail -n 3 "$dir/two.log")"

# Frozen past its lease it still believes that it leads, and its producer has rows queued.
relay_start one -X lease.ttl=2s
wait_said one 'msg=connected' || true
relay_signal two STOP
holds frozen_leader_is_replaced wait_sql 8 t "select owner like '%/${relay_pid[one]}/%' from outbox.relay"
moving || not_ok moves_beside_the_frozen "$(tail -n 3 "$dir/one.log")"
relay_signal two CONT
moving
stream_judge frozen_leader_wakes_up
holds frozen_leader_steps_down wait_said two 'msg="no longer leading"' 5
holds and_does_not_lead is "select owner like '%/${relay_pid[one]}/%' from outbox.relay" t
stop_clean two
stop_clean one

# --- memory --------------------------------------------------------------------------------------

reset
mock down
append 200000 "$topic" "convert_to('k' || n % 1000, 'UTF8')" "decode(repeat(md5(n::text), 8), 'hex')"
relay_start backlog
wait_said backlog msg=leading || true
wait_sql 30 t "$at_rest" || not_ok backlog_comes_to_rest
kib=$(memory backlog VmHWM)
printf '# %d KiB with 200000 rows waiting\n' "$kib"
holds memory_is_bounded_with_200000_rows_waiting test "$kib" -lt $((64 * 1024))
relay_kill backlog

reset
append 300 "$topic" null "decode(repeat(md5(n::text), 65536), 'hex')"
relay_start huge -X kafka.message.max.bytes=3000000
wait_said huge msg=leading || true
wait_sql 30 t "$at_rest" || not_ok huge_comes_to_rest
waiting=$(memory huge VmHWM)
mock up
holds rows_of_a_mebibyte_go_out wait_sent 60
kib=$(memory huge VmHWM)
printf '# %d KiB with 300 rows of 1 MiB waiting, %d KiB when they had gone\n' "$waiting" "$kib"
holds memory_is_bounded_with_large_rows test "$kib" -lt $((96 * 1024))
stop_clean huge

exit "$bad"
