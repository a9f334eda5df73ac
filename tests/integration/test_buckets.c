/* test_buckets.c - emptying a bucket: what may go, what stays, who is in the way. Against a real server (buckets.h). */
#include "tests/integration/buckets.h"

/* -- what goes and what stays ----------------------------------------------------------------- */

START_TEST(sent_events_go_with_their_marks)
{
    append(db, 10);
    rig_exec(db, "insert into outbox.event (bucket, topic, type) values (2, 't', 'x'), (4, 't', 'x')");
    mark("true");
    empties();
    ck_assert_int_eq(last.n_events, 10);
    ck_assert_int_eq(last.n_moved, 0);
    ck_assert_int_gt(last.n_bytes, 0);
    ck_assert_str_eq(buckets(), "4:1 2:1");
    ck_assert_str_eq(count("outbox.sent"), "2");
    ck_assert_int_eq(rig_scalar_i64(db, "select pg_relation_size('outbox.event_3')"), 0);
    append(db, 1);
    ck_assert_str_eq(rig_scalar(db, "select max(id) from outbox.event"), "13");
}
END_TEST

START_TEST(an_event_that_is_not_sent_stays_with_its_bucket)
{
    append(db, 10);
    mark("id <> 7");
    walk_says(WALK_UNRESOLVED);
    ck_assert_int_eq(last.id, 7);
    walk_says(WALK_UNRESOLVED);
    mark("id = 7");
    empties();
    ck_assert_str_eq(buckets(), "");
}
END_TEST

START_TEST(held_events_are_kept_whole_and_discarded_ones_go)
{
    char before[2000];
    static const char all[] = "select string_agg((to_jsonb(e) - 'bucket')::text || coalesce((to_jsonb(s) - "
                              "'bucket')::text, ''), ' ' order by e.id) from outbox.event e "
                              "left join outbox.sent s on s.bucket = e.bucket and s.id = e.id where e.id < 7";

    append(db, 10);
    mark("id > 5 and id <> 7");
    hold("id = 1", "dead");
    hold("id = 2", "blocked");
    hold("id = 3", "paused");
    hold("id = 4", "retrying");
    hold("id in (5, 6)", "scheduled"); /* 6 is sent, and not yet cleaned away */
    hold("id = 7", "discarded");
    snprintf(before, sizeof before, "%s", rig_scalar(db, all));
    empties();
    ck_assert_int_eq(last.n_moved, 6);
    ck_assert_str_eq(buckets(), "-1:6");
    ck_assert_str_eq(rig_scalar(db, all), before);
    ck_assert_str_eq(status(), "1:dead 2:blocked 3:paused 4:retrying 5:scheduled 6:sent");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id || '/' || bucket, ' ' order by id) from outbox.held"),
                     "1/-1 2/-1 3/-1 4/-1 5/-1 6/-1");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id || '/' || bucket, ' ') from outbox.sent"), "6/-1");
}
END_TEST

START_TEST(kept_event_goes_its_way)
{
    struct source_mark m = { .id = 1, .partition = 2, .offset = 3, .bucket = BUCKET, .held = true };
    struct source_hold h = { .state = HOLD_DEAD, .attempts = 1 };

    append(db, 3);
    read_all();
    mark("id = 3");
    hold("id = 1", "retrying");
    hold("id = 2", "paused");
    rig_exec(db, "update outbox.held set next_attempt_at = now() where id = 1");
    source_read_due(src, now(), 10, 1 << 20);
    wait_for(SOURCE_DUE_PAGE);
    ck_assert_uint_eq(last.n_rows, 1);
    ck_assert_int_eq(rows[1]->bucket, BUCKET);
    empties(); /* while it is in the relay's hands */
    h.row = rows[2];
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    source_mark(src, now(), &m, 1);
    wait_for(SOURCE_MARKED);
    ck_assert_str_eq(status(), "1:sent 2:dead");
    ck_assert_str_eq(rig_scalar(db, "select id || '/' || bucket from outbox.held"), "2/-1");
    /* a new leader meets neither again, and the dead one when it is wanted */
    open_source();
    read_all();
    ck_assert_uint_eq(last.n_rows, 0);
    rig_exec(db, "update outbox.held set state = 'retrying', next_attempt_at = now()");
    source_read_due(src, now(), 10, 1 << 20);
    wait_for(SOURCE_DUE_PAGE);
    ck_assert_uint_eq(last.n_rows, 1);
    ck_assert_int_eq(rows[2]->bucket, -1);
}
END_TEST

