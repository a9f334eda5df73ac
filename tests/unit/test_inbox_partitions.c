/* test_inbox_partitions.c - what libinbox does with its partitions: claims that take long, a log that goes
 * back, another log under the topic's name, too many events behind a key. Database, Kafka and clock are faked. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/attempts.h"
#include "lib/inbox/inside.h"

enum { BEGIN_MS = 5000, N_MANY = 300 };

/* -- fakes ------------------------------------------------------------------------------------ */

static uint64_t now_ms;
static bool db_answers, kafka_answers;
static struct inbox__place stored;
static unsigned n_begun;
static int64_t begun_at;
static bool was_begun[N_MANY];

/* The type and the function stand first: the Makefile reads them. */
#define FAKE(type, function, parameters)                                                           \
    type __wrap_##function parameters;                                                             \
    type __wrap_##function parameters

FAKE(uint64_t, inbox__now_ms, (void))
{
    return now_ms;
}

FAKE(bool, inbox__db_claim, (struct inbox_consumer *c, const char *topic, int32_t number,
                             struct inbox__place *ret))
{
    (void)c;
    (void)topic;
    (void)number;
    now_ms += 10;
    if (db_answers)
        *ret = stored;
    return db_answers;
}

FAKE(bool, inbox__attempts_load, (struct inbox_consumer *c, struct inbox__partition *p))
{
    (void)c;
    (void)p;
    return db_answers;
}

FAKE(bool, inbox__kafka_begin, (struct inbox_consumer *c, struct inbox__partition *p, int64_t *offset))
{
    (void)c;
    n_begun++;
    begun_at = *offset;
    was_begun[p->number] = true;
    if (!kafka_answers)
        now_ms += BEGIN_MS;
    return kafka_answers;
}

FAKE(void, inbox__kafka_pause, (struct inbox_consumer *c, struct inbox__partition *p, bool pause))
{
    (void)c;
    p->paused = pause;
}

/* -- a consumer ------------------------------------------------------------------------------- */

static struct inbox_consumer *c;
static struct inbox__partition *p;
static int64_t start;

static void begin(void)
{
    now_ms = 1000000;
    db_answers = kafka_answers = true;
    stored = (struct inbox__place){ .next = -1, .witness = { .offset = -1 } };
    n_begun = 0;
    begun_at = -2;
    memset(was_begun, 0, sizeof was_begun);
    c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    c->set.inflight_rows = 100;
    c->set.inflight_bytes = 1000000;
    ck_assert_int_eq(inbox__window_init(&c->window, 100), 0);
}

static void end(void)
{
    inbox__partitions_clear(c);
    inbox__window_deinit(&c->window);
    free(c);
}

static void assign(void)
{
    p = inbox__partition_add(c, "t", 0, UINT64_MAX, &start);
    ck_assert_ptr_nonnull(p);
}

static struct inbox__record *record(int64_t offset, const char *payload)
{
    struct inbox__raw raw = { .topic = "t", .offset = offset, .payload = payload,
                              .payload_len = strlen(payload), .timestamp_ms = 1000 + offset };
    struct inbox__record *r = inbox__record_new(&raw);

    ck_assert_ptr_nonnull(r);
    return r;
}

/* As kafka.c does with a record. Returns whether it is in memory now. */
static bool comes(int64_t offset, const char *payload)
{
    struct inbox__record *r = record(offset, payload);
    bool admitted = inbox__partition_admits(c, p, r);

    if (admitted) {
        r->item.part = &p->part;
        inbox__window_add(&c->window, &r->item);
    } else {
        inbox__record_free(r);
    }
    return admitted;
}

static void finish_one(void)
{
    struct inbox__item *item;

    ck_assert_uint_eq(inbox__window_take(&c->window, now_ms, &item, 1), 1);
    inbox__window_done(&c->window, item);
    inbox__record_free((struct inbox__record *)item);
}

/* As after a restart: what the database would have now. */
static void assign_again(void)
{
    stored.next = inbox__window_position(&p->part);
    stored.witness = inbox__partition_witness(p);
    inbox__partition_remove(c, p);
    assign();
}

