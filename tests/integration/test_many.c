/* test_many.c - outbox_append_many() against a real PostgreSQL. See appends.h. */
#include "tests/integration/appends.h"

#include <sys/random.h>

#include "tests/rig/fake.h"

/* So many calls succeed; -1: all. */
static int random_left = -1;

FAKE(ssize_t, getrandom, (void *to, size_t len, unsigned flags))
{
    if (random_left == 0)
        return -1;
    random_left -= random_left > 0;
    return __real_getrandom(to, len, flags);
}

enum { MAX = 20000 };
static outbox_event events[MAX];
static char keys[MAX][16];
static char payload[8 * 1024 * 1024];

/* n events of 256 bytes, each with a key that says which it is. */
static void make(const char *topic, size_t n)
{
    memset(payload, 'p', sizeof payload);
    for (size_t i = 0; i < n; i++) {
        events[i] = (outbox_event)OUTBOX_EVENT_INIT;
        events[i].topic = topic;
        events[i].type = "test";
        events[i].key = keys[i];
        events[i].key_len = (size_t)snprintf(keys[i], sizeof keys[i], "%zu", i);
        events[i].payload = payload;
        events[i].payload_len = 256;
    }
}

static int many(size_t n)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    return outbox_append_many(conn, events, n, &err);
}

static void expect_order(const char *topic, int64_t n)
{
    char sql[300];

    expect_rows(topic, n);
    snprintf(sql, sizeof sql,
             "select coalesce(bool_and(convert_from(key, 'UTF8')::bigint = r - 1), true) from ("
             "select key, row_number() over (order by id) r from outbox.event where topic = '%s') o",
             topic);
    expect_scalar(sql, "t");
    snprintf(sql, sizeof sql,
             "select count(*) from (select event_id, lag(event_id) over (order by id) as before"
             " from outbox.event where topic = '%s') o where event_id <= before",
             topic);
    expect_scalar(sql, "0");
}

START_TEST(many_store_what_single_ones_store)
{
    static const outbox_header headers[] = { { "a", "\xe2\x82\xac \"q\" \\ \n", 11 }, { "b", "", 0 } };

    make("twins", 3);
    events[0] = (outbox_event)OUTBOX_EVENT_INIT; /* as little as there can be */
    events[0].topic = "twins";
    events[0].type = "caf\xc3\xa9";
    events[1].key = "k\0\xff";
    events[1].key_len = 3;
    events[1].schema_version = 7;
    events[1].content_type = "application/json";
    events[1].payload = "";
    events[1].payload_len = 0;
    events[1].headers = headers;
    events[1].n_headers = N(headers);
    events[1].available_at_us = INT64_C(1767225600123456);
    events[1].correlation_id = "corr";
    events[1].hops = 3;
    events[2].key = "";
    events[2].key_len = 0;
    rig_exec(conn, "begin");
    expect_ok(many(3));
    for (size_t i = 0; i < 3; i++)
        expect_ok(outbox_append(conn, &events[i], &err));
    rig_exec(conn, "commit");
    expect_scalar("with o as (select *, row_number() over (order by id) - 1 n from outbox.event"
                  " where topic = 'twins') select count(*) from o a join o b on b.n = a.n + 3"
                  " where (a.key, a.type, a.schema_version, a.content_type, a.payload, a.headers::jsonb,"
                  " a.available_at) is not distinct from (b.key, b.type, b.schema_version,"
                  " b.content_type, b.payload, b.headers::jsonb, b.available_at)",
                  "3");
    expect_scalar("select count(distinct event_id) || ' ' || bool_and(xid = xmin::text::xid8)"
                  " from outbox.event where topic = 'twins'",
                  "6 true");
}
END_TEST

START_TEST(many_keep_the_order_of_the_array_in_one_round_trip)
{
    make("thousands", 1000);
    rig_exec(conn, "begin");
    trace_begin(conn);
    expect_ok(many(1000));
    trace_end(conn);
    ck_assert_int_eq(traced("\tSync"), 1);
    ck_assert_int_eq(traced(""), 5);
    fclose(trace_file);
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from pg_prepared_statements"), "0");
    rig_exec(conn, "commit");
    expect_order("thousands", 1000);
}
END_TEST

