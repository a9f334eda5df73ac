/* test_core.c - what the core does when all goes well, as small stories: reading, room, marks, the
 * cursor, scheduled rows and what is found in the log. */
#include "tests/core/trace.h"

/* -- the plain way ---------------------------------------------------------------------------- */

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
    read_failed();
    pass(49);
    expect("");
    pass(51);
    expect("read 4\n");
}
END_TEST

/* -- room ------------------------------------------------------------------------------------- */

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
    pass(1);
    page("Ax2 Ax3");
    expect_but_reads("produce Ax2 main\nproduce Ax3 main\n");
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

/* -- marks ------------------------------------------------------------------------------------ */

/* The first record of a partition with a new producer is out: nothing may be behind it. */
START_TEST(row_of_a_cold_partition_waits_for_a_report_of_its_topic)
{
    rows_out("Ax1", "produce Ax1 main\n");
    struct core_action a;
    pass(1);
    expect("read 4\n");
    ck_assert_int_eq(rows_of_kind("Ay1", ROW_NEW), 1);
    core_page_end(&t.core, t.now, 1, false, false);
    core_due_end(&t.core, t.now, false, UINT64_MAX);
    ck_assert(core_next(&t.core, t.now, &a));
    ck_assert_int_eq(a.what, CORE_PRODUCE);
    ck_assert_uint_eq(a.slot, slot_of("Ay1"));
    core_cold(&t.core, a.slot);
    pass(100);
    expect_but_reads("");
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
    expect_but_reads("mark A-1\n");
    persisted("A-2");
    pass(50);
    expect("");
    marked(true);
    expect_but_reads("release A-1\nmark A-2\n");
}
END_TEST

START_TEST(failed_mark_is_repeated_with_backoff)
{
    rows_out("A-1", "produce A-1 main\n");
    persisted("A-1");
    pass(5);
    expect_but_reads("mark A-1\n");
    marked(false);
    pass(49);
    expect_but_reads("");
    pass(51);
    expect_but_reads("mark A-1\n");
    marked(true);
    expect_but_reads("release A-1\n");
}
END_TEST

/* -- the cursor ------------------------------------------------------------------------------- */

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
    expect_but_reads("produce A-1 main\nproduce A-2 main\nproduce A-3 main\nmark A-1 A-3\n"
           "release A-1\nrelease A-3\n");
    pass(1000);
    expect_but_reads("renew before page 1\n");
    lease(true);
    persisted("A-2");
    pass(5);
    marked(true);
    expect_but_reads("mark A-2\nrelease A-2\n");
    pass(1000);
    expect_but_reads("renew before page 3\n"); /* whose READ is under way */
}
END_TEST

START_TEST(cursor_does_not_pass_a_page_that_is_under_way)
{
    lead(); /* READ of page 0 is under way */
    pass(1000);
    expect("renew before page 0\n"); /* the source may have read it already, and stands behind it */
    lease(true);
    page("");
    pass(2);
    ck_assert_uint_eq(t.read.page, 0); /* it brought no row: the same page goes on */
    pass(1000);
    expect("read 4\nrenew before page 0\n");
    lease(true);
    page("Ax1");
    expect_but_reads("produce Ax1 main\n");
    pass(1000);
    expect_but_reads("renew before page 0\n");
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

/* -- rows that are not to be sent now --------------------------------------------------------- */

START_TEST(scheduled_row_goes_to_held_and_holds_nobody_back)
{
    lead_with_open_topic();
    ck_assert_int_eq(rows_of_kind("Ax1", ROW_LATER), 1);
    ck_assert_int_eq(rows_of_kind("Ax2", ROW_NEW), 1);
    page_end(2, false, false);
    expect_but_reads("hold Ax1 scheduled\nproduce Ax2 main\n");
    held(true);
    expect("release Ax1\n");
    pass(1);
    page("Ax3");
    expect_but_reads("produce Ax3 main\n");
}
END_TEST

START_TEST(found_row_is_marked_and_never_sent)
{
    lead();
    ck_assert_int_eq(rows_of_kind("Ax1", ROW_FOUND), 1);
    page_end(1, false, false);
    expect("");
    pass(5);
    expect_but_reads("mark Ax1\n");
    marked(true);
    expect("release Ax1\n");
}
END_TEST

/* It is in the log: nobody waits for it. But it says nothing of its topic as it is now. */
START_TEST(found_row_holds_nobody_back_and_opens_no_topic)
{
    lead();
    ck_assert_int_eq(rows_of_kind("Ax1", ROW_FOUND), 1);
    ck_assert_int_eq(rows_of_kind("Ax2 Ay1", ROW_NEW), 2);
    page_end(3, false, false);
    expect("produce Ax2 main\n");
    persisted("Ax2");
    expect("produce Ay1 main\n");
}
END_TEST

START_TEST(cursor_stays_before_a_found_row_until_it_is_marked)
{
    lead_with_open_topic();
    ck_assert_int_eq(rows_of_kind("A-1", ROW_FOUND), 1); /* page 1 */
    page_end(1, false, false);
    pass(5);
    expect_but_reads("mark A-1\n");
    marked(false);
    pass(995);
    expect("renew before page 1\n");
    lease(true);
    expect("mark A-1\n");
    marked(true);
    expect("release A-1\n");
    pass(1000);
    expect("renew before page 2\n"); /* whose READ is under way */
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

Suite *suite_core(void);

Suite *suite_core(void)
{
    Suite *suite = suite_create("core");
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
    tcase_add_test(tc, scheduled_row_goes_to_held_and_holds_nobody_back);
    tcase_add_test(tc, found_row_is_marked_and_never_sent);
    tcase_add_test(tc, found_row_holds_nobody_back_and_opens_no_topic);
    tcase_add_test(tc, cursor_stays_before_a_found_row_until_it_is_marked);
    return suite;
}
