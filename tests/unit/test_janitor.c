/* test_janitor.c - when the janitor asks what, how long it leaves a bucket alone, and what it says.
 *
 * Standard error is kept while a test runs; said() counts its lines with a text.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/janitor.h"
#include "relay/log.h"
#include "tests/rig/rig.h"

#define HOUR_MS ((uint64_t)3600 * 1000)
#define MINUTE_MS ((uint64_t)60 * 1000)
#define RETENTION_MS (72 * HOUR_MS)

static struct janitor j;
static uint64_t t; /* now */

static void begin(void)
{
    t = 1000;
    janitor_init(&j, t, RETENTION_MS);
    (void)unsetenv("JOURNAL_STREAM");
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    rig_stderr_keep();
}

static void end(void)
{
    rig_stderr_release();
}

static unsigned said(const char *what)
{
    return rig_stderr_lines(what);
}

/* At the time that it has named it asks this, and not before; then nothing until the answer. */
static void asks(enum janitor_do what)
{
    uint64_t due = janitor_deadline(&j);

    ck_assert_uint_ne(due, UINT64_MAX);
    if (due > t) {
        ck_assert_int_eq(janitor_next(&j, due - 1), JANITOR_NOTHING);
        t = due;
    }
    ck_assert_int_eq(janitor_next(&j, t), what);
    ck_assert_uint_eq(janitor_deadline(&j), UINT64_MAX);
    ck_assert_int_eq(janitor_next(&j, t + HOUR_MS), JANITOR_NOTHING);
}

static void answer(struct source_event e)
{
    janitor_answer(&j, t, &e);
}

/* The buckets of these bits are old enough, the others are an hour old. */
static void looked(unsigned old)
{
    struct source_event e = { .type = SOURCE_LOOKED, .bucket_period_s = 86400 };

    for (int b = 0; b < SOURCE_RING; b++)
        e.bucket_age_ms[b] = old & (1U << b) ? (int64_t)RETENTION_MS : (int64_t)RETENTION_MS - 1;
    asks(JANITOR_LOOK);
    answer(e);
}

static void walked(int bucket, enum source_walk walk)
{
    asks(JANITOR_WALK);
    ck_assert_int_eq(j.bucket, bucket);
    answer((struct source_event){ .type = SOURCE_WALKED, .bucket = j.bucket, .walk = walk });
}

static void emptied(int bucket, enum source_emptying emptying)
{
    asks(JANITOR_EMPTY);
    ck_assert_int_eq(j.bucket, bucket);
    answer((struct source_event){ .type = SOURCE_EMPTIED, .bucket = j.bucket, .emptying = emptying,
                                  .n_events = 10, .n_moved = 2, .n_bytes = 100,
                                  .holder = { .pid = 4711, .name = "pg_dump", .age_ms = 61000 } });
}

static void tidied(bool full, int64_t n)
{
    asks(JANITOR_TIDY);
    answer((struct source_event){ .type = SOURCE_TIDIED, .full = full, .n_events = n });
}

START_TEST(looks_once_a_minute_or_a_hundredth_of_the_retention)
{
    static const uint64_t retention[][2] = {
        { RETENTION_MS, MINUTE_MS }, { HOUR_MS, 36000 }, { 1000, 100 }, { 1, 100 }
    };

    for (size_t i = 0; i < sizeof retention / sizeof retention[0]; i++) {
        janitor_init(&j, 500, retention[i][0]);
        ck_assert_uint_eq(janitor_deadline(&j), 500 + retention[i][1]);
    }
    janitor_init(&j, 500, 0);
    ck_assert_uint_eq(janitor_deadline(&j), UINT64_MAX);
    ck_assert_int_eq(janitor_next(&j, UINT64_MAX - 1), JANITOR_NOTHING);
}
END_TEST

