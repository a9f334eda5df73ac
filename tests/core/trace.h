/* trace.h - the rig of the small stories about the core: events in, the trace of its actions out.
 *
 * A row is called by topic, key and number: "Ax1" is the first row of key x in topic A, "A-1" has
 * no key. After every event the core is asked until it has nothing left to do, and all of its
 * invariants are checked. expect() compares what it did since the last expect().
 *
 * What is due in outbox.held is looked for at least once a second. A story that is not about that
 * does not see it: such a read finds nothing, at once. After due_by_hand() it is in the trace, and
 * the story answers it.
 *
 * Included by the test files of this directory; each has its own copy of everything.
 */
#ifndef TESTS_CORE_TRACE_H
#define TESTS_CORE_TRACE_H

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

static inline uint32_t slot_of(const char *name)
{
    for (uint32_t s = 0; s < CAP; s++)
        if (strcmp(t.name[s], name) == 0)
            return s;
    ck_abort_msg("no row %s is in the window", name);
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
    const char topic[] = { name[0], '\0' };

    return name[1] == '-' ? 0 : key_hash(topic, name + 1, 1);
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

/* -- events from the database --------------------------------------------------------------- */

static inline void link_is(bool up)
{
    core_link(&t.core, t.now, up);
    run();
}

static inline void lease(bool ours)
{
    core_lease(&t.core, t.now, ours);
    run();
}

enum row_kind { ROW_NEW, ROW_LATER, ROW_FOUND };

static inline uint32_t give_row(const char *name, enum row_kind kind)
{
    if (kind == ROW_FOUND)
        return core_found_row(&t.core, t.now, topic_of(name), key_of(name), t.bytes);
    return core_row(&t.core, topic_of(name), key_of(name), t.bytes, kind == ROW_LATER);
}

/* Rows of the READ under way; their number, or -1 when they were not taken. */
static inline int rows_of_kind(const char *names, enum row_kind kind)
{
    char copy[256], *rest = NULL;
    int n = 0, n_taken = 0;

    ck_assert_uint_lt(strlen(names), sizeof copy);
    strcpy(copy, names);
    for (char *name = strtok_r(copy, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        uint32_t slot = give_row(name, kind);
        if (slot != NO_SLOT)
            name_slot(slot, name);
        n_taken += slot != NO_SLOT;
        n++;
    }
    ck_assert(n_taken == n || n_taken == 0);
    return n_taken == n ? n : -1;
}

static inline void page_end(int n, bool full, bool catching_up)
{
    core_page_end(&t.core, t.now, (uint32_t)n, full, catching_up);
    run();
}

/* Answers the READ under way with these rows; false: they were not taken. */
static inline bool answer_read(const char *names, bool full, bool catching_up)
{
    int n = rows_of_kind(names, ROW_NEW);

    page_end(n < 0 ? 1 : n, full, catching_up);
    return n >= 0;
}

static inline void page(const char *names)
{
    ck_assert_int_eq(t.core.reading, READING_OUTBOX);
    ck_assert(answer_read(names, false, false));
}

/* If a READ is under way it brings nothing, and if the lease is asked for it stays ours. */
static inline void nothing_new(void)
{
    if (t.core.reading == READING_OUTBOX)
        page("");
    if (t.core.lead.asking)
        lease(true);
    leave_out("renew");
}

/* Rows that answer READ_DUE or READ_TOPIC; the end of the page is to follow. False: not taken. */
static inline bool back(const char *names, enum held_as from, uint16_t attempts)
{
    char copy[256], *rest = NULL;
    bool taken = true;

    ck_assert_uint_lt(strlen(names), sizeof copy);
    strcpy(copy, names);
    for (char *name = strtok_r(copy, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        uint32_t slot = core_held_row(&t.core, t.now, topic_of(name), key_of(name), t.bytes,
                                      (struct core_held_info){ from, attempts, false, false });
        if (slot != NO_SLOT)
            name_slot(slot, name);
        taken &= slot != NO_SLOT;
    }
    return taken;
}

static inline void due_end(uint64_t next_due_ms)
{
    ck_assert_int_eq(t.core.reading, READING_DUE);
    core_due_end(&t.core, t.now, false, next_due_ms);
    run();
}

/* Answers READ_DUE; nothing else is due for a long time. */
static inline void due(const char *names, enum held_as from, uint16_t attempts)
{
    ck_assert_int_eq(t.core.reading, READING_DUE);
    ck_assert(back(names, from, attempts));
    due_end(UINT64_MAX);
}

static inline void topic_end(bool full)
{
    ck_assert_int_eq(t.core.reading, READING_TOPIC);
    core_topic_end(&t.core, t.now, full);
    run();
}

/* Answers READ_TOPIC. */
static inline void paused_rows(const char *names, bool full)
{
    ck_assert(back(names, HELD_TOPIC, 0));
    topic_end(full);
}

static inline void read_failed(void)
{
    core_read_failed(&t.core, t.now);
    run();
}

static inline void freed(const char *name)
{
    core_freed(&t.core, slot_of(name));
}

static inline void marked(bool ok)
{
    core_marked(&t.core, t.now, ok);
    run();
}

static inline void held(bool ok)
{
    core_held(&t.core, t.now, ok);
    run();
}

/* -- events from Kafka ---------------------------------------------------------------------- */

static inline void report(const char *name, enum outcome out, enum blame blame)
{
    core_report(&t.core, t.now, slot_of(name), out, blame);
    run();
}

static inline void persisted(const char *name)
{
    report(name, OUTCOME_PERSISTED, BLAME_NONE);
}

static inline void refused(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_ROW);
}

static inline void purged(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_NONE);
}

static inline void topic_failed(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
}

static inline void lane_ready(enum lane lane, bool ok)
{
    core_lane_ready(&t.core, t.now, lane, ok);
    run();
}

static inline void lane_fatal(enum lane lane)
{
    core_lane_fatal(&t.core, lane);
    run();
}

/* The row that was asked to be produced last is not taken. */
static inline void full(const char *name)
{
    core_full(&t.core, slot_of(name));
    run();
}

/* -- time, and people ----------------------------------------------------------------------- */

static inline void pass(uint64_t ms)
{
    t.now += ms;
    run();
}

static inline void stop(void)
{
    core_stop(&t.core, t.now);
    run();
}

/* Keeps the lease, where a story needs more time, and looks at every deadline. */
static inline void pass_quietly(uint64_t ms)
{
    for (uint64_t end_ms = t.now + ms; t.now < end_ms;) {
        uint64_t next_ms = core_deadline(&t.core, t.now);
        t.now = next_ms < end_ms ? next_ms : end_ms;
        run();
        if (t.core.lead.asking)
            core_lease(&t.core, t.now, true);
        run();
    }
}

/* How long it takes, by its deadlines alone, until the trace has this line; `most` at most. */
static inline uint64_t wait_for(const char *line, uint64_t most)
{
    uint64_t start_ms = t.now;

    while (strstr(t.trace, line) == NULL) {
        ck_assert_msg(t.now - start_ms < most, "no %s in %u ms", line, (unsigned)most);
        pass_quietly(1);
    }
    return t.now - start_ms;
}

/* -- where stories begin -------------------------------------------------------------------- */

static inline void lead_with(const struct core_config *cfg)
{
    begin_with(cfg);
    link_is(true);
    lease(true);
    expect("acquire\nread 4\n");
}

static inline void lead(void)
{
    struct core_config cfg = default_config();

    lead_with(&cfg);
}

/* One row went through topic A since the lead began: it is open; nothing is in the window. */
static inline void open_topic(void)
{
    page("A-0");
    persisted("A-0");
    pass(5);
    marked(true);
    expect("produce A-0 main\nmark A-0\nread 4\nrelease A-0\n");
}

static inline void lead_with_open_topic(void)
{
    lead();
    open_topic();
}

/* The same, and these rows are out in the main lane. */
static inline void rows_out(const char *names, const char *trace)
{
    lead_with_open_topic();
    page(names);
    expect_but_reads(trace);
}

/* Ax1 is out alone, after a refusal of its batch. Nothing else is in the window. */
static inline void suspect_out(const struct core_config *cfg)
{
    lead_with(cfg);
    open_topic();
    due_by_hand();
    page("Ax1");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    pass(20); /* now the next READ is under way, and nothing more comes of time for a while */
    expect_but_reads("produce Ax1 main\nreset main\nproduce Ax1 solo\n");
}

static inline void default_suspect_out(void)
{
    struct core_config cfg = default_config();

    suspect_out(&cfg);
}

/* The same, Ax2 and Ax3 were behind it, and all three are in outbox.held. */
static inline void key_is_held(void)
{
    default_suspect_out();
    page("Ax2 Ax3");
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    held(true);
    expect("release Ax1\nhold Ax2 blocked, Ax3 blocked\n");
    held(true);
    expect_but_reads("release Ax2\nrelease Ax3\nfetch due 4\n"); /* Ax1 may have gone meanwhile */
    due_end(60);
    pass(20);
    expect("read 4\n");
}

#endif
