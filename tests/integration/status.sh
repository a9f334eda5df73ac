#!/usr/bin/env bash
# status.sh - outbox-relay status: each way not to flow, made for real or, where time would have to pass, by
# what a relay writes. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS (for whether a broker answers).
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"

blocker_pid=
end_all() {
    [[ -z $blocker_pid ]] || sql "select pg_terminate_backend(pid) from outbox.blocker" >/dev/null
    sql "drop owned by status_monitor, status_poor; drop role status_monitor, status_poor" 2>/dev/null || true
    cleanup
}
trap end_all EXIT

# A relay that leads, and is not heard of from now on: the time of its last sign lies ahead, so that it is never silent.
lead() { sql "update outbox.relay set owner = '${1:-relay-a}', epoch = 7, lease_expires_at = now() + interval '${2:-1 hour}', renewed_at = now() + interval '1 hour'"; }
silent() { sql "update outbox.relay set renewed_at = now() - interval '61 s'"; }
# moving NAME STATUS PATTERN ARGUMENT...: as says, with marks of this moment, which are so for ten seconds: anew when
# the machine took longer
moving() {
    for _ in 1 2 3 4 5; do
        sql "update outbox.sent set sent_at = now()"
        cmd "${@:4}"
        ! { [[ $code == "$2" ]] && grep -q -e "$3" "$dir/out"; } || break
    done
    said_so "$1" "$2" "$3"
}
first_line() { head -n 1 "$dir/out"; }
kafka=(-X "kafka.bootstrap.servers=$brokers")

# --- words ------------------------------------------------------------------------------------------

says status_has_help 0 '^Usage: outbox-relay status ' status --help
said_so status_help_has_examples 0 '^  outbox-relay status '
said_so status_help_tells_the_exit_codes 0 '^Exit codes: 0 events flow'
says status_unknown_option 64 "unrecognized option '--nope'" status --nope
says status_takes_no_argument 64 'x: an argument that means nothing here' status x

# --- flowing ----------------------------------------------------------------------------------------

# Who is in the way is looked for below, and autovacuum must not be.
sql "do \$\$ declare leaf regclass; begin
         for leaf in select inhrelid from pg_inherits where inhparent in ('outbox.event'::regclass, 'outbox.sent'::regclass) loop
             execute format('alter table %s set (autovacuum_enabled = off)', leaf);
         end loop; end \$\$"
