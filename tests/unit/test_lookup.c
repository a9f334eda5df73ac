/* test_lookup.c - names are looked up beside the loop: what it waits for, for how long, and what it goes on with. */
#include <check.h>
#include <poll.h>
#include <string.h>

#include "lib/shared/lookup.h"
#include "relay/loop.h"
#include "tests/rig/name_servers.h"
#include "tests/rig/quiet.h"

#define DEADLINE_MS 10000

/* -- the loop ---------------------------------------------------------------------------------- */

static struct lookup lookup;
static uint64_t now_ms;

static int begin(const char *dsn)
{
    return outbox__lookup_begin(&lookup, dsn, now_ms, DEADLINE_MS);
}

/* Until the descriptor says that there is an end, and no time passes. */
static int until_answered(int rc)
{
    while (rc == 0) {
        struct pollfd p = { .fd = outbox__lookup_fd(&lookup), .events = POLLIN };
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
        rc = outbox__lookup_step(&lookup, now_ms);
    }
    return rc;
}

/* Nobody answers until then. */
static int at_the_deadline(void)
{
    ck_assert(lookup.waiting);
    now_ms = lookup.deadline_ms - 1;
    ck_assert_int_eq(outbox__lookup_step(&lookup, now_ms), 0);
    now_ms++;
    return outbox__lookup_step(&lookup, now_ms);
}

static void set_up(void)
{
    rig_quiet();
    memset(&lookup, 0, sizeof lookup);
    now_ms = loop_now_ms();
    mute = true;
    no_thread = false;
    n_asked = 0;
}

static void tear_down(void)
{
    outbox__lookup_deinit(&lookup); /* as at the end of the process: what hangs is left alone */
    answer_all();
}

START_TEST(without_names_the_dsn_is_as_it_was)
{
    static const char *const dsn[] = { "", "host=/tmp", "host=127.0.0.1", "host=a.mute hostaddr=10.0.0.1",
                                       "postgresql://10.0.0.1:6432/db", "host=a.mute,b hostaddr=10.0.0.1" };

    for (size_t i = 0; i < sizeof dsn / sizeof dsn[0]; i++) {
        ck_assert_msg(begin(dsn[i]) == 1, "%s", dsn[i]);
        ck_assert_ptr_null(lookup.lists.name);
        ck_assert(!lookup.waiting);
    }
    ck_assert_uint_eq(n_asked, 0);
}
END_TEST

START_TEST(all_addresses_are_tried_under_their_name)
{
    ck_assert_int_eq(until_answered(begin("postgresql://u:p@db:6432,127.0.0.1:1/x")), 1);
    ck_assert_str_eq(lookup.lists.name, "db,db,127.0.0.1");
    ck_assert_str_eq(lookup.lists.address, "10.0.0.1,10.0.0.2,");
    ck_assert_str_eq(lookup.lists.port, "6432,6432,1");
    ck_assert_str_eq(lookup.missing, "");
}
END_TEST

START_TEST(environment_counts_as_it_does_for_libpq)
{
    setenv("PGHOST", "db", 1);
    setenv("PGPORT", "77", 1);
    int rc = until_answered(begin("dbname=x"));
    unsetenv("PGHOST");
    unsetenv("PGPORT");
    ck_assert_int_eq(rc, 1);
    ck_assert_str_eq(lookup.lists.name, "db,db");
    ck_assert_str_eq(lookup.lists.port, "77,77");
}
END_TEST

START_TEST(name_that_is_not_known_is_said_as_libpq_says_it)
{
    ck_assert_int_eq(until_answered(begin("host=a.gone")), -1);
    ck_assert_str_eq(lookup.missing, "could not translate host name \"a.gone\" to address: Name or service not known");
    ck_assert_int_eq(until_answered(begin("host=a.gone,db port=1,2")), 1);
    ck_assert_str_eq(lookup.lists.port, "2,2");
    ck_assert_ptr_nonnull(strstr(lookup.missing, "a.gone"));
}
END_TEST

START_TEST(mute_server_ends_a_try_and_not_more)
{
    ck_assert_int_eq(begin("host=a.mute"), 0);
    ck_assert_uint_eq(lookup.deadline_ms, now_ms + DEADLINE_MS);
    ck_assert_int_eq(at_the_deadline(), -1);
    ck_assert_str_eq(lookup.missing, "could not translate host name \"a.mute\" to address: no answer in time");
    ck_assert(!lookup.waiting);
}
END_TEST

START_TEST(one_thread_serves_all_tries)
{
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(begin("host=a.mute"), 0);
        ck_assert_int_eq(at_the_deadline(), -1);
    }
    ck_assert_int_eq(begin("host=a.mute"), 0);
    answer_all();
    ck_assert_int_eq(until_answered(0), 1);
    ck_assert_str_eq(lookup.lists.name, "a.mute,a.mute");
    ck_assert_uint_eq(n_asked, 1);
}
END_TEST

