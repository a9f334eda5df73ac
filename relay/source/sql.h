/* sql.h - the statements that read, mark and lead, as text; those about outbox.held are in held_sql.h.
 *
 * Reading (the argument for each piece stands above it): pos is the highest id read, snap
 * the snapshot of the read before. A row with id <= pos that is not visible in snap was written by a
 * transaction that was running at snap or began later, because xid is assigned before id is drawn:
 *
 *   late rows   id <= pos, visible now, not visible in snap
 *   fresh rows  id > pos
 *
 * Parameters of the reading statements:
 *   $1 pos   $2 snap   $3 floor: late rows are looked for above it only
 *   $4 rows at most   $5 bytes at most (a row is sent when those before it have not used them up)
 *   $6 in the _late statements: the snapshot whose late rows are read
 *   $7 in outbox_catch_up_late: up to here rows came from another cluster
 * Results: one row with the statement's snapshot, then the rows, ids ascending; `cut` says of the last
 * one whether the bytes were used up, so that there may be more.
 */
#ifndef RELAY_SOURCE_SQL_H
#define RELAY_SOURCE_SQL_H

#include "relay/source/sequence_sql.h"

/* Each statement sees what was committed before it, also where the DBA has set another default.
 * jit: the same poll takes 38 ms with it. Every plan here is meant to go from a few rows by index to
 * a few others; seqscan, hash and merge joins would read whole tables for that. Parallel plans would
 * not keep the order of the pieces. */
#define SQL_SESSION                                                                                \
    "set jit = off; set enable_seqscan = off; set enable_hashjoin = off; "                         \
    "set enable_mergejoin = off; set enable_bitmapscan = off; "                                    \
    "set max_parallel_workers_per_gather = 0; "                                                    \
    "set plan_cache_mode = force_generic_plan; set search_path = ''; set datestyle = 'ISO'; "      \
    "set idle_in_transaction_session_timeout = '60s'; set lock_timeout = '1s'; "                   \
    "set statement_timeout = 0; set default_transaction_isolation = 'read committed'; "

/* Where row-level security may hide rows from this role: nothing fails there, events are just not seen. NULL: nowhere. */
#define SQL_TABLES_WITH_POLICIES                                                                   \
    "(select string_agg('outbox.' || c.relname, ', ' order by c.relname) from pg_catalog.pg_class c " \
    "where c.relnamespace = to_regnamespace('outbox') and c.relkind in ('r', 'p') and row_security_active(c.oid))"

/* The fourth column says which history of which cluster this is: a promoted standby has another one. A
 * server in recovery writes no log; the relay cannot work there, and is told so later. The fifth takes away limits
 * that not every server knows (14, 17) and that a DBA has set for others: a relay that stands by has a session that
 * rests, and the first read behind a long absence takes its time. */
#define SQL_CHECK                                                                                  \
    "select current_setting('server_version_num')::int, "                                          \
    "to_regclass('outbox.schema_version') is not null, pg_backend_pid(), "                         \
    "(select system_identifier from pg_control_system()) || '/' || case when pg_is_in_recovery() " \
    "then 'standby' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end, "                     \
    "(select count(set_config(s.name, '0', false)) from pg_settings s "                            \
    "where s.name in ('idle_session_timeout', 'transaction_timeout')), "                           \
    SQL_TABLES_WITH_POLICIES

/* The numbers of those columns. */
enum { SQL_CHECK_HISTORY = 3, SQL_CHECK_POLICIES = 5 };

/* By these locks `status` and `doctor` know how many relays are connected, and from where (operate_status_sql.h): one for
 * each, until its link ends. Shared, and not waited for, so nothing can come of it. */
#define SQL_CONNECTED "select pg_try_advisory_lock_shared(" SQL_CONNECTED_KEY "); "

#define SQL_VERSION                                                                                \
    "select max(version), "                                                             \
    "coalesce(max(version) filter (where breaking), 0) from outbox.schema_version"
/* As text: answers to what is prepared are binary. */
#define SQL_PREPARE_SCHEMA                                                                         \
    "prepare outbox_schema as select v.installed::text, v.breaking::text from (" SQL_VERSION       \
    ") v (installed, breaking); "

