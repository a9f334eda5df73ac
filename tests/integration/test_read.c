/* test_read.c - does the source find every committed row, once and in order? Against a real server.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied; the
 * server must allow prepared transactions. `reader` is a struct source driven directly, without core,
 * sink or loop; what it has read is in `seen`. Each test starts with empty tables.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/shared/retry.h"
#include "relay/log.h"
#include "relay/source/source.h"
#include "relay/source/sql.h"
#include "tests/rig/rig.h"

enum {
    DEADLINE_MS = 30000,
    MANY_BYTES = 1 << 30,
    N_LATE_ROWS = 25000,
    N_WRITERS = 8,
    WRITE_MS = 2500, /* longer where the machine is slow */
    ENOUGH_ROWS = 500,
    ENOUGH_READERS = 4,
    MAX_TEXT = 60000,
    MANY_READS = 5000,
};

static PGconn *db, *a, *b, *c; /* db is never in a transaction */
static struct source *reader;
static uint64_t next_page;
static struct seen {
    int64_t id;
    uint64_t page;
    int16_t bucket;
    uint8_t event_id[16];
    char key[24];
} *seen;
static size_t n_seen, seen_cap;
static struct source_event last; /* of read_page; its rows are gone */
static size_t last_bytes, last_row_bytes;
static unsigned last_large; /* rows that have something large */
static unsigned n_reads;

/* -- the reader ----------------------------------------------------------------------------- */

static void wait_for(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + DEADLINE_MS;
    struct pollfd fds[SOURCE_MAX_FDS];

    for (;;) {
        while (source_next(reader, (uint64_t)rig_now_ms(), &last)) {
            if (last.type == type)
                return;
            ck_assert_msg(last.type == SOURCE_UP, "event %d instead of %d", (int)last.type,
                          (int)type);
        }
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("no event %d in %d ms", (int)type, DEADLINE_MS);
        (void)poll(fds, (nfds_t)source_pollfds(reader, fds), 50);
    }
}

static void reader_close(void)
{
    source_free(reader);
    reader = NULL;
}

/* As after a crash, when there was a reader: nobody resigned, and the name is the same. */
static bool mark_async;

static void reader_open(void)
{
    static struct source_config cfg = {
        .owner = "test",
        .lease_ttl_ms = 60000,
        .statement_timeout_ms = DEADLINE_MS,
        .retry_base_ms = 10,
        .retry_max_ms = 100,
    };

    reader_close();
    cfg.dsn = rig_dsn();
    cfg.mark_async = mark_async;
    reader = source_new(&cfg);
    ck_assert_ptr_nonnull(reader);
    wait_for(SOURCE_UP);
    source_acquire(reader, (uint64_t)rig_now_ms());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    next_page = 0;
}

static void remember(const struct row *row, uint64_t page)
{
    if (n_seen == seen_cap) {
        seen_cap = seen_cap == 0 ? 1024 : 2 * seen_cap;
        seen = realloc(seen, seen_cap * sizeof *seen);
        ck_assert_ptr_nonnull(seen);
    }
    seen[n_seen] = (struct seen){ .id = row->id, .page = page, .bucket = row->bucket };
    memcpy(seen[n_seen].event_id, row->event_id, sizeof row->event_id);
    if (row->key != NULL)
        snprintf(seen[n_seen].key, sizeof seen->key, "%.*s", (int)row->key_len,
                 (const char *)row->key);
    n_seen++;
}

static uint32_t read_page(uint32_t max_rows, uint64_t max_bytes)
{
    source_read(reader, (uint64_t)rig_now_ms(), max_rows, max_bytes, next_page);
    wait_for(SOURCE_PAGE);
    ck_assert_uint_le(last.n_rows, max_rows);
    last_bytes = last_row_bytes = last_large = 0;
    for (uint32_t i = 0; i < last.n_rows; i++) {
        remember(last.rows[i], next_page);
        last_row_bytes = last.rows[i]->payload_len;
        last_bytes += last_row_bytes;
        last_large += last.rows[i]->block_bytes > 100000;
        free(last.rows[i]);
    }
    n_reads++;
    next_page += last.n_rows > 0;
    return last.n_rows;
}

/* As the core polls: until there is no more for now. */
static void read_all(uint32_t max_rows, uint64_t max_bytes)
{
    int n = 0;

    do {
        (void)read_page(max_rows, max_bytes);
        ck_assert_msg(n++ < MANY_READS, "there is always more to read");
    } while (last.full || last.catching_up);
}

/* The ids read since the call before, as text. */
static const char *new_ids(void)
{
    static char text[4096];
    static size_t from;
    size_t at = 0;

    text[0] = '\0';
    for (from = from > n_seen ? 0 : from; from < n_seen && at < sizeof text - 24; from++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", at > 0 ? " " : "",
                               (long long)seen[from].id);
    return text;
}

static void expect_read(const char *ids)
{
    read_all(100, MANY_BYTES);
    ck_assert_str_eq(new_ids(), ids);
}

static const struct seen *seen_of(int64_t id)
{
    for (size_t i = n_seen; i-- > 0;)
        if (seen[i].id == id)
            return &seen[i];
    ck_abort_msg("id %lld was not read", (long long)id);
}

static void mark_rows(const char *ids, bool held)
{
    struct source_mark marks[100];
    char *copy = strdup(ids), *rest = NULL;
    uint32_t n = 0;

    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        const struct seen *row = seen_of(atoll(word));
        marks[n++] = (struct source_mark){ .id = row->id, .event_id = row->event_id, .offset = row->id,
                                           .partition = 3, .bucket = row->bucket, .held = held };
    }
    free(copy);
    source_mark(reader, (uint64_t)rig_now_ms(), marks, n);
    wait_for(SOURCE_MARKED);
}

static void mark(const char *ids)
{
    mark_rows(ids, false);
}

/* What must hold of the saved cursor at any time: no row that is not settled is behind it. */
#define SQL_PASSED                                                                                 \
    "select count(*) from outbox.event e, outbox.relay r where e.id <= r.cursor_id"                \
    " and pg_visible_in_snapshot(e.xid, r.cursor_snapshot)"                                        \
    " and not exists (select from outbox.sent s where s.id = e.id)"                                \
    " and not exists (select from outbox.held h where h.id = e.id)"

static void renew(uint64_t page)
{
    source_renew(reader, (uint64_t)rig_now_ms(), page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, SQL_PASSED), 0);
}

/* -- the writers ---------------------------------------------------------------------------- */

