/* test_hold.c - rows that are refused for themselves, and the later ones of their keys: their way
 * into outbox.held and back, as small stories. The way by topic is in test_topics.c; when
 * outbox.held is read and written in test_held_io.c. */
#include "tests/core/trace.h"

/* -- attempts ------------------------------------------------------------------------------- */

START_TEST(row_that_is_refused_alone_is_held_with_a_delay)
{
    default_suspect_out();
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    ck_assert_uint_eq(row_of("Ax1")->attempts, 1);
    ck_assert_uint_ge(row_of("Ax1")->delay_ms, 50);
    ck_assert_uint_le(row_of("Ax1")->delay_ms, 100);
    uint64_t delay = row_of("Ax1")->delay_ms;
    held(true);
    expect("release Ax1\n");
    page("");
    pass(delay - 1);
    expect_but_reads("");
    page("");
    pass(1);
    expect("fetch due 4\n");
}
END_TEST

START_TEST(row_that_is_due_goes_again_alone)
{
    key_is_held();
    page("");
    pass(100);
    expect("fetch due 4\n");
    due("Ax1", HELD_KEY, 1);
    expect_but_reads("produce Ax1 solo\n");
    persisted("Ax1");
    pass(5);
    expect_but_reads("mark Ax1\n");
    marked(true);
    nothing_new();
    expect_but_reads("release Ax1\nfetch due 4\n"); /* the next of its key may be due */
}
END_TEST

START_TEST(row_is_held_longer_after_each_attempt_and_dead_after_the_last)
{
    struct core_config cfg = default_config();

    cfg.retry_attempts = 4;
    suspect_out(&cfg);
    page("");
    for (uint16_t attempt = 1; attempt <= 4; attempt++) {
        uint32_t most = attempt == 1 ? 100 : attempt == 2 ? 200 : 400;
        refused("Ax1");
        expect_but_reads("hold Ax1 retrying\n");
        ck_assert_uint_eq(row_of("Ax1")->attempts, attempt);
        ck_assert_uint_ge(row_of("Ax1")->delay_ms, most / 2);
        ck_assert_uint_le(row_of("Ax1")->delay_ms, most);
        held(true);
        nothing_new();
        pass(most);
        nothing_new();
        due("Ax1", HELD_KEY, attempt);
        expect_but_reads("release Ax1\nfetch due 4\nproduce Ax1 solo\n");
    }
    refused("Ax1");
    expect_but_reads("hold Ax1 dead\n");
    ck_assert_uint_eq(t.core.n_dead, 0); /* not yet */
    held(true);
    expect_but_reads("release Ax1\n");
    ck_assert_uint_eq(t.core.n_dead, 1);
}
END_TEST

START_TEST(without_attempts_a_refused_row_is_dead_at_once)
{
    struct core_config cfg = default_config();

    cfg.retry_attempts = 0;
    suspect_out(&cfg);
    refused("Ax1");
    expect("hold Ax1 dead\n");
}
END_TEST

START_TEST(row_without_a_key_waits_for_none_and_none_for_it)
{
    rows_out("A-1 A-2", "produce A-1 main\nproduce A-2 main\n");
    due_by_hand();
    refused("A-1");
    purged("A-2");
    lane_ready(LANE_MAIN, true);
    expect("reset main\nproduce A-1 solo\nproduce A-2 main\n");
    refused("A-1");
    expect("hold A-1 retrying\n");
    pass(1);
    page("A-3");
    expect_but_reads("produce A-3 main\n");
    held(true);
    expect("release A-1\n");
    pass(100);
    expect_but_reads("fetch due 4\n");
    due("A-1", HELD_KEY, 1);
    expect_but_reads("produce A-1 solo\n");
    refused("A-1");
    expect_but_reads("hold A-1 retrying\n");
}
END_TEST

START_TEST(send_that_may_have_been_written_is_remembered_in_held)
{
    default_suspect_out();
    report("Ax1", OUTCOME_MAYBE, BLAME_ROW);
    expect("hold Ax1 retrying\n");
    ck_assert(row_of("Ax1")->maybe);
    held(true);
    nothing_new();
    pass(100);
    expect_but_reads("release Ax1\nfetch due 4\n");
    name_slot(core_held_row(&t.core, t.now, topic_of("A"), key_of("Ax1"), ROW_BYTES,
                            (struct core_held_info){ HELD_KEY, 1, true, false }),
              "Ax1");
    due_end(UINT64_MAX);
    refused("Ax1");
    expect_but_reads("produce Ax1 solo\nhold Ax1 retrying\n");
    ck_assert(row_of("Ax1")->maybe); /* once and for all */
    ck_assert_uint_eq(row_of("Ax1")->attempts, 2);
}
END_TEST

