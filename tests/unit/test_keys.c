/* test_keys.c - the small tables and policies of the core: keys, topics, delays, the lease. */
#include <check.h>
#include <stdio.h>

#include "relay/core/keys.h"
#include "relay/core/lead.h"
#include "lib/shared/retry.h"
#include "relay/core/siphash.h"
#include "relay/core/topics.h"

/* -- keys ----------------------------------------------------------------------------------- */

static struct keys k;

static void begin(void)
{
    ck_assert_int_eq(keys_init(&k, 100), 0);
}

static void end(void)
{
    keys_deinit(&k);
}

START_TEST(keys_add_finds_the_entry_that_is_there)
{
    ck_assert_ptr_null(keys_find(&k, 7));
    keys_add(&k, 7)->n_suspects = 3;
    ck_assert_uint_eq(keys_add(&k, 7)->n_suspects, 3);
    ck_assert_uint_eq(k.table.n, 1);
    ck_assert_uint_eq(keys_find(&k, 7)->busy, NO_SLOT);
    ck_assert_ptr_null(keys_find(&k, 8));
}
END_TEST

START_TEST(keys_remove_leaves_no_trace)
{
    keys_add(&k, 7)->n_suspects = 3;
    keys_remove(&k, keys_find(&k, 7));
    ck_assert_ptr_null(keys_find(&k, 7));
    ck_assert_uint_eq(k.table.n, 0);
    ck_assert_uint_eq(keys_add(&k, 7)->n_suspects, 0);
}
END_TEST

START_TEST(keys_begin_with_nobody_waiting)
{
    const struct key_wait *wait;

    keys_add(&k, 7)->resuming = true;
    keys_find(&k, 7)->n_back = 2;
    keys_remove(&k, keys_find(&k, 7));
    wait = keys_add(&k, 7); /* the same place again */
    ck_assert(!wait->resuming);
    ck_assert_uint_eq(wait->n_back, 0);
    ck_assert_uint_eq(wait->parked.n, 0);
    ck_assert_uint_eq(wait->parked.head, NO_SLOT);
    ck_assert_uint_eq(wait->parked.tail, NO_SLOT);
    ck_assert_uint_eq(wait->behind.n, 0);
    ck_assert_uint_eq(wait->behind.head, NO_SLOT);
    ck_assert_uint_eq(wait->behind.tail, NO_SLOT);
}
END_TEST

START_TEST(keys_clear_forgets_all)
{
    for (uint64_t key = 1; key <= 100; key++)
        (void)keys_add(&k, key);
    keys_clear(&k);
    ck_assert_uint_eq(k.table.n, 0);
    for (uint64_t key = 1; key <= 100; key++)
        ck_assert_ptr_null(keys_find(&k, key));
}
END_TEST

/* Keys that all want one place or its neighbours, around the end of the table as well. */
static uint64_t neighbour(uint32_t i)
{
    return (uint64_t)(i / 4 + 1) * k.table.cap + (k.table.cap - 2) + i % 4;
}

START_TEST(keys_survive_any_order_of_removal_when_they_collide)
{
    enum { N = 40 };
    uint64_t seed = 1;

    for (int round = 0; round < 200; round++) {
        bool there[N] = { false };
        for (int step = 0; step < 200; step++) {
            uint32_t i = retry_random(&seed) % N, n_wrong = 0;
            if (there[i])
                keys_remove(&k, keys_find(&k, neighbour(i)));
            else
                keys_add(&k, neighbour(i))->n_suspects = i;
            there[i] = !there[i];
            for (uint32_t j = 0; j < N; j++) {
                const struct key_wait *found = keys_find(&k, neighbour(j));
                n_wrong += there[j] != (found != NULL) || (found != NULL && found->n_suspects != j);
            }
            ck_assert_uint_eq(n_wrong, 0);
        }
        keys_clear(&k);
    }
}
END_TEST

START_TEST(keys_take_as_many_as_promised)
{
    for (uint64_t key = 1; key <= 100; key++)
        (void)keys_add(&k, key * UINT64_C(0x9e3779b97f4a7c15));
    ck_assert_uint_eq(k.table.n, 100);
    ck_assert_uint_ge(k.table.cap, 200);
}
END_TEST

