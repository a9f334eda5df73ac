#!/usr/bin/env bash
# verify.sh - outbox-relay verify and trace against PostgreSQL and a broker: a relay sends events, then what the
# database says, or what the topic holds, is changed. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"
kafka=(-X "kafka.bootstrap.servers=$brokers")
counts() { j "concat_ws(' ', j->>'n_compared', j->>'n_as_sent', j->>'n_missing', j->>'n_changed', j->>'n_expired', j->>'n_unplaced', j->>'n_twice', j->>'n_replayed', j->>'n_not_sent')"; }
# again ID [PAYLOAD]: the record of that event once more, by another producer
again() { sql "select e.topic || E'\t' || convert_from(e.key, 'UTF8') || E'\tce_id=' || e.event_id || ';ce_sequence=' || lpad(e.id::text, 20, '0') || E'\t${2:-x}' from outbox.event e where e.id = $1" | "$OUTBOX_TOOLS/produce" "$brokers"; }

# --- words ------------------------------------------------------------------------------------------

for command in verify trace; do
    says "${command}_has_help" 0 "^Usage: outbox-relay $command " "$command" --help
    said_so "${command}_help_has_examples" 0 "^  outbox-relay $command "
    says "${command}_unknown_option" 64 "unrecognized option '--nope'" "$command" --nope
done
says verify_takes_no_argument 64 'x: an argument that means nothing here' verify x
says range_must_not_be_upside_down 64 'to-id 3 lies before --from-id 5' verify --from-id 5 --to-id 3
says verify_needs_kafka 78 'kafka.bootstrap.servers' verify
says times_must_be_times 64 'verify: --since: yesternight: cannot be read as a time' verify --since yesternight "${kafka[@]}"
says since_is_named_when_it_is_wrong 64 '--since: yesternight: cannot be read' verify --since yesternight --until 1h "${kafka[@]}"
says until_is_named_when_it_is_wrong 64 '--until: now and then: cannot be read' verify --since 1h --until 'now and then' "${kafka[@]}"
says times_must_not_be_upside_down 64 'until 2h does not lie behind --since 1h' verify --since 1h --until 2h "${kafka[@]}"
says broken_times_are_escaped 64 'x\\x1b\[2J: cannot be read' verify --until $'x\x1b[2J' "${kafka[@]}"
says trace_needs_an_event 64 'which event' trace
says trace_needs_one_event 64 'which event' trace --id 5 01890a5d-ac96-774b-bcce-b302099a8057
says trace_of_no_uuid 64 "4711: is not an event's UUID" trace 4711
says trace_of_nothing 1 'there is no event with the number 99' trace --id 99
says trace_of_an_unknown_uuid 1 'there is no event 01890a5d-ac96-774b-bcce-b302099a8057' trace 01890a5d-ac96-774b-bcce-b302099a8057
says verify_without_database 69 'cannot connect to PostgreSQL' verify "${kafka[@]}" -X "dsn=host=127.0.0.1 port=1"

# --- all is well ------------------------------------------------------------------------------------

