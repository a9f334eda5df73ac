/* test_tail.c - the ends of topics on librdkafka's mock cluster. Event n has the n-th id. Needs
 * OUTBOX_TEST_BROKERS. */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/log.h"
#include "tests/integration/tails.h"

START_TEST(tail_finds_the_events_of_all_partitions)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    records_topic(TOPIC("tail-all"), 4, NULL);
    struct records *r = records_open(NULL);
    for (uint64_t n = 0; n < 800; n++)
        records_put(r, TOPIC("tail-all"), (int32_t)(n % 4), "ce_id", n, 20);
    records_close(r);
    tails_read(t, TOPIC("tail-all"));
    for (uint64_t n = 0; n < 800; n++)
        tails_expect(t, TOPIC("tail-all"), n, (int32_t)(n % 4), (int64_t)(n / 4));
    ck_assert(!tails_has(t, TOPIC("tail-all"), 800));
    ck_assert(!tails_has(t, TOPIC("tail-other"), 1));
    tail_free(t);
}
END_TEST

START_TEST(tail_looks_at_the_last_rows_only)
{
    static const uint32_t rows[] = { 1, 63, 64, 65, 200, 299, 300, 301, 5000 };

    records_topic(TOPIC("tail-rows"), 2, NULL);
    struct records *r = records_open(NULL);
    for (uint64_t n = 0; n < 600; n++)
        records_put(r, TOPIC("tail-rows"), (int32_t)(n % 2), "ce_id", n, 20);
    records_close(r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, rows[i], TAILS_MANY_BYTES);
        uint64_t first = rows[i] < 300 ? 600 - 2 * (uint64_t)rows[i] : 0;
        tails_read(t, TOPIC("tail-rows"));
        for (uint64_t n = 0; n < 600; n++)
            ck_assert_msg(tails_has(t, TOPIC("tail-rows"), n) == (n >= first), "%u rows, event %u",
                          (unsigned)rows[i], (unsigned)n);
        tail_free(t);
    }
}
END_TEST

START_TEST(tail_looks_at_about_max_bytes_only)
{
    /* 10,000 bytes each: 64 are looked at in any case, 100 by the size */
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 5000, 100 * 10100);

    records_topic(TOPIC("tail-bytes"), 1, NULL);
    struct records *r = records_open(NULL);
    for (uint64_t n = 0; n < 300; n++)
        records_put(r, TOPIC("tail-bytes"), 0, "ce_id", n, 10000);
    records_close(r);
    tails_read(t, TOPIC("tail-bytes"));
    for (uint64_t n = 0; n < 300; n++)
        ck_assert_msg(tails_has(t, TOPIC("tail-bytes"), n) == (n >= 200), "event %u", (unsigned)n);
    tail_free(t);
}
END_TEST

/* 16 times rows, for all of them together; 64 at least of each. */
START_TEST(tail_shares_what_it_reads_among_many_partitions)
{
    enum { PARTS = 40, EACH = 150 };
    static const uint32_t rows[] = { 100, 250, 1000 }, looked_at[] = { 64, 100, 150 };

    records_topic(TOPIC("tail-shares"), PARTS, NULL);
    struct records *r = records_open(NULL);
    for (uint64_t n = 0; n < PARTS * EACH; n++)
        records_put(r, TOPIC("tail-shares"), (int32_t)(n % PARTS), "ce_id", n, 20);
    records_close(r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, rows[i], TAILS_MANY_BYTES);
        uint64_t first = PARTS * (EACH - looked_at[i]);
        for (int turn = 0; turn < 2; turn++) {
            tails_read(t, TOPIC("tail-shares"));
            for (uint64_t n = 0; n < PARTS * EACH; n++)
                ck_assert_msg(tails_has(t, TOPIC("tail-shares"), n) == (n >= first),
                              "%u rows, event %u", (unsigned)rows[i], (unsigned)n);
        }
        tail_free(t);
    }
}
END_TEST

START_TEST(tail_tells_where_an_event_came_first)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    records_topic(TOPIC("tail-repeat"), 1, NULL);
    struct records *r = records_open(NULL);
    for (uint64_t n = 0; n < 200; n++)
        records_put(r, TOPIC("tail-repeat"), 0, "ce_id", n % 150, 20);
    records_close(r);
    /* the repeats are in the sample, most of the first ones below */
    tails_read(t, TOPIC("tail-repeat"));
    for (uint64_t n = 0; n < 150; n++)
        tails_expect(t, TOPIC("tail-repeat"), n, 0, (int64_t)n);
    tail_free(t);
}
END_TEST

