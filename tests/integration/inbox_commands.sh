#!/usr/bin/env bash
# inbox_commands.sh - outbox-relay inbox status, dead, retry, discard: dead letters made by SQL as libinbox writes
# them, then one that lib/examples/consumer.c makes. There is no outbox in this database. Needs OUTBOX_TEST_DSN and
# OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"

roles='inbox_commands_poor, inbox_commands_consumer, inbox_commands_monitor'
end_all() {
    sql "drop owned by $roles; drop role $roles" 2>/dev/null || true
    cleanup
}
trap end_all EXIT

# inbox COMMAND ARGUMENT...: as cmd of lib_commands.sh
inbox() {
    local command=$1
    shift
    code=0
    timeout "$ample" "$OUTBOX_RELAY" inbox "$command" -X "dsn=$relay_dsn" "$@" >"$dir/out" 2>"$dir/err" </dev/null || code=$?
    out=$(<"$dir/out") err=$(<"$dir/err")
}
# inbox_says NAME STATUS PATTERN COMMAND ARGUMENT...
inbox_says() {
    inbox "${@:4}"
    said_so "$1" "$2" "$3"
}
# letter CONSUMER TOPIC [STATE]: one more; ids count from 1
letter() {
    sql "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, type, payload, state, reason, attempts, error_code, error, died_at)
         select '$1', '$2', 3, 40 + count(*), 'event-' || count(*) + 1, 'OrderPlaced', 'secret', '${3:-dead}', 'attempts', 5, '23505',
             E'duplicate \\x1b[31mkey', now() - interval '2 hours' from inbox.dead"
}
states() { sql "select string_agg(id || ' ' || state, ', ' order by id) from inbox.dead"; }
letters_anew() {
    sql 'truncate inbox.dead restart identity'
    letter billing orders && letter billing orders && letter billing payments && letter mail orders
    letter billing orders retry && letter billing orders discarded
}
sql 'drop schema outbox cascade'

# --- words ------------------------------------------------------------------------------------------

code=0
out=$("$OUTBOX_RELAY" inbox 2>&1) || code=$?
err=
said_so without_a_command_it_teaches 64 '^Usage: outbox-relay inbox COMMAND'
code=0
out=$("$OUTBOX_RELAY" inbox --help)
said_so inbox_help_lists_its_commands 0 '^  discard  *give dead letters up'
code=0
out=$("$OUTBOX_RELAY" inbox bury 2>&1) || code=$?
said_so an_unknown_command 64 'bury: the command comes first: status, dead, retry or discard'
for command in status dead retry discard; do
    inbox_says "${command}_has_help" 0 "^Usage: outbox-relay inbox $command " "$command" --help
    said_so "${command}_help_has_examples" 0 "^  outbox-relay inbox $command "
done
inbox_says retry_needs_to_know_which 64 'which dead letters? Give one of ID' retry
inbox_says one_way_of_naming_only 64 'Give one of ID' retry 1 --all
inbox_says an_id_is_a_number 64 'ID 5x: must be a whole number' retry 5x
inbox_says a_topic_needs_its_consumer 64 'topic: needs --consumer' retry --topic orders
inbox_says discard_needs_a_reason 64 'reason TEXT is missing' discard 1
inbox_says many_need_a_person_or_yes 64 'no terminal to ask at' retry --all
inbox_says an_unknown_option 64 "unrecognized option '--nope'" dead --nope

# --- dead -------------------------------------------------------------------------------------------

