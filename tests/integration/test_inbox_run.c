/* test_inbox_run.c - whole runs of libinbox with a log, a clock and tables that the test makes up: what earlier
 * owners left written down, a log that went back, a database that is away or forgets, events that nobody handles. Needs
 * OUTBOX_TEST_DSN.
 */
#include <stdlib.h>

#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

/* -- what an earlier owner left ----------------------------------------------------------------- */

static bool a_1_may_succeed;

static int waits_for_leave(const inbox_message *msg)
{
    return strcmp(msg->event_id, "a-1") != 0 || a_1_may_succeed ? INBOX_DONE : INBOX_RETRY;
}

static bool gives_leave(void)
{
    if (!a_1_may_succeed)
        a_1_may_succeed = rig_scalar_i64(control, "select count(*) from inbox.attempt where "
                                                  "kafka_offset = 1") == 0;
    return is_all_finished();
}

/* b-1 was applied, and its process killed before it could know; a-1 fails in front of it, so that the position
 * stands still. */
START_TEST(a_repeat_that_is_finished_leaves_no_call_behind)
{
    in_log = two;
    a_1_may_succeed = false;
    behaves = waits_for_leave;
    is_over = gives_leave;
    rig_exec(control,
             "insert into inbox.position (consumer, topic, kafka_partition, next_offset) values "
             "('run', 'nth', 0, 0); "
             "insert into inbox.seen (bucket, consumer, event_id) select bucket, 'run', 'nth b-1' "
             "from inbox.ring where is_current; "
             "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, "
             "attempts, begun_by) values ('run', 'nth', 0, 1, 'nth b-1', 1, 'gone')");
    new_consumer("0", "365d");
    run();
    ck_assert_str_eq(applied(), "a-1");
}
END_TEST

/* -- a log that went back ---------------------------------------------------------------------- */

static int64_t position_when_called;

static int looks_at_position(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") == 0)
        position_when_called = rig_scalar_i64(control, "select next_offset from inbox.position where "
                                                       "kafka_partition = 0");
    return INBOX_DONE;
}

/* Else the next owner would throw away what is written down of a call that ends its process: it would look finished
 * long ago. */
START_TEST(the_position_goes_back_before_the_first_event_is_called)
{
    in_log = two;
    behaves = looks_at_position;
    position_when_called = -1;
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) "
                      "values ('run', 'nth', 0, 1000, 'gone')");
    new_consumer("3", "15m");
    run();
    ck_assert_str_eq(applied(), "a-1 b-1");
    ck_assert_int_eq(position_when_called, 0);
}
END_TEST

/* -- a database that forgets ------------------------------------------------------------------- */

static bool has_failed_over;

static void cut_the_link(void)
{
    rig_exec(control, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                      "and application_name = 'inbox run'");
}

/* The standby that is promoted has not got the last transaction: that of b-1, while a-1 was held back, so that no
 * position tells. */
static void fail_over(void)
{
    count_polls();
    if (has_failed_over || rig_scalar_i64(control, "select count(*) from applied") == 0)
        return;
    has_failed_over = a_1_may_succeed = true;
    rig_exec(control, "truncate applied, inbox.seen");
    cut_the_link();
}

static void run_over_a_failover(void (*over)(void))
{
    in_log = two;
    has_failed_over = a_1_may_succeed = false;
    behaves = waits_for_leave;
    at_poll = over;
    new_consumer("0", "365d");
    run();
    ck_assert(has_failed_over);
}

START_TEST(what_the_database_has_lost_is_applied_again)
{
    run_over_a_failover(fail_over);
    ck_assert_str_eq(applied(), "a-1 b-1");
}
END_TEST

static void lose_the_link(void)
{
    count_polls();
    if (has_failed_over || rig_scalar_i64(control, "select count(*) from applied") == 0)
        return;
    has_failed_over = a_1_may_succeed = true;
    cut_the_link();
}

START_TEST(after_a_lost_link_alone_nothing_begins_again)
{
    run_over_a_failover(lose_the_link);
    ck_assert_str_eq(applied(), "b-1 a-1");
    ck_assert_uint_eq(n_received, 2);
}
END_TEST

/* As a new link finds it, so long after it was stored. Is it taken for lost? */
static bool is_said_to_be_lost(int64_t after_s)
{
    bool lost;

    link_consumer();
    snprintf(c->last_id, sizeof c->last_id, "nth emptied");
    c->last_id_ms = inbox__now_ms();
    skipped_s += after_s;
    inbox__db_close(c);
    ck_assert_int_eq(try_to_link(), OUTBOX_OK);
    ck_assert(!inbox__db_lost(c));
    lost = c->last_id[0] == '\0';
    unlink_consumer();
    skipped_s = 0; /* libcheck takes the time, too */
    return lost;
}

/* The ring may have turned over it, of a group that has had nothing to do for long. */
START_TEST(an_id_that_may_be_forgotten_is_not_missed)
{
    ck_assert(is_said_to_be_lost(3649LL * 24 * 3600));
    ck_assert(!is_said_to_be_lost(3650LL * 24 * 3600));
}
END_TEST

