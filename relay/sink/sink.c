/* sink.c - records into the lanes, their reports back, and what stops a lane. See sink.h. */
#include "relay/sink/sink.h"

#include <assert.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/crash_point.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/client.h"
#include "relay/sink/errors.h"
#include "relay/sink/limits.h"
#include "relay/sink/partitions.h"
#include "relay/sink/producer.h"
#include "relay/sink/statistics.h"
#include "relay/verdict.h"

/* How long a reset waits for librdkafka to hand back every record by itself, and then for what is in
 * flight after it was purged as well. Both normally take a millisecond. */
#define RESET_QUEUED_MS 500
#define RESET_INFLIGHT_MS 5000

struct sink {
    struct sink_config cfg;
    rd_kafka_conf_t *conf; /* of the main lane; copied for each producer */
    struct producer lane[N_LANES];
    struct partitioning *partitioning;
    struct limits *limits; /* NULL: not asked for, see limits_open */
    uint8_t *out; /* by slot: lane + 1 while the record is out */
    int wake[2];  /* librdkafka writes, the loop polls */
    uint64_t now_ms; /* as of the last event, or turn of the loop: a clock for each row costs too much */
    char refusal[128]; /* the text of a report */
};

/* -- beginning ------------------------------------------------------------------------------ */

static int open_lane(struct sink *s, enum lane lane, char *err, size_t err_size)
{
    return producer_open(&s->lane[lane], lane, s->conf, s->wake[1], err, err_size);
}

/* Of a compressed batch the broker counts the compressed bytes, and nobody knows these beforehand. */
static int limits_open(struct sink *s, char *err, size_t err_size)
{
    char codec[32] = "";
    size_t size = sizeof codec;

    if (rd_kafka_conf_get(s->conf, "compression.codec", codec, &size) != RD_KAFKA_CONF_OK ||
        strcmp(codec, "none") != 0)
        return 0;
    s->limits = limits_new();
    if (s->limits == NULL)
        snprintf(err, err_size, "out of memory");
    return s->limits != NULL ? 0 : -1;
}

int sink_new(const struct sink_config *cfg, struct sink **ret_sink, char *err, size_t err_size)
{
    struct sink *s = calloc(1, sizeof *s);

    if (s == NULL || (s->out = calloc(cfg->max_rows, 1)) == NULL) {
        free(s);
        snprintf(err, err_size, "out of memory for what inflight.rows allows");
        return -1;
    }
    s->cfg = *cfg;
    s->cfg.properties = NULL;
    s->wake[0] = s->wake[1] = -1;
    s->now_ms = loop_now_ms();
    if (pipe2(s->wake, O_CLOEXEC | O_NONBLOCK) < 0)
        snprintf(err, err_size, "no pipe can be opened");
    else if ((s->conf = producer_conf(cfg, err, err_size)) != NULL &&
             (s->partitioning = partitioning_new(s->conf, err, err_size)) != NULL &&
             limits_open(s, err, err_size) == 0 &&
             open_lane(s, LANE_MAIN, err, err_size) == 0) {
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
        .outcome = errors_outcome(m->err, rd_kafka_message_status(m), m->offset),
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
                                s->now_ms);
    if (s->limits != NULL && m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        limits_doubt(s->limits, topic);
    CRASH_POINT("sink.reported");
    report(s, &r);
    CRASH_POINT("sink.report_used");
}

/* One broker that is away is librdkafka's to try again. */
static bool is_for_a_person(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || err == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
           err == RD_KAFKA_RESP_ERR__SSL || err == RD_KAFKA_RESP_ERR__RESOLVE;
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
    log_warn("sink", "kafka", "code", rd_kafka_err2name(err), "error", rd_kafka_event_error_string(ev), "remedy",
             is_for_a_person(err) ? "mend " VERDICT_MEND_KAFKA : NULL);
    if (s->cfg.on_error != NULL)
        s->cfg.on_error(s->cfg.arg, rd_kafka_err2name(err), rd_kafka_event_error_string(ev),
                        err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN);
}

static void on_statistics(struct sink *s, enum lane lane, rd_kafka_event_t *ev)
{
    struct sink_statistics st;

    if (lane == LANE_MAIN && s->cfg.on_statistics != NULL &&
        statistics_read(rd_kafka_event_stats(ev), &st) == 0)
        s->cfg.on_statistics(s->cfg.arg, &st);
}

/* Serves one event of a lane; false: there was none within timeout_ms. */
static bool serve(struct sink *s, enum lane lane, int timeout_ms)
{
    rd_kafka_event_t *ev = rd_kafka_queue_poll(s->lane[lane].queue, timeout_ms);
    const rd_kafka_message_t *m;

    if (ev == NULL)
        return false;
    s->now_ms = loop_now_ms();
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev)) != NULL)
            on_delivery(s, lane, m);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error(s, lane, ev);
        break;
    case RD_KAFKA_EVENT_LOG:
        client_log(ev);
        break;
    case RD_KAFKA_EVENT_STATS:
        on_statistics(s, lane, ev);
        break;
    case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
        limits_answer(s->limits, ev, s->now_ms);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(ev);
    return true;
}

static void ask_limits(struct sink *s)
{
    struct producer *p = &s->lane[LANE_MAIN];

    if (s->limits != NULL && p->rk != NULL)
        limits_ask(s->limits, p->rk, p->queue, s->now_ms);
}

void sink_poll(struct sink *s)
{
    char drain[64];

    s->now_ms = loop_now_ms();
    while (read(s->wake[0], drain, sizeof drain) > 0)
        continue;
    for (int lane = 0; lane < N_LANES; lane++)
        while (s->lane[lane].rk != NULL && serve(s, (enum lane)lane, 0))
            continue;
    ask_limits(s);
}