static int64_t append(PGconn *conn, const char *key)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "insert into outbox.event (topic, type, key, payload) values ('t', 'x', '%s', 'p')"
             " returning id", key);
    return rig_scalar_i64(conn, sql);
}

static int64_t own_xid(PGconn *conn)
{
    return rig_scalar_i64(conn, "select pg_current_xact_id()::text::bigint");
}

static void reset_tables(void)
{
    rig_exec(db, "drop trigger if exists stall on outbox.event;"
                 "truncate outbox.event, outbox.sent, outbox.held restart identity;"
                 "update outbox.relay set epoch = 0, owner = null, lease_expires_at = null,"
                 " cursor_id = 0, cursor_snapshot = pg_current_snapshot(), floor_id = 0,"
                 " system_identifier = null, timeline = null");
    n_seen = 0;
    (void)new_ids();
}

/* What a test that failed half way left behind would lock out all others. */
static void forget_prepared(void)
{
    PGresult *res = PQexec(db, "select format('rollback prepared %L', gid) from pg_prepared_xacts"
                               " where database = current_database()");

    for (int i = 0; i < PQntuples(res); i++)
        rig_exec(db, PQgetvalue(res, i, 0));
    PQclear(res);
}

static void setup(void)
{
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    db = rig_connect();
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s'");
    forget_prepared();
    a = rig_connect();
    b = rig_connect();
    c = rig_connect();
    reset_tables();
}

static void teardown(void)
{
    reader_close();
    PQfinish(db);
    PQfinish(a);
    PQfinish(b);
    PQfinish(c);
    free(seen);
    seen = NULL;
    n_seen = seen_cap = 0;
}

/* -- late rows ------------------------------------------------------------------------------ */

START_TEST(fresh_rows_come_in_order_and_once)
{
    reader_open();
    expect_read("");
    append(a, "k");
    append(b, "k");
    expect_read("1 2");
    expect_read("");
    append(a, "k");
    expect_read("3");
}
END_TEST

/* xip: a running transaction with an xid below the snapshot's xmax. */
START_TEST(row_of_a_transaction_in_the_xip_list_is_read_after_its_commit)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "early");
    append(b, "b");
    char sql[200];
    snprintf(sql, sizeof sql, "select count(*) from pg_snapshot_xip(pg_current_snapshot()) x"
                              " where x::text::bigint = %lld", (long long)own_xid(a));
    ck_assert_int_eq(rig_scalar_i64(db, sql), 1);
    expect_read("2");
    expect_read("");
    rig_exec(a, "commit");
    expect_read("1");
    expect_read("");
}
END_TEST

/* Of a and b, a has the higher xid and the lower id; b commits first. Then the snapshot's xmax, the
 * latest completed xid + 1, is a's xid: a runs without being in the xip list. False when some other
 * transaction of the server ended in between. */
static bool commit_below_running(void)
{
    rig_exec(b, "begin");
    int64_t xid_b = own_xid(b);
    rig_exec(a, "begin");
    append(a, "early");
    ck_assert_int_gt(own_xid(a), xid_b);
    append(b, "b");
    rig_exec(b, "commit");
    (void)read_page(100, MANY_BYTES);
    return rig_scalar_i64(db, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint") <=
           own_xid(a);
}

START_TEST(row_of_a_transaction_at_or_above_xmax_is_read_after_its_commit)
{
    int attempts = 0;

    for (reader_open(); !commit_below_running(); reader_open()) {
        ck_assert_int_lt(++attempts, 20);
        rig_exec(a, "rollback");
        reset_tables();
    }
    ck_assert_str_eq(new_ids(), "2");
    rig_exec(a, "commit");
    expect_read("1");
    expect_read("");
}
END_TEST

START_TEST(rows_of_prepared_transactions_are_read_when_they_commit)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "one");
    rig_exec(a, "prepare transaction 'one'");
    rig_exec(a, "begin");
    append(a, "two");
    rig_exec(a, "prepare transaction 'two'");
    append(b, "b");
    expect_read("3");
    reader_open(); /* the cursor that was saved knows of them too */
    expect_read("3");
    rig_exec(b, "rollback prepared 'two'");
    rig_exec(b, "commit prepared 'one'");
    expect_read("1");
    append(b, "b");
    expect_read("4");
}
END_TEST

START_TEST(savepoints_are_read_with_their_transaction_and_rollbacks_never)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "k");
    rig_exec(a, "savepoint s");
    append(a, "k");
    rig_exec(a, "rollback to s");
    rig_exec(a, "savepoint s2");
    append(a, "k");
    rig_exec(a, "release s2");
    rig_exec(b, "begin");
    append(b, "b");
    append(c, "c");
    expect_read("5");
    rig_exec(b, "rollback");
    expect_read("");
    rig_exec(a, "savepoint s3");
    append(a, "k");
    rig_exec(a, "commit");
    expect_read("1 3 6");
    expect_read("");
}
END_TEST

/* The id is drawn, and then the insert waits in a trigger. */
START_TEST(row_that_stalled_after_it_drew_its_id_is_read)
{
    rig_exec(db, "create or replace function stall() returns trigger language plpgsql as $$ begin"
                 " if new.topic = 'stall' then perform pg_advisory_xact_lock(4711); end if;"
                 " return new; end $$;"
                 "create trigger stall before insert on outbox.event for each row"
                 " execute function stall();");
    reader_open();
    rig_exec(c, "select pg_advisory_lock(4711)");
    ck_assert_int_eq(PQsendQuery(a, "insert into outbox.event (topic, type) values ('stall', 'x')"),
                     1);
    rig_wait_scalar(db, "select count(*) from pg_locks where locktype = 'advisory' and not granted",
                    "1", DEADLINE_MS);
    append(b, "b");
    expect_read("2");
    append(b, "b");
    expect_read("3");
    rig_exec(c, "select pg_advisory_unlock(4711)");
    for (PGresult *res; (res = PQgetResult(a)) != NULL; PQclear(res))
        ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    expect_read("1");
    rig_exec(db, "drop trigger stall on outbox.event");
}
END_TEST

START_TEST(long_transaction_elsewhere_holds_nobody_back)
{
    reader_open();
    rig_exec(c, "begin");
    append(c, "slow");
    for (int i = 2; i <= 20; i++) {
        char id[12];
        append(i % 2 == 0 ? a : b, "k");
        snprintf(id, sizeof id, "%d", i);
        expect_read(id);
    }
    rig_exec(c, "commit");
    expect_read("1");
}
END_TEST

