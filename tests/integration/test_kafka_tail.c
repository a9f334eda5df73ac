/* test_kafka_tail.c - the ends of topics on a real Kafka: what the mock does not have, and how long
 * it takes. The times are printed for whoever runs this file alone, and judged by nobody.
 */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#include "tests/integration/tails.h"

static void put_many(const char *topic, int partitions, uint64_t n, size_t bytes)
{
    struct records *r = records_open(NULL);

    for (uint64_t i = 0; i < n; i++)
        records_put(r, topic, (int32_t)(i % (uint64_t)partitions), "ce_id", i, bytes);
    records_close(r);
}

/* A new tail, from nothing to everything read. */
static void read_and_tell(const char *topic, uint32_t rows)
{
    int64_t began_ms = rig_now_ms();
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, rows, TAILS_MANY_BYTES);

    tails_read(t, topic);
    int64_t took_ms = rig_now_ms() - began_ms;
    began_ms = rig_now_ms();
    tail_free(t);
    printf("4 partitions, %u rows each: %lld ms, freed in %lld ms\n", (unsigned)rows,
           (long long)took_ms, (long long)(rig_now_ms() - began_ms));
}

START_TEST(tail_is_the_end_of_a_long_topic)
{
    enum { N = 200000 };

    records_topic("ktail-many", 4, NULL);
    put_many("ktail-many", 4, N, 256);
    for (int turn = 0; turn < 3; turn++) {
        read_and_tell("ktail-many", 1000);
        read_and_tell("ktail-many", 10000);
    }
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 10000, TAILS_MANY_BYTES);
    tails_read(t, "ktail-many");
    for (uint64_t n = 0; n < N; n++)
        if (n < N - 40000)
            ck_assert(!tails_has(t, "ktail-many", n));
        else
            tails_expect(t, "ktail-many", n, (int32_t)(n % 4), (int64_t)(n / 4));
    tail_free(t);
}
END_TEST

START_TEST(tail_reads_200_topics_together)
{
    enum { N = 200 };
    char name[64];

    records_topics("ktail-200-", N, 4);
    struct records *r = records_open(NULL);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "ktail-200-%d", i);
        for (uint64_t n = 0; n < 400; n++)
            records_put(r, name, (int32_t)(n % 4), "ce_id", n, 100);
    }
    records_close(r);
    int64_t began_ms = rig_now_ms();
    /* 800 partitions share what 16 would take: 160 rows each, and there are 100. */
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 8000, TAILS_MANY_BYTES);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "ktail-200-%d", i);
        ck_assert_int_eq(tail_read(t, name, RIG_DEADLINE_MS), 0);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "ktail-200-%d", i);
        ck_assert_int_eq(tails_wait(t, name), TAIL_READY);
    }
    printf("200 topics of 4 partitions of 100 rows: %lld ms\n", (long long)(rig_now_ms() - began_ms));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "ktail-200-%d", i);
        for (uint64_t n = 0; n < 400; n++)
            tails_expect(t, name, n, (int32_t)(n % 4), (int64_t)(n / 4));
    }
    tail_free(t);
}
END_TEST

/* Long before its time is over. */
START_TEST(tail_notices_an_invalid_topic)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    ck_assert_int_eq(tail_read(t, "no topic/has such a name", 10 * RIG_DEADLINE_MS), 0);
    ck_assert_int_eq(tails_wait(t, "no topic/has such a name"), TAIL_FAILED);
    tail_free(t);
}
END_TEST

/* Offsets of control records are never delivered: the last offset may be one, and so may all of the
 * sample. */
START_TEST(tail_ends_at_control_records)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);
    struct records *r;

    records_topic("ktail-txn", 2, NULL);
    put_many("ktail-txn", 2, 10, 20);
    r = records_open("ktail-txn");
    for (int i = 0; i < 80; i++) { /* partition 1: transactions of one record */
        records_begin(r);
        records_put(r, "ktail-txn", 1, "ce_id", 1000 + (uint64_t)i, 20);
        records_end(r, i % 2 == 0);
    }
    records_close(r);
    tails_read(t, "ktail-txn");
    for (uint64_t n = 0; n < 10; n++)
        tails_expect(t, "ktail-txn", n, (int32_t)(n % 2), (int64_t)(n / 2));
    for (uint64_t n = 0; n < 80; n++) /* aborted ones as well: they are in the log */
        tails_expect(t, "ktail-txn", 1000 + n, 1, 5 + 2 * (int64_t)n);
    tail_free(t);
}
END_TEST

