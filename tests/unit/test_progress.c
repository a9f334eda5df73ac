/* test_progress.c - how far a command has come, where stderr is no terminal: standard error is kept
 * while a test runs. (replay.sh sees the bar of a terminal.)
 */
#include <check.h>
#include <string.h>

#include "relay/commands/progress.h"
#include "tests/rig/rig.h"

static struct progress p;

static void begin(void)
{
    rig_stderr_keep();
    progress_begin(&p, "outbox-relay replay", "replayed", 1000);
}

static void end(void)
{
    rig_stderr_release();
}

START_TEST(quick_work_says_nothing)
{
    progress_show(&p, 1000, 1, 10, 5);
    progress_show(&p, 10999, 9, 10, 50);
    progress_end(&p);
    ck_assert_str_eq(rig_stderr(), "");
}
END_TEST

START_TEST(a_line_every_ten_seconds)
{
    progress_show(&p, 11000, 250, 1000, 200);
    progress_show(&p, 20999, 300, 1000, 240);
    progress_show(&p, 21000, 1000, 1000, 800);
    progress_end(&p);
    ck_assert_str_eq(rig_stderr(), "outbox-relay replay: 25%, replayed 200, 20 a second\n"
                             "outbox-relay replay: 100%, replayed 800, 40 a second\n");
}
END_TEST

/* Ids are numbers up to 2^63, and a range may be empty. */
START_TEST(shares_of_huge_and_of_no_ranges)
{
    progress_show(&p, 11000, INT64_MAX / 2, INT64_MAX, 0);
    progress_show(&p, 31000, 0, 0, 0);
    ck_assert_str_eq(rig_stderr(), "outbox-relay replay: 50%, replayed 0, 0 a second\n"
                             "outbox-relay replay: 100%, replayed 0, 0 a second\n");
}
END_TEST

Suite *suite_progress(void);

Suite *suite_progress(void)
{
    Suite *s = suite_create("progress");
    TCase *tc = tcase_create("progress");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, quick_work_says_nothing);
    tcase_add_test(tc, a_line_every_ten_seconds);
    tcase_add_test(tc, shares_of_huge_and_of_no_ranges);
    suite_add_tcase(s, tc);
    return s;
}
