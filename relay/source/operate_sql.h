/* operate_sql.h - the statements of the commands that a person gives. Used by operate*.c only;
 * those of one subject stand in a file with its name.
 *
 * A key group is all rows of outbox.held with one topic and key that are not settled: retrying or
 * blocked, and dead unless later rows pass the dead (on.poison = skip). Its first row alone may be
 * due; the others wait for it.
 *
 * Whether the dead are passed is a setting of the relay, and the one that a command is given may be another. So what is
 * changed does not depend on it: a row that only dead ones have before it is due, and a relay that lets
 * it wait does not read it until its turn (SQL_DUE); one that never became due would lie there until the sweep.
 *
 * Who settles a row that others may wait for (the relay by a mark, a person by discard) looks for the
 * next one in a statement of its own, after the row is locked and changed, and so with a snapshot that
 * has all that was committed before; who puts a row behind another has locked that other first. The
 * locks here are FOR UPDATE: the FOR NO KEY UPDATE of a plain UPDATE would let a FOR KEY SHARE by.
 */
#ifndef RELAY_SOURCE_OPERATE_SQL_H
#define RELAY_SOURCE_OPERATE_SQL_H

#include "relay/source/sequence_sql.h"

/* SET LOCAL, so that nothing depends on the session and a transaction pooler does no harm. The three
 * numbers are milliseconds of statement and of lock, and the access mode stands first. Joins by hash
 * or merge would read all of outbox.event for a handful of rows. */
#define SQL_BEGIN                                                                                  \
    "begin isolation level read committed %s; "                                                    \
    "set local search_path = ''; set local jit = off; set local timezone = 'UTC'; "                \
    "set local datestyle = 'ISO'; set local bytea_output = 'hex'; "                                \
    "set local enable_hashjoin = off; set local enable_mergejoin = off; "                          \
    "set local statement_timeout = %llu; set local lock_timeout = %llu"

/* What the DBA has set for others (idle_session_timeout since 14, transaction_timeout since 17) would end a session
 * that waits for a person or for Kafka, or a long look. They stay as they are in the session of a pooler. */
#define SQL_LIFT_LIMITS                                                                            \
    "select count(pg_catalog.set_config(s.name, '0', false)) from pg_catalog.pg_settings s "       \
    "where s.name in ('idle_session_timeout', 'idle_in_transaction_session_timeout', "             \
    "'transaction_timeout') and pg_catalog.pg_backend_pid() = %d"

#define SQL_TIMEOUT "set local statement_timeout = %llu"

/* What sql/roles.sql grants where it may: without it the age of others' transactions is not seen. NULL: it is granted. */
#define SQL_GRANT_STATS                                                                            \
    "case when not pg_has_role('pg_read_all_stats', 'USAGE') then 'GRANT pg_read_all_stats TO ' || case " \
    "when pg_has_role(to_regrole('outbox_relay'), 'USAGE') then 'outbox_relay' "                   \
    "when pg_has_role(to_regrole('outbox_monitor'), 'USAGE') then 'outbox_monitor' "               \
    "else quote_ident(current_user) end end"

#define SQL_INSTALLED(schema) "select to_regclass('" schema ".schema_version') is not null"

/* Where a table should have rows and has none: may that be a policy's doing? */
#define SQL_IS_HIDDEN(has_none, table) "(" has_none " and row_security_active('" table "'::regclass))"

#define SQL_NEWEST(schema)                                                                         \
    "select max(version), coalesce(max(version) filter (where breaking), 0), "                     \
    SQL_IS_HIDDEN("count(*) = 0", schema ".schema_version") " from " schema ".schema_version"

/* A row in sent counts as sent whatever held says. */
#define SQL_NOT_SENT(h)                                                                            \
    " and not exists (select from outbox.sent s where s.bucket = " h ".bucket and s.id = " h ".id)"

