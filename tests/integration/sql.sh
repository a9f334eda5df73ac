#!/usr/bin/env bash
# sql.sh - what the schema takes and refuses, and whom it lets do what, tried on a private PostgreSQL. Taking it away,
# installing it with few rights, dump and restore: sql_life.sh.
#
# Prints "ok - name" or "not ok - name: why" per case; exits 1 if any failed. PG_BINDIR chooses the
# server's version; psql comes from PATH.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
up=$root/sql/001_outbox.up.sql
down=$root/sql/001_outbox.down.sql
roles=$root/sql/roles.sql
# shellcheck source=tests/rig/lib_sql.sh
. "$root/tests/rig/lib_sql.sh"

# --- Cases --------------------------------------------------------------------------------------

test_install() {
    refused_alone up "$up"
    gives "refused_up_leaves_nothing" "" "select to_regnamespace('outbox')"
    works "up_by_psql" apply "$up"
    gives "up_records_its_version" "1|0.1.0|t" "select version, min_relay, breaking from outbox.schema_version"
    gives "up_makes_the_default_stream" "default|0|0" "select name, epoch, cursor_id from outbox.relay"
    local before
    before=$(fingerprint)
    refuses "up_again_is_refused" "already installed" apply "$up"
    equal "up_again_changes_nothing" "$before" "$(fingerprint)"
    gives "all_leaves_exist" "18" "select count(*) from pg_inherits
        where inhparent in ('outbox.event'::regclass, 'outbox.sent'::regclass)"
    gives "event_begins_with_xid_then_id" "xid,id,created_at,bucket,event_id,schema_version,topic,key,type,content_type,payload,headers,available_at" \
        "select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'outbox.event'::regclass and attnum > 0"
    gives "id_sequence_has_cache_1" "1" "select seqcache from pg_sequence where seqrelid = 'outbox.event_id_seq'::regclass"
    gives "event_has_two_indexes" "event_id_idx,event_xid_id_idx" \
        "select string_agg(indexname, ',' order by indexname) from pg_indexes where tablename = 'event'"
    gives "every_relation_and_index_has_a_comment" "" "select string_agg(relname, ',') from pg_class c
        where relnamespace = 'outbox'::regnamespace and relkind in ('r', 'p', 'v')
          and obj_description(oid, 'pg_class') is null"
    gives "every_column_has_a_comment" "" "select string_agg(c.oid::regclass || '.' || attname, ',')
        from pg_attribute a join pg_class c on c.oid = attrelid
        where relnamespace = 'outbox'::regnamespace and relkind in ('r', 'p', 'v') and not relispartition
          and attnum > 0 and col_description(attrelid, attnum) is null"
    gives "every_function_and_the_schema_have_a_comment" "t" "select bool_and(obj_description(oid, 'pg_proc') is not null)
        and obj_description('outbox'::regnamespace, 'pg_namespace') is not null
        from pg_proc where pronamespace = 'outbox'::regnamespace"
    gives "functions_are_not_public_but_what_an_insert_needs" append_event,event_is_sound "select string_agg(proname, ',' order by proname)
        from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
        where pronamespace = 'outbox'::regnamespace and a.grantee = 0"
}

test_multi_statement() {
    local n
    n=$(q "select count(*) from pg_depend where refobjid = 'outbox'::regnamespace")
    fresh multi
    works "up_as_one_multi_statement_query" q "$(<"$up")"
    gives "up_as_one_query_makes_the_same" "$n" "select count(*) from pg_depend where refobjid = 'outbox'::regnamespace"
    works "down_as_one_multi_statement_query" q "$(<"$down")"
    gives "down_leaves_nothing" "" "select to_regnamespace('outbox')"
    refuses "down_without_up_is_refused" "not installed" apply "$down"
    db=outbox
}

# limit CONSTRAINT COLUMN GOOD BAD...: as SQL expressions; the other columns are fine.
limit() {
    local constraint=$1 column=$2 good=$3 wrong sql columns="topic, type" values="'t', 'ty'"
    shift 3
    case $column in
    topic) columns="type, topic" values="'ty'" ;;
    type) columns="topic, type" values="'t'" ;;
    *) columns="topic, type, $column" ;;
    esac
    sql="insert into outbox.event ($columns) values ($values, "
    works "$constraint accepts $good" q "$sql $good)"
    # So does the list of the rules, which the check asks when its short question did not say yes.
    [[ $column == content_type ]] || works "$constraint accepts $good of a rare type" q \
        "insert into outbox.event ($columns, content_type) values ($values, $good, 'a/b')"
    for wrong in "$@"; do
        refuses "$constraint refuses $wrong" "\"$constraint\"" q "$sql $wrong)"
    done
}

