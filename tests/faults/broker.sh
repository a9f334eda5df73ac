#!/usr/bin/env bash
# broker.sh - the broker fails: away, flapping, slow, refusing rows or topics, fatal to the producer. A mock
# of three brokers plays it; kafka_broker.sh has the real one.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

own_database
own_mock --brokers 3

# --- away ----------------------------------------------------------------------------------------

fault mock down
reset
append 500
relay_start early
wait_said early 'ALL_BROKERS_DOWN\|TRANSPORT' || not_ok absent_broker_is_logged
wait_said early 'msg=kafka .*code=_ALL_BROKERS_DOWN .*remedy="mend the brokers' || not_ok absent_brokers_are_to_be_mended
equal nothing_is_marked_without_a_broker 0 "$(sql "$sent")"
mock up
watch_start
judge broker_that_comes_later --deadline 30 committed=500 unmarked=0
watch_stop
stop_clean early

# down_beside RELAY: the brokers go while nothing of it is on its way. The mock sends an answer a moment after it has
# written the records, and goes in between as well; what comes again then is there twice, for it looks at no sequence
# numbers. (kafka_broker.sh loses answers of a real broker.) So the relay stands still until all has its answer: each
# command is obeyed between two looks of the mock at what has come.
down_beside() {
    relay_signal "$1" STOP
    for _ in {1..8}; do mock rtt 0; done
    mock down
    relay_signal "$1" CONT
}
stream_start outage "${steady[@]}"
fault down_beside outage
wait_said outage 'ALL_BROKERS_DOWN\|TRANSPORT' || true
# Longer than any retry: the backlog is more than the relay may hold, and it has long been at rest.
append 12000 "$topic-c"
wait_sql 20 t "$at_rest" || not_ok outage_comes_to_rest
wait_sql 20 t "select now() - max(sent_at) > interval '3 s' from outbox.sent" || not_ok nothing_is_marked_in_the_outage
mock up
must_move moves_after_the_outage outage
stream_judge broker_down_in_mid_stream duplicates=0
stop_clean outage

stream_start flapping
for n in {1..10}; do
    fault mock down $((n % 3 + 1))
    chance_pause 200
    mock up $((n % 3 + 1))
    chance_pause 100
done
must_move moves_after_the_flapping flapping
for n in {1..5}; do
    fault mock down
    chance_pause 300
    mock up
    must_move "moves_after_flap_$n" flapping
done
stream_judge brokers_flap
stop_clean flapping

# librdkafka may send the next batch of a partition to its new leader in the very moment in which the last one that the
# old leader refused is put back. A broker refuses what is out of its turn. The mock looks at no sequence numbers and
# takes it, librdkafka concludes that the earlier one must be there, and the relay, which believes no conclusion,
# replaces its producer. Such a round has an order of the mock's making, and there is another.
for round in 1 2 3; do
    stream_start "moving$round"
    for n in {1..12}; do
        fault mock leader "$topic" $((n % 4)) $((n % 3 + 1))
        chance_pause 100
    done
    must_move moves_after_leaders_moved "moving$round"
    writer_stop
    wait_sent 40 || not_ok all_goes_after_leaders_moved "$(sql "$unsent") are left"
    if ((round == 3)) || ! said "moving$round" 'msg="the producer was replaced"'; then break; fi
    printf '# round %d of the leaders: the mock has taken a batch out of its turn\n' "$round"
    watch_stop
    stop_clean "moving$round"
done
stream_judge leaders_move
stop_clean "moving$round"

# Slower than any of the producer's own deadlines: requests time out, and what they carried may be there.
stream_start slow -X kafka.request.timeout.ms=400 -X kafka.socket.timeout.ms=1000
fault mock rtt 1500
chance_pause 3000 # for some requests to time out, more or less
mock rtt 0
must_move moves_after_the_slow_broker slow 40
fault mock rtt 100
must_move moves_on_a_slow_broker slow 40
mock rtt 0
stream_judge broker_slower_than_the_deadlines
stop_clean slow

# --- topics ----------------------------------------------------------------------------------------

reset
mock topic "$topic-gone" 2
fault mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
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
fault sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'k5', convert_to(repeat('x', 5000), 'UTF8'))"
append 40
watch_start
# It must not be dead before it may go.
relay_start large -X retry.attempts=10000 -X kafka.message.max.bytes=2000
holds its_own_limit_is_named wait_said large 'error="key and payload have [0-9]* bytes, the relay takes 2000 (kafka.message.max.bytes)"' 60
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
relay_start large -X retry.attempts=10000 -X kafka.message.max.bytes=20000
judge refused_row_goes_when_it_may --deadline 20 committed=121 unmarked=0
watch_stop
stop_clean large

# The largest that the schema lets in stops nobody else, and takes some memory.
reset
append 40
fault sql "insert into outbox.event (topic, type, key, payload, headers) values
    ('$topic', 'x', 'largest', convert_to(repeat('x', 33554432), 'UTF8'), jsonb_build_array(jsonb_build_array('h', repeat('y', 1048000)))),
    ('$topic', 'x', convert_to(repeat('k', 1048576), 'UTF8'), convert_to(repeat('x', 33554432), 'UTF8'), null)"
