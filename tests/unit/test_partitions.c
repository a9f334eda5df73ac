/* test_partitions.c - while the first record of a partition is out, no other one with a key of
 * that partition may follow: a broker that does not know the producer yet would take it even if the
 * first was refused. The broker here is librdkafka's mock, in this process; only its number of
 * partitions and its confirmations matter.
 */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <string.h>

#include "relay/sink/partitions.h"
#include "tests/rig/rig.h"

enum { N_PARTITIONS = 4, LATER_MS = 5000 };

static rd_kafka_t *rk;
static struct partitioning *partitioning;
static struct producer_topic t;

static void open_topic(const char *partitioner)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char err[256];

    ck_assert_int_eq(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", err, sizeof err), 0);
    ck_assert_int_eq(rd_kafka_conf_set(conf, "partitioner", partitioner, err, sizeof err), 0);
    ck_assert_int_eq(rd_kafka_conf_set(conf, "log_level", "4", err, sizeof err), 0);
    ck_assert_int_eq(rd_kafka_conf_set(conf, "linger.ms", "0", err, sizeof err), 0);
    partitioning = partitioning_new(conf, err, sizeof err);
    ck_assert_msg(partitioning != NULL, "%s", err);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof err);
    ck_assert_msg(rk != NULL, "%s", err);
    ck_assert_int_eq(
        rd_kafka_mock_topic_create(rd_kafka_handle_mock_cluster(rk), "t", N_PARTITIONS, 1), 0);
    memset(&t, 0, sizeof t);
    ck_assert_int_eq(producer_topic_open(&t, partitioning, rk, 7, "t"), 0);
    ck_assert_uint_eq(producer_topic_number(t.handle), 7);
}

static void close_topic(void)
{
    producer_topic_close(&t);
    if (rk != NULL) {
        (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(rk);
    }
    partitioning_free(partitioning);
    rk = NULL;
    partitioning = NULL;
}

static struct row row_of(const char *key)
{
    return (struct row){ .topic = "t", .key = key, .key_len = strlen(key) };
}

static bool must_wait(const char *key)
{
    struct row row = row_of(key);

    return producer_topic_must_wait(&t, &row);
}

static void sent(uint32_t slot, const char *key, uint64_t now_ms)
{
    struct row row = row_of(key);

    producer_topic_sent(&t, slot, &row, now_ms);
}

/* The topic's number of partitions becomes known when librdkafka chooses one for a record. */
static void learn_partitions(void)
{
    ck_assert_int_eq(rd_kafka_produce(t.handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                                      (void *)(uintptr_t)"x", 1, "k", 1, NULL), 0);
    ck_assert_int_eq(rd_kafka_flush(rk, RIG_DEADLINE_MS), 0);
}

/* Keys by the partition that they fall on; murmur2 as Java clients have it, see relay_flow.sh. */
static int32_t partition_of(const char *key)
{
    return rd_kafka_msg_partitioner_murmur2(t.handle, key, strlen(key), N_PARTITIONS, NULL, NULL);
}

/* A key of the same partition as `key`, or of another one. */
static const char *key_beside(const char *key, bool same)
{
    static char other[2][16];

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(other[same], sizeof other[0], "key-%d", i);
        if ((partition_of(other[same]) == partition_of(key)) == same &&
            strcmp(other[same], key) != 0)
            return other[same];
    }
    ck_abort_msg("no such key");
}

START_TEST(whole_topic_waits_while_its_partitions_are_not_known)
{
    open_topic("murmur2_random");
    ck_assert(!must_wait("a"));
    sent(1, "a", 1000);
    ck_assert(must_wait("a"));
    ck_assert(must_wait("b"));
    producer_topic_reported(&t, 2, -1, 1000); /* of another record */
    ck_assert(must_wait("b"));
    producer_topic_reported(&t, 1, 0, 1000);
    ck_assert(!must_wait("b"));
}
END_TEST

