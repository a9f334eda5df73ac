/* test_inbox_passes.c - which errors of the database pass with time: the same on a new link, in a batch and at its
 * COMMIT; and how one that does not is put into words. Needs OUTBOX_TEST_DSN.
 */
#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

static const struct state {
    const char *sqlstate;
    bool passes;
} states[] = {
    { "08006", true },  /* a foreign server's link */
    { "25006", true },  /* a standby */
    { "40001", true },
    { "53100", true },  /* the disk is full */
    { "55P03", true },  /* a lock */
    { "57014", true },  /* cancelled */
    { "58030", true },  /* the disk fails */
    { "55000", false }, /* also what triggers raise that miss something */
    { "23505", false },
    { "42501", false },
};

static const struct logged one[N_PARTITIONS][MOST_RECORDS + 1] = { { { "a", "a-1", "event" } } };

/* Twice, for a sequence is not rolled back. */
static void fail_twice(const char *trigger, const char *sqlstate)
{
    rig_execf(control,
              "drop sequence if exists luck; create sequence luck; "
              "create or replace function unlucky() returns trigger language plpgsql set search_path from current "
              "as $$ begin "
              "if nextval('luck') <= 2 then raise exception 'not now' using errcode = '%s'; end if; "
              "return new; end $$; create %s for each row execute function unlucky()", sqlstate, trigger);
}

static void fail_no_more(void)
{
    rig_exec(control, "drop function if exists unlucky cascade; drop sequence if exists luck");
}

static void passing_setup(void)
{
    setup();
    fail_no_more();
}

static void passing_teardown(void)
{
    fail_no_more();
    teardown();
}

START_TEST(on_a_new_link)
{
    const struct state *s = &states[_i];
    int code;

    fail_twice("trigger unlucky before insert on inbox.consumer", s->sqlstate);
    new_consumer("3", "15m");
    code = try_to_link();
    ck_assert_msg((code == OUTBOX_OK) == s->passes, "%s: %d", s->sqlstate, code);
    if (s->passes)
        ck_assert(inbox__db_lost(c)); /* and another is made later */
    else
        ck_assert_str_eq(err.sqlstate, s->sqlstate);
    unlink_consumer();
}
END_TEST

START_TEST(in_a_batch)
{
    const struct state *s = &states[_i];
    int code;

    fail_twice("trigger unlucky before update of next_offset on inbox.position", s->sqlstate);
    in_log = one;
    end_ms = rig_now_ms() - 1000 * skipped_s + DEADLINE_MS;
    new_consumer("3", "15m");
    code = inbox_consumer_run(c, &err);
    ck_assert_msg((code == OUTBOX_OK) == s->passes, "%s: %d", s->sqlstate, code);
    ck_assert_str_eq(applied(), s->passes ? "a-1" : "");
    if (!s->passes)
        ck_assert_str_eq(err.sqlstate, s->sqlstate);
    inbox_consumer_free(c);
    skipped_s = stands_at.tv_sec = 0;
}
END_TEST

/* Else it is the event's fault, and its only attempt. */
START_TEST(at_commit)
{
    const struct state *s = &states[_i];

    fail_twice("constraint trigger unlucky after insert on applied deferrable initially deferred", s->sqlstate);
    in_log = one;
    new_consumer("1", "15m");
    run();
    ck_assert_str_eq(applied(), s->passes ? "a-1" : "");
    ck_assert_str_eq(rig_scalar(control, "select coalesce(min(error_code), '') from inbox.dead"),
                     s->passes ? "" : s->sqlstate);
}
END_TEST

/* Like any other that fails: it has had its luck. */
static const char *const own[] = { "40001", "40P01", "55P03", "57014" };

START_TEST(what_commit_meets_each_time_holds_back_its_key_only)
{
    rig_execf(control,
              "create function unlucky() returns trigger language plpgsql as $$ begin "
              "raise exception 'never' using errcode = '%s'; end $$; "
              "create constraint trigger unlucky after insert on applied deferrable initially deferred "
              "for each row when (new.event = 'a-1') execute function unlucky()", own[_i]);
    in_log = two;
    new_consumer("2", "15m");
    run();
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error) from inbox.dead"),
                     "attempts 2 at COMMIT: never");
    ck_assert_str_eq(rig_scalar(control, "select error_code from inbox.dead"), own[_i]);
}
END_TEST

static int a_1_only_reads(const inbox_message *msg)
{
    if (strcmp(msg->event_id, "a-1") == 0)
        rig_exec(c->conn, "set transaction read only");
    return INBOX_DONE;
}

/* The library writes in this transaction, too. */
START_TEST(a_handler_that_leaves_it_read_only_holds_back_its_key_only)
{
    in_log = two;
    behaves = a_1_only_reads;
    new_consumer("2", "15m");
    run();
    ck_assert_str_eq(applied(), "b-1");
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', reason, attempts, error_code, error) from inbox.dead"),
                     "attempts 2 25006 behind the handler: cannot execute SELECT FOR UPDATE in a read-only transaction");
}
END_TEST

static bool foreign; /* as if the database were of another encoding than UTF-8 */

FAKE(const char *, PQparameterStatus, (const PGconn *conn, const char *name))
{
    return foreign && strcmp(name, "server_encoding") == 0 ? "LATIN1" : __real_PQparameterStatus(conn, name);
}

static void expect_letter(const char *wanted)
{
    new_consumer("1", "15m");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, substring(error from 'Stra.*e')) from inbox.dead"),
                     wanted);
}

/* What it cannot store would keep the event from being put aside, for ever. */
START_TEST(words_of_an_error_are_such_as_the_database_takes)
{
    rig_exec(control, "create function unlucky() returns trigger language plpgsql as $$ begin "
                      "raise exception 'Stra\xc3\x9f" "e'; end $$; "
                      "create trigger unlucky before insert on applied for each row execute function unlucky()");
    in_log = one;
    expect_letter("dead 1 Stra\xc3\x9f" "e");
    rig_exec(control, "truncate inbox.dead, inbox.position, inbox.seen");
    foreign = true;
    expect_letter("dead 1 Stra??e");
    rig_exec(control, "update inbox.dead set state = 'retry', error = null");
    expect_letter("dead 2 Stra??e");
    foreign = false;
    rig_exec(control, "update inbox.dead set state = 'retry', error = null");
    expect_letter("dead 3 Stra\xc3\x9f" "e");
}
END_TEST

Suite *suite_inbox_passes(void);

Suite *suite_inbox_passes(void)
{
    enum { N_STATES = sizeof states / sizeof states[0] };
    Suite *suite = suite_create("inbox_passes");
    TCase *tc = tcase_create("passes");

    tcase_add_checked_fixture(tc, passing_setup, passing_teardown);
    tcase_add_loop_test(tc, on_a_new_link, 0, N_STATES);
    tcase_add_loop_test(tc, in_a_batch, 0, N_STATES);
    tcase_add_loop_test(tc, at_commit, 0, N_STATES);
    tcase_add_loop_test(tc, what_commit_meets_each_time_holds_back_its_key_only, 0, sizeof own / sizeof own[0]);
    tcase_add_test(tc, a_handler_that_leaves_it_read_only_holds_back_its_key_only);
    tcase_add_test(tc, words_of_an_error_are_such_as_the_database_takes);
    suite_add_tcase(suite, tc);
    return suite;
}
