/* test_prepare.c - outbox_prepare() and the appends that use what it prepared, alone and in a pipeline.
 * See appends.h.
 */
#include "tests/integration/sends.h"

static const char sql_prepared[] =
    "select coalesce(string_agg(name, ' ' order by name), '') from pg_prepared_statements";
#define ALL_PREPARED "outbox_many_1 outbox_many_ordered_1 outbox_one_1 outbox_one_ordered_1"

static void append_all_ways(const char *topic, uint32_t flags)
{
    outbox_event two[2];

    event.topic = topic;
    event.key = "k";
    event.key_len = 1;
    for (uint32_t ordered = 0; ordered <= OUTBOX_APPEND_ORDERED; ordered++) {
        event.flags = flags | ordered;
        two[0] = two[1] = event;
        append_ok();
        expect_ok(send_event());
        expect_ok(append_result());
        expect_ok(outbox_append_many(conn, two, 2, &err));
    }
}

START_TEST(prepare_saves_the_parsing_of_every_append)
{
    expect_ok(outbox_prepare(conn, &err));
    ck_assert_str_eq(rig_scalar(conn, sql_prepared), ALL_PREPARED);
    rig_exec(conn, "begin");
    trace_begin(conn);
    append_all_ways("prepared", OUTBOX_APPEND_PREPARED);
    trace_end(conn);
    ck_assert_int_eq(traced("\tParse"), 0);
    ck_assert_int_eq(traced("\tExecute"), 6);
    fclose(trace_file);
    trace_begin(conn);
    append_all_ways("prepared", 0); /* the flag decides */
    trace_end(conn);
    ck_assert_int_eq(traced("\tParse"), 6);
    fclose(trace_file);
    rig_exec(conn, "commit");
    expect_rows("prepared", 16);
}
END_TEST

START_TEST(prepare_is_harmless_when_repeated_and_outlives_transactions)
{
    rig_exec(conn, "begin");
    expect_ok(outbox_prepare(conn, &err));
    expect_ok(outbox_prepare(conn, &err));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    rig_exec(conn, "rollback; deallocate outbox_one_1");
    expect_ok(outbox_prepare(conn, NULL));
    ck_assert_str_eq(rig_scalar(conn, sql_prepared), ALL_PREPARED);
    rig_exec(conn, "begin");
    append_all_ways("outlives", OUTBOX_APPEND_PREPARED);
    rig_exec(conn, "commit");
    expect_rows("outlives", 8);
}
END_TEST

/* A session without them, as a pooler may hand out at any time. */
START_TEST(prepare_missing_is_an_error_that_names_the_remedy)
{
    event.topic = "unprepared";
    event.flags = OUTBOX_APPEND_PREPARED;
    rig_exec(conn, "begin");
    refuse(OUTBOX_EDB, ABORTED, "outbox_prepare()");
    ck_assert_str_eq(err.sqlstate, "26000");
    rig_exec(conn, "rollback");
    expect_ok(outbox_prepare(conn, &err));
    rig_exec(conn, "discard all");
    rig_exec(conn, "begin");
    expect_ok(send_event());
    expect_code(append_result(), OUTBOX_EDB, ABORTED);
    expect_words("pooler");
    rig_exec(conn, "rollback; begin");
    event.flags = 0; /* without it all is well */
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("unprepared", 1);
}
END_TEST

START_TEST(prepare_refuses_what_check_schema_refuses)
{
    expect_code(outbox_prepare(NULL, &err), OUTBOX_EINVAL, 0);
    enter();
    expect_code(outbox_prepare(conn, &err), OUTBOX_EINVAL, 0);
    leave();
    rig_exec(conn, "begin");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    expect_code(outbox_prepare(conn, &err), OUTBOX_EABORTED, ABORTED);
    rig_exec(conn, "rollback");
    rig_execf(control, "create role stranger_%d", PQbackendPID(control));
    rig_execf(conn, "set role stranger_%d; ", PQbackendPID(control));
    rig_exec(conn, "begin");
    expect_code(outbox_prepare(conn, &err), OUTBOX_EDB, ABORTED);
    ck_assert_str_eq(err.sqlstate, "42501");
    rig_exec(conn, "rollback");
    rig_exec(conn, "reset role");
    rig_execf(control, "drop role stranger_%d", PQbackendPID(control));
    kill_backend(conn);
    expect_code(outbox_prepare(conn, &err), OUTBOX_ELINK, LOST);
}
END_TEST

Suite *suite_prepare(void);
Suite *suite_prepare(void)
{
    Suite *suite = suite_create("prepare");
    TCase *tcase = tcase_create("prepare");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, prepare_saves_the_parsing_of_every_append);
    tcase_add_test(tcase, prepare_is_harmless_when_repeated_and_outlives_transactions);
    tcase_add_test(tcase, prepare_missing_is_an_error_that_names_the_remedy);
    tcase_add_test(tcase, prepare_refuses_what_check_schema_refuses);
    suite_add_tcase(suite, tcase);
    return suite;
}
