/* trace_actions.h - what the core does, as a text: after every event it is asked until it has nothing left to
 * do, all of its invariants are checked, and expect() compares what it did since the last expect().
 *
 * A row is called by topic, key and number: "Ax1" is the first row of key x in topic A, "A-1" has no key.
 * Included by trace.h only, which knows the events.
 */
#ifndef TESTS_CORE_TRACE_ACTIONS_H
#define TESTS_CORE_TRACE_ACTIONS_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/core/core.h"
#include "tests/core/invariants.h"

enum { CAP = 16, ROW_BYTES = 10, NAME_SIZE = 8, MAX_ACTIONS = 200 };

static struct {
    struct core core;
    uint64_t now;
    char name[CAP][NAME_SIZE]; /* by slot */
    uint32_t bytes;            /* of the rows of the next page */
    struct core_action read;   /* the last one, of any kind */
    bool due_by_hand;
    char trace[8192];
} t;

/* -- actions -------------------------------------------------------------------------------- */

static inline void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline void say(const char *format, ...)
{
    size_t n = strlen(t.trace);
    va_list args;

    va_start(args, format);
    int len = vsnprintf(t.trace + n, sizeof t.trace - n, format, args);
    va_end(args);
    ck_assert_int_ge(len, 0);
    ck_assert_uint_lt(n + (size_t)len, sizeof t.trace);
}

static inline const char *lane_name(enum lane lane)
{
    return lane == LANE_MAIN ? "main" : "solo";
}

static inline void say_mark(const struct core_action *a)
{
    say("mark");
    for (uint32_t i = 0; i < a->n; i++)
        say(" %s", t.name[a->slots[i]]);
    say("\n");
}

static inline void say_hold(const struct core_action *a)
{
    static const char *const as[] = { "retrying", "blocked", "paused", "scheduled", "dead" };

    say("hold");
    for (uint32_t i = 0; i < a->n; i++)
        say("%s %s %s", i > 0 ? "," : "", t.name[a->slots[i]],
            as[t.core.window.row[a->slots[i]].hold]);
    say("\n");
}

/* What the core asks others for. */
static inline void say_request(const struct core_action *a)
{
    switch (a->what) {
    case CORE_READ:
        say("read %u\n", a->n);
        break;
    case CORE_READ_DUE:
        say("fetch due %u\n", a->n);
        break;
    case CORE_READ_TOPIC:
        say("fetch topic %s %u\n", t.core.topics.topic[a->topic].name, a->n);
        break;
    case CORE_MARK:
        say_mark(a);
        break;
    case CORE_HOLD:
        say_hold(a);
        break;
    case CORE_ACQUIRE:
        say("acquire\n");
        break;
    case CORE_RENEW:
        say("renew before page %u\n", (unsigned)a->page);
        break;
    case CORE_RESIGN:
        say("resign before page %u\n", (unsigned)a->page);
        break;
    case CORE_SWEEP:
        say("sweep\n");
        break;
    case CORE_ASK_KAFKA:
        say("ask kafka\n");
        break;
    case CORE_PRODUCE:
    case CORE_RELEASE:
    case CORE_RESET:
        break;
    }
}

static inline void say_action(const struct core_action *a)
{
    if (a->what == CORE_PRODUCE) {
        say("produce %s %s\n", t.name[a->slot], lane_name(a->lane));
    } else if (a->what == CORE_RELEASE) {
        say("release %s\n", t.name[a->slot]);
        t.name[a->slot][0] = '\0';
    } else if (a->what == CORE_RESET) {
        say("reset %s\n", lane_name(a->lane));
    } else {
        say_request(a);
    }
    if (a->what == CORE_READ || a->what == CORE_READ_DUE || a->what == CORE_READ_TOPIC)
        t.read = *a;
}

static inline void check_core(void)
{
    const char *broken = core_broken(&t.core);

    ck_assert_msg(broken == NULL, "not as it must be: %s; after\n%s", broken, t.trace);
}

static inline void run(void)
{
    struct core_action a;

    for (int n = 0; core_next(&t.core, t.now, &a); n++) {
        ck_assert_int_lt(n, MAX_ACTIONS);
        if (a.what == CORE_READ_DUE && !t.due_by_hand)
            core_due_end(&t.core, t.now, false, UINT64_MAX);
        else
            say_action(&a);
        check_core();
    }
    check_core();
    if (t.core.phase != CORE_DONE)
        ck_assert_uint_gt(core_deadline(&t.core, t.now), t.now);
}

static inline void expect(const char *trace)
{
    ck_assert_str_eq(t.trace, trace);
    t.trace[0] = '\0';
}

/* Removes the lines that begin with `start` from the trace. */
static inline void leave_out(const char *start)
{
    char *at = t.trace;

    while (*at != '\0') {
        char *next = strchr(at, '\n') + 1;
        if (strncmp(at, start, strlen(start)) == 0)
            memmove(at, next, strlen(next) + 1);
        else
            at = next;
    }
}

/* All but the reading of new rows, which goes on in the background of most stories. */
static inline void expect_but_reads(const char *trace)
{
    leave_out("read");
    expect(trace);
}

/* -- names ---------------------------------------------------------------------------------- */

/* CAP: it is not in the window. */
static inline uint32_t find_slot(const char *name)
{
    uint32_t s = 0;

    while (s < CAP && strcmp(t.name[s], name) != 0)
        s++;
    return s;
}

static inline bool is_in_hand(const char *name)
{
    return find_slot(name) < CAP;
}

static inline uint32_t slot_of(const char *name)
{
    uint32_t s = find_slot(name);

    if (s == CAP)
        ck_abort_msg("no row %s is in the window", name);
    return s;
}

static inline const struct window_row *row_of(const char *name)
{
    return &t.core.window.row[slot_of(name)];
}

static inline uint32_t topic_of(const char *name)
{
    const char topic[] = { name[0], '\0' };
    uint32_t n = core_topic(&t.core, topic);

    ck_assert_uint_ne(n, UINT32_MAX);
    return n;
}

static inline uint64_t key_of(const char *name)
{
    return name[1] == '-' ? 0 : core_key(&t.core, topic_of(name), name + 1, 1);
}

static inline void name_slot(uint32_t slot, const char *name)
{
    int len = snprintf(t.name[slot], NAME_SIZE, "%s", name);

    ck_assert_int_lt(len, NAME_SIZE);
}

/* -- the beginning and the end -------------------------------------------------------------- */

static inline struct core_config default_config(void)
{
    return (struct core_config){
        .inflight_rows = CAP,
        .batch_rows = 4,
        .inflight_bytes = 1000,
        .poll_min_ms = 1,
        .poll_max_ms = 20,
        .mark_delay_ms = 5,
        .retry_base_ms = 100,
        .retry_max_ms = 400,
        .retry_attempts = 2,
        .lease_ttl_ms = 3000,
        .drain_timeout_ms = 10000,
        .seed = 1,
    };
}

static inline void begin_with(const struct core_config *cfg)
{
    core_deinit(&t.core);
    memset(&t, 0, sizeof t);
    t.now = 1000;
    t.bytes = ROW_BYTES;
    ck_assert_int_eq(core_init(&t.core, t.now, cfg), 0);
}

static inline void begin(void)
{
    struct core_config cfg = default_config();

    begin_with(&cfg);
}

static inline void end(void)
{
    core_deinit(&t.core);
}

static inline void due_by_hand(void)
{
    t.due_by_hand = true;
}

static inline TCase *new_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, begin, end);
    suite_add_tcase(suite, tc);
    return tc;
}

#endif
