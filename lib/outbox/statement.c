/* statement.c - the statements that store events. See statement.h.
 *
 * No RETURNING: it needs the SELECT privilege, which a writer does not have.
 *
 * One event, not prepared: a procedure in the schema. An INSERT costs the server more to parse and to plan,
 * with the partitions and the defaults of the table, than to run; the plan of a procedure stays with the
 * session, under no name that could meet another client's behind a pooler.
 *
 * The lock of an ordered append comes before the event's id, in the same statement: it is taken when
 * the FROM clause gives its first row, and the defaults of the columns that are not named (xid, id)
 * are computed for each such row, after it. The server computes the key of the lock, so that all
 * writers agree on it, whatever they are written in.
 *
 * Many: an array that is NULL stands for a column of nulls, as ROWS FROM pads to the longest. ORDER BY the
 * ordinality makes the order of the ids a matter of SQL. It costs no sort, for the server knows that
 * unnest() gives its rows in that order.
 */
#include "statement.h"

#include <stddef.h>

#define INSERT "INSERT INTO outbox.event (" OUTBOX__COLUMNS ") "
#define VALUES "($1, $2, $3, $4, $5, $6, $7, $8, $9)"

/* topic has no slash, so no two pairs of topic and key give the same text. */
#define LOCK_KEY(topic, key) \
    "pg_catalog.hashtextextended(pg_catalog.concat(" topic ", '/', pg_catalog.encode(" key \
    ", 'hex')) COLLATE pg_catalog.\"C\", 0)"

#define UNNEST(parameter) "pg_catalog.unnest(" parameter ")"
#define EVENTS \
    "ROWS FROM (" UNNEST("$1") ", " UNNEST("$2") ", " UNNEST("$3") ", " UNNEST("$4") ", " \
    UNNEST("$5") ", " UNNEST("$6") ", " UNNEST("$7") ", " UNNEST("$8") ", " UNNEST("$9") ")" \
    " WITH ORDINALITY AS e (" OUTBOX__COLUMNS ", n)"

/* Each key once, and in an order that every call has. The count makes one row of all the locks. */
#define LOCKS \
    "(SELECT pg_catalog.count(pg_catalog.pg_advisory_xact_lock(h.hash)) AS n_locks FROM" \
    " (SELECT DISTINCT " LOCK_KEY("k.topic", "k.key") " AS hash FROM" \
    " ROWS FROM (" UNNEST("$1") ", " UNNEST("$2") ", " UNNEST("$10") ") AS k (topic, key, ordered)" \
    " WHERE k.ordered ORDER BY 1) AS h) AS l"

/* Type OIDs are fixed in PostgreSQL's catalog. Naming them keeps the server from guessing. */
static const Oid types_of_one[OUTBOX__N_PARAMETERS] = {
    [OUTBOX__TOPIC] = 25,          /* text */
    [OUTBOX__KEY] = 17,            /* bytea */
    [OUTBOX__TYPE] = 25,           /* text */
    [OUTBOX__SCHEMA_VERSION] = 23, /* int4 */
    [OUTBOX__CONTENT_TYPE] = 25,   /* text */
    [OUTBOX__PAYLOAD] = 17,        /* bytea */
    [OUTBOX__HEADERS] = 114,       /* json */
    [OUTBOX__EVENT_ID] = 2950,     /* uuid */
    [OUTBOX__AVAILABLE_AT] = 1184, /* timestamptz */
    [OUTBOX__ORDERED] = 16,        /* bool */
};

static const Oid types_of_many[OUTBOX__N_PARAMETERS] = {
    [OUTBOX__TOPIC] = 1009,          /* text[] */
    [OUTBOX__KEY] = 1001,            /* bytea[] */
    [OUTBOX__TYPE] = 1009,           /* text[] */
    [OUTBOX__SCHEMA_VERSION] = 1007, /* int4[] */
    [OUTBOX__CONTENT_TYPE] = 1009,   /* text[] */
    [OUTBOX__PAYLOAD] = 1001,        /* bytea[] */
    [OUTBOX__HEADERS] = 199,         /* json[] */
    [OUTBOX__EVENT_ID] = 2951,       /* uuid[] */
    [OUTBOX__AVAILABLE_AT] = 1185,   /* timestamptz[] */
    [OUTBOX__ORDERED] = 1000,        /* bool[] */
};

static const int formats[OUTBOX__N_PARAMETERS] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

/* 2 * many + ordered. */
const struct outbox__statement outbox__statements[OUTBOX__N_STATEMENTS] = {
    { "outbox_one_1", INSERT "VALUES " VALUES, "CALL " OUTBOX__PROCEDURE VALUES, OUTBOX__N_COLUMNS,
      types_of_one },
    { "outbox_one_ordered_1",
      INSERT "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9"
             " FROM pg_catalog.pg_advisory_xact_lock(" LOCK_KEY("$1", "$2") ")",
      NULL, OUTBOX__N_COLUMNS, types_of_one },
    { "outbox_many_1", INSERT "SELECT " OUTBOX__COLUMNS " FROM " EVENTS " ORDER BY e.n", NULL,
      OUTBOX__N_COLUMNS, types_of_many },
    { "outbox_many_ordered_1",
      INSERT "SELECT " OUTBOX__COLUMNS " FROM " LOCKS ", " EVENTS
             " WHERE l.n_locks OPERATOR(pg_catalog.>=) 0 ORDER BY e.n",
      NULL, OUTBOX__N_PARAMETERS, types_of_many },
};

const struct outbox__statement *outbox__statement(bool many, bool ordered)
{
    return &outbox__statements[2 * many + ordered];
}

Oid outbox__element_type(int i)
{
    return types_of_one[i];
}

static const char *text_of(const struct outbox__statement *statement)
{
    return statement->unprepared != NULL ? statement->unprepared : statement->sql;
}

PGresult *outbox__statement_run(PGconn *conn, const struct outbox__statement *statement,
                                bool prepared, const char *const *values, const int *lengths)
{
    if (prepared)
        return PQexecPrepared(conn, statement->name, statement->n_parameters, values, lengths,
                              formats, 1);
    return PQexecParams(conn, text_of(statement), statement->n_parameters, statement->types, values,
                        lengths, formats, 1);
}

bool outbox__statement_send(PGconn *conn, const struct outbox__statement *statement, bool prepared,
                            const char *const *values, const int *lengths)
{
    if (prepared)
        return PQsendQueryPrepared(conn, statement->name, statement->n_parameters, values, lengths,
                                   formats, 1) == 1;
    return PQsendQueryParams(conn, text_of(statement), statement->n_parameters, statement->types,
                             values, lengths, formats, 1) == 1;
}
