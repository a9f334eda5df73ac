/* test_core.c - what the core does, as small stories: events in, the trace of its actions out.
 *
 * A row is called by topic, key and number: "Ax1" is the first row of key x in topic A, "A-1" has
 * no key. After every event the core is asked until it has nothing left to do, and all of its
 * invariants are checked. expect() compares what it did since the last expect().
 */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/core/core.h"
#include "tests/core/invariants.h"

enum { CAP = 16, ROW_BYTES = 10, NAME_SIZE = 8 };

static struct {
    struct core core;
    uint64_t now;
    char name[CAP][NAME_SIZE]; /* by slot */
    uint64_t not_before_ms;    /* of the rows of the next page */
    uint32_t bytes;            /* the same */
    struct core_action read;   /* the last READ */
    char trace[8192];
} t;

/* -- the rig -------------------------------------------------------------------------------- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    size_t n = strlen(t.trace);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(t.trace + n, sizeof t.trace - n, format, args);
    va_end(args);
}

static const char *lane_name(enum lane lane)
{
    return lane == LANE_MAIN ? "main" : "solo";
}

static void say_mark(const struct core_action *a)
{
    say("mark");
    for (uint32_t i = 0; i < a->n; i++)
        say(" %s", t.name[a->slots[i]]);
    say("\n");
}

static void say_action(const struct core_action *a)
{
    switch (a->what) {
    case CORE_READ:
        t.read = *a;
        say("read %u\n", a->n);
        break;
    case CORE_PRODUCE:
        say("produce %s %s\n", t.name[a->slot], lane_name(a->lane));
        break;
    case CORE_MARK:
        say_mark(a);
        break;
    case CORE_RELEASE:
        say("release %s\n", t.name[a->slot]);
        t.name[a->slot][0] = '\0';
        break;
    case CORE_RESET:
        say("reset %s\n", lane_name(a->lane));
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
    }
}

static void run(void)
{
    struct core_action a;
    const char *broken;

    for (int n = 0; core_next(&t.core, t.now, &a); n++) {
        ck_assert_int_lt(n, 200);
        say_action(&a);
        broken = core_broken(&t.core);
        ck_assert_msg(broken == NULL, "%s", broken);
    }
    broken = core_broken(&t.core);
    ck_assert_msg(broken == NULL, "%s", broken);
    if (t.core.phase != CORE_DONE)
        ck_assert_uint_gt(core_deadline(&t.core, t.now), t.now);
}

static void expect(const char *trace)
{
    ck_assert_str_eq(t.trace, trace);
    t.trace[0] = '\0';
}

static uint32_t slot_of(const char *name)
{
    for (uint32_t s = 0; s < CAP; s++)
        if (strcmp(t.name[s], name) == 0)
            return s;
    ck_abort_msg("no row %s is in the window", name);
}

static uint32_t topic_of(const char *name)
{
    const char topic[] = { name[0], '\0' };

    return core_topic(&t.core, topic);
}

static uint64_t key_of(const char *name)
{
    const char topic[] = { name[0], '\0' };

    return name[1] == '-' ? 0 : key_hash(topic, name + 1, 1);
}

static struct core_config default_config(void)
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
        .lease_ttl_ms = 3000,
        .drain_timeout_ms = 10000,
        .seed = 1,
    };
}

static void begin_with(const struct core_config *cfg)
{
    core_deinit(&t.core);
    memset(&t, 0, sizeof t);
    t.now = 1000;
    t.bytes = ROW_BYTES;
    ck_assert_int_eq(core_init(&t.core, t.now, cfg), 0);
}

static void begin(void)
{
    struct core_config cfg = default_config();

    begin_with(&cfg);
}

static void end(void)
{
    core_deinit(&t.core);
}

/* -- events --------------------------------------------------------------------------------- */

static void link_is(bool up)
{
    core_link(&t.core, t.now, up);
    run();
}

static void lease(bool ours)
{
    core_lease(&t.core, t.now, ours);
    run();
}

/* Answers the READ under way with these rows; false: one was not taken. */
static bool answer_read(const char *names, bool full, bool catching_up)
{
    char copy[256];
    uint32_t n = 0;
    bool taken = true;

    ck_assert_uint_lt(strlen(names), sizeof copy);
    strcpy(copy, names);
    for (char *name = strtok(copy, " "); name != NULL; name = strtok(NULL, " "), n++) {
        uint32_t slot = core_row(&t.core, topic_of(name), key_of(name), t.bytes, t.not_before_ms);
        taken &= slot != NO_SLOT;
        if (slot != NO_SLOT)
            (void)snprintf(t.name[slot], NAME_SIZE, "%s", name);
    }
    core_page_end(&t.core, t.now, n, full, catching_up);
    run();
    return taken;
}

static void page(const char *names)
{
    ck_assert(answer_read(names, false, false));
}