/* -- pages ---------------------------------------------------------------------------------- */

static void append_series(PGconn *conn, const char *key, int n)
{
    rig_execf(conn, "insert into outbox.event (topic, type, key, payload) select 't', 'x', '%s',"
                    " convert_to(n::text, 'UTF8') from generate_series(1, %d) n", key, n);
}

/* Every committed row exactly once, whatever the order. */
static void expect_all_once(void)
{
    size_t n = (size_t)rig_scalar_i64(db, "select count(*) from outbox.event");
    int64_t top = rig_scalar_i64(db, "select coalesce(max(id), 0) from outbox.event");
    char *hits = calloc((size_t)top + 1, 1);
    PGresult *res = PQexec(db, "select id from outbox.event");

    for (size_t i = 0; i < n_seen; i++)
        if (hits[seen[i].id]++ > 0)
            ck_abort_msg("id %lld was read twice", (long long)seen[i].id);
    for (int i = 0; i < PQntuples(res); i++)
        if (hits[atoll(PQgetvalue(res, i, 0))] == 0)
            ck_abort_msg("id %s was not read", PQgetvalue(res, i, 0));
    PQclear(res);
    free(hits);
    ck_assert_uint_eq(n_seen, n);
}

/* Rows of a key that one writer wrote came in the order of their ids. */
static void expect_key_order(void)
{
    for (size_t i = 0; i < n_seen; i++)
        for (size_t j = i; j-- > 0;)
            if (strcmp(seen[j].key, seen[i].key) == 0) {
                if (seen[j].id >= seen[i].id)
                    ck_abort_msg("key %s: id %lld after %lld", seen[i].key, (long long)seen[i].id,
                                 (long long)seen[j].id);
                break;
            }
}

/* In the catch_up variant the rows are late to the cursor that a dead reader saved. */
START_TEST(large_late_transaction_is_read_once_in_order_in_few_pages)
{
    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", N_LATE_ROWS);
    append(b, "b");
    read_all(1000, MANY_BYTES);
    ck_assert_uint_eq(n_seen, 1);
    if (_i == 1) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)seen[0].id);
        mark(id);
        renew(next_page);
        rig_exec(a, "commit");
        reader_open();
    } else {
        rig_exec(a, "commit");
    }
    n_reads = 0;
    do {
        (void)read_page(1000, MANY_BYTES);
        if (n_reads == 5)
            append(c, "fresh"); /* comes after them, and is not lost between the pages */
    } while ((last.full || last.catching_up) && n_reads < 100);
    read_all(1000, MANY_BYTES);
    ck_assert_uint_le(n_reads, N_LATE_ROWS / 1000 + 4);
    expect_all_once();
    expect_key_order();
    ck_assert_str_eq(seen[n_seen - 1].key, "fresh");
}
END_TEST

