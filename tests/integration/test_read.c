/* test_read.c - does the source find every committed row, once and in order, page by page? Against a real
 * server; see reads.h.
 */
#include "tests/integration/reads.h"

#define N_LATE_ROWS 25000

/* -- late rows ------------------------------------------------------------------------------ */

START_TEST(fresh_rows_come_in_order_and_once)
{
    reader_open();
    expect_read("");
    append(a, "k");
    append(b, "k");
    expect_read("1 2");
    expect_read("");
    append(a, "k");
    expect_read("3");
}
END_TEST

/* xip: a running transaction with an xid below the snapshot's xmax. */
START_TEST(row_of_a_transaction_in_the_xip_list_is_read_after_its_commit)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "early");
    append(b, "b");
    char sql[200];
    snprintf(sql, sizeof sql, "select count(*) from pg_snapshot_xip(pg_current_snapshot()) x"
                              " where x::text::bigint = %lld", (long long)own_xid(a));
    ck_assert_int_eq(rig_scalar_i64(db, sql), 1);
    expect_read("2");
    expect_read("");
    rig_exec(a, "commit");
    expect_read("1");
    expect_read("");
}
END_TEST

/* Of a and b, a has the higher xid and the lower id; b commits first. Then the snapshot's xmax, the
 * latest completed xid + 1, is a's xid: a runs without being in the xip list. False when some other
 * transaction of the server ended in between. */
static bool commit_below_running(void)
{
    rig_exec(b, "begin");
    int64_t xid_b = own_xid(b);
    rig_exec(a, "begin");
    append(a, "early");
    ck_assert_int_gt(own_xid(a), xid_b);
    append(b, "b");
    rig_exec(b, "commit");
    (void)read_page(100, MANY_BYTES);
    return rig_scalar_i64(db, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint") <=
           own_xid(a);
}

START_TEST(row_of_a_transaction_at_or_above_xmax_is_read_after_its_commit)
{
    int attempts = 0;

    for (reader_open(); !commit_below_running(); reader_open()) {
        ck_assert_int_lt(++attempts, 20);
        rig_exec(a, "rollback");
        reset_tables();
    }
    ck_assert_str_eq(new_ids(), "2");
    rig_exec(a, "commit");
    expect_read("1");
    expect_read("");
}
END_TEST

START_TEST(rows_of_prepared_transactions_are_read_when_they_commit)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "one");
    rig_exec(a, "prepare transaction 'one'");
    rig_exec(a, "begin");
    append(a, "two");
    rig_exec(a, "prepare transaction 'two'");
    append(b, "b");
    expect_read("3");
    reader_open(); /* the cursor that was saved knows of them too */
    expect_read("3");
    rig_exec(b, "rollback prepared 'two'");
    rig_exec(b, "commit prepared 'one'");
    expect_read("1");
    append(b, "b");
    expect_read("4");
}
END_TEST

START_TEST(savepoints_are_read_with_their_transaction_and_rollbacks_never)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "k");
    rig_exec(a, "savepoint s");
    append(a, "k");
    rig_exec(a, "rollback to s");
    rig_exec(a, "savepoint s2");
    append(a, "k");
    rig_exec(a, "release s2");
    rig_exec(b, "begin");
    append(b, "b");
    append(c, "c");
    expect_read("5");
    rig_exec(b, "rollback");
    expect_read("");
    rig_exec(a, "savepoint s3");
    append(a, "k");
    rig_exec(a, "commit");
    expect_read("1 3 6");
    expect_read("");
}
END_TEST

/* The id is drawn, and then the insert waits in a trigger. */
START_TEST(row_that_stalled_after_it_drew_its_id_is_read)
{
    rig_exec(db, "create or replace function stall() returns trigger language plpgsql as $$ begin"
                 " if new.topic = 'stall' then perform pg_advisory_xact_lock(4711); end if;"
                 " return new; end $$;"
                 "create trigger stall before insert on outbox.event for each row"
                 " execute function stall();");
    reader_open();
    rig_exec(c, "select pg_advisory_lock(4711)");
    ck_assert_int_eq(PQsendQuery(a, "insert into outbox.event (topic, type) values ('stall', 'x')"),
                     1);
    rig_wait_scalar(db, "select count(*) from pg_locks where locktype = 'advisory' and not granted",
                    "1", RIG_DEADLINE_MS);
    append(b, "b");
    expect_read("2");
    append(b, "b");
    expect_read("3");
    rig_exec(c, "select pg_advisory_unlock(4711)");
    for (PGresult *res; (res = PQgetResult(a)) != NULL; PQclear(res))
        ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    expect_read("1");
    rig_exec(db, "drop trigger stall on outbox.event");
}
END_TEST

