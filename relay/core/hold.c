/* hold.c - see hold.h. */
#include "relay/core/hold.h"

#include <assert.h>

#include "relay/core/flow.h"

static struct topic *topic_of(struct core *c, const struct window_row *r)
{
    return &c->topics.topic[r->topic];
}

/* Keys of two topics are two groups even where their hashes are one. */
static uint64_t group_key(uint32_t topic, uint64_t key)
{
    uint64_t h = (key ^ key >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + topic;

    h = (h ^ h >> 32) * UINT64_C(0x94d049bb133111eb);
    return h != 0 ? h : 1;
}

void core_held_key(struct core *c, uint32_t topic, uint64_t key)
{
    held_keys_add(&c->held, group_key(topic, key));
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

static void unpark_behind(struct core *c, struct row_list *behind)
{
    for (uint32_t s = behind->head; s != NO_SLOT; s = flow_row(c, s)->next) {
        c->n_behind--;
        c->behind_bytes -= flow_row(c, s)->bytes;
    }
    flow_unpark(c, behind);
}

void hold_unpark_topic(struct core *c, uint32_t topic)
{
    struct topic *t = &c->topics.topic[topic];

    t->returning = false;
    flow_unpark(c, &t->parked);
    unpark_behind(c, &t->behind);
    for (struct key_wait *w = NULL; (w = keys_next(&c->keys, w)) != NULL;) {
        flow_unpark(c, &w->parked);
        unpark_behind(c, &w->behind);
    }
}

/* Keys of two topics can have one hash. Then a row waits behind the other topic's key, and an earlier one
 * of its own may be out that the database does not know of: put there it would be the first of its key. */
static bool must_stay(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if (held_keys_has(&c->held, group_key(r->topic, r->key)))
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

/* -- keys -------------------------------------------------------------------------------------- */

/* The rows of the key that came back stay where they are in outbox.held, and what is behind them in
 * the window goes there. */
static void stop_resuming(struct core *c, const struct window_row *r)
{
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL)
        return;
    wait->resuming = false;
    unpark_behind(c, &wait->behind);
}

static void back_row_done(struct core *c, const struct window_row *r)
{
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL || wait->n_back == 0) /* forgotten with the lead */
        return;
    if (--wait->n_back > 0)
        return;
    stop_resuming(c, r);
    flow_forget_idle_key(c, wait);
}

/* Rows of the same group that the database does not know of yet. */
static bool group_is_on_its_way(struct core *c, uint64_t group)
{
    for (uint32_t s = c->hold.head; s != NO_SLOT; s = flow_row(c, s)->next) {
        const struct window_row *r = flow_row(c, s);
        if (r->key != 0 && r->hold != HOLD_PAUSED && r->hold != HOLD_SCHEDULED &&
            group_key(r->topic, r->key) == group)
            return true;
    }
    return false;
}

void core_freed(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if (r->key != 0 && !core_gave_up(c) && !group_is_on_its_way(c, group_key(r->topic, r->key)))
        held_keys_remove(&c->held, group_key(r->topic, r->key));
}

/* -- topics ------------------------------------------------------------------------------------ */

static void topic_is_held(struct core *c, struct topic *t)
{
    c->topics.n_held += !t->held;
    c->topics.n_changes += !t->held;
    t->held = true;
    t->more = true;
}

void core_held_topic(struct core *c, uint64_t now_ms, uint32_t topic)
{
    struct topic *t = &c->topics.topic[topic];

    topic_is_held(c, t);
    if (t->failures == 0) {
        t->failures = 1;
        t->found_paused = true;
    }
    if (t->state == TOPIC_PAUSED)
        return;
    t->state = TOPIC_PAUSED;
    t->due_ms = now_ms;
    c->ticked_ms = UINT64_MAX; /* look at it again */
    c->topics.n_paused++;
}

void hold_topic_settled(struct core *c, uint32_t topic)
{
    struct topic *t = &c->topics.topic[topic];

    if (!t->held || t->more || t->n_back > 0 || t->n_holding > 0 ||
        (c->reading == READING_TOPIC && c->reading_topic == topic))
        return;
    t->held = false;
    c->topics.n_held--;
    c->topics.n_changes++;
    unpark_behind(c, &t->behind);
}

uint64_t hold_topic_due_ms(const struct core *c, uint64_t now_ms, uint32_t *ret_topic)
{
    uint64_t due_ms = UINT64_MAX;

    for (uint32_t n = 1; c->topics.n_held > 0 && n <= c->topics.n; n++) {
        uint32_t i = (c->reading_topic + n) % c->topics.n; /* in turn, for it may be one that cannot be read */
        const struct topic *t = &c->topics.topic[i];
        if (!t->held || !t->more || t->n_back > 0 || t->n_holding > 0 ||
            t->state == TOPIC_PAUSED || t->pilot != NO_SLOT || t->read_pause.until_ms >= due_ms)
            continue;
        *ret_topic = i;
        due_ms = t->read_pause.until_ms;
        if (due_ms <= now_ms)
            break;
    }
    return due_ms;
}

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
    stop_resuming(c, r);
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

/* -- in and out -------------------------------------------------------------------------------- */

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
    if (r->key == 0 || (!behind && !held_keys_has(&c->held, group_key(r->topic, r->key))))
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
    stop_resuming(c, flow_row(c, slot));
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
        topic_is_held(c, t);
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
        stop_resuming(c, r);
        /* fallthrough */
    case HOLD_BLOCKED:
        if (r->key != 0)
            held_keys_add(&c->held, group_key(r->topic, r->key));
        break;
    }
    leave_key(c, slot);
}

void hold_came_back(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);

    if (r->from == HELD_TOPIC)
        topic_of(c, r)->n_back++;
    else
        c->n_due++;
    if (r->from == HELD_KEY && r->key != 0) {
        struct key_wait *wait = keys_add(&c->keys, r->key);
        held_keys_add(&c->held, group_key(r->topic, r->key));
        wait->n_back++;
        wait->resuming = true;
    }
    if (r->from == HELD_KEY && r->attempts > 0 && c->n_left > 0)
        c->n_left--; /* one of them, unless a row of an earlier lead came back between */
    if (r->attempts > 0 && !flow_is_behind_its_key(c, r)) /* nothing of it is out in the main lane */
        flow_suspect(c, slot);
}

void hold_done(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    if ((r->state == ROW_HOLD || r->state == ROW_HOLDING) && r->hold == HOLD_PAUSED)
        topic_of(c, r)->n_holding--;
    window_state(&c->window, slot, ROW_DONE);
    row_list_push(&c->window, &c->done, slot);
    switch ((enum held_as)r->from) {
    case HELD_NOT:
        break;
    case HELD_KEY:
        c->n_due--;
        back_row_done(c, r);
        break;
    case HELD_TIME:
        c->n_due--;
        break;
    case HELD_TOPIC:
        topic_of(c, r)->n_back--;
        hold_topic_settled(c, r->topic);
        break;
    }
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

void hold_forget(struct core *c)
{
    assert(c->window.n == 0);
    held_keys_clear(&c->held);
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].held = c->topics.topic[i].more = false;
    c->topics.n_held = 0;
    c->topics.n_changes++;
}