reset
lead
cmd status
said_so nothing_waits 0 '^Events flow: every committed event is published\.$'
equal first_line_says_it 'Events flow: every committed event is published.' "$(first_line)"
said_so no_relay_stands_by 0 '^standby none$'
said_so lead_is_told 0 '^lead    relay-a, for another 5[0-9] min.* (last heard of .* ago, epoch 7)$'
said_so kafka_is_not_asked 0 '^kafka   not asked: kafka.bootstrap.servers is not set$'
says broker_answers 0 '^kafka   1 broker, asked by this command$' status "${kafka[@]}"
where="database $(sql 'select current_database()'), host $(sed -n "s/.*host='\([^']*\)'.*/\1/p" <<<"$dsn"), port [0-9]*, user "
said_so which_database_is_told 0 "^dsn     $where[a-z]* (from command line)\$"
equal password_of_the_dsn_is_not_told 0 "$(OUTBOX_RELAY_DSN="$relay_dsn password=geheim" "$OUTBOX_RELAY" status "${kafka[@]}" 2>&1 | grep -c geheim || true)"
echo "dsn = host=127.0.0.1 port=1" >"$dir/place.conf"
beats() { { OUTBOX_RELAY_DSN="$relay_dsn" "$OUTBOX_RELAY" "$1" --config "$dir/place.conf" 2>&1 || true; } | grep -q "$2$where.* (from environment, OUTBOX_RELAY_DSN, which wins over the settings file)\$"; }
holds what_beats_the_file_is_told beats status '^dsn     '
holds doctor_tells_it_as_well beats doctor '^ok    dsn  *'
cmd status --json
equal which_database_is_told_in_json "$(sql 'select current_database()')" "$(j "j->'database'->>'dbname'")"
append 3 orders
append 1 payments
cmd status
said_so a_little_waits 0 '^Events flow: 4 events wait, the oldest for [0-9.]* s\.$'
said_so topics_are_listed 0 '^orders  *3  *0  *0  *[0-9.]* s  *-$'
cmd status --json
equal status_json 't t relay-a 7 orders 3 f payments 1' "$(j "concat_ws(' ', (j->>'flowing')::bool, (j->>'database_up')::bool, j->'lead'->>'owner', j->'lead'->>'epoch', j->'topics'->0->>'topic', j->'topics'->0->>'pending', (j->'topics'->0->>'more')::bool, j->'topics'->1->>'topic', j->'topics'->1->>'pending')")"
equal status_json_unknown 'null' "$(j "(j->'kafka_up')::text")"
equal status_json_is_one_line 1 "$(wc -l <"$dir/out")"
cmd status --limit 1
equal limit_lists_fewer 0 "$(grep -c '^payments' <<<"$out" || true)"
mark '1, 2, 3, 4'
moving marks_are_a_rate 0 '^Events flow: 0.4 a second\.$' status
sql "update outbox.sent set sent_at = now() - interval '3 min'"
says last_mark_is_told 0 '^marks   0 a second, the last [3-9] min.* ago$' status
sql "insert into outbox.event (topic, type, available_at) values ('later', 'test', now() + interval '1 day')"
says what_is_for_later_does_not_wait 0 '^Events flow: every committed event is published' status

# --- not flowing ------------------------------------------------------------------------------------

reset
sql "update outbox.relay set renewed_at = null"
says nobody_leads 69 '^Events do not flow: no relay leads\.$' status
said_so nobody_leads_remedy 69 '^     Start a relay (if it ends, its last line and outbox-relay doctor say why);'
says read_only_is_the_cause 69 '^Events do not flow: the server is read-only for the role of this dsn (default_transaction_read_only), where no relay with this dsn can work, and none leads' \
    status -X "dsn=$relay_dsn options='-c default_transaction_read_only=on'"