#define SQL_COLUMNS                                                                                \
    "e.id, e.bucket, e.event_id, e.created_at, e.schema_version, e.topic, e.key, e.type, "         \
    "e.content_type, e.payload, e.headers"

/* How long the row must still wait; NULL: not at all. */
#define SQL_WAIT_MS                                                                                \
    "case when e.available_at > now() then ceil(extract(epoch from "                               \
    "least(e.available_at, now() + interval '100 years') - now()) * 1000)::bigint end"

/* The size by which a page is cut: what the row will take in our memory, near enough, without
 * reading what is stored out of line. Headers may be stored compressed: large ones are measured. */
#define SQL_SIZE                                                                                   \
    "256 + coalesce(octet_length(e.payload), 0) + coalesce(octet_length(e.key), 0) + "             \
    "case when pg_column_size(e.headers) > 512 then octet_length(e.headers::text) "                 \
    "else coalesce(2 * pg_column_size(e.headers), 0) end"

/* What an earlier reader has settled. A row in sent counts as sent whatever held says. */
#define SQL_UNSETTLED                                                                              \
    " and not exists (select from outbox.sent s where s.bucket = e.bucket and s.id = e.id)"        \
    " and not exists (select from outbox.held h where h.id = e.id)"

/* Of the transactions that ran at snap only those that have finished can have rows for us; without
 * this filter every poll would visit the uncommitted rows of a long transaction. The comparison with
 * the current snapshot is only sound for transaction ids of this cluster: the first reads after a
 * start leave it out (SQL_XIP_ALL). */
#define SQL_XIP_FINISHED                                                                           \
    "select x from pg_snapshot_xip($2) x where pg_visible_in_snapshot(x, pg_current_snapshot())"
#define SQL_XIP_ALL "select x from pg_snapshot_xip($2) x"

/* What is visible with an id that this cluster has not reached came from another one while we were
 * reading: it is not late, and would be so at every read. The sweep finds it. */
#define SQL_OF_THIS_CLUSTER " and e.xid < pg_snapshot_xmax(pg_current_snapshot())"

/* Both halves are needed: xmax of a snapshot is the latest completed transaction + 1, so transactions
 * at or above it may be running without being in the xip list.
 * Both must go by the index on (xid, id), whatever the statistics say: after a bulk load they may say
 * that all rows have one xid, and of a leaf that was just emptied nothing at all. `id + 0` is there so
 * that the index on id cannot be used. `$1 > $3` is evaluated once, before anything is looked up. */
#define SQL_LATE(xip, below, unsettled)                                                            \
    "(select e.* from ("                                                                           \
    "select e.* from outbox.event e where e.xid = any (array(" xip "))"                            \
    " and e.id + 0 <= $1 and e.id + 0 > $3 and $1 > $3"                                            \
    " union all "                                                                                  \
    "select e.* from outbox.event e where e.xid >= pg_snapshot_xmax($2)" below                     \
    " and e.id + 0 <= $1 and e.id + 0 > $3 and $1 > $3"                                            \
    ") e where true" unsettled " order by e.id limit $4)"

/* More late rows than fit a page: the rest of those that the first page's snapshot ($6) saw, in one
 * walk over the index on id, however many pages it takes. It passes all that lies between and behind them, half a
 * microsecond a row. Where it might end is not known: nearly always some small transaction is late near $1 as well.
 * And to look up each transaction by (xid, id) reads a page of each for every page: of eight bulk loads that takes
 * twenty times as long. */
#define SQL_LATE_REST(seen, unsettled)                                                             \
    "(select e.* from outbox.event e where e.id > $3 and e.id <= $1"                               \
    " and not pg_visible_in_snapshot(e.xid, $2) and " seen unsettled " order by e.id limit $4)"

#define SQL_SEEN "pg_visible_in_snapshot(e.xid, $6)"

/* Rows from another cluster are all there, whatever a snapshot of this one says of their xid. */
#define SQL_SEEN_OR_FOREIGN                                                                        \
    "(" SQL_SEEN " or (e.id <= $7 and e.xid >= pg_snapshot_xmax($6)))"

#define SQL_FRESH(unsettled)                                                                       \
    "(select e.* from outbox.event e where e.id > $1" unsettled " order by e.id limit $4)"

