/* test_topics.c - topics that take nothing, as small stories about the core: how that is found out, the way of
 * their rows into outbox.held, and the probe. The way back is test_topics_back.c. */
#include "tests/core/trace.h"

/* -- the first row -------------------------------------------------------------------------- */

START_TEST(first_row_of_a_topic_goes_alone_and_opens_it)
{
    lead();
    page("Ax1 Ay1 Bx1 Az1");
    expect("produce Ax1 main\nproduce Bx1 main\n");
    persisted("Ax1");
    expect("produce Ay1 main\nproduce Az1 main\n");
}
END_TEST

START_TEST(refused_first_row_does_not_close_its_topic)
{
    lead();
    page("Ax1 Ay1");
    refused("Ax1");
    expect("produce Ax1 main\nproduce Ax1 solo\n");
    refused("Ax1");
    expect("hold Ax1 retrying\nproduce Ay1 main\n");
}
END_TEST

/* -- failing -------------------------------------------------------------------------------- */

START_TEST(missing_topic_is_paused_and_others_flow)
{
    lead_with_open_topic();
    page("Mx1 My1 A-1 M-1");
    expect("produce Mx1 main\nproduce A-1 main\n");
    topic_failed("Mx1");
    expect("hold Mx1 paused, My1 paused, M-1 paused\n"); /* whatever their keys are */
    ck_assert_uint_eq(row_of("Mx1")->attempts, 0);
    pass(1);
    page("Mx2 A-2");
    held(true);
    expect_but_reads("produce A-2 main\nrelease Mx1\nrelease My1\nrelease M-1\nhold Mx2 paused\n");
}
END_TEST

START_TEST(open_topic_that_fails_stops_the_main_lane)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    topic_failed("Ax1");
    expect("reset main\n");
    topic_failed("Ax2"); /* the same failure */
    lane_ready(LANE_MAIN, true);
    expect("hold Ax1 paused, Ax2 paused\n");
    ck_assert_uint_eq(t.core.topics.topic[topic_of("A")].failures, 1);
}
END_TEST

/* Ay1 was on its way when A failed, and came through. That opens nothing; nothing passes Ax1. */
START_TEST(row_that_came_through_a_failing_topic_is_marked)
{
    rows_out("Ax1 Ay1", "produce Ax1 main\nproduce Ay1 main\n");
    topic_failed("Ax1");
    persisted("Ay1");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nhold Ax1 paused\n");
    pass(5);
    page("Ax2");
    held(true);
    expect_but_reads("release Ax1\nmark Ay1\n");
    marked(true);
    expect_but_reads("release Ay1\nhold Ax2 paused\n");
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
    expect_but_reads("reset main\n");
}
END_TEST

/* -- the probe ------------------------------------------------------------------------------ */

START_TEST(paused_topic_is_probed_by_its_first_held_row_in_the_solo_lane)
{
    topic_is_paused();
    page("");
    pass(48); /* half of the pause, at least */
    expect_but_reads("");
    nothing_new();
    pass(51);
    expect("fetch topic M 1\n");
    paused_rows("Mx1", true);
    expect_but_reads("produce Mx1 solo\n");
}
END_TEST

START_TEST(probe_that_fails_stays_in_held_and_the_next_pause_is_longer)
{
    probe_is_out();
    topic_failed("Mx1");
    expect_but_reads("release Mx1\n"); /* of it nothing new is to be written */
    nothing_new();
    pass(99);
    expect_but_reads("");
    nothing_new();
    pass(101);
    expect("fetch topic M 1\n");
}
END_TEST

START_TEST(probe_that_may_have_been_written_is_remembered_in_held)
{
    probe_is_out();
    report("Mx1", OUTCOME_MAYBE, BLAME_TOPIC);
    expect_but_reads("hold Mx1 paused\n");
    ck_assert(row_of("Mx1")->maybe);
    held(true);
    expect_but_reads("release Mx1\n");
}
END_TEST

START_TEST(probe_that_is_refused_for_itself_is_followed_by_the_next_row)
{
    probe_is_out();
    refused("Mx1");
    expect_but_reads("hold Mx1 retrying\n");
    held(true);
    nothing_new();
    expect_but_reads("release Mx1\nfetch topic M 1\n");
    paused_rows("My1", true);
    expect_but_reads("produce My1 solo\n");
}
END_TEST

