/* partitions.c - the partitions that are assigned to this process: claimed in the database, paused,
 * fenced, forgotten, and set back where their log is another. Knows neither libpq nor librdkafka.
 *
 * A topic that is deleted and made anew keeps its name, and its offsets begin again. While the new log is
 * shorter than the position Kafka says that this offset is not there, and the next record comes from the
 * beginning. Once it is longer nothing would tell; so a record at the position, or the one before it, is
 * kept as witness, and looked at again when the partition is assigned.
 */
#include <stdlib.h>
#include <string.h>

#include "attempts.h"
#include "inside.h"

#define CLAIM_AGAIN_MS 500
#define SAID_AGAIN_MS 30000 /* that one cannot be claimed */
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

bool inbox__partition_moves(const struct inbox__partition *p)
{
    int64_t position = inbox__window_position(&p->part);

    return p->claimed && position >= 0 && position != p->part.stored;
}

bool inbox__partition_goes_back(const struct inbox__partition *p)
{
    return inbox__partition_moves(p) && inbox__window_position(&p->part) < p->part.stored;
}

static const struct inbox__witness nobody = { .offset = -1 };

void inbox__partition_begins(struct inbox__partition *p, int64_t offset)
{
    if (p->claimed && p->part.next < 0)
        p->part.next = p->began = offset;
}

/* place: what the database has; next: where it begins. -1: unknown. */
static void begin_at(struct inbox__partition *p, const struct inbox__place *place, int64_t next)
{
    p->part.stored = place->next;
    p->part.next = next;
    p->hinted = p->back_to = -1;
    p->witness = place->witness;
    p->looks_back = place->witness.offset >= 0;
    inbox__partition_unseen(p);
}

/* Claim it in the database. ret_start: see inbox__partition_add(). A witness anywhere else than at the position
 * was left there by somebody who set the position by hand: it says nothing. Who was its owner is told the first time
 * only: after that it is us, and where that answer is lost nobody knows, so the worst is assumed. */
static bool claim(struct inbox_consumer *c, struct inbox__partition *p,
                  struct inbox__place *ret, int64_t *ret_start)
{
    if (!inbox__db_claim(c, p, ret))
        return false;
    if (ret->owned && !p->knows_owner)
        p->suspects = INBOX_MAX_BATCH_ROWS;
    p->knows_owner = true;
    if (!inbox__attempts_load(c, p))
        return false;
    if (ret->witness.offset != ret->next && ret->witness.offset != ret->next - 1)
        ret->witness = nobody;
    *ret_start = ret->witness.offset >= 0 ? ret->witness.offset : ret->next;
    return true;
}

struct inbox__partition *inbox__partition_add(struct inbox_consumer *c, const char *topic,
                                              int32_t number, uint64_t until_ms,
                                              int64_t *ret_start)
{
    struct inbox__place place = { .next = -1, .witness = nobody };
    struct inbox__partition *p = calloc(1, sizeof *p);

    if (p == NULL || (p->topic = strdup(topic)) == NULL) {
        free(p);
        return NULL;
    }
    p->number = number;
    p->began = -1;
    p->part.id = ++c->n_part_ids;
    *ret_start = -1;
    p->claimed = inbox__now_ms() < until_ms && claim(c, p, &place, ret_start);
    begin_at(p, &place, place.next);
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
    inbox__attempts_forget(p);
    free(p->topic);
    free(p);
}

void inbox__partitions_clear(struct inbox_consumer *c)
{
    while (c->partitions != NULL)
        inbox__partition_remove(c, c->partitions);
}

void inbox__partition_waits(struct inbox_consumer *c, struct inbox__partition *p, const char *why)
{
    uint64_t reason = inbox__hash(INBOX__HASH, why, strlen(why));

    if (reason != p->waits_for)
        p->said_waits = (struct restraint){ 0 };
    p->waits_for = reason;
    if (restraint_admits(&p->said_waits, inbox__now_ms(), 1, SAID_AGAIN_MS, NULL))
        inbox__log(c, 4, "%s/%d cannot be claimed yet, and its events wait: %s", p->topic, (int)p->number, why);
}