START_TEST(a_bucket_is_emptied_again_when_it_has_filled)
{
    append(db, 3);
    mark("id <> 2");
    hold("id = 2", "dead");
    empties();
    mark("id = 2");
    rig_exec(db, "delete from outbox.held");
    append(db, 2);
    mark("true");
    empties();
    ck_assert_int_eq(last.n_events, 2);
    ck_assert_str_eq(status(), "2:sent");
}
END_TEST

START_TEST(a_large_bucket_is_walked_in_pieces)
{
    append(db, 45000);
    mark("id <> 30000");
    walk_says(WALK_MORE);
    walk_says(WALK_UNRESOLVED);
    ck_assert_int_eq(last.id, 30000);
    mark("id = 30000");
    walk_says(WALK_MORE); /* from where it stood */
    empties();
    ck_assert_int_eq(last.n_events, 45000);
}
END_TEST

START_TEST(too_much_to_move_stays)
{
    append(db, 10001);
    if (_i == 0) {
        hold("true", "paused");
        walk_says(WALK_CROWDED);
        rig_exec(db, "delete from outbox.held where id = 5000");
        mark("id = 5000");
        empties();
        ck_assert_int_eq(last.n_moved, 10000);
    } else {
        rig_execf(db, "insert into outbox.event (bucket, created_at, topic, type, payload) select %d, " OLD ", "
                      "'t', 'x', (select string_agg(sha256(j::text::bytea), '') from "
                      "generate_series(1, 32768) j) from generate_series(1, 70) i", BUCKET);
        mark("id <= 10001");
        hold("id > 10001", "dead");
        walk_says(WALK_DONE);
        empty_says(EMPTYING_CROWDED);
        ck_assert_str_eq(buckets(), "3:10071");
        rig_exec(db, "update outbox.held set state = 'discarded'"); /* that stays nowhere */
        empties();
        ck_assert_int_eq(last.n_moved, 0);
        ck_assert_str_eq(buckets(), "");
    }
}
END_TEST

/* -- what comes between the walk and the lock ------------------------------------------------- */

static const struct {
    const char *before, *between;
    enum source_emptying says;
    const char *left;
} since_the_walk[] = {
    /* a low id that is committed late, by a transaction older than the walk */
    { "commit late", "", EMPTYING_CHANGED, "3:12" },
    { "commit late", "mark", EMPTYING_DONE, "" },
    { "commit late", "hold", EMPTYING_DONE, "-1:1" },
    { "commit late", "discard", EMPTYING_DONE, "" },
    { "commit late", "mark; make young", EMPTYING_CHANGED, "3:12" },
    /* one of a transaction that began later */
    { "", "append", EMPTYING_CHANGED, "3:12" },
    { "", "append; mark", EMPTYING_DONE, "" },
    { "", "append; hold", EMPTYING_DONE, "-1:1" },
    { "", "append; mark; make young", EMPTYING_CHANGED, "3:12" },
    /* and what became of those that were held */
    { "hold one", "", EMPTYING_DONE, "-1:1" },
    { "hold one", "let go", EMPTYING_CHANGED, "3:11" },
    { "hold one", "let go; mark", EMPTYING_DONE, "" },
    { "hold one", "wrong bucket", EMPTYING_DONE, "-1:1" },
    { "hold one", "discard", EMPTYING_DONE, "" },
};

