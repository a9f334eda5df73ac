/* test_inbox_kafka.c - which properties are refused; and a partition for which there is no memory ends the
 * run: nobody else would read it. The broker is librdkafka's mock, in this process. */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/inside.h"
#include "tests/rig/fake.h"
#include "tests/rig/rig.h"

static unsigned n_assigned;

FAKE(struct inbox__partition *, inbox__partition_add, (struct inbox_consumer *c, const char *topic,
                                                       int32_t number, uint64_t until_ms,
                                                       int64_t *ret_start))
{
    (void)c;
    (void)topic;
    (void)number;
    (void)until_ms;
    (void)ret_start;
    n_assigned++;
    return NULL;
}

/* A broker with the topic "t". The handle is the mock's own. */
static rd_kafka_mock_cluster_t *mock_open(rd_kafka_t **ret_rk)
{
    rd_kafka_mock_cluster_t *mock;
    char text[512];

    *ret_rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    ck_assert_msg(*ret_rk != NULL, "%s", text);
    mock = rd_kafka_mock_cluster_new(*ret_rk, 1);
    ck_assert_ptr_nonnull(mock);
    ck_assert_int_eq(rd_kafka_mock_topic_create(mock, "t", 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    return mock;
}

START_TEST(no_memory_for_a_partition_ends_the_run)
{
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *mock = mock_open(&rk);
    const char *const settings[] = { "dsn", "dbname=none", "group", "g", "topics", "t",
                                     "kafka.bootstrap.servers",
                                     rd_kafka_mock_cluster_bootstraps(mock), NULL };
    uint64_t until_ms = inbox__now_ms() + RIG_DEADLINE_MS;
    outbox_error err = OUTBOX_ERROR_INIT;
    struct inbox_consumer *c = NULL;
    int code;
    bool any;

    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_int_eq(inbox__kafka_open(c, &err), OUTBOX_OK);
    do
        code = inbox__kafka_poll(c, 100, &any, &err);
    while (code == OUTBOX_OK && inbox__now_ms() < until_ms);
    ck_assert_int_eq(code, OUTBOX_ENOMEM);
    ck_assert_uint_gt(n_assigned, 0);
    ck_assert_msg(strncmp(err.message, "no memory for partition t/", 26) == 0, "%s", err.message);
    inbox__kafka_close(c);
    inbox_consumer_free(c);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(rk);
}
END_TEST

/* Lines of the log that say so: by the callback for errors, and by librdkafka's own log. */
static atomic_uint n_refused, n_again;

static void count_refused(int level, const char *line, void *arg)
{
    (void)arg;
    (void)level;
    if (strstr(line, "Connection refused") == NULL)
        return;
    if (strncmp(line, "librdkafka FAIL", 15) == 0)
        n_again++;
    else
        n_refused++;
}

START_TEST(a_broker_that_fails_is_one_line_of_the_log)
{
    const char *const settings[] = { "dsn", "dbname=none", "group", "g", "topics", "t", "kafka.bootstrap.servers",
                                     "127.0.0.1:1", NULL };
    uint64_t until_ms = inbox__now_ms() + RIG_DEADLINE_MS;
    outbox_error err = OUTBOX_ERROR_INIT;
    struct inbox_consumer *c = NULL;
    bool any;

    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    inbox_consumer_log(c, count_refused, NULL);
    ck_assert_int_eq(inbox__kafka_open(c, &err), OUTBOX_OK);
    while (c->figures.kafka_errors == 0 && inbox__now_ms() < until_ms)
        ck_assert_int_eq(inbox__kafka_poll(c, 100, &any, &err), OUTBOX_OK);
    inbox__kafka_close(c);
    inbox_consumer_free(c);
    ck_assert_uint_ge(n_refused, 1); /* once for each attempt */
    ck_assert_uint_eq(n_again, 0);
}
END_TEST

/* Until it says so, or for as long as a test may take. */
static bool waits_for(struct inbox_consumer *c, const char *words)
{
    uint64_t until_ms = inbox__now_ms() + RIG_DEADLINE_MS;
    outbox_error err = OUTBOX_ERROR_INIT;
    bool any;

    while (strstr(inbox__kafka_waits_for(c), words) == NULL) {
        (void)inbox__kafka_poll(c, 100, &any, &err);
        if (inbox__now_ms() >= until_ms)
            return false;
    }
    return true;
}

START_TEST(without_a_broker_nothing_is_said_of_the_group)
{
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *mock = mock_open(&rk);
    const char *const settings[] = { "dsn", "dbname=none", "group", "g", "topics", "t", "kafka.bootstrap.servers",
                                     rd_kafka_mock_cluster_bootstraps(mock), NULL };
    outbox_error err = OUTBOX_ERROR_INIT;
    struct inbox_consumer *c = NULL;

    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_str_eq(inbox__kafka_waits_for(c), "it joins when it has a link to the database");
    ck_assert_int_eq(inbox__kafka_open(c, &err), OUTBOX_OK);
    ck_assert(waits_for(c, "the others of the group have them all"));
    rd_kafka_mock_broker_set_down(mock, 1);
    ck_assert(waits_for(c, "no broker answers"));
    rd_kafka_mock_broker_set_up(mock, 1);
    ck_assert(waits_for(c, "the others of the group have them all"));
    inbox__kafka_close(c);
    inbox_consumer_free(c);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(rk);
}
END_TEST

/* What is said of a property. "" when it is taken: the dsn, which is looked at last, is none. */
static const char *refused(const char *property, const char *value, int *ret_code)
{
    static outbox_error err;
    const char *const settings[] = { "dsn", "none", "group", "g", "topics", "t",
                                     "kafka.bootstrap.servers", "127.0.0.1:1", property, value, NULL };
    struct inbox_consumer *c = NULL;

    err = (outbox_error)OUTBOX_ERROR_INIT;
    *ret_code = inbox_consumer_new(settings, &c, &err);
    ck_assert_int_ne(*ret_code, OUTBOX_OK);
    return strncmp(err.message, "dsn: ", 5) == 0 ? "" : err.message;
}

START_TEST(a_number_that_librdkafka_would_cut_is_refused)
{
    int code;

    ck_assert_str_eq(refused("kafka.socket.timeout.ms", "60s", &code),
                     "kafka.socket.timeout.ms: \"60s\" is not allowed; librdkafka takes a plain number "
                     "without a unit and would read 60");
    ck_assert_int_eq(code, OUTBOX_EINVAL);
    ck_assert_str_ne(refused("kafka.linger.ms", "0,5", &code), "");
    ck_assert_str_eq(refused("kafka.socket.timeout.ms", "60000", &code), "");
    ck_assert_str_eq(refused("kafka.linger.ms", "0.5", &code), "");
    ck_assert_str_eq(refused("kafka.client.id", "60s", &code), "");
}
END_TEST

START_TEST(words_of_librdkafka_end_without_a_new_line)
{
    int code;
    const char *words = refused("kafka.socket.timeout.ms", "1", &code);

    ck_assert_msg(strstr(words, "outside allowed range") != NULL, "%s", words);
    ck_assert_int_eq(code, INBOX_EKAFKA);
    ck_assert_ptr_null(strstr(words, "\\n"));
    ck_assert_msg(strchr(" ?\n", words[strlen(words) - 1]) == NULL, "%s", words);
}
END_TEST

Suite *suite_inbox_kafka(void);
Suite *suite_inbox_kafka(void)
{
    Suite *s = suite_create("inbox_kafka");
    TCase *tc = tcase_create("kafka");

    tcase_add_test(tc, no_memory_for_a_partition_ends_the_run);
    tcase_add_test(tc, a_broker_that_fails_is_one_line_of_the_log);
    tcase_add_test(tc, without_a_broker_nothing_is_said_of_the_group);
    tcase_add_test(tc, a_number_that_librdkafka_would_cut_is_refused);
    tcase_add_test(tc, words_of_librdkafka_end_without_a_new_line);
    suite_add_tcase(s, tc);
    return s;
}
