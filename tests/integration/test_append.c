/* test_append.c - outbox_append() and outbox_check_schema() against a real PostgreSQL. See appends.h. */
#include "tests/integration/appends.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
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

/* A connection to another database of the same server. */
static PGconn *connect_to(const char *database)
{
    const char *const names[] = { "dbname", "dbname", NULL };
    const char *const values[] = { rig_dsn(), database, NULL };
    PGconn *other = PQconnectdbParams(names, values, 1);

    ck_assert_msg(PQstatus(other) == CONNECTION_OK, "%s", PQerrorMessage(other));
    return other;
}

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
    expect_scalar("select headers from outbox.event where topic = 'all.columns'",
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

START_TEST(append_refuses_text_that_client_encoding_would_change)
{
    static const outbox_header header = { "n\xc3\xa4me", "\xe2\x82\xac", 3 };

    event.topic = "latin1";
    event.type = "caf\xc3\xa9";
    rig_exec(conn, "set client_encoding to 'LATIN1'; begin");
    refuse(OUTBOX_EINVAL, 0, "client_encoding is LATIN1");
    expect_words("SET client_encoding TO 'UTF8'");
    event.type = "cafe";
    event.content_type = "text/\xc3\xa9";
    refuse(OUTBOX_EINVAL, 0, "content_type");
    event.content_type = NULL;
    event.headers = &header; /* headers are sent as ASCII and may be anything */
    event.n_headers = 1;
    event.correlation_id = "\xf0\x9f\x98\x80";
    append_ok();
    rig_exec(conn, "commit; set client_encoding to 'SQL_ASCII'; begin");
    event.topic = "sql.ascii";
    event.type = "caf\xc3\xa9";
    append_ok();
    rig_exec(conn, "commit");
    expect_scalar("select headers from outbox.event where topic = 'latin1'",
                  "[[\"correlationid\", \"\xf0\x9f\x98\x80\"], [\"n\xc3\xa4me\", "
                  "\"\xe2\x82\xac\"]]");
    expect_scalar("select type from outbox.event where topic = 'sql.ascii'", "caf\xc3\xa9");
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

/* A trigger that fails with the SQLSTATE given as the event's type. */
static void install_trigger(void)
{
    rig_exec(control,
             "create or replace function public.fail() returns trigger language plpgsql as $$ begin"
             " if new.type = 'terminate' then perform pg_terminate_backend(pg_backend_pid());"
             "   perform pg_sleep(60);"
             " elsif new.type = 'swallow' then return null;"
             " elsif length(new.type) = 5 then"
             "   raise exception E'two\\nlines' using errcode = new.type,"
             "     detail = 'SECRET', hint = 'SECRET'; end if; return new; end $$;"
             "create trigger fail before insert on outbox.event for each row"
             " when (new.topic = 'trigger') execute function public.fail()");
    event.topic = "trigger";
    event.payload = "SECRET";
    event.payload_len = 6;
}

static void remove_trigger(void)
{
    rig_exec(control, "drop trigger fail on outbox.event; drop function public.fail()");
    expect_rows("trigger", 0);
}

static const struct {
    const char *sqlstate;
    int code;
    uint32_t flags;
    const char *words;
} failures[] = {
    { "40001", OUTBOX_EDB, RETRY | ABORTED, "two lines (SQLSTATE 40001)" },
    { "40P01", OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 40P01" },
    { "55P03", OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 55P03" },
    { "57014", OUTBOX_EDB, ABORTED, "SQLSTATE 57014" },
    { "23505", OUTBOX_EDB, ABORTED, "SQLSTATE 23505" },
    { "53100", OUTBOX_EDB, ABORTED, "SQLSTATE 53100" },
    { "25006", OUTBOX_EDB, ABORTED, "connect to the primary" },
    { "42883", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "42703", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "3F000", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "08006", OUTBOX_ELINK, LOST, "new connection" },
};

START_TEST(append_turns_each_sqlstate_into_code_and_flags)
{
    install_trigger();
    event.type = failures[_i].sqlstate;
    rig_exec(conn, "begin; savepoint s");
    refuse(failures[_i].code, failures[_i].flags, failures[_i].words);
    ck_assert_str_eq(err.sqlstate, failures[_i].sqlstate);
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
    ck_assert_str_eq(err.sqlstate, "42P01");
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

/* ---- outbox_check_schema -------------------------------------------------------------------- */

static PGconn *scratch;
static char scratch_name[40];

/* A database without the schema, for the states that the real one is not in. */
static void setup_scratch(void)
{
    setup();
    snprintf(scratch_name, sizeof(scratch_name), "outbox_scratch_%d", (int)getpid());
    rig_execf(control, "create database %s", scratch_name);
    scratch = connect_to(scratch_name);
}

static void teardown_scratch(void)
{
    PQfinish(scratch);
    rig_execf(control, "drop database %s", scratch_name);
    teardown();
}

/* Inside of a transaction, which stays usable, and outside of one. */
static void expect_schema(int code, const char *words)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    rig_exec(scratch, "begin; create temp table witness (n integer) on commit drop");
    ck_assert_int_eq(outbox_check_schema(scratch, &err), code);
    ck_assert_int_eq(err.code, code);
    ck_assert_uint_eq(err.flags, 0);
    expect_words(words);
    ck_assert_int_eq(PQtransactionStatus(scratch), PQTRANS_INTRANS);
    rig_exec(scratch, "insert into witness values (1); commit");
    ck_assert_int_eq(outbox_check_schema(scratch, &err), code);
    ck_assert_int_eq(outbox_check_schema(scratch, NULL), code);
    ck_assert_int_eq(PQtransactionStatus(scratch), PQTRANS_IDLE);
}

START_TEST(check_schema_accepts_the_real_one)
{
    ck_assert_int_eq(outbox_check_schema(conn, &err), OUTBOX_OK);
    rig_exec(conn, "begin");
    ck_assert_int_eq(outbox_check_schema(conn, &err), OUTBOX_OK);
    event.topic = "checked";
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("checked", 1);
    expect_code(outbox_check_schema(NULL, &err), OUTBOX_EINVAL, 0);
}
END_TEST

START_TEST(check_schema_refuses_in_a_failed_transaction)
{
    rig_exec(conn, "begin");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EABORTED, ABORTED);
}
END_TEST

START_TEST(check_schema_tells_each_state_apart)
{
    expect_schema(OUTBOX_ESCHEMA, "schema outbox does not exist");
    rig_exec(scratch, "create schema outbox");
    expect_schema(OUTBOX_ESCHEMA, "table outbox.schema_version does not exist");
    rig_exec(scratch, "create table outbox.schema_version (version integer, min_relay text,"
                      " breaking boolean not null, applied_at timestamptz default now())");
    expect_schema(OUTBOX_ESCHEMA, "too old");
    rig_exec(scratch, "insert into outbox.schema_version values (1, '0.1.0', true)");
    expect_schema(OUTBOX_OK, "");
    rig_exec(scratch, "insert into outbox.schema_version values (2, '0.1.0', false)");
    expect_schema(OUTBOX_OK, "");
    rig_exec(scratch, "insert into outbox.schema_version values (3, '0.3.0', true)");
    expect_schema(OUTBOX_ESCHEMA, "version 3, too new");
    rig_exec(scratch, "insert into outbox.schema_version values (4, '0.3.0', false)");
    expect_schema(OUTBOX_ESCHEMA, "version 4, too new"); /* a harmless one does not undo it */
}
END_TEST

START_TEST(check_schema_ignores_the_search_path)
{
    rig_exec(scratch,
             "create schema evil;"
             "create function evil.no(name, name) returns boolean language sql as 'select false';"
             "create function evil.no(oid, oid) returns boolean language sql as 'select false';"
             "create function evil.yes(integer, integer) returns boolean language sql"
             " as 'select true';"
             "create operator evil.= (leftarg = name, rightarg = name, function = evil.no);"
             "create operator evil.= (leftarg = oid, rightarg = oid, function = evil.no);"
             "create operator evil.> (leftarg = integer, rightarg = integer, function = evil.yes);"
             "create aggregate evil.max(integer) (sfunc = int4smaller, stype = integer,"
             " initcond = 0); create schema outbox;"
             "create table outbox.schema_version (version integer, min_relay text,"
             " breaking boolean not null, applied_at timestamptz default now());"
             "insert into outbox.schema_version values (1, '0.1.0', true);"
             "set search_path = evil, pg_catalog");
    expect_schema(OUTBOX_OK, "");
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
    tcase_add_test(tcase, append_refuses_text_that_client_encoding_would_change);
    if (!SANITIZED)
        tcase_add_test(tcase, append_without_memory_leaves_the_transaction_usable);
    suite_add_tcase(suite, tcase);
}

static void add_server_tests(Suite *suite)
{
    TCase *tcase = tcase_create("server errors");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, append_reports_a_killed_backend_as_link_lost);
    tcase_add_test(tcase, append_reports_an_idle_transaction_timeout_as_link_lost);
    tcase_add_test(tcase, append_reports_a_serialization_failure_as_retry);
    tcase_add_loop_test(tcase, append_turns_each_sqlstate_into_code_and_flags, 0, N(failures));
    tcase_add_test(tcase, append_reports_a_backend_that_dies_within_the_statement);
    tcase_add_test(tcase, append_notices_an_insert_that_stored_nothing);
    tcase_add_test(tcase, append_names_the_remedy_when_the_schema_is_missing);
    tcase_add_test(tcase, append_needs_the_insert_privilege_only);
    tcase_add_test(tcase, append_and_check_schema_work_as_outbox_writer);
    tcase_add_test(tcase, append_names_the_remedy_when_the_privilege_is_missing);
    tcase_add_test(tcase, append_in_a_read_only_transaction_names_the_primary);
    tcase_add_test(tcase, append_goes_on_after_signals);
    tcase_add_test(tcase, append_reports_a_cancelled_and_a_timed_out_statement);
    tcase_add_test(tcase, append_reports_a_deadlock_as_retry);
    suite_add_tcase(suite, tcase);
}

static void add_schema_tests(Suite *suite)
{
    TCase *real = tcase_create("schema");
    TCase *states = tcase_create("schema states");

    tcase_add_checked_fixture(real, setup, teardown);
    tcase_add_test(real, check_schema_accepts_the_real_one);
    tcase_add_test(real, check_schema_refuses_in_a_failed_transaction);
    suite_add_tcase(suite, real);
    tcase_add_checked_fixture(states, setup_scratch, teardown_scratch);
    tcase_add_test(states, check_schema_tells_each_state_apart);
    tcase_add_test(states, check_schema_ignores_the_search_path);
    suite_add_tcase(suite, states);
}

Suite *suite_append(void);
Suite *suite_append(void)
{
    Suite *suite = suite_create("append");

    add_event_tests(suite);
    add_refusal_tests(suite);
    add_server_tests(suite);
    add_schema_tests(suite);
    return suite;
}
