/* test_inbox_attempts.c - what libinbox counts as an attempt, when attempts and time are spent, and what it tells of
 * those that fail. Needs OUTBOX_TEST_DSN.
 */
#include <poll.h>
#include <sys/socket.h>

#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

/* -- what is spent ------------------------------------------------------------------------------ */

/* The group was away for an hour, after its process had been killed in the call of a-1. */
static void be_away_for_an_hour(int calls)
{
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) "
                      "values ('run', 'nth', 0, 0, 'gone')");
    rig_execf(control,
              "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, "
              "attempts, begun_by, first_begun_at) values ('run', 'nth', 0, 0, 'nth a-1', %d, 'gone', "
              "now() - interval '1 hour')", calls);
    in_log = two;
    skipped_s += 7200; /* the machine may not have been up for an hour */
    new_consumer("0", "15m");
    run();
}

START_TEST(time_alone_spends_no_event_after_one_call)
{
    be_away_for_an_hour(1);
    ck_assert_str_eq(applied(), "a-1 b-1");
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead"), 0);
}
END_TEST

START_TEST(time_and_two_calls_do)
{
    be_away_for_an_hour(2);
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_str_eq(rig_scalar(control, "select reason || ' ' || attempts from inbox.dead"), "time 2");
}
END_TEST

/* Eight calls have failed and returned, and now four are allowed. */
static void be_called_after_eight_failures(int (*is)(const inbox_message *msg))
{
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset) "
                      "values ('run', 'nth', 0, 0); "
                      "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts) "
                      "values ('run', 'nth', 0, 0, 'nth a-1', 8)");
    in_log = two;
    behaves = is;
    new_consumer("4", "15m");
    run();
}

static int a_1_fails(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") != 0)
        return INBOX_DONE;
    inbox_fail(msg, "no stock");
    return INBOX_RETRY;
}

static unsigned n_cut, attempt_of_a_1;

static int a_1_loses_two_links(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") != 0)
        return INBOX_DONE;
    attempt_of_a_1 = msg->attempt;
    if (n_cut++ < 2) {
        (void)shutdown(PQsocket(c->conn), SHUT_RDWR);
        PQclear(PQexec(c->conn, "select")); /* it is the call that meets it */
    }
    return INBOX_DONE;
}

/* Each time the call was written down before. */
START_TEST(links_that_are_lost_in_a_call_cost_no_attempt)
{
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset) "
                      "values ('run', 'nth', 0, 0); "
                      "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts) "
                      "values ('run', 'nth', 0, 0, 'nth a-1', 8)");
    in_log = two;
    n_cut = 0;
    behaves = a_1_loses_two_links;
    new_consumer("10", "15m");
    run();
    ck_assert_uint_eq(n_cut, 3);
    ck_assert_uint_eq(attempt_of_a_1, 9);
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead"), 0);
}
END_TEST

static int outcome_of_a_1;

/* As one that asks another service, while the server ends sessions that do nothing in a transaction. Nothing of this is
 * seen before the connection is used again. */
static int a_1_takes_too_long(const inbox_message *msg)
{
    struct pollfd last_words = { .fd = PQsocket(c->conn), .events = POLLIN };

    if (strcmp(msg->event_id, "a-1") != 0)
        return INBOX_DONE;
    rig_exec(c->conn, "set local idle_in_transaction_session_timeout = '20ms'");
    ck_assert_int_eq(poll(&last_words, 1, DEADLINE_MS), 1);
    return outcome_of_a_1;
}

static void run_over_long_calls(int which, const char *attempts, const char *total)
{
    static const int outcomes[] = { INBOX_DONE, INBOX_RETRY, INBOX_REJECT };

    in_log = two;
    outcome_of_a_1 = outcomes[which];
    behaves = a_1_takes_too_long;
    new_consumer(attempts, total);
    run();
    ck_assert_str_eq(applied(), "b-1");
}

START_TEST(a_link_that_is_lost_behind_each_call_holds_back_its_key_only)
{
    run_over_long_calls(_i, "2", "15m");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error) from inbox.dead"),
                     "attempts 2 the link to the database is lost each time its handler works");
}
END_TEST

