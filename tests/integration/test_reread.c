/* test_reread.c - what the next reader gets: what is marked and what is not, from the cursor that was saved, on
 * another link, in a restored database. Against a real server; see reads.h.
 */
#include "tests/integration/reads.h"

/* -- catching up ---------------------------------------------------------------------------- */

START_TEST(next_reader_gets_what_is_neither_sent_nor_held)
{
    reader_open();
    for (int i = 0; i < 10; i++)
        append(a, "k");
    expect_read("1 2 3 4 5 6 7 8 9 10");
    mark("1 2 3 5");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, state)"
                 " select id, bucket, topic, 'dead' from outbox.event where id = 7");
    renew(0);
    append(a, "k");
    reader_open();
    expect_read("4 6 8 9 10 11");
    append(a, "k");
    expect_read("12");
}
END_TEST

START_TEST(marks_name_partition_and_offset_and_twice_is_once)
{
    reader_open();
    append(a, "k");
    append(a, "k");
    expect_read("1 2");
    mark("1");
    mark("1 2");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(format('%s:%s:%s', s.id, kafka_partition,"
                                    " kafka_offset), ' ' order by s.id) from outbox.sent s join"
                                    " outbox.event e on e.id = s.id and e.bucket = s.bucket"),
                     "1:3:1 2:3:2");
}
END_TEST

/* A batch of marks of one bucket, of each in turn; then one of all of them. */
START_TEST(marks_go_to_the_leaf_of_their_bucket)
{
    struct source_mark marks[9];

    reader_open();
    for (int16_t bucket = -1; bucket < 8; bucket++) {
        marks[bucket + 1] = (struct source_mark){ .id = 101 + bucket, .offset = 1, .bucket = bucket };
        source_mark(reader, (uint64_t)rig_now_ms(), &marks[bucket + 1], 1);
        wait_for(SOURCE_MARKED);
    }
    ck_assert_str_eq(rig_scalar(db, "select string_agg(tableoid::regclass || ':' || id, ' ' order by id)"
                                    " from outbox.sent"),
                     "outbox.sent_kept:100 outbox.sent_0:101 outbox.sent_1:102 outbox.sent_2:103"
                     " outbox.sent_3:104 outbox.sent_4:105 outbox.sent_5:106 outbox.sent_6:107"
                     " outbox.sent_7:108");
    for (int i = 0; i < 9; i++)
        marks[i].id += 100;
    source_mark(reader, (uint64_t)rig_now_ms(), marks, 9);
    wait_for(SOURCE_MARKED);
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.sent where id = 201 + bucket"), "9");
}
END_TEST

/* What somebody's trigger says is there already is no mark, and sent again at once it would go round for ever. */
START_TEST(marks_that_a_trigger_refuses_as_duplicates_have_failed)
{
    struct source_mark m = { .id = 1, .offset = 1, .bucket = _i == 0 ? 0 : -1 };

    rig_exec(db, "create function public.refuse() returns trigger language plpgsql as "
                 "'begin raise unique_violation; end'; create trigger refuse after insert on outbox.sent"
                 " for each row execute function public.refuse()");
    reader_open();
    source_mark(reader, now(), &m, 1);
    wait_for(SOURCE_MARK_FAILED);
    rig_exec(db, "drop function public.refuse cascade");
    source_mark(reader, now(), &m, 1);
    wait_for(SOURCE_MARKED);
}
END_TEST

