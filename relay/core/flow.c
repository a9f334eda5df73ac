/* flow.c - see flow.h. */
#include "relay/core/flow.h"

#include <assert.h>

#include "relay/core/retry.h"

static struct window_row *row_at(struct core *c, uint32_t slot)
{
    return &c->window.row[slot];
}

static void give_up(struct core *c, uint32_t slot)
{
    if (row_at(c, slot)->page < c->given_up_page)
        c->given_up_page = row_at(c, slot)->page;
    window_state(&c->window, slot, ROW_DONE);
    row_list_push(&c->window, &c->done, slot);
}

static void make_ready(struct core *c, uint32_t slot)
{
    window_state(&c->window, slot, ROW_READY);
    row_list_insert(&c->window, &c->ready, slot);
}

static void park(struct core *c, struct row_list *behind, uint32_t slot)
{
    window_state(&c->window, slot, ROW_PARKED);
    row_list_insert(&c->window, behind, slot);
}

static void unpark_all(struct core *c, struct row_list *parked)
{
    for (uint32_t s = parked->head; s != NO_SLOT; s = row_at(c, s)->next)
        window_state(&c->window, s, ROW_READY);
    row_list_merge(&c->window, &c->ready, parked);
}

static struct key_wait *wait_of(struct core *c, const struct window_row *r)
{
    return r->key != 0 ? keys_find(&c->keys, r->key) : NULL;
}

/* -- out ------------------------------------------------------------------------------------ */

/* While one lane stops, rows of it may still come home that must go before any that are ready. */
static bool all_lanes_whole(const struct core *c)
{
    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].want_reset || c->lane[l].resetting)
            return false;
    return true;
}

/* Another row of the key comes first: the one that is unresolved, or an older one that waits already
 * (its turn has come, but its topic is paused: possible when keys of two topics have one hash). */
static bool must_queue(struct core *c, const struct key_wait *wait, uint32_t slot)
{
    if (wait->busy != NO_SLOT)
        return wait->busy != slot;
    return wait->parked.n > 0 && row_at(c, wait->parked.head)->seq < row_at(c, slot)->seq;
}

/* Decides for the first ready row. False: it was parked, ask again with the next one. */
static bool route(struct core *c, uint32_t slot, enum lane *ret_lane)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];
    struct key_wait *wait = wait_of(c, r);

    if (t->state == TOPIC_PAUSED ||
        (t->state == TOPIC_NEW && t->pilot != NO_SLOT && t->pilot != slot)) {
        park(c, &t->parked, slot);
        return false;
    }
    if (wait != NULL && must_queue(c, wait, slot)) {
        park(c, &wait->parked, slot);
        return false;
    }
    /* A pilot of a topic that has failed before goes alone, so that probing a broken topic never
     * stops the main lane for the others. */
    bool alone = r->suspect || wait != NULL || (t->state == TOPIC_NEW && t->failures > 0);
    *ret_lane = alone ? LANE_SOLO : LANE_MAIN;
    return true;
}

static void send(struct core *c, uint32_t slot, enum lane lane)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];
    struct key_wait *wait = wait_of(c, r);

    if (wait != NULL)
        wait->busy = slot;
    if (t->state == TOPIC_NEW)
        t->pilot = slot;
    r->lane = (uint8_t)lane;
    c->lane[lane].n_sent++;
    window_state(&c->window, slot, ROW_SENT);
}

/* The row is no longer out, and its topic does not wait for it as such. Its key does, until the row is
 * confirmed. */
static void unsend(struct core *c, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    if (t->pilot == slot)
        t->pilot = NO_SLOT;
    c->lane[r->lane].n_sent--;
}

bool flow_next(struct core *c, uint32_t *ret_slot, enum lane *ret_lane)
{
    enum lane lane = LANE_MAIN;
    uint32_t slot;

    if (!all_lanes_whole(c))
        return false;
    for (;;) {
        slot = row_list_pop(&c->window, &c->ready);
        if (slot == NO_SLOT)
            return false;
        if (route(c, slot, &lane))
            break;
    }
    if (c->lane[lane].full) {
        row_list_unpop(&c->window, &c->ready, slot);
        return false;
    }
    send(c, slot, lane);
    *ret_slot = slot;
    *ret_lane = lane;
    return true;
}

