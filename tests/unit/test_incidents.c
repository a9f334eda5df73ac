/* test_incidents.c - what is said of rows and topics that fail, how often, and the reasons kept.
 *
 * Standard error is kept while a test runs; said() counts its lines with a text.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/incidents.h"
#include "relay/log.h"
#include "tests/rig/rig.h"

static struct incidents in;
static struct reason reason;

static void begin(void)
{
    in = (struct incidents){ .topic = NULL };
    reason = (struct reason){ NULL, NULL };
    (void)unsetenv("JOURNAL_STREAM");
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    rig_stderr_keep();
}

static void end(void)
{
    rig_stderr_release();
    reason_clear(&reason);
    incidents_deinit(&in);
}

static unsigned said(const char *what)
{
    return rig_stderr_lines(what);
}

static const struct row a_row = {
    .id = 42, .topic = "orders", .key_len = 7, .payload_len = 300,
    .event_id = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
};

static void fails(uint64_t now_ms, uint32_t topic, enum blame blame, const char *code)
{
    const struct sink_report report = {
        .outcome = OUTCOME_NOT_PERSISTED, .blame = blame, .code = code, .text = "in words"
    };

    incidents_failed(&in, now_ms, &a_row, topic, 3, &report, &reason);
}

/* -- rows ----------------------------------------------------------------------------------- */

START_TEST(refused_row_is_told_and_its_reason_kept)
{
    fails(5000, 0, BLAME_ROW, "MSG_SIZE_TOO_LARGE");
    ck_assert_str_eq(reason.code, "MSG_SIZE_TOO_LARGE");
    ck_assert_str_eq(reason.text, "in words");
    ck_assert_ptr_null(incidents_of_topic(&in, 0));
    ck_assert_uint_eq(said("level=warn msg=\"kafka did not accept a row; it stays unsent and goes "
                           "again\" component=relay id=42 topic=orders code=MSG_SIZE_TOO_LARGE "
                           "error=\"in words\" refused_before=3 remedy=\"mend the cause (max.message.bytes of the topic, kafka.message.max.bytes here), or "
                           "outbox-relay discard --retrying --reason TEXT --id 42\"\n"),
                      1);
    fails(5000, 0, BLAME_ROW, "INVALID_TIMESTAMP");
    ck_assert_uint_eq(said("mend the cause (the clock of the database, or of the broker), or outbox-relay discard"), 1);
    fails(5000, 0, BLAME_ROW, "INVALID_RECORD"); /* the newest reason is the one that counts */
    ck_assert_str_eq(reason.code, "INVALID_RECORD");
}
END_TEST

START_TEST(failure_of_a_topic_is_its_reason_and_not_that_of_the_row)
{
    fails(5000, 20, BLAME_TOPIC, "TOPIC_AUTHORIZATION_FAILED");
    ck_assert_ptr_null(reason.code);
    ck_assert_ptr_nonnull(incidents_of_topic(&in, 20));
    ck_assert_str_eq(incidents_of_topic(&in, 20)->code, "TOPIC_AUTHORIZATION_FAILED");
    ck_assert_str_eq(incidents_of_topic(&in, 20)->text, "in words");
    ck_assert_ptr_null(incidents_of_topic(&in, 19));
    ck_assert_ptr_null(incidents_of_topic(&in, 21));
    ck_assert_ptr_null(incidents_of_topic(&in, 1000000));
    ck_assert_uint_eq(said("did not accept a row"), 1);
    fails(5000, 300, BLAME_TOPIC, "X"); /* more topics, and the others are kept */
    ck_assert_str_eq(incidents_of_topic(&in, 20)->code, "TOPIC_AUTHORIZATION_FAILED");
    ck_assert_str_eq(incidents_of_topic(&in, 300)->code, "X");
}
END_TEST

START_TEST(row_that_failed_for_no_fault_of_its_own_is_not_told)
{
    fails(5000, 0, BLAME_NONE, "_PURGE_QUEUE");
    ck_assert_uint_eq(said("level="), 0);
    ck_assert_ptr_null(reason.code);
    ck_assert_ptr_null(incidents_of_topic(&in, 0));
}
END_TEST

