/* test_append.c - outbox_append() against a real PostgreSQL: what it stores, and what it refuses before anything is
 * sent. What the server refuses is test_append_errors.c. See appends.h. */
#include "tests/integration/appends.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/* The sanitizers reserve address space themselves, so it cannot be limited under them. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- What is stored ------------------------------------------------------------------------- */

START_TEST(append_stores_exactly_these_bytes_on_commit)
{
    static const outbox_header headers[] = {
        { "b", "1", 1 }, { "a", "\xe2\x82\xac \"q\" \\ \n", 11 }, { "b", "", 0 }
    };

    event.topic = "all.columns";
    event.key = "k\0\xff";
    event.key_len = 3;
    event.type = "caf\xc3\xa9.opened";
    event.schema_version = 7;
    event.content_type = "application/json";
    event.payload = "\0\x01\xfe payload";
    event.payload_len = 11;
    event.headers = headers;
    event.n_headers = N(headers);
    event.event_id = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
    event.correlation_id = "corr";
    event.causation_id = "cause";
    event.traceparent = TRACEPARENT;
    event.tracestate = "v=1";
    event.available_at_us = INT64_C(1767225600123456); /* 2026-01-01 */
    rig_exec(conn, "begin");
    append_ok();
    expect_rows("all.columns", 0); /* not before the commit */
    rig_exec(conn, "commit");
    expect_rows("all.columns", 1);
    expect_scalar("select encode(key, 'hex') || ' ' || type || ' ' || schema_version || ' ' ||"
                  " content_type || ' ' || encode(payload, 'hex') || ' ' || event_id"
                  " from outbox.event where topic = 'all.columns'",
                  "6b00ff caf\xc3\xa9.opened 7 application/json 0001fe207061796c6f6164 "
                  "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    expect_scalar("select available_at at time zone 'UTC' from outbox.event"
                  " where topic = 'all.columns'",
                  "2026-01-01 00:00:00.123456");
    expect_scalar("select headers::jsonb from outbox.event where topic = 'all.columns'",
                  "[[\"correlationid\", \"corr\"], [\"causationid\", \"cause\"], [\"traceparent\", "
                  "\"" TRACEPARENT "\"], [\"tracestate\", \"v=1\"], [\"b\", \"1\"], "
                  "[\"a\", \"\xe2\x82\xac \\\"q\\\" \\\\ \\n\"], [\"b\", \"\"]]");
    expect_scalar("select xid = xmin::text::xid8 and id > 0 and bucket between 0 and 7"
                  " and created_at > now() - interval '1 minute'"
                  " from outbox.event where topic = 'all.columns'",
                  "t");
}
END_TEST

START_TEST(append_leaves_absent_fields_null_and_makes_an_id)
{
    event.topic = "defaults";
    rig_exec(conn, "begin");
    append_ok();
    append_ok();
    rig_exec(conn, "commit");
    expect_scalar("select count(*) from outbox.event where topic = 'defaults' and type = 'test'"
                  " and key is null and payload is null and headers is null"
                  " and content_type is null and available_at is null and schema_version = 1",
                  "2");
    expect_scalar("select count(distinct event_id) || ' ' || bool_and(event_id::text ~"
                  " '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')"
                  " from outbox.event where topic = 'defaults'",
                  "2 true");
    expect_scalar("select string_agg(event_id::text, ' ' order by id) ="
                  " string_agg(event_id::text, ' ' order by event_id)"
                  " from outbox.event where topic = 'defaults'",
                  "t");
}
END_TEST

START_TEST(append_stores_the_id_that_was_made_before)
{
    char id[37], sql[200];

    ck_assert_int_eq(outbox_event_id_new(id), OUTBOX_OK);
    event.topic = "own.id";
    event.event_id = id;
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "commit");
    snprintf(sql, sizeof(sql), "select count(*) from outbox.event where event_id = '%s'", id);
    expect_scalar(sql, "1");
}
END_TEST

