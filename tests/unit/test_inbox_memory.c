/* test_inbox_memory.c - how much libinbox has in memory, while a key fails: its partition pauses, the others go on. */
#include "tests/unit/inbox_parts.h"

enum { OTHERS = 12 };

/* An event of the key "hot" of p, while it is fetched. Returns whether it came. */
static bool hot_comes(int64_t offset)
{
    struct inbox__raw raw = { .topic = "t", .offset = offset, .key = "hot", .key_len = 3 };
    struct inbox__record *r;

    inbox__partitions_pressure(c);
    if (p->paused)
        return false;
    r = inbox__record_new(&raw);
    ck_assert_ptr_nonnull(r);
    r->item.part = &p->part;
    inbox__window_add(&c->window, &r->item);
    return true;
}

/* The first of them fails, and as many come as may. */
static void fill_behind_a_failure(void)
{
    struct inbox__item *item;
    int64_t offset = 0;

    ck_assert(hot_comes(offset++));
    ck_assert_uint_eq(inbox__window_take(&c->window, now_ms, &item, 1), 1);
    inbox__window_failed(&c->window, item, now_ms, now_ms + 1000);
    while (hot_comes(offset))
        offset++;
}

static struct inbox__partition *assign_another(int32_t number)
{
    struct inbox__partition *another = inbox__partition_add(c, "t", number, UINT64_MAX, &start);

    ck_assert_ptr_nonnull(another);
    return another;
}

START_TEST(a_key_that_is_held_pauses_its_partition_only)
{
    struct inbox__partition *calm = assign_another(1);

    assign();
    fill_behind_a_failure();
    ck_assert(p->crowded && !c->full && !calm->paused);
    ck_assert_uint_eq(c->window.n_rows, 26);
    p = calm;
    for (int64_t offset = 0; offset < 1000; offset++) {
        ck_assert(comes(offset, "calm"));
        inbox__partitions_pressure(c);
        ck_assert(!c->full && !calm->paused);
        finish_one();
    }
}
END_TEST

START_TEST(a_partition_that_was_crowded_goes_on)
{
    int64_t next;

    assign();
    fill_behind_a_failure();
    next = p->part.next;
    now_ms += 1000;
    for (int64_t n = 0; n < next; n++) {
        ck_assert_int_eq(inbox__window_position(&p->part), n);
        finish_one();
        inbox__partitions_pressure(c);
        /* Not at once: what Kafka has sent ahead is dropped each time. */
        ck_assert_int_eq(p->paused, 6 * p->part.n_rows > 100 - c->window.n_rows);
    }
    ck_assert(!p->paused && !c->any_crowded);
    ck_assert(hot_comes(next));
}
END_TEST

START_TEST(however_many_are_crowded_memory_is_left)
{
    c->set.inflight_rows = 10000;
    for (int32_t n = 0; n < OTHERS; n++) {
        uint32_t left = 10000 - c->window.n_rows;
        p = assign_another(n);
        fill_behind_a_failure();
        ck_assert(!c->full);
        ck_assert_uint_ge(10000 - c->window.n_rows, left * 3 / 4 - 1);
    }
    assign();
    ck_assert(hot_comes(0));
}
END_TEST

START_TEST(a_partition_may_be_crowded_by_size_too)
{
    c->set.inflight_bytes = 10000;
    c->set.inflight_rows = 1000000;
    assign();
    fill_behind_a_failure();
    ck_assert(p->crowded && !c->full);
    ck_assert_uint_le(c->window.n_bytes, 10000 / 4 + p->part.first->bytes);
}
END_TEST

/* Events that wait may take more of it than the quarter that was to be free. */
START_TEST(a_full_memory_goes_on_although_most_of_it_waits)
{
    struct inbox__partition *calm;
    int64_t offset = 0;

    for (int32_t n = 0; n < 5; n++) {
        p = assign_another(n);
        fill_behind_a_failure();
    }
    p = calm = assign_another(5);
    while (!c->full) { /* as when the database does not answer */
        ck_assert(comes(offset++, "calm"));
        inbox__partitions_pressure(c);
    }
    ck_assert(calm->paused);
    ck_assert(inbox__window_stocked(&c->window, inbox__bound(c), 1000));
    ck_assert_uint_gt(c->window.n_rows - c->window.ready.n, 75);
    while (c->window.ready.n > 0)
        finish_one();
    inbox__partitions_pressure(c);
    ck_assert(!c->full && !calm->paused);
    ck_assert(!inbox__window_stocked(&c->window, inbox__bound(c), 1000));
}
END_TEST

START_TEST(a_crowded_partition_that_is_taken_away_leaves_nothing)
{
    assign();
    fill_behind_a_failure();
    inbox__partition_remove(c, p);
    inbox__partitions_pressure(c);
    ck_assert(!c->any_crowded);
    ck_assert_uint_eq(c->window.n_held_keys, 0);
    assign();
    ck_assert(hot_comes(0));
}
END_TEST

/* The log goes back: what waits is finished first, and then both reasons are gone. */
START_TEST(a_crowded_partition_can_go_back)
{
    assign();
    fill_behind_a_failure();
    ck_assert(!comes(0, "another log"));
    now_ms += 1000;
    while (p->part.first != NULL) {
        inbox__partitions_pressure(c);
        ck_assert(p->paused);
        finish_one();
    }
    inbox__partitions_tend(c, now_ms);
    inbox__partitions_pressure(c);
    ck_assert(!p->paused);
    ck_assert(comes(0, "another log"));
}
END_TEST

Suite *suite_inbox_memory(void);
Suite *suite_inbox_memory(void)
{
    Suite *s = suite_create("inbox_memory");
    TCase *tc = tcase_create("memory");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, a_key_that_is_held_pauses_its_partition_only);
    tcase_add_test(tc, a_partition_that_was_crowded_goes_on);
    tcase_add_test(tc, however_many_are_crowded_memory_is_left);
    tcase_add_test(tc, a_partition_may_be_crowded_by_size_too);
    tcase_add_test(tc, a_full_memory_goes_on_although_most_of_it_waits);
    tcase_add_test(tc, a_crowded_partition_that_is_taken_away_leaves_nothing);
    tcase_add_test(tc, a_crowded_partition_can_go_back);
    suite_add_tcase(s, tc);
    return s;
}
