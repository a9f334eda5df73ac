/* test_isolation.c - what a topic or a row that does not move must not do to the others, as small
 * stories about the core. */
#include "tests/core/trace.h"

/* A confirms a row every 400 ms; the last one has waited in the producer for 1,200 ms. */
START_TEST(topic_that_moves_slowly_is_not_stalled)
{
    lead_patiently(1000);
    page("Aa1 Ab1 Ac1 Ad1");
    for (int i = 0; i < 3; i++) {
        pass(400);
        nothing_new();
        if (t.core.asking_kafka) {
            core_kafka_answered(&t.core, t.now, true);
            run();
        }
        if (i < 2)
            persisted((const char *[]){ "Aa1", "Ab1" }[i]);
        if (t.core.n_marking > 0)
            marked(true);
    }
    ck_assert_msg(strstr(t.trace, "reset") == NULL, "%s", t.trace);
}
END_TEST

START_TEST(topic_is_not_read_again_and_again_behind_a_row_that_is_out)
{
    int n = 0;

    lead_patiently(0);
    due_by_hand();
    page("Ax1");
    refused("Ax1");
    lane_ready(LANE_MAIN, true);
    pass(220);
    page("Ax2 Ay1");
    topic_failed("Ay1");
    lane_ready(LANE_MAIN, true);
    leave_out("read");
    expect("produce Ax1 main\nreset main\nproduce Ax1 solo\nproduce Ay1 main\nreset main\n"
           "hold Ax2 paused, Ay1 paused\n");
    held(true);
    for (int i = 0; i < 100; i++) {
        t.trace[0] = '\0';
        if (t.core.reading == READING_TOPIC) {
            paused_rows("Ax2", true);
            n++;
        } else if (t.core.reading == READING_DUE) {
            due_end(UINT64_MAX);
        } else if (t.core.reading == READING_OUTBOX) {
            page("");
        } else {
            pass(10);
        }
    }
    ck_assert_int_ge(n, 1);
    ck_assert_int_le(n, 2);
}
END_TEST

/* Ten stalls in a row; B must never wait for a lane that another topic has stopped. */
START_TEST(lane_that_was_stopped_by_a_stall_is_replaced_at_once)
{
    lead_patiently(100);
    page("Mx1");
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 500 && strstr(t.trace, "ask kafka") == NULL; k++) {
            if (t.core.n_holding > 0)
                held(true);
            else if (t.core.reading == READING_TOPIC)
                paused_rows("Mx1", false);
            else
                pass(5);
            nothing_new();
        }
        t.trace[0] = '\0';
        core_kafka_answered(&t.core, t.now, true);
        run();
        ck_assert_msg(strstr(t.trace, "reset") != NULL, "stall %d: the lane waits until %llu, now %llu", i,
                      (unsigned long long)t.core.lane[LANE_SOLO].reset_ms, (unsigned long long)t.now);
        enum lane lane = strstr(t.trace, "reset main") != NULL ? LANE_MAIN : LANE_SOLO;
        t.trace[0] = '\0';
        purged("Mx1");
        lane_ready(lane, true);
    }
}
END_TEST

/* The table is locked, or a row of it is damaged. */
START_TEST(new_rows_are_read_while_what_is_due_cannot_be)
{
    int n_failed = 0, n_pages = 0;

    lead_patiently(0);
    due_by_hand();
    for (int i = 0; i < 600; i++) {
        t.trace[0] = '\0';
        if (t.core.reading == READING_DUE) {
            read_failed();
            n_failed++;
        } else if (t.core.reading == READING_OUTBOX) {
            page("");
            n_pages += n_failed > 0;
        } else {
            pass(10);
        }
    }
    ck_assert_int_ge(n_failed, 3);
    ck_assert_int_ge(n_pages, 20);
}
END_TEST

static void lead_with_two_held_topics(void)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    begin_with(&cfg);
    link_is(true);
    core_held_topic(&t.core, t.now, topic_of("Mx1"));
    core_held_topic(&t.core, t.now, topic_of("Nx1"));
    lease(true);
    page("");
}

START_TEST(topic_that_cannot_be_read_back_leaves_the_others_their_turn)
{
    uint32_t first = UINT32_MAX;
    int n_failed = 0;

    lead_with_two_held_topics();
    for (int i = 0; i < 200 && (t.core.reading != READING_TOPIC || t.core.reading_topic == first || n_failed == 0); i++) {
        if (t.core.reading == READING_TOPIC) {
            first = t.core.reading_topic;
            read_failed();
            n_failed++;
        } else {
            pass(10);
            nothing_new();
        }
    }
    ck_assert_int_eq(t.core.reading, READING_TOPIC);
    ck_assert_uint_ne(t.core.reading_topic, first);
    ck_assert_int_eq(n_failed, 1);
}
END_TEST

