/* tail.c - see tail.h.
 *
 * Who owns what: the loop's thread the list of topics; the reader a topic from the mailbox on until
 * its state is final (release), then the loop again.
 */
#include "relay/sink/tail.h"

#include <assert.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/client.h"
#include "relay/sink/consumer.h"
#include "relay/sink/id_table.h"
#include "relay/sink/record_id.h"

#define SAMPLE_ROWS 64      /* tell how large the records are */
#define SPREAD 16           /* so many partitions are read as far as the configuration says */
#define RECORD_BYTES 100    /* counted for headers and the like, which are not measured */
#define REQUEST_MS 1000     /* one look-up; tail_free waits for it */
#define REQUEST_ONE_MS 250  /* one of many, after all together failed */
#define RETRY_MS 50
#define WAIT_MS 10          /* for records */
#define BATCH 500
#define BATCHES 20 /* between two looks at the clock */

struct part {
    int64_t low, high;   /* the log, when reading began */
    int64_t start;       /* records below are not looked at */
    int64_t end;         /* reading [start, end) now */
    uint64_t n, bytes;   /* looked at */
    bool reading;
};

enum stage { STAGE_PLAN, STAGE_SAMPLE, STAGE_REST, STAGE_DONE };

struct topic {
    char *name;
    _Atomic int state; /* enum tail_state */
    uint64_t began_ms, deadline_ms;
    struct topic *next_mail;   /* under the lock */
    struct topic *next_active; /* the reader's, as is what follows */
    enum stage stage;
    enum tail_state outcome; /* when DONE */
    uint64_t retry_ms;
    rd_kafka_topic_t *handle;
    struct part *part; /* by partition */
    int32_t n_parts, n_reading;
    int32_t n_counted; /* of its partitions, in the tail's n_parts; it may be read anew */
    struct id_table ids;
    uint64_t took_ms;
    char why[160]; /* it failed */
    bool told;     /* the loop's: the final state was logged */
};

struct tail {
    rd_kafka_t *rk;
    rd_kafka_queue_t *events;  /* the loop's: log lines and errors */
    rd_kafka_queue_t *records; /* the reader's */
    enum envelope_kind envelope;
    uint32_t rows;
    uint64_t max_bytes;
    uint64_t n_parts; /* the reader's: of all topics so far */
    int wake[2]; /* the reader and librdkafka write, the loop polls */
    struct topic **topic;
    size_t n_topics;
    pthread_t reader;
    bool running;
    pthread_mutex_t lock; /* of the mailbox */
    pthread_cond_t mail;
    struct topic *mailbox;
    atomic_bool stop;
};

/* -- the consumer --------------------------------------------------------------------------- */

static int open_consumer(struct tail *t, const struct tail_config *cfg, char *err, size_t err_size)
{
    t->rk = consumer_open(cfg->properties, cfg->n_properties, err, err_size);
    if (t->rk == NULL)
        return -1;
    t->events = rd_kafka_queue_get_main(t->rk);
    t->records = rd_kafka_queue_new(t->rk);
    rd_kafka_queue_io_event_enable(t->events, t->wake[1], "", 1);
    return 0;
}

/* By the reader at its end: that may take its time while no broker answers. */
static void client_close(struct tail *t)
{
    client_free(t->rk, t->records, t->events);
    t->records = t->events = NULL;
    t->rk = NULL;
}

/* -- the reader: the state of a topic -------------------------------------------------------- */

static void part_stop(struct topic *topic, int32_t p)
{
    if (!topic->part[p].reading)
        return;
    (void)rd_kafka_consume_stop(topic->handle, p);
    topic->part[p].reading = false;
    topic->n_reading--;
}

/* Nothing more to do for it; release() hands it back to the loop. */
static void finish(struct topic *topic, enum tail_state outcome)
{
    for (int32_t p = 0; p < topic->n_parts; p++)
        part_stop(topic, p);
    if (topic->handle != NULL)
        rd_kafka_topic_destroy(topic->handle);
    topic->handle = NULL;
    topic->took_ms = loop_now_ms() - topic->began_ms;
    topic->stage = STAGE_DONE;
    topic->outcome = outcome;
    if (outcome == TAIL_READY)
        topic->why[0] = '\0'; /* it was retried */
}

