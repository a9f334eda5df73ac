/* row.h - one event as read from the outbox: what travels from the source to the sink.
 *
 * A row and everything it points to is one block from malloc; free(row) frees it all. The source
 * makes it, the driver owns it from then on.
 */
#ifndef RELAY_ROW_H
#define RELAY_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct header {
    const char *name;
    const char *value; /* not terminated */
    size_t value_len;
};

struct row {
    int64_t id;
    int64_t created_at_us; /* Unix time */
    int64_t wait_ms;       /* not to be sent before so long after it was read; 0: at once */
    const char *topic, *type;
    const char *content_type; /* NULL: none */
    const void *key;          /* NULL: no key */
    const void *payload;      /* NULL: tombstone */
    const struct header *headers;
    /* NULL, or why the event could not be read as a whole: of it there is what it takes to hold it. Type,
     * content type, payload and headers are missing, and it must not be sent. */
    const char *unreadable;
    bool key_unreadable; /* and so is its key, which nobody knows now */
    size_t key_len, payload_len, n_headers;
    size_t block_bytes; /* the size of the block */
    int32_t schema_version;
    int16_t bucket;
    uint16_t attempts; /* with maybe and held_as: what outbox.held said; zero when it is not from there */
    bool maybe;        /* it may have been delivered by an attempt that ended without an answer */
    uint8_t held_as;   /* enum held_as */
    uint8_t event_id[16];
};

#endif
