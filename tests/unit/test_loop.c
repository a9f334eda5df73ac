/* test_loop.c - the clock by which a lease ends. */
#include <check.h>
#include <time.h>

#include "relay/core/lead.h"
#include "relay/loop.h"
#include "tests/rig/fake.h"

Suite *suite_loop(void);

static time_t awake_s, suspended_s;

FAKE(int, clock_gettime, (clockid_t clock, struct timespec *ret_time))
{
    *ret_time = (struct timespec){ .tv_sec = awake_s + (clock == CLOCK_BOOTTIME ? suspended_s : 0) };
    return 0;
}

START_TEST(time_in_which_the_machine_is_suspended_counts)
{
    struct lead lead;

    awake_s = 1000;
    lead_init(&lead, 10000);
    lead_asked(&lead, loop_now_ms());
    lead_answered(&lead, loop_now_ms(), true);
    awake_s += 9;
    ck_assert(lead_holds(&lead, loop_now_ms()));
    suspended_s += 1;
    ck_assert(!lead_holds(&lead, loop_now_ms()));
}
END_TEST

Suite *suite_loop(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("clock");

    tcase_add_test(tc, time_in_which_the_machine_is_suspended_counts);
    suite_add_tcase(suite, tc);
    return suite;
}
