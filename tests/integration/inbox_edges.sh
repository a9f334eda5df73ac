#!/usr/bin/env bash
# inbox_edges.sh - libinbox where two rare things meet: a repeat behind an event that COMMIT refuses, an owner
# that is none any more while its position stands still, handlers that lose the link, positions that Kafka does
# not have, a stop while a broker hangs. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"

held_up() { metric_is held_keys 1 && (($(metric in_flight_events) > 25)) && ! metric_is partitions_paused 0; }
stop() { worker_signal "$1" TERM; worker_end "$1" 30; }

# --- a repeat behind an event that COMMIT refuses ----------------------------------------------------------

inbox_reset
make_topic 1
printf 'k\told\tp\n' >"$dir/in"
send "$dir/in"
worker_start w
effects_are the_first_one_is_applied
stop w
printf 'other\tfirst\tp\nk\tlate\tlate dead\nk\told\tp\nk\tlast\tp\n' >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 3
effects_are a_repeat_waits_behind_what_commit_refuses
stop w
equal and_nothing_breaks 0 "$status"
equal errors_do_not_show_values_of_rows 0 "$(sql "select count(*) from inbox.dead where error like '%(0)%' or error not like 'at COMMIT: %child_id_fkey%'")"

# --- a record whose time no database knows ------------------------------------------------------------------

inbox_reset
make_topic 1
printf '%s\tk\tce_id=far;ce_type=test;@timestamp=1700000000000000000\treject\n' "$topic" | "$OUTBOX_TOOLS/produce" "$brokers"
printf 'k\tfar\treject\n' >"$dir/sent"
printf 'k\tnext\tp\n' >"$dir/in"
send "$dir/in"
worker_start w
effects_are any_timestamp_can_be_a_dead_letter
equal its_time_is_left_out t "$(sql 'select recorded_at is null from inbox.dead')"
stop w

# --- an owner that is none any more, while its position stands still -----------------------------------------

inbox_reset
make_topic 1
printf 'bad\tb\tfail=1000000\ngood\tg1\tp\ngood\tg2\tgate\n' >"$dir/in"
send "$dir/in"
worker_start w worker.metrics "$dir/metrics" batch.rows 1 retry.attempts 0 retry.max 10s retry.base 10s retry.total 1h
wait_sql 30 1 'select count(*) from public.effect' || not_ok g1_is_applied "$(tail -n 3 "$dir/w.log")"
fence
wait_until 30 metric_is fenced_total 1 || not_ok it_cannot_commit_behind_one_that_is_held "$(metric fenced_total)"
equal what_it_did_there_is_undone 1 "$(sql "select count(*) from public.effect where n <= $fenced_to")"
worker_kill w

# --- handlers that lose the link ---------------------------------------------------------------------------

inbox_reset
make_topic 1
{ printf 'bad\tb1\tcut=1000000 dead\nbad\tb2\tp\n'; lines 60 6; } >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 2
effects_are a_handler_that_loses_the_link_holds_back_its_key_only 60
equal it_becomes_a_dead_letter "attempts|2|the link to the database is lost each time its handler works" \
    "$(sql "select reason, attempts, error from inbox.dead")"
sql "update inbox.dead set state = 'retry'"
wait_sql 60 dead "select state from inbox.dead" || not_ok sent_back_it_is_dead_again "$(tail -n 3 "$dir/w.log")"
stop w

# --- a handler that ends its transaction and asks for another try ----------------------------------------------

for word in reject fail=1; do
    inbox_reset
    make_topic 1
    printf 'k\tc\tcommit begin %s\n' "$word" >"$dir/in"
    send "$dir/in"
    : >"$dir/w.log"
    worker_start w
    worker_end w 30
    equal "what_a_handler_committed_is_not_hidden_by_$word" 1 "$status"
    holds "and_it_is_told_with_$word" grep -q '^inbox_worker: -33 .*ended the transaction' "$dir/w.log"
done

# --- where a partition begins ------------------------------------------------------------------------------