said_so read_only_has_its_remedy 69 '^ *Let the dsn name the primary, .*set default_transaction_read_only to off'
lead relay-b '-3 min'
sql "update outbox.relay set renewed_at = now()"
says lease_has_ended 69 '^Events do not flow: no relay leads: relay-b was last heard of [0-9.]* s ago, its lease has ended, and nobody has taken it\.$' status
said_so lease_ended_when 69 '^lead    relay-b, until [3-9] min.* ago'
lead
sql "insert into outbox.event (created_at, topic, type) values (now() - interval '40 min', 'orders', 'test')"
begun() { sql "update outbox.relay set leading_since = now()" && cmd status && [[ $code == 0 ]]; }
holds a_lead_that_has_begun_is_not_blamed wait_until 120 begun
holds what_waits_is_told_all_the_same grep -q '1 event waits, for 4[0-9] min' "$dir/out"
sql "update outbox.relay set leading_since = now() - interval '35 s'"
says nothing_moves_since_the_lead_began 69 'nothing has moved for \([3-9][0-9] s\|[1-9] min\)' status
sql "update outbox.relay set leading_since = null"
says nothing_moves 69 '^Events do not flow: nothing has moved for 4[0-9] min; 1 event waits, for 4[0-9] min\.$' status
sql "insert into outbox.sent (bucket, id, sent_at) values (0, 0, now() - interval '35 s')"
says nothing_moves_since_the_last_mark 69 'nothing has moved for \([3-9][0-9] s\|[1-9] min\)' status
sql "update outbox.sent set sent_at = now()"
sql "update outbox.sent set sent_at = now() - interval '12 s'"
says it_has_not_moved_lately 0 '^1 event waits, for 4[0-9] min; nothing was published in the last [12][0-9] s\.$' status
moving it_moves_slowly 0 '^Events flow: 0.1 a second; 1 event waits, for 4[0-9] min\.$' status
silent
moving silent_leader_that_marks 0 '^Events flow: 0.1 a second; .*, but relay-a leads and has been silent for [1-9] min.*, though it should renew its lease every second' status
sql "update outbox.sent set sent_at = now() - interval '12 s'"
says silent_leader 69 '^Events do not flow: relay-a leads and has been silent for [1-9] min.*; its lease lasts [0-9]* min.* more; 1 event waits' status
said_so silent_leader_remedy 69 '^     Its name tells host.* start one relay with `-X lease.owner=`'
says doctor_tells_a_silent_leader 69 '^fail  flow  *events do not flow: relay-a leads and has been silent for [1-9] min' doctor "${kafka[@]}"
lead
sql "update outbox.sent set sent_at = now() - interval '35 s'"
says doctor_tells_that_nothing_moves 69 '^fail  flow  *events do not flow: nothing has moved for ' doctor "${kafka[@]}"
holds doctor_says_whom_to_ask grep -q 'do: The log of the relay that leads .* restart it' "$dir/out"
says broker_is_down 69 '^Events do not flow: no Kafka broker answers this command: 127.0.0.1:1: .*refused; 1 event waits' status -X kafka.bootstrap.servers=127.0.0.1:1
said_so whose_settings_were_used 69 'This command has its own settings; a relay has those that it was started with'
said_so broker_is_down_remedy 69 'Mend the brokers .*correct kafka.bootstrap.servers.* and restart it'
cmd status --json -X kafka.bootstrap.servers=127.0.0.1:1
equal broker_is_down_json 'false false bad' "$(j "concat_ws(' ', j->>'flowing', j->>'kafka_up', j->>'level')")"
says no_broker_was_asked 69 '^kafka   not asked: command line: kafka.ssl.ca.location = /nope/ca.pem: cannot be read: No such file or directory' \
    status "${kafka[@]}" -X kafka.security.protocol=ssl -X kafka.ssl.ca.location=/nope/ca.pem
said_so no_broker_was_asked_is_a_finding 69 '^warn no broker was asked: command line: kafka.ssl.ca.location'
equal no_broker_is_blamed 0 "$(grep -c 'broker answers' "$dir/out" || true)"
mark 1
says broker_is_down_and_nothing_waits 0 'but no Kafka broker answers this command' status -X kafka.bootstrap.servers=127.0.0.1:1
says database_is_down 69 '^Whether events flow is not known: this command cannot look into the database: connection to server .*refused' status -X "dsn=host=127.0.0.1 port=1"
said_so which_database_is_down 69 '^dsn     database .*, host 127.0.0.1, port 1, user .* (from command line)$'
said_so database_is_down_remedy 69 'Mend the server .*correct dsn and restart it'
cmd status --json -X "dsn=host=127.0.0.1 port=1"
equal database_is_down_json 'null false null' "$(j "concat_ws(' ', (j->'flowing')::text, j->>'database_up', (j->'lead')::text)")"
says lines_of_libpq_are_clauses 69 'port 1 failed: [^;]*refused; connection to server at .*port 2 failed: [^;]*refused; see the setting' status -X "dsn=host=127.0.0.1,127.0.0.1 port=1,2"
says unreachable_says_see_the_dsn 69 'see the setting dsn (--print-config shows it)' status -X "dsn=host=127.0.0.1 port=1"
says relay_may_know_more 69 'A relay that runs has a connection of its own' status -X "dsn=host=127.0.0.1 port=1"
says no_schema_is_told 78 'not installed in database "postgres"' status -X "dsn=$relay_dsn dbname=postgres"
equal no_schema_is_said_on_stdout_alone '' "$err"
said_so no_schema_first_line 78 '^Whether events flow is not known: this command cannot look into the database: '
remedy_is() { equal "$1" "$2 $3 0" "$code $(grep -c "^     $4" "$dir/out" || true) $(grep -c 'Mend the server' "$dir/out" || true)"; }
remedy_is no_schema_remedy 78 1 'Let the DBA apply sql/001_outbox.up.sql, or correct the setting dsn. A relay that runs '
says no_such_database 69 'look into the database: .*database "status_nowhere" does not exist\.$' status -X "dsn=$relay_dsn dbname=status_nowhere"
remedy_is no_such_database_remedy 69 1 'Correct dbname in the setting dsn'
says doctor_tells_no_such_database 69 'database "status_nowhere" does not exist$' doctor "${kafka[@]}" -X "dsn=$relay_dsn dbname=status_nowhere"
holds doctor_says_the_same grep -q 'do: correct dbname in the setting dsn' "$dir/out"
says no_such_role 69 'look into the database: .*role "status_nobody" does not exist\.$' status -X "dsn=$relay_dsn user=status_nobody"
remedy_is no_such_role_remedy 69 1 'Correct user in the setting dsn'
cmd status --json -X "dsn=$relay_dsn dbname=postgres"
equal no_schema_json '78 null null bad t' "$code $(j "concat_ws(' ', (j->'flowing')::text, (j->'database_up')::text, j->>'level', (j->>'database_error') like '%not installed%')")"

