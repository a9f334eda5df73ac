/* test_send.c - outbox_append_send() and outbox_append_result() in pipeline mode and on non-blocking
 * connections. See appends.h.
 */
#include "tests/integration/sends.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void queue(const char *sql)
{
    ck_assert_msg(PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0) == 1, "%s",
                  PQerrorMessage(conn));
}

/* The next result of the pipeline, which must have this status. */
static void expect_result(ExecStatusType status)
{
    PGresult *result = PQgetResult(conn);

    ck_assert_msg(PQresultStatus(result) == status, "%s: %s", PQresStatus(PQresultStatus(result)),
                  PQerrorMessage(conn));
    PQclear(result);
    if (status != PGRES_PIPELINE_SYNC)
        ck_assert_ptr_null(PQgetResult(conn));
}

/* ---- Pipeline mode --------------------------------------------------------------------------- */

START_TEST(send_appends_and_commits_in_one_round_trip)
{
    event.topic = "pipeline";
    enter();
    trace_begin(conn);
    queue("begin");
    for (int i = 0; i < 3; i++)
        expect_ok(send_event());
    queue("commit");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    for (int i = 0; i < 3; i++)
        expect_ok(append_result());
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    trace_end(conn);
    ck_assert_int_eq(traced("\tSync"), 1);
    ck_assert_int_eq(traced("\tExecute"), 5);
    fclose(trace_file);
    ck_assert_int_eq(PQpipelineStatus(conn), PQ_PIPELINE_ON); /* it left it alone */
    leave();
    expect_rows("pipeline", 3);
}
END_TEST

START_TEST(send_copies_the_event)
{
    char topic[] = "copied", payload[] = "payload", key[] = "key";

    event.topic = topic;
    event.key = key;
    event.key_len = 3;
    event.payload = payload;
    event.payload_len = 7;
    rig_exec(conn, "begin");
    expect_ok(send_event());
    memset(topic, 'x', 6);
    memset(payload, 'x', 7);
    memset(key, 'x', 3);
    expect_ok(append_result());
    rig_exec(conn, "commit");
    expect_scalar("select convert_from(key, 'UTF8') || convert_from(payload, 'UTF8')"
                  " from outbox.event where topic = 'copied'",
                  "keypayload");
}
END_TEST

START_TEST(send_knows_the_transaction_while_nothing_is_out)
{
    event.topic = "known";
    enter();
    expect_code(send_event(), OUTBOX_ENOTXN, 0);
    expect_words("Sync");
    queue("begin");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_ok(send_event()); /* BEGIN is out: nothing is known */
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    expect_ok(append_result());
    expect_result(PGRES_PIPELINE_SYNC);
    expect_ok(send_event()); /* known to be open */
    queue("select 1 / 0");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_ok(append_result());
    expect_result(PGRES_FATAL_ERROR);
    expect_result(PGRES_PIPELINE_SYNC);
    expect_code(send_event(), OUTBOX_EABORTED, ABORTED); /* known to have failed */
    queue("rollback");
    queue("begin");
    expect_ok(send_event()); /* a ROLLBACK is out: nothing is known */
    queue("commit");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_COMMAND_OK);
    expect_ok(append_result());
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    leave();
    expect_rows("known", 1);
}
END_TEST

/* As the header says: libpq learns of a BEGIN with the next Sync only. */
START_TEST(send_after_a_begin_without_sync_is_refused_when_its_result_was_read)
{
    event.topic = "flushed";
    enter();
    queue("begin");
    ck_assert_int_eq(PQsendFlushRequest(conn), 1);
    expect_ok(send_event()); /* in time */
    ck_assert_int_eq(PQsendFlushRequest(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_ok(append_result());
    expect_code(send_event(), OUTBOX_ENOTXN, 0);
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_PIPELINE_SYNC);
    expect_ok(send_event());
    queue("commit");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_ok(append_result());
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    leave();
    expect_rows("flushed", 2);
}
END_TEST

START_TEST(send_behind_a_failure_is_aborted_and_nothing_is_stored)
{
    event.topic = "behind";
    enter();
    queue("begin");
    queue("select 1 / 0");
    expect_ok(send_event());
    queue("commit");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_FATAL_ERROR);
    expect_code(append_result(), OUTBOX_EABORTED, ABORTED);
    expect_words("roll back");
    expect_result(PGRES_PIPELINE_ABORTED);
    expect_result(PGRES_PIPELINE_SYNC);
    queue("rollback");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    leave();
    expect_rows("behind", 0);
}
END_TEST

