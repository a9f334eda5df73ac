/* statement.h - the statements that store events, and how one is run or sent.
 *
 * All take binary parameters in the order of the enum in event.h and give no rows.
 */
#ifndef OUTBOX_LIB_STATEMENT_H
#define OUTBOX_LIB_STATEMENT_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "event.h"

/** The columns that an event is stored in, and the procedure of sql/001 that does so. */
#define OUTBOX__COLUMNS \
    "topic, key, type, schema_version, content_type, payload, headers, event_id, available_at"
#define OUTBOX__PROCEDURE "outbox.append_event"

struct outbox__statement {
    const char *name; /* when it is prepared; changes with sql */
    const char *sql;
    const char *unprepared; /* what is run instead where it is not prepared; NULL: sql */
    int n_parameters;
    const Oid *types;
};

enum { OUTBOX__N_STATEMENTS = 4 };
extern const struct outbox__statement outbox__statements[OUTBOX__N_STATEMENTS];

/** The one for a single event or for arrays, with or without a lock on the key. */
const struct outbox__statement *outbox__statement(bool many, bool ordered);

/** Type of the elements of the array that parameter number i of the many statements is. */
Oid outbox__element_type(int i);

/** Run it and wait. prepared: by name. NULL when libpq has no memory. */
PGresult *outbox__statement_run(PGconn *conn, const struct outbox__statement *statement,
                                bool prepared, const char *const *values, const int *lengths);

/** Send it. False: libpq could not. */
bool outbox__statement_send(PGconn *conn, const struct outbox__statement *statement, bool prepared,
                            const char *const *values, const int *lengths);

#endif
