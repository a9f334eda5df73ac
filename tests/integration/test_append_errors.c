/* test_append_errors.c - what outbox_append() makes of the server's errors, of signals and of a lost link: code, flags
 * and words, and the state that they leave. See appends.h. */
#include "tests/integration/appends.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- Errors of the server ------------------------------------------------------------------- */

static void expect_link_lost(void)
{
    refuse(OUTBOX_ELINK, LOST, "new connection");
    ck_assert_int_eq(PQstatus(conn), CONNECTION_BAD);
    refuse(OUTBOX_ELINK, LOST, "nothing was sent");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_ELINK, LOST);
    ck_assert_int_eq(PQenterPipelineMode(conn), 1); /* libpq allows it, and it changes nothing */
    refuse(OUTBOX_ELINK, LOST, "nothing was sent");
}

START_TEST(append_reports_a_killed_backend_as_link_lost)
{
    event.topic = "killed";
    rig_exec(conn, "begin");
    append_ok();
    kill_backend(conn);
    expect_link_lost();
    expect_rows("killed", 0);
}
END_TEST

START_TEST(append_reports_an_idle_transaction_timeout_as_link_lost)
{
    int pid = PQbackendPID(conn);

    event.topic = "idle.too.long";
    rig_exec(conn, "set idle_in_transaction_session_timeout = '1ms'; begin");
    ck_assert(rig_wait_until(backend_is_gone, &pid, RIG_DEADLINE_MS));
    expect_link_lost();
    expect_rows("idle.too.long", 0);
}
END_TEST

/* A pivot: each of two transactions read what the other wrote. The one that commits first dooms
 * the other, whose next statement is the append. */
START_TEST(append_reports_a_serialization_failure_as_retry)
{
    PGconn *rival = rig_connect();

    event.topic = "serialization";
    rig_exec(control, "create table public.pivot (n integer)");
    rig_exec(conn, "begin isolation level serializable; select count(*) from public.pivot");
    rig_exec(rival, "begin isolation level serializable; select count(*) from public.pivot");
    rig_exec(conn, "insert into public.pivot values (1)");
    rig_exec(rival, "insert into public.pivot values (2); commit");
    refuse(OUTBOX_EDB, RETRY | ABORTED, "40001");
    ck_assert_str_eq(err.sqlstate, "40001");
    refuse(OUTBOX_EABORTED, ABORTED, "roll back");
    rig_exec(conn, "rollback; begin isolation level serializable; "
                   "select count(*) from public.pivot");
    append_ok(); /* running it again is the cure */
    rig_exec(conn, "commit");
    expect_rows("serialization", 1);
    rig_exec(control, "drop table public.pivot");
    PQfinish(rival);
}
END_TEST

START_TEST(append_turns_each_sqlstate_into_code_and_flags)
{
    const struct server_failure *f = &server_failures[_i];

    install_trigger();
    event.type = f->sqlstate;
    rig_exec(conn, "begin; savepoint s");
    refuse(f->code, f->flags, f->words);
    ck_assert_str_eq(err.sqlstate, f->sqlstate);
    ck_assert_ptr_null(strstr(err.message, "SECRET"));
    rig_exec(conn, "rollback to s");
    event.type = "passes";
    append_ok(); /* a savepoint brings the transaction back */
    rig_exec(conn, "rollback");
    remove_trigger();
}
END_TEST

START_TEST(append_reports_a_backend_that_dies_within_the_statement)
{
    install_trigger();
    event.type = "terminate";
    rig_exec(conn, "begin");
    expect_link_lost();
    remove_trigger();
}
END_TEST

START_TEST(append_notices_an_insert_that_stored_nothing)
{
    install_trigger();
    event.type = "swallow";
    rig_exec(conn, "begin");
    refuse(OUTBOX_EDB, ABORTED, "stored 0 rows"); /* the procedure raises it */
    ck_assert_str_eq(err.sqlstate, "27000");
    rig_exec(conn, "rollback; begin");
    event.key = "k";
    event.key_len = 1;
    event.flags = OUTBOX_APPEND_ORDERED; /* an INSERT, of which the library counts the rows */
    refuse(OUTBOX_EDB, 0, "stored 0 rows");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    rig_exec(conn, "rollback");
    remove_trigger();
}
END_TEST