/* The janitor may have moved the event to event_kept meanwhile. */
#define SQL_EVENT_IS(c, h)                                                                         \
    c ".bucket = any (array[" h ".bucket, -1::smallint]) and " c ".id = " h ".id"

/* The indexes on a key's rows are partial, one for each of these: the conditions must name the states
 * as the indexes do. */
#define SQL_LIVE(h) h ".key is not null and " h ".state in ('retrying', 'blocked')"
#define SQL_DEAD(h) h ".state = 'dead'"

#define SQL_SAME_KEY(a, b)                                                                         \
    a ".topic = " b ".topic and sha256(" a ".key) = sha256(" b ".key) and " a ".key = " b ".key"

/* What the person named: $1 states, $2 id, $3 event id, $4 topic, $5 key (NULL: any), ids above $6
 * up to $7. The event id is looked up for each row that passed the rest: events have no index on it. */
#define SQL_CHOSEN                                                                                 \
    "h.state = any ($1::text[]) and ($2::bigint is null or h.id = $2) "                            \
    "and ($4::text is null or h.topic = $4) "                                                      \
    "and ($5::bytea is null or (sha256(h.key) = sha256($5) and h.key = $5)) "                      \
    "and h.id > $6::bigint and h.id <= $7::bigint" SQL_NOT_SENT("h")                               \
    " and ($3::uuid is null or exists (select from outbox.event c "                                \
    "where " SQL_EVENT_IS("c", "h") " and c.event_id = $3))"

/* Text that the database's encoding may have and the client's may not: there is no asking beforehand, and an
 * event that cannot be sent for that reason must be listed. */
#define SQL_SENDABLE(text)                                                                         \
    "case when pg_catalog.getdatabaseencoding() = 'UTF8' then " text " else "                       \
    "regexp_replace(" text " collate \"C\", '[^ -~]', '?', 'g') end"

/* LIMIT 1: one look at the index for each row, whatever the statistics say. */
#define SQL_EVENT_OF(h)                                                                            \
    " left join lateral (select c.event_id, " SQL_SENDABLE("c.type") " as type from outbox.event c "                           \
    "where " SQL_EVENT_IS("c", h) " limit 1) e on true "

#define SQL_TIME(column) "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/* The order of enum column in operate.c. */
#define SQL_EVENT_COLUMNS(h)                                                                       \
    h ".id, e.event_id, " h ".topic, " h ".key, e.type, " h ".state, " h ".attempts, "             \
    SQL_TIME(h ".next_attempt_at") ", " SQL_TIME(h ".first_error_at") ", " h ".error_code, "       \
    h ".error, " h ".maybe_delivered"

/* $8 rows at most, $9 do rows pass the dead, $10 is it wanted how many wait? Nobody waits for a row
 * without a key, or that is not in a key group. */
#define SQL_LIST                                                                                   \
    "select " SQL_EVENT_COLUMNS("h") ", case when $10::bool and (h.state in ('retrying', 'blocked') " \
    "or h.state = 'dead' and not $9::bool) then (select count(*) from outbox.held w where "         \
    SQL_SAME_KEY("w", "h") " and w.id > h.id and " SQL_LIVE("w") ") else 0 end "  \
    "from (select h.* from outbox.held h where " SQL_CHOSEN " order by h.id limit $8::bigint) h"   \
    SQL_EVENT_OF("h") "order by h.id"

#define SQL_TOTALS                                                                                 \
    "select h.topic, h.state, count(*), max(h.id) from outbox.held h where " SQL_CHOSEN            \
    " group by h.topic, h.state order by h.topic, h.state"

/* Later rows of the chosen rows' keys that are out. Events have no index on topic and key: this reads
 * the events behind the first chosen row once, whatever their number, hence by hash joins, and by no
 * others, because without statistics the planner would read them once for each key. All is counted in
 * one pass, however many rows a key has: n is how many of `later` stand behind a chosen row, and of
 * those of its key, numbered upwards, the first is number n_key - n + 1. $8: so many are described; the
 * last column says how many there are. */
