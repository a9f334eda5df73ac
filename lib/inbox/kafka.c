/* kafka.c - a consumer of a group whose partitions begin where the database says. Only this file,
 * kafka_properties.c, kafka_offsets.c and kafka_waits.c know librdkafka.
 *
 * The rebalance callback runs within inbox__kafka_poll(), so on the thread of run() and never inside a
 * transaction. An assigned partition that the database could not be asked about is assigned all the
 * same and paused: holding the group up would stop the others too.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka_inside.h"
#include "lib/outbox/error.h"

#define BEGIN_TIMEOUT_MS 5000
#define LEAVE_TIMEOUT_MS 10000 /* twice what librdkafka gives the brokers for it */
/* Then it is more than a row that is locked, and the group does not wait for each of the others too. */
#define MOST_RELEASES_FAILED 3

static bool starts_latest(const struct inbox_consumer *c)
{
    return strcmp(c->set.start, "latest") == 0;
}

/* -- assignment ------------------------------------------------------------------------------- */

static void say_assigned(struct inbox_consumer *c, const struct inbox__partition *p)
{
    if (p->part.stored >= 0)
        inbox__log(c, 6, "%s/%d is assigned here and begins at offset %lld", p->topic, (int)p->number,
                   (long long)p->part.stored);
    else if (!p->claimed)
        inbox__log(c, 6, "%s/%d is assigned here, and waits for the database", p->topic,
                   (int)p->number);
    else
        inbox__log(c, 6, "%s/%d is assigned here; the database has no position of it, so it begins "
                   "at the group's offset in Kafka, or else at the %s (inbox.start=%s)", p->topic,
                   (int)p->number, starts_latest(c) ? "end" : "beginning", c->set.start);
}

