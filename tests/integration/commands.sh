#!/usr/bin/env bash
# commands.sh - outbox-relay dead, retry, discard against a real PostgreSQL; no relay runs. Rows of
# outbox.held are made by SQL as the relay writes them. Needs OUTBOX_TEST_DSN.
set -euo pipefail

: "${OUTBOX_TEST_BROKERS:=127.0.0.1:1}" # the commands do not speak with Kafka
# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"

background=()
roles='commands_poor, commands_relay, commands_monitor'
end_all() {
    local pid
    for pid in ${background[@]+"${background[@]}"}; do
        ! is_child "$pid" || kill -KILL "$pid" || true
    done
    sql "drop owned by $roles; drop role $roles" 2>/dev/null || true
    cleanup
}
trap end_all EXIT

# held ID: "state attempts due" where due is now, later or never
held() {
    sql "select coalesce((select state || ' ' || attempts || ' ' || case when next_attempt_at is null then 'never'
             when next_attempt_at <= now() then 'now' else 'later' end from outbox.held where id = $1), 'gone')"
}
one_key() { append "$1" "${2:-orders}" "'\\x6b31'"; } # k1

# --- words ------------------------------------------------------------------------------------------

for command in dead retry discard; do
    says "${command}_has_help" 0 "^Usage: outbox-relay $command " "$command" --help
    said_so "${command}_help_has_examples" 0 "^  outbox-relay $command "
    says "${command}_unknown_option" 64 "outbox-relay $command: unrecognized option '--nope'" "$command" --nope
    code=0
    out=$("$OUTBOX_RELAY" --help) err=
    said_so "help_lists_$command" 0 "^  $command  *[a-z]"
done
code=0 out=
err=$("$OUTBOX_RELAY" -X dsn=x retry 2>&1) || code=$?
said_so command_comes_first 64 'the command comes first: outbox-relay retry'
says dead_takes_no_argument 64 '42: an argument that means nothing here' dead 42
says limit_must_be_a_number 64 'limit 5x: must be a whole number from 1 to' dead --limit 5x
says limit_zero 64 'limit 0: must be a whole number' dead --limit 0
says state_must_be_known 64 'state buried: must be one of retrying' dead --state buried
says retry_needs_to_know_which 64 'which events? Give one of EVENT_ID, --id N, --topic T' retry
says one_way_of_naming_only 64 'give only one of EVENT_ID' retry --all --id 5
says event_id_must_be_a_uuid 64 "4711: is not an event's UUID; --id 4711 takes the number" retry 4711
says id_must_be_positive 64 'id -3: must be a whole number from 1' retry --id=-3
says id_must_fit 64 'id 9223372036854775808: must be' retry --id 9223372036854775808
says key_needs_topic 64 'key: needs --topic' retry --key k1
says one_key_only 64 'give one of them' retry --topic orders --key a --key-hex 61
says key_hex_must_be_hex 64 'key-hex 6g: must be pairs of hexadecimal' retry --topic orders --key-hex 6g
says key_hex_must_be_pairs 64 'key-hex 6b3: must be pairs' retry --topic orders --key-hex 6b3
says topic_must_not_be_empty 64 'is not the name of a topic' retry --topic ''
says discard_needs_a_reason 64 'reason TEXT is missing' discard --id 5
says reason_must_not_be_empty 64 'reason: must be 1 to 500 bytes of UTF-8, is 0' discard --id 5 --reason ''
says reason_must_not_be_too_long 64 'must be 1 to 500 bytes of UTF-8, is 501' discard --id 5 --reason "$(printf '%0501d' 0)"
says reason_must_be_text 64 'must be 1 to 500 bytes of UTF-8' discard --id 5 --reason $'\xff'
says force_order_is_not_for_discard 64 'unrecognized option' discard --force-order --id 5 --reason x
says all_needs_yes_without_terminal 64 'all concerns many events and there is no terminal.*--yes' retry --all
says topic_needs_yes_without_terminal 64 'topic concerns many events' discard --topic orders --reason x

# --- what it meets ------------------------------------------------------------------------------------