/* -- on.poison = block ---------------------------------------------------------------------- */

START_TEST(later_rows_of_a_held_key_are_blocked_and_other_keys_flow)
{
    key_is_held();
    page("Ax4 Ay1 A-1 Bx1");
    expect("produce Ay1 main\nhold Ax4 blocked\nproduce A-1 main\nproduce Bx1 main\n");
    held(true);
    expect_but_reads("release Ax4\nfetch due 4\n");
}
END_TEST

START_TEST(later_rows_of_a_dead_one_are_blocked)
{
    struct core_config cfg = default_config();

    cfg.retry_attempts = 0;
    suspect_out(&cfg);
    page("Ax2");
    refused("Ax1");
    expect("hold Ax1 dead\n");
    held(true);
    expect("release Ax1\nhold Ax2 blocked\n");
    held(true);
    pass(20);
    due("", HELD_KEY, 0);
    pass(20);
    expect_but_reads("release Ax2\nfetch due 4\n");
    page("Ax3");
    expect("hold Ax3 blocked\n");
}
END_TEST

START_TEST(held_key_comes_back_in_order_and_new_rows_wait_behind_it)
{
    key_is_held();
    page("");
    pass(100);
    expect("fetch due 4\n");
    due("Ax1", HELD_KEY, 1);
    pass(1);
    page("Ax4");
    expect_but_reads("produce Ax1 solo\n"); /* Ax4 neither passes nor makes the round */
    persisted("Ax1");
    pass(5);
    expect_but_reads("mark Ax1\n");
    marked(true); /* Ax2 is the first now, and due; Ax4 goes where it is */
    expect_but_reads("release Ax1\nhold Ax4 blocked\n");
    held(true);
    nothing_new();
    expect_but_reads("release Ax4\nfetch due 4\n");
    due("Ax2 Ax3 Ax4", HELD_KEY, 0);
    expect_but_reads("produce Ax2 main\nproduce Ax3 main\nproduce Ax4 main\n");
}
END_TEST

START_TEST(freed_key_lets_new_rows_go)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1 Ax2 Ax3", HELD_KEY, 1);
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    pass(1);
    page("Ax4");
    expect_but_reads("");
    persisted("Ax1");
    persisted("Ax2");
    persisted("Ax3");
    expect_but_reads("produce Ax2 main\nproduce Ax3 main\n");
    pass(5);
    expect_but_reads("mark Ax1 Ax2 Ax3\n");
    freed("Ax3");
    marked(true);
    expect_but_reads("release Ax1\nrelease Ax2\nrelease Ax3\nproduce Ax4 main\n");
    page("Ax5");
    expect_but_reads("fetch due 4\nproduce Ax5 main\n");
}
END_TEST

START_TEST(new_rows_wait_until_the_last_row_that_is_back_is_done)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1 Ax2", HELD_KEY, 1);
    pass(1);
    page("Ax4");
    persisted("Ax1");
    pass(5);
    nothing_new();
    expect_but_reads("fetch due 4\nproduce Ax1 solo\nproduce Ax2 main\nmark Ax1\n");
    marked(true);
    expect_but_reads("release Ax1\n");
}
END_TEST

/* Ax1 was dead and has been passed by Ax4. A person has it tried again, and both are refused. */
START_TEST(row_that_a_person_retries_goes_before_what_had_passed_it)
{
    rows_out("Ax4", "produce Ax4 main\n");
    due_by_hand();
    pass(20);
    page("");
    core_swept(&t.core, t.now, true); /* something is due */
    run();
    due("Ax1", HELD_KEY, 0);
    expect_but_reads("fetch due 4\nproduce Ax1 main\n");
    refused("Ax4");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("reset main\nproduce Ax1 solo\n");
    persisted("Ax1");
    pass(5);
    nothing_new();
    expect_but_reads("mark Ax1\n");
    freed("Ax1");
    marked(true);
    nothing_new();
    expect_but_reads("release Ax1\nfetch due 4\nproduce Ax4 main\n"); /* a suspect no more */
}
END_TEST

