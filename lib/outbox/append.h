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

/** What outbox_append() does once the event is read and the connection looked at: from the limits to the
 *  answer of the server. event comes from outbox__event_read(). */
int outbox__append_one(PGconn *conn, const outbox_event *event, outbox_error *err);

#endif
