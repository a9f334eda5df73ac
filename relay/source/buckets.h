/* buckets.h - what the janitor asks the database. Used inside source/ only; see source.h. */
#ifndef RELAY_SOURCE_BUCKETS_H
#define RELAY_SOURCE_BUCKETS_H

#include <libpq-fe.h>

struct source;

/* Answers of the aside; NULL: the request failed. Each becomes an event. */
void buckets_on_look(struct source *s, const PGresult *res);

/* How long ago the newest event of each bucket was appended, as far as the highest id tells; an empty
 * bucket has no row. Then for how long the ring takes events to one bucket: NULL when the default of
 * outbox.event.bucket is not of set_bucket_period's making. */
#define SQL_LOOK                                                                                   \
    "select b.bucket::smallint, greatest(0, floor(extract(epoch from now() - e.created_at) * 1000))::bigint, " \
    "substring((select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d "              \
    "join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum "             \
    "where d.adrelid = 'outbox.event'::regclass and a.attname = 'bucket') from '/ (\\d+)')::bigint " \
    "from generate_series(0, 7) b (bucket) cross join lateral (select e.created_at "               \
    "from outbox.event e where e.bucket = b.bucket order by e.id desc limit 1) e"

#define SQL_PREPARE_BUCKETS "prepare outbox_look as " SQL_LOOK "; "

#endif
