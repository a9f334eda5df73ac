/* test_inbox_partitions.c - what libinbox does with its partitions: claims that take long or whose answer is lost, a
 * log that goes back, another log under the topic's name. Too many events behind a key: test_inbox_memory.c. */
#include <stdio.h>

#include "tests/unit/inbox_parts.h"

/* -- a log that goes back --------------------------------------------------------------------- */

START_TEST(what_is_in_memory_is_finished_before_a_log_goes_back)
{
    assign();
    for (int64_t offset = 100; offset < 103; offset++)
        ck_assert(comes(offset, "old"));
    finish_one();
    ck_assert(!comes(5, "new"));
    ck_assert(p->paused);
    ck_assert(!comes(6, "new"));
    ck_assert_uint_eq(c->window.n_rows, 2);
    inbox__partitions_tend(c, now_ms);
    ck_assert_uint_eq(n_begun, 0);
    ck_assert_int_eq(inbox__window_position(&p->part), 101);
    finish_one();
    finish_one();
    ck_assert_int_eq(inbox__window_position(&p->part), 103);
    inbox__partitions_tend(c, now_ms);
    ck_assert_uint_eq(n_begun, 1);
    ck_assert_int_eq(begun_at, 5);
    ck_assert_int_eq(inbox__window_position(&p->part), 5);
    ck_assert(inbox__partition_moves(p) && !inbox__partition_goes_back(p)); /* nothing was stored yet */
    p->part.stored = 103;
    ck_assert(inbox__partition_goes_back(p));
    p->part.stored = 5;
    ck_assert(!inbox__partition_moves(p));
    ck_assert_int_eq(inbox__partition_witness(p).offset, -1);
    ck_assert(!p->paused);
    ck_assert(comes(5, "new"));
}
END_TEST

START_TEST(a_log_that_goes_back_is_not_fetched_when_memory_has_room_again)
{
    c->set.inflight_rows = 2;
    assign();
    ck_assert(comes(100, "old") && comes(101, "old"));
    inbox__partitions_pressure(c);
    ck_assert(c->full);
    ck_assert(!comes(0, "new"));
    finish_one();
    inbox__partitions_pressure(c);
    ck_assert(!c->full);
    ck_assert(p->paused);
    finish_one();
    inbox__partitions_tend(c, now_ms);
    ck_assert(!p->paused);
}
END_TEST

START_TEST(going_back_is_tried_until_kafka_answers)
{
    assign();
    ck_assert(comes(100, "old"));
    finish_one();
    ck_assert(!comes(0, "new"));
    kafka_answers = false;
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->paused);
    ck_assert(!comes(1, "new"));
    kafka_answers = true;
    now_ms += 1000;
    inbox__partitions_tend(c, now_ms);
    ck_assert(comes(0, "new"));
}
END_TEST

/* -- another log ------------------------------------------------------------------------------ */

START_TEST(the_log_is_known_by_the_record_before_the_position)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert_int_eq(start, 7);
    ck_assert_int_eq(p->part.next, 8);
    ck_assert(!comes(7, "a"));
    ck_assert_int_eq(p->back_to, -1);
    ck_assert(comes(8, "b"));
}
END_TEST

START_TEST(the_log_is_known_by_the_record_at_the_position)
{
    assign();
    ck_assert(comes(7, "held"));
    ck_assert(comes(8, "a"));
    assign_again();
    ck_assert_int_eq(start, 7);
    ck_assert(comes(7, "held"));
    ck_assert(comes(8, "a"));
}
END_TEST

START_TEST(another_log_is_read_from_its_beginning)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert(!comes(7, "another"));
    ck_assert(!comes(8, "another"));
    inbox__partitions_tend(c, now_ms);
    ck_assert_int_eq(begun_at, 0);
    ck_assert_int_eq(inbox__window_position(&p->part), 0);
    ck_assert(comes(0, "its first"));
    ck_assert_int_eq(inbox__partition_witness(p).offset, 0);
}
END_TEST

/* Compacted, or too old: then there is nothing to compare. */
START_TEST(a_witness_that_is_gone_says_nothing)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert(comes(9, "b"));
    ck_assert_int_eq(p->back_to, -1);
}
END_TEST

START_TEST(a_witness_elsewhere_says_nothing)
{
    stored = (struct inbox__place){ .next = 50, .witness = { .offset = 7, .mark = 1 } };
    assign();
    ck_assert_int_eq(start, 50);
    ck_assert(comes(50, "b"));
    stored = (struct inbox__place){ .next = 5, .witness = { .offset = 7, .mark = 1 } };
    inbox__partition_remove(c, p);
    assign();
    ck_assert_int_eq(start, 5);
    ck_assert(comes(5, "b") && comes(6, "b") && comes(7, "b"));
}
END_TEST

/* -- the last owner ---------------------------------------------------------------------------- */

START_TEST(events_are_suspect_where_an_owner_did_not_give_up)
{
    assign();
    ck_assert_uint_eq(p->suspects, 0);
    inbox__partition_remove(c, p);
    assign();
    ck_assert_uint_eq(p->suspects, INBOX_MAX_BATCH_ROWS);
}
END_TEST

