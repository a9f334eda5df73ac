/* bare_producer.c - the ceiling for the relay's drain rate: librdkafka and nothing else.
 *
 *   bare_producer BOOTSTRAP TOPIC COUNT PAYLOAD_BYTES HEADERS cloudevents|plain [TOPICS]
 *
 * Produces COUNT records like those the relay makes of a benchmark row (same key sizes, payload and
 * headers, same producer settings, HEADERS row headers of 8 + 24 bytes), waits for every acknowledgement
 * and prints rows= and seconds=. Nothing is read from a database, the headers are made once. TOPICS is how
 * many topics take turns: TOPIC-0, TOPIC-1 and so on; without it there is TOPIC alone.
 * The allocator is the C library's; the relay has another (relay/allocator.c).
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/sink/envelope.h"
#include "tests/tools/kafka_client.h"

enum { MAX_HEADERS = 32, MAX_TOPICS = 1000 };

static unsigned long n_acked, n_failed;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        n_acked++;
    else
        n_failed++;
}

static rd_kafka_t *producer(const char *bootstrap)
{
    static const char *const properties[][2] = {
        { "acks", "all" },
        { "enable.idempotence", "true" },
        { "enable.gapless.guarantee", "true" },
        { "message.timeout.ms", "0" },
        { "partitioner", "murmur2_random" },
        { "linger.ms", "1" },
        { "socket.nagle.disable", "true" },
        { "queue.buffering.max.messages", "10000" },
        { "message.max.bytes", "10485760" },
        { "log_level", "3" },
    };
    rd_kafka_conf_t *conf = kafka_conf(bootstrap, properties, sizeof properties / sizeof properties[0]);

    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return kafka_client(RD_KAFKA_PRODUCER, conf);
}

static rd_kafka_headers_t *copy_headers(const struct header *h, size_t n)
{
    rd_kafka_headers_t *hdrs = rd_kafka_headers_new(n);

    for (size_t i = 0; i < n; i++)
        rd_kafka_header_add(hdrs, h[i].name, -1, h[i].value, (ssize_t)h[i].value_len);
    return hdrs;
}

static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const char *key, const char *payload,
                    size_t payload_len, const struct header *headers, size_t n_headers)
{
    rd_kafka_headers_t *hdrs = copy_headers(headers, n_headers);
    rd_kafka_resp_err_t err;

    while ((err = rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(0),
                                    RD_KAFKA_V_KEY(key, strlen(key)),
                                    RD_KAFKA_V_VALUE((void *)(size_t)payload, payload_len),
                                    RD_KAFKA_V_HEADERS(hdrs), RD_KAFKA_V_END)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(rk, 10);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(hdrs);
        n_failed++;
    }
}

static void open_topics(rd_kafka_t *rk, const char *name, unsigned long n, rd_kafka_topic_t **topic)
{
    char numbered[256];

    if (n == 0)
        topic[0] = rd_kafka_topic_new(rk, name, NULL);
    for (unsigned long i = 0; i < n; i++) {
        snprintf(numbered, sizeof numbered, "%s-%lu", name, i);
        topic[i] = rd_kafka_topic_new(rk, numbered, NULL);
    }
}

int main(int argc, char **argv)
{
    size_t n_own = argc >= 7 ? strtoul(argv[5], NULL, 10) : 0;
    unsigned long numbered = argc == 8 ? strtoul(argv[7], NULL, 10) : 0;
    unsigned long n_topics = numbered > 0 ? numbered : 1;

    if (argc < 7 || argc > 8 || n_own > MAX_HEADERS || n_topics > MAX_TOPICS) {
        fputs("usage: bare_producer BOOTSTRAP TOPIC COUNT PAYLOAD_BYTES HEADERS cloudevents|plain [TOPICS]\n",
              stderr);
        return 64;
    }
    unsigned long count = strtoul(argv[3], NULL, 10);
    size_t payload_len = strtoul(argv[4], NULL, 10);
    char *payload = malloc(payload_len + 1);
    char key[1000][8];
    struct header own[MAX_HEADERS];
    const struct header *headers;
    size_t n_headers;
    struct envelope_buf buf = { .headers = NULL };
    struct envelope env = {
        .kind = strcmp(argv[6], "plain") == 0 ? ENVELOPE_PLAIN : ENVELOPE_CLOUDEVENTS,
        .source = "/outbox",
    };

    if (payload == NULL)
        return 1;
    memset(payload, 'x', payload_len);
    for (int i = 0; i < 1000; i++)
        snprintf(key[i], sizeof key[i], "k%d", i);
    for (size_t i = 0; i < n_own; i++)
        own[i] = (struct header){ "header-x", "abcdefghijklmnopqrstuvwx", 24 };
    struct row row = { .id = 1, .created_at_us = 1700000000000000, .type = "BenchEvent",
                       .schema_version = 1, .headers = own, .n_headers = n_own };
    if (envelope_headers(&env, &row, &buf, &headers, &n_headers) < 0)
        return 1;

    rd_kafka_t *rk = producer(argv[1]);
    rd_kafka_topic_t *topic[MAX_TOPICS];
    open_topics(rk, argv[2], numbered, topic);
    int64_t began_ns = now_ns();
    for (unsigned long i = 0; i < count; i++) {
        produce(rk, topic[i % n_topics], key[i % 1000], payload, payload_len, headers, n_headers);
        if (i % 256 == 0)
            rd_kafka_poll(rk, 0);
    }
    while (n_acked + n_failed < count)
        rd_kafka_poll(rk, 100);
    printf("rows=%lu seconds=%.4f\n", count, (double)(now_ns() - began_ns) / 1e9);
    for (unsigned long i = 0; i < n_topics; i++)
        rd_kafka_topic_destroy(topic[i]);
    rd_kafka_destroy(rk);
    envelope_buf_deinit(&buf);
    free(payload);
    return n_failed > 0;
}
