/* test_topics_back.c - the way of a topic's rows back from outbox.held, as small stories about the core, and what
 * becomes of those that wait behind them. */
#include "tests/core/trace.h"

/* The probe is marked, and the topic open. */
static void topic_is_open(void)
{
    probe_is_out();
    persisted("Mx1");
    pass(5);
    nothing_new();
    expect_but_reads("mark Mx1\n");
    marked(true);
    nothing_new();
    expect_but_reads("release Mx1\nfetch topic M 4\n"); /* when nothing of it is in the window */
}

START_TEST(open_topic_gets_its_held_rows_back_by_pages_in_order)
{
    topic_is_open();
    paused_rows("My1 M-1", true);
    expect_but_reads("produce My1 main\nproduce M-1 main\n");
    persisted("My1");
    pass(5);
    nothing_new();
    expect_but_reads("mark My1\n");
    marked(true);
    nothing_new();
    expect_but_reads("release My1\n"); /* M-1 is still out */
    persisted("M-1");
    pass(5);
    nothing_new();
    marked(true);
    nothing_new();
    expect_but_reads("mark M-1\nrelease M-1\nfetch topic M 4\n");
}
END_TEST

START_TEST(new_rows_wait_behind_what_is_held_of_an_open_topic)
{
    topic_is_open();
    paused_rows("My1", true);
    pass(20);
    page("Mz1 A-1");
    expect_but_reads("produce My1 main\nproduce A-1 main\n");
    persisted("My1");
    pass(5);
    nothing_new();
    marked(true);
    nothing_new();
    expect_but_reads("mark My1\nrelease My1\nfetch topic M 4\n");
    paused_rows("M-1", false); /* the last one */
    pass(20);
    page("Mz2");
    expect_but_reads("produce M-1 main\n");
    persisted("M-1");
    pass(5);
    nothing_new();
    expect_but_reads("mark M-1\n");
    marked(true);
    expect_but_reads("release M-1\nproduce Mz1 main\nproduce Mz2 main\n");
    ck_assert_uint_eq(t.core.topics.n_held, 0);
}
END_TEST

START_TEST(rows_behind_a_topic_that_are_too_many_go_to_held)
{
    topic_is_open();
    paused_rows("My1", true);
    pass(20);
    page("Mz1 Mz2 Mz3 Mz4");
    expect_but_reads("produce My1 main\n");
    pass(20);
    page("Mz5");
    expect_but_reads("hold Mz1 paused, Mz2 paused, Mz3 paused, Mz4 paused, Mz5 paused\n");
}
END_TEST

START_TEST(rows_behind_a_topic_that_fails_again_go_to_held)
{
    topic_is_open();
    paused_rows("My1 M-1", false);
    pass(20);
    page("Mz1");
    expect_but_reads("produce My1 main\nproduce M-1 main\n");
    topic_failed("My1");
    topic_failed("M-1");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("reset main\nrelease My1\nrelease M-1\nhold Mz1 paused\n");
    held(true);
    nothing_new();
    pass(100); /* the pauses have begun anew */
    nothing_new();
    expect_but_reads("release Mz1\nfetch topic M 1\n");
}
END_TEST

/* In the window it would keep all that is due from being read, for as long as rows of its topic come back. */
START_TEST(scheduled_row_whose_time_has_come_goes_to_the_others_of_its_topic)
{
    topic_is_open();
    paused_rows("My1", true);
    pass_quietly(1000);
    nothing_new();
    leave_out("renew");
    expect_but_reads("produce My1 main\nfetch due 4\n");
    due("Mz1", HELD_TIME, 0);
    expect_but_reads("hold Mz1 paused\n");
}
END_TEST

/* Each of the two is the first of its key. Blocked, the second would be due at once, again and again. */
START_TEST(first_rows_of_two_keys_wait_for_their_topic)
{
    lead_patiently(0);
    page("M-1");
    persisted("M-1");
    pass_quietly(20);
    marked(true);
    page("M-2");
    due_by_hand();
    pass_quietly(1000);
    nothing_new();
    t.trace[0] = '\0';
    due("Mx1 My1", HELD_KEY, 1);
    expect("produce Mx1 solo\nproduce My1 solo\n");
    full("My1");
    topic_failed("M-2");
    lane_ready(LANE_MAIN, true);
    nothing_new();
    expect_but_reads("reset main\nhold M-2 paused, My1 retrying\n");
}
END_TEST

START_TEST(failed_read_of_a_topic_is_repeated_after_a_while)
{
    topic_is_open();
    read_failed();
    pass(49);
    expect("read 4\n"); /* which does not wait for it */
    nothing_new();
    pass(51);
    expect("fetch topic M 4\n");
}
END_TEST

START_TEST(nothing_of_a_topic_is_read_back_while_rows_of_it_go_there)
{
    topic_is_paused();
    page("Mz1");
    expect("hold Mz1 paused\n");
    pass(100);
    nothing_new();
    pass(20);
    expect_but_reads("");
    nothing_new();
    held(false); /* nor while they wait for the next attempt */
    expect_but_reads("");
    pass(100);
    nothing_new();
    expect_but_reads("hold Mz1 paused\n");
    held(true);
    nothing_new();
    expect_but_reads("release Mz1\nfetch topic M 1\n");
}
END_TEST

START_TEST(nothing_is_written_to_held_while_a_topic_is_read)
{
    topic_is_paused();
    page("Az1");
    refused("Az1");
    lane_ready(LANE_MAIN, true);
    pass(99);
    nothing_new();
    expect_but_reads("produce Az1 main\nreset main\nproduce Az1 solo\nfetch topic M 1\n");
    refused("Az1");
    expect("");
    paused_rows("Mx1", true);
    expect_but_reads("hold Az1 retrying\nproduce Mx1 solo\n");
}
END_TEST

