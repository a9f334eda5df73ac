/* sink.c - producers, records and reports. See sink.h. */
#include "relay/sink/sink.h"

#include <assert.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/errors.h"
#include "relay/sink/partitions.h"

/* How long a reset waits for librdkafka to hand back every record by itself, and then for what is in
 * flight after it was purged as well. Both normally take a millisecond. */
#define RESET_QUEUED_MS 500
#define RESET_INFLIGHT_MS 5000

struct producer {
    rd_kafka_t *rk; /* NULL: none */
    rd_kafka_queue_t *queue;
    struct producer_topic *topic; /* by the core's number */
    uint32_t n_topics;
    uint32_t n_out;
};

struct sink {
    struct sink_config cfg;
    rd_kafka_conf_t *conf; /* of the main lane; copied for each producer */
    struct producer lane[N_LANES];
    struct partitioning *partitioning;
    uint8_t *out; /* by slot: lane + 1 while the record is out */
    int wake[2];  /* librdkafka writes, the loop polls */
};

/* -- configuration -------------------------------------------------------------------------- */

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

static int conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *err,
                    size_t err_size)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return 0;
    snprintf(err, err_size, "kafka.%s: %s", name, why);
    return -1;
}

static int conf_set_all(rd_kafka_conf_t *conf, const struct sink_property *p, size_t n, char *err,
                        size_t err_size)
{
    for (size_t i = 0; i < n; i++)
        if (conf_set(conf, p[i].name, p[i].value, err, err_size) < 0)
            return -1;
    return 0;
}

/* The producer's queue is never the bound: the window is. */
static int conf_set_queue(rd_kafka_conf_t *conf, const struct sink_config *cfg, char *err,
                          size_t err_size)
{
    char messages[24], kbytes[24];
    uint64_t kb = cfg->max_bytes / 1024 * 2 + 65536;

    snprintf(messages, sizeof messages, "%lu", (unsigned long)cfg->max_rows + 1);
    snprintf(kbytes, sizeof kbytes, "%llu",
             (unsigned long long)(kb < 2097151 ? kb : 2097151)); /* librdkafka's largest */
    return conf_set(conf, "queue.buffering.max.messages", messages, err, err_size) < 0 ||
                   conf_set(conf, "queue.buffering.max.kbytes", kbytes, err, err_size) < 0
               ? -1
               : 0;
}

static rd_kafka_conf_t *conf_make(const struct sink_config *cfg, char *err, size_t err_size)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (conf_set_all(conf, defaults, sizeof defaults / sizeof defaults[0], err, err_size) < 0 ||
        conf_set_queue(conf, cfg, err, err_size) < 0 ||
        conf_set_all(conf, cfg->properties, cfg->n_properties, err, err_size) < 0 ||
        conf_set_all(conf, fixed, sizeof fixed / sizeof fixed[0], err, err_size) < 0) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    return conf;
}

/* -- producers ------------------------------------------------------------------------------ */

static int producer_open(struct sink *s, enum lane lane, char *err, size_t err_size)
{
    struct producer *p = &s->lane[lane];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(s->conf);

    /* Alone in its batch, a record needs no guarantee about those behind it; with the guarantee its
     * refusal would be fatal to all others in the lane. */
    if (lane == LANE_SOLO && (conf_set(conf, "batch.num.messages", "1", err, err_size) < 0 ||
                              conf_set(conf, "linger.ms", "0", err, err_size) < 0 ||
                              conf_set(conf, "enable.gapless.guarantee", "false", err, err_size) < 0)) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, err_size);
    if (p->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    (void)rd_kafka_set_log_queue(p->rk, NULL);
    p->queue = rd_kafka_queue_get_main(p->rk);
    rd_kafka_queue_io_event_enable(p->queue, s->wake[1], "", 1);
    return 0;
}

static void producer_close(struct producer *p)
{
    for (uint32_t i = 0; i < p->n_topics; i++)
        producer_topic_close(&p->topic[i]);
    free(p->topic);
    if (p->queue != NULL)
        rd_kafka_queue_destroy(p->queue);
    if (p->rk != NULL)
        rd_kafka_destroy(p->rk);
    *p = (struct producer){ .rk = NULL };
}

static struct producer_topic *topic_of(struct sink *s, struct producer *p, uint32_t number,
                                       const char *name)
{
    if (number >= p->n_topics) {
        uint32_t n = number + 16;
        struct producer_topic *topic = realloc(p->topic, n * sizeof *topic);
        if (topic == NULL)
            return NULL;
        memset(topic + p->n_topics, 0, (n - p->n_topics) * sizeof *topic);
        p->topic = topic;
        p->n_topics = n;
    }
    if (p->topic[number].handle == NULL &&
        producer_topic_open(&p->topic[number], s->partitioning, p->rk, number, name) < 0)
        return NULL;
    return &p->topic[number];
}