reset
cmd verify "${kafka[@]}"
said_so nothing_is_sent 0 '^no event in this range is marked sent$'
append 300
append 20 "$topic-b" 'null' 'null'
append 5 "$topic-b" "'\\x00ff'" "''::bytea"
sql "insert into outbox.event (topic, type, key, payload, headers) select '$topic', 'test', 'k1', 'x', jsonb_build_array(jsonb_build_array('a', n::text), jsonb_build_array('traceparent', '00-x')) from generate_series(1, 5) n"
relay_once send
equal relay_sends 0 "$status"
cmd verify "${kafka[@]}"
said_so all_as_sent 0 '^All are there as they were sent: 330 events compared$'
printf '# numbers of librdkafka have no unit\nkafka.socket.timeout.ms = 60s\n' >"$dir/wrong.conf"
named='wrong.conf:2: kafka.socket.timeout.ms = 60s: librdkafka takes a plain number'
says verify_names_the_place_of_a_wrong_setting 78 "$named" verify "${kafka[@]}" --config "$dir/wrong.conf"
says replay_names_the_place_of_a_wrong_setting 78 "$named" replay --from-id 1 --to-id 1 --yes "${kafka[@]}" --config "$dir/wrong.conf"
cmd trace --id 1 "${kafka[@]}" --config "$dir/wrong.conf"
said_so trace_names_the_place_of_a_wrong_setting "$code" "$named"
cmd status "${kafka[@]}" --config "$dir/wrong.conf"
said_so status_names_the_place_of_a_wrong_setting "$code" "$named"
for envelope in debezium plain; do
    cmd verify "${kafka[@]}" --json -X envelope=$envelope
    equal "other_envelope_$envelope" '69 0 330' "$code $(j "concat_ws(' ', j->>'n_as_sent', j->>'n_changed')")"
done
says other_source 69 '^changed  *330$' verify "${kafka[@]}" -X source=/elsewhere
said_so other_source_is_named 69 '^changed .* ce_source$'
said_so other_source_is_explained 69 'only ce_source differs: is the setting source, here /elsewhere, that of the relay?'
append 3
cmd verify "${kafka[@]}" --json --from-id 301
equal range_of_ids '30 30 0 0 0 0 0 0 3' "$(counts)"
cmd verify "${kafka[@]}" --json --from-id 10 --to-id 19
equal range_of_ids_has_both_ends '10 10 0 0 0 0 0 0 0' "$(counts)"
cmd verify "${kafka[@]}" --json --topic "$topic-b"
equal one_topic '25 25 0 0 0 0 0 0 0' "$(counts)"
sql "update outbox.sent set sent_at = now() - interval '2 h' where id <= 100"
cmd verify "${kafka[@]}" --json
equal last_hour_by_itself '230 230 0 0 0 0 0 0 0' "$(counts)"
cmd verify "${kafka[@]}" --json --since 3h --until 90m
equal range_of_times '100 100 0 0 0 0 0 0 0' "$(counts)"
cmd verify "${kafka[@]}" --json --since "$(sql "select now() - interval '3 h'")"
equal time_in_full '330 330 0 0 0 0 0 0 0' "$(counts)"

# --- what can be wrong ------------------------------------------------------------------------------

sql "update outbox.event set payload = 'other' where id = 110; update outbox.event set key = 'other' where id = 111;
     update outbox.event set headers = '[[\"a\", \"b\"]]' where id = 112; update outbox.event set event_id = gen_random_uuid() where id = 113;
     update outbox.event set payload = null where id = 114;
     update outbox.sent set kafka_offset = 1000000 where id = 120; update outbox.sent set kafka_partition = 99 where id = 121;
     update outbox.sent set kafka_offset = null where id = 122"