/* Row 0 of every page, but its first and last columns. */
#define SQL_NO_EVENT                                                                               \
    "null::uuid as event_id, null::timestamptz as created_at, null::int as schema_version, "       \
    "null::text as topic, null::bytea as key, null::text as type, null::text as content_type, "    \
    "null::bytea as payload, null::json as headers"
#define SQL_NO_ROW "null::bigint as id, null::smallint as bucket, " SQL_NO_EVENT

#define SQL_ROW_0                                                                                  \
    "select pg_current_snapshot() as snap, " SQL_NO_ROW ", null::bigint as wait_ms, null::bool as cut"\
    " union all "

#define SQL_PAGE(rows)                                                                             \
    SQL_ROW_0                                                                                      \
    "select null::pg_snapshot, " SQL_COLUMNS ", " SQL_WAIT_MS ", e.before + e.size >= $5 from ("   \
    "select e.*, sum(e.size) over (rows unbounded preceding) - e.size as before from ("            \
    "select " SQL_COLUMNS ", e.available_at, " SQL_SIZE " as size from (" rows ") e limit $4) e) e "\
    "where e.before < $5"

/* The sum takes a quarter of the time that a row takes to be read. Behind a page of small rows they are
 * most likely small again: then this one does without. Here $5 is bytes of one row at most; a larger row
 * is cut: it comes without its bytes, and the page ends in front of it, whatever comes behind it. */
#define SQL_PAGE_OF_SMALL_ROWS(rows)                                                               \
    SQL_ROW_0                                                                                      \
    "select null::pg_snapshot, e.id, e.bucket, e.event_id, e.created_at, e.schema_version, "       \
    "e.topic, case when e.cut is null then e.key end, e.type, e.content_type, "                    \
    "case when e.cut is null then e.payload end, case when e.cut is null then e.headers end, "     \
    SQL_WAIT_MS ", e.cut from ("                                                                   \
    "select e.*, case when " SQL_SIZE " > $5 then true end as cut from (" rows ") e limit $4) e"

/* Which row comes first: the page of one row, and of that nothing but the id. The server does not look at
 * what is stored out of line, and sends no text: this works where the row itself cannot be sent. */
#define SQL_FIRST_OF_PAGE(rows)                                                                            \
    SQL_ROW_0                                                                                      \
    "(select null::pg_snapshot, e.id, e.bucket, " SQL_NO_EVENT ", null::bigint, null::bool "        \
    "from (" rows ") e limit 1)"

/* $1 id, $2 bucket. */
#define SQL_ONE(columns)                                                                           \
    SQL_ROW_0 "(select null::pg_snapshot, " columns ", " SQL_WAIT_MS ", null::bool "                \
    "from outbox.event e where e.id >= $1 and e.id <= $1 "                                         \
    "and e.bucket = any (array[$2, -1::smallint]) order by e.id limit 1)"

/* What it takes to hold a row; $3: with its key. Topics have no characters that need a conversion. */
#define SQL_STUB_COLUMNS                                                                           \
    "e.id, e.bucket, e.event_id, e.created_at, e.schema_version, e.topic, case when $3 then e.key end, "\
    "''::text, null::text, null::bytea, null::json"

#define SQL_PREPARE(name, types, text) "prepare " name " (" types ") as " text "; "

#define SQL_READ_TYPES "bigint, pg_snapshot, bigint, bigint, bigint"

/* The ways to read: going on, or catching up behind an earlier reader (settled rows are left out); late
 * and fresh rows, or the rest of the late ones. */
#define SQL_GOING_ON                                                                               \
    SQL_LATE(SQL_XIP_FINISHED, SQL_OF_THIS_CLUSTER, "") " union all " SQL_FRESH("")
#define SQL_CATCHING_UP                                                                            \
    SQL_LATE(SQL_XIP_ALL, "", SQL_UNSETTLED) " union all " SQL_FRESH(SQL_UNSETTLED)
