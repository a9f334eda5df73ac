/* sim_calm.c - the end of a history: it calms down, and all that can be delivered must be, in bounded simulated
 * time; then the relays stop.
 */
#include <string.h>

#include "tests/core/sim_world.h"

/* Everything that can happen without time passing happens. */
static bool settle(struct world *w, struct relay *r)
{
    bool any = !r->link_up;

    set_link(w, r, true);
    for (int lane = 0; lane < N_LANES; lane++) {
        struct sim_lane *l = &r->lane[lane];
        for (uint32_t q = 0; q < w->n_topics * N_PARTITIONS && !l->resetting; q++) {
            any |= launch(w, l, lane == LANE_MAIN, q);
            any |= arrive(w, l, lane == LANE_MAIN, q);
            any |= answer_produce(w, l, q);
        }
        any |= l->fatal && give_back_queued(l);
        any |= report_one(w, r, (enum lane)lane);
        any |= tell_fatal(w, r, (enum lane)lane);
        any |= finish_reset(w, r, (enum lane)lane);
    }
    any |= database_moves(w, r, &r->read);
    any |= database_moves(w, r, &r->mark);
    any |= database_moves(w, r, &r->lease);
    return any;
}

/* Dead, or behind a dead row of its key: in held, until a person decides. */
static bool is_left_to_people(struct world *w, uint32_t at)
{
    const struct sim_row *r = &w->row[at];

    if (r->held == DB_DEAD || r->held == DB_DISCARDED)
        return true;
    for (uint32_t i = 0; i < at && !w->cfg.skip_poison; i++)
        if (same_group(r, &w->row[i]) && w->row[i].held == DB_DEAD)
            return r->held == DB_BLOCKED || r->held == DB_RETRYING;
    return false;
}

static bool held_cannot_be_read(const struct world *w)
{
    return w->reads_fail_until_ms[CORE_READ_DUE - CORE_READ] == FOR_EVER ||
           w->reads_fail_until_ms[CORE_READ_TOPIC - CORE_READ] == FOR_EVER;
}

/* It has paused rows there, or had some: that a person has discarded them only who can read it learns. */
static bool topic_has_paused(const struct world *w, uint32_t topic)
{
    bool any = false;

    for (uint32_t i = 0; i < w->n_rows; i++)
        any |= w->row[i].topic == topic && w->row[i].held == DB_PAUSED;
    for (uint32_t i = 0; i < w->n_relays && w->reads_fail_until_ms[CORE_READ_TOPIC - CORE_READ] == FOR_EVER; i++)
        any |= w->relay[i].core.phase == CORE_LEAD && w->relay[i].core.topics.topic[topic].held;
    return any;
}

/* Then what goes there stays there, and what is of a topic that has paused rows waits for these. All else goes on. */
static bool stays(const struct world *w, const struct sim_row *r)
{
    return r->held != DB_NOT || (held_cannot_be_read(w) && topic_has_paused(w, r->topic));
}

static bool all_settled(struct world *w)
{
    for (uint32_t i = 0; i < w->n_rows; i++) {
        const struct sim_row *r = &w->row[i];
        if (r->poison_until_ms == FOR_EVER && r->marked)
            oops(w, "row %u is marked, but it is refused for ever", i);
        bool moves = w->missing_until_ms[r->topic] != FOR_EVER && w->breaking_until_ms[r->topic] != FOR_EVER &&
                     !held_cannot_be_read(w);
        if (!r->marked && (moves ? !is_left_to_people(w, i) : !stays(w, r))) {
            w->waiting_for = i;
            return false;
        }
    }
    return true;
}

/* It should have been held, perhaps because it was refused, and will be read again when it can be. */
static bool was_given_up(const struct relay *r, uint32_t row)
{
    bool in_window = false;

    for (uint32_t s = 0; s < r->core.window.cap; s++)
        in_window |= r->core.window.row[s].state != ROW_FREE && r->slot_row[s] == row;
    return core_gave_up(&r->core) && row < r->pos && !in_window;
}

/* Is there nothing of the topic in outbox.held, or on the way there? */
static bool needs_no_held(const struct world *w, uint32_t topic)
{
    bool none = w->missing_until_ms[topic] != FOR_EVER && w->breaking_until_ms[topic] != FOR_EVER;

    for (uint32_t i = 0; i < w->n_rows; i++) {
        const struct sim_row *r = &w->row[i];
        none &= r->topic != topic || r->marked ||
                (r->held == DB_NOT && r->due_ms == 0 && r->poison_until_ms != FOR_EVER);
    }
    for (uint32_t i = 0; i < w->n_relays; i++) {
        const struct core *c = &w->relay[i].core;
        none &= c->topics.topic[topic].failures == 0 && !c->topics.topic[topic].held;
        for (uint32_t k = 0; k < w->n_rows; k++)
            none &= w->row[k].topic != topic || w->row[k].marked || !was_given_up(&w->relay[i], k);
        for (uint32_t s = 0; s < c->window.cap; s++)
            none &= c->window.row[s].topic != topic || (c->window.row[s].state != ROW_HOLD && c->window.row[s].state != ROW_HOLDING);
    }
    return none;
}

