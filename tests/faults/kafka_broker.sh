#!/usr/bin/env bash
# kafka_broker.sh - a real Kafka fails: killed with the relay, killed and restarted on its data, frozen
# longer than any deadline, its acknowledgements lost, a batch refused.
# A broker of its own; the relay can be led to it through a proxy, the judge reads from it directly.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
own_database
own_kafka

# stream_on NAME ARGUMENT...: as stream_start, on topics that are made first
stream_on() {
    reset
    for name in "$topic" "$topic-b"; do make_topic "$name" 4; done
    watch_start
    writer_start
    relay_start "$@"
    wait_until 30 grows 100 || not_ok "$1_starts" "$(tail -n 3 "$dir/$1.log")"
}

# --- a backlog, and everything is killed ---------------------------------------------------------

reset
for name in "$topic" "$topic-b" "$topic-c"; do make_topic "$name" 4; done
for name in "$topic" "$topic-b" "$topic-c"; do
    append 16667 "$name" "case n % 10 when 0 then null else convert_to('k' || n % 101, 'UTF8') end" \
        "decode(repeat(md5(n::text), 16), 'hex')"
done
watch_start
for n in {1..5}; do
    # a small window, so that the backlog lasts for all kills
    relay_start killed -X lease.owner=killed -X inflight.rows=1000 -X batch.rows=500
    wait_until 30 grows "$((n * 3000))" || not_ok "start_$n" "$(tail -n 3 "$dir/killed.log")"
    ((n != 3)) || { fault "$broker" kill "$dir/broker" && "$broker" restart "$dir/broker" >/dev/null; }
    chance_pause 100 # where it hits is left to chance
    fault relay_kill killed
done
relay_start killed -X lease.owner=killed
judge relay_killed_five_times_and_broker_once --deadline 60 committed=50001 unmarked=0
# Each kill sends again at most what was in flight.
holds repeats_are_bounded test "$(number duplicates)" -le $((6 * 1000))
watch_stop
relay_signal killed TERM
relay_end killed 20
equal ends_clean 0 "$status"

# --- refused by the broker ------------------------------------------------------------------------

reset
make_topic "$topic" 3 max.message.bytes=5000
make_topic "$topic-b" 3
append 500 "$topic"
fault sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'k5', convert_to(repeat('x', 20000), 'UTF8'))"
append 500 "$topic"
append 200 "$topic-b"
watch_start
# small batches: several are on their way behind the one that is refused
relay_start large -X kafka.batch.num.messages=10
rest=$(sql "select count(*) from outbox.event where topic = '$topic' and key = 'k5' and id > 500")
holds only_the_culprit_and_its_key_stay wait_sql 60 "$rest" "$unsent"
equal culprit_stays 1 "$(sql "$unsent and e.id = 501")"
append 300 "$topic" "convert_to('k' || n % 5, 'UTF8')"
append 300 "$topic-b"
holds rows_that_come_later_pass wait_sql 60 "$rest" "$unsent"
holds refusal_is_logged said large "did not accept.*id=501 .*code=MSG_SIZE_TOO_LARGE"
judge nothing_overtook_within_its_key --deadline 20 --ledger "$marked" --allow-pending "arrived=$((1801 - rest))" reordered=0
watch_stop
relay_signal large TERM
relay_end large 20
equal ends_clean_with_a_refused_row 0 "$status"

# Where the broker knows nothing yet of the producer it takes any sequence number: a batch that is on its
# way behind the first of a partition must not be written when that first one is refused. Key 3 goes to
# partition 1 and opens the topic, key big goes to partition 0.
for n in {1..5}; do
    reset
    make_topic "$topic" 2
    sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', '3', 'first'),
         ('$topic', 'x', 'big', convert_to(repeat('x', 2000000), 'UTF8')), ('$topic', 'x', 'big', 'behind'),
         ('$topic', 'x', 'big', 'behind it too'), ('$topic', 'x', '3', 'last')"
    relay_once cold -X lease.owner=cold
    equal "nothing_passes_a_row_refused_on_a_cold_partition_$n" "69 3" "$status $(sql "$unsent")"
done

# --- in mid-stream ---------------------------------------------------------------------------------

stream_on restarted
for n in 1 2 3; do
    fault "$broker" kill "$dir/broker"
    n_kills=$((n_kills + 1))
    chance_pause 1000
    "$broker" restart "$dir/broker" >/dev/null
    must_move "moves_after_the_broker_was_restarted_$n" restarted 60
done
stream_judge broker_killed_and_restarted_on_its_data
stop_clean restarted

# The deadlines are shorter than the defaults, so that the broker can be frozen for longer than all of them.
stream_on frozen -X kafka.request.timeout.ms=1000 -X kafka.socket.timeout.ms=2000
fault "$broker" pause "$dir/broker"
holds frozen_broker_is_noticed wait_said frozen 'code=_\(TIMED_OUT\|TRANSPORT\|ALL_BROKERS_DOWN\|MSG_TIMED_OUT\)' 20
"$broker" cont "$dir/broker"
must_move moves_after_the_freeze frozen 60
stream_judge broker_frozen_longer_than_any_deadline
stop_clean frozen

# Each time a batch is written, and its acknowledgement is lost with the connection. The producer sends it
# again and the broker knows its sequence number: nothing is there twice.
stream_on unacked "${through_proxy[@]}" "${steady[@]}"
for n in {1..8}; do
    before=$(times_lost kafka)
    fault proxy kafka "lose ce_type" # stands in records only
    wait_until 20 lost_more_than kafka "$before" || not_ok "acknowledgement_is_lost_$n"
    must_move "moves_after_the_lost_acknowledgement_$n" unacked 40
done
for n in 1 2 3; do
    fault proxy kafka cut
    must_move "moves_after_a_cut_$n" unacked 40
done
fault proxy kafka stall
chance_pause 500
proxy kafka resume
fault proxy kafka "pieces 100 1"
must_move moves_on_a_slow_link unacked 40
proxy kafka resume
stream_judge acknowledgements_lost_and_links_cut duplicates=0
stop_clean unacked

finish