bool sink_reachable(const struct sink *s, int timeout_ms)
{
    const struct rd_kafka_metadata *about = NULL;

    if (s->lane[LANE_MAIN].rk == NULL ||
        rd_kafka_metadata(s->lane[LANE_MAIN].rk, 0, NULL, &about, timeout_ms) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    rd_kafka_metadata_destroy(about);
    return true;
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

/* To librdkafka 0 is now. */
static int64_t time_of(const struct row *row)
{
    int64_t ms = row->created_at_us / 1000;

    return ms != 0 ? ms : 1;
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
        RD_KAFKA_V_TIMESTAMP(time_of(row)), RD_KAFKA_V_HEADERS(hdrs),
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

/* Beside the row's own bytes, what the envelope adds at most: each header of the row at most once more,
 * and attributes. */
#define ENVELOPE_BYTES 8192

static bool is_too_large(struct sink *s, const struct sink_record *rec, size_t *ret_bytes)
{
    const struct row *row = rec->row;

    limits_want(s->limits, rec->topic, row->topic, s->now_ms);
    /* Most rows are small, and to count their headers would cost as much as to make some. */
    if (row->block_bytes > 0 &&
        !limits_too_large(s->limits, rec->topic, 2 * row->block_bytes + ENVELOPE_BYTES))
        return false;
    if (limits_of(s->limits, rec->topic) == 0)
        return false;
    *ret_bytes = limits_record_bytes(row, rec->headers, rec->n_headers);
    return limits_too_large(s->limits, rec->topic, *ret_bytes);
}

static void refuse_size(struct sink *s, enum lane lane, const struct sink_record *rec, size_t bytes,
                        struct sink_report *ret_report)
{
    snprintf(s->refusal, sizeof s->refusal,
             "the record has %zu bytes, the topic takes %zu (max.message.bytes)", bytes,
             limits_of(s->limits, rec->topic));
    limits_doubt(s->limits, rec->topic);
    limits_want(s->limits, rec->topic, rec->row->topic, s->now_ms);
    ask_limits(s); /* for the row's next attempt */
    *ret_report = (struct sink_report){
        .slot = rec->slot,
        .lane = lane,
        .outcome = OUTCOME_NOT_PERSISTED,
        .blame = BLAME_ROW,
        .partition = -1,
        .offset = -1,
        .code = rd_kafka_err2name(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE),
        .text = s->refusal,
    };
}

/* What librdkafka says of a record larger than its own limit are a broker's words, and the topic's limit is another. */
static const char *words_of(struct sink *s, const struct row *row, rd_kafka_resp_err_t err)
{
    char limit[24];
    size_t size = sizeof limit;

    if (err != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
        rd_kafka_conf_get(s->conf, "message.max.bytes", limit, &size) != RD_KAFKA_CONF_OK)
        return rd_kafka_err2str(err);
    snprintf(s->refusal, sizeof s->refusal, "key and payload have %zu bytes, the relay takes %s (kafka.message.max.bytes)",
             row->key_len + row->payload_len, limit);
    return s->refusal;
}

enum sink_take sink_produce(struct sink *s, enum lane lane, const struct sink_record *rec,
                            struct sink_report *ret_report)
{
    struct producer *p = &s->lane[lane];
    char why[256];
    size_t bytes;

    if (s->limits != NULL && is_too_large(s, rec, &bytes)) {
        refuse_size(s, lane, rec, bytes, ret_report);
        return SINK_REFUSED;
    }
    if (p->rk == NULL && open_lane(s, lane, why, sizeof why) < 0) {
        log_error("sink", "no producer can be made", "error", why);
        return SINK_FULL;
    }
    struct producer_topic *topic = producer_topic(p, s->partitioning, rec->topic, rec->row->topic);
    if (topic == NULL)
        return SINK_FULL;
    CRASH_POINT("sink.before_produce");
    rd_kafka_resp_err_t err = produce(p, topic->handle, rec);
    CRASH_POINT("sink.produced");
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (lane == LANE_MAIN && rec->row->key != NULL)
            producer_topic_sent(topic, rec->slot, rec->row, s->now_ms);
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
        .text = words_of(s, rec->row, err),
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
static void stop_lane(struct sink *s, enum lane lane)
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
    if (s->limits != NULL && lane == LANE_MAIN) /* its queue was to get the answer */
        limits_forget_question(s->limits);
}

int sink_reset(struct sink *s, enum lane lane)
{
    char why[512];
    uint64_t began = loop_now_ms();

    CRASH_POINT("sink.before_reset");
    stop_lane(s, lane);
    CRASH_POINT("sink.producer_stopped");
    if (lane == LANE_MAIN && open_lane(s, lane, why, sizeof why) < 0) {
        log_error("sink", "no producer can be made", "error", why);
        return -1;
    }
    log_info("sink", "the producer was replaced", "lane", lane == LANE_MAIN ? "main" : "solo",
             "took_ms", log_i64((int64_t)(loop_now_ms() - began)));
    CRASH_POINT("sink.producer_replaced");
    return 0;
}

void sink_free(struct sink *s)
{
    if (s == NULL)
        return;
    CRASH_POINT("sink.before_end");
    for (int lane = 0; lane < N_LANES; lane++)
        stop_lane(s, (enum lane)lane);
    partitioning_free(s->partitioning);
    limits_free(s->limits);
    if (s->conf != NULL)
        rd_kafka_conf_destroy(s->conf);
    for (int i = 0; i < 2; i++)
        if (s->wake[i] >= 0)
            close(s->wake[i]);
    free(s->out);
    free(s);
}