append 40
relay_start largest -X retry.attempts=1 -X lease.ttl=10s
holds others_pass_the_largest_rows wait_sql 40 80 "$sent"
holds the_largest_rows_are_dead wait_sql 40 2 "select count(*) from outbox.held where state = 'dead' and error_code = 'MSG_SIZE_TOO_LARGE'"
peak=$(memory largest VmHWM)
holds they_take_less_than_five_times_their_size test "$peak" -lt $((5 * 33 * 1024 + 40000))
printf '# two rows of 33 MiB: %d MiB at the peak\n' $((peak / 1024))
stop_clean largest

# Whatever the schema lets in, the relay must carry or leave alone.
reset
append 20
sql "insert into outbox.event (topic, type, key, payload, headers) values
     ('$topic', 'x', null, null, null), ('$topic', 'x', '', '', '[]'),
     ('$topic', 'x', decode(repeat('00ff', 500), 'hex'), decode(repeat('00', 1048576), 'hex'), null),
     ('$topic', repeat('t', 200), 'k', 'p', '[[\"a\", \"1\"], [\"a\", \"1\"], [\"\u00fc\", \"\u0001\"]]')" 2>"$dir/hostile" ||
    not_ok hostile_rows_are_let_in "$(<"$dir/hostile")"
for name in 'not a topic' .. a/b ''; do
    ! sql "insert into outbox.event (topic, type, key) values ('$name', 'x', 'k')" 2>/dev/null ||
        not_ok "topic_that_no_broker_takes_is_refused_at_once_$name"
done
fault sql "insert into outbox.event (topic, type, key) select t, 'x', 'k' from unnest(array['$topic-._', '$topic..b', rpad('$topic', 249, 't')]) t"
append 20
relay_start hostile
holds hostile_rows_go_out wait_sent
holds relay_outlives_hostile_rows alive "${relay_pid[hostile]}"
watch_all
judge hostile_rows_arrive_unaltered committed=47 unmarked=0
stop_clean hostile

# refused NAME CODES...: one stream, and for each line of codes three times these answers to Produce
refused() {
    local name=$1 codes
    stream_start "$name"
    for codes in "${@:2}"; do
        for _ in 1 2 3; do
            # shellcheck disable=SC2086 # words
            fault refuse "$name" $codes
            must_move "moves_after_${codes// /_}" "$name"
        done
    done
    stream_judge "$name"
    stop_clean "$name"
}
refused batch_is_refused MSG_SIZE_TOO_LARGE
refused producer_is_fatally_wrong OUT_OF_ORDER_SEQUENCE_NUMBER
refused other_answers_of_the_broker 'INVALID_RECORD MSG_SIZE_TOO_LARGE POLICY_VIOLATION' TOPIC_AUTHORIZATION_FAILED \
    'NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT NOT_ENOUGH_REPLICAS' UNKNOWN_PRODUCER_ID INVALID_PRODUCER_EPOCH

# A partition that does not know the producer takes a batch behind one that it has just refused for a while,
# and librdkafka takes that for a confirmation of the refused one. The first row is the topic's pilot; then
# each row is a batch of its own, and several are on their way to each of the other partitions.
reset
append 1 "$topic" null
relay_start concluded -X kafka.batch.num.messages=1 -X kafka.linger.ms=0 -X kafka.sticky.partitioning.linger.ms=0
wait_sent || not_ok pilot_goes_ahead
mock rtt 200
for n in 1 2 3; do fault mock push-error-at "$n" 0 NOT_ENOUGH_REPLICAS; done
append 60 "$topic" null
holds rows_refused_for_a_while_go wait_sent
mock rtt 0
watch_all
judge confirmation_that_librdkafka_concluded_is_none committed=61 unmarked=0
stop_clean concluded
holds it_is_sent_again_and_counted test "$(sed -n 's/.*msg=stopped.* maybe_delivered=\([0-9]*\).*/\1/p' "$dir/concluded.log")" -gt 0

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

# In 20000 rows of 4 KiB the relay passes 80 MiB through memory of which it needs a fraction at a time. What is free is
# kept here, not given back after a second, so that how long it takes changes nothing: 5000 to 8000 page faults, on a busy
# machine as well, and 20000 to 36000 where small pieces are not cut from large ones.
minor_faults() { awk '{ sub(/.*\) /, ""); print $8 }' "/proc/${relay_pid[$1]}/stat"; }

reset
MALLOC_CONF=dirty_decay_ms:-1 relay_start again
wait_said again msg=leading || true
before=$(minor_faults again)
append 20000 "$topic" "convert_to('k' || n % 1000, 'UTF8')" "decode(repeat(md5(n::text), 256), 'hex')"
holds rows_of_4_kib_go_out wait_sent 60
faults=$(($(minor_faults again) - before))
printf '# %d page faults for 20000 rows of 4 KiB\n' "$faults"
holds memory_that_is_free_is_used_again test "$faults" -lt 14000
stop_clean again

finish