static void report(const char *name, enum outcome out, enum blame blame)
{
    core_report(&t.core, t.now, slot_of(name), out, blame);
    run();
}

static void persisted(const char *name)
{
    report(name, OUTCOME_PERSISTED, BLAME_NONE);
}

static void refused(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_ROW);
}

static void purged(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_NONE);
}

static void topic_failed(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
}

static void lane_ready(enum lane lane, bool ok)
{
    core_lane_ready(&t.core, t.now, lane, ok);
    run();
}

static void marked(bool ok)
{
    core_marked(&t.core, t.now, ok);
    run();
}

static void pass(uint64_t ms)
{
    t.now += ms;
    run();
}

/* The row that was asked to be produced last is not taken. */
static void full(const char *name)
{
    core_full(&t.core, slot_of(name));
    run();
}

/* Keeps the lease and stops polling from filling the trace, where a story needs more time. */
static void pass_quietly(uint64_t ms)
{
    for (uint64_t end_ms = t.now + ms; t.now < end_ms;) {
        uint64_t due = core_deadline(&t.core, t.now);
        t.now = due < end_ms ? due : end_ms;
        run();
        if (t.core.lead.asking)
            core_lease(&t.core, t.now, true);
        run();
    }
}

/* Removes the lines that begin with `start` from the trace. */
static void leave_out(const char *start)
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

static void lead(void)
{
    begin();
    link_is(true);
    lease(true);
    expect("acquire\nread 4\n");
}

/* Leads, and topic A is open. Nothing is in the window. */
static void lead_with_open_topic(void)
{
    lead();
    page("A-0");
    persisted("A-0");
    pass(5);
    marked(true);
    expect("produce A-0 main\nmark A-0\nread 4\nrelease A-0\n");
}

/* The same, and these rows are out in the main lane. */
static void rows_out(const char *names, const char *trace)
{
    lead_with_open_topic();
    page(names);
    leave_out("read");
    expect(trace);
}

/* -- the plain way -------------------------------------------------------------------------- */

START_TEST(core_asks_for_nothing_before_the_link_is_up)
{
    begin();
    run();
    expect("");
    ck_assert(core_deadline(&t.core, t.now) == UINT64_MAX);
}
END_TEST

START_TEST(row_goes_from_read_to_mark)
{
    lead();
    page("Ax1");
    expect("produce Ax1 main\n");
    pass(1);
    expect("read 4\n");
    persisted("Ax1");
    expect("");
    pass(5);
    expect("mark Ax1\n");
    marked(true);
    expect("release Ax1\n");
    ck_assert_uint_eq(t.core.window.n, 0);
}
END_TEST

START_TEST(rows_of_one_key_are_pipelined_in_order)
{
    rows_out("Ax1 Ax2 Ay1", "produce Ax1 main\nproduce Ax2 main\nproduce Ay1 main\n");
}
END_TEST

START_TEST(read_follows_at_once_when_there_is_more)
{
    lead();
    ck_assert(answer_read("Ax1 Ax2 Ax3 Ax4", true, false));
    expect("read 4\nproduce Ax1 main\n");
}
END_TEST

START_TEST(idle_polls_grow_rarer_and_rows_make_them_frequent_again)
{
    lead();
    page("");
    pass(1);
    expect("");
    pass(1);
    expect("read 4\n");
    for (int i = 0; i < 10; i++) {
        page("");
        pass(20);
        leave_out("renew");
        expect("read 4\n");
    }
    page("");
    pass(19);
    expect("");
    pass(1);
    expect("read 4\n");
    page("Ax1");
    pass(1);
    expect("produce Ax1 main\nread 4\n");
}
END_TEST

START_TEST(failed_read_is_repeated_after_a_while)
{
    lead();
    core_read_failed(&t.core, t.now);
    run();
    pass(99);
    expect("");
    pass(1);
    expect("read 4\n");
}
END_TEST

/* -- room ----------------------------------------------------------------------------------- */

START_TEST(read_waits_until_there_is_room_for_a_batch)
{
    lead_with_open_topic();
    page("A-1 A-2 A-3 A-4");
    pass(1);
    page("A-5 A-6 A-7 A-8");
    pass(1);
    page("B-1 B-2 B-3 B-4");
    pass(1);
    page("B-5");
    t.trace[0] = '\0';
    pass(100);
    expect(""); /* 3 places are free, a batch is 4 */
    persisted("A-1");
    pass(5);
    marked(true);
    expect("mark A-1\nrelease A-1\nread 4\n");
}
END_TEST