inbox_reset
make_topic 1
lines 5 2 >"$dir/in"
send "$dir/in"
worker_start w inbox.start latest
wait_sql 30 5 "$finished" || not_ok where_it_began_is_kept "$(tail -n 3 "$dir/w.log")"
stop w
: >"$dir/sent"
lines 3 2 | sed 's/id-/while-away-/' >"$dir/in"
send "$dir/in"
n_sent=8
worker_start w inbox.start latest
effects_are latest_passes_over_nothing_after_its_first_start
stop w
# A position that the log does not have: all that there is, and the ids drop what was applied.
sql 'update inbox.position set next_offset = 1000000'
worker_start w inbox.start latest
wait_sql 30 8 "$finished" || not_ok latest_goes_back_when_its_position_is_gone "$(tail -n 3 "$dir/w.log")"
{ cat "$dir/sent"; lines 5 2; } >"$dir/all"
cp "$dir/all" "$dir/sent"
effects_are what_is_there_is_applied_once
stop w

# A backup that was made before there was an event: Kafka knows of what came after it.
inbox_reset
make_topic 1
worker_start w
wait_sql 30 0 'select next_offset from inbox.position' || not_ok where_an_empty_partition_begins_is_kept "$(tail -n 3 "$dir/w.log")"
stop w
sql 'drop table if exists public.backup; create table public.backup as select * from inbox.position'
lines 5 2 >"$dir/in"
send "$dir/in"
worker_start w
effects_are what_came_after_the_backup_is_applied
stop w
sql 'truncate public.effect, inbox.seen, inbox.position; insert into inbox.position table public.backup'
worker_start w
effects_are it_is_applied_again_in_a_database_that_was_restored
stop w

# Nothing can be given up in the database: three are tried, and the log says how many were not.
inbox_reset
make_topic 5
: >"$dir/w.log"
worker_start w
wait_sql 30 5 'select count(next_offset) from inbox.position' || not_ok all_five_begin "$(tail -n 3 "$dir/w.log")"
claims_shut
stop w
equal three_are_tried 3 "$(grep -c '^<4> inbox.position says still that .* is here' "$dir/w.log")"
holds and_what_was_not_tried_is_said grep -q '^<4> the database is not told of 2 more that are handed back, after 3 of which that failed' "$dir/w.log"
claims_open

# --- another log under the topic's name ----------------------------------------------------------------------

# Longer than the old one, so that Kafka has the position: only the record there tells.
inbox_reset
make_topic 1
lines 5 2 >"$dir/in"
send "$dir/in"
worker_start w
effects_are the_old_log_is_applied
stop w
old=$topic
topic=$topic-anew
make_topic 1
: >"$dir/sent"
lines 9 2 | sed 's/id-/anew-/' >"$dir/in"
send "$dir/in"
sql "update inbox.position set consumer = '$topic', topic = '$topic'; truncate public.effect" # the group is named so too
worker_start w
effects_are another_log_is_applied_from_its_beginning
stop w
holds and_it_is_said grep -q "^<4> $topic/0: the log goes back from offset 5 to 0: .*made anew" "$dir/w.log"
equal the_same_log_is_not_read_again 0 "$(grep -c "$old/0: the log goes back" "$dir/w.log")"

# --- a log that has lost its beginning ------------------------------------------------------------------------

# The broker keeps 5 MiB of a partition, as others keep a week.
inbox_reset
make_topic 1
awk -v p="$(printf '%50000s' p)" 'BEGIN { for (n = 1; n <= 200; n++) print "k" n % 5 "\tid-" n "\t" p }' >"$dir/in"
send "$dir/in"
sql "insert into inbox.position (consumer, topic, kafka_partition, next_offset) values ('$topic', '$topic', 0, 3)"
rm -f "$dir/metrics"
: >"$dir/w.log"
worker_start w worker.metrics "$dir/metrics"
wait_sql 60 200 "$finished" || not_ok what_is_there_is_applied "$(tail -n 3 "$dir/w.log")"
n_there=$(sql 'select count(*) from public.effect')
holds the_broker_has_deleted_some test "$n_there" -lt 197
expired() {
    local n
    n=$(metric expired_total)
    ((${n:-0} >= 197 - n_there))
}
wait_until 30 expired || not_ok what_was_deleted_is_counted "$(metric expired_total)"
holds and_told_as_an_error grep -q "^<3> $topic/0: offsets 3 to $((199 - n_there)) are no longer in the log" "$dir/w.log"
stop w