START_TEST(send_refuses_a_wrong_event_and_queues_nothing)
{
    event.topic = "not a topic";
    enter();
    queue("begin");
    trace_begin(conn);
    expect_code(send_event(), OUTBOX_EINVAL, 0);
    trace_end(conn);
    ck_assert_int_eq(traced(""), 0);
    fclose(trace_file);
    event.topic = "usable";
    expect_ok(send_event());
    queue("commit");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    expect_result(PGRES_COMMAND_OK);
    expect_ok(append_result());
    expect_result(PGRES_COMMAND_OK);
    expect_result(PGRES_PIPELINE_SYNC);
    leave();
    expect_rows("usable", 1);
    expect_code(outbox_append_send(NULL, &event, &err), OUTBOX_EINVAL, 0);
    expect_code(outbox_append_send(conn, NULL, &err), OUTBOX_EINVAL, 0);
}
END_TEST

/* Nothing is stored before the Sync, although a procedure that is called outside of a transaction
 * block could commit. */
START_TEST(send_without_begin_belongs_to_the_implicit_transaction)
{
    event.topic = "implicit";
    enter();
    for (int fails = 1; fails >= 0; fails--) {
        queue("select 1"); /* a command is out: nothing is refused */
        expect_ok(send_event());
        expect_ok(send_event());
        if (fails)
            queue("select 1 / 0");
        ck_assert_int_eq(PQpipelineSync(conn), 1);
        expect_result(PGRES_TUPLES_OK);
        expect_ok(append_result());
        expect_ok(append_result());
        if (fails)
            expect_result(PGRES_FATAL_ERROR);
        expect_result(PGRES_PIPELINE_SYNC);
        expect_rows("implicit", fails ? 0 : 2);
    }
    leave();
}
END_TEST

/* ---- Without a pipeline ---------------------------------------------------------------------- */

static bool wait_for(short what)
{
    struct pollfd fd = { PQsocket(conn), what, 0 };

    return poll(&fd, 1, RIG_DEADLINE_MS) == 1;
}

