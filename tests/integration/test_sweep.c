/* test_sweep.c - what the sweep finds behind the cursor, and which keys it wakes. Against a real server; see
 * holds.h.
 */
#include "tests/integration/holds.h"

/* -- the sweep ------------------------------------------------------------------------------ */

static uint32_t sweep(void)
{
    source_sweep(src, now());
    wait_for(SOURCE_SWEPT);
    return last.n_found;
}

START_TEST(sweep_finds_nothing_in_a_healthy_outbox)
{
    open_source();
    append_and_read("t/a t/a t/b t/ t/p t/d t/d");
    hold("1r60000 2b 4r60000 5p 6d 7b");
    mark("3");
    renew();
    char before[500];
    snprintf(before, sizeof before, "%s", held());
    append("t/a");
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(held(), before);
}
END_TEST

START_TEST(sweep_finds_rows_behind_the_cursor_that_were_forgotten)
{
    open_source();
    rig_exec(a, "begin");
    rig_exec(a, "insert into outbox.event (topic, type) values ('t', 'late')");
    append_and_read("t/a t/b t/c");
    mark("2 3 4");
    ck_assert_uint_eq(sweep(), 0);
    renew();
    rig_exec(db, "delete from outbox.sent where id = 3");
    rig_exec(a, "commit"); /* row 1 is behind the cursor and yet to be read */
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 1);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s %s %s', id, state, maybe_delivered,"
                                    " error_code) from outbox.held"), "3 retrying t FOUND_BY_SWEEP");
    ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(due(), "3");
    mark("3h");
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

/* With ids of transactions that this cluster has not reached: nobody else looks for them there. */
START_TEST(sweep_finds_rows_that_were_restored_behind_the_reader)
{
    open_source();
    append_and_read("t/a t/b t/c");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event;"
                 "alter table outbox.event alter id restart with 10");
    append_and_read("t/d");
    mark("10");
    renew();
    rig_exec(db, "insert into outbox.event (xid, id, topic, type) overriding system value"
                 " values ((pg_current_xact_id()::text::bigint + 1000000)::text::xid8, 5, 't', 'x')");
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 1);
    ck_assert_str_eq(held(), "5:retrying*");
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

START_TEST(sweep_goes_round_in_pieces)
{
    open_source();
    append_keys(12000);
    read_all();
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    for (int round = 0; round < 2; round++) {
        rig_exec(db, "delete from outbox.held; delete from outbox.sent where id in (1, 6000, 12000)");
        for (int i = 0; i < 3; i++)
            ck_assert_uint_eq(sweep(), 1);
        ck_assert_str_eq(held(), "1:retrying* 6000:retrying* 12000:retrying*");
    }
}
END_TEST

START_TEST(sweep_wakes_keys_that_nothing_else_would)
{
    open_source();
    append_and_read("t/a t/a t/b t/b t/c t/c t/d");
    hold("1r 2b 3d 4b 5r 6b 7p");
    rig_exec(db, "delete from outbox.held where id = 1;" /* 2 is left alone */
                 "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id in (1, 3);" /* dead by the word of one, sent by the word of another */
                 "update outbox.held set next_attempt_at = null where id = 5");
    rig_exec(db, "update outbox.held set state = 'blocked' where id = 5");
    ck_assert_str_eq(due(), "");
    append_and_read("t/x");
    mark("8");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(held(), "2:blocked* 4:blocked* 5:blocked* 6:blocked 7:paused");
    ck_assert_str_eq(due(), "2 4 5 6");
}
END_TEST

/* Keys that were blocked by a dead row move when dead rows are skipped from now on. */
START_TEST(sweep_wakes_keys_behind_dead_rows_once_these_are_skipped)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1d 2b");
    open_with(true);
    append_and_read("t/x");
    mark("3");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    (void)sweep();
    ck_assert_str_eq(due(), "2");
}
END_TEST

Suite *suite_sweep(void);

Suite *suite_sweep(void)
{
    Suite *s = suite_create("sweep");

    TCase *tc = rig_case(s, "sweep", setup, teardown);
    tcase_add_test(tc, sweep_finds_nothing_in_a_healthy_outbox);
    tcase_add_test(tc, sweep_finds_rows_behind_the_cursor_that_were_forgotten);
    tcase_add_test(tc, sweep_finds_rows_that_were_restored_behind_the_reader);
    tcase_add_test(tc, sweep_goes_round_in_pieces);
    tcase_add_test(tc, sweep_wakes_keys_that_nothing_else_would);
    tcase_add_test(tc, sweep_wakes_keys_behind_dead_rows_once_these_are_skipped);
    return s;
}