/* Columns of nothing but nulls, and none at all. */
START_TEST(many_without_a_value_in_a_column_leave_it_null)
{
    make("columns", 3);
    for (size_t i = 0; i < 3; i++) {
        events[i].key = NULL;
        events[i].key_len = 0;
        events[i].payload = NULL;
        events[i].payload_len = 0;
    }
    rig_exec(conn, "begin");
    expect_ok(many(3));
    rig_exec(conn, "commit");
    expect_scalar("select count(*) from outbox.event where topic = 'columns' and key is null and"
                  " payload is null and headers is null and content_type is null and"
                  " available_at is null and type = 'test' and schema_version = 1",
                  "3");
}
END_TEST

/* 7 MB in all: two portions of up to 4 MiB. */
START_TEST(many_are_split_where_a_statement_ends)
{
    make("split", MAX);
    rig_exec(conn, "begin");
    trace_begin(conn);
    expect_ok(many(MAX));
    trace_end(conn);
    ck_assert_int_eq(traced("\tSync"), 2);
    fclose(trace_file);
    rig_exec(conn, "commit");
    expect_order("split", MAX);
}
END_TEST

START_TEST(many_take_events_that_fill_a_portion_alone)
{
    make("large", 5);
    for (size_t i = 1; i < 4; i++) {
        events[i].max_event_bytes = OUTBOX_MAX_EVENT_BYTES_CEILING;
        events[i].payload_len = sizeof payload - i;
    }
    rig_exec(conn, "begin");
    trace_begin(conn);
    expect_ok(many(5));
    trace_end(conn);
    ck_assert_int_eq(traced("\tSync"), 5);
    fclose(trace_file);
    rig_exec(conn, "commit");
    expect_order("large", 5);
    expect_scalar("select string_agg(octet_length(payload)::text, ' ' order by id)"
                  " from outbox.event where topic = 'large'",
                  "256 8388607 8388606 8388605 256");
}
END_TEST

START_TEST(many_of_one_are_a_single_one_and_none_are_none)
{
    make("one", 1);
    rig_exec(conn, "begin");
    trace_begin(conn);
    expect_ok(outbox_append(conn, events, &err));
    expect_ok(many(1));
    trace_end(conn);
    ck_assert_int_eq(traced(""), 10);
    ck_assert_int_eq(traced("CALL outbox.append_event($1"), 2); /* the same statement */
    fclose(trace_file);
    trace_begin(conn);
    expect_ok(many(0));
    expect_ok(outbox_append_many(conn, NULL, 0, &err));
    trace_end(conn);
    ck_assert_int_eq(traced(""), 0);
    fclose(trace_file);
    rig_exec(conn, "commit");
    expect_rows("one", 2);
    expect_code(many(0), OUTBOX_ENOTXN, 0);
}
END_TEST

/* The wrong one stands in the first portion, at its ends, or in a later one. */
static const size_t wrong_at[] = { 0, 1, 999, 15000, MAX - 1 };

START_TEST(many_send_nothing_when_one_is_wrong_and_say_which)
{
    char words[40];

    make("wrong", MAX);
    events[wrong_at[_i]].topic = "not a topic";
    rig_exec(conn, "begin");
    trace_begin(conn);
    expect_code(many(MAX), OUTBOX_EINVAL, 0);
    snprintf(words, sizeof words, "events[%zu]: topic \"not a topic\"", wrong_at[_i]);
    expect_words(words);
    ck_assert_int_eq(err.event_index, (int64_t)wrong_at[_i]);
    trace_end(conn);
    ck_assert_int_eq(traced(""), 0);
    fclose(trace_file);
    events[wrong_at[_i]].topic = "wrong";
    expect_ok(many(MAX)); /* the transaction was not touched */
    rig_exec(conn, "rollback");
    expect_rows("wrong", 0);
}
END_TEST