again 130
again 131
cmd verify "${kafka[@]}" --json --from-id 1
equal findings '69 330 322 2 5 0 1 2 0 3' "$code $(counts)"
example() { j "(select string_agg(concat_ws(':', e->>'id', e->>'found', e->'different'->>0), ' ' order by (e->>'id')::int) from jsonb_array_elements(j->'examples') e)"; }
equal examples '110:changed:payload 111:changed:key 112:changed:headers 113:changed:event_id 114:changed:payload 120:missing 121:missing 130:twice 131:twice' "$(example)"
cmd verify "${kafka[@]}" --from-id 1
said_so findings_in_words 69 '^NOT all are there as they were sent: 330 events compared$'
said_so changed_example 69 "^changed  *110  *$(event_id 110)  *$topic  *[0-9]  *[0-9]*  *payload$"
said_so twice_example 69 "^twice  *130  *.* one is at partition [0-9], offset [0-9]*$"
said_so unplaced_is_said 69 '^unplaced  *1 '
said_so not_sent_is_said 69 '^not sent  *3 '
cmd verify "${kafka[@]}" --from-id 1 --limit 1 --json
equal examples_are_limited 1 "$(j "jsonb_array_length(j->'examples')")"
cmd verify "${kafka[@]}" --from-id 130 --to-id 131
said_so twice_is_no_fault 0 '^None is missing or changed: 2 events\|^All are there as they were sent: 2 events'
says topic_is_gone 69 '^missing  *1$' verify "${kafka[@]}" --from-id 121 --to-id 121
said_so topic_that_is_gone_is_said 69 'the topic is not there any more, or has fewer partitions$'
says no_broker_answers 69 'no Kafka broker answers this command, so that nothing was compared: 127.0.0.1:1: .*refused' verify --from-id 1 --to-id 5 -X kafka.bootstrap.servers=127.0.0.1:1
equal no_event_is_unread_then 0 "$(grep -c unread "$dir/out" || true)"
cmd verify --from-id 1 --to-id 5 -X kafka.bootstrap.servers=127.0.0.1:1 --json
equal no_broker_json '69 f t' "$code $(j "concat_ws(' ', (j->>'good')::bool, j->>'error' ~ 'refused')")"

# More than one chunk, and repeats across the border between two.
reset
append 12000 "$topic" "convert_to('k' || n % 3, 'UTF8')"
relay_once many
again 9990
again 11000
cmd verify "${kafka[@]}" --json
equal many_chunks '12000 12000 0 0 0 0 2 0 0' "$(counts)"

# Nothing keeps an application from giving two events one id: each has its record.
reset
sql "insert into outbox.event (topic, type, key, payload, event_id) select '$topic', 'test', 'k', convert_to(n::text, 'UTF8'), '01890a5d-ac96-774b-bcce-b302099a8057' from generate_series(1, 3) n"
relay_once one_id
cmd verify "${kafka[@]}" --json
equal events_of_one_id '3 3 0 0 0 0 0 0 0' "$(counts)"

# The mock keeps 5 MiB of a partition: the oldest go.
reset
append 9 "$topic" "'\\x61'" "convert_to(repeat('x', 900000) || n, 'UTF8')"
relay_once large
cmd verify "${kafka[@]}" --json
if (($(j "j->>'n_expired'") > 0 && $(j "j->>'n_as_sent'") > 0 && code == 0)); then
    ok expired_is_told_from_missing
else
    not_ok expired_is_told_from_missing "exit $code, $(counts)"
fi

# --- trace ------------------------------------------------------------------------------------------

