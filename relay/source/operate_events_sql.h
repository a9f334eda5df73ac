/* operate_events_sql.h - the statements of operate_events.c. */
#ifndef RELAY_SOURCE_OPERATE_EVENTS_SQL_H
#define RELAY_SOURCE_OPERATE_EVENTS_SQL_H

#include "relay/source/sql.h"

/* $1 and $2 as a person gives them. */
#define SQL_TIME_OF(p)                                                                             \
    "case when " p "::text ~ '^[0-9]+ ?(s|m|min|h|d)$' then now() - (" p "::text)::interval "      \
    "else (" p "::text)::timestamptz end"
#define SQL_TIMES                                                                                  \
    "select " SQL_TIME_OF("$1") "::text, " SQL_TIME_OF("$2") "::text, " SQL_TIME("now()") ", "    \
    SQL_TIME_OF("$1") " >= " SQL_TIME_OF("$2")

/* Which ids there are, and of those marked from $1 to $2 which. There is no index on the time: all marks
 * are read, which are narrow. */
#define SQL_ENDS "select coalesce(min(e.id), 1), coalesce(max(e.id), 0) from outbox.event e"
#define SQL_ENDS_OF_TIMES                                                                          \
    "select coalesce(min(s.id), 1), coalesce(max(s.id), 0) from outbox.sent s where "              \
    "($1::timestamptz is null or s.sent_at >= $1) and ($2::timestamptz is null or s.sent_at < $2)"

/* $1 above, $2 up to, $3 topic, $4 key, $5 since, $6 until, $7 rows and $8 bytes at most. Looks at the
 * next $9 ids. Row 0 has the last of these as its id; the others are pages of page.c with partition
 * and offset behind them, and of an event that is not sent nothing but the id. */
#define SQL_WALK                                                                                   \
    "with seen as materialized (select e.id, e.bucket, e.topic, e.key from outbox.event e "        \
    "where e.id > $1::bigint and e.id <= $2::bigint order by e.id limit $9::bigint), "              \
    "meant as materialized (select n.id, n.bucket, m.sent_at, m.kafka_partition, m.kafka_offset "  \
    "from seen n left join lateral (select s.sent_at, s.kafka_partition, s.kafka_offset "          \
    "from outbox.sent s where s.bucket = n.bucket and s.id = n.id limit 1) m on true "             \
    "where ($3::text is null or n.topic = $3) and ($4::bytea is null or n.key = $4) "              \
    "and ($5::timestamptz is null or m.sent_at >= $5) and ($6::timestamptz is null or m.sent_at < $6) " \
    "order by n.id limit $7::bigint), "                                                            \
    "sized as (select m.id as mark_id, m.kafka_partition, m.kafka_offset, x.*, "                   \
    "sum(coalesce(x.size, 64)) over (order by m.id) - coalesce(x.size, 64) as before "             \
    "from meant m left join lateral (select " SQL_COLUMNS ", " SQL_SIZE " as size from outbox.event e " \
    "where e.bucket = m.bucket and e.id = m.id and m.sent_at is not null limit 1) x on true) "     \
    "select null::pg_snapshot, (select max(id) from seen), null::smallint, "                       \
    "null::uuid, null::timestamptz, null::int, null::text, null::bytea, null::text, null::text, "  \
    "null::bytea, null::json, null::bigint, null::bool, null::int, null::bigint "                 \
    "union all (select null, e.mark_id, e.bucket, e.event_id, e.created_at, e.schema_version, "    \
    "e.topic, e.key, e.type, e.content_type, e.payload, e.headers, null, "                         \
    "e.before + e.size >= $8::bigint, e.kafka_partition, e.kafka_offset from sized e "             \
    "where e.before < $8::bigint order by e.mark_id)"

/* The next event of that walk, $1 and $2 as there, without what may not be read. */
#define SQL_WALK_STUB                                                                              \
    "select null::pg_snapshot, e.id, e.bucket, e.event_id, e.created_at, e.schema_version, e.topic, " \
    "null::bytea, ''::text, null::text, null::bytea, null::json, null::bigint, null::bool, "      \
    "m.kafka_partition, m.kafka_offset from (select e.id, e.bucket, e.event_id, e.created_at, "    \
    "e.schema_version, e.topic from outbox.event e "                                               \
    "where e.id > $1::bigint and e.id <= $2::bigint order by e.id limit 1) e "                     \
    "left join lateral (select s.kafka_partition, s.kafka_offset from outbox.sent s "              \
    "where s.bucket = e.bucket and s.id = e.id limit 1) m on true"

