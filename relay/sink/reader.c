/* reader.c - see reader.h. */
#include "relay/sink/reader.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/brokers.h"
#include "relay/sink/client.h"
#include "relay/sink/consumer.h"

#define BATCH 500
#define WAIT_MS 50 /* between two looks at the clock */

struct reader {
    rd_kafka_t *rk;
    rd_kafka_queue_t *events, *records;
    rd_kafka_topic_t *handle; /* of the topic that was read last */
    char topic[256];
    struct header *headers; /* of the record that is handed over */
    size_t max_headers;
    struct brokers brokers;
};

/* One partition is being read. */
struct reading {
    struct reader *r;
    int32_t partition;
    int64_t from, to;
    reader_on_record *on_record;
    void *arg;
    bool done;
    rd_kafka_resp_err_t err;
};

struct reader *reader_new(const struct sink_property *properties, size_t n, char *err,
                          size_t err_size)
{
    struct reader *r = calloc(1, sizeof *r);

    if (r == NULL) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    r->rk = consumer_open(properties, n, "0", err, err_size);
    if (r->rk == NULL) {
        reader_free(r);
        return NULL;
    }
    r->events = rd_kafka_queue_get_main(r->rk);
    r->records = rd_kafka_queue_new(r->rk);
    return r;
}

void reader_free(struct reader *r)
{
    if (r == NULL)
        return;
    if (r->handle != NULL)
        rd_kafka_topic_destroy(r->handle);
    client_free(r->rk, r->records, r->events);
    free(r->headers);
    free(r);
}

static void note_error(struct reader *r, rd_kafka_event_t *ev)
{
    (void)brokers_error(&r->brokers, rd_kafka_event_error_string(ev));
    log_debug("reader", "kafka", "code", rd_kafka_err2name(rd_kafka_event_error(ev)), "error",
              rd_kafka_event_error_string(ev));
}

static void serve(struct reader *r)
{
    rd_kafka_event_t *ev;

    while ((ev = rd_kafka_queue_poll(r->events, 0)) != NULL) {
        if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_LOG)
            client_log(ev);
        else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            note_error(r, ev);
        rd_kafka_event_destroy(ev);
    }
}

static int open_topic(struct reader *r, const char *topic)
{
    if (r->handle != NULL && strcmp(r->topic, topic) == 0)
        return 0;
    if (r->handle != NULL)
        rd_kafka_topic_destroy(r->handle);
    snprintf(r->topic, sizeof r->topic, "%s", topic);
    r->handle = rd_kafka_topic_new(r->rk, topic, NULL);
    return r->handle != NULL ? 0 : -1;
}

/* Where none answers, what is known of each says more. */
static void explain(const struct reader *r, rd_kafka_resp_err_t e, int timeout_ms, char *err, size_t err_size)
{
    char words[1024] = "";

    if (e == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || e == RD_KAFKA_RESP_ERR__TRANSPORT || e == RD_KAFKA_RESP_ERR__TIMED_OUT)
        brokers_words(&r->brokers, (uint64_t)timeout_ms, words, sizeof words);
    if (words[0] != '\0')
        snprintf(err, err_size, "%s", words);
    else
        snprintf(err, err_size, "%s: %s", rd_kafka_err2name(e), rd_kafka_err2str(e));
}

enum reader_ends reader_ends(struct reader *r, const char *topic, int32_t partition,
                             int timeout_ms, int64_t *ret_low, int64_t *ret_high, char *err,
                             size_t err_size)
{
    rd_kafka_resp_err_t e = open_topic(r, topic) < 0
                                ? rd_kafka_last_error()
                                : rd_kafka_query_watermark_offsets(r->rk, topic, partition, ret_low,
                                                                   ret_high, timeout_ms);

    serve(r);
    switch ((int)e) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return READER_THERE;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        snprintf(err, err_size, "%s", rd_kafka_err2str(e));
        return READER_NO_TOPIC;
    default:
        explain(r, e, timeout_ms, err, err_size);
        return READER_FAILED;
    }
}

/* The number of headers, which are put into r->headers; 0 also when there is no memory for them. */
static size_t take_headers(struct reader *r, const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *hdrs;
    const char *name;
    const void *value;
    size_t size, n = 0;

    if (rd_kafka_message_headers(m, &hdrs) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    while (rd_kafka_header_get_all(hdrs, n, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (n == r->max_headers) {
            struct header *grown = realloc(r->headers, (2 * n + 16) * sizeof *grown);
            if (grown == NULL)
                return 0;
            r->headers = grown;
            r->max_headers = 2 * n + 16;
        }
        r->headers[n++] = (struct header){ name, value, size };
    }
    return n;
}

static void on_message(struct reading *g, const rd_kafka_message_t *m)
{
    int64_t offset = m->offset;

    if (g->done || m->partition != g->partition || m->rkt == NULL ||
        strcmp(rd_kafka_topic_name(m->rkt), g->r->topic) != 0)
        return;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        g->done = true; /* the last offsets are those of control records */
        return;
    }
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g->err = m->err;
        g->done = true;
        return;
    }
    if (offset >= g->from && offset < g->to) {
        rd_kafka_timestamp_type_t type;
        size_t n = take_headers(g->r, m);
        const struct reader_record record = {
            .partition = m->partition,
            .offset = offset,
            .timestamp_ms = rd_kafka_message_timestamp(m, &type),
            .key = m->key,
            .key_len = m->key_len,
            .payload = m->payload,
            .payload_len = m->len,
            .headers = g->r->headers,
            .n_headers = n,
        };
        g->on_record(g->arg, &record);
    }
    g->done = offset >= g->to - 1;
}

static bool read_batch(struct reading *g)
{
    rd_kafka_message_t *m[BATCH];

    m[0] = rd_kafka_consume_queue(g->r->records, WAIT_MS);
    if (m[0] == NULL)
        return false;
    ssize_t n = 1; /* asked for several, librdkafka waits until it has them all or time is up */
    do {
        for (ssize_t i = 0; i < n; i++) {
            on_message(g, m[i]);
            rd_kafka_message_destroy(m[i]);
        }
        n = g->done ? 0 : rd_kafka_consume_batch_queue(g->r->records, 0, m, BATCH);
    } while (n > 0);
    return true;
}

int reader_read(struct reader *r, const char *topic, int32_t partition, int64_t from, int64_t to,
                int timeout_ms, const bool *stop, reader_on_record *on_record, void *arg, char *err,
                size_t err_size)
{
    struct reading g = { .r = r, .partition = partition, .from = from, .to = to,
                         .on_record = on_record, .arg = arg };
    uint64_t last_ms = loop_now_ms();

    if (from >= to)
        return 0;
    if (open_topic(r, topic) < 0 ||
        rd_kafka_consume_start_queue(r->handle, partition, from, r->records) < 0) {
        snprintf(err, err_size, "%s", rd_kafka_err2str(rd_kafka_last_error()));
        return -1;
    }
    while (!g.done && (stop == NULL || !*stop) && loop_now_ms() - last_ms < (uint64_t)timeout_ms) {
        if (read_batch(&g))
            last_ms = loop_now_ms();
        serve(r);
    }
    (void)rd_kafka_consume_stop(r->handle, partition);
    if (g.done && g.err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    if (g.done)
        snprintf(err, err_size, "%s: %s", rd_kafka_err2name(g.err), rd_kafka_err2str(g.err));
    else
        snprintf(err, err_size, "%s", stop != NULL && *stop ? "interrupted" : "no record came in time");
    return -1;
}