reset
sql "insert into outbox.event (topic, type, key, payload, event_id) values ('$topic', E'te\x1b[2Jst', 'k1', 'x', '01890a5d-ac96-774b-bcce-b302099a8057')"
append 3 "$topic" "'\\x6b31'"
relay_once trace
cmd trace --id 1 "${kafka[@]}"
said_so trace_tells_the_event 0 "^event   1, 01890a5d-ac96-774b-bcce-b302099a8057$"
said_so trace_escapes 0 '^type    te\\x1b\[2Jst (version 1)$'
said_so trace_tells_the_append 0 "Z  the transaction began that appended it: $(sql 'select xid from outbox.event where id = 1'); it is in outbox.event_"
said_so trace_tells_the_mark 0 'Z  it was marked sent: partition [0-9], offset 0; it had waited for [0-9.]* s$'
said_so trace_finds_the_record 0 'Z  its record is there$'
said_so trace_tells_later_ones 0 'of the next 3 events 3 have its key; 3 of them are sent$'
says trace_tells_of_no_later_one 0 'no later event of its key$' trace --id 4 "${kafka[@]}"
says trace_without_kafka 0 'the topic was not looked at: kafka.bootstrap.servers is not set' trace --id 1
says trace_without_a_broker 0 'the topic could not be looked at' trace --id 1 -X kafka.bootstrap.servers=127.0.0.1:1
cmd trace 01890a5d-ac96-774b-bcce-b302099a8057 "${kafka[@]}" --json
equal trace_json '1 sent there 3 k1' "$(j "concat_ws(' ', j->>'id', j->>'state', j->'record'->>'found', j->>'later_of_its_key', j->>'key')")"
cmd trace "$(event_id 3)" "${kafka[@]}" --json
equal trace_by_a_random_uuid '3 sent' "$(j "concat_ws(' ', j->>'id', j->>'state')")"
sql "update outbox.event set payload = 'y' where id = 2; update outbox.sent set kafka_offset = 77 where id = 3; update outbox.sent set kafka_offset = null where id = 4"
says trace_finds_another_record 0 'the record there is not as it was sent; different: payload$' trace --id 2 "${kafka[@]}"
says trace_finds_no_record 0 'its record is not there (the topic holds offsets 0 to 3)' trace --id 3 "${kafka[@]}"
says trace_without_a_place 0 'where its record is, is not known' trace --id 4 "${kafka[@]}"
append 4 "$topic" "'\\x6b31'" # 5 to 8
says trace_of_a_pending_one 0 'now it is pending: it is neither marked sent nor held; it goes by itself' trace --id 5
hold dead 5
hold blocked 6 0
hold retrying 7
sql "insert into outbox.event (topic, type, available_at) values ('$topic', 'test', now() + interval '1 day')" # 9
says trace_of_a_dead_one 0 'now it is dead: it does not go again by itself; a person decides' trace --id 5
said_so trace_tells_the_error 0 '^2026-01-02T03:04:05.678Z  it could not go for the first time$'
said_so trace_gives_no_time_of_the_last_error 0 '^  *5 attempts refused so far, the last for: MSG_SIZE_TOO_LARGE: Broker: Message size too large$'
says trace_of_a_blocked_one 0 'now it is blocked: it waits for an earlier event of its key; before it goes event 5, which is dead' trace --id 6
says trace_of_a_retrying_one 0 'now it is retrying: .*; due at ' trace --id 7
sql "update outbox.held set state = 'paused', attempts = 0, next_attempt_at = null where id = 7"
says trace_of_a_paused_one 0 "now it is paused: its topic takes nothing; .*outbox-relay discard --topic $topic --paused --reason TEXT" trace --id 7
said_so trace_counts_no_attempts_of_a_paused_one 0 'Z  it could not go: MSG_SIZE_TOO_LARGE'
sql "update outbox.held set state = 'retrying', attempts = 5, next_attempt_at = now() + interval '1 hour' where id = 7"
sql "update outbox.held set attempts = 1 where id = 7"
says trace_of_one_that_was_refused_once 0 '^2026-01-02T03:04:05.678Z  it could not go, 1 attempt refused so far, for: MSG_SIZE_TOO_LARGE: Broker' trace --id 7
sql "update outbox.held set attempts = 5, state = 'discarded', error_code = 'DISCARDED', error = 'too large' where id = 7"
says trace_gives_no_time_of_a_discard 0 '^  *it was given up by a person: DISCARDED: too large$' trace --id 7
said_so trace_gives_the_first_refusal_of_a_discarded_one 0 '^2026-01-02T03:04:05.678Z  it could not go for the first time$'
said_so trace_of_a_discarded_one_does_not_wait 0 'now it is discarded: it is never sent$'
cmd trace --id 7 --json
equal trace_json_of_a_discarded_one t "$(j "j->'waited_s' = 'null'::jsonb")"
sql "update outbox.held set state = 'retrying', attempts = 5, next_attempt_at = now() + interval '1 hour' where id = 7"
says trace_of_a_scheduled_one 0 'now it is scheduled: ' trace --id 9
said_so trace_tells_its_time 0 'Z  it was not to be sent before$'
sql "insert into outbox.event (topic, type, available_at) values ('$topic', 'test', 'infinity')" # 10
says trace_of_one_that_is_never_due 0 'now it is scheduled: ' trace --id 10
exit "$bad"