START_TEST(read_waits_until_there_is_room_for_bytes)
{
    lead_with_open_topic();
    t.bytes = 300;
    page("A-1 A-2");
    pass(1);
    ck_assert_uint_le(t.read.bytes, 201);
    page("A-3");
    t.trace[0] = '\0';
    pass(100);
    expect(""); /* less than a quarter is free */
    persisted("A-1");
    persisted("A-2");
    pass(5);
    marked(true);
    expect("mark A-1 A-2\nrelease A-1\nrelease A-2\nread 4\n");
}
END_TEST

START_TEST(row_larger_than_all_bytes_goes_through)
{
    lead();
    t.bytes = 5000;
    page("Ax1");
    pass(100);
    expect("produce Ax1 main\n");
    persisted("Ax1");
    pass(5);
    marked(true);
    expect("mark Ax1\nrelease Ax1\nread 4\n");
}
END_TEST

START_TEST(full_lane_takes_the_same_row_after_a_report)
{
    rows_out("Ax1", "produce Ax1 main\n");
    page("Ax2 Ax3");
    expect("produce Ax2 main\nproduce Ax3 main\n");
    core_full(&t.core, slot_of("Ax3")); /* as the driver does: before anything else */
    run();
    expect("");
    persisted("Ax1");
    expect("produce Ax3 main\n");
}
END_TEST

START_TEST(lane_that_is_full_of_nothing_is_replaced)
{
    rows_out("Ax1", "produce Ax1 main\n");
    full("Ax1");
    expect("reset main\n");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\n");
}
END_TEST

/* -- marks ---------------------------------------------------------------------------------- */

/* The first record of a partition with a new producer is out: nothing may be behind it. */
START_TEST(row_of_a_cold_partition_waits_for_a_report_of_its_topic)
{
    rows_out("Ax1", "produce Ax1 main\n");
    core_row(&t.core, topic_of("A"), key_of("Ay1"), ROW_BYTES, 0);
    core_page_end(&t.core, t.now, 1, false, false);
    struct core_action a;
    ck_assert(core_next(&t.core, t.now, &a));
    ck_assert_int_eq(a.what, CORE_PRODUCE);
    (void)snprintf(t.name[a.slot], NAME_SIZE, "Ay1");
    core_cold(&t.core, a.slot);
    pass(100);
    leave_out("read");
    expect("");
    persisted("Ax1");
    expect("produce Ay1 main\n");
}
END_TEST

START_TEST(marks_go_at_once_when_a_batch_is_confirmed)
{
    rows_out("A-1 A-2 A-3 A-4",
             "produce A-1 main\nproduce A-2 main\nproduce A-3 main\nproduce A-4 main\n");
    persisted("A-1");
    persisted("A-2");
    persisted("A-3");
    expect("");
    persisted("A-4");
    expect("mark A-1 A-2 A-3 A-4\n");
}
END_TEST

START_TEST(one_mark_is_under_way_at_a_time)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n");
    persisted("A-1");
    pass(5);
    leave_out("read");
    expect("mark A-1\n");
    persisted("A-2");
    pass(50);
    expect("");
    marked(true);
    leave_out("read");
    expect("release A-1\nmark A-2\n");
}
END_TEST

START_TEST(failed_mark_is_repeated_with_backoff)
{
    rows_out("A-1", "produce A-1 main\n");
    persisted("A-1");
    pass(5);
    leave_out("read");
    expect("mark A-1\n");
    marked(false);
    pass(49);
    leave_out("read");
    expect("");
    pass(51);
    leave_out("read");
    expect("mark A-1\n");
    marked(true);
    leave_out("read");
    expect("release A-1\n");
}
END_TEST

/* -- the cursor ----------------------------------------------------------------------------- */

START_TEST(cursor_stays_before_the_oldest_page_with_an_unmarked_row)
{
    lead_with_open_topic(); /* page 0 */
    page("A-1 A-2");        /* page 1 */
    pass(1);
    page("A-3");            /* page 2 */
    persisted("A-1");
    persisted("A-3");
    pass(5);
    marked(true);
    leave_out("read");
    expect("produce A-1 main\nproduce A-2 main\nproduce A-3 main\nmark A-1 A-3\n"
           "release A-1\nrelease A-3\n");
    pass(1000);
    leave_out("read");
    expect("renew before page 1\n");
    lease(true);
    persisted("A-2");
    pass(5);
    marked(true);
    leave_out("read");
    expect("mark A-2\nrelease A-2\n");
    pass(1000);
    leave_out("read");
    expect("renew before page 4\n"); /* the READ of page 3 has brought nothing yet */
}
END_TEST

START_TEST(cursor_does_not_pass_a_page_that_is_under_way)
{
    lead(); /* READ of page 0 is under way */
    pass(1000);
    expect("renew before page 1\n"); /* nobody has read it: where the reader stands */
    lease(true);
    page("Ax1");
    ck_assert_uint_eq(t.read.page, 0);
    leave_out("read");
    expect("produce Ax1 main\n");
    pass(1000);
    leave_out("read");
    expect("renew before page 0\n");
}
END_TEST

