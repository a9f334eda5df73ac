/* test_doctor_kafka.c - what the doctor makes of topics, leaders and replicas, and of versions of librdkafka. */
#include "tests/unit/doctor_findings.h"

static struct inspect_topic good_topic(void)
{
    return (struct inspect_topic){
        .name = "orders",
        .partitions = 3,
        .replicas = 3,
        .in_sync = 3,
        .max_message_bytes = 1048588,
        .min_insync_replicas = 2,
        .retention_ms = 604800000,
        .timestamp_before_ms = INT64_MAX,
        .timestamp_after_ms = 3600000,
    };
}

static const struct operate_need nothing_waits = { .topic = "orders", .oldest_s = -1 };

START_TEST(topic_in_order_is_good)
{
    struct inspect_topic t = good_topic();

    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert_uint_eq(f.n, 1);
    ck_assert(found(FINDING_OK, "3 partitions, 3 replicas"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
}
END_TEST

/* Only where the broker counts what we do. */
START_TEST(batches_that_the_topic_does_not_take_are_told)
{
    struct inspect_topic t = good_topic();

    doctor_batch(&f, &t, 1000000, false);
    t.max_message_bytes = 999999;
    doctor_batch(&f, &t, 1000000, true);
    t.compresses = true;
    doctor_batch(&f, &t, 1000000, false);
    t.compresses = false;
    t.max_message_bytes = -1;
    doctor_batch(&f, &t, 1000000, false);
    ck_assert_uint_eq(f.n, 0);
    t.max_message_bytes = 999999;
    doctor_batch(&f, &t, 1000000, false);
    ck_assert(found(FINDING_WARN, "takes batches of 999999 bytes (max.message.bytes) and kafka.batch.size is 1000000"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
}
END_TEST

START_TEST(topic_that_is_not_there_fails_while_events_wait)
{
    struct inspect_topic t = { .name = "orders", .code = "UNKNOWN_TOPIC_OR_PART", .error = "unknown" };
    struct operate_need need = { .topic = "orders", .waiting = 1, .oldest_s = 1 };

    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_FAIL, "does not exist (or may not be seen); 1 event waits"));
    need.waiting = 0; /* of what is not counted one is paused */
    need.error_code = t.code;
    doctor_topic(&f, &t, &need, false);
    ck_assert_uint_eq(findings_count(&f, FINDING_FAIL), 2);
}
END_TEST

START_TEST(topic_that_is_not_there_and_not_needed_is_no_failure)
{
    static const char *const codes[] = { "UNKNOWN_TOPIC_OR_PART", "TOPIC_AUTHORIZATION_FAILED", "LEADER_NOT_AVAILABLE" };

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        doctor_topic(&f, &(struct inspect_topic){ .name = "orders", .code = codes[i], .error = "why" },
                     &nothing_waits, false);
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 3);
    ck_assert(found(FINDING_WARN, "it does not exist, or may not be seen (UNKNOWN_TOPIC_OR_PART); no event waits for it"));
    ck_assert(found(FINDING_WARN, "why (LEADER_NOT_AVAILABLE)"));
}
END_TEST

START_TEST(topic_without_leader_fails)
{
    struct inspect_topic t = good_topic();

    t.without_leader = 1;
    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert(found(FINDING_FAIL, "1 of 3 partitions have no leader"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_UNAVAILABLE);
}
END_TEST

START_TEST(topic_with_too_few_in_sync_fails)
{
    struct inspect_topic t = good_topic();

    t.in_sync = 1;
    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert(found(FINDING_FAIL, "1 replicas in sync and min.insync.replicas is 2"));
}
END_TEST

/* Kafka 4 takes the number of replicas where min.insync.replicas is more. */
START_TEST(topic_with_more_in_sync_than_replicas_warns)
{
    struct inspect_topic t = good_topic();

    t.replicas = t.in_sync = 1;
    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert(found(FINDING_WARN, "min.insync.replicas is 2 and it has 1 replica"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_OK);
}
END_TEST

START_TEST(topic_whose_brokers_must_all_be_up_warns)
{
    struct inspect_topic t = good_topic();

    t.min_insync_replicas = 3;
    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert(found(FINDING_WARN, "one broker away stops it"));
}
END_TEST

START_TEST(topic_that_confirms_on_one_disk_warns)
{
    struct inspect_topic t = good_topic();

    t.min_insync_replicas = 1;
    doctor_topic(&f, &t, &nothing_waits, false);
    ck_assert(found(FINDING_WARN, "min.insync.replicas is 1 of 3"));
}
END_TEST

START_TEST(size_counts_the_envelope_about)
{
    struct inspect_topic t = good_topic();
    struct operate_need need = { .topic = "orders", .waiting = 1, .largest_id = 7, .oldest_s = 1 };

    t.max_message_bytes = 10000;
    need.largest_bytes = 9000;
    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_OK, "takes 10000"));
    need.largest_bytes = 9001;
    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_WARN, "event 7 has 9001 bytes without its envelope"));
    need.largest_bytes = 10001;
    doctor_topic(&f, &t, &need, true);
    ck_assert(!found(FINDING_FAIL, "it will be refused"));
    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_FAIL, "event 7 has 10001 bytes"));
    findings_deinit(&f);
    need.largest_is_dead = true;
    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_FAIL, "it is dead, and would be refused again"));
    ck_assert(!found(FINDING_FAIL, "--retrying"));
    ck_assert_ptr_nonnull(strstr(f.list[0].remedy, "then outbox-relay retry --id 7; or outbox-relay discard --reason TEXT --id 7"));
}
END_TEST

