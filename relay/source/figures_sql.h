/* figures_sql.h - the statement behind source_figures. Used by aside.c only.
 *
 * Cheap whatever the backlog is, for it is asked every few seconds: after the saved cursor at most 10,000
 * events are looked at, and the rest is taken from the ids; of outbox.held at most 20,000 rows, and then
 * from the planner's estimate. Every row has a kind (enum in figures.c) and the same columns:
 *   kind int2, a b c d e text, n1 n2 n3 int8, f1 f2 float8
 */
#ifndef RELAY_SOURCE_FIGURES_SQL_H
#define RELAY_SOURCE_FIGURES_SQL_H

#include "relay/source/space_sql.h"

/* Since when the event of this id has been due. */
#define SQL_DUE_AT(id)                                                                             \
    "select nullif(greatest(e.created_at, e.available_at), 'infinity') as due_at "                 \
    "from outbox.event e where e.id = " id " limit 1"

/* The lateral LIMIT 1 makes one probe of an index for each row; a join might read all of sent. The late
 * rows are those of outbox.backlog_now; after a long absence, when the snapshot is old, finding them would
 * mean to walk over all that came since, and they are left out. From infinity, which an application may give as
 * the time of an event, nothing can be subtracted before PostgreSQL 17. `behind` has the keys whose first row that
 * could still go is blocked, so by a dead one: where it is retrying (on.poison = skip) it is that one they wait for.
 * Looked up by IN, which is a hash: a join, which is a nested loop in these sessions, would compare each with each. */