#define SQL_CATCHING_UP_LATE SQL_LATE_REST(SQL_SEEN_OR_FOREIGN, SQL_UNSETTLED)
/* Each of them as `outbox_` and then name; PAGE makes a statement of it. */
#define SQL_PREPARE_WAYS(name, PAGE)                                                               \
    SQL_PREPARE("outbox_" name "read", SQL_READ_TYPES, PAGE(SQL_GOING_ON))                         \
    SQL_PREPARE("outbox_" name "read_late", SQL_READ_TYPES ", pg_snapshot",                        \
                PAGE(SQL_LATE_REST(SQL_SEEN, "")))                                                 \
    SQL_PREPARE("outbox_" name "catch_up", SQL_READ_TYPES, PAGE(SQL_CATCHING_UP))                  \
    SQL_PREPARE("outbox_" name "catch_up_late", SQL_READ_TYPES ", pg_snapshot, bigint",            \
                PAGE(SQL_CATCHING_UP_LATE))
#define SQL_PREPARE_READS                                                                          \
    SQL_PREPARE("outbox_read_small", SQL_READ_TYPES, SQL_PAGE_OF_SMALL_ROWS(SQL_GOING_ON))         \
    SQL_PREPARE_WAYS("", SQL_PAGE)                                                                 \
    SQL_PREPARE_WAYS("first_", SQL_FIRST_OF_PAGE)                                                  \
    SQL_PREPARE("outbox_one", "bigint, smallint", SQL_ONE(SQL_COLUMNS))                            \
    SQL_PREPARE("outbox_stub", "bigint, smallint, bool", SQL_ONE(SQL_STUB_COLUMNS))

/* A mark is a fact, true whoever writes it: no epoch, and twice is once. Twice is rare, so the first
 * attempt does without the second look at the index that `on conflict` costs each row; it fails as a
 * whole where a mark is there already, and the second statement then writes the others. In the select list
 * unnest gives row after row; in `from` it would put all of them aside first. Marks of one bucket, as they
 * nearly always are, go straight to its leaf: to find the leaf for each row takes a quarter of the time.
 * outbox_commit stands before a mark that need not be on disk when it is answered. Only marks may be lost
 * that way: whatever is committed afterwards and is not lost (a saved cursor, a held row) is behind them in
 * the log of the database, so they are not lost either. */
#define SQL_MARK(table)                                                                            \
    "insert into " table " (bucket, id, kafka_partition, kafka_offset) "                           \
    "select unnest($1), unnest($2), unnest($3), unnest($4)"
#define SQL_MARK_TYPES "smallint[], bigint[], int[], bigint[]"

/* $5 event ids: only what is that event still. The ids of those that are not. */
#define SQL_MARK_CHECKED                                                                           \
    "with u as materialized (select u.*, e.bucket as is_in from unnest($1, $2, $3, $4, $5) "       \
    "u (bucket, id, partition, at, event_id) left join lateral (select e.bucket, e.event_id "      \
    "from outbox.event e where e.id >= u.id and e.id <= u.id "                                     \
    "and e.bucket = any (array[u.bucket, -1::smallint]) order by e.id limit 1) e "                 \
    "on e.event_id = u.event_id), "                                                                \
    "put as (insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) "                 \
    "select u.is_in, u.id, u.partition, u.at from u where u.is_in is not null order by u.id "      \
    "on conflict do nothing) select u.id from u where u.is_in is null order by u.id"
#define SQL_PREPARE_MARK_LEAF(leaf)                                                                \
    SQL_PREPARE("outbox_mark_" leaf, SQL_MARK_TYPES, SQL_MARK("outbox.sent_" leaf))
#define SQL_PREPARE_MARK                                                                           \
    SQL_PREPARE("outbox_mark", SQL_MARK_TYPES, SQL_MARK("outbox.sent"))                            \
    SQL_PREPARE("outbox_mark_again", SQL_MARK_TYPES, SQL_MARK("outbox.sent") " on conflict do nothing") \
    SQL_PREPARE("outbox_mark_checked", SQL_MARK_TYPES ", uuid[]", SQL_MARK_CHECKED)                \
    SQL_PREPARE_MARK_LEAF("0") SQL_PREPARE_MARK_LEAF("1") SQL_PREPARE_MARK_LEAF("2")               \
    SQL_PREPARE_MARK_LEAF("3") SQL_PREPARE_MARK_LEAF("4") SQL_PREPARE_MARK_LEAF("5")               \
    SQL_PREPARE_MARK_LEAF("6") SQL_PREPARE_MARK_LEAF("7")                                          \
    SQL_PREPARE("outbox_commit", "text", "select set_config('synchronous_commit', $1, true)")

