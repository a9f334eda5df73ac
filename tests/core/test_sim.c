/* test_sim.c - many short random histories of the core among a database, a broker and a rival.
 *
 * Each history is made by one seed: rows appear, everything that can go wrong does, and then it
 * calms down and all that can be delivered must be, in bounded simulated time. After every step
 * invariants.h is checked; pump() checks the deadlines; what an action must satisfy is checked in
 * sim_world.h where the action is carried out.
 *
 * SIM_RUNS=n sets the number of histories, SIM_FIRST=n the seed of the first (1); SIM_SEED=n replays one
 * of them with a full trace.
 */
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/core/sim_world.h"

enum {
    DEFAULT_RUNS = 100000,
    DRAIN_LIMIT_MS = 5000, /* beyond the drain's time, for the marks */
    LAST_DUE_MS = 1500
};

/* -- a relay's life ------------------------------------------------------------------------- */

static void start_relay(struct world *w, struct relay *r, bool once)
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

static void replace_relay(struct world *w, struct relay *r)
{
    end_relay(w, r);
    start_relay(w, r, !w->calm && percent(w, 15));
}

static void check_step(struct world *w, const struct relay *r)
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

    if (r->core.phase != CORE_LEAD || row->marked || row->held == DB_DISCARDED)
        return;
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

/* Asks the core until it has nothing left to do, as the driver does after every event. True: there
 * was something. */
static bool pump(struct world *w, struct relay *r)
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

static uint64_t next_deadline(const struct world *w)
{
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; i < w->n_relays; i++)
        if (!w->relay[i].frozen && w->relay[i].promised_ms < due)
            due = w->relay[i].promised_ms;
    return due;
}

/* -- a history ------------------------------------------------------------------------------ */

static void make_config(struct world *w)
{
    uint32_t cap = 2 + rnd(w, MAX_CAP - 1);

    w->cfg = (struct core_config){
        .inflight_rows = cap,
        .batch_rows = 1 + rnd(w, cap > 6 ? cap / 2 : cap),
        .inflight_bytes = 50 + rnd(w, 400),
        .poll_min_ms = 1 + rnd(w, 5),
        .poll_max_ms = 10 + rnd(w, 90),
        .mark_delay_ms = rnd(w, 10),
        .retry_base_ms = 1 + rnd(w, 50),
        .retry_max_ms = 50 + rnd(w, 250),
        .retry_attempts = rnd(w, 4),
        .stall_timeout_ms = percent(w, 70) ? 20 + rnd(w, 300) : 100000,
        .sweep_ms = percent(w, 50) ? 0 : 1 + rnd(w, 200),
        .skip_poison = percent(w, 30),
        .lease_ttl_ms = percent(w, 40) ? 60 + rnd(w, 600) : 3000,
        .drain_timeout_ms = 50 + rnd(w, 500),
    };
}

static void make_row(struct world *w, uint32_t at, uint32_t percent_poison, uint32_t percent_later)
{
    struct sim_row *r = &w->row[at];
    uint8_t topic = (uint8_t)rnd(w, w->n_topics), key = (uint8_t)rnd(w, w->n_keys);

    *r = (struct sim_row){
        .hash = hash_of(w, topic, key),
        .next_ms = FOR_EVER,
        .bytes = percent(w, 3) ? 300 + rnd(w, 300) : 1 + rnd(w, 40),
        .topic = topic,
        .key = key,
    };
    r->queue = (uint8_t)(topic * N_PARTITIONS);
    r->queue = (uint8_t)(r->queue + (key == 0 ? rnd(w, N_PARTITIONS) : key % N_PARTITIONS));
    if (percent(w, percent_later))
        r->due_ms = w->now + rnd(w, LAST_DUE_MS);
    else if (percent(w, percent_poison))
        r->poison_until_ms = percent(w, 30) ? FOR_EVER : w->now + rnd(w, 1500);
}

static void make_rows(struct world *w)
{
    uint32_t percent_poison = percent(w, 50) ? 0 : 1 + rnd(w, 20);
    uint32_t percent_later = percent(w, 80) ? 0 : rnd(w, 30);

    w->collide = percent(w, 10);
    if (w->narrow)
        percent_poison = 25;
    w->n_topics = w->narrow ? 1 : 1 + rnd(w, MAX_TOPICS);
    w->n_keys = 2 + rnd(w, MAX_KEYS - 1);
    w->n_rows = 6 + rnd(w, MAX_ROWS - 6);
    for (uint32_t i = 0; i < w->n_rows; i++)
        make_row(w, i, percent_poison, percent_later);
}

