/* test_held_io.c - when the core reads outbox.held, and when it writes there, as small stories; and
 * the rows whose time comes while they are there. */
#include "tests/core/trace.h"

/* -- scheduled ------------------------------------------------------------------------------ */

START_TEST(scheduled_row_that_is_due_goes)
{
    lead_with_open_topic();
    due_by_hand();
    ck_assert_int_eq(rows_of_kind("Ax1", ROW_LATER), 1);
    page_end(1, false, false);
    held(true);
    expect("hold Ax1 scheduled\nrelease Ax1\nfetch due 4\n"); /* when is it due? */
    due_end(70);
    pass(20);
    page("");
    pass(49);
    page("");
    expect_but_reads("");
    pass(1);
    expect("fetch due 4\n");
    due("Ax1", HELD_TIME, 0);
    expect_but_reads("produce Ax1 main\n");
    persisted("Ax1");
    pass(5);
    expect_but_reads("mark Ax1\n");
    marked(true);
    expect_but_reads("release Ax1\n");
}
END_TEST

START_TEST(scheduled_row_that_is_due_waits_like_a_new_one_behind_its_key)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax9", HELD_TIME, 0);
    expect_but_reads("fetch due 4\nhold Ax9 blocked\n");
}
END_TEST

/* It holds nobody back, so its key is free all the same. */
START_TEST(key_is_free_while_a_scheduled_row_of_it_is_on_its_way_to_held)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1", HELD_KEY, 1);
    persisted("Ax1");
    pass(5);
    expect_but_reads("fetch due 4\nproduce Ax1 solo\nmark Ax1\n");
    ck_assert_int_eq(rows_of_kind("Ax8", ROW_LATER), 1);
    page_end(1, false, false);
    freed("Ax1");
    marked(true);
    expect_but_reads("release Ax1\nhold Ax8 scheduled\n");
    held(true);
    due_end(UINT64_MAX);
    pass(20);
    page("Ax9");
    expect_but_reads("release Ax8\nfetch due 4\nproduce Ax9 main\n");
}
END_TEST

/* -- reading back --------------------------------------------------------------------------- */

START_TEST(what_is_due_is_looked_for_once_a_second)
{
    lead_with_open_topic();
    due_by_hand();
    page("");
    pass(994); /* 5 ms were needed before */
    expect_but_reads("");
    page("");
    pass(1);
    expect("renew before page 2\nfetch due 4\n");
    lease(true);
    due_end(UINT64_MAX); /* the database knows of none, but a person may say so at any time */
    pass(999);
    expect_but_reads("");
    page("");
    pass(1);
    expect("renew before page 2\nfetch due 4\n");
}
END_TEST

/* An earlier reader may have left rows that go before those that it has put there. */
START_TEST(nothing_is_read_back_before_the_catching_up_has_ended)
{
    begin();
    due_by_hand();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    lease(true);
    ck_assert(answer_read("A-1", false, true));
    pass(1);
    ck_assert(answer_read("Ax2", false, true));
    expect("acquire\nread 4\nproduce A-1 main\nread 4\nhold Ax2 blocked\n");
    pass(10);
    held(true);
    expect("read 4\nrelease Ax2\n");
    page("");
    expect("fetch due 4\n");
}
END_TEST

START_TEST(nothing_is_read_back_while_rows_of_the_catching_up_have_no_place)
{
    begin();
    due_by_hand();
    link_is(true);
    lease(true);
    ck_assert(answer_read("A-1", false, true));
    persisted("A-1");
    pass(5);
    marked(true);
    expect("acquire\nread 4\nproduce A-1 main\nmark A-1\nread 4\nrelease A-1\n");
    lane_fatal(LANE_MAIN); /* nothing is routed while a lane stops */
    page("Ax1");
    pass(50);
    expect_but_reads("reset main\n");
    lane_ready(LANE_MAIN, true);
    nothing_new();
    expect_but_reads("produce Ax1 main\nfetch due 4\n");
}
END_TEST

START_TEST(nothing_is_written_to_held_while_it_is_read)
{
    default_suspect_out();
    page("A-1"); /* nothing is being read */
    core_swept(&t.core, t.now, true);
    run();
    expect("produce A-1 main\nfetch due 4\n");
    refused("Ax1");
    pass(100);
    expect("");
    persisted("A-1");
    pass(5);
    expect("mark A-1\n"); /* a mark is no harm */
    marked(true);
    expect("release A-1\n");
    due("", HELD_KEY, 0);
    expect("hold Ax1 retrying\nread 4\n");
}
END_TEST

START_TEST(held_is_not_read_while_it_is_written)
{
    default_suspect_out();
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    page("");
    core_swept(&t.core, t.now, true); /* something is due now */
    pass(20);
    expect("read 4\n");
    page("");
    expect("");
    held(true);
    expect("release Ax1\nfetch due 4\n");
}
END_TEST

