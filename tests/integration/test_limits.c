/* test_limits.c - the sink where no limit can be known: a broker that cannot tell (the mock), and
 * none. What a limit does is shown on a real Kafka, in test_kafka_limits.c.
 */
#include <check.h>
#include <poll.h>
#include <stdio.h>

#include "relay/sink/sink.h"
#include "tests/rig/quiet.h"
#include "tests/rig/records.h"
#include "tests/rig/rig.h"

enum { BYTES = 500000 };

static unsigned n_reports;
static struct sink_report last;
static char bytes[BYTES];

static void on_report(void *arg, const struct sink_report *r)
{
    (void)arg;
    last = *r;
    n_reports++;
}

static void on_fatal(void *arg, enum lane lane)
{
    (void)arg;
    ck_abort_msg("lane %d has stopped", (int)lane);
}

static struct sink *open_at(const char *brokers)
{
    const struct sink_property property = { "bootstrap.servers", brokers };
    const struct sink_config cfg = {
        .properties = &property,
        .n_properties = 1,
        .max_rows = 4,
        .max_bytes = 1 << 24,
        .on_report = on_report,
        .on_fatal = on_fatal,
    };
    struct sink *s = NULL;
    char err[256];

    if (sink_new(&cfg, &s, err, sizeof err) < 0)
        ck_abort_msg("%s", err);
    n_reports = 0;
    return s;
}

static enum sink_take produce(struct sink *s, uint32_t slot)
{
    struct row row = { .topic = TOPIC("limits"),
                       .type = "t",
                       .payload = bytes,
                       .payload_len = BYTES,
                       .block_bytes = sizeof row + BYTES };
    struct sink_record rec = { .slot = slot, .row = &row };
    struct sink_report refused;

    return sink_produce(s, LANE_MAIN, &rec, &refused);
}

static void serve_until(struct sink *s, unsigned reports, int for_ms)
{
    int64_t end_ms = rig_now_ms() + for_ms;

    while (n_reports < reports && rig_now_ms() < end_ms) {
        struct pollfd fd = { .fd = sink_fd(s), .events = POLLIN };
        (void)poll(&fd, 1, 10);
        sink_poll(s);
    }
}

START_TEST(without_an_answer_nothing_is_too_large)
{
    struct sink *s;

    records_topic(TOPIC("limits"), 1, NULL);
    s = open_at(rig_brokers());
    for (unsigned n = 1; n <= 30; n++) {
        ck_assert_int_eq(produce(s, 0), SINK_TAKEN);
        serve_until(s, n, RIG_DEADLINE_MS);
        ck_assert_uint_eq(n_reports, n);
        ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);
    }
    ck_assert_int_eq(sink_reset(s, LANE_MAIN), 0);
    ck_assert_int_eq(produce(s, 0), SINK_TAKEN);
    serve_until(s, 31, RIG_DEADLINE_MS);
    ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);
    sink_free(s);
}
END_TEST

START_TEST(a_question_that_is_out_holds_nothing_up)
{
    struct sink *s = open_at("127.0.0.1:1");
    int64_t began_ms;

    ck_assert_int_eq(produce(s, 0), SINK_TAKEN);
    serve_until(s, 1, 200); /* asks, and gets no answer */
    began_ms = rig_now_ms();
    ck_assert_int_eq(sink_reset(s, LANE_MAIN), 0);
    ck_assert_uint_eq(n_reports, 1);
    ck_assert_int_eq(last.outcome, OUTCOME_NOT_PERSISTED);
    ck_assert_int_eq(produce(s, 1), SINK_TAKEN);
    serve_until(s, 2, 100);
    sink_free(s);
    ck_assert_uint_eq(n_reports, 2);
    ck_assert_int_lt(rig_now_ms() - began_ms, RIG_DEADLINE_MS);
}
END_TEST

Suite *suite_limits(void);
Suite *suite_limits(void)
{
    Suite *s = suite_create("limits");
    TCase *tc = tcase_create("limits");

    tcase_add_checked_fixture(tc, rig_quiet, NULL);
    tcase_add_test(tc, without_an_answer_nothing_is_too_large);
    tcase_add_test(tc, a_question_that_is_out_holds_nothing_up);
    suite_add_tcase(s, tc);
    return s;
}