/* Ax2 and Ax3, back with it, stay where they are. */
START_TEST(row_that_is_refused_again_leaves_those_behind_it_in_held)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1 Ax2 Ax3", HELD_KEY, 1);
    pass(1);
    page("Ax4");
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    refused("Ax1");
    expect_but_reads("hold Ax1 retrying\nrelease Ax2\nrelease Ax3\n"); /* of them nothing is new */
    held(true);
    expect_but_reads("release Ax1\nhold Ax4 blocked\n");
}
END_TEST

/* Ax1 is back, and the mark of it under way; more new rows are behind it than may wait in the
 * window. */
static void spilled_during_a_mark(void)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1", HELD_KEY, 1);
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    persisted("Ax1");
    pass(5);
    expect_but_reads("mark Ax1\n");
    page("Ax4 Ax5 Ax6 Ax7");
    pass(1);
    ck_assert_uint_eq(t.core.n_behind, 4);
    page("Ax8");
    ck_assert_uint_eq(t.core.n_behind, 0);
    expect_but_reads("");
}

START_TEST(rows_behind_a_key_that_are_too_many_go_to_held)
{
    spilled_during_a_mark();
    marked(true); /* Ax2 and Ax3 are still there */
    expect_but_reads("release Ax1\n"
                     "hold Ax4 blocked, Ax5 blocked, Ax6 blocked, Ax7 blocked, Ax8 blocked\n");
}
END_TEST

START_TEST(bytes_behind_a_key_that_are_too_many_go_to_held)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1", HELD_KEY, 1);
    pass(1);
    t.bytes = 250; /* a quarter */
    page("Ax4");
    expect_but_reads("fetch due 4\nproduce Ax1 solo\n");
    t.bytes = 1;
    pass(1);
    page("Ax5");
    expect_but_reads("hold Ax4 blocked, Ax5 blocked\n");
}
END_TEST

/* The database has found nothing of the key left. It does not know yet what is on its way there. */
START_TEST(key_is_not_freed_while_rows_of_it_are_on_their_way_to_held)
{
    spilled_during_a_mark();
    freed("Ax1");
    marked(true);
    expect_but_reads("release Ax1\n"
                     "hold Ax4 blocked, Ax5 blocked, Ax6 blocked, Ax7 blocked, Ax8 blocked\n");
    pass(1);
    page("Ax9");
    held(true);
    expect_but_reads("release Ax4\nrelease Ax5\nrelease Ax6\nrelease Ax7\nrelease Ax8\n"
                     "hold Ax9 blocked\n");
}
END_TEST

/* What an earlier relay has left. */
START_TEST(key_that_is_held_at_the_beginning_blocks_new_rows)
{
    begin();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    lease(true);
    page("Ax1 Ay1");
    expect("acquire\nread 4\nproduce Ay1 main\nhold Ax1 blocked\n");
}
END_TEST

START_TEST(keys_that_were_held_are_forgotten_with_the_lead)
{
    key_is_held();
    link_is(false);
    link_is(true);
    pass(1000);
    expect("acquire\n");
    lease(true); /* a person has discarded them meanwhile */
    page("Ax4");
    expect_but_reads("produce Ax4 main\nfetch due 4\n");
}
END_TEST

/* Two keys of two topics with one hash wait for each other only in the window. */
START_TEST(keys_with_one_hash_are_held_by_topic)
{
    uint64_t hash = key_of("Ax1");
    uint32_t slot;

    begin();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), hash);
    core_held_key(&t.core, topic_of("B"), hash);
    lease(true);
    name_slot(core_row(&t.core, topic_of("C"), hash, ROW_BYTES, false), "Cx1");
    name_slot(core_row(&t.core, topic_of("A"), hash, ROW_BYTES, false), "Ax1");
    page_end(2, false, false);
    expect("acquire\nread 4\nproduce Cx1 main\nhold Ax1 blocked\n");
    slot = slot_of("Ax1");
    core_freed(&t.core, slot); /* of topic A */
    held(true);
    pass(1);
    name_slot(core_row(&t.core, topic_of("A"), hash, ROW_BYTES, false), "Ax2");
    name_slot(core_row(&t.core, topic_of("B"), hash, ROW_BYTES, false), "Bx1");
    page_end(2, false, false);
    expect_but_reads("release Ax1\nproduce Ax2 main\nhold Bx1 blocked\n");
}
END_TEST

/* -- on.poison = skip ----------------------------------------------------------------------- */

static void skip_out(void)
{
    struct core_config cfg = default_config();

    cfg.retry_attempts = 0;
    cfg.skip_poison = true;
    suspect_out(&cfg);
    page("Ax2");
    refused("Ax1");
    expect("hold Ax1 dead\n");
}

