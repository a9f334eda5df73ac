#!/usr/bin/env bash
# kafka_doctor.sh - outbox-relay doctor and verify on a real Kafka: what the mock does not have, each caused for
# real. Starts a broker of its own, with an authorizer. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_KAFKA.
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"
brokers=$("$broker" start "$dir/own" kafka "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer" \
    allow.everyone.if.no.acl.found=true)
kafka=(-X "kafka.bootstrap.servers=$brokers")
make_topic() { "$broker" topic "$dir/own" "$@"; }

reset
make_topic "$topic-a" 2
append 3 "$topic-a"
finds one_replica 0 "^warn  topic .*\"$topic-a\" has one replica"
said_so rights_are_not_known 0 'whether this client may write cannot be seen without asking in earnest: --probe-write'
cmd doctor "${kafka[@]}" --probe-write
said_so may_write 0 "^ok    rights .*this client may write to \"$topic-a\""
make_topic deny "$topic-a"
denied() { cmd doctor "${kafka[@]}" --probe-write && [[ $code == 69 ]]; }
wait_until 30 denied || true
said_so may_not_write 69 "^fail  rights .*this client may not write to \"$topic-a\""
make_topic allow "$topic-a"
"$oracle" watch --brokers "$brokers" --topics "$topic-a" --out "$dir/records" --to-end
equal nothing_was_written 0 "$(grep -c . "$dir/records" || true)"

append 1 "$topic-missing"
finds topic_is_missing 69 "^fail  topic .*\"$topic-missing\" does not exist (or may not be seen); 1 event waits"
said_so missing_topic_is_named 69 "outbox-relay discard --topic $topic-missing --paused --reason TEXT$"
hold discarded 4 0
finds topic_is_missing_and_not_needed 0 "^warn  topic .*\"$topic-missing\": it does not exist.*; no event waits for it"
sql "delete from outbox.held; delete from outbox.event where topic = '$topic-missing'"
make_topic config "$topic-a" min.insync.replicas=2
finds too_few_replicas 0 "min.insync.replicas is 2 and it has 1 replica"
make_topic config "$topic-a" max.message.bytes=5000
append 1 "$topic-a" null "convert_to(repeat('x', 4500), 'UTF8')"
finds large_event 0 "event 5 has 4500 bytes without its envelope and the topic takes 5000"
append 1 "$topic-a" null "convert_to(repeat('x', 6000), 'UTF8')"
finds too_large_event 69 "^fail  topic .*event 6 has 6000 bytes and the topic takes 5000 (max.message.bytes): it will be refused"
said_so too_large_event_is_named 69 'outbox-relay discard --retrying --reason TEXT --id 6$'
cmd doctor "${kafka[@]}" -X kafka.compression.codec=lz4
said_so too_large_but_compressed 0 'event 6 has 6000 bytes without its envelope .* it may be refused'
said_so compression_trap 0 '^warn  librdkafka .*sends uncompressed\|^ok    librdkafka  *version 2\.\(1[1-9]\|[2-9][0-9]\)'
sql "delete from outbox.event where id >= 5; update outbox.event set created_at = now() - interval '3 h'"
make_topic config "$topic-a" retention.ms=3600000
finds older_than_retention 0 'the oldest event that waits is 3 h old and the topic keeps 1 h'
make_topic config "$topic-a" message.timestamp.before.max.ms=3600000
finds older_than_allowed 69 'the topic refuses records that old (message.timestamp.before.max.ms)'
make_topic config "$topic-a" retention.ms=604800000

# What the relay meets on the way is said as well.
make_topic config "$topic-a" message.timestamp.before.max.ms=9223372036854775807
make_topic deny "$topic-a"
relay_start first -X stall.timeout=5s
wait_sql 60 3 "select count(*) from outbox.held where state = 'paused' and error_code = 'TOPIC_AUTHORIZATION_FAILED'"
finds paused_for_its_rights 0 "\"$topic-a\" is paused: TOPIC_AUTHORIZATION_FAILED"
relay_signal first TERM
relay_end first 30
make_topic allow "$topic-a"

# verify: what retention has dropped is not missing, and a topic that was made anew is noticed.
reset
make_topic "$topic" 1
append 20
relay_once verify
cmd verify "${kafka[@]}" --json
equal all_are_there '0 20' "$code $(j "j->>'n_as_sent'")"
make_topic delete "$topic"
make_topic "$topic" 1
append 5
relay_once anew
cmd verify "${kafka[@]}" --json
equal topic_made_anew '69 5 20' "$code $(j "concat_ws(' ', j->>'n_as_sent', (j->>'n_missing')::int + (j->>'n_changed')::int)")"
make_topic delete "$topic"
cmd verify "${kafka[@]}" --json
equal topic_is_gone '69 25' "$code $(j "j->>'n_missing'")"

# Records beyond what a consumer fetches at a time; who takes over finds them in the topic, or they would go twice.
reset
large=(-X kafka.message.max.bytes=12000000)
make_topic "$topic-large" 1 max.message.bytes=12000000
append 2 "$topic-large" null "(select string_agg(sha512((m || ' ' || n)::text::bytea), '') from generate_series(1, 175000) m)"
relay_once large "${large[@]}"
sql "truncate outbox.sent; update outbox.relay set cursor_id = 0, cursor_snapshot = '1:1:'"
relay_once again "${large[@]}"
cmd verify "${kafka[@]}" "${large[@]}" --topic "$topic-large" --json
equal large_ones_are_there_once '0 2' "$code $(j "j->>'n_as_sent'")"
"$oracle" watch --brokers "$brokers" --topics "$topic-large" --out "$dir/large" --to-end
equal large_ones_came_once 2 "$(grep -c . "$dir/large")"
make_topic delete "$topic-large"
exit "$bad"
