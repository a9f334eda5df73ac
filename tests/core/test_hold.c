/* test_hold.c - rows that are refused for themselves, and the later ones of their keys: their way into
 * outbox.held and back, as small stories. The way by topic is in test_topics.c. */
#include "tests/core/trace.h"

/* Ax1 is out alone, after a refusal of its batch. Nothing else is in the window. */
static void suspect_out(const struct core_config *cfg)
{
    lead_with(cfg);
    open_topic();
    due_by_hand();
    page("Ax1");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    pass(20); /* now the next READ is under way, and nothing more comes of time for a while */
    expect_but_reads("produce Ax1 main\nreset main\nproduce Ax1 solo\n");
}

static void default_suspect_out(void)
{
    struct core_config cfg = default_config();

    suspect_out(&cfg);
}

/* The same, Ax2 and Ax3 were behind it, and all three are in outbox.held. */
static void key_is_held(void)
{
    default_suspect_out();
    page("Ax2 Ax3");
    refused("Ax1");
    expect("hold Ax1 retrying\n");
    held(true);
    expect("release Ax1\nhold Ax2 blocked, Ax3 blocked\n");
    held(true);
    expect_but_reads("release Ax2\nrelease Ax3\nfetch due 4\n"); /* Ax1 may have gone meanwhile */
    due_end(60);
    pass(20);
    expect("read 4\n");
}

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
    name_slot(core_held_row(&t.core, topic_of("A"), key_of("Ax1"), ROW_BYTES,
                            (struct core_held_info){ HELD_KEY, 1, true }),
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

/* Ax1 is back, and the mark of it under way; more new rows are behind it than may wait in the window. */
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
    core_due_end(&t.core, t.now, true, 0); /* there are more */
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
    expect("");
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
    expect_but_reads("hold Ax2 blocked, Ax1 retrying\n"); /* in one statement: all of it or nothing */
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
    tcase_add_test(tc, key_is_not_freed_while_rows_of_it_are_on_their_way_to_held);
    tcase_add_test(tc, key_that_is_held_at_the_beginning_blocks_new_rows);
    tcase_add_test(tc, keys_that_were_held_are_forgotten_with_the_lead);
    tcase_add_test(tc, keys_with_one_hash_are_held_by_topic);
    tc = new_case(suite, "on.poison = skip");
    tcase_add_test(tc, later_rows_pass_a_dead_one_once_that_is_written);
    tcase_add_test(tc, later_rows_do_not_pass_a_dead_one_that_could_not_be_written);
    tcase_add_test(tc, later_rows_do_not_pass_one_that_is_still_retried);
    tc = new_case(suite, "scheduled");
    tcase_add_test(tc, scheduled_row_that_is_due_goes);
    tcase_add_test(tc, scheduled_row_that_is_due_waits_like_a_new_one_behind_its_key);
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