static void refuse_many(size_t n, const char *words, int64_t index)
{
    expect_code(many(n), OUTBOX_EINVAL, 0);
    expect_words(words);
    ck_assert_int_eq(err.event_index, index);
}

START_TEST(many_refuse_what_single_ones_refuse)
{
    make("refused", 3);
    expect_code(many(3), OUTBOX_ENOTXN, 0);
    expect_code(outbox_append_many(NULL, events, 3, &err), OUTBOX_EINVAL, 0);
    rig_exec(conn, "begin");
    expect_code(outbox_append_many(conn, NULL, 3, &err), OUTBOX_EINVAL, 0);
    expect_words("n_events is 3");
    ck_assert_int_eq(outbox_append_many(conn, NULL, 3, NULL), OUTBOX_EINVAL);
    events[0].struct_size = 7;
    refuse_many(3, "events[0]: event.struct_size is 7", 0);
    events[0].struct_size = sizeof events[0];
    events[2].struct_size = 144;
    refuse_many(3, "events[2]: struct_size is 144, but", 2);
    events[2].struct_size = sizeof events[0];
    events[1].flags = OUTBOX_APPEND_PREPARED;
    refuse_many(3, "events[1]: flags", 1);
    events[1].flags = OUTBOX_APPEND_ORDERED;
    events[1].key = NULL;
    events[1].key_len = 0;
    refuse_many(3, "events[1]: flags has OUTBOX_APPEND_ORDERED", 1);
    events[1].flags = 0;
    events[0].topic = NULL;
    refuse_many(1, "events[0]: topic is NULL", 0);
    events[0].topic = "refused";
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    refuse_many(3, "pipeline", -1);
    ck_assert_int_eq(PQexitPipelineMode(conn), 1);
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    expect_code(many(3), OUTBOX_EABORTED, ABORTED);
    rig_exec(conn, "rollback; set client_encoding to 'LATIN1'; begin");
    events[1].type = "caf\xc3\xa9";
    refuse_many(3, "events[1]: type is UTF-8 outside ASCII, but client_encoding is LATIN1", 1);
    events[1].type = "test";
    make("refused", MAX);
    events[MAX - 1].type = "caf\xc3\xa9";
    refuse_many(MAX, "events[19999]: type is UTF-8", MAX - 1);
    rig_exec(conn, "rollback");
    kill_backend(conn);
    rig_exec(control, "select 1");
    expect_rows("refused", 0);
}
END_TEST

/* The server refuses one in the second statement: nothing of the first is left either. */
START_TEST(many_are_all_or_nothing_over_several_statements)
{
    install_trigger();
    make("atomic", MAX);
    events[MAX - 1].type = "40001";
    rig_exec(conn, "begin; create temp table witness (n int); savepoint s");
    expect_code(many(MAX), OUTBOX_EDB, RETRY | ABORTED);
    ck_assert_str_eq(err.sqlstate, "40001");
    ck_assert_int_eq(err.event_index, -1);
    rig_exec(conn, "rollback to s; commit");
    expect_rows("atomic", 0);
    events[MAX - 1].type = "swallow";
    rig_exec(conn, "begin");
    expect_code(many(MAX), OUTBOX_EDB, 0);
    expect_words("rows instead of");
    rig_exec(conn, "rollback");
    expect_rows("atomic", 0);
    remove_trigger();
}
END_TEST

