/* test_held_due.c - what the source reads from outbox.held, when it is due, by topic, and at a takeover; and at
 * what cost. Against a real server; see holds.h.
 */
#include <time.h>

#include "relay/source/held_sql.h"
#include "tests/integration/holds.h"

enum {
    N_KEYS = 5000,
    N_GROUP = 100000,
};

/* -- reading what is due -------------------------------------------------------------------- */

START_TEST(due_rows_come_when_their_time_has_come)
{
    open_source();
    append("t/a t/ t/b");
    rig_exec(db, "insert into outbox.event (topic, type, key, available_at) values"
                 " ('t', 'x', 'c', now() + interval '1 day'), ('t', 'x', 'd', now() - interval '1 day'),"
                 " ('t', 'x', 'd', 'infinity')");
    read_all();
    ck_assert_str_eq(due(), "");
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
    hold("4s 6s");
    ck_assert_str_eq(due(), "");
    ck_assert_uint_gt(last.next_due_ms, 86000000);
    ck_assert_uint_le(last.next_due_ms, 86400000);
    hold("1r30000? 2r40000 3r0 5s");
    ck_assert_str_eq(due(), "3 5");
    ck_assert(!last.full);
    ck_assert_uint_gt(last.next_due_ms, 20000);
    ck_assert_uint_le(last.next_due_ms, 30000);
    ck_assert_int_eq(rows[5]->held_as, HELD_TIME);
    ck_assert_int_eq(rows[5]->wait_ms, 0);
    ck_assert_int_eq(rows[3]->held_as, HELD_KEY);
    ck_assert_int_eq(rows[3]->attempts, 1);
    ck_assert(!rows[3]->maybe);
    rig_exec(db, "update outbox.held set attempts = 100000");
    make_due("id < 4");
    ck_assert_str_eq(due(), "1 2 3 5");
    ck_assert(rows[1]->maybe);
    ck_assert_int_eq(rows[1]->attempts, 65535);
    ck_assert_str_eq((const char *)rows[1]->payload, "p");
}
END_TEST

START_TEST(group_goes_up_to_the_first_row_that_must_wait)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/a t/a t/a t/b t/b t/b");
    hold("1r 2b 3r60000 4r 5b 6r60000 7b 8r");
    ck_assert_str_eq(due(), "1 2"); /* 8 is due, but not its turn */
    ck_assert_uint_gt(last.next_due_ms, 1000);
    make_due("id = 3");
    ck_assert_str_eq(due(), "1 2 3 4 5");
    hold("4d");
    ck_assert_str_eq(due(), skip ? "1 2 3 5" : "1 2 3");
    hold("6d 7b");
    ck_assert_str_eq(due(), skip ? "1 2 3 5 7 8" : "1 2 3");
}
END_TEST

START_TEST(orphan_in_front_goes_with_the_row_that_is_due)
{
    open_source();
    append_and_read("t/a t/a t/a");
    hold("2r0 3b");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state)"
                 " select id, bucket, topic, key, 'blocked' from outbox.event where id = 1");
    ck_assert_str_eq(due(), "1 2 3");
}
END_TEST

START_TEST(due_page_is_cut_by_rows_and_by_bytes)
{
    open_source();
    append_and_read("t/a t/b t/a t/b t/a t/b t/a t/");
    hold("1r 2r 3b 4b 5b 6b 7b 8r");
    rig_exec(db, "update outbox.held set next_attempt_at = now() - id * interval '1 s'"
                 " where next_attempt_at is not null");
    ck_assert_str_eq(due_of(3, MANY_BYTES), "2 4 8"); /* the longest waiting group first */
    ck_assert(last.full);
    ck_assert_uint_eq(last.next_due_ms, 0);
    ck_assert_str_eq(due_of(6, MANY_BYTES), "1 2 3 4 6 8");
    ck_assert_str_eq(due_of(100, 1), "8");
    ck_assert(last.full);
    ck_assert_str_eq(due_of(8, MANY_BYTES), "1 2 3 4 5 6 7 8");
    ck_assert(last.full);
    ck_assert_str_eq(due_of(9, MANY_BYTES), "1 2 3 4 5 6 7 8");
    ck_assert(!last.full);
}
END_TEST

/* Rows that are due and cannot go do not stand in the way of those that can. */
START_TEST(groups_that_cannot_move_do_not_hide_others)
{
    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x', (n / 2)::text::bytea"
                 " from generate_series(0, 999) n");
    append("t/last");
    read_all();
    hold("1001r");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, case id % 2 when 1 then 'dead' else 'blocked' end,"
                 " case id % 2 when 0 then now() - interval '1 h' end from outbox.event"
                 " where id <= 1000");
    ck_assert_str_eq(due_of(10, MANY_BYTES), "1001");
    ck_assert(!last.full);
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
}
END_TEST

