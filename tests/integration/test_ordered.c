/* test_ordered.c - OUTBOX_APPEND_ORDERED: two writers of one key that nothing else brings in order, with
 * it and without. See appends.h.
 */
#include "tests/integration/appends.h"

#include <pthread.h>
#include <stdatomic.h>

static PGconn *rival;

static void setup_two(void)
{
    setup();
    rival = rig_connect();
    event.key = "k";
    event.key_len = 1;
}

static void teardown_two(void)
{
    PQfinish(rival);
    teardown();
}

static int64_t last_id(void)
{
    return rig_scalar_i64(control, "select last_value from outbox.event_id_seq");
}

static void begin_both(void)
{
    rig_exec(conn, "begin");
    rig_exec(rival, "begin");
}

static void append_to(PGconn *to, const char *payload)
{
    event.payload = payload;
    event.payload_len = strlen(payload);
    expect_ok(outbox_append(to, &event, &err));
}

/* What the rival sends while the key is locked stays under way. */
static void send_to_rival(const char *payload)
{
    event.payload = payload;
    event.payload_len = strlen(payload);
    expect_ok(outbox_append_send(rival, &event, &err));
}

static int n_waiting(void)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "select count(*) from pg_locks where locktype = 'advisory' and not granted"
             " and pid = %d",
             PQbackendPID(rival));
    return (int)rig_scalar_i64(control, sql);
}

static bool waits(void *unused)
{
    (void)unused;
    return n_waiting() == 1;
}

static bool waits_or_has_its_answer(void *unused)
{
    ck_assert_int_eq(PQconsumeInput(rival), 1);
    return waits(unused) || !PQisBusy(rival);
}

static void expect_rival_waits(void)
{
    ck_assert(rig_wait_until(waits_or_has_its_answer, NULL, RIG_DEADLINE_MS));
    ck_assert_msg(PQisBusy(rival), "the rival did not wait");
}

static void rival_is_done(void)
{
    PGresult *result = PQgetResult(rival);

    expect_ok(outbox_append_result(result, &err));
    PQclear(result);
    ck_assert_ptr_null(PQgetResult(rival));
}

static const char *seen(PGconn *by)
{
    return rig_scalar(by, "select coalesce(string_agg(convert_from(payload, 'UTF8'), ' ' order by id),"
                          " '') from outbox.event where topic = 'order'");
}

/* The race: the first to append commits last. A reader between the two commits has the second event
 * already and meets the first, with the lower id, behind it. */
START_TEST(order_without_it_is_that_of_the_ids_and_not_of_the_commits)
{
    event.topic = "order";
    begin_both();
    append_to(conn, "first");
    append_to(rival, "second"); /* does not wait */
    rig_exec(rival, "commit");
    ck_assert_str_eq(seen(control), "second");
    rig_exec(conn, "commit");
    ck_assert_str_eq(seen(control), "first second");
    rig_exec(control, "delete from outbox.event where topic = 'order'");
}
END_TEST

START_TEST(order_with_it_is_that_of_the_commits)
{
    event.topic = "order";
    event.flags = OUTBOX_APPEND_ORDERED;
    begin_both();
    append_to(conn, "first");
    send_to_rival("second");
    expect_rival_waits();
    rig_exec(conn, "commit");
    rival_is_done();
    ck_assert_str_eq(seen(control), "first"); /* never the second without it */
    rig_exec(rival, "commit");
    ck_assert_str_eq(seen(control), "first second");
    rig_exec(control, "delete from outbox.event where topic = 'order'");
}
END_TEST

START_TEST(order_is_free_after_a_rollback)
{
    event.topic = "order";
    event.flags = OUTBOX_APPEND_ORDERED;
    begin_both();
    append_to(conn, "first");
    send_to_rival("second");
    expect_rival_waits();
    rig_exec(conn, "rollback");
    rival_is_done();
    rig_exec(rival, "commit");
    ck_assert_str_eq(seen(control), "second");
    rig_exec(control, "delete from outbox.event where topic = 'order'");
}
END_TEST

static void use_many(outbox_event events[2], const char *topic)
{
    events[0] = events[1] = event;
    events[0].topic = events[1].topic = topic;
    events[1].key = "other";
    events[1].key_len = 5;
    events[1].flags = 0;
}