START_TEST(append_keeps_empty_apart_from_null)
{
    event.topic = "empty";
    event.key = "";
    event.payload = "";
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "commit");
    expect_scalar("select octet_length(key) || ' ' || octet_length(payload) from outbox.event"
                  " where topic = 'empty'",
                  "0 0");
}
END_TEST

START_TEST(append_stores_the_largest_event)
{
    char *payload = malloc(OUTBOX_MAX_EVENT_BYTES), *value = malloc(OUTBOX_MAX_EVENT_BYTES);
    outbox_header header = { "h", value, OUTBOX_MAX_EVENT_BYTES - 1 };

    ck_assert(payload != NULL && value != NULL);
    for (size_t i = 0; i < OUTBOX_MAX_EVENT_BYTES; i++)
        payload[i] = (char)i;
    memset(value, '\x1f', OUTBOX_MAX_EVENT_BYTES); /* six times as long in JSON */
    rig_exec(conn, "begin");
    event.topic = "large.payload";
    event.payload = payload;
    event.payload_len = OUTBOX_MAX_EVENT_BYTES;
    append_ok();
    event.topic = "large.headers";
    event.payload = NULL;
    event.payload_len = 0;
    event.headers = &header;
    event.n_headers = 1;
    append_ok();
    rig_exec(conn, "commit");
    free(payload);
    free(value);
    expect_scalar("select octet_length(payload) || ' ' || encode(substr(payload, 1044480), 'hex')"
                  " from outbox.event where topic = 'large.payload'",
                  "1044480 ff");
    expect_scalar("select octet_length(headers->0->>1) from outbox.event"
                  " where topic = 'large.headers'",
                  "1044479");
}
END_TEST

START_TEST(append_is_undone_by_rollback)
{
    event.topic = "rolled.back";
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "rollback");
    expect_rows("rolled.back", 0);
    rig_exec(conn, "begin; savepoint s");
    append_ok();
    rig_exec(conn, "rollback to s; commit");
    expect_rows("rolled.back", 0);
}
END_TEST

START_TEST(append_works_on_a_nonblocking_connection)
{
    event.topic = "nonblocking";
    ck_assert_int_eq(PQsetnonblocking(conn, 1), 0);
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "commit");
    ck_assert_int_eq(PQisnonblocking(conn), 1);
    expect_rows("nonblocking", 1);
}
END_TEST

START_TEST(append_takes_one_round_trip_and_leaves_no_session_state)
{
    event.topic = "one.trip";
    rig_exec(conn, "begin");
    trace_begin(conn);
    append_ok();
    trace_end(conn);
    ck_assert_int_eq(traced("\tSync"), 1);
    ck_assert_int_eq(traced(""), 5); /* Parse, Bind, Describe, Execute, Sync */
    fclose(trace_file);
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from pg_prepared_statements"), "0");
    rig_exec(conn, "commit");
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from pg_locks where pid = pg_backend_pid()"
                                      " and locktype = 'advisory'"),
                     "0");
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from pg_settings where source = 'session'"
                                      " and name not in ('transaction_isolation')"),
                     "0");
}
END_TEST

/* ---- Refusals before anything is sent ------------------------------------------------------- */

START_TEST(append_refusals_leave_the_transaction_usable)
{
    rig_exec(conn, "begin");
    event.topic = "not a topic";
    refuse(OUTBOX_EINVAL, 0, "topic \"not a topic\"");
    event.topic = "usable";
    event.struct_size--;
    refuse(OUTBOX_EINVAL, 0, "struct_size");
    event.struct_size += 9;
    refuse(OUTBOX_EINVAL, 0, "struct_size");
    event.struct_size = sizeof(event);
    event.flags = 1;
    refuse(OUTBOX_EINVAL, 0, "flags");
    event.flags = 0;
    expect_code(outbox_append(conn, NULL, &err), OUTBOX_EINVAL, 0);
    expect_code(outbox_append(NULL, &event, &err), OUTBOX_EINVAL, 0);
    ck_assert_int_eq(outbox_append(NULL, NULL, NULL), OUTBOX_EINVAL);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("usable", 1);
}
END_TEST

