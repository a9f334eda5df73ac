/* test_window.c - slots, lists in order, and the pages that carry the cursor. */
#include <check.h>
#include <stdlib.h>

#include "lib/shared/retry.h"
#include "relay/core/window.h"

enum { CAP = 8 };

static struct window w;

static void begin(void)
{
    ck_assert_int_eq(window_init(&w, CAP), 0);
    (void)window_page_begin(&w);
}

static void end(void)
{
    window_deinit(&w);
}

static uint32_t admit(void)
{
    uint32_t slot = window_admit(&w, 0, 0, 10, true);

    ck_assert_uint_ne(slot, NO_SLOT);
    return slot;
}

/* Moves what `l` holds out and checks that it is the rows with these seqs. */
static void expect_list(struct row_list *l, const uint64_t *seq, uint32_t n)
{
    ck_assert_uint_eq(l->n, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = row_list_pop(&w, l);
        ck_assert_uint_ne(slot, NO_SLOT);
        ck_assert_uint_eq(w.row[slot].seq, seq[i]);
    }
    ck_assert_uint_eq(row_list_pop(&w, l), NO_SLOT);
    ck_assert_uint_eq(l->tail, NO_SLOT);
}

/* -- slots ---------------------------------------------------------------------------------- */

START_TEST(window_gives_each_slot_once_until_it_is_full)
{
    bool given[CAP] = { false };

    for (int i = 0; i < CAP; i++) {
        uint32_t slot = admit();
        ck_assert(!given[slot]);
        given[slot] = true;
    }
    ck_assert_uint_eq(window_admit(&w, 0, 0, 1, true), NO_SLOT);
    ck_assert_uint_eq(window_admit(&w, 0, 0, 1, false), NO_SLOT);
    ck_assert_uint_eq(w.n, CAP);
    ck_assert_uint_eq(w.bytes, 10 * CAP);
    window_release(&w, 3);
    ck_assert_uint_eq(w.n, CAP - 1);
    ck_assert_uint_eq(w.bytes, 10 * (CAP - 1));
    ck_assert_uint_eq(admit(), 3);
}
END_TEST

START_TEST(window_counts_rows_by_state)
{
    uint32_t a = admit(), b = admit();

    ck_assert_uint_eq(w.n_state[ROW_READY], 2);
    window_state(&w, a, ROW_SENT);
    ck_assert_uint_eq(w.n_state[ROW_READY], 1);
    ck_assert_uint_eq(w.n_state[ROW_SENT], 1);
    window_release(&w, a);
    window_release(&w, b);
    ck_assert_uint_eq(w.n_state[ROW_SENT], 0);
    ck_assert_uint_eq(w.n_state[ROW_READY], 0);
}
END_TEST

START_TEST(window_deinit_accepts_one_that_was_never_made)
{
    struct window never = { 0 };

    window_deinit(&never);
    window_deinit(&never);
}
END_TEST

/* -- lists ---------------------------------------------------------------------------------- */

START_TEST(list_gives_rows_in_the_order_of_pushing)
{
    struct row_list l = ROW_LIST_EMPTY;

    for (int i = 0; i < 3; i++)
        row_list_push(&w, &l, admit());
    expect_list(&l, (const uint64_t[]){ 0, 1, 2 }, 3);
}
END_TEST

START_TEST(list_unpop_undoes_a_pop)
{
    struct row_list l = ROW_LIST_EMPTY;

    row_list_push(&w, &l, admit());
    row_list_unpop(&w, &l, row_list_pop(&w, &l)); /* the only one */
    row_list_push(&w, &l, admit());
    row_list_unpop(&w, &l, row_list_pop(&w, &l)); /* one of two */
    expect_list(&l, (const uint64_t[]){ 0, 1 }, 2);
}
END_TEST

