/* operate_doctor_sql.h - the statements of operate_doctor.c. Each but the last gives rows of name, detail and
 * number, and some of what mends it.
 */
#ifndef RELAY_SOURCE_OPERATE_DOCTOR_SQL_H
#define RELAY_SOURCE_OPERATE_DOCTOR_SQL_H

#include "relay/source/operate_sql.h"
#include "relay/source/sql.h"

#define SQL_FACT_SERVER                                                                            \
    "select current_setting('server_version'), case when pg_is_in_recovery() then 'standby' "      \
    "when (select s.reset_val from pg_catalog.pg_settings s "                                      \
    "where s.name = 'default_transaction_read_only') = 'on' then 'read only' else '' end, "        \
    "current_setting('server_version_num')::float8"

#define SQL_FACT_ROLE "select current_user::text, current_database()::text, 0"

#define SQL_FACT_POOLER "select '', '', pg_backend_pid()::float8"

#define SQL_FACT_CLOCK "select '', '', extract(epoch from clock_timestamp())::float8"

#define SQL_FACT_SETTING                                                                           \
    "select s.name, s.setting, 0 from pg_catalog.pg_settings s "                                   \
    "where s.name in ('fsync', 'full_page_writes') and s.setting = 'off'"

/* Of the server, then of roles and databases. */
#define SQL_FACT_ASYNC_COMMIT                                                                      \
    "select 'every session that does not say otherwise', '', 0 from pg_catalog.pg_settings s "     \
    "where s.name = 'synchronous_commit' and s.reset_val = 'off' and s.source <> 'user' "          \
    "and s.source <> 'database user' union all "                                                   \
    "select coalesce('role ' || r.rolname, 'every role') || "                                      \
    "coalesce(' in database ' || d.datname, ''), case when r.rolname = current_user then 'own' else '' end, 0 " \
    "from pg_catalog.pg_db_role_setting x "                                                        \
    "left join pg_catalog.pg_roles r on r.oid = x.setrole "                                        \
    "left join pg_catalog.pg_database d on d.oid = x.setdatabase "                                 \
    "where 'synchronous_commit=off' = any (x.setconfig) "                                          \
    "and (x.setdatabase = 0 or d.datname = current_database()) limit 20"

#define SQL_FACT_INSTALLED                                                                         \
    "select current_database()::text, '', (exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n "    \
    "on n.oid = c.relnamespace where n.nspname = 'outbox' and c.relname = 'schema_version'))::int"


#define SQL_FACT_VERSION                                                                           \
    "select case when " SQL_IS_HIDDEN("count(*) = 0", "outbox.schema_version") " then 'hidden' else '' end, " \
    "coalesce(max(v.version) filter (where v.breaking), 0)::text, coalesce(max(v.version), 0) from outbox.schema_version v"

/* Whom to grant what the role lacks: outbox_relay where it has its rights from there. */
#define SQL_GRANTEE                                                                                \
    "case when pg_has_role(to_regrole('outbox_relay'), 'USAGE') then 'outbox_relay' "              \
    "else quote_ident(current_user) end"

/* The role outbox_relay has next to nothing here, or is not there: the schema was made after sql/roles.sql was applied, or
 * that never was. By oid: who may not use a schema may not name what is in it. */
#define SQL_ROLES_ARE_DUE                                                                          \
    "(select count(*) < 3 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace " \
    "where n.nspname = 'outbox' and c.relname in ('event', 'sent', 'held', 'relay', 'schema_version') " \
    "and has_table_privilege(to_regrole('outbox_relay'), c.oid, 'SELECT'))"

/* A member of outbox_relay that does not inherit has none of its rights, and granting it once more changes nothing. */
#define SQL_MAKE_MEMBER                                                                            \
    "case when not coalesce(pg_has_role(to_regrole('outbox_relay'), 'MEMBER'), false) then 'GRANT outbox_relay TO ' || quote_ident(current_user) " \
    "when current_setting('server_version_num')::int < 160000 then 'ALTER ROLE ' || quote_ident(current_user) || ' INHERIT' " \
    "else 'GRANT outbox_relay TO ' || quote_ident(current_user) || ' WITH INHERIT TRUE' end"

#define SQL_FACT_USAGE                                                                             \
    "select '', case when d.due then 'roles' else '' end, has_schema_privilege('outbox', 'USAGE')::int, case when " \
    "not coalesce(pg_has_role(to_regrole('outbox_relay'), 'USAGE'), false) then " SQL_MAKE_MEMBER " " \
    "when d.due then '' else 'GRANT USAGE ON SCHEMA outbox TO outbox_relay' end "                  \
    "from (select " SQL_ROLES_ARE_DUE " as due) d"