/* M fails while My1 and M-1 are out again; its pause is over before their lane is whole. */
START_TEST(rows_of_a_topic_that_failed_are_not_sent_although_its_pause_is_over)
{
    topic_is_open();
    paused_rows("My1 M-1", false);
    topic_failed("My1");
    expect_but_reads("produce My1 main\nproduce M-1 main\nreset main\n");
    pass(100);
    nothing_new();
    expect_but_reads("");
    purged("M-1");
    lane_ready(LANE_MAIN, true);
    nothing_new();
    expect_but_reads("release My1\nrelease M-1\nfetch topic M 1\n"); /* in order, one alone */
}
END_TEST

/* Ax1 was out alone when A failed, and is not home when A works again: the first of its key. */
START_TEST(row_that_was_out_alone_goes_before_what_is_held_of_its_topic)
{
    rows_out("Ax1 Ay1", "produce Ax1 main\nproduce Ay1 main\n");
    refused("Ax1");
    purged("Ay1");
    lane_ready(LANE_MAIN, true);
    pass(100);
    topic_failed("Ay1");
    lane_ready(LANE_MAIN, true);
    held(true);
    nothing_new();
    pass(100);
    nothing_new();
    expect_but_reads("reset main\nproduce Ax1 solo\nproduce Ay1 main\nreset main\n"
                     "hold Ay1 paused\nrelease Ay1\nfetch topic A 1\n");
    paused_rows("Ay1", true);
    persisted("Ay1");
    expect_but_reads("produce Ay1 solo\n");
    purged("Ax1");
    pass(400);
    nothing_new();
    lane_ready(LANE_SOLO, true);
    nothing_new();
    expect_but_reads("reset solo\nmark Ay1\nproduce Ax1 solo\n");
}
END_TEST

START_TEST(rows_behind_a_topic_are_given_up_with_the_lead)
{
    topic_is_open();
    paused_rows("My1", true);
    pass(20);
    page("Mz1");
    expect_but_reads("produce My1 main\n");
    link_is(false);
    expect_but_reads("release Mz1\n");
}
END_TEST

START_TEST(rows_on_their_way_to_held_are_given_up_with_the_link)
{
    lead_with_open_topic();
    page("Mx1 My1");
    topic_failed("Mx1");
    expect("produce Mx1 main\nhold Mx1 paused, My1 paused\n");
    link_is(false);
    expect("release Mx1\nrelease My1\n");
}
END_TEST

START_TEST(rows_on_their_way_to_held_are_given_up_when_that_is_fenced)
{
    lead_with_open_topic();
    page("Mx1 My1");
    topic_failed("Mx1");
    expect("produce Mx1 main\nhold Mx1 paused, My1 paused\n");
    core_lease(&t.core, t.now, false);
    core_held(&t.core, t.now, false);
    run();
    expect("release Mx1\nrelease My1\n");
}
END_TEST

/* What an earlier relay has left. */
START_TEST(topic_that_is_held_at_the_beginning_is_probed_at_once)
{
    begin();
    link_is(true);
    core_held_topic(&t.core, t.now, topic_of("M"));
    lease(true);
    ck_assert(topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    page("M-9 A-1");
    expect_but_reads("acquire\nproduce A-1 main\nhold M-9 paused\n");
    held(true);
    nothing_new();
    expect_but_reads("release M-9\nfetch topic M 1\n");
    paused_rows("M-1", true);
    expect_but_reads("produce M-1 solo\n");
}
END_TEST

START_TEST(topics_that_were_held_are_forgotten_with_the_lead)
{
    topic_is_paused();
    link_is(false);
    link_is(true);
    pass(1000);
    expect("acquire\n");
    lease(true); /* a person has discarded them meanwhile */
    ck_assert(!topic_keeps_rows_waiting(&t.core.topics.topic[topic_of("M")]));
    page("Mx2");
    expect_but_reads("produce Mx2 solo\nfetch due 4\n"); /* as a probe: the topic had failed */
}
END_TEST

Suite *suite_topics_back(void);

Suite *suite_topics_back(void)
{
    Suite *suite = suite_create("topics_back");
    TCase *tc = new_case(suite, "the way back");

    tcase_add_test(tc, open_topic_gets_its_held_rows_back_by_pages_in_order);
    tcase_add_test(tc, new_rows_wait_behind_what_is_held_of_an_open_topic);
    tcase_add_test(tc, rows_behind_a_topic_that_are_too_many_go_to_held);
    tcase_add_test(tc, rows_behind_a_topic_that_fails_again_go_to_held);
    tcase_add_test(tc, scheduled_row_whose_time_has_come_goes_to_the_others_of_its_topic);
    tcase_add_test(tc, first_rows_of_two_keys_wait_for_their_topic);
    tcase_add_test(tc, failed_read_of_a_topic_is_repeated_after_a_while);
    tcase_add_test(tc, nothing_of_a_topic_is_read_back_while_rows_of_it_go_there);
    tcase_add_test(tc, nothing_is_written_to_held_while_a_topic_is_read);
    tcase_add_test(tc, rows_of_a_topic_that_failed_are_not_sent_although_its_pause_is_over);
    tcase_add_test(tc, row_that_was_out_alone_goes_before_what_is_held_of_its_topic);
    tcase_add_test(tc, rows_behind_a_topic_are_given_up_with_the_lead);
    tcase_add_test(tc, rows_on_their_way_to_held_are_given_up_with_the_link);
    tcase_add_test(tc, rows_on_their_way_to_held_are_given_up_when_that_is_fenced);
    tcase_add_test(tc, topic_that_is_held_at_the_beginning_is_probed_at_once);
    tcase_add_test(tc, topics_that_were_held_are_forgotten_with_the_lead);
    return suite;
}