START_TEST(cursor_stays_before_rows_that_are_given_up)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n"); /* page 1 */
    core_stop(&t.core, t.now);
    run();
    purged("A-1");
    persisted("A-2");
    expect("release A-1\nmark A-2\n");
    marked(true);
    expect("release A-2\nresign before page 1\n");
    core_resigned(&t.core, t.now);
    run();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(cursor_stays_before_a_page_that_came_too_late)
{
    lead_with_open_topic();
    core_stop(&t.core, t.now); /* READ of page 1 is under way */
    ck_assert(!answer_read("A-1", false, false));
    expect("resign before page 1\n");
}
END_TEST

/* -- topics --------------------------------------------------------------------------------- */

START_TEST(first_row_of_a_topic_goes_alone_and_opens_it)
{
    lead();
    page("Ax1 Ay1 Bx1 Az1");
    expect("produce Ax1 main\nproduce Bx1 main\n");
    persisted("Ax1");
    expect("produce Ay1 main\nproduce Az1 main\n");
}
END_TEST

START_TEST(missing_topic_is_paused_and_others_flow)
{
    lead_with_open_topic();
    page("Mx1 My1 A-1");
    expect("produce Mx1 main\nproduce A-1 main\n");
    topic_failed("Mx1");
    expect("");
    pass(1);
    page("Mx2 A-2");
    leave_out("read");
    expect("produce A-2 main\n");
}
END_TEST

START_TEST(paused_topic_is_probed_by_one_row_in_the_solo_lane)
{
    lead_with_open_topic();
    page("Mx1 My1 Mx2");
    topic_failed("Mx1");
    leave_out("read");
    expect("produce Mx1 main\n");
    pass(49);
    leave_out("read");
    expect("");
    pass(51);
    leave_out("read");
    expect("produce Mx1 solo\n");
    topic_failed("Mx1");
    pass(99); /* the second pause is longer */
    leave_out("read");
    expect("");
    pass(101);
    leave_out("read");
    expect("produce Mx1 solo\n");
    persisted("Mx1");
    expect("produce My1 main\nproduce Mx2 main\n");
}
END_TEST

START_TEST(open_topic_that_fails_stops_the_main_lane)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    topic_failed("Ax1");
    expect("reset main\n");
    topic_failed("Ax2");
    lane_ready(LANE_MAIN, true);
    pass(100);
    leave_out("read");
    expect("produce Ax1 solo\n");
    persisted("Ax1");
    expect("produce Ax2 main\n");
}
END_TEST

START_TEST(topic_that_fails_in_the_solo_lane_calls_its_rows_back_from_the_main_lane)
{
    rows_out("Ax1 Ay1", "produce Ax1 main\nproduce Ay1 main\n");
    refused("Ax1");
    purged("Ay1");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 solo\nproduce Ay1 main\n");
    topic_failed("Ax1");
    pass(100); /* resets are paced */
    leave_out("read");
    expect("reset main\n");
}
END_TEST

START_TEST(refused_first_row_does_not_close_its_topic)
{
    lead();
    page("Ax1 Ay1");
    refused("Ax1");
    expect("produce Ax1 main\nproduce Ax1 solo\n");
    refused("Ax1");
    expect("produce Ay1 main\n");
}
END_TEST

/* -- refused rows --------------------------------------------------------------------------- */

START_TEST(refused_batch_goes_again_one_by_one_and_only_the_culprit_waits)
{
    rows_out("Ax1 Ay1 Az1", "produce Ax1 main\nproduce Ay1 main\nproduce Az1 main\n");
    refused("Ay1");
    expect("reset main\n");
    refused("Ax1"); /* the same batch */
    purged("Az1");  /* the next one */
    expect("");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 solo\nproduce Ay1 solo\nproduce Az1 main\n");
    persisted("Ax1");
    persisted("Az1");
    refused("Ay1");
    expect("");
    pass(5);
    leave_out("read");
    expect("mark Ax1 Az1\n");
    pass(95);
    leave_out("read");
    expect("produce Ay1 solo\n");
}
END_TEST

START_TEST(key_of_a_refused_row_waits_and_other_keys_flow)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    refused("Ax1");
    purged("Ax2");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 solo\n");
    refused("Ax1");
    pass(1);
    page("Ax3 Ay1");
    leave_out("read");
    expect("produce Ay1 main\n");
    pass(99);
    leave_out("read");
    expect("produce Ax1 solo\n");
    persisted("Ax1");
    expect("produce Ax2 main\nproduce Ax3 main\n");
}
END_TEST

