/* operate_status_sql.h - the statements of operate_status.c. */
#ifndef RELAY_SOURCE_OPERATE_STATUS_SQL_H
#define RELAY_SOURCE_OPERATE_STATUS_SQL_H

#include "relay/source/operate_sql.h"
#include "relay/source/schema.h"
#include "relay/source/space_sql.h"

#define SQL_SECONDS(interval) "extract(epoch from " interval ")::float8"

/* The last marks are those of the highest ids, near enough: the rate is that of the last ten seconds, or
 * of 10,000 marks when these were less. The last expression looks for the first event behind the saved
 * cursor that nobody has taken up: the cursor stands before the first unsettled one, so that is near.
 * Then an id that two events have, where the relay reads next; and how far the sequence of the ids is below what was
 * sent or held. Ranges have two ends for the planner's sake, see outbox.backlog_now. */
#define SQL_LEAD                                                                                   \
    "with saved as materialized (select r.* from (select name, owner, lease_expires_at, "          \
    "renewed_at, epoch, cursor_id, leading_since from outbox.relay) r where r.name = 'default'), "                \
    "marks as materialized (select m.sent_at from outbox.sent m "                                  \
    "order by m.id desc limit 10000), "                                                            \
    "due as materialized (select h.id, h.error_code from (select id, bucket, state, error_code, next_attempt_at " \
    "from outbox.held where next_attempt_at is not null order by next_attempt_at limit 1000) h "   \
    "where h.state = 'retrying' and h.error_code is not null and not exists (select from outbox.sent s " \
    "where s.bucket = h.bucket and s.id = h.id)) "                                                 \
    "select r.owner, " SQL_SECONDS("r.lease_expires_at - clock_timestamp()") ", "                  \
    SQL_SECONDS("clock_timestamp() - r.renewed_at") ", r.epoch, "                                  \
    "(select case when count(*) = 10000 and min(m.sent_at) > clock_timestamp() - interval '10 s' "  \
    "then 10000 / greatest(0.1, " SQL_SECONDS("clock_timestamp() - min(m.sent_at)") ") else "       \
    "count(*) filter (where m.sent_at > clock_timestamp() - interval '10 s') / 10.0 end "          \
    "from marks m), "                                                                              \
    "(select " SQL_SECONDS("clock_timestamp() - max(m.sent_at)") " from marks m), "                \
    "(select " SQL_SECONDS("now() - greatest(e.created_at, e.available_at)") " from ("             \
    "select e.* from (select id, bucket, created_at, available_at from outbox.event) e "           \
    "where e.id > r.cursor_id and e.id <= 9223372036854775807 order by e.id limit 100000) e "      \
    "where (e.available_at is null or e.available_at <= now()) "                                   \
    "and not exists (select from outbox.sent s where s.bucket = e.bucket and s.id = e.id) "        \
    "and not exists (select from outbox.held h where h.id = e.id) limit 1), "                      \
    "pg_is_in_recovery(), "                                                                        \
    "(select count(*) from due d), (select d.error_code from due d order by d.id limit 1), "       \
    SQL_SECONDS("clock_timestamp() - r.leading_since") ", coalesce((select min(d.id) from due d), 0), " \
    "(select s.reset_val = 'on' from pg_catalog.pg_settings s where s.name = 'default_transaction_read_only'), " \
    "coalesce((select e.id from (select e.id, lag(e.id) over (order by e.id) as before from ("      \
    "select id from outbox.event where id > r.cursor_id and id <= 9223372036854775807 order by id limit 20000) e) e " \
    "where e.id = e.before and (select true from outbox.sent s where s.id = e.id limit 1) is null " \
    "and (select true from outbox.held h where h.id = e.id limit 1) is null order by e.id limit 1), 0), " \
    "case when " SQL_SEQUENCE_IS_SEEN " then greatest((select max(s.id) from outbox.sent s), "      \
    "(select max(h.id) from outbox.held h), 0) - coalesce((select s.last_value from " SQL_SEQUENCE "), 0) else 0 end " \
    "from (select 1) one left join saved r on true"

/* Each relay that is connected, by its lock (SQL_CONNECTED), and whether it is the one that leads. One that stands by asks for
 * the lease every second, on that connection. A role that may not see the words of others has NULL for all but that. */
#define SQL_RELAYS                                                                                 \
    "select coalesce(k.pid = (select r.pid from (select name, owner, pid from outbox.relay) r "    \
    "where r.name = 'default' and r.owner is not null), false), "                                  \
    "case when a.state is not null then coalesce(host(a.client_addr) || ':' || a.client_port, 'a local socket') end, " \
    "case when a.state = 'active' then 0 else " SQL_SECONDS("clock_timestamp() - a.state_change") " end " \
    "from (select l.pid from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 2 " \
    "and (l.classid::bigint, l.objid::bigint) = (" SQL_CONNECTED_KEY ") and l.database = "         \
    "(select d.oid from pg_catalog.pg_database d where d.datname = current_database())) k "        \
    "left join pg_catalog.pg_stat_activity a on a.pid = k.pid order by a.backend_start, k.pid"

/* Why the first paused row of the topic of x is paused. */
#define SQL_PAUSED(x)                                                                              \
    " left join lateral (select h.error_code, h.error from outbox.held h where h.topic = " x       \
    ".topic and h.state = 'paused' order by h.id + 0 limit 1) p on true "

