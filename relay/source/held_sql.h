/* held_sql.h - the statements about outbox.held, as text. Used by setup.c only; see sql.h for the session
 * that they run in.
 *
 * A key's group is what is held of one (topic, key): live rows (retrying, blocked) and, unless dead rows
 * are skipped, dead ones. Its rows go in order of id. The first row of a group that is not dead has
 * next_attempt_at, or gets it by the transaction that takes away the row in front of it. Everything here
 * finds a group's first row by one probe of held_key_idx (live) or held_dead_idx: the conditions must
 * name the states as those indexes do.
 *
 * Locks: where several rows of held are waited for, it is in order of id, so that the relay and the
 * commands do not wait for each other in a circle.
 */
#ifndef RELAY_SOURCE_HELD_SQL_H
#define RELAY_SOURCE_HELD_SQL_H

#include "relay/source/sql.h"

#define SQL_LIVE(h) h ".key is not null and " h ".state in ('retrying', 'blocked')"
#define SQL_OF_GROUP(h, g) h ".topic = " g ".topic and sha256(" h ".key) = " g ".digest"

/* In order of id: the group's indexes end with id + 0, and only they have this order. For `order by id` the
 * primary key would do as well, and the planner takes it when it believes that most rows are of the group,
 * and then reads all those in front that are not. */
#define SQL_BY_ID(h) " order by " h ".id + 0 "

/* The janitor may have moved a held event to event_kept since we read its bucket. */
#define SQL_BUCKET_OF(u) "any (array[" u ".bucket, -1::smallint])"

/* One event by its id, in a lateral subquery. As a range in order, for only event_id_idx has this order: while
 * a leaf is empty the planner finds (xid, id) as good, which it is not once the leaf has filled. */
#define SQL_EVENT(columns, bucket_is, id_is)                                                       \
    "(select " columns " from outbox.event e where e.id >= " id_is " and e.id <= " id_is           \
    " and e.bucket = " bucket_is " order by e.id limit 1)"

/* Is there a row? Where it is not a condition of its own (in `or`, in `case`) the planner may turn `exists`
 * into a hash of the whole table; this stays one probe. */
#define SQL_ANY(from_where) "coalesce((select true " from_where " limit 1), false)"

/* In outbox.sent already: whatever held says, it is sent. */
#define SQL_IS_SENT(e)                                                                             \
    SQL_ANY("from outbox.sent s where s.bucket = " e ".bucket and s.id = " e ".id")

/* -- writing -------------------------------------------------------------------------------- */

/* That a relay writes. */
#define SQL_HOLD_COLUMNS                                                                           \
    "id, bucket, topic, key, state, attempts, next_attempt_at, maybe_delivered, first_error_at, error_code, error"

/* $1 epoch, $2 skip dead rows, $3.. the columns of held_arrays.h. One row: whether the epoch is ours still.
 * fence   waits for a takeover that is under way, and makes one that comes later wait for us
 * own     what held says of these rows, locked, as it is after any wait
 * seq     behind: an earlier row of the group is written by this very statement
 * front   the nearest earlier row of a blocked row's group, locked so that who wants to take it away must
 *         wait for us and then sees the new row. It is not waited for: a row that is being taken away
 *         counts as gone. Without a row in front the new one is due; should there be one after all, the
 *         reading of what is due passes it over until its turn. */
