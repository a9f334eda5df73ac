/* test_inbox_failing.c - what inbox.attempt says of events whose handler fails, seen between the batches of whole runs
 * of libinbox. Needs OUTBOX_TEST_DSN.
 */
#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

static const struct logged one[N_PARTITIONS][MOST_RECORDS + 1] = { { { "a", "a-1", "event" } } };

/* -- what is seen ------------------------------------------------------------------------------- */

static char seen[2000]; /* each state of the table that was seen, in order, with "; " behind it */
static char last_seen[400];
static void (*looks_too)(void);

/* "-": there is no row. */
static void look(void)
{
    char now[400];
    size_t len = strlen(seen);

    count_polls();
    snprintf(now, sizeof now, "%s", rig_scalar(control,
             "select coalesce(string_agg(concat_ws(' ', event_id, attempts, case when begun_by is not null then 'begun' end,"
             " error_code, error, case when next_attempt_at >= last_failed_at + interval '4 s' then 'later' end), ', '"
             " order by kafka_offset), '-') from inbox.attempt"));
    if (strcmp(now, last_seen) != 0)
        snprintf(seen + len, sizeof seen - len, "%s; ", now);
    snprintf(last_seen, sizeof last_seen, "%s", now);
    if (looks_too != NULL)
        looks_too();
}

static void set_up(void)
{
    setup();
    seen[0] = last_seen[0] = '\0';
    looks_too = NULL;
    at_poll = look;
    settings[9] = "10s"; /* retry.base: half of it is chance */
    settings[11] = "1m";
}

/* -- handlers ----------------------------------------------------------------------------------- */

static int fail_with(const inbox_message *msg, const char *why)
{
    if (why != NULL)
        inbox_fail(msg, why);
    return INBOX_RETRY;
}

static int fail_in_sql(const char *sql)
{
    PQclear(PQexec(c->conn, sql));
    return INBOX_DONE; /* in a transaction that has failed */
}

static int a_1_fails_in_three_ways(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") != 0)
        return INBOX_DONE;
    switch (msg->attempt) {
    case 1: return fail_with(msg, "no stock");
    case 2: return fail_in_sql("select 1 / 0");
    case 3: return fail_with(msg, "no money");
    default: return INBOX_DONE;
    }
}

static int a_1_fails(const inbox_message *msg)
{
    return strcmp(msg->event_id, "a-1") == 0 ? fail_with(msg, "no stock") : INBOX_DONE;
}

static int fails_once(const inbox_message *msg)
{
    return msg->attempt == 1 ? fail_with(msg, msg->event_id) : INBOX_DONE;
}

/* -- what a row says ---------------------------------------------------------------------------- */

START_TEST(a_row_says_why_the_last_call_failed_from_the_first_on)
{
    in_log = two;
    behaves = a_1_fails_in_three_ways;
    new_consumer("10", "365d");
    run();
    ck_assert_str_eq(seen, "-; nth a-1 1 no stock later; nth a-1 2 22012 division by zero later; "
                           "nth a-1 3 no money later; -; ");
    ck_assert_str_eq(applied(), "b-1 a-1");
}
END_TEST

START_TEST(a_row_goes_with_the_dead_letter)
{
    in_log = two;
    behaves = a_1_fails;
    new_consumer("2", "365d");
    run();
    ck_assert_str_eq(seen, "-; nth a-1 1 no stock later; -; ");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error) from inbox.dead"),
                     "attempts 2 no stock");
}
END_TEST

static int fails_and_is_applied_elsewhere(const inbox_message *msg)
{
    rig_exec(control, "insert into inbox.seen (bucket, consumer, event_id) select bucket, 'run', 'nth a-1' from inbox.ring "
                      "where is_current");
    return fail_with(msg, "no stock");
}

START_TEST(a_row_goes_when_the_event_is_applied_elsewhere)
{
    in_log = one;
    behaves = fails_and_is_applied_elsewhere;
    new_consumer("10", "365d");
    run();
    ck_assert_str_eq(seen, "-; nth a-1 1 no stock later; -; ");
    ck_assert_str_eq(applied(), "");
}
END_TEST

