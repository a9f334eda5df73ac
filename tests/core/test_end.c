/* test_end.c - how the core stops, and when --once has ended, as small stories. */
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

/* -- once ------------------------------------------------------------------------------------- */

static void lead_once(void)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    lead_with(&cfg);
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

START_TEST(once_is_unclean_when_a_refused_row_is_held)
{
    lead_once();
    page("A-1"); /* no key: nothing else would tell of it */
    refused("A-1");
    refused("A-1");
    expect("produce A-1 main\nproduce A-1 solo\nhold A-1 retrying\n");
    held(true);
    expect("release A-1\nresign before page 1\n"); /* it does not wait for the next attempt */
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(once_is_unclean_when_a_topic_is_paused)
{
    lead_once();
    page("Mx1");
    topic_failed("Mx1");
    expect("produce Mx1 main\nhold Mx1 paused\n");
    held(true);
    expect("release Mx1\nresign before page 1\n");
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(once_does_not_wait_for_another_while_its_own_lease_is_loaded)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    for (uint64_t ms = 0; ms < 3 * cfg.lease_ttl_ms; ms += cfg.lease_ttl_ms / 4) {
        pass(cfg.lease_ttl_ms / 4);
        core_held_piece(&t.core, t.now);
    }
    lease(true);
    page("");
    expect("acquire\nread 4\nresign before page 1\n");
    ck_assert(!t.core.unclean);
}
END_TEST

/* A row of outbox.held that cannot be read, perhaps: behind the same piece each time. */
START_TEST(once_ends_when_its_own_lease_is_never_loaded)
{
    struct core_config cfg = default_config();
    struct core_action a;

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    for (uint64_t ms = 0; ms < 3 * cfg.lease_ttl_ms && t.core.phase != CORE_DONE; ms += 1000) {
        pass(1000);
        if (t.core.lead.asking) {
            core_held_piece(&t.core, t.now);
            core_lease_failed(&t.core, t.now);
        }
        while (core_next(&t.core, t.now, &a))
            if (a.what == CORE_RESIGN)
                core_resigned(&t.core, t.now);
    }
    ck_assert_int_eq(t.core.phase, CORE_DONE);
    ck_assert(t.core.unclean);
}
END_TEST

/* What an earlier relay has left. */
START_TEST(once_is_unclean_when_a_key_is_held_and_not_due)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    lease(true);
    page("");
    expect("acquire\nread 4\nresign before page 1\n");
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(once_sends_what_is_due)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    due_by_hand();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    lease(true);
    page("");
    expect("acquire\nread 4\nfetch due 4\n");
    due("Ax1", HELD_KEY, 1);
    expect("produce Ax1 solo\n");
    persisted("Ax1");
    expect("mark Ax1\n");
    freed("Ax1");
    marked(true);
    expect("release Ax1\nfetch due 4\n"); /* of its key more may be due */
    due("", HELD_KEY, 0);
    expect("resign before page 1\n");
    ck_assert(!t.core.unclean);
}
END_TEST

START_TEST(once_sends_what_is_held_of_a_topic_that_works)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    begin_with(&cfg);
    link_is(true);
    core_held_topic(&t.core, t.now, topic_of("M"));
    lease(true);
    page("");
    expect("acquire\nread 4\nfetch topic M 1\n");
    paused_rows("Mx1", true);
    persisted("Mx1");
    expect("produce Mx1 solo\nmark Mx1\n");
    marked(true);
    expect("release Mx1\nfetch topic M 4\n");
    paused_rows("Mx2", false);
    persisted("Mx2");
    marked(true);
    expect("produce Mx2 main\nmark Mx2\nrelease Mx2\nresign before page 1\n");
    ck_assert(!t.core.unclean);
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

/* The window is full, so that it never sees the end of what there is. */
START_TEST(once_is_unclean_when_the_broker_does_not_answer_to_a_full_window)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    cfg.inflight_rows = 4;
    lead_with(&cfg);
    ck_assert(answer_read("Ax1 Bx2 Cx3 Dx4", true, false));
    pass_quietly(10000);
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
    ck_assert_int_eq(rows_of_kind("Ax1", ROW_LATER), 1);
    page_end(1, false, false);
    expect("hold Ax1 scheduled\n");
    held(true);
    expect("release Ax1\nresign before page 1\n");
    ck_assert(!t.core.unclean);
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
    tc = new_case(suite, "once");
    tcase_add_test(tc, once_ends_when_all_is_marked);
    tcase_add_test(tc, once_reads_on_while_it_is_catching_up);
    tcase_add_test(tc, once_is_unclean_when_a_refused_row_is_held);
    tcase_add_test(tc, once_is_unclean_when_a_topic_is_paused);
    tcase_add_test(tc, once_does_not_wait_for_another_while_its_own_lease_is_loaded);
    tcase_add_test(tc, once_ends_when_its_own_lease_is_never_loaded);
    tcase_add_test(tc, once_is_unclean_when_a_key_is_held_and_not_due);
    tcase_add_test(tc, once_sends_what_is_due);
    tcase_add_test(tc, once_sends_what_is_held_of_a_topic_that_works);
    tcase_add_test(tc, once_is_unclean_when_the_broker_does_not_answer);
    tcase_add_test(tc, once_is_unclean_when_the_broker_does_not_answer_to_a_full_window);
    tcase_add_test(tc, once_is_unclean_when_it_never_gets_the_lease);
    tcase_add_test(tc, once_does_not_wait_for_scheduled_rows);
    return suite;
}