says no_database 69 'cannot connect to PostgreSQL: .*[a-z]; see the setting dsn' dead -X "dsn=host=127.0.0.1 port=1"
says unreadable_dsn 78 'the setting dsn cannot be read: a key in it is unknown; did you mean sslmode?' dead -X "dsn=host=x sslmoed=1"
says unknown_setting 78 'pool.max: there is no such setting' dead -X pool.max=1s
code=0 out=
err=$(env -u OUTBOX_RELAY_DSN "$OUTBOX_RELAY" dead 2>&1) || code=$?
said_so missing_dsn 78 'dsn is not set.*OUTBOX_RELAY_DSN'
says no_schema 78 'not installed in database "postgres"; let the DBA apply sql/001' retry --id 5 -X "dsn=$relay_dsn dbname=postgres"
sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
says newer_schema 78 'version 1000 and this program needs 1; upgrade' dead
sql "delete from outbox.schema_version where version = 1000"
sql "drop owned by $roles; drop role $roles" 2>/dev/null || true
sql "create role commands_poor login; create role commands_relay login in role outbox_relay;
     create role commands_monitor login in role outbox_monitor"
says role_without_rights 77 'apply sql/roles.sql and grant outbox_relay' dead -X "dsn=$relay_dsn user=commands_poor"
says monitor_may_not_retry 77 'grant outbox_relay' retry --all --yes -X "dsn=$relay_dsn user=commands_monitor"
printf 'dsn = %s\n' "$relay_dsn" >"$dir/relay.conf"
code=0 err=
out=$("$OUTBOX_RELAY" dead --config "$dir/relay.conf") || code=$?
said_so settings_from_a_file 0 '^no dead event$'
code=0
out=$(OUTBOX_RELAY_DSN="$relay_dsn" "$OUTBOX_RELAY" dead) || code=$?
said_so settings_from_the_environment 0 '^no dead event$'

# --- dead ---------------------------------------------------------------------------------------------

reset
says nothing_is_held 0 '^no event is held$' dead --all-states
cmd dead --json
equal json_of_nothing '{"n": 0, "events": [], "totals": [], "n_listed": 0}' "$(j j)"
one_key 4                                       # 1-4, k1
append 2 payments "case n when 1 then '\\x00ff1b'::bytea end" # 5 binary key, 6 none
append 3 payments "''::bytea"                   # 7-9, the empty key
hold dead 1,5,6,7
hold blocked '2,3,8' 0
hold paused 9 0
mark 6                                          # counts as sent whatever held says
cmd dead
said_so dead_lists 0 '^ID  *EVENT ID  *TOPIC  *KEY  *TYPE  *ATTEMPTS  *FIRST ERROR  *MAYBE SENT  *WAITING  *CODE  *ERROR$'
said_so dead_line 0 "^1  *$(event_id 1)  *orders  *\"k1\"  *test  *5  *2026-01-02T03:04:05.678Z  *no  *2  *MSG_SIZE_TOO_LARGE  *Broker: Message size too large$"
said_so dead_binary_key 0 '^5  .*  payments  *\\x00ff1b  *test  .*  no  *0  '
said_so dead_empty_key 0 '^7  .*  payments  *""  *test  .*  no  *1  '
said_so dead_totals 0 '^payments  *dead  *2$'
said_so dead_sum 0 '^3 dead events in all$'
equal dead_leaves_out_what_is_sent 0 "$(grep -c '^6 ' <<<"$out" || true)"
cmd dead --limit 1
said_so dead_limit 0 '^3 dead events in all; the oldest 1 are listed, --limit N lists more$'
cmd dead --limit 1 --json
equal dead_limit_json '1 3 2' "$(j "j->>'n_listed' || ' ' || (j->>'n') || ' ' || jsonb_array_length(j->'totals')")"
cmd dead --topic orders --json
equal dead_topic '{"id": 1, "key": "k1", "type": "test", "error": "Broker: Message size too large", "state": "dead", "topic": "orders", "key_hex": "6b31", "waiting": 2, "attempts": 5, "error_code": "MSG_SIZE_TOO_LARGE", "first_error_at": "2026-01-02T03:04:05.678Z", "maybe_delivered": false, "next_attempt_at": null}' \
    "$(j "(j->'events'->0) - 'event_id'")"