/* What each word of `what` stands for; `late`: the low id came from a transaction older than the walk. */
static void happens(const char *what, bool late)
{
    if (strstr(what, "append") != NULL)
        append(db, 1);
    if (strstr(what, "let go") != NULL)
        rig_exec(db, "delete from outbox.held");
    if (strstr(what, "mark") != NULL)
        mark("true");
    if (strstr(what, "hold") != NULL)
        hold("id not in (select id from outbox.sent)", "paused");
    if (strstr(what, "discard") != NULL && late)
        hold("id not in (select id from outbox.sent)", "discarded");
    else if (strstr(what, "discard") != NULL)
        rig_exec(db, "update outbox.held set state = 'discarded'");
    if (strstr(what, "wrong bucket") != NULL)
        rig_exec(db, "update outbox.held set bucket = 5");
    if (strstr(what, "make young") != NULL)
        rig_exec(db, "update outbox.event set created_at = now() where id in (1, 12) and xid = "
                     "(select max(xid::text::bigint)::text::xid8 from outbox.event)");
    if (strstr(what, "make young") != NULL && late) /* its xid is the lower one */
        rig_exec(db, "update outbox.event set created_at = now() where id = 1");
}

START_TEST(what_came_since_the_walk_is_looked_at_under_the_lock)
{
    const char *before = since_the_walk[_i].before, *between = since_the_walk[_i].between;
    enum source_emptying says = since_the_walk[_i].says;
    bool late = strcmp(before, "commit late") == 0;

    if (late) {
        rig_exec(a, "begin");
        append(a, 1);
    }
    append(db, 11);
    if (strcmp(before, "hold one") == 0)
        hold("id = 5", "dead");
    mark("id not in (select id from outbox.held)");
    walk_says(WALK_DONE);
    if (late)
        rig_exec(a, "commit");
    happens(between, late);
    empty_says(says);
    ck_assert_str_eq(buckets(), since_the_walk[_i].left);
    ck_assert_str_eq(count("outbox.event e where not exists (select from outbox.sent s where s.id = e.id and "
                           "s.bucket = e.bucket) and not exists (select from outbox.held h where h.id = e.id)"),
                     says == EMPTYING_CHANGED && strstr(between, "mark") == NULL ? "1" : "0");
    ck_assert_str_eq(count("outbox.held h where not exists (select from outbox.event e where e.id = h.id)"), "0");
}
END_TEST

/* All that counts is what the first piece saw, however long the walk takes. */
START_TEST(a_late_commit_between_two_pieces_is_looked_at)
{
    rig_exec(a, "begin");
    append(a, 1);
    append(db, 30000);
    mark("true");
    walk_says(WALK_MORE);
    rig_exec(a, "commit");
    walk_says(WALK_DONE);
    empty_says(EMPTYING_CHANGED);
    ck_assert_str_eq(buckets(), "3:30001");
    walk_says(WALK_UNRESOLVED);
    ck_assert_int_eq(last.id, 1);
}
END_TEST

/* Not all of it is looked at, so nothing is known of the rest. */
START_TEST(too_much_that_came_since_the_walk_stays)
{
    append(db, 1);
    mark("true");
    walk_says(WALK_DONE);
    append(db, 10002);
    mark("id <= 10002"); /* the last is the first that is not looked at */
    empty_says(EMPTYING_CHANGED);
    ck_assert_str_eq(buckets(), "3:10003");
    mark("true");
    empties();
}
END_TEST

START_TEST(who_lost_the_lead_empties_nothing)
{
    append(db, 3);
    mark("id < 3");
    hold("id = 3", "dead");
    walk_says(WALK_DONE);
    rig_exec(db, "update outbox.relay set epoch = epoch + 1");
    empty_says(EMPTYING_NOT_LEADING);
    ck_assert_str_eq(buckets(), "3:3");
    ck_assert_str_eq(status(), "1:sent 2:sent 3:dead");
}
END_TEST

START_TEST(a_takeover_waits_for_the_emptying_and_the_other_way_round)
{
    append(db, 3);
    mark("true");
    walk_says(WALK_DONE);
    rig_exec(a, "begin; update outbox.relay set epoch = epoch + 1");
    empty_says(EMPTYING_LOCKED); /* the takeover is under way */
    rig_exec(a, "commit");
    walk_says(WALK_DONE);
    empty_says(EMPTYING_NOT_LEADING);
    ck_assert_str_eq(buckets(), "3:3");
}
END_TEST