START_TEST(suspects_of_one_key_go_one_after_the_other)
{
    rows_out("Ax1 Ax2 Ax3", "produce Ax1 main\nproduce Ax2 main\nproduce Ax3 main\n");
    refused("Ax3");
    refused("Ax2");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 solo\n");
    persisted("Ax1");
    expect("produce Ax2 solo\n");
    persisted("Ax2");
    expect("produce Ax3 solo\n");
}
END_TEST

START_TEST(refused_row_is_tried_more_rarely_up_to_the_limit)
{
    uint64_t before;

    rows_out("Ax1", "produce Ax1 main\n");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 solo\n");
    for (uint64_t most = 100; most <= 1600; most *= 2) {
        uint64_t limit = most < 400 ? most : 400;
        refused("Ax1");
        before = t.now;
        while (strstr(t.trace, "produce") == NULL && t.now < before + 1000)
            pass_quietly(1);
        ck_assert_uint_ge(t.now - before, limit / 2);
        ck_assert_uint_le(t.now - before, limit);
        t.trace[0] = '\0';
    }
}
END_TEST

START_TEST(row_that_may_be_in_the_log_goes_again_and_is_not_marked)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    report("Ax1", OUTCOME_MAYBE, BLAME_NONE);
    report("Ax2", OUTCOME_MAYBE, BLAME_NONE);
    expect("reset main\n");
    ck_assert(t.core.window.row[slot_of("Ax1")].maybe);
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\nproduce Ax2 main\n");
}
END_TEST

/* -- lanes ---------------------------------------------------------------------------------- */

START_TEST(fatal_lane_is_reset_and_its_rows_go_again_in_order)
{
    rows_out("Ax1 Ax2 Ax3", "produce Ax1 main\nproduce Ax2 main\nproduce Ax3 main\n");
    core_lane_fatal(&t.core, LANE_MAIN);
    run();
    expect("reset main\n");
    purged("Ax3");
    persisted("Ax1");
    purged("Ax2");
    pass(4);
    leave_out("read");
    expect("");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax2 main\nproduce Ax3 main\n");
}
END_TEST

START_TEST(nothing_is_produced_while_a_lane_stops)
{
    rows_out("Ax1", "produce Ax1 main\n");
    core_lane_fatal(&t.core, LANE_MAIN);
    page("By1 Ax2");
    leave_out("read");
    expect("reset main\n");
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\nproduce By1 main\nproduce Ax2 main\n");
}
END_TEST

START_TEST(reset_that_fails_is_tried_again_with_backoff)
{
    rows_out("Ax1", "produce Ax1 main\n");
    core_lane_fatal(&t.core, LANE_MAIN);
    run();
    purged("Ax1");
    expect("reset main\n");
    lane_ready(LANE_MAIN, false);
    pass(49);
    leave_out("read");
    expect("");
    pass(51);
    leave_out("read");
    expect("reset main\n");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\n");
}
END_TEST

START_TEST(lane_that_keeps_failing_is_reset_ever_more_rarely)
{
    rows_out("Ax1", "produce Ax1 main\n");
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 main\n");
    purged("Ax1"); /* the second time it waits */
    pass(49);
    leave_out("read");
    expect("");
    pass(51);
    lane_ready(LANE_MAIN, true);
    leave_out("read");
    expect("reset main\nproduce Ax1 main\n");
    purged("Ax1");
    pass(99);
    leave_out("read");
    expect("");
    pass(101);
    leave_out("read");
    expect("reset main\n");
}
END_TEST

/* -- scheduled rows ------------------------------------------------------------------------- */

START_TEST(scheduled_row_waits_for_its_time_and_holds_nobody_back)
{
    lead_with_open_topic();
    t.not_before_ms = t.now + 50;
    page("Ax1");
    t.not_before_ms = 0;
    pass(1);
    page("Ax2");
    leave_out("read");
    expect("produce Ax2 main\n");
    pass(48);
    leave_out("read");
    expect("");
    pass(1);
    leave_out("read");
    expect("produce Ax1 main\n");
}
END_TEST

START_TEST(scheduled_row_whose_time_has_come_goes_at_once)
{
    lead_with_open_topic();
    t.not_before_ms = t.now - 1;
    page("Ax1");
    leave_out("read");
    expect("produce Ax1 main\n");
}
END_TEST

/* -- the link ------------------------------------------------------------------------------- */

START_TEST(lost_link_gives_up_unsent_rows_and_brings_home_what_is_out)
{
    lead();
    page("Ax1 Ax2 Ax3");
    expect("produce Ax1 main\n"); /* the others wait for the pilot */
    link_is(false);
    expect("release Ax2\nrelease Ax3\n");
    persisted("Ax1");
    pass(100);
    expect("");
    link_is(true);
    expect("mark Ax1\n");
    marked(true);
    pass(1000);
    expect("release Ax1\nacquire\n");
    lease(true);
    expect("read 4\n");
}
END_TEST