equal dead_event_id "$(event_id 1)" "$(j "j->'events'->0->>'event_id'")"
equal json_is_one_line 1 "$(wc -l <"$dir/out")"
cmd dead --json
equal json_binary_key 'null "00ff1b"' "$(j "(j->'events'->1->'key')::text || ' ' || (j->'events'->1->'key_hex')::text")"
equal json_empty_key '"" ""' "$(j "(j->'events'->2->'key')::text || ' ' || (j->'events'->2->'key_hex')::text")"
cmd dead --state blocked --state paused --json
equal dead_states 'blocked,blocked,blocked,paused' "$(j "(select string_agg(e->>'state', ',' order by (e->>'id')::int) from jsonb_array_elements(j->'events') e)")"
cmd dead --all-states
said_so dead_all_states 0 '^9  .*  paused  *0  '
said_so dead_all_states_sum 0 '^7 held events in all$'
says dead_no_such_state 0 '^no such event is held$' dead --state scheduled
cmd dead -X on.poison=skip --json --topic orders
equal nobody_waits_for_what_is_passed 0 "$(j "j->'events'->0->>'waiting'")"
cmd dead -X "dsn=$relay_dsn user=commands_relay"
said_so role_outbox_relay_may_list 0 '^3 dead events in all$'
sql "delete from outbox.held where id = 6; update outbox.held set id = 600 where id = 5"
cmd dead --json
equal event_that_is_gone 'null' "$(j "(select (e->'event_id')::text from jsonb_array_elements(j->'events') e where e->>'id' = '600')")"
if "$OUTBOX_RELAY" dead -X "dsn=$relay_dsn" >/dev/full 2>"$dir/err"; then code=0; else code=$?; fi
out='' err=$(<"$dir/err")
said_so full_disk_is_noticed 70 'stdout cannot be written'

# --- hostile text --------------------------------------------------------------------------------------

reset
append 2 "orders" "convert_to(E'k\\x1b[31m', 'UTF8')"
hold dead 1
sql "update outbox.held set error = E'line1\nline2\t\x1b]0;owned\x07 \\\\ \u202e \u0085 end', error_code = E'A\rB'"
hostile='[[:cntrl:]]'
cmd dead
holds no_control_character_in_the_table test "$(tr -d '\n' <"$dir/out" | LC_ALL=C grep -c "$hostile" || true)" = 0
said_so hostile_error_is_escaped 0 'line1\\nline2\\t\\x1b\]0;owned\\x07 \\\\ \\u{202e} \\u{85} end'
said_so hostile_code_is_escaped 0 'A\\rB'
said_so hostile_key_is_hex 0 '  \\x6b1b5b33316d  '
equal one_line_for_each 2 "$(grep -c '^1  \|^ID' "$dir/out")"
cmd dead --json
holds no_control_character_in_json test "$(tr -d '\n' <"$dir/out" | LC_ALL=C grep -c "$hostile" || true)" = 0
equal json_tells_the_error_as_it_is t "$(j "j->'events'->0->>'error' = E'line1\nline2\t\x1b]0;owned\x07 \\\\ \u202e \u0085 end'")"
cmd retry --all --dry-run
holds no_control_character_in_words test "$(tr -d '\n' <"$dir/out" | LC_ALL=C grep -c "$hostile" || true)" = 0
says hostile_argument_is_escaped 64 'x\\x1b\[2J: is not an event' retry $'x\x1b[2J'
says hostile_topic_is_escaped 1 'in topic x\\n\\x1b\[2J' retry --yes --topic $'x\n\x1b[2J'

# --- retry ------------------------------------------------------------------------------------------

