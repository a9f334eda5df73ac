/* partitions.h - the partition of a key before it is produced, and the first record of each partition.
 *
 * Why: see sink_must_wait. librdkafka chooses the partition; to know it beforehand we stand in for its
 * partitioner with a callback that asks the same function and remembers the number of partitions.
 * Used by producer.c and sink.c only, on their thread, but for the callback, which may run on librdkafka's.
 */
#ifndef RELAY_SINK_PARTITIONS_H
#define RELAY_SINK_PARTITIONS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"

/* Of all producers: which partitioner, and how many partitions each topic has. */
struct partitioning;

struct partition_start {
    uint64_t confirmed_ms; /* last confirmation by this producer; 0: none yet */
    uint32_t first;        /* slot + 1 of the first record with a key, while it is out */
};

struct topic_count;

/* One topic of one producer. Start from zeroes. */
struct producer_topic {
    rd_kafka_topic_t *handle; /* NULL: not opened */
    struct topic_count *count;
    struct partition_start *start; /* by partition */
    uint32_t n_start;
    uint32_t n_firsts; /* partitions whose first record is out */
    uint32_t first; /* as above, while the number of partitions is not known */
};

/* NULL: the setting partitioner is none that goes by the key, or out of memory; err says which. */
struct partitioning *partitioning_new(const rd_kafka_conf_t *conf, char *err, size_t err_size);
void partitioning_free(struct partitioning *p); /* after all producers; accepts NULL */

/* 0, or -1 when out of memory. */
int producer_topic_open(struct producer_topic *t, struct partitioning *p, rd_kafka_t *rk,
                        uint32_t number, const char *name);
void producer_topic_close(struct producer_topic *t); /* accepts one that was not opened */
/* The number that it was opened with. */
uint32_t producer_topic_number(const rd_kafka_topic_t *handle);

/* The row has a key. */
bool producer_topic_must_wait(const struct producer_topic *t, const struct row *row);
void producer_topic_sent(struct producer_topic *t, uint32_t slot, const struct row *row,
                         uint64_t now_ms);
/* partition: where it was written, or -1 when it was not. */
void producer_topic_reported(struct producer_topic *t, uint32_t slot, int32_t partition,
                             uint64_t now_ms);

#endif