static void waits_no_more(struct inbox_consumer *c, struct inbox__partition *p)
{
    if (p->waits_for != 0)
        inbox__log(c, 6, "%s/%d is claimed now, and its events go on", p->topic, (int)p->number);
    p->waits_for = 0;
}

static bool claim_again(struct inbox_consumer *c, struct inbox__partition *p)
{
    struct inbox__place place;
    int64_t start;

    if (!claim(c, p, &place, &start))
        return false;
    start = start >= 0 ? start : p->began;
    if (!inbox__kafka_begin(c, p, &start))
        return false;
    p->began = place.next >= 0 ? p->began : start;
    p->claimed = true;
    waits_no_more(c, p);
    p->part.id = ++c->n_part_ids; /* what comes once more was not sent twice: stats.c */
    begin_at(p, &place, place.next >= 0 ? place.next : start);
    return true;
}

static bool set_back(struct inbox_consumer *c, struct inbox__partition *p)
{
    const struct inbox__place place = { .next = p->part.stored, .witness = nobody };
    int64_t start = p->back_to;

    if (!inbox__kafka_begin(c, p, &start))
        return false;
    begin_at(p, &place, start);
    return true;
}

bool inbox__partition_rests(const struct inbox_consumer *c, const struct inbox__partition *p)
{
    return c->full || p->crowded || !p->claimed || p->back_to >= 0;
}

static bool is_due(const struct inbox__partition *p, uint64_t now_ms)
{
    return p->due_ms <= now_ms && (!p->claimed || (p->back_to >= 0 && p->part.first == NULL));
}

static struct inbox__partition *longest_due(struct inbox_consumer *c, uint64_t now_ms)
{
    struct inbox__partition *found = NULL;

    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (is_due(p, now_ms) && (found == NULL || p->due_ms < found->due_ms))
            found = p;
    return found;
}

void inbox__partitions_tend(struct inbox_consumer *c, uint64_t now_ms)
{
    struct inbox__partition *p = longest_due(c, now_ms);

    while (p != NULL) {
        bool done = p->claimed ? set_back(c, p) : claim_again(c, p);
        if (done)
            inbox__kafka_pause(c, p, inbox__partition_rests(c, p));
        p->due_ms = inbox__now_ms() + (done ? 0 : CLAIM_AGAIN_MS);
        p = inbox__now_ms() - now_ms < INBOX__ROUND_MS ? longest_due(c, now_ms) : NULL;
    }
}

void inbox__partition_let_go(struct inbox_consumer *c, struct inbox__partition *p, uint64_t due_ms)
{
    p->claimed = false;
    p->back_to = -1;
    p->due_ms = due_ms;
    forget_events(c, p);
    inbox__kafka_pause(c, p, true);
}

void inbox__partitions_fenced(struct inbox_consumer *c)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        if (!p->claimed || inbox__db_owns(c, p))
            continue;
        inbox__log(c, 4, "%s/%d: another process has taken this partition over", p->topic,
                   (int)p->number);
        p->knows_owner = false;
        inbox__partition_let_go(c, p, inbox__now_ms() + FENCED_AGAIN_MS);
    }
}

void inbox__partitions_begin_again(struct inbox_consumer *c)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (p->claimed)
            inbox__partition_let_go(c, p, 0);
}

struct inbox__bound inbox__bound(const struct inbox_consumer *c)
{
    return (struct inbox__bound){ .rows = c->set.inflight_rows, .bytes = c->set.inflight_bytes };
}

