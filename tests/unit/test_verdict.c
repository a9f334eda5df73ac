/* test_verdict.c - the sentence that says whether events flow, for what becomes of them: published, waiting, stuck,
 * held, dead, or kept in a bucket.
 */
#include "tests/unit/verdicts.h"

START_TEST(verdict_all_published)
{
    struct verdict_input in = healthy();

    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    ck_assert_uint_eq(v.n_findings, 0);
}
END_TEST

START_TEST(verdict_nothing_known_claims_nothing)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;

    expect(&in, VERDICT_GOOD, "Starting: nothing is known yet.");
    in.role = VERDICT_NOT_KNOWN;
    expect(&in, VERDICT_GOOD, "It is not known who leads: this relay asks.");
    in.role = VERDICT_LEADS;
    expect(&in, VERDICT_GOOD, "A relay leads; what waits is not known.");
}
END_TEST

START_TEST(verdict_ids_that_were_handed_out_again)
{
    struct verdict_input in = healthy();

    in.pending = 70;
    in.rate = 12;
    in.twice_id = 5;
    expect(&in, VERDICT_BAD, "Events do not flow: two events have the id 5, which was handed out twice, and reading stops "
                             "there; 70 events wait.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "man 7 outbox, COPIES AND CRASHES"));
    in = healthy();
    in.behind = 50;
    expect(&in, VERDICT_BAD, "Events do not flow: the sequence of outbox.event.id is 50 below what was sent or held: new events "
                             "count as sent, and are not.");
    in.behind = -3;
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
}
END_TEST

START_TEST(verdict_rate_and_backlog)
{
    struct verdict_input in = healthy();

    in.rate = 1240.4;
    expect(&in, VERDICT_GOOD, "Events flow: 1,240 a second.");
    in.rate = 0.5;
    expect(&in, VERDICT_GOOD, "Events flow: 0.5 a second.");
    in.pending = 12;
    in.oldest_s = 0.3;
    expect(&in, VERDICT_GOOD, "Events flow: 0.5 a second; 12 events wait, the oldest for 0.3 s.");
    in.pending = 100000;
    in.pending_capped = true;
    in.oldest_s = -1;
    in.rate = -1;
    expect(&in, VERDICT_GOOD, "Events flow: more than 100,000 events wait.");
    in.pending_capped = false;
    in.pending_about = true;
    expect(&in, VERDICT_GOOD, "Events flow: about 100,000 events wait.");
    in.pending = 1;
    in.pending_about = false;
    in.oldest_s = 2;
    expect(&in, VERDICT_GOOD, "Events flow: 1 event waits, for 2.0 s.");
}
END_TEST

START_TEST(verdict_nothing_moved_lately)
{
    struct verdict_input in = healthy();

    in.pending = 2;
    in.oldest_s = 8;
    in.idle_s = 4.9;
    expect(&in, VERDICT_GOOD, "Events flow: 2 events wait, the oldest for 8.0 s.");
    in.idle_s = 34;
    expect(&in, VERDICT_GOOD, "2 events wait, the oldest for 8.0 s; none was published in the last 34 s.");
    in.pending = 1;
    expect(&in, VERDICT_GOOD, "1 event waits, for 8.0 s; nothing was published in the last 34 s.");
    in.dead = 1;
    expect(&in, VERDICT_WARN, "1 event waits, for 8.0 s; nothing was published in the last 34 s, but 1 event is dead: it "
                              "waits for a person.");
    in.dead = 0;
    in.rate = 3;
    expect(&in, VERDICT_GOOD, "Events flow: 3.0 a second; 1 event waits, for 8.0 s.");
    in.pending = 0;
    in.rate = 0;
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
}
END_TEST

START_TEST(verdict_old_backlog_is_a_warning)
{
    struct verdict_input in = healthy();

    in.rate = 10;
    in.pending = 7200;
    in.oldest_s = 59.9;
    expect(&in, VERDICT_GOOD, "Events flow: 10 a second; 7,200 events wait, the oldest for 60 s.");
    in.oldest_s = 725;
    expect(&in, VERDICT_WARN, "Events flow: 10 a second; 7,200 events wait, the oldest for 12 min.");
    ck_assert_str_eq(v.finding[0].text, "the oldest event has waited for 12 min");
}
END_TEST

static struct verdict_failure full_disk(double s)
{
    return (struct verdict_failure){ s, "marking failed: could not extend file: No space left on device", "53100",
                                     "make room on the disk", true };
}

START_TEST(verdict_stuck)
{
    struct verdict_input in = healthy();

    in.pending = 3;
    in.stuck_s = 75;
    expect(&in, VERDICT_BAD,
           "Events do not flow: nothing has moved for 1 min 15 s; 3 events wait.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "The log of the relay that leads says what fails"));
    in.n_blockers = 1;
    in.blocker = (struct verdict_blocker){ 42, "alter", 40, false, true, true };
    expect(&in, VERDICT_BAD, "Events do not flow: nothing has moved for 1 min 15 s: outbox.sent, or a leaf of it, is locked against "
                             "marks (pid 42, alter, open for 40 s); 3 events wait.");
    ck_assert_ptr_eq(strstr(v.finding[0].remedy, "The relay goes on by itself when that transaction has ended; let it end, or end it: "
                                                 "`SELECT pg_terminate_backend(42)`"), v.finding[0].remedy);
    in.n_blockers = 0;
    in.failure = full_disk(1);
    expect(&in, VERDICT_BAD,
           "Events do not flow: nothing has moved for 1 min 15 s (marking failed: could not extend file: No space "
           "left on device, SQLSTATE 53100); 3 events wait.");
    ck_assert_str_eq(v.finding[0].remedy, "Make room on the disk.");
    ck_assert_uint_eq(v.n_findings, 1);
    in.failure.remedy = NULL;
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "The log of the relay that leads says what fails"));
    in.failure = full_disk(1);
    in.failure.stands = false; /* it is not for that that nothing moves */
    expect(&in, VERDICT_BAD, "Events do not flow: nothing has moved for 1 min 15 s; 3 events wait.");
    ck_assert_uint_eq(v.n_findings, 2);
    ck_assert_str_eq(v.finding[1].text, "PostgreSQL refused a statement of this relay 1.0 s ago (marking failed: could not extend "
                                        "file: No space left on device, SQLSTATE 53100)");
}
END_TEST