test_limits() {
    local e
    limit event_topic_length topic "repeat('a', 249)" "''" "repeat('a', 250)"
    limit event_topic_characters topic "'Az09._-'" "'a b'" "'a/b'" "'ä'" "E'a\\n'"
    limit event_topic_not_dots topic "'...'" "'.'" "'..'"
    limit event_type_length type "repeat('ä', 127)" "''" "repeat('ä', 128)"
    limit event_content_type_length content_type "repeat('a', 255)" "''" "repeat('a', 256)"
    limit event_content_type_not_cloudevents content_type "'application/json'" "'application/cloudevents'" \
        "'APPLICATION/CloudEvents+json; charset=UTF-8'" "'application/cloudevents-batch+json'"
    limit event_schema_version_positive schema_version 1 0 -1
    limit event_key_length key "convert_to(repeat('a', 1048576), 'UTF8')" "convert_to(repeat('a', 1048577), 'UTF8')"
    limit event_payload_length payload "convert_to(repeat('a', 33554432), 'UTF8')" "convert_to(repeat('a', 33554433), 'UTF8')"
    limit event_headers_length headers "jsonb_build_array(jsonb_build_array('a', repeat('a', 1048000)))" \
        "jsonb_build_array(jsonb_build_array('a', repeat('a', 1048600)))"
    limit event_headers_length headers "(repeat(' ', 8388590) || '[[\"a\",\"b\"]]')::json" "(repeat(' ', 8388608) || '[]')::json"
    # More than a regular expression can be asked of.
    for e in "repeat('a', 268435456), null, 'ty', null, null, null" \
        "'t', null, 'ty', null, null, ('[[\"a\",\"' || repeat('a', 268435456) || '\"]]')::json"; do
        refuses "of 256 MiB too the rule is named: ${e%%[(,]*}" '_length"' q "select outbox.event_is_sound(1, $e)"
    done
    # In the session of an old program a backslash within quotes is another thing, and warned of.
    equal "strings_of_old_make_no_difference" t "$(q "set standard_conforming_strings = off;
        select outbox.event_is_sound(1, 't', null, 'ty', null, null, '[[\"a\",\"b\"]]')" 2>&1)"
    gives "the_rule_is_the_errors_constraint" 23514/outbox/event/event_topic_length "do \$\$ declare c text; t text; s text;
        begin insert into outbox.event (topic, type) values ('', 'ty');
        exception when check_violation then get stacked diagnostics c = constraint_name, t = table_name, s = schema_name;
        perform set_config('test.said', concat_ws('/', sqlstate, s, t, c), false); end \$\$;
        select current_setting('test.said')"
    works "content_type may be null" q "insert into outbox.event (topic, type, content_type) values ('t', 'ty', null)"
    for e in '[]' '[["a","b"]]' '[["a",""],["a","ü\n\""],["c","d"]]'; do
        works "headers may be $e" q "insert into outbox.event (topic, type, headers) values ('t', 'ty', '$e')"
    done
    for e in '{}' '{"a":"b"}' '"a"' 1 null '["a","b"]' '[["a"]]' '[[]]' '[["a","b","c"]]' '[["","b"]]' '[["a","b"],["","b"]]' \
        '[["a",1]]' '[[1,"a"]]' '[["a",null]]' '[["a",["b"]]]' '[[["a"],"b"]]' '[["a",{}]]' '[{"a":"b"}]' '[["a","b"],"c"]' \
        '[["a","b"],1]' '[null]' '[["a","b"],["c"]]' '[["a","b"],["c",true]]' '[[["a","b"]]]' '[["a","b"],["c","d",null]]'; do
        refuses "headers may not be $e" '"event_headers_pairs"' q "insert into outbox.event (topic, type, headers) values ('t', 'ty', '$e')"
    done
    for e in '[["a","\u0000"]]' '[["a","\ud800"]]' '[["a","\udc00b"]]' '[["\u0000","b"]]'; do
        refuses "headers may not be $e" "nicode" q "insert into outbox.event (topic, type, headers) values ('t', 'ty', '$e')"
    done
    # Of each two and three of these as headers: what the short question lets pass keeps the rules, and it is asked. Events
    # of type a/b, which it does not know, it leaves to the rules.
    gives "the_short_question_is_never_laxer_than_the_rules" "0|t|t" "create function pg_temp.keeps(content_type text, headers json)
        returns boolean language plpgsql as \$\$ begin
            return outbox.event_is_sound(1, 't', null, 'ty', content_type, null, headers);
        exception when check_violation or untranslatable_character then return false; end \$\$;
        with part (p) as (values ('[\"a\",\"b\"]'), ('[\"a\", \"\"]'), ('[\"\",\"b\"]'), ('[\"a\"]'), ('[\"a\",\"b\",\"c\"]'), ('[\"a\",1]'),
                                 ('[[\"a\",\"b\"]]'), ('[\"a\",\"]\"]'), ('[\"a\",\"\\\"\"]'), ('[\"\\u0000\",\"b\"]'), ('\"c\"'), ('{}'), ('[\"a\",\"b\"] ')),
        text (t) as (select '[' || concat_ws(s, a.p, b.p, c.p) || ']' from part a, part b,
                     (select p from part union all select null) c, (values (','), (', '), (',  ')) d (s)),
        said as (select pg_temp.keeps(null, t::json) as sound, pg_temp.keeps('a/b', t::json) as kept from text)
        select count(*) filter (where sound <> kept), bool_or(sound), bool_or(not sound) from said"
    refuses "topic may not be null" "null value" q "insert into outbox.event (type) values ('ty')"
    refuses "type may not be null" "null value" q "insert into outbox.event (topic) values ('t')"
    refuses "id may not be given" "identity column" q "insert into outbox.event (id, topic, type) values (1, 't', 'ty')"
    for e in -2 8; do
        refuses "bucket may not be $e" "no partition" q "insert into outbox.event (bucket, topic, type) values ($e, 't', 'ty')"
    done
    works "each bucket has a leaf" q "insert into outbox.event (bucket, topic, type) select b, 't', 'ty' from generate_series(-1, 7) b"
    refuses "held refuses an unknown state" '"held_state_known"' q "insert into outbox.held (id, bucket, topic, state) values (1, 0, 't', 'sent')"
    refuses "held refuses a bucket beyond the ring" '"held_bucket_of_ring"' q "insert into outbox.held (id, bucket, topic, state) values (1, 8, 't', 'dead')"
    refuses "held refuses less than no attempt" '"held_attempts_not_negative"' q "insert into outbox.held (id, bucket, topic, state, attempts) values (1, 0, 't', 'dead', -1)"
    works "held takes a key of any length" q "insert into outbox.held (id, bucket, topic, key, state)
        select 1, 0, 't', string_agg(sha256(i::text::bytea), ''), 'dead' from generate_series(1, 1000) i"
    q "truncate outbox.event, outbox.held"
}

