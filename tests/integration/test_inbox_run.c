/* test_inbox_run.c - whole runs of libinbox with a log, a clock and tables that the test makes up: what earlier
 * owners left written down, a log that went back, events that nobody handles, dead letters whose caller is away.
 * Its statements about ownership by themselves, too. Kafka and the clock are faked: inbox_log.h. Needs OUTBOX_TEST_DSN.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include <libpq-fe.h>

#include "lib/inbox/db.h"
#include "tests/integration/inbox_log.h"
#include "tests/integration/inbox_run.h"

/* -- what is written down of calls ------------------------------------------------------------- */

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

/* -- dead letters that were sent back ------------------------------------------------------------ */

static const struct logged nothing[N_PARTITIONS][MOST_RECORDS + 1] = { { { NULL, NULL, NULL } } };
static uint64_t began_ms, ended_ms;

static void send_back(const char *called_by)
{
    rig_execf(control,
              "insert into inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, type, "
              "key, payload, header_names, header_values, state, reason, attempts, called_by) values "
              "('run', 'nth', 0, 0, 'nth z-1', 'event', 'z', 'p', '{ce_type,ce_id}', '{event,z-1}', "
              "'retry', 'attempts', 1, %s)", called_by);
    in_log = nothing;
    began_ms = inbox__now_ms();
    new_consumer("3", "15m");
}

static bool is_decided(void)
{
    return rig_scalar_i64(control, "select count(*) from inbox.dead where state = 'dead' and "
                                   "called_by is null") == 1;
}

/* Whoever calls the letter next must not take this process for one that died of it. */
START_TEST(a_call_that_was_refused_is_not_held_against_the_letter)
{
    rig_exec(control,
             "create function decide() returns trigger language plpgsql as $$ begin "
             "if new.called_by is not null then new.state := 'dead'; end if; return new; end $$; "
             "create trigger decide before update on inbox.dead for each row execute function decide()");
    is_over = is_decided;
    send_back("null");
    run();
    rig_exec(control, "drop function decide cascade");
    ck_assert_str_eq(applied(), "");
    ck_assert_int_eq(rig_scalar_i64(control, "select attempts from inbox.dead"), 1);
}
END_TEST

static void be_back_after_ten_seconds(void)
{
    count_polls();
    ended_ms = inbox__now_ms();
    if (ended_ms - began_ms >= 10000)
        rig_exec(control, "update inbox.dead set called_by = null where called_by = 'away'");
}

/* It lost its link, and has found it again. */
START_TEST(a_letter_waits_for_its_caller)
{
    at_poll = be_back_after_ten_seconds;
    send_back("'away'");
    run();
    ck_assert_str_eq(applied(), "z-1");
    ck_assert_uint_ge(ended_ms - began_ms, 10000);
}
END_TEST

static bool is_buried(void)
{
    ended_ms = inbox__now_ms();
    return is_decided();
}

START_TEST(a_letter_whose_caller_stays_away_is_dead_again)
{
    is_over = is_buried;
    send_back("'away'");
    run();
    ck_assert_str_eq(applied(), "");
    ck_assert_str_eq(rig_scalar(control, "select attempts || ' ' || error from inbox.dead"),
                     "2 its process ended while the handler worked");
    ck_assert_uint_ge(ended_ms - began_ms, 30000);
}
END_TEST

/* From the tenth second to the twentieth, and in every fourth of the time after. */
static bool is_looked_at(uint64_t s)
{
    return s >= 10 && (s < 20 || s % 4 == 0);
}

static PGconn *other; /* the link of another process */

static void look_too(void)
{
    count_polls();
    rig_exec(other, is_looked_at((inbox__now_ms() - began_ms) / 1000)
                        ? "select pg_try_advisory_lock(hashtext('inbox.redrive'), hashtext('run'))"
                        : "select pg_advisory_unlock_all()");
}

/* Who has the lock for long calls; who has it at times only looks, as this process does. */
START_TEST(others_that_look_do_not_make_a_letter_wait)
{
    other = rig_connect();
    at_poll = look_too;
    is_over = is_buried;
    send_back("'away'");
    run();
    PQfinish(other);
    ck_assert_str_eq(applied(), "");
    ck_assert_uint_ge(ended_ms - began_ms, 50000);
}
END_TEST

static void discard(void)
{
    rig_exec(control, "update inbox.dead set state = 'discarded'");
}

static int fails_and_is_discarded(const inbox_message *msg)
{
    (void)msg;
    after_rollback = discard;
    return INBOX_RETRY;
}

START_TEST(who_discards_a_letter_that_fails_is_not_overruled)
{
    behaves = fails_and_is_discarded;
    send_back("null");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, coalesce(called_by, '-')) "
                                         "from inbox.dead"), "discarded 1 -");
    ck_assert_msg(strstr(said, "failed") == NULL, "%s", said);
}
END_TEST

static unsigned n_calls;

static void hold(void)
{
    rig_exec(other, "begin; select from inbox.dead for update");
}

static int fails_and_is_held(const inbox_message *msg)
{
    (void)msg;
    if (n_calls++ == 0)
        after_rollback = hold;
    return INBOX_RETRY;
}

static void let_go(void)
{
    count_polls();
    if (PQtransactionStatus(other) == PQTRANS_INTRANS)
        rig_exec(other, "rollback");
}

/* It is called again. Whoever waited would wait until the server ends the other session, and the run fails. */
START_TEST(a_letter_whose_row_somebody_holds_is_not_waited_for)
{
    other = rig_connect();
    rig_exec(other, "set idle_in_transaction_session_timeout = '60s'");
    n_calls = 0;
    behaves = fails_and_is_held;
    at_poll = let_go;
    send_back("null");
    run();
    PQfinish(other);
    ck_assert_uint_eq(n_calls, 2);
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, coalesce(called_by, '-')) "
                                         "from inbox.dead"), "dead 2 -");
}
END_TEST

