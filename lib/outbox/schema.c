/* schema.c - compare the installed schema version with the one this library was written for.
 *
 * Asks the catalog first, which anyone may read and which cannot fail for want of a table or of a
 * privilege: an open transaction of the caller survives every answer. Operators are written with
 * their schema too, so the caller's search_path has no say.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "error.h"
#include "outbox.h"

#define STRINGIFY(x) #x
#define NUMBER_TEXT(x) STRINGIFY(x)
#define DOING "reading the schema version"

/* to_regclass() would not do: it fails when the role may not use the schema. */
static const char sql_find[] =
    "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'),"
    " c.oid IS NOT NULL,"
    " coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false)"
    " FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c"
    " ON c.relnamespace OPERATOR(pg_catalog.=) n.oid"
    " AND c.relname OPERATOR(pg_catalog.=) 'schema_version'"
    " WHERE n.nspname OPERATOR(pg_catalog.=) 'outbox'";

static const char sql_version[] =
    "SELECT coalesce(pg_catalog.max(version), 0), coalesce(pg_catalog.bool_or(breaking)"
    " FILTER (WHERE version OPERATOR(pg_catalog.>) " NUMBER_TEXT(OUTBOX_SCHEMA_VERSION) "), false)"
    " FROM outbox.schema_version";

static bool is_true(const PGresult *result, int column)
{
    return strcmp(PQgetvalue(result, 0, column), "t") == 0;
}

static int not_installed(const char *what, outbox_error *err)
{
    return outbox__error_set(err, OUTBOX_ESCHEMA,
                             "%s does not exist in this database; apply sql/001_outbox.up.sql to "
                             "it, or connect to the one where it was applied",
                             what);
}

static int judge_find(const PGresult *result, outbox_error *err)
{
    if (PQntuples(result) == 0)
        return not_installed("schema outbox", err);
    if (!is_true(result, 1))
        return not_installed("table outbox.schema_version", err);
    if (!is_true(result, 0) || !is_true(result, 2))
        return outbox__error_set(err, OUTBOX_EDB,
                                 "this role may not read outbox.schema_version; grant it "
                                 "outbox_writer, see sql/roles.sql");
    return OUTBOX_OK;
}

static int judge_version(const PGresult *result, outbox_error *err)
{
    long version = strtol(PQgetvalue(result, 0, 0), NULL, 10);

    if (version < OUTBOX_SCHEMA_VERSION)
        return outbox__error_set(err, OUTBOX_ESCHEMA,
                                 "the outbox schema has version %ld, too old for this library, "
                                 "which needs %d; apply the newer files of sql/ in order",
                                 version, OUTBOX_SCHEMA_VERSION);
    if (is_true(result, 1))
        return outbox__error_set(err, OUTBOX_ESCHEMA,
                                 "the outbox schema has version %ld, too new for this library, "
                                 "which knows %d, and a change since then is breaking; use a newer "
                                 "library (this is %s)",
                                 version, OUTBOX_SCHEMA_VERSION, OUTBOX_VERSION_STRING);
    return OUTBOX_OK;
}

/* Both statements give one row or none. */
static int query(PGconn *conn, const char *sql, int (*judge)(const PGresult *, outbox_error *),
                 outbox_error *err)
{
    PGresult *result = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
    int code = PQresultStatus(result) == PGRES_TUPLES_OK /* false for NULL */
                   ? judge(result, err)
                   : outbox__conn_failed(conn, result, DOING, err);

    PQclear(result);
    return code;
}

int outbox_check_schema(PGconn *conn, outbox_error *err)
{
    int code = outbox__conn_check(conn, OUTBOX__IDLE, err);

    if (code == OUTBOX_OK)
        code = query(conn, sql_find, judge_find, err);
    if (code == OUTBOX_OK)
        code = query(conn, sql_version, judge_version, err);
    return code;
}
