/* test_nth_inbox_api.c - every n-th allocation fails in what libinbox does outside of a run, and the
 * call of libpq in inbox_accept().
 *
 * As test_nth_inbox.c does for runs. Leaks are left to the sanitizer. Needs OUTBOX_TEST_DSN.
 */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libpq-fe.h>

#include "lib/inbox/inside.h"
#include "lib/inbox/steps.h"
#include "tests/integration/nth_malloc.h"
#include "tests/rig/fake.h"
#include "tests/rig/rig.h"

static inbox_consumer *c;
static outbox_error err;

enum way { WORKS, NO_RESULT, LINK_LOST, N_WAYS };
static enum way way; /* of the next call */

FAKE(PGresult *, PQexecParams,
     (PGconn *conn, const char *sql, int n, const Oid *types, const char *const *values,
      const int *lengths, const int *formats, int format))
{
    enum way now = way;

    way = WORKS;
    if (now == NO_RESULT)
        return NULL;
    if (now == LINK_LOST)
        (void)shutdown(PQsocket(conn), SHUT_RDWR);
    return __real_PQexecParams(conn, sql, n, types, values, lengths, formats, format);
}

/* Nobody waits for what libpq has dropped. */
FAKE(int, poll, (struct pollfd *fds, nfds_t n, int timeout_ms))
{
    return __real_poll(fds, n, n_failed > 0 && timeout_ms > 1000 ? 1000 : timeout_ms);
}

/* -- several statements at once ---------------------------------------------------------------------- */

/* One that has no result may have been run, and then the connection is of no use. */
START_TEST(statements_at_once_end_whatever_allocation_fails)
{
    PGconn *conn = rig_connect();
    bool failed = true;
    unsigned n_ended = 0;

    for (unsigned n = 1; failed; n++) {
        struct inbox__step steps[] = { { .sql = "select 1", .alone = true }, { .sql = "select 2" } };
        arm((enum mode)_i, n);
        bool ok = inbox__steps_run(conn, steps, 2);
        failed = disarm();
        ck_assert_msg(ok || failed, "nothing failed, and it ended");
        ck_assert(!ok || (steps[0].result != NULL && steps[1].result != NULL));
        n_ended += !ok;
        inbox__steps_clear(steps, 2);
        PQreset(conn);
        ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
    }
    ck_assert_uint_ge(n_ended, 2); /* for each Sync, and others */
    PQfinish(conn);
}
END_TEST

/* -- one event by itself ---------------------------------------------------------------------------- */

static inbox_message message(void)
{
    inbox_message msg = INBOX_MESSAGE_INIT;

    msg.topic = "nth";
    msg.event_id = "accepted";
    return msg;
}

/* What inbox.h promises for each code: afterwards a transaction that was rolled back or lost can be run
 * again, and then the event is new. */
static void check_accept(PGconn *conn, int code, const char *what, unsigned n)
{
    inbox_message msg = message();

    if (code != INBOX_NEW)
        ck_assert_msg(err.code == code && err.message[0] != '\0', "%s %u: no message", what, n);
    if (code == OUTBOX_EDB) /* libpq's own failure: the id may be in the transaction */
        ck_assert_msg(err.sqlstate[0] == '\0' && (err.flags & OUTBOX_ERRF_RETRY_TXN) != 0 &&
                          strstr(err.message, "rolled back") != NULL,
                      "%s %u: flags %u: %s", what, n, (unsigned)err.flags, err.message);
    else if (code == OUTBOX_ELINK)
        ck_assert_uint_eq(err.flags, OUTBOX_ERRF_LINK_LOST);
    else
        ck_assert_msg(code == INBOX_NEW, "%s %u: code %d: %s", what, n, code, err.message);
    if (code == OUTBOX_ELINK)
        PQreset(conn);
    else
        rig_exec(conn, "rollback");
    rig_exec(conn, "begin");
    ck_assert_int_eq(inbox_accept(conn, "nth", &msg, &err), INBOX_NEW);
    rig_exec(conn, "rollback");
}

START_TEST(accept_survives_each_failing_allocation)
{
    PGconn *conn = rig_connect();
    inbox_message msg = message();
    bool failed = true;
    unsigned n_refused = 0;

    for (unsigned n = 1; failed; n++) {
        err = (outbox_error)OUTBOX_ERROR_INIT;
        rig_exec(conn, "begin");
        arm((enum mode)_i, n);
        int code = inbox_accept(conn, "nth", &msg, &err);
        failed = disarm();
        n_refused += code == OUTBOX_EDB;
        check_accept(conn, code, "allocation", n);
        PQreset(conn); /* its buffers have grown */
    }
    ck_assert_uint_gt(n_refused, 0);
    PQfinish(conn);
}
END_TEST

START_TEST(accept_survives_a_failing_call)
{
    PGconn *conn = rig_connect();
    inbox_message msg = message();

    err = (outbox_error)OUTBOX_ERROR_INIT;
    rig_exec(conn, "begin");
    way = (enum way)_i;
    int code = inbox_accept(conn, "nth", &msg, &err);
    ck_assert_int_eq(code, _i == NO_RESULT ? OUTBOX_EDB : _i == LINK_LOST ? OUTBOX_ELINK : INBOX_NEW);
    check_accept(conn, code, "call", 1);
    PQfinish(conn);
}
END_TEST

/* -- without a database ------------------------------------------------------------------------------ */

static const char *const settings[] = {
    "dsn", "host=/nowhere password=secret", "group", "nth", "topics", "nth, other", "retry.base", "1ms",
    "kafka.bootstrap.servers", "127.0.0.1:1", "kafka.client.id", "x", "inbox.start", "latest", NULL
};