START_TEST(who_was_the_owner_is_not_known_when_the_answer_is_lost)
{
    answer_lost = true;
    assign();
    ck_assert(!p->claimed);
    answer_lost = false;
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed);
    ck_assert_uint_eq(p->suspects, INBOX_MAX_BATCH_ROWS);
}
END_TEST

/* It is ours from the first time on, and nobody has died. */
START_TEST(claiming_twice_makes_nothing_suspect)
{
    kafka_answers = false;
    db_answers = false;
    assign();
    db_answers = true;
    inbox__partitions_tend(c, now_ms);
    ck_assert(!p->claimed);
    kafka_answers = true;
    now_ms += 1000;
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed);
    ck_assert_uint_eq(p->suspects, 0);
}
END_TEST

/* What is not in the database any more is not in memory either, and comes again, though it was not sent again. */
START_TEST(where_the_database_has_lost_commits_it_is_begun_again)
{
    uint32_t id;

    stored.next = 0;
    assign();
    id = p->part.id;
    for (int64_t offset = 0; offset < 4; offset++)
        ck_assert(comes(offset, "x"));
    finish_one();
    finish_one();
    stored.next = 1;
    inbox__partitions_begin_again(c);
    ck_assert(!p->claimed && p->paused);
    ck_assert_uint_eq(c->window.n_rows, 0);
    ck_assert(!comes(4, "x")); /* was on its way */
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed && !p->paused);
    ck_assert_int_eq(begun_at, 1);
    ck_assert_uint_eq(p->suspects, 0);
    ck_assert_uint_ne(p->part.id, id);
    ck_assert(comes(1, "x"));
}
END_TEST

/* -- what Kafka has deleted ---------------------------------------------------------------------- */

START_TEST(offsets_that_the_log_has_no_longer_are_counted)
{
    stored.next = 3;
    log_begins_at = 0;
    assign();
    ck_assert(comes(3, "x"));
    ck_assert(comes(6, "x")); /* 4 and 5 were markers */
    ck_assert_uint_eq(c->figures.expired, 0);
    log_begins_at = 10;
    ck_assert(comes(12, "x")); /* 7 to 9 are gone, 10 and 11 markers */
    ck_assert_uint_eq(c->figures.expired, 3);
    log_begins_at = 100; /* since then */
    ck_assert(comes(20, "x"));
    ck_assert_uint_eq(c->figures.expired, 3 + 7);
    log_begins_at = -1;
    ck_assert(comes(30, "x"));
    ck_assert_uint_eq(c->figures.expired, 3 + 7);
}
END_TEST

/* Where nothing is known of a partition nothing is missed. */
START_TEST(a_first_position_misses_nothing)
{
    log_begins_at = 10;
    assign();
    ck_assert(comes(10, "x"));
    ck_assert_uint_eq(c->figures.expired, 0);
}
END_TEST

/* -- where a partition begins that the database knows nothing of ----------------------------------- */

/* Else, of a database that comes back without what was applied then, Kafka would be asked, which knows of it. */
START_TEST(where_it_begins_is_kept_although_nothing_has_come)
{
    assign();
    ck_assert(!inbox__partition_moves(p));
    inbox__partition_ends(p, 7);
    ck_assert(inbox__partition_moves(p));
    ck_assert_int_eq(inbox__window_position(&p->part), 7);
    inbox__partition_ends(p, 8); /* a marker */
    ck_assert_int_eq(inbox__window_position(&p->part), 7);
    ck_assert(comes(9, "x"));
    ck_assert_int_eq(inbox__window_position(&p->part), 9);
}
END_TEST

START_TEST(one_that_is_not_ours_has_not_begun)
{
    db_answers = false;
    assign();
    inbox__partition_ends(p, 7);
    ck_assert_int_eq(inbox__window_position(&p->part), -1);
}
END_TEST

static void begins_once_more_at(int64_t offset)
{
    inbox__partitions_begin_again(c);
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->claimed);
    ck_assert_int_eq(begun_at, offset);
    ck_assert_int_eq(p->part.next, offset);
}

START_TEST(a_database_that_has_lost_even_that_begins_there_again)
{
    assign();
    ck_assert(comes(7, "x") && comes(8, "x"));
    begins_once_more_at(7);
    stored.next = 9;
    begins_once_more_at(9);
    stored.next = -1; /* what has lost 9 has lost it all */
    begins_once_more_at(7);
}
END_TEST

/* -- many partitions -------------------------------------------------------------------------- */