/* Rows of a dump carry transaction ids that this cluster has not reached. */
START_TEST(rows_of_another_cluster_go_as_well)
{
    static const char foreign[] =
        "insert into outbox.event (xid, id, bucket, created_at, topic, type) overriding system value "
        "select '1000000000000'::xid8, i, 3, " OLD ", 't', 'x' from generate_series(%d, %d) i";

    rig_execf(db, foreign, 1, 12000);
    mark("true");
    open_source(); /* finds the floor */
    ck_assert_int_eq(rig_scalar_i64(db, "select floor_id from outbox.relay"), 12000);
    walk_says(WALK_DONE);
    rig_execf(db, foreign, 12001, 12001); /* above it: is looked at */
    empty_says(EMPTYING_CHANGED);
    mark("true");
    empties();
    ck_assert_int_eq(last.n_events, 12001);
    ck_assert_str_eq(buckets(), "");
}
END_TEST

START_TEST(a_default_of_isolation_changes_nothing)
{
    rig_exec(db, "do $$ begin execute format('alter database %I set default_transaction_isolation = "
                 "''repeatable read''', current_database()); end $$");
    open_source();
    rig_exec(db, "do $$ begin execute format('alter database %I reset default_transaction_isolation', "
                 "current_database()); end $$");
    append(db, 2);
    mark("true");
    empties();
    ck_assert_str_eq(rig_sqlstate(db, "begin isolation level repeatable read; select outbox.empty_bucket(3::smallint,"
                                      " 1, '0', pg_current_snapshot(), '{}')"), "25001");
    rig_exec(db, "rollback");
}
END_TEST

/* -- who is in the way ------------------------------------------------------------------------ */

START_TEST(gives_up_when_the_lock_is_not_to_be_had_and_says_who_has_it)
{
    static const char *const locks[] = {
        "begin; lock table outbox.event_3 in access share mode", /* as pg_dump has it */
        "begin; lock table outbox.sent_3 in access share mode",
        "begin; insert into outbox.event (bucket, topic, type) values (3, 't', 'late')",
        ("begin; insert into outbox.event (bucket, topic, type) values (3, 't', 'late'); "
         "prepare transaction 'two phases'"),
        "begin; select from outbox.event limit 1",
    };
    bool prepared = strstr(locks[_i], "prepare") != NULL;

    append(db, 3);
    mark("id < 3");
    hold("id = 3", "dead");
    walk_says(WALK_DONE);
    rig_exec(a, locks[_i]);
    empty_says(EMPTYING_LOCKED);
    ck_assert_int_eq(last.holder.prepared, prepared);
    ck_assert_str_eq(last.holder.name, prepared ? "two phases" : "shop");
    ck_assert_int_eq(last.holder.pid, prepared ? 0 : PQbackendPID(a));
    ck_assert_int_ge(last.holder.age_ms, 0);
    ck_assert_str_eq(buckets(), "3:3");
    ck_assert_str_eq(status(), "1:sent 2:sent 3:dead");
    rig_exec(a, prepared ? "rollback prepared 'two phases'" : "rollback");
    empties();
    ck_assert_str_eq(buckets(), "-1:1");
}
END_TEST

START_TEST(late_commit_into_an_old_bucket_is_not_lost)
{
    append(db, 3);
    rig_exec(a, "begin; insert into outbox.event (bucket, created_at, topic, type) values (3, " OLD ", 't', 'late')");
    mark("true");
    walk_says(WALK_DONE);
    empty_says(EMPTYING_LOCKED);
    rig_exec(a, "commit");
    walk_says(WALK_UNRESOLVED);
    ck_assert_int_eq(last.id, 4);
    read_all();
    ck_assert_ptr_nonnull(rows[4]);
}
END_TEST

/* Its transaction id and its place tell nothing: as of a data-only copy that was restored. */
START_TEST(row_copied_in_while_the_lock_was_not_to_be_had_is_not_lost)
{
    append(db, 3);
    rig_exec(db, "delete from outbox.event where id = 2");
    mark("true");
    rig_exec(a, "begin; insert into outbox.event (xid, id, bucket, created_at, topic, type) "
                "overriding system value values ('10', 2, 3, " OLD ", 't', 'restored')");
    walk_says(WALK_DONE);
    empty_says(EMPTYING_LOCKED);
    rig_exec(a, "commit");
    walk_says(WALK_UNRESOLVED);
    ck_assert_int_eq(last.id, 2);
    ck_assert_str_eq(buckets(), "3:3");
}
END_TEST

