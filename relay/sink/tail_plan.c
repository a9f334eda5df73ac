/* tail_plan.c - where topics begin and end: asked of the brokers, for many topics at once. On the reader's
 * thread. Knows nothing of records.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/loop.h"
#include "relay/sink/tail_inside.h"

#define REQUEST_MS 1000    /* one look-up; tail_free waits for it */
#define REQUEST_ONE_MS 250 /* one of many, after all together failed */

static int handle_open(struct tail *t, struct tail_topic *topic)
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
static bool know_partitions(struct tail *t, struct tail_topic *topic,
                            const struct rd_kafka_metadata_topic *mt)
{
    switch ((int)mt->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        tail_finish(topic, TAIL_READY); /* and nothing is in it */
        return false;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        tail_fail(topic, rd_kafka_err2str(mt->err));
        return false;
    default:
        tail_retry_later(topic, mt->err);
        return false;
    }
    if (!all_lead(mt)) {
        tail_retry_later(topic, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
        return false;
    }
    free(topic->part);
    topic->n_parts = 0;
    topic->part = calloc((size_t)mt->partition_cnt, sizeof *topic->part);
    if (topic->part == NULL) {
        tail_fail(topic, "out of memory");
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
static rd_kafka_resp_err_t ask_offsets(struct tail *t, struct tail_topic *const *topic, size_t n,
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

static bool start_reading(struct tail *t, struct tail_topic *const *topic, size_t n, int timeout_ms)
{
    rd_kafka_resp_err_t err = ask_offsets(t, topic, n, RD_KAFKA_OFFSET_BEGINNING, timeout_ms);

    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = ask_offsets(t, topic, n, RD_KAFKA_OFFSET_END, timeout_ms);
    for (size_t k = 0; k < n; k++) {
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
            tail_read_stage(t, topic[k], STAGE_SAMPLE);
        else if (n == 1 && err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            tail_fail(topic[k], rd_kafka_err2str(err));
        else
            tail_retry_later(topic[k], err);
    }
    return err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* One broken topic spoils the answer for all; then each is asked about by itself. */
static void plan(struct tail *t, struct tail_topic *const *topic, size_t n, uint64_t until_ms)
{
    struct tail_topic *known[TAIL_BATCH];
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
            tail_retry_later(topic[k], err);
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

void tail_plan_due(struct tail *t, struct tail_topic *active)
{
    uint64_t now_ms = loop_now_ms(), until_ms = UINT64_MAX;
    struct tail_topic *due[TAIL_BATCH];
    size_t n = 0;

    for (struct tail_topic *topic = active; topic != NULL && n < TAIL_BATCH; topic = topic->next_active) {
        if (topic->stage != STAGE_PLAN || topic->retry_ms > now_ms)
            continue;
        if (handle_open(t, topic) < 0) {
            tail_fail(topic, rd_kafka_err2str(rd_kafka_last_error()));
            continue;
        }
        due[n++] = topic;
        if (topic->deadline_ms < until_ms)
            until_ms = topic->deadline_ms;
    }
    if (n > 0)
        plan(t, due, n, until_ms);
}
