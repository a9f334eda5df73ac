/* buckets_sql.h - what the janitor asks, as text: how old the buckets are, is all in one of them resolved,
 * empty it, tidy what was kept. Used by aside.c only; see sql.h for the session.
 *
 * Resolved is an event that is in outbox.sent, or that outbox.held names: the emptying keeps it then, unless
 * a person has discarded it.
 */
#ifndef RELAY_SOURCE_BUCKETS_SQL_H
#define RELAY_SOURCE_BUCKETS_SQL_H

#include "relay/source/space_sql.h"
#include "relay/source/sql.h"

/* How long ago the newest event of each bucket was appended; an empty bucket has no row. Then for how long
 * the ring takes events to one bucket: NULL when the default of outbox.event.bucket is not of
 * set_bucket_period's making. */
#define SQL_LOOK                                                                                   \
    "select b.bucket::smallint, "                                                                  \
    "greatest(0, floor(extract(epoch from now() - n.created_at) * 1000))::bigint, "                \
    "substring((select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d "              \
    "join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum "             \
    "where d.adrelid = 'outbox.event'::regclass and a.attname = 'bucket') from '/ ([0-9]+)')::bigint " \
    "from generate_series(0, 7) b (bucket) cross join lateral " SQL_NEWEST_IN("b.bucket") " n "    \
    "where n.created_at is not null"

/* $1 the id behind which to look, $2 how many events to look at. Row 0: this statement's snapshot, the last
 * id that was looked at (NULL: there were none), how many there were, the first that is not resolved (NULL:
 * all are). Then the ids that are not in sent and in held.
 * Each in its leaf: the indexes alone are read then, a twentieth of what the events take. */
#define SQL_WALK(bucket)                                                                           \
    "with piece as materialized (select e.id from outbox.event_" bucket " e where e.id > $1 "      \
    "order by e.id limit $2), "                                                                    \
    "rest as materialized (select p.id, coalesce((select true from outbox.held h "                 \
    "where h.id = p.id limit 1), false) as held from piece p "                                     \
    "where (select true from outbox.sent_" bucket " s where s.id = p.id limit 1) is null) "        \
    "select pg_current_snapshot(), (select max(id) from piece), (select count(*) from piece), "    \
    "(select min(id) from rest where not held), null::bigint "                                     \
    "union all select null, null, null, null, id from rest where held"

/* $1 bucket, $2 epoch, $3 retention in ms, $4 the snapshot of the first piece, $5 all ids in held. */
#define SQL_EMPTY                                                                                  \
    "select outcome, moved, bytes, pid, prepared, application, "                                   \
    "floor(extract(epoch from age) * 1000)::bigint "                                               \
    "from outbox.empty_bucket($1, $2, $3 * interval '1 ms', $4, $5)"

/* Kept events leave one by one: when they are old, and were sent and left held, or were discarded. $1 epoch,
 * $2 retention in ms, $3 the id behind which to look, $4 how many to look at. One row: whether the epoch is
 * ours, the last id that was looked at, how many there were, how many went. A row of held that somebody has
 * locked is left for the next time, and its event with it. */
#define SQL_TIDY                                                                                   \
    "with fence as materialized (select from outbox.relay where name = 'default' and epoch = $1 "  \
    "for share), "                                                                                 \
    "piece as materialized (select e.id, e.created_at from outbox.event_kept e cross join fence "  \
    "where e.id > $3 order by e.id limit $4), "                                                    \
    "given_up as materialized (select h.id from outbox.held h where h.id = any (array("            \
    "select p.id from piece p where p.created_at <= now() - $2 * interval '1 ms')) "               \
    "and h.state = 'discarded' order by h.id for update skip locked), "                            \
    "old as materialized (select g.id from given_up g union all "                                  \
    "select p.id from piece p where p.created_at <= now() - $2 * interval '1 ms' "                 \
    "and (select true from outbox.held h where h.id = p.id limit 1) is null "                      \
    "and (select true from outbox.sent_kept s where s.id = p.id limit 1)), "                       \
    "forgotten as (delete from outbox.held h using given_up g where h.id = g.id), "                \
    "unmarked as (delete from outbox.sent_kept s using old o where s.id = o.id), "                 \
    "gone as (delete from outbox.event_kept e using old o where e.id = o.id returning e.id) "      \
    "select exists (select from fence), (select max(id) from piece), (select count(*) from piece), " \
    "(select count(*) from gone)"

#define SQL_PREPARE_WALK(bucket) SQL_PREPARE("outbox_walk_" bucket, "bigint, bigint", SQL_WALK(bucket))

#define SQL_PREPARE_BUCKETS                                                                        \
    "prepare outbox_look as " SQL_LOOK "; "                                                        \
    SQL_PREPARE_WALK("0") SQL_PREPARE_WALK("1") SQL_PREPARE_WALK("2") SQL_PREPARE_WALK("3")        \
    SQL_PREPARE_WALK("4") SQL_PREPARE_WALK("5") SQL_PREPARE_WALK("6") SQL_PREPARE_WALK("7")        \
    SQL_PREPARE("outbox_empty", "smallint, bigint, bigint, pg_snapshot, bigint[]", SQL_EMPTY)      \
    SQL_PREPARE("outbox_tidy", "bigint, bigint, bigint, bigint", SQL_TIDY)

#endif
