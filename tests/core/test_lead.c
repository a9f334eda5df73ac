/* test_lead.c - the link, the lease and the sweep, as small stories about the core. */
#include "tests/core/trace.h"

/* -- the link --------------------------------------------------------------------------------- */

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
    expect_but_reads("mark A-1\n");
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
    lane_fatal(LANE_MAIN);
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
    ck_assert_uint_eq(core_row(&t.core, topic_of("A"), 0, 1, false), NO_SLOT);
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

/* The source has read the page, perhaps, and stands behind it. */
START_TEST(cursor_stays_before_a_page_whose_read_was_lost_with_the_link)
{
    rows_out("A-1", "produce A-1 main\n"); /* page 1 */
    persisted("A-1");
    pass(5);
    marked(true); /* the READ of page 2 is under way */
    expect("mark A-1\nread 4\nrelease A-1\n");
    link_is(false);
    link_is(true);
    stop();
    expect("resign before page 2\n");
}
END_TEST

START_TEST(cursor_that_was_loaded_forgets_what_was_given_up_before)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n"); /* page 1 */
    link_is(false);
    lane_fatal(LANE_MAIN);
    purged("A-1");
    purged("A-2");
    lane_ready(LANE_MAIN, true);
    link_is(true);
    pass(1000);
    expect("reset main\nrelease A-1\nrelease A-2\nacquire\n");
    lease(true);
    page("");
    pass(1000);
    expect_but_reads("renew before page 3\n"); /* where the reader stands; not before page 1 */
}
END_TEST

/* Ax1 is refused alone, and on its way to outbox.held; Ax2, of the same page, is behind it. */
static void hold_under_way(void)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n"); /* page 1 */
    refused("Ax1");
    purged("Ax2");
    lane_ready(LANE_MAIN, true);
    refused("Ax1");
    expect("reset main\nproduce Ax1 solo\nhold Ax1 retrying\n");
}

START_TEST(lost_link_gives_up_the_hold_under_way)
{
    hold_under_way();
    link_is(false);
    expect("release Ax1\nrelease Ax2\n");
    link_is(true);
    pass(1000);
    expect("acquire\n");
}
END_TEST

START_TEST(lost_lease_waits_for_the_hold_under_way_and_believes_it)
{
    hold_under_way();
    lease(false);
    expect("release Ax2\n");
    pass(1000);
    expect(""); /* no acquire with rows in hand */
    held(true);
    expect("release Ax1\nacquire\n");
}
END_TEST

/* The epoch has moved: nothing was written. */
START_TEST(hold_that_is_fenced_is_given_up)
{
    hold_under_way();
    core_lease(&t.core, t.now, false);
    core_held(&t.core, t.now, false);
    run();
    expect("release Ax2\nrelease Ax1\n");
    stop();
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert_uint_eq(t.core.given_up_page, 1); /* had the lease stayed ours */
}
END_TEST

START_TEST(stop_waits_for_the_hold_under_way)
{
    hold_under_way();
    stop();
    expect("release Ax2\n");
    held(true);
    expect("release Ax1\nresign before page 1\n"); /* Ax2 is given up, and of page 1 */
    core_resigned(&t.core, t.now);
    run();
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(stop_gives_up_a_hold_that_fails)
{
    hold_under_way();
    stop();
    held(false);
    expect("release Ax2\nrelease Ax1\nresign before page 1\n");
}
END_TEST

/* -- the lease -------------------------------------------------------------------------------- */

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
    expect("renew before page 0\n");
    lease(true);
    pass(1000);
    expect("renew before page 0\n");
}
END_TEST

START_TEST(lost_lease_calls_everything_back)
{
    rows_out("Ax1 Ax2", "produce Ax1 main\nproduce Ax2 main\n");
    pass(1);
    page("By1 By2");
    pass(1000);
    expect_but_reads("produce By1 main\nrenew before page 1\n");
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
    expect_but_reads("renew before page 1\n");
    pass(1994);
    expect_but_reads("");
    pass(1); /* 3,000 ms after the lease was asked for */
    expect("reset main\n");
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
}
END_TEST