/* While it waits the rival has drawn no id, so that the one it draws is above all that the first
 * writer goes on to draw; and no transaction id, which is taken before the id of an event. */
static void expect_nothing_drawn(void)
{
    int64_t before = last_id();
    char sql[200];

    expect_rival_waits();
    snprintf(sql, sizeof sql,
             "select count(*) from pg_locks where locktype = 'transactionid' and pid = %d",
             PQbackendPID(rival));
    expect_scalar(sql, "0");
    ck_assert_int_eq(last_id(), before);
    append_to(conn, "a");
    ck_assert_int_eq(last_id(), before + 1);
    rig_exec(conn, "commit");
}

START_TEST(order_comes_from_a_lock_that_is_taken_before_the_id)
{
    event.topic = "before";
    event.flags = OUTBOX_APPEND_ORDERED;
    if (_i == 1) {
        expect_ok(outbox_prepare(conn, &err));
        expect_ok(outbox_prepare(rival, &err));
        event.flags |= OUTBOX_APPEND_PREPARED;
    }
    begin_both();
    append_to(conn, "a");
    send_to_rival("b");
    expect_nothing_drawn();
    rival_is_done();
    rig_exec(rival, "commit");
    expect_scalar("select bool_and(after) from (select xid >= lag(xid, 1, xid) over (order by id)"
                  " as after from outbox.event where topic = 'before') o",
                  "t");
    expect_scalar("select string_agg(convert_from(payload, 'UTF8'), '' order by id)"
                  " from outbox.event where topic = 'before'",
                  "aab");
    rig_exec(control, "delete from outbox.event where topic = 'before'");
}
END_TEST

/* Only one key of the array is to be in order; the call waits for it before it draws any id. */
static outbox_event pair[2];
static int pair_code;
static atomic_bool pair_returned;

static bool waits_or_has_returned(void *unused)
{
    return waits(unused) || pair_returned;
}

static void *append_pair(void *arg)
{
    (void)arg;
    pair_code = outbox_append_many(rival, pair, 2, NULL);
    pair_returned = true;
    return NULL;
}

START_TEST(order_of_many_comes_from_locks_that_are_taken_before_the_first_id)
{
    pthread_t thread;

    event.topic = "many.before";
    event.flags = OUTBOX_APPEND_ORDERED;
    if (_i == 1) {
        expect_ok(outbox_prepare(rival, &err));
    }
    begin_both();
    append_to(conn, "a");
    event.payload = "b";
    use_many(pair, "many.before");
    if (_i == 1) {
        pair[0].flags |= OUTBOX_APPEND_PREPARED;
        pair[1].flags |= OUTBOX_APPEND_PREPARED;
    }
    pair_returned = false;
    ck_assert_int_eq(pthread_create(&thread, NULL, append_pair, NULL), 0);
    ck_assert(rig_wait_until(waits_or_has_returned, NULL, RIG_DEADLINE_MS));
    ck_assert_msg(!pair_returned, "the rival did not wait");
    int64_t before = last_id();
    append_to(conn, "a");
    ck_assert_int_eq(last_id(), before + 1);
    rig_exec(conn, "commit");
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(pair_code, OUTBOX_OK);
    ck_assert_str_eq(rig_scalar(rival, "select count(*) from pg_locks where locktype = 'advisory'"
                                       " and pid = pg_backend_pid()"),
                     "1"); /* the other key asked for none */
    rig_exec(rival, "commit");
    expect_scalar("select string_agg(convert_from(payload, 'UTF8'), '' order by id)"
                  " from outbox.event where topic = 'many.before'",
                  "aabb");
    rig_exec(control, "delete from outbox.event where topic = 'many.before'");
}
END_TEST

START_TEST(order_of_one_key_does_not_wait_for_another)
{
    event.topic = "keys";
    event.flags = OUTBOX_APPEND_ORDERED;
    begin_both();
    append_to(conn, "1");
    event.key = "l";
    append_to(rival, "2"); /* another key */
    event.key = "k";
    event.topic = "keys.too";
    append_to(rival, "3"); /* another topic */
    event.key = "";
    event.key_len = 0;
    append_to(rival, "4"); /* an empty key is one */
    rig_exec(conn, "commit");
    rig_exec(rival, "commit");
    expect_rows("keys.too", 2);
}
END_TEST