START_TEST(append_refuses_without_a_transaction)
{
    event.topic = "no.txn";
    refuse(OUTBOX_ENOTXN, 0, "BEGIN");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
    expect_rows("no.txn", 0);
}
END_TEST

START_TEST(append_refuses_in_a_failed_transaction)
{
    event.topic = "failed.txn";
    rig_exec(conn, "begin");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    refuse(OUTBOX_EABORTED, ABORTED, "roll back");
    ck_assert_str_eq(err.sqlstate, "");
    rig_exec(conn, "rollback");
    expect_rows("failed.txn", 0);
}
END_TEST

START_TEST(append_checks_the_connection_before_the_event)
{
    event.topic = "not a topic";
    refuse(OUTBOX_ENOTXN, 0, "BEGIN");
    event.struct_size = 0;
    refuse(OUTBOX_EINVAL, 0, "struct_size");
}
END_TEST

START_TEST(append_refuses_a_connection_that_was_never_made)
{
    PGconn *dead = PQconnectdb("host=/nonexistent connect_timeout=1");

    event.topic = "no.link";
    ck_assert_int_eq(PQstatus(dead), CONNECTION_BAD);
    expect_code(outbox_append(dead, &event, &err), OUTBOX_ELINK, LOST);
    expect_words("/nonexistent");
    expect_code(outbox_check_schema(dead, &err), OUTBOX_ELINK, LOST);
    PQfinish(dead);
}
END_TEST

START_TEST(append_refuses_in_pipeline_mode)
{
    event.topic = "pipeline";
    rig_exec(conn, "begin");
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    refuse(OUTBOX_EINVAL, 0, "PQexitPipelineMode()");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EINVAL, 0);
    ck_assert_int_eq(PQexitPipelineMode(conn), 1);
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("pipeline", 1);
}
END_TEST

static void drain(void)
{
    PGresult *result;

    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
}

START_TEST(append_refuses_while_a_command_is_in_progress)
{
    event.topic = "in.progress";
    rig_exec(conn, "begin");
    ck_assert_int_eq(PQsendQuery(conn, "select 1"), 1);
    refuse(OUTBOX_EINVAL, 0, "PQgetResult()");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EINVAL, 0);
    drain();
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("in.progress", 1);
}
END_TEST

START_TEST(append_refuses_during_copy_and_leaves_it_alone)
{
    PGresult *result;

    event.topic = "copy";
    rig_exec(conn, "begin; create temp table copied (n integer)");
    result = PQexec(conn, "copy copied from stdin");
    ck_assert_int_eq(PQresultStatus(result), PGRES_COPY_IN);
    PQclear(result);
    ck_assert_int_eq(PQputCopyData(conn, "1\n", 2), 1);
    refuse(OUTBOX_EINVAL, 0, "COPY");
    ck_assert_int_eq(PQputCopyData(conn, "2\n", 2), 1);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    drain();
    append_ok();
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from copied"), "2");
    rig_exec(conn, "commit");
    expect_rows("copy", 1);
}
END_TEST

