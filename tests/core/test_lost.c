/* test_lost.c - a lease or a link that is lost while something else is under way, and a history that is another
 * behind it, as small stories about the core. */
#include "tests/core/trace.h"

/* -- the lease -------------------------------------------------------------------------------- */

/* A-1 is out in a main lane that was made anew and waits for long before it is again. */
static void row_out_in_a_lane_that_waits(void)
{
    struct core_config cfg = default_config();

    cfg.retry_base_ms = cfg.retry_max_ms = 1000000;
    lead_with(&cfg);
    open_topic();
    lane_fatal(LANE_MAIN);
    lane_ready(LANE_MAIN, true);
    page("A-1");
    expect_but_reads("reset main\nproduce A-1 main\n");
    lane_fatal(LANE_MAIN);
    expect_but_reads("");
}

START_TEST(lost_lease_calls_rows_back_whatever_their_lane_waits_for)
{
    row_out_in_a_lane_that_waits();
    core_lease(&t.core, t.now, false);
    run();
    expect_but_reads("reset main\n");
}
END_TEST

START_TEST(lease_that_ends_calls_rows_back_whatever_their_lane_waits_for)
{
    row_out_in_a_lane_that_waits();
    pass(3000);
    expect_but_reads("reset main\n");
}
END_TEST

START_TEST(drain_that_is_over_calls_rows_back_whatever_their_lane_waits_for)
{
    struct core_config cfg;

    row_out_in_a_lane_that_waits();
    cfg = t.core.cfg;
    cfg.drain_timeout_ms = 1000;
    core_configure(&t.core, t.now, &cfg);
    stop();
    expect("");
    pass(1000);
    leave_out("renew");
    expect("reset main\n");
}
END_TEST

/* Another relay may lead by now, and send the same rows. */
START_TEST(lease_lost_while_stopping_calls_rows_back)
{
    rows_out("A-1", "produce A-1 main\n");
    stop();
    expect("");
    core_lease(&t.core, t.now, false);
    run();
    expect("reset main\n");
    purged("A-1");
    lane_ready(LANE_MAIN, true);
    expect("release A-1\n");
    ck_assert_int_eq(t.core.phase, CORE_DONE);
}
END_TEST

START_TEST(lease_that_is_answered_while_stopping_is_given_back)
{
    begin();
    link_is(true);
    stop();
    pass(1); /* it may be ours already: no end before the answer */
    expect("acquire\n");
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    lease(true);
    expect("resign before page 0\n");
}
END_TEST

/* What is held was so much that it took longer to load than the lease lasts; each piece renewed it. */
START_TEST(lease_lasts_from_the_last_but_one_piece_of_what_is_held)
{
    begin();
    link_is(true);
    for (int i = 0; i < 4; i++) {
        pass(2000);
        core_held_piece(&t.core, t.now);
    }
    lease(true);
    expect("acquire\nread 4\n");
    pass(999); /* the last piece was asked for 2000 before it came */
    ck_assert_int_eq(t.core.phase, CORE_LEAD);
    pass(1);
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
}
END_TEST

/* -- the link --------------------------------------------------------------------------------- */

START_TEST(new_lead_reads_at_once)
{
    struct core_config cfg = default_config();

    cfg.poll_min_ms = cfg.poll_max_ms = 1000000;
    lead_with(&cfg);
    page("");
    link_is(false);
    link_is(true);
    pass(1000);
    lease(true);
    expect("acquire\nread 4\n");
}
END_TEST

START_TEST(new_link_does_not_wait_for_what_failed_on_the_old_one)
{
    struct core_config cfg = default_config();

    cfg.retry_base_ms = cfg.retry_max_ms = 1000000;
    lead_with(&cfg);
    read_failed();
    link_is(false);
    link_is(true);
    pass(1000);
    lease(true);
    expect("acquire\nread 4\n");
}
END_TEST

/* A-1 came from outbox.held and is confirmed; its mark is under way on a link that the relay does not lead on yet. */
static void mark_of_a_held_row_under_way_in_following(void)
{
    lead_with_open_topic();
    due_by_hand();
    pass_quietly(1000);
    nothing_new();
    leave_out("renew");
    expect_but_reads("fetch due 4\n");
    due("A-1", HELD_KEY, 0);
    persisted("A-1");
    link_is(false);
    link_is(true);
    expect_but_reads("produce A-1 main\nmark A-1\n");
}

/* It is in its topic: read again it would go twice. */
START_TEST(mark_of_a_held_row_is_repeated_when_its_link_is_lost)
{
    mark_of_a_held_row_under_way_in_following();
    link_is(false);
    expect("");
    link_is(true);
    expect("mark A-1\n");
}
END_TEST

START_TEST(mark_of_a_held_row_that_fails_keeps_no_lead_from_beginning)
{
    mark_of_a_held_row_under_way_in_following();
    marked(false);
    pass(1000);
    expect("release A-1\nacquire\n");
}
END_TEST

START_TEST(stop_without_a_link_and_with_nothing_in_hand_is_done_at_once)
{
    lead();
    link_is(false);
    ck_assert(t.core.lead.leading); /* as far as it knows */
    stop();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(!t.core.unclean);
}
END_TEST

/* -- history ---------------------------------------------------------------------------------- */

/* Its id may be another event's there. It is read again, if it is there. */
START_TEST(row_confirmed_before_the_history_moved_is_not_marked)
{
    rows_out("A-1", "produce A-1 main\n");
    persisted("A-1");
    link_is(false);
    core_moved(&t.core);
    link_is(true);
    pass(1000);
    expect("release A-1\nacquire\n");
    ck_assert_uint_eq(t.core.given_up_page, 1);
}
END_TEST

START_TEST(row_confirmed_after_the_history_moved_is_not_marked)
{
    rows_out("A-1", "produce A-1 main\n");
    link_is(false);
    core_moved(&t.core);
    link_is(true);
    persisted("A-1");
    pass(1000);
    expect("release A-1\nacquire\n");
    lease(true);
    page("A-1");
    persisted("A-1");
    pass(5);
    expect_but_reads("produce A-1 main\nmark A-1\n"); /* read in this history */
}
END_TEST

Suite *suite_lost(void);

Suite *suite_lost(void)
{
    Suite *s = suite_create("lost");
    TCase *tc = new_case(s, "the lease");

    tcase_add_test(tc, lost_lease_calls_rows_back_whatever_their_lane_waits_for);
    tcase_add_test(tc, lease_that_ends_calls_rows_back_whatever_their_lane_waits_for);
    tcase_add_test(tc, drain_that_is_over_calls_rows_back_whatever_their_lane_waits_for);
    tcase_add_test(tc, lease_lost_while_stopping_calls_rows_back);
    tcase_add_test(tc, lease_that_is_answered_while_stopping_is_given_back);
    tcase_add_test(tc, lease_lasts_from_the_last_but_one_piece_of_what_is_held);
    tc = new_case(s, "the link");
    tcase_add_test(tc, new_lead_reads_at_once);
    tcase_add_test(tc, new_link_does_not_wait_for_what_failed_on_the_old_one);
    tcase_add_test(tc, mark_of_a_held_row_is_repeated_when_its_link_is_lost);
    tcase_add_test(tc, mark_of_a_held_row_that_fails_keeps_no_lead_from_beginning);
    tcase_add_test(tc, stop_without_a_link_and_with_nothing_in_hand_is_done_at_once);
    tc = new_case(s, "history");
    tcase_add_test(tc, row_confirmed_before_the_history_moved_is_not_marked);
    tcase_add_test(tc, row_confirmed_after_the_history_moved_is_not_marked);
    return s;
}
