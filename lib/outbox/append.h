/* append.h - what outbox_append() and its sisters share. */
#ifndef OUTBOX_LIB_APPEND_H
#define OUTBOX_LIB_APPEND_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "event.h"

/** Whether the server will read the text of the row as it was meant. */
int outbox__encoding_check(PGconn *conn, const struct outbox__row *row, outbox_error *err);

/** Whether a statement that succeeded stored as many rows as were sent. */
int outbox__stored_check(const PGresult *result, size_t n_rows, outbox_error *err);

/** The event as outbox_append() takes it, from reading it to the answer of the server; all but the
 *  look at the connection. event is the caller's, of any size. */
int outbox__append_one(PGconn *conn, const outbox_event *event, outbox_error *err);

#endif
