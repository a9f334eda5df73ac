/* report.c - see report.h. */
#include "relay/core/report.h"

#include <assert.h>

#include "relay/core/back.h"
#include "relay/core/flow.h"
#include "relay/core/hold.h"
#include "lib/shared/retry.h"

/* So many producers a topic may cost before it is to blame. */
#define PRODUCERS_OF_A_TOPIC 5

/* A partition that is well says nothing of another one; but no break for longer than any pause does. */
static void forget_broken(const struct core *c, uint64_t now_ms, struct topic *t)
{
    if (t->n_broken > 0 && now_ms - t->broken_ms > 2 * c->cfg.retry_max_ms)
        t->n_broken = 0;
}

static void confirmed(struct core *c, uint64_t now_ms, uint32_t slot, bool was_pilot)
{
    struct window_row *r = flow_row(c, slot);
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
    t->found_paused = t->deserted = false;
    t->due_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, t->failures++,
                                        retry_random(&c->rng));
    c->topics.n_paused++;
    c->topics.n_changes++;
    back_unpark_topic(c, (uint32_t)(t - c->topics.topic)); /* on their way to outbox.held */
}

/* Refused for itself. */
static void refused_alone(struct core *c, uint32_t slot, bool for_good)
{
    struct window_row *r = flow_row(c, slot);
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
    struct core_lane *l = &c->lane[flow_row(c, slot)->lane];

    if (l->want_reset || l->resetting) {
        window_state(&c->window, slot, ROW_RETURNED);
        row_list_push(&c->window, &l->returned, slot);
    } else {
        flow_ready(c, slot);
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
    struct window_row *r = flow_row(c, slot);
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
    struct window_row *r = flow_row(c, slot);

    if (c->phase != CORE_LEAD || flow_is_behind_its_key(c, r)) { /* those before it come home first */
        core_report(c, now_ms, slot, OUTCOME_NOT_PERSISTED, BLAME_ROW);
        return;
    }
    assert(r->state == ROW_SENT);
    flow_unsend(c, slot);
    flow_suspect(c, slot);
    refused_alone(c, slot, for_good);
    unpark_topic(c, &c->topics.topic[r->topic]);
}

bool core_refuses_hops(struct core *c, uint64_t now_ms, uint32_t slot, uint64_t hops)
{
    if (c->cfg.hops_max == 0 || hops <= c->cfg.hops_max)
        return false;
    core_refused(c, now_ms, slot, true);
    return true;
}

void core_report(struct core *c, uint64_t now_ms, uint32_t slot, enum outcome out, enum blame blame)
{
    struct window_row *r = flow_row(c, slot);
    bool was_pilot = c->topics.topic[r->topic].pilot == slot;

    assert(r->state == ROW_SENT);
    flow_unsend(c, slot);
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

void core_unreadable(struct core *c, uint64_t now_ms, uint32_t slot, bool key_unreadable)
{
    if (key_unreadable && !c->cfg.skip_poison)
        core_report(c, now_ms, slot, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
    else
        core_refused(c, now_ms, slot, true);
}

/* It waits its turn: its topic moves, and no later row of that has come home. */
static bool is_in_a_queue(const struct core *c, const struct window_row *r, uint64_t sent_before_ms)
{
    const struct topic *t = &c->topics.topic[r->topic];

    return t->moved_ms > sent_before_ms && t->moved_to_ms <= r->since_ms;
}

bool report_stalled(struct core *c, uint64_t now_ms, uint64_t sent_before_ms, bool only_look)
{
    bool any = false;

    for (uint32_t slot = 0; slot < c->window.cap; slot++) {
        const struct window_row *r = flow_row(c, slot);
        if (r->state != ROW_SENT || r->since_ms > sent_before_ms ||
            is_in_a_queue(c, r, sent_before_ms))
            continue;
        any = true;
        if (only_look)
            break;
        stop_lane_for_a_topic(c, (enum lane)r->lane);
        pause_topic(c, now_ms, &c->topics.topic[r->topic]);
        c->topics.topic[r->topic].stalled_ms = now_ms;
    }
    return any;
}