static void fail(struct topic *topic, const char *why)
{
    snprintf(topic->why, sizeof topic->why, "%s", why);
    finish(topic, TAIL_FAILED);
}

/* Kept for the case that time runs out. */
static void retry_later(struct topic *topic, rd_kafka_resp_err_t err)
{
    topic->retry_ms = loop_now_ms() + RETRY_MS;
    snprintf(topic->why, sizeof topic->why, "%s", rd_kafka_err2str(err));
}

/* -- the reader: records -------------------------------------------------------------------- */

static int part_start(struct tail *t, struct topic *topic, int32_t p, int64_t start, int64_t end)
{
    struct part *part = &topic->part[p];

    part->start = start;
    part->end = end;
    if (start >= end)
        return 0;
    if (rd_kafka_consume_start_queue(topic->handle, p, start, t->records) < 0)
        return -1;
    part->reading = true;
    topic->n_reading++;
    return 0;
}

/* What the other relay had on its way was spread over all partitions: of many each is read less far, so
 * that memory and time do not grow with their number. */
static uint64_t share(const struct tail *t, uint64_t whole)
{
    return t->n_parts > SPREAD ? whole * SPREAD / t->n_parts : whole;
}

/* How far down the second reading goes. */
static int64_t rest_start(const struct tail *t, const struct part *part)
{
    uint64_t seen = (uint64_t)(part->high - part->start);
    uint64_t rows = share(t, t->rows), bytes = share(t, t->max_bytes);
    uint64_t each = part->n > 0 ? part->bytes / part->n : RECORD_BYTES; /* 0: control records */
    int64_t low = part->low;

    rows = rows > seen ? rows - seen : 0;
    bytes = bytes > part->bytes ? bytes - part->bytes : 0;
    if (rows > bytes / each)
        rows = bytes / each;
    if (part->start - low > (int64_t)rows)
        low = part->start - (int64_t)rows;
    return low;
}

static int64_t sample_start(const struct tail *t, const struct part *part)
{
    int64_t rows = t->rows < SAMPLE_ROWS ? (int64_t)t->rows : SAMPLE_ROWS;

    return part->high - part->low > rows ? part->high - rows : part->low;
}

/* Begins to read all partitions for the stage; see advance() for its end. */
static void read_stage(struct tail *t, struct topic *topic, enum stage stage)
{
    uint64_t n = topic->ids.room;

    topic->stage = stage;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t p = 0; p < topic->n_parts; p++) {
            struct part *part = &topic->part[p];
            int64_t end = stage == STAGE_SAMPLE ? part->high : part->start;
            int64_t start = stage == STAGE_SAMPLE ? sample_start(t, part) : rest_start(t, part);
            if (pass == 0) {
                n += (uint64_t)(end - start);
            } else if (part_start(t, topic, p, start, end) < 0) {
                fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
                return;
            }
        }
        if (pass == 0 && id_table_reserve(&topic->ids, n) < 0) {
            fail(topic, "out of memory");
            return;
        }
    }
}

static void on_record(struct tail *t, struct topic *topic, const rd_kafka_message_t *m)
{
    struct part *part = &topic->part[m->partition];
    uint8_t id[16];

    if (m->offset >= part->start && m->offset < part->end) {
        part->n++;
        part->bytes += m->len + m->key_len + RECORD_BYTES;
        if (record_id_of_message(t->envelope, m, id))
            (void)id_table_add(&topic->ids, id, m->partition, m->offset);
    }
    if (m->offset >= part->end - 1)
        part_stop(topic, m->partition);
}

/* A record, an end, or why there is neither. */
static void on_message(struct tail *t, rd_kafka_message_t *m)
{
    struct topic *topic = m->rkt != NULL ? rd_kafka_topic_opaque(m->rkt) : NULL;

    if (topic == NULL || atomic_load(&topic->state) != TAIL_READING || topic->n_reading == 0 ||
        m->partition < 0 || m->partition >= topic->n_parts || !topic->part[m->partition].reading)
        return;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        on_record(t, topic, m);
    else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        part_stop(topic, m->partition); /* the last offsets are those of control records */
    else
        fail(topic, rd_kafka_err2str(m->err));
}