/* -- a log that goes back --------------------------------------------------------------------- */

START_TEST(what_is_in_memory_is_finished_before_a_log_goes_back)
{
    assign();
    for (int64_t offset = 100; offset < 103; offset++)
        ck_assert(comes(offset, "old"));
    finish_one();
    ck_assert(!comes(5, "new"));
    ck_assert(p->paused);
    ck_assert(!comes(6, "new"));
    ck_assert_uint_eq(c->window.n_rows, 2);
    inbox__partitions_tend(c, now_ms);
    ck_assert_uint_eq(n_begun, 0);
    ck_assert_int_eq(inbox__window_position(&p->part), 101);
    finish_one();
    finish_one();
    ck_assert_int_eq(inbox__window_position(&p->part), 103);
    inbox__partitions_tend(c, now_ms);
    ck_assert_uint_eq(n_begun, 1);
    ck_assert_int_eq(begun_at, 5);
    ck_assert_int_eq(inbox__window_position(&p->part), 5);
    ck_assert_int_eq(inbox__partition_witness(p).offset, -1);
    ck_assert(!p->paused);
    ck_assert(comes(5, "new"));
}
END_TEST

START_TEST(a_log_that_goes_back_is_not_fetched_when_memory_has_room_again)
{
    c->set.inflight_rows = 2;
    assign();
    ck_assert(comes(100, "old") && comes(101, "old"));
    inbox__partitions_pressure(c);
    ck_assert(c->full);
    ck_assert(!comes(0, "new"));
    finish_one();
    inbox__partitions_pressure(c);
    ck_assert(!c->full);
    ck_assert(p->paused);
    finish_one();
    inbox__partitions_tend(c, now_ms);
    ck_assert(!p->paused);
}
END_TEST

START_TEST(going_back_is_tried_until_kafka_answers)
{
    assign();
    ck_assert(comes(100, "old"));
    finish_one();
    ck_assert(!comes(0, "new"));
    kafka_answers = false;
    inbox__partitions_tend(c, now_ms);
    ck_assert(p->paused);
    ck_assert(!comes(1, "new"));
    kafka_answers = true;
    now_ms += 1000;
    inbox__partitions_tend(c, now_ms);
    ck_assert(comes(0, "new"));
}
END_TEST

/* -- another log ------------------------------------------------------------------------------ */

START_TEST(the_log_is_known_by_the_record_before_the_position)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert_int_eq(start, 7);
    ck_assert_int_eq(p->part.next, 8);
    ck_assert(!comes(7, "a"));
    ck_assert_int_eq(p->back_to, -1);
    ck_assert(comes(8, "b"));
}
END_TEST

START_TEST(the_log_is_known_by_the_record_at_the_position)
{
    assign();
    ck_assert(comes(7, "held"));
    ck_assert(comes(8, "a"));
    assign_again();
    ck_assert_int_eq(start, 7);
    ck_assert(comes(7, "held"));
    ck_assert(comes(8, "a"));
}
END_TEST

START_TEST(another_log_is_read_from_its_beginning)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert(!comes(7, "another"));
    ck_assert(!comes(8, "another"));
    inbox__partitions_tend(c, now_ms);
    ck_assert_int_eq(begun_at, 0);
    ck_assert_int_eq(inbox__window_position(&p->part), 0);
    ck_assert(comes(0, "its first"));
    ck_assert_int_eq(inbox__partition_witness(p).offset, 0);
}
END_TEST

/* Compacted, or too old: then there is nothing to compare. */
START_TEST(a_witness_that_is_gone_says_nothing)
{
    assign();
    ck_assert(comes(7, "a"));
    finish_one();
    assign_again();
    ck_assert(comes(9, "b"));
    ck_assert_int_eq(p->back_to, -1);
}
END_TEST

