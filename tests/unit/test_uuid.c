/* test_uuid.c - layout, order and uniqueness of event ids; reading and writing of UUID text. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/outbox/event_id.h"
#include "lib/outbox/uuid.h"
#include "outbox.h"

#define N_THREADS 8
#define IDS_PER_THREAD 100000
#define N_FORK_IDS 20000

static const unsigned char all_ones[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const unsigned char all_zeros[8] = { 0 };

struct id {
    unsigned char bytes[16];
};

START_TEST(uuid_v7_matches_the_example_of_the_rfc)
{
    /* RFC 9562, appendix A.6: 0x017F22E279B0 ms, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F. */
    static const unsigned char random[8] = { 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f };
    unsigned char uuid[16];
    char text[OUTBOX__UUID_TEXT_SIZE];

    outbox__uuid_v7(UINT64_C(0x017f22e279b0) << 12 | 0xcc3, random, uuid);
    outbox__uuid_format(uuid, text);
    ck_assert_str_eq(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}
END_TEST

START_TEST(uuid_v7_keeps_version_and_variant_whatever_the_random_bits)
{
    unsigned char uuid[16];
    char text[OUTBOX__UUID_TEXT_SIZE];

    outbox__uuid_v7((UINT64_C(1) << 60) - 1, all_ones, uuid);
    outbox__uuid_format(uuid, text);
    ck_assert_str_eq(text, "ffffffff-ffff-7fff-bfff-ffffffffffff");
    outbox__uuid_v7(0, all_zeros, uuid);
    outbox__uuid_format(uuid, text);
    ck_assert_str_eq(text, "00000000-0000-7000-8000-000000000000");
}
END_TEST

START_TEST(uuid_stamp_divides_the_millisecond_into_4096)
{
    ck_assert_uint_eq(outbox__uuid_stamp(0, 0), 0);
    ck_assert_uint_eq(outbox__uuid_stamp(0, 244), 0);
    ck_assert_uint_eq(outbox__uuid_stamp(0, 245), 1);
    ck_assert_uint_eq(outbox__uuid_stamp(0, 999999), 4095);
    ck_assert_uint_eq(outbox__uuid_stamp(0, 1000000), 4096);
    ck_assert_uint_eq(outbox__uuid_stamp(1, 0), 1000u << 12);
    ck_assert_uint_eq(outbox__uuid_stamp(1645557742, 0), UINT64_C(0x017f22e279b0) << 12);
    ck_assert_uint_eq(outbox__uuid_stamp(-1, 999999999), 0);
    /* 48 bits of milliseconds end in the year 10889; after that they start again. */
    ck_assert_uint_eq(outbox__uuid_stamp(INT64_C(281474976710), 656000000), 0);
}
END_TEST

START_TEST(uuid_stamp_after_is_later_than_last_with_a_clock_that_stands_or_goes_back)
{
    ck_assert_uint_eq(outbox__uuid_stamp_after(10, 11), 11);
    ck_assert_uint_eq(outbox__uuid_stamp_after(10, 500), 500);
    ck_assert_uint_eq(outbox__uuid_stamp_after(10, 10), 11);
    ck_assert_uint_eq(outbox__uuid_stamp_after(10, 9), 11);
    ck_assert_uint_eq(outbox__uuid_stamp_after(10, 0), 11);
}
END_TEST

START_TEST(uuid_order_of_bytes_is_order_of_stamps)
{
    static const uint64_t stamps[] = { 0, 1, 255, 256, 4095, 4096, UINT64_C(1) << 20,
                                       UINT64_C(1) << 44, (UINT64_C(1) << 60) - 1 };
    unsigned char before[16], after[16];

    for (size_t i = 1; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
        outbox__uuid_v7(stamps[i - 1], all_ones, before);
        outbox__uuid_v7(stamps[i], all_zeros, after);
        ck_assert_int_lt(memcmp(before, after, 16), 0);
    }
}
END_TEST