/* So long after it came is the next try. */
static void answer_between_two_tries(uint64_t later_ms)
{
    ck_assert_int_eq(begin("host=a.mute"), 0);
    ck_assert_int_eq(at_the_deadline(), -1);
    answer_all();
    now_ms = loop_now_ms() + later_ms;
    ck_assert_int_eq(until_answered(begin("host=a.mute")), 1);
}

START_TEST(answer_that_came_between_two_tries_is_used)
{
    answer_between_two_tries(0);
    ck_assert_uint_eq(n_asked, 1);
}
END_TEST

START_TEST(host_behind_one_that_is_found_missing_late_is_used)
{
    ck_assert_int_eq(begin("host=a.mute.gone,db port=1,2"), 0);
    ck_assert_int_eq(at_the_deadline(), -1);
    answer_all();
    now_ms = loop_now_ms();
    ck_assert_int_eq(until_answered(begin("host=a.mute.gone,db port=1,2")), 1);
    ck_assert_str_eq(lookup.lists.port, "2,2");
    ck_assert_uint_eq(n_asked, 1);
}
END_TEST

START_TEST(old_answer_is_not_used)
{
    answer_between_two_tries(3600 * 1000);
    ck_assert_uint_eq(n_asked, 2);
}
END_TEST

START_TEST(host_that_is_known_does_not_wait_for_the_others)
{
    uint64_t began_ms = now_ms;

    ck_assert_int_eq(begin("host=127.0.0.1,a.mute port=1,2"), 0);
    ck_assert_int_eq(at_the_deadline(), 1);
    ck_assert_uint_lt(now_ms - began_ms, DEADLINE_MS / 2);
    ck_assert_str_eq(lookup.lists.name, "127.0.0.1");
    ck_assert_ptr_nonnull(strstr(lookup.missing, "\"a.mute\" to address: no answer in time"));
}
END_TEST

START_TEST(host_that_was_found_does_not_wait_either)
{
    ck_assert_int_eq(begin("host=db,a.mute port=1,2"), 0);
    while (lookup.deadline_ms == now_ms + DEADLINE_MS) {
        struct pollfd p = { .fd = outbox__lookup_fd(&lookup), .events = POLLIN };
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
        ck_assert_int_eq(outbox__lookup_step(&lookup, now_ms), 0);
    }
    ck_assert_int_eq(at_the_deadline(), 1);
    ck_assert_str_eq(lookup.lists.port, "1,1");
}
END_TEST

START_TEST(other_names_wait_for_the_thread_and_get_their_own)
{
    ck_assert_int_eq(begin("host=a.mute"), 0);
    ck_assert_int_eq(at_the_deadline(), -1);
    ck_assert_int_eq(begin("host=b.gone"), 0);
    ck_assert_int_eq(at_the_deadline(), -1);
    ck_assert_ptr_nonnull(strstr(lookup.missing, "\"b.gone\" to address: no answer in time"));
    ck_assert_int_eq(begin("host=b.gone"), 0);
    answer_all();
    ck_assert_int_eq(until_answered(0), -1);
    ck_assert_ptr_nonnull(strstr(lookup.missing, "Name or service not known"));
}
END_TEST

START_TEST(without_a_thread_libpq_looks_up)
{
    no_thread = true;
    ck_assert_int_eq(begin("host=db"), 1);
    ck_assert_ptr_null(lookup.lists.name);
    ck_assert(!lookup.waiting);
}
END_TEST

Suite *suite_lookup(void);

Suite *suite_lookup(void)
{
    Suite *s = suite_create("lookup");
    TCase *tc = tcase_create("names");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, without_names_the_dsn_is_as_it_was);
    tcase_add_test(tc, all_addresses_are_tried_under_their_name);
    tcase_add_test(tc, environment_counts_as_it_does_for_libpq);
    tcase_add_test(tc, name_that_is_not_known_is_said_as_libpq_says_it);
    tcase_add_test(tc, mute_server_ends_a_try_and_not_more);
    tcase_add_test(tc, one_thread_serves_all_tries);
    tcase_add_test(tc, answer_that_came_between_two_tries_is_used);
    tcase_add_test(tc, host_behind_one_that_is_found_missing_late_is_used);
    tcase_add_test(tc, old_answer_is_not_used);
    tcase_add_test(tc, host_that_is_known_does_not_wait_for_the_others);
    tcase_add_test(tc, host_that_was_found_does_not_wait_either);
    tcase_add_test(tc, other_names_wait_for_the_thread_and_get_their_own);
    tcase_add_test(tc, without_a_thread_libpq_looks_up);
    suite_add_tcase(s, tc);
    return s;
}
