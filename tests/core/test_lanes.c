/* test_lanes.c - how often a lane is made anew, and for whose fault, as small stories about the core. */
#include "tests/core/trace.h"

/* A lane that breaks as soon as it is whole, n times. */
static void break_lane(enum lane lane, int n)
{
    for (int i = 0; i < n; i++) {
        lane_fatal(lane);
        pass_quietly(400);
        nothing_new();
        lane_ready(lane, true);
    }
    leave_out("read");
    t.trace[0] = '\0';
}

START_TEST(lane_that_breaks_again_and_again_waits_longer)
{
    lead_patiently(0);
    break_lane(LANE_MAIN, 4);
    lane_fatal(LANE_MAIN);
    ck_assert_uint_ge(wait_for("reset main\n", 401), 200);
}
END_TEST

START_TEST(lane_that_has_confirmed_a_row_waits_no_longer_than_at_first)
{
    lead_patiently(0);
    break_lane(LANE_MAIN, 4);
    pass_quietly(20);
    page("A-1");
    persisted("A-1");
    pass_quietly(400);
    lane_fatal(LANE_MAIN);
    ck_assert_ptr_nonnull(strstr(t.trace, "reset main\n"));
    t.trace[0] = '\0';
    lane_ready(LANE_MAIN, true);
    lane_fatal(LANE_MAIN);
    ck_assert_uint_le(wait_for("reset main\n", 101), 100);
}
END_TEST

static void broke_its_producer(const char *name)
{
    report(name, OUTCOME_NOT_PERSISTED, BLAME_PRODUCER);
}

/* Sent to it again at once it could go round for ever. */
START_TEST(first_row_of_a_topic_that_breaks_its_producer_waits_for_the_next_one)
{
    lead();
    page("A-1");
    broke_its_producer("A-1");
    expect("produce A-1 main\nreset main\n");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("produce A-1 main\n");
}
END_TEST

/* That one probe is enough: the topic is known to have failed, and others need not lose one producer after another. */
START_TEST(probe_that_breaks_its_producer_pauses_its_topic)
{
    probe_is_out();
    broke_its_producer("Mx1");
    lane_ready(LANE_SOLO, true);
    expect_but_reads("reset solo\nrelease Mx1\n"); /* it stays where it is */
    ck_assert_int_eq(t.core.topics.topic[topic_of("M")].state, TOPIC_PAUSED);
}
END_TEST

/* A row that was refused in the main lane explains what is behind it there, and nothing in the other lane. */
START_TEST(probe_that_breaks_its_producer_does_so_behind_a_refused_row_too)
{
    probe_is_out();
    page("B-1");
    refused("B-1");
    ck_assert(t.core.lane[LANE_MAIN].refused_row);
    broke_its_producer("Mx1");
    ck_assert_int_eq(t.core.topics.topic[topic_of("M")].state, TOPIC_PAUSED);
}
END_TEST

/* Who shows topics looks at them when the count has changed. */
START_TEST(each_failure_of_a_topic_is_told)
{
    uint32_t n;

    probe_is_out();
    n = t.core.topics.n_changes;
    topic_failed("Mx1");
    ck_assert_uint_ne(t.core.topics.n_changes, n);
    n = t.core.topics.n_changes;
    core_lease(&t.core, t.now, false);
    if (t.core.reading == READING_OUTBOX)
        (void)answer_read("", false, false);
    pass(1000);
    ck_assert(t.core.acquiring);
    ck_assert_uint_ne(t.core.topics.n_changes, n); /* what is held is forgotten */
    n = t.core.topics.n_changes;
    lease(true);
    ck_assert_uint_ne(t.core.topics.n_changes, n);
}
END_TEST

Suite *suite_lanes(void);

Suite *suite_lanes(void)
{
    Suite *s = suite_create("lanes");
    TCase *tc = new_case(s, "made anew");

    tcase_add_test(tc, lane_that_breaks_again_and_again_waits_longer);
    tcase_add_test(tc, lane_that_has_confirmed_a_row_waits_no_longer_than_at_first);
    tcase_add_test(tc, first_row_of_a_topic_that_breaks_its_producer_waits_for_the_next_one);
    tcase_add_test(tc, probe_that_breaks_its_producer_pauses_its_topic);
    tcase_add_test(tc, probe_that_breaks_its_producer_does_so_behind_a_refused_row_too);
    tcase_add_test(tc, each_failure_of_a_topic_is_told);
    return s;
}
