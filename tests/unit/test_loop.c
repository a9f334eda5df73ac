/* test_loop.c - the clock by which a lease ends, and signals. */
#include <check.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

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

START_TEST(signal_comes_through_though_a_descriptor_is_always_ready)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_int_eq(loop_signals(), 0);
    ck_assert_int_eq(raise(SIGHUP), 0);
    ck_assert_int_eq(raise(SIGTERM), 0);
    ck_assert(!loop_stop_requested());
    struct pollfd fd = { .fd = ends[0], .events = POLLIN };
    loop_wait(&fd, 1, UINT64_MAX);
    ck_assert_int_eq(fd.revents, POLLIN);
    ck_assert(loop_stop_requested());
    ck_assert(loop_reload_requested());
    close(ends[0]), close(ends[1]);
}
END_TEST

Suite *suite_loop(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("clock");

    tcase_add_test(tc, time_in_which_the_machine_is_suspended_counts);
    tcase_add_test(tc, signal_comes_through_though_a_descriptor_is_always_ready);
    suite_add_tcase(suite, tc);
    return suite;
}
