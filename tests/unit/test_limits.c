/* test_limits.c - the size of a record as the broker counts it. That the broker counts so is shown by
 * tests/integration/test_kafka_tail.c; here each length at which a varint grows.
 */
#include <check.h>
#include <string.h>

#include "relay/sink/limits.h"

static char many[70000];

START_TEST(record_of_nothing)
{
    /* attributes, two differences, key, value and number of headers: a byte each; its length: one */
    struct row row = { .id = 1 };

    ck_assert_uint_eq(limits_record_bytes(&row, NULL, 0), 61 + 1 + 6);
}
END_TEST

START_TEST(record_lengths_are_zigzag_varints)
{
    static const struct {
        size_t payload, bytes;
    } want[] = {
        { 1, 61 + 1 + 6 + 1 },
        { 57, 61 + 1 + 6 + 57 },      /* body of 63: its length in one byte */
        { 58, 61 + 2 + 6 + 58 },      /* of 64: in two */
        { 63, 61 + 2 + 6 + 63 },
        { 64, 61 + 2 + 7 + 64 },      /* the length of the value in two */
        { 8184, 61 + 2 + 7 + 8184 },
        { 8185, 61 + 3 + 7 + 8185 },
        { 8191, 61 + 3 + 7 + 8191 },
        { 8192, 61 + 3 + 8 + 8192 },
        { 65536, 61 + 3 + 8 + 65536 },
    };

    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct row row = { .payload = many, .payload_len = want[i].payload };
        ck_assert_uint_eq(limits_record_bytes(&row, NULL, 0), want[i].bytes);
    }
}
END_TEST

START_TEST(record_counts_key_and_headers)
{
    struct row row = { .key = many, .key_len = 70, .payload = many, .payload_len = 10 };
    struct header headers[] = { { "a", "xyz", 3 }, { "longer", NULL, 0 }, { "", many, 100 } };
    size_t body = 3 + (2 + 70) + (1 + 10) + 1 + (1 + 1 + 1 + 3) + (1 + 6 + 1) + (1 + 0 + 2 + 100);

    ck_assert_uint_eq(limits_record_bytes(&row, headers, 3), 61 + 2 + body);
}
END_TEST

START_TEST(limit_is_unknown_until_answered)
{
    struct limits *l = limits_new();

    ck_assert_ptr_nonnull(l);
    ck_assert(!limits_too_large(l, 3, SIZE_MAX));
    limits_want(l, 3, "orders", 1000);
    limits_doubt(l, 3);
    limits_doubt(l, 1000);
    ck_assert_uint_eq(limits_of(l, 3), 0);
    ck_assert(!limits_too_large(l, 3, SIZE_MAX));
    limits_forget_question(l);
    limits_free(l);
}
END_TEST

Suite *suite_limits(void);
Suite *suite_limits(void)
{
    Suite *s = suite_create("limits");
    TCase *tc = tcase_create("limits");

    tcase_add_test(tc, record_of_nothing);
    tcase_add_test(tc, record_lengths_are_zigzag_varints);
    tcase_add_test(tc, record_counts_key_and_headers);
    tcase_add_test(tc, limit_is_unknown_until_answered);
    suite_add_tcase(s, tc);
    return s;
}
