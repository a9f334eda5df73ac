/* test_metrics.c - the text of the metrics: every family described, labels bounded and escaped. */
#include <check.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "relay/metrics.h"

static struct metrics m;
static struct metric_names names;
static char *text;

static void setup(void)
{
    metrics_init(&m, &names);
    text = NULL;
}

static void teardown(void)
{
    metrics_deinit(&names);
    free(text);
}

static const char *written(void)
{
    size_t len;

    free(text);
    FILE *out = open_memstream(&text, &len);
    ck_assert_ptr_nonnull(out);
    ck_assert(metrics_write(&m, out));
    fclose(out);
    return text;
}

/* Is it a whole line of the text? */
static void expect_line(const char *line)
{
    size_t len = strlen(line);

    for (const char *at = written(); (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return;
    ck_abort_msg("no line %s in\n%s", line, text);
}

static uint32_t lines_with(const char *begin)
{
    uint32_t n = 0;

    for (const char *at = written(); at != NULL && *at != '\0'; at = strchr(at, '\n'), at = at ? at + 1 : at)
        n += strncmp(at, begin, strlen(begin)) == 0;
    return n;
}

START_TEST(metrics_every_family_has_help_and_type_once)
{
    struct family {
        const char *name, *help;
    } families[] = {
#define METRIC(field, name, type, labels, help) { name, help },
#include "relay/metrics.def"
#undef METRIC
    };
    char begin[128];

    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        ck_assert_msg(families[i].help[strlen(families[i].help) - 1] == '.', "%s", families[i].name);
        ck_assert_ptr_null(strpbrk(families[i].help, "\n\\"));
        snprintf(begin, sizeof begin, "# HELP %s ", families[i].name);
        ck_assert_uint_eq(lines_with(begin), 1);
        snprintf(begin, sizeof begin, "# TYPE %s ", families[i].name);
        ck_assert_uint_eq(lines_with(begin), 1);
    }
}
END_TEST

START_TEST(metrics_counter_and_gauge)
{
    m.rows_marked[0] = 18446744073709551615u;
    m.leader[0] = 1;
    m.last_ack[0] = 1764404000.123;
    expect_line("outbox_relay_rows_marked_total 18446744073709551615");
    expect_line("outbox_relay_leader 1");
    expect_line("outbox_relay_last_ack_timestamp_seconds 1764404000.123");
}
END_TEST

START_TEST(metrics_unknown_gauge_is_left_out)
{
    ck_assert_uint_eq(lines_with("outbox_relay_kafka_up"), 0);
    ck_assert_uint_eq(lines_with("outbox_relay_pending_rows"), 0);
    m.kafka_up[0] = 0;
    expect_line("outbox_relay_kafka_up 0");
    ck_assert_ptr_null(strstr(text, " nan"));
}
END_TEST

START_TEST(metrics_fixed_labels)
{
    m.held_rows[STATE_DEAD] = 3;
    m.rows_held[STATE_RETRYING] = 7;
    m.resets[1] = 2;
    m.build_info[0] = 1;
    m.version = "1.2";
    m.librdkafka = "2.0.2";
    m.libpq = "15.8";
    expect_line("outbox_relay_held_rows{state=\"dead\"} 3");
    expect_line("outbox_relay_rows_held_total{state=\"retrying\"} 7");
    expect_line("outbox_relay_producer_resets_total{lane=\"solo\"} 2");
    expect_line("outbox_relay_build_info{version=\"1.2\",librdkafka=\"2.0.2\",libpq=\"15.8\"} 1");
}
END_TEST

START_TEST(metrics_topic_has_one_index)
{
    uint32_t a = metrics_topic(&m, "a"), b = metrics_topic(&m, "b");

    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(metrics_topic(&m, "a"), a);
    m.rows_read[a] = 1;
    m.rows_read[b] = 2;
    expect_line("outbox_relay_rows_read_total{topic=\"a\"} 1");
    expect_line("outbox_relay_rows_read_total{topic=\"b\"} 2");
    ck_assert_uint_eq(lines_with("outbox_relay_rows_read_total{"), 2);
}
END_TEST

START_TEST(metrics_topics_beyond_the_limit_share_a_value)
{
    char name[32];

    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        m.rows_read[metrics_topic(&m, name)]++;
    }
    ck_assert_uint_eq(lines_with("outbox_relay_rows_read_total{"), METRIC_TOPICS + 1);
    expect_line("outbox_relay_rows_read_total{topic=\"topic-99\"} 1");
    expect_line("outbox_relay_rows_read_total{topic=\"(other)\"} 9900");
    ck_assert_uint_eq(metrics_topic(&m, "another"), METRIC_TOPICS);
}
END_TEST

START_TEST(metrics_reasons_and_brokers_beyond_the_limit_share_a_value)
{
    char name[32];

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "v%d", i);
        m.kafka_errors[metrics_code(&m, name)]++;
        m.rdkafka_txerrs[metrics_broker(&m, name)]++;
    }
    ck_assert_uint_eq(lines_with("outbox_relay_kafka_errors_total{"), METRIC_CODES + 1);
    expect_line("outbox_relay_kafka_errors_total{code=\"(other)\"} 976");
    ck_assert_uint_eq(lines_with("outbox_relay_rdkafka_txerrs_total{"), METRIC_BROKERS + 1);
}
END_TEST

/* Whatever topics and reasons do, so many lines and no more. */
START_TEST(metrics_text_is_bounded)
{
    char name[32];

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "t%d", i);
        uint32_t topic = metrics_topic(&m, name);
        for (int r = 0; r < 60; r++) {
            snprintf(name, sizeof name, "r%d", r);
            m.rows_failed[metrics_topic_reason(topic, metrics_code(&m, name))]++;
        }
    }
    ck_assert_uint_eq(lines_with("outbox_relay_rows_failed_total{"), LABELS_TOPIC_REASON);
    expect_line("outbox_relay_rows_failed_total{topic=\"(other)\",reason=\"(other)\"} 7200");
    ck_assert_uint_lt(strlen(text), 800000);
}
END_TEST