/* -- what was kept ---------------------------------------------------------------------------- */

static void tidy(int64_t n)
{
    source_tidy(src, now(), RETENTION_MS);
    wait_for(SOURCE_TIDIED);
    ck_assert(!last.failed);
    ck_assert_int_eq(last.n_events, n);
}

START_TEST(kept_events_leave_when_they_are_resolved_and_old)
{
    append(db, 6);
    hold("true", "dead");
    empties();
    tidy(0);
    mark("id in (1, 2, 3)");
    rig_exec(db, "update outbox.event set created_at = now() where id in (2, 5);"
                 "delete from outbox.held where id in (1, 2);" /* 3 is sent and held still */
                 "update outbox.held set state = 'discarded' where id in (4, 5)");
    tidy(2);
    ck_assert_str_eq(status(), "2:sent 3:sent 5:discarded 6:dead");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.held"), "3 5 6");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.sent"), "2 3");
    rig_exec(db, "update outbox.event set created_at = " OLD "; delete from outbox.held where id = 3");
    rig_exec(db, "update outbox.relay set epoch = epoch + 1");
    tidy(0);
    rig_exec(db, "update outbox.relay set epoch = epoch - 1");
    rig_exec(a, "begin; select from outbox.held where id = 5 for update");
    tidy(2);
    rig_exec(a, "rollback");
    tidy(1);
    ck_assert_str_eq(status(), "6:dead");
}
END_TEST

START_TEST(kept_events_are_tidied_in_pieces)
{
    append(db, 7000);
    hold("true", "dead");
    empties();
    mark("true");
    rig_exec(db, "delete from outbox.held");
    tidy(5000);
    ck_assert(last.full);
    tidy(2000);
    ck_assert(!last.full);
    ck_assert_str_eq(count("outbox.event"), "0");
    ck_assert_str_eq(count("outbox.sent"), "0");
}
END_TEST

Suite *suite_buckets(void);

Suite *suite_buckets(void)
{
    Suite *s = suite_create("buckets");
    TCase *tc = tcase_create("emptying"), *since = tcase_create("since"), *way = tcase_create("way"),
          *kept = tcase_create("kept");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_checked_fixture(since, setup, teardown);
    tcase_add_checked_fixture(way, setup, teardown);
    tcase_add_checked_fixture(kept, setup, teardown);
    tcase_add_test(tc, sent_events_go_with_their_marks);
    tcase_add_test(tc, an_event_that_is_not_sent_stays_with_its_bucket);
    tcase_add_test(tc, held_events_are_kept_whole_and_discarded_ones_go);
    tcase_add_test(tc, kept_event_goes_its_way);
    tcase_add_test(tc, a_bucket_is_emptied_again_when_it_has_filled);
    tcase_add_test(tc, a_large_bucket_is_walked_in_pieces);
    tcase_add_loop_test(tc, too_much_to_move_stays, 0, 2);
    tcase_add_test(since, a_late_commit_between_two_pieces_is_looked_at);
    tcase_add_loop_test(since, what_came_since_the_walk_is_looked_at_under_the_lock, 0, 14);
    tcase_add_test(since, too_much_that_came_since_the_walk_stays);
    tcase_add_test(since, who_lost_the_lead_empties_nothing);
    tcase_add_test(since, a_takeover_waits_for_the_emptying_and_the_other_way_round);
    tcase_add_test(since, rows_of_another_cluster_go_as_well);
    tcase_add_test(tc, a_default_of_isolation_changes_nothing);
    tcase_add_loop_test(way, gives_up_when_the_lock_is_not_to_be_had_and_says_who_has_it, 0, 5);
    tcase_add_test(way, late_commit_into_an_old_bucket_is_not_lost);
    tcase_add_test(way, row_copied_in_while_the_lock_was_not_to_be_had_is_not_lost);
    tcase_add_test(kept, kept_events_leave_when_they_are_resolved_and_old);
    tcase_add_test(kept, kept_events_are_tidied_in_pieces);
    suite_add_tcase(s, tc);
    suite_add_tcase(s, since);
    suite_add_tcase(s, way);
    suite_add_tcase(s, kept);
    return s;
}
