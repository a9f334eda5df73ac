/* test_flow.c - what the core does about Kafka's answers, as small stories: batches that are
 * refused, rows that may have been written, lanes that break, rows that are out too long. */
#include "tests/core/trace.h"

/* -- refused batches ------------------------------------------------------------------------ */

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
    expect("hold Ay1 retrying\n");
    held(true);
    pass(5);
    expect_but_reads("release Ay1\nmark Ax1 Az1\n");
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

START_TEST(row_behind_a_suspect_of_its_key_waits_for_it)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    refused("Ax1");
    purged("Ax2");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce Ax1 solo\n");
    pass(1);
    page("Ax3 Ay1");
    expect_but_reads("produce Ay1 main\n");
    persisted("Ax1");
    expect("produce Ax2 main\nproduce Ax3 main\n");
}
END_TEST

START_TEST(row_that_may_be_in_the_log_goes_again_and_is_not_marked)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    report("Ax1", OUTCOME_MAYBE, BLAME_NONE);
    report("Ax2", OUTCOME_MAYBE, BLAME_NONE);
    expect("reset main\n");
    ck_assert(row_of("Ax1")->maybe);
    ck_assert_uint_eq(t.core.n_maybe, 2);
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\nproduce Ax2 main\n");
}
END_TEST

/* -- refused before they are sent ----------------------------------------------------------- */

/* As the driver does when the sink knows that the row is too large. */
static void refused_here(const char *name)
{
    core_refused(&t.core, t.now, slot_of(name), false);
    run();
}

/* As the driver does with a row that no attempt would let through. */
static void refused_for_good(const char *name)
{
    core_refused(&t.core, t.now, slot_of(name), true);
    run();
}

static void unreadable(const char *name, bool key_unreadable)
{
    core_unreadable(&t.core, t.now, slot_of(name), key_unreadable);
    run();
}

START_TEST(row_that_the_sink_refuses_goes_to_held_without_a_reset)
{
    rows_out("Ay1 Ax1", "produce Ay1 main\nproduce Ax1 main\n");
    refused_here("Ax1");
    expect("hold Ax1 retrying\n");
    ck_assert_uint_eq(row_of("Ax1")->attempts, 1);
    held(true);
    persisted("Ay1");
    pass(5);
    expect_but_reads("release Ax1\nmark Ay1\n");
}
END_TEST

START_TEST(row_that_is_refused_for_good_is_dead_at_once_and_holds_its_key)
{
    rows_out("Ay1 Ax1", "produce Ay1 main\nproduce Ax1 main\n");
    refused_for_good("Ax1");
    expect("hold Ax1 dead\n");
    ck_assert_uint_eq(row_of("Ax1")->attempts, 0);
    pass(1);
    page("Ax2 Ay2");
    expect_but_reads("produce Ay2 main\n");
    held(true);
    expect("release Ax1\nhold Ax2 blocked\n");
    ck_assert_uint_eq(t.core.n_dead, 1);
}
END_TEST

START_TEST(row_that_cannot_be_read_is_dead_at_once_and_holds_its_key)
{
    rows_out("Ay1 Ax1", "produce Ay1 main\nproduce Ax1 main\n");
    unreadable("Ax1", false);
    expect("hold Ax1 dead\n");
    held(true);
    pass(1);
    page("Ax2");
    expect_but_reads("release Ax1\nhold Ax2 blocked\n");
}
END_TEST

START_TEST(topic_waits_behind_a_row_whose_key_cannot_be_read)
{
    rows_out("A-1", "produce A-1 main\n");
    unreadable("A-1", true);
    expect("reset main\n");
    lane_ready(LANE_MAIN, true);
    expect("hold A-1 paused\n");
    held(true);
    pass(1);
    page("Ax2");
    expect_but_reads("release A-1\nhold Ax2 paused\n");
}
END_TEST