test_bucket_period() {
    local period
    works "bucket_is_the_utc_day_modulo_8" buckets_agree 86400
    # It must not need a lock on a leaf: a reader or a janitor may be there.
    talk leafreader
    tell leafreader "begin; lock table outbox.event_0 in access share mode; select 'locked';"
    wait_until 10 said leafreader locked || not_ok "the_leaf_is_locked" "$(<"$work/leafreader.out")"
    works "set_bucket_period_takes_an_hour" q "select outbox.set_bucket_period('1 hour')"
    hush leafreader
    talk reader
    tell reader "begin; select from outbox.event limit 0; select 'reads';"
    wait_until 10 said reader reads || not_ok "the_reader_reads" "$(<"$work/reader.out")"
    refuses "set_bucket_period_says_where_to_look_for_a_reader" "the period is as it was*HINT:  outbox.blocker lists who" q "select outbox.set_bucket_period('2 hours')"
    gives "outbox_blocker_lists_the_reader" reader "select application from outbox.blocker"
    hush reader
    works "bucket_is_the_hour_modulo_8" buckets_agree 3600
    gives "set_bucket_period_leaves_leaves_alone" "8" "select count(*) from pg_attrdef join pg_class c on c.oid = adrelid
        where c.relname ~ '^event_[0-7]$' and pg_get_expr(adbin, adrelid) ~ '/ 86400'"
    for period in "'0'" "'-1 hour'" "'1.5 seconds'" "'999 ms'" "'1 month'" "'1 year'" "'3650 days 1 second'" null; do
        refuses "set_bucket_period_refuses_$period" "is not allowed" q "select outbox.set_bucket_period($period)"
    done
    for period in "null, pg_current_snapshot()" "'1 day', null"; do # what is not told would hide what came since
        refuses "empty_bucket_refuses_$period" "be given" q "select outbox.empty_bucket(0::smallint, 0, $period, '{}')"
    done
    q "create role stranger; grant usage on schema outbox to stranger; grant execute on function outbox.set_bucket_period(interval) to stranger"
    as=stranger
    refuses "set_bucket_period_is_for_the_owner" "must be owner" q "select outbox.set_bucket_period('1 hour')"
    as=
    q "revoke all on function outbox.set_bucket_period(interval) from stranger; revoke all on schema outbox from stranger; drop role stranger"
    works "set_bucket_period_takes_a_day_again" q "select outbox.set_bucket_period('1 day')"
    works "bucket_is_the_day_again" buckets_agree 86400
}

# xid_while_drawing STATEMENT SEQUENCE: stops the statement where it draws its id (ALTER SEQUENCE in an
# open transaction holds nextval up) and prints whether it has a transaction id by then.
xid_while_drawing() {
    talk keeper
    tell keeper "begin; alter sequence $2 maxvalue 9000000000000000; select 'kept';"
    wait_until 10 said keeper kept
    talk drawer
    tell drawer "$1;"
    wait_until 10 waits drawer
    q "select backend_xid is not null from pg_stat_activity where application_name = 'drawer'"
    tell keeper "rollback;"
    hush keeper
    hush drawer
}