reset
one_key 3
append 1 payments null # 4, no key
hold dead 1,4
hold blocked 2,3 0
says retry_dry_run 0 'event 1 .*topic orders, key "k1"): dead; last error MSG_SIZE_TOO_LARGE: Broker' retry --id 1 --dry-run
said_so retry_dry_run_sum 0 '^1 event would be retried (orders 1 dead); nothing was done$'
equal dry_run_does_nothing 'dead 5 never' "$(held 1)"
says retry_by_id 0 "^event 1 ($(event_id 1), topic orders, key \"k1\"): due now" retry --id 1
said_so retry_sum 0 '^1 event retried$'
equal retried 'retrying 0 now' "$(held 1)"
equal followers_wait 'blocked 0 never blocked 0 never' "$(held 2) $(held 3)"
says retry_by_event_id 0 '^event 4 .*topic payments): due now' retry "$(event_id 4)"
equal retried_without_key 'retrying 0 now' "$(held 4)"
sql "update outbox.held set attempts = 3, next_attempt_at = now() + interval '1 hour' where id = 1"
says retrying_goes_at_once 0 'event 1 .*: due now' retry --id 1
equal retrying_is_due 'retrying 0 now' "$(held 1)"
equal error_is_kept 'MSG_SIZE_TOO_LARGE' "$(sql 'select error_code from outbox.held where id = 1')"

says retry_of_a_blocked_one 1 'the event is blocked; it waits for an earlier event of its key' retry --id 2
says retry_of_a_blocked_one_by_event_id 1 'the event is blocked' retry "$(event_id 2)"
says retry_of_nothing 1 'there is no event with the number 99' retry --id 99
says retry_of_an_unknown_event_id 1 'event 00000000-0000-0000-0000-000000000000 is not held; `outbox-relay trace 00000000-0000-0000-0000-000000000000` says' retry 00000000-0000-0000-0000-000000000000
says retry_of_an_empty_topic 1 'nothing to retry in topic nowhere: no such event is held$' retry --topic nowhere --yes
append 2
says retry_of_a_pending_one 1 'the event is pending; nothing has held it up; it goes by itself' retry --id 5
mark 6
says retry_of_a_sent_one 1 'the event is sent; Kafka has confirmed it' retry --id 6
hold dead 6
says held_and_sent_is_sent 1 'the event is sent' retry --id 6
says held_and_sent_is_sent_by_event_id 1 'the event is sent' retry "$(event_id 6)"
cmd retry --all --yes -X "dsn=$relay_dsn user=commands_relay" --json
equal retry_json 'retry f 2 2 2 0 2' "$(j "concat_ws(' ', j->>'command', (j->>'dry_run')::bool, j->>'n_matched', j->>'n_changed', j->>'n_due', j->>'n_overtaken', jsonb_array_length(j->'events'))")"
equal retry_json_event 'retrying retrying' "$(j "j->'events'->0->>'was' || ' ' || (j->'events'->0->>'state')")"
cmd retry --id 99 --json
equal json_when_nothing_matches '1 0' "$code $(j "j->>'n_matched'")"

reset
append 3 orders "case n when 1 then '\\x6b31' when 2 then '\\xff00' else '\\x' end::bytea"
append 1 payments "'\\x6b31'"
hold dead 1,2,3,4
says retry_by_key 0 '^1 event retried$' retry --topic orders --key k1 --yes
equal key_of_that_topic_only 'retrying 0 now dead 5 never' "$(held 1) $(held 4)"
says retry_by_key_hex 0 '^1 event retried$' retry --topic orders --key-hex FF00 --yes
equal retried_by_key_hex 'retrying 0 now dead 5 never' "$(held 2) $(held 3)"
says retry_by_empty_key 0 '^1 event retried$' retry --topic orders --key '' --yes
equal retried_by_empty_key 'retrying 0 now' "$(held 3)"