START_TEST(rows_that_are_sent_or_gone_are_cleaned_away)
{
    open_source();
    append_and_read("t/a t/a t/a t/b t/b t/ t/p t/p");
    hold("1r 2b 3b 4r 5b 6r 7p 8p");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id in (1, 2, 7); delete from outbox.event where id in (4, 6)");
    ck_assert_str_eq(due(), "3 5");
    ck_assert_str_eq(held(), "3:blocked* 4:discarded 5:blocked* 6:discarded 7:paused 8:paused");
    ck_assert_str_eq(due(), "3 5");
    ck_assert_str_eq(topic_of("t", 1), "");
    ck_assert(last.full);
    ck_assert_str_eq(topic_of("t", 1), "8");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct error_code, ' ') from outbox.held"
                                    " where state = 'discarded'"), "EVENT_GONE");
}
END_TEST

START_TEST(paused_rows_are_read_by_topic_in_order)
{
    open_source();
    append_and_read("t/a u/a t/ t/b u/c t/a");
    hold("6p 4p 3p 2p 1r 5r");
    ck_assert_str_eq(topic_of("t", 2), "3 4");
    ck_assert(last.full);
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
    ck_assert_int_eq(rows[3]->held_as, HELD_TOPIC);
    ck_assert_str_eq(topic_of("t", 10), "3 4 6");
    ck_assert(!last.full);
    ck_assert_str_eq(topic_of("u", 10), "2");
    ck_assert_str_eq(topic_of("none", 10), "");
    ck_assert_str_eq(due(), "1 5");
}
END_TEST

START_TEST(reading_what_is_held_leaves_the_cursor_alone)
{
    open_source();
    append_and_read("t/a t/b");
    mark("2");
    hold("1r");
    append("t/c");
    ck_assert_str_eq(due(), "1");
    read_all();
    ck_assert_str_eq(page_text(), "3");
    (void)topic_of("t", 10);
    renew();
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
}
END_TEST

/* -- taking over ---------------------------------------------------------------------------- */

START_TEST(new_leader_is_told_of_every_key_and_paused_topic_once)
{
    bool skip = _i == 1;

    open_source();
    ck_assert_uint_eq(n_loaded, 0);
    append_and_read("t/a t/a t/b t/b u/a u/a v/x v/y v/ w/ w/z t/dd");
    hold("1r 2b 3d 4b 5d 6d 7p 8p 9r 10p 11s 12d");
    rig_exec(db, "update outbox.held set state = 'discarded' where id = 12");
    open_with(skip);
    ck_assert_str_eq(loaded, skip ? "t/b t/a v/* w/*" : "t/b u/a t/a v/* w/*");
    read_all();
    ck_assert_uint_eq(n_page, 0);
}
END_TEST

START_TEST(many_keys_and_topics_are_loaded_in_pieces)
{
    open_source();
    append_keys(N_KEYS);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, case when id % 2 = 0 then 'retrying' else 'dead' end,"
                 " now() from outbox.event;"
                 "insert into outbox.held (id, bucket, topic, key, state)"
                 " select -n, 0, 'p' || n / 3, 'x', 'paused' from generate_series(0, 2999) n");
    open_source();
    ck_assert_uint_eq(n_loaded, N_KEYS + 1000);
    open_with(true);
    ck_assert_uint_eq(n_loaded, N_KEYS / 2 + 1000);
}
END_TEST

/* With each the database renews the lease: for a core that hears nothing of it it would end. */
START_TEST(pieces_that_name_no_new_key_are_told_as_well)
{
    open_source();
    append_keys(N_KEYS);
    append_keys(N_KEYS);
    rig_execf(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                  " select id, bucket, topic, key, case when id <= %d then 'dead' else 'retrying' end,"
                  " now() from outbox.event", N_KEYS);
    open_source();
    ck_assert_uint_eq(n_loaded, N_KEYS);
    ck_assert_uint_ge(n_pieces, 2 * (N_KEYS / 2000));
}
END_TEST

enum { ANSWERS = 8 }; /* more than it takes to load two keys */

/* A dead row becomes a live one when a person retries it, which may be between any two steps of the loading. Half of
 * the rounds have a live key as well, before it in their order. */
