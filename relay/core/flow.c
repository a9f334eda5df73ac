/* flow.c - see flow.h. */
#include "relay/core/flow.h"

#include <assert.h>

#include "relay/core/hold.h"
#include "lib/shared/retry.h"

/* So many producers a topic may cost before it is to blame. */
#define PRODUCERS_OF_A_TOPIC 5

static struct window_row *row_at(struct core *c, uint32_t slot)
{
    return &c->window.row[slot];
}

void flow_give_up_page(struct core *c, uint64_t page)
{
    if (page < c->given_up_page)
        c->given_up_page = page;
}

void flow_give_up(struct core *c, uint32_t slot)
{
    flow_give_up_page(c, row_at(c, slot)->page);
    hold_done(c, slot);
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

void flow_unpark(struct core *c, struct row_list *parked)
{
    for (uint32_t s = parked->head; s != NO_SLOT; s = row_at(c, s)->next)
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
    return wait->parked.n > 0 && row_at(c, wait->parked.head)->seq < row_at(c, slot)->seq;
}

/* Decides for the first ready row. False: it waits elsewhere, ask again with the next one. */
static bool route(struct core *c, uint64_t now_ms, uint32_t slot, enum lane *ret_lane)
{
    struct window_row *r = row_at(c, slot);
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
    struct window_row *r = row_at(c, slot);
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

void flow_key_resolved(struct core *c, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);
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
            make_ready(c, row_list_pop(&c->window, &wait->parked));
        return;
    }
    flow_unpark(c, &wait->parked);
    flow_forget_idle_key(c, wait);
}

void flow_acked(struct core *c, uint64_t now_ms, uint32_t slot)
{
    if (row_at(c, slot)->seq < c->moved_seq) {
        flow_give_up(c, slot);
        return;
    }
    row_at(c, slot)->since_ms = now_ms;
    window_state(&c->window, slot, ROW_ACKED);
    row_list_push(&c->window, &c->acked[flow_marks_of(row_at(c, slot))], slot);
}

/* A partition that is well says nothing of another one; but no break for longer than any pause does. */
static void forget_broken(const struct core *c, uint64_t now_ms, struct topic *t)
{
    if (t->n_broken > 0 && now_ms - t->broken_ms > 2 * c->cfg.retry_max_ms)
        t->n_broken = 0;
}

static void confirmed(struct core *c, uint64_t now_ms, uint32_t slot, bool was_pilot)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    c->lane[r->lane].n_resets = 0;
    c->progress_ms = now_ms;
    t->moved_ms = now_ms;
    if (r->since_ms > t->moved_to_ms)
        t->moved_to_ms = r->since_ms;
    forget_broken(c, now_ms, t);
    if (was_pilot) {
        c->topics.n_paused -= t->state == TOPIC_PAUSED; /* another row failed meanwhile */
        c->topics.n_changes += t->failures > 0;
        t->failures = 0;
        t->found_paused = false;
        t->state = TOPIC_OPEN;
    }
    flow_key_resolved(c, slot);
    flow_acked(c, now_ms, slot);
}

static void stop_lane(struct core *c, enum lane lane)
{
    if (!c->lane[lane].resetting)
        c->lane[lane].want_reset = true;
}

/* The lane is well, and others wait for it. */
static void stop_lane_for_a_topic(struct core *c, enum lane lane)
{
    stop_lane(c, lane);
    c->lane[lane].n_resets = 0;
    c->lane[lane].reset_ms = 0;
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
    t->found_paused = false;
    t->due_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, t->failures++,
                                        retry_random(&c->rng));
    c->topics.n_paused++;
    c->topics.n_changes++;
    hold_unpark_topic(c, (uint32_t)(t - c->topics.topic)); /* on their way to outbox.held */
}

void flow_suspect(struct core *c, uint32_t slot)
{
    struct window_row *r = row_at(c, slot);

    if (r->suspect)
        return;
    r->suspect = true;
    if (r->key != 0)
        keys_add(&c->keys, r->key)->n_suspects++;
}

/* Refused for itself. */
static void refused_alone(struct core *c, uint32_t slot, bool for_good)
{
    struct window_row *r = row_at(c, slot);
    uint64_t delay = retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, r->attempts,
                                    retry_random(&c->rng));

    if (!for_good && r->attempts < UINT16_MAX)
        r->attempts++;
    hold_row(c, slot, for_good || r->attempts > c->cfg.retry_attempts ? HOLD_DEAD : HOLD_RETRYING,
             delay);
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

/* Rows of another topic's key, when the hashes are one. */
static bool others_of_its_hash_are_out(const struct core *c, const struct window_row *r)
{
    for (uint32_t slot = 0; r->key != 0 && slot < c->window.cap; slot++) {
        const struct window_row *o = &c->window.row[slot];
        if (o != r && o->state == ROW_SENT && o->key == r->key)
            return true;
    }
    return false;
}

/* The producer is made anew. Where each new one breaks at rows of one topic, or at the probe of one that has
 * failed, the cause is with the topic, and others need not wait for it. It is counted by producers, for rows
 * without a key go another way each time; and the pauses grow though the topic may open between two of them. What
 * is on its way behind a refused row is out of sequence for the broker: that says nothing of the topic. */
