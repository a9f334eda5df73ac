/* invariants.h - what holds in a core after every step, checked by walking all that it has.
 *
 * core_broken() returns NULL, or the name of the first rule that does not hold. It reads only. Made
 * for windows of at most INVARIANTS_MAX_ROWS rows.
 */
#ifndef TESTS_CORE_INVARIANTS_H
#define TESTS_CORE_INVARIANTS_H

#include <stddef.h>
#include <string.h>

#include "relay/core/core.h"

enum { INVARIANTS_MAX_ROWS = 256 };

struct core_walk {
    const struct core *c;
    uint8_t found[INVARIANTS_MAX_ROWS]; /* the state that the list a slot was found in stands for */
    uint32_t n_found;
    const char *broken;
};

static inline void walk_slot(struct core_walk *k, uint32_t slot, enum row_state state,
                             const char *broken)
{
    if (slot >= k->c->window.cap || k->found[slot] != UINT8_MAX ||
        k->c->window.row[slot].state != (uint8_t)state) {
        k->broken = broken;
        return;
    }
    k->found[slot] = (uint8_t)state;
    k->n_found++;
}

static inline void walk_list(struct core_walk *k, const struct row_list *l, enum row_state state,
                             bool sorted, const char *broken)
{
    const struct window_row *row = k->c->window.row;
    uint32_t n = 0, last = NO_SLOT;

    for (uint32_t s = l->head; s != NO_SLOT && k->broken == NULL; s = row[s].next) {
        walk_slot(k, s, state, broken);
        if (k->broken == NULL && sorted && last != NO_SLOT && row[last].seq >= row[s].seq)
            k->broken = broken;
        last = s;
        n++;
    }
    if (k->broken == NULL && (n != l->n || last != l->tail))
        k->broken = broken;
}

static inline void walk_lists(struct core_walk *k)
{
    const struct core *c = k->c;

    walk_list(k, &c->ready, ROW_READY, true, "ready list");
    for (int of = 0; of < N_CORE_MARKS; of++)
        walk_list(k, &c->acked[of], ROW_ACKED, false, "acked list");
    walk_list(k, &c->hold, ROW_HOLD, false, "hold list");
    walk_list(k, &c->done, ROW_DONE, false, "done list");
    for (int l = 0; l < N_LANES; l++)
        walk_list(k, &c->lane[l].returned, ROW_RETURNED, false, "returned list");
    for (uint32_t i = 0; i < c->topics.n; i++) {
        walk_list(k, &c->topics.topic[i].parked, ROW_PARKED, true, "list parked behind a topic");
        walk_list(k, &c->topics.topic[i].behind, ROW_PARKED, true, "list behind a held topic");
    }
    for (const struct key_wait *w = NULL; (w = keys_next(&c->keys, w)) != NULL;) {
        walk_list(k, &w->parked, ROW_PARKED, true, "list parked behind a key");
        walk_list(k, &w->behind, ROW_PARKED, true, "list behind a held key");
    }
    for (uint32_t i = 0; i < c->n_holding && k->broken == NULL; i++)
        walk_slot(k, c->holding[i], ROW_HOLDING, "slots being held");
    for (uint32_t i = 0; i < c->n_marking && k->broken == NULL; i++)
        walk_slot(k, c->marking[i], ROW_MARKING, "slots being marked");
    for (uint32_t s = c->window.free_head; s != NO_SLOT && k->broken == NULL;
         s = c->window.row[s].next)
        walk_slot(k, s, ROW_FREE, "free list");
}

