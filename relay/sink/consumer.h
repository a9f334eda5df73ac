/* consumer.h - a consumer without a group, for those who read topics: the ends at a takeover (tail.h), what
 * the commands compare (reader.h) and ask about (inspect.h).
 *
 * It is librdkafka's simple consumer: the other one always belongs to a group, and looking up its
 * coordinator alone makes a broker create the topic of consumer offsets. It commits nothing, needs only
 * the right to read, and no topic comes into being by it.
 */
#ifndef RELAY_SINK_CONSUMER_H
#define RELAY_SINK_CONSUMER_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>

#include "relay/sink/sink.h"

/* The user's properties, as for the sink; those that only mean something to a producer are left out.
 * Errors, log lines and, each statistics_ms (a number; "0": none), statistics come to its main queue. NULL: not possible,
 * and err says why. */
rd_kafka_t *consumer_open(const struct sink_property *p, size_t n, const char *statistics_ms, char *err, size_t err_size);

#endif