START_TEST(metrics_reasons_that_never_met_a_topic_are_left_out)
{
    m.rows_failed[metrics_topic_reason(metrics_topic(&m, "a"), metrics_code(&m, "X"))] = 4;
    (void)metrics_topic(&m, "b");
    (void)metrics_code(&m, "Y");
    expect_line("outbox_relay_rows_failed_total{topic=\"a\",reason=\"X\"} 4");
    ck_assert_uint_eq(lines_with("outbox_relay_rows_failed_total{"), 1);
}
END_TEST

START_TEST(metrics_label_values_are_escaped)
{
    m.rows_read[metrics_topic(&m, "a\"b\\c\nd\xff")] = 5;
    expect_line("outbox_relay_rows_read_total{topic=\"a\\\"b\\\\c\\nd\\\\xff\"} 5");
}
END_TEST

START_TEST(metrics_histogram_counts_up_to_each_bound)
{
    uint32_t t = metrics_topic(&m, "t");

    metrics_seconds(&m.delivery_latency[t], 0.005); /* a bound belongs to its bucket */
    metrics_seconds(&m.delivery_latency[t], 0.0051);
    metrics_seconds(&m.delivery_latency[t], 400);
    metrics_seconds(&m.delivery_latency[t], -3);
    expect_line("outbox_relay_delivery_latency_seconds_bucket{topic=\"t\",le=\"0.005\"} 2");
    expect_line("outbox_relay_delivery_latency_seconds_bucket{topic=\"t\",le=\"0.01\"} 3");
    expect_line("outbox_relay_delivery_latency_seconds_bucket{topic=\"t\",le=\"300\"} 3");
    expect_line("outbox_relay_delivery_latency_seconds_bucket{topic=\"t\",le=\"+Inf\"} 4");
    expect_line("outbox_relay_delivery_latency_seconds_sum{topic=\"t\"} 400.0101");
    expect_line("outbox_relay_delivery_latency_seconds_count{topic=\"t\"} 4");
}
END_TEST

START_TEST(metrics_rows_have_bounds_of_their_own)
{
    metrics_rows(&m.batch_rows[0], 1000);
    metrics_rows(&m.batch_rows[0], 3);
    expect_line("outbox_relay_batch_rows_bucket{le=\"5\"} 1");
    expect_line("outbox_relay_batch_rows_bucket{le=\"500\"} 1");
    expect_line("outbox_relay_batch_rows_bucket{le=\"1000\"} 2");
    expect_line("outbox_relay_batch_rows_sum 1003");
}
END_TEST

START_TEST(metrics_quantiles)
{
    struct histogram h = { .sum = 0 };

    ck_assert(isnan(metrics_quantile(&h, 0.5)));
    for (int i = 0; i < 100; i++)
        metrics_seconds(&h, 0.02);
    ck_assert_double_eq_tol(metrics_quantile(&h, 0.5), 0.0175, 1e-9); /* half way from 0.01 to 0.025 */
    for (int i = 0; i < 10; i++)
        metrics_seconds(&h, 1000);
    ck_assert_double_eq_tol(metrics_quantile(&h, 0.99), 1000, 1e-9); /* above all bounds: the largest */

    h = (struct histogram){ .sum = 0 };
    metrics_seconds(&h, 70); /* alone in a bucket that ends at 300 */
    ck_assert_double_eq_tol(metrics_quantile(&h, 0.99), 70, 1e-9);
}
END_TEST

START_TEST(metrics_help_names_every_metric)
{
    size_t len;
    FILE *out = open_memstream(&text, &len);

    metrics_help(out);
    fclose(out);
#define METRIC(field, name, type, labels, help)                                                    \
    ck_assert_ptr_nonnull(strstr(text, name));                                                     \
    ck_assert_ptr_nonnull(strstr(text, help));
#include "relay/metrics.def"
#undef METRIC
    ck_assert_ptr_nonnull(strstr(text, "outbox_relay_rows_failed_total{topic, reason} (counter)\n    Sends"));
    ck_assert_ptr_nonnull(strstr(text, "outbox_relay_leader (gauge)\n"));
}
END_TEST

Suite *suite_metrics(void);

Suite *suite_metrics(void)
{
    Suite *s = suite_create("metrics");
    TCase *tc = tcase_create("metrics");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, metrics_every_family_has_help_and_type_once);
    tcase_add_test(tc, metrics_counter_and_gauge);
    tcase_add_test(tc, metrics_unknown_gauge_is_left_out);
    tcase_add_test(tc, metrics_fixed_labels);
    tcase_add_test(tc, metrics_topic_has_one_index);
    tcase_add_test(tc, metrics_topics_beyond_the_limit_share_a_value);
    tcase_add_test(tc, metrics_reasons_and_brokers_beyond_the_limit_share_a_value);
    tcase_add_test(tc, metrics_text_is_bounded);
    tcase_add_test(tc, metrics_reasons_that_never_met_a_topic_are_left_out);
    tcase_add_test(tc, metrics_label_values_are_escaped);
    tcase_add_test(tc, metrics_histogram_counts_up_to_each_bound);
    tcase_add_test(tc, metrics_rows_have_bounds_of_their_own);
    tcase_add_test(tc, metrics_quantiles);
    tcase_add_test(tc, metrics_help_names_every_metric);
    suite_add_tcase(s, tc);
    return s;
}