#define SQL_BY_HASH "set local enable_hashjoin = on; set local enable_nestloop = off"
/* Events that were scheduled are in no order with the others. */
#define SQL_IN_ORDER(e) "coalesce(" e ".available_at <= " e ".created_at, true)"
#define SQL_OVERTAKEN                                                                              \
    "with target as materialized (select h.id, h.bucket, h.topic, h.key from outbox.held h "       \
    "where h.key is not null and exists (select from outbox.event e where e.bucket = h.bucket "    \
    "and e.id = h.id and " SQL_IN_ORDER("e") ") and " SQL_CHOSEN "), "                             \
    "kin as materialized (select t.topic, t.key, min(t.id) as id from target t group by 1, 2), "   \
    "maybe as materialized (select l.topic, l.key, l.bucket, l.id from kin k join outbox.event l " \
    "on l.topic = k.topic and l.key = k.key and l.id > k.id and " SQL_IN_ORDER("l") " "            \
    "where l.id > (select min(id) from kin) offset 0), "                                           \
    "later as materialized (select m.topic, m.key, m.id, "                                         \
    "row_number() over (partition by m.topic, m.key order by m.id) as number from maybe m "        \
    "where (select true from outbox.sent s where s.bucket = m.bucket and s.id = m.id limit 1)), "  \
    "both_kinds as (select t.topic, t.key, t.id, t.bucket from target t "                               \
    "union all select l.topic, l.key, l.id, null from later l), "                                  \
    "counted as (select b.*, count(*) filter (where b.bucket is null) "                            \
    "over (partition by b.topic, b.key order by b.id desc) as n, "                                 \
    "count(*) filter (where b.bucket is null) over (partition by b.topic, b.key) as n_key "        \
    "from both_kinds b), "                                                                              \
    "found as materialized (select c.*, count(*) over () as total from counted c "                 \
    "where c.bucket is not null and c.n > 0 order by c.id limit $8::bigint) "                      \
    "select f.id, e.event_id, f.topic, f.key, f.n, x.first, f.total from found f "                 \
    "join (select f.id, string_agg(l.id::text, ', ' order by l.id) as first "                      \
    "from (select f.*, f.n_key - f.n + i as number from found f cross join generate_series(1, 3) i) f " \
    "join later l on l.topic = f.topic and l.key = f.key and l.number = f.number group by f.id) x " \
    "on x.id = f.id" SQL_EVENT_OF("f") "order by f.id"

/* The first row of this kind in the key group of g. */
#define SQL_FIRST(g, kind)                                                                         \
    "(select f.id from outbox.held f where " SQL_SAME_KEY("f", g) " and " kind SQL_NOT_SENT("f")   \
    " order by f.id limit 1)"

/* What has to be locked: the next $8 of the chosen rows, and the first row of each key group among
 * them, with and without the dead, because who settles that one asks which row is next. Two arrays, how many are chosen, and the
 * highest of those. */
#define SQL_FIND                                                                                   \
    "with target as materialized (select h.id, h.topic, h.key from outbox.held h where "           \
    SQL_CHOSEN " order by h.id limit $8::bigint), kin as materialized "                            \
    "(select distinct t.topic, t.key from target t where t.key is not null) "                      \
    "select (select coalesce(array_agg(t.id order by t.id), '{}') from target t), "                \
    "(select coalesce(array_agg(x.id order by x.id), '{}') from kin k cross join lateral "         \
    "(" SQL_FIRST("k", SQL_LIVE("f")) " union all " SQL_FIRST("k", SQL_DEAD("f")) ") x), "         \
    "(select count(*) from target), (select max(id) from target)"

/* In order of id, as everybody does who locks several. */
#define SQL_LOCK                                                                                   \
    "select h.id from outbox.held h where h.id = any ($1::bigint[] || $2::bigint[]) "              \
    "order by h.id for update"