START_TEST(key_of_a_row_that_is_retried_meanwhile_is_told_all_the_same)
{
    const struct timespec server_acts = { .tv_nsec = 20 * 1000 * 1000 };
    bool led = false;

    open_source();
    append_and_read("t/a u/a");
    hold(_i < ANSWERS ? "1r 2d" : "2d");
    loaded[0] = '\0';
    source_acquire(src, now());
    for (int answers = 0; answers < _i % ANSWERS && !led; answers++) {
        (void)nanosleep(&server_acts, NULL);
        led = turn(src, SOURCE_LEASE, 0);
    }
    (void)nanosleep(&server_acts, NULL);
    rig_exec(db, "update outbox.held set state = 'retrying', next_attempt_at = now() where id = 2");
    if (!led)
        wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_msg(strstr(loaded, "u/a") != NULL, "after %d answers: %s", _i % ANSWERS, loaded);
}
END_TEST

START_TEST(lease_that_is_lost_while_loading_does_not_begin)
{
    open_source();
    append_keys(N_KEYS);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, 'retrying', now() from outbox.event");
    source_acquire(src, now());
    while (!turn(src, SOURCE_HELD_KEYS, 1))
        ;
    rig_exec(db, "update outbox.relay set epoch = epoch + 1");
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
}
END_TEST

/* -- cost ----------------------------------------------------------------------------------- */

static char plan_text[MAX_TEXT];

/* The first run also plans and fills the caches. All in a transaction that is rolled back. */
static void explain(const char *execute)
{
    char sql[4000];
    size_t at = 0;

    snprintf(sql, sizeof sql, "explain (analyze, buffers, timing off) execute %s", execute);
    rig_exec(a, "begin");
    rig_exec(a, sql);
    rig_exec(a, "rollback; begin");
    PGresult *res = PQexec(a, sql);
    ck_assert_msg(PQresultStatus(res) == PGRES_TUPLES_OK, "%s", PQerrorMessage(a));
    for (int i = 0; i < PQntuples(res); i++)
        at += (size_t)snprintf(plan_text + at, sizeof plan_text - at, "%s\n",
                               PQgetvalue(res, i, 0));
    ck_assert_uint_lt(at, sizeof plan_text);
    PQclear(res);
    rig_exec(a, "rollback");
}

static long number_behind(const char *line, const char *word)
{
    const char *at = strstr(line, word), *end = strchr(line, '\n');

    return at != NULL && at < end ? atol(at + strlen(word)) : 0;
}

/* The first such line belongs to the top of the plan. */
static void expect_cheap(const char *execute, long most)
{
    explain(execute);
    const char *line = strstr(plan_text, "Buffers: shared");
    long n = line != NULL ? number_behind(line, "hit=") + number_behind(line, "read=") : 0;

    if (n < most && strstr(plan_text, "Seq Scan") == NULL)
        return;
    fputs(plan_text, stderr); /* longer than what libcheck takes as a message */
    ck_abort_msg("%ld buffers, or a scan of a table; the plan is above", n);
}

static void prepare_all(void)
{
    rig_exec(a, SQL_SESSION " select 1");
    rig_exec(a, SQL_PREPARE_HOLD SQL_PREPARE("outbox_read_due", "bool, bigint, bigint", SQL_READ_DUE)
                    SQL_PREPARE("outbox_read_topic", "text, bigint, bigint", SQL_READ_TOPIC));
}

/* With statistics and without: the tables may have been filled since the last analyze. */
START_TEST(large_group_is_read_by_its_index)
{
    open_source();
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't', 'x', 'k'"
                  " from generate_series(1, %d);"
                  "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                  " select id, bucket, topic, key, 'blocked', case id when 1 then now() end"
                  " from outbox.event;"
                  "insert into outbox.held (id, bucket, topic, key, state)"
                  " select 1000000 + n, 0, 'p', 'k', 'paused' from generate_series(1, %d) n;"
                  "insert into outbox.held (id, bucket, topic, key, state)"
                  " select 2000000 + n, 0, 't', 'k', 'dead' from generate_series(1, %d) n",
              N_GROUP, N_GROUP, N_GROUP);
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.held");
    rig_exec(db, "insert into outbox.event (topic, type, key) values ('t', 'x', 'k')");
    prepare_all();
    expect_cheap("outbox_read_due (false, 10, 1000000)", 300);
    expect_cheap("outbox_read_topic ('p', 10, 1000000)", 300);
    char execute[300];
    int bucket = (int)rig_scalar_i64(db, "select bucket from outbox.event where id = 100001");
    snprintf(execute, sizeof execute, "outbox_hold (1, false, '{100001}', '{%d}', '{blocked}', '{0}',"
                                      " '{0}', '{f}', '{f}', '{null}', '{null}')", bucket);
    expect_cheap(execute, 200);
    ck_assert_ptr_nonnull(strstr(plan_text, "held_key_idx"));
    expect_cheap("outbox_unhold ('{1}', '{1}')", 100);
    snprintf(execute, sizeof execute, "outbox_settle (null, '{1}', '{%d}', false, '{t}')", bucket);
    expect_cheap(execute, 100);
    expect_cheap("outbox_load_begin (1)", 100);
    expect_cheap("outbox_load_dead (1, 1000, '', '', 2000, true)", 100);
    expect_cheap("outbox_load_live (1, 1000, '', '', 2000, true)", 100);
    expect_cheap("outbox_load_topics (1, 1000, '', '', 2000, true)", 100);
    expect_cheap("outbox_heal (false, '', '', 500)", 100);
}
END_TEST