inbox_says none_is_said 0 'no dead letter that waits' dead
inbox_says where_nobody_consumes_none_is_known 0 '^no dead letter .*: there is no such consumer; those known here: none$' dead --consumer mail
letters_anew
inbox dead
said_so dead_lists_what_waits 0 '^1  *billing  *event-1  *OrderPlaced  *orders/3@40  *dead  *attempts  *5 '
said_so dead_escapes_what_others_wrote 0 'duplicate \\x1b\[31mkey'
said_so dead_counts 0 '^4 dead letters in all$'
equal dead_shows_no_contents 0 "$(grep -c secret "$dir/out" || true)"
inbox_says dead_of_a_consumer_and_topic 0 '^1 dead letter in all' dead --consumer billing --topic payments
inbox_says dead_lists_no_more_than_asked_for 0 '^4 dead letters in all; the oldest 1 are listed' dead --limit 1
inbox_says dead_of_a_state 0 '^6  *billing .* discarded ' dead --state discarded
said_so dead_of_a_state_has_only_those 0 '^1 such dead letter in all$'
inbox_says dead_of_two_states 0 '^2 such dead letters in all$' dead --state discarded --state retry
inbox_says dead_of_a_state_that_none_has 0 '^no such dead letter$' dead --state retry --consumer mail
inbox_says dead_of_an_unknown_state 64 'state paused: must be one of dead, retry, discarded$' dead --state paused
inbox dead --all-states --json
equal dead_as_json '6 6 retry 40 event-1 t' "$(j "(j->>'n') || ' ' || (j->>'n_listed') || ' ' || (j->'letters'->4->>'state') || ' ' ||
    (j->'letters'->0->>'offset') || ' ' || (j->'letters'->0->>'event_id') || ' ' || left((j->'letters'->0->'error' is not null)::text, 1)")"

# --- retry and discard ------------------------------------------------------------------------------

inbox_says dry_run_says_what_it_would_do 0 '2 dead letters would be sent back' retry --consumer billing --topic orders --dry-run
equal dry_run_does_nothing '1 dead, 2 dead, 3 dead, 4 dead, 5 retry, 6 discarded' "$(states)"
inbox_says what_is_not_there_is_refused 1 'there is no dead letter 77' retry 1 77
inbox_says what_is_on_its_way_is_refused 1 'dead letter 5 of consumer billing is on its way back already' retry 1 5
inbox_says what_is_discarded_is_not_again 1 'dead letter 6 of consumer billing is discarded already' discard 1 6 --reason x
equal of_several_ids_all_or_none '1 dead, 2 dead, 3 dead, 4 dead, 5 retry, 6 discarded' "$(states)"
inbox_says retry_by_ids 0 '^2 dead letters sent back to the handler$' retry 1 6 1
said_so retry_says_of_a_discarded_one_that_it_was 0 '^dead letter 6 .*: retry, discarded no longer; last error'
said_so retry_says_so_of_no_other 0 '^dead letter 1 .*: retry; last error'
equal retry_sets_the_state '1 retry, 2 dead, 3 dead, 4 dead, 5 retry, 6 retry' "$(states)"
equal retry_says_when t "$(sql 'select changed_at > now() - interval $$1 hour$$ from inbox.dead where id = 1')"
inbox discard 2 5 --reason "it's test data" --json
equal discard_as_json '2 2 dead discarded retry' "$(j "(j->>'n_matched') || ' ' || (j->>'n_changed') || ' ' || (j->'letters'->0->>'was')
    || ' ' || (j->'letters'->0->>'state') || ' ' || (j->'letters'->1->>'was')")"
equal discard_keeps_reason_and_error "it's test data|t" "$(sql 'select discard_reason, error is not null from inbox.dead where id = 2')"
inbox_says retry_of_all 0 '^2 dead letters sent back' retry --all --yes
equal all_are_those_that_wait '1 retry, 2 discarded, 3 retry, 4 retry, 5 discarded, 6 retry' "$(states)"
inbox_says nothing_left 1 'nothing to retry: no dead letter waits for a decision, consumer mail' retry --consumer mail --yes
for command in 'retry --yes' 'discard --yes --reason x'; do
    # shellcheck disable=SC2086 # several words
    inbox_says "a_name_that_is_wrong_is_told_by_${command%% *}" 1 "^.*: nothing to ${command%% *}: there is no consumer billnig; those known here: billing, mail$" \
        $command --consumer billnig
done
inbox_says a_name_that_is_wrong_is_told_by_dead 0 '^no dead letter that waits for a decision: there is no such consumer; those known here: billing, mail$' \
    dead --consumer billnig
letters_anew
sql "update inbox.dead set called_by = 'gone'"
inbox discard 1 5 --reason x
inbox retry 1 2
equal who_called_what_was_decided_is_forgotten '1 retry -, 2 retry -, 3 dead gone, 5 discarded gone' \
    "$(sql "select string_agg(concat_ws(' ', id, state, coalesce(called_by, '-')), ', ' order by id) from inbox.dead where id in (1, 2, 3, 5)")"
