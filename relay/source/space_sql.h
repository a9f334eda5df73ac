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

/* Among so many events of a bucket the newest is looked for, from the highest id downwards. All in a bucket
 * are of one period of the ring, or of few: an id that is much lower is not of a much later time. */
#define LOOK_ROWS "1000"

/* When the newest event of the bucket was appended; NULL: it is empty. */
#define SQL_NEWEST_IN(bucket)                                                                      \
    "(select max(l.created_at) as created_at from (select e.created_at from outbox.event e "       \
    "where e.bucket = " bucket " order by e.id desc limit " LOOK_ROWS ") l)"

#endif