START_TEST(old_buckets_are_walked_and_emptied_one_after_the_other)
{
    looked(0x81);
    walked(7, WALK_MORE);
    walked(7, WALK_DONE);
    emptied(7, EMPTYING_DONE);
    walked(0, WALK_DONE);
    emptied(0, EMPTYING_DONE);
    tidied(true, 5);
    tidied(false, 1);
    ck_assert_uint_eq(j.n_emptied, 2);
    ck_assert_uint_eq(j.n_dropped, 16);
    ck_assert_uint_eq(j.n_kept, 4);
    ck_assert_uint_eq(j.n_bytes, 200);
    ck_assert_uint_eq(j.n_tidied, 6);
    ck_assert_uint_eq(j.n_gave_up, 0);
    ck_assert_uint_eq(said("msg=\"a bucket was emptied\" component=janitor bucket=7 events=10 kept=2 bytes=100"), 1);
    ck_assert_uint_eq(janitor_deadline(&j), t + MINUTE_MS);
    looked(0);
    tidied(false, 0);
}
END_TEST

START_TEST(rests_between_pieces_as_long_as_one_took)
{
    looked(0x02);
    asks(JANITOR_WALK);
    t += 70;
    answer((struct source_event){ .type = SOURCE_WALKED, .bucket = 1, .walk = WALK_MORE });
    ck_assert_uint_eq(janitor_deadline(&j), t + 70);
}
END_TEST

START_TEST(a_bucket_that_cannot_go_is_left_alone_for_longer_each_time)
{
    uint64_t pause[12];

    for (int i = 0; i < 12; i++) {
        looked(0x08);
        walked(3, WALK_DONE);
        emptied(3, EMPTYING_LOCKED);
        pause[i] = j.wait[3].until_ms - t;
        tidied(false, 0);
        while (t + MINUTE_MS < j.wait[3].until_ms) { /* meanwhile it is passed over */
            looked(0x08);
            tidied(false, 0);
        }
    }
    ck_assert_uint_eq(pause[0], MINUTE_MS);
    ck_assert_uint_eq(pause[1], 2 * MINUTE_MS);
    ck_assert_uint_eq(pause[11], HOUR_MS);
    ck_assert_uint_eq(j.n_gave_up, 12);
    looked(0x08);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_DONE);
    tidied(false, 0);
    looked(0x08); /* it is as any other again */
    walked(3, WALK_UNRESOLVED);
    ck_assert_uint_eq(j.wait[3].until_ms, t + MINUTE_MS);
}
END_TEST

START_TEST(one_that_cannot_go_keeps_no_other_from_its_turn)
{
    looked(0x0e);
    walked(1, WALK_UNRESOLVED);
    walked(2, WALK_CROWDED);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_CHANGED);
    ck_assert_uint_eq(said("more of its events are held than can be moved"), 1); /* of bucket 2 alone */
    tidied(false, 0);
    ck_assert_uint_eq(j.n_gave_up, 0);
    looked(0x0f); /* in the order of the ring: the new one first */
    walked(0, WALK_DONE);
    emptied(0, EMPTYING_DONE);
    walked(1, WALK_UNRESOLVED);
    walked(2, WALK_CROWDED);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_DONE);
    tidied(false, 0);
    looked(0x0f); /* two wait longer now */
    walked(0, WALK_DONE);
    emptied(0, EMPTYING_DONE);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_DONE);
    tidied(false, 0);
}
END_TEST

START_TEST(who_has_the_lock_is_said_but_not_again_and_again)
{
    static const char line[] = "it is locked\" component=janitor bucket=3 pid=4711 application=pg_dump age_s=61";
    uint64_t told_ms = 0;

    for (int i = 0; i < 5; i++) { /* within 1 + 2 + 4 minutes, then after eight */
        looked(0x08);
        walked(3, WALK_DONE);
        emptied(3, EMPTYING_LOCKED);
        if (i == 0)
            told_ms = t;
        ck_assert_uint_eq(said(line), t < told_ms + 10 * MINUTE_MS ? 1 : 2);
        tidied(false, 0);
        while (t + MINUTE_MS < j.wait[3].until_ms) {
            looked(0x08);
            tidied(false, 0);
        }
    }
    ck_assert_uint_eq(said(line), 2);
    looked(0x10); /* another bucket is news */
    walked(4, WALK_DONE);
    emptied(4, EMPTYING_LOCKED);
    ck_assert_uint_eq(said("bucket=4 pid=4711"), 1);
}
END_TEST