START_TEST(tail_takes_the_header_of_the_envelope)
{
    struct tail *ce = tails_open(ENVELOPE_CLOUDEVENTS, 10, TAILS_MANY_BYTES);
    struct tail *debezium = tails_open(ENVELOPE_DEBEZIUM, 10, TAILS_MANY_BYTES);

    records_topic(TOPIC("tail-header"), 1, NULL);
    struct records *r = records_open(NULL);
    records_put(r, TOPIC("tail-header"), 0, "ce_id", 0, 20);
    records_put(r, TOPIC("tail-header"), 0, "id", 1, 0); /* a tombstone */
    records_put_text(r, TOPIC("tail-header"), 0, "ce_id", "not an id", 20);
    records_put_text(r, TOPIC("tail-header"), 0, NULL, NULL, 20);
    records_put(r, TOPIC("tail-header"), 0, "ce_id", 4, 0);
    records_close(r);
    tails_read(ce, TOPIC("tail-header"));
    tails_read(debezium, TOPIC("tail-header"));
    tails_expect(ce, TOPIC("tail-header"), 0, 0, 0);
    tails_expect(ce, TOPIC("tail-header"), 4, 0, 4);
    ck_assert(!tails_has(ce, TOPIC("tail-header"), 1));
    tails_expect(debezium, TOPIC("tail-header"), 1, 0, 1);
    ck_assert(!tails_has(debezium, TOPIC("tail-header"), 0));
    tail_free(ce);
    tail_free(debezium);
}
END_TEST

/* Nothing keeps an application from giving two events one id. The second is not in the log because
 * the first is. */
START_TEST(tail_takes_no_row_for_another_with_its_event_id)
{
    struct tail *ce = tails_open(ENVELOPE_CLOUDEVENTS, 10, TAILS_MANY_BYTES);
    struct tail *debezium = tails_open(ENVELOPE_DEBEZIUM, 10, TAILS_MANY_BYTES);
    struct row row = tails_row(TOPIC("tail-twins"), 7), other = row;
    int32_t partition;
    int64_t offset;

    records_topic(TOPIC("tail-twins"), 1, NULL);
    struct records *r = records_open(NULL);
    records_put_twin(r, TOPIC("tail-twins"), 0, "ce_id", 7, 8, 20);
    records_put(r, TOPIC("tail-twins"), 0, "id", 7, 0);
    records_close(r);
    tails_read(ce, TOPIC("tail-twins"));
    tails_read(debezium, TOPIC("tail-twins"));
    ck_assert(!tail_find(ce, &row, &partition, &offset));
    other.id = 8;
    ck_assert(tail_find(ce, &other, &partition, &offset));
    ck_assert_int_eq(offset, 0);
    ck_assert(tail_find(debezium, &row, &partition, &offset));
    ck_assert_int_eq(offset, 1);
    row.payload = "";
    ck_assert(!tail_find(debezium, &row, &partition, &offset));
    row.payload = NULL;
    row.key = "";
    ck_assert(!tail_find(debezium, &row, &partition, &offset));
    row.key = NULL;
    row.type = "another";
    ck_assert(!tail_find(debezium, &row, &partition, &offset));
    tail_free(ce);
    tail_free(debezium);
}
END_TEST

START_TEST(tail_of_the_plain_envelope_is_not_possible)
{
    const struct tail_config cfg = { .envelope = ENVELOPE_PLAIN, .rows = 10, .max_bytes = 1000 };
    char err[256] = "";

    ck_assert_ptr_null(tail_new(&cfg, err, sizeof err));
    ck_assert_msg(strstr(err, "plain") != NULL, "%s", err);
}
END_TEST

START_TEST(tail_names_a_property_that_is_wrong)
{
    const struct sink_property property = { "security.protocol", "none" };
    const struct tail_config cfg = { &property, 1, ENVELOPE_DEBEZIUM, 10, 1000 };
    char err[256] = "";

    ck_assert_ptr_null(tail_new(&cfg, err, sizeof err));
    ck_assert_msg(strstr(err, "kafka.security.protocol") != NULL, "%s", err);
}
END_TEST

START_TEST(tail_of_no_topic_and_of_an_empty_one_is_ready)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    records_topic(TOPIC("tail-empty"), 3, NULL);
    ck_assert_int_eq(tail_state(t, TOPIC("tail-missing")), TAIL_NONE);
    tails_read(t, TOPIC("tail-missing"));
    tails_read(t, TOPIC("tail-empty"));
    ck_assert(!tails_has(t, TOPIC("tail-missing"), 0));
    ck_assert(!tails_has(t, TOPIC("tail-empty"), 0));
    tail_free(t); /* that none was made can be seen with a real broker only: the mock makes any */
}
END_TEST

START_TEST(tail_reads_anew_when_asked_again)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 3, TAILS_MANY_BYTES);

    records_topic(TOPIC("tail-again"), 1, NULL);
    for (uint64_t turn = 0; turn < 20; turn++) {
        struct records *r = records_open(NULL);
        records_put(r, TOPIC("tail-again"), 0, "ce_id", turn, 20);
        records_close(r);
        tails_read(t, TOPIC("tail-again"));
        for (uint64_t n = 0; n <= turn; n++)
            ck_assert_int_eq(tails_has(t, TOPIC("tail-again"), n), n + 3 > turn);
    }
    tail_free(t);
}
END_TEST