/* While one snapshot's late rows are read page by page, another transaction becomes late. */
START_TEST(rows_that_become_late_during_a_late_read_are_read)
{
    reader_open();
    rig_exec(a, "begin");
    rig_exec(c, "begin");
    append(c, "c");
    append_series(a, "late", 500);
    append(c, "c");
    append(b, "b");
    read_all(100, MANY_BYTES);
    rig_exec(a, "commit");
    (void)read_page(100, MANY_BYTES);
    ck_assert(last.full);
    (void)read_page(100, MANY_BYTES);
    rig_exec(c, "commit");
    read_all(100, MANY_BYTES);
    read_all(100, MANY_BYTES);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* The rows of a page but the last stay below the limit, so one row may be larger than it. */
static void expect_cut_pages(uint64_t max_bytes)
{
    do {
        (void)read_page(1000, max_bytes);
        ck_assert_uint_lt(last_bytes - last_row_bytes, max_bytes);
    } while (last.full || last.catching_up);
}

#define SQL_WIDE_ROWS                                                                              \
    "insert into outbox.event (topic, type, key, payload) select 't', 'x', 'k',"                   \
    " decode(repeat('00', case n when 20 then 2000000 else 10000 end), 'hex')"                     \
    " from generate_series(1, 40) n"

START_TEST(pages_are_cut_by_bytes_and_a_giant_row_passes)
{
    reader_open();
    if (_i == 1) { /* late ones */
        rig_exec(a, "begin");
        rig_exec(a, SQL_WIDE_ROWS);
        append(b, "b");
        expect_read("41");
        rig_exec(a, "commit");
    } else {
        rig_exec(a, SQL_WIDE_ROWS);
    }
    n_reads = 0;
    expect_cut_pages(100000);
    expect_cut_pages(100000);
    ck_assert_uint_ge(n_reads, 4);
    ck_assert_uint_le(n_reads, 9);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* The server cuts by an estimate and the client must notice each cut, for rows of any shape. */
static const char *const shapes[] = {
    "null, null",
    "null, '[]'",
    "null, '[[\"n\", \"\"]]'",
    "null, (select jsonb_agg(jsonb_build_array('n', '')) from generate_series(1, 60))",
    "null, (select jsonb_agg(jsonb_build_array('n' || i, repeat(i::text, 9)))"
    " from generate_series(1, 40) i)",
    "null, jsonb_build_array(jsonb_build_array('n', (select string_agg(md5(i::text), '')"
    " from generate_series(1, 60) i)))",
    "null, jsonb_build_array(jsonb_build_array('n', repeat('x', 9000)))", /* compressed */
    "null, jsonb_build_array(jsonb_build_array('n', repeat(E'\\u00e9\\n', 50)))",
    "''::bytea, null",
    "decode(repeat('00', 255), 'hex'), '[[\"a\", \"b\"]]'",
};

START_TEST(cut_page_is_never_taken_for_the_last)
{
    for (int late = 0; late < 2; late++) {
        reset_tables();
        reader_open();
        rig_exec(a, "begin");
        rig_execf(a, "insert into outbox.event (topic, type, payload, headers)"
                     " select 't', 'x', %s from generate_series(1, 60)", shapes[_i]);
        if (late) {
            append(b, "b");
            (void)read_page(100, MANY_BYTES);
        }
        rig_exec(a, "commit");
        for (uint64_t bytes = 1; n_seen < 60 + (size_t)late && n_reads < 1000; bytes += 997)
            (void)read_page(100, bytes);
        expect_all_once();
    }
}
END_TEST

/* Among small rows a large one ends its page early, and comes whole with the next. */
#define SQL_ROWS_WITH_A_LARGE_ONE(what)                                                           \
    "insert into outbox.event (topic, type, key, payload, headers)"                               \
    " select 't', 'x', case when n = 15 and " #what " = 1 then convert_to(repeat('k', 200000), 'UTF8')"\
    " else 'k' end, decode(repeat('00', case when n = 15 and " #what " = 0 then 200000 else 10 end), 'hex'),"\
    " jsonb_build_array(jsonb_build_array('n', case when n = 15 and " #what " = 2"                \
    " then (select string_agg(md5(i::text), '') from generate_series(1, 6000) i) else 'v' end))"  \
    " from generate_series(1, 40) n"
static const char *const with_a_large_one[] = {
    SQL_ROWS_WITH_A_LARGE_ONE(0), SQL_ROWS_WITH_A_LARGE_ONE(1), SQL_ROWS_WITH_A_LARGE_ONE(2)
};

START_TEST(large_row_among_small_ones_comes_whole)
{
    bool late = _i >= 3;
    size_t bytes = 0, large_pages = 0;

    reader_open();
    rig_exec(a, "begin");
    rig_exec(a, with_a_large_one[_i % 3]);
    if (late)
        append(b, "b");
    read_all(100, 1000000);
    ck_assert_uint_eq(n_seen, late);
    rig_exec(a, "commit");
    n_reads = 0;
    while (n_seen < 40 + (size_t)late) {
        ck_assert_msg(n_reads < 6, "%zu rows in %u pages", n_seen, n_reads);
        (void)read_page(100, 1000000);
        bytes += last_bytes;
        large_pages += last_large;
        ck_assert(last.full || n_seen == 40 + (size_t)late);
    }
    ck_assert_uint_eq(bytes, _i % 3 == 0 ? 200000 + 39 * 10 : 40 * 10);
    ck_assert_uint_eq(large_pages, 1);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* -- catching up ---------------------------------------------------------------------------- */

START_TEST(next_reader_gets_what_is_neither_sent_nor_held)
{
    reader_open();
    for (int i = 0; i < 10; i++)
        append(a, "k");
    expect_read("1 2 3 4 5 6 7 8 9 10");
    mark("1 2 3 5");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state)"
                 " select id, bucket, topic, 'dead' from outbox.event where id = 7");
    renew(0);
    append(a, "k");
    reader_open();
    expect_read("4 6 8 9 10 11");
    append(a, "k");
    expect_read("12");
}
END_TEST

START_TEST(marks_name_partition_and_offset_and_twice_is_once)
{
    reader_open();
    append(a, "k");
    append(a, "k");
    expect_read("1 2");
    mark("1");
    mark("1 2");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(format('%s:%s:%s', s.id, kafka_partition,"
                                    " kafka_offset), ' ' order by s.id) from outbox.sent s join"
                                    " outbox.event e on e.id = s.id and e.bucket = s.bucket"),
                     "1:3:1 2:3:2");
}
END_TEST

/* A batch of marks of one bucket, of each in turn; then one of all of them. */
START_TEST(marks_go_to_the_leaf_of_their_bucket)
{
    struct source_mark marks[9];

    reader_open();
    for (int16_t bucket = -1; bucket < 8; bucket++) {
        marks[bucket + 1] = (struct source_mark){ .id = 101 + bucket, .offset = 1, .bucket = bucket };
        source_mark(reader, (uint64_t)rig_now_ms(), &marks[bucket + 1], 1);
        wait_for(SOURCE_MARKED);
    }
    ck_assert_str_eq(rig_scalar(db, "select string_agg(tableoid::regclass || ':' || id, ' ' order by id)"
                                    " from outbox.sent"),
                     "outbox.sent_kept:100 outbox.sent_0:101 outbox.sent_1:102 outbox.sent_2:103"
                     " outbox.sent_3:104 outbox.sent_4:105 outbox.sent_5:106 outbox.sent_6:107"
                     " outbox.sent_7:108");
    for (int i = 0; i < 9; i++)
        marks[i].id += 100;
    source_mark(reader, (uint64_t)rig_now_ms(), marks, 9);
    wait_for(SOURCE_MARKED);
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.sent where id = 201 + bucket"), "9");
}
END_TEST

/* The database says in which mode each write is committed. */
START_TEST(only_marks_are_committed_without_waiting_and_only_when_asked)
{
    rig_exec(db, "create table public.mode (id int generated always as identity, what text);"
                 "create function public.note_mode() returns trigger language plpgsql as "
                 "'begin insert into public.mode (what) values (tg_argv[0] || '':'' ||"
                 " current_setting(''synchronous_commit'')); return null; end';"
                 "create trigger mode after insert on outbox.sent for each statement"
                 " execute function public.note_mode('mark');"
                 "do $$ begin for b in 0..7 loop execute format('create trigger mode after insert on"
                 " outbox.sent_%s for each statement execute function public.note_mode(''mark'')', b);"
                 " end loop; end $$;"
                 "create trigger mode after update on outbox.relay for each statement"
                 " execute function public.note_mode('lease');"
                 "create trigger mode after delete on outbox.held for each statement"
                 " execute function public.note_mode('held')");
    mark_async = _i == 1;
    reader_open();
    for (int i = 0; i < 3; i++)
        append(a, "k");
    expect_read("1 2 3");
    mark("1");
    mark("1 2"); /* again, the other way */
    renew(0);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state)"
                 " select id, bucket, topic, key, 'retrying' from outbox.event where id = 3");
    mark_rows("3", true);
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.sent"), "3");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct what, ' ' order by what)"
                                    " from public.mode where id <= 4"),
                     _i == 1 ? "lease:on mark:off" : "lease:on mark:on");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct what, ' ' order by what)"
                                    " from public.mode where id > 4"),
                     "held:on mark:on");
    rig_exec(db, "drop trigger mode on outbox.relay;"
                 "drop trigger mode on outbox.held; drop function public.note_mode cascade;"
                 "drop table public.mode");
    mark_async = false;
}
END_TEST

/* The place where the reader stood is one in the history of the old link; a server that crashed, or a standby
 * that was promoted, may have given the ids and transaction ids behind it to others. */
