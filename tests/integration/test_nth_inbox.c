/* test_nth_inbox.c - every n-th allocation and every n-th call of libpq fails, while libinbox does all
 * that it does.
 *
 * A whole inbox_consumer_run() on a real PostgreSQL; Kafka and the clock are faked, so that backoffs pass
 * at once: two partitions, with repeats, an event that fails first, one that is rejected, one of no type and
 * one without an id, and a dead letter that was sent back. Whatever failed, every event has been applied
 * once at the end, in the order of its key, or is a dead letter. The run may end with OUTBOX_ENOMEM
 * for want of memory, and a second one finishes what is left. Calls outside of a run:
 * test_nth_inbox_api.c. Leaks are left to the sanitizer. Needs OUTBOX_TEST_DSN. NTH_STEP=1: each way to
 * fail meets every call.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "tests/integration/inbox_log.h"
#include "tests/integration/nth_libpq.h"
#include "tests/integration/nth_malloc.h"

enum { PATIENCE_POLLS = 5 };

static PGconn *control;
static outbox_error err;
static char said[400]; /* the last line of the log */

/* -- the log ------------------------------------------------------------------------------------- */

static const struct logged records[N_PARTITIONS][MOST_RECORDS + 1] = {
    {
        { "a", "a-1", "event" },
        { "b", "b-1", "fails first" },
        { "a", "a-1", "event" }, /* again */
        { "b", "01890a5d-ac96-774b-bcce-b302099a8057", "event" },
        { "c", "c-1", "rejected" },
        { "c", "c-2", "event" },
    },
    {
        { "d", "d-1", "event" },
        { "d", "d-2", "nobody's" },
        { "d", NULL, "event" },
        { "d", "d-3", "event" },
    },
};
#define APPLIED "a: a-1, b: b-1 01890a5d-ac96-774b-bcce-b302099a8057, c: c-2, d: d-1 2 d-3"

static int64_t end_ms;
static int polls_after_failure;

static int64_t real_ms(void)
{
    return rig_now_ms() - 1000 * skipped_s;
}

/* Of the control connection, in the midst of a run. */
static int64_t look(const char *sql)
{
    bool was_armed = armed, was_counting = counting;
    int64_t n;

    armed = counting = false;
    n = rig_scalar_i64(control, sql);
    armed = was_armed;
    counting = was_counting;
    return n;
}

static bool is_finished(void)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (!p->claimed || p->part.stored != end_of(p->number))
            return false;
    return look("select count(*) from inbox.dead where state = 'retry'") == 0 &&
           look("select count(*) from pg_locks where locktype = 'advisory' and database = "
                "(select oid from pg_database where datname = current_database())") == 0;
}

/* Memory that is gone for good would have it try for ever, as it should. */
static void bring_memory_back(void)
{
    if (armed && n_failed > 0 && ++polls_after_failure > PATIENCE_POLLS)
        armed = false;
}

/* libcheck allocates: only at the end. */
static void check_deadline(void)
{
    if (real_ms() < end_ms)
        return;
    armed = counting = false;
    ck_abort_msg("call %u (%s) or allocation %u failed, and the consumer hangs: %s", call_to_fail,
                 failed_call != NULL ? failed_call : "none", fail_at, said);
}

static void look_around(void)
{
    check_deadline();
    bring_memory_back();
}

/* -- a consumer ---------------------------------------------------------------------------------- */

static bool has_failed;
static bool with_care; /* each call must have been written down before, since the last owner was killed */

/* z: a dead letter, which has its own place for it. */
static bool is_written_down(const inbox_message *msg)
{
    char sql[200];

    snprintf(sql, sizeof sql, "select count(*) from inbox.attempt where kafka_partition = %d and "
             "kafka_offset = %lld and begun_by is not null", (int)msg->partition,
             (long long)msg->offset);
    return *(const char *)msg->key == 'z' || look(sql) == 1;
}

static int on_event(PGconn *conn, const inbox_message *msg, void *arg)
{
    char place[24], key[2] = { *(const char *)msg->key, '\0' };
    const char *values[] = { key, msg->event_id != NULL ? msg->event_id : place };
    PGresult *r;
    bool ok;

    (void)arg;
    snprintf(place, sizeof place, "%lld", (long long)msg->offset);
    if (with_care && !is_written_down(msg)) /* no assertion: it allocates */
        ck_abort_msg("call %u (%s) failed, and %s is not called with care", call_to_fail,
                     failed_call != NULL ? failed_call : "none", values[1]);
    r = PQexecParams(conn, "insert into applied (key, event) values ($1, $2)", 2, NULL, values, NULL,
                     NULL, 0);
    ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok ? INBOX_DONE : INBOX_RETRY;
}

static int on_fails_first(PGconn *conn, const inbox_message *msg, void *arg)
{
    int outcome = on_event(conn, msg, arg);

    if (!has_failed)
        outcome = INBOX_RETRY;
    has_failed = true;
    return outcome;
}