/* That its time is up is found when nothing can be stored. */
START_TEST(and_not_for_longer_than_retry_total)
{
    run_over_long_calls(_i, "0", "1s");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, error) from inbox.dead"),
                     "time the link to the database is lost each time its handler works");
}
END_TEST

START_TEST(what_was_mended_while_nobody_ran_is_applied)
{
    be_called_after_eight_failures(is_done);
    ck_assert_str_eq(applied(), "a-1 b-1");
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead"), 0);
}
END_TEST

START_TEST(what_was_not_dies_with_its_reason)
{
    be_called_after_eight_failures(a_1_fails);
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error) from inbox.dead"),
                     "attempts 9 no stock");
}
END_TEST

/* -- what is said of failures ------------------------------------------------------------------- */

static char told[1000]; /* what the log says of failures, a line each */
static unsigned n_told, n_many, n_failed;
static uint64_t first_told_ms, last_told_ms;

static void tell(int level, const char *line, void *arg)
{
    size_t len = strlen(told);

    on_log(level, line, arg);
    n_many += strstr(line, "many attempts fail") != NULL;
    if (level > 4 || strstr(line, "nth/") != line)
        return;
    snprintf(told + len, sizeof told - len, "%s\n", line);
    last_told_ms = inbox__now_ms();
    first_told_ms = n_told++ == 0 ? last_told_ms : first_told_ms;
}

START_TEST(each_attempt_that_fails_is_told_with_what_comes_next)
{
    in_log = two;
    behaves = a_1_fails;
    told[0] = '\0';
    new_consumer("3", "15m");
    inbox_consumer_log(c, tell, NULL);
    run();
    ck_assert_str_eq(told, "nth/0@0 failed: attempt 1 of 3, next in 0.0 s, event a-1 of type event: no stock\n"
                           "nth/0@0 failed: attempt 2 of 3, next in 0.0 s, event a-1 of type event: no stock\n"
                           "nth/0@0 is a dead letter (attempts), the later ones of its key go on: no stock\n");
    ck_assert_str_eq(applied(), "b-1");
}
END_TEST

#define LONG_100 "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

static const struct logged of_odd_names[N_PARTITIONS][MOST_RECORDS + 1] = {
    { { "a", NULL, "event" }, { "b", LONG_100 "more", "event" } },
};

static int says_nothing(const inbox_message *msg)
{
    (void)msg;
    return INBOX_RETRY;
}

START_TEST(an_attempt_that_fails_is_told_whatever_the_event_is_called)
{
    const char why[] = "the handler asked for another try, and did not say why with inbox_fail()";
    char wanted[1000];

    in_log = of_odd_names;
    behaves = says_nothing;
    told[0] = '\0';
    new_consumer("2", "15m");
    inbox_consumer_log(c, tell, NULL);
    run();
    snprintf(wanted, sizeof wanted, "nth/0@0 failed: attempt 1 of 2, next in 0.0 s, type event: %s\n", why);
    ck_assert_msg(strstr(told, wanted) != NULL, "%s", told);
    snprintf(wanted, sizeof wanted, "nth/0@1 failed: attempt 1 of 2, next in 0.0 s, event %s of type event: %s\n",
             LONG_100, why);
    ck_assert_msg(strstr(told, wanted) != NULL, "%s", told);
}
END_TEST

static int returns_42(const inbox_message *msg)
{
    (void)msg;
    return 42;
}

START_TEST(what_is_no_outcome_is_told)
{
    in_log = of_odd_names;
    behaves = returns_42;
    told[0] = '\0';
    new_consumer("2", "15m");
    inbox_consumer_log(c, tell, NULL);
    run();
    ck_assert_msg(strstr(told, "nth/0@0 failed: attempt 1 of 2, next in 0.0 s, type event: the handler returned 42, which is "
                               "no outcome and is taken for INBOX_RETRY: INBOX_DONE is 0, INBOX_RETRY 1, INBOX_REJECT 2\n") != NULL,
                  "%s", told);
}
END_TEST