START_TEST(row_whose_key_cannot_be_read_is_dead_where_later_ones_pass)
{
    struct core_config cfg = default_config();

    cfg.skip_poison = true;
    lead_with(&cfg);
    open_topic();
    page("A-1");
    unreadable("A-1", true);
    expect_but_reads("produce A-1 main\nhold A-1 dead\n");
}
END_TEST

/* The earlier row of its key may yet come home unwritten; the later one waits for it like any other. */
START_TEST(row_with_more_hops_than_it_may_have_is_dead_at_once)
{
    struct core_config cfg = t.core.cfg;

    rows_out("Ay1 Ax1", "produce Ay1 main\nproduce Ax1 main\n");
    ck_assert(!core_refuses_hops(&t.core, t.now, slot_of("Ax1"), UINT64_MAX)); /* no limit is set */
    cfg.hops_max = 3;
    core_configure(&t.core, t.now, &cfg);
    ck_assert(!core_refuses_hops(&t.core, t.now, slot_of("Ax1"), 3));
    expect("");
    ck_assert(core_refuses_hops(&t.core, t.now, slot_of("Ax1"), 4));
    run();
    expect("hold Ax1 dead\n");
}
END_TEST

START_TEST(row_that_is_refused_for_good_behind_one_of_its_key_waits_for_that_one)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    refused_for_good("Ax2");
    expect("reset main\n");
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 solo\n");
    persisted("Ax1");
    expect("produce Ax2 solo\n");
    refused_for_good("Ax2");
    expect("hold Ax2 dead\n");
}
END_TEST

START_TEST(later_rows_of_its_key_do_not_pass_a_row_that_the_sink_refused)
{
    rows_out("Ax1", "produce Ax1 main\n");
    refused_here("Ax1");
    expect("hold Ax1 retrying\n");
    pass(1);
    page("Ax2 Ay1");
    expect_but_reads("produce Ay1 main\n");
    held(true);
    expect("release Ax1\nhold Ax2 blocked\n");
}
END_TEST

START_TEST(row_that_the_sink_refuses_behind_one_of_its_key_waits_for_that_one)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    refused_here("Ax2");
    expect("reset main\n"); /* Ax1 may come home unwritten, and goes before Ax2 */
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 solo\n");
    persisted("Ax1");
    expect("produce Ax2 solo\n");
    refused_here("Ax2");
    expect("hold Ax2 retrying\n");
    ck_assert_uint_eq(row_of("Ax2")->attempts, 1); /* only this one was about Ax2 alone */
}
END_TEST

START_TEST(pilot_that_the_sink_refuses_lets_the_next_row_find_out)
{
    lead();
    page("Ax1 Ay1");
    expect("produce Ax1 main\n");
    refused_here("Ax1");
    expect("hold Ax1 retrying\nproduce Ay1 main\n");
}
END_TEST

START_TEST(later_rows_wait_until_one_that_the_sink_refused_is_dead)
{
    struct core_config cfg = default_config();

    cfg.skip_poison = true;
    cfg.retry_attempts = 0;
    lead_with(&cfg);
    open_topic();
    page("Ax1");
    refused_here("Ax1");
    pass(1);
    page("Ax2");
    expect_but_reads("produce Ax1 main\nhold Ax1 dead\n");
    held(true);
    expect_but_reads("release Ax1\nproduce Ax2 main\n");
}
END_TEST

/* -- lanes ---------------------------------------------------------------------------------- */

START_TEST(fatal_lane_is_reset_and_its_rows_go_again_in_order)
{
    rows_out("Ax1 Ax2 Ax3", "produce Ax1 main\nproduce Ax2 main\nproduce Ax3 main\n");
    lane_fatal(LANE_MAIN);
    expect("reset main\n");
    purged("Ax3");
    persisted("Ax1");
    purged("Ax2");
    pass(4);
    expect_but_reads("");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax2 main\nproduce Ax3 main\n");
}
END_TEST

