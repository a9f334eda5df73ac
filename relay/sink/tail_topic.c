/* tail_topic.c - the end of one topic: how far down it is read, which ids its records have. On the reader's
 * thread. Knows neither where the ends are found nor who asked.
 */
#include <stdio.h>

#include "relay/loop.h"
#include "relay/sink/record_id.h"
#include "relay/sink/tail_inside.h"

#define SAMPLE_ROWS 64   /* tell how large the records are */
#define SPREAD 16        /* so many partitions are read as far as the configuration says */
#define RECORD_BYTES 100 /* counted for headers and the like, which are not measured */
#define RETRY_MS 50
#define WAIT_MS 10 /* for records */
#define BATCHES 20 /* between two looks at the clock */

static void part_stop(struct tail_topic *topic, int32_t p)
{
    if (!topic->part[p].reading)
        return;
    (void)rd_kafka_consume_stop(topic->handle, p);
    topic->part[p].reading = false;
    topic->n_reading--;
}

void tail_finish(struct tail_topic *topic, enum tail_state outcome)
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

void tail_fail(struct tail_topic *topic, const char *why)
{
    snprintf(topic->why, sizeof topic->why, "%s", why);
    tail_finish(topic, TAIL_FAILED);
}

void tail_retry_later(struct tail_topic *topic, rd_kafka_resp_err_t err)
{
    topic->retry_ms = loop_now_ms() + RETRY_MS;
    snprintf(topic->why, sizeof topic->why, "%s", rd_kafka_err2str(err));
}

static int part_start(struct tail *t, struct tail_topic *topic, int32_t p, int64_t start, int64_t end)
{
    struct tail_part *part = &topic->part[p];

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
static int64_t rest_start(const struct tail *t, const struct tail_part *part)
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

static int64_t sample_start(const struct tail *t, const struct tail_part *part)
{
    int64_t rows = t->rows < SAMPLE_ROWS ? (int64_t)t->rows : SAMPLE_ROWS;

    return part->high - part->low > rows ? part->high - rows : part->low;
}

void tail_read_stage(struct tail *t, struct tail_topic *topic, enum tail_stage stage)
{
    uint64_t n = topic->ids.room;

    topic->stage = stage;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t p = 0; p < topic->n_parts; p++) {
            struct tail_part *part = &topic->part[p];
            int64_t end = stage == STAGE_SAMPLE ? part->high : part->start;
            int64_t start = stage == STAGE_SAMPLE ? sample_start(t, part) : rest_start(t, part);
            if (pass == 0) {
                n += (uint64_t)(end - start);
            } else if (part_start(t, topic, p, start, end) < 0) {
                tail_fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
                return;
            }
        }
        if (pass == 0 && id_table_reserve(&topic->ids, n) < 0) {
            tail_fail(topic, "out of memory");
            return;
        }
    }
}

static void on_record(struct tail *t, struct tail_topic *topic, const rd_kafka_message_t *m)
{
    struct tail_part *part = &topic->part[m->partition];
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
    struct tail_topic *topic = m->rkt != NULL ? rd_kafka_topic_opaque(m->rkt) : NULL;

    if (topic == NULL || atomic_load(&topic->state) != TAIL_READING || topic->n_reading == 0 ||
        m->partition < 0 || m->partition >= topic->n_parts || !topic->part[m->partition].reading)
        return;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        on_record(t, topic, m);
    else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        part_stop(topic, m->partition); /* the last offsets are those of control records */
    else
        tail_fail(topic, rd_kafka_err2str(m->err));
}

void tail_read_records(struct tail *t)
{
    rd_kafka_message_t *m[TAIL_BATCH];

    m[0] = rd_kafka_consume_queue(t->records, WAIT_MS);
    if (m[0] == NULL)
        return;
    ssize_t n = 1; /* asked for several, librdkafka waits until it has them all or time is up */
    for (int batch = 0; n > 0; batch++) {
        for (ssize_t i = 0; i < n; i++) {
            on_message(t, m[i]);
            rd_kafka_message_destroy(m[i]);
        }
        n = batch < BATCHES ? rd_kafka_consume_batch_queue(t->records, 0, m, TAIL_BATCH) : 0;
    }
}