START_TEST(uuid_parse_reads_what_format_writes)
{
    unsigned char uuid[16], back[16];
    char text[OUTBOX__UUID_TEXT_SIZE];

    for (unsigned i = 0; i < 16; i++)
        uuid[i] = (unsigned char)(i * 17 + 3);
    outbox__uuid_format(uuid, text);
    ck_assert_uint_eq(strlen(text), 36);
    ck_assert(outbox__uuid_parse(text, back));
    ck_assert_mem_eq(uuid, back, 16);
    ck_assert(outbox__uuid_parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F", back));
    ck_assert(outbox__uuid_parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", uuid));
    ck_assert_mem_eq(uuid, back, 16);
}
END_TEST

START_TEST(uuid_parse_refuses_everything_else)
{
    static const char *const wrong[] = {
        "",
        "017f22e2",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",   /* 35 */
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", /* 37 */
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "017f22e279b0-7cc3-98c4-dc0c0c07398f-",
        "017f22e2-79b0-7cc3-98c4+dc0c0c07398f",
        "017f22e279b07cc398c4dc0c0c07398f",
        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}",
        " 17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "------------------------------------",
    };
    unsigned char uuid[16];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_msg(!outbox__uuid_parse(wrong[i], uuid), "accepted \"%s\"", wrong[i]);
}
END_TEST

START_TEST(event_id_new_gives_version_7_of_this_moment)
{
    char text[OUTBOX__UUID_TEXT_SIZE];
    unsigned char uuid[16];
    int64_t before_ms = (int64_t)time(NULL) * 1000 - 1000, ms = 0;

    ck_assert_int_eq(outbox_event_id_new(text), OUTBOX_OK);
    ck_assert_uint_eq(strlen(text), 36);
    ck_assert(outbox__uuid_parse(text, uuid));
    ck_assert_int_eq(uuid[6] >> 4, 7);
    ck_assert_int_eq(uuid[8] >> 6, 2);
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | uuid[i];
    ck_assert_int_ge(ms, before_ms);
    ck_assert_int_le(ms, before_ms + 60000);
    ck_assert_int_eq(outbox_event_id_new(NULL), OUTBOX_EINVAL);
}
END_TEST

START_TEST(event_id_new_draws_random_bits_for_each_id)
{
    unsigned char id[16], seen_one[8] = { 0 }, seen_zero[8] = { 0 };

    for (int i = 0; i < 200; i++) { /* a bit that never changes: 2 of 2^200 */
        ck_assert_int_eq(outbox__event_id_make(id), OUTBOX_OK);
        for (int j = 0; j < 8; j++) {
            seen_one[j] = (unsigned char)(seen_one[j] | id[8 + j]);
            seen_zero[j] = (unsigned char)(seen_zero[j] | ~id[8 + j]);
        }
    }
    ck_assert_mem_eq(seen_one, ((const unsigned char[]){ 0xbf, 255, 255, 255, 255, 255, 255, 255 }),
                     8);
    ck_assert_mem_eq(seen_zero,
                     ((const unsigned char[]){ 0x7f, 255, 255, 255, 255, 255, 255, 255 }), 8);
}
END_TEST

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* Compares the first 8 bytes only, the stamps, as the random bits would make any two ids differ.
 * A plain comparison in these loops: an assertion each takes minutes under valgrind. */
static void expect_distinct_stamps(struct id *ids, size_t n)
{
    qsort(ids, n, sizeof(*ids), compare_ids);
    for (size_t i = 1; i < n; i++) {
        if (memcmp(ids[i - 1].bytes, ids[i].bytes, 8) == 0)
            ck_abort_msg("a stamp was given twice");
    }
}

static void expect_increasing(const struct id *ids, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (memcmp(ids[i - 1].bytes, ids[i].bytes, 16) >= 0)
            ck_abort_msg("id %zu is not greater than the one before", i);
    }
}