START_TEST(partition_waits_for_its_first_record_and_others_do_not)
{
    open_topic("murmur2_random");
    learn_partitions();
    const char *same = key_beside("a", true), *other = key_beside("a", false);
    ck_assert(!must_wait("a"));
    sent(1, "a", 1000);
    ck_assert(must_wait("a"));
    ck_assert(must_wait(same));
    ck_assert(!must_wait(other));
    producer_topic_reported(&t, 1, partition_of("a"), 1001);
    ck_assert(!must_wait(same));
    sent(2, same, 1002); /* started: not a first one again */
    ck_assert(!must_wait("a"));
}
END_TEST

START_TEST(first_record_that_was_refused_starts_nothing)
{
    open_topic("murmur2_random");
    learn_partitions();
    sent(1, "a", 1000);
    producer_topic_reported(&t, 1, -1, 1001);
    ck_assert(!must_wait("a")); /* it may go again */
    sent(2, "a", 1002);
    ck_assert(must_wait("a"));
}
END_TEST

/* Slots are used again: a later row of that slot is not the first one. */
START_TEST(first_record_is_reported_once)
{
    open_topic("murmur2_random");
    learn_partitions();
    const char *other = key_beside("a", false);
    sent(1, "a", 1000);
    producer_topic_reported(&t, 1, partition_of("a"), 1001);
    sent(1, "a", 1002);
    sent(2, other, 1003);
    producer_topic_reported(&t, 1, partition_of("a"), 1004);
    ck_assert(must_wait(other));
    producer_topic_reported(&t, 2, -1, 1005);
    ck_assert(!must_wait(other));
}
END_TEST

/* Brokers forget producers that are idle, and do not know them in a topic that was made anew. */
START_TEST(partition_that_was_idle_is_new_again)
{
    open_topic("murmur2_random");
    learn_partitions();
    sent(1, "a", 1000);
    producer_topic_reported(&t, 1, partition_of("a"), 1000);
    sent(2, "a", 1000 + LATER_MS - 1);
    ck_assert(!must_wait("a"));
    sent(3, "a", 1000 + LATER_MS);
    ck_assert(must_wait("a"));
}
END_TEST

START_TEST(rows_that_go_anywhere_wait_for_nothing)
{
    open_topic("consistent_random"); /* an empty key is no key for it */
    sent(1, "a", 1000);
    ck_assert(must_wait("a"));
    ck_assert(!must_wait(""));
    sent(2, "", 1000);
    producer_topic_reported(&t, 1, 0, 1000);
    ck_assert(!must_wait("a"));
}
END_TEST

START_TEST(partitioner_that_parts_a_key_is_refused)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char err[256] = "";

    ck_assert_int_eq(rd_kafka_conf_set(conf, "partitioner", "random", err, sizeof err), 0);
    ck_assert_ptr_null(partitioning_new(conf, err, sizeof err));
    ck_assert_ptr_nonnull(strstr(err, "\"random\" does not keep the rows of a key together"));
    rd_kafka_conf_destroy(conf);
}
END_TEST

Suite *suite_partitions(void);

Suite *suite_partitions(void)
{
    Suite *s = suite_create("partitions");
    TCase *tc = tcase_create("partitions");

    tcase_add_checked_fixture(tc, NULL, close_topic);
    tcase_add_test(tc, whole_topic_waits_while_its_partitions_are_not_known);
    tcase_add_test(tc, partition_waits_for_its_first_record_and_others_do_not);
    tcase_add_test(tc, first_record_that_was_refused_starts_nothing);
    tcase_add_test(tc, first_record_is_reported_once);
    tcase_add_test(tc, partition_that_was_idle_is_new_again);
    tcase_add_test(tc, rows_that_go_anywhere_wait_for_nothing);
    tcase_add_test(tc, partitioner_that_parts_a_key_is_refused);
    suite_add_tcase(s, tc);
    return s;
}