START_TEST(nothing_is_produced_while_a_lane_stops)
{
    rows_out("Ax1", "produce Ax1 main\n");
    pass(1);
    expect("read 4\n");
    lane_fatal(LANE_MAIN);
    page("By1 Ax2");
    expect("reset main\n");
    purged("Ax1");
    lane_ready(LANE_MAIN, true);
    expect("produce Ax1 main\nproduce By1 main\nproduce Ax2 main\n");
}
END_TEST

START_TEST(reset_that_fails_is_tried_again_with_backoff)
{
    rows_out("Ax1", "produce Ax1 main\n");
    lane_fatal(LANE_MAIN);
    purged("Ax1");
    expect("reset main\n");
    lane_ready(LANE_MAIN, false);
    pass(49);
    expect_but_reads("");
    pass(51);
    expect_but_reads("reset main\n");
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
    expect_but_reads("");
    pass(51);
    lane_ready(LANE_MAIN, true);
    expect_but_reads("reset main\nproduce Ax1 main\n");
    purged("Ax1");
    pass(99);
    expect_but_reads("");
    pass(101);
    expect_but_reads("reset main\n");
}
END_TEST

/* -- rows that are out too long ------------------------------------------------------------- */

enum { STALL_MS = 400 };

/* A and B are open. Ax1 is out, and nothing is heard of it for longer than stall.timeout. */
static void stall(void)
{
    struct core_config cfg = default_config();

    cfg.stall_timeout_ms = STALL_MS;
    cfg.lease_ttl_ms = 60000;
    lead_with(&cfg);
    open_topic();
    page("B-0");
    persisted("B-0");
    pass(5);
    marked(true);
    page("Ax1");
    expect_but_reads("produce B-0 main\nmark B-0\nrelease B-0\nproduce Ax1 main\n");
}

static void kafka_answered(bool any)
{
    core_kafka_answered(&t.core, t.now, any);
    run();
}

START_TEST(row_that_is_out_too_long_makes_the_core_ask_for_any_broker)
{
    stall();
    pass_quietly(STALL_MS - 1);
    leave_out("renew");
    expect_but_reads("");
    pass_quietly(STALL_MS / 4 + 1); /* it looks four times as often */
    leave_out("renew");
    expect_but_reads("ask kafka\n");
    pass_quietly(10 * STALL_MS);
    leave_out("renew");
    expect(""); /* one question at a time */
}
END_TEST

START_TEST(topic_that_does_not_move_while_a_broker_answers_is_paused)
{
    stall();
    (void)wait_for("ask kafka\n", 2 * STALL_MS);
    page("B-1"); /* out a moment ago: no fault of its topic */
    expect_but_reads("ask kafka\nproduce B-1 main\n");
    kafka_answered(true);
    expect("reset main\n");
    purged("Ax1");
    purged("B-1");
    lane_ready(LANE_MAIN, true);
    expect("produce B-1 main\nhold Ax1 paused\n");
}
END_TEST

START_TEST(first_row_of_a_topic_that_does_not_move_is_called_back)
{
    stall();
    persisted("Ax1");
    pass(5);
    marked(true);
    nothing_new();
    pass(20);
    page("Nx1");
    t.trace[0] = '\0';
    (void)wait_for("ask kafka\n", 2 * STALL_MS);
    kafka_answered(true);
    leave_out("renew");
    expect_but_reads("ask kafka\nreset main\n");
    purged("Nx1");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("hold Nx1 paused\n");
}
END_TEST

START_TEST(nothing_is_paused_when_no_broker_answers)
{
    stall();
    (void)wait_for("ask kafka\n", 2 * STALL_MS);
    expect_but_reads("ask kafka\n");
    kafka_answered(false);
    expect("");
    ck_assert_uint_eq(t.core.topics.n_paused, 0);
    ck_assert_uint_le(wait_for("ask kafka\n", STALL_MS), STALL_MS / 4 + 1);
    persisted("Ax1"); /* it was slow */
    kafka_answered(true);
    expect_but_reads("ask kafka\n");
    ck_assert_uint_eq(t.core.topics.n_paused, 0);
}
END_TEST