START_TEST(new_rows_wait_in_held_while_a_probe_is_out)
{
    probe_is_out();
    pass(20);
    page("Mz1 A-1");
    expect_but_reads("produce A-1 main\nhold Mz1 paused\n");
}
END_TEST

START_TEST(topic_of_which_nothing_is_held_any_more_is_probed_by_a_new_row)
{
    topic_is_paused();
    page("");
    pass(99);
    expect("fetch topic M 1\n");
    ck_assert(topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    paused_rows("", false); /* a person has discarded them */
    ck_assert(!topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    pass(20);
    page("Mx2 Mx3");
    expect_but_reads("produce Mx2 solo\nhold Mx3 paused\n"); /* who knows when it is answered */
    ck_assert(topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    held(true);
    pass(20);
    nothing_new();
    expect_but_reads("release Mx3\n"); /* one probe is enough */
    persisted("Mx2");
    nothing_new();
    expect_but_reads("fetch topic M 4\n");
    paused_rows("Mx3", false);
    expect_but_reads("produce Mx3 main\n");
}
END_TEST

START_TEST(topic_that_was_deserted_keeps_rows_waiting_when_it_fails_again)
{
    topic_is_paused();
    page("");
    pass(99);
    expect("fetch topic M 1\n");
    paused_rows("", false);
    pass(20);
    page("Mx2");
    expect_but_reads("produce Mx2 solo\n");
    topic_failed("Mx2");
    ck_assert(topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    expect_but_reads("hold Mx2 paused\n");
}
END_TEST

/* -- by key and by topic -------------------------------------------------------------------- */

/* Mk1 was refused for itself, and is due when its topic takes nothing. */
START_TEST(row_that_is_due_while_its_topic_is_paused_is_postponed_without_an_attempt)
{
    topic_is_paused();
    page("");
    core_swept(&t.core, t.now, true); /* something is due */
    run();
    expect("fetch due 4\n");
    due("Mk1 Mk2", HELD_KEY, 2);
    expect_but_reads("release Mk2\nhold Mk1 retrying\n");
    ck_assert_uint_eq(row_of("Mk1")->attempts, 2);
    ck_assert_uint_eq(row_of("Mk1")->delay_ms, 100);
}
END_TEST

/* Mk1 is the probe of its topic. It may be refused for itself, and dead in the end: behind it nothing has a
 * time of its own. */
START_TEST(row_behind_the_probe_of_its_key_is_blocked_and_not_postponed)
{
    topic_is_paused();
    page("");
    core_swept(&t.core, t.now, true); /* something is due, once the pause is over */
    pass(100);
    expect_but_reads("fetch due 4\n");
    due("Mk1 Mk2 Mk3", HELD_KEY, 2);
    expect("fetch topic M 1\nproduce Mk1 solo\nrelease Mk3\n");
    topic_end(false);
    expect_but_reads("hold Mk2 blocked\n");
    held(true);
    expect_but_reads("release Mk2\n");
    refused("Mk1");
    expect("hold Mk1 dead\n");
}
END_TEST

START_TEST(row_is_postponed_until_its_topic_may_work_again)
{
    probe_is_out();
    topic_failed("Mx1");
    nothing_new();
    core_swept(&t.core, t.now, true); /* something is due */
    run();
    due("Mk1", HELD_KEY, 2);
    expect_but_reads("release Mx1\nfetch due 4\nhold Mk1 retrying\n");
    uint64_t pause = t.core.topics.topic[topic_of("M")].due_ms - t.now;
    ck_assert_uint_gt(pause, 100);
    ck_assert_uint_eq(row_of("Mk1")->delay_ms, pause);
}
END_TEST

START_TEST(scheduled_row_that_is_due_while_its_topic_is_paused_waits_with_the_others)
{
    topic_is_paused();
    page("");
    core_swept(&t.core, t.now, true);
    run();
    due("Mk1", HELD_TIME, 0);
    expect_but_reads("fetch due 4\nhold Mk1 paused\n");
}
END_TEST

/* The probe was refused for itself: its key is held, when the topic opens. */
START_TEST(row_that_is_back_with_its_topic_waits_behind_its_key)
{
    probe_is_out();
    refused("Mx1");
    held(true);
    nothing_new();
    paused_rows("My1", true);
    persisted("My1");
    pass(5);
    nothing_new();
    expect_but_reads("hold Mx1 retrying\nrelease Mx1\nfetch topic M 1\nproduce My1 solo\n"
                     "mark My1\n");
    marked(true);
    nothing_new();
    expect_but_reads("release My1\nfetch topic M 4\n");
    paused_rows("Mx2 M-1", false);
    expect_but_reads("produce M-1 main\nhold Mx2 blocked\n");
}
END_TEST

/* are out, each sent 20 ms after the one before, the last one just now. */
static void three_out_one_after_the_other(void)
{
    lead_patiently(100);
    page("A-1");
    pass(20);
    page("A-2");
    pass(20);
    page("A-3");
    expect_but_reads("produce A-1 main\nproduce A-2 main\nproduce A-3 main\n");
}

static void confirmed_after(uint64_t ms, const char *name)
{
    pass_quietly(ms);
    persisted(name);
    leave_out("read");
    leave_out("mark");
}

/* Each is the oldest of a queue that moves. */
START_TEST(rows_of_a_slow_topic_do_not_stall)
{
    three_out_one_after_the_other();
    confirmed_after(50, "A-1");
    confirmed_after(50, "A-2");
    confirmed_after(50, "A-3");
    expect("");
}
END_TEST

/* Its partition stands still, however much the others move. */
START_TEST(row_that_later_ones_of_its_topic_have_passed_stalls)
{
    three_out_one_after_the_other();
    confirmed_after(10, "A-3");
    confirmed_after(50, "A-1"); /* sent before it: that says nothing */
    pass_quietly(60);
    leave_out("read");
    leave_out("mark");
    expect("ask kafka\n");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_topics(void);

Suite *suite_topics(void)
{
    Suite *suite = suite_create("topics");
    TCase *tc = new_case(suite, "the first row");

    tcase_add_test(tc, first_row_of_a_topic_goes_alone_and_opens_it);
    tcase_add_test(tc, refused_first_row_does_not_close_its_topic);
    tc = new_case(suite, "failing");
    tcase_add_test(tc, missing_topic_is_paused_and_others_flow);
    tcase_add_test(tc, open_topic_that_fails_stops_the_main_lane);
    tcase_add_test(tc, row_that_came_through_a_failing_topic_is_marked);
    tcase_add_test(tc, topic_that_fails_in_the_solo_lane_calls_its_rows_back_from_the_main_lane);
    tc = new_case(suite, "the probe");
    tcase_add_test(tc, paused_topic_is_probed_by_its_first_held_row_in_the_solo_lane);
    tcase_add_test(tc, probe_that_fails_stays_in_held_and_the_next_pause_is_longer);
    tcase_add_test(tc, probe_that_may_have_been_written_is_remembered_in_held);
    tcase_add_test(tc, probe_that_is_refused_for_itself_is_followed_by_the_next_row);
    tcase_add_test(tc, new_rows_wait_in_held_while_a_probe_is_out);
    tcase_add_test(tc, topic_of_which_nothing_is_held_any_more_is_probed_by_a_new_row);
    tcase_add_test(tc, topic_that_was_deserted_keeps_rows_waiting_when_it_fails_again);
    tc = new_case(suite, "by key and by topic");
    tcase_add_test(tc, row_that_is_due_while_its_topic_is_paused_is_postponed_without_an_attempt);
    tcase_add_test(tc, row_behind_the_probe_of_its_key_is_blocked_and_not_postponed);
    tcase_add_test(tc, row_is_postponed_until_its_topic_may_work_again);
    tcase_add_test(tc, scheduled_row_that_is_due_while_its_topic_is_paused_waits_with_the_others);
    tcase_add_test(tc, row_that_is_back_with_its_topic_waits_behind_its_key);
    tc = new_case(suite, "standing still");
    tcase_add_test(tc, rows_of_a_slow_topic_do_not_stall);
    tcase_add_test(tc, row_that_later_ones_of_its_topic_have_passed_stalls);
    return suite;
}