START_TEST(lost_link_forgets_the_read_under_way)
{
    lead();
    link_is(false);
    link_is(true);
    pass(1000);
    expect("acquire\n");
    lease(true);
    expect("read 4\n");
}
END_TEST

START_TEST(lost_link_repeats_the_mark_under_way)
{
    rows_out("A-1", "produce A-1 main\n");
    persisted("A-1");
    pass(5);
    leave_out("read");
    expect("mark A-1\n");
    link_is(false);
    link_is(true);
    expect("mark A-1\n");
}
END_TEST

START_TEST(lost_link_repeats_the_question_for_the_lease)
{
    begin();
    link_is(true);
    expect("acquire\n");
    link_is(false);
    link_is(true);
    pass(250);
    expect("acquire\n");
}
END_TEST

START_TEST(row_that_fails_while_the_link_is_down_is_given_up)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    link_is(false);
    core_lane_fatal(&t.core, LANE_MAIN);
    run();
    refused("Ax1");
    purged("Ax2");
    expect("reset main\nrelease Ax1\nrelease Ax2\n");
    lane_ready(LANE_MAIN, true);
    expect("");
}
END_TEST

START_TEST(page_is_not_taken_after_the_link_was_lost)
{
    lead();
    link_is(false);
    ck_assert_uint_eq(core_row(&t.core, topic_of("A"), 0, 1, 0), NO_SLOT);
}
END_TEST

START_TEST(reading_begins_again_only_when_the_window_is_empty)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    link_is(false);
    link_is(true);
    pass(1000);
    expect("");
    persisted("Ax2");
    expect("mark Ax2\n");
    marked(true);
    expect("release Ax2\n");
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    leave_out("reset");
    expect("release Ax1\nacquire\n");
}
END_TEST

/* -- the lease ------------------------------------------------------------------------------ */

START_TEST(lease_of_another_is_asked_for_again)
{
    begin();
    link_is(true);
    expect("acquire\n");
    lease(false);
    pass(999);
    expect("");
    pass(1);
    expect("acquire\n");
    core_lease_failed(&t.core, t.now);
    pass(250);
    expect("acquire\n");
    lease(true);
    expect("read 4\n");
}
END_TEST

START_TEST(lease_is_renewed_at_a_third_of_its_time)
{
    lead();
    pass(999);
    expect("");
    pass(1);
    expect("renew before page 1\n");
    lease(true);
    pass(1000);
    expect("renew before page 1\n");
}
END_TEST

START_TEST(lost_lease_calls_everything_back)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    page("By1 By2");
    pass(1000);
    leave_out("read");
    expect("produce By1 main\nrenew before page 1\n");
    lease(false);
    expect("release By2\nreset main\n");
    persisted("Ax1");
    expect("mark Ax1\n"); /* a fact, whoever leads */
    purged("Ax2");
    purged("By1");
    marked(true);
    lane_ready(LANE_MAIN, true);
    expect("release Ax2\nrelease By1\nrelease Ax1\n");
}
END_TEST

START_TEST(lease_ends_by_our_own_clock)
{
    rows_out("Ax1", "produce Ax1 main\n");
    pass(1000);
    leave_out("read");
    expect("renew before page 1\n");
    pass(1994);
    leave_out("read");
    expect("");
    pass(1); /* 3,000 ms after the lease was asked for */
    expect("reset main\n");
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
}
END_TEST

START_TEST(renewal_that_is_answered_after_the_end_does_not_begin_a_new_lead)
{
    lead();
    pass(2900);
    expect("renew before page 1\n");
    pass(100); /* over; the answer to the READ is still to come */
    expect("");
    lease(true);
    expect("");
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
    ck_assert(!answer_read("Ax1", false, false));
    expect("");
    pass(1000);
    expect("acquire\n");
    lease(true);
    expect("read 4\n");
}
END_TEST

START_TEST(lease_that_is_answered_too_late_is_not_believed)
{
    begin();
    link_is(true);
    expect("acquire\n");
    pass(3000);
    lease(true);
    expect("");
    pass(1000);
    expect("acquire\n");
}
END_TEST

/* -- stopping ------------------------------------------------------------------------------- */

static void stop(void)
{
    core_stop(&t.core, t.now);
    run();
}