static void read_records(struct tail *t)
{
    rd_kafka_message_t *m[BATCH];

    m[0] = rd_kafka_consume_queue(t->records, WAIT_MS);
    if (m[0] == NULL)
        return;
    ssize_t n = 1; /* asked for several, librdkafka waits until it has them all or time is up */
    for (int batch = 0; n > 0; batch++) {
        for (ssize_t i = 0; i < n; i++) {
            on_message(t, m[i]);
            rd_kafka_message_destroy(m[i]);
        }
        n = batch < BATCHES ? rd_kafka_consume_batch_queue(t->records, 0, m, BATCH) : 0;
    }
}

/* -- the reader: where the ends are ---------------------------------------------------------- */

static int handle_open(struct tail *t, struct topic *topic)
{
    if (topic->handle == NULL) {
        rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(t->rk);
        rd_kafka_topic_conf_set_opaque(conf, topic);
        topic->handle = rd_kafka_topic_new(t->rk, topic->name, conf); /* takes conf */
    }
    return topic->handle != NULL ? 0 : -1;
}

static const struct rd_kafka_metadata_topic *find_topic(const struct rd_kafka_metadata *md,
                                                        const char *name)
{
    for (int i = 0; i < md->topic_cnt; i++)
        if (strcmp(md->topics[i].topic, name) == 0)
            return &md->topics[i];
    return NULL;
}

static bool all_lead(const struct rd_kafka_metadata_topic *mt)
{
    for (int i = 0; i < mt->partition_cnt; i++)
        if (mt->partitions[i].leader < 0 || mt->partitions[i].id < 0 ||
            mt->partitions[i].id >= mt->partition_cnt)
            return false;
    return mt->partition_cnt > 0;
}