START_TEST(long_transaction_elsewhere_holds_nobody_back)
{
    reader_open();
    rig_exec(c, "begin");
    append(c, "slow");
    for (int i = 2; i <= 20; i++) {
        char id[12];
        append(i % 2 == 0 ? a : b, "k");
        snprintf(id, sizeof id, "%d", i);
        expect_read(id);
    }
    rig_exec(c, "commit");
    expect_read("1");
}
END_TEST

/* -- pages ---------------------------------------------------------------------------------- */

/* In the catch_up variant the rows are late to the cursor that a dead reader saved. */
START_TEST(large_late_transaction_is_read_once_in_order_in_few_pages)
{
    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", N_LATE_ROWS);
    append(b, "b");
    read_all(1000, MANY_BYTES);
    ck_assert_uint_eq(n_seen, 1);
    if (_i == 1) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)seen[0].id);
        mark(id);
        renew(next_page);
        rig_exec(a, "commit");
        reader_open();
    } else {
        rig_exec(a, "commit");
    }
    n_reads = 0;
    do {
        (void)read_page(1000, MANY_BYTES);
        if (n_reads == 5)
            append(c, "fresh"); /* comes after them, and is not lost between the pages */
    } while ((last.full || last.catching_up) && n_reads < 100);
    read_all(1000, MANY_BYTES);
    ck_assert_uint_le(n_reads, N_LATE_ROWS / 1000 + 4);
    expect_all_once();
    expect_key_order();
    ck_assert_str_eq(seen[n_seen - 1].key, "fresh");
}
END_TEST