static const struct logged many[N_PARTITIONS][MOST_RECORDS + 1] = {
    { { "a", "a-1", "event" }, { "b", "b-1", "event" }, { "c", "c-1", "event" }, { "d", "d-1", "event" },
      { "e", "e-1", "event" }, { "f", "f-1", "event" } },
    { { "g", "g-1", "event" }, { "h", "h-1", "event" }, { "i", "i-1", "event" }, { "j", "j-1", "event" },
      { "k", "k-1", "event" }, { "l", "l-1", "event" } },
};

static int fails(const inbox_message *msg)
{
    (void)msg;
    n_failed++;
    return INBOX_RETRY;
}

static bool has_failed_often(void)
{
    return n_failed >= 600;
}

START_TEST(many_that_fail_are_not_all_told)
{
    uint64_t took_s;

    in_log = many;
    behaves = fails;
    is_over = has_failed_often;
    n_failed = n_told = n_many = 0;
    new_consumer("0", "365d");
    inbox_consumer_log(c, tell, NULL);
    clock_gettime(CLOCK_MONOTONIC, &stands_at); /* twelve in a second */
    run();
    took_s = (last_told_ms - first_told_ms) / 1000;
    ck_assert_uint_ge(took_s, 40);
    ck_assert_uint_ge(n_told, 400); /* after a while some are told again */
    ck_assert_uint_le(n_told, 100 * (took_s / 10 + 1));
    ck_assert_uint_ge(n_many, 4);
}
END_TEST

/* -- what the database undoes ------------------------------------------------------------------- */

static unsigned n_unlucky, n_to_be_unlucky;

static int meets_a_deadlock(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") == 0 && n_unlucky < n_to_be_unlucky) {
        n_unlucky++;
        PQclear(PQexec(c->conn, "do $$ begin raise exception 'deadlock detected' using errcode = '40P01'; end $$"));
    }
    return INBOX_DONE; /* in a transaction that has failed */
}

static void meet_deadlocks(unsigned n)
{
    in_log = two;
    behaves = meets_a_deadlock;
    n_unlucky = 0;
    n_to_be_unlucky = n;
    new_consumer("1", "15m");
    run();
}

START_TEST(a_deadlock_costs_no_attempt)
{
    meet_deadlocks(2);
    ck_assert_uint_eq(n_unlucky, 2);
    ck_assert_str_eq(applied(), "a-1 b-1");
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead"), 0);
}
END_TEST

START_TEST(a_deadlock_each_time_holds_back_its_key_only)
{
    meet_deadlocks(UINT32_MAX);
    ck_assert_uint_eq(n_unlucky, 3);
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error_code, error) from inbox.dead"),
                     "attempts 1 40P01 deadlock detected");
}
END_TEST

Suite *suite_inbox_attempts(void);

Suite *suite_inbox_attempts(void)
{
    Suite *suite = suite_create("inbox_attempts");
    TCase *tc = tcase_create("attempts");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, time_alone_spends_no_event_after_one_call);
    tcase_add_test(tc, time_and_two_calls_do);
    tcase_add_test(tc, links_that_are_lost_in_a_call_cost_no_attempt);
    tcase_add_loop_test(tc, a_link_that_is_lost_behind_each_call_holds_back_its_key_only, 0, 3);
    tcase_add_loop_test(tc, and_not_for_longer_than_retry_total, 0, 3);
    tcase_add_test(tc, what_was_mended_while_nobody_ran_is_applied);
    tcase_add_test(tc, what_was_not_dies_with_its_reason);
    tcase_add_test(tc, each_attempt_that_fails_is_told_with_what_comes_next);
    tcase_add_test(tc, an_attempt_that_fails_is_told_whatever_the_event_is_called);
    tcase_add_test(tc, what_is_no_outcome_is_told);
    tcase_add_test(tc, many_that_fail_are_not_all_told);
    tcase_add_test(tc, a_deadlock_costs_no_attempt);
    tcase_add_test(tc, a_deadlock_each_time_holds_back_its_key_only);
    suite_add_tcase(suite, tc);
    return suite;
}