/* The first event with an id of at least $1, and when it was appended, in ms. */
#define SQL_PROBE                                                                                  \
    "select e.id, (extract(epoch from e.created_at) * 1000)::bigint from outbox.event e "          \
    "where e.id >= $1::bigint and e.id <= 9223372036854775807 order by e.id limit 1"
#define SQL_FIND_NEAR                                                                              \
    "select e.id from (select e.id, e.event_id from outbox.event e where e.id >= $2::bigint "      \
    "and e.id <= $3::bigint order by e.id) e where e.event_id = $1::uuid limit 1"
#define SQL_FIND_ANYWHERE "select e.id from outbox.event e where e.event_id = $1::uuid limit 1"

/* $1 the id. An id that this cluster has not reached came from another one, which alone knew the commit. */
#define SQL_STORY                                                                                  \
    "with one as materialized (select e.* from outbox.event e where e.id = $1::bigint limit 1), "  \
    "mark as materialized (select s.* from one e cross join lateral (select s.sent_at, "           \
    "s.kafka_partition, s.kafka_offset from outbox.sent s where s.bucket = e.bucket "              \
    "and s.id = e.id limit 1) s), "                                                                \
    "why as materialized (select h.* from outbox.held h where h.id = $1::bigint), "                \
    "next as materialized (select n.id, n.bucket from one e cross join lateral ("                  \
    "select l.id, l.bucket, l.topic, l.key from outbox.event l where l.id > $1::bigint "           \
    "and l.id <= 9223372036854775807 order by l.id limit 20000) n "                                \
    "where n.topic = e.topic and n.key = e.key), "                                                 \
    "front as materialized (select f.id, f.state from one e cross join lateral ("                  \
    "select f.id, f.state from outbox.held f where " SQL_SAME_KEY("f", "e") " and f.id < e.id "    \
    "and (" SQL_LIVE("f") ") " SQL_NOT_SENT("f") " union all select f.id, f.state "                \
    "from outbox.held f where " SQL_SAME_KEY("f", "e") " and f.id < e.id and " SQL_DEAD("f")       \
    SQL_NOT_SENT("f") " order by 1 limit 1) f) "                                                   \
    "select e.id, e.event_id, e.topic, e.key, " SQL_SENDABLE("e.type") ", case when m.sent_at is not null then 'sent' " \
    "when h.id is not null then h.state when e.available_at > now() then 'scheduled' "             \
    "else 'pending' end, coalesce(h.attempts, 0), " SQL_TIME("h.next_attempt_at") ", "             \
    SQL_TIME("h.first_error_at") ", h.error_code, h.error, coalesce(h.maybe_delivered, false), "   \
    SQL_TIME("e.created_at") ", " SQL_TIME("e.available_at") ", " SQL_TIME("m.sent_at") ", "       \
    SQL_TIME("clock_timestamp()") ", e.xid, "                                                      \
    "current_setting('track_commit_timestamp') = 'on' and "                                        \
    "e.xid < pg_snapshot_xmax(pg_current_snapshot()), "                                            \
    "e.bucket, coalesce(octet_length(e.payload), -1), coalesce(json_array_length(e.headers), 0), " \
    "e.schema_version, coalesce(m.kafka_partition, -1), coalesce(m.kafka_offset, -1), "            \
    "extract(epoch from coalesce(m.sent_at, clock_timestamp()) - "                                 \
    "least(greatest(e.created_at, e.available_at), now() + interval '100 years'))::float8, "       \
    "coalesce((select f.id from front f), 0), (select f.state from front f), "                     \
    "(select count(*) from next), (select count(*) from next n where "                             \
    "(select true from outbox.sent s where s.bucket = n.bucket and s.id = n.id limit 1)), "        \
    "(select count(*) from (select 1 from outbox.event l where l.id > $1::bigint "                 \
    "and l.id <= 9223372036854775807 order by l.id limit 20000) l) "                               \
    "from one e left join mark m on true left join why h on true"

/* Only where commit times are kept, or it is an error. */
#define SQL_COMMITTED                                                                              \
    "select " SQL_TIME("pg_xact_commit_timestamp(e.xid::xid)") " from outbox.event e "             \
    "where e.id = $1::bigint limit 1"

#endif