START_TEST(next_rows_are_read_back_when_those_that_are_back_are_done)
{
    key_is_held();
    page("");
    pass(100);
    ck_assert(back("Az1", HELD_TIME, 0));
    core_due_end(&t.core, t.now, true, UINT64_MAX); /* there are more */
    run();
    expect_but_reads("fetch due 4\nproduce Az1 main\n");
    persisted("Az1");
    pass(5);
    nothing_new();
    expect_but_reads("mark Az1\n");
    marked(true);
    expect_but_reads("release Az1\nfetch due 4\n");
}
END_TEST

START_TEST(failed_read_of_what_is_due_is_repeated_after_a_while)
{
    key_is_held();
    page("");
    pass(100);
    expect("fetch due 4\n");
    read_failed();
    pass(49);
    expect("read 4\n"); /* which does not wait for it */
    nothing_new();
    pass(51);
    expect("fetch due 4\n");
}
END_TEST

START_TEST(rows_read_back_are_not_taken_after_the_link_was_lost)
{
    key_is_held();
    page("");
    pass(100);
    expect("fetch due 4\n");
    link_is(false);
    ck_assert(!back("Ax1", HELD_KEY, 1));
    expect("");
}
END_TEST

START_TEST(rows_behind_a_key_are_given_up_with_the_lead)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1", HELD_KEY, 1);
    pass(1);
    page("Ax4");
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    link_is(false);
    expect_but_reads("release Ax4\n");
    persisted("Ax1");
    link_is(true);
    expect("mark Ax1\n");
    marked(true);
    expect("release Ax1\n");
}
END_TEST

/* They belong to no page: they will be read again from where they are. */
START_TEST(cursor_passes_rows_that_are_back)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1", HELD_KEY, 1);
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    nothing_new();
    ck_assert_uint_eq(row_of("Ax1")->page, NO_PAGE);
    stop();
    lane_fatal(LANE_SOLO);
    purged("Ax1");
    expect_but_reads("reset solo\nrelease Ax1\nresign before page 4\n"); /* none is open */
}
END_TEST

/* -- writing -------------------------------------------------------------------------------- */

START_TEST(hold_that_fails_is_tried_again_with_backoff)
{
    default_suspect_out();
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    held(false);
    pass(49);
    expect_but_reads("");
    pass(51);
    expect_but_reads("hold Ax1 retrying\n");
    held(false); /* the second pause is longer */
    pass(99);
    expect_but_reads("");
    pass(101);
    expect_but_reads("hold Ax1 retrying\n");
    held(true);
    expect_but_reads("release Ax1\n");
}
END_TEST

START_TEST(followers_wait_for_a_hold_that_failed)
{
    default_suspect_out();
    page("Ax2");
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    held(false);
    pass(100);
    expect_but_reads("hold Ax2 blocked, Ax1 retrying\n"); /* in one statement: all or nothing */
}
END_TEST

START_TEST(marks_and_holds_take_turns)
{
    default_suspect_out();
    page("A-1 A-2");
    refused("Ax1");
    expect("produce A-1 main\nproduce A-2 main\nhold Ax1 retrying\n");
    persisted("A-1");
    pass(5);
    page("Ax2"); /* both have something to write */
    expect_but_reads("");
    held(true);
    expect_but_reads("release Ax1\nmark A-1\n");
    persisted("A-2");
    pass(5);
    marked(true);
    expect_but_reads("release A-1\nhold Ax2 blocked\n");
    held(true);
    expect_but_reads("release Ax2\nmark A-2\n");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_held_io(void);

Suite *suite_held_io(void)
{
    Suite *suite = suite_create("held_io");
    TCase *tc = new_case(suite, "scheduled");

    tcase_add_test(tc, scheduled_row_that_is_due_goes);
    tcase_add_test(tc, scheduled_row_that_is_due_waits_like_a_new_one_behind_its_key);
    tcase_add_test(tc, key_is_free_while_a_scheduled_row_of_it_is_on_its_way_to_held);
    tc = new_case(suite, "reading back");
    tcase_add_test(tc, what_is_due_is_looked_for_once_a_second);
    tcase_add_test(tc, nothing_is_read_back_before_the_catching_up_has_ended);
    tcase_add_test(tc, nothing_is_read_back_while_rows_of_the_catching_up_have_no_place);
    tcase_add_test(tc, nothing_is_written_to_held_while_it_is_read);
    tcase_add_test(tc, held_is_not_read_while_it_is_written);
    tcase_add_test(tc, next_rows_are_read_back_when_those_that_are_back_are_done);
    tcase_add_test(tc, failed_read_of_what_is_due_is_repeated_after_a_while);
    tcase_add_test(tc, rows_read_back_are_not_taken_after_the_link_was_lost);
    tcase_add_test(tc, rows_behind_a_key_are_given_up_with_the_lead);
    tcase_add_test(tc, cursor_passes_rows_that_are_back);
    tc = new_case(suite, "writing");
    tcase_add_test(tc, hold_that_fails_is_tried_again_with_backoff);
    tcase_add_test(tc, followers_wait_for_a_hold_that_failed);
    tcase_add_test(tc, marks_and_holds_take_turns);
    return suite;
}
