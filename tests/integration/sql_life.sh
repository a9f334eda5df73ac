#!/usr/bin/env bash
# sql_life.sh - the schema comes and goes, on a private PostgreSQL: it is taken away and made anew, by whom that may be,
# and it is dumped and restored. What it takes and refuses while it is there: sql.sh.
#
# Prints "ok - name" or "not ok - name: why" per case; exits 1 if any failed. PG_BINDIR chooses the
# server's version; psql comes from PATH. Cases that need pg_dump are skipped, with the reason, where
# it is older than the server.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
up=$root/sql/001_outbox.up.sql
down=$root/sql/001_outbox.down.sql
roles=$root/sql/roles.sql
# shellcheck source=tests/rig/lib_sql.sh
. "$root/tests/rig/lib_sql.sh"

test_down() {
    local before way
    q "insert into outbox.event (topic, type) select 't', 'ty' from generate_series(1, 7);
       insert into outbox.sent (bucket, id) select bucket, id from outbox.event order by id limit 1;
       insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'discarded' from outbox.event order by id desc limit 1;
       insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'retrying' from outbox.event order by id offset 3 limit 1;
       insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'dead' from outbox.event order by id offset 4 limit 2"
    before=$(fingerprint)
    refuses "down_counts_what_would_be_lost" "2 unsent, 1 held and 2 dead" apply "$down"
    refuses "down_says_what_to_do" "outbox-relay --once" apply "$down"
    equal "refused_down_changes_nothing" "$before" "$(fingerprint)"
    # An empty list of options, and psql's own way to go on within a transaction.
    for way in '' '-1 -v ON_ERROR_ROLLBACK=on'; do
        # shellcheck disable=SC2086 # words
        apply_regardless "$down" $way >/dev/null || true
        equal "refused_down${way:+_with_savepoints}_changes_nothing_where_psql_goes_on" "$before" "$(fingerprint 2>&1)"
    done
    q "insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id not in (select id from outbox.held) on conflict do nothing"
    refuses "down_refuses_with_held_ones_only" "0 unsent, 1 held and 2 dead" apply "$down"
    refuses "down_says_what_to_do_with_held_ones" "HINT:  Held ones: *outbox-relay discard --all --retrying --paused --reason 'no longer needed' gives them and the dead ones up. Dead ones: *TRUNCATE" apply "$down"
    q "delete from outbox.held where state = 'retrying'; insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id not in (select id from outbox.held) on conflict do nothing"
    refuses "down_refuses_with_dead_ones_only" "0 unsent, 0 held and 2 dead" apply "$down"
    refuses "down_says_what_to_do_with_dead_ones" "HINT:  Dead ones: outbox-relay retry --all sends them again, outbox-relay discard --all --reason 'no longer needed' gives them up. *TRUNCATE" apply "$down"
    q "insert into outbox.sent (bucket, id) select bucket, id from outbox.event on conflict do nothing"
    refused_alone down "$down"
    # As after a restore: an event of another cluster, given up by a person. It was in the way for ever.
    q "insert into outbox.event (xid, topic, type) values ('4000000000', 't', 'ty');
       insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'discarded' from outbox.event order by id desc limit 1"
    talk writer
    tell writer "begin; insert into outbox.event (topic, type) values ('t', 'ty'); select 'wrote';"
    wait_until 10 said writer wrote || not_ok "the_writer_wrote_again" "$(<"$work/writer.out")"
    refuses "down_does_not_wait_for_writers" "lock timeout" apply "$down"
    tell writer "rollback;"
    hush writer
    talk relay
    tell relay "select pg_try_advisory_lock_shared(1869968482, 1); select 'connected';"
    wait_until 10 said relay connected || not_ok "a_relay_is_connected" "$(<"$work/relay.out")"
    refuses "down_refuses_beside_a_relay" "a relay is connected (pid $(q "select pid from pg_stat_activity where application_name = 'relay'")), nothing was changed*HINT:  End all relays" \
        apply "$down"
    hush relay
    # It has one table in use, and wants the one that is locked first.
    talk reader
    tell reader "begin; select from outbox.sent limit 0; select 'reads';"
    wait_until 10 said reader reads || not_ok "the_reader_reads" "$(<"$work/reader.out")"
    apply "$down" >"$work/deadlock.out" 2>&1 &
    local pid=$!
    wait_until 10 down_waits || not_ok "down_waits_for_the_reader" "$(<"$work/deadlock.out")"
    tell reader "select from outbox.event limit 0; rollback;"
    ! wait "$pid" || not_ok "down_beside_a_reader_is_refused" "it dropped everything"
    equal "down_ends_before_a_deadlock" 1 "$(grep -c 'lock timeout' "$work/deadlock.out")"
    hush reader
    q "create table outbox.mine ()"
    works "down_works_when_all_is_sent" apply "$down"
    gives "down_leaves_what_is_not_its_own" "mine" "select string_agg(relname, ',') from pg_class where relnamespace = 'outbox'::regnamespace"
    works "up_after_down" apply "$up"
    works "roles_after_down" apply "$roles"
    q "drop table outbox.mine"
    works "down_again" apply "$down"
    q "create schema outbox"
    apply_regardless "$down" >/dev/null
    gives "down_without_an_outbox_leaves_a_schema_where_psql_goes_on" "outbox" "select to_regnamespace('outbox')"
    equal "up_does_not_promise_what_comes_after_its_error" "" "$(apply_regardless "$up" | grep 'nothing was')"
    equal "neither_do_the_roles" "" "$(apply_regardless "$roles" | grep 'nothing was')"
    q "drop schema outbox cascade"
    works "up_in_the_end" apply "$up"
    works "down_in_the_end" apply "$down"
    gives "down_takes_the_schema_when_empty" "" "select to_regnamespace('outbox')"
    works "up_once_more" apply "$up"
    works "roles_once_more" apply "$roles"
}