static void add_to_assignment(struct inbox_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_t *error = rd_kafka_incremental_assign(c->kafka->rk, list);

    if (error == NULL)
        return;
    inbox__log(c, 3, "the assignment failed: %s", rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

static void assign(struct inbox_consumer *c, rd_kafka_topic_partition_list_t *list)
{
    uint64_t until_ms = inbox__now_ms() + INBOX__ROUND_MS;

    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *tp = &list->elems[i];
        int64_t start = -1;
        struct inbox__partition *p =
            inbox__partition_add(c, tp->topic, tp->partition, until_ms, &start);
        tp->offset = start >= 0 ? start : RD_KAFKA_OFFSET_STORED;
        if (p == NULL) { /* nobody would read it */
            c->kafka->code = outbox__error_set(&c->kafka->why, OUTBOX_ENOMEM,
                                               "no memory for partition %s/%d", tp->topic,
                                               (int)tp->partition);
            continue;
        }
        say_assigned(c, p);
        if (start < 0 && starts_latest(c))
            p->claimed = false; /* inbox__partitions_tend() finds out where, and keeps it */
    }
    /* One that was paused when it was lost is paused still, for librdkafka keeps that with the partition. Before it is
     * assigned: librdkafka's thread starts it then, at once or when a commit under way is answered, and of two orders
     * whose numbers were drawn the other way round than they came it drops one without a word (all versions): the
     * partition would never be fetched. */
    (void)rd_kafka_resume_partitions(c->kafka->rk, list);
    add_to_assignment(c, list);
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        inbox__kafka_pause(c, p, inbox__partition_rests(c, p));
}

/* released: the database was told so, and has it. */
static void say_given_up(struct inbox_consumer *c, const rd_kafka_topic_partition_t *tp,
                         const struct inbox__partition *p, bool lost, bool released)
{
    int number = (int)tp->partition;

    if (lost)
        inbox__log(c, 4, "%s/%d is lost: Kafka has not heard of this process for too long", tp->topic, number);
    else if (released && p->part.stored >= 0)
        inbox__log(c, 6, "%s/%d is handed back; its position in the database is %lld", tp->topic, number,
                   (long long)p->part.stored);
    else
        inbox__log(c, 6, "%s/%d is handed back", tp->topic, number);
}

static void give_up(struct inbox_consumer *c, rd_kafka_topic_partition_list_t *list)
{
    bool lost = c->kafka->lost;
    int failures = 0, untold = 0;
    rd_kafka_error_t *error;

    if (!lost)
        inbox__kafka_hint(c);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &list->elems[i];
        struct inbox__partition *p = inbox__partition_find(c, tp->topic, tp->partition);
        bool tried = p != NULL && p->claimed && failures < MOST_RELEASES_FAILED;
        bool released = tried && inbox__db_release(c, p);
        failures += tried && !released;
        untold += !tried && p != NULL && p->claimed;
        say_given_up(c, tp, p, lost, released);
        if (p != NULL)
            inbox__partition_remove(c, p);
    }
    if (untold > 0)
        inbox__log(c, 4, "the database is not told of %d more that are handed back, after %d of which that failed", untold,
                   failures);
    error = rd_kafka_incremental_unassign(c->kafka->rk, list);
    if (error != NULL) {
        inbox__log(c, 3, "giving partitions up failed: %s", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct inbox_consumer *c = opaque;

    (void)rk;
    c->kafka->lost = what != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && rd_kafka_assignment_lost(c->kafka->rk);
    c->kafka->assigned = !c->kafka->lost;
    c->figures.rebalances++;
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        assign(c, list);
    else
        give_up(c, list);
}

/* Of a broker that fails on_error() is told the same; but not of what librdkafka's own debugging shows. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (strcmp(facility, "FAIL") != 0 || level == 7)
        inbox__log(rd_kafka_opaque(rk), level, "librdkafka %s: %s", facility, text);
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
    struct inbox_consumer *c = opaque;

    (void)rk;
    c->figures.kafka_errors++;
    inbox__log(c, 4, "librdkafka: %s: %s", rd_kafka_err2name((rd_kafka_resp_err_t)err), reason);
}

/* -- open and close --------------------------------------------------------------------------- */

static int subscribe(struct inbox_consumer *c, outbox_error *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->set.n_topics);
    rd_kafka_resp_err_t failed;

    for (size_t i = 0; i < c->set.n_topics; i++)
        rd_kafka_topic_partition_list_add(list, c->set.topics[i], RD_KAFKA_PARTITION_UA);
    failed = rd_kafka_subscribe(c->kafka->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OUTBOX_OK;
    return outbox__error_set(err, INBOX_EKAFKA, "subscribing: %s", rd_kafka_err2str(failed));
}

static uint64_t session_timeout_ms(rd_kafka_t *rk)
{
    char value[24] = "";
    size_t size = sizeof value;

    (void)rd_kafka_conf_get(rd_kafka_conf(rk), "session.timeout.ms", value, &size);
    return strtoull(value, NULL, 10);
}

int inbox__kafka_open(struct inbox_consumer *c, outbox_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    int code = inbox__kafka_configure(c, conf, err);

    c->kafka = code == OUTBOX_OK ? calloc(1, sizeof *c->kafka) : NULL;
    if (c->kafka == NULL) {
        rd_kafka_conf_destroy(conf);
        return code != OUTBOX_OK ? code : outbox__error_set(err, OUTBOX_ENOMEM, "no memory for a consumer");
    }
    c->kafka->why = (outbox_error)OUTBOX_ERROR_INIT;
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    c->kafka->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (c->kafka->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        inbox__kafka_close(c);
        return outbox__error_set(err, INBOX_EKAFKA, "librdkafka: %s", why);
    }
    c->patience_ms = session_timeout_ms(c->kafka->rk);
    rd_kafka_poll_set_consumer(c->kafka->rk);
    code = subscribe(c, err);
    if (code != OUTBOX_OK)
        inbox__kafka_close(c);
    return code;
}

/* Calls give_up(). False: it is not done in time. While a broker hangs librdkafka sends a commit again and again, and
 * would wait for its answer for ever. */
static bool close_in_time(rd_kafka_t *rk)
{
    uint64_t until_ms = inbox__now_ms() + LEAVE_TIMEOUT_MS;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(rk, queue);
    bool closed = error != NULL; /* by an error that it calls fatal */

    while (!closed && inbox__now_ms() < until_ms) {
        /* Of records that come still rd_kafka_queue_poll_callback() would die. */
        rd_kafka_message_t *late = rd_kafka_consume_queue(queue, INBOX__IDLE_MS);
        if (late != NULL)
            rd_kafka_message_destroy(late);
        closed = rd_kafka_consumer_closed(rk) != 0;
    }
    rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(queue);
    return closed;
}

/* librdkafka before 2.3.0 ends the process, by an assertion, when a member without an assignment is destroyed. It leaves
 * the group as any other and says nothing after that; then it is kept rather than the process lost. So is one that would
 * be waited for: it ends by itself when its broker answers. */
static void leave(struct inbox_consumer *c)
{
    enum { MENDED_IN = 0x020300ff };
    rd_kafka_t *rk = c->kafka->rk;
    bool keep = rd_kafka_version() < MENDED_IN && inbox__kafka_between(c->kafka);

    if (!close_in_time(rk)) {
        keep = true;
        inbox__log(c, 4, "Kafka has not let this process leave group \"%s\" within %d s, and is not waited for: a broker does not "
                         "answer", c->set.group, LEAVE_TIMEOUT_MS / 1000);
    }
    if (keep)
        rd_kafka_set_log_level(rk, -1); /* the consumer that it would log to may be freed */
    else
        rd_kafka_destroy(rk);
}

void inbox__kafka_close(struct inbox_consumer *c)
{
    if (c->kafka == NULL)
        return;
    if (c->kafka->rk != NULL)
        leave(c);
    free(c->kafka->headers);
    free(c->kafka);
    c->kafka = NULL;
}

/* -- records ---------------------------------------------------------------------------------- */

/* Fills k->headers. Returns their number, or -1 when out of memory. */
static long list_headers(struct inbox__kafka *k, const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *all = NULL;
    size_t n = rd_kafka_message_headers(m, &all) == RD_KAFKA_RESP_ERR_NO_ERROR
                   ? rd_kafka_header_cnt(all) : 0;

    if (n > k->room) {
        outbox_header *more = realloc(k->headers, n * sizeof *more);
        if (more == NULL)
            return -1;
        k->headers = more;
        k->room = n;
    }
    for (size_t i = 0; i < n; i++)
        (void)rd_kafka_header_get_all(all, i, &k->headers[i].name, &k->headers[i].value,
                                      &k->headers[i].value_len);
    return (long)n;
}

static struct inbox__record *copy(struct inbox__kafka *k, const char *topic,
                                  const rd_kafka_message_t *m)
{
    rd_kafka_timestamp_type_t kind;
    long n_headers = list_headers(k, m);
    struct inbox__raw raw = { .topic = topic,
                              .partition = m->partition,
                              .offset = m->offset,
                              .key = m->key,
                              .key_len = m->key_len,
                              .payload = m->payload,
                              .payload_len = m->len,
                              .headers = k->headers,
                              .n_headers = (size_t)n_headers,
                              .timestamp_ms = rd_kafka_message_timestamp(m, &kind) };

    return n_headers >= 0 ? inbox__record_new(&raw) : NULL;
}

/* 0, or -1 when out of memory: the record must not be lost, so the consumer ends. */
static int take(struct inbox_consumer *c, const rd_kafka_message_t *m)
{
    const char *topic = rd_kafka_topic_name(m->rkt);
    struct inbox__partition *p = inbox__partition_find(c, topic, m->partition);
    struct inbox__record *r;

    if (p == NULL)
        return 0;
    r = copy(c->kafka, topic, m);
    if (r == NULL)
        return -1;
    if (inbox__partition_admits(c, p, r))
        inbox__received(c, p, r);
    else
        inbox__record_free(r);
    return 0;
}

/* All of it has come. */
static void take_end(struct inbox_consumer *c, const rd_kafka_message_t *m)
{
    struct inbox__partition *p = inbox__partition_find(c, rd_kafka_topic_name(m->rkt), m->partition);

    if (p != NULL)
        inbox__partition_ends(p, m->offset);
}

static int fatal(struct inbox_consumer *c, outbox_error *err)
{
    char why[256];
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(c->kafka->rk, why, sizeof why);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OUTBOX_OK;
    return outbox__error_set(err, INBOX_EKAFKA, "librdkafka has given up: %s: %s",
                             rd_kafka_err2name(code), why);
}

int inbox__kafka_poll(struct inbox_consumer *c, int timeout_ms, bool *ret_any, outbox_error *err)
{
    rd_kafka_message_t *m = c->kafka != NULL ? rd_kafka_consumer_poll(c->kafka->rk, timeout_ms) : NULL;
    int code = OUTBOX_OK;

    *ret_any = m != NULL;
    if (c->kafka == NULL)
        (void)poll(NULL, 0, timeout_ms);
    else if (c->kafka->code != OUTBOX_OK)
        code = outbox__error_set(err, c->kafka->code, "%s", c->kafka->why.message);
    if (m == NULL)
        return code;
    if (code == OUTBOX_OK && m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (take(c, m) != 0)
            code = outbox__error_set(err, OUTBOX_ENOMEM, "no memory for a record");
    } else if (code == OUTBOX_OK && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        take_end(c, m);
    } else if (code == OUTBOX_OK) {
        c->figures.kafka_errors++;
        inbox__log(c, 4, "librdkafka: %s%s", rd_kafka_message_errstr(m),
                   m->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ? "; create it, or correct the setting topics" : "");
        code = fatal(c, err);
    }
    rd_kafka_message_destroy(m);
    return code;
}

/* -- one partition ---------------------------------------------------------------------------- */

static rd_kafka_topic_partition_list_t *list_of(const struct inbox__partition *p)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(list, p->topic, p->number);
    return list;
}

void inbox__kafka_pause(struct inbox_consumer *c, struct inbox__partition *p, bool pause)
{
    rd_kafka_topic_partition_list_t *list;

    if (p->paused == pause)
        return;
    list = list_of(p);
    (void)(pause ? rd_kafka_pause_partitions(c->kafka->rk, list)
                 : rd_kafka_resume_partitions(c->kafka->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
    p->paused = pause;
}

/* Where the group is according to Kafka, or where inbox.start says. The end as a number: it must not be
 * another one after a restart. False: Kafka does not answer. */
static bool ask_group(struct inbox_consumer *c, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_t *tp = &list->elems[0];
    int64_t low;

    if (rd_kafka_committed(c->kafka->rk, list, BEGIN_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        tp->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    if (tp->offset >= 0)
        return true;
    tp->offset = RD_KAFKA_OFFSET_BEGINNING;
    return !starts_latest(c) ||
           rd_kafka_query_watermark_offsets(c->kafka->rk, tp->topic, tp->partition, &low, &tp->offset,
                                            BEGIN_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* librdkafka has never started to fetch it: see assign(). Whether this did is seen at
 * the next try; a pause or resume now could undo it. */
static void assign_once_more(struct inbox_consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_destroy(rd_kafka_incremental_unassign(c->kafka->rk, list)); /* it may not even be there */
    add_to_assignment(c, list);
}

/* librdkafka before 2.1.0 takes the milliseconds that are left for microseconds: a seek that takes more than 5 ms, as on
 * a busy machine, had failed. */
static int seek_timeout_ms(void)
{
    enum { MENDED_IN = 0x020100ff };

    return rd_kafka_version() < MENDED_IN ? BEGIN_TIMEOUT_MS * 1000 : BEGIN_TIMEOUT_MS;
}

bool inbox__kafka_begin(struct inbox_consumer *c, struct inbox__partition *p, int64_t *offset)
{
    rd_kafka_topic_partition_list_t *list = list_of(p);
    bool ok = true, started = true;

    list->elems[0].offset = *offset;
    if (*offset < 0)
        ok = ask_group(c, list);
    *offset = list->elems[0].offset >= 0 ? list->elems[0].offset : -1;
    if (ok) {
        rd_kafka_error_t *error = rd_kafka_seek_partitions(c->kafka->rk, list, seek_timeout_ms());
        ok = error == NULL && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
        rd_kafka_error_destroy(error);
        started = list->elems[0].err != RD_KAFKA_RESP_ERR__STATE &&
                  list->elems[0].err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    }
    if (!started)
        assign_once_more(c, list);
    inbox__log(c, ok ? 6 : 4, "%s/%d %s", p->topic, (int)p->number,
               ok        ? "is ours and begins"
               : started ? "cannot begin yet: Kafka does not answer"
                         : "cannot begin yet: librdkafka has not started it; it is assigned once more");
    rd_kafka_topic_partition_list_destroy(list);
    return ok;
}
