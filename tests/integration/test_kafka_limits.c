/* test_kafka_limits.c - does the broker count the size of a record as limits.c does, and does the
 * sink refuse before the broker must? On a real Kafka: the mock knows no limits.
 */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "relay/loop.h"
#include "relay/sink/limits.h"
#include "relay/sink/sink.h"
#include "tests/rig/quiet.h"
#include "tests/rig/records.h"
#include "tests/rig/rig.h"

enum { ROWS = 16, LIMIT = 5000, MAX = 20000 };

static struct sink *sink;
static unsigned n_reports, n_fatal;
static struct sink_report last;
static char last_text[256];
static char bytes[MAX];

static void on_report(void *arg, const struct sink_report *r)
{
    (void)arg;
    last = *r;
    snprintf(last_text, sizeof last_text, "%s", r->text);
    n_reports++;
}

static void on_fatal(void *arg, enum lane lane)
{
    (void)arg;
    (void)lane;
    n_fatal++;
}

static void open_with(const char *name, const char *value)
{
    const struct sink_property properties[] = { { "bootstrap.servers", rig_brokers() },
                                                { name, value } };
    const struct sink_config cfg = {
        .properties = properties,
        .n_properties = name != NULL ? 2 : 1,
        .max_rows = ROWS,
        .max_bytes = 1 << 24,
        .on_report = on_report,
        .on_fatal = on_fatal,
    };
    char err[256];

    if (sink_new(&cfg, &sink, err, sizeof err) < 0)
        ck_abort_msg("%s", err);
    n_reports = n_fatal = 0;
}

static void close_sink(void)
{
    sink_free(sink);
    sink = NULL;
}

/* -- one record ----------------------------------------------------------------------------- */

struct shape {
    size_t key_len;
    bool has_key;
    size_t n_headers;
    struct header headers[4];
};

static const struct shape shapes[] = {
    { .has_key = false },
    { .has_key = true, .key_len = 70 },
    { .has_key = true,
      .key_len = 16,
      .n_headers = 4,
      .headers = { { "ce_id", "01234567-89ab-cdef-f0e1-d2c3b4a59687", 36 },
                   { "", "", 0 },
                   { "long", bytes, 300 },
                   { "a-name-of-exactly-64-bytes-whose-length-takes-two-bytes-to-write", "v",
                     1 } } },
};

static struct row row_of(const struct shape *shape, const char *topic, size_t payload_len)
{
    return (struct row){
        .id = 1,
        .created_at_us = INT64_C(1767225600000000),
        .topic = topic,
        .type = "t",
        .key = shape->has_key ? bytes : NULL,
        .key_len = shape->key_len,
        .payload = bytes,
        .payload_len = payload_len,
        .block_bytes = sizeof(struct row) + payload_len + shape->key_len + 1000,
    };
}

static void wait_reports(unsigned n)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    while (n_reports < n) {
        struct pollfd fd = { .fd = sink_fd(sink), .events = POLLIN };
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("timed out: no report");
        (void)poll(&fd, 1, 100);
        sink_poll(sink);
    }
}

static enum sink_take produce(enum lane lane, uint32_t slot, const struct row *row,
                              const struct shape *shape, struct sink_report *refused)
{
    struct sink_record rec = { slot, 0, row, shape->headers, shape->n_headers };

    return sink_produce(sink, lane, &rec, refused);
}

/* Alone in a batch. A new sink knows no limits: the broker judges. */
static bool broker_takes(const struct shape *shape, const char *topic, size_t payload_len)
{
    struct row row = row_of(shape, topic, payload_len);
    struct sink_report refused;

    open_with(NULL, NULL);
    ck_assert_int_eq(produce(LANE_SOLO, 0, &row, shape, &refused), SINK_TAKEN);
    wait_reports(1);
    close_sink();
    if (last.outcome != OUTCOME_PERSISTED)
        ck_assert_str_eq(last.code, "MSG_SIZE_TOO_LARGE");
    return last.outcome == OUTCOME_PERSISTED;
}

/* The limit of the topic is known when a record that is far too large is refused. */
static void learn_limit(const char *topic)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;
    struct row small = row_of(&shapes[0], topic, 10), large = row_of(&shapes[0], topic, MAX);
    struct sink_report refused;
    enum sink_take take;

    unsigned before = n_reports;
    ck_assert_int_eq(produce(LANE_SOLO, 0, &small, &shapes[0], &refused), SINK_TAKEN);
    wait_reports(before + 1);
    for (;;) {
        before = n_reports;
        take = produce(LANE_SOLO, 0, &large, &shapes[0], &refused);
        if (take == SINK_REFUSED)
            return;
        ck_assert_int_eq(take, SINK_TAKEN);
        wait_reports(before + 1);
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("timed out: the limit of %s is not known after %d ms", topic, RIG_DEADLINE_MS);
    }
}

/* -- cases ---------------------------------------------------------------------------------- */

