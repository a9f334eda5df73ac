/* test_inbox_sim.c - many short random histories of libinbox's window between a log and a database.
 *
 * Each history is made by one seed: records come, handlers fail, transactions fail as a whole, the process
 * dies, partitions go and come; then it calms down and all must be finished. What the database of the
 * history has is compared with what was in the log: each identity applied once, keys in order, no position
 * past an event that is not finished, nobody held back but by their own key; and, where memory is small and
 * partitions pause, by keys of their own partition, as long as one of these is held back.
 *
 * SIM_RUNS=n sets the number of histories, SIM_FIRST=n the seed of the first (1); SIM_SEED=n replays one.
 */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/window.h"
#include "lib/shared/retry.h"

enum { DEFAULT_RUNS = 20000, N_PARTS = 3, MAX_EVENTS = 40, N_KEYS = 4, MAX_BATCH = 8, FOREVER = 1000,
       BYTES = 10 };

enum fate { AGAIN, APPLIED, DUPLICATE, FAILED, DEAD };

struct event {
    int key;        /* 0: none */
    int identity;
    int failures;   /* calls that fail first; FOREVER: the key is held back to the end */
    bool dies;      /* after these it is a dead letter */
    int calls;      /* in this process, so far */
};

/* A record in memory. */
struct record {
    struct inbox__item item; /* first */
    struct event *event;
    enum fate fate;
};

struct world {
    uint64_t seed, chance, now;
    struct event log[N_PARTS][MAX_EVENTS];
    int n_log[N_PARTS];
    struct inbox__window window;
    struct inbox__part part[N_PARTS];
    bool assigned[N_PARTS];
    struct inbox__bound bound;
    bool full, crowded[N_PARTS];
    /* the database */
    int64_t position[N_PARTS];
    bool seen[N_PARTS * MAX_EVENTS], finished[N_PARTS][MAX_EVENTS];
    int n_applied[N_PARTS * MAX_EVENTS];
    int last_applied[N_PARTS][N_KEYS + 1];
};

static void oops(const struct world *w, const char *what)
{
    ck_abort_msg("seed %" PRIu64 ": %s (SIM_SEED=%" PRIu64 " replays it)", w->seed, what, w->seed);
}

static unsigned rnd(struct world *w, unsigned n)
{
    return (unsigned)(((uint64_t)retry_random(&w->chance) * n) >> 32);
}

static bool percent(struct world *w, unsigned p)
{
    return rnd(w, 100) < p;
}

/* -- the log ---------------------------------------------------------------------------------- */

static void make_log(struct world *w)
{
    int identity = 0;
    bool stuck = percent(w, 20);

    for (int p = 0; p < N_PARTS; p++) {
        w->n_log[p] = 1 + (int)rnd(w, MAX_EVENTS);
        for (int i = 0; i < w->n_log[p]; i++) {
            struct event *e = &w->log[p][i];
            e->key = (int)rnd(w, N_KEYS + 1);
            e->identity = identity++;
            e->failures = percent(w, 15) ? 1 + (int)rnd(w, 3) : 0;
            e->dies = percent(w, 5);
            if (stuck && e->key == 1 && percent(w, 10))
                e->failures = FOREVER;
            if (i > 0 && percent(w, 15)) /* sent twice; the repeat is the same event */
                *e = w->log[p][rnd(w, (unsigned)i)];
        }
    }
}

/* -- the process ------------------------------------------------------------------------------ */

static void free_all(struct inbox__item *i)
{
    while (i != NULL) {
        struct inbox__item *next = i->part_next;
        free(i);
        i = next;
    }
}

static void assign(struct world *w, int p)
{
    w->part[p] = (struct inbox__part){ .next = w->position[p], .stored = w->position[p],
                                       .id = (uint32_t)p + 1 };
    w->assigned[p] = true;
    w->crowded[p] = false;
    for (int i = 0; i < w->n_log[p]; i++)
        w->log[p][i].calls = 0;
}

static void revoke(struct world *w, int p)
{
    free_all(inbox__window_drop(&w->window, &w->part[p]));
    w->assigned[p] = false;
    if (w->part[p].n_rows != 0 || w->part[p].n_bytes != 0 || w->part[p].n_held_keys != 0)
        oops(w, "a partition that was taken away has something in memory");
}

static void start(struct world *w)
{
    if (inbox__window_init(&w->window, 64) != 0)
        oops(w, "out of memory");
    for (int p = 0; p < N_PARTS; p++)
        assign(w, p);
}

static void end(struct world *w)
{
    for (int p = 0; p < N_PARTS; p++)
        if (w->assigned[p])
            revoke(w, p);
    if (w->window.n_rows != 0 || w->window.n_bytes != 0 || w->window.n_held_keys != 0 ||
        w->window.ready.n != 0 || w->window.waiting.n != 0)
        oops(w, "an empty window has something in it");
    inbox__window_deinit(&w->window);
}