/* While one snapshot's late rows are read page by page, another transaction becomes late. */
START_TEST(rows_that_become_late_during_a_late_read_are_read)
{
    reader_open();
    rig_exec(a, "begin");
    rig_exec(c, "begin");
    append(c, "c");
    append_series(a, "late", 500);
    append(c, "c");
    append(b, "b");
    read_all(100, MANY_BYTES);
    rig_exec(a, "commit");
    (void)read_page(100, MANY_BYTES);
    ck_assert(last.full);
    (void)read_page(100, MANY_BYTES);
    rig_exec(c, "commit");
    read_all(100, MANY_BYTES);
    read_all(100, MANY_BYTES);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* The rows of a page but the last stay below the limit, so one row may be larger than it. */
static void expect_cut_pages(uint64_t max_bytes)
{
    do {
        (void)read_page(1000, max_bytes);
        ck_assert_uint_lt(last_bytes - last_row_bytes, max_bytes);
    } while (last.full || last.catching_up);
}

#define SQL_WIDE_ROWS                                                                              \
    "insert into outbox.event (topic, type, key, payload) select 't', 'x', 'k',"                   \
    " decode(repeat('00', case n when 20 then 2000000 else 10000 end), 'hex')"                     \
    " from generate_series(1, 40) n"

START_TEST(pages_are_cut_by_bytes_and_a_giant_row_passes)
{
    reader_open();
    if (_i == 1) { /* late ones */
        rig_exec(a, "begin");
        rig_exec(a, SQL_WIDE_ROWS);
        append(b, "b");
        expect_read("41");
        rig_exec(a, "commit");
    } else {
        rig_exec(a, SQL_WIDE_ROWS);
    }
    n_reads = 0;
    expect_cut_pages(100000);
    expect_cut_pages(100000);
    ck_assert_uint_ge(n_reads, 4);
    ck_assert_uint_le(n_reads, 9);
    expect_all_once();
    expect_key_order();
}
END_TEST

/* The server cuts by an estimate and the client must notice each cut, for rows of any shape. */
static const char *const shapes[] = {
    "null, null",
    "null, '[]'",
    "null, '[[\"n\", \"\"]]'",
    "null, (select jsonb_agg(jsonb_build_array('n', '')) from generate_series(1, 60))",
    "null, (select jsonb_agg(jsonb_build_array('n' || i, repeat(i::text, 9)))"
    " from generate_series(1, 40) i)",
    "null, jsonb_build_array(jsonb_build_array('n', (select string_agg(md5(i::text), '')"
    " from generate_series(1, 60) i)))",
    "null, jsonb_build_array(jsonb_build_array('n', repeat('x', 9000)))", /* compressed */
    "null, jsonb_build_array(jsonb_build_array('n', repeat(E'\\u00e9\\n', 50)))",
    "''::bytea, null",
    "decode(repeat('00', 255), 'hex'), '[[\"a\", \"b\"]]'",
};

START_TEST(cut_page_is_never_taken_for_the_last)
{
    for (int late = 0; late < 2; late++) {
        reset_tables();
        reader_open();
        rig_exec(a, "begin");
        rig_execf(a, "insert into outbox.event (topic, type, payload, headers)"
                     " select 't', 'x', %s from generate_series(1, 60)", shapes[_i]);
        if (late) {
            append(b, "b");
            (void)read_page(100, MANY_BYTES);
        }
        rig_exec(a, "commit");
        for (uint64_t bytes = 1; n_seen < 60 + (size_t)late && n_reads < 1000; bytes += 997)
            (void)read_page(100, bytes);
        expect_all_once();
    }
}
END_TEST

/* Among small rows a large one ends its page early, and comes whole with the next. */
#define SQL_ROWS_WITH_A_LARGE_ONE(what)                                                           \
    "insert into outbox.event (topic, type, key, payload, headers)"                               \
    " select 't', 'x', case when n = 15 and " #what " = 1 then convert_to(repeat('k', 200000), 'UTF8')"\
    " else 'k' end, decode(repeat('00', case when n = 15 and " #what " = 0 then 200000 else 10 end), 'hex'),"\
    " jsonb_build_array(jsonb_build_array('n', case when n = 15 and " #what " = 2"                \
    " then (select string_agg(md5(i::text), '') from generate_series(1, 6000) i) else 'v' end))"  \
    " from generate_series(1, 40) n"
static const char *const with_a_large_one[] = {
    SQL_ROWS_WITH_A_LARGE_ONE(0), SQL_ROWS_WITH_A_LARGE_ONE(1), SQL_ROWS_WITH_A_LARGE_ONE(2)
};

START_TEST(large_row_among_small_ones_comes_whole)
{
    bool late = _i >= 3;
    size_t bytes = 0, large_pages = 0;

    reader_open();
    rig_exec(a, "begin");
    rig_exec(a, with_a_large_one[_i % 3]);
    if (late)
        append(b, "b");
    read_all(100, 1000000);
    ck_assert_uint_eq(n_seen, late);
    rig_exec(a, "commit");
    n_reads = 0;
    while (n_seen < 40 + (size_t)late) {
        ck_assert_msg(n_reads < 6, "%zu rows in %u pages", n_seen, n_reads);
        (void)read_page(100, 1000000);
        bytes += last_bytes;
        large_pages += last_large;
        ck_assert(last.full || n_seen == 40 + (size_t)late);
    }
    ck_assert_uint_eq(bytes, _i % 3 == 0 ? 200000 + 39 * 10 : 40 * 10);
    ck_assert_uint_eq(large_pages, 1);
    expect_all_once();
    expect_key_order();
}
END_TEST

Suite *suite_read(void);

Suite *suite_read(void)
{
    Suite *s = suite_create("read");

    /* tests/mutants run this case alone */
    TCase *tc = rig_case(s, "late_halves", setup, teardown);
    tcase_add_test(tc, row_of_a_transaction_in_the_xip_list_is_read_after_its_commit);
    tcase_add_test(tc, row_of_a_transaction_at_or_above_xmax_is_read_after_its_commit);

    tc = rig_case(s, "late", setup, teardown);
    tcase_add_test(tc, fresh_rows_come_in_order_and_once);
    tcase_add_test(tc, rows_of_prepared_transactions_are_read_when_they_commit);
    tcase_add_test(tc, savepoints_are_read_with_their_transaction_and_rollbacks_never);
    tcase_add_test(tc, row_that_stalled_after_it_drew_its_id_is_read);
    tcase_add_test(tc, long_transaction_elsewhere_holds_nobody_back);

    tc = rig_case(s, "pages", setup, teardown);
    tcase_add_loop_test(tc, large_late_transaction_is_read_once_in_order_in_few_pages, 0, 2);
    tcase_add_test(tc, rows_that_become_late_during_a_late_read_are_read);
    tcase_add_loop_test(tc, pages_are_cut_by_bytes_and_a_giant_row_passes, 0, 2);
    tcase_add_loop_test(tc, large_row_among_small_ones_comes_whole, 0, 6);
    tcase_add_loop_test(tc, cut_page_is_never_taken_for_the_last, 0,
                        (int)(sizeof shapes / sizeof shapes[0]));
    return s;
}
