/* kafka_client.h - a client of librdkafka from a table of properties, for the programs beside the tests. */
#ifndef TESTS_TOOLS_KAFKA_CLIENT_H
#define TESTS_TOOLS_KAFKA_CLIENT_H

#include <stddef.h>

#include <librdkafka/rdkafka.h>

#include "tests/tools/tool.h"

/* Each row: name, value. */
static inline rd_kafka_conf_t *kafka_conf(const char *brokers, const char *const (*properties)[2], size_t n)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[512];

    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why) != RD_KAFKA_CONF_OK)
        give_up("%s", why);
    for (size_t i = 0; i < n; i++)
        if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1], why, sizeof why) != RD_KAFKA_CONF_OK)
            give_up("%s", why);
    return conf;
}

/* Takes conf. */
static inline rd_kafka_t *kafka_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char why[512];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);

    if (rk == NULL)
        give_up("%s", why);
    return rk;
}

#endif