/* What sql/roles.sql grants to outbox_relay. What is lacking on the same parts of one table, which may have leaves, is one
 * fact. A role that lacks most of it is not that of a relay, unless it is a member of outbox_relay that has all: a single
 * one. */
#define SQL_FACT_RIGHT                                                                             \
    "with leaf (n) as (values ('0'), ('1'), ('2'), ('3'), ('4'), ('5'), ('6'), ('7'), ('kept')), " \
    "need (root, name, privilege) as ("                                                            \
    "select t.root, t.root, p from (values ('event', 'SELECT'), ('sent', 'SELECT,INSERT'), "       \
    "('held', 'SELECT,INSERT,UPDATE,DELETE'), ('relay', 'SELECT,UPDATE'), ('schema_version', 'SELECT'), " \
    "('backlog', 'SELECT'), ('blocker', 'SELECT'), ('event_status', 'SELECT')) t (root, privileges), " \
    "unnest(string_to_array(t.privileges, ',')) p union all "                                      \
    "select k, k || '_' || l.n, p from leaf l, unnest(array['event', 'sent']) k, "                 \
    "unnest(array['SELECT', 'TRUNCATE']) p union all "                                             \
    "select 'sent', 'sent_' || l.n, 'INSERT' from leaf l where l.n <> 'kept' union all "           \
    "values ('event', 'event_kept', 'INSERT'), ('event', 'event_kept', 'DELETE'), ('sent', 'sent_kept', 'DELETE')), " \
    "had as materialized (select n.*, has_table_privilege('outbox.' || n.name, n.privilege) as has " \
    "from need n where to_regclass('outbox.' || n.name) is not null), "                            \
    "due as materialized (select " SQL_ROLES_ARE_DUE " as due, "                                   \
    "coalesce(pg_has_role(to_regrole('outbox_relay'), 'MEMBER'), false) as member), "              \
    "most as materialized (select 2 * count(*) filter (where h.has) < count(*) and "               \
    "(select d.due or not d.member from due d) as lacking from had h), "                           \
    "lack as (select h.root, h.privilege, bool_or(h.name = h.root) as whole, "                     \
    "array_agg(h.name order by h.name) filter (where h.name <> h.root) as leaves, "                \
    "string_agg('outbox.' || h.name, ', ' order by h.name) as names "                              \
    "from had h where not h.has group by 1, 2), "                                                  \
    "part as (select l.root, l.whole, l.leaves, l.names, coalesce(cardinality(l.leaves), 0) as n, " \
    "string_agg(l.privilege, ', ' order by l.privilege) as privileges from lack l group by 1, 2, 3, 4) " \
    "select '', case when d.due then 'roles' else '' end, 0, case when d.member then '' else "      \
    "'GRANT outbox_relay TO ' || quote_ident(current_user) end from most m, due d where m.lacking union all " \
    "(select case when not p.whole and p.n = 1 then p.names else 'outbox.' || p.root || "          \
    "case when p.n > 0 then case when p.whole then ' and ' else ': ' end || "                      \
    "case when p.n = 9 then 'all 9 leaves' else p.n || ' of 9 leaves (' || array_to_string(p.leaves, ', ') || ')' end " \
    "else '' end end, p.privileges, 0, "                                                           \
    "'GRANT ' || p.privileges || ' ON ' || p.names || ' TO ' || " SQL_GRANTEE " from part p, most m where not m.lacking " \
    "union all select 'function ' || f.name, 'EXECUTE', 0, "                                       \
    "'GRANT EXECUTE ON FUNCTION ' || f.name || ' TO ' || " SQL_GRANTEE " from (values ('outbox.backlog_now()'), " \
    "('outbox.empty_bucket(smallint, bigint, interval, pg_snapshot, bigint[])'), "                 \
    "('pg_catalog.pg_control_system()'), ('pg_catalog.pg_try_advisory_lock_shared(integer, integer)')) f (name), " \
    "most m where not m.lacking and to_regprocedure(f.name) is not null and not has_function_privilege(f.name, 'EXECUTE') order by 1, 2)"

#define SQL_FACT_HIDDEN                                                                            \
    "select x.tables, '', 0 from (select " SQL_TABLES_WITH_POLICIES " as tables) x where x.tables is not null"