static void producer_refused(struct core *c, uint64_t now_ms, const struct window_row *r)
{
    struct topic *t = &c->topics.topic[r->topic];
    uint32_t producer = c->lane[r->lane].producer;

    if (r->lane == LANE_MAIN && c->lane[LANE_MAIN].refused_row)
        return;
    if (t->broken_producer != producer) {
        t->broken_producer = producer;
        t->broken_ms = now_ms;
        t->n_broken++;
    }
    if (t->n_broken < PRODUCERS_OF_A_TOPIC && t->failures == 0)
        return;
    if (t->n_broken > t->failures + PRODUCERS_OF_A_TOPIC)
        t->failures = t->n_broken - PRODUCERS_OF_A_TOPIC;
    stop_lane_for_a_topic(c, (enum lane)r->lane);
    pause_topic(c, now_ms, t);
}

static void failed(struct core *c, uint64_t now_ms, uint32_t slot, enum blame blame, bool was_pilot)
{
    struct window_row *r = row_at(c, slot);
    struct topic *t = &c->topics.topic[r->topic];

    /* Behind a row that failed in the main lane others of its key may be on their way: stop the
     * lane. A pilot has none behind it. And a producer that gives back a row for no fault of row or
     * topic is itself at fault: sending to it again at once could go on for ever. */
    if (blame == BLAME_NONE || blame == BLAME_PRODUCER ||
        (r->lane == LANE_MAIN &&
         (!was_pilot || (blame == BLAME_ROW && others_of_its_hash_are_out(c, r)))))
        stop_lane(c, (enum lane)r->lane);
    switch (blame) {
    case BLAME_ROW:
        c->lane[r->lane].n_resets = 0; /* an answer about a row: the lane itself is well */
        c->lane[r->lane].refused_row = true;
        flow_suspect(c, slot);
        break;
    case BLAME_TOPIC:
        pause_topic(c, now_ms, t);
        break;
    case BLAME_PRODUCER:
        producer_refused(c, now_ms, r);
        break;
    case BLAME_NONE:
        break;
    }
    if (blame == BLAME_ROW && r->lane == LANE_SOLO)
        refused_alone(c, slot, false);
    else
        come_back(c, slot);
}

/* Its pilot is home, or a partition is no longer cold. */
static void unpark_topic(struct core *c, struct topic *t)
{
    if (t->state == TOPIC_OPEN || (t->state == TOPIC_NEW && t->pilot == NO_SLOT))
        flow_unpark(c, &t->parked);
}

void core_refused(struct core *c, uint64_t now_ms, uint32_t slot, bool for_good)
{
    struct window_row *r = row_at(c, slot);

    if (c->phase != CORE_LEAD || flow_is_behind_its_key(c, r)) { /* those before it come home first */
        core_report(c, now_ms, slot, OUTCOME_NOT_PERSISTED, BLAME_ROW);
        return;
    }
    assert(r->state == ROW_SENT);
    unsend(c, slot);
    flow_suspect(c, slot);
    refused_alone(c, slot, for_good);
    unpark_topic(c, &c->topics.topic[r->topic]);
}

void core_report(struct core *c, uint64_t now_ms, uint32_t slot, enum outcome out, enum blame blame)
{
    struct window_row *r = row_at(c, slot);
    bool was_pilot = c->topics.topic[r->topic].pilot == slot;

    assert(r->state == ROW_SENT);
    unsend(c, slot);
    c->lane[r->lane].full = false;
    if (out == OUTCOME_MAYBE) {
        r->maybe_new |= !r->maybe;
        r->maybe = true;
        c->n_maybe++;
    }
    if (out == OUTCOME_PERSISTED)
        confirmed(c, now_ms, slot, was_pilot);
    else if (c->phase == CORE_LEAD)
        failed(c, now_ms, slot, blame, was_pilot);
    else
        flow_give_up(c, slot);
    unpark_topic(c, &c->topics.topic[r->topic]);
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

/* It waits its turn: its topic moves, and no later row of that has come home. */
static bool is_in_a_queue(const struct core *c, const struct window_row *r, uint64_t sent_before_ms)
{
    const struct topic *t = &c->topics.topic[r->topic];

    return t->moved_ms > sent_before_ms && t->moved_to_ms <= r->since_ms;
}

bool flow_stalled(struct core *c, uint64_t now_ms, uint64_t sent_before_ms, bool only_look)
{
    bool any = false;

    for (uint32_t slot = 0; slot < c->window.cap; slot++) {
        const struct window_row *r = row_at(c, slot);
        if (r->state != ROW_SENT || r->since_ms > sent_before_ms ||
            is_in_a_queue(c, r, sent_before_ms))
            continue;
        any = true;
        if (only_look)
            break;
        stop_lane_for_a_topic(c, (enum lane)r->lane);
        pause_topic(c, now_ms, &c->topics.topic[r->topic]);
    }
    return any;
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
        if (is_unsent((enum row_state)row_at(c, slot)->state))
            flow_give_up(c, slot);
}
