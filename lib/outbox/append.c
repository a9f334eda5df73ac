/* append.c - run the INSERT on the caller's connection, inside the caller's transaction.
 *
 * One statement, one round trip, nothing left behind in the session. What an event may hold and
 * how it is encoded is known to event.c; when a statement may be sent, to conn.c.
 */
#include <libpq-fe.h>
#include <string.h>

#include "conn.h"
#include "error.h"
#include "event.h"
#include "event_id.h"
#include "outbox.h"

/* The columns stand in the order of the enum in event.h. No RETURNING: it needs the SELECT
 * privilege, which a writer does not have. */
static const char sql_insert[] =
    "INSERT INTO outbox.event (topic, key, type, schema_version, content_type, payload, headers,"
    " event_id, available_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/* Type OIDs are fixed in PostgreSQL's catalog. Naming them keeps the server from guessing. */
static const Oid column_types[OUTBOX__N_COLUMNS] = {
    [OUTBOX__TOPIC] = 25,          /* text */
    [OUTBOX__KEY] = 17,            /* bytea */
    [OUTBOX__TYPE] = 25,           /* text */
    [OUTBOX__SCHEMA_VERSION] = 23, /* int4 */
    [OUTBOX__CONTENT_TYPE] = 25,   /* text */
    [OUTBOX__PAYLOAD] = 17,        /* bytea */
    [OUTBOX__HEADERS] = 3802,      /* jsonb */
    [OUTBOX__EVENT_ID] = 2950,     /* uuid */
    [OUTBOX__AVAILABLE_AT] = 1184, /* timestamptz */
};

static const int column_formats[OUTBOX__N_COLUMNS] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };

static int check_event(const outbox_event *event, outbox_error *err)
{
    if (event == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "event is NULL");
    if (event->struct_size != sizeof(*event))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "event.struct_size is %zu, not %zu: start from OUTBOX_EVENT_INIT, "
                                 "with the header of this version (%s)",
                                 event->struct_size, sizeof(*event), OUTBOX_VERSION_STRING);
    return OUTBOX_OK;
}

/* The server reads text in the connection's client_encoding, so UTF-8 would arrive as something
 * else, silently. Headers are not concerned, they are sent as ASCII. */
static int check_encoding(PGconn *conn, const struct outbox__row *row, outbox_error *err)
{
    const char *encoding;

    if (row->non_ascii == NULL)
        return OUTBOX_OK;
    encoding = PQparameterStatus(conn, "client_encoding");
    if (encoding != NULL && (strcmp(encoding, "UTF8") == 0 || strcmp(encoding, "SQL_ASCII") == 0))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "%s is UTF-8 outside ASCII, but client_encoding is %s; "
                             "SET client_encoding TO 'UTF8' or keep to ASCII",
                             row->non_ascii, encoding != NULL ? encoding : "unknown");
}

static int make_id(struct outbox__row *row, outbox_error *err)
{
    int code = row->needs_id ? outbox__event_id_make(row->event_id) : OUTBOX_OK;

    if (code != OUTBOX_OK)
        outbox__error_set(err, code, "the system gives no random bytes for an event id");
    return code;
}

/* A trigger or rule of the database's owner can turn an INSERT into nothing without an error. */
static int check_stored(PGresult *result, outbox_error *err)
{
    const char *n_rows = PQcmdTuples(result);

    if (strcmp(n_rows, "1") == 0)
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EDB,
                             "the server stored %s rows instead of 1: a trigger or rule on "
                             "outbox.event takes events away; roll back",
                             n_rows[0] != '\0' ? n_rows : "no");
}

static int insert(PGconn *conn, const struct outbox__row *row, outbox_error *err)
{
    PGresult *result = PQexecParams(conn, sql_insert, OUTBOX__N_COLUMNS, column_types, row->values,
                                    row->lengths, column_formats, 1);
    int code = PQresultStatus(result) == PGRES_COMMAND_OK /* false for NULL */
                   ? check_stored(result, err)
                   : outbox__conn_failed(conn, result, "storing the event", err);

    PQclear(result);
    return code;
}

int outbox_append(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    struct outbox__row row;
    int code;

    if (conn == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn is NULL");
    if ((code = check_event(event, err)) != OUTBOX_OK ||
        (code = outbox__conn_check(conn, true, err)) != OUTBOX_OK ||
        (code = outbox__row_encode(event, &row, err)) != OUTBOX_OK)
        return code;
    code = check_encoding(conn, &row, err);
    if (code == OUTBOX_OK)
        code = make_id(&row, err);
    if (code == OUTBOX_OK)
        code = insert(conn, &row, err);
    outbox__row_deinit(&row);
    return code;
}
