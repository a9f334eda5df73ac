/* client.h - what the producers and the consumer of this module share: properties, log lines and an
 * end. */
#ifndef RELAY_SINK_CLIENT_H
#define RELAY_SINK_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>

#include "relay/sink/sink.h"

/* 0, or -1 and err begins with the property: "kafka.linger.ms: ..." or "kafka.linger.ms = 5s: ...". A
 * number of which librdkafka would read only the beginning is refused. */
int client_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *err,
               size_t err_size);
int client_set_all(rd_kafka_conf_t *conf, const struct sink_property *p, size_t n, char *err,
                   size_t err_size);

/* As rd_kafka_new(). What is wrong with the properties together begins with "kafka.*: ". */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *err, size_t err_size);

/* Ends a client and its queues; each may be NULL. Waits for its threads, which may take its time while no
 * broker answers. */
void client_free(rd_kafka_t *rk, rd_kafka_queue_t *a, rd_kafka_queue_t *b);

/* Writes a line of librdkafka's log to ours. On the loop's thread, as all logging. */
void client_log(rd_kafka_event_t *ev);

#endif