START_TEST(a_witness_elsewhere_says_nothing)
{
    stored = (struct inbox__place){ .next = 50, .witness = { .offset = 7, .mark = 1 } };
    assign();
    ck_assert_int_eq(start, 50);
    ck_assert(comes(50, "b"));
    stored = (struct inbox__place){ .next = 5, .witness = { .offset = 7, .mark = 1 } };
    inbox__partition_remove(c, p);
    assign();
    ck_assert_int_eq(start, 5);
    ck_assert(comes(5, "b") && comes(6, "b") && comes(7, "b"));
}
END_TEST

/* -- memory ----------------------------------------------------------------------------------- */

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

/* -- many partitions -------------------------------------------------------------------------- */

START_TEST(claiming_many_lets_others_have_their_turn)
{
    uint64_t before_ms;

    db_answers = false;
    for (int32_t n = 0; n < N_MANY; n++)
        ck_assert_ptr_nonnull(inbox__partition_add(c, "t", n, UINT64_MAX, &start));
    db_answers = true;
    kafka_answers = false;
    stored.next = 3;
    for (int n = 0; n < N_MANY; n++) {
        before_ms = now_ms;
        inbox__partitions_tend(c, now_ms);
        ck_assert_uint_le(now_ms - before_ms, INBOX__ROUND_MS + BEGIN_MS + 10);
        now_ms += 1000;
    }
    for (int n = 0; n < N_MANY; n++)
        ck_assert_msg(was_begun[n], "partition %d was never tried", n);
    kafka_answers = true;
    for (int n = 0; n < 5; n++) /* 10 ms each, and no more than a second at a time */
        inbox__partitions_tend(c, now_ms);
    for (p = c->partitions; p != NULL; p = p->next)
        ck_assert(p->claimed && p->part.next == 3);
}
END_TEST

START_TEST(an_assignment_of_many_does_not_wait_for_all_claims)
{
    uint64_t until_ms = now_ms + INBOX__ROUND_MS;

    stored.next = 3;
    for (int32_t n = 0; n < N_MANY; n++)
        ck_assert_ptr_nonnull(inbox__partition_add(c, "t", n, until_ms, &start));
    ck_assert_uint_le(now_ms, until_ms + 10);
    ck_assert_int_eq(start, -1);
    ck_assert(!c->partitions->claimed);
    for (int n = 0; n < 5; n++)
        inbox__partitions_tend(c, now_ms);
    for (p = c->partitions; p != NULL; p = p->next)
        ck_assert(p->claimed && p->part.next == 3);
}
END_TEST

Suite *suite_inbox_partitions(void);
Suite *suite_inbox_partitions(void)
{
    Suite *s = suite_create("inbox_partitions");
    TCase *tc = tcase_create("partitions");

    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, what_is_in_memory_is_finished_before_a_log_goes_back);
    tcase_add_test(tc, a_log_that_goes_back_is_not_fetched_when_memory_has_room_again);
    tcase_add_test(tc, going_back_is_tried_until_kafka_answers);
    tcase_add_test(tc, the_log_is_known_by_the_record_before_the_position);
    tcase_add_test(tc, the_log_is_known_by_the_record_at_the_position);
    tcase_add_test(tc, another_log_is_read_from_its_beginning);
    tcase_add_test(tc, a_witness_that_is_gone_says_nothing);
    tcase_add_test(tc, a_witness_elsewhere_says_nothing);
    tcase_add_test(tc, a_key_that_is_held_pauses_its_partition_only);
    tcase_add_test(tc, a_partition_that_was_crowded_goes_on);
    tcase_add_test(tc, however_many_are_crowded_memory_is_left);
    tcase_add_test(tc, a_partition_may_be_crowded_by_size_too);
    tcase_add_test(tc, a_full_memory_goes_on_although_most_of_it_waits);
    tcase_add_test(tc, a_crowded_partition_that_is_taken_away_leaves_nothing);
    tcase_add_test(tc, a_crowded_partition_can_go_back);
    tcase_add_test(tc, claiming_many_lets_others_have_their_turn);
    tcase_add_test(tc, an_assignment_of_many_does_not_wait_for_all_claims);
    suite_add_tcase(s, tc);
    return s;
}
