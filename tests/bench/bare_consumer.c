/* bare_consumer.c - what a careful team writes by hand in place of libinbox: a librdkafka consumer that applies
 * N records, several in one transaction, each with its id and the position. For the ratio of the two.
 *
 *   bare_consumer DSN BROKERS TOPIC N [ROWS-PER-TRANSACTION]     prints seconds from the first record on
 *
 * The table `effect` is that of tests/tools/inbox_worker.c; bare_seen and bare_position are made when
 * missing. No retries, no dead letters, no savepoints, no other owner: it may not fail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include "tests/tools/kafka_client.h"

static void run(PGconn *conn, const char *sql, int n, const char *const *values, const int *lengths)
{
    static const int formats[8];
    PGresult *r = PQexecParams(conn, sql, n, NULL, values, lengths, formats, 0);

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        give_up("%s", PQerrorMessage(conn));
    PQclear(r);
}

static rd_kafka_t *subscribe(const char *brokers, const char *topic)
{
    const char *const properties[][2] = {
        { "group.id", topic }, { "enable.auto.commit", "false" }, { "auto.offset.reset", "earliest" }
    };
    rd_kafka_t *rk = kafka_client(RD_KAFKA_CONSUMER, kafka_conf(brokers, properties, 3));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static void text_of(const void *from, size_t len, char *to, size_t size)
{
    snprintf(to, size, "%.*s", (int)len, from != NULL ? (const char *)from : "");
}

static void apply(PGconn *conn, const rd_kafka_message_t *m)
{
    char id[64], key[64], payload[1024];
    const void *value = NULL;
    size_t len = 0;
    rd_kafka_headers_t *headers = NULL;

    rd_kafka_message_headers(m, &headers);
    if (headers != NULL)
        (void)rd_kafka_header_get_last(headers, "ce_id", &value, &len);
    text_of(value, len, id, sizeof id);
    text_of(m->key, m->key_len, key, sizeof key);
    text_of(m->payload, m->len, payload, sizeof payload);
    run(conn, "INSERT INTO bare_seen (consumer, event_id) VALUES ('bare', $1) ON CONFLICT DO NOTHING", 1,
        (const char *const[]){ id }, NULL);
    run(conn, "INSERT INTO public.effect (event_id, key, payload, attempt, pid) VALUES ($1, $2, $3, $4, $5)", 5,
        (const char *const[]){ id, key, payload, "1", "1" }, NULL);
}

static void move(PGconn *conn, int32_t partition, int64_t next)
{
    char p[12], o[24];

    snprintf(p, sizeof p, "%d", (int)partition);
    snprintf(o, sizeof o, "%lld", (long long)next);
    run(conn, "INSERT INTO bare_position VALUES ($1::int, $2::bigint) ON CONFLICT (p) DO UPDATE SET o = excluded.o", 2,
        (const char *const[]){ p, o }, NULL);
}

/* Up to max records that are there now, in one transaction. Returns how many. */
static long transaction(PGconn *conn, rd_kafka_t *rk, long max)
{
    int64_t next[64];
    long n = 0;
    rd_kafka_message_t *m;

    memset(next, 0, sizeof next);
    while (n < max && (m = rd_kafka_consumer_poll(rk, n == 0 ? 1000 : 0)) != NULL) {
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->partition < 64) {
            if (n++ == 0)
                run(conn, "BEGIN", 0, NULL, NULL);
            apply(conn, m);
            next[m->partition] = m->offset + 1;
        }
        rd_kafka_message_destroy(m);
    }
    for (int32_t p = 0; p < 64 && n > 0; p++)
        if (next[p] > 0)
            move(conn, p, next[p]);
    if (n > 0)
        run(conn, "COMMIT", 0, NULL, NULL);
    return n;
}

int main(int argc, char **argv)
{
    PGconn *conn = PQconnectdb(argc > 4 ? argv[1] : "");
    int64_t began_ns = 0;
    long done = 0, wanted = argc > 4 ? atol(argv[4]) : 0, max = argc > 5 ? atol(argv[5]) : 64;
    rd_kafka_t *rk;

    if (argc < 5)
        return 64;
    run(conn, "CREATE TABLE IF NOT EXISTS bare_seen (consumer text, event_id text, at timestamptz DEFAULT now(),"
              " PRIMARY KEY (consumer, event_id))", 0, NULL, NULL);
    run(conn, "CREATE TABLE IF NOT EXISTS bare_position (p int PRIMARY KEY, o bigint)", 0, NULL, NULL);
    rk = subscribe(argv[2], argv[3]);
    while (done < wanted) {
        done += transaction(conn, rk, max);
        if (done > 0 && began_ns == 0)
            began_ns = now_ns();
    }
    printf("%.3f\n", (double)(now_ns() - began_ns) / 1e9);
    PQfinish(conn);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return 0;
}