static int one_handler(PGconn *conn, const inbox_message *msg, void *arg)
{
    (void)conn, (void)msg, (void)arg;
    return INBOX_DONE;
}

static int another_handler(PGconn *conn, const inbox_message *msg, void *arg)
{
    (void)conn, (void)msg, (void)arg;
    return INBOX_REJECT;
}

static void new_consumer(void)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_int_eq(inbox_consumer_on(c, "event", one_handler, NULL, &err), OUTBOX_OK);
}

START_TEST(a_consumer_is_made_or_memory_is_named)
{
    bool failed = true;
    unsigned n_refused = 0;

    for (unsigned n = 1; failed; n++) {
        inbox_consumer *made = NULL;
        err = (outbox_error)OUTBOX_ERROR_INIT;
        arm((enum mode)_i, n);
        int code = inbox_consumer_new(settings, &made, &err);
        failed = disarm();
        n_refused += code != OUTBOX_OK;
        ck_assert_msg(code == OUTBOX_OK ? made != NULL
                                        : failed && made == NULL && code == OUTBOX_ENOMEM &&
                                              strstr(err.message, "memory") != NULL,
                      "allocation %u: %d: %s", n, code, err.message);
        inbox_consumer_free(made);
    }
    ck_assert_uint_gt(n_refused, 10);
}
END_TEST

/* What was named before stays, and what was refused can be named again. */
START_TEST(a_handler_is_named_or_memory_is)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        new_consumer();
        arm((enum mode)_i, n);
        int code = inbox_consumer_on(c, "another", another_handler, NULL, &err);
        failed = disarm();
        ck_assert_int_eq(code, failed ? OUTBOX_ENOMEM : OUTBOX_OK);
        ck_assert(inbox__handler_of(c, "event")->call == one_handler);
        ck_assert(!failed || inbox__handler_of(c, "another") == NULL);
        ck_assert_int_eq(inbox_consumer_on(c, "another", another_handler, NULL, &err), OUTBOX_OK);
        ck_assert(inbox__handler_of(c, "another")->call == another_handler);
        inbox_consumer_free(c);
    }
}
END_TEST

START_TEST(figures_and_headers_need_no_memory)
{
    outbox_header headers[] = { { "ce_id", "1", 1 }, { "ce_type", "t", 1 }, { "ce_hops", "3", 1 } };
    static char text[32768];
    inbox_message msg = INBOX_MESSAGE_INIT;
    inbox_stats stats = INBOX_STATS_INIT;

    msg.headers = headers;
    msg.n_headers = 3;
    new_consumer();
    arm(ALL_FAIL_FROM_THERE_ON, 1);
    inbox_consumer_stats(c, &stats);
    size_t len = inbox_consumer_metrics(c, text, sizeof text);
    inbox_message_from_headers(&msg);
    ck_assert(!disarm());
    ck_assert_uint_eq(len, strlen(text));
    ck_assert_ptr_nonnull(strstr(text, "inbox_handler_seconds_count{group=\"nth\"} 0\n"));
    ck_assert_uint_eq(msg.hops, 3);
    ck_assert_str_eq(msg.event_id, "1");
    inbox_consumer_free(c);
}
END_TEST

static int begin_and_stop(void)
{
    inbox_consumer_stop(c);
    return inbox_consumer_run(c, &err);
}

/* With the real librdkafka, which finds no broker. */
static int join_and_leave(void)
{
    int code = inbox__kafka_open(c, &err);

    if (code == OUTBOX_OK)
        inbox__kafka_close(c);
    return code;
}

static void expect_memory_is_named(int (*call)(void), enum mode how)
{
    bool failed = true;
    unsigned n_ended = 0;

    new_consumer();
    for (unsigned n = 1; failed; n++) {
        err = (outbox_error)OUTBOX_ERROR_INIT;
        arm(how, n);
        int code = call();
        failed = disarm();
        n_ended += code != OUTBOX_OK;
        ck_assert_msg(code == OUTBOX_OK || (failed && code == OUTBOX_ENOMEM &&
                                            strstr(err.message, "memory") != NULL),
                      "allocation %u: %d: %s", n, code, err.message);
    }
    ck_assert_uint_ge(n_ended, 1);
    inbox_consumer_free(c);
}

START_TEST(a_run_that_cannot_begin_says_memory)
{
    expect_memory_is_named(begin_and_stop, (enum mode)_i);
}
END_TEST

START_TEST(a_group_that_cannot_be_joined_says_memory)
{
    expect_memory_is_named(join_and_leave, (enum mode)_i);
}
END_TEST

Suite *suite_nth_inbox_api(void);

Suite *suite_nth_inbox_api(void)
{
    Suite *suite = suite_create("nth_inbox_api");
    TCase *accept = tcase_create("accept"), *alone = tcase_create("alone");

    tcase_add_loop_test(accept, accept_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_loop_test(accept, accept_survives_a_failing_call, 0, N_WAYS);
    tcase_add_loop_test(accept, statements_at_once_end_whatever_allocation_fails, 0, N_MODES);
    suite_add_tcase(suite, accept);
    tcase_add_loop_test(alone, a_consumer_is_made_or_memory_is_named, 0, N_MODES);
    tcase_add_loop_test(alone, a_handler_is_named_or_memory_is, 0, N_MODES);
    tcase_add_loop_test(alone, a_run_that_cannot_begin_says_memory, 0, N_MODES);
    tcase_add_loop_test(alone, a_group_that_cannot_be_joined_says_memory, 0, N_MODES);
    tcase_add_test(alone, figures_and_headers_need_no_memory);
    suite_add_tcase(suite, alone);
    return suite;
}