static void *make_ids(void *arg)
{
    struct id *ids = arg;

    for (size_t i = 0; i < IDS_PER_THREAD; i++) {
        if (outbox__event_id_make(ids[i].bytes) != OUTBOX_OK)
            return NULL;
    }
    return ids;
}

START_TEST(event_id_new_is_increasing_per_thread_and_unique_over_threads)
{
    struct id *ids = calloc((size_t)N_THREADS * IDS_PER_THREAD, sizeof(*ids));
    pthread_t threads[N_THREADS];
    void *done = NULL;

    ck_assert_ptr_nonnull(ids);
    for (size_t t = 0; t < N_THREADS; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, make_ids, ids + t * IDS_PER_THREAD), 0);
    for (size_t t = 0; t < N_THREADS; t++) {
        ck_assert_int_eq(pthread_join(threads[t], &done), 0);
        ck_assert_ptr_nonnull(done);
    }
    for (size_t t = 0; t < N_THREADS; t++)
        expect_increasing(ids + t * IDS_PER_THREAD, IDS_PER_THREAD);
    expect_distinct_stamps(ids, (size_t)N_THREADS * IDS_PER_THREAD);
    free(ids);
}
END_TEST

static void read_all(int fd, void *to, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = read(fd, (char *)to + have, n - have);

        ck_assert_int_gt(got, 0);
        have += (size_t)got;
    }
}

static void fill_and_write(int fd)
{
    struct id id;

    for (int i = 0; i < N_FORK_IDS; i++) {
        if (outbox__event_id_make(id.bytes) != OUTBOX_OK || write(fd, &id, 16) != 16)
            _exit(1);
    }
    _exit(0);
}

START_TEST(event_id_new_never_repeats_an_id_of_the_parent_after_fork)
{
    static struct id ids[2 * N_FORK_IDS]; /* static, so that the child has nothing to free */
    int fds[2], status = -1;
    pid_t child;

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(outbox__event_id_make(ids[0].bytes), OUTBOX_OK); /* state to be inherited */
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        fill_and_write(fds[1]);
    close(fds[1]);
    for (size_t i = 0; i < N_FORK_IDS; i++)
        ck_assert_int_eq(outbox__event_id_make(ids[i].bytes), OUTBOX_OK);
    read_all(fds[0], ids + N_FORK_IDS, N_FORK_IDS * sizeof(*ids));
    close(fds[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    for (size_t i = 0; i < 2 * N_FORK_IDS; i++) /* the random half alone must tell them apart */
        memmove(ids[i].bytes, ids[i].bytes + 8, 8);
    expect_distinct_stamps(ids, 2 * N_FORK_IDS);
}
END_TEST

Suite *suite_uuid(void);
Suite *suite_uuid(void)
{
    Suite *suite = suite_create("uuid");
    TCase *pure = tcase_create("pure");
    TCase *system = tcase_create("system");

    tcase_add_test(pure, uuid_v7_matches_the_example_of_the_rfc);
    tcase_add_test(pure, uuid_v7_keeps_version_and_variant_whatever_the_random_bits);
    tcase_add_test(pure, uuid_stamp_divides_the_millisecond_into_4096);
    tcase_add_test(pure, uuid_stamp_after_is_later_than_last_with_a_clock_that_stands_or_goes_back);
    tcase_add_test(pure, uuid_order_of_bytes_is_order_of_stamps);
    tcase_add_test(pure, uuid_parse_reads_what_format_writes);
    tcase_add_test(pure, uuid_parse_refuses_everything_else);
    suite_add_tcase(suite, pure);
    tcase_add_test(system, event_id_new_gives_version_7_of_this_moment);
    tcase_add_test(system, event_id_new_draws_random_bits_for_each_id);
    tcase_add_test(system, event_id_new_is_increasing_per_thread_and_unique_over_threads);
    tcase_add_test(system, event_id_new_never_repeats_an_id_of_the_parent_after_fork);
    suite_add_tcase(suite, system);
    return suite;
}
