/* partitions.c - the partitions that are assigned to this process: claimed in the database, paused,
 * fenced, forgotten. Knows neither libpq nor librdkafka. */
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define CLAIM_AGAIN_MS 500
/* After another process took it over, Kafka will take it away here in a moment. Should it not, the
 * row was changed by hand, and it is ours after all. */
#define FENCED_AGAIN_MS 10000

struct inbox__partition *inbox__partition_find(struct inbox_consumer *c, const char *topic,
                                               int32_t number)
{
    struct inbox__partition *p = c->partitions;

    while (p != NULL && (p->number != number || strcmp(p->topic, topic) != 0))
        p = p->next;
    return p;
}

/* stored: what the database has; next: where it begins. -1: unknown. */
static void begin_at(struct inbox__partition *p, int64_t stored, int64_t next)
{
    p->part.stored = stored;
    p->part.next = next;
    p->hinted = -1;
}

struct inbox__partition *inbox__partition_add(struct inbox_consumer *c, const char *topic,
                                              int32_t number, int64_t *ret_start)
{
    struct inbox__partition *p = calloc(1, sizeof *p);

    if (p == NULL || (p->topic = strdup(topic)) == NULL) {
        free(p);
        return NULL;
    }
    p->number = number;
    p->part.id = ++c->n_part_ids;
    *ret_start = -1;
    p->claimed = inbox__db_claim(c, topic, number, ret_start);
    begin_at(p, *ret_start, *ret_start);
    p->next = c->partitions;
    c->partitions = p;
    return p;
}

static void forget_events(struct inbox_consumer *c, struct inbox__partition *p)
{
    struct inbox__item *i = inbox__window_drop(&c->window, &p->part);

    while (i != NULL) {
        struct inbox__item *next = i->part_next;
        inbox__record_free((struct inbox__record *)i);
        i = next;
    }
}

void inbox__partition_remove(struct inbox_consumer *c, struct inbox__partition *p)
{
    struct inbox__partition **at = &c->partitions;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    forget_events(c, p);
    free(p->topic);
    free(p);
}

void inbox__partitions_clear(struct inbox_consumer *c)
{
    while (c->partitions != NULL)
        inbox__partition_remove(c, c->partitions);
}

void inbox__partitions_tend(struct inbox_consumer *c, uint64_t now_ms)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        int64_t stored = -1, start;
        if (p->claimed || now_ms < p->claim_due_ms)
            continue;
        p->claim_due_ms = now_ms + CLAIM_AGAIN_MS;
        if (!inbox__db_claim(c, p->topic, p->number, &stored))
            continue;
        start = stored;
        if (!inbox__kafka_begin(c, p, &start))
            continue;
        p->claimed = true;
        begin_at(p, stored, start);
        inbox__kafka_pause(c, p, c->full);
    }
}

void inbox__partitions_fenced(struct inbox_consumer *c)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        if (!p->claimed || inbox__db_owns(c, p))
            continue;
        inbox__log(c, 4, "%s/%d: another process has taken this partition over", p->topic,
                   (int)p->number);
        p->claimed = false;
        p->claim_due_ms = inbox__now_ms() + FENCED_AGAIN_MS;
        forget_events(c, p);
        inbox__kafka_pause(c, p, true);
    }
}

void inbox__partitions_pressure(struct inbox_consumer *c)
{
    uint64_t rows = c->set.inflight_rows, bytes = c->set.inflight_bytes;
    uint64_t quarter = rows < 4 ? 1 : rows / 4;
    bool full = c->full ? c->window.n_rows > rows - quarter || c->window.n_bytes > bytes - bytes / 4
                        : c->window.n_rows >= rows || c->window.n_bytes >= bytes;

    /* With nothing in memory something must be taken, however large it is. */
    full = full && c->window.n_rows > 0;
    if (full == c->full)
        return;
    c->full = full;
    inbox__log(c, 6, full ? "memory is full (%u events): fetching pauses"
                          : "memory has room again (%u events): fetching goes on",
               (unsigned)c->window.n_rows);
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (p->claimed)
            inbox__kafka_pause(c, p, full);
}

void inbox__partition_rewind(struct inbox_consumer *c, struct inbox__partition *p, int64_t offset)
{
    inbox__log(c, 4, "%s/%d: the log goes back from offset %lld to %lld: the topic was made anew, "
               "or lost its end", p->topic, (int)p->number, (long long)p->part.next,
               (long long)offset);
    forget_events(c, p);
    p->part.next = offset;
}
