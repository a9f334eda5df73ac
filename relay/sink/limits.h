/* limits.h - how large a record may be in each topic (max.message.bytes), and how large it is.
 *
 * A topic's limit is asked for when a row of it is first seen, again every few minutes, and soon
 * after the limit was met. Until the answer is there, no limit is known and nothing is too large:
 * the broker judges. Where this client may not see the topic's configuration it stays that way.
 * Used by sink.c only, on its thread. Topics go by the core's number.
 */
#ifndef RELAY_SINK_LIMITS_H
#define RELAY_SINK_LIMITS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"

struct limits;

struct limits *limits_new(void); /* NULL: out of memory */
void limits_free(struct limits *l); /* accepts NULL */

/* A row of the topic was seen. The name is copied. */
void limits_want(struct limits *l, uint32_t topic, const char *name, uint64_t now_ms);
/* A record of the topic was too large: what is known may be old. */
void limits_doubt(struct limits *l, uint32_t topic);
/* 0: not known. */
size_t limits_of(const struct limits *l, uint32_t topic);
bool limits_too_large(const struct limits *l, uint32_t topic, size_t record_bytes);

/* Sends the question, when there is one and none is out. The answer comes to the queue as
 * RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT. */
void limits_ask(struct limits *l, rd_kafka_t *rk, rd_kafka_queue_t *queue, uint64_t now_ms);
void limits_answer(struct limits *l, rd_kafka_event_t *ev, uint64_t now_ms);
/* The client that was asked is gone, and so is its answer. */
void limits_forget_question(struct limits *l);

/* What the broker compares with max.message.bytes for this record alone in an uncompressed batch of
 * format 2, which is what the solo lane sends: to the byte. */
size_t limits_record_bytes(const struct row *row, const struct header *headers, size_t n_headers);

#endif
