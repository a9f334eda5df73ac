/* test_held.c - what the source writes to outbox.held, and what a mark does there, also beside people and
 * former leaders. Against a real server; see holds.h.
 */
#include "relay/source/held_sql.h"
#include "relay/source/sql.h"
#include "tests/integration/holds.h"

/* -- holding -------------------------------------------------------------------------------- */

START_TEST(each_state_is_written_as_it_is_due)
{
    open_source();
    append("t/a t/a t/b t/ t/c");
    rig_exec(db, "insert into outbox.event (topic, type, available_at) values"
                 " ('t', 'x', '2100-01-01 00:00:00Z')");
    read_all();
    hold("1r60000 2b 3p 4d 6s");
    ck_assert_str_eq(held(), "1:retrying* 2:blocked 3:paused 4:dead 6:scheduled*");
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.held where next_attempt_at between"
                                    " now() + '50 s' and now() + '61 s'"), "1");
    ck_assert_str_eq(rig_scalar(db, "select next_attempt_at = '2100-01-01 00:00:00Z'"
                                    " from outbox.held where id = 6"), "t");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(format('%s,%s,%s,%s,%s', topic, key, attempts,"
                                    " error_code, first_error_at is null), ' ' order by id)"
                                    " from outbox.held where id in (1, 3, 4)"),
                     "t,\\x61,1,CODE,f t,\\x62,0,,t t,,1,CODE,f");
}
END_TEST

START_TEST(later_word_on_a_held_row_replaces_the_earlier_one)
{
    struct source_hold h = { .state = HOLD_RETRYING, .attempts = 2, .maybe = true, .delay_ms = 5,
                             .error_code = "FIRST", .error = "one" };

    open_source();
    append_and_read("t/a");
    h.row = rows[1];
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    rig_exec(db, "update outbox.held set first_error_at = '2020-01-01 00:00:00Z'");
    h = (struct source_hold){ .row = rows[1], .state = HOLD_DEAD, .attempts = 7 };
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s %s %s %s %s', state, attempts,"
                                    " maybe_delivered, error_code, error, first_error_at"
                                    " = '2020-01-01 00:00:00Z') from outbox.held"),
                     "dead 7 t FIRST one t");
    h.error_code = "SECOND";
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select error_code || error from outbox.held"), "SECONDone");
}
END_TEST

START_TEST(error_text_is_cut_and_made_fit_for_the_server)
{
    char text[2000];
    struct source_hold h = { .state = HOLD_DEAD, .error = text, .error_code = "\xff\xc3" };

    open_source();
    append_and_read("t/a");
    h.row = rows[1];
    memset(text, 'x', 499);
    strcpy(text + 499, "\xc3\xa4 and more");
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s', octet_length(error), error_code)"
                                    " from outbox.held"), "499 ??");
    strcpy(text, "a\xc3\xa4\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82");
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select error from outbox.held"),
                     "a\xc3\xa4???\xf0\x9f\x98\x80??");
}
END_TEST

START_TEST(sent_row_is_not_held_and_a_discarded_one_stays_so)
{
    open_source();
    append_and_read("t/a t/b t/b");
    mark("1");
    hold("1r 2d 3b");
    ck_assert_str_eq(held(), "2:dead 3:blocked");
    rig_exec(db, "update outbox.held set state = 'discarded' where id = 2");
    hold("2r 3b");
    ck_assert_str_eq(held(), "2:discarded 3:blocked*"); /* nothing is in front of 3 any more */
}
END_TEST

START_TEST(blocked_row_waits_for_the_row_in_front)
{
    open_source();
    append_and_read("t/a t/a t/a t/a t/b t/b");
    hold("2r60000 3b");
    ck_assert_str_eq(held(), "2:retrying* 3:blocked");
    hold("4b");
    hold("1b");
    ck_assert_str_eq(held(), "1:blocked* 2:retrying* 3:blocked 4:blocked");
    hold("5b 6b"); /* the first of its group, in one statement with the second */
    ck_assert_str_eq(held(), "1:blocked* 2:retrying* 3:blocked 4:blocked 5:blocked* 6:blocked");
}
END_TEST

START_TEST(row_behind_a_dead_one_waits_unless_dead_ones_are_skipped)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/b t/b t/c t/c");
    hold("1d");
    hold("2b");
    hold("3d 4b");
    ck_assert_str_eq(held(), skip ? "1:dead 2:blocked* 3:dead 4:blocked*"
                                  : "1:dead 2:blocked 3:dead 4:blocked");
    hold("5r 6b");
    hold("5d");
    ck_assert_str_eq(rig_scalar(db, "select next_attempt_at is not null from outbox.held"
                                    " where id = 6"), skip ? "t" : "f");
}
END_TEST

