/* test_takeover.c - which pages wait for the ends of their topics, and which rows are found there. */
#include "tests/unit/takeover_rig.h"

/* -- waiting -------------------------------------------------------------------------------- */

START_TEST(first_page_waits_for_the_ends_of_its_topics)
{
    struct takeover_page p = page_of("0101", true), ready = { .rows = NULL };

    ck_assert(takeover_wait(&t, NOW, &p));
    memset(rows, 0, sizeof rows); /* the array is the caller's, and gone */
    ck_assert_uint_eq(tail->n_asked[0], 1);
    ck_assert_uint_eq(tail->n_asked[1], 1);
    ck_assert_uint_eq(tail->n_asked[2], 0);
    ck_assert(!takeover_ready(&t, NOW, &ready));
    tail->state[0] = TAIL_READY;
    ck_assert(!takeover_ready(&t, NOW, &ready));
    tail->state[1] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &ready));
    ck_assert_uint_eq(ready.n_rows, 4);
    ck_assert(ready.full && !ready.catching_up);
    ck_assert_uint_eq(ready.rows[3]->event_id[0], 4);
    struct takeover_page again;
    ck_assert(!takeover_ready(&t, NOW, &again)); /* once */
    tail->there[0] = 2;
    tail->there[1] = 4;
    ck_assert_uint_eq(use(&ready), 2);
    ck_assert_uint_eq(t.n_found, 2);
}
END_TEST

START_TEST(page_waits_no_longer_than_it_may)
{
    struct takeover_page p = page_of("0", true), ready;
    uint64_t end = NOW + TAKEOVER_TAIL_MS + 2000;

    ck_assert_uint_eq(takeover_deadline(&t), UINT64_MAX);
    ck_assert(takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(takeover_deadline(&t), end);
    ck_assert(!takeover_ready(&t, end - 1, &ready));
    ck_assert(takeover_ready(&t, end, &ready)); /* the tail is still being read */
    ck_assert_uint_eq(takeover_deadline(&t), UINT64_MAX);
    (void)use(&ready);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_uint_eq(n_freed, 0); /* to wait for its end would block the loop */
}
END_TEST

START_TEST(page_of_topics_that_were_read_does_not_wait)
{
    struct takeover_page p = page_of("0", true);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 0);
    p = page_of("00", true);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(tail->n_asked[0], 1);
    tail->there[0] = 2;
    ck_assert_uint_eq(use(&p), 1);
    p = page_of("01", true);
    ck_assert(takeover_wait(&t, NOW, &p)); /* for the other one */
    ck_assert_uint_eq(tail->n_asked[0], 1);
    ck_assert_uint_eq(tail->n_asked[1], 1);
}
END_TEST

START_TEST(page_without_rows_does_not_wait)
{
    struct takeover_page p = page_of("", true);

    ck_assert(!takeover_wait(&t, NOW, &p));
}
END_TEST

START_TEST(end_that_could_not_be_read_is_not_waited_for)
{
    struct takeover_page p = page_of("01", true);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_FAILED;
    tail->state[1] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    tail->there[0] = 1; /* what was found of it counts */
    ck_assert_uint_eq(use(&p), 1);
    p = page_of("0", true);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 1);
}
END_TEST

START_TEST(without_memory_no_page_waits)
{
    struct takeover_page p = page_of("0", true);

    no_memory = true;
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 0);
}
END_TEST

START_TEST(page_that_waits_is_forgotten_with_the_lead)
{
    struct takeover_page p = page_of("00", true);

    /* its rows are freed: under the sanitizers that is seen */
    ck_assert(takeover_wait(&t, NOW, &p));
    takeover_end(&t);
    tail->state[0] = TAIL_READY;
    ck_assert(!takeover_ready(&t, NOW, &p));
    p = page_of("01", true);
    ck_assert(!takeover_wait(&t, NOW, &p)); /* it does not lead */
    tail->there[0] = 1;
    ck_assert_uint_eq(use(&p), 0);
}
END_TEST

/* -- how far -------------------------------------------------------------------------------- */

START_TEST(as_many_rows_are_looked_for_as_may_have_been_out)
{
    struct takeover_page p = page_of("0000", true);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    memcpy(tail->there, (const uint8_t[]){ 1, 2, 3, 4 }, 4);
    ck_assert_uint_eq(use(&p), 4);
    p = page_of("0000", true);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 1); /* the fifth; the sixth could not have been */
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS); /* held rows are looked for until then */
    ck_assert_ptr_null(tail);
    ck_assert_uint_eq(n_ended, 1);
    p = page_of("1", true);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 0);
    ck_assert_uint_eq(t.n_found, 5);
}
END_TEST

/* Row 1 goes again, behind the record of row 2: so must row 2, of the same key, or row 1 is the last of the key. */
START_TEST(row_behind_one_of_its_key_that_goes_again_goes_again)
{
    struct takeover_page p = page_of("00000", true);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_FAILED;
    ck_assert(takeover_ready(&t, NOW, &p));
    rows[0]->key = rows[1]->key = "a";
    rows[2]->key = rows[4]->key = "b";
    memcpy(tail->there, (const uint8_t[]){ 2, 3, 4, 5 }, 4);
    ck_assert_uint_eq(use(&p), 3); /* both of b, and the one without a key */
    takeover_begin(&t, NOW);
    p = page_of("0", true);
    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    rows[0]->key = "a";
    tail->there[0] = 1;
    ck_assert_uint_eq(use(&p), 1); /* what an earlier lead missed counts no more */
}
END_TEST