static void advance(struct world *w)
{
    uint64_t due = next_deadline(w), dt = 1;

    switch (rnd(w, 6)) {
    case 0:
        break;
    case 1:
        dt += rnd(w, 5);
        break;
    case 2:
    case 3:
        if (due > w->now && due - w->now < 1000)
            dt = due - w->now;
        break;
    case 4:
        dt += rnd(w, 60);
        break;
    case 5:
        dt += rnd(w, percent(w, 10) ? 2 * (uint32_t)w->cfg.lease_ttl_ms : 20);
        break;
    }
    w->now += dt;
    for (uint32_t i = 0; i < w->n_relays; i++)
        (void)pump(w, &w->relay[i]);
}

static void stop_relay(struct world *w, struct relay *r)
{
    SAY(w, r, "stop");
    w->count[N_STOPPED]++;
    if (!r->stopped)
        r->stopped_ms = w->now;
    r->stopped = true;
    touch(r);
    core_stop(&r->core, w->now);
}

static bool can_be_named(const struct sim_row *r)
{
    return r->held != DB_NOT && r->held != DB_DISCARDED && !r->marked;
}

/* Somebody names any held row. */
static void decide_for_any(struct world *w)
{
    uint32_t i = rnd(w, w->n_rows);
    struct sim_row *r = &w->row[i];

    for (uint32_t k = 0; k < w->n_rows && !can_be_named(r); k++)
        r = &w->row[i = (i + 1) % w->n_rows];
    if (!can_be_named(r))
        return;
    w->count[N_PERSON]++;
    bool again = percent(w, 70);
    SAY(w, NULL, "row %u (held %d) is %s", i, (int)r->held, again ? "retried" : "discarded");
    if (again) {
        if (r->held != DB_RETRYING)
            return;
        for (uint32_t k = 0; k < i; k++)
            if (same_group(r, &w->row[k]) && (counts(w, &w->row[k])))
                return;
        r->attempts = 0;
        r->next_ms = w->now;
        return;
    }
    r->held = DB_DISCARDED;
    r->next_ms = FOR_EVER;
    r->passed = true;
    promote(w, r);
}

/* Somebody looks at the first dead row. */
static void decide_for_dead(struct world *w)
{
    uint32_t i = 0;

    if (percent(w, 50)) {
        decide_for_any(w);
        return;
    }

    while (i < w->n_rows && w->row[i].held != DB_DEAD)
        i++;
    if (i == w->n_rows)
        return;
    struct sim_row *r = &w->row[i];
    bool again = percent(w, 50);
    SAY(w, NULL, "row %u is %s", i, again ? "retried" : "discarded");
    w->count[N_PERSON]++;
    r->held = again ? DB_RETRYING : DB_DISCARDED;
    if (again)
        r->revived_ms = w->now;
    r->next_ms = again ? w->now : FOR_EVER;
    r->attempts = 0;
    r->passed |= w->cfg.skip_poison; /* nobody waits for it, whether or not one has gone by */
    promote(w, r);
}

static void fault(struct world *w, struct relay *r)
{
    enum fault what = (enum fault)rnd(w, w->unusual ? N_FAULTS : N_USUAL_FAULTS);

    if (!w->may_happen[what])
        return;
    switch (what) {
    case FAULT_LINK:
        set_link(w, r, false);
        break;
    case FAULT_TOPIC:
        w->missing_until_ms[rnd(w, w->n_topics)] = w->now + 1 + rnd(w, percent(w, 60) ? 20 : 300);
        break;
    case FAULT_SILENCE:
        w->silent_until_ms = w->now + rnd(w, percent(w, 10) ? 2000 : 40);
        break;
    case FAULT_KILL:
        if (percent(w, 60))
            break;
        SAY(w, r, "killed");
        w->count[N_KILLED]++;
        replace_relay(w, r);
        break;
    case FAULT_FREEZE:
        w->count[N_FROZEN]++;
        r->frozen = true;
        break;
    case FAULT_STOP:
        stop_relay(w, r);
        break;
    case FAULT_STALL:
        w->stalled_until_ms[rnd(w, w->n_topics * N_PARTITIONS)] = w->now + rnd(w, 1000);
        break;
    case FAULT_PERSON:
        decide_for_dead(w);
        break;
    case FAULT_PRODUCER:
        w->breaking_until_ms[rnd(w, w->n_topics)] = w->now + 1 + rnd(w, percent(w, 60) ? 20 : 600);
        break;
    case FAULT_READ:
        w->reads_fail_until_ms[rnd(w, 3)] = w->now + rnd(w, 400);
        break;
    case N_FAULTS:
        break;
    }
}