# --- needs a look -----------------------------------------------------------------------------------

reset
lead
append 6
hold dead '1'
hold blocked '2, 3' 0
hold paused '4, 5' 0
hold retrying 6
sql "update outbox.held set topic = 'gone-' || id, error_code = 'UNKNOWN_TOPIC_OR_PART', error = E'Broker: Unknown topic\x1b[2J' where state = 'paused'"
cmd status
said_so refused_event 0 '^warn Kafka refuses 1 event (MSG_SIZE_TOO_LARGE), and it is tried again$'
said_so refused_event_is_named 0 "outbox-relay discard --retrying --reason TEXT --id $(sql "select id from outbox.held where state = 'retrying'")\`"
said_so paused_topic 0 'but topic "gone-4" takes nothing (Broker: Unknown topic\\x1b\[2J), nor does 1 other\.$'
said_so dead_event 0 '^warn 1 event is dead: it waits for a person$'
said_so dead_event_remedy 0 '`outbox-relay dead` lists them'
holds no_control_character test "$(tr -d '\n' <"$dir/out" | LC_ALL=C grep -c '[[:cntrl:]]' || true)" = 0
cmd status --json
equal held_json '5 1 UNKNOWN_TOPIC_OR_PART' "$(j "concat_ws(' ', (select sum((t->>'held')::int) from jsonb_array_elements(j->'topics') t), (select sum((t->>'dead')::int) from jsonb_array_elements(j->'topics') t), (select min(t->>'paused_code') from jsonb_array_elements(j->'topics') t))")"

# --- the disk ---------------------------------------------------------------------------------------

says size_is_told 0 '^size    [0-9]* KiB$' status
sql "insert into outbox.event (topic, type, bucket, payload) select 'orders', 'test', 5, decode(repeat('00', 100), 'hex') from generate_series(1, 20000)"
says largest_bucket_is_told 0 '^size    [0-9.]* MiB: bucket 5 [0-9.]* MiB$' status
cmd status --json
equal space_json '10 5 t' "$(j "concat_ws(' ', jsonb_array_length(j->'space'->'parts'), j->'space'->'parts'->0->>'part', (j->'space'->>'bytes')::bigint = (select sum((p->>'bytes')::bigint) from jsonb_array_elements(j->'space'->'parts') p))")"
reset
lead
sql "insert into outbox.event (topic, type, bucket, created_at) values ('orders', 'test', 5, now() - interval '5 days');
     insert into outbox.sent (bucket, id) values (0, 0)"