START_TEST(cursor_of_an_earlier_link_is_not_saved)
{
    reader_open();
    append(a, "k");
    expect_read("1");
    rig_exec(db, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'outbox-relay' and datname = current_database()");
    wait_for(SOURCE_DOWN);
    wait_for(SOURCE_UP);
    source_renew(reader, (uint64_t)rig_now_ms(), next_page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    source_resign(reader, (uint64_t)rig_now_ms(), next_page);
    wait_for(SOURCE_RESIGNED);
    ck_assert_str_eq(rig_scalar(db, "select cursor_id || coalesce(owner, ' free') from outbox.relay"), "0 free");
}
END_TEST

/* What a crash of the server may do to transactions that were not on disk: the id is another event's now. */
START_TEST(mark_of_an_earlier_link_is_only_for_the_event_that_was_read)
{
    reader_open();
    append(a, "was");
    append(a, "stays");
    append(a, "goes");
    expect_read("1 2 3");
    rig_exec(db, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'outbox-relay' and datname = current_database()");
    wait_for(SOURCE_DOWN);
    wait_for(SOURCE_UP);
    rig_exec(db, "delete from outbox.event where id in (1, 3);"
                 " insert into outbox.event (id, topic, type, key) overriding system value values (1, 't', 'x', 'is')");
    mark("1 2 3");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id || ' ' || kafka_partition || ' ' || kafka_offset, ',')"
                                    " from outbox.sent"), "2 3 2");
    mark("2"); /* twice is once here as well */
    source_acquire(reader, (uint64_t)rig_now_ms());
    wait_for(SOURCE_LEASE);
    expect_read("1");
    ck_assert_str_eq(seen_of(1)->key, "is");
    mark("1");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.sent"), "1 2");
}
END_TEST

START_TEST(saved_cursor_stops_before_the_oldest_unsettled_page)
{
    reader_open();
    for (int i = 0; i < 9; i++)
        append(a, "k");
    for (int page = 0; page < 3; page++)
        ck_assert_uint_eq(read_page(3, MANY_BYTES), 3);
    renew(0);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    mark("1 2 3");
    renew(1);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
    mark("7 8 9");
    renew(1);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
    mark("4 5 6");
    renew(3);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 9);
}
END_TEST

START_TEST(saved_cursor_keeps_late_rows_late)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "late");
    append(b, "b");
    read_all(10, MANY_BYTES);
    mark("2");
    rig_exec(a, "commit");
    read_all(10, MANY_BYTES);
    ck_assert_str_eq(new_ids(), "2 1");
    renew(1); /* page 1 holds the late row, and it is not marked */
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 2);
    reader_open();
    expect_read("1");
    mark("1");
    renew(next_page);
    reader_open();
    expect_read("");
}
END_TEST

START_TEST(cursor_in_the_midst_of_a_large_late_read_loses_nothing)
{
    size_t half;

    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", 50);
    append(b, "b");
    read_all(10, MANY_BYTES);
    mark("51");
    rig_exec(a, "commit");
    (void)read_page(10, MANY_BYTES);
    (void)read_page(10, MANY_BYTES);
    mark("1 2 3 4 5 6 7 8 9 10");
    renew(2); /* the second page of late rows is the oldest with work to do */
    half = n_seen;
    ck_assert_uint_eq(half, 21);
    reader_open();
    read_all(10, MANY_BYTES);
    ck_assert_uint_eq(n_seen - half, 40);
    for (size_t i = half; i < n_seen; i++)
        ck_assert_int_eq(seen[i].id, (int64_t)(11 + i - half));
}
END_TEST

START_TEST(reader_whose_epoch_moved_writes_nothing)
{
    struct source *zombie;

    reader_open();
    append(a, "k");
    expect_read("1");
    zombie = reader;
    reader = NULL;
    reader_open(); /* the same name takes the lease */
    struct source *heir = reader;
    reader = zombie;
    source_renew(reader, (uint64_t)rig_now_ms(), 1);
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    source_resign(reader, (uint64_t)rig_now_ms(), 1);
    wait_for(SOURCE_RESIGNED);
    ck_assert_str_eq(rig_scalar(db, "select owner from outbox.relay"), "test");
    reader_close();
    reader = heir;
    expect_read("1");
}
END_TEST

/* -- restored from another cluster ---------------------------------------------------------- */

#define FAR 1000000000000
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
/* A transaction id of the other cluster. */
#define FOREIGN(xid) "((" xid ")::text::bigint + " TEXT(FAR) ")::text::xid8"

/* Turns all that is there into what a dump of another cluster would have brought: transaction ids that
 * this cluster has not reached, and a saved cursor of the same kind. */
static void make_foreign(void)
{
    rig_exec(db, "update outbox.event set xid = " FOREIGN("xid") ";"
                 "update outbox.relay set system_identifier = 1,"
                 " cursor_snapshot = format('%s:%s:%s',"
                 " " FOREIGN("pg_snapshot_xmin(cursor_snapshot)") ","
                 " " FOREIGN("pg_snapshot_xmax(cursor_snapshot)") ","
                 " (select string_agg((" FOREIGN("x") ")::text, ',' order by x)"
                 "  from pg_snapshot_xip(cursor_snapshot) x))::pg_snapshot");
}

/* Row 1 was in the xip list of the saved cursor, row 3 at or above its xmax; 2 and 4 are settled, the
 * rest was never read. */
static void save_and_restore(void)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "k1");
    append(b, "k2");
    rig_exec(b, "begin");
    (void)own_xid(b);
    rig_exec(c, "begin");
    append(c, "k3");
    append(b, "k2");
    rig_exec(b, "commit");
    read_all(10, MANY_BYTES);
    ck_assert_str_eq(new_ids(), "2 4");
    mark("2 4");
    renew(next_page);
    rig_exec(a, "commit");
    rig_exec(c, "commit");
    append(a, "k1");
    append(a, "k2");
    make_foreign();
}

START_TEST(restored_rows_come_all_and_in_order_and_so_do_new_ones)
{
    save_and_restore();
    append(a, "k1"); /* 7, by the new cluster, before the relay was started */
    reader_open();
    expect_read("1 3 5 6 7");
    expect_read("");
    append(a, "k1");
    rig_exec(b, "begin");
    append(b, "k2");
    append(a, "k1");
    expect_read("8 10");
    rig_exec(b, "commit");
    expect_read("9");
    expect_read("");
    ck_assert_int_eq(rig_scalar_i64(db, "select floor_id from outbox.relay"), 6);
}
END_TEST

START_TEST(restored_rows_not_yet_settled_come_again_after_a_crash)
{
    save_and_restore();
    append(a, "k1");
    reader_open();
    expect_read("1 3 5 6 7");
    mark("3 6");
    renew(0);
    reader_open();
    expect_read("1 5 7");
    mark("1 5");
    renew(0);
    reader_open();
    expect_read("7");
    mark("7");
    renew(next_page);
    reader_open();
    expect_read("");
    append(a, "k1");
    expect_read("8");
}
END_TEST