test_xid_before_id() {
    equal "insert_has_its_xid_before_it_draws_its_id" t \
        "$(xid_while_drawing "insert into outbox.event (topic, type) values ('t', 'ty')" outbox.event_id_seq)"
    equal "multi_row_insert_has_its_xid_first" t \
        "$(xid_while_drawing "insert into outbox.event (type, topic) values ('ty', 'a'), ('ty', 'b')" outbox.event_id_seq)"
    equal "insert_select_has_its_xid_first" t \
        "$(xid_while_drawing "insert into outbox.event (type, topic) select 'ty', 't' || i from generate_series(1, 3) i order by i desc" outbox.event_id_seq)"
    equal "append_has_its_xid_first" t \
        "$(xid_while_drawing "select outbox.append('t', null, 'ty', null)" outbox.event_id_seq)"
    equal "append_event_has_its_xid_first" t \
        "$(xid_while_drawing "call outbox.append_event('t', null, 'ty', 1, null, null, null, gen_random_uuid(), null)" outbox.event_id_seq)"
    equal "copy_has_its_xid_first" t \
        "$(xid_while_drawing "copy outbox.event (topic, type) from stdin;"$'\n'"t"$'\t'"ty"$'\n\\.\n' outbox.event_id_seq)"
    # The control: with the columns the other way round the same probe says no.
    q "create table control (id bigint generated always as identity, xid xid8 default pg_current_xact_id(), topic text)"
    equal "control_with_id_first_has_none" f "$(xid_while_drawing "insert into control (topic) values ('t')" control_id_seq)"
    gives "paused_inserts_went_through" "9" "select count(*) from outbox.event"
    q "drop table control; truncate outbox.event"
}

# A writer that has drawn its id and stands still is overtaken; whoever read past it must find it late.
test_late_row() {
    local seen
    q "create function stall() returns trigger language plpgsql as \$\$
       begin if new.topic = 'slow' then perform pg_advisory_xact_lock(7); end if; return new; end \$\$;
       create trigger stall before insert on outbox.event for each row execute function stall()"
    talk gate
    tell gate "select pg_advisory_lock(7); select 'shut';"
    wait_until 10 said gate shut
    talk slow
    tell slow "insert into outbox.event (topic, type) values ('slow', 'ty');"
    wait_until 10 waits slow
    q "insert into outbox.event (topic, type) values ('fast', 'ty')"
    seen=$(q "select max(id) || ' ' || pg_current_snapshot() from outbox.event")
    tell gate "select pg_advisory_unlock(7);"
    hush gate
    hush slow
    q "drop function stall() cascade"
    gives "overtaken_row_has_the_smaller_id_and_a_later_commit" "slow,fast" "select string_agg(topic, ',' order by id) from outbox.event"
    gives "overtaken_row_is_one_of_the_late_conditions" "slow" "select topic from outbox.event
        where id <= ${seen% *} and (xid >= pg_snapshot_xmax('${seen#* }') or xid in (select pg_snapshot_xip('${seen#* }')))"
    q "update outbox.relay set cursor_id = ${seen% *}, cursor_snapshot = '${seen#* }'"
    gives "overtaken_row_is_in_the_backlog" "slow|1|0|0" "select topic, pending, held, dead from outbox.backlog"
    q "truncate outbox.event; update outbox.relay set cursor_id = 0, cursor_snapshot = default"
}