/* Some marks succeed on a disk that is full. When none has failed for a minute, that is past. */
START_TEST(verdict_write_that_failed)
{
    struct verdict_input in = healthy();

    in.rate = 20;
    in.failure = full_disk(3);
    in.failure.stands = false;
    expect(&in, VERDICT_WARN, "Events flow: 20 a second, but PostgreSQL refused a statement of this relay 3.0 s ago (marking failed: "
                              "could not extend file: No space left on device, SQLSTATE 53100).");
    ck_assert_str_eq(v.finding[0].remedy, "Make room on the disk.");
    in.failure.remedy = NULL;
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "The relay tries again by itself"));
    in.failure.s = 59.9;
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_WARN);
    in.failure.s = 60;
    expect(&in, VERDICT_GOOD, "Events flow: 20 a second.");
    in.failure = full_disk(0);
    in.role = VERDICT_NOT_KNOWN;
    in.failure.why = "the lease cannot be written: no";
    expect(&in, VERDICT_WARN, "It is not known who leads: this relay asks, but PostgreSQL refused a statement of this relay 0.0 s ago "
                              "(the lease cannot be written: no, SQLSTATE 53100).");
}
END_TEST

START_TEST(verdict_topic_missing_and_dead_row)
{
    struct verdict_input in = healthy();

    in.rate = 20;
    in.n_paused = 1;
    in.paused_topic = "ordres";
    in.paused_why = "UNKNOWN_TOPIC_OR_PART: Broker: Unknown topic or partition";
    in.held = 21;
    expect(&in, VERDICT_WARN, "Events flow: 20 a second, but topic \"ordres\" takes nothing "
                              "(UNKNOWN_TOPIC_OR_PART: Broker: Unknown topic or partition).");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "`outbox-relay discard --topic ordres --paused --reason TEXT`."));
    in.n_paused = 2;
    in.paused_why = NULL;
    in.dead = 1;
    expect(&in, VERDICT_WARN,
           "Events flow: 20 a second, but topic \"ordres\" takes nothing, nor does 1 other.");
    ck_assert_uint_eq(v.n_findings, 2);
    ck_assert_str_eq(v.finding[1].text, "1 event is dead: it waits for a person");
    in.n_paused = 3;
    expect(&in, VERDICT_WARN,
           "Events flow: 20 a second, but topic \"ordres\" takes nothing, nor do 2 others.");
    in.n_paused = 0;
    in.rate = 0;
    in.dead = 1200;
    expect(&in, VERDICT_WARN, "Events flow: what is not held is published, but 1,200 events are dead: they "
                              "wait for a person.");
}
END_TEST