START_TEST(dead_row_that_is_skipped_frees_its_key)
{
    open_with(true);
    append_and_read("t/a t/a t/b t/ t/c");
    hold("1r 2b 3r");
    ck_assert_str_eq(freed, "");
    hold("1d 3d 4d 5p");
    ck_assert_str_eq(held(), "1:dead 2:blocked* 3:dead 4:dead 5:paused");
    ck_assert_str_eq(freed, "3");
}
END_TEST

START_TEST(dead_row_that_is_not_skipped_stays_in_front)
{
    open_source();
    append_and_read("t/a t/a t/b");
    hold("1r 2b 3r");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id = 3; "
                 "delete from outbox.held where id = 3");
    hold("1d 3d");
    ck_assert_str_eq(held(), "1:dead 2:blocked");
    ck_assert_str_eq(freed, "3");
}
END_TEST

START_TEST(row_that_leaves_its_group_lets_the_next_one_go)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    ck_assert_str_eq(due(), "1 2");
    ck_assert_int_eq(rows[1]->held_as, HELD_KEY);
    hold("1p");
    ck_assert_str_eq(held(), "1:paused 2:blocked*");
    ck_assert_str_eq(freed, "");
}
END_TEST

START_TEST(keys_are_any_bytes)
{
    static const char *const keys[] = { "null", "''::bytea", "'\\x00ff00'::bytea",
                                        "decode(repeat('ab', 4096), 'hex')",
                                        "decode(repeat('ab', 4095) || 'ac', 'hex')" };

    open_source();
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 5; k++)
            rig_execf(db, "insert into outbox.event (topic, type, key) values ('t', 'x', %s)",
                      keys[k]);
    read_all();
    hold("1r60000 2r60000 3r60000 4r60000 5r60000");
    hold("7b 8b 9b 10b");
    ck_assert_str_eq(held(), "1:retrying* 2:retrying* 3:retrying* 4:retrying* 5:retrying* "
                             "7:blocked 8:blocked 9:blocked 10:blocked");
    make_due("id = 2");
    make_due("id = 4");
    ck_assert_str_eq(due(), "2 4 7 9");
    ck_assert_uint_eq(rows[4]->key_len, 4096);
    mark("2h 7h 4h");
    ck_assert_str_eq(freed, "2");
    ck_assert_str_eq(held(), "1:retrying* 3:retrying* 5:retrying* 8:blocked 9:blocked* 10:blocked");
    open_source();
    ck_assert_uint_eq(n_loaded, 3); /* the one without a key is nobody's */
}
END_TEST

START_TEST(failed_hold_leaves_nothing_and_the_link_lives)
{
    open_source();
    append_and_read("t/a t/a");
    rig_exec(db, "alter table outbox.held add constraint no check (state <> 'blocked')");
    send_hold("1r 2b");
    wait_for(SOURCE_HOLD_FAILED);
    ck_assert_ptr_nonnull(strstr(last.why, "holding rows failed: "));
    ck_assert_str_eq(last.sqlstate, "23514");
    ck_assert_ptr_nonnull(strstr(last.remedy, "apply the migrations"));
    rig_exec(db, "alter table outbox.held drop constraint no");
    ck_assert_str_eq(held(), "");
    hold("1r 2b");
    ck_assert_str_eq(held(), "1:retrying* 2:blocked");
}
END_TEST

START_TEST(ten_thousand_rows_are_held_at_once)
{
    static struct source_hold holds[10000];

    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x',"
                 " (n % 1000)::text::bytea from generate_series(1, 10000) n");
    read_all();
    for (int i = 0; i < 10000; i++)
        holds[i] = (struct source_hold){ .row = rows[i + 1], .error = i < 1000 ? "why" : NULL,
                                         .state = i < 1000 ? HOLD_RETRYING : HOLD_BLOCKED };
    int64_t began = rig_now_ms();
    source_hold(src, now(), holds, 10000);
    wait_for(SOURCE_HELD);
    printf("10,000 rows held in %lld ms\n", (long long)(rig_now_ms() - began));
    ck_assert_str_eq(rig_scalar(db, "select string_agg(n::text, ' ' order by n) from (select count(*)"
                                    " n from outbox.held group by state, next_attempt_at is null) x"),
                     "1000 9000");
}
END_TEST

/* -- marking -------------------------------------------------------------------------------- */

START_TEST(mark_of_a_held_row_takes_it_out_and_the_next_one_goes)
{
    open_source();
    append_and_read("t/a t/a t/a t/b t/c t/");
    hold("1r 2b 3b 4r 6r");
    mark("1h 4h 5 6h");
    ck_assert_str_eq(sent(), "1 4 5 6");
    ck_assert_str_eq(held(), "2:blocked* 3:blocked");
    ck_assert_str_eq(freed, "4");
    mark("2h 3h");
    ck_assert_str_eq(held(), "");
    ck_assert_str_eq(freed, "2");
}
END_TEST