/* As save_and_restore leaves them: with ids of transactions that this cluster has not reached. */
START_TEST(rows_that_are_restored_under_the_reader_do_not_come_again_and_again)
{
    reader_open();
    append(a, "k");
    append(a, "k");
    expect_read("1 2");
    rig_exec(db, "insert into outbox.event (xid, id, topic, type) overriding system value"
                 " select (pg_current_xact_id()::text::bigint + 1000000)::text::xid8, n, 't', 'x'"
                 " from generate_series(10, 12) n");
    expect_read("10 11 12");
    for (int i = 0; i < 3; i++)
        expect_read("");
    rig_exec(db, "alter table outbox.event alter id restart with 20");
    append(a, "k");
    expect_read("20");
    expect_read("");
}
END_TEST

/* More of them than a page holds: late to the cursor, every one. */
START_TEST(many_restored_late_rows_come_page_by_page)
{
    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", 250);
    append(b, "b");
    read_all(100, MANY_BYTES);
    mark("251");
    renew(next_page);
    rig_exec(a, "commit");
    append(a, "late");
    make_foreign();
    n_seen = 0;
    reader_open();
    read_all(100, MANY_BYTES);
    append(a, "late");
    read_all(100, MANY_BYTES);
    ck_assert_uint_eq(n_seen, 252);
    expect_key_order();
}
END_TEST

START_TEST(restored_without_its_cursor_every_row_comes_in_order)
{
    for (int i = 0; i < 30; i++)
        append(i % 2 == 0 ? a : b, i % 2 == 0 ? "a" : "b");
    make_foreign();
    rig_exec(db, "update outbox.relay set cursor_id = 0, cursor_snapshot = pg_current_snapshot()");
    reader_open();
    read_all(7, MANY_BYTES);
    for (int i = 0; i < 30; i++) {
        append(i % 2 == 0 ? a : b, i % 2 == 0 ? "a" : "b");
        read_all(7, MANY_BYTES);
    }
    expect_all_once();
    expect_key_order();
}
END_TEST

/* -- many writers --------------------------------------------------------------------------- */

static volatile int writers_stop;

static void run_sql(PGconn *conn, const char *sql)
{
    PGresult *res = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(res);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        fprintf(stderr, "%s\nin: %s\n", PQerrorMessage(conn), sql);
        abort(); /* in a thread of its own libcheck has no say */
    }
    PQclear(res);
}

static uint32_t below(uint64_t *rng, uint32_t n)
{
    return (uint32_t)(((uint64_t)retry_random(rng) * n) >> 32);
}

/* The interleaving is the point, so the writers pause at random; nothing waits for the pauses. */
static void pause_sometimes(uint64_t *rng)
{
    if (below(rng, 3) == 0)
        usleep(below(rng, 8000));
}

static void write_rows(PGconn *conn, uint64_t *rng, const char *key)
{
    char sql[300];

    snprintf(sql, sizeof sql, "insert into outbox.event (topic, type, key, payload) select 't', 'x',"
                              " '%s', 'p' from generate_series(1, %u)",
             key, below(rng, 10) == 0 ? 1 + below(rng, 80) : 1 + below(rng, 3));
    run_sql(conn, sql);
}

static void one_transaction(PGconn *conn, uint64_t *rng, const char *key)
{
    run_sql(conn, "begin");
    if (below(rng, 2) == 0)
        run_sql(conn, "select pg_current_xact_id()");
    for (uint32_t n = 1 + below(rng, 3); n > 0; n--) {
        pause_sometimes(rng);
        bool savepoint = below(rng, 4) == 0;
        if (savepoint)
            run_sql(conn, "savepoint s");
        write_rows(conn, rng, key);
        if (savepoint)
            run_sql(conn, below(rng, 2) == 0 ? "rollback to s" : "release s");
    }
    pause_sometimes(rng);
    run_sql(conn, below(rng, 5) == 0 ? "rollback" : "commit");
}

struct writer {
    pthread_t thread;
    uint64_t rng;
    int number;
};

static void *writer(void *arg)
{
    struct writer *w = arg;
    PGconn *conn = PQconnectdb(rig_dsn());
    char key[16];

    snprintf(key, sizeof key, "w%d", w->number);
    while (!writers_stop)
        one_transaction(conn, &w->rng, key);
    PQfinish(conn);
    return NULL;
}

static uint64_t seed_of_test(void)
{
    const char *given = getenv("OUTBOX_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)rig_now_ms();

    printf("seed %llu (OUTBOX_TEST_SEED)\n", (unsigned long long)seed);
    return seed;
}

static void writers_start(struct writer *w, uint64_t *rng)
{
    writers_stop = 0;
    for (int i = 0; i < N_WRITERS; i++) {
        w[i] = (struct writer){ .number = i, .rng = *rng + (uint64_t)i };
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, writer, &w[i]), 0);
    }
}

static void writers_join(struct writer *w)
{
    writers_stop = 1;
    for (int i = 0; i < N_WRITERS; i++)
        ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
}