static void judge_crowd(struct inbox_consumer *c, struct inbox__partition *p)
{
    bool crowded = inbox__window_crowded(&c->window, &p->part, inbox__bound(c), p->crowded);

    c->any_crowded = c->any_crowded || crowded;
    if (crowded == p->crowded)
        return;
    p->crowded = crowded;
    inbox__log(c, 6, crowded ? "%s/%d has %u events in memory and a key that is held back: its fetching pauses"
                             : "%s/%d has %u events in memory: its fetching goes on",
               p->topic, (int)p->number, (unsigned)p->part.n_rows);
}

void inbox__partitions_pressure(struct inbox_consumer *c)
{
    bool full = inbox__window_full(&c->window, inbox__bound(c), c->full);

    if (full == c->full && c->window.n_held_keys == 0 && !c->any_crowded)
        return;
    if (full != c->full)
        inbox__log(c, 6, full ? "memory is full (%u events): fetching pauses"
                              : "memory has room again (%u events): fetching goes on",
                   (unsigned)c->window.n_rows);
    c->full = full;
    c->any_crowded = false;
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        judge_crowd(c, p);
        inbox__kafka_pause(c, p, inbox__partition_rests(c, p));
    }
}

/* What is in memory is of the old log, and nowhere else any more: it is finished first. Then tend() sets the
 * partition back. */
static void go_back(struct inbox_consumer *c, struct inbox__partition *p, int64_t offset,
                    const char *why)
{
    inbox__log(c, 4, "%s/%d: the log goes back from offset %lld to %lld: %s%s", p->topic,
               (int)p->number, (long long)p->part.next, (long long)offset, why,
               p->part.first != NULL ? "; what is in memory is finished first" : "");
    p->back_to = offset;
    p->due_ms = 0;
    inbox__kafka_pause(c, p, true);
}

/* Of the new log nothing is known: from its beginning. The ids drop what was applied. */
static bool is_another_log(const struct inbox__partition *p, const struct inbox__record *r)
{
    return p->looks_back && r->item.offset == p->witness.offset && r->mark != p->witness.mark;
}

/* Offsets may be left out: markers of transactions, compaction. Those below the beginning of the log were deleted. */
static void look_for_lost(struct inbox_consumer *c, const struct inbox__partition *p, int64_t offset)
{
    int64_t low = p->part.next >= 0 && offset > p->part.next ? inbox__kafka_low(c, p) : -1;

    low = low < offset ? low : offset;
    if (low <= p->part.next)
        return;
    c->figures.expired += (uint64_t)(low - p->part.next);
    inbox__log(c, 3, "%s/%d: offsets %lld to %lld are no longer in the log: Kafka has deleted them before they were "
                     "applied; its retention is too short for how far this consumer was behind",
               p->topic, (int)p->number, (long long)p->part.next, (long long)low - 1);
}

bool inbox__partition_admits(struct inbox_consumer *c, struct inbox__partition *p,
                             const struct inbox__record *r)
{
    bool is_witness = p->looks_back && r->item.offset == p->witness.offset;

    inbox__partition_lives(p);
    if (!p->claimed || p->back_to >= 0)
        return false;
    if (is_another_log(p, r)) {
        go_back(c, p, 0, "the record that was here is another: the topic was made anew");
        return false;
    }
    p->looks_back = false;
    inbox__partition_begins(p, r->item.offset);
    if (is_witness && r->item.offset < p->part.next)
        return false;
    if (r->item.offset < p->part.next) {
        go_back(c, p, r->item.offset, "the topic was made anew, or lost its end");
        return false;
    }
    look_for_lost(c, p, r->item.offset);
    p->witness = (struct inbox__witness){ .offset = r->item.offset, .mark = r->mark };
    return true;
}

struct inbox__witness inbox__partition_witness(const struct inbox__partition *p)
{
    const struct inbox__item *first = inbox__window_first(&p->part);

    if (first == NULL)
        return p->witness;
    return (struct inbox__witness){ .offset = first->offset,
                                    .mark = ((const struct inbox__record *)first)->mark };
}