void core_full(struct core *c, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);

    assert(r->state == ROW_SENT);
    unsend(c, slot);
    /* full of nothing: no report will ever make room; a new producer may */
    if (c->lane[r->lane].n_sent == 0)
        c->lane[r->lane].want_reset = true;
    else
        c->lane[r->lane].full = true;
    window_state(&c->window, slot, ROW_READY);
    row_list_unpop(&c->window, &c->ready, slot);
}

void core_cold(struct core *c, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);

    assert(r->state == ROW_SENT);
    unsend(c, slot);
    park(c, &c->topics.topic[r->topic].parked, slot);
}

/* -- home ----------------------------------------------------------------------------------- */

/* A row of a waiting key is confirmed: the next one's turn, or nobody needs to wait any more. */
static void key_resolved(struct core *c, uint32_t slot)
{
    const struct window_row *r = row_at(c, slot);
    struct key_wait *wait = wait_of(c, r);

    if (wait == NULL)
        return;
    if (r->suspect)
        wait->n_suspects--;
    if (wait->busy != slot)
        return; /* it was on its way before its key had to wait */
    wait->busy = NO_SLOT;
    if (wait->n_suspects > 0) {
        if (wait->parked.n > 0)
            make_ready(c, row_list_pop(&c->window, &wait->parked));
        return;
    }
    unpark_all(c, &wait->parked);
    keys_remove(&c->keys, wait);
}

static void confirmed(struct core *c, uint64_t now_ms, uint32_t slot, bool was_pilot)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    c->lane[r->lane].n_resets = 0;
    c->progress_ms = now_ms;
    if (was_pilot) {
        c->topics.n_paused -= t->state == TOPIC_PAUSED; /* another row failed meanwhile */
        t->failures = 0;
        t->state = TOPIC_OPEN;
    }
    key_resolved(c, slot);
    r->since_ms = now_ms;
    window_state(&c->window, slot, ROW_ACKED);
    row_list_push(&c->window, &c->acked, slot);
}

static void stop_lane(struct core *c, enum lane lane)
{
    if (!c->lane[lane].resetting)
        c->lane[lane].want_reset = true;
}

static void pause_topic(struct core *c, uint64_t now_ms, struct topic *t)
{
    if (t->state == TOPIC_PAUSED)
        return; /* one failure seen through many rows */
    /* Rows of it may be on their way in the main lane; the probe goes in the other one and must not
     * overtake them. */
    if (t->state == TOPIC_OPEN && c->lane[LANE_MAIN].n_sent > 0)
        stop_lane(c, LANE_MAIN);
    t->state = TOPIC_PAUSED;
    t->due_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, t->failures++,
                                        retry_random(&c->rng));
    c->topics.n_paused++;
}

/* From now on the row goes alone, and its key waits for it. */
static void suspect(struct core *c, struct window_row *r)
{
    if (r->suspect)
        return;
    r->suspect = true;
    if (r->key != 0)
        keys_add(&c->keys, r->key)->n_suspects++;
}

/* Refused for itself: it waits, and keeps its key to itself. */
static void back_off(struct core *c, uint64_t now_ms, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);
    struct key_wait *wait = wait_of(c, r);

    if (wait != NULL)
        wait->busy = slot;
    r->since_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, r->attempts,
                                          retry_random(&c->rng));
    if (r->attempts < UINT16_MAX)
        r->attempts++;
    window_state(&c->window, slot, ROW_BACKOFF);
    c->backoff[c->n_backoff++] = slot;
}

void flow_schedule(struct core *c, uint32_t slot, uint64_t due_ms)
{
    row_at(c, slot)->since_ms = due_ms;
    window_state(&c->window, slot, ROW_SCHEDULED);
    c->backoff[c->n_backoff++] = slot;
}

/* To be sent again, in its place; after the others of its lane have come home if that one stops. */
static void come_back(struct core *c, uint32_t slot)
{
    struct core_lane *l = &c->lane[row_at(c, slot)->lane];

    if (l->want_reset || l->resetting) {
        window_state(&c->window, slot, ROW_RETURNED);
        row_list_push(&c->window, &l->returned, slot);
    } else {
        make_ready(c, slot);
    }
}