#define SQL_HOLD                                                                                   \
    "with fence as materialized (select from outbox.relay where name = 'default' and epoch = $1 "  \
    "for share), "                                                                                 \
    "own as materialized (select h.id, h.state from outbox.held h where h.id = any ($3) "          \
    "order by h.id for update), "                                                                  \
    "new as materialized ("                                                                        \
    "select u.*, e.bucket, e.topic, e.key, e.available_at, e.key is not null "                     \
    "and (u.state = 'retrying' or u.state = 'blocked' or (u.state = 'dead' and not $2)) as counts "\
    "from fence cross join unnest($3, $4, $5, $6, $7, $8, $9, $10, $11) "                               \
    "u (id, bucket_was, state, attempts, delay_ms, maybe, keyless, error_code, error) "            \
    "cross join lateral " SQL_EVENT("e.bucket, e.id, e.topic, case when not u.keyless then e.key end as key, "\
                                    "e.available_at", "any (array[u.bucket_was, -1::smallint])", "u.id") " e "\
    "where not " SQL_IS_SENT("e")                                                                  \
    " and u.id not in (select o.id from own o where o.state = 'discarded')), "                     \
    "seq as materialized (select n.*, coalesce(bool_or(n.counts) over (partition by n.topic, n.key "\
    "order by n.id rows between unbounded preceding and 1 preceding), false) as behind from new n), "\
    "ask as materialized (select s.id, s.topic, sha256(s.key) as digest from seq s "               \
    "where s.state = 'blocked' and s.key is not null and not s.behind), "                          \
    "front as materialized (select a.id from ask a "                                               \
    "left join lateral (select h.id from outbox.held h where "                               \
    SQL_OF_GROUP("h", "a") " and h.id + 0 < a.id and " SQL_LIVE("h")                                    \
    " and h.id not in (select n.id from new n)" SQL_BY_ID("h") "desc "                             \
    "limit 1 for share skip locked) l on true "                                                    \
    "left join lateral (select h.id from outbox.held h where not $2 and l.id is null "             \
    "and " SQL_OF_GROUP("h", "a") " and h.id + 0 < a.id and h.state = 'dead' "                          \
    "and h.id not in (select n.id from new n)" SQL_BY_ID("h") "desc "                              \
    "limit 1 for share skip locked) d on true "                                                    \
    "where l.id is not null or d.id is not null), "                                                \
    "put as (insert into outbox.held as h (" SQL_HOLD_COLUMNS ") "                                 \
    "select s.id, s.bucket, s.topic, s.key, s.state, s.attempts, case s.state "                    \
    "when 'retrying' then now() + s.delay_ms * interval '1 ms' "                                   \
    "when 'blocked' then case when not s.behind and s.id not in (select f.id from front f) "       \
    "then now() end "                                                                              \
    "when 'scheduled' then coalesce(s.available_at, now()) end, "                                  \
    "s.maybe, case when s.error_code is not null or s.error is not null then now() end, "          \
    "s.error_code, s.error from seq s order by s.id "                                              \
    "on conflict (id) do update set bucket = excluded.bucket, state = excluded.state, "            \
    "attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at, "                   \
    "maybe_delivered = h.maybe_delivered or excluded.maybe_delivered, "                            \
    "first_error_at = coalesce(h.first_error_at, excluded.first_error_at), "                       \
    "error_code = coalesce(excluded.error_code, h.error_code), "                                   \
    "error = coalesce(excluded.error, h.error) where h.state <> 'discarded') "                     \
    "select exists (select from fence)"
#define SQL_HOLD_TYPES                                                                             \
    "bigint, bool, bigint[], smallint[], text[], int[], bigint[], bool[], bool[], text[], text[]"

/* Behind the marks in their transaction: $1 ids, $2 buckets. The mark of an event that the janitor moved
 * meanwhile went to the leaf where it was; it belongs to where it is. NOT IN, which is a hash: a join, which is a nested
 * loop in these sessions, would compare each with each. */
#define SQL_UNHOLD                                                                                 \
    "with gone as materialized (select h.id, h.bucket from outbox.held h where h.id = any ($1) "   \
    "order by h.id for update skip locked), "                                                                  \
    "moved as (insert into outbox.sent (bucket, id) select g.bucket, g.id from gone g "            \
    "where (g.id, g.bucket) not in (select u.id, u.bucket from unnest($1, $2) u (id, bucket)) "    \
    "order by g.id on conflict do nothing) "                                                       \
    "delete from outbox.held h using gone g where h.id = g.id"

/* What should not be in held: $1 ids. A row that was sent leaves it. An event that is gone cannot be sent;
 * its row stays, for people to see. */
#define SQL_CLEAN                                                                                  \
    "with own as materialized (select h.id from outbox.held h where h.id = any ($1) "              \
    "order by h.id for update skip locked), "                                                                  \
    "sent as (delete from outbox.held h using own o where h.id = o.id and " SQL_IS_SENT("h") ") "  \
    "update outbox.held h set state = 'discarded', next_attempt_at = null, "                       \
    "error_code = 'EVENT_GONE', error = 'the event is no longer in outbox.event' "                 \
    "from own o where h.id = o.id and h.state <> 'discarded' and not " SQL_IS_SENT("h")            \
    " and not exists " SQL_EVENT("e.id", SQL_BUCKET_OF("h"), "h.id")

/* Behind a statement that took rows out of their groups, in its transaction, and therefore with what
 * others committed until now: makes the first row of each group due, if it is blocked and nothing is in
 * front of it. $1 epoch, or NULL for facts, which need none; $2 ids, $3 buckets, $4 skip dead rows,
 * $5 whether the caller wants to know when the group of this id has become empty.
 * Row 0: whether the epoch is ours. Then one id for each such group. */
