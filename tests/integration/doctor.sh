#!/usr/bin/env bash
# doctor.sh - outbox-relay doctor: each finding is caused for real, but for those that only a real Kafka has
# (kafka_doctor.sh). Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"
kafka=(-X "kafka.bootstrap.servers=$brokers")
session_pid=
end_all() {
    [[ -z $session_pid ]] || sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'doctor-%'" >/dev/null
    sql "rollback prepared 'doctor-gid'" 2>/dev/null || true
    sql "select pg_drop_replication_slot('doctor_slot')" >/dev/null 2>&1 || true
    sql "drop owned by doctor_relay, doctor_poor, doctor_async; drop role doctor_relay, doctor_poor, doctor_async" 2>/dev/null || true
    [[ -z ${bouncer_pid-} ]] || end_process "$bouncer_pid" || true
    cleanup
}
trap end_all EXIT

level() { j "(select string_agg(f->>'level', ',') from jsonb_array_elements(j->'findings') f where f->>'subject' = '$1')"; }

# --- words ------------------------------------------------------------------------------------------

says doctor_has_help 0 '^Usage: outbox-relay doctor ' doctor --help
said_so doctor_help_has_examples 0 '^  outbox-relay doctor '
says doctor_unknown_option 64 "unrecognized option '--nope'" doctor --nope
says doctor_takes_no_argument 64 'x: an argument that means nothing here' doctor x

# --- all is well ------------------------------------------------------------------------------------

reset
sql "drop role if exists doctor_relay, doctor_poor, doctor_async; create role doctor_relay login in role outbox_relay; create role doctor_poor login; create role doctor_async login"
cmd doctor "${kafka[@]}" -X "dsn=$relay_dsn user=doctor_relay"
said_so all_is_well 0 '^Nothing must be mended'
for what in 'server  .*PostgreSQL .* primary' 'role  .*"doctor_relay" in database' 'pooler  *none in between' \
    'commits  *synchronous_commit is not off' 'clock  *PostgreSQL and this machine agree' 'transaction  *none has been open' \
    'prepared  *there is no prepared' 'slot  *no replication slot' 'schema  *version 1' 'rights  *the role has all' 'ring  *all leaves' \
    'index  *all are there' 'bucket  *a new bucket each 1 d' 'retention  *by these settings a bucket is emptied when' 'size  *the outbox takes' 'dead  *no row is dead' 'sequence  .*is not behind' 'librdkafka  *version' 'kafka  *a broker answers'; do
    said_so "well_${what%% *}" 0 "^ok    $what"
done
cmd doctor "${kafka[@]}" --json
equal doctor_json 't 0' "$(j "concat_ws(' ', (j->>'good')::bool, j->>'n_fail')")"

# --- policies ---------------------------------------------------------------------------------------

sql "alter table outbox.event enable row level security"
finds hidden_events 0 '^warn  rights  .*row-level security may hide events from the role, of outbox.event:' -X "dsn=$relay_dsn user=doctor_relay"
cmd doctor "${kafka[@]}"
equal nothing_is_hidden_from_who_bypasses_policies 0 "$(grep -c row-level "$dir/out" || true)"
sql "alter table outbox.event disable row level security; alter table outbox.schema_version enable row level security; alter table outbox.relay enable row level security"
finds hidden_version 77 '^fail  schema  .*row-level security hides outbox.schema_version from the role' -X "dsn=$relay_dsn user=doctor_relay"
said_so hidden_lead 77 "^fail  lead  .*row-level security hides the row 'default' of outbox.relay"
says hidden_from_status 77 '^ *As a superuser: ALTER ROLE ' status "${kafka[@]}" -X "dsn=$relay_dsn user=doctor_relay"
says hidden_from_commands 77 'row-level security hides outbox.schema_version from this role; as a superuser' dead -X "dsn=$relay_dsn user=doctor_relay"
sql "alter table outbox.schema_version disable row level security; alter table outbox.relay disable row level security"

