/* test_inbox_redrive.c - dead letters that were sent back: to whom a call belongs, whose caller is away, and who
 * decides meanwhile. Needs OUTBOX_TEST_DSN.
 */
#include <sys/socket.h>

#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

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

/* Other processes count the time that it says so, and a batch may come first. */
START_TEST(a_new_link_takes_a_call_back_at_once)
{
    send_back("'me'");
    inbox_consumer_free(c);
    link_consumer();
    c->sent_back.called = rig_scalar_i64(control, "select id from inbox.dead");
    inbox__db_close(c);
    ck_assert_int_eq(try_to_link(), OUTBOX_OK);
    ck_assert_int_eq(c->sent_back.called, 0);
    unlink_consumer();
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead where called_by is null"), 1);
}
END_TEST

static int n_unlucky; /* so many of the first */

static void be_unlucky(const char *errcode, const char *trigger)
{
    rig_execf(control,
              "drop sequence if exists luck; create sequence luck; "
              "create or replace function unlucky() returns trigger language plpgsql as $$ begin "
              "if nextval('luck') <= %d then raise exception 'bad luck' using errcode = '%s'; end if; "
              "return new; end $$; create %s for each row execute function unlucky()", n_unlucky, errcode, trigger);
}

static void be_lucky(void)
{
    rig_exec(control, "drop function if exists unlucky cascade; drop sequence if exists luck");
}

static void is_called_again_after(const char *sqlstate, const char *trigger)
{
    n_unlucky = 2;
    be_unlucky(sqlstate, trigger);
    send_back("null");
    run();
    be_lucky();
    ck_assert_str_eq(applied(), "z-1");
    ck_assert_int_eq(rig_scalar_i64(control, "select count(*) from inbox.dead"), 0);
}

START_TEST(a_letter_that_meets_a_deadlock_is_called_again)
{
    is_called_again_after("40P01", "trigger unlucky before insert on applied");
}
END_TEST

START_TEST(a_letter_whose_commit_meets_a_serialization_failure_is_called_again)
{
    is_called_again_after("40001", "constraint trigger unlucky after insert on applied deferrable initially deferred");
}
END_TEST

static char first_end[64];

static void mend_and_send_back(void)
{
    count_polls();
    if (first_end[0] != '\0' || !is_decided())
        return;
    snprintf(first_end, sizeof first_end, "%s",
             rig_scalar(control, "select concat_ws(' ', attempts, error_code, last_value) from inbox.dead, luck"));
    be_lucky();
    rig_exec(control, "update inbox.dead set state = 'retry'");
}

/* Another one waits behind it. It is dead for what it met, and who sends it back again is not told so of old. */
START_TEST(a_letter_that_meets_a_deadlock_each_time_is_dead_again)
{
    n_unlucky = 1000;
    first_end[0] = '\0';
    at_poll = mend_and_send_back;
    be_unlucky("40P01", "trigger unlucky before insert on applied");
    send_back("null");
    run();
    ck_assert_str_eq(first_end, "2 40P01 3");
    ck_assert_str_eq(applied(), "z-1");
}
END_TEST

static void hold_after_the_third_call(void)
{
    let_go();
    if (rig_scalar_i64(control, "select last_value from luck") == 2)
        after_rollback = hold;
}

/* The third time it could not be written down. No link was lost, and nobody is told so. */
START_TEST(a_letter_that_meets_deadlocks_while_its_row_is_held_is_dead_for_these)
{
    other = rig_connect();
    n_unlucky = 1000;
    at_poll = hold_after_the_third_call;
    is_over = is_decided;
    be_unlucky("40P01", "trigger unlucky before insert on applied");
    send_back("null");
    run();
    be_lucky();
    PQfinish(other);
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', attempts, error_code) from inbox.dead"), "2 40P01");
}
END_TEST

/* Nobody would gain by another try, so it is dead for this at once. */
START_TEST(a_letter_whose_commit_is_refused_is_dead_again)
{
    n_unlucky = 1000;
    be_unlucky("23514", "constraint trigger unlucky after insert on applied deferrable initially deferred");
    send_back("null");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, error_code, error, last_value) "
                                         "from inbox.dead, luck"), "dead 2 23514 COMMIT was refused 1");
    be_lucky();
    ck_assert_str_eq(applied(), "");
}
END_TEST

START_TEST(a_letter_of_a_type_without_a_handler_is_dead_again)
{
    send_back("null");
    rig_exec(control, "update inbox.dead set type = 'nobodys', header_values = '{nobodys,z-1}'");
    run();
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, error) from inbox.dead"),
                     "dead 2 no handler for its type");
}
END_TEST

static int outcome_of_it;

/* It is the end of the transaction that meets it. */
static int loses_the_link(const inbox_message *msg)
{
    (void)msg;
    n_calls++;
    (void)shutdown(PQsocket(c->conn), SHUT_RDWR);
    return outcome_of_it;
}