START_TEST(later_rows_pass_a_dead_one_once_that_is_written)
{
    skip_out();
    pass(30);
    expect_but_reads(""); /* not before */
    held(true);
    expect_but_reads("release Ax1\nproduce Ax2 main\n");
    page("Ax3");
    expect_but_reads("fetch due 4\nproduce Ax3 main\n");
}
END_TEST

START_TEST(later_rows_do_not_pass_a_dead_one_that_could_not_be_written)
{
    skip_out();
    held(false);
    pass(49);
    expect_but_reads("");
    pass(51);
    expect_but_reads("hold Ax1 dead\n");
    held(true);
    expect_but_reads("release Ax1\nproduce Ax2 main\n");
}
END_TEST

START_TEST(later_rows_do_not_pass_one_that_is_still_retried)
{
    struct core_config cfg = default_config();

    cfg.skip_poison = true;
    suspect_out(&cfg);
    page("Ax2");
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    held(true);
    expect_but_reads("release Ax1\nhold Ax2 blocked\n");
}
END_TEST

/* -- the suite ------------------------------------------------------------------------------ */

/* Its topic has failed, and the first row that tries it again is one of the key that came back. Ax4 is put
 * aside as the later rows of the topic are: left in the window, it would be passed by them. */
START_TEST(new_row_behind_its_key_is_paused_with_the_later_ones_of_its_topic)
{
    key_is_held();
    lane_fatal(LANE_MAIN);
    pass(60);
    page("Ax4");
    due("Ax1", HELD_KEY, 1);
    lane_ready(LANE_MAIN, true);
    pass(20);
    page("A-5");
    leave_out("fetch");
    expect_but_reads("reset main\nproduce Ax1 main\nproduce A-5 main\n");
    topic_failed("A-5");
    purged("Ax1");
    pass(2000);
    lane_ready(LANE_MAIN, true);
    lease(true);
    leave_out("fetch");
    leave_out("renew");
    expect_but_reads("reset main\nproduce Ax1 solo\nhold Ax4 paused, A-5 paused\n");
}
END_TEST

Suite *suite_hold(void);

Suite *suite_hold(void)
{
    Suite *suite = suite_create("hold");
    TCase *tc = new_case(suite, "attempts");

    tcase_add_test(tc, row_that_is_refused_alone_is_held_with_a_delay);
    tcase_add_test(tc, row_that_is_due_goes_again_alone);
    tcase_add_test(tc, row_is_held_longer_after_each_attempt_and_dead_after_the_last);
    tcase_add_test(tc, without_attempts_a_refused_row_is_dead_at_once);
    tcase_add_test(tc, row_without_a_key_waits_for_none_and_none_for_it);
    tcase_add_test(tc, send_that_may_have_been_written_is_remembered_in_held);
    tc = new_case(suite, "on.poison = block");
    tcase_add_test(tc, later_rows_of_a_held_key_are_blocked_and_other_keys_flow);
    tcase_add_test(tc, later_rows_of_a_dead_one_are_blocked);
    tcase_add_test(tc, held_key_comes_back_in_order_and_new_rows_wait_behind_it);
    tcase_add_test(tc, freed_key_lets_new_rows_go);
    tcase_add_test(tc, new_rows_wait_until_the_last_row_that_is_back_is_done);
    tcase_add_test(tc, row_that_a_person_retries_goes_before_what_had_passed_it);
    tcase_add_test(tc, row_that_is_refused_again_leaves_those_behind_it_in_held);
    tcase_add_test(tc, rows_behind_a_key_that_are_too_many_go_to_held);
    tcase_add_test(tc, bytes_behind_a_key_that_are_too_many_go_to_held);
    tcase_add_test(tc, new_row_behind_its_key_is_paused_with_the_later_ones_of_its_topic);
    tcase_add_test(tc, key_is_not_freed_while_rows_of_it_are_on_their_way_to_held);
    tcase_add_test(tc, key_that_is_held_at_the_beginning_blocks_new_rows);
    tcase_add_test(tc, keys_that_were_held_are_forgotten_with_the_lead);
    tcase_add_test(tc, keys_with_one_hash_are_held_by_topic);
    tc = new_case(suite, "on.poison = skip");
    tcase_add_test(tc, later_rows_pass_a_dead_one_once_that_is_written);
    tcase_add_test(tc, later_rows_do_not_pass_a_dead_one_that_could_not_be_written);
    tcase_add_test(tc, later_rows_do_not_pass_one_that_is_still_retried);
    return suite;
}