letters_anew
sql "create function lose() returns trigger language plpgsql as 'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
     create constraint trigger lose after update on inbox.dead deferrable initially deferred for each row execute function lose()"
inbox_says a_commit_that_is_lost_may_be_done 69 'so it may be done or not; run the same command again' retry 1
sql 'drop function lose cascade'
sql "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, reason) select 'many', 't', 0, n, n, 'time' from generate_series(1, 2500) n"
inbox_says batches_leave_none 0 '^2500 dead letters discarded$' discard --consumer many --yes --reason x
equal others_are_left_alone 4 "$(sql "select count(*) from inbox.dead where state = 'dead'")"

# --- rights -----------------------------------------------------------------------------------------

for role in poor consumer operator monitor; do
    sql "drop role if exists inbox_commands_$role; create role inbox_commands_$role login"
done
sql 'grant inbox_consumer to inbox_commands_consumer; grant inbox_operator to inbox_commands_operator; grant inbox_monitor to inbox_commands_monitor'
as() { relay_dsn=$(sed "s/user=[^ ]*/user=inbox_commands_$1/" <<<"$dsn"); }
letters_anew
as monitor
inbox_says a_monitor_lists 0 '^4 dead letters in all' dead
inbox_says a_monitor_sees_the_status 0 '^No consumer has ever' status
inbox_says a_monitor_sees_what_would_be_done 0 'would be sent back' retry 1 --dry-run
inbox_says a_monitor_changes_nothing 77 'grant inbox_operator' retry 1
as consumer
inbox_says a_consumer_retries 0 '^1 dead letter sent back' retry 1
inbox_says a_consumer_discards 0 '^1 dead letter discarded' discard 2 --reason x
as operator
inbox_says an_operator_lists 0 '^2 dead letters in all' dead
inbox_says an_operator_sees_the_status 0 '^No consumer has ever' status
inbox_says an_operator_retries 0 '^1 dead letter sent back' retry 3
inbox_says an_operator_discards 0 '^1 dead letter discarded' discard 4 --reason x
as poor
inbox_says others_see_nothing 77 'apply sql/inbox_roles.sql' dead
relay_dsn=$dsn
inbox_says no_server 69 'cannot connect to PostgreSQL' status -X dsn=host=/nonexistent
sql 'create database inbox_commands_none' && relay_dsn=$(sed "s/dbname=[^ ]*/dbname=inbox_commands_none/" <<<"$dsn")
inbox_says no_inbox 78 'the inbox is not installed in database "inbox_commands_none"' status
relay_dsn=$dsn
sql 'drop database inbox_commands_none'
sql 'update inbox.schema_version set version = 3'
inbox_says a_newer_inbox 78 'the schema inbox has version 3 and this program needs 2; upgrade' dead
sql 'update inbox.schema_version set version = 2'

# --- status -----------------------------------------------------------------------------------------

sql "truncate inbox.dead restart identity; insert into inbox.consumer (name, dedupe_keep) values ('billing', '3 days');
     insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner, moved_at)
     values ('billing', 'orders', 0, 10, 'host/1/x', now()), ('billing', 'orders', 1, null, 'host/1/x', null)"