START_TEST(append_names_the_remedy_when_the_schema_is_missing)
{
    PGconn *bare = connect_to("template1");

    event.topic = "missing";
    rig_exec(bare, "begin");
    expect_code(outbox_append(bare, &event, &err), OUTBOX_ESCHEMA, ABORTED);
    expect_words("sql/001_outbox.up.sql");
    ck_assert_str_eq(err.sqlstate, "3F000");
    rig_exec(bare, "rollback");
    PQfinish(bare);
}
END_TEST

START_TEST(append_needs_the_insert_privilege_only)
{
    event.topic = "writer";
    rig_execf(control, "create role writer_%d; grant usage on schema outbox to writer_%d;"
                       "grant insert on outbox.event to writer_%d",
              getpid(), getpid(), getpid());
    rig_execf(conn, "set role writer_%d", getpid()); /* apart: begin would take it in */
    rig_exec(conn, "begin");
    append_ok();
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0); /* that one needs more */
    append_ok();
    rig_exec(conn, "commit");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 from outbox.event"), "42501");
    rig_exec(conn, "reset role");
    rig_execf(control, "drop owned by writer_%d; drop role writer_%d", getpid(), getpid());
    expect_rows("writer", 2);
}
END_TEST

START_TEST(append_and_check_schema_work_as_outbox_writer)
{
    event.topic = "outbox.writer";
    event.key = "k";
    event.key_len = 1;
    rig_exec(conn, "set role outbox_writer");
    ck_assert_msg(outbox_check_schema(conn, &err) == OUTBOX_OK, "%s", err.message);
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("outbox.writer", 1);
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 from outbox.event"), "42501");
}
END_TEST

START_TEST(append_names_the_remedy_when_the_privilege_is_missing)
{
    event.topic = "stranger";
    rig_execf(control, "create role stranger_%d", getpid());
    rig_execf(conn, "set role stranger_%d", getpid());
    rig_exec(conn, "begin");
    refuse(OUTBOX_EDB, ABORTED, "outbox_writer");
    ck_assert_str_eq(err.sqlstate, "42501");
    rig_exec(conn, "rollback; begin");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0);
    expect_words("outbox_writer");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    rig_exec(conn, "rollback; reset role");
    rig_execf(control, "drop role stranger_%d", getpid());
}
END_TEST

/* The same SQLSTATE, of a role that has all privileges. */
START_TEST(append_names_the_remedy_when_a_policy_refuses_the_event)
{
    event.topic = "policy";
    rig_exec(control, "alter table outbox.event enable row level security");
    rig_exec(conn, "set role outbox_writer; begin");
    refuse(OUTBOX_EDB, ABORTED, "violates row-level security policy");
    expect_words("have a policy admit its events");
    ck_assert_str_eq(err.sqlstate, "42501");
    rig_exec(conn, "rollback");
    rig_exec(control, "create policy admits on outbox.event for insert to outbox_writer with check (topic = 'policy')");
    rig_exec(conn, "begin");
    append_ok();
    rig_exec(conn, "rollback");
    rig_exec(control, "drop policy admits on outbox.event; alter table outbox.event disable row level security");
}
END_TEST

START_TEST(append_in_a_read_only_transaction_names_the_primary)
{
    event.topic = "read.only";
    rig_exec(conn, "begin read only");
    refuse(OUTBOX_EDB, ABORTED, "primary");
    rig_exec(conn, "rollback");
}
END_TEST