down_waits() { [[ $(q "select count(*) from pg_locks where relation = 'outbox.sent'::regclass and not granted") == 1 ]]; }

# A transaction that commits after the count and before the lock must not be lost.
test_down_race() {
    fresh race
    apply "$up"
    # the down file's lock_timeout of 2 s is not for this lock, which a slow machine holds for longer
    q "create function nap() returns int language plpgsql volatile set lock_timeout = '60s' as \$\$ begin
         perform pg_advisory_lock(8); perform pg_advisory_unlock(8); return 1; end \$\$"
    talk gate
    tell gate "select pg_advisory_lock(8); select 'shut';"
    wait_until 10 said gate shut || not_ok "the_gate_is_shut" "$(<"$work/gate.out")"
    sed 's/^ *LOCK TABLE outbox.event/        PERFORM public.nap();\n&/' "$down" >"$work/slow_down.sql"
    apply "$work/slow_down.sql" >"$work/race.out" 2>&1 &
    local pid=$!
    wait_until 10 naps || not_ok "down_stops_before_its_lock" "$(<"$work/race.out")"
    q "insert into outbox.event (topic, type) values ('t', 'ty')"
    tell gate "select pg_advisory_unlock(8);"
    hush gate
    if wait "$pid"; then
        not_ok "down_sees_what_came_after_its_count" "it dropped everything"
    else
        equal "down_sees_what_came_after_its_count" 1 "$(grep -c '1 unsent, 0 held and 0 dead' "$work/race.out")"
    fi
    db=outbox
}

naps() { [[ $(q "select count(*) from pg_locks where locktype = 'advisory' and not granted") == 1 ]]; }

test_unprivileged() {
    q "create role app; create role guest; create role admin createrole"
    fresh unprivileged
    q "revoke all on database unprivileged from public; grant create, connect on database unprivileged to app"
    as=app
    works "up_with_create_on_the_database_only" apply "$up"
    works "append_by_the_unprivileged_owner" q "select outbox.append('t', 'k', 'ty', 'p')"
    works "views_for_the_unprivileged_owner" q "select * from outbox.event_status; select * from outbox.backlog; select * from outbox.blocker"
    works "set_bucket_period_for_the_unprivileged_owner" q "select outbox.set_bucket_period('2 days')"
    works "roles_that_exist_without_createrole" apply "$roles"
    gives "owner_stays_where_it_cannot_be_given" "app" "select tableowner from pg_tables where schemaname = 'outbox' and tablename = 'event'"
    refuses "unprivileged_down_refuses_too" "1 unsent" apply "$down"
    q "truncate outbox.event"
    works "unprivileged_down" apply "$down"
    as=guest
    refuses "up_without_create_is_refused" "permission denied for database" apply "$up"
    refuses "up_without_create_says_what_to_do" 'GRANT CREATE ON DATABASE unprivileged TO guest; or CREATE SCHEMA outbox AUTHORIZATION guest;' apply "$up"
    as=
    q "create schema outbox authorization guest"
    as=guest
    works "up_in_a_schema_made_for_it" apply "$up"
    works "down_in_a_schema_made_for_it" apply "$down"
    gives "down_keeps_a_schema_it_could_not_make" "outbox" "select to_regnamespace('outbox')"
    works "up_again_in_a_schema_made_for_it" apply "$up"
    as=
    q "drop schema outbox cascade"
}