START_TEST(a_letter_behind_whose_calls_the_link_is_lost_is_dead_again)
{
    static const int outcomes[] = { INBOX_DONE, INBOX_RETRY, INBOX_REJECT };

    outcome_of_it = outcomes[_i];
    n_calls = 0;
    behaves = loses_the_link;
    send_back("null");
    run();
    ck_assert_uint_eq(n_calls, 3);
    ck_assert_str_eq(rig_scalar(control, "select concat_ws(' ', state, attempts, error) from inbox.dead"),
                     "dead 2 the link to the database is lost each time its handler works");
}
END_TEST

static int ends_the_transaction(const inbox_message *msg)
{
    (void)msg;
    rig_exec(c->conn, "commit");
    return INBOX_DONE;
}

static int leaves_a_query_that_waits(const inbox_message *msg)
{
    (void)msg;
    rig_exec(other, "select pg_advisory_lock(4711)");
    rig_exec(c->conn, "set lock_timeout = '20s'"); /* only this test cannot wait for ever */
    ck_assert_int_eq(PQsendQuery(c->conn, "select pg_advisory_lock(4711)"), 1);
    return INBOX_DONE;
}

/* Whoever waited for its end could wait for ever. */
START_TEST(a_handler_that_leaves_a_query_behind_ends_the_run_at_once)
{
    other = rig_connect();
    behaves = leaves_a_query_that_waits;
    send_back("null");
    end_ms = rig_now_ms() + DEADLINE_MS;
    ck_assert_int_eq(inbox_consumer_run(c, &err), INBOX_EHANDLER);
    rig_wait_scalar(other, "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and not granted", "1",
                    DEADLINE_MS);
    inbox_consumer_free(c);
    PQfinish(other);
}
END_TEST

static bool none_is_left(void)
{
    return rig_scalar_i64(control, "select count(*) from inbox.dead") == 0;
}

/* Else inbox.position would say that none was since the others died. */
START_TEST(a_letter_that_is_applied_is_an_event_that_was)
{
    is_over = none_is_left;
    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition) values ('run', 'nth', 0), ('run', 'nth', 1)");
    send_back("null");
    run();
    ck_assert_str_eq(applied(), "z-1");
    ck_assert_str_eq(rig_scalar(control, "select string_agg((applied_at is not null)::text, ' ' order by kafka_partition) "
                                         "from inbox.position where topic = 'nth' and kafka_partition < 2"), "true false");
}
END_TEST

/* And so it does with an event that is none. What comes after would not be one with the letter's end. */
START_TEST(a_handler_that_ends_the_transaction_of_a_letter_ends_the_run)
{
    behaves = ends_the_transaction;
    send_back("null");
    end_ms = rig_now_ms() + DEADLINE_MS;
    ck_assert_int_eq(inbox_consumer_run(c, &err), INBOX_EHANDLER);
    inbox_consumer_free(c);
    ck_assert_str_eq(rig_scalar(control, "select state from inbox.dead"), "retry");
}
END_TEST

Suite *suite_inbox_redrive(void);

Suite *suite_inbox_redrive(void)
{
    Suite *suite = suite_create("inbox_redrive");
    TCase *tc = tcase_create("runs");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_call_that_was_refused_is_not_held_against_the_letter);
    tcase_add_test(tc, a_letter_waits_for_its_caller);
    tcase_add_test(tc, a_letter_whose_caller_stays_away_is_dead_again);
    tcase_add_test(tc, others_that_look_do_not_make_a_letter_wait);
    tcase_add_test(tc, who_discards_a_letter_that_fails_is_not_overruled);
    tcase_add_test(tc, a_letter_whose_row_somebody_holds_is_not_waited_for);
    tcase_add_test(tc, a_new_link_takes_a_call_back_at_once);
    tcase_add_test(tc, a_letter_that_meets_a_deadlock_is_called_again);
    tcase_add_test(tc, a_letter_whose_commit_meets_a_serialization_failure_is_called_again);
    tcase_add_test(tc, a_letter_that_meets_a_deadlock_each_time_is_dead_again);
    tcase_add_test(tc, a_letter_that_meets_deadlocks_while_its_row_is_held_is_dead_for_these);
    tcase_add_test(tc, a_letter_whose_commit_is_refused_is_dead_again);
    tcase_add_test(tc, a_letter_of_a_type_without_a_handler_is_dead_again);
    tcase_add_test(tc, a_letter_that_is_applied_is_an_event_that_was);
    tcase_add_loop_test(tc, a_letter_behind_whose_calls_the_link_is_lost_is_dead_again, 0, 3);
    tcase_add_test(tc, a_handler_that_leaves_a_query_behind_ends_the_run_at_once);
    tcase_add_test(tc, a_handler_that_ends_the_transaction_of_a_letter_ends_the_run);
    suite_add_tcase(suite, tc);
    return suite;
}