/* Two keys of one hash now and then: they may wait for each other, and nothing else. */
static uint64_t hash_of(const struct world *w, int key)
{
    if (key == 0)
        return 0;
    return w->seed % 3 == 0 && key > 2 ? 3 : (uint64_t)key;
}

/* As partitions.c does. */
static void pressure(struct world *w)
{
    w->full = inbox__window_full(&w->window, w->bound, w->full);
    for (int p = 0; p < N_PARTS; p++)
        if (w->assigned[p])
            w->crowded[p] = inbox__window_crowded(&w->window, &w->part[p], w->bound, w->crowded[p]);
}

static void check_counts(const struct world *w)
{
    uint32_t all = 0, held = 0;

    for (int p = 0; p < N_PARTS; p++) {
        uint32_t n = 0, n_held = 0;
        for (const struct inbox__item *i = w->assigned[p] ? w->part[p].first : NULL; i != NULL;
             i = i->part_next) {
            n++;
            n_held += i->failures > 0;
        }
        if (w->assigned[p] && (n != w->part[p].n_rows || n * BYTES != w->part[p].n_bytes ||
                               n_held != w->part[p].n_held_keys))
            oops(w, "a partition does not know how much it has in memory");
        all += n;
        held += n_held;
    }
    if (all != w->window.n_rows || held != w->window.n_held_keys || all > w->bound.rows ||
        w->window.ready.bytes != (size_t)w->window.ready.n * BYTES)
        oops(w, "memory has more than it may, or does not know how much");
}

static void receive(struct world *w, int p)
{
    int64_t offset = w->part[p].next;
    struct record *r;

    pressure(w);
    if (!w->assigned[p] || offset >= w->n_log[p] || w->full || w->crowded[p] ||
        inbox__window_stocked(&w->window, w->bound, 2 * MAX_BATCH))
        return;
    r = calloc(1, sizeof *r);
    r->event = &w->log[p][offset];
    r->item = (struct inbox__item){ .key = hash_of(w, r->event->key),
                                    .identity = (uint64_t)r->event->identity + 1,
                                    .offset = offset, .bytes = BYTES, .part = &w->part[p] };
    inbox__window_add(&w->window, &r->item);
    check_counts(w);
}

/* -- a transaction ---------------------------------------------------------------------------- */

static bool key_failed(struct record **batch, size_t before)
{
    for (size_t i = 0; i < before; i++)
        if (batch[before]->item.key != 0 && batch[i]->fate == FAILED &&
            batch[i]->item.key == batch[before]->item.key &&
            batch[i]->item.part == batch[before]->item.part)
            return true;
    return false;
}

static enum fate call(struct event *e)
{
    if (e->calls++ < e->failures)
        return FAILED;
    return e->dies ? DEAD : APPLIED;
}

static void apply(struct world *w, const struct record *r)
{
    int p = (int)r->item.part->id - 1;
    int *last = &w->last_applied[p][r->event->key];

    w->n_applied[r->event->identity]++;
    w->seen[r->event->identity] = true;
    if (r->event->key != 0 && r->fate == APPLIED && (int)r->item.offset < *last)
        oops(w, "a key out of order");
    if (r->event->key != 0 && r->fate == APPLIED)
        *last = (int)r->item.offset;
}

static void commit(struct world *w, struct record **batch, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int p = (int)batch[i]->item.part->id - 1;
        if (batch[i]->fate == APPLIED || batch[i]->fate == DEAD)
            apply(w, batch[i]);
        if (batch[i]->item.finished)
            w->finished[p][batch[i]->item.offset] = true;
    }
    for (int p = 0; p < N_PARTS; p++) {
        int64_t position = w->assigned[p] ? inbox__window_position(&w->part[p]) : -1;
        if (position < 0)
            continue;
        for (int64_t i = w->position[p]; i < position; i++)
            if (!w->finished[p][i])
                oops(w, "a position past an event that is not finished");
        w->position[p] = w->part[p].stored = position;
    }
}

static void settle(struct world *w, struct record **batch, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (batch[i]->fate == FAILED) {
            inbox__window_failed(&w->window, &batch[i]->item, w->now, w->now + 1 + rnd(w, 50));
        } else if (batch[i]->fate != AGAIN) {
            inbox__window_done(&w->window, &batch[i]->item);
            free(batch[i]);
            batch[i] = NULL;
        }
    for (size_t i = n; i-- > 0;)
        if (batch[i] != NULL && batch[i]->fate == AGAIN)
            inbox__window_again(&w->window, &batch[i]->item);
}

