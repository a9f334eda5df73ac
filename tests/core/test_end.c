/* test_end.c - how the core stops and how it quits, as small stories. */
#include "tests/core/trace.h"

/* -- stopping --------------------------------------------------------------------------------- */

START_TEST(stop_waits_for_reports_marks_and_resigns)
{
    lead_with_open_topic();
    page("A-1");
    pass(1);
    page("B-1 B-2");
    expect_but_reads("produce A-1 main\nproduce B-1 main\n");
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
    expect("release B-1\nresign before page 2\n");
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

START_TEST(stop_that_is_said_twice_takes_no_longer)
{
    rows_out("A-1", "produce A-1 main\n");
    stop();
    pass_quietly(9000);
    stop();
    leave_out("renew");
    expect("");
    pass_quietly(1000);
    leave_out("renew");
    expect("reset main\n");
    link_is(false);
    pass(5000);
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    stop();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
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
    expect("acquire\nread 4\nresign before page 0\n");
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

/* -- quitting --------------------------------------------------------------------------------- */

START_TEST(quit_purges_after_two_seconds_and_resigns)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n");
    quit();
    pass_quietly(1999);
    leave_out("renew");
    expect("");
    pass_quietly(1);
    expect("reset main\n");
    report("A-1", OUTCOME_MAYBE, BLAME_NONE);
    expect("release A-1\n");
    persisted("A-2");
    lane_ready(LANE_MAIN, true);
    expect("mark A-2\n");
    marked(true);
    expect("release A-2\nresign before page 1\n");
    core_resigned(&t.core, t.now);
    run();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
}
END_TEST

/* What cannot be marked is found in its topic by the next leader, which begins before it. */
START_TEST(quit_marks_once)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n");
    persisted("A-1");
    pass(100);
    expect_but_reads("mark A-1\n");
    core_quit(&t.core, t.now);
    marked(false);
    expect("release A-1\n");
    persisted("A-2");
    expect("mark A-2\n");
    marked(false);
    expect("release A-2\nresign before page 1\n");
}
END_TEST

START_TEST(quit_never_resigns_with_rows_out)
{
    rows_out("A-1", "produce A-1 main\n");
    quit();
    pass_quietly(2000);
    leave_out("renew");
    expect("reset main\n");
    pass_quietly(4999);
    leave_out("renew");
    expect("");
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    pass_quietly(1);
    leave_out("renew");
    expect("");
    ck_assert_int_eq(t.core.phase, CORE_DONE);
}
END_TEST

START_TEST(quit_without_a_link_is_done_at_once)
{
    begin();
    quit();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    rows_out("A-1", "produce A-1 main\n");
    link_is(false);
    quit();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    rows_out("A-1", "produce A-1 main\n");
    quit();
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    link_is(false);
    ck_assert_int_eq(t.core.phase, CORE_DONE);
}
END_TEST

/* The lease was had, and what is held could not be loaded: the failure tells nothing of the lease. */
START_TEST(quit_gives_back_what_may_be_ours)
{
    begin();
    link_is(true);
    expect("acquire\n");
    core_quit(&t.core, t.now);
    core_lease_failed(&t.core, t.now);
    run();
    expect("resign before page 0\n");
}
END_TEST

/* It was the only one of its page: nothing else keeps the cursor before it. */
START_TEST(quit_for_want_of_memory_leaves_the_row_to_the_next)
{
    rows_out("A-1", "produce A-1 main\n"); /* page 1 */
    persisted("A-1");
    pass(5);
    marked(true);
    expect("mark A-1\nread 4\nrelease A-1\n");
    core_quit(&t.core, t.now);
    core_row_lost(&t.core);
    page_end(1, false, false);
    expect("resign before page 2\n");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_end(void);

Suite *suite_end(void)
{
    Suite *suite = suite_create("end");
    TCase *tc = new_case(suite, "stopping");

    tcase_add_test(tc, stop_waits_for_reports_marks_and_resigns);
    tcase_add_test(tc, stop_keeps_the_lease_while_it_waits);
    tcase_add_test(tc, stop_purges_when_its_time_is_over);
    tcase_add_test(tc, stop_that_is_said_twice_takes_no_longer);
    tcase_add_test(tc, stop_that_cannot_mark_ends_unclean);
    tcase_add_test(tc, stop_with_nothing_in_hand_and_no_lease_is_done_at_once);
    tcase_add_test(tc, stop_does_not_wait_for_ever_for_the_resignation);
    tcase_add_test(tc, stop_while_the_lease_is_asked_for_gives_it_back);
    tcase_add_test(tc, quit_purges_after_two_seconds_and_resigns);
    tcase_add_test(tc, quit_marks_once);
    tcase_add_test(tc, quit_never_resigns_with_rows_out);
    tcase_add_test(tc, quit_without_a_link_is_done_at_once);
    tcase_add_test(tc, quit_gives_back_what_may_be_ours);
    tcase_add_test(tc, quit_for_want_of_memory_leaves_the_row_to_the_next);
    return suite;
}
