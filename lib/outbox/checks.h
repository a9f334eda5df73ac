/* checks.h - what an event may hold. Pure: no clock, no memory of its own, no libpq. */
#ifndef OUTBOX_LIB_CHECKS_H
#define OUTBOX_LIB_CHECKS_H

#include <stdbool.h>
#include <stdint.h>

#include "outbox.h"

#define OUTBOX__N_CARRIED 5

/** sizeof(outbox_event) before max_event_bytes came, which is where programs stand that were built
 *  then. The bytes between flags and its end are padding and hold nothing, ever. */
#define OUTBOX__EVENT_SIZE_1 offsetof(outbox_event, max_event_bytes)

/** What the check found out, for the encoder. carried points into the event and into this struct,
 *  so neither may move or go before it. */
struct outbox__checked {
    outbox_header carried[OUTBOX__N_CARRIED]; /* fields that travel as headers, in order */
    size_t n_carried;
    size_t topic_len, type_len, content_type_len;
    size_t max_bytes;
    bool needs_id; /* the event names no id */
    unsigned char event_id[16];
    char hops[11];
};

/** Copy an event of this or of an older header into ret, whatever its size. OUTBOX_EINVAL for NULL
 *  and for a struct_size that no version had. */
int outbox__event_read(const outbox_event *event, outbox_event *ret, outbox_error *err);

/** Check every limit. OUTBOX_OK, or OUTBOX_EINVAL with err filled. event is of full size. */
int outbox__event_check(const outbox_event *event, struct outbox__checked *ret, outbox_error *err);

/** A W3C traceparent of version 00 with ids that are not all zero? */
bool outbox__is_traceparent(const char *text);

/** Names and values of n headers; more than a size_t of 32 bits holds, maybe. */
uint64_t outbox__header_bytes(const outbox_header *headers, size_t n);

#endif