inbox status
said_so events_are_applied 0 '^Events are applied$'
said_so status_lists_consumers 0 '^billing  *2  *2  *1  .* 3 days$'
said_so without_kafka_it_says_so 0 'LAG and OLDEST are not known'
sql "update inbox.consumer set dedupe_keep = interval '168:00:00'" # as libinbox writes 7d
inbox_says keep_is_told_in_days 0 '^billing .* 7 days$' status
sql 'update inbox.position set applied_at = now()'
letter billing orders
inbox_says dead_letters_need_a_look 0 '^Events are applied, but look: 1 dead letter of consumer billing waits for a decision, the oldest for 2 h' status
sql 'update inbox.position set owner = null'
inbox_says nobody_has_a_partition 69 '^Events are not applied as they should be: no process of consumer billing has a partition; one last connected, or finished an event, [0-9.]* s ago' status
said_so and_what_may_be_in_the_way 69 'do: start it, or see its log if it runs; its group may wait .*; or it cannot claim its partitions (a lock on inbox.position, a right)\.$'
sql "update inbox.consumer set started_at = now() - interval '49 hours'; update inbox.position set moved_at = now() - interval '49 hours'"
inbox_says one_that_was_away_for_long_may_be_no_more 69 'has a partition; one last connected, or finished an event, 2 d' status
said_so and_how_it_is_taken_away 69 'a right)\. If it is to be no more: man 7 inbox, TO END A CONSUMER'
inbox_says but_that_is_not_said_while_kafka_is_away 69 'a right)\.$' status -X kafka.bootstrap.servers=127.0.0.1:1
sql "update inbox.position set moved_at = now() - interval '3 min'"
inbox_says nor_where_it_did_something_lately 69 'has a partition; one last connected, or finished an event, 3 min' status
said_so and_it_may_be_back 69 'a right)\.$'
inbox_says a_name_that_is_wrong_is_told_by_status 69 '^Events are not applied as they should be: no consumer of this name has ever started here; those known here: billing$' \
    status --consumer mail
inbox status --consumer mail --json
equal and_in_json '69 false' "$code $(j "j->>'applied'")"
printf 'kafka.socket.timeout.ms = 60s\n' >"$dir/wrong.conf"
inbox status -X "kafka.bootstrap.servers=$brokers" --config "$dir/wrong.conf"
said_so a_wrong_setting_is_named_with_its_place "$code" '^Events .*: Kafka cannot be asked: .*wrong.conf:1: kafka.socket.timeout.ms = 60s: librdkafka takes'
sql "insert into inbox.consumer (name) values ('new')"
inbox_says one_that_never_had_a_partition_needs_a_look 69 'consumer new has started and never had a partition' status
said_so and_what_to_look_for 69 'do: does it run, do its topics exist, and may it read them?'
sql "delete from inbox.consumer where name = 'new'"
inbox_says no_broker 69 '^Events .*: Kafka does not answer this command: 127.0.0.1:1: .* failed: Connection refused' status -X kafka.bootstrap.servers=127.0.0.1:1
sql 'truncate inbox.dead, inbox.consumer, inbox.position restart identity'

# --- what fails -------------------------------------------------------------------------------------

# moves WHEN [OWNER]: the last event was applied so long ago; never: null
moves() { sql "truncate inbox.attempt, inbox.consumer, inbox.position; insert into inbox.consumer (name, dedupe_keep) values ('billing', '3 days');
     insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner, moved_at, applied_at)
     values ('billing', 'orders', 0, 10, ${2-"'host/1/x'"}, now(), now() - interval '$1')"; }
# fails OFFSET SINCE CODE ERROR [NEXT]: one that has been called three times
fails() { sql "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts, first_begun_at, error_code, error,
     last_failed_at, next_attempt_at) values ('billing', 'orders', 0, $1, 'event-$1', 3, now() - interval '$2', $3, $4,
     now() - interval '5 s', now() + interval '${5-42 s}')"; }
no_row="E'no row \x1b[31min parent'"
moves '1 min'
inbox_says nothing_fails 0 '^Events are applied$' status
fails 11 '10 min' "'23503'" "$no_row"
inbox_says some_fail_while_others_are_applied 0 '^Events are applied, but look: 1 event of consumer billing fails, the oldest for 10 min; it, orders/0@11, was called 3 times: 23503 no row .*; it is called again in 4[0-9] s$' status
said_so and_are_counted 0 '^billing .* 1  *10 min  *0  *-  *0  *3 days$'
said_so and_escaped 0 'no row \\x1b\[31m'
said_so and_what_mends_it 0 'do: the event does not go together with the rows that are there'
inbox status --json
equal in_json_too 'true 1 t t 11 event-11 3 23503 t 0' "$(j "(j->>'applied') || ' ' || (j->'consumers'->0->>'failing') || ' ' ||
    left(((j->'consumers'->0->>'oldest_failing_s')::float8 between 600 and 900)::text, 1) || ' ' || left(((j->'consumers'->0->>'applied_s')::float8 between 60 and 360)::text, 1) || ' ' ||
    (j->'consumers'->0->'last_failure'->>'offset') || ' ' || (j->'consumers'->0->'last_failure'->>'event_id') || ' ' || (j->'consumers'->0->'last_failure'->>'attempts') || ' ' ||
    (j->'consumers'->0->'last_failure'->>'error_code') || ' ' || left(((j->'consumers'->0->'last_failure'->>'next_attempt_s')::float8 between 1 and 42)::text, 1) || ' ' || '$code'")"