#define SQL_FACT_LEAF                                                                              \
    "with leaf (n, bucket) as (select i::text, i from generate_series(0, 7) i "                    \
    "union all select 'kept', -1), "                                                               \
    "want as (select k as root, k || '_' || l.n as name, l.bucket from leaf l, "                   \
    "unnest(array['event', 'sent']) k) "                                                           \
    "select 'outbox.' || w.name, case when c.oid is null then 'is missing' "                       \
    "when i.inhrelid is null then 'is not attached to outbox.' || w.root "                         \
    "else 'holds ' || pg_get_expr(c.relpartbound, c.oid) || ' instead of bucket ' || w.bucket end, 0 " \
    "from want w left join pg_catalog.pg_class c on c.oid = to_regclass('outbox.' || w.name) "     \
    "left join pg_catalog.pg_inherits i on i.inhrelid = c.oid "                                    \
    "and i.inhparent = to_regclass('outbox.' || w.root) "                                          \
    "where i.inhrelid is null or pg_get_expr(c.relpartbound, c.oid) "                              \
    "<> 'FOR VALUES IN (''' || w.bucket || ''')' order by 1 limit 20"

#define SQL_FACT_INDEX                                                                             \
    "with leaf (n) as (values ('0'), ('1'), ('2'), ('3'), ('4'), ('5'), ('6'), ('7'), ('kept')), " \
    "want (name, columns) as (select 'event_' || l.n, c from leaf l, unnest(array['id', 'xid, id']) c " \
    "union all select 'sent_' || l.n, 'id' from leaf l), "                                         \
    "have as (select i.indrelid, (select string_agg(a.attname, ', ' order by k.n) "                \
    "from unnest(i.indkey::int2[]) with ordinality k (attnum, n) "                                 \
    "join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum) as columns " \
    "from pg_catalog.pg_index i where i.indisvalid and i.indisready and i.indpred is null "        \
    "and i.indexprs is null) "                                                                     \
    "select 'outbox.' || w.name, 'on (' || w.columns || ')', 0 from want w "                       \
    "where to_regclass('outbox.' || w.name) is not null and not exists (select from have h "       \
    "where h.indrelid = to_regclass('outbox.' || w.name) and h.columns = w.columns) union all "    \
    "select 'outbox.held', w.name, 0 from (values ('held_pkey'), ('held_key_idx'), "               \
    "('held_dead_idx'), ('held_paused_idx'), ('held_next_attempt_idx')) w (name) "                 \
    "where not exists (select from pg_catalog.pg_index i "                                         \
    "where i.indexrelid = to_regclass('outbox.' || w.name) and i.indisvalid and i.indisready) "    \
    "order by 1, 2 limit 50"

/* As set_bucket_period writes it, whatever casts and parentheses the server shows; the number is that of the
 * period. */
#define SQL_FACT_DEFAULT                                                                           \
    "select '', coalesce(x.text, 'none'), coalesce((regexp_match(regexp_replace(x.text, "          \
    "'[() '']|::bigint|::text|::smallint', '', 'g'), "                                             \
    "'^floordate_partepoch,now/([0-9]+)&7$'))[1]::float8, -1) "                                    \
    "from (select (select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d "           \
    "join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum "             \
    "where d.adrelid = 'outbox.event'::regclass and a.attname = 'bucket') as text) x"

/* What was changed of it, the highest number that is in use, and how far the sequence is below that: there it hands out
 * numbers again. A mark, or what is held, outlives its event when somebody truncates the events. */
#define SQL_FACT_SEQUENCE                                                                          \
    "select coalesce(x.changed, ''), x.highest::text, case when not x.may then -1 else greatest(0, " \
    "x.highest - coalesce(x.last, 0)) end from (select " SQL_SEQUENCE_IS_SEEN " as may, "          \
    "(select s.last_value from " SQL_SEQUENCE ") as last, "                                        \
    "(select concat_ws(', ', case when s.cache_size <> 1 then 'CACHE ' || s.cache_size end, "      \
    "case when s.increment_by <> 1 then 'INCREMENT ' || s.increment_by end, case when s.cycle then 'CYCLE' end) from " \
    SQL_SEQUENCE ") as changed, greatest((select max(e.id) from outbox.event e), "                 \
    "(select max(s.id) from outbox.sent s), (select max(h.id) from outbox.held h), 0) as highest) x"

#define SQL_FACT_CLUSTER                                                                           \
    "select '', '', 0 from outbox.relay r where r.name = 'default' and r.system_identifier <> "    \
    "(select c.system_identifier from pg_control_system() c)"

#define SQL_FACT_LEAD                                                                              \
    "select coalesce(r.owner, ''), case when " SQL_IS_HIDDEN("r.name is null", "outbox.relay") " then 'hidden' " \
    "when r.name is null then 'missing' when r.renewed_at is null then 'never' "                   \
    "when r.owner is null then 'resigned' when r.lease_expires_at >= clock_timestamp() then 'leads' " \
    "else 'ended' end, coalesce(extract(epoch from clock_timestamp() - r.renewed_at), 0)::float8, " \
    "$mend$" SQL_RELAY_ROW "$mend$ from (select 1) one left join outbox.relay r on r.name = 'default'"