/* -- events that nobody handles ----------------------------------------------------------------- */

static const struct logged of_no_type[N_PARTITIONS][MOST_RECORDS + 1] = {
    { { "a", "a-1", "nobody's" } },
};

static void stop_at_the_thousandth(void)
{
    count_polls();
    if (n_polls == 1000)
        inbox_consumer_stop(c);
    ck_assert_msg(n_polls < 100000, "a stop is not seen while records come");
}

START_TEST(a_stop_is_seen_while_events_come_that_nobody_handles)
{
    in_log = of_no_type;
    endless = true;
    at_poll = stop_at_the_thousandth;
    new_consumer("3", "15m");
    run();
}
END_TEST

static void stop_when_the_position_moves(void)
{
    if (n_polls++ % 10000 != 0)
        return;
    count_polls();
    if (rig_scalar_i64(control, "select count(*) from inbox.position where next_offset > 0") > 0)
        inbox_consumer_stop(c);
}

START_TEST(positions_move_while_events_come_that_nobody_handles)
{
    in_log = of_no_type;
    endless = true;
    at_poll = stop_when_the_position_moves;
    new_consumer("3", "15m");
    run();
}
END_TEST

/* -- in the group, and out of it ------------------------------------------------------------------ */

static bool was_in_the_group;

static void be_without_a_database(void)
{
    count_polls();
    was_in_the_group = was_in_the_group || c->kafka != NULL;
    if (n_polls == 1000)
        inbox_consumer_stop(c);
}

START_TEST(who_has_no_database_does_not_join)
{
    in_log = two;
    at_poll = be_without_a_database;
    was_in_the_group = false;
    new_consumer("3", "15m");
    free(c->set.dsn);
    c->set.dsn = strdup("host=/nonexistent");
    run();
    ck_assert(!was_in_the_group);
}
END_TEST

static char *found_dsn;
static unsigned n_waits_said;

static void find_the_database_later(void)
{
    count_polls();
    if (skipped_s < 20 || found_dsn == NULL)
        return;
    free(c->set.dsn);
    c->set.dsn = found_dsn;
    found_dsn = NULL;
}

static void count_waits(int level, const char *line, void *arg)
{
    on_log(level, line, arg);
    n_waits_said += strstr(line, "has no partition of group") != NULL;
}

/* What was said of the first one, that it joins when there is a link, says nothing of the second. */
START_TEST(a_wait_in_the_group_is_told_behind_one_for_the_database)
{
    in_log = two;
    at_poll = find_the_database_later;
    assigned_from_s = 60;
    n_waits_said = 0;
    new_consumer("3", "15m");
    inbox_consumer_log(c, count_waits, NULL);
    found_dsn = c->set.dsn;
    c->set.dsn = strdup("host=/nonexistent");
    run();
    ck_assert_uint_eq(n_waits_said, 2);
}
END_TEST

/* The database is away from the first event that is applied on, for away_s. */
static int64_t away_s, lost_at_s, left_after_s; /* -1: not yet */
static char *away_from;

static void lose_the_database(void)
{
    count_polls();
    if (lost_at_s < 0 && rig_scalar_i64(control, "select count(*) from applied") > 0) {
        lost_at_s = skipped_s;
        away_from = c->set.dsn;
        c->set.dsn = strdup("host=/nonexistent");
        cut_the_link();
    }
    if (away_from == NULL)
        return;
    if (c->kafka == NULL && left_after_s < 0)
        left_after_s = skipped_s - lost_at_s;
    if (skipped_s - lost_at_s >= away_s) {
        free(c->set.dsn);
        c->set.dsn = away_from;
        away_from = NULL;
        a_1_may_succeed = true;
    }
}

static void run_without_a_database_for(int64_t seconds)
{
    in_log = two;
    a_1_may_succeed = false;
    behaves = waits_for_leave;
    at_poll = lose_the_database;
    lost_at_s = left_after_s = -1;
    n_joins = 0;
    away_s = seconds;
    away_from = NULL;
    new_consumer("0", "365d");
    run();
    ck_assert_int_ge(lost_at_s, 0);
    ck_assert_str_eq(applied(), "b-1 a-1");
}

START_TEST(a_database_that_is_away_for_a_while_moves_no_partition)
{
    run_without_a_database_for(PATIENCE_MS / 1000 - 10);
    ck_assert_uint_eq(n_joins, 1);
    ck_assert_int_eq(left_after_s, -1);
}
END_TEST

START_TEST(who_is_without_it_for_long_leaves_and_comes_back)
{
    run_without_a_database_for(600);
    ck_assert_uint_eq(n_joins, 2);
    ck_assert_msg(left_after_s >= PATIENCE_MS / 1000 && left_after_s <= PATIENCE_MS / 1000 + 15, "after %d s",
                  (int)left_after_s);
}
END_TEST

