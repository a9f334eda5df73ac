#!/usr/bin/env bash
# relay_flow.sh - what goes in and what is on the wire: rows, envelopes, marks, partitions. No faults.
# Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS (a mock broker does).
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

# --- all of it, once -----------------------------------------------------------------------------

reset
updates_before=$(sql "$updates")
append 400
append 300 "$topic-b"
append 300 "$topic-c" null
sql "begin; insert into outbox.event (topic, type, key) values ('$topic', 'test', 'k1'); rollback"
relay_once once
equal once_ends_with_exit_status_0 0 "$status"
watch_all
judge once_publishes_and_marks_all_exactly committed=1000 arrived=1000 duplicates=0 marks=1000 unmarked=0 false_marks=0
holds once_says_what_it_did said once 'rows_marked=1000 .*exit_code=0'
equal lease_is_given_back '' "$(sql "select owner from outbox.relay")"

relay_once again
equal once_with_nothing_to_do_ends_with_0 0 "$status"
watch_all
judge nothing_goes_twice committed=1000 duplicates=0
# Statistics come when a session ends; those of the relay have ended.
equal events_and_marks_are_insert_only "$updates_before" "$(sql "$updates")"

append 50
relay_once more -X batch.rows=7 -X inflight.rows=20 -X inflight.bytes=2KiB
watch_all
judge once_goes_on_where_it_ended_and_in_small_pages committed=1050 arrived=1050 duplicates=0 unmarked=0

# --- key and payload -----------------------------------------------------------------------------

# wire FORMAT: all records of the topic, which has one partition
wire() { kcat -q -b "$brokers" -C -t "$topic" -o beginning -e -f "$1\n"; }

reset
"$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 1
sql "insert into outbox.event (topic, type, key, payload) values
         ('$topic', 'x', 'key', 'payload'), ('$topic', 'x', 'key', null), ('$topic', 'x', 'key', ''),
         ('$topic', 'x', null, 'payload'), ('$topic', 'x', '', 'payload'), ('$topic', 'x', null, null),
         ('$topic', 'x', E'\\\\x00ff0a', E'\\\\x0d0a00')"
relay_once wire
# lengths: -1 is NULL
equal null_and_empty_keys_and_payloads_are_told_apart '3/7 3/-1 3/0 -1/7 0/7 -1/-1 3/3' "$(wire '%K/%S' | tr '\n' ' ' | sed 's/ $//')"
equal bytes_are_untouched 00ff0a0d0a00 "$(kcat -q -b "$brokers" -C -t "$topic" -o 6 -c 1 -e -f '%k%s' | od -An -tx1 | tr -d ' \n')"
equal timestamp_is_created_at "$(sql "select floor(extract(epoch from created_at) * 1000) from outbox.event order by id")" "$(wire '%T')"
watch_all
judge marks_of_tombstones_are_exact committed=7 duplicates=0
sql "insert into outbox.event (topic, type, created_at) values ('$topic', 'x', 'epoch')"
relay_once epoch
equal the_epoch_is_not_taken_for_no_time 1 "$(wire '%T' | tail -n 1)"

# --- envelopes -----------------------------------------------------------------------------------

