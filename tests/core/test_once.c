/* test_once.c - when --once gives up, and what it counts as left, as small stories about the core. How it ends
 * when all goes well is in test_end.c. */
#include "tests/core/trace.h"

static void lead_once_for(uint64_t lease_ttl_ms)
{
    struct core_config cfg = default_config();

    cfg.once = true;
    cfg.lease_ttl_ms = lease_ttl_ms;
    lead_with(&cfg);
}

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
    TCase *tc = new_case(s, "what is left");

    tcase_add_test(tc, row_that_goes_at_its_next_attempt_is_not_left);
    tcase_add_test(tc, row_of_another_kind_that_goes_does_not_count_for_the_one_that_is_left);
    tcase_add_test(tc, scheduled_row_that_goes_does_not_count_for_the_one_that_is_left);
    tcase_add_test(tc, dead_row_is_left);
    tc = new_case(s, "giving up");
    tcase_add_test(tc, what_cannot_be_held_is_waited_for_as_long_as_for_the_brokers);
    tcase_add_test(tc, brokers_have_their_time_when_the_first_row_came_late);
    tcase_add_test(tc, pages_are_no_answer_of_the_brokers);
    tcase_add_test(tc, outbox_that_cannot_be_read_is_waited_for_as_long_as_for_the_brokers);
    tcase_add_test(tc, read_that_fails_between_others_ends_nothing);
    tcase_add_test(tc, what_is_out_at_a_loss_is_called_back_at_once);
    tcase_add_test(tc, lost_lease_is_asked_for_again);
    return s;
}
