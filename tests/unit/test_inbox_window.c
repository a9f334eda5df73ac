/* test_inbox_window.c - which event libinbox's window hands out next; whole histories are in core/test_inbox_sim. */
#include <check.h>

#include "lib/inbox/window.h"

static struct inbox__window w;
static struct inbox__part part;
static struct inbox__item item[4];

/* Offset n has key n + 1. */
static void come(int n)
{
    for (int i = 0; i < n; i++) {
        item[i] = (struct inbox__item){ .key = (uint64_t)i + 1, .identity = (uint64_t)i + 1,
                                        .offset = i, .bytes = 1, .part = &part };
        inbox__window_add(&w, &item[i]);
    }
}

static void setup(void)
{
    ck_assert_int_eq(inbox__window_init(&w, 64), 0);
    part = (struct inbox__part){ .next = 0, .stored = 0, .id = 1 };
}

static void teardown(void)
{
    (void)inbox__window_drop(&w, &part);
    inbox__window_deinit(&w);
}

static size_t take(uint64_t now_ms, struct inbox__item *batch[4], size_t max)
{
    return inbox__window_take(&w, now_ms, batch, max);
}

START_TEST(what_was_not_called_keeps_its_place)
{
    struct inbox__item *batch[4];

    come(3);
    ck_assert_uint_eq(take(0, batch, 2), 2);
    inbox__window_again(&w, batch[1]);
    inbox__window_again(&w, batch[0]);
    ck_assert_uint_eq(take(0, batch, 4), 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_eq(batch[i], &item[i]);
        inbox__window_done(&w, batch[i]);
    }
}
END_TEST

/* Its transaction is repeated again and again, perhaps because of it; those of other keys must not wait for that. */
START_TEST(one_that_has_failed_before_lets_others_pass_when_it_comes_back)
{
    struct inbox__item *batch[4];

    come(3);
    ck_assert_uint_eq(take(0, batch, 1), 1);
    inbox__window_failed(&w, batch[0], 0, 10);
    ck_assert_uint_eq(take(10, batch, 1), 1);
    ck_assert_ptr_eq(batch[0], &item[0]); /* it is due, and goes first */
    inbox__window_again(&w, batch[0]);
    ck_assert_uint_eq(take(10, batch, 4), 3);
    ck_assert_ptr_eq(batch[0], &item[1]);
    ck_assert_ptr_eq(batch[1], &item[2]);
    ck_assert_ptr_eq(batch[2], &item[0]);
    for (int i = 0; i < 3; i++)
        inbox__window_done(&w, batch[i]);
    ck_assert_uint_eq(w.n_held_keys, 0);
}
END_TEST

Suite *suite_inbox_window(void);
Suite *suite_inbox_window(void)
{
    Suite *s = suite_create("inbox_window");
    TCase *tc = tcase_create("order");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_was_not_called_keeps_its_place);
    tcase_add_test(tc, one_that_has_failed_before_lets_others_pass_when_it_comes_back);
    suite_add_tcase(s, tc);
    return s;
}
