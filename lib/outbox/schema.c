/* schema.c - compare the installed schema version with the one this library was written for.
 *
 * Asks the catalog first, which anyone may read and which cannot fail for want of a table or of a
 * privilege: an open transaction of the caller survives every answer. What an append needs is asked then. Operators are written with
 * their schema too, so the caller's search_path has no say.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "error.h"
#include "outbox.h"
#include "statement.h"
#include "text.h"

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

/* Here they do: the schema may be used. */
#define EVENT "pg_catalog.to_regclass('outbox.event')::pg_catalog.oid"
#define PROCEDURE "pg_catalog.to_regproc('" OUTBOX__PROCEDURE "')::pg_catalog.oid"

enum { VERSION, TOO_NEW, HAS_EVENT, HAS_PROCEDURE, NOT_INSERTED, MAY_CALL, ROLE, STANDBY, READ_ONLY, HIDDEN };
static const char sql_version[] =
    "SELECT coalesce(pg_catalog.max(version), 0), coalesce(pg_catalog.bool_or(breaking)"
    " FILTER (WHERE version OPERATOR(pg_catalog.>) " NUMBER_TEXT(OUTBOX_SCHEMA_VERSION) "), false),"
    " " EVENT " IS NOT NULL, " PROCEDURE " IS NOT NULL,"
    " (SELECT pg_catalog.string_agg(a.attname::pg_catalog.text, ', ' ORDER BY a.attnum)"
    " FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) " EVENT
    " AND a.attname OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array('" OUTBOX__COLUMNS "', ', '))"
    " AND NOT pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT')),"
    " pg_catalog.has_function_privilege(" PROCEDURE ", 'EXECUTE'),"
    " pg_catalog.quote_ident(CURRENT_USER), pg_catalog.pg_is_in_recovery(),"
    " pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on',"
    " pg_catalog.count(*) OPERATOR(pg_catalog.=) 0"
    " AND pg_catalog.row_security_active('outbox.schema_version'::pg_catalog.text)"
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

static int say_grant(const PGresult *result, const char *privilege, const char *columns, const char *on,
                     outbox_error *err)
{
    char role[140];

    outbox__one_line(PQgetvalue(result, 0, ROLE), role, sizeof(role));
    return outbox__error_set(err, OUTBOX_EDB,
                             "role %s may not append: GRANT %s%s ON %s TO %s; or GRANT outbox_writer TO %s, "
                             "see sql/roles.sql",
                             role, privilege, columns, on, role, role);
}

static int judge_writable(const PGresult *result, outbox_error *err)
{
    if (is_true(result, STANDBY))
        return outbox__error_set(err, OUTBOX_EDB,
                                 "this server is a standby, where nothing can be appended; connect to the "
                                 "primary server");
    if (is_true(result, READ_ONLY))
        return outbox__error_set(err, OUTBOX_EDB,
                                 "this transaction is read-only, so nothing can be appended in it; begin it "
                                 "READ WRITE, or turn default_transaction_read_only off");
    return OUTBOX_OK;
}

/* What an append needs, and outbox_check_schema() alone can tell before the first one. */
static int judge_rights(const PGresult *result, outbox_error *err)
{
    char columns[sizeof(OUTBOX__COLUMNS) + 4];

    snprintf(columns, sizeof(columns), " (%s)", PQgetvalue(result, 0, NOT_INSERTED));
    if (!PQgetisnull(result, 0, NOT_INSERTED))
        return say_grant(result, "INSERT", columns, "outbox.event", err);
    if (!is_true(result, MAY_CALL))
        return say_grant(result, "EXECUTE", "", "PROCEDURE " OUTBOX__PROCEDURE, err);
    return judge_writable(result, err);
}

static int judge_version(const PGresult *result, outbox_error *err)
{
    long version = strtol(PQgetvalue(result, 0, VERSION), NULL, 10);

    if (is_true(result, HIDDEN))
        return outbox__error_set(err, OUTBOX_EDB,
                                 "row-level security hides outbox.schema_version from this role; have a policy admit "
                                 "its rows");
    if (version < OUTBOX_SCHEMA_VERSION)
        return outbox__error_set(err, OUTBOX_ESCHEMA,
                                 "the outbox schema has version %ld, too old for this library, "
                                 "which needs %d; apply the newer files of sql/ in order",
                                 version, OUTBOX_SCHEMA_VERSION);
    if (is_true(result, TOO_NEW))
        return outbox__error_set(err, OUTBOX_ESCHEMA,
                                 "the outbox schema has version %ld, too new for this library, "
                                 "which knows %d, and a change since then is breaking; use a newer "
                                 "library (this is %s)",
                                 version, OUTBOX_SCHEMA_VERSION, OUTBOX_VERSION_STRING);
    if (!is_true(result, HAS_EVENT))
        return not_installed("table outbox.event", err);
    if (!is_true(result, HAS_PROCEDURE))
        return not_installed("procedure " OUTBOX__PROCEDURE, err);
    return judge_rights(result, err);
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