/* An event of megabytes through a socket whose buffer holds little: it goes out piece by piece. */
START_TEST(send_does_not_block_on_a_nonblocking_connection)
{
    static char payload[8 * 1024 * 1024];
    int small = 4096, n_flushes = 0, rest;

    event.topic = "nonblocking.send";
    event.payload = payload;
    event.payload_len = sizeof payload;
    event.max_event_bytes = sizeof payload + 1000;
    ck_assert_int_eq(setsockopt(PQsocket(conn), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    rig_exec(conn, "begin");
    expect_ok(send_event());
    expect_code(send_event(), OUTBOX_EINVAL, 0); /* one at a time */
    expect_words("PQgetResult()");
    while ((rest = PQflush(conn)) == 1) {
        ck_assert(wait_for(POLLIN | POLLOUT));
        ck_assert_int_eq(PQconsumeInput(conn), 1);
        n_flushes++;
    }
    ck_assert_int_eq(rest, 0);
    ck_assert_int_gt(n_flushes, 0);
    while (PQisBusy(conn)) {
        ck_assert(wait_for(POLLIN));
        ck_assert_int_eq(PQconsumeInput(conn), 1);
    }
    expect_ok(append_result());
    ck_assert_int_eq(PQisnonblocking(conn), 1);
    rig_exec(conn, "commit");
    expect_rows("nonblocking.send", 1);
}
END_TEST

START_TEST(send_refuses_what_append_refuses)
{
    event.topic = "refused";
    expect_code(send_event(), OUTBOX_ENOTXN, 0);
    rig_exec(conn, "begin");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    expect_code(send_event(), OUTBOX_EABORTED, ABORTED);
    rig_exec(conn, "rollback; set client_encoding to 'LATIN1'; begin");
    event.type = "caf\xc3\xa9";
    expect_code(send_event(), OUTBOX_EINVAL, 0);
    event.type = "test";
    kill_backend(conn);
    expect_ok(send_event()); /* the system took it: the result will tell */
    expect_code(append_result(), OUTBOX_ELINK, LOST);
    while (PQstatus(conn) == CONNECTION_OK) /* until libpq has seen it too */
        PQclear(PQgetResult(conn));
    expect_code(send_event(), OUTBOX_ELINK, LOST);
    expect_rows("refused", 0);
}
END_TEST

/* ---- Results --------------------------------------------------------------------------------- */

static void result_tells(const char *type, int code, uint32_t flags, const char *words)
{
    install_trigger();
    event.type = type;
    rig_exec(conn, "begin");
    expect_ok(send_event());
    expect_code(append_result(), code, flags);
    expect_words(words);
    ck_assert_ptr_null(strstr(err.message, "SECRET"));
    PQclear(PQexec(conn, "rollback"));
    remove_trigger();
}

START_TEST(result_tells_each_failure)
{
    const struct server_failure *f = &server_failures[_i];

    result_tells(f->sqlstate, f->code, f->flags, f->words);
}
END_TEST

START_TEST(result_tells_of_a_row_that_was_taken_away)
{
    result_tells("swallow", OUTBOX_EDB, ABORTED, "stored 0 rows");
}
END_TEST

START_TEST(result_tells_of_a_server_that_ended)
{
    result_tells("terminate", OUTBOX_ELINK, LOST, "new connection");
}
END_TEST

/* Without a word of the server: what libpq says itself has no SQLSTATE. */
START_TEST(result_of_a_broken_socket_is_a_lost_link)
{
    event.topic = "socket";
    rig_exec(conn, "begin");
    ck_assert_int_eq(shutdown(PQsocket(conn), SHUT_RD), 0);
    expect_ok(send_event());
    expect_code(append_result(), OUTBOX_ELINK, LOST);
    ck_assert_str_eq(err.sqlstate, "");
    expect_code(send_event(), OUTBOX_ELINK, LOST);
    expect_rows("socket", 0);
}
END_TEST

/* From here on the connection reads what a dead peer has sent: nothing. */
static void cut_off(void)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(close(pair[1]), 0);
    ck_assert_int_ge(dup2(pair[0], PQsocket(conn)), 0);
    ck_assert_int_eq(close(pair[0]), 0);
}

/* BEGIN has its answer, the append and the COMMIT behind it have none, and yet it was done. */
START_TEST(result_of_a_link_that_was_lost_behind_commit_does_not_deny_the_commit)
{
    struct pollfd fd = { PQsocket(conn), POLLIN, 0 };

    event.topic = "commit.sent";
    enter();
    queue("BEGIN");
    ck_assert_int_eq(PQsendFlushRequest(conn), 1);
    ck_assert_int_eq(PQflush(conn), 0);
    ck_assert_int_eq(poll(&fd, 1, RIG_DEADLINE_MS), 1);
    ck_assert_int_eq(PQconsumeInput(conn), 1);
    expect_ok(send_event());
    queue("COMMIT");
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    rig_wait_scalar(control, "select count(*) from outbox.event where topic = 'commit.sent'", "1",
                    RIG_DEADLINE_MS);
    cut_off();
    expect_result(PGRES_COMMAND_OK);
    expect_code(append_result(), OUTBOX_ELINK, LOST);
    ck_assert_ptr_null(strstr(err.message, "did not commit"));
    expect_words("if its COMMIT was sent as well, ask first whether it committed");
}
END_TEST

START_TEST(result_of_something_else_says_nothing_about_the_event)
{
    static const struct {
        const char *sql, *words;
    } others[] = { { "begin", "BEGIN" }, { "select 1", "PGRES_TUPLES_OK" }, { "", "EMPTY_QUERY" },
                   { "commit", "COMMIT" } };

    for (size_t i = 0; i < N(others); i++) {
        PGresult *result = PQexec(conn, others[i].sql);

        expect_code(outbox_append_result(result, &err), OUTBOX_EINVAL, 0);
        expect_words(others[i].words);
        PQclear(result);
    }
    expect_code(outbox_append_result(NULL, &err), OUTBOX_EINVAL, 0);
    ck_assert_int_eq(outbox_append_result(NULL, NULL), OUTBOX_EINVAL);
    PGresult *two = PQexec(conn, "insert into outbox.event (topic, type)"
                                 " select 'two', 't' from generate_series(1, 2)");
    expect_code(outbox_append_result(two, &err), OUTBOX_EDB, 0);
    expect_words("stored 2 rows instead of 1");
    PQclear(two);
}
END_TEST

Suite *suite_send(void);
Suite *suite_send(void)
{
    Suite *suite = suite_create("send");
    TCase *tcase = tcase_create("send");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, send_appends_and_commits_in_one_round_trip);
    tcase_add_test(tcase, send_copies_the_event);
    tcase_add_test(tcase, send_knows_the_transaction_while_nothing_is_out);
    tcase_add_test(tcase, send_after_a_begin_without_sync_is_refused_when_its_result_was_read);
    tcase_add_test(tcase, send_behind_a_failure_is_aborted_and_nothing_is_stored);
    tcase_add_test(tcase, send_refuses_a_wrong_event_and_queues_nothing);
    tcase_add_test(tcase, send_without_begin_belongs_to_the_implicit_transaction);
    tcase_add_test(tcase, send_does_not_block_on_a_nonblocking_connection);
    tcase_add_test(tcase, send_refuses_what_append_refuses);
    tcase_add_loop_test(tcase, result_tells_each_failure, 0, N(server_failures));
    tcase_add_test(tcase, result_tells_of_a_row_that_was_taken_away);
    tcase_add_test(tcase, result_tells_of_a_server_that_ended);
    tcase_add_test(tcase, result_of_a_broken_socket_is_a_lost_link);
    tcase_add_test(tcase, result_of_a_link_that_was_lost_behind_commit_does_not_deny_the_commit);
    tcase_add_test(tcase, result_of_something_else_says_nothing_about_the_event);
    suite_add_tcase(suite, tcase);
    return suite;
}