START_TEST(age_is_compared_with_what_the_topic_takes_and_keeps)
{
    struct inspect_topic t = good_topic();
    struct operate_need need = { .topic = "orders", .waiting = 1, .oldest_s = 700000 };

    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_WARN, "the topic keeps 7 d"));
    t.timestamp_before_ms = 3600000;
    doctor_topic(&f, &t, &need, false);
    ck_assert(found(FINDING_FAIL, "message.timestamp.before.max.ms"));
    findings_deinit(&f);
    t = good_topic();
    t.retention_ms = -1; /* for ever */
    doctor_topic(&f, &t, &need, false);
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 0);
}
END_TEST

START_TEST(library_traps_go_by_version)
{
    doctor_library(&f, 0x020002ff, false);
    ck_assert(found(FINDING_OK, "version 2.0.2"));
    ck_assert(found(FINDING_OK, "mended in 2.3.0:"));
    ck_assert(found(FINDING_OK, "mended in 2.10.1:"));
    ck_assert_uint_eq(findings_count(&f, FINDING_WARN), 0);
    findings_deinit(&f);
    doctor_library(&f, 0x020002ff, true);
    ck_assert(found(FINDING_WARN, "uncompressed"));
    findings_deinit(&f);
    doctor_library(&f, 0x020a00ff, true); /* 2.10.0 */
    ck_assert(!found(FINDING_OK, "mended in 2.10.0:"));
    ck_assert(found(FINDING_OK, "mended in 2.10.1:"));
    ck_assert(found(FINDING_WARN, "uncompressed"));
    findings_deinit(&f);
    doctor_library(&f, 0x020b01ff, true); /* 2.11.1 */
    ck_assert_uint_eq(f.n, 1);
    findings_deinit(&f);
    doctor_library(&f, 0x020001ff, false);
    ck_assert(found(FINDING_FAIL, "2.0.1 is too old"));
    ck_assert_int_eq(findings_exit_code(&f), EXIT_CONFIGURATION);
}
END_TEST

Suite *suite_doctor_kafka(void);

Suite *suite_doctor_kafka(void)
{
    Suite *s = suite_create("doctor_kafka");
    TCase *tc = tcase_create("findings");

    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, topic_in_order_is_good);
    tcase_add_test(tc, batches_that_the_topic_does_not_take_are_told);
    tcase_add_test(tc, topic_that_is_not_there_fails_while_events_wait);
    tcase_add_test(tc, topic_that_is_not_there_and_not_needed_is_no_failure);
    tcase_add_test(tc, topic_without_leader_fails);
    tcase_add_test(tc, topic_with_too_few_in_sync_fails);
    tcase_add_test(tc, topic_with_more_in_sync_than_replicas_warns);
    tcase_add_test(tc, topic_whose_brokers_must_all_be_up_warns);
    tcase_add_test(tc, topic_that_confirms_on_one_disk_warns);
    tcase_add_test(tc, size_counts_the_envelope_about);
    tcase_add_test(tc, age_is_compared_with_what_the_topic_takes_and_keeps);
    tcase_add_test(tc, library_traps_go_by_version);
    suite_add_tcase(s, tc);
    return s;
}