START_TEST(key_hash_tells_topic_from_key)
{
    const uint64_t secret[2] = { 1, 2 };

    ck_assert_uint_ne(key_hash(secret, 5, "", 0), key_hash(secret, 5, "\0", 1));
    ck_assert_uint_ne(key_hash(secret, 5, "x", 1), key_hash(secret, 6, "x", 1));
    ck_assert_uint_eq(key_hash(secret, 5, "x", 1), key_hash(secret, 5, "x", 1));
    ck_assert_uint_ne(key_hash(secret, 5, NULL, 0), 0);
}
END_TEST

/* With another secret all hashes are others. */
START_TEST(key_hash_cannot_be_foreseen)
{
    const uint64_t secret[2] = { 1, 2 }, other[2] = { 1, 3 }, another[2] = { 2, 2 };

    ck_assert_uint_ne(key_hash(secret, 5, "x", 1), key_hash(other, 5, "x", 1));
    ck_assert_uint_ne(key_hash(secret, 5, "x", 1), key_hash(another, 5, "x", 1));
}
END_TEST

/* The examples that its authors give: the bytes 0, 1, 2 and so on, under the key 0 to 15. */
START_TEST(siphash_is_as_published)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } known[] = { { 0, UINT64_C(0x726fdb47dd0e0e31) }, { 1, UINT64_C(0x74f839c593dc67fd) },
                  { 7, UINT64_C(0xab0200f58b01d137) }, { 8, UINT64_C(0x93f5f5799a932462) },
                  { 15, UINT64_C(0xa129ca6149be45e5) }, { 63, UINT64_C(0x958a324ceb064572) } };
    const uint64_t key[2] = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
    unsigned char bytes[64];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        ck_assert_uint_eq(siphash(key, bytes, known[i].len), known[i].hash);
}
END_TEST

/* -- topics --------------------------------------------------------------------------------- */

START_TEST(topics_get_dense_numbers_and_keep_them)
{
    struct topics t;
    char name[32];

    topics_init(&t);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 1000; i++) {
            (void)snprintf(name, sizeof name, "topic-%u", i);
            ck_assert_uint_eq(topics_intern(&t, name), i);
            ck_assert_str_eq(t.topic[i].name, name);
        }
    ck_assert_uint_eq(t.n, 1000);
    ck_assert_int_eq(t.topic[999].state, TOPIC_NEW);
    ck_assert_uint_eq(t.topic[999].pilot, NO_SLOT);
    ck_assert(!t.topic[999].held && !t.topic[999].more && !t.topic[999].returning);
    ck_assert_uint_eq(t.topic[999].n_back + t.topic[999].n_holding, 0);
    ck_assert_uint_eq(t.topic[999].parked.head, NO_SLOT);
    ck_assert_uint_eq(t.topic[999].behind.head, NO_SLOT);
    ck_assert_uint_eq(t.topic[999].behind.tail, NO_SLOT);
    ck_assert_uint_eq(t.n_held + t.n_paused, 0);
    topics_deinit(&t);
    topics_deinit(&t);
}
END_TEST

/* -- delays --------------------------------------------------------------------------------- */

START_TEST(retry_delay_doubles_up_to_the_cap)
{
    for (uint32_t attempt = 0; attempt < 10; attempt++) {
        uint64_t d = 100U << attempt < 5000U ? 100U << attempt : 5000;
        ck_assert_uint_eq(retry_delay_ms(100, 5000, attempt, 0), d);
        ck_assert_uint_eq(retry_delay_ms(100, 5000, attempt, UINT32_MAX), d / 2);
    }
}
END_TEST

START_TEST(retry_delay_stays_in_bounds_at_the_extremes)
{
    ck_assert_uint_eq(retry_delay_ms(100, 5000, UINT32_MAX, 0), 5000);
    ck_assert_uint_eq(retry_delay_ms(1, 1, 0, UINT32_MAX), 1); /* never 0 */
    ck_assert_uint_eq(retry_delay_ms(1, UINT64_C(1) << 31, UINT32_MAX, 0), UINT64_C(1) << 31);
    ck_assert_uint_eq(retry_delay_ms(9000, 5000, 0, 0), 5000); /* a base beyond the cap */
}
END_TEST