START_TEST(mark_that_is_there_already_still_takes_the_row_out)
{
    open_source();
    append_and_read("t/a t/a t/b");
    hold("1r 2b");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id = 1");
    mark("1h 3");
    ck_assert_str_eq(sent(), "1 3");
    ck_assert_str_eq(held(), "2:blocked*");
    ck_assert_str_eq(freed, "");
}
END_TEST

START_TEST(key_is_free_only_when_nothing_that_counts_is_held)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/a");
    hold("1r 2d 3p");
    mark("1h");
    ck_assert_str_eq(freed, skip ? "1" : "");
}
END_TEST

START_TEST(mark_follows_a_row_that_the_janitor_moved)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    rig_exec(db, "begin; insert into outbox.event_kept overriding system value"
                 " select xid, id, created_at, -1, event_id, schema_version, topic, key, type,"
                 " content_type, payload, headers, available_at from outbox.event where id <= 2;"
                 " update outbox.held set bucket = -1;"
                 " delete from outbox.event where bucket <> -1; commit");
    hold("1r60000");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(bucket::text, ' ') from outbox.held"), "-1 -1");
    mark("1h");
    ck_assert_str_eq(rig_scalar(db, "select state from outbox.event_status where id = 1"), "sent");
    ck_assert_str_eq(held(), "2:blocked*");
}
END_TEST

/* -- against people and former leaders ------------------------------------------------------ */

#define SQL_DISCARD "update outbox.held set state = 'discarded', next_attempt_at = null where id = 1"
#define SQL_PROMOTE                                                                                \
    "update outbox.held set next_attempt_at = now() where id = (select min(id) from outbox.held"   \
    " where state = 'blocked') and next_attempt_at is null"

/* Turns of the source until somebody waits for a lock, in either session. */
static void turn_until_waiting(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    while (rig_scalar_i64(db, "select count(*) from pg_locks where not granted") == 0) {
        ck_assert(!turn(src, type, 1));
        ck_assert_msg(rig_now_ms() < end_ms, "timed out: nobody waits for a lock");
    }
}

/* The hold comes while a person's discard of the row in front is not committed yet: it does not wait,
 * and whichever way that ends, the new row is not forgotten. */
START_TEST(blocked_row_survives_a_discard_that_began_before)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1d");
    rig_exec(a, "begin; " SQL_DISCARD);
    hold("2b");
    rig_exec(a, SQL_PROMOTE);
    rig_exec(a, _i == 0 ? "commit" : "rollback");
    ck_assert_str_eq(held(), _i == 0 ? "1:discarded 2:blocked*" : "1:dead 2:blocked*");
    ck_assert_str_eq(due(), _i == 0 ? "2" : "");
}
END_TEST

/* The hold is in the midst of its transaction when the discard comes: the discard waits, and sees it. */
START_TEST(blocked_row_survives_a_discard_that_began_later)
{
    open_source();
    append_and_read("t/a t/a t/b");
    hold("1d 3p");
    /* the insert of row 2 waits for this one, after row 1 was locked */
    rig_exec(a, "begin; insert into outbox.held (id, bucket, topic, state) values (2, 0, 't', 'dead')");
    hold_waits = true;
    send_hold("2b");
    turn_until_waiting(SOURCE_HELD);
    ck_assert_int_eq(PQsendQuery(b, SQL_DISCARD), 1);
    rig_wait_scalar(db, "select count(*) from pg_locks where not granted", "2", RIG_DEADLINE_MS);
    rig_exec(a, "rollback");
    wait_for(SOURCE_HELD);
    for (PGresult *res; (res = PQgetResult(b)) != NULL; PQclear(res))
        ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    ck_assert_str_eq(held(), "1:discarded 2:blocked 3:paused");
    rig_exec(b, SQL_PROMOTE);
    ck_assert_str_eq(held(), "1:discarded 2:blocked* 3:paused");
}
END_TEST

/* Each pair of those that are marked together would be nine million. */
START_TEST(many_rows_leave_at_the_cost_of_each)
{
    rig_exec(db, "insert into outbox.event (topic, type) select 't', 'x' from generate_series(1, 3000); "
                 "insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'paused' from outbox.event; "
                 "analyze outbox.held; "
                 "create function public.ids() returns bigint[] language sql as "
                 "'select array_agg(id order by id) from outbox.event'; "
                 "create function public.buckets() returns smallint[] language sql as "
                 "'select array_agg(bucket order by id) from outbox.event'");
    double handled = sources_rows_handled(SQL_SESSION SQL_PREPARE_HOLD, "execute outbox_unhold(public.ids(), public.buckets())");

    rig_exec(db, "drop function public.ids(); drop function public.buckets()");
    ck_assert_msg(handled > 3000 && handled < 60000, "%.0f rows", handled);
}
END_TEST