/* Are the rights there without which the relay would end when Kafka has the first events? No list of them could say so
 * as exactly as PostgreSQL itself, which looks at them (columns, roles, PUBLIC) before it explains, and does nothing then.
 * Only what locks no table that its PREPARE has not locked: who has one locked would keep the relay from connecting. */
#define SQL_MAY(statement) "explain (costs off) " statement "; "
#define SQL_MAY_MARK_BY(name) SQL_MAY("execute outbox_mark" name " (null, null, null, null)")
#define SQL_MAY_MARK                                                                               \
    SQL_MAY_MARK_BY("") SQL_MAY_MARK_BY("_again") SQL_MAY_MARK_BY("_0") SQL_MAY_MARK_BY("_1")      \
    SQL_MAY_MARK_BY("_2") SQL_MAY_MARK_BY("_3") SQL_MAY_MARK_BY("_4") SQL_MAY_MARK_BY("_5")        \
    SQL_MAY_MARK_BY("_6") SQL_MAY_MARK_BY("_7")

/* What is visible with a transaction id that this cluster has not reached is of another one. */
#define SQL_NOT_REACHED "pg_snapshot_xmax(pg_current_snapshot())"

/* $1 owner, $2 ttl in ms, $3 the last epoch that we had; 0: none yet, or who knows. A lease can be taken
 * when it is free, over, or bears our own name and nobody had a later one: two relays of one name would
 * take it from each other for ever. One that was renewed later than now was written by a clock that has
 * been set back since, and would last as much longer.
 * The last column: are there rows of another cluster? Then the floor is asked for.
 * A relay that dies over and over, and moves nothing of what waits, begins no new lead by that: it would look as if it had
 * just begun. What waits is the next behind the cursor, which is saved before the oldest that waits, or is held and due. */
#define SQL_PREPARE_ACQUIRE                                                                        \
    SQL_PREPARE(                                                                                   \
        "outbox_acquire", "text, bigint, bigint",                                                  \
        "with old as materialized (select owner, lease_expires_at, renewed_at, system_identifier, timeline "   \
        "from outbox.relay where name = 'default'), got as ("                                      \
        "update outbox.relay r set epoch = r.epoch + 1, owner = $1, "                              \
        "lease_expires_at = clock_timestamp() + $2 * interval '1 ms', "                 \
        "renewed_at = clock_timestamp(), "                                              \
        "system_identifier = (select system_identifier from pg_control_system()), "     \
        "timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int, " \
        "pid = pg_backend_pid(), leading_since = case when r.owner is not null "                   \
        "and r.renewed_at > clock_timestamp() - ($2 + 60000) * interval '1 ms' and r.leading_since > " \
        "coalesce((select s.sent_at from outbox.sent s order by s.id desc limit 1), '-infinity') " \
        "and (exists (select from (select e.* from outbox.event e where e.id > r.cursor_id "       \
        "and e.id <= 9223372036854775807 order by e.id limit 1000) e "                             \
        "where greatest(e.created_at, e.available_at) < r.renewed_at" SQL_UNSETTLED ") "           \
        "or exists (select from outbox.held h where h.next_attempt_at < r.renewed_at)) "           \
        "then r.leading_since else clock_timestamp() end "                                         \
        "where r.name = 'default' and (r.owner is null "                                           \
        "or (r.owner = $1 and ($3 = 0 or r.epoch <= $3)) "                                         \
        "or r.lease_expires_at is null or r.lease_expires_at < clock_timestamp() "                 \
        "or r.renewed_at > clock_timestamp() + $2 * interval '1 ms') "                             \
        "returning r.*) "                                                                          \
        "select got.epoch, got.cursor_id, got.cursor_snapshot, got.floor_id, "                     \
        "greatest((select max(id) from outbox.sent), "                                  \
        "(select max(id) from outbox.held), 0), old.owner, "                            \
        "(extract(epoch from old.lease_expires_at - clock_timestamp()) * 1000)::bigint, " \
        "coalesce(old.system_identifier <> got.system_identifier "                                 \
        "or old.timeline <> got.timeline, false), "                                                \
        "(extract(epoch from clock_timestamp() - old.renewed_at) * 1000)::bigint, "                \
        "case when got.epoch is not null and " SQL_SEQUENCE_IS_SEEN " then coalesce((select s.last_value from " \
        SQL_SEQUENCE "), 0) end, "                                                                 \
        "got.epoch is not null and (select true from outbox.event e where e.xid >= " SQL_NOT_REACHED \
        " order by e.xid, e.id limit 1) is not null "                                              \
        "from old left join got on true")

