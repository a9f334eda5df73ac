/* prepare.c - the statements of the appends, prepared in the caller's session.
 *
 * What is prepared already is asked first, from the server's own list: to prepare a name twice is an
 * error that would abort the caller's transaction.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <string.h>

#include "conn.h"
#include "error.h"
#include "outbox.h"
#include "statement.h"

#define DOING "preparing the statements of the outbox"

static const char sql_names[] = "SELECT name FROM pg_catalog.pg_prepared_statements";

static bool is_listed(const PGresult *names, const char *name)
{
    for (int i = 0; i < PQntuples(names); i++) {
        if (strcmp(PQgetvalue(names, i, 0), name) == 0)
            return true;
    }
    return false;
}

static int prepare(PGconn *conn, const struct outbox__statement *statement, outbox_error *err)
{
    PGresult *result = PQprepare(conn, statement->name, statement->sql, statement->n_parameters,
                                 statement->types);
    int code = OUTBOX_OK;

    if (PQresultStatus(result) != PGRES_COMMAND_OK) /* true for NULL */
        code = outbox__conn_failed(conn, result, DOING, err);
    PQclear(result);
    return code;
}

int outbox_prepare(PGconn *conn, outbox_error *err)
{
    PGresult *names;
    int code = outbox__conn_check(conn, OUTBOX__IDLE, err);

    if (code != OUTBOX_OK)
        return code;
    names = PQexecParams(conn, sql_names, 0, NULL, NULL, NULL, NULL, 0);
    if (PQresultStatus(names) != PGRES_TUPLES_OK)
        code = outbox__conn_failed(conn, names, DOING, err);
    for (int i = 0; code == OUTBOX_OK && i < OUTBOX__N_STATEMENTS; i++) {
        if (!is_listed(names, outbox__statements[i].name))
            code = prepare(conn, &outbox__statements[i], err);
    }
    PQclear(names);
    return code;
}