#define SQL_FIGURES                                                                                \
    "with saved as materialized (select r.cursor_id, r.floor_id, r.cursor_snapshot, "             \
    "pg_snapshot_xmax(pg_current_snapshot())::text::numeric < pg_snapshot_xmax(r.cursor_snapshot)::text::numeric + 200000 as recent " \
    "from outbox.relay r where r.name = 'default'), "                                              \
    "scan as materialized (select e.id, e.bucket, e.topic, greatest(e.created_at, e.available_at) as due_at " \
    "from outbox.event e where e.id > coalesce((select cursor_id from saved), 0) "                 \
    "and e.id <= 9223372036854775807 order by e.id limit 10000), "                                 \
    "late as materialized (select l.id, l.bucket, l.topic, l.due_at from (select * from ("         \
    "select e.id, e.bucket, e.topic, greatest(e.created_at, e.available_at) as due_at from outbox.event e " \
    "where e.xid = any (array(select x.xid from pg_snapshot_xip((select cursor_snapshot from saved)) as x (xid) " \
    "where pg_visible_in_snapshot(x.xid, pg_current_snapshot()) "                                  \
    "or x.xid >= pg_snapshot_xmax(pg_current_snapshot()))) offset 0) p "                           \
    "union all select * from (select e.id, e.bucket, e.topic, greatest(e.created_at, e.available_at) " \
    "from outbox.event e where e.xid >= pg_snapshot_xmax((select cursor_snapshot from saved)) "    \
    "and e.xid <= '18446744073709551615'::xid8 and e.id <= (select cursor_id from saved) offset 0) q) l " \
    "where (select recent from saved) and l.id > (select floor_id from saved) "                    \
    "and l.id <= (select cursor_id from saved) limit 1000), "                                      \
    "waiting as materialized (select u.topic, u.due_at from (select * from scan union all select * from late) u " \
    "left join lateral (select true as is from outbox.sent s where s.bucket = u.bucket and s.id = u.id limit 1) s on true " \
    "left join lateral (select true as is from outbox.held h where h.id = u.id limit 1) h on true " \
    "where s.is is null and h.is is null and u.due_at <= now()), "                                 \
    "behind as materialized (select d.topic, d.digest, f.id from (select distinct h.topic, sha256(h.key) as digest " \
    "from (select * from outbox.held where state = 'dead' limit 1000) h where h.key is not null) d " \
    "cross join lateral (select b.id, b.state from outbox.held b where b.topic = d.topic and sha256(b.key) = d.digest " \
    "and b.key is not null and b.state in ('retrying', 'blocked') order by b.id + 0 limit 1) f where f.state = 'blocked'), " \
    "kept as materialized (select h.id, h.bucket, h.topic, h.state, "                              \
    "case when h.state = 'blocked' and exists (select from behind) "                               \
    "then (h.topic, sha256(h.key)) in (select b.topic, b.digest from behind b) end as behind "     \
    "from outbox.held h order by h.id limit 20000), "                                              \
    "factor as materialized (select case when count(*) < 20000 then 1 else greatest(1, " \
    "(select c.reltuples from pg_catalog.pg_class c where c.oid = 'outbox.held'::regclass) / 20000.0) end as x from kept), " \
    "per_topic as (select t.topic, sum(t.pending) as pending, sum(t.held) as held, sum(t.dead) as dead, " \
    "min(t.due_at) as due_at, min(t.behind_at) as behind_at from ("                                \
    "select w.topic, count(*) as pending, 0 as held, 0 as dead, min(w.due_at) as due_at, null::timestamptz as behind_at " \
    "from waiting w group by w.topic "                                                             \
    "union all select g.topic, 0, g.held, g.dead, o.due_at, null from (select k.topic, "           \
    "count(*) filter (where k.state not in ('dead', 'discarded')) as held, "                       \
    "count(*) filter (where k.state = 'dead') as dead, "                                           \
    "min(k.id) filter (where k.state in ('retrying', 'blocked', 'paused') and k.behind is not true) as oldest from kept k " \
    "group by k.topic) g left join lateral (" SQL_DUE_AT("g.oldest") ") o on true "                \
    "union all select b.topic, 0, 0, 0, null, o.due_at from behind b left join lateral (" SQL_DUE_AT("b.id") ") o on true) t " \
    "group by t.topic), "                                                                          \
    "shown as materialized (select * from (select h.* from (select * from outbox.held where state = 'dead' limit 1000) h " \
    "order by h.id limit 10) d union all select * from (select h.* from (select * from outbox.held order by id limit 5000) h " \
    "where h.state not in ('dead', 'discarded') order by h.id limit 10) w), "                      \
    "block as materialized (select * from outbox.blocker b where coalesce(b.age >= interval '2 seconds', true)) " \
    "select 0::int2, null::text, null::text, null::text, null::text, null::text, "                 \
    "case when (select count(*) from scan) < 10000 then 0 "                                        \
    "else greatest(0, (select max(e.id) from outbox.event e) - (select max(id) from scan)) end::int8, " \
    "(select count(*) from block)::int8, null::int8, "                                             \
    "extract(epoch from now() - (select min(w.due_at) from waiting w))::float8, null::float8 from saved s " \
    "union all select * from (select 1::int2, p.topic, null, null, null, null, p.pending::int8, "  \
    "(p.held * f.x)::int8, (p.dead * f.x)::int8, extract(epoch from now() - p.due_at)::float8, "    \
    "extract(epoch from now() - p.behind_at)::float8 "                                             \
    "from per_topic p cross join factor f order by p.pending + p.held + p.dead desc, p.topic) t "  \
    "union all select 2::int2, k.state, null, null, null, null, (count(*) * f.x)::int8, null, null, null, null " \
    "from kept k cross join factor f group by k.state, f.x "                                       \
    "union all select * from (select 3::int2, h.topic, h.state, h.error_code, h.error, e.event_id::text, h.id, h.attempts::int8, " \
    "null::int8, extract(epoch from now() - coalesce(h.first_error_at, e.created_at))::float8, "   \
    "extract(epoch from nullif(h.next_attempt_at, 'infinity') - now())::float8 from shown h "      \
    "left join lateral (select v.event_id, v.created_at from outbox.event v where v.id = h.id limit 1) e on true " \
    "order by h.state <> 'dead', h.id limit 10) r "                                                \
    "union all select * from (select 4::int2, coalesce(b.prepared, b.application), b.username::text, null, null, null, b.pid::int8, " \
    "b.holds_rows::int::int8, b.holds_truncate::int::int8, extract(epoch from b.age)::float8, null::float8 " \
    "from block b order by b.age desc nulls last limit 10) l "                                     \
    "union all select 5::int2, p.part, null, null, null, null, p.bytes, null, null, null, null "   \
    "from (" SQL_SIZES ") p"

#define SQL_PREPARE_FIGURES "prepare outbox_figures as " SQL_FIGURES "; "

#endif