/* Returns how many events it took. */
static size_t transaction(struct world *w, bool calm)
{
    struct record *batch[MAX_BATCH];
    size_t n = inbox__window_take(&w->window, w->now, (struct inbox__item **)batch,
                                  1 + rnd(w, MAX_BATCH));

    for (size_t i = 0; i < n; i++) {
        batch[i]->fate = w->seen[batch[i]->event->identity] ? DUPLICATE : AGAIN;
        for (size_t k = 0; k < i; k++)
            if (batch[k]->event->identity == batch[i]->event->identity)
                oops(w, "one identity twice in a batch");
        if (key_failed(batch, i))
            batch[i]->fate = AGAIN;
        else if (batch[i]->fate == AGAIN)
            batch[i]->fate = call(batch[i]->event);
        batch[i]->item.finished = batch[i]->fate != AGAIN && batch[i]->fate != FAILED;
    }
    if (calm || percent(w, 85)) {
        commit(w, batch, n);
        if (calm || percent(w, 95)) {
            settle(w, batch, n);
            return n;
        } /* else the answer to COMMIT is lost, and all of it comes again */
    }
    for (size_t i = n; i-- > 0;)
        inbox__window_again(&w->window, &batch[i]->item);
    return n;
}

/* -- a history -------------------------------------------------------------------------------- */

static void step(struct world *w)
{
    unsigned what = rnd(w, 100);
    int p = (int)rnd(w, N_PARTS);

    w->now += rnd(w, 20);
    if (what < 55) {
        receive(w, p);
    } else if (what < 90) {
        transaction(w, false);
    } else if (what < 97) {
        w->assigned[p] ? revoke(w, p) : assign(w, p);
    } else {
        end(w);
        start(w);
    }
}

static bool is_at_end(const struct world *w)
{
    for (int p = 0; p < N_PARTS; p++)
        if (w->position[p] < w->n_log[p])
            return false;
    return true;
}

static void calm_down(struct world *w)
{
    for (int p = 0; p < N_PARTS; p++)
        if (!w->assigned[p])
            assign(w, p);
    for (int i = 0; i < 10 * MAX_EVENTS && !is_at_end(w); i++) {
        for (int p = 0; p < N_PARTS; p++)
            receive(w, p);
        w->now += 10;
        while (transaction(w, true) > 0)
            continue;
        check_counts(w);
    }
}

/* Is there an event that never succeeds before it, with the same hash; or has it not been fetched because of
 * one of its partition? */
static bool is_stuck(const struct world *w, int p, int i)
{
    bool paused = i >= w->part[p].next && w->crowded[p];

    for (int k = 0; k <= i; k++)
        if (w->log[p][k].failures == FOREVER && w->log[p][k].key != 0 &&
            ((paused && k < w->part[p].next) ||
             hash_of(w, w->log[p][k].key) == hash_of(w, w->log[p][i].key)))
            return true;
    return w->log[p][i].failures == FOREVER;
}

static void check_end(struct world *w)
{
    for (int p = 0; p < N_PARTS; p++)
        for (int i = 0; i < w->n_log[p]; i++) {
            int n = w->n_applied[w->log[p][i].identity];
            if (n > 1)
                oops(w, "an event took effect twice");
            if (n == 0 && !is_stuck(w, p, i))
                oops(w, "an event took no effect");
            if (n > 0 && w->log[p][i].failures == FOREVER)
                oops(w, "an event that always fails took effect");
        }
}

static void history(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);

    w->seed = w->chance = seed;
    memset(w->last_applied, 0xff, sizeof w->last_applied);
    make_log(w);
    w->bound = (struct inbox__bound){ .rows = 3 * MAX_EVENTS, .bytes = UINT64_MAX };
    if (seed % 2 == 0)
        w->bound.rows = 16 + rnd(w, 32);
    if (seed % 4 == 0)
        w->bound.bytes = w->bound.rows * BYTES;
    start(w);
    for (int i = 0; i < 300; i++)
        step(w);
    calm_down(w);
    check_end(w);
    end(w);
    free(w);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? strtoull(value, NULL, 10) : otherwise;
}

START_TEST(inbox_histories_end_well)
{
    uint64_t first = from_environment("SIM_FIRST", 1), runs = from_environment("SIM_RUNS", DEFAULT_RUNS);

    if (getenv("SIM_SEED") != NULL) {
        first = from_environment("SIM_SEED", 1);
        runs = 1;
    }
    for (uint64_t seed = first; seed < first + runs; seed++)
        history(seed);
    printf("# counts histories=%" PRIu64 "\n", runs);
}
END_TEST

Suite *suite_inbox_sim(void);
Suite *suite_inbox_sim(void)
{
    Suite *s = suite_create("inbox_sim");
    TCase *tc = tcase_create("histories");

    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, inbox_histories_end_well);
    suite_add_tcase(s, tc);
    return s;
}