/* The one malloc of the library, made to fail by a limit on the address space. */
START_TEST(append_without_memory_leaves_the_transaction_usable)
{
    struct rlimit before, tight;
    char *value = malloc(OUTBOX_MAX_EVENT_BYTES);
    outbox_header header = { "h", value, OUTBOX_MAX_EVENT_BYTES - 1 };
    int code;

    ck_assert_ptr_nonnull(value);
    memset(value, '\x1f', OUTBOX_MAX_EVENT_BYTES);
    event.topic = "no.memory";
    event.headers = &header;
    event.n_headers = 1;
    rig_exec(conn, "begin");
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1; /* less than is in use: nothing can be mapped any more */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    code = outbox_append(conn, &event, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    expect_code(code, OUTBOX_ENOMEM, 0);
    expect_words("no memory");
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("no.memory", 1);
    free(value);
}
END_TEST

/* ---- Processes and threads ------------------------------------------------------------------ */

#define N_WORKERS 4
#define N_EACH 100

/* Runs in threads and children, so it reports by its result: NULL is failure. */
static void *append_many_times(void *topic)
{
    PGconn *own = PQconnectdb(rig_dsn());
    outbox_event e = OUTBOX_EVENT_INIT;
    bool ok = PQstatus(own) == CONNECTION_OK;

    e.topic = topic;
    e.type = "test";
    for (int i = 0; ok && i < N_EACH; i++) {
        PQclear(PQexec(own, "begin"));
        ok = outbox_append(own, &e, NULL) == OUTBOX_OK;
        PQclear(PQexec(own, i % 10 == 0 ? "rollback" : "commit"));
    }
    PQfinish(own);
    return ok ? topic : NULL;
}

static bool run_threads(char *topic)
{
    pthread_t threads[N_WORKERS];
    bool ok = true;
    void *done;

    for (int i = 0; i < N_WORKERS; i++)
        ok = pthread_create(&threads[i], NULL, append_many_times, topic) == 0 && ok;
    for (int i = 0; i < N_WORKERS; i++)
        ok = pthread_join(threads[i], &done) == 0 && done != NULL && ok;
    return ok;
}

START_TEST(append_works_in_threads_and_forked_processes_at_once)
{
    char topic[] = "workers";
    pid_t children[2];
    int status = -1;

    event.topic = topic; /* the id's state exists before the fork */
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "rollback");
    for (size_t i = 0; i < N(children); i++) {
        children[i] = fork();
        ck_assert_int_ge(children[i], 0);
        if (children[i] == 0)
            _exit(run_threads(topic) ? 0 : 1);
    }
    ck_assert(run_threads(topic));
    for (size_t i = 0; i < N(children); i++) {
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    expect_rows(topic, 3 * N_WORKERS * N_EACH * 9 / 10);
    expect_scalar("select count(distinct event_id) = count(*) from outbox.event"
                  " where topic = 'workers'",
                  "t");
}
END_TEST

static void add_event_tests(Suite *suite)
{
    TCase *tcase = tcase_create("stored");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, append_stores_exactly_these_bytes_on_commit);
    tcase_add_test(tcase, append_leaves_absent_fields_null_and_makes_an_id);
    tcase_add_test(tcase, append_stores_the_id_that_was_made_before);
    tcase_add_test(tcase, append_keeps_empty_apart_from_null);
    tcase_add_test(tcase, append_stores_the_largest_event);
    tcase_add_test(tcase, append_is_undone_by_rollback);
    tcase_add_test(tcase, append_works_on_a_nonblocking_connection);
    tcase_add_test(tcase, append_takes_one_round_trip_and_leaves_no_session_state);
    tcase_add_test(tcase, append_works_in_threads_and_forked_processes_at_once);
    suite_add_tcase(suite, tcase);
}

static void add_refusal_tests(Suite *suite)
{
    TCase *tcase = tcase_create("refused");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, append_refusals_leave_the_transaction_usable);
    tcase_add_test(tcase, append_refuses_without_a_transaction);
    tcase_add_test(tcase, append_refuses_in_a_failed_transaction);
    tcase_add_test(tcase, append_checks_the_connection_before_the_event);
    tcase_add_test(tcase, append_refuses_a_connection_that_was_never_made);
    tcase_add_test(tcase, append_refuses_in_pipeline_mode);
    tcase_add_test(tcase, append_refuses_while_a_command_is_in_progress);
    tcase_add_test(tcase, append_refuses_during_copy_and_leaves_it_alone);
    if (!SANITIZED)
        tcase_add_test(tcase, append_without_memory_leaves_the_transaction_usable);
    suite_add_tcase(suite, tcase);
}

Suite *suite_append(void);
Suite *suite_append(void)
{
    Suite *suite = suite_create("append");

    add_event_tests(suite);
    add_refusal_tests(suite);
    return suite;
}
