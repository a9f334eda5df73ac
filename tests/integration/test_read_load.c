/* test_read_load.c - reading while many write, readers crash, and tables are large: what is read equals what
 * was committed, and costs little. Against a real server; see reads.h.
 */
#include <pthread.h>
#include <unistd.h>

#include "lib/shared/retry.h"
#include "relay/source/sql.h"
#include "tests/integration/reads.h"

enum {
    N_WRITERS = 8,
    WRITE_MS = 2500, /* longer where the machine is slow */
    ENOUGH_ROWS = 500,
    ENOUGH_READERS = 4,
    MAX_TEXT = 60000,
};

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
    rig_wait_scalar(db, arrived, "t", RIG_DEADLINE_MS);
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
    expect_cheap_acquire(7000); /* a thousand behind the cursor, which nobody has saved */
}
END_TEST

/* Of the rows of another cluster a takeover looks at one, and then at so many at a time; of our own, below them, at none. */
START_TEST(rows_of_another_cluster_are_looked_at_in_pieces)
{
    rig_exec(a, SQL_SESSION " select 1");
    rig_exec(a, SQL_PREPARE_ACQUIRE SQL_PREPARE_FLOOR);
    if (_i == 1)
        rig_exec(db, "analyze outbox.event");
    rig_exec(db, "insert into outbox.event (xid, id, bucket, topic, type) overriding system value"
                 " select (1000000000000 + n / 1000)::text::xid8, n, n % 8, 't', 'x' from generate_series(1, 200000) n");
    append_series(db, "ours", 100000);
    if (_i == 0)
        rig_exec(db, "analyze outbox.event");
    expect_cheap_acquire(400);
    (void)explain("outbox_floor (0, 1000, '0', 0, 1000)");
    expect_few_buffers(1500);
    (void)explain("outbox_floor (0, 1000, '0', 0, 10)");
    expect_few_buffers(200);
    (void)explain("outbox_floor (0, 1000, '1000000000100', 100000, 1000)");
    expect_few_buffers(1500);
    (void)explain("outbox_floor (0, 1000, '1000000000200', 200000, 1000)");
    expect_few_buffers(200);
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

Suite *suite_read_load(void);

Suite *suite_read_load(void)
{
    Suite *s = suite_create("read_load");

    TCase *tc = rig_case(s, "writers", setup, teardown);
    tcase_add_test(tc, eight_writers_read_equals_committed);
    tcase_add_test(tc, readers_that_crash_miss_nothing_and_keep_the_order);

    tc = rig_case(s, "cost", setup, teardown);
    tcase_add_test(tc, rows_and_marks_are_never_updated_or_deleted);
    tcase_add_loop_test(tc, idle_reads_stay_cheap_after_200k_rows, 0, 2);
    tcase_add_loop_test(tc, rows_of_another_cluster_are_looked_at_in_pieces, 0, 2);
    tcase_add_test(tc, idle_read_skips_the_rows_of_a_running_transaction);
    return s;
}