int sink_new(const struct sink_config *cfg, struct sink **ret_sink, char *err, size_t err_size)
{
    struct sink *s = calloc(1, sizeof *s);

    if (s == NULL || (s->out = calloc(cfg->max_rows, 1)) == NULL) {
        free(s);
        snprintf(err, err_size, "out of memory");
        return -1;
    }
    s->cfg = *cfg;
    s->cfg.properties = NULL;
    s->wake[0] = s->wake[1] = -1;
    if (pipe2(s->wake, O_CLOEXEC | O_NONBLOCK) < 0)
        snprintf(err, err_size, "no pipe can be opened");
    else if ((s->conf = conf_make(cfg, err, err_size)) != NULL &&
             (s->partitioning = partitioning_new(s->conf, err, err_size)) != NULL &&
             producer_open(s, LANE_MAIN, err, err_size) == 0) {
        *ret_sink = s;
        return 0;
    }
    sink_free(s);
    return -1;
}

int sink_fd(const struct sink *s)
{
    return s->wake[0];
}

const char *sink_library_version(void)
{
    return rd_kafka_version_str();
}

/* -- home ----------------------------------------------------------------------------------- */

static void report(struct sink *s, const struct sink_report *r)
{
    assert(s->out[r->slot] == (uint8_t)r->lane + 1);
    s->out[r->slot] = 0;
    s->lane[r->lane].n_out--;
    s->cfg.on_report(s->cfg.arg, r);
}

static void on_delivery(struct sink *s, enum lane lane, const rd_kafka_message_t *m)
{
    struct sink_report r = {
        .slot = (uint32_t)(uintptr_t)m->_private,
        .lane = lane,
        .outcome = errors_outcome(m->err, rd_kafka_message_status(m)),
        .blame = m->err == RD_KAFKA_RESP_ERR_NO_ERROR ? BLAME_NONE : errors_blame(m->err),
        .partition = m->partition,
        .offset = m->offset,
        .code = rd_kafka_err2name(m->err),
        .text = rd_kafka_err2str(m->err),
    };

    struct producer *p = &s->lane[lane];
    uint32_t topic = producer_topic_number(m->rkt);
    if (topic < p->n_topics)
        producer_topic_reported(&p->topic[topic], r.slot, r.outcome == OUTCOME_PERSISTED ? m->partition : -1,
                                loop_now_ms());
    report(s, &r);
}

static void on_error(struct sink *s, enum lane lane, rd_kafka_event_t *ev)
{
    char text[512];
    rd_kafka_resp_err_t err = rd_kafka_event_error(ev);

    if (rd_kafka_event_error_is_fatal(ev)) {
        err = rd_kafka_fatal_error(s->lane[lane].rk, text, sizeof text);
        log_warn("sink", "the producer stopped", "lane", lane == LANE_MAIN ? "main" : "solo", "code",
                 rd_kafka_err2name(err), "error", text);
        s->cfg.on_fatal(s->cfg.arg, lane);
        return;
    }
    log_warn("sink", "kafka", "code", rd_kafka_err2name(err), "error", rd_kafka_event_error_string(ev));
}

static void on_log(rd_kafka_event_t *ev)
{
    const char *fac = NULL, *text = NULL;
    int level = 0;

    if (rd_kafka_event_log(ev, &fac, &text, &level) < 0)
        return;
    /* What went wrong comes as an event as well. And once per producer librdkafka says that
     * gapless.guarantee is experimental: we know. */
    if (strcmp(fac, "CONFWARN") == 0 || strcmp(fac, "FAIL") == 0 || strcmp(fac, "ERROR") == 0 ||
        strcmp(fac, "FATAL") == 0)
        log_debug("librdkafka", text, "facility", fac);
    else
        log_write(level <= 3 ? LOG_LEVEL_WARN : level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
                  "librdkafka", text, "facility", fac, (char *)0);
}

/* Serves one event of a lane; false: there was none within timeout_ms. */
static bool serve(struct sink *s, enum lane lane, int timeout_ms)
{
    rd_kafka_event_t *ev = rd_kafka_queue_poll(s->lane[lane].queue, timeout_ms);
    const rd_kafka_message_t *m;

    if (ev == NULL)
        return false;
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev)) != NULL)
            on_delivery(s, lane, m);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error(s, lane, ev);
        break;
    case RD_KAFKA_EVENT_LOG:
        on_log(ev);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(ev);
    return true;
}

void sink_poll(struct sink *s)
{
    char drain[64];

    while (read(s->wake[0], drain, sizeof drain) > 0)
        continue;
    for (int lane = 0; lane < N_LANES; lane++)
        while (s->lane[lane].rk != NULL && serve(s, (enum lane)lane, 0))
            continue;
}

/* -- out ------------------------------------------------------------------------------------ */

static rd_kafka_headers_t *make_headers(const struct sink_record *rec)
{
    rd_kafka_headers_t *hdrs = rd_kafka_headers_new(rec->n_headers);

    for (size_t i = 0; hdrs != NULL && i < rec->n_headers; i++) {
        const struct header *h = &rec->headers[i];
        if (rd_kafka_header_add(hdrs, h->name, -1, h->value, (ssize_t)h->value_len) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(hdrs);
            return NULL;
        }
    }
    return hdrs;
}