START_TEST(verdict_row_that_is_refused_again_and_again)
{
    struct verdict_input in = healthy();

    in.held = 2;
    in.refused = 1;
    in.refused_code = "MSG_SIZE_TOO_LARGE";
    expect(&in, VERDICT_WARN, "Events flow: what is not held is published, but Kafka refuses 1 event (MSG_SIZE_TOO_LARGE), and "
                              "it is tried again.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "max.message.bytes"));
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "`outbox-relay discard --retrying --reason TEXT --id N`. Later"));
    in.refused_id = 4711;
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "`outbox-relay discard --retrying --reason TEXT --id 4711`. Later"));
    in.refused = 2;
    in.refused_code = NULL;
    in.dead = 1;
    verdict_reach(&in, &v);
    ck_assert_str_eq(v.finding[0].text, "Kafka refuses 2 events, and they are tried again");
    ck_assert_str_eq(v.finding[1].text, "1 event is dead: it waits for a person");
}
END_TEST

START_TEST(verdict_held_rows_go_on_by_themselves)
{
    struct verdict_input in = healthy();

    in.held = 1;
    expect(&in, VERDICT_GOOD, "Events flow: what is not held is published.");
    ck_assert_str_eq(v.finding[0].text, "1 event is held: for another attempt, behind an earlier one of the key, for the topic, or for later");
}
END_TEST

START_TEST(verdict_old_transaction)
{
    struct verdict_input in = healthy();

    in.n_blockers = 1;
    in.blocker = (struct verdict_blocker){ 42, "psql", 30, true, false, false };
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    in.blocker.age_s = 3600;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but a transaction has been open "
                              "for 1 h (pid 42, psql): its own events wait for its commit.");
    ck_assert_str_eq(v.finding[0].remedy, "Other events pass it; let it end, or end it: `SELECT pg_terminate_backend(42)`, as the "
                                          "same role, as a member of pg_signal_backend or as a superuser.");
    in.blocker = (struct verdict_blocker){ 42, "psql", 90, false, true, false };
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published."); /* no bucket is to be emptied */
    in.overdue.s = 60;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but a transaction has been open for 1 min 30 s "
                              "(pid 42, psql): a bucket cannot be emptied.");
    in.blocker = (struct verdict_blocker){ 0, "order-4711", 90000, true, true, false };
    expect(&in, VERDICT_WARN,
           "Events flow: every committed event is published, but a transaction has been open for 1 d 1 h "
           "(prepared, order-4711): its own events wait for its commit, and a bucket cannot be emptied.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "ROLLBACK PREPARED"));
}
END_TEST