START_TEST(another_one_that_has_the_lock_is_news)
{
    looked(0x08);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_LOCKED);
    tidied(false, 0);
    looked(0x08);
    walked(3, WALK_DONE);
    asks(JANITOR_EMPTY);
    answer((struct source_event){ .type = SOURCE_EMPTIED, .bucket = 3, .emptying = EMPTYING_LOCKED,
                                  .holder = { .pid = 12, .name = "psql" } });
    ck_assert_uint_eq(said("bucket=3 pid=12 application=psql"), 1);
}
END_TEST

START_TEST(a_failed_question_ends_nothing)
{
    asks(JANITOR_LOOK);
    answer((struct source_event){ .type = SOURCE_LOOKED, .failed = true });
    ck_assert_uint_eq(janitor_deadline(&j), t + MINUTE_MS);
    looked(0x03);
    asks(JANITOR_WALK);
    answer((struct source_event){ .type = SOURCE_WALKED, .bucket = 1, .failed = true });
    walked(0, WALK_DONE);
    asks(JANITOR_EMPTY);
    answer((struct source_event){ .type = SOURCE_EMPTIED, .bucket = 0, .failed = true });
    asks(JANITOR_TIDY);
    answer((struct source_event){ .type = SOURCE_TIDIED, .failed = true, .full = true });
    ck_assert_uint_eq(janitor_deadline(&j), t + MINUTE_MS);
    ck_assert_uint_eq(j.n_emptied + j.n_gave_up, 0);
    looked(0);
}
END_TEST

START_TEST(after_the_loss_of_the_link_it_looks_again)
{
    looked(0x08);
    walked(3, WALK_DONE);
    asks(JANITOR_EMPTY);
    janitor_link_down(&j);
    looked(0x08);
    walked(3, WALK_DONE);
}
END_TEST

START_TEST(a_ring_that_is_shorter_than_the_retention_is_told_once)
{
    struct source_event e = { .type = SOURCE_LOOKED };
    static const int64_t period_s[] = { 0, 37029, 37028, 37028, 86400, 37028 };
    static const unsigned told[] = { 0, 0, 1, 1, 1, 2 };

    for (int b = 0; b < SOURCE_RING; b++)
        e.bucket_age_ms[b] = -1;
    for (int i = 0; i < 6; i++) {
        e.bucket_period_s = period_s[i];
        asks(JANITOR_LOOK);
        answer(e);
        ck_assert_uint_eq(said("shorter than the retention"), told[i]);
        tidied(false, 0);
    }
}
END_TEST

static void overdue(double s, int bucket, enum verdict_obstacle why)
{
    struct verdict_overdue o = janitor_overdue(&j, t);

    ck_assert_double_eq_tol(o.s, s, 0.001);
    ck_assert_int_eq(o.bucket, bucket);
    ck_assert_int_eq(o.why, why);
}