START_TEST(size_is_what_the_broker_counts)
{
    const struct shape *shape = &shapes[_i];
    size_t low = 1, high = MAX; /* taken, refused */
    char topic[64];
    struct sink_report refused;

    snprintf(topic, sizeof topic, "klimits-size-%d", _i);
    records_topic(topic, 1, "max.message.bytes=5000");
    ck_assert(broker_takes(shape, topic, low));
    ck_assert(!broker_takes(shape, topic, high));
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (broker_takes(shape, topic, middle))
            low = middle;
        else
            high = middle;
    }
    struct row fits = row_of(shape, topic, low), large = row_of(shape, topic, high);
    ck_assert_uint_eq(limits_record_bytes(&fits, shape->headers, shape->n_headers), LIMIT);
    ck_assert_uint_eq(limits_record_bytes(&large, shape->headers, shape->n_headers), LIMIT + 1);

    /* and the sink, once it knows the limit, says the same */
    open_with(NULL, NULL);
    learn_limit(topic);
    unsigned before = n_reports;
    ck_assert_int_eq(produce(LANE_SOLO, 3, &large, shape, &refused), SINK_REFUSED);
    ck_assert_uint_eq(refused.slot, 3);
    ck_assert_int_eq(refused.outcome, OUTCOME_NOT_PERSISTED);
    ck_assert_int_eq(refused.blame, BLAME_ROW);
    ck_assert_str_eq(refused.code, "MSG_SIZE_TOO_LARGE");
    ck_assert_msg(strstr(refused.text, "5001") != NULL && strstr(refused.text, "5000") != NULL,
                  "%s", refused.text);
    ck_assert_int_eq(produce(LANE_SOLO, 3, &fits, shape, &refused), SINK_TAKEN);
    wait_reports(before + 1);
    ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);
    close_sink();
}
END_TEST

START_TEST(large_row_costs_the_main_lane_nothing)
{
    struct row small = row_of(&shapes[0], "klimits-main", 100),
               large = row_of(&shapes[0], "klimits-main", MAX);
    struct sink_report refused;

    records_topic("klimits-main", 1, "max.message.bytes=5000");
    open_with(NULL, NULL);
    learn_limit("klimits-main");
    unsigned before = n_reports;
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        bool is_large = slot % 4 == 2;
        ck_assert_int_eq(produce(LANE_MAIN, slot, is_large ? &large : &small, &shapes[0], &refused),
                         is_large ? SINK_REFUSED : SINK_TAKEN);
    }
    for (unsigned n = 1; n <= ROWS - ROWS / 4; n++) {
        wait_reports(before + n);
        ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);
    }
    ck_assert_uint_eq(n_fatal, 0);
    /* a new producer changes nothing about what is known */
    ck_assert_int_eq(sink_reset(sink, LANE_MAIN), 0);
    ck_assert_int_eq(produce(LANE_MAIN, 0, &large, &shapes[0], &refused), SINK_REFUSED);
    close_sink();
}
END_TEST

/* Attempts of a row that was refused notice that the limit was raised, without the wait for the
 * next look; and a lower one is noticed by the refusals of the broker. */
START_TEST(changed_limit_is_noticed)
{
    struct row row = row_of(&shapes[0], "klimits-change", 8000);
    struct sink_report refused;
    enum sink_take take;
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    records_topic("klimits-change", 1, "max.message.bytes=5000");
    open_with(NULL, NULL);
    learn_limit("klimits-change");
    records_topic_config("klimits-change", "max.message.bytes=9000");
    while ((take = produce(LANE_SOLO, 0, &row, &shapes[0], &refused)) == SINK_REFUSED) {
        struct pollfd fd = { .fd = sink_fd(sink), .events = POLLIN };
        ck_assert_msg(rig_now_ms() < end_ms, "timed out: the limit stays");
        (void)poll(&fd, 1, 100);
        sink_poll(sink);
    }
    ck_assert_int_eq(take, SINK_TAKEN);
    wait_reports(n_reports + 1);
    ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);

    records_topic_config("klimits-change", "max.message.bytes=5000");
    while ((take = produce(LANE_SOLO, 0, &row, &shapes[0], &refused)) == SINK_TAKEN) {
        wait_reports(n_reports + 1);
        ck_assert_msg(rig_now_ms() < end_ms, "timed out: the limit stays");
    }
    ck_assert_int_eq(take, SINK_REFUSED);
    ck_assert_msg(strstr(refused.text, "5000") != NULL, "%s", refused.text);
    close_sink();
}
END_TEST

/* The broker counts compressed bytes. */
START_TEST(compressed_rows_are_left_to_the_broker)
{
    struct row row = row_of(&shapes[0], "klimits-lz4", MAX);
    struct sink_report refused;

    records_topic("klimits-lz4", 1, "max.message.bytes=5000");
    open_with("compression.type", "lz4");
    for (unsigned n = 1; n <= 20; n++) {
        ck_assert_int_eq(produce(LANE_MAIN, 0, &row, &shapes[0], &refused), SINK_TAKEN);
        wait_reports(n);
        ck_assert_int_eq(last.outcome, OUTCOME_PERSISTED);
    }
    close_sink();
}
END_TEST

Suite *suite_kafka_limits(void);
Suite *suite_kafka_limits(void)
{
    Suite *s = suite_create("kafka_limits");
    TCase *tc = tcase_create("kafka_limits");

    tcase_add_checked_fixture(tc, rig_quiet, NULL);
    tcase_add_loop_test(tc, size_is_what_the_broker_counts, 0,
                        (int)(sizeof shapes / sizeof shapes[0]));
    tcase_add_test(tc, large_row_costs_the_main_lane_nothing);
    tcase_add_test(tc, changed_limit_is_noticed);
    tcase_add_test(tc, compressed_rows_are_left_to_the_broker);
    suite_add_tcase(s, tc);
    return s;
}
