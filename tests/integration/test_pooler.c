/* test_pooler.c - the library through a real PgBouncer in transaction mode: clients that share one
 * session of the server store their events, and leave nothing behind for each other.
 *
 * Needs OUTBOX_TEST_DSN as test_append.c does, and pgbouncer. Each test has a PgBouncer of its own
 * that opens one session, so that whatever one client leaves there the other one meets.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outbox.h"
#include "tests/rig/rig.h"

#define PGBOUNCER "/usr/sbin/pgbouncer"

/* What a session can remember, as one text. The settings that PgBouncer itself follows are set to
 * what its clients have, so they are not among them. */
#define SESSION_STATE \
    "select concat_ws(' '," \
    " (select count(*) from pg_prepared_statements)," \
    " (select count(*) from pg_cursors where is_holdable)," \
    " (select count(*) from pg_listening_channels())," \
    " (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory')," \
    " (select count(*) from pg_class where relnamespace = pg_my_temp_schema())," \
    " (select count(*) from pg_settings where source = 'session' and name not in" \
    "  ('application_name', 'client_encoding', 'DateStyle', 'TimeZone'," \
    "   'standard_conforming_strings')))"

static struct rig_child bouncer;
static char through[512];
static PGconn *control, *alice, *bob;
static outbox_error err;

static void write_settings(const char *dir, const char *database)
{
    PGconn *conn = rig_connect();
    char path[300];
    FILE *file;

    snprintf(path, sizeof(path), "%s/pgbouncer.ini", dir);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file,
            "[databases]\n%s = host=%s port=%s dbname=%s user=%s\n"
            "[pgbouncer]\npool_mode = transaction\ndefault_pool_size = 1\nauth_type = any\n"
            "unix_socket_dir = %s\nlisten_addr =\nlisten_port = 6432\n"
            "ignore_startup_parameters = extra_float_digits\n",
            database, PQhost(conn), PQport(conn), database, PQuser(conn), dir);
    ck_assert_int_eq(fclose(file), 0);
    PQfinish(conn);
}

/* PgBouncer refuses to run as root. It dies with this process. */
static struct rig_child spawn_bouncer(const char *dir)
{
    char settings[300];
    char log[300];
    const char *const as_server[] = { "/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres",
                                      "--init-groups", "--pdeathsig=KILL", "--", PGBOUNCER, "-q",
                                      settings, NULL };

    snprintf(settings, sizeof(settings), "%s/pgbouncer.ini", dir);
    snprintf(log, sizeof(log), "%s/pgbouncer.log", dir);
    return rig_spawn(getuid() == 0 ? as_server : as_server + 6, log);
}

static bool answers(void *arg)
{
    PGconn **conn = arg;

    PQfinish(*conn);
    *conn = PQconnectdb(through);
    return PQstatus(*conn) == CONNECTION_OK;
}

static void setup(void)
{
    const char *dir = rig_tmpdir();

    if (access(PGBOUNCER, X_OK) != 0)
        ck_abort_msg("%s: %s; run tests/tools/deps", PGBOUNCER, strerror(errno));
    ck_assert_int_eq(chmod(dir, 0777), 0); /* its socket and its settings */
    control = rig_connect();
    snprintf(through, sizeof(through), "host='%s' port=6432 dbname='%s' user='%s'", dir, PQdb(control),
             PQuser(control));
    write_settings(dir, PQdb(control));
    bouncer = spawn_bouncer(dir);
    alice = NULL;
    bob = NULL;
    ck_assert_msg(rig_wait_until(answers, &alice, RIG_DEADLINE_MS), "%s: %s", through,
                  PQerrorMessage(alice));
    ck_assert_msg(answers(&bob), "%s", PQerrorMessage(bob));
    err = (outbox_error)OUTBOX_ERROR_INIT;
}

static void teardown(void)
{
    PQfinish(alice);
    PQfinish(bob);
    PQfinish(control);
    rig_kill(&bouncer, SIGTERM);
    (void)rig_wait(&bouncer, RIG_DEADLINE_MS);
}

/* One event of `topic` with `key`; the payload says whose it is. */
static outbox_event event_of(const char *topic, const char *key, const char *payload)
{
    outbox_event event = OUTBOX_EVENT_INIT;

    event.topic = topic;
    event.type = "test";
    event.key = key;
    event.key_len = strlen(key);
    event.payload = payload;
    event.payload_len = strlen(payload);
    return event;
}

static int append(PGconn *conn, const char *topic, const char *key, const char *payload)
{
    outbox_event event = event_of(topic, key, payload);

    return outbox_append(conn, &event, &err);
}

static int append_flagged(PGconn *conn, const char *topic, const char *payload, uint32_t flags)
{
    outbox_event event = event_of(topic, "k", payload);

    event.flags = flags;
    return outbox_append(conn, &event, &err);
}