START_TEST(eight_writers_read_equals_committed)
{
    uint64_t rng = seed_of_test();
    struct writer w[N_WRITERS];
    int64_t end_ms = rig_now_ms() + WRITE_MS;

    reader_open();
    writers_start(w, &rng);
    while (rig_now_ms() < end_ms || n_seen < ENOUGH_ROWS) {
        (void)read_page(1 + below(&rng, 60), below(&rng, 4) == 0 ? 2000 : MANY_BYTES);
        if (below(&rng, 2) == 0)
            usleep(below(&rng, 5000));
    }
    writers_join(w);
    read_all(50, MANY_BYTES);
    read_all(50, MANY_BYTES);
    printf("%zu rows in %u reads\n", n_seen, n_reads);
    ck_assert_uint_ge(n_seen, ENOUGH_ROWS);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* The same under readers that crash: each page is marked in part, out of order and late. */
static void mark_some(uint64_t *rng, uint32_t of_ten)
{
    char ids[2000];
    size_t at = 0;
    uint32_t n = 0;

    ids[0] = '\0';
    for (size_t i = n_seen; i-- > 0 && i + 150 > n_seen && n < 90;)
        if (below(rng, 10) < of_ten) {
            at += (size_t)snprintf(ids + at, sizeof ids - at, "%lld ", (long long)seen[i].id);
            n++;
        }
    if (n > 0)
        mark(ids);
}

/* The oldest page of this reader with a row that is not marked. `first`: its first row in seen. */
static uint64_t oldest_open_page(size_t first)
{
    static char sql[MAX_TEXT];
    size_t at = 0;

    at += (size_t)snprintf(sql, sizeof sql, "select coalesce(min(page), %llu) from (values (-1, -1)",
                           (unsigned long long)next_page);
    for (size_t i = first; i < n_seen && at < sizeof sql - 400; i++)
        at += (size_t)snprintf(sql + at, sizeof sql - at, ",(%lld,%llu)", (long long)seen[i].id,
                               (unsigned long long)seen[i].page);
    snprintf(sql + at, sizeof sql - at,
             ") v (id, page) where id > 0 and not exists"
             " (select from outbox.sent s where s.id = v.id)");
    return (uint64_t)rig_scalar_i64(db, sql);
}

static void drop_repeats(void)
{
    size_t n = 0;
    int64_t top = rig_scalar_i64(db, "select coalesce(max(id), 0) from outbox.event");
    char *hits = calloc((size_t)top + 1, 1);

    for (size_t i = 0; i < n_seen; i++)
        if (seen[i].id > top || hits[seen[i].id]++ == 0)
            seen[n++] = seen[i];
    free(hits);
    n_seen = n;
}

START_TEST(readers_that_crash_miss_nothing_and_keep_the_order)
{
    uint64_t rng = seed_of_test();
    struct writer w[N_WRITERS];
    int64_t end_ms = rig_now_ms() + WRITE_MS;
    size_t first = 0;
    unsigned n_readers = 1;

    reader_open();
    writers_start(w, &rng);
    while (rig_now_ms() < end_ms || n_readers < ENOUGH_READERS) {
        if (below(&rng, 12) == 0 || n_seen - first > 1500) {
            reader_open();
            first = n_seen;
            n_readers++;
        }
        (void)read_page(1 + below(&rng, 60), MANY_BYTES);
        mark_some(&rng, below(&rng, 11));
        if (below(&rng, 2) == 0)
            renew(oldest_open_page(first));
    }
    writers_join(w);
    reader_open();
    read_all(50, MANY_BYTES);
    printf("%zu rows with repeats, %u readers\n", n_seen, n_readers);
    ck_assert_uint_ge(n_readers, ENOUGH_READERS);
    drop_repeats();
    expect_all_once();
    expect_key_order();
}
END_TEST

/* -- cost ----------------------------------------------------------------------------------- */

#define SQL_WRITES                                                                                 \
    "select coalesce(sum(n_tup_upd + n_tup_del), 0) from pg_stat_user_tables"                      \
    " where schemaname = 'outbox' and (relname like 'event%' or relname like 'sent%')"

START_TEST(rows_and_marks_are_never_updated_or_deleted)
{
    /* statistics reach the view when a session ends, at the latest */
    int64_t before = rig_scalar_i64(db, SQL_WRITES);
    int64_t inserted = rig_scalar_i64(db, "select coalesce(sum(n_tup_ins), 0)"
                                          " from pg_stat_user_tables where relname like 'sent%'");
    char arrived[256];

    reader_open();
    for (int i = 0; i < 30; i++)
        append(a, "k");
    read_all(10, MANY_BYTES);
    mark("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15");
    renew(1);
    reader_open();
    read_all(10, MANY_BYTES);
    mark("16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 1 2 3");
    renew(next_page);
    reader_close();
    PQfinish(a);
    a = NULL;
    PQfinish(db);
    db = rig_connect();
    /* what a first attempt to mark wrote before it met a mark counts as well, though it is undone */
    snprintf(arrived, sizeof arrived,
             "select sum(n_tup_ins) >= %lld from pg_stat_user_tables where relname like 'sent%%'",
             (long long)inserted + 30);
    rig_wait_scalar(db, arrived, "t", DEADLINE_MS);
    ck_assert_int_eq(rig_scalar_i64(db, "select count(*) from outbox.sent"), 30);
    ck_assert_int_eq(rig_scalar_i64(db, SQL_WRITES), before);
}
END_TEST

static char plan_text[MAX_TEXT];

static const char *explain(const char *execute)
{
    char sql[1000];
    size_t at = 0;
    PGresult *res;

    snprintf(sql, sizeof sql, "explain (analyze, buffers, timing off) execute %s", execute);
    rig_exec(a, sql); /* the first run also plans and fills the caches */
    res = PQexec(a, sql);
    ck_assert_msg(PQresultStatus(res) == PGRES_TUPLES_OK, "%s", PQerrorMessage(a));
    for (int i = 0; i < PQntuples(res); i++)
        at += (size_t)snprintf(plan_text + at, sizeof plan_text - at, "%s\n",
                               PQgetvalue(res, i, 0));
    ck_assert_uint_lt(at, sizeof plan_text);
    PQclear(res);
    return plan_text;
}

/* Of the whole statement: the first such line belongs to the top of the plan. */
static long buffers(const char *plan)
{
    const char *line = strstr(plan, "Buffers: shared");
    long n = 0;

    if (line == NULL)
        return 0;
    const char *hit = strstr(line, "hit="), *read = strstr(line, "read=");
    const char *end = strchr(line, '\n');
    if (hit != NULL && hit < end)
        n += atol(hit + 4);
    if (read != NULL && read < end)
        n += atol(read + 5);
    return n;
}

static void expect_few_buffers(long most)
{
    if (buffers(plan_text) < most)
        return;
    fputs(plan_text, stderr); /* longer than what libcheck takes as a message */
    ck_abort_msg("%ld buffers; the plan is above", buffers(plan_text));
}

static int count(const char *text, const char *words)
{
    int n = 0;

    for (; (text = strstr(text, words)) != NULL; text++)
        n++;
    return n;
}

/* The statement, with its parameters up to the snapshot's: a reader that has read everything. */
static void expect_cheap(const char *statement, long most)
{
    char execute[300];

    snprintf(execute, sizeof execute, "%s (%s, '%s', 0, 1000, 16777216)", statement,
             rig_scalar(db, "select max(id) from outbox.event"),
             rig_scalar(db, "select pg_current_snapshot()"));
    const char *plan = explain(execute);
    ck_assert_int_eq(count(plan, "Seq Scan on event"), 0);
    ck_assert_int_eq(count(plan, "_xid_id_idx"), 2 * 9);
    expect_few_buffers(most);
}

/* The late half that was running is now finished and wrote one row: only that may be looked at. */
static void expect_cheap_late(long most)
{
    rig_exec(b, "begin");
    append(b, "late");
    append(c, "c");
    char snap[200], execute[400];
    snprintf(snap, sizeof snap, "%s", rig_scalar(db, "select pg_current_snapshot()"));
    rig_exec(b, "commit");
    snprintf(execute, sizeof execute, "outbox_read (%s, '%s', 0, 1000, 16777216)",
             rig_scalar(db, "select max(id) from outbox.event"), snap);
    const char *plan = explain(execute);
    expect_few_buffers(most);
    /* The snapshot and the one row; PostgreSQL 18 counts rows with two decimals. */
    ck_assert_int_eq(count(plan, "(actual rows=2 ") + count(plan, "(actual rows=2.00 "), 1);
}

static void expect_cheap_acquire(long most)
{
    (void)explain("outbox_acquire ('test', 1000, 0)");
    expect_few_buffers(most);
}

START_TEST(idle_reads_stay_cheap_after_200k_rows)
{
    rig_exec(a, SQL_SESSION " select 1");
    rig_exec(a, SQL_PREPARE_READS SQL_PREPARE_ACQUIRE);
    append_series(db, "bulk", 200000);
    if (_i == 1) /* what is known of the leaves is wrong: they were filled and emptied after it */
        rig_exec(db, "analyze outbox.event; create temp table t as select bucket from outbox.event;"
                     "truncate outbox.event; insert into outbox.event (bucket, topic, type)"
                     " select (bucket + 1) % 8, 't', 'x' from t");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event");
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.sent");
    expect_cheap("outbox_read", 200);
    expect_cheap("outbox_catch_up", 200);
    expect_cheap_late(200);
    expect_cheap_acquire(400);
}
END_TEST

/* A million uncommitted rows of others must not be walked at each poll. */
START_TEST(idle_read_skips_the_rows_of_a_running_transaction)
{
    rig_exec(a, SQL_SESSION " select 1");
    rig_exec(a, SQL_PREPARE_READS);
    rig_exec(b, "begin");
    append_series(b, "running", 100000);
    append(c, "c");
    char snap[200], execute[300];
    snprintf(snap, sizeof snap, "%s", rig_scalar(db, "select pg_current_snapshot()"));
    append(c, "c"); /* b is in the xip list of snap now */
    snprintf(execute, sizeof execute, "outbox_read (%s, '%s', 0, 1000, 16777216)",
             rig_scalar(db, "select max(id) from outbox.event"), snap);
    (void)explain(execute);
    expect_few_buffers(200);
    rig_exec(b, "rollback");
}
END_TEST

static TCase *add_case(Suite *s, const char *name, int timeout_s)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, timeout_s);
    suite_add_tcase(s, tc);
    return tc;
}

