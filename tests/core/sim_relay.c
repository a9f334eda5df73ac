/* sim_relay.c - a relay around its core: it starts and ends, carries the core's actions out, and hears
 * from its lanes. After every step the invariants of the core are checked, and the deadline that it gave.
 */
#include <string.h>

#include "tests/core/invariants.h"
#include "tests/core/sim_world.h"

/* -- from Kafka ----------------------------------------------------------------------------- */

static void report(struct world *w, struct relay *r, uint32_t slot, enum outcome out,
                   enum blame blame)
{
    SAY(w, r, "report row %u %s%s", r->slot_row[slot], outcome_names[out], blame_names[blame]);
    r->slot_confirmed[slot] = out == OUTCOME_PERSISTED;
    r->slot_maybe[slot] |= out == OUTCOME_MAYBE;
    for (int i = 0; i < N_LANES; i++) {
        uint32_t *first = &r->lane[i].first[w->row[r->slot_row[slot]].queue];
        if (*first == slot + 1)
            *first = 0;
    }
    touch(r);
    core_report(&r->core, w->now, slot, out, blame);
}

bool report_one(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];
    uint32_t first = l->n > 0 ? rnd(w, l->n) : 0;

    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t at = (first + i) % l->n;
        struct entry e = l->entry[at];
        if (e.state != ENTRY_JUDGED)
            continue;
        memmove(&l->entry[at], &l->entry[at + 1], (--l->n - at) * sizeof e);
        l->started[w->row[e.row].queue] |= e.out == OUTCOME_PERSISTED;
        report(w, r, e.slot, e.out, e.blame);
        return true;
    }
    return false;
}

bool tell_fatal(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];

    if (!l->fatal || l->fatal_told)
        return false;
    SAY(w, r, "%s lane is fatal", lane_names[lane]);
    l->fatal_told = true;
    touch(r);
    core_lane_fatal(&r->core, lane);
    return true;
}

bool finish_reset(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];
    bool ok = w->calm || percent(w, 80);

    if (!l->resetting || l->n > 0)
        return false;
    SAY(w, r, "%s lane is %s", lane_names[lane], ok ? "new" : "not to be made");
    w->count[N_RESETS_FAILED] += !ok;
    l->resetting = false;
    l->fatal = !ok;
    l->fatal_told = !ok;
    memset(l->stopped, 0, sizeof l->stopped);
    memset(l->known, 0, sizeof l->known);
    memset(l->started, 0, sizeof l->started);
    touch(r);
    core_lane_ready(&r->core, w->now, lane, ok);
    return true;
}

