/* test_sim.c - many short random histories of the core among a database, a broker and a rival.
 *
 * Each history is made by one seed (sim_life.c). After every step invariants.h is checked; pump() checks
 * the deadlines; what an action must satisfy is checked where it is carried out. The model: sim_world.h.
 *
 * SIM_RUNS=n sets the number of histories, SIM_FIRST=n the seed of the first (1); SIM_SEED=n replays one
 * of them with a full trace.
 */
#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/core/sim_world.h"

enum { DEFAULT_RUNS = 100000 };

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
    for (const struct key_wait *k = NULL; (k = keys_next(&c->keys, k)) != NULL;)
        print_line(w, r, "key %llx: busy row %d, %u suspects, %u back%s, %u parked, %u behind",
                   (unsigned long long)k->key,
                   k->busy == NO_SLOT ? -1 : (int)r->slot_row[k->busy], k->n_suspects, k->n_back,
                   k->resuming ? ", resuming" : "", k->parked.n, k->behind.n);
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
    printf("# counts histories=%" PRIu64 "\n", count[N_HISTORIES]);
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