/* In one batch, with savepoints. */
START_TEST(of_several_that_fail_together_each_has_its_own)
{
    static const struct logged three[N_PARTITIONS][MOST_RECORDS + 1] = {
        { { "c", "c-1", "event" }, { "a", "a-1", "event" }, { "b", "b-1", "event" } },
    };

    in_log = three;
    behaves = fails_once;
    new_consumer("10", "365d");
    run();
    ck_assert_msg(strstr(seen, "nth a-1 1 nth a-1") == NULL, "%s", seen);
    ck_assert_msg(strstr(seen, "; nth c-1 1 c-1 later; nth c-1 1 c-1 later, nth a-1 1 a-1 later, nth b-1 1 b-1 later; ") != NULL,
                  "%s", seen);
    ck_assert_str_eq(last_seen, "-");
}
END_TEST

/* The row of a call that began keeps what is known, and says that no time is set. */
static char row_in_call[200];

static void look_at_row(void)
{
    snprintf(row_in_call, sizeof row_in_call, "%s", rig_scalar(control,
             "select concat_ws(' ', attempts, begun_by is not null, error, last_failed_at is not null, next_attempt_at is null) "
             "from inbox.attempt"));
}

static int looks_at_its_row_when_called_again(const inbox_message *msg)
{
    if (msg->attempt == 1)
        return fail_with(msg, "no stock");
    look_at_row();
    return INBOX_DONE;
}

static int looks_at_its_row(const inbox_message *msg)
{
    (void)msg;
    look_at_row();
    return INBOX_DONE;
}

START_TEST(in_a_call_the_last_error_is_known_and_no_time)
{
    in_log = one;
    behaves = looks_at_its_row_when_called_again;
    new_consumer("10", "365d");
    run();
    ck_assert_str_eq(row_in_call, "2 t no stock t t");
}
END_TEST

/* Offsets begin again in a topic that was made anew. */
START_TEST(another_event_at_its_offset_has_nothing_of_it)
{
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) "
                      "values ('run', 'nth', 0, 0, 'gone'); "
                      "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts, "
                      "error_code, error, last_failed_at) values ('run', 'nth', 0, 0, 'nth x-1', 7, '23505', 'old', now())");
    in_log = one;
    behaves = looks_at_its_row;
    new_consumer("10", "365d");
    run();
    ck_assert_str_eq(seen, "nth x-1 7 23505 old; -; ");
    ck_assert_str_eq(row_in_call, "1 t f t");
}
END_TEST

START_TEST(a_failure_counts_over_a_restart)
{
    in_log = one;
    behaves = a_1_fails;
    looks_too = NULL;
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset) values ('run', 'nth', 0, 0); "
                      "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, attempts, "
                      "error, last_failed_at) values ('run', 'nth', 0, 0, 'nth a-1', 1, 'before', now())");
    new_consumer("3", "365d");
    run();
    ck_assert_str_eq(seen, "nth a-1 1 before; nth a-1 2 no stock later; -; ");
    ck_assert_int_eq(rig_scalar_i64(control, "select attempts from inbox.dead"), 3);
}
END_TEST

/* -- what is no failure ------------------------------------------------------------------------- */

static unsigned n_unlucky, n_to_be_unlucky;

static int meets_a_deadlock(const inbox_message *msg)
{
    (void)msg;
    return n_unlucky++ < n_to_be_unlucky
               ? fail_in_sql("do $$ begin raise exception 'deadlock detected' using errcode = '40P01'; end $$")
               : INBOX_DONE;
}

static void meet_deadlocks(unsigned n)
{
    in_log = one;
    behaves = meets_a_deadlock;
    n_unlucky = 0;
    n_to_be_unlucky = n;
    new_consumer("10", "365d");
    run();
}

START_TEST(what_is_repeated_for_the_sake_of_others_has_not_failed)
{
    meet_deadlocks(2);
    ck_assert_str_eq(seen, "-; ");
}
END_TEST

START_TEST(a_deadlock_each_time_is_a_failure)
{
    meet_deadlocks(3);
    ck_assert_str_eq(seen, "-; nth a-1 1 40P01 deadlock detected later; -; ");
}
END_TEST

/* -- what a note may not do --------------------------------------------------------------------- */

