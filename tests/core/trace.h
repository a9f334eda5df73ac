/* trace.h - the rig of the small stories about the core: events in, the trace of its actions out.
 *
 * What is due in outbox.held is looked for at least once a second. A story that is not about that
 * does not see it: such a read finds nothing, at once. After due_by_hand() it is in the trace, and
 * the story answers it.
 *
 * Included by the test files of this directory; each has its own copy of everything.
 */
#ifndef TESTS_CORE_TRACE_H
#define TESTS_CORE_TRACE_H

#include "tests/core/trace_actions.h"

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

static inline void quit(void)
{
    core_quit(&t.core, t.now);
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

/* A lease that outlasts the story. */
static inline void lead_patiently(uint64_t stall_timeout_ms)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 1000000;
    cfg.stall_timeout_ms = stall_timeout_ms;
    lead_with(&cfg);
    open_topic();
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

/* Mx1, My1 and M-1 are in outbox.held as paused; A is open; nothing is in the window. */
static inline void topic_is_paused(void)
{
    lead_with_open_topic();
    due_by_hand(); /* nothing becomes due by a pause */
    page("Mx1 My1 M-1");
    topic_failed("Mx1");
    held(true);
    pass(1);
    expect("produce Mx1 main\nhold Mx1 paused, My1 paused, M-1 paused\n"
           "release Mx1\nrelease My1\nrelease M-1\nread 4\n");
}

/* The first of them is back, and out as the probe. */
static inline void probe_is_out(void)
{
    topic_is_paused();
    page("");
    pass(99);
    expect("fetch topic M 1\n");
    paused_rows("Mx1", true);
    expect_but_reads("produce Mx1 solo\n");
}

#endif