#define SQL_SETTLE                                                                                 \
    "with ours as materialized (select $1 is null or exists (select from outbox.relay "            \
    "where name = 'default' and epoch = $1) as yes), "                                             \
    "touched as materialized (select distinct on (g.topic, sha256(g.key)) u.id, u.wanted, g.topic, "\
    "sha256(g.key) as digest from ours cross join unnest($2, $3, $5) u (id, bucket, wanted) "      \
    "cross join lateral (" SQL_EVENT("e.topic, e.key", SQL_BUCKET_OF("u"), "u.id")                 \
    " union all select h.topic, h.key from outbox.held h "                                         \
    "where h.id = u.id limit 1) g where ours.yes and g.key is not null "                           \
    "order by g.topic, sha256(g.key), u.wanted desc, u.id), "                                      \
    "head as materialized (select t.id as of_id, t.wanted, l.id, l.state, l.next_attempt_at, "     \
    "d.id as dead_id from touched t "                                                              \
    "left join lateral (select h.id, h.state, h.next_attempt_at from outbox.held h where "         \
    SQL_OF_GROUP("h", "t") " and " SQL_LIVE("h") SQL_BY_ID("h") "limit 1) l on true "              \
    "left join lateral (select h.id from outbox.held h where not $4 and "                          \
    SQL_OF_GROUP("h", "t") " and h.state = 'dead'" SQL_BY_ID("h") "limit 1) d on true), "             \
    "next as materialized (select h.id from outbox.held h where h.id = any (array("                \
    "select f.id from head f where f.state = 'blocked' and f.next_attempt_at is null "             \
    "and (f.dead_id is null or f.dead_id > f.id))) "                                               \
    "and h.state = 'blocked' and h.next_attempt_at is null order by h.id for update skip locked), "            \
    "promoted as (update outbox.held h set next_attempt_at = now() from next n where h.id = n.id) "\
    "select yes, null::bigint from ours union all "                                                \
    "select null, f.of_id from head f where f.wanted and f.id is null and f.dead_id is null"

/* -- reading -------------------------------------------------------------------------------- */

/* Of a held row m, its event e and its mark s. `stale`: 1 the row is in outbox.sent, 2 its event is gone;
 * such a row is not for the caller. */
#define SQL_HELD_AS                                                                                \
    "case m.state when 'paused' then 2 when 'scheduled' then 3 else 1 end::smallint as held_as, "  \
    "m.attempts, m.maybe_delivered as maybe, "                                                     \
    "case when s.yes then 1 when e.id is null then 2 end::smallint as stale "
#define SQL_HELD_FROM(rows, columns)                                                               \
    "from (" rows ") m "                                                                           \
    "left join lateral " SQL_EVENT(columns, "m.bucket", "m.id") " e on true "                      \
    "left join lateral (select true as yes from outbox.sent s where s.bucket = m.bucket "          \
    "and s.id = m.id limit 1) s on true"
#define SQL_HELD_ROW_0(next)                                                                       \
    "select null::pg_snapshot as snap, " SQL_NO_ROW ", " next " as wait_ms, null::bool as cut, "   \
    "null::smallint as held_as, null::int as attempts, null::bool as maybe, null::smallint as stale"\
    " union all "

/* The first row of a page, and of its event nothing but the id. */
#define SQL_FIRST_HELD(rows)                                                                       \
    SQL_HELD_ROW_0("null::bigint")                                                                 \
    "(select null::pg_snapshot, m.id, m.bucket, " SQL_NO_EVENT ", null::bigint, null::bool, " SQL_HELD_AS\
    SQL_HELD_FROM(rows, "e.id") " order by m.id limit 1)"

/* A page of held rows: row 0 says in wait_ms how long until the next one is due. */
#define SQL_HELD_PAGE(next, rows)                                                                  \
    SQL_HELD_ROW_0(next)                                                                           \
    "select null::pg_snapshot, e.id, e.bucket, e.event_id, e.created_at, e.schema_version, e.topic, "\
    "e.key, e.type, e.content_type, e.payload, e.headers, " SQL_WAIT_MS ", "                       \
    "e.before + e.size >= $3, e.held_as, e.attempts, e.maybe, e.stale from ("                      \
    "select e.*, sum(e.size) over (rows unbounded preceding) - e.size as before from ("            \
    "select m.id, m.bucket, e.event_id, e.created_at, e.schema_version, e.topic, e.key, e.type, "  \
    "e.content_type, e.payload, e.headers, e.available_at, " SQL_SIZE " as size, "                 \
    SQL_HELD_AS SQL_HELD_FROM(rows, "e.*") ") e) e where e.before < $3 order by id nulls first"