/* $1: so many topics at most. */
#define SQL_BACKLOG                                                                                \
    "select b.topic, b.pending, b.held, b.dead, " SQL_SECONDS("b.oldest_age") ", p.error_code, "   \
    "p.error, false from outbox.backlog b" SQL_PAUSED("b")                                         \
    "order by b.oldest_age desc nulls last, b.topic limit $1::bigint"

/* When that takes too long, because very much waits: of what waits only the first 100,000 events are
 * counted. */
#define SQL_BACKLOG_PART                                                                           \
    "with part as materialized (select e.topic, e.bucket, e.id, "                                  \
    "greatest(e.created_at, e.available_at) as due_at from outbox.event e "                        \
    "where e.id > (select r.cursor_id from outbox.relay r where r.name = 'default') "              \
    "and e.id <= 9223372036854775807 order by e.id limit 100000), "                                \
    "waits as (select p.topic, 1 as pending, 0 as held, 0 as dead, p.due_at from part p "          \
    "where not exists (select from outbox.sent s where s.bucket = p.bucket and s.id = p.id) "      \
    "and not exists (select from outbox.held h where h.id = p.id) union all "                      \
    "select h.topic, 0, (h.state <> 'dead')::int, (h.state = 'dead')::int, null "                  \
    "from (select h.* from (select id, bucket, topic, state from outbox.held) h "                  \
    "where h.state <> 'discarded' order by h.id limit 100000) h where not exists "                 \
    "(select from outbox.sent s where s.bucket = h.bucket and s.id = h.id)), "                     \
    "sums as (select w.topic, sum(w.pending) as pending, sum(w.held) as held, sum(w.dead) as dead, " \
    "now() - min(w.due_at) filter (where w.due_at <= now()) as oldest_age from waits w group by 1) " \
    "select b.topic, b.pending, b.held, b.dead, " SQL_SECONDS("b.oldest_age") ", p.error_code, "   \
    "p.error, true from sums b" SQL_PAUSED("b")                                                    \
    "order by b.oldest_age desc nulls last, b.topic limit $1::bigint"

#define SQL_KEEPS_WRITERS_OUT "('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"

/* A prepared transaction has no process; its lock on its own id tells which one it is. */
#define SQL_PREPARED_AS(gid)                                                                       \
    "select x.virtualtransaction from pg_catalog.pg_prepared_xacts p join pg_catalog.pg_locks x "  \
    "on x.transactionid = p.transaction and x.locktype = 'transactionid' and x.pid is null where p.gid = " gid

/* A relay's own transactions are over in a moment; one that is seen to last is told like any. */
#define SQL_BLOCKERS                                                                               \
    "select coalesce(b.pid, 0), b.prepared, b.username, b.application, " SQL_SECONDS("b.age") ", " \
    "b.holds_rows, b.holds_truncate, b.leaves, "                                                   \
    "case when b.age is null and b.username <> current_user then " SQL_GRANT_STATS " end, " \
    "exists (select from pg_catalog.pg_locks l join pg_catalog.pg_inherits i on i.inhrelid = l.relation " \
    "where (l.pid = b.pid or l.virtualtransaction = (" SQL_PREPARED_AS("b.prepared") ")) "         \
    "and l.granted and l.locktype = 'relation' and l.mode in " SQL_KEEPS_WRITERS_OUT               \
    " and i.inhparent = to_regclass('outbox.sent') and l.database = "                              \
    "(select d.oid from pg_catalog.pg_database d where d.datname = current_database())) from outbox.blocker b " \
    "where not coalesce(b.application = 'outbox-relay' and coalesce(b.age < interval '1 minute', true), false) " \
    "order by b.age desc nulls last, b.pid limit $1::bigint"

/* $1: the retention in ms; 0: for ever. Behind the cursor only so many events of a bucket are looked at. */
#define SQL_SPACE                                                                                  \
    "with part as materialized (" SQL_SIZES "), "                                                  \
    "bucket as materialized (select b.bucket::smallint, now() - n.created_at - $1::bigint * interval '1 ms' as overdue " \
    "from generate_series(0, 7) b (bucket) cross join lateral " SQL_NEWEST_IN("b.bucket") " n "    \
    "where $1::bigint > 0 and n.created_at < now() - $1::bigint * interval '1 ms'), "              \
    "block as materialized (select * from outbox.blocker b where b.holds_truncate "                \
    "and exists (select from bucket)) "                                                            \
    "select p.part, p.bytes, " SQL_SECONDS("b.overdue") ", u.id, h.n > 10000, l.leaves is not null, " \
    "coalesce(l.pid, 0), l.prepared, l.application, " SQL_SECONDS("l.age") " from part p "         \
    "left join bucket b on b.bucket::text = p.part "                                               \
    "left join lateral (select e.id from (select e.id, e.bucket from outbox.event e where e.bucket = b.bucket " \
    "and e.id > (select r.cursor_id from outbox.relay r where r.name = 'default') "                \
    "and e.id <= 9223372036854775807 order by e.id limit 100000) e "                               \
    "where not exists (select from outbox.sent s where s.bucket = e.bucket and s.id = e.id) "      \
    "and not exists (select from outbox.held h where h.id = e.id) order by e.id limit 1) u on true " \
    "left join lateral (select count(*) as n from (select from outbox.held h where h.bucket = b.bucket " \
    "and h.state <> 'discarded' limit 10001) h) h on true "                                        \
    "left join lateral (select * from block k where k.leaves && array['event_' || b.bucket, 'sent_' || b.bucket] " \
    "order by k.age desc nulls last limit 1) l on true order by p.bytes desc, p.part"

#endif
