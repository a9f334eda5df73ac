/* flow.c - see flow.h. */
#include "relay/core/flow.h"

#include <assert.h>

#include "relay/core/hold.h"

void flow_give_up_page(struct core *c, uint64_t page)
{
    if (page < c->given_up_page)
        c->given_up_page = page;
}

void flow_give_up(struct core *c, uint32_t slot)
{
    flow_give_up_page(c, flow_row(c, slot)->page);
    hold_done(c, slot);
}

void flow_ready(struct core *c, uint32_t slot)
{
    window_state(&c->window, slot, ROW_READY);
    row_list_insert(&c->window, &c->ready, slot);
}

static void park(struct core *c, struct row_list *behind, uint32_t slot)
{
    window_state(&c->window, slot, ROW_PARKED);
    row_list_insert(&c->window, behind, slot);
}

void flow_unpark(struct core *c, struct row_list *parked)
{
    for (uint32_t s = parked->head; s != NO_SLOT; s = flow_row(c, s)->next)
        window_state(&c->window, s, ROW_READY);
    row_list_merge(&c->window, &c->ready, parked);
}

struct key_wait *flow_wait_of(struct core *c, const struct window_row *r)
{
    return r->key != 0 ? keys_find(&c->keys, r->key) : NULL;
}

static bool key_waits(const struct key_wait *wait)
{
    return wait != NULL && (wait->n_suspects > 0 || wait->busy != NO_SLOT);
}

void flow_forget_idle_key(struct core *c, struct key_wait *wait)
{
    if (!key_waits(wait) && wait->parked.n == 0 && wait->behind.n == 0 && wait->n_back == 0)
        keys_remove(&c->keys, wait);
}

bool flow_is_behind_its_key(const struct core *c, const struct window_row *r)
{
    for (uint32_t slot = 0; r->key != 0 && slot < c->window.cap; slot++) {
        const struct window_row *o = &c->window.row[slot];
        if (o->key == r->key && o->seq < r->seq && o->state != ROW_FREE && o->state < ROW_HOLD)
            return true;
    }
    return false;
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
    return wait->parked.n > 0 && flow_row(c, wait->parked.head)->seq < flow_row(c, slot)->seq;
}

/* Decides for the first ready row. False: it waits elsewhere, ask again with the next one. */
static bool route(struct core *c, uint64_t now_ms, uint32_t slot, enum lane *ret_lane)
{
    struct window_row *r = flow_row(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    if (hold_put_aside(c, now_ms, slot))
        return false;
    if (t->state == TOPIC_NEW && t->pilot != NO_SLOT && t->pilot != slot) {
        park(c, &t->parked, slot);
        return false;
    }
    struct key_wait *wait = flow_wait_of(c, r);
    if (key_waits(wait) && must_queue(c, wait, slot)) {
        /* its place is in outbox.held, where the later ones go; one that is back from there would be
         * read again at once, for as long as the other is out */
        if (t->failures > 0 && r->from != HELD_TOPIC)
            hold_shut_out(c, now_ms, slot);
        else
            park(c, &wait->parked, slot);
        return false;
    }
    /* A pilot of a topic that has failed before goes alone, so that probing a broken topic never
     * stops the main lane for the others. */
    bool alone = r->suspect || key_waits(wait) || (t->state == TOPIC_NEW && t->failures > 0);
    *ret_lane = alone ? LANE_SOLO : LANE_MAIN;
    return true;
}

static void send(struct core *c, uint64_t now_ms, uint32_t slot, enum lane lane)
{
    struct window_row *r = flow_row(c, slot);
    struct topic *t = &c->topics.topic[r->topic];
    struct key_wait *wait = flow_wait_of(c, r);

    if (key_waits(wait))
        wait->busy = slot;
    r->since_ms = now_ms;
    if (t->state == TOPIC_NEW)
        t->pilot = slot;
    r->lane = (uint8_t)lane;
    c->lane[lane].n_sent++;
    window_state(&c->window, slot, ROW_SENT);
}

void flow_unsend(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    if (t->pilot == slot)
        t->pilot = NO_SLOT;
    c->lane[r->lane].n_sent--;
}

bool flow_next(struct core *c, uint64_t now_ms, uint32_t *ret_slot, enum lane *ret_lane)
{
    enum lane lane = LANE_MAIN;
    uint32_t slot;

    if (!all_lanes_whole(c))
        return false;
    for (;;) {
        slot = row_list_pop(&c->window, &c->ready);
        if (slot == NO_SLOT)
            return false;
        if (route(c, now_ms, slot, &lane))
            break;
        c->put_aside = true;
    }
    if (c->lane[lane].full) {
        row_list_unpop(&c->window, &c->ready, slot);
        return false;
    }
    send(c, now_ms, slot, lane);
    *ret_slot = slot;
    *ret_lane = lane;
    return true;
}

void core_full(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);

    assert(r->state == ROW_SENT);
    flow_unsend(c, slot);
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
    struct window_row *r = flow_row(c, slot);

    assert(r->state == ROW_SENT);
    flow_unsend(c, slot);
    park(c, &c->topics.topic[r->topic].parked, slot);
}

