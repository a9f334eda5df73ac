/* partitions.c - see partitions.h. */
#include "relay/sink/partitions.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/room.h"

/* A partition that was idle for so long counts as new again, for its broker may not know the producer any more: after
 * producer.id.expiration.ms (a day unless set otherwise), or at once when the topic was deleted and made anew, of which
 * nobody tells us. It costs one round trip, of a partition that had nothing to send. */
#define START_LASTS_MS 5000

typedef int32_t partitioner(const rd_kafka_topic_t *, const void *, size_t, int32_t, void *, void *);

struct topic_count { /* stays where it is: librdkafka has its address */
    partitioner *choose;
    uint32_t number;
    _Atomic int32_t n; /* 0: not known yet */
};

struct partitioning {
    partitioner *choose;
    struct topic_count **count; /* by the core's number of the topic */
    uint32_t n_counts;
};

static partitioner *partitioner_named(const char *name)
{
    static const struct {
        const char *name;
        partitioner *choose;
    } known[] = {
        { "consistent", rd_kafka_msg_partitioner_consistent },
        { "consistent_random", rd_kafka_msg_partitioner_consistent_random },
        { "murmur2", rd_kafka_msg_partitioner_murmur2 },
        { "murmur2_random", rd_kafka_msg_partitioner_murmur2_random },
        { "fnv1a", rd_kafka_msg_partitioner_fnv1a },
        { "fnv1a_random", rd_kafka_msg_partitioner_fnv1a_random },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].choose;
    return NULL;
}

struct partitioning *partitioning_new(const rd_kafka_conf_t *conf, char *err, size_t err_size)
{
    char name[64] = "";
    size_t size = sizeof name;
    struct partitioning *p = calloc(1, sizeof *p);

    if (p == NULL) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    if (rd_kafka_conf_get(conf, "partitioner", name, &size) == RD_KAFKA_CONF_OK)
        p->choose = partitioner_named(name);
    if (p->choose == NULL) {
        snprintf(err, err_size, "kafka.partitioner: \"%s\" does not keep the rows of a key together", name);
        free(p);
        return NULL;
    }
    return p;
}

void partitioning_free(struct partitioning *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->n_counts; i++)
        free(p->count[i]);
    free(p->count);
    free(p);
}

static struct topic_count *count_of(struct partitioning *p, uint32_t number)
{
    struct topic_count **count = room_for(number, p->count, &p->n_counts, sizeof(struct topic_count *));

    if (count == NULL)
        return NULL;
    p->count = count;
    if (p->count[number] == NULL && (p->count[number] = calloc(1, sizeof **p->count)) != NULL) {
        p->count[number]->choose = p->choose;
        p->count[number]->number = number;
    }
    return p->count[number];
}

static int32_t on_choose(const rd_kafka_topic_t *handle, const void *key, size_t key_len, int32_t n,
                         void *topic_opaque, void *msg_opaque)
{
    struct topic_count *count = topic_opaque;

    atomic_store(&count->n, n);
    return count->choose(handle, key, key_len, n, NULL, msg_opaque);
}

int producer_topic_open(struct producer_topic *t, struct partitioning *p, rd_kafka_t *rk,
                        uint32_t number, const char *name)
{
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(rk);

    t->count = count_of(p, number);
    if (t->count == NULL) {
        rd_kafka_topic_conf_destroy(conf);
        return -1;
    }
    rd_kafka_topic_conf_set_partitioner_cb(conf, on_choose);
    rd_kafka_topic_conf_set_opaque(conf, t->count);
    t->handle = rd_kafka_topic_new(rk, name, conf); /* takes conf */
    return t->handle != NULL ? 0 : -1;
}

void producer_topic_close(struct producer_topic *t)
{
    if (t->handle != NULL)
        rd_kafka_topic_destroy(t->handle);
    free(t->start);
    *t = (struct producer_topic){ .handle = NULL };
}

uint32_t producer_topic_number(const rd_kafka_topic_t *handle)
{
    const struct topic_count *count = rd_kafka_topic_opaque(handle);

    return count->number;
}

/* Where chance decides there is no order to keep. (And librdkafka's random choice may only be asked from
 * within a callback.) */
static bool is_random(const struct producer_topic *t, const struct row *row)
{
    return t->count->choose == rd_kafka_msg_partitioner_consistent_random && row->key_len == 0;
}

/* -1: not known yet. */
static int32_t partition_of(const struct producer_topic *t, const struct row *row)
{
    int32_t n = atomic_load(&t->count->n);

    return n <= 0 ? -1 : t->count->choose(t->handle, row->key, row->key_len, n, NULL, NULL);
}

static bool has_started(const struct producer_topic *t, int32_t partition, uint64_t now_ms)
{
    return (uint32_t)partition < t->n_start && t->start[partition].confirmed_ms > 0 &&
           now_ms - t->start[partition].confirmed_ms < START_LASTS_MS;
}

bool producer_topic_must_wait(const struct producer_topic *t, const struct row *row)
{
    if (is_random(t, row))
        return false;
    if (t->first != 0)
        return true;
    if (t->n_firsts == 0)
        return false;
    int32_t partition = partition_of(t, row);
    /* even when a record without a key has been confirmed meanwhile: the first one may be on a retry */
    return partition >= 0 && (uint32_t)partition < t->n_start && t->start[partition].first != 0;
}

/* Room for one more partition; without it the whole topic waits for this record. */
static struct partition_start *start_of(struct producer_topic *t, int32_t partition)
{
    struct partition_start *start = room_for((uint32_t)partition, t->start, &t->n_start, sizeof *start);

    if (start == NULL)
        return NULL;
    t->start = start;
    return &start[partition];
}

void producer_topic_sent(struct producer_topic *t, uint32_t slot, const struct row *row,
                         uint64_t now_ms)
{
    if (is_random(t, row))
        return;
    int32_t partition = partition_of(t, row);
    struct partition_start *start = partition >= 0 ? start_of(t, partition) : NULL;

    if (start == NULL) {
        t->first = slot + 1;
    } else if (!has_started(t, partition, now_ms)) {
        start->first = slot + 1;
        t->n_firsts++;
    }
}

void producer_topic_reported(struct producer_topic *t, uint32_t slot, int32_t partition,
                             uint64_t now_ms)
{
    if (t->first == slot + 1)
        t->first = 0;
    for (uint32_t i = 0; t->n_firsts > 0 && i < t->n_start; i++)
        if (t->start[i].first == slot + 1) {
            t->start[i].first = 0;
            t->n_firsts--;
        }
    struct partition_start *start = partition >= 0 ? start_of(t, partition) : NULL;
    if (start != NULL)
        start->confirmed_ms = now_ms;
}