sql "delete from outbox.relay"
finds no_row_of_the_relay 78 "^fail  lead  .*outbox.relay has no row 'default'"
sql "$(sed -n "s/^ *do: .*\`\(insert into outbox.relay .*\)\`.*/\1/p" "$dir/out")"
finds that_makes_it 0 '^warn  lead  .*no relay has ever worked here'

# --- the server -------------------------------------------------------------------------------------

cmd doctor "${kafka[@]}" -X "dsn=host=127.0.0.1 port=1"
said_so database_is_away 69 '^fail  database .*cannot connect to PostgreSQL'
said_so database_is_away_remedy 69 'mend the server .*correct dsn and restart it'
said_so kafka_is_looked_at_all_the_same 69 '^ok    kafka .*a broker answers'
cmd doctor -X kafka.bootstrap.servers=127.0.0.1:1
said_so kafka_is_away 69 '^fail  kafka .*no broker answers this command: 127.0.0.1:1: .*refused'
holds no_state_of_librdkafka_is_told test "$(grep -c 'in state' "$dir/out" || true)" = 0
said_so kafka_is_away_remedy 69 'mend the brokers .*correct kafka.bootstrap.servers.* and restart it'
said_so database_is_looked_at_all_the_same 69 '^ok    schema  *version 1'
cmd doctor -X kafka.bootstrap.servers=127.0.0.1:1 -X "dsn=host=127.0.0.1 port=1" --json
equal both_are_away '69 fail fail' "$code $(level database) $(level kafka)"
cmd doctor
said_so kafka_is_not_set 78 '^fail  kafka .*kafka.bootstrap.servers is not set'
finds read_only 69 'PostgreSQL .* is read only for this role' -X "dsn=$relay_dsn options='-c default_transaction_read_only=on'"
sql "alter role doctor_async set synchronous_commit = off"
finds commits_of_a_role 0 '^warn  commits .*off for role doctor_async: .* whose event is published already'
own=$(sql 'select current_user')
sql "alter role $own in database $(sql 'select current_database()') set synchronous_commit = off"
finds commits_of_the_relays_own_role 0 "^warn  commits .*off for role $own in database .*, the one of this dsn"
sql "alter role $own in database $(sql 'select current_database()') reset synchronous_commit"
sql "alter role doctor_async reset synchronous_commit; alter database $(sql 'select current_database()') set synchronous_commit = off"
finds commits_of_a_database 0 '^warn  commits .*off for every role in database'
sql "alter database $(sql 'select current_database()') reset synchronous_commit"
fake=$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' | head -n 1) || true
if [[ -n $fake ]]; then
    code=0
    # without brokers: librdkafka's threads do not get on with a clock that is not the kernel's
    timeout "$ample" env LD_PRELOAD="$fake libc.so.6" FAKETIME=+3m "$OUTBOX_RELAY" doctor -X "dsn=$relay_dsn" >"$dir/out" 2>"$dir/err" || code=$?
    out=$(<"$dir/out") err=$(<"$dir/err")
    said_so clocks_differ 78 '^warn  clock .*PostgreSQL is [23] min.* behind that of this machine'
else
    skip clocks_differ 'faketime is not installed'
fi

# A pooler in between: what it hands out is not the session that was opened.
bouncer() {
    local port=$1 host
    host=$(sed -n "s/.*host='\([^']*\)'.*/\1/p" <<<"$dsn")
    cat >"$dir/bouncer.ini" <<INI
[databases]
* = host=$host port=5432 user=outbox
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
logfile = $dir/bouncer.log
INI
    chmod 0644 "$dir/bouncer.ini"
    touch "$dir/bouncer.log" && chmod 0666 "$dir/bouncer.log"
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid postgres --regid postgres --init-groups pgbouncer "$dir/bouncer.ini" >/dev/null 2>&1 &
    else
        pgbouncer "$dir/bouncer.ini" >/dev/null 2>&1 &
    fi
    bouncer_pid=$!
}
if command -v pgbouncer >/dev/null; then
    bouncer_port=$(free_port)
    bouncer "$bouncer_port"
    wait_until 20 port_taken "$bouncer_port" || die "pgbouncer did not start: $(<"$dir/bouncer.log")"
    finds pooler 78 'the dsn leads to a pooler' -X "dsn=host=127.0.0.1 port=$bouncer_port user=outbox dbname=$(sql 'select current_database()')"
    end_process "$bouncer_pid"
    bouncer_pid=
else
    skip pooler 'pgbouncer is not installed'
fi

# --- what holds cleaning back -----------------------------------------------------------------------

# A transaction that is five minutes old cannot be waited for: the doctor's clock is not the server's, but
# pg_stat_activity is a view, and its place can be taken.
sql "begin; insert into outbox.event (topic, type) values ('t', 'x'); prepare transaction 'doctor-gid'"
finds prepared_transaction 0 '^warn  prepared .*"doctor-gid"'
sql "rollback prepared 'doctor-gid'"
sql "select pg_create_physical_replication_slot('doctor_slot', true)" >/dev/null
finds inactive_slot 0 '^warn  slot .*"doctor_slot" is inactive and keeps'
sql "select pg_drop_replication_slot('doctor_slot')" >/dev/null

# --- who leads, what is dead, what fills the disk ------------------------------------------------------

reset
finds no_relay_ever 0 '^warn  lead  *nobody leads: no relay has ever worked here'
relay_start leader "${steady[@]}" -X lease.owner=relay-a
wait_said leader msg=leading || not_ok leader_leads
wait_sql 20 t "select count(*) > 1 from pg_stat_activity where application_name = 'outbox-relay' and datname = current_database()"
holds first_lead_is_said said leader 'msg=leading .*because="no relay has led before"$'
cmd doctor "${kafka[@]}"
said_so relays_are_counted 0 '^ok    relays  *one leads (from .*), none stands by$'
said_so somebody_leads 0 '^ok    lead  *relay-a .*, and was last heard of'
holds events_move grep -q '^ok    flow  ' "$dir/out"
says no_standby_is_told 0 '^standby none$' status
relay_start second "${steady[@]}"
wait_said second 'another relay leads' || not_ok second_stands_by
doctor_says() { cmd doctor "${kafka[@]}" && grep -q "$1" "$dir/out"; }
holds standby_is_counted wait_until 120 doctor_says '^ok    relays  *one leads (from .*), 1 stands by (from .*)$'
says standby_is_told 0 '^standby 1 relay (from .*)$' status
said_so lead_is_dated 0 '^lead    relay-a, .* (leads for .*, last heard of .* ago, epoch [0-9]*)$'
cmd status --json
equal relays_json '2 1' "$(j "concat_ws(' ', jsonb_array_length(j->'relays'), (select count(*) from jsonb_array_elements(j->'relays') r where (r->>'leads')::bool))")"
relay_signal second STOP
holds frozen_standby_is_told wait_until 120 doctor_says '^warn  relays  *a relay that stands by asks for the lease no more.* silent for '
relay_kill second
relay_signal leader STOP
sql "update outbox.relay set owner = null, lease_expires_at = null"
frozen_is_told() {
    cmd doctor "${kafka[@]}"
    grep -q '^warn  relays .* the last sign of life .* ago (from .*), and none takes the free lease' "$dir/out"
}
holds frozen_relay_is_told wait_until 120 frozen_is_told
holds frozen_relay_remedy grep -q 'is frozen: end it and start another' "$dir/out"
sql "update outbox.relay set owner = 'relay-a', lease_expires_at = clock_timestamp()"
relay_kill leader
wait_sql 20 0 "select count(*) from pg_stat_activity where application_name = 'outbox-relay' and datname = current_database()"
sql 'update outbox.relay set lease_expires_at = clock_timestamp()'
finds no_relay_is_connected 69 '^warn  relays  *no relay is connected to this database'
finds leader_was_killed 69 '^fail  lead  *nobody leads: relay-a was last heard of .* ago, its lease has ended, and no relay has taken it'
log_anew leader
relay_start leader "${steady[@]}" -X lease.owner=relay-a
wait_said leader msg=leading || not_ok leader_leads_again
holds own_lease_is_said said leader "msg=leading .*lease_of=relay-a because=\"it bears this relay's name\" silent_ms="
relay_signal leader TERM
relay_end leader 20
finds leader_has_stopped 69 '^fail  lead  *nobody leads: the last relay stopped cleanly .* ago'
log_anew leader
relay_start leader "${steady[@]}" -X lease.owner=relay-a
wait_said leader 'msg=leading .*because=resigned silent_ms=' || not_ok resigned_lease_is_said
relay_signal leader TERM
relay_end leader 20
append 3
hold dead '1, 2'
finds dead_rows 69 '^warn  dead  *dead rows: 2, the oldest since 2026-01-02 03:04:05 UTC;'
bucket=$(sql "select $old_bucket")
sql "insert into outbox.event (topic, type, bucket, created_at) values ('t', 'x', $bucket, now() - interval '5 days')"
finds bucket_is_overdue 69 "^warn  size  *bucket $bucket should have been emptied 2 d ago: its event 4 is not sent"
reset
sql "update outbox.relay set renewed_at = null"

# --- schema -----------------------------------------------------------------------------------------

finds not_installed 78 'the outbox is not installed in database "postgres"' -X "dsn=$relay_dsn dbname=postgres"
sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
finds schema_is_newer 78 '^fail  schema .*version 1000'
sql "delete from outbox.schema_version where version = 1000; update outbox.schema_version set version = 1001"
sql "alter table outbox.schema_version drop constraint schema_version_positive; update outbox.schema_version set version = 0"
finds schema_is_older 78 'has version 0, this program needs 1'
sql "update outbox.schema_version set version = 1"
finds may_not_use_the_schema 77 'may not use the schema outbox' -X "dsn=$relay_dsn user=doctor_poor"
equal what_the_role_brings_is_no_finding_of_its_own 0 "$(grep -c 'pg_read_all_stats' "$dir/out" || true)"
sql "grant usage on schema outbox to doctor_poor"
# What it says is to be typed as it stands, and mends it. An answer without such a word is not typed.
as_poor=(-X "dsn=$relay_dsn user=doctor_poor")
as_relay=(-X "dsn=$relay_dsn user=doctor_relay")
rights() { grep -c '^fail  rights ' "$dir/out" || true; }
typed() { sql "$(sed -n '/^fail  rights /,/do: /s/.*do: .*`\([A-Z]* [^`]*\)`.*/\1;/p' "$dir/out")"; }
mends() { typed && cmd doctor "${kafka[@]}" "$@" && grep -q '^ok    rights  *the role has all' "$dir/out"; }
sql "revoke usage on schema outbox from outbox_relay"
finds relay_may_not_use_the_schema 77 'may not use the schema outbox' "${as_relay[@]}"
holds schema_is_granted mends "${as_relay[@]}"
# As after a down and an up: the roles are there, and have nothing here.
strip() {
    sql "revoke all on all tables in schema outbox from outbox_relay; revoke all on all sequences in schema outbox from outbox_relay;
         revoke all on all functions in schema outbox from outbox_relay; revoke usage on schema outbox from outbox_relay"
}
roles_file() { psql -XqAt -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$root/sql/roles.sql" >/dev/null; }
one_remedy() {
    finds "$1" 77 "$2" "${@:4}"
    equal "$1_is_one_finding" "1 $3" "$(rights) $(sed -n '/^fail  rights /,/do: /s/.*do: //p' "$dir/out")"
}
strip
one_remedy roles_were_not_applied 'may not use the schema outbox' 'apply sql/roles.sql, as who applied sql/001_outbox.up.sql or as a superuser' "${as_relay[@]}"
sql "grant usage on schema outbox to outbox_relay"
one_remedy roles_were_not_applied_but_for_the_schema 'outbox_relay, which the role is a member of, lacks most' \
    'apply sql/roles.sql, as who applied sql/001_outbox.up.sql or as a superuser' "${as_relay[@]}"
roles_file
cmd doctor "${kafka[@]}" "${as_relay[@]}"
said_so roles_mend_it 0 '^ok    rights  *the role has all'
strip
one_remedy neither_roles_nor_a_member 'lacks most of the rights' 'run it with the settings of the relay; if this is its role: apply sql/roles.sql, then `GRANT outbox_relay TO doctor_poor`' "${as_poor[@]}"
roles_file
finds not_the_role_of_a_relay 77 'this is not the role of a relay: it lacks most of the rights' "${as_poor[@]}"
equal strange_role_is_one_finding '1 1' "$(rights) $(grep -c '^fail  ' "$dir/out")"
holds role_is_granted mends "${as_poor[@]}"
# A member that does not inherit has nothing of it: from PostgreSQL 16 on that is the grant's, before the role's.
sql "revoke outbox_relay from doctor_poor; revoke usage on schema outbox from doctor_poor; alter role doctor_poor noinherit; grant outbox_relay to doctor_poor"
finds a_member_that_does_not_inherit 77 'may not use the schema outbox' "${as_poor[@]}"
holds it_inherits_then mends "${as_poor[@]}"
sql "revoke outbox_relay from doctor_poor; grant usage on schema outbox to doctor_poor; grant select on all tables in schema outbox to doctor_poor;
     grant insert, update, delete on outbox.held, outbox.relay to doctor_poor; grant truncate on all tables in schema outbox to doctor_poor"
finds role_of_its_own 77 'lacks INSERT on outbox.sent and 8 of 9 leaves (sent_0, sent_1, .*sent_7)$' "${as_poor[@]}"
holds what_its_own_role_lacks_is_granted mends "${as_poor[@]}"
finds cannot_see_ages 0 '^warn  transaction .*may not see how old' "${as_poor[@]}"
equal what_cannot_be_seen_is_not_good 0 "$(grep -c '^ok    transaction ' "$dir/out" || true)"
PGAPPNAME=doctor-open psql -Xq -d "$dsn" -c "begin; insert into outbox.event (topic, type) values ('t', 'x'); select pg_sleep(600)" >/dev/null 2>&1 &
session_pid=$!
wait_sql 20 1 "select count(*) from outbox.blocker where holds_rows and application = 'doctor-open'"
status_of() { cmd status "${kafka[@]}" -X "dsn=$relay_dsn user=$1" || true; }
status_of doctor_poor
holds status_shows_no_age grep -q ' doctor-open  *outbox  *-  *its events' "$dir/out"
holds status_says_that_ages_are_hidden grep -q '^good this role may not see for how long' "$dir/out"
status_of doctor_relay
equal status_of_one_who_sees_does_not 0 "$(grep -c 'may not see' "$dir/out" || true)"
status_of doctor_poor
sql "$(sed -n 's/.*As a superuser: `\(GRANT [^`]*\)`.*/\1/p' "$dir/out")"
status_of doctor_poor
holds grant_of_status_shows_the_age grep -q ' doctor-open  *outbox  *[0-9.]* s  *its events' "$dir/out"
cmd doctor "${kafka[@]}" "${as_poor[@]}"
said_so ages_are_seen 0 '^ok    transaction '
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'doctor-open'" >/dev/null
wait "$session_pid" || true
session_pid=
sql "revoke truncate on outbox.event_3 from outbox_relay"
finds lacks_one_right 77 'lacks TRUNCATE on outbox.event_3$' "${as_relay[@]}"
sql "revoke truncate on outbox.event_5 from outbox_relay"
finds lacks_it_on_some_leaves 77 'lacks TRUNCATE on outbox.event: 2 of 9 leaves (event_3, event_5)$' "${as_relay[@]}"
sql "revoke select, truncate on outbox.event_0, outbox.event_1, outbox.event_2, outbox.event_3, outbox.event_4, outbox.event_5,
     outbox.event_6, outbox.event_7, outbox.event_kept from outbox_relay"
finds lacks_it_on_all_leaves 77 'lacks SELECT, TRUNCATE on outbox.event: all 9 leaves$' "${as_relay[@]}"
equal leaves_are_one_finding 1 "$(rights)"
sql "revoke select on outbox.event from outbox_relay"
finds lacks_it_on_the_whole 77 'lacks SELECT on outbox.event and all 9 leaves$' "${as_relay[@]}"
equal two_things_are_two_findings 2 "$(rights)"
holds leaves_are_granted mends "${as_relay[@]}"
sql "revoke select, insert on outbox.sent from outbox_relay"
finds lacks_rights 77 'lacks INSERT, SELECT on outbox.sent$' "${as_relay[@]}"
sql "revoke execute on function outbox.backlog_now() from outbox_relay"
finds lacks_a_function 77 'lacks EXECUTE on function outbox.backlog_now()' "${as_relay[@]}"
holds function_is_granted mends "${as_relay[@]}"
PGAPPNAME=doctor-lock psql -Xq -d "$dsn" -c "begin; lock outbox.held, outbox.relay in access exclusive mode; select pg_sleep(600)" >/dev/null 2>&1 &
session_pid=$!
wait_sql 20 1 "select count(*) from pg_locks where relation = 'outbox.held'::regclass and mode = 'AccessExclusiveLock' and granted"
cmd doctor "${kafka[@]}"
said_so what_a_lock_hides_is_named 69 '^fail  [a-z]*  *cannot be looked at, nor can [a-z, ]*dead[a-z, ]*: PostgreSQL: .*SQLSTATE 55P03'
equal lock_is_told_once 1 "$(grep -c 55P03 "$dir/out" || true)"
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'doctor-lock'" >/dev/null
wait "$session_pid" || true
session_pid=
# Each change is undone by the end of its transaction, which the doctor does not see: so it is really made.
sql "alter table outbox.event detach partition outbox.event_5"
finds leaf_is_detached 78 '^fail  ring .*outbox.event_5 is not attached'
sql "alter table outbox.event attach partition outbox.event_5 for values in (5); alter table outbox.sent_2 rename to sent_two"
finds leaf_is_missing 78 '^fail  ring .*outbox.sent_2 is missing'
sql "alter table outbox.sent_two rename to sent_2"
sql "alter table outbox.event detach partition outbox.event_5; alter table outbox.event attach partition outbox.event_5 for values in (50)"
finds leaf_of_another_bucket 78 "outbox.event_5 holds FOR VALUES IN ('50') instead of bucket 5"
sql "alter table outbox.event detach partition outbox.event_5; alter table outbox.event attach partition outbox.event_5 for values in (5)"
sql "drop index outbox.held_paused_idx"
finds index_is_missing 78 'outbox.held has no valid index held_paused_idx'
sql "create index held_paused_idx on outbox.held (topic, (id + 0)) where state = 'paused'"
sql "update pg_index set indisvalid = false where indexrelid = 'outbox.sent_4_pkey'::regclass"
finds index_is_not_valid 78 'outbox.sent_4 has no valid index on (id)'
sql "update pg_index set indisvalid = true where indexrelid = 'outbox.sent_4_pkey'::regclass"
sql "select outbox.set_bucket_period('90 min')"
cmd doctor "${kafka[@]}"
said_so other_period 78 '^ok    bucket  *a new bucket each 1 h 30 min'
finds ring_is_shorter_than_the_retention 78 '^fail  retention  *it is 3 d, and the ring of eight buckets turns faster'
cmd doctor "${kafka[@]}" -X retention=10h
said_so retention_fits_the_ring 0 '^ok    retention .*older than 10 h'
finds retention_is_off 0 '^warn  retention  *it is off' -X retention=off
sql "alter table only outbox.event alter column bucket set default 0"
finds bucket_default 0 '^warn  bucket .*: \(0\|.*0.*\)$'
sql "select outbox.set_bucket_period('1 day')"
append 5
sql "select setval(pg_get_serial_sequence('outbox.event', 'id'), (select max(id) - 3 from outbox.event))" >/dev/null
finds sequence_is_behind 78 'stands 3 below the highest id'
sql "select setval(pg_get_serial_sequence('outbox.event', 'id'), (select max(id) from outbox.event))" >/dev/null
sql "alter table outbox.event alter column id set cache 50"
finds sequence_has_a_cache 78 '^fail  sequence .* has CACHE 50: ids do not follow'
sql "alter table outbox.event alter column id set cache 1 set increment by 1 set no cycle"

# Ids that were handed out again: of events that were sent, then of two that wait. The manual says what mends it.
mended() { psql -Xq -v ON_ERROR_STOP=1 -d "$dsn" < <(sed -n '/^SELECT setval/,/^\$\$;/p' relay/man/outbox.7.scd) >/dev/null; }
sent() { sql "select count(*) from outbox.event e join outbox.sent s using (bucket, id) where s.sent_at > e.created_at"; }
reset
"$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 1
append 5
mark '1, 2, 3, 4, 5'
sql "truncate outbox.event restart identity"
append 2
finds sequence_is_below_the_marks 78 'stands 3 below the highest id'
relay_start marked "${steady[@]}"
wait_said marked 'hands out numbers again.* last_value=2 highest=5 .*COPIES AND CRASHES' || not_ok relay_looks_at_the_sequence
says sequence_is_told_by_status 69 '^Events do not flow: the sequence of outbox.event.id is 3 below' status "${kafka[@]}"
relay_signal marked TERM
relay_end marked 20
holds ids_that_were_sent_are_mended mended
relay_once sends_what_was_mended
equal mended_events_are_sent '2 6 7' "$(sent) $(sql "select string_agg(id::text, ' ' order by id) from outbox.event")"
reset
"$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 1
append 4
sql "alter table outbox.event alter column id restart with 3"
append 3
relay_start twice "${steady[@]}"
wait_said twice 'level=error msg="two events have one id, .* id=3 ' || not_ok relay_names_the_id
says one_id_twice_is_told_by_status 69 '^Events do not flow: two events have the id 3' status "${kafka[@]}"
finds one_id_twice 69 '^fail  flow  *events do not flow: two events have the id 3'
relay_signal twice TERM
relay_end twice 20
relay_once twice_once -X drain.timeout=1s
equal once_ends_where_the_outbox_cannot_be_read 69 "$status"
holds one_id_twice_is_mended mended
relay_once sends_both
equal both_are_sent '7 1 2 3 4 6 7 8' "$(sql "select count(*) from outbox.sent") $(sql "select string_agg(id::text, ' ' order by id) from outbox.event")"
equal in_their_order '1 2 3' "$(sql "select string_agg(convert_from(payload, 'UTF8'), ' ' order by id) from outbox.event where id > 4")"
sql "update outbox.relay set renewed_at = null, leading_since = null"
reset
sql "update outbox.relay set system_identifier = 1"
finds other_cluster 0 '^warn  cluster .*comes from another cluster'
sql "update outbox.relay set system_identifier = null"

# --- topics, as far as the mock can tell --------------------------------------------------------------

reset
"$broker" cmd "$OUTBOX_TEST_BROKER_DIR" topic "$topic-there" 2
append 3 "$topic-there"
sql "update outbox.event set created_at = now() - interval '1 day'"
cmd doctor "${kafka[@]}"
said_so mock_has_no_settings_remedy 0 'do: nothing, when these brokers do not know this question'
took=$(now_ms)
cmd doctor "${kafka[@]}"
holds settings_are_not_waited_for_long test "$(($(now_ms) - took))" -lt 8000
said_so mock_has_no_settings 0 "^warn  topic .*\"$topic-there\": its settings are not known"
hold retrying 2
sql "update outbox.relay set owner = 'relay-a', lease_expires_at = now() + interval '1 hour', renewed_at = now() + interval '1 hour', leading_since = now()"
cmd doctor "${kafka[@]}"
holds refused_row_is_told grep -q '^warn  flow  *Kafka refuses 1 event (MSG_SIZE_TOO_LARGE), and it is tried again' "$dir/out"
sql "delete from outbox.held; update outbox.relay set owner = null, lease_expires_at = null, renewed_at = null, leading_since = null"
hold paused 3 0
sql "update outbox.held set error_code = 'NOT_ENOUGH_REPLICAS', error = E'Broker: \x1b[2J'"
finds paused_topic 0 "\"$topic-there\" is paused: NOT_ENOUGH_REPLICAS: Broker: \\\\x1b\\[2J"
cmd doctor "${kafka[@]}" --probe-write
said_so write_cannot_be_probed 0 "whether this client may write to \"$topic-there\" cannot be found out: the topic's max.message.bytes is not known"
holds nothing_was_produced test "$("$oracle" watch --brokers "$brokers" --topics "$topic-there" --out "$dir/records" --to-end; grep -c . "$dir/records" || true)" = 0
exit "$bad"