/* -- home ----------------------------------------------------------------------------------- */

void flow_key_resolved(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL)
        return;
    wait->n_suspects -= r->suspect;
    r->suspect = false;
    if (wait->busy != slot)
        return; /* it was on its way before its key had to wait */
    wait->busy = NO_SLOT;
    if (wait->n_suspects > 0) {
        if (wait->parked.n > 0)
            flow_ready(c, row_list_pop(&c->window, &wait->parked));
        return;
    }
    flow_unpark(c, &wait->parked);
    flow_forget_idle_key(c, wait);
}

void flow_acked(struct core *c, uint64_t now_ms, uint32_t slot)
{
    if (flow_row(c, slot)->seq < c->moved_seq) {
        flow_give_up(c, slot);
        return;
    }
    flow_row(c, slot)->since_ms = now_ms;
    window_state(&c->window, slot, ROW_ACKED);
    row_list_push(&c->window, &c->acked[flow_marks_of(flow_row(c, slot))], slot);
}

void flow_suspect(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);

    if (r->suspect)
        return;
    r->suspect = true;
    if (r->key != 0)
        keys_add(&c->keys, r->key)->n_suspects++;
}

void flow_lane_whole(struct core *c, enum lane lane)
{
    struct row_list *back = &c->lane[lane].returned;

    assert(c->lane[lane].n_sent == 0);
    assert(c->phase == CORE_LEAD || back->n == 0); /* else it was given up as it came */
    row_list_sort(&c->window, back);
    flow_unpark(c, back);
}

/* -- time ----------------------------------------------------------------------------------- */

void flow_wake(struct core *c, uint64_t now_ms)
{
    for (uint32_t i = 0; c->topics.n_paused > 0 && i < c->topics.n; i++) {
        struct topic *t = &c->topics.topic[i];
        if (t->state != TOPIC_PAUSED || t->due_ms > now_ms)
            continue;
        t->state = TOPIC_NEW; /* the first of its rows probes */
        c->topics.n_paused--;
    }
}

uint64_t flow_deadline(const struct core *c)
{
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; c->topics.n_paused > 0 && i < c->topics.n; i++)
        if (c->topics.topic[i].state == TOPIC_PAUSED && c->topics.topic[i].due_ms < due)
            due = c->topics.topic[i].due_ms;
    return due;
}

/* -- giving up ------------------------------------------------------------------------------ */

static bool is_unsent(enum row_state s)
{
    return s == ROW_READY || s == ROW_PARKED || s == ROW_RETURNED || s == ROW_HOLD;
}

void flow_give_up_unsent(struct core *c)
{
    c->ready = c->hold = ROW_LIST_EMPTY;
    c->n_behind = 0;
    c->behind_bytes = 0;
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].parked = c->topics.topic[i].behind = ROW_LIST_EMPTY;
    keys_clear(&c->keys);
    for (int l = 0; l < N_LANES; l++)
        c->lane[l].returned = ROW_LIST_EMPTY;
    for (uint32_t slot = 0; slot < c->window.cap; slot++)
        if (is_unsent((enum row_state)flow_row(c, slot)->state))
            flow_give_up(c, slot);
}