START_TEST(former_leader_holds_nothing)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    struct source *zombie = src;
    src = NULL;
    open_source();
    struct source *heir = src;
    src = zombie;
    send_hold("1d 2r");
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
    wait_for(SOURCE_HOLD_FAILED);
    ck_assert_ptr_null(last.why); /* the database refused nothing */
    ck_assert_str_eq(held(), "1:retrying* 2:blocked");
    mark("1h"); /* a fact, whoever writes it */
    ck_assert_str_eq(held(), "2:blocked*");
    source_sweep(src, now());
    wait_for(SOURCE_SWEPT); /* it never saved a cursor */
    source_free(src);
    src = heir;
}
END_TEST

START_TEST(takeover_waits_for_a_hold_and_then_knows_of_it)
{
    open_source();
    append_and_read("t/a t/c t/b");
    hold("1r");
    struct source *zombie = src;
    struct source *heir = new_source(false); /* before, for nobody waits for a lock longer than a second */
    src = heir;
    wait_for(SOURCE_UP);
    src = zombie;
    rig_exec(a, "begin; update outbox.held set attempts = 9 where id = 1");
    hold_waits = true;
    int64_t began_ms = rig_now_ms();
    send_hold("1r 3r");
    turn_until_waiting(SOURCE_HELD);
    src = heir;
    source_acquire(src, now());
    loaded[0] = '\0';
    while (rig_scalar_i64(db, "select count(*) from pg_locks where not granted") < 2) {
        if (turn(src, SOURCE_LEASE, 1)) /* a hold that has waited for a second gives up, and is not waited for */
            ck_abort_msg(rig_now_ms() - began_ms < 1000 ? "the takeover does not wait for the hold"
                                                        : "timed out: the second of the hold was over");
        ck_assert_msg(rig_now_ms() - began_ms < RIG_DEADLINE_MS, "timed out: nobody waits for a lock");
    }
    rig_exec(a, "rollback");
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_str_eq(loaded, "t/b t/a"); /* in order of digests */
    src = zombie;
    wait_for(SOURCE_HELD);
    source_free(src);
    src = heir;
    /* row 3 is held, though the lease was asked for before; page by page, for a first page that is the
     * last leaves out what is held in any case */
    for (int i = 0; i < 2; i++) {
        source_read(src, now(), 1, MANY_BYTES, next_page++);
        wait_for(SOURCE_PAGE);
        ck_assert_str_eq(page_text(), i == 0 ? "2" : "");
    }
}
END_TEST

Suite *suite_held(void);

Suite *suite_held(void)
{
    Suite *s = suite_create("held");

    TCase *tc = rig_case(s, "hold", setup, teardown);
    tcase_add_test(tc, each_state_is_written_as_it_is_due);
    tcase_add_test(tc, later_word_on_a_held_row_replaces_the_earlier_one);
    tcase_add_test(tc, error_text_is_cut_and_made_fit_for_the_server);
    tcase_add_test(tc, sent_row_is_not_held_and_a_discarded_one_stays_so);
    tcase_add_test(tc, blocked_row_waits_for_the_row_in_front);
    tcase_add_loop_test(tc, row_behind_a_dead_one_waits_unless_dead_ones_are_skipped, 0, 2);
    tcase_add_test(tc, dead_row_that_is_skipped_frees_its_key);
    tcase_add_test(tc, dead_row_that_is_not_skipped_stays_in_front);
    tcase_add_test(tc, row_that_leaves_its_group_lets_the_next_one_go);
    tcase_add_test(tc, keys_are_any_bytes);
    tcase_add_test(tc, failed_hold_leaves_nothing_and_the_link_lives);
    tcase_add_test(tc, ten_thousand_rows_are_held_at_once);

    tc = rig_case(s, "mark", setup, teardown);
    tcase_add_test(tc, mark_of_a_held_row_takes_it_out_and_the_next_one_goes);
    tcase_add_test(tc, mark_that_is_there_already_still_takes_the_row_out);
    tcase_add_loop_test(tc, key_is_free_only_when_nothing_that_counts_is_held, 0, 2);
    tcase_add_test(tc, mark_follows_a_row_that_the_janitor_moved);

    tc = rig_case(s, "together", setup, teardown);
    tcase_add_loop_test(tc, blocked_row_survives_a_discard_that_began_before, 0, 2);
    tcase_add_test(tc, blocked_row_survives_a_discard_that_began_later);
    tcase_add_test(tc, many_rows_leave_at_the_cost_of_each);
    tcase_add_test(tc, former_leader_holds_nothing);
    tcase_add_test(tc, takeover_waits_for_a_hold_and_then_knows_of_it);
    return s;
}