# The order of a key: the first is due, the others wait for it, whoever is named.
reset
one_key 5
hold dead 1,3
hold blocked 2,4,5 0
says retry_behind_a_dead_one 0 'event 3 .*: waits for an earlier event of its key' retry --id 3
said_so retry_behind_sum 0 '^1 event retried, 0 due now and 1 behind an earlier event of the key$'
equal behind_a_dead_one 'dead 5 never blocked 0 never' "$(held 1) $(held 3)"
sql "update outbox.held set state = 'dead', attempts = 5 where id = 3"
says retry_both 0 '^2 events retried, 1 due now and 1 behind' retry --all --yes
equal first_is_due_second_waits 'retrying 0 now blocked 0 never' "$(held 1) $(held 3)"
sql "update outbox.held set state = 'dead', attempts = 5, next_attempt_at = null where id in (1, 3); delete from outbox.held where id = 2"
says dead_ones_are_passed_with_skip 0 'event 3 .*: due now' retry --id 3 -X on.poison=skip
equal due_behind_a_dead_one_that_is_passed 'dead 5 never blocked 0 now' "$(held 1) $(held 3)"
says retry_before_one_that_is_due 0 'event 1 .*: due now' retry --id 1 -X on.poison=skip
sql "update outbox.held set state = 'retrying', next_attempt_at = now() + interval '1 hour', attempts = 2 where id in (1, 3)"
says retrying_behind_another_is_left_alone 0 'event 3 .*: waits for' retry --id 3
equal retrying_behind_another 'retrying 2 later' "$(held 3)"
hold dead 1 2>/dev/null || true
mark 1
says what_is_sent_blocks_nobody 0 'event 3 .*: due now' retry --id 3

# Later events of the key are out.
reset
one_key 5
append 1 payments "'\\x6b31'" # 6: the same key elsewhere
hold dead 1
mark 2,3,4,5,6
says overtaken_is_refused 2 "warning: event 1 ($(event_id 1), topic orders, key \"k1\"): 4 later events of its key are sent already (2, 3, 4, ...)" retry --id 1
said_so refusal_says_how_to_go_on 2 'nothing was done: .* this event out of order; --force-order sends it all the same'
equal refusal_does_nothing 'dead 5 never' "$(held 1)"
says overtaken_dry_run 0 'warning: event 1 .* 4 later events' retry --id 1 --dry-run
cmd retry --id 1 --json
equal overtaken_json '2 0 1 4 "2, 3, 4"' "$code $(j "concat_ws(' ', j->>'n_changed', j->>'n_overtaken', j->'overtaken'->0->>'later_sent', j->'overtaken'->0->'first_later_ids')")"
says force_order 0 'warning: event 1 .* 4 later' retry --id 1 --force-order
equal forced 'retrying 0 now' "$(held 1)"
reset
append 30 orders "convert_to('k' || n % 25, 'UTF8')"
hold dead "select generate_series(1, 25)"
mark '26,27'
cmd retry --all --yes
said_so overtaken_among_many 2 'these events out of order'
equal overtaken_are_named 2 "$(grep -c 'warning: event [12] .* 1 later event of its key is sent already' "$dir/err")"

# --- asking -----------------------------------------------------------------------------------------

# asked ANSWER ARGUMENT...: on a terminal
asked() {
    local answer=$1 line
    shift
    printf -v line '%q ' "$OUTBOX_RELAY" "$@" -X "dsn=$relay_dsn"
    code=0
    out=$(printf '%s\n' "$answer" | timeout "$ample" script -qec "$line" /dev/null) || code=$?
    err=
}
reset
append 3 orders null
append 1 payments null
hold dead 1,2,3,4
if command -v script >/dev/null; then
    asked n retry --all
    said_so answer_no 2 'retry 4 events (orders 3 dead, payments 1 dead)? \[y/N\].*'
    said_so answer_no_says_so 2 'nothing was done'
    asked '' retry --all
    said_so no_is_the_default 2 'nothing was done'
    equal asked_and_nothing_done 'dead 5 never' "$(held 1)"
    asked y retry --topic orders
    said_so answer_yes 0 '3 events retried'
    equal asked_and_done 'retrying 0 now dead 5 never' "$(held 3) $(held 4)"
else
    skip asking 'there is no script(1)'
fi

# --- discard -----------------------------------------------------------------------------------------