static void delete_below(const char *topic, int64_t offset)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    ck_assert_int_eq(rd_kafka_conf_set(conf, "bootstrap.servers", rig_brokers(), why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    ck_assert_ptr_nonnull(rk);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    rd_kafka_DeleteRecords_t *request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, RIG_DEADLINE_MS);
    ck_assert_ptr_nonnull(ev);
    ck_assert_int_eq(rd_kafka_event_error(ev), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(ev);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

START_TEST(tail_begins_where_the_log_does)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    records_topic("ktail-cut", 1, NULL);
    put_many("ktail-cut", 1, 300, 20);
    delete_below("ktail-cut", 150);
    tails_read(t, "ktail-cut");
    for (uint64_t n = 0; n < 300; n++)
        ck_assert_int_eq(tails_has(t, "ktail-cut", n), n >= 150);
    delete_below("ktail-cut", 300); /* nothing left */
    tails_read(t, "ktail-cut");
    ck_assert(!tails_has(t, "ktail-cut", 299));
    tail_free(t);
}
END_TEST

/* -- on a broker of its own, new and ready to make any topic ---------------------------------- */

static char auto_dir[4096];

static void broker(const char *command, const char *kind, const char *setting)
{
    const char *const argv[] = { "tests/tools/broker", command, auto_dir, kind, setting, NULL };
    struct rig_child child = rig_spawn(argv, NULL);

    ck_assert_int_eq(rig_wait(&child, RIG_DEADLINE_MS), 0);
}

static void broker_start(void)
{
    char path[4200], bootstrap[128] = "";
    const char *base = getenv("TMPDIR");

    /* where the runner ends it, should this process die */
    snprintf(auto_dir, sizeof auto_dir, "%s/broker-auto", base != NULL ? base : "/tmp");
    broker("start", "kafka", "auto.create.topics.enable=true");
    snprintf(path, sizeof path, "%s/bootstrap", auto_dir);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(bootstrap, sizeof bootstrap, f));
    fclose(f);
    bootstrap[strcspn(bootstrap, "\n")] = '\0';
    ck_assert_int_eq(setenv("OUTBOX_TEST_BROKERS", bootstrap, 1), 0);
    ck_assert_int_eq(setenv("OUTBOX_TEST_BROKER_DIR", auto_dir, 1), 0);
}

static void broker_end(void)
{
    broker("remove", NULL, NULL);
}

START_TEST(tail_makes_no_topic_and_no_group)
{
    struct tail *t = tails_open(ENVELOPE_CLOUDEVENTS, 1000, TAILS_MANY_BYTES);

    records_topic("ktail-there", 1, NULL);
    put_many("ktail-there", 1, 10, 20);
    int64_t began_ms = rig_now_ms();
    tails_read(t, "ktail-missing");
    printf("a missing topic: %lld ms\n", (long long)(rig_now_ms() - began_ms));
    ck_assert_int_eq(tail_read(t, "ktail-missing", RIG_DEADLINE_MS), 0); /* beside one that is there */
    tails_read(t, "ktail-there");
    ck_assert_int_eq(tails_wait(t, "ktail-missing"), TAIL_READY);
    ck_assert(tails_has(t, "ktail-there", 9));
    ck_assert(!tails_has(t, "ktail-missing", 9));
    tail_free(t);
    /* A topic comes into being some time after it was asked for: one that is asked for now comes
     * later than any that was asked for before. */
    records_ask_for_topic("ktail-control");
    ck_assert(!records_topic_exists("ktail-missing"));
    ck_assert(!records_topic_exists("__consumer_offsets"));
}
END_TEST

Suite *suite_kafka_tail(void);
Suite *suite_kafka_tail(void)
{
    Suite *s = suite_create("kafka_tail");
    TCase *tc = tcase_create("kafka_tail");

    tcase_add_checked_fixture(tc, rig_quiet, NULL);
    tcase_add_test(tc, tail_is_the_end_of_a_long_topic);
    tcase_add_test(tc, tail_reads_200_topics_together);
    tcase_add_test(tc, tail_notices_an_invalid_topic);
    tcase_add_test(tc, tail_ends_at_control_records);
    tcase_add_test(tc, tail_begins_where_the_log_does);
    suite_add_tcase(s, tc);
    tc = tcase_create("own_broker"); /* last: it changes the environment */
    tcase_add_unchecked_fixture(tc, broker_start, broker_end);
    tcase_add_checked_fixture(tc, rig_quiet, NULL);
    tcase_add_test(tc, tail_makes_no_topic_and_no_group);
    suite_add_tcase(s, tc);
    return s;
}
