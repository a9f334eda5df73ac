/* test_held_keys.c - the set of keys that have rows in outbox.held, beside a simple model of it. */
#include <check.h>
#include <stdlib.h>

#include "relay/core/held.h"
#include "lib/shared/retry.h"

static struct held_keys h;

static void begin(void)
{
    h = (struct held_keys){ .all = false };
}

static void end(void)
{
    held_keys_deinit(&h);
}

/* Every place holds a key that is found there, and as many as are counted. */
static void check_set(void)
{
    uint32_t n = 0;

    for (const uint64_t *key = NULL; (key = hashtable_next(&h.table, sizeof *key, key)) != NULL; n++)
        ck_assert(held_keys_has(&h, *key));
    ck_assert_uint_eq(n, h.table.n);
    ck_assert_uint_le(h.table.n, h.table.cap / 2);
    ck_assert_uint_eq(h.table.cap & (h.table.cap - 1), 0);
}

START_TEST(held_keys_are_none_at_first)
{
    ck_assert(!held_keys_has(&h, 1));
    held_keys_remove(&h, 1);
    held_keys_clear(&h);
    held_keys_deinit(&h);
    ck_assert_uint_eq(h.table.n, 0);
    ck_assert_ptr_null(h.table.place);
}
END_TEST

START_TEST(held_keys_have_what_was_added_until_it_is_removed)
{
    held_keys_add(&h, 7);
    held_keys_add(&h, 7);
    held_keys_add(&h, UINT64_MAX);
    ck_assert_uint_eq(h.table.n, 2);
    ck_assert(held_keys_has(&h, 7));
    ck_assert(held_keys_has(&h, UINT64_MAX));
    ck_assert(!held_keys_has(&h, 8));
    held_keys_remove(&h, 8);
    held_keys_remove(&h, 7);
    ck_assert_uint_eq(h.table.n, 1);
    ck_assert(!held_keys_has(&h, 7));
    ck_assert(held_keys_has(&h, UINT64_MAX));
}
END_TEST

/* Random operations: some keys all want one place or its neighbours, around the end of the table as
 * well, some are spread. */
START_TEST(held_keys_are_those_of_the_model)
{
    enum { N = 200, STEPS = 400, ROUNDS = 60 };
    uint64_t seed = (uint64_t)_i + 1, key[N];

    for (int round = 0; round < ROUNDS; round++) {
        bool there[N] = { false };
        uint32_t n = 0, n_keys = 1 + retry_random(&seed) % N;
        for (uint32_t i = 0; i < n_keys; i++)
            key[i] = _i % 2 == 0 ? (uint64_t)(i / 4 + 1) * 4096 + 4094 + i % 4
                                 : (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        for (int step = 0; step < STEPS; step++) {
            uint32_t i = retry_random(&seed) % n_keys;
            bool add = retry_random(&seed) % 100 < (round % 2 == 0 ? 70U : 45U);
            if (add)
                held_keys_add(&h, key[i]);
            else
                held_keys_remove(&h, key[i]);
            n = n + (add && !there[i]) - (!add && there[i]);
            there[i] = add;
            ck_assert_uint_eq(h.table.n, n);
            uint32_t n_wrong = 0;
            for (uint32_t j = 0; j < n_keys; j++)
                n_wrong += held_keys_has(&h, key[j]) != there[j];
            ck_assert_uint_eq(n_wrong, 0);
        }
        check_set();
        held_keys_clear(&h);
        ck_assert_uint_eq(h.table.n, 0);
        for (uint32_t j = 0; j < n_keys; j++)
            ck_assert(!held_keys_has(&h, key[j]));
    }
}
END_TEST

static uint64_t nth_key(uint32_t i)
{
    return (i + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
}

START_TEST(held_keys_grow_and_keep_what_they_have)
{
    enum { N = 10000 };

    for (uint32_t i = 0; i < N; i++) {
        held_keys_add(&h, nth_key(i));
        ck_assert_uint_le(h.table.n, h.table.cap / 2);
    }
    ck_assert_uint_eq(h.table.n, N);
    ck_assert_uint_le(h.table.cap, 4 * N);
    check_set();
    for (uint32_t i = 0; i < N; i++)
        ck_assert(held_keys_has(&h, nth_key(i)));
    ck_assert(!held_keys_has(&h, nth_key(N)));
    for (uint32_t i = 0; i < N; i += 2)
        held_keys_remove(&h, nth_key(i));
    for (uint32_t i = 0; i < N; i++)
        ck_assert(held_keys_has(&h, nth_key(i)) == (i % 2 == 1));
    check_set();
}
END_TEST

START_TEST(held_keys_give_their_memory_back_when_cleared)
{
    for (uint32_t i = 0; i < 1000; i++)
        held_keys_add(&h, nth_key(i));
    held_keys_clear(&h);
    ck_assert_ptr_null(h.table.place);
    ck_assert_uint_eq(h.table.cap, 0);
    held_keys_add(&h, 7);
    ck_assert_uint_le(h.table.cap, 64);
}
END_TEST

/* Beyond the limit every key counts as held, whatever is added or removed, until it is cleared. */
START_TEST(held_keys_are_all_keys_beyond_the_limit)
{
    for (uint32_t i = 0; i < HELD_KEYS_MAX; i++)
        held_keys_add(&h, nth_key(i));
    ck_assert(!h.all);
    ck_assert_uint_eq(h.table.n, HELD_KEYS_MAX);
    ck_assert(!held_keys_has(&h, nth_key(HELD_KEYS_MAX)));
    held_keys_add(&h, nth_key(0)); /* is there already */
    ck_assert(!h.all);
    held_keys_add(&h, nth_key(HELD_KEYS_MAX));
    ck_assert(h.all);
    ck_assert(held_keys_has(&h, nth_key(HELD_KEYS_MAX)));
    ck_assert(held_keys_has(&h, nth_key(HELD_KEYS_MAX + 1)));
    held_keys_remove(&h, nth_key(0)); /* who knows whether it is the only one */
    ck_assert(held_keys_has(&h, nth_key(0)));
    held_keys_clear(&h);
    ck_assert(!h.all);
    ck_assert(!held_keys_has(&h, nth_key(0)));
    held_keys_add(&h, nth_key(0));
    held_keys_remove(&h, nth_key(0));
    ck_assert(!held_keys_has(&h, nth_key(0)));
}
END_TEST

Suite *suite_held_keys(void);

Suite *suite_held_keys(void)
{
    Suite *suite = suite_create("held_keys");
    TCase *tc = tcase_create("held keys");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, held_keys_are_none_at_first);
    tcase_add_test(tc, held_keys_have_what_was_added_until_it_is_removed);
    tcase_add_loop_test(tc, held_keys_are_those_of_the_model, 0, 4);
    tcase_add_test(tc, held_keys_grow_and_keep_what_they_have);
    tcase_add_test(tc, held_keys_give_their_memory_back_when_cleared);
    tcase_add_test(tc, held_keys_are_all_keys_beyond_the_limit);
    suite_add_tcase(suite, tc);
    return suite;
}