/* Those that were sent meanwhile do not count. */
#define SQL_FACT_DEAD                                                                              \
    "select '', coalesce(to_char(min(h.first_error_at), 'YYYY-MM-DD HH24:MI:SS') || ' UTC', ''), count(*)::float8 " \
    "from outbox.held h where h.state = 'dead' and not exists (select from outbox.sent s "         \
    "where s.bucket = h.bucket and s.id = h.id) having count(*) > 0"

#define SQL_FACT_BLIND                                                                             \
    "select '', '', 0, x.mend from (select " SQL_GRANT_STATS " as mend) x where x.mend is not null"

#define SQL_FACT_OLD                                                                               \
    "select coalesce(nullif(a.application_name, ''), a.usename, a.backend_type), a.pid::text, "    \
    "extract(epoch from clock_timestamp() - a.xact_start)::float8 "                                \
    "from pg_catalog.pg_stat_activity a where a.datname = current_database() "                     \
    "and a.pid <> pg_backend_pid() and coalesce(a.backend_xid, a.backend_xmin) is not null "       \
    "and a.backend_type = 'client backend' and a.xact_start < now() - interval '5 min' "           \
    "order by 3 desc limit 10"

#define SQL_FACT_PREPARED                                                                          \
    "select p.gid, p.owner::text, extract(epoch from clock_timestamp() - p.prepared)::float8 "     \
    "from pg_catalog.pg_prepared_xacts p where p.database = current_database() "                   \
    "order by 3 desc limit 10"

#define SQL_FACT_SLOT                                                                              \
    "select s.slot_name::text, case when s.active then 'active' else 'inactive' end, "             \
    "coalesce(case when pg_is_in_recovery() then 0 else "                                          \
    "pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) end, 0)::float8 "                        \
    "from pg_catalog.pg_replication_slots s where (s.restart_lsn is not null and not s.active) "   \
    "or age(coalesce(s.xmin, s.catalog_xmin)) > 5000000 order by 3 desc limit 10"

/* $1: so many topics at most. What waits is what lies behind the saved cursor and what is held. */
#define SQL_NEEDS                                                                                  \
    "with part as materialized (select e.id, e.bucket, e.topic, true as unread from ("             \
    "select e.id, e.bucket, e.topic from outbox.event e where e.id > "                             \
    "(select r.cursor_id from outbox.relay r where r.name = 'default') "                           \
    "and e.id <= 9223372036854775807 order by e.id limit 100000) e union all "                     \
    "select h.id, h.bucket, h.topic, false from (select h.id, h.bucket, h.topic from outbox.held h " \
    "where h.state <> 'discarded' order by h.id limit 100000) h), "                                \
    "waits as materialized (select p.topic, p.id, x.created_at, x.bytes from part p "              \
    "left join lateral (select true as found from outbox.sent s where s.bucket = p.bucket "        \
    "and s.id = p.id limit 1) m on true "                                                          \
    "left join lateral (select true as found from outbox.held h where p.unread and h.id = p.id "   \
    "limit 1) k on true join lateral (select e.created_at, coalesce(octet_length(e.payload), 0) + " \
    "coalesce(octet_length(e.key), 0) + coalesce(octet_length(e.headers::text), 0) as bytes "      \
    "from outbox.event e where e.bucket = any (array[p.bucket, -1::smallint]) and e.id = p.id "    \
    "limit 1) x on true where m.found is null and k.found is null), "                              \
    "recent as (select distinct e.topic from (select e.topic from (select e.id, e.topic "          \
    "from outbox.event e order by e.id desc limit 10000) e) e), "                                  \
    "sums as (select t.topic, count(w.id) as n, max(w.bytes) as bytes, "                           \
    "(array_agg(w.id order by w.bytes desc, w.id))[1] as largest, min(w.created_at) as oldest "    \
    "from (select topic from recent union select topic from waits) t "                             \
    "left join waits w on w.topic = t.topic group by t.topic) "                                    \
    "select s.topic, s.n, coalesce(s.bytes, 0), coalesce(s.largest, 0), "                          \
    "extract(epoch from clock_timestamp() - s.oldest)::float8, p.error_code, p.error, "            \
    "exists (select from outbox.held h where h.id = s.largest and h.state = 'dead') from sums s"   \
    " left join lateral (select h.error_code, h.error from outbox.held h where h.topic = s.topic " \
    "and h.state = 'paused' order by h.id + 0 limit 1) p on true "                                 \
    "order by s.n desc, s.topic limit $1::bigint"

#endif