START_TEST(a_note_that_cannot_be_written_costs_nothing)
{
    rig_exec(control, "create function public.no_note() returns trigger language plpgsql as $$ begin raise exception "
                      "'no note'; end $$; create trigger no_note before insert on inbox.attempt for each row when "
                      "(new.begun_by is null) execute function public.no_note()");
    in_log = two;
    behaves = a_1_fails;
    new_consumer("3", "365d");
    run();
    rig_exec(control, "drop function public.no_note cascade");
    ck_assert_str_eq(seen, "-; nth a-1 2 no stock later; -; ");
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_int_eq(rig_scalar_i64(control, "select attempts from inbox.dead"), 3);
}
END_TEST

static PGconn *locker;

static int locks_the_table_and_fails(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") == 0 && msg->attempt == 1) {
        locker = rig_connect();
        rig_exec(locker, "begin; lock table inbox.attempt in share mode");
    }
    return a_1_fails(msg);
}

static void unlock_when_the_other_is_applied(void)
{
    if (locker == NULL || strstr(applied(), "b-1") == NULL)
        return;
    PQfinish(locker);
    locker = NULL;
}

/* Without the time-out this waits for ever. */
START_TEST(a_note_waits_for_no_lock)
{
    in_log = two;
    behaves = locks_the_table_and_fails;
    looks_too = unlock_when_the_other_is_applied;
    new_consumer("3", "365d");
    run();
    ck_assert_ptr_null(locker);
    ck_assert_str_eq(seen, "-; nth a-1 2 no stock later; -; ");
}
END_TEST

/* Somebody else has the partition by then, and has read the rows. */
static bool is_fenced;

static int is_fenced_in_the_call(const inbox_message *msg)
{
    if (is_fenced)
        return INBOX_DONE;
    is_fenced = true;
    rig_exec(control, "update inbox.position set owner = 'somebody else'");
    return fail_with(msg, "no stock");
}

static void give_it_back(void)
{
    if (is_fenced)
        rig_execf(control, "update inbox.position set owner = '%s' where owner = 'somebody else'", c->owner);
}

START_TEST(who_has_lost_the_partition_writes_none)
{
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset) values ('run', 'nth', 0, 0)");
    in_log = one;
    is_fenced = false;
    behaves = is_fenced_in_the_call;
    looks_too = give_it_back;
    new_consumer("10", "365d");
    run();
    ck_assert_str_eq(seen, "-; ");
    ck_assert_str_eq(applied(), "a-1");
}
END_TEST

/* -- when any was applied ----------------------------------------------------------------------- */

START_TEST(a_dead_letter_is_not_applied)
{
    in_log = one;
    behaves = a_1_fails;
    new_consumer("1", "365d");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', next_offset, applied_at is null) from inbox.position where kafka_partition = 0"), "1 t");
}
END_TEST

START_TEST(an_applied_event_moves_its_time)
{
    in_log = two;
    behaves = a_1_fails;
    new_consumer("1", "365d");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', next_offset, applied_at > claimed_at) from inbox.position where kafka_partition = 0"), "2 t");
}
END_TEST

Suite *suite_inbox_failing(void);

Suite *suite_inbox_failing(void)
{
    Suite *suite = suite_create("inbox_failing");
    TCase *tc = tcase_create("runs");

    tcase_add_checked_fixture(tc, set_up, teardown);
    tcase_add_test(tc, a_row_says_why_the_last_call_failed_from_the_first_on);
    tcase_add_test(tc, a_row_goes_with_the_dead_letter);
    tcase_add_test(tc, a_row_goes_when_the_event_is_applied_elsewhere);
    tcase_add_test(tc, of_several_that_fail_together_each_has_its_own);
    tcase_add_test(tc, in_a_call_the_last_error_is_known_and_no_time);
    tcase_add_test(tc, another_event_at_its_offset_has_nothing_of_it);
    tcase_add_test(tc, a_failure_counts_over_a_restart);
    tcase_add_test(tc, what_is_repeated_for_the_sake_of_others_has_not_failed);
    tcase_add_test(tc, a_deadlock_each_time_is_a_failure);
    tcase_add_test(tc, a_note_that_cannot_be_written_costs_nothing);
    tcase_add_test(tc, a_note_waits_for_no_lock);
    tcase_add_test(tc, who_has_lost_the_partition_writes_none);
    tcase_add_test(tc, a_dead_letter_is_not_applied);
    tcase_add_test(tc, an_applied_event_moves_its_time);
    suite_add_tcase(suite, tc);
    return suite;
}
