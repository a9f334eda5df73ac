/* test_reload.c - other settings while something waits by the old ones, as small stories about the core. */
#include "tests/core/trace.h"

enum { LONG_MS = 1000000 };

/* Everything waits for very long. */
static struct core_config long_pauses(void)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 100 * (uint64_t)LONG_MS;
    cfg.retry_base_ms = cfg.retry_max_ms = LONG_MS;
    cfg.stall_timeout_ms = 4 * LONG_MS;
    cfg.drain_timeout_ms = LONG_MS;
    return cfg;
}

/* How long it takes; `most` at most. The outbox is empty all the while. */
static uint64_t wait_in_quiet(const char *line, uint64_t most)
{
    uint64_t start_ms = t.now;

    while (strstr(t.trace, line) == NULL) {
        ck_assert_msg(t.now - start_ms < most, "no %s in %u ms", line, (unsigned)most);
        nothing_new();
        leave_out("read");
        pass_quietly(1);
    }
    return t.now - start_ms;
}

/* What the core waits for comes as soon as with short pauses, and did not before. */
static void reload(const char *trace)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = t.core.cfg.lease_ttl_ms;
    cfg.stall_timeout_ms = 100;
    cfg.drain_timeout_ms = 200;
    pass_quietly(1000);
    nothing_new();
    leave_out("read");
    expect("");
    core_configure(&t.core, t.now, &cfg);
    (void)wait_in_quiet(trace, 401);
    leave_out("renew");
    expect_but_reads(trace);
}

static void lead_with_long_pauses(void)
{
    struct core_config cfg = long_pauses();

    lead_with(&cfg);
    open_topic();
}

START_TEST(outbox_is_read_at_the_pace_of_now)
{
    struct core_config cfg = long_pauses();

    cfg.poll_min_ms = cfg.poll_max_ms = LONG_MS;
    lead_with(&cfg);
    page("");
    pass_quietly(1000);
    leave_out("renew");
    expect("");
    ck_assert_int_eq(t.core.reading, READING_NOTHING);
    cfg.poll_min_ms = 1;
    cfg.poll_max_ms = 20;
    core_configure(&t.core, t.now, &cfg);
    ck_assert_uint_le(wait_for("read 4\n", 21), 20);
}
END_TEST

START_TEST(rows_that_are_out_too_long_by_now_are_seen_at_once)
{
    lead_with_long_pauses();
    page("A-1");
    pass_quietly(20);
    expect_but_reads("produce A-1 main\n");
    reload("ask kafka\n");
}
END_TEST

START_TEST(paused_topic_is_probed_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    page("M-1");
    topic_failed("M-1");
    held(true);
    expect_but_reads("produce M-1 main\nhold M-1 paused\nrelease M-1\n");
    reload("fetch topic M 1\n");
}
END_TEST

START_TEST(paused_rows_are_read_again_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    page("M-1");
    topic_failed("M-1");
    held(true);
    pass_quietly(20);
    page("");
    pass(LONG_MS);
    leave_out("renew");
    expect_but_reads("produce M-1 main\nhold M-1 paused\nrelease M-1\nfetch topic M 1\n");
    read_failed();
    reload("fetch topic M 1\n");
}
END_TEST

START_TEST(read_that_failed_comes_again_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    pass(20);
    read_failed();
    expect("");
    pass_quietly(1000);
    leave_out("renew");
    expect("");
    struct core_config cfg = default_config();
    core_configure(&t.core, t.now, &cfg);
    ck_assert_uint_le(wait_for("read 4\n", 401), 400);
}
END_TEST

START_TEST(mark_that_failed_comes_again_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    page("A-1");
    persisted("A-1");
    pass_quietly(20);
    expect_but_reads("produce A-1 main\nmark A-1\n");
    marked(false);
    reload("mark A-1\n");
}
END_TEST

START_TEST(hold_that_failed_comes_again_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    page("M-1");
    topic_failed("M-1");
    held(false);
    expect_but_reads("produce M-1 main\nhold M-1 paused\n");
    reload("hold M-1 paused\n");
}
END_TEST

START_TEST(lane_is_made_anew_by_the_pauses_of_now)
{
    lead_with_long_pauses();
    lane_fatal(LANE_MAIN);
    lane_ready(LANE_MAIN, false);
    expect_but_reads("reset main\n");
    reload("reset main\n");
}
END_TEST

START_TEST(drain_ends_by_the_timeout_of_now)
{
    lead_with_long_pauses();
    page("A-1");
    pass_quietly(20);
    stop();
    expect_but_reads("produce A-1 main\n");
    reload("reset main\n");
}
END_TEST

START_TEST(longer_pauses_make_none_longer_that_lasts)
{
    struct core_config cfg = default_config();

    lead_with_open_topic();
    lane_fatal(LANE_MAIN);
    lane_ready(LANE_MAIN, false);
    expect_but_reads("reset main\n");
    cfg = long_pauses();
    core_configure(&t.core, t.now, &cfg);
    ck_assert_uint_le(wait_for("reset main\n", 101), 100);
}
END_TEST

Suite *suite_reload(void);

Suite *suite_reload(void)
{
    Suite *s = suite_create("reload");
    TCase *tc = new_case(s, "what waits already");

    tcase_add_test(tc, outbox_is_read_at_the_pace_of_now);
    tcase_add_test(tc, rows_that_are_out_too_long_by_now_are_seen_at_once);
    tcase_add_test(tc, paused_topic_is_probed_by_the_pauses_of_now);
    tcase_add_test(tc, paused_rows_are_read_again_by_the_pauses_of_now);
    tcase_add_test(tc, read_that_failed_comes_again_by_the_pauses_of_now);
    tcase_add_test(tc, mark_that_failed_comes_again_by_the_pauses_of_now);
    tcase_add_test(tc, hold_that_failed_comes_again_by_the_pauses_of_now);
    tcase_add_test(tc, lane_is_made_anew_by_the_pauses_of_now);
    tcase_add_test(tc, drain_ends_by_the_timeout_of_now);
    tcase_add_test(tc, longer_pauses_make_none_longer_that_lasts);
    return s;
}