reset
one_key 4
append 1 orders null # 5
hold dead 1,5
hold blocked 2,3 0
says discard_dry_run 0 '^1 event would be discarded' discard --id 1 --reason x --dry-run
equal discard_dry_run_does_nothing 'dead 5 never blocked 0 never' "$(held 1) $(held 2)"
says discard_by_id 0 'event 1 .*: discarded; last error MSG_SIZE_TOO_LARGE: Broker: Message' discard --id 1 --reason $'too large;\nsent by hand: \xc3\xa4'
said_so discard_sum 0 '^1 event discarded$'
equal discarded 'discarded 5 never' "$(held 1)"
equal reason_is_kept t "$(sql "select error_code = 'DISCARDED' and error = E'too large;\nsent by hand: ä' and first_error_at is not null from outbox.held where id = 1")"
equal next_of_the_key_is_due 'blocked 0 now blocked 0 never' "$(held 2) $(held 3)"
says discard_twice 1 'the event is discarded; there is nothing left to do' discard --id 1 --reason x
says discard_of_a_blocked_one 1 'the event is blocked; only one that Kafka has refused, or whose topic takes nothing, can be discarded' discard --id 2 --reason x
says retry_of_a_discarded_one 1 'the event is discarded; it was given up' retry --id 1
cmd discard "$(event_id 5)" --reason 'no longer wanted' --json -X "dsn=$relay_dsn user=commands_relay"
equal discard_json 'discard 1 1 dead discarded MSG_SIZE_TOO_LARGE' "$(j "concat_ws(' ', j->>'command', j->>'n_matched', j->>'n_changed', j->'events'->0->>'was', j->'events'->0->>'state', j->'events'->0->>'last_error_code')")"
equal discarded_without_key 'discarded 5 never' "$(held 5)"

reset
one_key 4
hold retrying 1
hold blocked 2 0
hold dead 3
hold blocked 4 0
says retrying_needs_its_flag 1 'the event is retrying; --retrying discards it all the same' discard --id 1 --reason x
says discard_all_leaves_retrying 0 '^1 event discarded$' discard --all --yes --reason x
equal discard_behind_another 'retrying 5 later blocked 0 never discarded 5 never blocked 0 never' "$(held 1) $(held 2) $(held 3) $(held 4)"
says discard_retrying 0 '^1 event discarded$' discard --id 1 --retrying --reason x
equal next_behind_retrying_is_due 'blocked 0 now blocked 0 never' "$(held 2) $(held 4)"

# A topic that takes nothing: what is paused is given up when that is said, and never retried.
reset
one_key 3 ordrs
append 1
hold paused 1,2,3 0
says paused_is_said_of_its_topic 1 'nothing to discard in topic ordrs: 3 events are paused (each: --paused discards it all the same)$' discard --topic ordrs --yes --reason x
says paused_is_said_of_all 1 'nothing to retry: 3 events are paused (each: it goes by itself when its topic works again)$' retry --all --yes
says paused_needs_its_flag 1 'the event is paused; --paused discards it all the same' discard --id 1 --reason x
says retrying_does_not_mean_paused 1 'nothing to discard: 3 events are paused' discard --all --retrying --yes --reason x
equal paused_stays 'paused 0 never paused 0 never' "$(held 1) $(held 2)"
sql "update outbox.held set maybe_delivered = true where id = 2"
says discard_paused 0 '^3 events discarded$' discard --topic ordrs --paused --yes --reason misspelt
said_so it_may_be_there_is_said 0 '^event 2 .*: discarded (an attempt of it ended without an answer: its record may be in the topic)'
equal paused_are_given_up 'discarded 0 never discarded 0 never discarded 0 never' "$(held 1) $(held 2) $(held 3)"
reset
one_key 4
hold paused 1 0
hold retrying 2
hold blocked 3 0
says discard_of_paused_alone 0 '^1 event discarded$' discard --all --paused --yes --reason x
equal others_of_its_key_stay 'discarded 0 never retrying 5 later blocked 0 never' "$(held 1) $(held 2) $(held 3)"

reset
one_key 3
hold dead 1,2
hold blocked 3 0
says discard_before_a_dead_one 0 '^1 event discarded$' discard --id 1 --reason x
equal the_next_one_is_due_should_the_dead_be_passed 'dead 5 never blocked 0 now' "$(held 2) $(held 3)"
says discard_the_other 0 '^1 event discarded$' discard --id 2 --reason x
equal discarded_ones_are_passed 'blocked 0 now' "$(held 3)"
reset
one_key 3
hold dead 1
hold retrying 2
hold blocked 3 0
says discard_with_skip 0 '^1 event discarded$' discard --id 2 --retrying --reason x -X on.poison=skip
equal dead_one_is_passed_with_skip 'dead 5 never blocked 0 now' "$(held 1) $(held 3)"

