/* producer.h - the producer of one lane: how it is configured, made and ended, and its topics.
 *
 * What is out in it, and what becomes of that, is for sink.c, which alone uses this.
 */
#ifndef RELAY_SINK_PRODUCER_H
#define RELAY_SINK_PRODUCER_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sink/partitions.h"
#include "relay/sink/sink.h"

struct producer {
    rd_kafka_t *rk; /* NULL: none */
    rd_kafka_queue_t *queue;
    struct producer_topic *topic; /* by the core's number */
    uint32_t n_topics;
    uint32_t n_out; /* records; counted by the sink */
};

/* What a producer of the main lane is made with: our properties, the user's, and last those that the
 * guarantees rest on. To be destroyed; NULL: a property is not to librdkafka's liking, and err says which. */
rd_kafka_conf_t *producer_conf(const struct sink_config *cfg, char *err, size_t err_size);

/* Into *p, which has none; conf is copied. librdkafka writes a byte to wake_fd when its queue has
 * something. 0, or -1, err says why, and *p still has none. */
int producer_open(struct producer *p, enum lane lane, const rd_kafka_conf_t *conf, int wake_fd,
                  char *err, size_t err_size);
/* What is still out in it is reported to nobody. Accepts one that is not open. */
void producer_close(struct producer *p);

/* The topic with this number, opened when it is new. NULL: out of memory. */
struct producer_topic *producer_topic(struct producer *p, struct partitioning *partitioning,
                                      uint32_t number, const char *name);

#endif