START_TEST(retry_delay_is_spread_over_its_upper_half)
{
    uint64_t state = 42, least = UINT64_MAX, most = 0;

    for (int i = 0; i < 10000; i++) {
        uint64_t d = retry_delay_ms(1000, 1000, 0, retry_random(&state));
        least = d < least ? d : least;
        most = d > most ? d : most;
    }
    ck_assert_uint_ge(least, 500);
    ck_assert_uint_le(least, 505);
    ck_assert_uint_le(most, 1000);
    ck_assert_uint_ge(most, 995);
}
END_TEST

/* splitmix64 from seed 0: the upper halves of its published first values. */
START_TEST(retry_random_is_splitmix64)
{
    uint64_t state = 0;

    ck_assert_uint_eq(retry_random(&state), 0xe220a839);
    ck_assert_uint_eq(retry_random(&state), 0x6e789e6a);
    ck_assert_uint_eq(retry_random(&state), 0x06c45d18);
}
END_TEST

/* -- the lease ------------------------------------------------------------------------------ */

START_TEST(lead_counts_its_time_from_the_question)
{
    struct lead l;

    lead_init(&l, 3000);
    ck_assert(!lead_holds(&l, 0));
    lead_asked(&l, 1000);
    lead_answered(&l, 1500, true);
    ck_assert(!l.asking);
    ck_assert_uint_eq(l.next_ms, 2500);
    ck_assert(lead_holds(&l, 3999));
    ck_assert(!lead_holds(&l, 4000));
    ck_assert(!lead_holds(&l, 3999)); /* once over, it stays over */
}
END_TEST

START_TEST(lead_keeps_what_it_has_when_there_is_no_answer)
{
    struct lead l;

    lead_init(&l, 3000);
    lead_asked(&l, 1000);
    lead_answered(&l, 1000, true);
    lead_asked(&l, 2000);
    lead_unanswered(&l, 2900);
    ck_assert_uint_eq(l.next_ms, 3150);
    ck_assert(lead_holds(&l, 3999));
    ck_assert(!lead_holds(&l, 4000));
}
END_TEST

START_TEST(lead_does_not_believe_an_answer_that_comes_too_late)
{
    struct lead l;

    lead_init(&l, 3000);
    lead_asked(&l, 1000);
    lead_answered(&l, 4000, true);
    ck_assert(!l.leading);
}
END_TEST

START_TEST(lead_ends_when_another_has_it)
{
    struct lead l;

    lead_init(&l, 600);
    lead_asked(&l, 1000);
    lead_answered(&l, 1000, true);
    ck_assert_uint_eq(l.next_ms, 1200); /* a third of a short lease */
    lead_asked(&l, 1200);
    lead_answered(&l, 1201, false);
    ck_assert(!lead_holds(&l, 1201));
}
END_TEST

Suite *suite_keys(void);

Suite *suite_keys(void)
{
    Suite *suite = suite_create("keys");
    TCase *tc = tcase_create("keys");
    TCase *rest = tcase_create("topics, delays, lease");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, keys_add_finds_the_entry_that_is_there);
    tcase_add_test(tc, keys_remove_leaves_no_trace);
    tcase_add_test(tc, keys_begin_with_nobody_waiting);
    tcase_add_test(tc, keys_clear_forgets_all);
    tcase_add_test(tc, keys_survive_any_order_of_removal_when_they_collide);
    tcase_add_test(tc, keys_take_as_many_as_promised);
    tcase_add_test(tc, keys_take_as_many_as_promised);
    tcase_add_test(tc, key_hash_tells_topic_from_key);
    tcase_add_test(tc, key_hash_cannot_be_foreseen);
    tcase_add_test(tc, siphash_is_as_published);
    suite_add_tcase(suite, tc);
    tcase_add_test(rest, topics_get_dense_numbers_and_keep_them);
    tcase_add_test(rest, retry_delay_doubles_up_to_the_cap);
    tcase_add_test(rest, retry_delay_stays_in_bounds_at_the_extremes);
    tcase_add_test(rest, retry_delay_is_spread_over_its_upper_half);
    tcase_add_test(rest, retry_random_is_splitmix64);
    tcase_add_test(rest, lead_counts_its_time_from_the_question);
    tcase_add_test(rest, lead_keeps_what_it_has_when_there_is_no_answer);
    tcase_add_test(rest, lead_does_not_believe_an_answer_that_comes_too_late);
    tcase_add_test(rest, lead_ends_when_another_has_it);
    suite_add_tcase(suite, rest);
    return suite;
}
