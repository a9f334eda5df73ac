/* sim_life.c - one history: rows appear, everything that can go wrong does, and then it calms down and all
 * that can be delivered must be, in bounded simulated time. It decides what happens when; what each thing
 * does is with the parts of the model.
 */
#include <string.h>

#include "tests/core/sim_world.h"

enum { LAST_DUE_MS = 1500 }; /* how much later than now a row may be scheduled */

/* -- what there is -------------------------------------------------------------------------- */

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

/* -- people --------------------------------------------------------------------------------- */

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

/* -- chaos ---------------------------------------------------------------------------------- */

static uint64_t next_deadline(const struct world *w)
{
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; i < w->n_relays; i++)
        if (!w->relay[i].frozen && w->relay[i].promised_ms < due)
            due = w->relay[i].promised_ms;
    return due;
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

/* -- calm ----------------------------------------------------------------------------------- */

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

void live(struct world *w)
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