static rd_kafka_resp_err_t produce(struct producer *p, rd_kafka_topic_t *topic,
                                   const struct sink_record *rec)
{
    const struct row *row = rec->row;
    rd_kafka_headers_t *hdrs = make_headers(rec); /* ours until producev succeeds */

    if (hdrs == NULL)
        return RD_KAFKA_RESP_ERR__QUEUE_FULL; /* out of memory: as good as full */
    /* No copy: key and payload stay in the row, which lives until its report. */
    rd_kafka_resp_err_t err = rd_kafka_producev(
        p->rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(0),
        RD_KAFKA_V_KEY(row->key, row->key_len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)row->payload, row->payload_len),
        RD_KAFKA_V_TIMESTAMP(row->created_at_us / 1000), RD_KAFKA_V_HEADERS(hdrs),
        RD_KAFKA_V_OPAQUE((void *)(uintptr_t)rec->slot), RD_KAFKA_V_END);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(hdrs);
    return err;
}

bool sink_must_wait(const struct sink *s, enum lane lane, uint32_t topic, const struct row *row)
{
    const struct producer *p = &s->lane[lane];

    return lane == LANE_MAIN && row->key != NULL && topic < p->n_topics &&
           p->topic[topic].handle != NULL && producer_topic_must_wait(&p->topic[topic], row);
}

enum sink_take sink_produce(struct sink *s, enum lane lane, const struct sink_record *rec,
                            struct sink_report *ret_report)
{
    struct producer *p = &s->lane[lane];
    char why[256];

    if (p->rk == NULL && producer_open(s, lane, why, sizeof why) < 0) {
        log_error("sink", "no producer can be made", "error", why);
        return SINK_FULL;
    }
    struct producer_topic *topic = topic_of(s, p, rec->topic, rec->row->topic);
    if (topic == NULL)
        return SINK_FULL;
    rd_kafka_resp_err_t err = produce(p, topic->handle, rec);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (lane == LANE_MAIN && rec->row->key != NULL)
            producer_topic_sent(topic, rec->slot, rec->row, loop_now_ms());
        s->out[rec->slot] = (uint8_t)lane + 1;
        p->n_out++;
        return SINK_TAKEN;
    }
    if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return SINK_FULL;
    *ret_report = (struct sink_report){
        .slot = rec->slot,
        .lane = lane,
        .outcome = OUTCOME_NOT_PERSISTED,
        .blame = errors_blame(err),
        .code = rd_kafka_err2name(err),
        .text = rd_kafka_err2str(err),
    };
    return SINK_REFUSED;
}

/* -- stopping ------------------------------------------------------------------------------- */

static void serve_until_empty(struct sink *s, enum lane lane, uint64_t for_ms)
{
    uint64_t until = loop_now_ms() + for_ms;

    while (s->lane[lane].n_out > 0 && loop_now_ms() < until)
        (void)serve(s, lane, 10);
    while (serve(s, lane, 0))
        continue;
}

/* Should librdkafka fail to report a record, it counts as one that may have been written. */
static void report_rest(struct sink *s, enum lane lane)
{
    for (uint32_t slot = 0; s->lane[lane].n_out > 0 && slot < s->cfg.max_rows; slot++)
        if (s->out[slot] == (uint8_t)lane + 1)
            report(s, &(struct sink_report){ .slot = slot,
                                             .lane = lane,
                                             .outcome = OUTCOME_MAYBE,
                                             .blame = BLAME_NONE,
                                             .code = "no report",
                                             .text = "librdkafka gave no report" });
}

/* First only the queued ones are taken back, and after a fatal error they come by themselves: that
 * keeps known outcomes known. What is on the wire is waited for a little, then given up as unknown. */
static void producer_stop(struct sink *s, enum lane lane)
{
    struct producer *p = &s->lane[lane];

    if (p->rk == NULL)
        return;
    (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE);
    serve_until_empty(s, lane, RESET_QUEUED_MS);
    if (p->n_out > 0) {
        (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        serve_until_empty(s, lane, RESET_INFLIGHT_MS);
    }
    report_rest(s, lane);
    producer_close(p);
}

int sink_reset(struct sink *s, enum lane lane)
{
    char why[512];
    uint64_t began = loop_now_ms();

    producer_stop(s, lane);
    if (lane == LANE_MAIN && producer_open(s, lane, why, sizeof why) < 0) {
        log_error("sink", "no producer can be made", "error", why);
        return -1;
    }
    log_info("sink", "the producer was replaced", "lane", lane == LANE_MAIN ? "main" : "solo",
             "took_ms", log_i64((int64_t)(loop_now_ms() - began)));
    return 0;
}

void sink_free(struct sink *s)
{
    if (s == NULL)
        return;
    for (int lane = 0; lane < N_LANES; lane++)
        producer_stop(s, (enum lane)lane);
    partitioning_free(s->partitioning);
    if (s->conf != NULL)
        rd_kafka_conf_destroy(s->conf);
    for (int i = 0; i < 2; i++)
        if (s->wake[i] >= 0)
            close(s->wake[i]);
    free(s->out);
    free(s);
}