START_TEST(looking_ends_when_the_reader_has_caught_up)
{
    struct takeover_page p = page_of("0", false);

    p.catching_up = true;
    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    ck_assert(p.catching_up);
    (void)use(&p);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_ptr_nonnull(tail); /* rows that the other reader had seen may still come */
    p = page_of("", false);
    ck_assert(!takeover_wait(&t, NOW, &p));
    (void)use(&p);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS); /* held rows are looked for until then */
    ck_assert_ptr_null(tail);
    ck_assert_uint_eq(n_ended, 1);
}
END_TEST

/* Its end may take its time, while no broker answers: nobody waits for it before the end of the next one. */
START_TEST(tail_ends_by_itself)
{
    struct takeover_page p = page_of("0", false);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_FAILED;
    ck_assert(takeover_ready(&t, NOW, &p));
    (void)use(&p);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_uint_eq(n_ended, 1);
    ck_assert_uint_eq(n_freed, 0);
    takeover_begin(&t, NOW);
    ck_assert_uint_eq(n_made, 2);
    ck_assert_uint_eq(n_freed, 0);
    takeover_begin(&t, NOW);
    ck_assert_uint_eq(n_ended, 2);
    ck_assert_uint_eq(n_freed, 1);
    takeover_deinit(&t);
    ck_assert_uint_eq(n_freed, 3);
}
END_TEST

START_TEST(each_lead_looks_anew)
{
    struct takeover_page p = page_of("0", true);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    (void)use(&p);
    takeover_end(&t);
    takeover_begin(&t, NOW);
    ck_assert_uint_eq(n_made, 2);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_uint_eq(n_ended, 1);
    p = page_of("0", true);
    ck_assert(takeover_wait(&t, NOW, &p)); /* what another relay has sent since */
    ck_assert_uint_eq(tail->n_asked[0], 1);
}
END_TEST

/* -- without -------------------------------------------------------------------------------- */

START_TEST(switched_off_nothing_is_looked_for)
{
    takeover_deinit(&t);
    begin_as(false);
    struct takeover_page p = page_of("0", true);
    struct pollfd fd;

    ck_assert_uint_eq(n_made, 0);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 0);
    ck_assert_uint_eq(takeover_pollfds(&t, &fd), 0);
    takeover_poll(&t, NOW);
}
END_TEST

START_TEST(where_no_tail_can_be_had_rows_are_sent)
{
    takeover_end(&t);
    none_to_be_made = true;
    takeover_begin(&t, NOW);
    struct takeover_page p = page_of("0", true);
    ck_assert(!takeover_wait(&t, NOW, &p));
    ck_assert_uint_eq(use(&p), 0);
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_uint_eq(n_ended, 1); /* the one before */
}
END_TEST

START_TEST(loop_polls_for_the_tail_while_there_is_one)
{
    struct pollfd fd = { .fd = -1 };
    struct takeover_page p = page_of("", false);

    ck_assert_uint_eq(takeover_pollfds(&t, &fd), 1);
    ck_assert_int_eq(fd.fd, 77);
    ck_assert_int_eq(fd.events, POLLIN);
    takeover_poll(&t, NOW);
    ck_assert_uint_eq(tail->n_polls, 1);
    (void)use(&p); /* nothing was left to look for */
    takeover_poll(&t, NOW + TAKEOVER_HELD_MS);
    ck_assert_uint_eq(takeover_pollfds(&t, &fd), 0);
    takeover_poll(&t, NOW);
}
END_TEST

START_TEST(held_rows_are_looked_for_a_little_longer)
{
    struct takeover_page p = page_of("0", false);

    ck_assert(takeover_wait(&t, NOW, &p));
    tail->state[0] = TAIL_READY;
    ck_assert(takeover_ready(&t, NOW, &p));
    (void)use(&p); /* the reader has caught up */
    p = page_of("00", false);
    p.from = TAKEOVER_DUE;
    rows[0]->held_as = rows[1]->held_as = HELD_TIME;
    tail->there[0] = 2;
    ck_assert(!takeover_wait(&t, NOW, &p)); /* its topic was read */
    ck_assert_uint_eq(use(&p), 1);
    p = page_of("00", false);
    p.from = TAKEOVER_TOPIC;
    rows[0]->held_as = rows[1]->held_as = HELD_TOPIC;
    int32_t partition;
    int64_t offset;
    ck_assert(!takeover_found(&t, NOW + TAKEOVER_HELD_MS, rows[1], 0, &partition, &offset));
    ck_assert_uint_eq(use(&p), 1);
}
END_TEST

Suite *suite_takeover(void);

Suite *suite_takeover(void)
{
    Suite *suite = suite_create("takeover");
    TCase *tc = tcase_create("takeover");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, first_page_waits_for_the_ends_of_its_topics);
    tcase_add_test(tc, page_waits_no_longer_than_it_may);
    tcase_add_test(tc, page_of_topics_that_were_read_does_not_wait);
    tcase_add_test(tc, page_without_rows_does_not_wait);
    tcase_add_test(tc, end_that_could_not_be_read_is_not_waited_for);
    tcase_add_test(tc, without_memory_no_page_waits);
    tcase_add_test(tc, page_that_waits_is_forgotten_with_the_lead);
    tcase_add_test(tc, as_many_rows_are_looked_for_as_may_have_been_out);
    tcase_add_test(tc, row_behind_one_of_its_key_that_goes_again_goes_again);
    tcase_add_test(tc, looking_ends_when_the_reader_has_caught_up);
    tcase_add_test(tc, tail_ends_by_itself);
    tcase_add_test(tc, each_lead_looks_anew);
    tcase_add_test(tc, switched_off_nothing_is_looked_for);
    tcase_add_test(tc, where_no_tail_can_be_had_rows_are_sent);
    tcase_add_test(tc, held_rows_are_looked_for_a_little_longer);
    tcase_add_test(tc, loop_polls_for_the_tail_while_there_is_one);
    suite_add_tcase(suite, tc);
    return suite;
}