/* M cannot be read back, N has more and more. */
START_TEST(topic_that_cannot_be_read_back_is_tried_less_and_less)
{
    int n_failed = 0, n_read = 0;

    lead_with_two_held_topics();
    for (uint64_t start_ms = t.now; t.now < start_ms + 8000;) {
        ck_assert_int_lt(n_failed, 1000);
        t.trace[0] = '\0';
        if (t.core.reading == READING_TOPIC && t.core.reading_topic == topic_of("Mx1")) {
            read_failed();
            n_failed++;
        } else if (t.core.reading == READING_TOPIC) {
            paused_rows("Nx1", true);
            persisted("Nx1");
            n_read++;
        } else if (t.core.n_marking > 0) {
            marked(true);
        } else {
            pass(5);
            nothing_new();
        }
    }
    ck_assert_int_ge(n_failed, 8000 / 400 - 1);
    ck_assert_int_le(n_failed, 8000 / 200 + 4); /* half of retry_max_ms at least, when it has grown */
    ck_assert_int_ge(n_read, 500);
}
END_TEST

/* A-2 is in outbox.held, which is locked, and waits for its mark; A-1 is new. */
static void marks_of_both_kinds(void)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    suspect_out(&cfg);
    page("A-1");
    core_swept(&t.core, t.now, true); /* something is due */
    run();
    expect("produce A-1 main\nfetch due 4\n");
    due("A-2", HELD_KEY, 1);
    persisted("A-2");
    persisted("A-1");
    pass(5);
    expect_but_reads("produce A-2 solo\nmark A-1 A-2\n");
}

/* A mark of A-2 fails and any other succeeds; new rows come and are confirmed. */
static void answer_what_is_asked(int *n_failed, int *n_marked)
{
    bool held_row = false;

    for (uint32_t i = 0; i < t.core.n_marking; i++)
        held_row = held_row || strcmp(t.name[t.core.marking[i]], "A-2") == 0;
    t.trace[0] = '\0';
    if (t.core.n_marking > 0) {
        ck_assert(!held_row || t.core.n_marking == 1);
        *n_failed += held_row;
        *n_marked += !held_row;
        marked(!held_row);
    } else if (t.core.reading == READING_OUTBOX && !is_in_hand("A-3")) {
        page("A-3");
        persisted("A-3");
    } else if (t.core.reading == READING_DUE) {
        due_end(UINT64_MAX);
    } else if (t.core.lead.asking) {
        lease(true);
    } else {
        pass(5);
    }
}

/* They neither take the others along nor are tried again as often as these go. */
START_TEST(marks_of_held_rows_that_fail_have_pauses_of_their_own)
{
    int n_failed = 0, n_marked = 0;
    uint64_t start_ms;

    marks_of_both_kinds();
    marked(false);
    for (start_ms = t.now; t.now < start_ms + 4000;)
        answer_what_is_asked(&n_failed, &n_marked);
    ck_assert_int_ge(n_failed, 4000 / 400 - 1);
    ck_assert_int_le(n_failed, 4000 / 200 + 4); /* half of retry_max_ms at least, when it has grown */
    ck_assert_int_ge(n_marked, 100);
    while (t.core.n_marking == 0 || strcmp(t.name[t.core.marking[0]], "A-2") != 0)
        answer_what_is_asked(&n_failed, &n_marked);
    marked(true);
    ck_assert(!is_in_hand("A-2"));
}
END_TEST

Suite *suite_isolation(void);

Suite *suite_isolation(void)
{
    Suite *suite = suite_create("isolation");
    TCase *tc = new_case(suite, "isolation");

    tcase_add_test(tc, topic_that_moves_slowly_is_not_stalled);
    tcase_add_test(tc, topic_is_not_read_again_and_again_behind_a_row_that_is_out);
    tcase_add_test(tc, new_rows_are_read_while_what_is_due_cannot_be);
    tcase_add_test(tc, marks_of_held_rows_that_fail_have_pauses_of_their_own);
    tcase_add_test(tc, topic_that_cannot_be_read_back_is_tried_less_and_less);
    tcase_add_test(tc, topic_that_cannot_be_read_back_leaves_the_others_their_turn);
    tcase_add_test(tc, lane_that_was_stopped_by_a_stall_is_replaced_at_once);
    return suite;
}