/* The producer is made anew, and the log says why; should the topic be paused for it, that is the reason. */
START_TEST(row_that_failed_for_its_producer_is_told_and_has_no_reason)
{
    fails(5000, 0, BLAME_NONE, "NO_ERROR");
    ck_assert_uint_eq(said("level="), 0);
    fails(5000, 0, BLAME_NONE, "CLUSTER_AUTHORIZATION_FAILED");
    ck_assert_uint_eq(said("did not accept a row"), 1);
    ck_assert_uint_eq(said("code=CLUSTER_AUTHORIZATION_FAILED"), 1);
    ck_assert_ptr_null(reason.code);
    ck_assert_ptr_null(incidents_of_topic(&in, 0));
    fails(5000, 0, BLAME_PRODUCER, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    ck_assert_uint_eq(said("code=OUT_OF_ORDER_SEQUENCE_NUMBER"), 1);
    ck_assert_ptr_null(reason.code);
    ck_assert_str_eq(incidents_of_topic(&in, 0)->code, "OUT_OF_ORDER_SEQUENCE_NUMBER");
}
END_TEST

START_TEST(dead_row_is_told_with_its_reason_and_a_remedy)
{
    fails(5000, 0, BLAME_ROW, "INVALID_RECORD");
    incidents_dead(&in, 5000, &a_row, 11, &reason);
    ck_assert_uint_eq(said("level=error msg=\"a row is dead: it is not sent until a person decides\" "
                           "component=relay id=42 event_id=01020304-0506-0708-090a-0b0c0d0e0f10 topic=orders bytes=307 attempts=11 "
                           "code=INVALID_RECORD "
                           "error=\"in words\" remedy="),
                      1);
    ck_assert_uint_eq(said("outbox-relay dead lists it"), 1);
}
END_TEST

START_TEST(circle_is_a_reason_with_both_numbers)
{
    incidents_circle(33, 32, &reason);
    ck_assert_str_eq(reason.code, "HOPS_EXCEEDED");
    ck_assert_str_eq(reason.text, "the event has 33 hops, hops.max is 32: events cause each other in "
                                  "a circle");
}
END_TEST

START_TEST(dead_row_without_a_reason_is_told)
{
    const struct reason none = { NULL, NULL };

    incidents_dead(&in, 5000, &a_row, 11, &none);
    ck_assert_uint_eq(said("a row is dead"), 1);
    ck_assert_uint_eq(said("code="), 0);
}
END_TEST

/* Ten a second, of both kinds together, and one line that says how many were left out. */
START_TEST(lines_about_rows_are_few)
{
    for (int i = 0; i < 6; i++)
        fails(5000, 0, BLAME_ROW, "A");
    for (int i = 0; i < 6; i++)
        incidents_dead(&in, 5500, &a_row, 11, &reason);
    for (int i = 0; i < 100; i++)
        fails(5999, 0, BLAME_TOPIC, "B");
    ck_assert_uint_eq(said("level="), 10);
    ck_assert_uint_eq(said("a row is dead"), 4);
    ck_assert_uint_eq(said("more lines"), 0);
    ck_assert_str_eq(incidents_of_topic(&in, 0)->code, "B"); /* kept all the same */
    fails(6000, 0, BLAME_ROW, "C");
    ck_assert_uint_eq(said("msg=\"more lines of the same kind\" component=relay "
                           "suppressed=102\n"),
                      1);
    ck_assert_uint_eq(said("code=C"), 1);
    fails(7000, 0, BLAME_ROW, "D"); /* nothing was left out since */
    ck_assert_uint_eq(said("more lines"), 1);
    ck_assert_uint_eq(said("code=D"), 1);
}
END_TEST

/* -- topics --------------------------------------------------------------------------------- */

static struct topics topics;

static void topics_begin(void)
{
    begin();
    topics_init(&topics);
    ck_assert_uint_eq(topics_intern(&topics, "orders"), 0);
    ck_assert_uint_eq(topics_intern(&topics, "bills"), 1);
}

static void topics_end(void)
{
    topics_deinit(&topics);
    end();
}

/* As the core says it. */
static void topic_is(uint32_t n, uint32_t failures, bool held)
{
    topics.topic[n].failures = failures;
    topics.topic[n].held = held;
    topics.n_changes++;
    incidents_topics(&in, &topics);
}

START_TEST(topic_is_told_once_when_paused_and_once_when_it_works_again)
{
    fails(5000, 1, BLAME_TOPIC, "UNKNOWN_TOPIC_OR_PART");
    topic_is(1, 1, true);
    topic_is(1, 2, true); /* still */
    incidents_topics(&in, &topics);
    ck_assert_uint_eq(said("msg=\"a topic is paused: its rows wait in outbox.held\" "
                           "component=relay topic=bills code=UNKNOWN_TOPIC_OR_PART "
                           "error=\"in words\" remedy=\"create the topic, and its rows go by themselves; where its name is "
                           "a mistake: outbox-relay discard --topic bills --paused --reason TEXT\"\n"),
                      1);
    ck_assert_uint_eq(said("a topic is paused"), 1);
    topic_is(1, 0, true);
    topic_is(1, 0, true);
    ck_assert_uint_eq(said("level=info msg=\"a topic takes rows again\" component=relay "
                           "topic=bills held=\"its held rows come first\"\n"),
                      1);
    ck_assert_ptr_nonnull(incidents_of_topic(&in, 1)); /* rows may still go there for that reason */
    topic_is(1, 0, false);
    topic_is(1, 0, false);
    ck_assert_uint_eq(said("msg=\"no row of the topic is paused any more\" component=relay "
                           "topic=bills\n"),
                      1);
    ck_assert_uint_eq(said("level="), 4);
    ck_assert_ptr_null(incidents_of_topic(&in, 1));
    topic_is(1, 1, false); /* the next time it is told again, and the old reason is not */
    ck_assert_uint_eq(said("topic=bills code=\"no progress\" remedy=\"mend the brokers that hold the topic; it is "
                           "probed again by itself\"\n"), 1);
}
END_TEST

/* A person has discarded its rows, and it fails once more. */
START_TEST(topic_for_which_nothing_waits_is_told_of_like_one_that_works)
{
    fails(5000, 1, BLAME_TOPIC, "UNKNOWN_TOPIC_OR_PART");
    topic_is(1, 1, true);
    topics.topic[1].deserted = true;
    topic_is(1, 1, false);
    ck_assert_uint_eq(said("no row of the topic is paused any more"), 1);
    ck_assert_uint_eq(said("a topic takes rows again"), 0);
    ck_assert_ptr_null(incidents_of_topic(&in, 1));
    topics.topic[1].deserted = false;
    topic_is(1, 2, true);
    ck_assert_uint_eq(said("a topic is paused"), 2);
}
END_TEST

/* By an earlier lead, which knew why. */
START_TEST(topic_that_was_found_paused_is_not_said_to_stall)
{
    topics.topic[0].found_paused = true;
    topic_is(0, 1, true);
    ck_assert_uint_eq(said("a topic is paused: its rows wait in outbox.held\" component=relay topic=orders "
                           "code=\"found so\" remedy=\"outbox-relay status says why; it is probed again by itself\"\n"),
                      1);
}
END_TEST

/* One producer was refused, and the next one is well. Long afterwards the topic stalls. */
START_TEST(what_was_said_of_a_topic_before_it_was_well_is_not_its_reason)
{
    fails(5000, 1, BLAME_PRODUCER, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    incidents_confirmed(&in, &topics, 0);
    ck_assert_ptr_nonnull(incidents_of_topic(&in, 1));
    incidents_confirmed(&in, &topics, 1);
    ck_assert_ptr_null(incidents_of_topic(&in, 1));
    topic_is(1, 1, false);
    ck_assert_uint_eq(said("topic=bills code=\"no progress\" remedy="), 1);
}
END_TEST

/* It had failed, took rows again while its held ones were coming back, and then did not move. */
START_TEST(reason_of_a_topic_that_stalls_is_the_stall)
{
    fails(5000, 1, BLAME_TOPIC, "UNKNOWN_TOPIC_OR_PART");
    topic_is(1, 1, true);
    topic_is(1, 0, true);
    topics.topic[1].stalled_ms = 7000;
    incidents_stalled(&in, &topics, 7000);
    topic_is(1, 1, true);
    ck_assert_str_eq(incidents_of_topic(&in, 1)->code, "NO_PROGRESS");
    ck_assert_ptr_null(incidents_of_topic(&in, 0));
    ck_assert_uint_eq(said("topic=bills code=NO_PROGRESS error="), 1);
    fails(8000, 1, BLAME_TOPIC, "UNKNOWN_TOPIC_OR_PART");
    incidents_stalled(&in, &topics, 9000); /* of another one */
    ck_assert_str_eq(incidents_of_topic(&in, 1)->code, "UNKNOWN_TOPIC_OR_PART");
}
END_TEST

/* Rows that were on their way to another partition, or are back from outbox.held. */
START_TEST(reason_of_a_paused_topic_stays_whatever_is_confirmed)
{
    fails(5000, 1, BLAME_TOPIC, "NOT_ENOUGH_REPLICAS");
    topics.topic[1].failures = 1; /* the core knows, and it is not told yet */
    incidents_confirmed(&in, &topics, 1);
    topic_is(1, 1, true);
    topic_is(1, 0, true);
    incidents_confirmed(&in, &topics, 1);
    ck_assert_str_eq(incidents_of_topic(&in, 1)->code, "NOT_ENOUGH_REPLICAS");
    incidents_confirmed(&in, &topics, 0); /* of which nothing was ever said */
}
END_TEST

START_TEST(topic_without_held_rows_takes_rows_again)
{
    topic_is(0, 1, false);
    topic_is(0, 0, false);
    ck_assert_uint_eq(said("a topic takes rows again\" component=relay topic=orders\n"), 1);
    ck_assert_uint_eq(said("no row of the topic"), 0);
}
END_TEST

START_TEST(topics_are_looked_at_only_after_a_change)
{
    topics.topic[0].failures = 1;
    incidents_topics(&in, &topics);
    ck_assert_uint_eq(said("level="), 0);
    topics.n_changes++;
    incidents_topics(&in, &topics);
    ck_assert_uint_eq(said("level="), 1);
}
END_TEST

START_TEST(incidents_deinit_accepts_one_that_was_never_used)
{
    incidents_deinit(&in);
    incidents_deinit(&in);
    fails(1, 3, BLAME_TOPIC, "X");
    incidents_deinit(&in);
    ck_assert_ptr_null(incidents_of_topic(&in, 3));
}
END_TEST

Suite *suite_incidents(void);

Suite *suite_incidents(void)
{
    Suite *suite = suite_create("incidents");
    TCase *rows = tcase_create("rows"), *tc = tcase_create("topics");

    tcase_add_checked_fixture(rows, begin, end);
    tcase_add_test(rows, refused_row_is_told_and_its_reason_kept);
    tcase_add_test(rows, failure_of_a_topic_is_its_reason_and_not_that_of_the_row);
    tcase_add_test(rows, row_that_failed_for_no_fault_of_its_own_is_not_told);
    tcase_add_test(rows, row_that_failed_for_its_producer_is_told_and_has_no_reason);
    tcase_add_test(rows, dead_row_is_told_with_its_reason_and_a_remedy);
    tcase_add_test(rows, dead_row_without_a_reason_is_told);
    tcase_add_test(rows, circle_is_a_reason_with_both_numbers);
    tcase_add_test(rows, lines_about_rows_are_few);
    tcase_add_test(rows, incidents_deinit_accepts_one_that_was_never_used);
    suite_add_tcase(suite, rows);
    tcase_add_checked_fixture(tc, topics_begin, topics_end);
    tcase_add_test(tc, topic_is_told_once_when_paused_and_once_when_it_works_again);
    tcase_add_test(tc, reason_of_a_topic_that_stalls_is_the_stall);
    tcase_add_test(tc, what_was_said_of_a_topic_before_it_was_well_is_not_its_reason);
    tcase_add_test(tc, reason_of_a_paused_topic_stays_whatever_is_confirmed);
    tcase_add_test(tc, topic_for_which_nothing_waits_is_told_of_like_one_that_works);
    tcase_add_test(tc, topic_that_was_found_paused_is_not_said_to_stall);
    tcase_add_test(tc, topic_without_held_rows_takes_rows_again);
    tcase_add_test(tc, topics_are_looked_at_only_after_a_change);
    suite_add_tcase(suite, tc);
    return suite;
}