# envelope NAME SETTINGS EXPECTED-SQL: the headers, in order, of a full row and of a bare one
envelope() {
    local name=$1 settings=$2
    reset
    "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 1
    sql "insert into outbox.event (topic, type, schema_version, content_type, payload, headers) values
             ('$topic', 'order.created', 7, 'application/json', '{}',
              '[[\"h\", \"1\"], [\"traceparent\", \"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"],
                [\"h\", \"2\"], [\"correlationid\", \"c-1\"], [\"empty\", \"\"], [\"h\", \"\\u00e9 \\\"q\\\"\"]]'),
             ('$topic', 'bare', 1, null, null, null)"
    # shellcheck disable=SC2086 # words
    relay_once "$name" $settings
    equal "$name" "$(sql "select $3 from outbox.event e order by id")" "$(wire '%h')"
}
ce="'ce_specversion=1.0,ce_id=' || event_id || ',ce_source=/shop,ce_type=' || type || ',ce_time='
    || to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
    || coalesce(',content-type=' || content_type, '') || ',ce_schemaversion=' || schema_version
    || ',ce_sequence=' || lpad(id::text, 20, '0')"
own="'h=1,traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,h=2,%empty=,h=é \"q\"'"
trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
envelope cloudevents_headers_are_exact '-X source=/shop' "$ce || case when headers is null then '' else
    ',h=1,traceparent=$trace,ce_traceparent=$trace,h=2,ce_correlationid=c-1,empty=,h=é \"q\"' end"
envelope debezium_headers_are_exact '-X envelope=debezium' "'id=' || event_id || ',eventType=' || type ||
    case when headers is null then '' else ',' || ${own/\%/correlationid=c-1,} end"
envelope plain_headers_are_exact '-X envelope=plain' "case when headers is null then '' else ${own/\%/correlationid=c-1,} end"

# --- partitions ----------------------------------------------------------------------------------

# Kafka's own test vectors of murmur2 (UtilsTest of kafka-clients); a Java producer takes the partition
# (hash & 0x7fffffff) % partitions.
declare -A murmur2=([21]=-973932308 [foobar]=-790332482 [a-little-bit-long-string]=-985981536
    [a-little-bit-longer-string]=-1486304829 [lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8]=-58897971
    [abc]=479470107)
reset
want=
for n in 1 3 7 16; do
    "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic-$n" "$n"
    for key in "${!murmur2[@]}"; do
        sql "insert into outbox.event (topic, type, key) values ('$topic-$n', 'x', '$key')"
        want+="$topic-$n $key $(((murmur2[$key] & 0x7fffffff) % n))"$'\n'
    done
done
relay_once partitions
equal keys_land_where_a_java_producer_puts_them "$(sort <<<"${want%$'\n'}")" \
    "$(sql "select topic || ' ' || convert_from(key, 'UTF8') || ' ' || kafka_partition from outbox.event_status" | sort)"
watch_all
judge marks_name_these_partitions committed=24 duplicates=0 false_marks=0 split=0

# --- a stream ------------------------------------------------------------------------------------

reset
relay_start stream "${steady[@]}"
wait_said stream 'msg=leading' || true
watch_start
writer_start
holds stream_is_marked_while_it_flows wait_until 20 is "select count(*) > 2000 from outbox.sent" t
writer_stop
holds stream_is_marked_to_its_end wait_sent
judge stream_arrives_whole --deadline 30 duplicates=0 unmarked=0
relay_signal stream TERM
relay_end stream 20
equal stream_ends_with_0_on_term 0 "$status"
watch_stop

# --- what the DBA has set for other sessions ----------------------------------------------------------

# The one that stands by reads nothing; and what comes with the dsn counts like a default of the database.
if (($(sql 'show server_version_num') >= 140000)); then
    reset
    relay_start leads "${steady[@]}"
    wait_said leads 'msg=leading' || true
    relay_dsn="$dsn application_name=stands_by options='-c idle_session_timeout=2000'" relay_start stands_by "${steady[@]}"
    wait_said stands_by 'another relay leads' || true
    holds a_session_that_rests_is_not_ended wait_sql 20 t \
        "select count(*) > 0 from pg_stat_activity where application_name = 'stands_by' and now() - state_change > interval '3 s'"
    holds and_is_not_lost test "$(times_said stands_by 'lost PostgreSQL')" = 0
    relay_kill stands_by
    relay_kill leads
else
    skip a_session_that_rests_is_not_ended 'the server is older than 14'
fi

# --- rows for later --------------------------------------------------------------------------------

reset
sql "insert into outbox.event (topic, type, key, available_at)
     values ('$topic', 'soon', 'k', now() + '1h'), ('$topic', 'never', 'k', 'infinity'), ('$topic', 'now', 'k', null)"
relay_once later
equal once_leaves_what_is_for_later 0 "$status"
equal only_the_row_for_now_is_sent now "$(sql "select string_agg(type, ' ') from outbox.event_status where sent_at is not null")"
sql "with soon as (update outbox.event set available_at = now() + '1s' where type = 'soon' returning id, available_at)
     update outbox.held h set next_attempt_at = soon.available_at from soon where h.id = soon.id"
relay_start later
holds a_row_is_sent_when_its_time_has_come wait_sql 20 2 "$sent"
equal not_before_its_time t "$(sql "select bool_and(s.sent_at >= e.available_at) from outbox.event e join outbox.sent s using (id) where e.type = 'soon'")"
relay_signal later TERM
relay_end later 20

exit "$bad"
