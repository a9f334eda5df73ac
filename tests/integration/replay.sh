#!/usr/bin/env bash
# replay.sh - outbox-relay replay against PostgreSQL and a broker; what arrived is read by the oracle, and told
# apart from first sendings by verify. Needs OUTBOX_TEST_DSN, OUTBOX_TEST_BROKERS, OUTBOX_TEST_BROKER_DIR.
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"
kafka=(-X "kafka.bootstrap.servers=$brokers")
replay_pid=
end_all() {
    end_process "$replay_pid" || true
    cleanup
}
trap end_all EXIT

# contents: all that is in the tables
contents() { sql "select md5(string_agg(t, '|' order by t)) from (select e::text as t from outbox.event e union all select s::text from outbox.sent s union all select h::text from outbox.held h) x"; }
records() { watch_all; grep -c . "$dir/records" || true; }
# order OF: the payloads of the key, as they came last
last_of_key() { awk -F '\t' -v key="$1" -v n="$2" '$5 == key { p[++m] = $2 "." $3 " " $6 } END { for (i = m - n + 1; i <= m; i++) print p[i] }' "$dir/records" | sort -t. -k1,1n -k2,2n | cut -d' ' -f2; }

# --- words ------------------------------------------------------------------------------------------

says replay_has_help 0 '^Usage: outbox-relay replay ' replay --help
said_so replay_help_has_examples 0 '^  outbox-relay replay '
says replay_unknown_option 64 "unrecognized option '--nope'" replay --nope
says replay_needs_to_know_which 64 'which events? Give --from-id A --to-id B' replay --yes
says replay_of_a_topic_alone 64 'which events' replay --topic orders --yes
says replay_key_needs_topic 64 'key: needs --topic' replay --key k1 --yes
says replay_needs_yes_without_terminal 64 'there is no terminal to ask at: give --yes' replay --from-id 1 "${kafka[@]}"
says replay_needs_kafka 78 'kafka.bootstrap.servers' replay --from-id 1 --yes
says replay_bad_time 64 'cannot be read as a time' replay --since soon --yes "${kafka[@]}"

# --- what goes, and what not ------------------------------------------------------------------------

reset
append 50 "$topic" "convert_to('k' || n % 5, 'UTF8')"
relay_once first
append 4 "$topic" "convert_to('k1', 'UTF8')" # 51 to 54, not sent
hold dead 53
before=$(contents)
cmd replay --from-id 11 --to-id 52 --dry-run "${kafka[@]}"
said_so dry_run 0 '^40 events would be sent again; nothing was sent$'
said_so dry_run_skips 0 '^2 events skipped: not sent yet; the relay sends them in order$'
equal dry_run_sends_nothing 50 "$(records)"
cmd replay --from-id 11 --to-id 20 --yes "${kafka[@]}"
said_so range_of_ids 0 '^10 events sent again, with ce_replay: 20..-..-..T..:..:.*Z$'
equal ten_more 60 "$(records)"
cmd verify --from-id 1 --json "${kafka[@]}"
equal they_are_marked_as_replayed '50 50 0 10' "$(j "concat_ws(' ', j->>'n_compared', j->>'n_as_sent', j->>'n_twice', j->>'n_replayed')")"
cmd replay --topic "$topic" --key k1 --yes --json "${kafka[@]}"
equal one_key '0 10 4 ce_replay null' "$code $(j "concat_ws(' ', j->>'n_replayed', j->>'n_not_sent', j->>'header', (j->'go_on_from_id')::text)")"
equal ten_of_the_key 70 "$(records)"
equal order_of_the_key "$(sql "select event_id from outbox.event where key = 'k1' and id <= 50 order by id")" "$(last_of_key 6b31 10)"
equal same_event_ids 50 "$(cut -f6 "$dir/records" | sort -u | wc -l)"
equal same_payloads "$(cut -f1,5,6,7 "$dir/records" | sort -u | wc -l)" 50
cmd replay --since 1h --until 30m --yes "${kafka[@]}"
said_so nothing_in_that_time 1 'no sent event is as described'
sql "update outbox.sent set sent_at = now() - interval '2 h' where id <= 3"
before=$(contents)
cmd replay --since 3h --until 90m --yes "${kafka[@]}"
said_so range_of_times 0 '^3 events sent again'
cmd replay --since 3h --from-id 2 --topic "$topic" --key k2 --yes "${kafka[@]}"
said_so all_conditions_hold 0 '^10 events sent again'
equal nothing_changes "$before" "$(contents)"
says nothing_is_sent_there 1 'no sent event is as described' replay --from-id 1000 --yes "${kafka[@]}"
reset
append 3
sql "insert into outbox.event (topic, type, key, payload, headers) values ('$topic', 'test', 'k', 'x', '[[\"ce_replay\", \"mine\"], [\"replay\", \"mine\"]]')"
relay_once plain -X envelope=plain
says plain_marker 0 '^4 events sent again, with replay: 20' replay --from-id 1 --yes "${kafka[@]}" -X envelope=plain
equal plain_twice 8 "$(records)"