test_append() {
    local id=00000000-0000-7000-8000-000000000001
    gives "append_returns_the_given_id" "$id" \
        "select outbox.append('t', '\x00ff', 'ty', '\x0001', '[[\"b\",\"1\"],[\"a\",\"2\"]]', 3, 'text/plain', '$id', '2030-01-01 00:00+00')"
    gives "append_stores_every_column" "t|\\x00ff|ty|\\x0001|[[\"b\", \"1\"], [\"a\", \"2\"]]|3|text/plain|1893456000" \
        "select topic, key, type, payload, headers, schema_version, content_type, extract(epoch from available_at)::bigint from outbox.event where event_id = '$id'"
    gives "append_makes_an_id" "t" "select outbox.append('t', 'k', 'ty', 'p') is not null"
    gives "append_returned_row_is_there" "1" "do \$\$ declare i uuid := outbox.append('v', 'k', 'ty', ''); begin
        if not exists (select from outbox.event where event_id = i and payload = '' and schema_version = 1 and headers is null
                       and content_type is null and available_at is null) then raise exception 'not there'; end if; end \$\$; select 1"
    q "select outbox.append('u', null, 'ty', null)" >/dev/null
    gives "append_null_payload_is_a_tombstone" "t|t" "select key is null, payload is null from outbox.event where topic = 'u'"
    gives "append_turns_an_object_into_pairs" '[["a", "1"], ["bb", "2"]]' \
        "do \$\$ begin perform outbox.append('o1', null, 'ty', null, headers => '{\"bb\":\"2\",\"a\":\"1\"}'); end \$\$;
         select headers from outbox.event where topic = 'o1'"
    refuses "append_refuses_object_values_that_are_no_strings" '"event_headers_pairs"' q "select outbox.append('t', null, 'ty', null, '{\"a\":1}')"
    refuses "append_refuses_an_empty_name" '"event_headers_pairs"' q "select outbox.append('t', null, 'ty', null, '{\"\":\"b\"}')"
    gives "append_takes_an_empty_object_as_none" "t" "do \$\$ begin perform outbox.append('o2', null, 'ty', null, '{}'); end \$\$;
        select headers is null from outbox.event where topic = 'o2'"
    refuses "append_refuses_a_bad_topic" '"event_topic_characters"' q "select outbox.append('a b', null, 'ty', null)"
    gives "append_json_stores_utf8" '\x6bc3bc|{"a": "ü"}|application/json|2' "do \$\$ begin
        perform outbox.append_json('j1', 'kü', 'ty', '{\"a\":\"ü\"}', schema_version => 2); end \$\$;
        select key, convert_from(payload, 'UTF8'), content_type, schema_version from outbox.event where topic = 'j1'"
    gives "append_json_null_is_a_tombstone_and_json_null_is_not" "|null" "do \$\$ begin
        perform outbox.append_json('j2', null, 'ty', null); perform outbox.append_json('j2', null, 'ty', 'null'); end \$\$;
        select string_agg(coalesce(convert_from(payload, 'UTF8'), ''), '|' order by id) from outbox.event where topic = 'j2'"
    gives "append_json_takes_headers_and_id" "$id|[[\"a\", \"b\"]]" "do \$\$ begin
        perform outbox.append_json('j3', 'k', 'ty', '1', '{\"a\":\"b\"}', event_id => '$id'); end \$\$;
        select event_id, headers from outbox.event where topic = 'j3'"
    gives "direct_insert_and_append_event_equal_append" "1|3" "do \$\$ begin perform outbox.append('d', 'k', 'ty', 'p', '[[\"a\",\"b\"]]', 2, 'text/plain', '$id', '2030-01-01');
        insert into outbox.event (topic, key, type, schema_version, content_type, payload, headers, event_id, available_at)
        values ('d', 'k', 'ty', 2, 'text/plain', 'p', '[[\"a\",\"b\"]]', '$id', '2030-01-01'); end \$\$;
        call outbox.append_event('d', 'k', 'ty', 2, 'text/plain', 'p', '[[\"a\",\"b\"]]', '$id', '2030-01-01');
        select count(distinct to_jsonb(e) - 'id' - 'xid' - 'created_at'), count(*) from outbox.event e where topic = 'd'"
    gives "rolled_back_append_leaves_nothing" "0" "begin; do \$\$ begin perform outbox.append('r', null, 'ty', null); end \$\$; rollback;
        select count(*) from outbox.event where topic = 'r'"
    q "create function public.nothing() returns trigger language plpgsql as 'begin return null; end';
       create trigger nothing before insert on outbox.event for each row execute function public.nothing()" >/dev/null
    refuses "append_notices_an_insert_that_stored_nothing" 'takes events away' q "select outbox.append('t', null, 'ty', null)"
    refuses "append_json_notices_it_too" 'takes events away' q "select outbox.append_json('t', null, 'ty', null)"
    q "drop function public.nothing() cascade; truncate outbox.event" >/dev/null
}

# may ROLE NAME SQL / may_not ROLE NAME SQL
may() {
    as=$1
    works "$1 may $2" q "$3"
    as=
}

may_not() {
    as=$1
    refuses "$1 may not $2" "denied" q "$3"
    as=
}

test_roles() {
    refused_alone roles "$roles"
    works "roles_by_psql" apply "$roles"
    works "roles_again" apply "$roles"
    gives "owner_owns_everything" "outbox_owner" "select string_agg(distinct o::regrole::text, ',') from (
        select relowner from pg_class where relnamespace = 'outbox'::regnamespace
        union select proowner from pg_proc where pronamespace = 'outbox'::regnamespace
        union select nspowner from pg_namespace where nspname = 'outbox') x (o)"
    gives "roles_cannot_log_in_and_have_comments" "4|0" "select count(*), count(*) filter (where rolcanlogin or rolsuper
        or shobj_description(oid, 'pg_authid') is null) from pg_roles where rolname ~ '^outbox_'"
    q "insert into outbox.event (bucket, topic, type) select b, 't', 'ty' from generate_series(0, 7) b"
    test_writer
    test_relay_role
    test_monitor
    test_view
    q "truncate outbox.event, outbox.sent, outbox.held"
}