static void do_produce(struct world *w, struct relay *r, const struct core_action *a)
{
    struct sim_lane *l = &r->lane[a->lane];
    uint32_t row = r->slot_row[a->slot];
    for (uint32_t sl = 0; sl < r->core.window.cap; sl++)
        if (r->core.window.row[sl].state != ROW_FREE && w->row[r->slot_row[sl]].passed)
            r->slot_unordered[sl] = true;
    const char *broken = produce_broken(&r->core, a->slot, a->lane, r->slot_row, r->slot_unordered);

    SAY(w, r, "produce row %u, %s lane", row, lane_names[a->lane]);
    w->count[N_PRODUCED]++;
    touch(r);
    if (w->row[row].key != 0 && l->first[w->row[row].queue] != 0) {
        SAY(w, r, "  cold");
        w->count[N_COLD]++;
        core_cold(&r->core, a->slot);
        return;
    }
    if (broken != NULL)
        oops(w, "row %u: %s", row, broken);
    if (l->fatal) {
        /* that the producer is dead is told later */
        report(w, r, a->slot, OUTCOME_NOT_PERSISTED, BLAME_NONE);
    } else if (l->n >= l->capacity) {
        SAY(w, r, "  full");
        w->count[N_FULL]++;
        core_full(&r->core, a->slot);
    } else if (missing(w, row) && percent(w, 50)) {
        report(w, r, a->slot, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
    } else if (refused(w, row) && percent(w, 30)) {
        SAY(w, r, "  refused");
        core_refused(&r->core, w->now, a->slot, row % 16 == 5);
    } else {
        take(w, l, a, row);
    }
}

/* -- beginning and end ---------------------------------------------------------------------- */

void start_relay(struct world *w, struct relay *r, bool once)
{
    struct core_config cfg = w->cfg;

    *r = (struct relay){
        .incarnation = ++w->next_incarnation,
        .n_visible_at_start = w->n_visible,
        .started_ms = w->now,
        .touched = true,
    };
    cfg.seed = w->seed ^ (r->incarnation << 32);
    cfg.once = once;
    for (int l = 0; l < N_LANES; l++)
        r->lane[l].capacity = percent(w, 30) ? 1 + rnd(w, 4) : MAX_CAP;
    SAY(w, r, "starts%s", once ? " with --once" : "");
    if (core_init(&r->core, w->now, &cfg) < 0)
        oops(w, "out of memory");
    for (uint32_t i = 0; i < w->n_topics; i++)
        if (core_topic(&r->core, (const char *[]){ "a", "b", "c" }[i]) != i)
            oops(w, "topic numbers");
}

/* As by kill -9: what it had asked for happens or not, what flies arrives or not. */
static void end_relay(struct world *w, struct relay *r)
{
    lose_requests(w, r);
    for (int l = 0; l < N_LANES; l++)
        purge(w, &r->lane[l]);
    core_deinit(&r->core);
}

void replace_relay(struct world *w, struct relay *r)
{
    end_relay(w, r);
    start_relay(w, r, !w->calm && percent(w, 15));
}

void stop_relay(struct world *w, struct relay *r)
{
    SAY(w, r, "stop");
    w->count[N_STOPPED]++;
    if (!r->stopped)
        r->stopped_ms = w->now;
    r->stopped = true;
    touch(r);
    if (!w->calm && w->now % 4 == 0) {
        w->count[N_QUITS]++;
        core_quit(&r->core, w->now);
    } else {
        core_stop(&r->core, w->now);
    }
}

void reload_relay(struct world *w, struct relay *r)
{
    struct core_config cfg = w->cfg;

    SAY(w, r, "has new settings");
    w->count[N_RELOADED]++;
    cfg.once = r->core.cfg.once;
    touch(r);
    core_configure(&r->core, w->now, &cfg);
}

/* -- what the core asks for ----------------------------------------------------------------- */

void check_step(struct world *w, const struct relay *r)
{
    const char *broken = core_broken(&r->core);

    if (broken != NULL)
        oops(w, "not as it must be: %s", broken);
    if (r->core.window.n > w->cfg.inflight_rows)
        oops(w, "more rows than configured");
}

static void check_done(struct world *w, const struct relay *r)
{
    SAY(w, r, "is done%s", r->core.unclean ? ", unclean" : "");
    w->count[N_UNCLEAN] += r->core.unclean;
    if (r->core.unclean && r->quiet_stop)
        oops(w, "unclean end in quiet times");
    if (!r->core.unclean && r->core.window.n > 0)
        oops(w, "a clean end with rows in the window");
    if (!r->core.cfg.once || r->stopped || r->core.unclean)
        return;
    w->count[N_ONCE_CLEAN]++;
    for (uint32_t i = 0; i < r->n_visible_at_start; i++)
        /* What was dead at its start and is not any more may have come too late for it. */
        if (!w->row[i].marked && w->row[i].due_ms <= r->started_ms && w->row[i].revived_ms <= r->started_ms &&
            w->row[i].held < DB_DEAD && !(w->row[i].key == 0 && w->row[i].held == DB_RETRYING))
            oops(w, "--once ended clean without row %u", i);
}

/* While it leads, what it lets go and has not marked is in outbox.held, and what is known of it as well. */
static void check_release(struct world *w, const struct relay *r, uint32_t slot)
{
    const struct sim_row *row = &w->row[r->slot_row[slot]];
    const struct core *c = &r->core;

    if (c->phase != CORE_LEAD || row->marked || row->held == DB_DISCARDED)
        return;
    if (row->held == DB_NOT && c->given_up_page <= c->window.row[slot].page) { /* it will be read again */
        w->count[N_GIVEN_UP]++;
        return;
    }
    if (row->held == DB_NOT)
        oops(w, "row %u is let go and is nowhere", r->slot_row[slot]);
    w->count[N_MAYBE_HELD] += r->slot_maybe[slot];
    if (r->slot_maybe[slot] && !row->maybe)
        oops(w, "row %u may have been delivered, and nobody remembers it", r->slot_row[slot]);
}

static void perform(struct world *w, struct relay *r, const struct core_action *a)
{
    switch (a->what) {
    case CORE_READ:
        w->count[N_READS]++;
        ask(w, r, &r->read, a);
        break;
    case CORE_PRODUCE:
        do_produce(w, r, a);
        break;
    case CORE_READ_DUE:
    case CORE_READ_TOPIC:
        ask(w, r, &r->read, a);
        break;
    case CORE_MARK:
    case CORE_HOLD:
        do_write(w, r, a);
        break;
    case CORE_SWEEP:
        ask(w, r, &r->mark, a);
        break;
    case CORE_ASK_KAFKA:
        w->count[N_STALLED] += w->now >= w->silent_until_ms;
        core_kafka_answered(&r->core, w->now, w->now >= w->silent_until_ms);
        break;
    case CORE_RELEASE:
        SAY(w, r, "release row %u", r->slot_row[a->slot]);
        check_release(w, r, a->slot);
        break;
    case CORE_RESET:
        SAY(w, r, "reset %s lane", lane_names[a->lane]);
        w->count[N_RESETS]++;
        if (r->lane[a->lane].resetting)
            oops(w, "a second reset");
        purge(w, &r->lane[a->lane]);
        r->lane[a->lane].resetting = true;
        break;
    case CORE_ACQUIRE:
        if (r->core.window.n > 0 || r->read.open)
            oops(w, "the lease is asked for with rows in hand");
        ask(w, r, &r->lease, a);
        break;
    case CORE_RENEW:
    case CORE_RESIGN:
        ask(w, r, &r->lease, a);
        break;
    }
}

bool pump(struct world *w, struct relay *r)
{
    struct core_action a;
    uint32_t n = 0;

    if (r->frozen)
        return false;
    while (core_next(&r->core, w->now, &a)) {
        if (!r->touched && w->now < r->promised_ms && !r->core.cfg.once) /* --once looks often */
            oops(w, "%s at %llu, but the deadline was %llu", request_names[a.what],
                 (unsigned long long)w->now, (unsigned long long)r->promised_ms);
        perform(w, r, &a);
        check_step(w, r);
        if (++n > 20 * MAX_CAP)
            oops(w, "no end of actions");
    }
    r->promised_ms = core_deadline(&r->core, w->now);
    r->touched = false;
    check_step(w, r);
    if (r->core.phase == CORE_DONE) {
        check_done(w, r);
        replace_relay(w, r);
        return true;
    }
    if (r->promised_ms <= w->now)
        oops(w, "nothing to do, but the deadline has passed");
    if (r->stopped && w->now > r->stopped_ms + w->cfg.drain_timeout_ms + DRAIN_LIMIT_MS)
        oops(w, "still not done");
    if (r->core.phase == CORE_LEAD && w->db.owner != r->incarnation)
        oops(w, "leads while relay %llu has the lease", (unsigned long long)w->db.owner);
    return n > 0;
}