static int on_rejected(PGconn *conn, const inbox_message *msg, void *arg)
{
    (void)on_event(conn, msg, arg);
    inbox_fail(msg, "it is poison");
    return INBOX_REJECT;
}

static void on_log(int level, const char *line, void *arg)
{
    (void)level, (void)arg;
    snprintf(said, sizeof said, "%s", line);
}

static const char *settings[] = { "dsn", NULL, "group", "nth", "topics", "nth, other",
                                  "kafka.bootstrap.servers", "127.0.0.1:1", "kafka.client.id", "x",
                                  "retry.base", "1ms", "inbox.start", "latest", NULL };

static void new_consumer(void)
{
    settings[1] = rig_dsn();
    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_int_eq(inbox_consumer_on(c, "event", on_event, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(inbox_consumer_on(c, "fails first", on_fails_first, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(inbox_consumer_on(c, "rejected", on_rejected, NULL, &err), OUTBOX_OK);
    inbox_consumer_log(c, on_log, NULL);
    in_log = records;
    at_poll = look_around;
    is_over = is_finished;
    end_ms = real_ms() + RIG_DEADLINE_MS;
    polls_after_failure = 0;
}

static void setup(void)
{
    control = rig_connect();
    /* hundreds of runs, and no crash of the server in any; none may wait for ever */
    rig_exec(control,
             "do $$ declare s text; begin "
             "foreach s in array array['synchronous_commit = off', $q$statement_timeout = '30s'$q$] loop "
             "execute format('alter database %I set ', current_database()) || s; end loop; end $$; "
             "set synchronous_commit = off; drop table if exists applied; "
             "create table applied (n bigserial, key text, event text)");
}

static void teardown(void)
{
    PQfinish(control);
    control = NULL;
}

/* killed: the last owner was, within its first call. Returns what has to be there at the end. */
static void fill_tables(bool killed)
{
    has_failed = false;
    rig_exec(control,
             "delete from applied; delete from inbox.dead; delete from inbox.attempt; "
             "delete from inbox.position; delete from inbox.seen; "
             "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, type, "
             "key, payload, header_names, header_values, state, reason, attempts) values "
             "('nth', 'nth', 9, 0, 'nth z-1', 'event', 'z', 'p', '{ce_type,ce_id}', "
             "'{event,z-1}', 'retry', 'attempts', 1)");
    if (killed)
        rig_exec(control,
                 "insert into inbox.position (consumer, topic, kafka_partition, owner) "
                 "values ('nth', 'nth', 0, 'gone'), ('nth', 'nth', 1, 'gone'); "
                 "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, "
                 "attempts, begun_by) values ('nth', 'nth', 0, 0, 'nth a-1', 1, 'gone')");
}

/* The one that was sent back is applied, or dead again when the call that failed was its handler's. */
static void check_tables(const char *what, unsigned n)
{
    const char *dead = rig_scalar(
        control, "select coalesce(string_agg(event_id || ' ' || state || ' ' || reason, ', ' "
                 "order by id), '') from inbox.dead where event_id <> 'nth z-1'");
    const char *applied = rig_scalar(
        control, "select coalesce(string_agg(key || ': ' || events, ', ' order by key), '') from "
                 "(select key, string_agg(event, ' ' order by n) as events from applied "
                 "where key <> 'z' group by key) k");

    ck_assert_msg(strcmp(applied, APPLIED) == 0, "%s %u failed, and applied was \"%s\": %s", what, n,
                  applied, said);
    ck_assert_msg(strcmp(dead, "nth c-1 dead rejected") == 0,
                  "%s %u failed, and dead letters are \"%s\"", what, n, dead);
    ck_assert_msg(rig_scalar_i64(control, "select (select count(*) from inbox.dead where event_id = "
                                          "'nth z-1' and state = 'dead') + (select count(*) from "
                                          "applied where key = 'z')") == 1,
                  "%s %u failed, and the event that was sent back was lost or applied twice", what, n);
    ck_assert_msg(rig_scalar_i64(control, "select count(*) from inbox.attempt") == 0,
                  "%s %u failed, and calls of finished events stay written down", what, n);
    ck_assert_msg(strcmp(rig_scalar(control, "select string_agg(next_offset::text, ' ' order by "
                                             "kafka_partition) from inbox.position"), "6 4") == 0,
                  "%s %u failed, and a position is wrong", what, n);
}

/* -- runs ------------------------------------------------------------------------------------------ */

/* Nothing that libpq does ends a consumer. Returns whether a call failed. */
static bool run_with_failing(enum way how, unsigned n, const char *sql, bool killed)
{
    int code;

    fill_tables(killed);
    new_consumer();
    with_care = killed;
    fail_call(how, n, sql);
    code = inbox_consumer_run(c, &err);
    counting = with_care = false;
    ck_assert_msg(code == OUTBOX_OK, "call %u (%s, way %d) failed, and the run ended: %d: %s", n,
                  failed_call != NULL ? failed_call : "none", (int)how, code, err.message);
    check_tables("call", n);
    ck_assert_msg(failed_call != NULL || rig_scalar_i64(control, "select count(*) from applied "
                                                                 "where key = 'z'") == 1,
                  "nothing failed, and the event that was sent back is not applied");
    inbox_consumer_free(c);
    return failed_call != NULL;
}

static bool run_with_failing_call(enum way how, unsigned n, bool killed)
{
    return run_with_failing(how, n, NULL, killed);
}

static unsigned step(unsigned otherwise)
{
    const char *given = getenv("NTH_STEP");
    int n = given != NULL ? atoi(given) : (int)otherwise;

    ck_assert_int_gt(n, 0);
    return (unsigned)n;
}

/* The ways share the calls among them. */
START_TEST(a_run_applies_all_once_whatever_call_fails)
{
    unsigned n = 1 + (unsigned)_i * 2 % step(2 * N_WAYS);

    while (run_with_failing_call((enum way)_i, n, false))
        n += step(2 * N_WAYS);
    ck_assert_uint_gt(n, 60);
}
END_TEST

/* Each event is called alone, so the same calls come again and again: some of them stand for all. */
START_TEST(a_run_after_a_kill_applies_all_once_whatever_call_fails)
{
    unsigned n = 1 + (unsigned)_i % step(33);

    while (run_with_failing_call((enum way)_i, n, true))
        n += step(33);
    ck_assert_uint_gt(n, 100);
}
END_TEST

/* What was done all the same is known afterwards: that the last owner was killed, and who has the lock of the
 * dead letters. */
START_TEST(what_was_done_without_an_answer_is_known)
{
    static const char *const sql[] = { "inbox.claim(", "pg_try_advisory_lock", "pg_advisory_unlock",
                                       "begun_by <> $4" };

    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++)
        ck_assert_msg(run_with_failing((enum way)_i, 0, sql[i], true), "%s is never run", sql[i]);
}
END_TEST

static unsigned n_ended; /* runs, for want of memory */

/* Where it ends it says memory, and a run with memory does what is left. */
static bool run_with_failing_allocation(enum mode how, unsigned n, bool killed)
{
    bool failed;
    int code;

    fill_tables(killed);
    new_consumer();
    arm(how, n);
    code = inbox_consumer_run(c, &err);
    failed = disarm();
    if (code != OUTBOX_OK) {
        n_ended++;
        ck_assert_msg(failed && code == OUTBOX_ENOMEM && err.code == code &&
                          strstr(err.message, "memory") != NULL,
                      "allocation %u: %d: %s", n, code, err.message);
        code = inbox_consumer_run(c, &err);
        ck_assert_msg(code == OUTBOX_OK, "again after allocation %u: %d: %s", n, code, err.message);
    }
    check_tables("allocation", n);
    inbox_consumer_free(c);
    return failed;
}

/* Not those of libpq, which would take long: what its calls return without memory is above, and what it does when it has none
 * for the answer to a Sync in test_nth_inbox_api.c. */
START_TEST(a_run_applies_all_once_whatever_allocation_fails)
{
    unsigned n = 1;

    libpq_counts = false;
    while (run_with_failing_allocation((enum mode)_i, n, false))
        n++;
    ck_assert_uint_gt(n, 20);
    ck_assert_uint_gt(n_ended, 5);
}
END_TEST

START_TEST(a_run_after_a_kill_applies_all_once_whatever_allocation_fails)
{
    unsigned n = 1 + (unsigned)_i;

    libpq_counts = false;
    while (run_with_failing_allocation((enum mode)_i, n, true))
        n += n < 12 ? 1 : step(9); /* at first what is done once */
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_gt(n_ended, 5);
}
END_TEST

Suite *suite_nth_inbox(void);

Suite *suite_nth_inbox(void)
{
    Suite *suite = suite_create("nth_inbox");
    TCase *calls = tcase_create("calls"), *memory = tcase_create("memory");

    tcase_add_checked_fixture(calls, setup, teardown);
    tcase_add_loop_test(calls, a_run_applies_all_once_whatever_call_fails, 0, N_WAYS);
    tcase_add_loop_test(calls, a_run_after_a_kill_applies_all_once_whatever_call_fails, 0, N_WAYS);
    tcase_add_loop_test(calls, what_was_done_without_an_answer_is_known, 0, N_WAYS);
    suite_add_tcase(suite, calls);
    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_loop_test(memory, a_run_applies_all_once_whatever_allocation_fails, 0, N_MODES);
    tcase_add_loop_test(memory, a_run_after_a_kill_applies_all_once_whatever_allocation_fails, 0, N_MODES);
    suite_add_tcase(suite, memory);
    return suite;
}
