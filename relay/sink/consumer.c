/* consumer.c - see consumer.h. */
#include "relay/sink/consumer.h"

#include <string.h>

#include "relay/sink/client.h"

/* Not for this consumer; it would complain about most of these. */
static bool is_not_ours(const char *name)
{
    static const char *const names[] = {
        "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level",
        "compression.type", "delivery.report.only.error", "delivery.timeout.ms",
        "enable.gapless.guarantee", "enable.idempotence", "linger.ms", "message.send.max.retries",
        "message.timeout.ms", "partitioner", "produce.offset.report",
        "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes",
        "queue.buffering.max.messages", "queue.buffering.max.ms", "queuing.strategy",
        "request.required.acks", "request.timeout.ms", "retries", "retry.backoff.ms",
        "retry.backoff.max.ms", "sticky.partitioning.linger.ms", "transaction.timeout.ms",
        "transactional.id",
        /* false is a consumer's default; old brokers cause a remark about it when it is set */
        "allow.auto.create.topics",
        /* these have no meaning without a group */
        "group.id", "group.instance.id", "group.protocol", "group.remote.assignor", "heartbeat.interval.ms",
        "max.poll.interval.ms", "session.timeout.ms",
        /* and from these librdkafka reckons what a fetch may bring: below; a single record comes whole, however large */
        "message.max.bytes", "receive.message.max.bytes",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static int conf_fill(rd_kafka_conf_t *conf, const struct sink_property *p, size_t n,
                     const char *statistics_ms, char *err, size_t err_size)
{
    static const struct sink_property defaults[] = {
        { "client.id", "outbox-relay" },
        { "socket.nagle.disable", "true" },
        { "reconnect.backoff.max.ms", "1000" },
    };
    static const struct sink_property fixed[] = {
        { "log.queue", "true" },
        { "isolation.level", "read_uncommitted" }, /* the relay's records are in no transaction */
        { "enable.auto.commit", "false" },
        { "enable.auto.offset.store", "false" },
        { "auto.offset.reset", "error" }, /* was the log cut, do not read all of it instead */
        { "enable.partition.eof", "true" },
        { "fetch.wait.max.ms", "10" }, /* an end is noticed by an empty answer */
        { "fetch.error.backoff.ms", "50" },
        { "fetch.max.bytes", "8388608" },
        /* Of each partition: with little on its way for each, what has come is used up meanwhile. The
         * queue must not fill up: 2.0.2 then pauses for a second. */
        { "fetch.message.max.bytes", "131072" },
        { "queued.max.messages.kbytes", "16384" },
        { "receive.message.max.bytes", "1073741824" }, /* more than the largest record that a producer takes */
    };

    if (client_set_all(conf, defaults, sizeof defaults / sizeof defaults[0], err, err_size) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!is_not_ours(p[i].name) && client_set_all(conf, &p[i], 1, err, err_size) < 0)
            return -1;
    /* Since 2.2.0: how long a full queue stops fetching; before, until the next answer. */
    (void)rd_kafka_conf_set(conf, "fetch.queue.backoff.ms", "5", NULL, 0);
    if (client_set(conf, "statistics.interval.ms", statistics_ms, err, err_size) < 0)
        return -1;
    return client_set_all(conf, fixed, sizeof fixed / sizeof fixed[0], err, err_size);
}

rd_kafka_t *consumer_open(const struct sink_property *p, size_t n, const char *statistics_ms, char *err, size_t err_size)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;

    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS);
    if (conf_fill(conf, p, n, statistics_ms, err, err_size) < 0 ||
        (rk = client_new(RD_KAFKA_CONSUMER, conf, err, err_size)) == NULL) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    (void)rd_kafka_set_log_queue(rk, NULL);
    return rk;
}