moving bucket_with_an_unsent_event 0 'but bucket 5 should have been emptied 2 d ago: its event 1 is not sent\.$' status -X retention=72h
moving no_bucket_is_overdue_yet 0 '1 event waits, for 5 d\.$' status -X retention=150h
holds it_does_not_say_so test "$(grep -c 'should have been' "$dir/out" || true)" = 0
moving none_is_overdue_without_retention 0 '1 event waits, for 5 d\.$' status -X retention=off
holds it_does_not_say_so_either test "$(grep -c 'should have been' "$dir/out" || true)" = 0
mark 1
says reason_is_not_known 0 '^good bucket 5 should have been emptied 2 d ago$' status
PGAPPNAME=pg_dump psql -Xq -d "$dsn" -c "begin; lock table outbox.sent_5 in access share mode; select pg_sleep(600)" >/dev/null 2>&1 &
blocker_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_truncate"
says who_locks_the_bucket 0 "but bucket 5 should have been emptied 2 d ago: it is locked by pid $(sql 'select pid from outbox.blocker'), pg_dump, open for [0-9.]* s\.$" status
said_so locked_bucket_remedy 0 'It is emptied by itself once that transaction has ended; let it end, or end it'
# What it says is to be typed as it stands.
sql "$(sed -n 's/.*`\(SELECT pg_terminate_backend([0-9]*)\)`.*/\1/p' "$dir/out")" >"$dir/ended"
holds locked_bucket_remedy_works grep -q '^t$' "$dir/ended"
wait "$blocker_pid" || true
blocker_pid=
sql "insert into outbox.held (id, bucket, topic, state) select n, 5, 'orders', 'blocked' from generate_series(1, 10001) n; select setval(pg_get_serial_sequence('outbox.event', 'id'), 10001)" >/dev/null
sql "delete from outbox.sent"
says crowded_bucket 0 'emptied 2 d ago: more of its events are held than can be moved' status
reset
lead

# A transaction that has written an event and does not end.
PGAPPNAME=$'sleepy\e[31m' psql -Xq -d "$dsn" -c "begin; insert into outbox.event (topic, type) values ('t', 'x'); select pg_sleep(600)" >/dev/null 2>&1 &
blocker_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_rows"
cmd status
said_so blocker_is_listed 0 "^$(sql 'select pid from outbox.blocker')  *sleepy.*  [0-9.]* s  *its events, and a bucket$"
cmd status --json
equal blocker_json "$(sql 'select pid from outbox.blocker') t" "$(j "concat_ws(' ', j->'blockers'->0->>'pid', (j->'blockers'->0->>'holds_rows')::bool)")"
sql "select pg_terminate_backend(pid) from outbox.blocker" >"$dir/ended"
wait "$blocker_pid" || true
blocker_pid=

# One of a relay is not told: it is over in a moment.
PGAPPNAME=outbox-relay psql -Xq -d "$dsn" -c "begin; lock table outbox.sent_5 in access share mode; select pg_sleep(600)" >/dev/null 2>&1 &
blocker_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_truncate"
cmd status
equal relay_is_no_blocker '0 1' "$(grep -c ' outbox-relay ' "$dir/out" || true) $(sql "select count(*) from outbox.blocker where age < interval '1 minute'")"
sql "select pg_terminate_backend(pid) from outbox.blocker" >"$dir/ended"
wait "$blocker_pid" || true
blocker_pid=