START_TEST(verdict_transaction_of_an_age_that_is_hidden)
{
    struct verdict_input in = healthy();

    in.n_blockers = 1;
    in.blocker = (struct verdict_blocker){ 42, "psql", -1, true, false, false };
    in.ages_mend = "GRANT pg_read_all_stats TO outbox_relay";
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    ck_assert_str_eq(v.finding[0].remedy, "As a superuser: `GRANT pg_read_all_stats TO outbox_relay`; sql/roles.sql does so where "
                                          "whoever runs it may.");
}
END_TEST

START_TEST(verdict_bucket_that_should_have_been_emptied)
{
    struct verdict_input in = healthy();

    in.overdue = (struct verdict_overdue){ .s = 1799, .bucket = 3, .why = OBSTACLE_UNSENT, .id = 4711 };
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    ck_assert_uint_eq(v.n_findings, 0);
    in.overdue.s = 7200;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but bucket 3 should have been emptied "
                              "2 h ago: its event 4711 is not sent.");
    in.overdue.why = OBSTACLE_LOCKED;
    in.overdue.holder = (struct verdict_blocker){ 42, "pg_dump", 10800, false, true, false };
    verdict_reach(&in, &v);
    ck_assert_str_eq(v.finding[0].text, "bucket 3 should have been emptied 2 h ago: it is locked by pid 42, pg_dump, open for 3 h");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "`SELECT pg_terminate_backend(42)`, as the same role"));
    in.overdue.holder = (struct verdict_blocker){ .pid = 0, .application = "order-1", .age_s = -1 };
    verdict_reach(&in, &v);
    ck_assert_str_eq(v.finding[0].text, "bucket 3 should have been emptied 2 h ago: it is locked by prepared, order-1");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "ROLLBACK PREPARED"));
    in.overdue.holder = (struct verdict_blocker){ .age_s = -1 };
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "outbox.blocker"));
    ck_assert_str_eq(v.finding[0].text, "bucket 3 should have been emptied 2 h ago: it is locked");
    in.overdue.why = OBSTACLE_CROWDED;
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.finding[0].text, "more of its events are held"));
    in.overdue.why = OBSTACLE_FAILED;
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_WARN);
    in.overdue.why = OBSTACLE_UNKNOWN; /* the relays may have been told another retention */
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    ck_assert_uint_eq(v.n_findings, 1);
}
END_TEST

START_TEST(verdict_ring_that_is_too_short)
{
    struct verdict_input in = healthy();

    in.short_ring = true;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but no bucket is ever emptied: the ring "
                              "of buckets is shorter than the retention.");
}
END_TEST

Suite *suite_verdict(void);

Suite *suite_verdict(void)
{
    Suite *s = suite_create("verdict");
    TCase *tc = tcase_create("verdict");

    tcase_add_test(tc, verdict_all_published);
    tcase_add_test(tc, verdict_nothing_known_claims_nothing);
    tcase_add_test(tc, verdict_ids_that_were_handed_out_again);
    tcase_add_test(tc, verdict_rate_and_backlog);
    tcase_add_test(tc, verdict_nothing_moved_lately);
    tcase_add_test(tc, verdict_old_backlog_is_a_warning);
    tcase_add_test(tc, verdict_stuck);
    tcase_add_test(tc, verdict_write_that_failed);
    tcase_add_test(tc, verdict_topic_missing_and_dead_row);
    tcase_add_test(tc, verdict_row_that_is_refused_again_and_again);
    tcase_add_test(tc, verdict_held_rows_go_on_by_themselves);
    tcase_add_test(tc, verdict_old_transaction);
    tcase_add_test(tc, verdict_transaction_of_an_age_that_is_hidden);
    tcase_add_test(tc, verdict_bucket_that_should_have_been_emptied);
    tcase_add_test(tc, verdict_ring_that_is_too_short);
    suite_add_tcase(s, tc);
    return s;
}