/* -- ownership ----------------------------------------------------------------------------------- */

static struct inbox__partition mine = { .topic = "nth" };

static void link_consumer(void)
{
    new_consumer("3", "15m");
    snprintf(c->owner, sizeof c->owner, "me");
    ck_assert_int_eq(inbox__db_tend(c, inbox__now_ms(), &err), OUTBOX_OK);
    ck_assert(!inbox__db_lost(c));
}

static void unlink_consumer(void)
{
    inbox__db_close(c);
    inbox_consumer_free(c);
}

/* Other processes count the time that it says so, and a batch may come first. */
START_TEST(a_new_link_takes_a_call_back_at_once)
{
    send_back("'me'");
    inbox_consumer_free(c);
    link_consumer();
    c->sent_back.called = rig_scalar_i64(control, "select id from inbox.dead");
    inbox__db_close(c);
    ck_assert_int_eq(inbox__db_tend(c, inbox__now_ms(), &err), OUTBOX_OK);
    ck_assert_int_eq(c->sent_back.called, 0);
    unlink_consumer();
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead where called_by is null"), 1);
}
END_TEST

/* Such as are ours still have returned, and then their transaction was repeated. */
START_TEST(a_partition_that_is_given_up_has_no_call_of_ours)
{
    rig_exec(control,
             "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) values "
             "('run', 'nth', 0, 0, 'me'), ('run', 'nth', 1, 0, 'me'); "
             "insert into inbox.attempt (consumer, topic, kafka_partition, kafka_offset, event_id, "
             "attempts, begun_by) values ('run', 'nth', 0, 0, 'e', 1, 'me'), ('run', 'nth', 0, 1, 'e', 3, 'me'), "
             "('run', 'nth', 0, 2, 'e', 2, null), ('run', 'nth', 0, 3, 'e', 1, 'other'), "
             "('run', 'nth', 1, 0, 'e', 1, 'me')");
    link_consumer();
    inbox__db_release(c, &mine);
    unlink_consumer();
    ck_assert_str_eq(rig_scalar(control, "select string_agg(concat_ws(' ', kafka_partition, kafka_offset, "
                                         "attempts, coalesce(begun_by, '-')), ', ' order by "
                                         "kafka_partition, kafka_offset) from inbox.attempt"),
                     "0 1 2 -, 0 2 2 -, 0 3 1 other, 1 0 1 me");
    ck_assert_str_eq(rig_scalar(control, "select string_agg(coalesce(owner, '-'), ' ' order by "
                                         "kafka_partition) from inbox.position"), "- me");
}
END_TEST

/* Kafka takes the partitions away from who does not poll. Without the time-out this waits for ever. */
START_TEST(a_claim_does_not_wait_for_an_owner_that_stands_still)
{
    PGconn *owner = rig_connect();
    struct inbox__place place = { .next = -1 };

    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) "
                      "values ('run', 'nth', 0, 7, 'gone')");
    link_consumer();
    rig_exec(owner, "begin; select from inbox.position for update");
    ck_assert(!inbox__db_claim(c, "nth", 0, &place));
    ck_assert(!inbox__db_lost(c));
    PQfinish(owner);
    unlink_consumer();
}
END_TEST

START_TEST(a_claim_says_whether_anybody_was_the_owner)
{
    struct inbox__place place;

    link_consumer();
    ck_assert(inbox__db_claim(c, "nth", 0, &place));
    ck_assert(!place.owned && place.next == -1);
    ck_assert(inbox__db_claim(c, "nth", 0, &place)); /* as after an answer that was lost */
    ck_assert(place.owned);
    inbox__db_release(c, &mine);
    ck_assert(inbox__db_claim(c, "nth", 0, &place));
    ck_assert(!place.owned);
    rig_exec(control, "update inbox.position set owner = 'gone'");
    ck_assert(inbox__db_claim(c, "nth", 0, &place));
    ck_assert(place.owned);
    unlink_consumer();
}
END_TEST

Suite *suite_inbox_run(void);

Suite *suite_inbox_run(void)
{
    Suite *suite = suite_create("inbox_run");
    TCase *tc = tcase_create("runs");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_repeat_that_is_finished_leaves_no_call_behind);
    tcase_add_test(tc, time_alone_spends_no_event_after_one_call);
    tcase_add_test(tc, time_and_two_calls_do);
    tcase_add_test(tc, the_position_goes_back_before_the_first_event_is_called);
    tcase_add_test(tc, a_stop_is_seen_while_events_come_that_nobody_handles);
    tcase_add_test(tc, positions_move_while_events_come_that_nobody_handles);
    tcase_add_test(tc, a_call_that_was_refused_is_not_held_against_the_letter);
    tcase_add_test(tc, a_letter_waits_for_its_caller);
    tcase_add_test(tc, a_letter_whose_caller_stays_away_is_dead_again);
    tcase_add_test(tc, others_that_look_do_not_make_a_letter_wait);
    tcase_add_test(tc, who_discards_a_letter_that_fails_is_not_overruled);
    tcase_add_test(tc, a_letter_whose_row_somebody_holds_is_not_waited_for);
    tcase_add_test(tc, a_new_link_takes_a_call_back_at_once);
    tcase_add_test(tc, a_partition_that_is_given_up_has_no_call_of_ours);
    tcase_add_test(tc, a_claim_does_not_wait_for_an_owner_that_stands_still);
    tcase_add_test(tc, a_claim_says_whether_anybody_was_the_owner);
    suite_add_tcase(suite, tc);
    return suite;
}