/* The database says in which mode each write is committed. */
START_TEST(only_marks_are_committed_without_waiting_and_only_when_asked)
{
    rig_exec(db, "create table public.mode (id int generated always as identity, what text);"
                 "create function public.note_mode() returns trigger language plpgsql as "
                 "'begin insert into public.mode (what) values (tg_argv[0] || '':'' ||"
                 " current_setting(''synchronous_commit'')); return null; end';"
                 "create trigger mode after insert on outbox.sent for each statement"
                 " execute function public.note_mode('mark');"
                 "do $$ begin for b in 0..7 loop execute format('create trigger mode after insert on"
                 " outbox.sent_%s for each statement execute function public.note_mode(''mark'')', b);"
                 " end loop; end $$;"
                 "create trigger mode after update on outbox.relay for each statement"
                 " execute function public.note_mode('lease');"
                 "create trigger mode after delete on outbox.held for each statement"
                 " execute function public.note_mode('held')");
    mark_async = _i == 1;
    reader_open();
    for (int i = 0; i < 3; i++)
        append(a, "k");
    expect_read("1 2 3");
    mark("1");
    mark("1 2"); /* again, the other way */
    renew(0);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state)"
                 " select id, bucket, topic, key, 'retrying' from outbox.event where id = 3");
    mark_rows("3", true);
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.sent"), "3");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct what, ' ' order by what)"
                                    " from public.mode where id <= 4"),
                     _i == 1 ? "lease:on mark:off" : "lease:on mark:on");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct what, ' ' order by what)"
                                    " from public.mode where id > 4"),
                     "held:on mark:on");
    rig_exec(db, "drop trigger mode on outbox.relay;"
                 "drop trigger mode on outbox.held; drop function public.note_mode cascade;"
                 "drop table public.mode");
    mark_async = false;
}
END_TEST

/* The place where the reader stood is one in the history of the old link; a server that crashed, or a standby
 * that was promoted, may have given the ids and transaction ids behind it to others. */
START_TEST(cursor_of_an_earlier_link_is_not_saved)
{
    reader_open();
    append(a, "k");
    expect_read("1");
    rig_exec(db, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'outbox-relay' and datname = current_database()");
    wait_for(SOURCE_DOWN);
    wait_for(SOURCE_UP);
    source_renew(reader, (uint64_t)rig_now_ms(), next_page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    source_resign(reader, (uint64_t)rig_now_ms(), next_page);
    wait_for(SOURCE_RESIGNED);
    ck_assert_str_eq(rig_scalar(db, "select cursor_id || coalesce(owner, ' free') from outbox.relay"), "0 free");
}
END_TEST

/* What a crash of the server may do to transactions that were not on disk: the id is another event's now. */
START_TEST(mark_of_an_earlier_link_is_only_for_the_event_that_was_read)
{
    reader_open();
    append(a, "was");
    append(a, "stays");
    append(a, "goes");
    expect_read("1 2 3");
    rig_exec(db, "select pg_terminate_backend(pid) from pg_stat_activity"
                 " where application_name = 'outbox-relay' and datname = current_database()");
    wait_for(SOURCE_DOWN);
    wait_for(SOURCE_UP);
    rig_exec(db, "delete from outbox.event where id in (1, 3);"
                 " insert into outbox.event (id, topic, type, key) overriding system value values (1, 't', 'x', 'is')");
    mark("1 2 3");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id || ' ' || kafka_partition || ' ' || kafka_offset, ',')"
                                    " from outbox.sent"), "2 3 2");
    mark("2"); /* twice is once here as well */
    source_acquire(reader, (uint64_t)rig_now_ms());
    wait_for(SOURCE_LEASE);
    expect_read("1");
    ck_assert_str_eq(seen_of(1)->key, "is");
    mark("1");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.sent"), "1 2");
}
END_TEST

START_TEST(saved_cursor_stops_before_the_oldest_unsettled_page)
{
    reader_open();
    for (int i = 0; i < 9; i++)
        append(a, "k");
    for (int page = 0; page < 3; page++)
        ck_assert_uint_eq(read_page(3, MANY_BYTES), 3);
    renew(0);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    mark("1 2 3");
    renew(1);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
    mark("7 8 9");
    renew(1);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
    mark("4 5 6");
    renew(3);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 9);
}
END_TEST

START_TEST(saved_cursor_keeps_late_rows_late)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "late");
    append(b, "b");
    read_all(10, MANY_BYTES);
    mark("2");
    rig_exec(a, "commit");
    read_all(10, MANY_BYTES);
    ck_assert_str_eq(new_ids(), "2 1");
    renew(1); /* page 1 holds the late row, and it is not marked */
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 2);
    reader_open();
    expect_read("1");
    mark("1");
    renew(next_page);
    reader_open();
    expect_read("");
}
END_TEST