static void append_ok(PGconn *conn, const char *topic, const char *key, const char *payload)
{
    int code = append(conn, topic, key, payload);

    ck_assert_msg(code == OUTBOX_OK, "code %d, SQLSTATE %s: %s", code, err.sqlstate, err.message);
}

/* The payloads of a topic in the order of their ids. */
static const char *stored(const char *topic)
{
    char sql[300];

    snprintf(sql, sizeof(sql),
             "select coalesce(string_agg(convert_from(payload, 'UTF8'), ' ' order by id), '')"
             " from outbox.event where topic = '%s'",
             topic);
    return rig_scalar(control, sql);
}

/* In a transaction: the process that serves it. */
static int64_t backend(PGconn *conn)
{
    return rig_scalar_i64(conn, "select pg_backend_pid()");
}

START_TEST(clients_that_take_turns_on_one_session_store_in_order)
{
    int64_t session = 0;
    int i;

    for (i = 0; i < 20; i++) {
        PGconn *conn = i % 2 == 0 ? alice : bob;

        rig_exec(conn, "begin");
        if (i == 0)
            session = backend(conn);
        ck_assert_int_eq(backend(conn), session);
        append_ok(conn, "turns", "k", i % 2 == 0 ? "a" : "b");
        append_ok(conn, "turns", "k", i % 2 == 0 ? "A" : "B");
        rig_exec(conn, "commit");
    }
    ck_assert_str_eq(stored("turns"), "a A b B a A b B a A b B a A b B a A b B "
                                      "a A b B a A b B a A b B a A b B a A b B");
}
END_TEST

static PGresult *next_result(PGconn *conn)
{
    PGresult *result = PQgetResult(conn);

    ck_assert_ptr_null(PQgetResult(conn));
    return result;
}

