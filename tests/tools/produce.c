/* produce.c - write the records that stdin describes, in order; for tests of the judge.
 *
 *   produce BOOTSTRAP < lines        topic key header=value[;...] payload, separated by tabs
 * The header "@timestamp" is none: it is the record's timestamp, in Unix milliseconds.
 * "-" stands for none (NULL key, no header, NULL payload), an empty field for zero bytes. Ends when
 * all are acknowledged; exits 1 when one was not.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "tests/tools/kafka_client.h"

enum { FLUSH_MS = 180000, N_FIELDS = 4 };

static bool failed;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "produce: %s\n", rd_kafka_err2str(message->err));
        failed = true;
    }
}

static rd_kafka_t *producer_new(const char *bootstrap)
{
    static const char *const properties[][2] = { { "enable.idempotence", "true" },
                                                 { "partitioner", "murmur2_random" } };
    rd_kafka_conf_t *conf = kafka_conf(bootstrap, properties, 2);

    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return kafka_client(RD_KAFKA_PRODUCER, conf);
}

static const char *or_null(const char *field)
{
    return strcmp(field, "-") == 0 ? NULL : field;
}

static bool produce_line(rd_kafka_t *rk, char *line)
{
    char *fields[N_FIELDS];
    char *rest = line;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    rd_kafka_resp_err_t err;
    char *name, *value;
    int64_t timestamp = 0; /* now */

    line[strcspn(line, "\n")] = '\0';
    for (int i = 0; i < N_FIELDS; i++)
        fields[i] = rest != NULL ? strsep(&rest, "\t") : line + strlen(line);
    while ((name = strsep(&fields[2], ";")) != NULL)
        if (strncmp(name, "@timestamp=", 11) == 0)
            timestamp = strtoll(name + 11, NULL, 10);
        else if ((value = strchr(name, '=')) != NULL)
            rd_kafka_header_add(headers, name, value - name, value + 1, -1);
    err = rd_kafka_producev(
        rk, RD_KAFKA_V_TOPIC(fields[0]), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(or_null(fields[1]), or_null(fields[1]) ? strlen(fields[1]) : 0),
        RD_KAFKA_V_VALUE((void *)or_null(fields[3]), or_null(fields[3]) ? strlen(fields[3]) : 0),
        RD_KAFKA_V_TIMESTAMP(timestamp), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    rd_kafka_headers_destroy(headers);
    fprintf(stderr, "produce: %s\n", rd_kafka_err2str(err));
    return false;
}

int main(int argc, char **argv)
{
    rd_kafka_t *rk;
    char *line = NULL;
    size_t size = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: produce BOOTSTRAP < lines\n");
        return 64;
    }
    rk = producer_new(argv[1]);
    while (getline(&line, &size, stdin) > 0) {
        failed = !produce_line(rk, line) || failed;
        (void)rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "produce: not all acknowledged in %d s\n", FLUSH_MS / 1000);
        failed = true;
    }
    free(line);
    rd_kafka_destroy(rk);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