START_TEST(many_without_random_bytes_say_what_is_left)
{
    make("random", MAX);
    rig_exec(conn, "begin");
    random_left = 0;
    expect_code(many(3), OUTBOX_ENOMEM, 0);
    expect_words("random");
    ck_assert_int_eq(err.event_index, 0);
    random_left = 3; /* for 96 events */
    expect_code(many(MAX), OUTBOX_ENOMEM, 0);
    ck_assert_int_eq(err.event_index, 96);
    ck_assert_str_eq(rig_scalar(conn, "select count(*) from outbox.event where topic = 'random'"),
                     "0");
    random_left = MAX * 3 / 4 / 32; /* in the second portion */
    expect_code(many(MAX), OUTBOX_EDB, RETRY);
    ck_assert_str_eq(err.sqlstate, "");
    expect_words("roll back");
    ck_assert_int_gt(rig_scalar_i64(conn, "select count(*) from outbox.event"
                                          " where topic = 'random'"),
                     0);
    random_left = -1;
    rig_exec(conn, "rollback; begin");
    expect_ok(many(MAX));
    rig_exec(conn, "commit");
    expect_order("random", MAX);
}
END_TEST

START_TEST(many_report_a_lost_link)
{
    make("lost", MAX);
    rig_exec(conn, "begin");
    kill_backend(conn);
    expect_code(many(MAX), OUTBOX_ELINK, LOST);
    expect_code(many(MAX), OUTBOX_ELINK, LOST);
    expect_rows("lost", 0);
}
END_TEST

START_TEST(many_need_the_insert_privilege_only)
{
    make("writer.many", 10);
    rig_exec(conn, "set role outbox_writer");
    rig_exec(conn, "begin");
    expect_ok(many(10));
    for (size_t i = 0; i < 10; i++)
        events[i].flags = OUTBOX_APPEND_ORDERED;
    expect_ok(many(10));
    expect_ok(many(1));
    rig_exec(conn, "commit");
    expect_rows("writer.many", 21);
}
END_TEST

/* Names in the way of what the statements use. */
START_TEST(many_ignore_the_search_path)
{
    rig_exec(control,
             "create schema evil;"
             "create function evil.unnest(anyarray) returns setof anyelement language sql as"
             " 'select $1[1]';"
             "create function evil.hashtextextended(text, bigint) returns bigint language sql as"
             " 'select 1::bigint';"
             "create function evil.concat(text, text, text) returns text language sql as"
             " 'select ''x''::text';"
             "create function evil.encode(bytea, text) returns text language sql as"
             " 'select ''x''::text';"
             "create function evil.pg_advisory_xact_lock(bigint) returns void language plpgsql as"
             " 'begin raise exception ''evil''; end';"
             "create aggregate evil.count(\"any\") (sfunc = int8inc_any, stype = int8, initcond = 0)");
    make("path", 10);
    rig_exec(conn, "set search_path = evil, pg_catalog; begin");
    expect_ok(many(10));
    for (size_t i = 0; i < 10; i++)
        events[i].flags = OUTBOX_APPEND_ORDERED;
    expect_ok(many(10));
    expect_ok(many(1));
    rig_exec(conn, "commit");
    rig_exec(control, "set client_min_messages = warning; drop schema evil cascade");
    expect_rows("path", 21);
}
END_TEST

Suite *suite_many(void);
Suite *suite_many(void)
{
    Suite *suite = suite_create("many");
    TCase *tcase = tcase_create("many");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, many_store_what_single_ones_store);
    tcase_add_test(tcase, many_keep_the_order_of_the_array_in_one_round_trip);
    tcase_add_test(tcase, many_without_a_value_in_a_column_leave_it_null);
    tcase_add_test(tcase, many_are_split_where_a_statement_ends);
    tcase_add_test(tcase, many_take_events_that_fill_a_portion_alone);
    tcase_add_test(tcase, many_of_one_are_a_single_one_and_none_are_none);
    tcase_add_loop_test(tcase, many_send_nothing_when_one_is_wrong_and_say_which, 0, N(wrong_at));
    tcase_add_test(tcase, many_refuse_what_single_ones_refuse);
    tcase_add_test(tcase, many_are_all_or_nothing_over_several_statements);
    tcase_add_test(tcase, many_without_random_bytes_say_what_is_left);
    tcase_add_test(tcase, many_report_a_lost_link);
    tcase_add_test(tcase, many_need_the_insert_privilege_only);
    tcase_add_test(tcase, many_ignore_the_search_path);
    suite_add_tcase(suite, tcase);
    return suite;
}
