/* latency.c - how long a row takes from its commit to a consumer, or a record from produce to there.
 *
 *   latency relay BOOTSTRAP TOPIC RATE SECONDS DSN     a relay must be running on the database
 *   latency debezium BOOTSTRAP outbox.event.NAME RATE SECONDS DSN    the same for Debezium, table bench.outbox
 *   latency bare  BOOTSTRAP TOPIC RATE SECONDS         librdkafka alone, with the relay's settings
 *
 * Sends RATE rows a second, evenly: of a database four connections commit one row at a time (more at a
 * time above 1,000 a second), in bare mode one producer is given one record at a time. A row's time
 * begins when its commit has returned, a record's when it is given to the producer, and both end when the
 * consumer, in the same process, has it. The first second does not count. Prints one line; exits 1 when
 * something did not arrive.
 */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/tools/kafka_client.h"

enum { WRITERS = 4, LINE = 512, PATIENCE_S = 20 };

static const char *bootstrap, *topic, *dsn, *insert;
static unsigned long rate, total, per_commit = 1;
static int64_t began_ns;
static _Atomic int64_t *sent_ns; /* by number; 0: not yet */
static int64_t *consumed_ns;
static atomic_bool failed;

static void wait_for_turn(unsigned long number)
{
    int64_t at = began_ns + (int64_t)((double)number / (double)rate * 1e9);
    struct timespec ts = { .tv_sec = at / 1000000000, .tv_nsec = at % 1000000000 };

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* -- the two ways in -------------------------------------------------------------------------- */

static const char insert_event[] =
    "insert into outbox.event (topic, key, type, payload)"
    " select $1, convert_to('k' || n % 100, 'UTF8'), 'Latency', convert_to(rpad(n::text, 256), 'UTF8')"
    " from generate_series($2::bigint, $3::bigint) n";
static const char insert_debezium[] =
    "insert into bench.outbox (id, aggregatetype, aggregateid, type, payload)"
    " select gen_random_uuid(), substr($1, 14), 'k' || n % 100, 'Latency', convert_to(rpad(n::text, 256), 'UTF8')"
    " from generate_series($2::bigint, $3::bigint) n";

static void *write_rows(void *arg)
{
    PGconn *conn = PQconnectdb(dsn);
    unsigned long writer = (unsigned long)(uintptr_t)arg;

    PQclear(PQprepare(conn, "insert", insert, 0, NULL));
    for (unsigned long i = writer * per_commit; i < total && !failed; i += WRITERS * per_commit) {
        unsigned long end = i + per_commit < total ? i + per_commit : total;
        char from[24], to[24];
        const char *const values[] = { topic, from, to };

        snprintf(from, sizeof from, "%lu", i);
        snprintf(to, sizeof to, "%lu", end - 1);
        wait_for_turn(i);
        PGresult *res = PQexecPrepared(conn, "insert", 3, values, NULL, NULL, 0);
        int64_t ns = now_ns();
        if (PQresultStatus(res) != PGRES_COMMAND_OK) {
            fprintf(stderr, "latency: %s", PQerrorMessage(conn));
            failed = true;
        }
        PQclear(res);
        for (unsigned long n = i; n < end; n++)
            sent_ns[n] = ns;
    }
    PQfinish(conn);
    return NULL;
}

static void *produce_records(void *arg)
{
    static const char *const properties[][2] = {
        { "acks", "all" }, { "enable.idempotence", "true" }, { "enable.gapless.guarantee", "true" },
        { "partitioner", "murmur2_random" }, { "linger.ms", "1" }, { "socket.nagle.disable", "true" },
        { "log_level", "3" },
    };
    char value[257], key[16];
    rd_kafka_t *rk = kafka_client(RD_KAFKA_PRODUCER,
                                  kafka_conf(bootstrap, properties, sizeof properties / sizeof properties[0]));

    (void)arg;
    for (unsigned long i = 0; i < total; i++) {
        snprintf(value, sizeof value, "%-256lu", i);
        snprintf(key, sizeof key, "k%lu", i % 100);
        wait_for_turn(i);
        sent_ns[i] = now_ns();
        if (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE(value, 256),
                              RD_KAFKA_V_END) != RD_KAFKA_RESP_ERR_NO_ERROR)
            failed = true;
        rd_kafka_poll(rk, 0);
    }
    rd_kafka_flush(rk, PATIENCE_S * 1000);
    rd_kafka_destroy(rk);
    return NULL;
}

/* -- the way out ------------------------------------------------------------------------------ */

