/* tail.c - the loop's side of reading the ends of topics: what is asked for, and what was found. See tail.h.
 * Knows nothing of how they are read.
 */
#include "relay/sink/tail.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/client.h"
#include "relay/sink/consumer.h"
#include "relay/sink/record_id.h"
#include "relay/sink/tail_inside.h"

/* -- set-up and end -------------------------------------------------------------------------- */

static int open_consumer(struct tail *t, const struct tail_config *cfg, char *err, size_t err_size)
{
    t->rk = consumer_open(cfg->properties, cfg->n_properties, "0", err, err_size);
    if (t->rk == NULL)
        return -1;
    t->events = rd_kafka_queue_get_main(t->rk);
    t->records = rd_kafka_queue_new(t->rk);
    rd_kafka_queue_io_event_enable(t->events, t->wake[1], "", 1);
    return 0;
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
        if (tail_start_reader(t) == 0)
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

static void topic_free(struct tail_topic *topic)
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
        tail_close_client(t);
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

/* -- what is asked for, and what was found ---------------------------------------------------- */

static void tell(struct tail_topic *topic)
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

static bool is_final(const struct tail_topic *topic)
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

static struct tail_topic *find(const struct tail *t, const char *name)
{
    for (size_t i = 0; i < t->n_topics; i++)
        if (strcmp(t->topic[i]->name, name) == 0)
            return t->topic[i];
    return NULL;
}

static struct tail_topic *add(struct tail *t, const char *name)
{
    struct tail_topic **grown = realloc(t->topic, (t->n_topics + 1) * sizeof(struct tail_topic *));
    struct tail_topic *topic = calloc(1, sizeof *topic);

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
    struct tail_topic *topic = find(t, name);

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
    const struct tail_topic *topic = find(t, name);

    return topic != NULL ? (enum tail_state)atomic_load(&topic->state) : TAIL_NONE;
}

bool tail_find(const struct tail *t, const struct row *row, int32_t *ret_partition,
               int64_t *ret_offset)
{
    const struct tail_topic *topic = find(t, row->topic);
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