#define SQL_HELD_COLUMNS                                                                           \
    "h.id, h.bucket, h.topic, h.key, h.state, h.attempts, h.maybe_delivered, h.next_attempt_at"

#define SQL_MS_UNTIL(t)                                                                            \
    "ceil(extract(epoch from least(" t ", now() + interval '100 years') - now()) * 1000)::bigint"

#define SQL_TIMED "h.state in ('retrying', 'blocked', 'scheduled')"

/* Rows whose time has come and whose group can move: its first row is neither waiting for a later
 * time nor behind a dead one. */
#define SQL_DUE                                                                                    \
    "select h.id, h.topic, h.key, h.next_attempt_at, h.state = 'scheduled' or h.key is null as single "\
    "from outbox.held h left join lateral (select f.id, f.state, f.next_attempt_at "               \
    "from outbox.held f where h.state <> 'scheduled' "                                             \
    "and f.topic = h.topic and sha256(f.key) = sha256(h.key) "                                     \
    "and " SQL_LIVE("f") SQL_BY_ID("f") "limit 1) f on true "                                   \
    "where h.next_attempt_at <= now() and " SQL_TIMED                                              \
    " and (f.id is null or ((f.state = 'blocked' or f.next_attempt_at <= now()) and ($1 or not " \
    SQL_ANY("from outbox.held d where d.topic = h.topic and sha256(d.key) = sha256(h.key) "        \
            "and d.state = 'dead' and d.id + 0 < f.id") "))) order by h.next_attempt_at limit $2"

/* Of each group the rows before its first dead one, up to the first whose time has not come. */
#define SQL_DUE_ROWS                                                                               \
    "select m.* from (select min(d.next_attempt_at) as at, min(d.id) as id, d.topic, "             \
    "sha256(d.key) as digest, d.single from (" SQL_DUE ") d "                                      \
    "group by d.topic, sha256(d.key), d.single, case when d.single then d.id end order by 1, 2 offset 0) g "\
    "left join lateral (select h.id from outbox.held h where not $1 and not g.single and "         \
    SQL_OF_GROUP("h", "g") " and h.state = 'dead'" SQL_BY_ID("h") "limit 1) d on true "         \
    "cross join lateral (select " SQL_HELD_COLUMNS " from outbox.held h "                          \
    "where g.single and h.id = g.id union all select " SQL_HELD_COLUMNS " from ("                  \
    "select h.*, sum(case when h.state = 'retrying' and h.next_attempt_at > now() then 1 else 0 end) "\
    "over (rows unbounded preceding) as stops from (select * from outbox.held h where not g.single and "\
    SQL_OF_GROUP("h", "g") " and h.id + 0 < coalesce(d.id, 9223372036854775807)"                   \
    " and " SQL_LIVE("h") SQL_BY_ID("h") "limit $2) h) h where h.stops = 0) m limit $2"

/* $1 skip dead rows, $2 rows at most, $3 bytes at most. */
#define SQL_READ_DUE                                                                               \
    SQL_HELD_PAGE("(select " SQL_MS_UNTIL("h.next_attempt_at") " from outbox.held h "              \
                  "where h.next_attempt_at > now() and " SQL_TIMED                                 \
                  " order by h.next_attempt_at limit 1)",                                          \
                  SQL_DUE_ROWS)

/* $1 topic, $2 rows at most, $3 bytes at most. */
#define SQL_TOPIC_ROWS                                                                             \
    "select " SQL_HELD_COLUMNS " from outbox.held h where h.topic = $1 and h.state = 'paused'"     \
    SQL_BY_ID("h") "limit $2"
#define SQL_READ_TOPIC SQL_HELD_PAGE("null::bigint", SQL_TOPIC_ROWS)

/* -- at a takeover -------------------------------------------------------------------------- */

/* $1 epoch. Whether it is ours, the highest id held, and whether there is anything of each kind. It is a
 * statement of its own behind the one that took the lease, so that it sees what an earlier leader wrote
 * while that one waited. */