/* Every slot is in the list of its state, and the counts say the same. */
static inline const char *window_broken(struct core_walk *k)
{
    const struct window *w = &k->c->window;
    uint32_t n_state[ROW_DONE + 1] = { 0 }, n_sent[N_LANES] = { 0 };
    uint32_t open[INVARIANTS_MAX_ROWS + 1] = { 0 };
    uint64_t bytes = 0;

    for (uint32_t s = 0; s < w->cap; s++) {
        const struct window_row *r = &w->row[s];
        n_state[r->state]++;
        if (k->found[s] == UINT8_MAX && r->state != ROW_SENT)
            return "a slot that is in no list";
        if (r->state == ROW_SENT)
            n_sent[r->lane]++;
        if (r->state == ROW_FREE)
            continue;
        bytes += r->bytes;
        if (r->page == NO_PAGE)
            continue;
        open[r->page % w->page_cap]++;
        if (r->page < w->oldest_page || r->page >= w->next_page)
            return "the page of a row is not between the oldest and the next";
    }
    for (int s = ROW_FREE + 1; s <= ROW_DONE; s++)
        if (n_state[s] != w->n_state[s])
            return "n_state";
    if (w->n != w->cap - n_state[ROW_FREE] || bytes != w->bytes)
        return "rows or bytes of the window";
    for (int l = 0; l < N_LANES; l++)
        if (n_sent[l] != k->c->lane[l].n_sent)
            return "n_sent of a lane";
    for (uint64_t p = w->oldest_page; p < w->next_page; p++)
        if (open[p % w->page_cap] != w->page_open[p % w->page_cap])
            return "open rows of a page";
    return NULL;
}

static inline bool row_is_out(const struct core *c, uint32_t topic)
{
    for (uint32_t s = 0; s < c->window.cap; s++)
        if (c->window.row[s].state == ROW_SENT && c->window.row[s].topic == topic)
            return true;
    return false;
}

/* How many rows of a topic are on their way to outbox.held as paused, and back from there. */
static inline bool topic_counts_hold(const struct core *c, uint32_t topic)
{
    uint32_t n_holding = 0, n_back = 0;

    for (uint32_t s = 0; s < c->window.cap; s++) {
        const struct window_row *r = &c->window.row[s];
        if (r->state == ROW_FREE || r->topic != topic)
            continue;
        n_holding += (r->state == ROW_HOLD || r->state == ROW_HOLDING) && r->hold == HOLD_PAUSED;
        n_back += r->from == HELD_TOPIC && r->state != ROW_DONE;
    }
    return n_holding == c->topics.topic[topic].n_holding && n_back == c->topics.topic[topic].n_back;
}

static inline uint64_t list_bytes(const struct core *c, const struct row_list *l)
{
    uint64_t bytes = 0;

    for (uint32_t s = l->head; s != NO_SLOT; s = c->window.row[s].next)
        bytes += c->window.row[s].bytes;
    return bytes;
}

/* Rows behind a topic or a key are there while others of it are on their way back. */
static inline const char *behind_broken(const struct core *c)
{
    uint32_t n = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < c->topics.n; i++) {
        const struct topic *t = &c->topics.topic[i];
        n += t->behind.n;
        bytes += list_bytes(c, &t->behind);
        if (t->behind.n > 0 && (!t->held || t->state != TOPIC_OPEN))
            return "rows behind a topic that is not held, or not open";
    }
    for (const struct key_wait *w = NULL; (w = keys_next(&c->keys, w)) != NULL;) {
        n += w->behind.n;
        bytes += list_bytes(c, &w->behind);
        if (w->behind.n > 0 && (!w->resuming || w->n_back == 0))
            return "rows behind a key of which none comes back";
    }
    return n == c->n_behind && bytes == c->behind_bytes ? NULL : "n_behind or behind_bytes";
}

/* A topic parks rows only while something will let them go: a pilot, or (behind a partition that has
 * not confirmed anything yet) the report of another row. */
static inline const char *topics_broken(const struct core *c)
{
    uint32_t n_paused = 0, n_held = 0;

    for (uint32_t i = 0; i < c->topics.n; i++) {
        const struct topic *t = &c->topics.topic[i];
        n_paused += t->state == TOPIC_PAUSED;
        n_held += t->held;
        if (!topic_counts_hold(c, i))
            return "n_holding or n_back of a topic";
        if (t->state == TOPIC_PAUSED && t->parked.n > 0)
            return "rows parked behind a paused topic";
        if (t->pilot != NO_SLOT && (c->window.row[t->pilot].state != ROW_SENT ||
                                    c->window.row[t->pilot].topic != i))
            return "pilot that is not out";
        if (t->parked.n > 0 && (t->state == TOPIC_NEW ? t->pilot == NO_SLOT : !row_is_out(c, i)))
            return "rows parked behind a topic that waits for nothing";
    }
    if (n_held != c->topics.n_held)
        return "n_held";
    return n_paused == c->topics.n_paused ? NULL : "n_paused";
}