static bool others_settled(struct world *w)
{
    for (uint32_t i = 0; i < w->n_visible; i++)
        if (!w->row[i].marked && needs_no_held(w, w->row[i].topic)) {
            w->waiting_for = i;
            return false;
        }
    return true;
}

/* Runs until `done`, with no more time than the bound. */
static void run_calm(struct world *w, uint64_t end_ms, bool (*done)(struct world *w))
{
    bool any = true;

    for (uint32_t n = 0; !done(w); n++) {
        uint64_t due = next_deadline(w);
        w->count[N_STEPS]++;
        if (!any || n > 20000) {
            if (due > end_ms || n > 20000)
                oops(w, "no end: it is %llu, the next deadline is %llu; row %u (held %d, due %llu)",
                     (unsigned long long)w->now, (unsigned long long)due, w->waiting_for,
                     (int)w->row[w->waiting_for].held,
                     (unsigned long long)w->row[w->waiting_for].next_ms);
            w->now = due;
        }
        any = w->n_ghosts > 0 && ghost_arrives(w);
        for (uint32_t i = 0; i < w->n_relays; i++) {
            any |= pump(w, &w->relay[i]);
            any |= settle(w, &w->relay[i]);
            any |= pump(w, &w->relay[i]);
        }
    }
}

static bool all_ended(struct world *w)
{
    for (uint32_t i = 0; i < w->n_relays; i++)
        if (w->relay[i].stopped)
            return false;
    return true;
}

static uint64_t calm_ms(const struct world *w)
{
    return 2 * w->cfg.drain_timeout_ms + 4 * w->cfg.lease_ttl_ms +
           (12 + (uint64_t)MAX_ROWS * 5) * (w->cfg.retry_max_ms + 10) + 2000 + LAST_DUE_MS;
}

/* outbox.held cannot be written, and one topic takes nothing; links are lost meanwhile, and more rows come. */
static void live_without_held(struct world *w)
{
    w->missing_until_ms[0] = FOR_EVER;
    w->held_fails_until_ms = FOR_EVER;
    run_calm(w, w->now + calm_ms(w), others_settled);
    for (uint32_t i = 0; i < w->n_relays; i++)
        if (percent(w, 50))
            set_link(w, &w->relay[i], false);
    w->n_visible = w->n_rows;
    run_calm(w, w->now + calm_ms(w), others_settled);
    w->held_fails_until_ms = 0;
}

void calm_down(struct world *w)
{
    SAY(w, NULL, "calm");
    for (uint32_t i = 0; i < w->n_rows; i++)
        w->count[N_CHAOS_MARKED] += w->row[i].marked;
    w->calm = true;
    w->silent_until_ms = 0;
    memset(w->stalled_until_ms, 0, sizeof w->stalled_until_ms);
    memset(w->missing_until_ms, 0, sizeof w->missing_until_ms);
    memset(w->breaking_until_ms, 0, sizeof w->breaking_until_ms);
    memset(w->reads_fail_until_ms, 0, sizeof w->reads_fail_until_ms);
    w->held_fails_until_ms = 0;
    if (percent(w, 10) && !w->collide) /* keys with one hash would wait for it for ever */
        w->missing_until_ms[rnd(w, w->n_topics)] = FOR_EVER;
    if (w->unusual && percent(w, 20) && !w->collide)
        w->breaking_until_ms[rnd(w, w->n_topics)] = FOR_EVER;
    /* What waits behind such a topic takes a quarter of the window at most; there must be room for a page beside it. */
    if (w->unusual && percent(w, 20) && !w->collide &&
        w->cfg.inflight_rows - w->cfg.inflight_rows / 4 >= w->cfg.batch_rows)
        w->reads_fail_until_ms[1 + rnd(w, 2)] = FOR_EVER;
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (w->row[i].poison_until_ms != FOR_EVER)
            w->row[i].poison_until_ms = 0;
    for (uint32_t i = 0; i < w->n_relays; i++)
        w->relay[i].frozen = false;
    if (w->crowded && !w->collide)
        live_without_held(w);
    w->n_visible = w->n_rows;
    run_calm(w, w->now + calm_ms(w), all_settled);
}

/* A quiet relay stops at once and cleanly, and leaves the cursor behind all rows. */
void stop_all(struct world *w)
{
    bool led = false;

    for (uint32_t i = 0; i < w->n_relays; i++) {
        const struct core *c = &w->relay[i].core;
        (void)pump(w, &w->relay[i]);
        led |= c->phase == CORE_LEAD && w->relay[i].pos == w->n_rows && !c->reading &&
               c->window.n == c->n_marking;
        w->relay[i].quiet_stop = c->phase != CORE_DRAIN;
        stop_relay(w, &w->relay[i]);
    }
    run_calm(w, w->now + w->cfg.drain_timeout_ms + w->cfg.retry_max_ms + DRAIN_LIMIT_MS, all_ended);
    if (led && first_unsettled(w) == w->n_rows && w->db.cursor != w->n_rows)
        oops(w, "all is marked, but the cursor was left at row %u", w->db.cursor);
}