/* BEGIN, an event and COMMIT in one round trip. */
static void pipeline(PGconn *conn, const char *topic, const char *payload)
{
    outbox_event event = event_of(topic, "k", payload);
    PGresult *begin, *appended, *commit, *sync;

    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    ck_assert_int_eq(PQsendQueryParams(conn, "begin", 0, NULL, NULL, NULL, NULL, 0), 1);
    ck_assert_int_eq(outbox_append_send(conn, &event, &err), OUTBOX_OK);
    ck_assert_int_eq(PQsendQueryParams(conn, "commit", 0, NULL, NULL, NULL, NULL, 0), 1);
    ck_assert_int_eq(PQpipelineSync(conn), 1);
    begin = next_result(conn);
    appended = next_result(conn);
    commit = next_result(conn);
    sync = PQgetResult(conn);
    ck_assert_msg(outbox_append_result(appended, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_str_eq(PQcmdStatus(commit), "COMMIT");
    ck_assert_int_eq(PQresultStatus(sync), PGRES_PIPELINE_SYNC);
    ck_assert_int_eq(PQexitPipelineMode(conn), 1);
    PQclear(begin);
    PQclear(appended);
    PQclear(commit);
    PQclear(sync);
}

START_TEST(nothing_of_an_append_stays_in_the_session)
{
    const outbox_event many[] = { event_of("state", "k", "c"), event_of("state", "k", "d") };
    char before[128];
    int64_t session;

    rig_exec(alice, "begin");
    session = backend(alice);
    snprintf(before, sizeof(before), "%s", rig_scalar(alice, SESSION_STATE));
    append_ok(alice, "state", "k", "a");
    ck_assert_int_eq(append_flagged(alice, "state", "b", OUTBOX_APPEND_ORDERED), OUTBOX_OK);
    ck_assert_int_eq(outbox_append_many(alice, many, 2, &err), OUTBOX_OK);
    ck_assert_int_eq(outbox_check_schema(alice, &err), OUTBOX_OK);
    rig_exec(alice, "commit");
    pipeline(alice, "state", "e");
    rig_exec(bob, "begin");
    ck_assert_int_eq(backend(bob), session);
    ck_assert_str_eq(rig_scalar(bob, SESSION_STATE), before);
    rig_exec(bob, "rollback");
    ck_assert_str_eq(stored("state"), "a b c d e");
}
END_TEST

/* The test of the test above: what a session remembers is seen by the next client. */
START_TEST(what_a_client_leaves_in_the_session_is_seen)
{
    char before[128];

    rig_exec(alice, "begin");
    snprintf(before, sizeof(before), "%s", rig_scalar(alice, SESSION_STATE));
    rig_exec(alice, "prepare left_behind as select 1");
    rig_exec(alice, "commit");
    rig_exec(bob, "begin");
    ck_assert_str_ne(rig_scalar(bob, SESSION_STATE), before);
    rig_exec(bob, "rollback");
}
END_TEST

START_TEST(rollback_of_one_client_leaves_the_other_alone)
{
    rig_exec(alice, "begin");
    append_ok(alice, "rollback", "k", "a");
    rig_exec(alice, "rollback");
    rig_exec(bob, "begin");
    append_ok(bob, "rollback", "k", "b");
    rig_exec(bob, "commit");
    ck_assert_str_eq(stored("rollback"), "b");
}
END_TEST

START_TEST(failed_transaction_of_one_client_leaves_the_other_alone)
{
    rig_exec(alice, "begin");
    append_ok(alice, "failed", "k", "a");
    ck_assert_str_eq(rig_sqlstate(alice, "select 1/0"), "22012");
    ck_assert_int_eq(append(alice, "failed", "k", "a"), OUTBOX_EABORTED);
    rig_exec(alice, "rollback");
    rig_exec(bob, "begin");
    append_ok(bob, "failed", "k", "b");
    rig_exec(bob, "commit");
    ck_assert_str_eq(stored("failed"), "b");
}
END_TEST

START_TEST(client_that_leaves_in_its_transaction_stores_nothing)
{
    rig_exec(alice, "begin");
    append_ok(alice, "left", "k", "a");
    PQfinish(alice);
    alice = NULL;
    rig_exec(bob, "begin");
    append_ok(bob, "left", "k", "b");
    rig_exec(bob, "commit");
    ck_assert_str_eq(stored("left"), "b");
}
END_TEST

START_TEST(append_outside_a_transaction_is_refused_here_too)
{
    ck_assert_int_eq(append(alice, "none", "k", "a"), OUTBOX_ENOTXN);
    ck_assert_str_eq(stored("none"), "");
}
END_TEST

static void end_session_of(int64_t pid)
{
    char sql[200];

    snprintf(sql, sizeof(sql), "select pg_terminate_backend(%lld)", (long long)pid);
    rig_exec(control, sql);
    snprintf(sql, sizeof(sql), "select count(*) from pg_stat_activity where pid = %lld",
             (long long)pid);
    rig_wait_scalar(control, sql, "0", RIG_DEADLINE_MS);
}

/* A server that goes away under the pooler is a lost link or an aborted transaction, never silence. */
START_TEST(server_that_is_lost_is_reported)
{
    int code;

    rig_exec(alice, "begin");
    append_ok(alice, "lost", "k", "a");
    end_session_of(backend(alice));
    code = append(alice, "lost", "k", "a");
    ck_assert_msg(code == OUTBOX_ELINK, "code %d: %s", code, err.message);
    ck_assert_uint_eq(err.flags, OUTBOX_ERRF_LINK_LOST);
    rig_exec(bob, "begin");
    append_ok(bob, "lost", "k", "b");
    rig_exec(bob, "commit");
    ck_assert_str_eq(stored("lost"), "b");
}
END_TEST

/* What the header says of outbox_prepare() behind a pooler: it lasts as long as the session, and the
 * error of a session that lacks it is one that says so. */
START_TEST(prepared_statements_are_those_of_the_session)
{
    int64_t session;

    ck_assert_msg(outbox_prepare(alice, &err) == OUTBOX_OK, "%s", err.message);
    rig_exec(bob, "begin");
    session = backend(bob);
    ck_assert_msg(append_flagged(bob, "prepared", "b", OUTBOX_APPEND_PREPARED) == OUTBOX_OK, "%s",
                  err.message);
    rig_exec(bob, "commit");
    end_session_of(session);
    rig_exec(alice, "begin");
    ck_assert_int_ne(backend(alice), session);
    ck_assert_int_eq(append_flagged(alice, "prepared", "a", OUTBOX_APPEND_PREPARED), OUTBOX_EDB);
    ck_assert_str_eq(err.sqlstate, "26000");
    ck_assert_uint_eq(err.flags, OUTBOX_ERRF_TXN_ABORTED);
    rig_exec(alice, "rollback");
    ck_assert_str_eq(stored("prepared"), "b");
}
END_TEST

Suite *suite_pooler(void);

Suite *suite_pooler(void)
{
    Suite *s = suite_create("pooler");
    TCase *tc = tcase_create("transaction mode");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, clients_that_take_turns_on_one_session_store_in_order);
    tcase_add_test(tc, nothing_of_an_append_stays_in_the_session);
    tcase_add_test(tc, what_a_client_leaves_in_the_session_is_seen);
    tcase_add_test(tc, rollback_of_one_client_leaves_the_other_alone);
    tcase_add_test(tc, failed_transaction_of_one_client_leaves_the_other_alone);
    tcase_add_test(tc, client_that_leaves_in_its_transaction_stores_nothing);
    tcase_add_test(tc, append_outside_a_transaction_is_refused_here_too);
    tcase_add_test(tc, server_that_is_lost_is_reported);
    tcase_add_test(tc, prepared_statements_are_those_of_the_session);
    suite_add_tcase(s, tc);
    return s;
}