/* At the end of each partition, asked for before anything is sent. */
static void assign_ends(rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *about;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, handle, &about, PATIENCE_S * 1000);

    if (err != RD_KAFKA_RESP_ERR_NO_ERROR || about->topic_cnt != 1)
        give_up("%s: %s", topic, rd_kafka_err2str(err));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (int i = 0; i < about->topics[0].partition_cnt; i++) {
        int64_t low = 0, high = 0;
        err = rd_kafka_query_watermark_offsets(rk, topic, i, &low, &high, PATIENCE_S * 1000);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            give_up("%s: %s", topic, rd_kafka_err2str(err));
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = high;
    }
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_metadata_destroy(about);
    rd_kafka_topic_destroy(handle);
}

static rd_kafka_t *open_consumer(void)
{
    static const char *const properties[][2] = {
        { "group.id", "latency" }, { "enable.auto.commit", "false" }, { "log_level", "3" },
        { "socket.nagle.disable", "true" },
    };
    rd_kafka_t *rk = kafka_client(RD_KAFKA_CONSUMER,
                                  kafka_conf(bootstrap, properties, sizeof properties / sizeof properties[0]));

    rd_kafka_poll_set_consumer(rk);
    assign_ends(rk);
    return rk;
}

static unsigned long consume(rd_kafka_t *rk)
{
    int64_t until = began_ns + (int64_t)(total / rate + PATIENCE_S) * 1000000000;
    unsigned long n = 0;

    while (n < total && !failed && now_ns() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        char text[24] = "";

        if (m == NULL)
            continue;
        int64_t ns = now_ns();
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->len == 256) {
            memcpy(text, m->payload, sizeof text - 1);
            unsigned long i = strtoul(text, NULL, 10);
            if (i < total && consumed_ns[i] == 0) {
                consumed_ns[i] = ns;
                n++;
            }
        }
        rd_kafka_message_destroy(m);
    }
    return n;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void report(unsigned long received)
{
    double *ms = calloc(total + 1, sizeof *ms);
    size_t n = 0;

    for (unsigned long i = rate; ms != NULL && i < total; i++)
        if (consumed_ns[i] != 0 && sent_ns[i] != 0)
            ms[n++] = (double)(consumed_ns[i] - sent_ns[i]) / 1e6;
    if (n == 0)
        give_up("nothing arrived: %s", topic);
    qsort(ms, n, sizeof *ms, by_size);
    printf("rate=%lu sent=%lu received=%lu p50_ms=%.2f p90_ms=%.2f p99_ms=%.2f p999_ms=%.2f max_ms=%.2f\n",
           rate, total, received, ms[n / 2], ms[n * 9 / 10], ms[n * 99 / 100], ms[n * 999 / 1000], ms[n - 1]);
    free(ms);
}

int main(int argc, char **argv)
{
    bool bare = argc == 6 && strcmp(argv[1], "bare") == 0;
    pthread_t thread[WRITERS];
    int n_threads = bare ? 1 : WRITERS;

    insert = argc == 7 && strcmp(argv[1], "relay") == 0      ? insert_event
             : argc == 7 && strcmp(argv[1], "debezium") == 0 ? insert_debezium
                                                             : NULL;
    if (!bare && insert == NULL) {
        fputs("usage: latency relay|debezium|bare BOOTSTRAP TOPIC RATE SECONDS [DSN]\n", stderr);
        return 64;
    }
    bootstrap = argv[2];
    topic = argv[3];
    rate = strtoul(argv[4], NULL, 10);
    total = rate * strtoul(argv[5], NULL, 10);
    dsn = bare ? NULL : argv[6];
    if (rate > 1000)
        per_commit = rate / 1000;
    sent_ns = calloc(total + 1, sizeof *sent_ns);
    consumed_ns = calloc(total + 1, sizeof *consumed_ns);
    if (total == 0 || sent_ns == NULL || consumed_ns == NULL)
        give_up("rate and seconds: nothing to send, or no memory");

    rd_kafka_t *consumer = open_consumer();
    began_ns = now_ns() + 500000000;
    for (int i = 0; i < n_threads; i++)
        pthread_create(&thread[i], NULL, bare ? produce_records : write_rows, (void *)(uintptr_t)i);
    unsigned long received = consume(consumer);
    for (int i = 0; i < n_threads; i++)
        pthread_join(thread[i], NULL);
    report(received);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    free(sent_ns);
    free(consumed_ns);
    return received != total;
}
