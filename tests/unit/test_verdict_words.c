/* test_verdict_words.c - ages, counts and sizes as a person reads them. */
#include <check.h>

#include "relay/verdict.h"

START_TEST(verdict_ages)
{
    static const struct {
        double s;
        const char *text;
    } want[] = {
        { -1, "0.0 s" }, { 0.04, "0.0 s" }, { 9.94, "9.9 s" }, { 9.96, "10 s" }, { 59, "59 s" },
        { 60, "1 min" }, { 61.9, "1 min 1 s" }, { 600, "10 min" }, { 754, "12 min" }, { 3599, "59 min" },
        { 3600, "1 h" }, { 5400, "1 h 30 min" }, { 86400, "1 d" }, { 93600, "1 d 2 h" }, { 2e6, "23 d" },
    };
    char to[32];

    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ck_assert_str_eq(verdict_age(want[i].s, to, sizeof to), want[i].text);
}
END_TEST

START_TEST(verdict_counts)
{
    char to[32];

    ck_assert_str_eq(verdict_count(0, to, sizeof to), "0");
    ck_assert_str_eq(verdict_count(999, to, sizeof to), "999");
    ck_assert_str_eq(verdict_count(1000, to, sizeof to), "1,000");
    ck_assert_str_eq(verdict_count(-123456, to, sizeof to), "-123,456");
    ck_assert_str_eq(verdict_count(INT64_MAX, to, sizeof to), "9,223,372,036,854,775,807");
    ck_assert_str_eq(verdict_count(1234567, to, 4), "1,2");
}
END_TEST

START_TEST(verdict_sizes)
{
    static const struct {
        int64_t n;
        const char *text;
    } want[] = {
        { 0, "0 B" }, { 999, "999 B" }, { 1000, "1.0 KiB" }, { 32768, "32 KiB" }, { 10188, "9.9 KiB" },
        { 1048576, "1.0 MiB" }, { 83 << 20, "83 MiB" }, { 3LL << 40, "3.0 TiB" }, { 5000LL << 40, "5000 TiB" },
    };
    char to[32];

    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        ck_assert_str_eq(verdict_bytes(want[i].n, to, sizeof to), want[i].text);
}
END_TEST

Suite *suite_verdict_words(void);

Suite *suite_verdict_words(void)
{
    Suite *s = suite_create("verdict_words");
    TCase *tc = tcase_create("verdict_words");

    tcase_add_test(tc, verdict_ages);
    tcase_add_test(tc, verdict_counts);
    tcase_add_test(tc, verdict_sizes);
    suite_add_tcase(s, tc);
    return s;
}