/* ---- Signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t n_signals;

static void on_signal(int signal)
{
    (void)signal;
    n_signals++;
}

/* Every millisecond, without SA_RESTART: each wait of libpq and of the library ends with EINTR. */
static void storm(suseconds_t every_us)
{
    const struct sigaction action = { .sa_handler = on_signal };
    const struct itimerval timer = { { 0, every_us }, { 0, every_us } };

    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

START_TEST(append_goes_on_after_signals)
{
    int n_appends = 0;

    event.topic = "signals";
    rig_exec(control, "create function public.slow() returns trigger language plpgsql as $$ begin"
                      " perform pg_sleep(0.2); return new; end $$;"
                      "create trigger slow before insert on outbox.event for each row"
                      " when (new.topic = 'signals') execute function public.slow()");
    rig_exec(conn, "begin");
    for (; n_signals <= 10; n_appends++) { /* this process may have slept through one */
        storm(1000);
        int code = outbox_append(conn, &event, &err);
        storm(0);
        expect_ok(code);
    }
    rig_exec(conn, "commit");
    expect_rows("signals", n_appends);
    rig_exec(control, "drop trigger slow on outbox.event; drop function public.slow()");
}
END_TEST

/* A lock of another session, released by it; the wait is cut short by the server. */
START_TEST(append_reports_a_cancelled_and_a_timed_out_statement)
{
    event.topic = "cancelled";
    rig_exec(control, "begin; lock table outbox.event in share row exclusive mode");
    rig_exec(conn, "set lock_timeout = '10ms'; begin");
    refuse(OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 55P03");
    rig_exec(conn, "rollback; set lock_timeout = 0; begin; set local statement_timeout = '200ms'");
    refuse(OUTBOX_EDB, ABORTED, "SQLSTATE 57014");
    rig_exec(conn, "rollback; begin");
    rig_exec(control, "commit");
    append_ok();
    rig_exec(conn, "rollback");
}
END_TEST

/* Two transactions that each hold what the other wants: the server picks one. */
START_TEST(append_reports_a_deadlock_as_retry)
{
    PGconn *rival = rig_connect();

    event.topic = "deadlock";
    event.key = "k";
    event.key_len = 1;
    event.flags = OUTBOX_APPEND_ORDERED;
    rig_exec(conn, "set deadlock_timeout = '10ms'; begin; select pg_advisory_xact_lock(4711)");
    rig_exec(rival, "set deadlock_timeout = '1min'; begin");
    expect_ok(outbox_append(rival, &event, &err)); /* has the key, wants 4711 */
    ck_assert_int_eq(PQsendQuery(rival, "select pg_advisory_xact_lock(4711)"), 1);
    rig_wait_scalar(control, "select count(*) from pg_locks where not granted and objid = 4711", "1",
                    RIG_DEADLINE_MS);
    refuse(OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 40P01");
    rig_exec(conn, "rollback");
    PQfinish(rival);
    rig_exec(conn, "begin");
    append_ok(); /* running it again is the cure */
    rig_exec(conn, "commit");
    expect_rows("deadlock", 1);
}
END_TEST

Suite *suite_append_errors(void);
Suite *suite_append_errors(void)
{
    Suite *suite = suite_create("append_errors");
    TCase *tcase = tcase_create("server errors");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, append_reports_a_killed_backend_as_link_lost);
    tcase_add_test(tcase, append_reports_an_idle_transaction_timeout_as_link_lost);
    tcase_add_test(tcase, append_reports_a_serialization_failure_as_retry);
    tcase_add_loop_test(tcase, append_turns_each_sqlstate_into_code_and_flags, 0,
                        N(server_failures));
    tcase_add_test(tcase, append_reports_a_backend_that_dies_within_the_statement);
    tcase_add_test(tcase, append_notices_an_insert_that_stored_nothing);
    tcase_add_test(tcase, append_names_the_remedy_when_the_schema_is_missing);
    tcase_add_test(tcase, append_needs_the_insert_privilege_only);
    tcase_add_test(tcase, append_and_check_schema_work_as_outbox_writer);
    tcase_add_test(tcase, append_names_the_remedy_when_the_privilege_is_missing);
    tcase_add_test(tcase, append_names_the_remedy_when_a_policy_refuses_the_event);
    tcase_add_test(tcase, append_in_a_read_only_transaction_names_the_primary);
    tcase_add_test(tcase, append_goes_on_after_signals);
    tcase_add_test(tcase, append_reports_a_cancelled_and_a_timed_out_statement);
    tcase_add_test(tcase, append_reports_a_deadlock_as_retry);
    suite_add_tcase(suite, tcase);
    return suite;
}