# Roles made from nothing, by a role with CREATEROLE that owns the schema.
test_roles_by_createrole() {
    db=outbox
    q "drop owned by outbox_writer, outbox_relay, outbox_monitor; reassign owned by outbox_owner to current_user; drop owned by outbox_owner"
    db=unprivileged
    q "drop owned by outbox_writer, outbox_relay, outbox_monitor, outbox_owner"
    q "drop role outbox_writer, outbox_relay, outbox_monitor, outbox_owner; grant create on database unprivileged to admin"
    as=admin
    works "up_by_createrole" apply "$up"
    works "roles_by_createrole" apply "$roles"
    works "roles_by_createrole_again" apply "$roles"
    gives "createrole_gives_ownership_away" "outbox_owner" "select tableowner from pg_tables where schemaname = 'outbox' and tablename = 'event'"
    as=outbox_writer
    works "writer_made_by_createrole_appends" q "select outbox.append('t', 'k', 'ty', 'p')"
    as=outbox_monitor
    works "monitor_made_by_createrole_looks" q "select * from outbox.backlog; select * from outbox.event_status; select * from outbox.blocker"
    as=admin
    works "undo_of_the_roles_by_createrole" undo "$roles"
    as=
    gives "undo_leaves_no_role_and_the_owner_is_who_made_them" "admin|" "select tableowner, (select string_agg(rolname, ',') from pg_roles where rolname ~ '^outbox_')
        from pg_tables where schemaname = 'outbox' and tablename = 'event'"
    q "alter role admin nocreaterole"
    as=admin
    refuses "roles_without_createrole_say_what_to_do" "Run this as a role with CREATEROLE" apply "$roles"
    as=
    q "alter role admin createrole"
    as=admin
    works "roles_after_their_undo" apply "$roles"
    q "truncate outbox.event"
    works "down_by_createrole" apply "$down"
    as=
    db=outbox
    works "roles_in_the_first_database_again" apply "$roles"
}

# What a person would compare after a restore.
contents() {
    q "select md5(string_agg(t, ',' order by t)) from (
         select to_jsonb(e)::text t from outbox.event e union all select to_jsonb(s)::text from outbox.sent s
         union all select to_jsonb(h)::text from outbox.held h union all select to_jsonb(r)::text from outbox.relay r
         union all select format('%s %s', id, state) from outbox.event_status
         union all select format('%s %s %s %s', topic, pending, held, dead) from outbox.backlog) x"
}

test_dump() {
    local dump before server
    dump=${PG_BINDIR:+$PG_BINDIR/}pg_dump
    command -v "$dump" >/dev/null || dump=pg_dump
    server=$(q "select current_setting('server_version_num')::int / 10000")
    if (($("$dump" --version | sed 's/.* \([0-9][0-9]*\).*/\1/') < server)); then
        skip dump_and_restore "$("$dump" --version) is older than server $server"
        return
    fi
    q "select outbox.set_bucket_period('1 hour'); insert into outbox.event (topic, key, type, headers) select 't' || i % 2, 'k', 'ty', '[[\"a\",\"b\"]]' from generate_series(1, 20) i;
       insert into outbox.sent (bucket, id) select bucket, id from outbox.event order by id limit 8;
       insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'dead' from outbox.event order by id desc limit 3;
       update outbox.relay set epoch = 7, cursor_id = 3"
    before=$(contents)
    "$dump" -d "$base dbname=outbox" >"$work/dump.sql"
    fresh copy
    works "dump_restores" run -f "$work/dump.sql"
    equal "restored_contents_are_equal" "$before" "$(contents)"
    works "restored_bucket_period_holds" buckets_agree 3600
    as=outbox_writer
    works "restored_writer_appends" q "select outbox.append('new', 'k', 'ty', 'p', '{\"a\":\"b\"}')"
    as=outbox_monitor
    gives "restored_backlog_shows_it" "new|1|0|0" "select topic, pending, held, dead from outbox.backlog where topic = 'new'"
    as=
    gives "restored_ids_go_on" "t" "select max(id) filter (where topic = 'new') > max(id) filter (where topic <> 'new') from outbox.event"
    refuses "restored_limits_hold" '"event_headers_pairs"' q "insert into outbox.event (topic, type, headers) values ('t', 'ty', '[[1,2]]')"
    refuses "restored_down_refuses" "dead events would be lost" apply "$down"
    q "truncate outbox.event, outbox.sent, outbox.held"
    works "restored_down" apply "$down"
    db=outbox
}

base=$("$pg" start "$work/pg" max_prepared_transactions=5)
apply "$up" >/dev/null
apply "$roles" >/dev/null
test_down
test_down_race
test_unprivileged
test_roles_by_createrole
test_dump
exit "$bad"
