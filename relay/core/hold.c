/* hold.c - see hold.h. */
#include "relay/core/hold.h"

#include "relay/core/back.h"
#include "relay/core/flow.h"

static struct topic *topic_of(struct core *c, const struct window_row *r)
{
    return &c->topics.topic[r->topic];
}

/* -- behind ------------------------------------------------------------------------------------ */

/* The row does not stand before the others of its key any more: these find their places anew. */
static void leave_key(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL || (!r->suspect && wait->busy != slot))
        return;
    wait->n_suspects -= r->suspect;
    r->suspect = false;
    if (wait->busy == slot)
        wait->busy = NO_SLOT;
    flow_unpark(c, &wait->parked);
    flow_forget_idle_key(c, wait);
}

static void wait_behind(struct core *c, struct row_list *behind, uint32_t slot)
{
    leave_key(c, slot); /* what comes back must not wait for it in turn */
    window_state(&c->window, slot, ROW_PARKED);
    row_list_insert(&c->window, behind, slot);
    c->n_behind++;
    c->behind_bytes += flow_row(c, slot)->bytes;
}

/* Keys of two topics can have one hash. Then a row waits behind the other topic's key, and an earlier one
 * of its own may be out that the database does not know of: put there it would be the first of its key. */
static bool must_stay(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if (back_key_is_held(c, r))
        return false;
    for (uint32_t s = 0; s < c->window.cap; s++) {
        const struct window_row *o = flow_row(c, s);
        if (o->key == r->key && o->topic == r->topic && o->seq < r->seq && o->state != ROW_FREE &&
            o->state < ROW_HOLD)
            return true;
    }
    return false;
}

static void spill(struct core *c, struct row_list *behind, enum hold_state as)
{
    struct row_list all = *behind;
    uint32_t slot;

    *behind = ROW_LIST_EMPTY;
    while ((slot = row_list_pop(&c->window, &all)) != NO_SLOT) {
        if (as == HOLD_BLOCKED && must_stay(c, slot)) {
            row_list_push(&c->window, behind, slot);
            continue;
        }
        c->n_behind--;
        c->behind_bytes -= flow_row(c, slot)->bytes;
        hold_row(c, slot, as, 0);
    }
}

void hold_relieve(struct core *c)
{
    if (c->n_behind <= c->window.cap / 4 && c->behind_bytes <= c->cfg.inflight_bytes / 4)
        return;
    for (uint32_t i = 0; i < c->topics.n; i++)
        spill(c, &c->topics.topic[i].behind, HOLD_PAUSED);
    for (struct key_wait *w = NULL; (w = keys_next(&c->keys, w)) != NULL;)
        spill(c, &w->behind, HOLD_BLOCKED);
}

/* -- shut out ---------------------------------------------------------------------------------- */

static bool is_shut(const struct topic *t, uint32_t slot)
{
    return t->failures > 0 &&
           (t->state == TOPIC_PAUSED ||
            (t->state == TOPIC_NEW && t->pilot != NO_SLOT && t->pilot != slot));
}

/* A row that was due while its topic takes nothing: it is due again when that may have changed. */
static void postpone(struct core *c, uint64_t now_ms, uint32_t slot)
{
    const struct topic *t = topic_of(c, flow_row(c, slot));
    uint64_t delay = c->cfg.retry_base_ms;

    if (t->state == TOPIC_PAUSED && t->due_ms > now_ms + delay)
        delay = t->due_ms - now_ms;
    hold_row(c, slot, HOLD_RETRYING, delay);
}

/* What is in outbox.held as it should be stays there, unless it is news that it may have been delivered. */
static void leave_there(struct core *c, uint32_t slot, enum hold_state as)
{
    if (flow_row(c, slot)->maybe_new) {
        hold_row(c, slot, as, 0);
        return;
    }
    leave_key(c, slot);
    hold_done(c, slot);
}

/* So do all rows of the topic that were read with it: one of them must not pass it. */
static void leave_paused(struct core *c, uint32_t slot)
{
    struct topic *t = topic_of(c, flow_row(c, slot));

    t->more = true;
    t->returning = false;
    leave_there(c, slot, HOLD_PAUSED);
}

/* A new row may be one that goes before those that are back, or on their way. */
static void pause_new(struct core *c, uint32_t slot)
{
    topic_of(c, flow_row(c, slot))->returning = false;
    hold_row(c, slot, HOLD_PAUSED, 0);
}

/* Did an earlier row of its key come back with it, of which is not known yet what becomes? */
static bool follows_another(const struct core *c, const struct window_row *r)
{
    for (uint32_t s = 0; s < c->window.cap; s++) {
        const struct window_row *o = &c->window.row[s];
        if (o->key == r->key && o->topic == r->topic && o->seq < r->seq && o->from == HELD_KEY &&
            o->state != ROW_FREE && o->state < ROW_HOLD)
            return true;
    }
    return false;
}

/* A row of a key that is coming back. With a time of its own it would look like the first one, also when that
 * one is dead. */
static void shut_out_of_key(struct core *c, uint64_t now_ms, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if (!follows_another(c, r)) {
        postpone(c, now_ms, slot);
        return;
    }
    back_stop_key(c, r);
    hold_row(c, slot, HOLD_BLOCKED, 0);
}

