/* reader.h - records of a topic by their offsets, for the commands that compare or look one up.
 * Synchronous, one partition at a time, in order of offset; nothing is kept. Memory: up to about 25 MiB of
 * records on their way (consumer.h).
 */
#ifndef RELAY_SINK_READER_H
#define RELAY_SINK_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"
#include "relay/sink/sink.h"

struct reader;

/* Borrowed during the call. */
struct reader_record {
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* Unix time; negative: none */
    const void *key;      /* NULL: none */
    const void *payload;  /* NULL: a tombstone */
    size_t key_len, payload_len;
    const struct header *headers;
    size_t n_headers;
};

typedef void reader_on_record(void *arg, const struct reader_record *record);

/* The properties as for the sink; borrowed during the call. NULL: not possible, and err says why. */
struct reader *reader_new(const struct sink_property *properties, size_t n, char *err,
                          size_t err_size);
void reader_free(struct reader *r); /* accepts NULL */

enum reader_ends {
    READER_THERE,
    READER_NO_TOPIC, /* there is no such topic, or it has no such partition */
    READER_FAILED    /* and err says why */
};
/* The offsets of the first record that is still there, and of the next one to come. */
enum reader_ends reader_ends(struct reader *r, const char *topic, int32_t partition,
                             int timeout_ms, int64_t *ret_low, int64_t *ret_high, char *err,
                             size_t err_size);

/* The records of [from, to) that are there, both within the ends. Fails when nothing comes for
 * timeout_ms, or *stop (may be NULL) becomes true. 0, or -1 and err says why. */
int reader_read(struct reader *r, const char *topic, int32_t partition, int64_t from, int64_t to,
                int timeout_ms, const bool *stop, reader_on_record *on_record, void *arg, char *err,
                size_t err_size);

#endif