/* $1 the rows, all locked, $2 do rows pass the dead, as far as is known? Only for what is told: the last column, does
 * it wait? A row with an earlier one in its group, some of these included, waits for it; the others are due. One that
 * is retrying behind another is left alone. One behind a row that stays dead is blocked, and due. */
#define SQL_RETRY                                                                                  \
    "with target as materialized (select h.id, h.state as was, h.key is not null "                 \
    "and (exists (select from outbox.held f where " SQL_SAME_KEY("f", "h") " and f.id < h.id and " \
    SQL_LIVE("f") SQL_NOT_SENT("f") ") or exists (select from outbox.held f where "                \
    SQL_SAME_KEY("f", "h") " and f.id < h.id and " SQL_DEAD("f")                                   \
    " and f.id = any ($1::bigint[])" SQL_NOT_SENT("f") ")) as waits, "                             \
    "h.key is not null and exists (select from outbox.held f where " SQL_SAME_KEY("f", "h")        \
    " and f.id < h.id and " SQL_DEAD("f") SQL_NOT_SENT("f") ") as behind_dead "                    \
    "from outbox.held h where h.id = any ($1::bigint[]) "                                          \
    "and h.state in ('retrying', 'dead')), "                                                       \
    "done as (update outbox.held h set "                                                           \
    "state = case when t.waits or t.behind_dead then case h.state when 'dead' then 'blocked' else h.state end " \
    "else 'retrying' end, "                                                                        \
    "attempts = case when t.waits and h.state <> 'dead' then h.attempts else 0 end, "              \
    "next_attempt_at = case when not t.waits then now() "                                          \
    "when h.state <> 'dead' then h.next_attempt_at end "                                           \
    "from target t where h.id = t.id returning h.*, t.was, t.waits or (t.behind_dead and not $2::bool) as waits) " \
    "select " SQL_EVENT_COLUMNS("d") ", d.was, d.waits from done d" SQL_EVENT_OF("d")              \
    "order by d.id"

/* $1 the rows, all locked, $2 states, $3 the reason. What is returned of the error is the one before. */
#define SQL_DISCARD                                                                                \
    "with old as materialized (select h.* from outbox.held h where h.id = any ($1::bigint[]) "     \
    "and h.state = any ($2::text[])), "                                                            \
    "done as (update outbox.held h set state = 'discarded', next_attempt_at = null, "              \
    "error_code = 'DISCARDED', error = $3 from old where h.id = old.id returning h.id) "           \
    "select " SQL_EVENT_COLUMNS("o") ", o.state, false from old o join done d on d.id = o.id"      \
    SQL_EVENT_OF("o") "order by o.id"

/* $1 the rows just settled. The next of each of their groups that is not dead is due now. One that is due already is
 * left as it is. */
#define SQL_PROMOTE                                                                                \
    "with kin as materialized (select distinct t.topic, t.key from outbox.held t "                 \
    "where t.id = any ($1::bigint[]) and t.key is not null), "                                     \
    "front as materialized (select f.id from kin k cross join lateral "                            \
    SQL_FIRST("k", SQL_LIVE("f")) " f) "                                                           \
    "update outbox.held h set next_attempt_at = now() from front f "                               \
    "where h.id = f.id and h.state = 'blocked' and h.next_attempt_at is null returning h.id"

/* What became of one event, for the person who named one that is not among the chosen. The first by
 * number; the second looks in held, because events have no index on their event id. */
#define SQL_STATE_OF_ID "select v.state from outbox.event_status v where v.id = $1::bigint"
#define SQL_STATE_OF_EVENT_ID                                                                      \
    "select case when exists (select from outbox.sent s where s.bucket = h.bucket "                \
    "and s.id = h.id) then 'sent' else h.state end from outbox.held h where exists ("              \
    "select from outbox.event c where " SQL_EVENT_IS("c", "h") " and c.event_id = $1::uuid) "      \
    "limit 1"

#endif
