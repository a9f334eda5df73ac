/* kafka_properties.c - what librdkafka is told before there is a consumer: ours unless the user says otherwise, the
 * user's, and those that the guarantees rest on; last wins.
 */
#include <string.h>

#include "kafka_inside.h"
#include "lib/outbox/error.h"
#include "lib/outbox/text.h"
#include "lib/shared/number.h"

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, outbox_error *err)
{
    char why[256], taken[64], quoted[OUTBOX__QUOTE_SIZE];
    size_t size = sizeof taken;

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        for (size_t n = strlen(why); n > 0 && why[n - 1] == '\n'; n--)
            why[n - 1] = '\0';
        return outbox__error_set(err, INBOX_EKAFKA, "kafka.%s: %s", name, why);
    }
    if (rd_kafka_conf_get(conf, name, taken, &size) == RD_KAFKA_CONF_OK && size <= sizeof taken &&
        number_was_cut(value, taken))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "kafka.%s: %s is not allowed; librdkafka takes a plain number "
                                 "without a unit and would read %s", name,
                                 outbox__quote(value, strlen(value), quoted), taken);
    return OUTBOX_OK;
}

int inbox__kafka_configure(const struct inbox_consumer *c, rd_kafka_conf_t *conf, outbox_error *err)
{
    /* Ours unless the user says otherwise. Prefetching is memory, and lost when a partition moves. */
    static const char *const preset[][2] = {
        { "client.id", "inbox" },
        { "queued.max.messages.kbytes", "16384" },
        { "queued.min.messages", "10000" },
        { "topic.metadata.refresh.interval.ms", "10000" },
        { "reconnect.backoff.max.ms", "1000" },
    };
    const char *const own[][2] = {
        { "group.id", c->set.group },
        { "enable.auto.commit", "false" },
        { "enable.auto.offset.store", "false" },
        { "partition.assignment.strategy", "cooperative-sticky" },
        /* Also where a position is no longer in the log: then nothing may be passed over, whatever
         * inbox.start says, which kafka.c sees to as it assigns. */
        { "auto.offset.reset", "earliest" },
        { "enable.partition.eof", "true" }, /* the sign of life of a partition that has nothing new: watch.c */
    };
    int code = OUTBOX_OK;

    for (size_t i = 0; i < sizeof preset / sizeof preset[0] && code == OUTBOX_OK; i++)
        code = set(conf, preset[i][0], preset[i][1], err);
    for (size_t i = 0; i < c->set.n_kafka && code == OUTBOX_OK; i++)
        code = set(conf, c->set.kafka[i].name, c->set.kafka[i].value, err);
    for (size_t i = 0; i < sizeof own / sizeof own[0] && code == OUTBOX_OK; i++)
        code = set(conf, own[i][0], own[i][1], err);
    return code;
}

int inbox__kafka_check(struct inbox_consumer *c, outbox_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int code = inbox__kafka_configure(c, conf, err);

    rd_kafka_conf_destroy(conf);
    return code;
}