START_TEST(stop_waits_for_reports_marks_and_resigns)
{
    lead_with_open_topic();
    page("A-1");
    page("B-1 B-2");
    leave_out("read");
    expect("produce A-1 main\nproduce B-1 main\n");
    stop();
    expect("release B-2\n");
    pass(100);
    expect("");
    persisted("A-1");
    expect("mark A-1\n");
    persisted("B-1");
    marked(true);
    expect("release A-1\nmark B-1\n");
    marked(true);
    expect("release B-1\nresign before page 1\n");
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    core_resigned(&t.core, t.now);
    run();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(stop_keeps_the_lease_while_it_waits)
{
    rows_out("A-1", "produce A-1 main\n");
    stop();
    pass(1000);
    expect("renew before page 1\n");
}
END_TEST

START_TEST(stop_purges_when_its_time_is_over)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n");
    stop();
    pass_quietly(9999);
    leave_out("renew");
    expect("");
    pass_quietly(1);
    expect("reset main\n");
    report("A-1", OUTCOME_MAYBE, BLAME_NONE);
    persisted("A-2");
    lane_ready(LANE_MAIN, true);
    expect("release A-1\nmark A-2\n");
    marked(true);
    expect("release A-2\nresign before page 1\n");
    core_resigned(&t.core, t.now);
    run();
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(stop_that_cannot_mark_ends_unclean)
{
    rows_out("A-1", "produce A-1 main\n");
    persisted("A-1");
    link_is(false);
    stop();
    pass(14999);
    expect("");
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    pass(1);
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(stop_with_nothing_in_hand_and_no_lease_is_done_at_once)
{
    begin();
    stop();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(stop_does_not_wait_for_ever_for_the_resignation)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    begin_with(&cfg);
    link_is(true);
    lease(true);
    stop();
    expect("acquire\nread 4\nresign before page 1\n");
    pass(14999);
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    pass(1);
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(stop_while_the_lease_is_asked_for_gives_it_back)
{
    begin();
    link_is(true);
    stop();
    expect("acquire\n");
    begin();
    link_is(true);
    expect("acquire\n");
    core_stop(&t.core, t.now);
    lease(true);
    expect("resign before page 0\n");
}
END_TEST

/* -- once ----------------------------------------------------------------------------------- */

static void lead_once(void)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    lease(true);
    expect("acquire\nread 4\n");
}

START_TEST(once_ends_when_all_is_marked)
{
    lead_once();
    ck_assert(answer_read("Ax1", true, false));
    expect("read 4\nproduce Ax1 main\n");
    page("");
    persisted("Ax1");
    expect("mark Ax1\n"); /* nothing to wait for: at once */
    marked(true);
    expect("release Ax1\nresign before page 2\n");
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(once_reads_on_while_it_is_catching_up)
{
    lead_once();
    ck_assert(answer_read("", false, true));
    pass(2);
    expect("read 4\n");
    page("");
    expect("resign before page 1\n");
}
END_TEST

START_TEST(once_is_unclean_when_only_refused_rows_are_left)
{
    lead_once();
    page("Ax1");
    refused("Ax1");
    refused("Ax1");
    expect("produce Ax1 main\nproduce Ax1 solo\nrelease Ax1\nresign before page 0\n");
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(once_is_unclean_when_the_broker_does_not_answer)
{
    lead_once();
    page("Ax1");
    pass_quietly(10000);
    leave_out("renew");
    expect("produce Ax1 main\n");
    ck_assert(!t.core.unclean);
    pass_quietly(200);
    ck_assert(t.core.unclean);
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
}
END_TEST

START_TEST(once_is_unclean_when_it_never_gets_the_lease)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    for (int i = 0; i < 50 && t.core.phase != CORE_DONE; i++) {
        if (t.core.lead.asking)
            lease(false);
        pass(100);
    }
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(once_does_not_wait_for_scheduled_rows)
{
    lead_once();
    t.not_before_ms = t.now + 100000;
    page("Ax1");
    expect("release Ax1\nresign before page 0\n");
    ck_assert(!t.core.unclean);
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

static TCase *new_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, begin, end);
    suite_add_tcase(suite, tc);
    return tc;
}

static void add_flow(Suite *suite)
{
    TCase *tc = new_case(suite, "flow");

    tcase_add_test(tc, core_asks_for_nothing_before_the_link_is_up);
    tcase_add_test(tc, row_goes_from_read_to_mark);
    tcase_add_test(tc, rows_of_one_key_are_pipelined_in_order);
    tcase_add_test(tc, read_follows_at_once_when_there_is_more);
    tcase_add_test(tc, idle_polls_grow_rarer_and_rows_make_them_frequent_again);
    tcase_add_test(tc, failed_read_is_repeated_after_a_while);
    tcase_add_test(tc, read_waits_until_there_is_room_for_a_batch);
    tcase_add_test(tc, read_waits_until_there_is_room_for_bytes);
    tcase_add_test(tc, row_larger_than_all_bytes_goes_through);
    tcase_add_test(tc, full_lane_takes_the_same_row_after_a_report);
    tcase_add_test(tc, lane_that_is_full_of_nothing_is_replaced);
    tcase_add_test(tc, row_of_a_cold_partition_waits_for_a_report_of_its_topic);
    tcase_add_test(tc, marks_go_at_once_when_a_batch_is_confirmed);
    tcase_add_test(tc, one_mark_is_under_way_at_a_time);
    tcase_add_test(tc, failed_mark_is_repeated_with_backoff);
    tcase_add_test(tc, cursor_stays_before_the_oldest_page_with_an_unmarked_row);
    tcase_add_test(tc, cursor_does_not_pass_a_page_that_is_under_way);
    tcase_add_test(tc, cursor_stays_before_rows_that_are_given_up);
    tcase_add_test(tc, cursor_stays_before_a_page_that_came_too_late);
    tcase_add_test(tc, scheduled_row_waits_for_its_time_and_holds_nobody_back);
    tcase_add_test(tc, scheduled_row_whose_time_has_come_goes_at_once);
}

static void add_trouble(Suite *suite)
{
    TCase *tc = new_case(suite, "trouble in Kafka");

    tcase_add_test(tc, first_row_of_a_topic_goes_alone_and_opens_it);
    tcase_add_test(tc, missing_topic_is_paused_and_others_flow);
    tcase_add_test(tc, paused_topic_is_probed_by_one_row_in_the_solo_lane);
    tcase_add_test(tc, open_topic_that_fails_stops_the_main_lane);
    tcase_add_test(tc, topic_that_fails_in_the_solo_lane_calls_its_rows_back_from_the_main_lane);
    tcase_add_test(tc, refused_first_row_does_not_close_its_topic);
    tcase_add_test(tc, refused_batch_goes_again_one_by_one_and_only_the_culprit_waits);
    tcase_add_test(tc, key_of_a_refused_row_waits_and_other_keys_flow);
    tcase_add_test(tc, suspects_of_one_key_go_one_after_the_other);
    tcase_add_test(tc, refused_row_is_tried_more_rarely_up_to_the_limit);
    tcase_add_test(tc, row_that_may_be_in_the_log_goes_again_and_is_not_marked);
    tcase_add_test(tc, fatal_lane_is_reset_and_its_rows_go_again_in_order);
    tcase_add_test(tc, nothing_is_produced_while_a_lane_stops);
    tcase_add_test(tc, reset_that_fails_is_tried_again_with_backoff);
    tcase_add_test(tc, lane_that_keeps_failing_is_reset_ever_more_rarely);
}

static void add_database(Suite *suite)
{
    TCase *tc = new_case(suite, "link and lease");

    tcase_add_test(tc, lost_link_gives_up_unsent_rows_and_brings_home_what_is_out);
    tcase_add_test(tc, lost_link_forgets_the_read_under_way);
    tcase_add_test(tc, lost_link_repeats_the_mark_under_way);
    tcase_add_test(tc, lost_link_repeats_the_question_for_the_lease);
    tcase_add_test(tc, row_that_fails_while_the_link_is_down_is_given_up);
    tcase_add_test(tc, page_is_not_taken_after_the_link_was_lost);
    tcase_add_test(tc, reading_begins_again_only_when_the_window_is_empty);
    tcase_add_test(tc, lease_of_another_is_asked_for_again);
    tcase_add_test(tc, lease_is_renewed_at_a_third_of_its_time);
    tcase_add_test(tc, lost_lease_calls_everything_back);
    tcase_add_test(tc, lease_ends_by_our_own_clock);
    tcase_add_test(tc, renewal_that_is_answered_after_the_end_does_not_begin_a_new_lead);
    tcase_add_test(tc, lease_that_is_answered_too_late_is_not_believed);
}

static void add_end(Suite *suite)
{
    TCase *tc = new_case(suite, "the end");

    tcase_add_test(tc, stop_waits_for_reports_marks_and_resigns);
    tcase_add_test(tc, stop_keeps_the_lease_while_it_waits);
    tcase_add_test(tc, stop_purges_when_its_time_is_over);
    tcase_add_test(tc, stop_that_cannot_mark_ends_unclean);
    tcase_add_test(tc, stop_with_nothing_in_hand_and_no_lease_is_done_at_once);
    tcase_add_test(tc, stop_does_not_wait_for_ever_for_the_resignation);
    tcase_add_test(tc, stop_while_the_lease_is_asked_for_gives_it_back);
    tcase_add_test(tc, once_ends_when_all_is_marked);
    tcase_add_test(tc, once_reads_on_while_it_is_catching_up);
    tcase_add_test(tc, once_is_unclean_when_only_refused_rows_are_left);
    tcase_add_test(tc, once_is_unclean_when_the_broker_does_not_answer);
    tcase_add_test(tc, once_is_unclean_when_it_never_gets_the_lease);
    tcase_add_test(tc, once_does_not_wait_for_scheduled_rows);
}

Suite *suite_core(void);

Suite *suite_core(void)
{
    Suite *suite = suite_create("core");

    add_flow(suite);
    add_trouble(suite);
    add_database(suite);
    add_end(suite);
    return suite;
}
