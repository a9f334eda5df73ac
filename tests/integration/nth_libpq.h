/* nth_libpq.h - calls of libpq that fail: the n-th of all, or the first with a statement. Each in any of four ways, by
 * which the server has done what it was asked for or not, and the link is lost or not.
 *
 * Included by test_nth_inbox.c only; the calls are those that libinbox makes.
 */
#ifndef TESTS_INTEGRATION_NTH_LIBPQ_H
#define TESTS_INTEGRATION_NTH_LIBPQ_H

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <libpq-fe.h>

#include "tests/rig/fake.h"

/* NOTHING: libpq refuses and the link is as before, as without memory. ANSWER_LOST: the same, but it was done. */
enum way { NOTHING, ANSWER_LOST, LINK_LOST_BEFORE, LINK_LOST_AFTER, N_WAYS };

static bool counting;
static enum way way;
static unsigned call_to_fail, n_pq_calls;
static const char *sql_to_fail; /* the first statement with it, whichever call it is; NULL: the n-th call */
static const char *failed_call; /* NULL: none yet */

static bool is_wanted(const char *sql)
{
    if (sql_to_fail == NULL)
        return n_pq_calls == call_to_fail;
    return failed_call == NULL && sql != NULL && strstr(sql, sql_to_fail) != NULL;
}

static bool is_the_nth(const char *function, const char *sql)
{
    if (!counting)
        return false;
    n_pq_calls++;
    if (!is_wanted(sql))
        return false;
    failed_call = function;
    return true;
}

static void cut(PGconn *conn)
{
    if (PQsocket(conn) >= 0)
        (void)shutdown(PQsocket(conn), SHUT_RDWR);
}

/* The server has answered, and nobody gets it. */
static PGresult *lose(PGconn *conn, PGresult *answer)
{
    cut(conn);
    PQclear(answer);
    while (PQconsumeInput(conn) == 1)
        ;
    return PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

static int after(PGconn *conn, int answer)
{
    cut(conn);
    return answer;
}

static PGresult *drop(PGresult *answer)
{
    PQclear(answer);
    return NULL;
}

static int refuse(int answer)
{
    (void)answer;
    return 0;
}

static PGconn *without_link(PGconn *conn)
{
    cut(conn);
    return conn;
}

#define FAKE_PQ(type, function, parameters, arguments, statement, dropped, lost)                   \
    FAKE(type, function, parameters)                                                               \
    {                                                                                              \
        if (!is_the_nth(#function, statement))                                                     \
            return __real_##function arguments;                                                    \
        if (way == NOTHING)                                                                        \
            return 0;                                                                              \
        if (way == ANSWER_LOST)                                                                    \
            return dropped(__real_##function arguments);                                           \
        if (way == LINK_LOST_AFTER)                                                                \
            return lost(conn, __real_##function arguments);                                        \
        cut(conn);                                                                                 \
        return __real_##function arguments;                                                        \
    }

FAKE_PQ(PGresult *, PQexec, (PGconn *conn, const char *sql), (conn, sql), sql, drop, lose)
FAKE_PQ(PGresult *, PQexecParams,
        (PGconn *conn, const char *sql, int n, const Oid *types, const char *const *values,
         const int *lengths, const int *formats, int format),
        (conn, sql, n, types, values, lengths, formats, format), sql, drop, lose)
FAKE_PQ(PGresult *, PQgetResult, (PGconn *conn), (conn), NULL, drop, lose)
FAKE_PQ(int, PQsendQueryParams,
        (PGconn *conn, const char *sql, int n, const Oid *types, const char *const *values,
         const int *lengths, const int *formats, int format),
        (conn, sql, n, types, values, lengths, formats, format), sql, refuse, after)
FAKE_PQ(int, PQpipelineSync, (PGconn *conn), (conn), NULL, refuse, after)
FAKE_PQ(int, PQenterPipelineMode, (PGconn *conn), (conn), NULL, refuse, after)
FAKE_PQ(int, PQexitPipelineMode, (PGconn *conn), (conn), NULL, refuse, after)

FAKE(PGconn *, PQconnectStartParams, (const char *const *names, const char *const *values, int expand))
{
    static const char *const none[] = { "no_such_option", NULL }, *const value[] = { "x", NULL };

    if (!is_the_nth("PQconnectStartParams", NULL))
        return __real_PQconnectStartParams(names, values, expand);
    return way == NOTHING || way == ANSWER_LOST ? NULL
           : way == LINK_LOST_BEFORE ? __real_PQconnectStartParams(none, value, 0)
                                     : without_link(__real_PQconnectStartParams(names, values, expand));
}

/* sql NULL: the n-th. */
static void fail_call(enum way how, unsigned n, const char *sql)
{
    way = how;
    call_to_fail = n;
    sql_to_fail = sql;
    n_pq_calls = 0;
    failed_call = NULL;
    counting = true;
}

#endif
