/* appends.h - what the tests of the library on a real PostgreSQL share.
 *
 * A test finds its rows by its own topic. `control` is a second connection, never in a transaction.
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 */
#ifndef TESTS_INTEGRATION_APPENDS_H
#define TESTS_INTEGRATION_APPENDS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbox.h"
#include "tests/rig/rig.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define ABORTED OUTBOX_ERRF_TXN_ABORTED
#define RETRY OUTBOX_ERRF_RETRY_TXN
#define LOST OUTBOX_ERRF_LINK_LOST

/* What becomes of an SQLSTATE, with a part of the message. */
static const struct server_failure {
    const char *sqlstate; /* also the type of the event at which the trigger raises it */
    int code;
    uint32_t flags;
    const char *words;
} server_failures[] = {
    { "40001", OUTBOX_EDB, RETRY | ABORTED, "two lines (SQLSTATE 40001)" },
    { "40P01", OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 40P01" },
    { "55P03", OUTBOX_EDB, RETRY | ABORTED, "SQLSTATE 55P03" },
    { "57014", OUTBOX_EDB, ABORTED, "SQLSTATE 57014" },
    { "23505", OUTBOX_EDB, ABORTED, "SQLSTATE 23505" },
    { "53100", OUTBOX_EDB, ABORTED, "SQLSTATE 53100" },
    { "25006", OUTBOX_EDB, ABORTED, "read-only: connect to the primary server" },
    { "25P02", OUTBOX_EABORTED, ABORTED, "SQLSTATE 25P02" },
    { "42883", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "42703", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "42P01", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "3F000", OUTBOX_ESCHEMA, ABORTED, "apply sql/001_outbox.up.sql" },
    { "08006", OUTBOX_ELINK, LOST, "new connection" },
};

static PGconn *conn, *control;
static outbox_event event;
static outbox_error err;

static inline void setup(void)
{
    conn = rig_connect();
    control = rig_connect();
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.type = "test";
    err = (outbox_error)OUTBOX_ERROR_INIT;
}

static inline void teardown(void)
{
    PQfinish(conn);
    PQfinish(control);
}

/* A connection to another database of the same server. */
static inline PGconn *connect_to(const char *database)
{
    const char *const names[] = { "dbname", "dbname", NULL };
    const char *const values[] = { rig_dsn(), database, NULL };
    PGconn *other = PQconnectdbParams(names, values, 1);

    ck_assert_msg(PQstatus(other) == CONNECTION_OK, "%s", PQerrorMessage(other));
    return other;
}

static inline void expect_ok(int code)
{
    ck_assert_msg(code == OUTBOX_OK, "code %d, SQLSTATE %s: %s", code, err.sqlstate, err.message);
}

static inline void expect_code(int code, int expected, uint32_t flags)
{
    ck_assert_msg(code == expected, "code %d instead of %d: %s", code, expected, err.message);
    ck_assert_int_eq(err.code, expected);
    ck_assert_msg(err.flags == flags, "flags %x instead of %x: %s", (unsigned)err.flags,
                  (unsigned)flags, err.message);
}

static inline void expect_words(const char *words)
{
    ck_assert_msg(strstr(err.message, words) != NULL, "\"%s\" lacks \"%s\"", err.message, words);
}

static inline void append_ok(void)
{
    expect_ok(outbox_append(conn, &event, &err));
}

static inline void refuse(int code, uint32_t flags, const char *words)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    expect_code(outbox_append(conn, &event, &err), code, flags);
    expect_words(words);
}

static inline void expect_rows(const char *topic, int64_t n)
{
    char sql[400];

    snprintf(sql, sizeof(sql), "select count(*) from outbox.event where topic = '%s'", topic);
    ck_assert_int_eq(rig_scalar_i64(control, sql), n);
}

static inline void expect_scalar(const char *sql, const char *expected)
{
    ck_assert_str_eq(rig_scalar(control, sql), expected);
}

static inline bool backend_is_gone(void *pid)
{
    char sql[100];

    snprintf(sql, sizeof(sql), "select count(*) from pg_stat_activity where pid = %d", *(int *)pid);
    return strcmp(rig_scalar(control, sql), "0") == 0;
}

static inline void kill_backend(PGconn *victim)
{
    int pid = PQbackendPID(victim);

    rig_execf(control, "select pg_terminate_backend(%d)", pid);
    ck_assert(rig_wait_until(backend_is_gone, &pid, RIG_DEADLINE_MS));
}

/* What goes to the server between trace_begin and trace_end, by libpq's own trace. */
static FILE *trace_file;

static inline void trace_begin(PGconn *traced)
{
    trace_file = tmpfile();
    ck_assert_ptr_nonnull(trace_file);
    PQtrace(traced, trace_file);
}

/* How many messages of this kind, "" for all. */
static inline int traced(const char *kind)
{
    char line[4096];
    int n = 0;

    rewind(trace_file);
    while (fgets(line, sizeof(line), trace_file) != NULL)
        n += strstr(line, "\tF\t") != NULL && strstr(line, kind) != NULL;
    return n;
}

static inline void trace_end(PGconn *traced_conn)
{
    PQuntrace(traced_conn);
    fflush(trace_file);
}

/* An event of another type than "test" fails with the SQLSTATE that is its type; "terminate" ends the server process
 * within the statement, "swallow" stores nothing, what is longer passes. */
static inline void install_trigger(void)
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
             " when (new.type <> 'test') execute function public.fail()");
    event.topic = "trigger";
    event.payload = "SECRET";
    event.payload_len = 6;
}

static inline void remove_trigger(void)
{
    rig_exec(control, "drop trigger fail on outbox.event; drop function public.fail()");
    expect_rows("trigger", 0);
}

#endif
