/* test_inbox_watch.c - when libinbox takes a partition for one that stalls, and when not. Seconds are calls. That
 * librdkafka begins again: test_inbox_stall.c. */
#include "tests/unit/inbox_parts.h"

enum { LOOK_S = 3 };

static int64_t log_ends_at; /* -1: the broker does not answer */
static unsigned n_asked;

FAKE(void, inbox__kafka_ends, (struct inbox_consumer *consumer))
{
    n_asked++;
    for (struct inbox__partition *q = consumer->partitions; q != NULL; q = q->next)
        q->end = inbox__partition_rests(consumer, q) ? -1 : log_ends_at; /* as kafka_offsets.c does */
}

static void begin_watch(void)
{
    begin();
    c->stall_s = LOOK_S;
    n_asked = 0;
    log_ends_at = -1;
}

static void begin_behind(void)
{
    begin_watch();
    stored.next = 10;
    log_ends_at = 15;
    assign();
}

static void seconds(unsigned n)
{
    for (; n > 0; n--) {
        c->drained = true;
        inbox__partitions_watch(c);
    }
}

START_TEST(one_that_is_behind_and_gives_nothing_is_assigned_anew)
{
    seconds(2 * LOOK_S - 1);
    ck_assert_uint_eq(n_asked, 1);
    ck_assert_uint_eq(c->figures.stalls, 0);
    ck_assert(p->claimed);
    seconds(1);
    ck_assert_uint_eq(c->figures.stalls, 1);
    ck_assert(!p->claimed && p->paused);
    stored.next = 12; /* by the database's word, not by what it was */
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed && !p->paused);
    ck_assert_int_eq(begun_at, 12);
    ck_assert_int_eq(p->part.next, 12);
}
END_TEST

START_TEST(what_it_had_in_memory_comes_again)
{
    ck_assert(comes(10, "a") && comes(11, "b"));
    seconds(2 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 1);
    ck_assert_uint_eq(c->window.n_rows, 0);
    inbox__partitions_tend(c, now_ms);
    ck_assert_int_eq(begun_at, 10);
    ck_assert(comes(10, "a") && comes(11, "b"));
}
END_TEST

START_TEST(one_that_has_all_is_left_alone)
{
    for (int64_t offset = 10; offset < 15; offset++)
        ck_assert(comes(offset, "a"));
    seconds(20 * LOOK_S);
    ck_assert_uint_eq(n_asked, 20);
    ck_assert_uint_eq(c->figures.stalls, 0);
}
END_TEST

/* The marker that ends a transaction, or records that compaction took: Kafka says that all has come. */
START_TEST(offsets_without_a_record_are_not_waited_for)
{
    inbox__partition_ends(p, 15);
    seconds(20 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 0);
    log_ends_at = 16;
    seconds(2 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 1);
}
END_TEST

START_TEST(one_that_gives_something_now_and_then_is_left_alone)
{
    log_ends_at = 1000;
    for (int64_t offset = 10; offset < 40; offset++) {
        ck_assert(comes(offset, "a"));
        finish_one();
        seconds(LOOK_S);
    }
    ck_assert_uint_eq(c->figures.stalls, 0);
}
END_TEST

/* Not for a while after it was, either. */
START_TEST(one_that_is_paused_is_left_alone)
{
    seconds(LOOK_S);
    ck_assert_int_eq(p->end, 15);
    c->full = true;
    seconds(20 * LOOK_S);
    c->full = false;
    seconds(LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 0);
    p->back_to = 3;
    seconds(20 * LOOK_S);
    p->back_to = -1;
    p->crowded = true;
    seconds(20 * LOOK_S);
    p->crowded = false;
    p->claimed = false;
    seconds(20 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 0);
}
END_TEST

/* Its events may wait in librdkafka's queue, behind those of other partitions. */
START_TEST(seconds_count_in_which_all_that_was_fetched_was_taken)
{
    c->drained = true; /* once */
    for (unsigned i = 0; i < 100 * LOOK_S; i++)
        inbox__partitions_watch(c);
    ck_assert_uint_eq(n_asked, 0);
    c->calm_s = 0;
    seconds(2 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 1);
}
END_TEST

START_TEST(while_the_broker_does_not_answer_nothing_is_done)
{
    log_ends_at = -1;
    seconds(20 * LOOK_S);
    ck_assert_uint_eq(n_asked, 20);
    ck_assert_uint_eq(c->figures.stalls, 0);
}
END_TEST

static void stall_and_begin(void)
{
    uint64_t before = c->figures.stalls;

    while (c->figures.stalls == before)
        seconds(LOOK_S);
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed);
}

/* A fetch that takes longer than a look must end some day. */
START_TEST(the_pause_between_attempts_doubles_and_has_an_end)
{
    const unsigned looks[] = { 2, 3, 5, 9, 17, 33, 33, 33 };
    for (unsigned i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        n_asked = 0;
        stall_and_begin();
        ck_assert_uint_eq(n_asked, looks[i]);
    }
    ck_assert(comes(10, "a"));
    n_asked = 0;
    stall_and_begin();
    ck_assert_uint_eq(n_asked, 2);
}
END_TEST

/* Neither the database nor Kafka had a position, and there is nothing. */
START_TEST(an_empty_log_is_left_alone)
{
    stored.next = -1;
    log_ends_at = 0;
    assign();
    seconds(20 * LOOK_S);
    ck_assert_uint_eq(c->figures.stalls, 0);
}
END_TEST

Suite *suite_inbox_watch(void);
Suite *suite_inbox_watch(void)
{
    Suite *s = suite_create("inbox_watch");
    TCase *behind = tcase_create("behind"), *tc = tcase_create("empty");

    tcase_add_checked_fixture(behind, begin_behind, end);
    tcase_add_test(behind, one_that_is_behind_and_gives_nothing_is_assigned_anew);
    tcase_add_test(behind, what_it_had_in_memory_comes_again);
    tcase_add_test(behind, one_that_has_all_is_left_alone);
    tcase_add_test(behind, offsets_without_a_record_are_not_waited_for);
    tcase_add_test(behind, one_that_gives_something_now_and_then_is_left_alone);
    tcase_add_test(behind, one_that_is_paused_is_left_alone);
    tcase_add_test(behind, seconds_count_in_which_all_that_was_fetched_was_taken);
    tcase_add_test(behind, while_the_broker_does_not_answer_nothing_is_done);
    tcase_add_test(behind, the_pause_between_attempts_doubles_and_has_an_end);
    suite_add_tcase(s, behind);
    tcase_add_checked_fixture(tc, begin_watch, end);
    tcase_add_test(tc, an_empty_log_is_left_alone);
    suite_add_tcase(s, tc);
    return s;
}