# --- the smallest memory -----------------------------------------------------------------------------------

inbox_reset
make_topic 1
printf 'bad\tb\tfail=4\n' >"$dir/in"
send "$dir/in"
: >"$dir/w.log"
worker_start w inflight.rows 1
effects_are one_event_in_memory_is_enough
stop w
equal memory_is_full_once 1 "$(grep -c 'memory is full' "$dir/w.log")"

# --- more events of a key that fails than memory has ---------------------------------------------------------

# Two topics of a partition each: the second is sent when the first has taken all that it gets.
inbox_reset
make_topic 1
hot=$topic
{ printf 'hot\th\tshut\n'; lines 400 1 | sed 's/^k0/hot/'; } >"$dir/in"
send "$dir/in"
topic=$topic-calm
make_topic 1
rm -f "$dir/metrics"
worker_start w topics "$hot,$topic" inflight.rows 100 retry.attempts 0 retry.total 1h worker.metrics "$dir/metrics"
wait_until 60 held_up || not_ok it_pauses "$(tail -n 3 "$dir/w.log")"
lines 1000 7 | sed 's/id-/calm-/' >"$dir/in"
send "$dir/in"
wait_sql 60 1000 "select next_offset from inbox.position where topic = '$topic'" ||
    not_ok a_key_that_fails_holds_back_its_partition_only "$(tail -n 3 "$dir/w.log")"
equal while_it_fails 0 "$(sql "select count(*) from public.effect where key = 'hot'")"
sql 'insert into public.gate default values'
effects_are and_afterwards_all_of_it_is_applied_in_order 60
stop w

# --- a stop while records come ---------------------------------------------------------------------------------

inbox_reset
make_topic 4
awk -v p="$(printf '%2000s' p)" 'BEGIN { for (n = 1; n <= 2000; n++) print "k" n % 50 "\tid-" n "\t" p }' >"$dir/in"
send "$dir/in"
for n in 1 2 3; do
    : >"$dir/w.log"
    worker_start w kafka.queued.min.messages 100000 kafka.fetch.message.max.bytes 20000
    wait_said w 'is assigned here' 30 || not_ok it_has_some "$(tail -n 3 "$dir/w.log")"
    stop w
    equal "what_comes_behind_a_stop_does_no_harm_$n" 0 "$status"
done

# --- a broker that hangs ---------------------------------------------------------------------------------------

# librdkafka sends the commit of the position again and again, and waits for its answer.
brokers=$("$broker" start "$dir/hung" mock)
OUTBOX_TEST_BROKER_DIR=$dir/hung
inbox_reset
make_topic 1
printf 'k\tg\tgate\n' >"$dir/in"
send "$dir/in"
: >"$dir/w.log"
worker_start w
wait_sql 30 t "select count(*) > 0 from pg_stat_activity where datname = current_database() and query = 'SELECT FROM public.gate'" ||
    not_ok a_handler_is_at_work "$(tail -n 3 "$dir/w.log")"
"$broker" pause "$dir/hung"
sql 'insert into public.gate default values'
wait_sql 30 1 "$finished" || not_ok a_hung_broker_keeps_nothing_from_being_applied "$(tail -n 3 "$dir/w.log")"
worker_signal w TERM
worker_end w 60
equal a_stop_does_not_wait_for_a_broker_that_hangs 0 "$status"
holds and_it_is_said grep -q '^<4> Kafka has not let this process leave group .* within 10 s' "$dir/w.log"
equal and_nothing_is_owned 0 "$(sql 'select count(owner) from inbox.position')"
"$broker" cont "$dir/hung"
exit $bad
