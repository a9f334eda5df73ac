/* test_once.c - when --once has ended, when it gives up, and what it counts as left, as small stories about the core. */
#include "tests/core/trace.h"

static void lead_once_for(uint64_t lease_ttl_ms)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    cfg.lease_ttl_ms = lease_ttl_ms;
    lead_with(&cfg);
}

static void lead_once(void)
{
    lead_once_for(default_config().lease_ttl_ms);
}

/* -- the end ---------------------------------------------------------------------------------- */

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

/* So that it never sees the end of what there is. */
static void lead_once_with_a_full_window(void)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    cfg.inflight_rows = 4;
    lead_with(&cfg);
    ck_assert(answer_read("Ax1 Bx2 Cx3 Dx4", true, false));
}

START_TEST(once_is_unclean_when_the_broker_does_not_answer_to_a_full_window)
{
    lead_once_with_a_full_window();
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

/* -- what is left, and giving up -------------------------------------------------------------- */

/* The READ under way brings these rows, and an earlier reader may have left more. */
static void catching_up(const char *names)
{
    ck_assert(answer_read(names, false, true));
}

/* B-1 keeps it from ending. A-1 was refused, and is in outbox.held before its next attempt. */
static void refused_row_is_left(void)
{
    lead_once_for(1000000);
    page("A-1 B-1");
    refused("A-1");
    refused("A-1");
    held(true);
    due_by_hand();
    expect_but_reads("produce A-1 main\nproduce B-1 main\nproduce A-1 solo\nhold A-1 retrying\nrelease A-1\n");
    pass_quietly(1000);
    leave_out("renew");
    expect("fetch due 4\n");
}

static void ends(bool unclean)
{
    pass(1);
    leave_out("renew");
    if (t.core.reading == READING_DUE)
        due_end(UINT64_MAX);
    leave_out("fetch");
    leave_out("resign");
    expect("");
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    ck_assert_int_eq(t.core.unclean, unclean);
}

static void goes(const char *name, const char *trace)
{
    persisted(name);
    pass(5);
    if (t.core.reading == READING_DUE)
        due_end(UINT64_MAX);
    marked(true);
    leave_out("fetch");
    leave_out("renew");
    leave_out("resign");
    expect(trace);
}

START_TEST(row_that_goes_at_its_next_attempt_is_not_left)
{
    refused_row_is_left();
    due("A-1", HELD_KEY, 1);
    goes("A-1", "produce A-1 solo\nmark A-1\nrelease A-1\n");
    goes("B-1", "mark B-1\nrelease B-1\n");
    ends(false);
}
END_TEST

/* What was blocked was not among those that were refused. */
START_TEST(row_of_another_kind_that_goes_does_not_count_for_the_one_that_is_left)
{
    refused_row_is_left();
    due("A-2", HELD_KEY, 0);
    goes("A-2", "produce A-2 main\nmark A-2\nrelease A-2\n");
    goes("B-1", "mark B-1\nrelease B-1\n");
    ends(true);
}
END_TEST

START_TEST(scheduled_row_that_goes_does_not_count_for_the_one_that_is_left)
{
    refused_row_is_left();
    due("A-2", HELD_TIME, 1);
    goes("A-2", "produce A-2 solo\nmark A-2\nrelease A-2\n");
    goes("B-1", "mark B-1\nrelease B-1\n");
    ends(true);
}
END_TEST

START_TEST(dead_row_is_left)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    cfg.retry_attempts = 0;
    lead_with(&cfg);
    page("A-1");
    refused("A-1");
    refused("A-1");
    held(true);
    expect("produce A-1 main\nproduce A-1 solo\nhold A-1 dead\nrelease A-1\nresign before page 1\n");
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(what_cannot_be_held_is_waited_for_as_long_as_for_the_brokers)
{
    lead_once_for(1000000);
    page("A-1");
    refused("A-1");
    refused("A-1");
    for (int i = 0; i < 1000 && t.core.phase == CORE_LEAD; i++) {
        if (t.core.n_holding > 0)
            held(false);
        pass_quietly(100);
    }
    ck_assert_int_ne(t.core.phase, CORE_LEAD);
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(what_cannot_be_marked_is_waited_for_as_long_as_for_the_brokers)
{
    lead_once_with_a_full_window();
    persisted("Ax1");
    persisted("Bx2");
    persisted("Cx3");
    persisted("Dx4");
    for (int i = 0; i < 1050 && t.core.phase == CORE_LEAD; i++, pass_quietly(10))
        if (t.core.n_marking > 0)
            marked(false);
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    ck_assert(t.core.unclean);
}
END_TEST

/* To pass what is settled may take longer than the brokers have to answer. */
START_TEST(brokers_have_their_time_when_the_first_row_came_late)
{
    lead_once_for(1000000);
    for (int i = 0; i < 3; i++) {
        pass_quietly(9000);
        catching_up("");
    }
    pass_quietly(9000);
    catching_up("A-1");
    pass_quietly(9000);
    page("");
    ck_assert_int_eq(t.core.phase, CORE_LEAD);
    pass_quietly(1200);
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(pages_are_no_answer_of_the_brokers)
{
    lead_once_for(1000000);
    catching_up("A-1");
    for (int i = 0; i < 5 && t.core.phase == CORE_LEAD; i++) {
        pass_quietly(3000);
        if (t.core.reading == READING_OUTBOX)
            catching_up("");
    }
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    ck_assert(t.core.unclean);
}
END_TEST

/* Of the READ under way, over and over, until the core gives up or `ms` have passed. */
static void reads_fail(uint64_t ms)
{
    for (uint64_t end_ms = t.now + ms; t.now < end_ms && t.core.phase == CORE_LEAD;) {
        if (t.core.reading == READING_OUTBOX)
            read_failed();
        pass_quietly(10);
    }
}

START_TEST(outbox_that_cannot_be_read_is_waited_for_as_long_as_for_the_brokers)
{
    lead_once_for(1000000);
    pass_quietly(30000); /* what takes long does not fail */
    reads_fail(9900);
    ck_assert_int_eq(t.core.phase, CORE_LEAD);
    reads_fail(600);
    ck_assert_int_eq(t.core.phase, CORE_DRAIN);
    ck_assert(t.core.unclean);
}
END_TEST

START_TEST(read_that_fails_between_others_ends_nothing)
{
    lead_once_for(1000000);
    for (int i = 0; i < 5; i++) {
        reads_fail(5000);
        for (int k = 0; k < 100 && t.core.reading != READING_OUTBOX; k++)
            pass_quietly(10);
        catching_up("");
    }
    ck_assert_int_eq(t.core.phase, CORE_LEAD);
}
END_TEST

/* They have had the drain's time already. */
START_TEST(what_is_out_at_a_loss_is_called_back_at_once)
{
    lead_once_for(1000000);
    page("A-1");
    pass_quietly(10200);
    leave_out("renew");
    expect("produce A-1 main\nreset main\n");
}
END_TEST

/* Its time to get the lease again counts from when it was lost. */
START_TEST(lost_lease_is_asked_for_again)
{
    lead_once_for(3000);
    page("A-1");
    pass_quietly(9000);
    core_lease(&t.core, t.now, false);
    run();
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
    pass(3000);
    ck_assert_int_eq(t.core.phase, CORE_FOLLOW);
    pass(1001);
    ck_assert_int_ge(t.core.phase, CORE_DRAIN);
    ck_assert(t.core.unclean);
}
END_TEST

Suite *suite_once(void);

Suite *suite_once(void)
{
    Suite *s = suite_create("once");
    TCase *tc = new_case(s, "the end");

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
    tc = new_case(s, "what is left");
    tcase_add_test(tc, row_that_goes_at_its_next_attempt_is_not_left);
    tcase_add_test(tc, row_of_another_kind_that_goes_does_not_count_for_the_one_that_is_left);
    tcase_add_test(tc, scheduled_row_that_goes_does_not_count_for_the_one_that_is_left);
    tcase_add_test(tc, dead_row_is_left);
    tc = new_case(s, "giving up");
    tcase_add_test(tc, what_cannot_be_held_is_waited_for_as_long_as_for_the_brokers);
    tcase_add_test(tc, what_cannot_be_marked_is_waited_for_as_long_as_for_the_brokers);
    tcase_add_test(tc, brokers_have_their_time_when_the_first_row_came_late);
    tcase_add_test(tc, pages_are_no_answer_of_the_brokers);
    tcase_add_test(tc, outbox_that_cannot_be_read_is_waited_for_as_long_as_for_the_brokers);
    tcase_add_test(tc, read_that_fails_between_others_ends_nothing);
    tcase_add_test(tc, what_is_out_at_a_loss_is_called_back_at_once);
    tcase_add_test(tc, lost_lease_is_asked_for_again);
    return s;
}