static void failed(struct core *c, uint64_t now_ms, uint32_t slot, enum blame blame, bool was_pilot)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    /* Behind a row that failed in the main lane others of its key may be on their way: stop the
     * lane. A pilot has none behind it. And a producer that gives back a row for no fault of row or
     * topic is itself at fault: sending to it again at once could go on for ever. */
    if (blame == BLAME_NONE || (r->lane == LANE_MAIN && !was_pilot))
        stop_lane(c, (enum lane)r->lane);
    switch (blame) {
    case BLAME_ROW:
        c->lane[r->lane].n_resets = 0; /* an answer about a row: the lane itself is well */
        suspect(c, r);
        break;
    case BLAME_TOPIC:
        pause_topic(c, now_ms, t);
        break;
    case BLAME_NONE:
        break;
    }
    if (blame == BLAME_ROW && r->lane == LANE_SOLO)
        back_off(c, now_ms, slot);
    else
        come_back(c, slot);
}

void core_report(struct core *c, uint64_t now_ms, uint32_t slot, enum outcome out, enum blame blame)
{
    struct window_row *r = row_at(c, slot);
    bool was_pilot = c->topics.topic[r->topic].pilot == slot;

    assert(r->state == ROW_SENT);
    unsend(c, slot);
    c->lane[r->lane].full = false;
    if (out == OUTCOME_MAYBE)
        r->maybe = true;
    if (out == OUTCOME_PERSISTED)
        confirmed(c, now_ms, slot, was_pilot);
    else if (c->phase == CORE_LEAD)
        failed(c, now_ms, slot, blame, was_pilot);
    else
        give_up(c, slot);
    struct topic *t = &c->topics.topic[c->window.row[slot].topic];
    if (t->state == TOPIC_OPEN || (t->state == TOPIC_NEW && t->pilot == NO_SLOT))
        unpark_all(c, &t->parked); /* its pilot is home, or a partition is no longer cold */
}

void flow_lane_whole(struct core *c, enum lane lane)
{
    struct row_list *back = &c->lane[lane].returned;

    assert(c->lane[lane].n_sent == 0);
    assert(c->phase == CORE_LEAD || back->n == 0); /* else it was given up as it came */
    row_list_sort(&c->window, back);
    unpark_all(c, back);
}

/* -- time ----------------------------------------------------------------------------------- */

void flow_wake(struct core *c, uint64_t now_ms)
{
    for (uint32_t i = 0; i < c->n_backoff;) {
        uint32_t slot = c->backoff[i];
        if (row_at(c, slot)->since_ms > now_ms) {
            i++;
            continue;
        }
        c->backoff[i] = c->backoff[--c->n_backoff];
        make_ready(c, slot);
    }
    for (uint32_t i = 0; c->topics.n_paused > 0 && i < c->topics.n; i++) {
        struct topic *t = &c->topics.topic[i];
        if (t->state != TOPIC_PAUSED || t->due_ms > now_ms)
            continue;
        t->state = TOPIC_NEW; /* the first of its rows probes */
        c->topics.n_paused--;
        unpark_all(c, &t->parked);
    }
}

uint64_t flow_deadline(const struct core *c)
{
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; i < c->n_backoff; i++)
        if (c->window.row[c->backoff[i]].since_ms < due)
            due = c->window.row[c->backoff[i]].since_ms;
    for (uint32_t i = 0; c->topics.n_paused > 0 && i < c->topics.n; i++)
        if (c->topics.topic[i].state == TOPIC_PAUSED && c->topics.topic[i].due_ms < due)
            due = c->topics.topic[i].due_ms;
    return due;
}

void flow_give_up_unsent(struct core *c)
{
    c->ready = ROW_LIST_EMPTY;
    c->n_backoff = 0;
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].parked = ROW_LIST_EMPTY;
    keys_clear(&c->keys);
    for (int l = 0; l < N_LANES; l++)
        c->lane[l].returned = ROW_LIST_EMPTY;
    for (uint32_t slot = 0; slot < c->window.cap; slot++) {
        enum row_state s = (enum row_state)row_at(c, slot)->state;
        if (s == ROW_READY || s == ROW_PARKED || s == ROW_BACKOFF ||
            s == ROW_SCHEDULED || s == ROW_RETURNED)
            give_up(c, slot);
    }
}