START_TEST(tail_reads_many_topics_beside_missing_ones)
{
    enum { N = 40 };
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);
    struct records *r = records_open(NULL);
    char name[64];

    for (int i = 0; i < N; i += 2) {
        snprintf(name, sizeof name, TOPIC("tail-many-%d"), i);
        records_topic(name, 3, NULL);
        for (uint64_t n = 0; n < 150; n++)
            records_put(r, name, (int32_t)(n % 3), "ce_id", n, 20);
    }
    records_close(r);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, TOPIC("tail-many-%d"), i);
        ck_assert_int_eq(tail_read(t, name, RIG_DEADLINE_MS), 0);
        ck_assert_int_eq(tail_read(t, name, RIG_DEADLINE_MS), 0); /* nothing more to do */
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, TOPIC("tail-many-%d"), i);
        ck_assert_int_eq(tails_wait(t, name), TAIL_READY);
        for (uint64_t n = 0; n < 150; n++)
            ck_assert_int_eq(tails_has(t, name, n), i % 2 == 0);
    }
    tail_free(t);
}
END_TEST

/* Where nobody listens. */
static struct tail *open_nowhere(void)
{
    const struct sink_property property = { "bootstrap.servers", "127.0.0.1:1" };
    const struct tail_config cfg = { &property, 1, ENVELOPE_CLOUDEVENTS, 10, 1000 };
    char err[256];
    struct tail *t = tail_new(&cfg, err, sizeof err);

    ck_assert_ptr_nonnull(t);
    return t;
}

START_TEST(tail_fails_in_time_when_no_broker_answers)
{
    struct tail *t = open_nowhere();
    int64_t began_ms = rig_now_ms();

    ck_assert_int_eq(tail_read(t, "orders", 300), 0);
    ck_assert_int_eq(tails_wait(t, "orders"), TAIL_FAILED);
    ck_assert_int_ge(rig_now_ms() - began_ms, 300);
    ck_assert(!tails_has(t, "orders", 0));
    ck_assert_int_eq(tail_read(t, "orders", 10), 0); /* and again */
    ck_assert_int_eq(tails_wait(t, "orders"), TAIL_FAILED);
    tail_free(t);
}
END_TEST

START_TEST(tail_is_given_up_in_the_middle)
{
    struct tail *t = open_nowhere();

    ck_assert_int_eq(tail_read(t, "orders", 10 * RIG_DEADLINE_MS), 0);
    int64_t began_ms = rig_now_ms();
    tail_free(t);
    ck_assert_int_lt(rig_now_ms() - began_ms, RIG_DEADLINE_MS);
    for (int i = 0; i < 20; i++) {
        t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);
        ck_assert_int_eq(tail_read(t, TOPIC("tail-all"), RIG_DEADLINE_MS), 0);
        if (i % 2 == 0) /* somewhere between nothing and everything */
            (void)poll(&(struct pollfd){ .fd = tail_fd(t), .events = POLLIN }, 1, i / 2);
        tail_free(t);
    }
    tail_free(NULL);
}
END_TEST

/* Whatever librdkafka has to say comes through the log, and of the properties it has nothing to
 * say. */
START_TEST(tail_writes_nothing_to_stderr)
{
    rig_stderr_keep();
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);
    tails_read(t, TOPIC("tail-all"));
    tail_free(t);
    t = open_nowhere();
    ck_assert_int_eq(tail_read(t, "orders", 200), 0);
    /* without tail_poll: all that could come is librdkafka's own */
    while (tail_state(t, "orders") == TAIL_READING)
        (void)poll(NULL, 0, 2);
    tail_free(t);
    ck_assert_str_eq(rig_stderr(), "");
    rig_stderr_release();
}
END_TEST

Suite *suite_tail(void);
Suite *suite_tail(void)
{
    Suite *s = suite_create("tail");
    TCase *tc = tcase_create("tail");

    tcase_add_checked_fixture(tc, rig_quiet, NULL);
    tcase_add_test(tc, tail_finds_the_events_of_all_partitions);
    tcase_add_test(tc, tail_looks_at_the_last_rows_only);
    tcase_add_test(tc, tail_looks_at_about_max_bytes_only);
    tcase_add_test(tc, tail_shares_what_it_reads_among_many_partitions);
    tcase_add_test(tc, tail_tells_where_an_event_came_first);
    tcase_add_test(tc, tail_takes_the_header_of_the_envelope);
    tcase_add_test(tc, tail_takes_no_row_for_another_with_its_event_id);
    tcase_add_test(tc, tail_of_the_plain_envelope_is_not_possible);
    tcase_add_test(tc, tail_names_a_property_that_is_wrong);
    tcase_add_test(tc, tail_of_no_topic_and_of_an_empty_one_is_ready);
    tcase_add_test(tc, tail_reads_anew_when_asked_again);
    tcase_add_test(tc, tail_reads_many_topics_beside_missing_ones);
    tcase_add_test(tc, tail_fails_in_time_when_no_broker_answers);
    tcase_add_test(tc, tail_is_given_up_in_the_middle);
    tcase_add_test(tc, tail_writes_nothing_to_stderr);
    suite_add_tcase(s, tc);
    return s;
}