/* One step of a relay that is not frozen. */
static void relay_moves(struct world *w, struct relay *r)
{
    struct request *const all[] = { &r->read, &r->mark, &r->lease };
    uint32_t k = rnd(w, 100), first = rnd(w, 3);
    enum lane lane = (enum lane)rnd(w, N_LANES), other = lane == LANE_MAIN ? LANE_SOLO : LANE_MAIN;

    if (!r->link_up && percent(w, 40))
        set_link(w, r, true);
    else if (k < 45)
        (void)(report_one(w, r, lane) || report_one(w, r, other));
    else if (k < 85)
        for (uint32_t i = 0; i < 3 && !database_moves(w, r, all[(first + i) % 3]);)
            i++;
    else if (k < 95)
        (void)(finish_reset(w, r, lane) || finish_reset(w, r, other));
    else
        (void)tell_fatal(w, r, lane);
    if (r->touched)
        check_step(w, r);
    if (percent(w, 80))
        (void)pump(w, r);
}

static void chaos_step(struct world *w, uint32_t per_mille_fault)
{
    struct relay *r = &w->relay[rnd(w, w->n_relays)];
    uint32_t k = rnd(w, 100), n_hidden = w->n_rows - w->n_visible;

    if (rnd(w, 1000) < per_mille_fault)
        fault(w, r);
    else if (w->may_happen[FAULT_PERSON] && percent(w, 5))
        decide_for_any(w);
    else if (k < 5)
        w->n_visible += rnd(w, 1 + (n_hidden > 8 ? 8 : n_hidden));
    else if (k < 13)
        advance(w);
    else if (k < 15)
        (void)ghost_arrives(w);
    else if (k < 50)
        (void)kafka_moves(w, r, percent(w, 60) ? LANE_MAIN : LANE_SOLO);
    else if (!r->frozen)
        relay_moves(w, r);
    else if (percent(w, 20))
        r->frozen = false;
}

static void chaos(struct world *w)
{
    uint32_t n_steps = 100 + rnd(w, percent(w, 20) ? 2000 : 700);
    uint32_t per_mille_fault = percent(w, 20) ? 0 : rnd(w, 60);

    /* Each history has some kinds of fault only: what needs three of a kind would drown in all. */
    for (int i = 0; i < (w->unusual ? N_FAULTS : N_USUAL_FAULTS); i++)
        w->may_happen[i] = w->narrow ? i == FAULT_TOPIC : percent(w, 50);
    if (w->narrow)
        per_mille_fault = 150;
    w->percent_bad = w->narrow || percent(w, 40) ? 0 : 1 + rnd(w, 15);
    for (uint32_t i = 0; i < n_steps; i++) {
        w->count[N_STEPS]++;
        chaos_step(w, per_mille_fault);
    }
}

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

