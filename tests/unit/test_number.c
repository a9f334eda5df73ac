/* test_number.c - has a reader of numbers that stops where it understands no more cut one? */
#include <check.h>

#include "lib/shared/number.h"

/* The second is what librdkafka says it has, after it was given the first. */
static const char *const cut[][2] = {
    { "60s", "60" },       { "60 s", "60" },    { "5s", "5" },     { "0,5", "0" },     { "1MiB", "1" },
    { "1000000B", "1000000" }, { "-1x", "-1" }, { " 7d", "7" },    { "0.5", "0" },     { "1e3", "1" },
    { "010000", "4096" },  { "99999999999", "1215752191" }, { "+5s", "5" }, { "0.5s", "0.5" },
    { "0x3e8", "1000" },   { "0x", "0" },       { "1e3", "1000" }, { "5.5", "5" },     { "1.2.3", "1.2" },
};

static const char *const taken_whole[][2] = {
    { "60", "60" },         { "-1", "-1" },     { "+5", "5" },     { "5 ", "5" },      { " 5", "5" },
    { "0.5", "0.5" },       { "5.0", "5" },     { "007", "7" },    { "0.12345678", "0.123457" },
    { "12345.6789", "12345.7" }, { "1", "true" }, { "0", "false" }, { "7 dwarfs", "7 dwarfs" },
    { "0.10.0", "0.10.0" }, { "127.0.0.1:9092", "127.0.0.1:9092" }, { "all", "-1" }, { "", "0" },
    { "-", "0" },           { "0", "0" },       { "1a", "" },      { "00", "0" },
    { "0.00001", "1e-05" }, { "9x", "9y" },     { "5x", "5.x" },
};

START_TEST(what_was_cut_is_seen)
{
    ck_assert_msg(number_was_cut(cut[_i][0], cut[_i][1]), "\"%s\" for \"%s\"", cut[_i][1], cut[_i][0]);
}
END_TEST

START_TEST(what_was_taken_whole_is_let_alone)
{
    ck_assert_msg(!number_was_cut(taken_whole[_i][0], taken_whole[_i][1]), "\"%s\" for \"%s\"",
                  taken_whole[_i][1], taken_whole[_i][0]);
}
END_TEST

Suite *suite_number(void);
Suite *suite_number(void)
{
    Suite *s = suite_create("number");
    TCase *tc = tcase_create("cut");

    tcase_add_loop_test(tc, what_was_cut_is_seen, 0, sizeof cut / sizeof cut[0]);
    tcase_add_loop_test(tc, what_was_taken_whole_is_let_alone, 0, sizeof taken_whole / sizeof taken_whole[0]);
    suite_add_tcase(s, tc);
    return s;
}