/* Every third key has nothing but live rows, every third nothing but a dead one; all have one topic. */
START_TEST(many_groups_are_read_by_their_indexes)
{
    open_source();
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't', 'x', n::text::bytea"
                  " from generate_series(1, %d) n;"
                  "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                  " select id, bucket, topic, key, case when id %% 3 < 2 then 'retrying' else 'dead' end,"
                  " case when id %% 3 < 2 then now() end from outbox.event",
              N_GROUP);
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.held");
    prepare_all();
    expect_cheap("outbox_read_due (false, 10, 1000000)", 600);
    expect_cheap("outbox_read_due (true, 10, 1000000)", 600);
    expect_cheap("outbox_heal (false, '', '', 100)", 3000);
    expect_cheap("outbox_load_dead (1, 1000, '', '', 100, true)", 1500);
    expect_cheap("outbox_load_live (1, 1000, '', '', 100, true)", 2500);
    int bucket = (int)rig_scalar_i64(db, "select bucket from outbox.event where id = 1");
    char execute[300];
    snprintf(execute, sizeof execute, "outbox_settle (null, '{1,2}', '{%d,%d}', false, '{t,t}')",
             bucket, bucket);
    expect_cheap(execute, 200);
    snprintf(execute, sizeof execute, "outbox_hold (1, false, '{1,2}', '{%d,%d}', '{blocked,blocked}',"
                                      " '{0,0}', '{0,0}', '{f,f}', '{f,f}', '{null,null}', '{null,null}')",
             bucket, bucket);
    expect_cheap(execute, 300);
}
END_TEST

START_TEST(sweep_looks_at_its_piece_only)
{
    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x', 'k'"
                 " from generate_series(1, 200000);"
                 "insert into outbox.sent (bucket, id) select bucket, id from outbox.event;"
                 "update outbox.relay set cursor_id = 200000, cursor_snapshot = pg_current_snapshot()");
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.sent");
    prepare_all();
    expect_cheap("outbox_sweep (1, 100000, 5000)", 5000 * 8); /* a probe of sent and of held each */
    expect_cheap("outbox_sweep (1, 200000, 5000)", 200);
}
END_TEST

Suite *suite_held_due(void);

Suite *suite_held_due(void)
{
    Suite *s = suite_create("held_due");

    TCase *tc = rig_case(s, "due", setup, teardown);
    tcase_add_test(tc, due_rows_come_when_their_time_has_come);
    tcase_add_loop_test(tc, group_goes_up_to_the_first_row_that_must_wait, 0, 2);
    tcase_add_test(tc, orphan_in_front_goes_with_the_row_that_is_due);
    tcase_add_test(tc, due_page_is_cut_by_rows_and_by_bytes);
    tcase_add_test(tc, groups_that_cannot_move_do_not_hide_others);
    tcase_add_test(tc, rows_that_are_sent_or_gone_are_cleaned_away);
    tcase_add_test(tc, paused_rows_are_read_by_topic_in_order);
    tcase_add_test(tc, reading_what_is_held_leaves_the_cursor_alone);

    tc = rig_case(s, "takeover", setup, teardown);
    tcase_add_loop_test(tc, new_leader_is_told_of_every_key_and_paused_topic_once, 0, 2);
    tcase_add_test(tc, many_keys_and_topics_are_loaded_in_pieces);
    tcase_add_test(tc, pieces_that_name_no_new_key_are_told_as_well);
    tcase_add_loop_test(tc, key_of_a_row_that_is_retried_meanwhile_is_told_all_the_same, 0, 2 * ANSWERS);
    tcase_add_test(tc, lease_that_is_lost_while_loading_does_not_begin);

    tc = rig_case(s, "cost", setup, teardown);
    tcase_add_loop_test(tc, large_group_is_read_by_its_index, 0, 2);
    tcase_add_loop_test(tc, many_groups_are_read_by_their_indexes, 0, 2);
    tcase_add_loop_test(tc, sweep_looks_at_its_piece_only, 0, 2);
    return s;
}