# --- many ---------------------------------------------------------------------------------------------

reset
append 5000 orders "convert_to('k' || (n - 1) / 2, 'UTF8')"
sql "insert into outbox.held (id, bucket, topic, key, state) select id, bucket, topic, key, case id % 2 when 1 then 'dead' else 'blocked' end from outbox.event"
says retry_many 0 '^2500 events retried$' retry --all --yes
said_so only_some_are_named 0 '^and 2480 more$'
equal many_are_due '2500' "$(sql "select count(*) from outbox.held where state = 'retrying' and attempts = 0 and next_attempt_at <= now() and id % 2 = 1")"
equal many_wait '2500' "$(sql "select count(*) from outbox.held where state = 'blocked' and next_attempt_at is null")"
sql "update outbox.held set state = 'dead', next_attempt_at = null where id % 2 = 1"
cmd discard --all --yes --json --reason 'all of them'
equal discard_many_json '2500 1000' "$(j "(j->>'n_changed') || ' ' || jsonb_array_length(j->'events')")"
equal many_are_promoted '2500 2500' "$(sql "select count(*) filter (where state = 'discarded') || ' ' || count(*) filter (where state = 'blocked' and next_attempt_at <= now()) from outbox.held")"
reset
one_key 2500
hold dead "select generate_series(1, 2500)"
says retry_a_long_group 0 '^2500 events retried, 1 due now and 2499 behind' retry --topic orders --key k1 --yes
equal long_group '1 2499' "$(sql "select count(*) filter (where id = 1 and next_attempt_at <= now()) || ' ' || count(*) filter (where state = 'blocked' and next_attempt_at is null) from outbox.held")"

# --- with others at work -----------------------------------------------------------------------------

# A session of its own: session NAME, then tell NAME SQL; what it says goes to $dir/NAME.said.
declare -A session_fd=()
session() {
    local fd
    mkfifo "$dir/$1.fifo"
    PGAPPNAME="session $1" psql -XqAt -d "$dsn" <"$dir/$1.fifo" >"$dir/$1.said" 2>&1 &
    background+=("$!")
    exec {fd}>"$dir/$1.fifo"
    session_fd[$1]=$fd
}
n_told=0
# tell_on: does not wait for the answer; tell does
tell_on() { printf '%s\n' "$2" >&"${session_fd[$1]}"; }
tell() {
    n_told=$((n_told + 1))
    tell_on "$1" "$2"
    tell_on "$1" "select 'told $n_told';"
    wait_until 20 grep -q "^told $n_told\$" "$dir/$1.said" || die "session $1: $2: $(<"$dir/$1.said")"
}
waits_for_lock() {
    wait_sql 20 1 "select count(*) from pg_stat_activity where datname = current_database()
                   and application_name = '$1' and wait_event_type = 'Lock'"
}
# start ARGUMENT...: a command in the background; ended gives its exit code as code
start() {
    timeout "$ample" "$OUTBOX_RELAY" "$@" -X "dsn=$relay_dsn" >"$dir/out" 2>"$dir/err" </dev/null &
    command_pid=$!
    background+=("$command_pid")
}
ended() {
    code=0
    wait "$command_pid" || code=$?
    out=$(<"$dir/out") err=$(<"$dir/err")
    # A command waits for a lock for five seconds, in which the other session must have done its part.
    [[ $err == *'SQLSTATE 55P03'* ]] || return 0
    timed_out='the lock that the command waited for'
    not_ok other_session_is_in_time "$err"
    exit 75
}
session a
session b