void hold_shut_out(struct core *c, uint64_t now_ms, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);
    const struct key_wait *wait = flow_wait_of(c, r);

    switch ((enum held_as)r->from) {
    case HELD_NOT:
        pause_new(c, slot);
        break;
    case HELD_TIME:
        hold_row(c, slot, HOLD_PAUSED, 0);
        break;
    case HELD_TOPIC:
        leave_paused(c, slot);
        break;
    case HELD_KEY: /* the first of its key is postponed, the others are behind it */
        if (r->key == 0)
            postpone(c, now_ms, slot);
        else if (wait != NULL && wait->resuming)
            shut_out_of_key(c, now_ms, slot);
        else
            leave_there(c, slot, HOLD_BLOCKED); /* where nothing is in front of it, the database makes it due */
        break;
    }
}

/* -- aside ------------------------------------------------------------------------------------- */

/* A row that went alone when its topic was paused is the first of its key. */
static bool goes_before_held(struct core *c, uint32_t slot)
{
    const struct key_wait *wait = flow_wait_of(c, flow_row(c, slot));

    return wait != NULL && wait->busy == slot;
}

bool hold_put_aside(struct core *c, uint64_t now_ms, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);
    struct topic *t = topic_of(c, r);

    if (is_shut(t, slot)) {
        hold_shut_out(c, now_ms, slot);
        return true;
    }
    if (r->from == HELD_TOPIC && !t->returning) {
        leave_paused(c, slot);
        return true;
    }
    if (t->held && (r->from == HELD_NOT || r->from == HELD_TIME) &&
        !(t->state == TOPIC_OPEN && goes_before_held(c, slot))) {
        if (r->from == HELD_NOT && t->state == TOPIC_OPEN && c->new_ground_seq > 0) {
            wait_behind(c, &t->behind, slot);
        } else if (r->from == HELD_NOT) {
            pause_new(c, slot);
        } else {
            hold_row(c, slot, HOLD_PAUSED, 0);
        }
        return true;
    }
    struct key_wait *wait = flow_wait_of(c, r);
    bool behind = r->from == HELD_NOT && wait != NULL && wait->behind.n > 0 &&
                  flow_row(c, wait->behind.head)->seq < r->seq;
    if (r->key == 0 || (!behind && !back_key_is_held(c, r)))
        return false;
    bool resuming = wait != NULL && wait->resuming;
    if (r->from == HELD_KEY) {
        if (!resuming)
            leave_there(c, slot, HOLD_BLOCKED);
        return !resuming;
    }
    if (r->from != HELD_NOT || !resuming)
        hold_row(c, slot, HOLD_BLOCKED, 0);
    else if (t->failures > 0)
        pause_new(c, slot); /* as the later ones of its topic, which do not wait in the window */
    else
        wait_behind(c, &wait->behind, slot);
    return true;
}

void hold_shut_key(struct core *c, uint32_t slot)
{
    back_stop_key(c, flow_row(c, slot));
    core_held_key(c, flow_row(c, slot)->topic, flow_row(c, slot)->key);
    leave_key(c, slot);
}

void hold_row(struct core *c, uint32_t slot, enum hold_state as, uint64_t delay_ms)
{
    struct window_row *r = flow_row(c, slot);
    struct topic *t = topic_of(c, r);

    r->hold = (uint8_t)as;
    r->delay_ms = delay_ms < UINT32_MAX ? (uint32_t)delay_ms : UINT32_MAX;
    window_state(&c->window, slot, ROW_HOLD);
    row_list_push(&c->window, &c->hold, slot);
    switch (as) {
    case HOLD_PAUSED:
        back_expect_topic(c, t);
        t->n_holding++;
        break;
    case HOLD_SCHEDULED:
        break;
    case HOLD_DEAD:
        if (c->cfg.skip_poison) { /* its key waits until that is written */
            if (flow_wait_of(c, r) != NULL)
                flow_wait_of(c, r)->busy = slot;
            return;
        }
        /* fallthrough */
    case HOLD_RETRYING:
        back_stop_key(c, r);
        /* fallthrough */
    case HOLD_BLOCKED:
        if (r->key != 0)
            core_held_key(c, r->topic, r->key);
        break;
    }
    leave_key(c, slot);
}

void hold_done(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if ((r->state == ROW_HOLD || r->state == ROW_HOLDING) && r->hold == HOLD_PAUSED)
        topic_of(c, r)->n_holding--;
    window_state(&c->window, slot, ROW_DONE);
    row_list_push(&c->window, &c->done, slot);
    back_done(c, slot);
}

void hold_written(struct core *c, uint64_t now_ms, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);
    uint64_t due = now_ms; /* blocked with nothing before it, or scheduled: we are told when */

    switch ((enum hold_state)r->hold) {
    case HOLD_PAUSED:
        due = UINT64_MAX;
        break;
    case HOLD_RETRYING:
        due += r->delay_ms;
        break;
    case HOLD_DEAD:
        c->n_dead++;
        if (c->cfg.skip_poison)
            flow_key_resolved(c, slot);
        break;
    case HOLD_BLOCKED:
    case HOLD_SCHEDULED:
        break;
    }
    if (due < c->due_ms)
        c->due_ms = due;
    c->n_left += r->hold == HOLD_RETRYING || r->hold == HOLD_DEAD;
    hold_done(c, slot);
}
