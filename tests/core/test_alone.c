/* test_alone.c - stories of rows that go alone in the solo lane, while that lane stalls or their
 * topic pauses and opens again. See trace.h.
 */
#include "tests/core/trace.h"

enum { STALL_MS = 400 };

/* A is open. Ax1 was refused in company and is out alone. */
static void alone(void)
{
    struct core_config cfg = default_config();

    cfg.stall_timeout_ms = STALL_MS;
    cfg.lease_ttl_ms = 60000;
    lead_with(&cfg);
    open_topic();
    page("Ax1 Ay1");
    refused("Ax1");
    purged("Ay1");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("produce Ax1 main\nproduce Ay1 main\nreset main\n"
                     "produce Ax1 solo\nproduce Ay1 main\n");
    persisted("Ay1");
    pass(5);
    marked(true);
    expect_but_reads("mark Ay1\nrelease Ay1\n");
}

START_TEST(row_that_is_out_alone_too_long_is_called_back)
{
    alone();
    nothing_new();
    (void)wait_for("ask kafka\n", 2 * STALL_MS);
    leave_out("renew");
    expect_but_reads("ask kafka\n");
    core_kafka_answered(&t.core, t.now, true);
    run();
    expect_but_reads("reset solo\n");
    purged("Ax1");
    lane_ready(LANE_SOLO, true);
    expect_but_reads("hold Ax1 paused\n");
}
END_TEST

/* The topic pauses because of another row, later ones of the key go to outbox.held, and the topic
 * opens. Then the row comes home: it is still the first of its key. */
START_TEST(row_that_went_alone_goes_before_what_is_held_of_its_topic)
{
    alone();
    page("A-1 Ax2");
    topic_failed("A-1");
    (void)wait_for("reset main\n", 1000);
    lane_ready(LANE_MAIN, true);
    leave_out("renew");
    expect_but_reads("produce A-1 main\nreset main\nproduce A-1 solo\nhold Ax2 paused\n");
    held(true);
    persisted("A-1");
    pass(5);
    marked(true);
    nothing_new();
    expect_but_reads("release Ax2\nmark A-1\nrelease A-1\nfetch topic A 4\n");
    paused_rows("Ax2", false);
    expect_but_reads(""); /* behind Ax1 */
    purged("Ax1");
    lane_ready(LANE_SOLO, true);
    expect_but_reads("reset solo\nproduce Ax1 solo\n");
    persisted("Ax1");
    expect_but_reads("produce Ax2 main\n");
}
END_TEST

/* Ax2 is put back behind it while it is out, and so there is no way back for the key when it comes home. */
START_TEST(first_row_that_may_have_been_written_is_remembered_though_its_key_stays)
{
    key_is_held();
    page("");
    pass(100);
    due("Ax1 Ax2", HELD_KEY, 1);
    pass(1);
    page("A-9");
    expect_but_reads("fetch due 4\nproduce Ax1 solo\nproduce A-9 main\n");
    topic_failed("A-9");
    (void)wait_for("reset main\n", 1000);
    lane_ready(LANE_MAIN, true);
    leave_out("renew");
    expect_but_reads("reset main\nhold Ax2 blocked, A-9 paused\n");
    held(true);
    report("Ax1", OUTCOME_MAYBE, BLAME_NONE);
    (void)wait_for("reset solo\n", 1000);
    lane_ready(LANE_SOLO, true);
    leave_out("renew");
    expect_but_reads("release Ax2\nrelease A-9\nreset solo\nhold Ax1 blocked\n");
    ck_assert(row_of("Ax1")->maybe);
    ck_assert_uint_eq(row_of("Ax1")->attempts, 1);
}
END_TEST

START_TEST(topic_is_found_paused_until_something_is_heard_of_it)
{
    link_is(true);
    core_held_topic(&t.core, t.now, topic_of("M"));
    core_held_topic(&t.core, t.now, topic_of("N"));
    lease(true);
    ck_assert(t.core.topics.topic[topic_of("M")].found_paused && t.core.topics.topic[topic_of("N")].found_paused);
    page("");
    ck_assert_int_eq(t.core.reading, READING_TOPIC);
    ck_assert(back(t.core.reading_topic == topic_of("M") ? "M-1" : "N-1", HELD_TOPIC, 0));
    topic_end(false);
    ck_assert_int_eq(t.core.reading, READING_TOPIC);
    ck_assert(back(t.core.reading_topic == topic_of("M") ? "M-1" : "N-1", HELD_TOPIC, 0));
    topic_end(false);
    topic_failed("M-1");
    persisted("N-1");
    ck_assert(!t.core.topics.topic[topic_of("M")].found_paused && !t.core.topics.topic[topic_of("N")].found_paused);
    ck_assert_uint_gt(t.core.topics.topic[topic_of("M")].failures, 0);
}
END_TEST

/* M-1 is the probe of its topic again and again, and may have been written by one of them: that is known in
 * outbox.held, and each further probe would write the same there. */
START_TEST(probe_that_was_remembered_is_not_written_again)
{
    lead();
    page("M-1");
    topic_failed("M-1");
    held(true);
    pass(1);
    page("");
    pass(99);
    ck_assert_int_eq(t.core.reading, READING_TOPIC);
    ck_assert(back("M-1", HELD_TOPIC, 0));
    t.core.window.row[slot_of("M-1")].maybe = true; /* as the database says */
    topic_end(false);
    t.trace[0] = '\0';
    report("M-1", OUTCOME_MAYBE, BLAME_TOPIC);
    expect_but_reads("release M-1\n");
}
END_TEST

