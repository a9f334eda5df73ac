/* event.h - one event as the parameters of the statement. Pure: knows the wire format of PostgreSQL's
 * binary parameters, but neither libpq nor a connection.
 */
#ifndef OUTBOX_LIB_EVENT_H
#define OUTBOX_LIB_EVENT_H

#include <stdbool.h>

#include "outbox.h"

/** The columns in the order in which the statement names them. */
enum {
    OUTBOX__TOPIC,
    OUTBOX__KEY,
    OUTBOX__TYPE,
    OUTBOX__SCHEMA_VERSION,
    OUTBOX__CONTENT_TYPE,
    OUTBOX__PAYLOAD,
    OUTBOX__HEADERS,
    OUTBOX__EVENT_ID,
    OUTBOX__AVAILABLE_AT,
    OUTBOX__N_COLUMNS,
    OUTBOX__ORDERED = OUTBOX__N_COLUMNS, /* no column: whether the key is to be locked */
    OUTBOX__N_PARAMETERS
};

/** An encoded event. values point into the event that was encoded and into this struct, so neither
 *  may move or go before it. */
struct outbox__row {
    const char *values[OUTBOX__N_PARAMETERS]; /* NULL: SQL NULL */
    int lengths[OUTBOX__N_PARAMETERS];
    const char *non_ascii; /* first text column outside ASCII, by name, or NULL */
    bool needs_id;         /* the event names no id: put one into event_id before use */
    unsigned char event_id[16];
    unsigned char schema_version[4];
    unsigned char available_at[8];
    unsigned char ordered[1];
    char *heap;        /* headers that do not fit below, or NULL */
    char small[2048];  /* not initialised */
};

/** Check every limit of the event and encode it. OUTBOX_OK; or OUTBOX_EINVAL or OUTBOX_ENOMEM with
 *  err filled and nothing to free. event comes from outbox__event_read(). */
int outbox__row_encode(const outbox_event *event, struct outbox__row *ret, outbox_error *err);

/** Free what a successful encode holds. */
void outbox__row_deinit(struct outbox__row *row);

#endif