Suite *suite_read(void);

Suite *suite_read(void)
{
    Suite *s = suite_create("read");

    /* tests/mutants run this case alone */
    TCase *tc = add_case(s, "late_halves", 60);
    tcase_add_test(tc, row_of_a_transaction_in_the_xip_list_is_read_after_its_commit);
    tcase_add_test(tc, row_of_a_transaction_at_or_above_xmax_is_read_after_its_commit);

    tc = add_case(s, "late", 60);
    tcase_add_test(tc, fresh_rows_come_in_order_and_once);
    tcase_add_test(tc, rows_of_prepared_transactions_are_read_when_they_commit);
    tcase_add_test(tc, savepoints_are_read_with_their_transaction_and_rollbacks_never);
    tcase_add_test(tc, row_that_stalled_after_it_drew_its_id_is_read);
    tcase_add_test(tc, long_transaction_elsewhere_holds_nobody_back);

    tc = add_case(s, "pages", 60);
    tcase_add_loop_test(tc, large_late_transaction_is_read_once_in_order_in_few_pages, 0, 2);
    tcase_add_test(tc, rows_that_become_late_during_a_late_read_are_read);
    tcase_add_loop_test(tc, pages_are_cut_by_bytes_and_a_giant_row_passes, 0, 2);
    tcase_add_loop_test(tc, large_row_among_small_ones_comes_whole, 0, 6);
    tcase_add_loop_test(tc, cut_page_is_never_taken_for_the_last, 0,
                        (int)(sizeof shapes / sizeof shapes[0]));

    tc = add_case(s, "catch_up", 60);
    tcase_add_test(tc, next_reader_gets_what_is_neither_sent_nor_held);
    tcase_add_test(tc, marks_name_partition_and_offset_and_twice_is_once);
    tcase_add_test(tc, marks_go_to_the_leaf_of_their_bucket);
    tcase_add_loop_test(tc, only_marks_are_committed_without_waiting_and_only_when_asked, 0, 2);
    tcase_add_test(tc, saved_cursor_stops_before_the_oldest_unsettled_page);
    tcase_add_test(tc, saved_cursor_keeps_late_rows_late);
    tcase_add_test(tc, cursor_in_the_midst_of_a_large_late_read_loses_nothing);
    tcase_add_test(tc, reader_whose_epoch_moved_writes_nothing);

    tc = add_case(s, "lost", 60);
    tcase_add_test(tc, mark_of_an_earlier_link_is_only_for_the_event_that_was_read);
    tcase_add_test(tc, cursor_of_an_earlier_link_is_not_saved);

    tc = add_case(s, "restored", 60);
    tcase_add_test(tc, restored_rows_come_all_and_in_order_and_so_do_new_ones);
    tcase_add_test(tc, restored_rows_not_yet_settled_come_again_after_a_crash);
    tcase_add_test(tc, rows_that_are_restored_under_the_reader_do_not_come_again_and_again);
    tcase_add_test(tc, many_restored_late_rows_come_page_by_page);
    tcase_add_test(tc, restored_without_its_cursor_every_row_comes_in_order);

    tc = add_case(s, "writers", 120);
    tcase_add_test(tc, eight_writers_read_equals_committed);
    tcase_add_test(tc, readers_that_crash_miss_nothing_and_keep_the_order);

    tc = add_case(s, "cost", 120);
    tcase_add_test(tc, rows_and_marks_are_never_updated_or_deleted);
    tcase_add_loop_test(tc, idle_reads_stay_cheap_after_200k_rows, 0, 2);
    tcase_add_test(tc, idle_read_skips_the_rows_of_a_running_transaction);
    return s;
}