# What began to fail since the last one was applied, while an older one failed already: at first nobody knows.
fails 12 '30 s' null "'no answer of the shop'"
inbox_says one_more_that_fails_needs_a_look 0 '^Events are applied, but look: 2 events of consumer billing fail, the oldest for 10 min; the last of them, ' status
sql "update inbox.attempt set first_begun_at = now() - interval '70 seconds' where kafka_offset = 12; update inbox.position set applied_at = now() - interval '5 min'"
inbox_says nothing_but_failures_for_long_is_not_applied 69 '^Events are not applied as they should be: consumer billing has applied no event for 5 min.*, and 2 fail, the oldest for 10 min; ' status
moves '20 min'
fails 11 '3 min' null "'no answer of the shop'" '-5 min'
fails 12 '2 min' null null
inbox_says all_that_is_called_fails 69 '^Events are not applied as they should be: consumer billing has applied no event for 20 min.*, and 2 fail, the oldest for 3 min.*; the last of them, orders/0@1[12], was called 3 times: ' status
inbox status --json
equal and_json_says_that_all_fails '69 false 2' "$code $(j "(j->>'applied') || ' ' || (j->'consumers'->0->>'failing')")"
sql 'delete from inbox.attempt where kafka_offset = 12'
inbox_says an_error_of_the_handlers_own_is_told 69 ': no answer of the shop; its next call has been due for 5 min' status
said_so and_what_mends_that 69 'do: mend what the error says, in the handler or in what it calls'
sql "update inbox.attempt set error = null, next_attempt_at = null, begun_by = 'gone'"
inbox_says one_that_ends_its_process 69 ': why is not known; that call has not returned$' status
said_so and_what_there_is_to_do 69 'do: the log of the consumer says why, unless its handler ends the process'
for state in 42501:grant.the.right 42P01:apply.the.migrations 22003:a.value.that.the.database 55P03:pg_locks 53100:room.on.the.disk P0001:mend.what.the.error.names; do
    sql "update inbox.attempt set error_code = '${state%%:*}', error = 'x'"
    inbox_says "what_mends_${state%%:*}" 69 "do: .*${state#*:}" status
done
moves '20 min' null
fails 11 '3 min' null "'no answer of the shop'" '-5 min'
inbox_says without_a_process_that_is_the_reason 69 '^Events are not applied as they should be: no process of consumer billing has a partition; one last .* ago (and 1 more, below)' status
# --- what became of the last events -----------------------------------------------------------------