/* What the header tells those who write with SQL. */
START_TEST(order_is_shared_with_writers_that_take_the_lock_in_sql)
{
    event.topic = "shared";
    event.key = "\0\xffkey";
    event.key_len = 5;
    event.flags = OUTBOX_APPEND_ORDERED;
    rig_exec(control, "begin; select pg_advisory_xact_lock(hashtextextended("
                      "'shared' || '/' || encode('\\x00ff6b6579'::bytea, 'hex'), 0))");
    rig_exec(rival, "begin");
    send_to_rival("waits");
    expect_rival_waits();
    rig_exec(control, "commit");
    rival_is_done();
    rig_exec(rival, "commit");
    expect_rows("shared", 1);
}
END_TEST

/* ---- Many writers ---------------------------------------------------------------------------- */

enum { WRITERS = 6, ROUNDS = 40, KEYS = 5 };

struct writer {
    unsigned seed;
    uint32_t flags;
    bool ok;
};

/* Each transaction appends to all keys at once, in an order of its own, and notes its commits' order in
 * a table, under a lock that it takes last: without the library's locks nothing orders the appends. */
static void *write_rounds(void *arg)
{
    struct writer *w = arg;
    PGconn *own = PQconnectdb(rig_dsn());
    outbox_event events[KEYS];
    static const char *const keys[KEYS] = { "0", "1", "2", "3", "4" };

    w->ok = PQstatus(own) == CONNECTION_OK;
    for (int round = 0; w->ok && round < ROUNDS; round++) {
        unsigned first = (unsigned)rand_r(&w->seed);

        for (unsigned i = 0; i < KEYS; i++) {
            events[i] = (outbox_event)OUTBOX_EVENT_INIT;
            events[i].topic = "writers";
            events[i].type = "test";
            events[i].key = keys[(first + i * (1 + first % 4)) % KEYS];
            events[i].key_len = 1;
            events[i].flags = w->flags;
        }
        PQclear(PQexec(own, "begin"));
        w->ok = outbox_append_many(own, events, KEYS, NULL) == OUTBOX_OK;
        PQclear(PQexec(own, "insert into public.commits (xid) values (pg_current_xact_id())"));
        PQclear(PQexec(own, "commit"));
    }
    PQfinish(own);
    return NULL;
}

/* Of one key no event has a lower id than one whose transaction was over before it began to write: the
 * serial number in `commits` is drawn while the key is locked. */
START_TEST(order_of_many_writers_is_kept_and_never_deadlocks)
{
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];

    rig_exec(control, "create table public.commits (n bigint generated always as identity, xid xid8)");
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .seed = i + 1, .flags = OUTBOX_APPEND_ORDERED };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_rounds, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_msg(writers[i].ok, "writer %u failed", i);
    }
    expect_rows("writers", WRITERS * ROUNDS * KEYS);
    expect_scalar("select count(*) from (select c.n, lag(c.n) over (partition by e.key order by e.id)"
                  " as before from outbox.event e join public.commits c using (xid)"
                  " where e.topic = 'writers') o where n <= before",
                  "0");
    rig_exec(control, "drop table public.commits");
}
END_TEST

Suite *suite_ordered(void);
Suite *suite_ordered(void)
{
    Suite *suite = suite_create("ordered");
    TCase *tcase = tcase_create("ordered");

    tcase_add_checked_fixture(tcase, setup_two, teardown_two);
    tcase_add_test(tcase, order_without_it_is_that_of_the_ids_and_not_of_the_commits);
    tcase_add_test(tcase, order_with_it_is_that_of_the_commits);
    tcase_add_test(tcase, order_is_free_after_a_rollback);
    tcase_add_loop_test(tcase, order_comes_from_a_lock_that_is_taken_before_the_id, 0, 2);
    tcase_add_loop_test(tcase, order_of_many_comes_from_locks_that_are_taken_before_the_first_id, 0,
                        2);
    tcase_add_test(tcase, order_of_one_key_does_not_wait_for_another);
    tcase_add_test(tcase, order_is_shared_with_writers_that_take_the_lock_in_sql);
    tcase_add_test(tcase, order_of_many_writers_is_kept_and_never_deadlocks);
    suite_add_tcase(suite, tcase);
    return suite;
}
