#!/usr/bin/env bash
# upgrade.sh - a database that has 001 only is migrated while a relay of before works in it under a writer:
# nothing stops, nothing is lost. And what a relay makes of a schema that is newer than itself, running and
# starting. (Older ones, and the library: relay_cli.sh, test_evolution.c.)
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

apply() { PGOPTIONS='-c client_min_messages=warning' psql -Xq -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$root/sql/$1"; }
# How many columns, functions and indexes the outbox has, and what they look like.
shape="select md5(string_agg(x, '|' order by x)) from (
    select c.relname || a.attname || a.atttypid || coalesce(pg_get_expr(d.adbin, d.adrelid), '') from pg_class c
        join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'outbox'::regnamespace
    union all select p.proname || md5(p.prosrc) from pg_proc p where p.pronamespace = 'outbox'::regnamespace
    union all select version || ' ' || breaking from outbox.schema_version) s (x)"

"$pg" start "$dir/pg" listen=auto >/dev/null
dsn=$("$pg" conninfo "$dir/pg")
relay_dsn=$dsn
apply 001_outbox.up.sql
apply roles.sql
own_mock
equal begins_with_001_only 1 "$(sql 'select max(version) from outbox.schema_version')"
before=$(sql "$shape")

# --- migrations under load -------------------------------------------------------------------------------

stream_start old "${steady[@]}"
wait_said old msg=leading || not_ok old_leads
n=0
for file in "$root"/sql/[0-9]*.up.sql; do
    name=${file##*/}
    [[ $name != 001_* ]] || continue
    for turn in first again; do
        holds "${name%%.*}_is_applied_$turn" apply "$name"
        must_move "${name%%.*}_${turn}_lets_rows_move" old
        [[ $turn == again ]] || holds "${name%%.*}_is_taken_back" apply "${name%.up.sql}.down.sql"
    done
    n=$((n + 1))
done
for file in "$root"/sql/*roles.sql; do
    holds "${file##*/}_is_applied" apply "${file##*/}"
done
holds there_is_something_to_migrate test "$n" -gt 0
must_move rows_move_after_the_migrations old
equal link_was_never_lost 0 "$(times_said old 'lost PostgreSQL')"
equal lead_was_never_lost 1 "$(times_said old msg=leading)"
equal outbox_is_as_it_was "$before" "$(sql "$shape")"

# --- a relay and a schema of different age ---------------------------------------------------------------

sql "insert into outbox.schema_version values (1000, '99.0.0', false)"
must_move a_newer_schema_stops_nothing old
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
must_move nor_does_a_new_link_to_it old
relay_start second "${steady[@]}"
holds and_another_relay_starts wait_said second 'another relay leads'
stop_clean second
sql "update outbox.schema_version set breaking = true where version = 1000"
must_move a_breaking_one_spoils_no_link_that_is_up old
holds and_it_is_said_while_there_is_time wait_said old 'msg="the schema has changed; this relay goes on, and ends when it connects next".* installed=1000 breaking=1000' 120
fault sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
relay_end old 20
equal a_new_link_is_refused 78 "$status"
holds and_why_is_said said old 'the schema is too new for this relay.*remedy="upgrade outbox-relay'
sql "delete from outbox.schema_version where version = 1000" # as if the newer relay had come
relay_start heir "${steady[@]}" -X lease.ttl=1s
sql "update outbox.relay set lease_expires_at = now()" # the one that was refused could not give it back
must_move the_heir_goes_on heir
stream_judge nothing_is_lost
stop_clean heir
finish