died() { sql "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, reason, error_code, error, changed_at)
     values ('billing', 'orders', 0, 7, 'died', 'attempts', $2, $3, now() - interval '$1')"; }
moves '20 min'
sql "truncate inbox.dead restart identity; update inbox.position set applied_at = null"
died '3 min' null "'no answer of the shop'"
inbox_says one_that_died_where_none_was_ever_applied 69 \
    '^Events are not applied as they should be: consumer billing has never applied an event, and 1 is a dead letter, the oldest for [0-9.]* .*; the last one: no answer of the shop$' status
said_so and_what_mends_what_died 69 'do: mend what the error says, in the handler or in what it calls; outbox-relay inbox dead lists them; then inbox retry'
inbox status --json
equal and_json_says_how_many_died '69 false 1 1' "$code $(j "(j->>'applied') || ' ' || (j->'consumers'->0->>'dead') || ' ' || (j->'consumers'->0->>'dead_since_applied')")"
sql "update inbox.position set applied_at = now() - interval '1 min'"
inbox_says one_that_died_before_another_was_applied_needs_a_look 0 '^Events are applied, but look: 1 dead letter of consumer billing waits' status
died '30 s' null "'x'" && died '20 s' null "'x'"
inbox_says two_since_may_be_poison 0 '^Events are applied, but look: 3 dead letters of consumer billing wait' status
died '10 s' "'42501'" "'permission denied for table invoice'"
inbox_says three_since_are_all_that_was_called 69 \
    '^Events are not applied as they should be: consumer billing has applied no event for 1 min.*, and 3 that it called since are dead letters, .*; the last one: 42501 permission denied for table invoice$' status
said_so and_the_error_has_its_remedy 69 'do: grant the right.*; outbox-relay inbox dead lists them'
sql "update inbox.position set applied_at = clock_timestamp()"
inbox_says one_that_is_applied_ends_it 0 '^Events are applied, but look: 4 dead letters' status
sql "update inbox.position set applied_at = now() - interval '1 min', owner = null"
inbox_says where_nobody_has_a_partition_that_is_first 69 '^Events are not applied as they should be: no process of consumer billing has a partition; one last .* ago (and 1 more, below)' status
sql "update inbox.position set owner = 'host/1/x'; update inbox.dead set state = 'retry' where error_code is not null"
inbox_says what_is_on_its_way_back_is_not_counted 0 '^Events are applied, but look: 3 dead letters' status
sql 'truncate inbox.dead restart identity'
# When it is looked at again, the event has been applied: after the first look its row goes.
moves '20 min'
fails 11 '1 s' null "'no answer of the shop'"
sql "alter table inbox.attempt rename to attempt_kept; alter view inbox.failing rename to failing_kept;
     create view inbox.failing as select f.* from inbox.failing_kept f where (select set_config('test.looks',
         (coalesce(nullif(current_setting('test.looks', true), ''), '0')::int + 1)::text, false)::int) < 3"
inbox_says what_succeeds_at_its_second_call_is_no_failure 0 '^Events are applied$' status
sql "drop view inbox.failing; alter view inbox.failing_kept rename to failing; alter table inbox.attempt_kept rename to attempt;
     truncate inbox.attempt, inbox.consumer, inbox.position"

# --- a consumer -------------------------------------------------------------------------------------

topic=inbox-commands-$$
"$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 1
put() { printf '%s\tk\tce_id=%s;ce_type=test;ce_source=tests\t%s\n' "$topic" "$1" "$2" | "$OUTBOX_TOOLS/produce" "$brokers"; }
put e1 good
put e2 'poison secret'
put e3 good
build=${OUTBOX_BUILD:-$root/.build}
read -ra flags < <(pkg-config --cflags libpq)
read -ra libs < <(pkg-config --libs libpq rdkafka)
holds the_example_builds "${CC:-cc}" -std=c11 -O1 "-I$root/include" "${flags[@]}" -o "$dir/consumer" \
    "$root/lib/examples/consumer.c" "$build/libinbox.a" "$build/liboutbox.a" "${libs[@]}" -pthread
elsewhere="$dsn dbname=postgres" # the last dbname counts
timeout "$ample" "$dir/consumer" "$elsewhere" "$brokers" "$topic" >"$dir/elsewhere.log" 2>&1 </dev/null && code=0 || code=$?
equal the_example_asks_for_an_inbox '1 consumer: database "postgres" has no inbox; apply sql/002_inbox.up.sql to it' "$code $(<"$dir/elsewhere.log")"
equal and_makes_nothing_without_it t "$(psql -XqAt -d "$elsewhere" -c "select to_regclass('consumer_example') is null")"
"$dir/consumer" "$dsn" "$brokers" "$topic" >"$dir/consumer.log" 2>&1 </dev/null &
relay_pid[consumer]=$!
wait_sql 40 3 'select max(next_offset) from inbox.position' || not_ok it_consumes "$(tail -n 3 "$dir/consumer.log")"
inbox_says a_poisoned_event_is_dead 0 ' e2 .*rejected .*the payload begins with poison' dead
inbox status -X "kafka.bootstrap.servers=$brokers" --json
equal status_as_json 'true 0 1 1 3 true' "$(j "(j->>'applied') || ' ' || (j->'consumers'->0->>'lag') || ' ' || (j->'consumers'->0->>'dead') || ' ' ||
    (j->'consumers'->0->>'processes') || ' ' || (j->'positions'->0->>'next_offset') || ' ' || (j->>'kafka_up')")"
was=$(sql 'select attempts from inbox.dead')
inbox_says it_is_sent_back 0 '^1 dead letter sent back' retry 1
holds it_is_dead_again wait_sql 20 "dead $((was + 1))" "select state || ' ' || attempts from inbox.dead"
sql "update inbox.dead set payload = 'good now'"
inbox_says mended_it_is_sent_back 0 '^1 dead letter sent back' retry --consumer consumer --yes
wait_sql 20 0 'select count(*) from inbox.dead' || not_ok what_succeeds_leaves "$(states)"
equal it_took_effect_once 1 "$(sql "select count(*) from consumer_example where event_id = 'e2'")"
put e4 poison
wait_sql 20 1 'select count(*) from inbox.dead' || not_ok another_is_dead "$(states)"
inbox_says it_is_discarded 0 '^1 dead letter discarded' discard --all --yes --reason 'poison'
inbox_says nothing_waits_then 0 '^no dead letter that waits' dead
relay_signal consumer TERM
relay_end consumer 20
# Nobody consumes any more, and records come: how many wait, and for how long.
put e5 good
put e6 good
inbox status -X "kafka.bootstrap.servers=$brokers" --json
equal lag_is_counted '69 2 true' "$code $(j "(j->'consumers'->0->>'lag') || ' ' || ((j->'positions'->0->>'oldest_s')::float8 between 0 and 3600)")"
# The same with an owner that has stood still for long, judged by the record's own age and the position's.
sql "update inbox.position set owner = 'host/1/x', moved_at = now() - interval '1 hour'"
inbox_says what_came_just_now_is_not_late 0 '^Events are applied$' status -X "kafka.bootstrap.servers=$brokers"
# A record that waits for long: of a consumer that moves elsewhere one partition stands; of one that does not, and of
# which no session is seen, nothing shows that a process lives.
printf '%s\tk\tce_id=e7;ce_type=test;ce_source=tests;@timestamp=%s\tgood\n' "$topic" $((($(date +%s) - 7200) * 1000)) |
    "$OUTBOX_TOOLS/produce" "$brokers"
end=$(($(sql 'select next_offset from inbox.position') + 2)) # behind e5 and e6
sql "update inbox.position set next_offset = $end, owner = 'host/1/x', moved_at = now() - interval '150 seconds'"
stands() { inbox_says "$1" "$2" "^$3.*consumer consumer stands still in $topic/0: it has not moved for [0-9]* min.*, 1 record is to be done, and its owner is process 1 on host host" \
    status -X "kafka.bootstrap.servers=$brokers"; }
sql 'update inbox.position set moved_at = null'
inbox_says one_that_has_not_begun_has_an_oldest_record 69 "consumer consumer stands still in $topic/0: it has not begun, its oldest record is 2 h.* old, 1 record is to be done" \
    status -X "kafka.bootstrap.servers=$brokers"
sql "update inbox.position set moved_at = now() - interval '150 seconds'"
stands nothing_moves_and_nobody_is_seen 69 'Events are not applied'
said_so the_process_may_be_gone 69 'do: see whether that process still runs; if not, start it'
PGAPPNAME='inbox consumer' psql -Xq -d "$dsn" -c 'select pg_sleep(3600)' >"$dir/session.log" 2>&1 </dev/null &
session=$!
in_sessions="from pg_stat_activity where application_name = 'inbox consumer'"
wait_sql 120 1 "select count(*) $in_sessions" || not_ok a_session_is_seen "$(<"$dir/session.log")"
sql "update inbox.position set moved_at = now() - interval '150 seconds'"
stands one_that_is_seen_needs_a_look 0 'Events are applied, but look'
sql 'update inbox.position set owner = null'
inbox_says one_that_is_seen_and_has_no_partition_waits 69 '^Events are not applied as they should be: consumer consumer is connected here, and no process of it has a partition' status
said_so and_for_what 69 'do: see its log: no broker may answer it'
sql "update inbox.position set owner = 'host/1/x'"
sql "select pg_terminate_backend(pid) $in_sessions" >"$dir/ended"
wait "$session" || true
wait_sql 120 0 "select count(*) $in_sessions" || not_ok the_session_ends
sql "update inbox.position set moved_at = now() - interval '150 seconds';
     insert into inbox.position (consumer, topic, kafka_partition, moved_at) values ('consumer', 'inbox-commands-none', 0, now())"
inbox_says one_that_moves_elsewhere_needs_a_look 0 '^Events are applied, but look' status -X "kafka.bootstrap.servers=$brokers"
said_so and_says_where 0 "stands still in $topic/0"
# One that nobody has, while the other one of its consumer moves: Kafka may have given it to a process without a database.
nobody() { sql "update inbox.position set owner = case when topic = '$topic' then null else 'host/1/x' end,
    moved_at = now() - (case when topic = '$topic' then interval '$1 seconds' else '0' end)"; }
nobody 150
inbox_says one_that_nobody_has_needs_a_look 0 "^Events are applied, but look: consumer consumer stands still in $topic/0: .*, and no process has it" \
    status -X "kafka.bootstrap.servers=$brokers"
nobody 310
inbox_says for_long_it_is_not_applied 69 "^Events are not applied as they should be: consumer consumer stands still in $topic/0: .*, and no process has it" \
    status -X "kafka.bootstrap.servers=$brokers"
said_so and_what_may_have_it 69 'do: Kafka has given it to no process, or to one that cannot use this database'
inbox status -X "kafka.bootstrap.servers=$brokers" --json
equal and_json_says_so '69 false' "$code $(j "j->>'applied'")"
sql "update inbox.position set owner = 'host/1/x', moved_at = now() - interval '150 seconds'"
sql "delete from inbox.position where topic = 'inbox-commands-none'"
# A replayed event is as old as it was, and the consumer takes it: when it is looked at again it has moved.
sql "alter table inbox.position rename to position_kept;
     create view inbox.position as select p.consumer, p.topic, p.kafka_partition, p.owner, p.moved_at,
         case when clock_timestamp() > a.backend_start + interval '1 second' then next_offset + 1 else next_offset end as next_offset
         from inbox.position_kept p, pg_stat_activity a where a.pid = pg_backend_pid()"
inbox_says one_that_moves_when_looked_at_again_stands_not 0 '^Events are applied$' status -X "kafka.bootstrap.servers=$brokers"
# Beside one that moves another stands, and only that is told.
sql "insert into inbox.position_kept (consumer, topic, kafka_partition, next_offset, owner, moved_at)
         select 'other', topic, kafka_partition, next_offset, owner, moved_at from inbox.position_kept;
     create or replace view inbox.position as select p.consumer, p.topic, p.kafka_partition, p.owner, p.moved_at,
         case when p.consumer = 'consumer' and clock_timestamp() > a.backend_start + interval '1 second' then next_offset + 1
         else next_offset end as next_offset from inbox.position_kept p, pg_stat_activity a where a.pid = pg_backend_pid()"
inbox_says beside_one_that_moves_another_stands 0 "^Events are applied, but look: consumer other stands still in $topic/0: .* on host host$" \
    status -X "kafka.bootstrap.servers=$brokers"
# However many stand, each look reads them all: here all would move when they are read for the 20th time.
sql "delete from inbox.position_kept where consumer = 'other';
     insert into inbox.position_kept (consumer, topic, kafka_partition, next_offset, owner, moved_at)
         select 'other ' || n, topic, kafka_partition, next_offset, owner, moved_at from inbox.position_kept, generate_series(1, 40) n;
     create or replace view inbox.position as select p.consumer, p.topic, p.kafka_partition, p.owner, p.moved_at, next_offset + (
         select set_config('test.looks', (coalesce(nullif(current_setting('test.looks', true), ''), '0')::int + 1)::text, false)::int / 20)
         as next_offset from inbox.position_kept p"
inbox_says many_that_stand_are_looked_at_together 69 '^Events .* (and 40 more, below)$' status -X "kafka.bootstrap.servers=$brokers"
sql "drop view inbox.position; delete from inbox.position_kept where consumer like 'other%';
     alter table inbox.position_kept rename to position"
sql "update inbox.position set next_offset = 1000"
inbox_says a_position_behind_the_end_has_no_lag 0 '^Events are applied$' status -X "kafka.bootstrap.servers=$brokers"
exit $bad