/* The oldest first, with why it is still there; nothing that is emptied or young. */
START_TEST(what_is_overdue_is_told_and_why)
{
    struct source_event e = { .type = SOURCE_LOOKED };

    for (int b = 0; b < SOURCE_RING; b++)
        e.bucket_age_ms[b] = -1;
    e.bucket_age_ms[5] = (int64_t)RETENTION_MS - 1;
    ck_assert_double_lt(janitor_overdue(&j, t).s, 0);
    asks(JANITOR_LOOK);
    answer(e);
    ck_assert_double_lt(janitor_overdue(&j, t).s, 0);
    tidied(false, 0);
    e.bucket_age_ms[5] = (int64_t)RETENTION_MS + 7000;
    e.bucket_age_ms[4] = (int64_t)RETENTION_MS + 400000000; /* before the beginning of the clock */
    asks(JANITOR_LOOK);
    answer(e);
    overdue(400000, 4, OBSTACLE_UNKNOWN);
    asks(JANITOR_WALK);
    ck_assert_int_eq(j.bucket, 4);
    answer((struct source_event){ .type = SOURCE_WALKED, .bucket = 4, .walk = WALK_UNRESOLVED, .id = 99 });
    overdue(400000, 4, OBSTACLE_UNSENT);
    ck_assert_int_eq(janitor_overdue(&j, t).id, 99);
    walked(5, WALK_DONE);
    emptied(5, EMPTYING_LOCKED);
    tidied(false, 0);
    e.bucket_age_ms[4] = -1; /* another leader did */
    e.bucket_age_ms[5] += 60000;
    asks(JANITOR_LOOK);
    answer(e);
    overdue(67, 5, OBSTACLE_LOCKED);
    ck_assert_int_eq(janitor_overdue(&j, t).holder.pid, 4711);
    ck_assert_str_eq(janitor_overdue(&j, t).holder.application, "pg_dump");
    ck_assert_double_eq_tol(janitor_overdue(&j, t).holder.age_s, 61, 0.001);
    t += 1000;
    overdue(68, 5, OBSTACLE_LOCKED);
    walked(5, WALK_CROWDED);
    overdue(68, 5, OBSTACLE_CROWDED);
    tidied(false, 0);
    janitor_lead_begins(&j);
    ck_assert_double_lt(janitor_overdue(&j, t).s, 0);
    while (t < j.wait[5].until_ms) {
        asks(JANITOR_LOOK);
        answer(e);
        if (j.next == JANITOR_TIDY)
            tidied(false, 0);
    }
    walked(5, WALK_DONE);
    emptied(5, EMPTYING_DONE);
    ck_assert_double_lt(janitor_overdue(&j, t).s, 0);
}
END_TEST

/* By what was held since the walk. */
START_TEST(a_bucket_that_turns_out_to_be_crowded_is_told)
{
    looked(0x08);
    walked(3, WALK_DONE);
    emptied(3, EMPTYING_CROWDED);
    overdue(0, 3, OBSTACLE_CROWDED);
    ck_assert_uint_eq(said("more of its events are held than can be moved\" component=janitor bucket=3 remedy="), 1);
    ck_assert_uint_eq(j.n_emptied + j.n_gave_up, 0);
    ck_assert_uint_eq(j.wait[3].until_ms, t + MINUTE_MS);
}
END_TEST

Suite *suite_janitor(void);

Suite *suite_janitor(void)
{
    Suite *s = suite_create("janitor");
    TCase *tc = tcase_create("rounds");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, looks_once_a_minute_or_a_hundredth_of_the_retention);
    tcase_add_test(tc, old_buckets_are_walked_and_emptied_one_after_the_other);
    tcase_add_test(tc, rests_between_pieces_as_long_as_one_took);
    tcase_add_test(tc, a_bucket_that_cannot_go_is_left_alone_for_longer_each_time);
    tcase_add_test(tc, one_that_cannot_go_keeps_no_other_from_its_turn);
    tcase_add_test(tc, who_has_the_lock_is_said_but_not_again_and_again);
    tcase_add_test(tc, another_one_that_has_the_lock_is_news);
    tcase_add_test(tc, a_failed_question_ends_nothing);
    tcase_add_test(tc, after_the_loss_of_the_link_it_looks_again);
    tcase_add_test(tc, a_ring_that_is_shorter_than_the_retention_is_told_once);
    tcase_add_test(tc, what_is_overdue_is_told_and_why);
    tcase_add_test(tc, a_bucket_that_turns_out_to_be_crowded_is_told);
    suite_add_tcase(s, tc);
    return s;
}
