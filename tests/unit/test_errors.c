/* test_errors.c - what an error of the broker or of librdkafka means for a row: to mark it, to send
 * it again, to hold it, or to pause its topic.
 */
#include <check.h>

#include "relay/sink/errors.h"

struct verdict {
    rd_kafka_resp_err_t err;
    enum blame blame;
};

#define ROW(e) { RD_KAFKA_RESP_ERR_##e, BLAME_ROW }
#define TOPIC(e) { RD_KAFKA_RESP_ERR_##e, BLAME_TOPIC }
#define PRODUCER(e) { RD_KAFKA_RESP_ERR_##e, BLAME_PRODUCER }
#define NONE(e) { RD_KAFKA_RESP_ERR_##e, BLAME_NONE }

static const struct verdict verdicts[] = {
    /* the content of a batch: its rows go again one by one, and only the culprit is held */
    ROW(MSG_SIZE_TOO_LARGE), ROW(INVALID_MSG), ROW(INVALID_MSG_SIZE), ROW(INVALID_TIMESTAMP),
    ROW(INVALID_RECORD), ROW(POLICY_VIOLATION), ROW(RECORD_LIST_TOO_LARGE),
    /* the topic: no row spends an attempt, however many there are */
    TOPIC(_UNKNOWN_TOPIC), TOPIC(_UNKNOWN_PARTITION), TOPIC(UNKNOWN_TOPIC_OR_PART),
    TOPIC(TOPIC_EXCEPTION), TOPIC(TOPIC_AUTHORIZATION_FAILED), TOPIC(NOT_ENOUGH_REPLICAS),
    TOPIC(NOT_ENOUGH_REPLICAS_AFTER_APPEND), TOPIC(LEADER_NOT_AVAILABLE),
    TOPIC(KAFKA_STORAGE_ERROR), TOPIC(UNSUPPORTED_COMPRESSION_TYPE),
    TOPIC(UNSUPPORTED_FOR_MESSAGE_FORMAT),
    /* the link, our own purge: the row goes again and nobody is to blame */
    NONE(_PURGE_QUEUE), NONE(_PURGE_INFLIGHT), NONE(_FATAL), NONE(_GAPLESS_GUARANTEE),
    NONE(_TRANSPORT), NONE(_MSG_TIMED_OUT), NONE(_TIMED_OUT), NONE(_ALL_BROKERS_DOWN),
    NONE(_DESTROY), NONE(_QUEUE_FULL), NONE(CLUSTER_AUTHORIZATION_FAILED),
    /* what the broker knows of the producer: the row goes again with a new one */
    PRODUCER(OUT_OF_ORDER_SEQUENCE_NUMBER), PRODUCER(DUPLICATE_SEQUENCE_NUMBER),
    PRODUCER(INVALID_PRODUCER_EPOCH), PRODUCER(INVALID_PRODUCER_ID_MAPPING),
    PRODUCER(UNKNOWN_PRODUCER_ID), PRODUCER(PRODUCER_FENCED),
};

START_TEST(blame_is_of_row_topic_producer_or_nobody)
{
    const struct verdict *v = &verdicts[_i];

    ck_assert_msg(errors_blame(v->err) == v->blame, "%s: %d instead of %d",
                  rd_kafka_err2name(v->err), (int)errors_blame(v->err), (int)v->blame);
}
END_TEST

/* A broker that is newer than we are. Alone in its batch the row shows whether it is meant. */
START_TEST(unknown_error_of_a_broker_is_blamed_on_the_row)
{
    ck_assert_int_eq(errors_blame((rd_kafka_resp_err_t)9999), BLAME_ROW);
}
END_TEST

START_TEST(only_a_report_without_error_is_a_confirmation)
{
    static const rd_kafka_msg_status_t status[] = {
        RD_KAFKA_MSG_STATUS_NOT_PERSISTED, RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED,
        RD_KAFKA_MSG_STATUS_PERSISTED
    };
    static const enum outcome with_error[] = { OUTCOME_NOT_PERSISTED, OUTCOME_MAYBE,
                                               OUTCOME_MAYBE };

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(errors_outcome(RD_KAFKA_RESP_ERR_NO_ERROR, status[i], 0), OUTCOME_PERSISTED);
        ck_assert_int_eq(errors_outcome(RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, status[i], 0),
                         with_error[i]);
        ck_assert_int_eq(errors_outcome(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, status[i], 0),
                         with_error[i]);
    }
}
END_TEST

/* librdkafka concludes it from a batch that was accepted behind the one that failed. */
START_TEST(confirmation_that_names_no_place_is_none)
{
    ck_assert_int_eq(errors_outcome(RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_MSG_STATUS_PERSISTED,
                                    RD_KAFKA_OFFSET_INVALID),
                     OUTCOME_MAYBE);
}
END_TEST

Suite *suite_errors(void);

Suite *suite_errors(void)
{
    Suite *s = suite_create("errors");
    TCase *tc = tcase_create("errors");

    tcase_add_loop_test(tc, blame_is_of_row_topic_producer_or_nobody, 0,
                        (int)(sizeof verdicts / sizeof verdicts[0]));
    tcase_add_test(tc, unknown_error_of_a_broker_is_blamed_on_the_row);
    tcase_add_test(tc, only_a_report_without_error_is_a_confirmation);
    tcase_add_test(tc, confirmation_that_names_no_place_is_none);
    suite_add_tcase(s, tc);
    return s;
}
