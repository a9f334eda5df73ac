/* test_reader.c - records by their offsets, on librdkafka's mock cluster. Record n has the n-th id. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "relay/sink/reader.h"
#include "tests/rig/records.h"
#include "tests/rig/rig.h"

enum { MS = 20000, N = 2000 };

struct seen {
    int64_t first, n;
    int32_t partition;
    bool stop;
};

static struct reader *open_with(const char *brokers, const char *name, const char *value)
{
    const struct sink_property properties[] = { { "bootstrap.servers", brokers }, { name, value } };
    char err[256];
    struct reader *r = reader_new(properties, name != NULL ? 2 : 1, err, sizeof err);

    ck_assert_msg(r != NULL, "%s", err);
    return r;
}

static struct reader *open_at(const char *brokers)
{
    return open_with(brokers, NULL, NULL);
}

static void put(const char *topic, int partitions)
{
    struct records *r = records_open(NULL);

    records_topic(topic, partitions, NULL);
    for (uint64_t n = 0; n < N; n++)
        records_put(r, topic, (int32_t)(n % (uint64_t)partitions), "ce_id", n, n % 10 == 9 ? 0 : 20);
    records_close(r);
}

/* In order, without a gap, each with its header; every tenth is a tombstone. */
static void on_record(void *arg, const struct reader_record *record)
{
    struct seen *s = arg;
    char id[37];

    ck_assert_int_eq(record->partition, s->partition);
    ck_assert_int_eq(record->offset, s->first + s->n);
    ck_assert_uint_ge(record->n_headers, 1);
    const struct header *h = record->headers;
    while (strcmp(h->name, "ce_id") != 0)
        ck_assert_int_lt(++h - record->headers, (int64_t)record->n_headers);
    ck_assert_uint_eq(h->value_len, 36);
    records_id_text((uint64_t)(2 * record->offset + record->partition), id);
    ck_assert_mem_eq(h->value, id, 36);
    if ((2 * record->offset + record->partition) % 10 == 9)
        ck_assert_ptr_null(record->payload);
    else
        ck_assert_uint_eq(record->payload_len, 20);
    s->n++;
    s->stop = s->n == 10;
}

static void expect(struct reader *r, const char *topic, int32_t partition, int64_t from, int64_t to)
{
    struct seen s = { .first = from, .partition = partition };
    char err[256];

    ck_assert_msg(reader_read(r, topic, partition, from, to, MS, NULL, on_record, &s, err, sizeof err) == 0,
                  "%s", err);
    ck_assert_int_eq(s.n, to - from);
}

START_TEST(ranges_are_read_exactly)
{
    struct reader *r = open_at(rig_brokers());

    put(TOPIC("reader-ranges"), 2);
    expect(r, TOPIC("reader-ranges"), 0, 0, N / 2);
    expect(r, TOPIC("reader-ranges"), 1, 17, 18);
    expect(r, TOPIC("reader-ranges"), 0, 5, 5);
    expect(r, TOPIC("reader-ranges"), 1, N / 2 - 1, N / 2);
    for (int i = 0; i < 20; i++) /* what an earlier reading left on its way does not turn up */
        expect(r, TOPIC("reader-ranges"), i % 2, 40 * i, 40 * i + 7);
    reader_free(r);
}
END_TEST

/* Of which librdkafka takes each for the relay's producer, and not beside what this consumer is told. */
static const struct sink_property of_producers[] = {
    { "message.max.bytes", "1000000000" }, { "receive.message.max.bytes", "1000000" }, { "fetch.max.bytes", "1000" },
    { "session.timeout.ms", "3600000" },   { "max.poll.interval.ms", "1000" },
};

START_TEST(what_the_producer_may_have_keeps_none_from_reading)
{
    struct reader *r = open_with(rig_brokers(), of_producers[_i].name, of_producers[_i].value);
    char topic[40];

    snprintf(topic, sizeof topic, TOPIC("reader-producers-%d"), _i);
    put(topic, 2);
    expect(r, topic, 0, 0, N / 2);
    reader_free(r);
}
END_TEST

START_TEST(topics_are_not_mixed_up)
{
    struct reader *r = open_at(rig_brokers());

    put(TOPIC("reader-a"), 2);
    put(TOPIC("reader-b"), 2);
    for (int i = 0; i < 10; i++)
        expect(r, i % 2 == 0 ? TOPIC("reader-a") : TOPIC("reader-b"), 0, 50 * i, 50 * i + 60);
    reader_free(r);
}
END_TEST

START_TEST(ends_are_told)
{
    struct reader *r = open_at(rig_brokers());
    int64_t low = -1, high = -1;
    char err[256] = "";

    put(TOPIC("reader-ends"), 2);
    ck_assert_int_eq(reader_ends(r, TOPIC("reader-ends"), 1, MS, &low, &high, err, sizeof err), READER_THERE);
    ck_assert_int_eq(low, 0);
    ck_assert_int_eq(high, N / 2);
    ck_assert_int_eq(reader_ends(r, TOPIC("reader-ends"), 7, MS, &low, &high, err, sizeof err), READER_NO_TOPIC);
    ck_assert_str_ne(err, "");
    reader_free(r);
}
END_TEST

START_TEST(reading_stops_when_told)
{
    struct reader *r = open_at(rig_brokers());
    struct seen s = { .first = 0, .partition = 0 };
    char err[256] = "";

    put(TOPIC("reader-stop"), 2);
    ck_assert_int_eq(reader_read(r, TOPIC("reader-stop"), 0, 0, INT64_MAX, MS, &s.stop, on_record, &s, err,
                                 sizeof err), 0); /* the end of the topic comes first, and is an end */
    ck_assert_int_eq(s.n, N / 2);
    s = (struct seen){ .first = 0, .partition = 0, .stop = true };
    ck_assert_int_eq(reader_read(r, TOPIC("reader-stop"), 0, 0, N / 2, MS, &s.stop, on_record, &s, err,
                                 sizeof err), -1);
    ck_assert_str_eq(err, "interrupted");
    reader_free(r);
}
END_TEST

START_TEST(nobody_answers)
{
    struct reader *r = open_at("127.0.0.1:1");
    struct seen s = { .first = 0 };
    int64_t low, high;
    char err[256] = "";

    ck_assert_int_eq(reader_ends(r, "reader-nobody", 0, 300, &low, &high, err, sizeof err), READER_FAILED);
    ck_assert_str_ne(err, "");
    err[0] = '\0';
    ck_assert_int_eq(reader_read(r, "reader-nobody", 0, 0, 10, 300, NULL, on_record, &s, err, sizeof err), -1);
    ck_assert_str_ne(err, "");
    reader_free(r);
}
END_TEST

Suite *suite_reader(void);

Suite *suite_reader(void)
{
    Suite *s = suite_create("reader");
    TCase *tc = tcase_create("ranges");

    tcase_add_test(tc, ranges_are_read_exactly);
    tcase_add_loop_test(tc, what_the_producer_may_have_keeps_none_from_reading, 0, (int)(sizeof of_producers / sizeof of_producers[0]));
    tcase_add_test(tc, topics_are_not_mixed_up);
    tcase_add_test(tc, ends_are_told);
    tcase_add_test(tc, reading_stops_when_told);
    tcase_add_test(tc, nobody_answers);
    suite_add_tcase(s, tc);
    return s;
}