test_writer() {
    local t
    may outbox_writer "append" "select outbox.append('t', 'k', 'ty', 'p', '{\"a\":\"b\"}')"
    may outbox_writer "append_event" "call outbox.append_event('t', 'k', 'ty', 1, null, 'p', '[[\"a\",\"b\"]]', gen_random_uuid(), null)"
    may outbox_writer "append_json" "select outbox.append_json('t', 'k', 'ty', '{}')"
    may outbox_writer "insert the public columns" "insert into outbox.event (topic, key, type, schema_version, content_type, payload, headers,
        event_id, available_at) values ('t', 'k', 'ty', 1, 'text/plain', 'p', '[]', gen_random_uuid(), now())"
    may outbox_writer "copy in" "copy outbox.event (topic, type) from stdin;"
    may outbox_writer "read schema_version" "select * from outbox.schema_version"
    may_not outbox_writer "see what it wrote" "insert into outbox.event (topic, type) values ('t', 'ty') returning id"
    may_not outbox_writer "choose a bucket" "insert into outbox.event (topic, type, bucket) values ('t', 'ty', 1)"
    may_not outbox_writer "choose an xid" "insert into outbox.event (topic, type, xid) values ('t', 'ty', '1')"
    may_not outbox_writer "choose created_at" "insert into outbox.event (topic, type, created_at) values ('t', 'ty', now())"
    may_not outbox_writer "choose an id" "insert into outbox.event (topic, type, id) overriding system value values ('t', 'ty', 1)"
    may_not outbox_writer "insert into a leaf" "insert into outbox.event_0 (topic, type) values ('t', 'ty')"
    for t in event event_0 sent sent_0 held relay event_status backlog blocker; do
        may_not outbox_writer "read $t" "select * from outbox.$t"
    done
    may_not outbox_writer "update events" "update outbox.event set topic = 'x'"
    may_not outbox_writer "delete events" "delete from outbox.event"
    may_not outbox_writer "truncate events" "truncate outbox.event"
    may_not outbox_writer "mark" "insert into outbox.sent (id, bucket) values (1, 0)"
    may_not outbox_writer "hold" "insert into outbox.held (id, bucket, topic, state) values (1, 0, 't', 'dead')"
    may_not outbox_writer "lead" "update outbox.relay set epoch = 1"
    may_not outbox_writer "use the sequence" "select nextval('outbox.event_id_seq')"
    may_not outbox_writer "empty a bucket" "select outbox.empty_bucket(3::smallint, 0, '0', pg_current_snapshot(), '{}')"
    may_not outbox_writer "set the period" "select outbox.set_bucket_period('1 hour')"
    may_not outbox_writer "create in the schema" "create table outbox.x ()"
}

# Its owner inserts; who may insert into the view needs nothing else, not even USAGE of the schema.
test_view() {
    q "create schema app; create view app.event as select topic, type, content_type from outbox.event;
       create role app_writer; grant usage on schema app to app_writer; grant insert on app.event to app_writer"
    may app_writer "insert into a view" "insert into app.event (topic, type) values ('t', 'ty')"
    may app_writer "insert the uncommon into a view" "insert into app.event (topic, type, content_type) values ('t', 'ty', 'a/b')"
    may_not app_writer "insert beside it" "insert into outbox.event (topic, type) values ('t', 'ty')"
    q "drop schema app cascade; drop role app_writer"
}

