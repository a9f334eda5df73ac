/* producer.c - the producer of one lane. See producer.h. */
#include "relay/sink/producer.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/room.h"
#include "relay/sink/client.h"

/* Ours to decide: the guarantees rest on them. settings.c refuses them by name. */
static const struct sink_property fixed[] = {
    { "acks", "all" },
    { "enable.idempotence", "true" },
    { "enable.gapless.guarantee", "true" },
    { "message.timeout.ms", "0" },
    { "log.queue", "true" },
};

/* Ours unless the user says otherwise. */
static const struct sink_property defaults[] = {
    { "client.id", "outbox-relay" },
    { "partitioner", "murmur2_random" }, /* as Java clients */
    { "linger.ms", "1" },
    { "socket.nagle.disable", "true" },
    { "reconnect.backoff.max.ms", "1000" },
    { "retry.backoff.ms", "10" }, /* 100 now and then costs a new producer a second (2.0.2) */
    { "topic.metadata.propagation.max.ms", "5000" },
    /* The broker judges sizes. Batches are bounded by batch.size, below a broker's default limit. */
    { "message.max.bytes", "10485760" },
};

/* The producer's queue is never the bound: the window is. */
static int conf_set_queue(rd_kafka_conf_t *conf, const struct sink_config *cfg, char *err,
                          size_t err_size)
{
    char messages[24], kbytes[24];
    uint64_t kb = cfg->max_bytes / 1024 * 2 + 65536;

    snprintf(messages, sizeof messages, "%lu", (unsigned long)cfg->max_rows + 1);
    snprintf(kbytes, sizeof kbytes, "%llu",
             (unsigned long long)(kb < 2097151 ? kb : 2097151)); /* librdkafka's largest */
    return client_set(conf, "queue.buffering.max.messages", messages, err, err_size) < 0 ||
                   client_set(conf, "queue.buffering.max.kbytes", kbytes, err, err_size) < 0
               ? -1
               : 0;
}

rd_kafka_conf_t *producer_conf(const struct sink_config *cfg, char *err, size_t err_size)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (client_set_all(conf, defaults, sizeof defaults / sizeof defaults[0], err, err_size) < 0 ||
        conf_set_queue(conf, cfg, err, err_size) < 0 ||
        (cfg->on_statistics != NULL &&
         client_set(conf, "statistics.interval.ms", "5000", err, err_size) < 0) ||
        client_set_all(conf, cfg->properties, cfg->n_properties, err, err_size) < 0 ||
        client_set_all(conf, fixed, sizeof fixed / sizeof fixed[0], err, err_size) < 0) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
                                       RD_KAFKA_EVENT_STATS);
    return conf;
}

/* Alone in its batch, a record needs no guarantee about those behind it; with the guarantee its
 * refusal would be fatal to all others in the lane. */
static int conf_set_solo(rd_kafka_conf_t *conf, char *err, size_t err_size)
{
    static const struct sink_property solo[] = {
        { "batch.num.messages", "1" },
        { "linger.ms", "0" },
        { "enable.gapless.guarantee", "false" },
    };

    return client_set_all(conf, solo, sizeof solo / sizeof solo[0], err, err_size);
}

int producer_open(struct producer *p, enum lane lane, const rd_kafka_conf_t *conf, int wake_fd,
                  char *err, size_t err_size)
{
    rd_kafka_conf_t *own = rd_kafka_conf_dup(conf);

    if ((lane == LANE_SOLO && conf_set_solo(own, err, err_size) < 0) ||
        (p->rk = client_new(RD_KAFKA_PRODUCER, own, err, err_size)) == NULL) {
        rd_kafka_conf_destroy(own);
        return -1;
    }
    (void)rd_kafka_set_log_queue(p->rk, NULL);
    p->queue = rd_kafka_queue_get_main(p->rk);
    rd_kafka_queue_io_event_enable(p->queue, wake_fd, "", 1);
    return 0;
}

void producer_close(struct producer *p)
{
    for (uint32_t i = 0; i < p->n_topics; i++)
        producer_topic_close(&p->topic[i]);
    free(p->topic);
    client_free(p->rk, p->queue, NULL);
    *p = (struct producer){ .rk = NULL };
}

struct producer_topic *producer_topic(struct producer *p, struct partitioning *partitioning,
                                      uint32_t number, const char *name)
{
    struct producer_topic *topic = room_for(number, p->topic, &p->n_topics, sizeof *topic);

    if (topic == NULL)
        return NULL;
    p->topic = topic;
    if (p->topic[number].handle == NULL &&
        producer_topic_open(&p->topic[number], partitioning, p->rk, number, name) < 0)
        return NULL;
    return &p->topic[number];
}