START_TEST(rows_get_their_time_when_the_brokers_are_back)
{
    stall();
    (void)wait_for("ask kafka\n", 2 * STALL_MS);
    kafka_answered(false);
    uint64_t silent_ms = t.now;
    do {
        t.trace[0] = '\0';
        (void)wait_for("ask kafka\n", STALL_MS);
        kafka_answered(true);
        ck_assert_uint_eq(t.core.topics.n_paused, t.now - silent_ms >= STALL_MS);
    } while (t.core.topics.n_paused == 0);
    ck_assert_uint_le(t.now - silent_ms, STALL_MS + STALL_MS / 2);
}
END_TEST

START_TEST(no_broker_is_asked_for_while_rows_move)
{
    stall();
    for (int i = 0; i < 20; i++) {
        pass_quietly(STALL_MS / 2);
        persisted("Ax1");
        pass_quietly(5);
        marked(true);
        page("Ax1");
    }
    ck_assert_ptr_null(strstr(t.trace, "ask kafka"));
}
END_TEST

START_TEST(stall_timeout_0_is_never)
{
    rows_out("Ax1", "produce Ax1 main\n");
    pass_quietly(100000);
    leave_out("renew");
    expect_but_reads("");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_flow(void);

Suite *suite_flow(void)
{
    Suite *suite = suite_create("flow");
    TCase *tc = new_case(suite, "refused batches");

    tcase_add_test(tc, refused_batch_goes_again_one_by_one_and_only_the_culprit_waits);
    tcase_add_test(tc, suspects_of_one_key_go_one_after_the_other);
    tcase_add_test(tc, row_behind_a_suspect_of_its_key_waits_for_it);
    tcase_add_test(tc, row_that_may_be_in_the_log_goes_again_and_is_not_marked);
    tc = new_case(suite, "refused before they are sent");
    tcase_add_test(tc, row_that_the_sink_refuses_goes_to_held_without_a_reset);
    tcase_add_test(tc, row_that_is_refused_for_good_is_dead_at_once_and_holds_its_key);
    tcase_add_test(tc, row_with_more_hops_than_it_may_have_is_dead_at_once);
    tcase_add_test(tc, row_that_cannot_be_read_is_dead_at_once_and_holds_its_key);
    tcase_add_test(tc, topic_waits_behind_a_row_whose_key_cannot_be_read);
    tcase_add_test(tc, row_whose_key_cannot_be_read_is_dead_where_later_ones_pass);
    tcase_add_test(tc,
                   row_that_is_refused_for_good_behind_one_of_its_key_waits_for_that_one);
    tcase_add_test(tc, later_rows_of_its_key_do_not_pass_a_row_that_the_sink_refused);
    tcase_add_test(tc, row_that_the_sink_refuses_behind_one_of_its_key_waits_for_that_one);
    tcase_add_test(tc, pilot_that_the_sink_refuses_lets_the_next_row_find_out);
    tcase_add_test(tc, later_rows_wait_until_one_that_the_sink_refused_is_dead);
    tc = new_case(suite, "lanes");
    tcase_add_test(tc, fatal_lane_is_reset_and_its_rows_go_again_in_order);
    tcase_add_test(tc, nothing_is_produced_while_a_lane_stops);
    tcase_add_test(tc, reset_that_fails_is_tried_again_with_backoff);
    tcase_add_test(tc, lane_that_keeps_failing_is_reset_ever_more_rarely);
    tc = new_case(suite, "rows that are out too long");
    tcase_add_test(tc, row_that_is_out_too_long_makes_the_core_ask_for_any_broker);
    tcase_add_test(tc, topic_that_does_not_move_while_a_broker_answers_is_paused);
    tcase_add_test(tc, first_row_of_a_topic_that_does_not_move_is_called_back);
    tcase_add_test(tc, nothing_is_paused_when_no_broker_answers);
    tcase_add_test(tc, rows_get_their_time_when_the_brokers_are_back);
    tcase_add_test(tc, no_broker_is_asked_for_while_rows_move);
    tcase_add_test(tc, stall_timeout_0_is_never);
    return suite;
}
