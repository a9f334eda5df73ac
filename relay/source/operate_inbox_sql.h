/* operate_inbox_sql.h - the statements of operate_inbox.c. What only looks reads the views, which inbox_monitor
 * may; they leave the contents of events out. */
#ifndef RELAY_SOURCE_OPERATE_INBOX_SQL_H
#define RELAY_SOURCE_OPERATE_INBOX_SQL_H

#include "relay/source/operate_sql.h"

#define SQL_AGE(column) "extract(epoch from clock_timestamp() - " column ")::float8"

/* libinbox names its sessions like this, unless the application names them otherwise. A dead letter that nobody decided
 * about was last changed when the transaction began in which it died: so where that is later, no event was applied
 * since, nor beside it. */
#define SQL_CONSUMERS                                                                              \
    "select p.consumer, justify_hours(p.dedupe_keep), p.partitions, p.owned, p.owners, "                          \
    SQL_AGE("p.last_moved_at") ", p.dead, p.retry, " SQL_AGE("p.oldest_dead_at")                   \
    ", exists (select from pg_catalog.pg_stat_activity a where a.datname = current_database() "    \
    "and a.application_name = left('inbox ' || p.consumer, 63)), " SQL_AGE("p.last_applied_at")    \
    ", u.n, " SQL_AGE("u.oldest") ", l.error_code, left(l.error, 500), "                           \
    SQL_AGE("greatest(p.started_at, p.last_moved_at)") " from inbox.progress p "                    \
    "cross join lateral (select count(*) as n, min(d.died_at) as oldest, max(d.id) as last from inbox.dead_letter d " \
    "where d.consumer = p.consumer and d.state = 'dead' "                                          \
    "and (p.last_applied_at is null or d.changed_at > p.last_applied_at)) u "                      \
    "left join inbox.dead_letter l on l.id = u.last order by p.consumer"

/* Those that have started here, and those that only dead letters are left of. */
#define SQL_CONSUMER_NAMES                                                                         \
    "select p.consumer from inbox.progress p union select d.consumer from inbox.dead_letter d order by 1"

/* A consumer may have rows that never end failing, and apply others: then the later ones tell. */
#define SQL_FAILING                                                                                \
    "select p.consumer, p.failing, " SQL_AGE("p.oldest_failing_at")                                \
    ", p.last_applied_at is null or p.last_applied_at < p.oldest_failing_at, "                     \
    SQL_AGE("(select min(g.first_begun_at) from inbox.failing g where g.consumer = p.consumer "    \
            "and (p.last_applied_at is null or g.first_begun_at > p.last_applied_at))")            \
    ", f.topic, f.kafka_partition, f.kafka_offset, f.event_id, f.attempts, left(f.error_code, 5), " \
    "left(f.error, 500), " SQL_AGE("f.last_failed_at")                                             \
    ", extract(epoch from f.next_attempt_at - clock_timestamp())::float8 "                         \
    "from inbox.progress p cross join lateral (select * from inbox.failing l "                     \
    "where l.consumer = p.consumer order by l.last_failed_at desc nulls last, l.attempts desc limit 1) f " \
    "order by p.consumer"

#define SQL_POSITIONS                                                                              \
    "select p.consumer, p.topic, p.kafka_partition, coalesce(p.next_offset, -1), p.owner, "        \
    SQL_AGE("p.moved_at") " from inbox.position p order by p.consumer, p.topic, p.kafka_partition"

/* $1 states, $2 ids, $3 consumer, $4 topic (NULL: any), ids up to $5. */
#define SQL_LETTERS_CHOSEN                                                                         \
    "d.state = any ($1::text[]) and ($2::bigint[] is null or d.id = any ($2)) "                    \
    "and ($3::text is null or d.consumer = $3) and ($4::text is null or d.topic = $4) "            \
    "and d.id <= $5::bigint"

#define SQL_LETTER_COLUMNS                                                                         \
    "d.id, d.consumer, d.topic, d.kafka_partition, d.kafka_offset, d.event_id, d.type, d.state, "  \
    "d.reason, d.attempts, d.error_code, d.error, " SQL_TIME("d.died_at") ", d.discard_reason"

/* $6: so many at most. */
#define SQL_LETTERS                                                                                \
    "select " SQL_LETTER_COLUMNS ", null from inbox.dead_letter d where " SQL_LETTERS_CHOSEN       \
    " order by d.id limit $6::bigint"

#define SQL_LETTER_TOTALS                                                                          \
    "select d.consumer, d.topic, d.state, count(*), max(d.id) from inbox.dead_letter d where "     \
    SQL_LETTERS_CHOSEN " group by 1, 2, 3 order by 1, 2, 3"

/* $7: the reason to discard, NULL to retry. What it changed does not match again, or has an id above the
 * batch's: $8 is the highest of the one before. FOR UPDATE waits for a consumer that is calling its handler
 * with one of them, and finds it gone or dead again. A caller that a decided one still names has ended long ago.
 * Only columns that inbox_operator may read are named. */
#define SQL_LETTERS_CHANGE                                                                         \
    "with found as materialized (select d.id, d.state as was from inbox.dead d where "             \
    SQL_LETTERS_CHOSEN " and d.id > $8::bigint order by d.id limit $6::bigint for update), "       \
    "d as (update inbox.dead u set state = case when $7::text is null then 'retry' else 'discarded' end, " \
    "discard_reason = $7::text, changed_at = clock_timestamp(), "                                  \
    "called_by = case when f.was = 'retry' then u.called_by end from found f where u.id = f.id "   \
    "returning u.id, u.consumer, u.topic, u.kafka_partition, u.kafka_offset, u.event_id, u.type, " \
    "u.state, u.reason, u.attempts, u.error_code, u.error, u.died_at, u.discard_reason, f.was) "   \
    "select " SQL_LETTER_COLUMNS ", d.was from d order by d.id"

#endif