/* True: its partitions are known and each has a leader. */
static bool know_partitions(struct tail *t, struct topic *topic,
                            const struct rd_kafka_metadata_topic *mt)
{
    switch ((int)mt->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        finish(topic, TAIL_READY); /* and nothing is in it */
        return false;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        fail(topic, rd_kafka_err2str(mt->err));
        return false;
    default:
        retry_later(topic, mt->err);
        return false;
    }
    if (!all_lead(mt)) {
        retry_later(topic, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
        return false;
    }
    free(topic->part);
    topic->n_parts = 0;
    topic->part = calloc((size_t)mt->partition_cnt, sizeof *topic->part);
    if (topic->part == NULL) {
        fail(topic, "out of memory");
        return false;
    }
    topic->n_parts = mt->partition_cnt;
    t->n_parts += (uint64_t)topic->n_parts - (uint64_t)topic->n_counted;
    topic->n_counted = topic->n_parts;
    return true;
}

/* Until when a look-up may take. */
static int time_left(uint64_t until_ms, uint64_t most_ms)
{
    uint64_t now_ms = loop_now_ms();
    uint64_t left = until_ms > now_ms ? until_ms - now_ms : 0;

    return (int)(left < most_ms ? left : most_ms);
}

/* Asks for the first or the next offset of all partitions of n topics in one request per broker: a
 * timestamp of -2 or -1 means just that to a broker. */
static rd_kafka_resp_err_t ask_offsets(struct tail *t, struct topic *const *topic, size_t n,
                                       int64_t which, int timeout_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    int i = 0;

    for (size_t k = 0; k < n; k++)
        for (int32_t p = 0; p < topic[k]->n_parts; p++)
            rd_kafka_topic_partition_list_add(list, topic[k]->name, p)->offset = which;
    rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(t->rk, list, timeout_ms);
    for (size_t k = 0; k < n; k++)
        for (int32_t p = 0; p < topic[k]->n_parts && err == RD_KAFKA_RESP_ERR_NO_ERROR; p++) {
            const rd_kafka_topic_partition_t *got = &list->elems[i++];
            err = got->err;
            if (err == RD_KAFKA_RESP_ERR_NO_ERROR && (got->offset < 0 || got->partition != p))
                err = RD_KAFKA_RESP_ERR__BAD_MSG;
            if (which == RD_KAFKA_OFFSET_END)
                topic[k]->part[p].high = got->offset;
            else
                topic[k]->part[p].low = got->offset;
        }
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

static bool start_reading(struct tail *t, struct topic *const *topic, size_t n, int timeout_ms)
{
    rd_kafka_resp_err_t err = ask_offsets(t, topic, n, RD_KAFKA_OFFSET_BEGINNING, timeout_ms);

    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = ask_offsets(t, topic, n, RD_KAFKA_OFFSET_END, timeout_ms);
    for (size_t k = 0; k < n; k++) {
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
            read_stage(t, topic[k], STAGE_SAMPLE);
        else if (n == 1 && err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            fail(topic[k], rd_kafka_err2str(err));
        else
            retry_later(topic[k], err);
    }
    return err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One broken topic spoils the answer for all; then each is asked about by itself. */
static void plan(struct tail *t, struct topic *const *topic, size_t n, uint64_t until_ms)
{
    struct topic *known[BATCH];
    const struct rd_kafka_metadata *md = NULL;
    size_t n_known = 0;
    /* One request for all topics that have a handle. (Never without any: 2.0.2 would then let the
     * broker create topics that it merely remembers.) */
    rd_kafka_resp_err_t err =
        rd_kafka_metadata(t->rk, 0, NULL, &md, time_left(until_ms, REQUEST_MS));

    for (size_t k = 0; k < n; k++) {
        const struct rd_kafka_metadata_topic *mt =
            md != NULL ? find_topic(md, topic[k]->name) : NULL;
        if (mt == NULL)
            retry_later(topic[k], err);
        else if (know_partitions(t, topic[k], mt))
            known[n_known++] = topic[k];
    }
    if (md != NULL)
        rd_kafka_metadata_destroy(md);
    if (n_known == 0 || atomic_load(&t->stop) ||
        start_reading(t, known, n_known, time_left(until_ms, REQUEST_MS)) || n_known == 1)
        return;
    for (size_t k = 0; k < n_known && !atomic_load(&t->stop) && time_left(until_ms, 1) > 0; k++)
        (void)start_reading(t, &known[k], 1, time_left(until_ms, REQUEST_ONE_MS));
}

static void plan_due(struct tail *t, struct topic *active)
{
    uint64_t now_ms = loop_now_ms(), until_ms = UINT64_MAX;
    struct topic *due[BATCH];
    size_t n = 0;

    for (struct topic *topic = active; topic != NULL && n < BATCH; topic = topic->next_active) {
        if (topic->stage != STAGE_PLAN || topic->retry_ms > now_ms)
            continue;
        if (handle_open(t, topic) < 0) {
            fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
            continue;
        }
        due[n++] = topic;
        if (topic->deadline_ms < until_ms)
            until_ms = topic->deadline_ms;
    }
    if (n > 0)
        plan(t, due, n, until_ms);
}

/* -- the reader: its thread ------------------------------------------------------------------ */

/* On to the next stage, where all partitions are read. Only between two batches of messages: what
 * librdkafka has handed out already may be of a partition that was stopped meanwhile, and must find
 * it so. What it has not, it drops. False: nothing is left to do. */
static bool advance(struct tail *t, struct topic *active)
{
    bool any = false;

    for (struct topic *topic = active; topic != NULL; topic = topic->next_active) {
        if (topic->stage == STAGE_SAMPLE && topic->n_reading == 0)
            read_stage(t, topic, STAGE_REST);
        if (topic->stage == STAGE_REST && topic->n_reading == 0)
            finish(topic, TAIL_READY);
        any = any || topic->stage != STAGE_DONE;
    }
    return any;
}

static void expire(struct topic *active, uint64_t now_ms)
{
    char why[sizeof active->why];

    for (struct topic *topic = active; topic != NULL; topic = topic->next_active) {
        if (topic->stage == STAGE_DONE || topic->deadline_ms > now_ms)
            continue;
        snprintf(why, sizeof why, "not within its time%s%.100s", topic->why[0] != '\0' ? ": " : "",
                 topic->why);
        fail(topic, why);
    }
}

/* Hands back those that are done; not looked at after that, for the loop may ask for one anew. */
static struct topic *release(struct tail *t, struct topic *active)
{
    struct topic *kept = NULL;
    bool any = false;

    for (struct topic *topic = active, *next; topic != NULL; topic = next) {
        next = topic->next_active;
        if (topic->stage == STAGE_DONE) {
            atomic_store(&topic->state, topic->outcome);
            any = true;
        } else {
            topic->next_active = kept;
            kept = topic;
        }
    }
    if (any)
        (void)!write(t->wake[1], "", 1); /* full: then it is readable already */
    return kept;
}

/* Waits while there is nothing to do at all. */
static struct topic *take_mail(struct tail *t, struct topic *active)
{
    struct topic *mail;

    pthread_mutex_lock(&t->lock);
    while (active == NULL && t->mailbox == NULL && !atomic_load(&t->stop))
        pthread_cond_wait(&t->mail, &t->lock);
    mail = t->mailbox;
    t->mailbox = NULL;
    pthread_mutex_unlock(&t->lock);
    for (struct topic *topic = mail; topic != NULL; topic = topic->next_mail) {
        topic->next_active = active;
        active = topic;
    }
    return active;
}

static void *reader_main(void *arg)
{
    struct tail *t = arg;
    struct topic *active = NULL;

    for (;;) {
        active = take_mail(t, active);
        if (atomic_load(&t->stop))
            break;
        plan_due(t, active);
        if (advance(t, active)) {
            read_records(t);
            (void)advance(t, active);
        }
        expire(active, loop_now_ms());
        active = release(t, active);
    }
    for (struct topic *topic = active; topic != NULL; topic = topic->next_active)
        fail(topic, "stopped");
    (void)release(t, active);
    client_close(t);
    return NULL;
}

/* -- the loop's side ------------------------------------------------------------------------- */

/* Signals are the loop's. */
static int reader_start(struct tail *t)
{
    sigset_t all, before;

    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return -1;
    t->running = pthread_create(&t->reader, NULL, reader_main, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t->running ? 0 : -1;
}

static struct tail *tail_alloc(const struct tail_config *cfg)
{
    struct tail *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->rows = cfg->rows;
    t->max_bytes = cfg->max_bytes;
    t->envelope = cfg->envelope;
    t->wake[0] = t->wake[1] = -1;
    (void)pthread_mutex_init(&t->lock, NULL); /* cannot fail without attributes on Linux */
    (void)pthread_cond_init(&t->mail, NULL);
    return t;
}

struct tail *tail_new(const struct tail_config *cfg, char *err, size_t err_size)
{
    struct tail *t = tail_alloc(cfg);

    if (t == NULL)
        snprintf(err, err_size, "out of memory");
    else if (t->envelope == ENVELOPE_PLAIN)
        snprintf(err, err_size, "records of the plain envelope carry no event id");
    else if (pipe2(t->wake, O_CLOEXEC | O_NONBLOCK) < 0)
        snprintf(err, err_size, "no pipe can be opened");
    else if (open_consumer(t, cfg, err, err_size) == 0) {
        if (reader_start(t) == 0)
            return t;
        snprintf(err, err_size, "no thread can be started");
    }
    tail_free(t);
    return NULL;
}

void tail_end(struct tail *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->stop, true);
    pthread_cond_signal(&t->mail);
    pthread_mutex_unlock(&t->lock);
}

static void topic_free(struct topic *topic)
{
    id_table_deinit(&topic->ids);
    free(topic->part);
    free(topic->name);
    free(topic);
}

void tail_free(struct tail *t)
{
    if (t == NULL)
        return;
    if (t->running) {
        tail_end(t);
        (void)pthread_join(t->reader, NULL);
    } else {
        client_close(t);
    }
    for (size_t i = 0; i < t->n_topics; i++)
        topic_free(t->topic[i]);
    free(t->topic);
    for (int i = 0; i < 2; i++)
        if (t->wake[i] >= 0)
            close(t->wake[i]);
    (void)pthread_cond_destroy(&t->mail);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

int tail_fd(const struct tail *t)
{
    return t->wake[0];
}

static void tell(struct topic *topic)
{
    uint64_t n = 0;

    for (int32_t p = 0; p < topic->n_parts; p++)
        n += topic->part[p].n;
    topic->told = true;
    log_write(atomic_load(&topic->state) == TAIL_READY ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "tail",
              atomic_load(&topic->state) == TAIL_READY
                  ? "the end of a topic was read"
                  : "the end of a topic could not be read; what is there already may be sent again",
              "topic", topic->name, "error", topic->why[0] != '\0' ? topic->why : NULL,
              "partitions", log_i64(topic->n_parts), "records", log_i64((int64_t)n), "ids",
              log_i64((int64_t)topic->ids.n), "took_ms", log_i64((int64_t)topic->took_ms),
              (char *)0);
}

static bool is_final(const struct topic *topic)
{
    int state = atomic_load(&topic->state);

    return state == TAIL_READY || state == TAIL_FAILED;
}

void tail_poll(struct tail *t)
{
    char drain[64];
    rd_kafka_event_t *ev;

    while (read(t->wake[0], drain, sizeof drain) > 0)
        continue;
    while ((ev = rd_kafka_queue_poll(t->events, 0)) != NULL) {
        if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_LOG)
            client_log(ev);
        else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            log_debug("tail", "kafka", "code", rd_kafka_err2name(rd_kafka_event_error(ev)), "error",
                      rd_kafka_event_error_string(ev)); /* the sink's producers say it as well */
        rd_kafka_event_destroy(ev);
    }
    for (size_t i = 0; i < t->n_topics; i++)
        if (!t->topic[i]->told && is_final(t->topic[i]))
            tell(t->topic[i]);
}

static struct topic *find(const struct tail *t, const char *name)
{
    for (size_t i = 0; i < t->n_topics; i++)
        if (strcmp(t->topic[i]->name, name) == 0)
            return t->topic[i];
    return NULL;
}

static struct topic *add(struct tail *t, const char *name)
{
    struct topic **grown = realloc(t->topic, (t->n_topics + 1) * sizeof(struct topic *));
    struct topic *topic = calloc(1, sizeof *topic);

    if (grown != NULL)
        t->topic = grown;
    if (topic != NULL)
        topic->name = strdup(name);
    if (grown == NULL || topic == NULL || topic->name == NULL) {
        free(topic != NULL ? topic->name : NULL);
        free(topic);
        return NULL;
    }
    t->topic[t->n_topics++] = topic;
    return topic;
}

int tail_read(struct tail *t, const char *name, uint64_t timeout_ms)
{
    struct topic *topic = find(t, name);

    if (topic == NULL && (topic = add(t, name)) == NULL)
        return -1;
    if (atomic_load(&topic->state) == TAIL_READING)
        return 0;
    id_table_deinit(&topic->ids);
    free(topic->part);
    topic->part = NULL;
    topic->n_parts = 0;
    topic->stage = STAGE_PLAN;
    topic->retry_ms = 0;
    topic->why[0] = '\0';
    topic->told = false;
    topic->began_ms = loop_now_ms();
    topic->deadline_ms = topic->began_ms + timeout_ms;
    atomic_store(&topic->state, TAIL_READING);
    pthread_mutex_lock(&t->lock);
    topic->next_mail = t->mailbox;
    t->mailbox = topic;
    pthread_cond_signal(&t->mail);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

enum tail_state tail_state(const struct tail *t, const char *name)
{
    const struct topic *topic = find(t, name);

    return topic != NULL ? (enum tail_state)atomic_load(&topic->state) : TAIL_NONE;
}

bool tail_find(const struct tail *t, const struct row *row, int32_t *ret_partition,
               int64_t *ret_offset)
{
    const struct topic *topic = find(t, row->topic);
    const struct id_place *p = NULL;
    uint8_t id[16];

    if (topic != NULL && is_final(topic)) {
        record_id_of_row(t->envelope, row, id);
        p = id_table_find(&topic->ids, id);
    }
    if (p == NULL)
        return false;
    *ret_partition = p->partition;
    *ret_offset = p->offset;
    return true;
}