static void breaks(const char *name)
{
    report(name, OUTCOME_MAYBE, BLAME_PRODUCER);
}

/* Each new producer breaks at what the brokers keep of A. The fifth one is the last that B has to wait for. */
START_TEST(topic_that_breaks_every_producer_is_paused_and_others_flow)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    lead_with(&cfg);
    open_topic();
    page("Ax1 Ax2 B-1");
    for (int n = 1; n <= 4; n++) {
        expect_but_reads("produce Ax1 main\nproduce Ax2 main\nproduce B-1 main\n");
        breaks("Ax1");
        purged("Ax2");
        purged("B-1");
        (void)wait_for("reset main\n", 1000); /* these are paced */
        leave_out("renew");
        expect_but_reads("reset main\n");
        ck_assert_uint_eq(t.core.topics.topic[topic_of("A")].failures, 0);
        lane_ready(LANE_MAIN, true);
    }
    expect_but_reads("produce Ax1 main\nproduce Ax2 main\nproduce B-1 main\n");
    breaks("Ax1");
    expect_but_reads("reset main\n"); /* and this is not */
    purged("Ax2");
    purged("B-1");
    lane_ready(LANE_MAIN, true);
    expect_but_reads("produce B-1 main\nhold Ax1 paused, Ax2 paused\n");
    ck_assert_uint_eq(row_of("Ax1")->attempts, 0);
    held(true);
    nothing_new();
    pass(100);
    leave_out("renew");
    expect_but_reads("release Ax1\nrelease Ax2\nfetch topic A 1\n");
    paused_rows("Ax1", true);
    expect_but_reads("produce Ax1 solo\n");
    breaks("Ax1");
    expect_but_reads("reset solo\n");
    lane_ready(LANE_SOLO, true);
    expect_but_reads("hold Ax1 paused\n");
    held(true);
    persisted("B-1"); /* it has been on its way all the while */
    page("B-2");
    leave_out("mark");
    expect_but_reads("release Ax1\nproduce B-2 main\n");
}
END_TEST

/* One refused row after the other, each with one behind it, which the broker takes for out of sequence. */
START_TEST(topic_is_not_paused_for_what_was_behind_refused_rows)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    lead_with(&cfg);
    open_topic();
    for (int n = 1; n <= 7; n++) {
        while (t.core.reading != READING_OUTBOX)
            pass(1);
        page("A-1 A-2");
        refused("A-1");
        breaks("A-2");
        (void)wait_for("reset main\n", 1000);
        lane_ready(LANE_MAIN, true);
        ck_assert_uint_eq(t.core.topics.topic[topic_of("A")].failures, 0);
        persisted("A-1");
        persisted("A-2");
        pass(5);
        marked(true);
        t.trace[0] = '\0';
    }
}
END_TEST

/* Rows without a key, of which some come through: each producer breaks at another one. */
START_TEST(topic_is_paused_whichever_of_its_rows_breaks_the_producers)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    lead_with(&cfg);
    open_topic();
    page("A-1 A-2 A-3 B-1");
    for (int n = 1; n <= 5; n++) {
        expect_but_reads(n <= 2 ? "produce A-1 main\nproduce A-2 main\nproduce A-3 main\nproduce B-1 main\n"
                                : "produce A-1 main\nproduce A-2 main\nproduce B-1 main\n");
        ck_assert_uint_eq(t.core.topics.topic[topic_of("A")].failures, 0);
        if (n == 2)
            persisted("A-3");
        breaks(n % 2 == 0 ? "A-2" : "A-1");
        if (n == 3)
            breaks("A-2"); /* it is still one producer */
        else
            purged(n % 2 == 0 ? "A-1" : "A-2");
        if (n == 1)
            purged("A-3");
        purged("B-1");
        (void)wait_for("reset main\n", 1000);
        if (t.core.n_marking > 0)
            marked(true);
        t.trace[0] = '\0';
        lane_ready(LANE_MAIN, true);
    }
    expect_but_reads("produce B-1 main\nhold A-1 paused, A-2 paused\n");
}
END_TEST

Suite *suite_alone(void);

Suite *suite_alone(void)
{
    Suite *suite = suite_create("alone");
    TCase *tc = new_case(suite, "alone");

    tcase_add_test(tc, row_that_is_out_alone_too_long_is_called_back);
    tcase_add_test(tc, row_that_went_alone_goes_before_what_is_held_of_its_topic);
    tcase_add_test(tc, first_row_that_may_have_been_written_is_remembered_though_its_key_stays);
    tcase_add_test(tc, topic_is_found_paused_until_something_is_heard_of_it);
    tcase_add_test(tc, probe_that_was_remembered_is_not_written_again);
    tcase_add_test(tc, topic_that_breaks_every_producer_is_paused_and_others_flow);
    tcase_add_test(tc, topic_is_paused_whichever_of_its_rows_breaks_the_producers);
    tcase_add_test(tc, topic_is_not_paused_for_what_was_behind_refused_rows);
    return suite;
}