# --- many -------------------------------------------------------------------------------------------

reset
append 9000 "$topic" "convert_to('k' || n % 7, 'UTF8')"
append 1000 "$topic-b" null
relay_once many
cmd replay --from-id 1 --yes "${kafka[@]}"
said_so many_events 0 '^10000 events sent again'
equal many_records 20000 "$(records)"
for key in 0 3 6; do
    equal "order_of_key_$key" "$(sql "select event_id from outbox.event where key = 'k$key' order by id" | md5sum)" \
        "$(last_of_key "$(printf 'k%s' $key | od -An -tx1 | tr -d ' \n')" "$(sql "select count(*) from outbox.event where key = 'k$key'")" | md5sum)"
done

# --- a person is asked --------------------------------------------------------------------------------

reset
append 20
relay_once asked
for answer in n '' no x; do
    person "$answer" replay --from-id 3 --to-id 7 "${kafka[@]}"
    said_so "answer_is_no_${answer:-nothing}" 2 'nothing was done'
done
equal no_sends_nothing 20 "$(records)"
said_so the_question_says_what 2 '^send the sent events with numbers 3 to 7 that are as described again? \[y/N\] '
person y replay --from-id 3 --to-id 7 "${kafka[@]}"
said_so answer_is_yes 0 '5 events sent again, with ce_replay'
equal yes_sends_them 25 "$(records)"
person n replay --from-id 3 --to-id 7 --yes "${kafka[@]}"
said_so yes_asks_nothing 0 '5 events sent again'
holds it_did_not_ask test "$(grep -c 'y/N' "$dir/out" || true)" = 0

# --- stopped ----------------------------------------------------------------------------------------

says no_broker 69 'event 1 was not confirmed: .*nothing was confirmed within drain.timeout' replay --from-id 1 --to-id 10 --yes -X kafka.bootstrap.servers=127.0.0.1:1 -X drain.timeout=2s
said_so no_broker_says_where 69 'stopped: all before number 1 is done; go on with the same command and --from-id 1 --to-id 10$'
says no_database 69 'cannot connect to PostgreSQL' replay --from-id 1 --yes "${kafka[@]}" -X "dsn=host=127.0.0.1 port=1"

# A broker of its own, which becomes slow: the replay is interrupted in the midst, and goes on.
"$broker" start "$dir/slow" mock >/dev/null
slow=$("$broker" bootstrap "$dir/slow")
"$broker" cmd "$dir/slow" topic slow 4
reset
append 30000 slow "convert_to('k' || n % 7, 'UTF8')"
sql "insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) select bucket, id, 0, id from outbox.event"
"$broker" cmd "$dir/slow" rtt 1000 # it takes half a minute, and to see that it has begun some seconds
"$OUTBOX_RELAY" replay -X "dsn=$relay_dsn" -X "kafka.bootstrap.servers=$slow" --from-id 1 --yes --json >"$dir/out" 2>"$dir/err" </dev/null &
replay_pid=$!
arrived() { brokers=$slow watch_slow && [[ $(grep -c . "$dir/records") -ge 1 ]]; }
watch_slow() { "$oracle" watch --brokers "$slow" --topics slow --out "$dir/records" --to-end; }
wait_until 60 arrived || true
kill -INT "$replay_pid" || true
code=0
wait "$replay_pid" || code=$?
replay_pid=
out=$(<"$dir/out") err=$(<"$dir/err")
said_so interrupted 69 'stopped: all before number [0-9]* is done; go on with the same command and --from-id'
equal interrupted_json true "$(j "j->>'interrupted'")"
done_before=$(j "j->>'n_replayed'") next=$(j "j->>'go_on_from_id'")
equal where_it_stopped "$((done_before + 1))" "$next"
watch_slow
equal what_is_done_arrived '' "$(comm -23 <(sql "select event_id from outbox.event where id < $next" | sort) <(cut -f6 "$dir/records" | sort -u))"
# At a terminal a bar grows, and is gone when all is said.
"$broker" cmd "$dir/slow" rtt 30
person y replay --to-id 6000 --from-id 1 -X "kafka.bootstrap.servers=$slow"
said_so bar_is_gone 0 "$(printf '\033')\\[K6000 events sent again, with ce_replay"
percents=$(grep -aoE '\[[# ]{30}\] +[0-9]+%  replayed [0-9]+, [0-9]+ a second' "$dir/out" | sed -E 's/.*\] +([0-9]+)%.*/\1/')
holds bar_is_drawn test -n "$percents"
equal bar_grows "$(sort -nu <<<"$percents")" "$(uniq <<<"$percents")" # where all stood still it is drawn again
"$broker" cmd "$dir/slow" rtt 0
cmd replay --from-id "$next" --yes -X "kafka.bootstrap.servers=$slow"
said_so goes_on 0 "^$((30000 - done_before)) events sent again"
watch_slow
equal all_arrived 30000 "$(cut -f6 "$dir/records" | sort -u | wc -l)"
exit "$bad"