test_relay_role() {
    local t
    for t in event event_3 event_kept sent sent_3 held relay schema_version event_status backlog blocker; do
        may outbox_relay "read $t" "select * from outbox.$t"
    done
    may outbox_relay "mark twice" "insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) select bucket, id, 0, id from outbox.event
        on conflict do nothing; insert into outbox.sent (bucket, id) select bucket, id from outbox.event on conflict do nothing"
    may outbox_relay "mark in a leaf" "begin; insert into outbox.sent_3 (bucket, id) values (3, 0); rollback"
    gives "marking_twice_keeps_the_first" "0" "select count(*) from outbox.sent where kafka_offset is null"
    may outbox_relay "hold, change and let go" "insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'dead' from outbox.event where bucket = 3
        on conflict (id) do update set attempts = 1; update outbox.held set attempts = 2; delete from outbox.held where id < 0"
    may outbox_relay "take the lease" "update outbox.relay set epoch = epoch + 1, owner = 'me', cursor_snapshot = pg_current_snapshot();
        insert into outbox.relay (name) values ('other')"
    # A row with its own id goes to a leaf: allowed there, with the same words, in every version.
    may outbox_relay "empty a bucket" "begin; set local lock_timeout = '2s';
        lock table outbox.event_3, outbox.sent_3 in access exclusive mode;
        insert into outbox.event_kept overriding system value
            select e.xid, e.id, e.created_at, -1, e.event_id, e.schema_version, e.topic, e.key, e.type, e.content_type, e.payload, e.headers, e.available_at
            from outbox.event_3 e join outbox.held h on h.id = e.id;
        update outbox.held set bucket = -1 where bucket = 3;
        truncate outbox.event_3, outbox.sent_3; commit"
    gives "emptied_bucket_left_what_is_held" "dead|-1" "select distinct state, bucket from outbox.event_status where id in (select id from outbox.held)"
    may outbox_relay "empty a bucket by the function" "select outbox.empty_bucket(3::smallint, epoch, '0', pg_current_snapshot(), '{}') from outbox.relay"
    may outbox_relay "tidy the kept" "delete from outbox.event_kept where id < 0; delete from outbox.sent_kept where id < 0"
    may outbox_relay "empty the kept" "truncate outbox.event_kept, outbox.sent_kept"
    may_not outbox_relay "append_event" "call outbox.append_event('t', 'k', 'ty', 1, null, 'p', null, gen_random_uuid(), null)"
    may_not outbox_relay "append" "select outbox.append('t', null, 'ty', null)"
    may_not outbox_relay "insert events" "insert into outbox.event (topic, type) values ('t', 'ty')"
    may_not outbox_relay "update events" "update outbox.event set topic = 'x'"
    may_not outbox_relay "delete events" "delete from outbox.event"
    may_not outbox_relay "delete events of a bucket" "delete from outbox.event_3"
    may_not outbox_relay "truncate all events" "truncate outbox.event"
    may_not outbox_relay "update marks" "update outbox.sent set kafka_offset = 1"
    may_not outbox_relay "delete marks" "delete from outbox.sent"
    may_not outbox_relay "drop the stream" "delete from outbox.relay"
    may_not outbox_relay "change schema_version" "update outbox.schema_version set version = 2"
    may_not outbox_relay "set the period" "select outbox.set_bucket_period('1 hour')"
}

test_monitor() {
    local t
    for t in event_status backlog blocker schema_version; do
        may outbox_monitor "read $t" "select * from outbox.$t"
    done
    gives "monitor_and_relay_see_ages" "t" "select pg_has_role('outbox_monitor', 'pg_read_all_stats', 'usage') and pg_has_role('outbox_relay', 'pg_read_all_stats', 'usage')"
    may_not outbox_monitor "read payloads" "select payload from outbox.event"
    may_not outbox_monitor "read headers" "select headers from outbox.event_0"
    may_not outbox_monitor "read keys of held" "select key from outbox.held"
    may_not outbox_monitor "append" "select outbox.append('t', null, 'ty', null)"
    may_not outbox_monitor "insert events" "insert into outbox.event (topic, type) values ('t', 'ty')"
    may_not outbox_monitor "mark" "insert into outbox.sent (id, bucket) values (1, 0)"
    may_not outbox_monitor "hold" "delete from outbox.held"
    may_not outbox_monitor "lead" "update outbox.relay set epoch = 1"
    may_not outbox_monitor "truncate" "truncate outbox.event_0"
}

test_status_views() {
    q "insert into outbox.event (topic, key, type, available_at) values
         ('a', 'pending', 'ty', null), ('a', 'later', 'ty', now() + '1 day'), ('a', 'sent', 'ty', null), ('a', 'sent+held', 'ty', null),
         ('b', 'retrying', 'ty', null), ('b', 'blocked', 'ty', null), ('b', 'paused', 'ty', null), ('b', 'scheduled', 'ty', now() + '1 day'),
         ('b', 'dead', 'ty', null), ('c', 'dead', 'ty', null), ('c', 'discarded', 'ty', null);
       insert into outbox.held (id, bucket, topic, key, state, attempts, error)
         select id, bucket, topic, key, case convert_from(key, 'UTF8') when 'sent+held' then 'retrying' else convert_from(key, 'UTF8') end, 4, 'why'
         from outbox.event where convert_from(key, 'UTF8') not in ('pending', 'later', 'sent');
       insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) select bucket, id, 5, 77 from outbox.event where key in ('sent', 'sent+held')"
    gives "event_status_shows_each_state" \
        "pending:pending later:scheduled sent:sent sent+held:sent retrying:retrying blocked:blocked paused:paused scheduled:scheduled dead:dead dead:dead discarded:discarded" \
        "select string_agg(convert_from(key, 'UTF8') || ':' || state, ' ' order by id) from outbox.event_status"
    gives "event_status_shows_where_it_went" "5|77|t" "select kafka_partition, kafka_offset, sent_at is not null from outbox.event_status where key = 'sent'"
    gives "event_status_shows_why" "4|why" "select attempts, error from outbox.event_status where key = 'blocked'"
    gives "backlog_counts_per_topic" "a|2|0|0|t b|0|4|1|t c|0|0|1|" \
        "select string_agg(format('%s|%s|%s|%s|%s', topic, pending, held, dead, oldest_age between '0' and '1 minute'), ' ' order by topic) from outbox.backlog"
    q "update outbox.relay set cursor_id = (select max(id) from outbox.event), cursor_snapshot = pg_current_snapshot()"
    gives "backlog_looks_after_the_cursor_only" "b|0|4|1 c|0|0|1" \
        "select string_agg(format('%s|%s|%s|%s', topic, pending, held, dead), ' ' order by topic) from outbox.backlog"
    q "insert into outbox.event (topic, type) values ('late', 'ty'); update outbox.relay set cursor_id = cursor_id + 1"
    gives "backlog_counts_what_came_after_the_snapshot" "1" "select pending from outbox.backlog where topic = 'late'"
    q "insert into outbox.sent (bucket, id) select bucket, id from outbox.event where topic = 'late'"
    gives "backlog_drops_what_was_sent" "0" "select count(*) from outbox.backlog where topic = 'late'"
    q "delete from outbox.sent where id = (select max(id) from outbox.event); update outbox.relay set floor_id = cursor_id"
    gives "backlog_leaves_out_what_lies_below_the_floor" "0" "select count(*) from outbox.backlog where topic = 'late'"
    q "delete from outbox.held; insert into outbox.held (id, bucket, topic, state, next_attempt_at) values (1, 0, 's', 'scheduled', now() - interval '1 hour')"
    gives "backlog_ages_what_is_overdue" "t" "select oldest_age between '1 hour' and '2 hours' from outbox.backlog where topic = 's'"
    q "truncate outbox.event, outbox.sent, outbox.held; update outbox.relay set cursor_id = 0, floor_id = 0, cursor_snapshot = default"
}

