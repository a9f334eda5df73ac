#!/usr/bin/env bash
# sql_names.sh - what somebody else has left under PostgreSQL's own names in a schema of the search_path is called
# by no file of sql/ and by nothing that an application calls: for every function and operator of PostgreSQL there
# is another with the same arguments, which comes first and raises an error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
# shellcheck source=tests/rig/lib_sql.sh
. "$root/tests/rig/lib_sql.sh"

path=pg_catalog
options() { printf '%s' "-c search_path=$path -c client_min_messages=warning ${as:+-c role=$as}"; }

# The functions whose arguments may be of "any" type cannot be made anew, but better fitting ones can.
make_traps() {
    q "create schema evil; grant usage on schema evil to public;
       set check_function_bodies = off;
       create function evil.trap(name text, arguments text, result text) returns void language plpgsql as \$\$
       begin
         execute format('create or replace function evil.%I(%s) returns %s language plpgsql as %L', name, arguments, result,
                        'begin raise exception ''the trap ' || replace(name, '''', '') || '(' || replace(arguments, '''', '') || ')''; end');
       end \$\$;
       do \$\$ declare r record; begin
         for r in select p.proname::text as name, p.prorettype::regtype::text as result,
                         array_to_string(array(select t::regtype::text from unnest(p.proargtypes) with ordinality as a (t, n) order by n), ', ') as arguments
                    from pg_proc p
                   where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f' and not p.proretset and p.provariadic = 0
                     and not exists (select from pg_type t where t.oid = any (p.proargtypes::oid[] || p.prorettype)
                                      and t.typtype = 'p' and t.typname !~ '^any.')
         loop
           perform evil.trap(r.name, r.arguments, r.result);
         end loop;
         for r in select o.oprname::text as name, o.oprleft::regtype::text as l, o.oprright::regtype::text as r
                    from pg_operator o
                   where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprleft <> 0 and o.oprright <> 0
                     and not exists (select from pg_type t where t.oid in (o.oprleft, o.oprright) and t.typtype = 'p' and t.typname !~ '^any.')
         loop
           perform evil.trap('operator', r.l || ', ' || r.r, 'boolean');
           execute format('create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.operator)', r.name, r.l, r.r);
         end loop;
         perform evil.trap(a.name, a.arguments, a.result) from (values
           ('pg_column_size', 'jsonb', 'integer'), ('pg_column_size', 'bytea', 'integer'),
           ('format', 'text, text', 'text'), ('format', 'text, text, text', 'text'), ('format', 'text, integer', 'text'),
           ('concat', 'text, text, text', 'text'), ('jsonb_build_array', 'text, jsonb', 'jsonb'),
           ('jsonb_agg', 'jsonb', 'jsonb'), ('unnest', 'text[]', 'text'), ('generate_series', 'integer, integer', 'integer'),
           ('count', 'bigint', 'bigint'), ('max', 'interval', 'interval'), ('min', 'bigint', 'bigint')) as a (name, arguments, result);
       end \$\$;
       drop function evil.trap"
}

# The traps of these names would be taken by what comes after.
test_traps() {
    path=evil,pg_catalog
    refuses "a_function_is_a_trap" "the trap octet_length(text)" q "select octet_length('a'::text)"
    refuses "an_operator_is_a_trap" "the trap operator(integer, integer)" q "select 1 + 1"
    refuses "a_better_fitting_function_is_a_trap" "the trap pg_column_size(jsonb)" q "select pg_column_size('1'::jsonb)"
    refuses "a_better_fitting_operator_is_a_trap" "the trap operator(jsonb, jsonpath)" q "select '1'::jsonb @? '\$'"
    # With the path that everybody has nothing but these would be met.
    path=public,evil
    refuses "behind_pg_catalog_a_better_fitting_one_is_too" "the trap pg_column_size(jsonb)" q "select pg_column_size('1'::jsonb)"
    works "behind_pg_catalog_its_own_are_not" q "select octet_length('a'::text)"
}

install() {
    works "$1_outbox_is_installed" apply "$root/sql/001_outbox.up.sql"
    works "$1_roles_of_the_outbox" apply "$root/sql/roles.sql"
    works "$1_inbox_is_installed" apply "$root/sql/002_inbox.up.sql"
    works "$1_roles_of_the_inbox" apply "$root/sql/inbox_roles.sql"
}

pairs='[["a","b"],["c",""]]'
test_outbox() {
    as=outbox_writer
    works "$1_event_is_stored" q "insert into outbox.event (topic, key, type, content_type, payload, headers)
        values ('t', 'k', 'ty', 'text/plain', 'p', '$pairs'), ('t', null, 'ty', null, null, null)"
    works "$1_append" q "select outbox.append('t', 'k', 'ty', 'p', '$pairs', content_type => 'text/plain')"
    works "$1_append_with_an_object" q "select outbox.append('t', 'k', 'ty', 'p', '{\"a\": \"b\"}')"
    works "$1_append_event" q "call outbox.append_event('t', 'k', 'ty', 1, null, 'p', '$pairs', pg_catalog.gen_random_uuid(), null)"
    works "$1_append_json" q "select outbox.append_json('t', 'k', 'ty', '{\"a\": 1}')"
    refuses "$1_rules_hold" '"event_topic_not_dots"' q "insert into outbox.event (topic, type) values ('..', 'ty')"
    refuses "$1_rules_of_headers_hold" '"event_headers_pairs"' q "insert into outbox.event (topic, type, headers) values ('t', 'ty', '[[\"\",\"b\"]]')"
    as=outbox_monitor
    works "$1_views_are_read" q "select * from outbox.event_status; select * from outbox.backlog; select * from outbox.blocker"
    as=outbox_relay
    works "$1_bucket_is_emptied" q "select outbox.empty_bucket('3', epoch, '1 day', cursor_snapshot, '{}') from outbox.relay"
    as=
    works "$1_period_is_set" q "select outbox.set_bucket_period('1 hour')"
    works "$1_event_is_stored_in_it" q "insert into outbox.event (topic, type) values ('t', 'ty')"
}

test_inbox() {
    as=inbox_consumer
    works "$1_event_is_accepted" q "select inbox.accept('c', 'a')"
    works "$1_known" q "select inbox.known('c', '{a,b}')"
    works "$1_claim" q "select inbox.claim('c', 't', 0, 'me'); select inbox.claim('c', 't', 0, 'me')"
    works "$1_finish" q "begin; set local inbox.transaction = 'me'; select inbox.finish('c', 'me', '{b}', '{t}', '{0}', '{5}', '{5}', '{-7}', 1); commit"
    works "$1_turn" q "select inbox.turn()"
    works "$1_views_of_the_inbox_are_read" q "select * from inbox.progress; select * from inbox.failing; select * from inbox.dead_letter"
    as=
}

take_away() {
    q "truncate outbox.event, outbox.sent, outbox.held"
    q "update inbox.position set owner = null"
    works "$1_inbox_is_taken_away" apply "$root/sql/002_inbox.down.sql"
    works "$1_outbox_is_taken_away" apply "$root/sql/001_outbox.down.sql"
}

# Put back is the search_path of before, for what a tool does after the file in its transaction.
test_path_after() {
    local file after
    path=public,evil
    for file in 001_outbox.up roles 002_inbox.up inbox_roles 002_inbox.down 001_outbox.down; do
        after=$(run -1 -f "$root/sql/$file.sql" -c 'show search_path' 2>&1) || true
        equal "search_path_after_$file" public,evil "$after"
    done
}

base=$("$pg" start "$work/pg")
make_traps
test_traps
for path in evil,pg_catalog public,evil; do
    install "$path"
    test_outbox "$path"
    test_inbox "$path"
    take_away "$path"
done
test_path_after
exit "$bad"
