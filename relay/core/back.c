/* back.c - see back.h. */
#include "relay/core/back.h"

#include <assert.h>

#include "relay/core/flow.h"

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

bool back_key_is_held(const struct core *c, const struct window_row *r)
{
    return held_keys_has(&c->held, group_key(r->topic, r->key));
}

/* -- behind ------------------------------------------------------------------------------------ */

static void unpark_behind(struct core *c, struct row_list *behind)
{
    for (uint32_t s = behind->head; s != NO_SLOT; s = flow_row(c, s)->next) {
        c->n_behind--;
        c->behind_bytes -= flow_row(c, s)->bytes;
    }
    flow_unpark(c, behind);
}

void back_unpark_topic(struct core *c, uint32_t topic)
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

/* -- keys -------------------------------------------------------------------------------------- */

void back_stop_key(struct core *c, const struct window_row *r)
{
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL)
        return;
    wait->resuming = false;
    unpark_behind(c, &wait->behind);
}

static void key_row_done(struct core *c, const struct window_row *r)
{
    struct key_wait *wait = flow_wait_of(c, r);

    if (wait == NULL || wait->n_back == 0) /* forgotten with the lead */
        return;
    if (--wait->n_back > 0)
        return;
    back_stop_key(c, r);
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

void back_expect_topic(struct core *c, struct topic *t)
{
    c->topics.n_held += !t->held;
    c->topics.n_changes += !t->held;
    t->held = true;
    t->more = true;
    t->deserted = false;
}

void core_held_topic(struct core *c, uint64_t now_ms, uint32_t topic)
{
    struct topic *t = &c->topics.topic[topic];

    back_expect_topic(c, t);
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

void back_topic_settled(struct core *c, uint32_t topic)
{
    struct topic *t = &c->topics.topic[topic];

    if (!t->held || t->more || t->n_back > 0 || t->n_holding > 0 ||
        (c->reading == READING_TOPIC && c->reading_topic == topic))
        return;
    t->held = false;
    /* Then nobody probes it; while it is paused its probe waits, with a time of its own. */
    t->deserted = t->state == TOPIC_NEW && t->behind.head == NO_SLOT;
    c->topics.n_held--;
    c->topics.n_changes++;
    unpark_behind(c, &t->behind);
}

uint64_t back_topic_due_ms(const struct core *c, uint64_t now_ms, uint32_t *ret_topic)
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

/* -- rows -------------------------------------------------------------------------------------- */

void back_came(struct core *c, uint32_t slot)
{
    struct window_row *r = flow_row(c, slot);

    if (r->from == HELD_TOPIC)
        c->topics.topic[r->topic].n_back++;
    else
        c->n_due++;
    if (r->from == HELD_KEY && r->key != 0) {
        struct key_wait *wait = keys_add(&c->keys, r->key);
        core_held_key(c, r->topic, r->key);
        wait->n_back++;
        wait->resuming = true;
    }
    if (r->from == HELD_KEY && r->attempts > 0 && c->n_left > 0)
        c->n_left--; /* one of them, unless a row of an earlier lead came back between */
    if (r->attempts > 0 && !flow_is_behind_its_key(c, r)) /* nothing of it is out in the main lane */
        flow_suspect(c, slot);
}

void back_done(struct core *c, uint32_t slot)
{
    const struct window_row *r = flow_row(c, slot);

    switch ((enum held_as)r->from) {
    case HELD_NOT:
        break;
    case HELD_KEY:
        c->n_due--;
        key_row_done(c, r);
        break;
    case HELD_TIME:
        c->n_due--;
        break;
    case HELD_TOPIC:
        c->topics.topic[r->topic].n_back--;
        back_topic_settled(c, r->topic);
        break;
    }
}

void back_forget(struct core *c)
{
    assert(c->window.n == 0);
    held_keys_clear(&c->held);
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].held = c->topics.topic[i].more = false;
    c->topics.n_held = 0;
    c->topics.n_changes++;
}