START_TEST(cursor_in_the_midst_of_a_large_late_read_loses_nothing)
{
    size_t half;

    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", 50);
    append(b, "b");
    read_all(10, MANY_BYTES);
    mark("51");
    rig_exec(a, "commit");
    (void)read_page(10, MANY_BYTES);
    (void)read_page(10, MANY_BYTES);
    mark("1 2 3 4 5 6 7 8 9 10");
    renew(2); /* the second page of late rows is the oldest with work to do */
    half = n_seen;
    ck_assert_uint_eq(half, 21);
    reader_open();
    read_all(10, MANY_BYTES);
    ck_assert_uint_eq(n_seen - half, 40);
    for (size_t i = half; i < n_seen; i++)
        ck_assert_int_eq(seen[i].id, (int64_t)(11 + i - half));
}
END_TEST

START_TEST(reader_whose_epoch_moved_writes_nothing)
{
    struct source *zombie;

    reader_open();
    append(a, "k");
    expect_read("1");
    zombie = reader;
    reader = NULL;
    reader_open(); /* the same name takes the lease */
    struct source *heir = reader;
    reader = zombie;
    source_renew(reader, (uint64_t)rig_now_ms(), 1);
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 0);
    source_resign(reader, (uint64_t)rig_now_ms(), 1);
    wait_for(SOURCE_RESIGNED);
    ck_assert_str_eq(rig_scalar(db, "select owner from outbox.relay"), "test");
    reader_close();
    reader = heir;
    expect_read("1");
}
END_TEST

/* -- restored from another cluster ---------------------------------------------------------- */

#define FAR 1000000000000
#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
/* A transaction id of the other cluster. */
#define FOREIGN(xid) "((" xid ")::text::bigint + " TEXT(FAR) ")::text::xid8"

/* Turns all that is there into what a dump of another cluster would have brought: transaction ids that
 * this cluster has not reached, and a saved cursor of the same kind. */
static void make_foreign(void)
{
    rig_exec(db, "update outbox.event set xid = " FOREIGN("xid") ";"
                 "update outbox.relay set system_identifier = 1,"
                 " cursor_snapshot = format('%s:%s:%s',"
                 " " FOREIGN("pg_snapshot_xmin(cursor_snapshot)") ","
                 " " FOREIGN("pg_snapshot_xmax(cursor_snapshot)") ","
                 " (select string_agg((" FOREIGN("x") ")::text, ',' order by x)"
                 "  from pg_snapshot_xip(cursor_snapshot) x))::pg_snapshot");
}

/* Row 1 was in the xip list of the saved cursor, row 3 at or above its xmax; 2 and 4 are settled, the
 * rest was never read. */
static void save_and_restore(void)
{
    reader_open();
    rig_exec(a, "begin");
    append(a, "k1");
    append(b, "k2");
    rig_exec(b, "begin");
    (void)own_xid(b);
    rig_exec(c, "begin");
    append(c, "k3");
    append(b, "k2");
    rig_exec(b, "commit");
    read_all(10, MANY_BYTES);
    ck_assert_str_eq(new_ids(), "2 4");
    mark("2 4");
    renew(next_page);
    rig_exec(a, "commit");
    rig_exec(c, "commit");
    append(a, "k1");
    append(a, "k2");
    make_foreign();
}

START_TEST(restored_rows_come_all_and_in_order_and_so_do_new_ones)
{
    save_and_restore();
    append(a, "k1"); /* 7, by the new cluster, before the relay was started */
    reader_open();
    expect_read("1 3 5 6 7");
    expect_read("");
    append(a, "k1");
    rig_exec(b, "begin");
    append(b, "k2");
    append(a, "k1");
    expect_read("8 10");
    rig_exec(b, "commit");
    expect_read("9");
    expect_read("");
    ck_assert_int_eq(rig_scalar_i64(db, "select floor_id from outbox.relay"), 6);
}
END_TEST

START_TEST(restored_rows_not_yet_settled_come_again_after_a_crash)
{
    save_and_restore();
    append(a, "k1");
    reader_open();
    expect_read("1 3 5 6 7");
    mark("3 6");
    renew(0);
    reader_open();
    expect_read("1 5 7");
    mark("1 5");
    renew(0);
    reader_open();
    expect_read("7");
    mark("7");
    renew(next_page);
    reader_open();
    expect_read("");
    append(a, "k1");
    expect_read("8");
}
END_TEST