#define SQL_LOAD_BEGIN                                                                             \
    "select exists (select from outbox.relay where name = 'default' and epoch = $1), "             \
    "coalesce((select max(id) from outbox.held), 0), "                                             \
    "exists (select from outbox.held h where " SQL_LIVE("h") "), "                                 \
    "exists (select from outbox.held h where h.state = 'dead' and h.key is not null), "            \
    "exists (select from outbox.held h where h.state = 'paused')"

/* The groups behind ($3, $4), $5 at most (a long key counts for several), each by one probe of the index;
 * `where_` says of which rows.
 * Columns: whether the epoch $1 is ours (the lease is then renewed for $2 ms), topic, key, digest. Row 0
 * has only the first. */
#define SQL_RENEW_IF_OURS                                                                          \
    "ours as (update outbox.relay set lease_expires_at = clock_timestamp() + $2 * interval '1 ms', "\
    "renewed_at = clock_timestamp() where name = 'default' and epoch = $1 returning 1)"

#define SQL_GROUPS(where_, from_topic, from_digest, columns)                                       \
    "(select " columns ", 1 + octet_length(h.key) / 4096 as n from outbox.held h where " where_                                 \
    " and (h.topic, sha256(h.key)) > (" from_topic ", " from_digest ") "                           \
    "order by h.topic, sha256(h.key), h.id + 0 limit 1) "                                              \
    "union all select x.* from g cross join lateral (select " columns ", g.n + 1 + octet_length(h.key) / 4096 "                 \
    "from outbox.held h where " where_ " and (h.topic, sha256(h.key)) > (g.topic, g.digest) "      \
    "order by h.topic, sha256(h.key), h.id + 0 limit 1) x where g.n < "

#define SQL_LOAD_KEYS(where_, unless)                                                              \
    "with recursive " SQL_RENEW_IF_OURS ", g as ("                                                 \
    SQL_GROUPS(where_, "$3", "$4", "h.topic, h.key, sha256(h.key) as digest") "$5) "               \
    "select exists (select from ours), null::text, null::bytea, null::bytea union all "            \
    "select null, g.topic, case when " unless " then null else g.key end, g.digest from g"

#define SQL_LOAD_DEAD SQL_LOAD_KEYS("h.state = 'dead' and h.key is not null", "false")

/* After the dead ones: a person may retry a dead row meanwhile, and it is live then; none becomes dead before the lead
 * begins. $6 the dead were loaded: groups that have some were named before; without a key they only carry the place on. */
#define SQL_LOAD_LIVE                                                                              \
    SQL_LOAD_KEYS(SQL_LIVE("h"),                                                                   \
                  "$6 and " SQL_ANY("from outbox.held d where " SQL_OF_GROUP("d", "g") " and d.state = 'dead'"))

/* $4 is not used. */
#define SQL_LOAD_TOPICS                                                                            \
    "with recursive " SQL_RENEW_IF_OURS ", g as ("                                                 \
    "(select h.topic, 1 as n from outbox.held h where h.state = 'paused' and h.topic > $3 "        \
    "order by h.topic limit 1) "                                                                   \
    "union all select x.* from g cross join lateral (select h.topic, g.n + 1 "                     \
    "from outbox.held h where h.state = 'paused' and h.topic > g.topic "                           \
    "order by h.topic limit 1) x where g.n < $5) "                                                 \
    "select exists (select from ours), null::text, null::bytea, $4 union all "                     \
    "select null, g.topic, null, ''::bytea from g"
#define SQL_LOAD_TYPES "bigint, bigint, text, bytea, bigint, bool"

/* -- the sweep ------------------------------------------------------------------------------ */

/* Every visible row behind the cursor but those that the late read will find: what the cursor's snapshot
 * did not see, unless it came from another cluster, before this lead or since.
 * $1 epoch, $2 the id behind which to look, $3 how many events to look at. Row 0: whether the epoch is
 * ours, the last id that was looked at (NULL: there were none), how many there were. Then the ids found. */