# With many events done the view reads a handful of blocks.
test_backlog_is_cheap() {
    local blocks
    q "insert into outbox.event (bucket, topic, key, type) select 1, 'done', int4send(i), 'ty' from generate_series(1, 200000) i;
       insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
    q "update outbox.relay set cursor_id = (select max(id) from outbox.event), cursor_snapshot = pg_current_snapshot()"
    q "insert into outbox.event (bucket, topic, type) select 1, 'open', 'ty' from generate_series(1, 10) i"
    for blocks in unanalysed analysed; do
        [[ $blocks == unanalysed ]] || q "analyze outbox.event; analyze outbox.sent"
        gives "backlog_is_right_with_many_done_$blocks" "open|10" "select topic, pending from outbox.backlog"
        # Asked twice, because the first time in a session reads the catalogue as well.
        equal "backlog_reads_few_blocks_with_many_done_$blocks" t "$(q "select count(*) from outbox.backlog; explain (analyze, buffers, costs off, timing off, summary off)
            select * from outbox.backlog" | awk -F'hit=|read=' '/Buffers: shared/ && !n++ { t = $2 + $3; print (t < 500 ? "t" : t) }')"
    done
    q "truncate outbox.event, outbox.sent; update outbox.relay set cursor_id = 0, cursor_snapshot = default"
}

test_blocker() {
    gives "blocker_is_empty_without_transactions" "0" "select count(*) from outbox.blocker"
    talk writer
    tell writer "begin; insert into outbox.event (topic, type) values ('t', 'ty'); select 'wrote';"
    wait_until 10 said writer wrote || not_ok "the_writer_wrote" "$(<"$work/writer.out")"
    gives "blocker_shows_a_writer" "writer|outbox|t|t|1|t" \
        "select application, username, holds_rows, holds_truncate, cardinality(leaves), age > '0' from outbox.blocker"
    talk reader
    tell reader "begin; select count(*) from outbox.sent_5; select 'read';"
    wait_until 10 said reader read || not_ok "the_reader_read" "$(<"$work/reader.out")"
    gives "blocker_shows_a_reader_of_a_leaf" "reader|f|t|{sent_5}" \
        "select application, holds_rows, holds_truncate, leaves from outbox.blocker where application = 'reader'"
    as=outbox_monitor
    gives "blocker_tells_the_monitor_the_age" "2" "select count(age) from outbox.blocker"
    as=outbox_relay
    gives "blocker_tells_the_relay_who" "reader,writer" "select string_agg(application, ',' order by application) from outbox.blocker"
    as=
    tell writer "prepare transaction 'stuck';"
    hush writer
    hush reader
    gives "blocker_shows_a_prepared_transaction" "|stuck|outbox|t|t|1|t" \
        "select pid, prepared, username, holds_rows, holds_truncate, cardinality(leaves), age > '0' from outbox.blocker"
    "$pg" restart "$work/pg"
    gives "blocker_shows_it_after_a_restart" "|stuck|t|1" "select pid, prepared, holds_rows, cardinality(leaves) from outbox.blocker"
    q "rollback prepared 'stuck'"
    gives "blocker_forgets_them" "0" "select count(*) from outbox.blocker"
}

base=$("$pg" start "$work/pg" max_prepared_transactions=5)
test_install
test_multi_statement
test_limits
test_bucket_period
test_xid_before_id
test_late_row
test_append
test_roles
test_status_views
test_backlog_is_cheap
test_blocker
exit "$bad"