START_TEST(renewal_that_is_answered_after_the_end_does_not_begin_a_new_lead)
{
    lead();
    pass(2900);
    expect("renew before page 0\n");
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

/* -- the sweep ------------------------------------------------------------------------------ */

static void lead_sweeping(void)
{
    struct core_config cfg = default_config();

    cfg.sweep_ms = 200;
    lead_with(&cfg);
}

static void swept(bool found)
{
    core_swept(&t.core, t.now, found);
    run();
}

START_TEST(sweep_comes_at_its_interval)
{
    lead_sweeping();
    page("");
    pass(199);
    expect_but_reads("");
    pass(1);
    expect("sweep\n");
    pass(500); /* however long it takes */
    expect("");
    swept(false);
    expect("");
    pass(199);
    expect("");
    pass(1);
    expect("sweep\n");
}
END_TEST

START_TEST(sweep_waits_until_the_relay_has_caught_up)
{
    lead_sweeping();
    pass(500);
    expect("");
    ck_assert(answer_read("A-1", true, false));
    expect_but_reads("produce A-1 main\n");
    page("");
    expect("sweep\n");
}
END_TEST

START_TEST(sweep_that_found_rows_looks_for_them_at_once)
{
    lead_sweeping();
    page("");
    pass(200);
    expect("sweep\nread 4\n");
    due_by_hand();
    page("");
    expect("");
    swept(true);
    expect("fetch due 4\n");
}
END_TEST

START_TEST(sweep_marks_and_lease_take_turns)
{
    lead_sweeping();
    page("A-1");
    pass(200);
    expect("produce A-1 main\nsweep\nread 4\n");
    persisted("A-1");
    pass(800);
    expect("");
    swept(false);
    expect("renew before page 0\n");
    lease(true);
    expect("mark A-1\n");
    marked(true);
    expect("release A-1\n");
}
END_TEST

START_TEST(sweep_that_was_lost_with_the_link_is_repeated)
{
    lead_sweeping();
    page("");
    pass(200);
    expect("sweep\nread 4\n");
    link_is(false);
    link_is(true);
    pass(800);
    expect("acquire\n");
    lease(true);
    page("");
    pass(200);
    expect("read 4\nsweep\nread 4\n");
}
END_TEST

START_TEST(sweep_is_not_for_once)
{
    struct core_config cfg = default_config();

    cfg.sweep_ms = 200;
    cfg.once = true;
    lead_with(&cfg);
    page("A-1");
    pass(500);
    expect("produce A-1 main\n");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_lead(void);

Suite *suite_lead(void)
{
    Suite *suite = suite_create("lead");
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
    tcase_add_test(tc, cursor_stays_before_a_page_whose_read_was_lost_with_the_link);
    tcase_add_test(tc, cursor_that_was_loaded_forgets_what_was_given_up_before);
    tcase_add_test(tc, lost_link_gives_up_the_hold_under_way);
    tcase_add_test(tc, lost_lease_waits_for_the_hold_under_way_and_believes_it);
    tcase_add_test(tc, hold_that_is_fenced_is_given_up);
    tcase_add_test(tc, stop_waits_for_the_hold_under_way);
    tcase_add_test(tc, stop_gives_up_a_hold_that_fails);
    tc = new_case(suite, "sweep");
    tcase_add_test(tc, sweep_comes_at_its_interval);
    tcase_add_test(tc, sweep_waits_until_the_relay_has_caught_up);
    tcase_add_test(tc, sweep_that_found_rows_looks_for_them_at_once);
    tcase_add_test(tc, sweep_marks_and_lease_take_turns);
    tcase_add_test(tc, sweep_that_was_lost_with_the_link_is_repeated);
    tcase_add_test(tc, sweep_is_not_for_once);
    return suite;
}