START_TEST(list_insert_finds_the_place)
{
    uint32_t s[5];
    struct row_list l = ROW_LIST_EMPTY;

    for (int i = 0; i < 5; i++)
        s[i] = admit();
    row_list_insert(&w, &l, s[2]);
    row_list_insert(&w, &l, s[4]); /* end */
    row_list_insert(&w, &l, s[0]); /* front */
    row_list_insert(&w, &l, s[3]); /* between */
    row_list_insert(&w, &l, s[1]);
    expect_list(&l, (const uint64_t[]){ 0, 1, 2, 3, 4 }, 5);
}
END_TEST

/* Every way in which eight rows can be in the first list, the second or neither. */
START_TEST(list_merge_keeps_the_order_for_every_split)
{
    uint32_t s[CAP];
    int n_splits = 1;

    for (int i = 0; i < CAP; i++) {
        s[i] = admit();
        n_splits *= 3;
    }
    for (int split = 0; split < n_splits; split++) {
        struct row_list to = ROW_LIST_EMPTY, from = ROW_LIST_EMPTY;
        uint64_t seq[CAP];
        uint32_t n = 0;
        for (int i = 0, rest = split; i < CAP; i++, rest /= 3) {
            if (rest % 3 == 0)
                continue;
            row_list_push(&w, rest % 3 == 1 ? &to : &from, s[i]);
            seq[n++] = (uint64_t)i;
        }
        row_list_merge(&w, &to, &from);
        ck_assert_uint_eq(from.n, 0);
        ck_assert_uint_eq(from.head, NO_SLOT);
        expect_list(&to, seq, n);
    }
}
END_TEST

START_TEST(list_sort_brings_any_order_into_order)
{
    enum { N = 1000 };
    struct row_list l = ROW_LIST_EMPTY;
    uint32_t s[N];
    uint64_t seed = 1;

    window_deinit(&w);
    ck_assert_int_eq(window_init(&w, N), 0);
    (void)window_page_begin(&w);
    for (uint32_t i = 0; i < N; i++)
        s[i] = admit();
    for (uint32_t i = N; i-- > 1;) {
        uint32_t other = retry_random(&seed) % (i + 1), swap = s[i];
        s[i] = s[other];
        s[other] = swap;
    }
    row_list_sort(&w, &l); /* of nothing */
    ck_assert_uint_eq(l.n, 0);
    for (uint32_t i = 0; i < N; i++)
        row_list_push(&w, &l, s[i]);
    row_list_sort(&w, &l);
    ck_assert_uint_eq(l.n, N);
    for (uint64_t i = 0; i < N; i++)
        ck_assert_uint_eq(w.row[row_list_pop(&w, &l)].seq, i);
}
END_TEST

/* -- pages ---------------------------------------------------------------------------------- */

START_TEST(page_is_oldest_until_its_last_row_is_released)
{
    uint32_t a = admit(), b = admit();

    ck_assert_uint_eq(window_page_begin(&w), 1);
    uint32_t c = admit();
    ck_assert_uint_eq(window_page_oldest(&w), 0);
    window_release(&w, a);
    ck_assert_uint_eq(window_page_oldest(&w), 0);
    window_release(&w, b);
    ck_assert_uint_eq(window_page_oldest(&w), 1);
    window_release(&w, c);
    ck_assert_uint_eq(window_page_oldest(&w), 2);
    ck_assert_uint_eq(window_page_begin(&w), 2);
}
END_TEST

START_TEST(page_that_was_passed_while_empty_is_oldest_again_with_its_first_row)
{
    ck_assert_uint_eq(window_page_oldest(&w), 1);
    uint32_t a = admit();
    ck_assert_uint_eq(w.row[a].page, 0);
    ck_assert_uint_eq(window_page_oldest(&w), 0);
    window_release(&w, a);
    ck_assert_uint_eq(window_page_oldest(&w), 1);
}
END_TEST

