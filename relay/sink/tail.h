/* tail.h - the ends of topics, read at a takeover: which events are there already?
 *
 * A relay that takes over finds rows without a mark that the one before it may have produced all
 * the same. It reads the last records of their topics, marks the rows whose records it finds there,
 * and sends only the rest. That saves duplicates and nothing else: what cannot be read in time is sent.
 *
 * Reading runs on a thread of its own, so that the loop goes on renewing its lease. Everything here
 * is called on the loop's thread. The consumer has no group: it commits nothing and needs only the
 * right to read the topics; no topic comes into being by it.
 *
 * Looked at are the last `rows` records of each partition, fewer where they have more than
 * max_bytes: 64 of the newest, and then as many as these let expect, in one go. Where the topics that
 * are asked for have more than 16 partitions together, as much as 16 would take is shared among them;
 * but the 64 newest of each are always looked at. Memory: 40 bytes per record looked at, and while
 * reading some MiB of records on their way, 25 at worst.
 */
#ifndef RELAY_SINK_TAIL_H
#define RELAY_SINK_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"
#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"

struct tail;

struct tail_config {
    const struct sink_property *properties; /* as for the sink; borrowed during tail_new */
    size_t n_properties;
    enum envelope_kind envelope; /* says which header holds the id */
    uint32_t rows;               /* per partition; what the other relay may have had on its way */
    uint64_t max_bytes;          /* per partition */
};

enum tail_state {
    TAIL_NONE, /* never asked for */
    TAIL_READING,
    TAIL_READY, /* read; also when the topic does not exist */
    TAIL_FAILED /* not or not wholly read; what was found is still found */
};

/* NULL: not possible, and err says why; so with the plain envelope, whose records carry no id. */
struct tail *tail_new(const struct tail_config *cfg, char *err, size_t err_size);
/* Gives up what is being read, and begins to close the client, on the reader's thread; does not wait. All
 * that may be done with it from then on is tail_free. */
void tail_end(struct tail *t);
/* The same, and waits for it: for milliseconds, 2 seconds at worst while no broker answers, less what has
 * passed since tail_end. Accepts NULL. */
void tail_free(struct tail *t);

/* Readable when tail_poll has something to do: a topic's state has changed, or log lines wait. */
int tail_fd(const struct tail *t);
void tail_poll(struct tail *t);

/* Starts to read; the state is READY or FAILED at the latest timeout_ms from now, give or take a
 * second. Topics asked for together are read together. One that was read before is read anew, one
 * that is being read is left alone. 0, or -1 when out of memory. */
int tail_read(struct tail *t, const char *topic, uint64_t timeout_ms);
enum tail_state tail_state(const struct tail *t, const char *topic);
/* Is the row's record there (record_id.h)? False while the topic is being read. What is there more
 * than once: where it came first. */
bool tail_find(const struct tail *t, const struct row *row, int32_t *ret_partition,
               int64_t *ret_offset);

#endif