# One that lets nothing be marked is the cause when nothing moves, whoever else has written events.
sql "insert into outbox.event (created_at, topic, type) values (now() - interval '40 min', 'orders', 'test')"
PGAPPNAME=alter psql -Xq -d "$dsn" -c "begin; lock table outbox.sent in share row exclusive mode; select pg_sleep(600)" >/dev/null 2>&1 &
blocker_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_truncate"
locker=$(sql 'select pid from outbox.blocker')
says who_keeps_marks_out_is_told 69 "^Events do not flow: nothing has moved for .*: outbox.sent, or a leaf of it, is locked against marks (pid $locker, alter, open for .*); 1 event waits" status
said_so what_to_do_about_it 69 "^ *The relay goes on by itself when that transaction has ended; let it end, or .*pg_terminate_backend($locker)"
said_so it_holds_the_marks 69 "^$locker  *alter .* the marks of all$"
says doctor_tells_who_keeps_marks_out 69 "^fail  flow  *events do not flow: nothing has moved for .*: outbox.sent, or a leaf of it, is locked against marks (pid $locker, alter, open for " doctor "${kafka[@]}"
said_so doctor_tells_what_to_do_about_it 69 "^  *do: The relay goes on by itself when that transaction has ended; let it end, or .*pg_terminate_backend($locker)"
sql "select pg_terminate_backend(pid) from outbox.blocker" >"$dir/ended"
wait "$blocker_pid" || true
blocker_pid=
sql "begin; lock table outbox.sent in share row exclusive mode; prepare transaction 'alter in two phases'"
says prepared_one_that_keeps_marks_out_is_told 69 "is locked against marks (prepared, alter in two phases, open for .*); 1 event waits" status
said_so what_to_do_about_a_prepared_one 69 "^ *The relay goes on by itself when that transaction has ended; COMMIT PREPARED or ROLLBACK PREPARED"
sql "rollback prepared 'alter in two phases'"

# So much waits that counting takes too long: what was counted until then is told, with a +.
reset
lead
append 2000 orders
hold blocked 7 0
was=$(sql "select pg_get_functiondef('outbox.backlog_now()'::regprocedure)")
sql "create or replace function outbox.backlog_now(out topic text, out pending bigint, out held bigint, out dead bigint, out oldest_age interval)
     returns setof record language sql stable as \$\$ select pg_sleep(60)::text, 0::bigint, 0::bigint, 0::bigint, null::interval \$\$"
cmd status -X statement.timeout=3s
said_so count_is_given_up 0 '^orders  *1999+  *1  *0  *[0-9.]* s  *-$'
said_so count_given_up_in_words 0 '^Events flow: more than 1,999 events wait'
sql "$was"
says count_is_whole_again 0 '^orders  *1999  *1 ' status

# --- rights -----------------------------------------------------------------------------------------

sql "drop role if exists status_monitor, status_poor; create role status_monitor login in role outbox_monitor; create role status_poor login"
says monitor_may_ask 0 '^Events flow' status -X "dsn=$relay_dsn user=status_monitor"
says others_may_not 77 'Apply sql/roles.sql' status -X "dsn=$relay_dsn user=status_poor"
remedy_is missing_right_remedy 77 1 'Apply sql/roles.sql and grant outbox_relay to the role of the dsn\. '
holds missing_right_is_said_without_it grep -q '^Whether events flow is not known: .*permission denied.*(SQLSTATE 42501)\.$' "$dir/out"

# Nor is one of a relay whose age may not be seen.
sql "grant usage on schema outbox to status_poor; grant select on all tables in schema outbox to status_poor; grant execute on function outbox.backlog_now to status_poor"
PGAPPNAME=outbox-relay psql -Xq -d "$dsn" -c "begin; lock table outbox.sent_5 in access share mode; select pg_sleep(600)" >/dev/null 2>&1 &
blocker_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_truncate"
says who_cannot_see_ages_may_ask 0 '^Events flow' status -X "dsn=$relay_dsn user=status_poor"
equal relay_of_unknown_age_is_no_blocker '0 1' "$(grep -c ' outbox-relay ' "$dir/out" || true) $(sql "set role status_poor; select count(*) from outbox.blocker where age is null")"
exit "$bad"