/* Then what goes there stays there, and what is of a topic that has paused rows waits for these. All else goes on. */
static bool stays(const struct world *w, const struct sim_row *r)
{
    bool waits = r->held != DB_NOT;

    for (uint32_t i = 0; i < w->n_rows && held_cannot_be_read(w); i++)
        waits |= w->row[i].topic == r->topic && w->row[i].held == DB_PAUSED;
    return waits;
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

static void calm_down(struct world *w)
{
    SAY(w, NULL, "calm");
    for (uint32_t i = 0; i < w->n_rows; i++)
        w->count[N_CHAOS_MARKED] += w->row[i].marked;
    w->calm = true;
    w->n_visible = w->n_rows;
    w->silent_until_ms = 0;
    memset(w->stalled_until_ms, 0, sizeof w->stalled_until_ms);
    memset(w->missing_until_ms, 0, sizeof w->missing_until_ms);
    memset(w->breaking_until_ms, 0, sizeof w->breaking_until_ms);
    memset(w->reads_fail_until_ms, 0, sizeof w->reads_fail_until_ms);
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
    run_calm(w, w->now + 2 * w->cfg.drain_timeout_ms + 4 * w->cfg.lease_ttl_ms +
                    (12 + MAX_ROWS * 5) * (w->cfg.retry_max_ms + 10) + 2000 + LAST_DUE_MS,
             all_settled);
}

/* A quiet relay stops at once and cleanly, and leaves the cursor behind all rows. */
static void stop_all(struct world *w)
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

static void live(struct world *w)
{
    w->now = 1000;
    w->narrow = percent(w, 15);
    w->unusual = w->seed % 8 == 7;
    make_config(w);
    make_rows(w);
    w->n_visible = rnd(w, w->n_rows);
    w->n_relays = percent(w, 60) ? 1 : 2;
    for (uint32_t i = 0; i < w->n_relays; i++)
        start_relay(w, &w->relay[i], percent(w, 10));
    chaos(w);
    calm_down(w);
    stop_all(w);
}

static volatile uint64_t current_seed; /* for the handler below */

/* An assert in the core ends the process: say which history it was. */
static void on_crash(int signal_number)
{
    char text[64] = "crashed; replay it with SIM_SEED=";
    size_t n = strlen(text);
    char digits[21];
    size_t n_digits = 0;
    uint64_t seed = current_seed;

    do {
        digits[n_digits++] = (char)('0' + seed % 10);
        seed /= 10;
    } while (seed > 0);
    while (n_digits > 0)
        text[n++] = digits[--n_digits];
    text[n++] = '\n';
    (void)!write(STDERR_FILENO, text, n);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* What the core has in hand, for the reader of a trace. */
static void print_window(const struct world *w, const struct relay *r)
{
    static const char *const states[] = { "free", "ready", "sent", "returned", "parked", "hold",
                                          "holding", "acked", "marking", "done" };
    const struct core *c = &r->core;

    print_line(w, r, "phase %d, link %d, reading %d, due %llu", (int)c->phase, c->link_up,
               (int)c->reading, (unsigned long long)c->due_ms);
    for (uint32_t i = 0; i < c->topics.n; i++) {
        const struct topic *t = &c->topics.topic[i];
        print_line(w, r, "topic %u: state %d, failures %u, due %llu%s%s, %u holding, %u back, %u parked, %u behind",
                   i, (int)t->state, t->failures, (unsigned long long)t->due_ms,
                   t->held ? ", held" : "", t->more ? ", more" : "", t->n_holding, t->n_back,
                   t->parked.n, t->behind.n);
    }
    for (uint32_t i = 0; c->keys.n > 0 && i < c->keys.cap; i++) {
        const struct key_wait *k = &c->keys.place[i];
        if (k->key != 0)
            print_line(w, r, "key %llx: busy row %d, %u suspects, %u back%s, %u parked, %u behind",
                       (unsigned long long)k->key,
                       k->busy == NO_SLOT ? -1 : (int)r->slot_row[k->busy], k->n_suspects, k->n_back,
                       k->resuming ? ", resuming" : "", k->parked.n, k->behind.n);
    }
    for (uint32_t s = 0; s < c->window.cap; s++)
        if (c->window.row[s].state != ROW_FREE)
            print_line(w, r, "row %u: %s, topic %u, from %u%s", r->slot_row[s],
                       states[c->window.row[s].state], c->window.row[s].topic,
                       c->window.row[s].from, c->window.row[s].suspect ? ", suspect" : "");
}

/* False: it failed, and the reason is printed. */
static bool run_history(uint64_t seed, bool trace, uint64_t *count)
{
    static struct world w;
    volatile bool good = true;

    w = (struct world){ .seed = seed, .rng = seed, .trace = trace, .count = count };
    current_seed = seed;
    count[N_HISTORIES]++;
    if (setjmp(w.oops) == 0) {
        live(&w);
    } else {
        good = false;
        for (uint32_t i = 0; trace && i < w.n_relays; i++)
            print_window(&w, &w.relay[i]);
        printf("history %" PRIu64 " at %" PRIu64 " ms: %s\nreplay it with SIM_SEED=%" PRIu64 "\n",
               seed, w.now, w.why, seed);
    }
    for (uint32_t i = 0; i < w.n_relays; i++)
        core_deinit(&w.relay[i].core);
    return good;
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);

    return value == NULL || *value == '\0' ? otherwise : strtoull(value, NULL, 10);
}

START_TEST(histories_keep_every_guarantee)
{
    uint64_t runs = number_from_environment("SIM_RUNS", DEFAULT_RUNS);
    uint64_t first = number_from_environment("SIM_FIRST", 1);
    uint64_t only = number_from_environment("SIM_SEED", 0);
    uint64_t count[N_COUNTS] = { 0 };

    (void)signal(SIGABRT, on_crash);
    (void)signal(SIGSEGV, on_crash);
    if (only != 0) {
        ck_assert_msg(run_history(only, true, count), "history %" PRIu64 " failed", only);
        return;
    }
    for (uint64_t seed = first; seed < first + runs; seed++)
        ck_assert_msg(run_history(seed, false, count), "history %" PRIu64 " failed", seed);
    for (int i = 0; i < N_COUNTS; i++)
        printf("%s %" PRIu64 "%s", count_names[i], count[i], i + 1 < N_COUNTS ? ", " : "\n");
    for (int i = 0; i < N_COUNTS && runs >= 1000; i++)
        ck_assert_msg(count[i] > 0, "no history had any: %s", count_names[i]);
}
END_TEST

Suite *suite_sim(void);

Suite *suite_sim(void)
{
    Suite *suite = suite_create("sim");
    TCase *tc = tcase_create("histories");

    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, histories_keep_every_guarantee);
    suite_add_tcase(suite, tc);
    return suite;
}