#define SQL_SWEEP                                                                                  \
    "with fence as materialized (select cursor_id, cursor_snapshot, floor_id from outbox.relay "   \
    "where name = 'default' and epoch = $1 for share), "                                           \
    "piece as materialized (select e.id, e.bucket, e.xid, e.topic, e.key from outbox.event e "     \
    "where e.id > $2 and e.id <= (select cursor_id from fence) order by e.id limit $3), "          \
    "found as materialized (select p.* from piece p cross join fence f "                           \
    "where (pg_visible_in_snapshot(p.xid, f.cursor_snapshot) or p.id <= f.floor_id "               \
    "or p.xid >= pg_snapshot_xmax(pg_current_snapshot())) "                                        \
    "and not " SQL_IS_SENT("p")                                                                    \
    " and not exists (select from outbox.held h where h.id = p.id)), "                             \
    "put as (insert into outbox.held (id, bucket, topic, key, state, next_attempt_at, "            \
    "maybe_delivered, first_error_at, error_code, error) select id, bucket, topic, key, 'retrying', "\
    "now(), true, now(), 'FOUND_BY_SWEEP', 'it was behind the cursor, neither sent nor held' "     \
    "from found order by id on conflict do nothing) "                                              \
    "select exists (select from fence), (select max(id) from piece), (select count(*) from piece), "\
    "null::bigint union all (select null, null, null, id from found order by id)"

/* $1 skip dead rows, $2 and $3 the group behind which to look, $4 how many groups. One row for each: the
 * group, and NULL or an id and bucket that need SQL_CLEAN and SQL_SETTLE: a first row that was sent, or
 * that is blocked by nothing and not due. */
#define SQL_HEAL                                                                                   \
    "with recursive g as ("                                                                        \
    SQL_GROUPS(SQL_LIVE("h"), "$2", "$3",                                                          \
               "h.topic, sha256(h.key) as digest, h.id, h.bucket, h.state, h.next_attempt_at")     \
    "$4) select g.topic, g.digest, case when b.which = 1 then g.id when b.which = 2 then d.id end, "\
    "case when b.which = 1 then g.bucket when b.which = 2 then d.bucket end from g "               \
    "left join lateral (select h.id, h.bucket from outbox.held h where not $1 and "                \
    SQL_OF_GROUP("h", "g") " and h.state = 'dead'" SQL_BY_ID("h") "limit 1) d on true "         \
    "cross join lateral (select case when " SQL_IS_SENT("d") " then 2 when " SQL_IS_SENT("g")      \
    " or (g.state = 'blocked' and g.next_attempt_at is null and (d.id is null or d.id > g.id)) "   \
    "then 1 end as which) b"

/* -- prepared ------------------------------------------------------------------------------- */

#define SQL_PREPARE_CLEAN                                                                          \
    SQL_PREPARE("outbox_clean", "bigint[]", SQL_CLEAN)                                             \
    SQL_PREPARE("outbox_settle", "bigint, bigint[], smallint[], bool, bool[]", SQL_SETTLE)

#define SQL_PREPARE_HELD_READS                                                                     \
    SQL_PREPARE("outbox_read_due", "bool, bigint, bigint", SQL_READ_DUE)                           \
    SQL_PREPARE("outbox_read_topic", "text, bigint, bigint", SQL_READ_TOPIC)                       \
    SQL_PREPARE("outbox_first_due", "bool, bigint, bigint", SQL_FIRST_HELD(SQL_DUE_ROWS))          \
    SQL_PREPARE("outbox_first_topic", "text, bigint, bigint", SQL_FIRST_HELD(SQL_TOPIC_ROWS))      \
    SQL_PREPARE_CLEAN

/* As SQL_MAY_MARK; outbox_hold itself would lock all leaves. */
#define SQL_MAY_HOLD                                                                               \
    SQL_MAY("execute outbox_unhold (null, null)")                                                  \
    SQL_MAY("insert into outbox.held (" SQL_HOLD_COLUMNS ") select " SQL_HOLD_COLUMNS " from outbox.held h")

#define SQL_PREPARE_HOLD                                                                           \
    SQL_PREPARE("outbox_hold", SQL_HOLD_TYPES, SQL_HOLD)                                           \
    SQL_PREPARE("outbox_unhold", "bigint[], smallint[]", SQL_UNHOLD) SQL_PREPARE_CLEAN             \
    SQL_PREPARE("outbox_load_begin", "bigint", SQL_LOAD_BEGIN)                                     \
    SQL_PREPARE("outbox_load_dead", SQL_LOAD_TYPES, SQL_LOAD_DEAD)                                 \
    SQL_PREPARE("outbox_load_live", SQL_LOAD_TYPES, SQL_LOAD_LIVE)                                 \
    SQL_PREPARE("outbox_load_topics", SQL_LOAD_TYPES, SQL_LOAD_TOPICS)                             \
    SQL_PREPARE("outbox_sweep", "bigint, bigint, bigint", SQL_SWEEP)                               \
    SQL_PREPARE("outbox_heal", "bool, text, bytea, bigint", SQL_HEAL)

#endif
