/* test_buckets_of_others.c - emptying and tidying where others have put policies and publications upon the tables. See
 * buckets.h. */
#include "tests/integration/buckets.h"

/* TRUNCATE asks no policy. */
START_TEST(bucket_with_events_that_are_hidden_is_not_emptied)
{
    append(db, 3);
    mark("id <> 2");
    rig_exec(db, "create policy hides on outbox.event_3 for select using (id <> 2);"
                 "alter table outbox.event_3 enable row level security");
    walk_says(WALK_DONE);
    source_empty(src, now(), RETENTION_MS);
    wait_for(SOURCE_EMPTIED);
    bool failed = last.failed;
    rig_exec(db, "alter table outbox.event_3 disable row level security; drop policy hides on outbox.event_3");
    ck_assert(failed);
    ck_assert_str_eq(status(), "1:sent 2:pending 3:sent");
    walk_says(WALK_UNRESOLVED);
}
END_TEST

START_TEST(kept_events_leave_where_all_tables_are_published)
{
    append(db, 3);
    hold("true", "dead");
    empties();
    mark("id = 1");
    rig_exec(db, "delete from outbox.held where id = 1; update outbox.held set state = 'discarded' where id = 2;"
                 "set client_min_messages = error; create publication everything for all tables");
    source_tidy(src, now(), RETENTION_MS);
    wait_for(SOURCE_TIDIED);
    rig_exec(db, "drop publication everything");
    ck_assert(!last.failed);
    ck_assert_str_eq(status(), "3:dead");
}
END_TEST

Suite *suite_buckets_of_others(void);

Suite *suite_buckets_of_others(void)
{
    Suite *s = suite_create("buckets_of_others");
    TCase *tc = tcase_create("others");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bucket_with_events_that_are_hidden_is_not_emptied);
    tcase_add_test(tc, kept_events_leave_where_all_tables_are_published);
    suite_add_tcase(s, tc);
    return s;
}