static void stop_when_it_lags(void)
{
    count_polls();
    if (c->published.lag == 7)
        inbox_consumer_stop(c);
}

START_TEST(who_has_left_the_group_has_no_lag)
{
    inbox_stats stats = INBOX_STATS_INIT;

    in_log = two;
    endless = true;
    has_lag = 7;
    at_poll = stop_when_it_lags;
    end_ms = rig_now_ms() - 1000 * skipped_s + DEADLINE_MS;
    new_consumer("3", "15m");
    ck_assert_int_eq(inbox_consumer_run(c, &err), OUTBOX_OK);
    has_lag = 0;
    skipped_s = 0; /* libcheck takes the time, too */
    inbox_consumer_stats(c, &stats);
    inbox_consumer_free(c);
    ck_assert_int_eq(stats.lag, 0);
}
END_TEST

/* -- databases that will not do ------------------------------------------------------------------- */

/* The host says why the run ended, which is all that there is to say. */
START_TEST(a_database_without_an_inbox_ends_the_run_and_nothing_else_is_told)
{
    int code;

    rig_exec(control, "alter schema inbox rename to inbox_away");
    in_log = two;
    new_consumer("3", "15m");
    said[0] = '\0';
    code = inbox_consumer_run(c, &err);
    rig_exec(control, "alter schema inbox_away rename to inbox");
    ck_assert_int_eq(code, OUTBOX_ESCHEMA);
    ck_assert_msg(strstr(err.message, "apply sql/002_inbox.up.sql") != NULL, "%s", err.message);
    ck_assert_str_eq(said, "");
    inbox_consumer_free(c);
}
END_TEST

START_TEST(a_policy_that_hides_the_version_is_no_old_schema)
{
    char dsn[400];
    int code;

    snprintf(dsn, sizeof dsn, "%s options='-c role=inbox_consumer'", rig_dsn());
    rig_exec(control, "alter table inbox.schema_version enable row level security");
    in_log = two;
    new_consumer_of(dsn, "3", "15m");
    code = inbox_consumer_run(c, &err);
    rig_exec(control, "alter table inbox.schema_version disable row level security");
    ck_assert_int_eq(code, OUTBOX_EDB);
    ck_assert_msg(strstr(err.message, "row-level security hides inbox.schema_version") != NULL, "%s", err.message);
    inbox_consumer_free(c);
}
END_TEST

START_TEST(a_server_that_only_reads_has_its_remedy)
{
    inbox_message msg = INBOX_MESSAGE_INIT;

    msg.topic = "orders";
    rig_exec(control, "begin read only");
    ck_assert_int_eq(inbox_accept(control, "billing", &msg, &err), OUTBOX_EDB);
    rig_exec(control, "rollback");
    ck_assert_str_eq(err.sqlstate, "25006");
    ck_assert_msg(strstr(err.message, "connect to the primary server, or begin the transaction READ WRITE") != NULL, "%s",
                  err.message);
}
END_TEST

/* Handlers are called in transactions that are begun READ WRITE; the library writes outside of these, too. */
START_TEST(a_role_that_reads_only_by_default_is_no_hindrance)
{
    char dsn[400];

    snprintf(dsn, sizeof dsn, "%s options='-c default_transaction_read_only=on'", rig_dsn());
    in_log = two;
    new_consumer_of(dsn, "3", "15m");
    run();
    ck_assert_str_eq(applied(), "a-1 b-1");
}
END_TEST

Suite *suite_inbox_run(void);

Suite *suite_inbox_run(void)
{
    Suite *suite = suite_create("inbox_run");
    TCase *tc = tcase_create("runs");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_repeat_that_is_finished_leaves_no_call_behind);
    tcase_add_test(tc, the_position_goes_back_before_the_first_event_is_called);
    tcase_add_test(tc, what_the_database_has_lost_is_applied_again);
    tcase_add_test(tc, after_a_lost_link_alone_nothing_begins_again);
    tcase_add_test(tc, an_id_that_may_be_forgotten_is_not_missed);
    tcase_add_test(tc, a_stop_is_seen_while_events_come_that_nobody_handles);
    tcase_add_test(tc, positions_move_while_events_come_that_nobody_handles);
    tcase_add_test(tc, who_has_no_database_does_not_join);
    tcase_add_test(tc, a_wait_in_the_group_is_told_behind_one_for_the_database);
    tcase_add_test(tc, a_database_that_is_away_for_a_while_moves_no_partition);
    tcase_add_test(tc, who_is_without_it_for_long_leaves_and_comes_back);
    tcase_add_test(tc, who_has_left_the_group_has_no_lag);
    tcase_add_test(tc, a_database_without_an_inbox_ends_the_run_and_nothing_else_is_told);
    tcase_add_test(tc, a_policy_that_hides_the_version_is_no_old_schema);
    tcase_add_test(tc, a_server_that_only_reads_has_its_remedy);
    tcase_add_test(tc, a_role_that_reads_only_by_default_is_no_hindrance);
    suite_add_tcase(suite, tc);
    return suite;
}