# The relay puts a follower behind a dead event: it has locked that one, FOR KEY SHARE at least.
reset
one_key 2
hold dead 1
tell a "begin; select id from outbox.held where id = 1 for key share;"
start discard --id 1 --reason x
holds discard_waits_for_a_hold waits_for_lock 'outbox-relay command'
tell a "insert into outbox.held (id, bucket, topic, key, state) select id, bucket, topic, key, 'blocked' from outbox.event where id = 2; commit;"
ended
said_so discard_after_a_hold 0 '^1 event discarded$'
equal follower_held_meanwhile_is_due 'discarded 5 never blocked 0 now' "$(held 1) $(held 2)"

# The other way round: while a discard is under way, a hold waits for it and then sees it.
reset
one_key 3
hold dead 1
hold blocked 2 0
tell a "begin; select id from outbox.held where id = 2 for update;"
start discard --id 1 --reason x
holds discard_waits_for_the_next waits_for_lock 'outbox-relay command'
tell_on b "begin; select 'saw ' || count(*) from (select id from outbox.held where id = 1 and state <> 'discarded' for key share) x;"
holds hold_waits_for_a_discard waits_for_lock 'session b'
tell a "commit;"
ended
said_so discard_before_a_hold 0 '^1 event discarded$'
tell b "commit;"
equal hold_sees_the_discard 'saw 0' "$(grep '^saw' "$dir/b.said")"
equal next_is_due_all_the_same 'blocked 0 now' "$(held 2)"

# An earlier event of the key is marked sent just when a later one is retried.
reset
one_key 2
hold retrying 1
hold dead 2
tell a "begin; delete from outbox.held where id = 1;"
start retry --id 2
holds retry_waits_for_the_first_of_the_key waits_for_lock 'outbox-relay command'
tell a "insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id = 1; commit;"
ended
said_so retry_after_a_mark 0 'event 2 .*: due now'
equal retried_after_a_mark 'gone retrying 0 now' "$(held 1) $(held 2)"
# The same with one more between them, which is then first.
reset
one_key 3
hold retrying 1
hold blocked 2 0
hold dead 3
tell a "begin; delete from outbox.held where id = 1; update outbox.held set next_attempt_at = now() where id = 2;"
start retry --id 3
holds retry_waits_for_the_first_again waits_for_lock 'outbox-relay command'
tell a "commit;"
ended
said_so retry_behind_the_next 0 'event 3 .*: waits for'
equal retried_behind_the_next 'gone blocked 0 now blocked 0 never' "$(held 1) $(held 2) $(held 3)"

# The victim of a deadlock tries again. It looks for one once, when it has waited so long: by then the other must wait
# as well.
reset
one_key 2
hold dead 1
hold blocked 2 0
tell a "set deadlock_timeout = '60s'; begin; select id from outbox.held where id = 2 for update;"
relay_dsn="$relay_dsn options='-c deadlock_timeout=4s'" start discard --id 1 --reason x
holds deadlock_half waits_for_lock 'outbox-relay command'
tell_on a "select id from outbox.held where id = 1 for update; commit;"
ended
said_so deadlock_is_survived 0 '^1 event discarded$'
tell a "reset deadlock_timeout;"
equal deadlock_and_done 'discarded 5 never blocked 0 now' "$(held 1) $(held 2)"
# It is counted when the session ends, a moment after the command has.
holds deadlock_was_one wait_sql 120 t "select deadlocks > 0 from pg_stat_database where datname = current_database()"

# A row that stays locked; a server that does not answer in time.
reset
one_key 1
hold dead 1
tell a "begin; select id from outbox.held where id = 1 for update;"
says locked_row 69 'SQLSTATE 55P03); another transaction has rows or a table locked: SELECT pid, mode, relation::regclass' retry --id 1
says statement_timeout 69 'SQLSTATE 57014); raise the setting statement.timeout' retry --id 1 -X statement.timeout=700ms
tell a "commit;"
equal locked_row_is_as_it_was 'dead 5 never' "$(held 1)"
says read_only_server 69 'cannot connect to PostgreSQL: .*read-only' retry --id 1 -X "dsn=$relay_dsn options='-c default_transaction_read_only=on'"
says dead_on_a_read_only_server 0 '^1 dead event in all$' dead -X "dsn=$relay_dsn options='-c default_transaction_read_only=on'"

for fd in "${session_fd[@]}"; do exec {fd}>&-; done
exit "$bad"