/* One row waits for ever while pages pass: their numbers stop, and the oldest stays the oldest. */
START_TEST(pages_never_wrap_behind_a_row_that_waits)
{
    uint32_t waits = admit();
    uint64_t page = 0, last = 0;

    for (int i = 0; i < 5 * CAP; i++) {
        page = window_page_begin(&w);
        ck_assert_uint_ge(page, last);
        last = page;
        uint32_t slot = admit();
        ck_assert_uint_eq(w.row[slot].page, page);
        ck_assert_uint_eq(window_page_oldest(&w), 0);
        window_release(&w, slot);
    }
    ck_assert_uint_eq(page, CAP - 1);
    window_release(&w, waits);
    ck_assert_uint_eq(window_page_oldest(&w), CAP);
    ck_assert_uint_eq(window_page_begin(&w), CAP);
}
END_TEST

/* A row that comes from outbox.held: in order with the others, and no page waits for it. */
START_TEST(row_without_a_page_keeps_no_page_open)
{
    uint32_t paged = admit(), back = window_admit(&w, 3, 7, 20, false);

    ck_assert_uint_eq(w.row[back].page, NO_PAGE);
    ck_assert_uint_gt(w.row[back].seq, w.row[paged].seq);
    ck_assert_uint_eq(w.row[back].topic, 3);
    ck_assert_uint_eq(w.row[back].key, 7);
    ck_assert_uint_eq(w.n, 2);
    ck_assert_uint_eq(w.bytes, 30);
    window_release(&w, paged);
    ck_assert_uint_eq(window_page_oldest(&w), 1);
    ck_assert_uint_eq(window_page_begin(&w), 1);
    window_release(&w, back);
    ck_assert_uint_eq(w.n, 0);
    ck_assert_uint_eq(w.bytes, 0);
    ck_assert_uint_eq(w.page_open[0], 0);
    ck_assert_uint_eq(w.page_open[1], 0);
}
END_TEST

START_TEST(row_without_a_page_needs_none_to_have_begun)
{
    struct window fresh;

    ck_assert_int_eq(window_init(&fresh, CAP), 0);
    uint32_t slot = window_admit(&fresh, 0, 0, 1, false);
    ck_assert_uint_ne(slot, NO_SLOT);
    window_release(&fresh, slot);
    ck_assert_uint_eq(window_page_oldest(&fresh), 0);
    window_deinit(&fresh);
}
END_TEST

START_TEST(slot_that_is_given_again_remembers_nothing)
{
    uint32_t slot = admit();

    w.row[slot].attempts = 3;
    w.row[slot].delay_ms = 5;
    w.row[slot].from = 1;
    w.row[slot].maybe = w.row[slot].suspect = true;
    window_release(&w, slot);
    ck_assert_uint_eq(admit(), slot);
    ck_assert_uint_eq(w.row[slot].attempts, 0);
    ck_assert_uint_eq(w.row[slot].delay_ms, 0);
    ck_assert_uint_eq(w.row[slot].from, 0);
    ck_assert(!w.row[slot].maybe && !w.row[slot].suspect);
    ck_assert_uint_eq(w.row[slot].state, ROW_READY);
}
END_TEST

Suite *suite_window(void);

Suite *suite_window(void)
{
    Suite *suite = suite_create("window");
    TCase *tc = tcase_create("window");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, window_gives_each_slot_once_until_it_is_full);
    tcase_add_test(tc, window_counts_rows_by_state);
    tcase_add_test(tc, window_deinit_accepts_one_that_was_never_made);
    tcase_add_test(tc, list_gives_rows_in_the_order_of_pushing);
    tcase_add_test(tc, list_unpop_undoes_a_pop);
    tcase_add_test(tc, list_insert_finds_the_place);
    tcase_add_test(tc, list_merge_keeps_the_order_for_every_split);
    tcase_add_test(tc, list_sort_brings_any_order_into_order);
    tcase_add_test(tc, page_is_oldest_until_its_last_row_is_released);
    tcase_add_test(tc, page_that_was_passed_while_empty_is_oldest_again_with_its_first_row);
    tcase_add_test(tc, pages_never_wrap_behind_a_row_that_waits);
    tcase_add_test(tc, row_without_a_page_keeps_no_page_open);
    tcase_add_test(tc, row_without_a_page_needs_none_to_have_begun);
    tcase_add_test(tc, slot_that_is_given_again_remembers_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
