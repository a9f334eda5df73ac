/* test_inbox_owner.c - whose a partition is, in the database: claimed, given up, and not waited for. Needs
 * OUTBOX_TEST_DSN.
 */
#include "tests/integration/inbox_run.h"
#include "tests/integration/inbox_log.h"

static struct inbox__partition mine = { .topic = "nth" };

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
    ck_assert(!inbox__db_claim(c, &mine, &place));
    ck_assert(!inbox__db_lost(c));
    PQfinish(owner);
    unlink_consumer();
}
END_TEST

/* The group waits for what is given up, and who stops the consumer does, too. */
START_TEST(giving_up_does_not_wait_for_who_holds_the_row)
{
    PGconn *somebody = rig_connect();

    rig_exec(control, "insert into inbox.position (consumer, topic, kafka_partition, next_offset, owner) "
                      "values ('run', 'nth', 0, 7, 'me')");
    link_consumer();
    rig_exec(somebody, "begin; select from inbox.position for update");
    ck_assert(!inbox__db_release(c, &mine));
    ck_assert_msg(strstr(said, "says still that nth/0 is here") != NULL, "%s", said);
    rig_exec(somebody, "rollback");
    PQfinish(somebody);
    ck_assert(inbox__db_release(c, &mine));
    ck_assert_str_eq(rig_scalar(control, "select coalesce(owner, '-') from inbox.position"), "-");
    unlink_consumer();
}
END_TEST

START_TEST(giving_up_what_is_gone_says_that_it_is)
{
    link_consumer();
    rig_exec(control, "alter table inbox.position rename to position_away");
    ck_assert(!inbox__db_release(c, &mine));
    ck_assert_msg(strstr(said, "the tables of the inbox are gone from the database") != NULL, "%s", said);
    rig_exec(control, "alter table inbox.position_away rename to position");
    unlink_consumer();
}
END_TEST

/* The same, of who has changed dedupe_keep by hand and not committed. */
START_TEST(a_new_link_does_not_wait_for_who_holds_its_row)
{
    PGconn *somebody = rig_connect();

    rig_exec(control, "insert into inbox.consumer (name) values ('run')");
    rig_exec(somebody, "begin; update inbox.consumer set dedupe_keep = '1 day'");
    new_consumer("3", "15m");
    ck_assert_int_eq(try_to_link(), OUTBOX_OK);
    ck_assert(inbox__db_lost(c));
    rig_exec(somebody, "rollback");
    PQfinish(somebody);
    c->connect_due_ms = 0;
    ck_assert_int_eq(try_to_link(), OUTBOX_OK);
    ck_assert(!inbox__db_lost(c));
    unlink_consumer();
}
END_TEST

START_TEST(a_claim_says_whether_anybody_was_the_owner)
{
    struct inbox__place place;

    link_consumer();
    ck_assert(inbox__db_claim(c, &mine, &place));
    ck_assert(!place.owned && place.next == -1);
    ck_assert(inbox__db_claim(c, &mine, &place)); /* as after an answer that was lost */
    ck_assert(place.owned);
    inbox__db_release(c, &mine);
    ck_assert(inbox__db_claim(c, &mine, &place));
    ck_assert(!place.owned);
    rig_exec(control, "update inbox.position set owner = 'gone'");
    ck_assert(inbox__db_claim(c, &mine, &place));
    ck_assert(place.owned);
    unlink_consumer();
}
END_TEST

Suite *suite_inbox_owner(void);
Suite *suite_inbox_owner(void)
{
    Suite *s = suite_create("inbox_owner");
    TCase *tc = tcase_create("owner");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_partition_that_is_given_up_has_no_call_of_ours);
    tcase_add_test(tc, a_claim_does_not_wait_for_an_owner_that_stands_still);
    tcase_add_test(tc, giving_up_does_not_wait_for_who_holds_the_row);
    tcase_add_test(tc, giving_up_what_is_gone_says_that_it_is);
    tcase_add_test(tc, a_new_link_does_not_wait_for_who_holds_its_row);
    tcase_add_test(tc, a_claim_says_whether_anybody_was_the_owner);
    suite_add_tcase(s, tc);
    return s;
}
