/* sim_database.c - the small PostgreSQL: what is marked, held and leased, and what a request does to it
 * at the moment at which it takes effect. Who asked, and who hears of it, is the matter of sim_requests.c.
 *
 * Rows become visible in the order in which they are read; a read starts at the reader's position and
 * leaves out what is marked or held. outbox.held is a state per row; what is written there carries the epoch.
 */
#include <string.h>

#include "tests/core/sim_world.h"

uint32_t first_unsettled(const struct world *w)
{
    uint32_t i = 0;

    while (i < w->n_visible && (w->row[i].marked || w->row[i].held != DB_NOT))
        i++;
    return i;
}

bool same_group(const struct sim_row *a, const struct sim_row *b)
{
    return a->key != 0 && a->topic == b->topic && a->key == b->key;
}

bool counts(const struct world *w, const struct sim_row *r)
{
    return r->held == DB_RETRYING || r->held == DB_BLOCKED ||
           (r->held == DB_DEAD && !w->cfg.skip_poison);
}

/* The first row of the group that counts, or NULL. */
static struct sim_row *first_of_group(struct world *w, const struct sim_row *r)
{
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (same_group(r, &w->row[i]) && counts(w, &w->row[i]))
            return &w->row[i];
    return NULL;
}

void promote(struct world *w, const struct sim_row *r)
{
    struct sim_row *first = first_of_group(w, r);

    if (first != NULL && first->held == DB_BLOCKED && first->next_ms == FOR_EVER)
        first->next_ms = w->now;
}

static void effect_lease(struct world *w, struct relay *r)
{
    struct request *q = &r->lease;
    bool mine = w->db.owner == r->incarnation &&
                (q->what == CORE_ACQUIRE || w->db.epoch == q->epoch);
    bool free_now = w->db.owner == 0 || w->now >= w->db.expires_ms;

    q->good = mine || (q->what == CORE_ACQUIRE && free_now);
    if (!q->good)
        return;
    if (q->what == CORE_ACQUIRE) {
        w->db.owner = r->incarnation;
        q->epoch = ++w->db.epoch;
        q->cursor = w->db.cursor;
        memset(q->held_key, 0, sizeof q->held_key);
        memset(q->held_topic, 0, sizeof q->held_topic);
        for (uint32_t i = 0; i < w->n_rows; i++) {
            const struct sim_row *o = &w->row[i];
            if (o->key != 0 && counts(w, o))
                q->held_key[o->topic][o->key] = true;
            if (o->held == DB_PAUSED)
                q->held_topic[o->topic] = true;
        }
    } else {
        w->db.cursor = q->cursor;
    }
    w->db.expires_ms = w->now + w->cfg.lease_ttl_ms;
    if (q->what == CORE_RESIGN)
        w->db.owner = 0;
}

static void effect_read(struct world *w, struct relay *r)
{
    struct request *q = &r->read;
    uint32_t max = q->n, at = r->pos;
    uint64_t bytes = 0;

    if (max == 0 || max > MAX_CAP)
        oops(w, "read of %u rows", max);
    for (q->n = 0; at < w->n_visible && q->n < max && (q->n == 0 || bytes < q->bytes); at++) {
        if (w->row[at].marked || w->row[at].held != DB_NOT)
            continue;
        q->rows[q->n++] = at;
        bytes += w->row[at].bytes;
    }
    q->cursor = at;
    q->good = at == w->n_visible; /* nothing more */
    if (at < r->horizon && percent(w, 30))
        q->good = true; /* short, but still catching up */
}

static bool is_due(const struct world *w, const struct sim_row *r)
{
    return r->held != DB_NOT && r->next_ms <= w->now;
}

/* May the row, which is in held, be sent now? For a key: when every row of the group before it may. */
static bool may_go(struct world *w, uint32_t at)
{
    const struct sim_row *r = &w->row[at];
    bool due = false;

    if (r->held == DB_SCHEDULED || (r->held == DB_RETRYING && r->key == 0))
        return is_due(w, r);
    if (r->held != DB_RETRYING && r->held != DB_BLOCKED)
        return false;
    for (uint32_t i = 0; i < w->n_rows; i++) {
        const struct sim_row *o = &w->row[i];
        if (!same_group(r, o) || !counts(w, o))
            continue;
        due |= is_due(w, o);
        if (i <= at && (o->held == DB_DEAD || (o->held == DB_RETRYING && !is_due(w, o))))
            return false;
    }
    return due;
}