/* As save_and_restore leaves them: with ids of transactions that this cluster has not reached. */
START_TEST(rows_that_are_restored_under_the_reader_do_not_come_again_and_again)
{
    reader_open();
    append(a, "k");
    append(a, "k");
    expect_read("1 2");
    rig_exec(db, "insert into outbox.event (xid, id, topic, type) overriding system value"
                 " select (pg_current_xact_id()::text::bigint + 1000000)::text::xid8, n, 't', 'x'"
                 " from generate_series(10, 12) n");
    expect_read("10 11 12");
    for (int i = 0; i < 3; i++)
        expect_read("");
    rig_exec(db, "alter table outbox.event alter id restart with 20");
    append(a, "k");
    expect_read("20");
    expect_read("");
}
END_TEST

/* More of them than a page holds: late to the cursor, every one. */
START_TEST(many_restored_late_rows_come_page_by_page)
{
    reader_open();
    rig_exec(a, "begin");
    append_series(a, "late", 250);
    append(b, "b");
    read_all(100, MANY_BYTES);
    mark("251");
    renew(next_page);
    rig_exec(a, "commit");
    append(a, "late");
    make_foreign();
    n_seen = 0;
    reader_open();
    read_all(100, MANY_BYTES);
    append(a, "late");
    read_all(100, MANY_BYTES);
    ck_assert_uint_eq(n_seen, 252);
    expect_key_order();
}
END_TEST

START_TEST(restored_without_its_cursor_every_row_comes_in_order)
{
    for (int i = 0; i < 30; i++)
        append(i % 2 == 0 ? a : b, i % 2 == 0 ? "a" : "b");
    make_foreign();
    rig_exec(db, "update outbox.relay set cursor_id = 0, cursor_snapshot = pg_current_snapshot()");
    reader_open();
    read_all(7, MANY_BYTES);
    for (int i = 0; i < 30; i++) {
        append(i % 2 == 0 ? a : b, i % 2 == 0 ? "a" : "b");
        read_all(7, MANY_BYTES);
    }
    expect_all_once();
    expect_key_order();
}
END_TEST

Suite *suite_reread(void);

Suite *suite_reread(void)
{
    Suite *s = suite_create("reread");

    TCase *tc = rig_case(s, "catch_up", setup, teardown);
    tcase_add_test(tc, next_reader_gets_what_is_neither_sent_nor_held);
    tcase_add_test(tc, marks_name_partition_and_offset_and_twice_is_once);
    tcase_add_test(tc, marks_go_to_the_leaf_of_their_bucket);
    tcase_add_loop_test(tc, marks_that_a_trigger_refuses_as_duplicates_have_failed, 0, 2);
    tcase_add_loop_test(tc, only_marks_are_committed_without_waiting_and_only_when_asked, 0, 2);
    tcase_add_test(tc, saved_cursor_stops_before_the_oldest_unsettled_page);
    tcase_add_test(tc, saved_cursor_keeps_late_rows_late);
    tcase_add_test(tc, cursor_in_the_midst_of_a_large_late_read_loses_nothing);
    tcase_add_test(tc, reader_whose_epoch_moved_writes_nothing);

    tc = rig_case(s, "lost", setup, teardown);
    tcase_add_test(tc, mark_of_an_earlier_link_is_only_for_the_event_that_was_read);
    tcase_add_test(tc, cursor_of_an_earlier_link_is_not_saved);

    tc = rig_case(s, "restored", setup, teardown);
    tcase_add_test(tc, restored_rows_come_all_and_in_order_and_so_do_new_ones);
    tcase_add_test(tc, restored_rows_not_yet_settled_come_again_after_a_crash);
    tcase_add_test(tc, rows_that_are_restored_under_the_reader_do_not_come_again_and_again);
    tcase_add_test(tc, many_restored_late_rows_come_page_by_page);
    tcase_add_test(tc, restored_without_its_cursor_every_row_comes_in_order);
    return s;
}