static inline const char *key_broken(const struct core *c, const struct key_wait *wait)
{
    uint32_t n_suspects = 0, n_moving = 0, n_back = 0;

    for (uint32_t s = 0; s < c->window.cap; s++) {
        const struct window_row *r = &c->window.row[s];
        if (r->state == ROW_FREE || r->key != wait->key)
            continue;
        n_back += r->from == HELD_KEY && r->state != ROW_DONE;
        if (r->state >= ROW_ACKED)
            continue;
        n_suspects += r->suspect;
        n_moving++;
    }
    if (n_suspects != wait->n_suspects)
        return "n_suspects";
    if (n_back != wait->n_back)
        return "n_back of a key";
    if (n_suspects == 0 && wait->busy == NO_SLOT && n_back == 0)
        return "a key that waits for nothing";
    if (wait->busy != NO_SLOT && (c->window.row[wait->busy].key != wait->key ||
                                  c->window.row[wait->busy].state == ROW_FREE ||
                                  c->window.row[wait->busy].state >= ROW_ACKED))
        return "busy row of a key";
    if (wait->parked.n > 0 && n_moving == wait->parked.n)
        return "rows parked behind a key of which none moves";
    return NULL;
}

static inline const char *keys_broken(const struct core *c)
{
    uint32_t n = 0;
    const char *broken;

    for (const struct key_wait *w = NULL; (w = keys_next(&c->keys, w)) != NULL;) {
        n++;
        if (keys_find(&c->keys, w->key) != w)
            return "a key that is not found";
        broken = key_broken(c, w);
        if (broken != NULL)
            return broken;
    }
    return n == c->keys.table.n ? NULL : "number of keys";
}

static inline const char *core_broken(const struct core *c)
{
    struct core_walk k = { .c = c };
    const char *broken;

    memset(k.found, UINT8_MAX, sizeof k.found);
    walk_lists(&k);
    broken = k.broken;
    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].n_sent > 0 && !c->lead.leading && !c->lane[l].want_reset &&
            !c->lane[l].resetting)
            return "rows are out without a lease, and nobody calls them back";
    if (broken == NULL)
        broken = window_broken(&k);
    if (broken == NULL)
        broken = topics_broken(c);
    if (broken == NULL)
        broken = keys_broken(c);
    if (broken == NULL)
        broken = behind_broken(c);
    return broken;
}

/* The same for a row that the core has just asked to produce: every earlier row of its key is
 * confirmed or, for the main lane, before it in that lane. `order` says by slot how the rows were
 * written; those that were scheduled, as `unordered` says, are in no order with the others. */
static inline const char *produce_broken(const struct core *c, uint32_t slot, enum lane lane,
                                         const uint32_t *order, const bool *unordered)
{
    const struct window_row *r = &c->window.row[slot];

    if (c->phase != CORE_LEAD || r->state != ROW_SENT || r->lane != lane)
        return "produce: not leading, or the row is not out in this lane";
    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].want_reset || c->lane[l].resetting)
            return "produce: while a lane is stopping";
    for (uint32_t s = 0; r->key != 0 && s < c->window.cap; s++) {
        const struct window_row *other = &c->window.row[s];
        if (s == slot || other->key != r->key || other->topic != r->topic ||
            other->state == ROW_FREE || other->state >= ROW_ACKED || unordered[s] ||
            unordered[slot])
            continue;
        if (order[s] > order[slot] ? other->state == ROW_SENT
                                : other->state != ROW_SENT || other->lane != LANE_MAIN ||
                                      lane != LANE_MAIN)
            return "produce: past an unresolved row of the same key";
    }
    return NULL;
}

#endif
