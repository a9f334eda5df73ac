/* test_id_table.c - event ids read from topics: found again, where they came first. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "relay/sink/id_table.h"

static void make_id(uint32_t n, uint8_t id[16])
{
    memset(id, 0, 16); /* differ in few bits, as ids of one millisecond may */
    memcpy(id + 12, &n, sizeof n);
}

START_TEST(id_table_finds_what_was_added)
{
    enum { N = 20000 };
    struct id_table t = { .place = NULL };
    uint8_t id[16];

    ck_assert_int_eq(id_table_reserve(&t, N), 0);
    for (uint32_t i = 0; i < N; i++) {
        make_id(2 * i, id);
        ck_assert(id_table_add(&t, id, (int32_t)(i % 7), i));
    }
    ck_assert_uint_eq(t.n, N);
    for (uint32_t i = 0; i < N; i++) {
        make_id(2 * i, id);
        const struct id_place *p = id_table_find(&t, id);
        ck_assert_ptr_nonnull(p);
        ck_assert_int_eq(p->partition, (int32_t)(i % 7));
        ck_assert_int_eq(p->offset, i);
        make_id(2 * i + 1, id);
        ck_assert_ptr_null(id_table_find(&t, id));
    }
    id_table_deinit(&t);
}
END_TEST

START_TEST(id_table_is_empty_at_first)
{
    struct id_table t = { .place = NULL };
    uint8_t id[16] = { 1 };

    ck_assert_ptr_null(id_table_find(&t, id));
    ck_assert(!id_table_add(&t, id, 0, 0));
    ck_assert_int_eq(id_table_reserve(&t, 0), 0);
    ck_assert_ptr_null(id_table_find(&t, id));
    id_table_deinit(&t);
}
END_TEST

START_TEST(id_table_keeps_ids_when_it_grows_and_takes_no_more_than_room)
{
    struct id_table t = { .place = NULL };
    uint8_t id[16];

    for (uint32_t n = 1; n <= 300; n++) {
        ck_assert_int_eq(id_table_reserve(&t, n), 0);
        make_id(n, id);
        ck_assert(id_table_add(&t, id, 1, n));
        make_id(n + 1, id);
        ck_assert(!id_table_add(&t, id, 1, n));
    }
    for (uint32_t n = 1; n <= 300; n++) {
        make_id(n, id);
        ck_assert_int_eq(id_table_find(&t, id)->offset, n);
    }
    ck_assert_int_eq(id_table_reserve(&t, 10), 0); /* never smaller */
    ck_assert_uint_eq(t.n, 300);
    ck_assert_int_eq(id_table_reserve(&t, UINT64_C(1) << 40), -1);
    ck_assert_uint_eq(t.n, 300);
    id_table_deinit(&t);
}
END_TEST

START_TEST(id_table_keeps_the_first_of_a_repeat)
{
    struct id_table t = { .place = NULL };
    uint8_t id[16] = { 9 };

    ck_assert_int_eq(id_table_reserve(&t, 1), 0);
    ck_assert(id_table_add(&t, id, 3, 20));
    ck_assert(id_table_add(&t, id, 3, 25));
    ck_assert_int_eq(id_table_find(&t, id)->offset, 20);
    ck_assert(id_table_add(&t, id, 3, 7));
    ck_assert_int_eq(id_table_find(&t, id)->offset, 7);
    ck_assert(id_table_add(&t, id, 4, 1));
    ck_assert_int_eq(id_table_find(&t, id)->partition, 3);
    ck_assert(id_table_add(&t, id, 2, 99));
    ck_assert_int_eq(id_table_find(&t, id)->partition, 2);
    ck_assert_int_eq(id_table_find(&t, id)->offset, 99);
    ck_assert_uint_eq(t.n, 1);
    id_table_deinit(&t);
}
END_TEST

START_TEST(id_parse_takes_uuids_only)
{
    static const uint8_t want[16] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                      0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87 };
    static const char *const bad[] = {
        "0123456789ab-cdef-f0e1-d2c3b4a59687-", "01234567-89ab-cdef-f0e1-d2c3b4a5968g",
        "01234567089ab-cdef-f0e1-d2c3b4a59687", "01234567-89ab-cdef-f0e1 d2c3b4a59687",
    };
    uint8_t id[16];

    ck_assert(id_parse("01234567-89ab-cdef-f0e1-d2c3b4a59687", 36, id));
    ck_assert_mem_eq(id, want, 16);
    ck_assert(id_parse("01234567-89AB-CDEF-F0E1-D2C3B4A59687", 36, id));
    ck_assert_mem_eq(id, want, 16);
    ck_assert(!id_parse("01234567-89ab-cdef-f0e1-d2c3b4a5968", 35, id));
    ck_assert(!id_parse(NULL, 36, id));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!id_parse(bad[i], 36, id), "%s", bad[i]);
}
END_TEST

Suite *suite_id_table(void);
Suite *suite_id_table(void)
{
    Suite *s = suite_create("id_table");
    TCase *tc = tcase_create("id_table");

    tcase_add_test(tc, id_table_finds_what_was_added);
    tcase_add_test(tc, id_table_is_empty_at_first);
    tcase_add_test(tc, id_table_keeps_ids_when_it_grows_and_takes_no_more_than_room);
    tcase_add_test(tc, id_table_keeps_the_first_of_a_repeat);
    tcase_add_test(tc, id_parse_takes_uuids_only);
    suite_add_tcase(s, tc);
    return s;
}