/* $1 epoch, $2 ttl in ms, $3 and $4 the xid and id behind which to look, $5 how many rows to look at.
 * The floor is the highest id of such a row of another cluster (dump and restore): it is not late, and must not be
 * taken for late. There may be millions, and while the tables are new PostgreSQL looks up each of them: so they are
 * looked at in pieces, and each renews the lease. Where to begin is one condition: of two PostgreSQL would take the
 * comparison of rows, and begin with all rows of this cluster.
 * The floor so far, NULL when the epoch is not ours; then the last row that was looked at, NULL: there was none. */
#define SQL_PREPARE_FLOOR                                                                          \
    SQL_PREPARE("outbox_floor", "bigint, bigint, xid8, bigint, bigint",                            \
                "with piece as materialized (select e.xid, e.id from outbox.event e "              \
                "where (e.xid, e.id) > (greatest($3, " SQL_NOT_REACHED "), case when $3 >= " SQL_NOT_REACHED " then $4 " \
                "else 0 end) order by e.xid, e.id limit $5), "                                     \
                "ours as (update outbox.relay set "                                                \
                "lease_expires_at = clock_timestamp() + $2 * interval '1 ms', "                    \
                "renewed_at = clock_timestamp(), "                                                 \
                "floor_id = greatest(floor_id, (select max(id) from piece)) "                      \
                "where name = 'default' and epoch = $1 returning floor_id) "                       \
                "select (select floor_id from ours), p.xid, p.id from (values (1)) one "           \
                "left join (select * from piece order by xid desc, id desc limit 1) p on true")

/* For a person, where the row is missing: with the cursor at 0 the first read would look at all that is there. */
#define SQL_RELAY_ROW                                                                              \
    "insert into outbox.relay (name, cursor_id) select 'default', coalesce((select min(e.id) - 1 " \
    "from outbox.event e where not exists (select from outbox.sent s where s.bucket = e.bucket and s.id = e.id) " \
    "and not exists (select from outbox.held h where h.id = e.id)), max(o.id), 0) from outbox.event o"

/* $1 epoch, $2 ttl in ms, $3 and $4 the cursor; NULL: the one that is there stays. */
#define SQL_PREPARE_RENEW                                                                          \
    SQL_PREPARE("outbox_renew", "bigint, bigint, bigint, pg_snapshot",                  \
                "update outbox.relay set "                                                         \
                "lease_expires_at = clock_timestamp() + $2 * interval '1 ms', "         \
                "renewed_at = clock_timestamp(), cursor_id = coalesce($3, cursor_id), "          \
                "cursor_snapshot = coalesce($4, cursor_snapshot) " \
                "where name = 'default' and epoch = $1")

#define SQL_RESIGN                                                                                 \
    "update outbox.relay set owner = null, lease_expires_at = null, "                              \
    "renewed_at = clock_timestamp(), cursor_id = coalesce($2, cursor_id), "                        \
    "cursor_snapshot = coalesce($3, cursor_snapshot) "                                             \
    "where name = 'default' and epoch = $1"

/* The second one, for who publishes once, also says whether there are events that are held, and not only for their time:
 * a dead one without a key keeps nothing waiting, and is not sent all the same. */
#define SQL_PREPARE_RESIGN                                                                         \
    SQL_PREPARE("outbox_resign", "bigint, bigint, pg_snapshot", SQL_RESIGN)                        \
    SQL_PREPARE("outbox_resign_once", "bigint, bigint, pg_snapshot", SQL_RESIGN                    \
                " returning exists (select from outbox.held h where h.state not in ('scheduled', 'discarded') " \
                "and not exists (select from outbox.sent s where s.bucket = h.bucket and s.id = h.id))")

#endif
