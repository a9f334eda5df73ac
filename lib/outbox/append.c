/* append.c - one event on the caller's connection, inside the caller's transaction.
 *
 * One statement, one round trip, nothing left behind in the session. What an event may hold and
 * how it is encoded is known to checks.c and event.c; when a statement may be sent, to conn.c; the
 * statements themselves to statement.c.
 */
#include "append.h"

#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "conn.h"
#include "error.h"
#include "event_id.h"
#include "outbox.h"
#include "statement.h"

static bool is_encoding(const char *name, const char *wanted)
{
    return name != NULL && strcmp(name, wanted) == 0;
}

/* The server reads text in the connection's client_encoding, so UTF-8 would arrive as something
 * else, silently; SQL_ASCII means that it takes the bytes for its own encoding. Headers are not
 * concerned, they are sent as ASCII. */
int outbox__encoding_check(PGconn *conn, const struct outbox__row *row, outbox_error *err)
{
    const char *encoding, *server;

    if (row->non_ascii == NULL)
        return OUTBOX_OK;
    encoding = PQparameterStatus(conn, "client_encoding");
    server = PQparameterStatus(conn, "server_encoding");
    if (is_encoding(encoding, "UTF8") ||
        (is_encoding(encoding, "SQL_ASCII") && (is_encoding(server, "UTF8") || is_encoding(server, "SQL_ASCII"))))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "%s is UTF-8 outside ASCII, but client_encoding is %s and the database has %s; "
                             "SET client_encoding TO 'UTF8' or keep to ASCII",
                             row->non_ascii, encoding != NULL ? encoding : "unknown",
                             server != NULL ? server : "another");
}

/* libpq takes no const, and changes nothing. */
static const char *tag_of(const PGresult *result)
{
    return PQcmdStatus((PGresult *)(uintptr_t)result);
}

static bool is_call(const PGresult *result)
{
    return strcmp(tag_of(result), "CALL") == 0;
}

/* A trigger or rule of the database's owner can turn an INSERT into nothing without an error. The
 * procedure sees to that itself. */
int outbox__stored_check(const PGresult *result, size_t n_rows, outbox_error *err)
{
    const char *stored = PQcmdTuples((PGresult *)(uintptr_t)result); /* it changes nothing */

    if (is_call(result))
        return OUTBOX_OK;
    if (strtoull(stored, NULL, 10) == n_rows) /* "" where a rule left no count; n_rows is never 0 */
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EDB,
                             "the server stored %s rows instead of %zu: a trigger or rule on "
                             "outbox.event takes events away; roll back",
                             stored[0] != '\0' ? stored : "no", n_rows);
}

static int make_id(struct outbox__row *row, outbox_error *err)
{
    int code = row->needs_id ? outbox__event_id_make(row->event_id) : OUTBOX_OK;

    if (code != OUTBOX_OK)
        outbox__error_set(err, code, OUTBOX__NO_RANDOM_BYTES);
    return code;
}

/* Which statement the event asks for, and the event as its parameters. On success the row is to be
 * freed. */
struct request {
    const struct outbox__statement *statement;
    bool prepared;
    struct outbox__row row;
};

static int make_request(PGconn *conn, const outbox_event *event, struct request *ret,
                        outbox_error *err)
{
    int code = outbox__row_encode(event, &ret->row, err);

    if (code != OUTBOX_OK)
        return code;
    code = outbox__encoding_check(conn, &ret->row, err);
    if (code == OUTBOX_OK)
        code = make_id(&ret->row, err);
    if (code != OUTBOX_OK)
        outbox__row_deinit(&ret->row);
    ret->statement = outbox__statement(false, (event->flags & OUTBOX_APPEND_ORDERED) != 0);
    ret->prepared = (event->flags & OUTBOX_APPEND_PREPARED) != 0;
    return code;
}

int outbox__append_one(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    struct request r;
    PGresult *result;
    int code = make_request(conn, event, &r, err);

    if (code != OUTBOX_OK)
        return code;
    result = outbox__statement_run(conn, r.statement, r.prepared, r.row.values, r.row.lengths);
    outbox__row_deinit(&r.row);
    code = PQresultStatus(result) == PGRES_COMMAND_OK /* false for NULL */
               ? outbox__stored_check(result, 1, err)
               : outbox__conn_failed(conn, result, OUTBOX__STORING, err);
    PQclear(result);
    return code;
}

/* The arguments first: an event that cannot be read is the caller's defect whatever the connection. */
static int read_arguments(PGconn *conn, const outbox_event *event, outbox_event *ret,
                          outbox_error *err)
{
    if (conn == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn is NULL");
    return outbox__event_read(event, ret, err);
}

int outbox_append(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    outbox_event e;
    int code;

    if ((code = read_arguments(conn, event, &e, err)) != OUTBOX_OK ||
        (code = outbox__conn_check(conn, OUTBOX__IN_TRANSACTION, err)) != OUTBOX_OK)
        return code;
    return outbox__append_one(conn, &e, err);
}

int outbox_append_send(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    struct request r;
    outbox_event e;
    bool sent;
    int code;

    if ((code = read_arguments(conn, event, &e, err)) != OUTBOX_OK ||
        (code = outbox__conn_check(conn, OUTBOX__TO_SEND, err)) != OUTBOX_OK ||
        (code = make_request(conn, &e, &r, err)) != OUTBOX_OK)
        return code;
    sent = outbox__statement_send(conn, r.statement, r.prepared, r.row.values, r.row.lengths);
    outbox__row_deinit(&r.row);
    return sent ? OUTBOX_OK : outbox__send_failed(conn, "sending the event", err);
}

int outbox_append_result(const PGresult *result, outbox_error *err)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
        if (is_call(result) || strncmp(tag_of(result), "INSERT ", 7) == 0)
            return outbox__stored_check(result, 1, err);
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "the result is that of %.20s, not of an append", tag_of(result));
    case PGRES_PIPELINE_ABORTED:
        return outbox__error_set_all(err, OUTBOX_EABORTED, OUTBOX_ERRF_TXN_ABORTED, NULL,
                                     "an earlier command of the pipeline failed, and the append "
                                     "was not run; roll back");
    case PGRES_FATAL_ERROR:
        if (result != NULL)
            return outbox__result_failed(result, OUTBOX__STORING, err);
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "result is NULL: PQgetResult() has none of an append to give");
    default:
        return outbox__error_set(err, OUTBOX_EINVAL, "the result is %s, not that of an append",
                                 PQresStatus(PQresultStatus(result)));
    }
}
