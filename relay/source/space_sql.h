/* space_sql.h - what the outbox takes on disk, and how old its buckets are: pieces of statements that the
 * relay, its janitor and the commands share. See buckets_sql.h and figures_sql.h.
 */
#ifndef RELAY_SOURCE_SPACE_SQL_H
#define RELAY_SOURCE_SPACE_SQL_H

/* Rows of part ('0' to '7', 'kept', 'held') and bytes: events and marks with their indexes and what is stored
 * out of line. It is the file system that is asked, for some 80 files: 2 ms. */
#define SQL_SIZES                                                                                  \
    "select coalesce(substring(c.relname from '_(.+)$'), c.relname) as part, "                     \
    "sum(pg_total_relation_size(c.oid))::int8 as bytes from pg_catalog.pg_class c "                \
    "where c.oid in (select i.inhrelid from pg_catalog.pg_inherits i "                             \
    "where i.inhparent in ('outbox.event'::regclass, 'outbox.sent'::regclass) "                    \
    "union all select 'outbox.held'::regclass) group by 1"

/* The newest event of a bucket is looked for among so many of its highest ids, and one of each of so many of its last
 * transactions. An event of a lower id was appended earlier, and so its transaction had begun earlier than that; but
 * those of the highest ids may be of a long transaction, whose events are as old as its beginning. */
#define LOOK_ROWS "1000"
#define LOOK_TRANSACTIONS "100"

#define SQL_LAST_OF(bucket, columns, and_where)                                                    \
    "select e.xid, e.created_at, " columns " from outbox.event e where e.bucket = " bucket and_where \
    " order by e.xid desc, e.id desc limit 1"

/* When the newest event of the bucket was appended; NULL: it is empty. */
#define SQL_NEWEST_IN(bucket)                                                                      \
    "(select max(l.created_at) as created_at from (select i.created_at from "                      \
    "(select e.created_at from outbox.event e "                                                    \
    "where e.bucket = " bucket " order by e.id desc limit " LOOK_ROWS ") i union all "             \
    "select t.created_at from (with recursive t as ((" SQL_LAST_OF(bucket, "1 as n", "") ") "      \
    "union all select x.* from t cross join lateral ("                                             \
    SQL_LAST_OF(bucket, "t.n + 1", " and e.xid < t.xid") ") x where t.n < " LOOK_TRANSACTIONS ") " \
    "select t.created_at from t) t) l)"

#endif
