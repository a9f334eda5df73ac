/* sim_life.c - one history: rows appear, everything that can go wrong does, and then it calms down (sim_calm.c).
 * It decides what happens when; what each thing does is with the parts of the model.
 */
#include <string.h>

#include "tests/core/sim_world.h"

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
    if (w->crowded) { /* a topic has more rows than the window, and there is room for a few that stand */
        w->cfg.inflight_rows = 9 + rnd(w, 4);
        w->cfg.batch_rows = 1 + rnd(w, 2);
        w->cfg.inflight_bytes = percent(w, 50) ? 10000 : 700; /* little more than a large row takes */
    }
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

uint64_t next_deadline(const struct world *w)
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

/* What may change while they run, as one file has it for all. */
static void reload(struct world *w)
{
    struct core_config cfg = w->cfg;

    make_config(w);
    cfg.poll_min_ms = w->cfg.poll_min_ms;
    cfg.poll_max_ms = w->cfg.poll_max_ms;
    cfg.mark_delay_ms = w->cfg.mark_delay_ms;
    cfg.retry_base_ms = w->cfg.retry_base_ms;
    cfg.retry_max_ms = w->cfg.retry_max_ms;
    cfg.retry_attempts = w->cfg.retry_attempts;
    cfg.stall_timeout_ms = w->cfg.stall_timeout_ms;
    cfg.batch_rows = 1 + rnd(w, w->crowded ? 2 : cfg.batch_rows);
    w->cfg = cfg;
    for (uint32_t i = 0; i < w->n_relays; i++)
        reload_relay(w, &w->relay[i]);
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
    case FAULT_HELD:
        w->held_fails_until_ms = w->now + rnd(w, 1000);
        break;
    case FAULT_RELOAD:
        reload(w);
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
    if (w->crowded)
        w->may_happen[FAULT_TOPIC] = w->may_happen[FAULT_HELD] = true;
    if (w->narrow)
        per_mille_fault = 150;
    w->percent_bad = w->narrow || percent(w, 40) ? 0 : 1 + rnd(w, 15);
    for (uint32_t i = 0; i < n_steps; i++) {
        w->count[N_STEPS]++;
        chaos_step(w, per_mille_fault);
    }
}

void live(struct world *w)
{
    w->now = 1000;
    w->narrow = percent(w, 15);
    w->unusual = w->seed % 8 == 7;
    w->crowded = w->seed % 16 == 15;
    w->held_lets_go = w->seed % 32 == 31;
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