static void effect_read_held(struct world *w, struct relay *r)
{
    struct request *q = &r->read;
    uint32_t max = q->n;
    uint64_t bytes = 0;

    if (max == 0 || max > MAX_CAP)
        oops(w, "read of %u rows", max);
    q->next_due_ms = FOR_EVER;
    for (uint32_t i = 0; i < w->n_rows; i++) { /* in sent: it counts as sent */
        if (!w->row[i].marked || !is_due(w, &w->row[i]))
            continue;
        w->row[i].held = DB_NOT;
        promote(w, &w->row[i]);
    }
    q->good = true;
    q->n = 0;
    for (uint32_t i = 0; i < w->n_rows && q->good; i++) {
        if (q->what == CORE_READ_TOPIC ? w->row[i].held != DB_PAUSED || w->row[i].topic != q->topic
                                       : !may_go(w, i))
            continue;
        q->good = q->n < max && (q->n == 0 || bytes < q->bytes);
        if (q->good) {
            q->rows[q->n++] = i;
            bytes += w->row[i].bytes;
        }
    }
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (w->row[i].held != DB_NOT && w->row[i].next_ms > w->now &&
            w->row[i].next_ms - w->now < q->next_due_ms)
            q->next_due_ms = w->row[i].next_ms - w->now;
}

static void effect_mark(struct world *w, struct request *q)
{
    for (uint32_t i = 0; i < q->n; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        w->count[N_MARKED] += !o->marked;
        o->marked = true;
        if (q->as[i].from != HELD_NOT)
            o->held = DB_NOT;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        if (q->as[i].from == HELD_NOT || o->key == 0)
            continue;
        promote(w, o);
        q->freed[i] = first_of_group(w, o) == NULL;
        w->count[N_FREED] += q->freed[i];
    }
}

static void hold(struct world *w, struct sim_row *o, const struct window_row *as)
{
    static const enum db_held state[] = { DB_RETRYING, DB_BLOCKED, DB_PAUSED, DB_SCHEDULED, DB_DEAD };

    if (o->held == DB_DISCARDED)
        return;
    w->count[N_HELD_RETRYING + as->hold]++;
    o->held = state[as->hold];
    o->attempts = as->attempts;
    o->maybe |= as->maybe;
    o->next_ms = as->hold == HOLD_RETRYING    ? w->now + as->delay_ms
                 : as->hold == HOLD_SCHEDULED ? o->due_ms
                                              : FOR_EVER;
}

static void effect_hold(struct world *w, struct relay *r)
{
    struct request *q = &r->mark;

    q->fenced = w->db.epoch != r->epoch;
    w->count[N_FENCED] += q->fenced;
    for (uint32_t i = 0; i < q->n && !q->fenced; i++)
        if (!w->row[q->rows[i]].marked)
            hold(w, &w->row[q->rows[i]], &q->as[i]);
    for (uint32_t i = 0; i < q->n && !q->fenced; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        if (o->held == DB_BLOCKED && q->as[i].hold == HOLD_BLOCKED && first_of_group(w, o) == o)
            o->next_ms = w->now;
        if (q->as[i].hold != HOLD_DEAD || o->key == 0)
            continue;
        promote(w, o);
        q->freed[i] = first_of_group(w, o) == NULL;
    }
}

static void effect_sweep(struct world *w)
{
    for (uint32_t i = 0; i < w->db.cursor; i++)
        if (!w->row[i].marked && w->row[i].held == DB_NOT)
            oops(w, "row %u is behind the cursor and neither marked nor held", i);
}

void effect(struct world *w, struct relay *r, struct request *q)
{
    if (q->effected)
        return;
    q->effected = true;
    if (q->what == CORE_READ)
        effect_read(w, r);
    else if (q == &r->read)
        effect_read_held(w, r);
    else if (q == &r->lease)
        effect_lease(w, r);
    else if (q->what == CORE_MARK)
        effect_mark(w, q);
    else if (q->what == CORE_HOLD)
        effect_hold(w, r);
    else
        effect_sweep(w);
}
