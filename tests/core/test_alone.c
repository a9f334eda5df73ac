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

Suite *suite_alone(void);

Suite *suite_alone(void)
{
    Suite *suite = suite_create("alone");
    TCase *tc = new_case(suite, "alone");

    tcase_add_test(tc, row_that_is_out_alone_too_long_is_called_back);
    tcase_add_test(tc, row_that_went_alone_goes_before_what_is_held_of_its_topic);
    return suite;
}