START_TEST(claiming_many_lets_others_have_their_turn)
{
    uint64_t before_ms;

    db_answers = false;
    for (int32_t n = 0; n < N_MANY; n++)
        ck_assert_ptr_nonnull(inbox__partition_add(c, "t", n, UINT64_MAX, &start));
    db_answers = true;
    kafka_answers = false;
    stored.next = 3;
    for (int n = 0; n < N_MANY; n++) {
        before_ms = now_ms;
        inbox__partitions_tend(c, now_ms);
        ck_assert_uint_le(now_ms - before_ms, INBOX__ROUND_MS + BEGIN_MS + 10);
        now_ms += 1000;
    }
    for (int n = 0; n < N_MANY; n++)
        ck_assert_msg(was_begun[n], "partition %d was never tried", n);
    kafka_answers = true;
    for (int n = 0; n < 5; n++) /* 10 ms each, and no more than a second at a time */
        inbox__partitions_tend(c, now_ms);
    for (p = c->partitions; p != NULL; p = p->next)
        ck_assert(p->claimed && p->part.next == 3);
}
END_TEST

START_TEST(an_assignment_of_many_does_not_wait_for_all_claims)
{
    uint64_t until_ms = now_ms + INBOX__ROUND_MS;

    stored.next = 3;
    for (int32_t n = 0; n < N_MANY; n++)
        ck_assert_ptr_nonnull(inbox__partition_add(c, "t", n, until_ms, &start));
    ck_assert_uint_le(now_ms, until_ms + 10);
    ck_assert_int_eq(start, -1);
    ck_assert(!c->partitions->claimed);
    for (int n = 0; n < 5; n++)
        inbox__partitions_tend(c, now_ms);
    for (p = c->partitions; p != NULL; p = p->next)
        ck_assert(p->claimed && p->part.next == 3);
}
END_TEST

/* -- one that cannot be claimed ---------------------------------------------------------------- */

static char told[400]; /* the last line of the log */
static unsigned n_told;

static void tell(int level, const char *line, void *arg)
{
    (void)arg;
    n_told++;
    snprintf(told, sizeof told, "<%d> %s", level, line);
}

static void wait_for_claim(const char *why, uint64_t ms)
{
    uint64_t until_ms = now_ms + ms;

    why_not = why;
    for (n_told = 0; now_ms < until_ms; now_ms += 500)
        inbox__partitions_tend(c, now_ms);
}

START_TEST(one_that_cannot_be_claimed_is_told_now_and_then)
{
    inbox_consumer_log(c, tell, NULL);
    db_answers = false;
    why_not = "a lock";
    n_told = 0;
    assign();
    ck_assert_uint_eq(n_told, 1);
    ck_assert_str_eq(told, "<4> t/0 cannot be claimed yet, and its events wait: a lock");
    wait_for_claim("a lock", 25000);
    ck_assert_uint_eq(n_told, 0);
    wait_for_claim("a lock", 60000);
    ck_assert_uint_eq(n_told, 2);
    wait_for_claim("a right", 5000);
    ck_assert_uint_eq(n_told, 1);
    ck_assert_str_eq(told, "<4> t/0 cannot be claimed yet, and its events wait: a right");
    db_answers = true;
    wait_for_claim("", 5000);
    ck_assert_uint_eq(n_told, 1);
    ck_assert_str_eq(told, "<6> t/0 is claimed now, and its events go on");
    inbox__partition_let_go(c, p, 0);
    wait_for_claim("", 5000);
    ck_assert(p->claimed);
    ck_assert_uint_eq(n_told, 0);
}
END_TEST

Suite *suite_inbox_partitions(void);
Suite *suite_inbox_partitions(void)
{
    Suite *s = suite_create("inbox_partitions");
    TCase *tc = tcase_create("partitions");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, what_is_in_memory_is_finished_before_a_log_goes_back);
    tcase_add_test(tc, a_log_that_goes_back_is_not_fetched_when_memory_has_room_again);
    tcase_add_test(tc, going_back_is_tried_until_kafka_answers);
    tcase_add_test(tc, the_log_is_known_by_the_record_before_the_position);
    tcase_add_test(tc, the_log_is_known_by_the_record_at_the_position);
    tcase_add_test(tc, another_log_is_read_from_its_beginning);
    tcase_add_test(tc, a_witness_that_is_gone_says_nothing);
    tcase_add_test(tc, a_witness_elsewhere_says_nothing);
    tcase_add_test(tc, events_are_suspect_where_an_owner_did_not_give_up);
    tcase_add_test(tc, who_was_the_owner_is_not_known_when_the_answer_is_lost);
    tcase_add_test(tc, claiming_twice_makes_nothing_suspect);
    tcase_add_test(tc, where_the_database_has_lost_commits_it_is_begun_again);
    tcase_add_test(tc, offsets_that_the_log_has_no_longer_are_counted);
    tcase_add_test(tc, a_first_position_misses_nothing);
    tcase_add_test(tc, where_it_begins_is_kept_although_nothing_has_come);
    tcase_add_test(tc, one_that_is_not_ours_has_not_begun);
    tcase_add_test(tc, a_database_that_has_lost_even_that_begins_there_again);
    tcase_add_test(tc, claiming_many_lets_others_have_their_turn);
    tcase_add_test(tc, an_assignment_of_many_does_not_wait_for_all_claims);
    tcase_add_test(tc, one_that_cannot_be_claimed_is_told_now_and_then);
    suite_add_tcase(s, tc);
    return s;
}
