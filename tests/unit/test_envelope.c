/* test_envelope.c - the headers of a record, byte for byte, in each envelope. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/sink/envelope.h"

Suite *suite_envelope(void);

#define HEADER(name, value) { name, value, sizeof(value) - 1 }
#define N(array) (sizeof(array) / sizeof(array)[0])

static const struct envelope cloudevents = { ENVELOPE_CLOUDEVENTS, "/shop" };
static const struct envelope debezium = { ENVELOPE_DEBEZIUM, "/shop" };
static const struct envelope plain = { ENVELOPE_PLAIN, "/shop" };

/* 2026-01-02 03:04:05.123456 UTC */
#define SOME_TIME INT64_C(1767323045123456)

static struct row some_row(const struct header *headers, size_t n)
{
    return (struct row){
        .id = 42,
        .created_at_us = SOME_TIME,
        .topic = "orders",
        .type = "order.placed",
        .schema_version = 3,
        .headers = headers,
        .n_headers = n,
        .event_id = { 0x01, 0x8f, 0x00, 0xAB, 0xcd, 0xef, 0x70, 0x01, 0x80, 0x02, 0, 0, 0, 0, 0,
                      0xff },
    };
}

/* One line `name=value` per header, with \xHH for what is not printable. */
static char *render(const struct envelope *e, const struct row *row, struct envelope_buf *buf)
{
    const struct header *headers = NULL;
    char *text = NULL;
    size_t n = 0, size;
    FILE *out = open_memstream(&text, &size);

    ck_assert_int_eq(envelope_headers(e, row, buf, &headers, &n), 0);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s=", headers[i].name);
        for (size_t j = 0; j < headers[i].value_len; j++) {
            unsigned char ch = (unsigned char)headers[i].value[j];
            fprintf(out, ch >= ' ' && ch < 127 ? "%c" : "\\x%02x", ch);
        }
        fputs("\n", out);
    }
    fclose(out);
    return text;
}

static void expect(const struct envelope *e, const struct row *row, const char *wanted)
{
    struct envelope_buf buf = { .headers = NULL };
    char *text = render(e, row, &buf);

    ck_assert_str_eq(text, wanted);
    free(text);
    envelope_buf_deinit(&buf);
}

#define BEFORE_TIME                                                                                \
    "ce_specversion=1.0\n"                                                                         \
    "ce_id=018f00ab-cdef-7001-8002-0000000000ff\n"                                                 \
    "ce_source=/shop\n"                                                                            \
    "ce_type=order.placed\n"
#define TIME "ce_time=2026-01-02T03:04:05.123456Z\n"
#define AFTER_TIME                                                                                 \
    "ce_schemaversion=3\n"                                                                         \
    "ce_sequence=00000000000000000042\n"
#define ATTRIBUTES BEFORE_TIME TIME AFTER_TIME

START_TEST(cloudevents_are_the_attributes_in_order)
{
    struct row row = some_row(NULL, 0);

    expect(&cloudevents, &row, ATTRIBUTES);
}
END_TEST

START_TEST(cloudevents_have_the_content_type_when_it_is_set)
{
    struct row row = some_row(NULL, 0);

    row.content_type = "application/json";
    expect(&cloudevents, &row, BEFORE_TIME TIME "content-type=application/json\n" AFTER_TIME);
}
END_TEST

START_TEST(cloudevents_keep_own_headers_in_order_and_unchanged)
{
    static const struct header own[] = {
        HEADER("zeta", "1"), HEADER("alpha", ""), HEADER("zeta", "2"), HEADER("B", "\xc3\xa9\0x"),
        HEADER("correlation", "c"), HEADER("Hops", "h"), HEADER("type", "t"), HEADER("ce", "e"),
    };
    struct row row = some_row(own, N(own));

    expect(&cloudevents, &row,
           ATTRIBUTES "zeta=1\nalpha=\nzeta=2\nB=\\xc3\\xa9\\x00x\ncorrelation=c\nHops=h\ntype=t\n"
                      "ce=e\n");
}
END_TEST

START_TEST(cloudevents_turn_known_headers_into_attributes)
{
    static const struct header own[] = {
        HEADER("a", "1"),     HEADER("traceparent", "00-x-y-01"), HEADER("correlationid", "c-1"),
        HEADER("b", "2"),     HEADER("causationid", ""),          HEADER("tracestate", "k=v"),
        HEADER("hops", "17"), HEADER("c", "3"),
    };
    struct row row = some_row(own, N(own));

    expect(&cloudevents, &row,
           ATTRIBUTES "a=1\n"
                      "traceparent=00-x-y-01\nce_traceparent=00-x-y-01\n"
                      "ce_correlationid=c-1\n"
                      "b=2\n"
                      "ce_causationid=\n"
                      "tracestate=k=v\nce_tracestate=k=v\n"
                      "ce_hops=17\n"
                      "c=3\n");
}
END_TEST

START_TEST(cloudevents_drop_own_headers_that_repeat_an_attribute)
{
    static const struct header own[] = {
        HEADER("ce_id", "forged"),          HEADER("ce_specversion", "9"),
        HEADER("ce_source", "/bank"),       HEADER("ce_type", "other"),
        HEADER("ce_time", "never"),         HEADER("ce_schemaversion", "9"),
        HEADER("ce_sequence", "9"),         HEADER("ce_correlationid", "early"),
        HEADER("correlationid", "c-1"),     HEADER("ce_correlationid", "late"),
        HEADER("traceparent", "t"),         HEADER("ce_traceparent", "forged"),
        HEADER("ce_tracestate", "only me"), HEADER("ce_subject", "kept"),
        HEADER("ce_idx", "kept"),           HEADER("ce_", "kept"),
    };
    struct row row = some_row(own, N(own));

    expect(&cloudevents, &row,
           ATTRIBUTES "ce_correlationid=c-1\n"
                      "traceparent=t\nce_traceparent=t\n"
                      "ce_tracestate=only me\nce_subject=kept\nce_idx=kept\nce_=kept\n");
}
END_TEST

/* -- hops ------------------------------------------------------------------------------------ */

static const struct {
    const char *text;
    uint64_t hops;
} hops[] = {
    { "0", 0 },
    { "1", 1 },
    { "33", 33 },
    { "0033", 33 },
    { "4294967296", UINT64_C(4294967296) },
    { "18446744073709551615", UINT64_MAX },
    { "18446744073709551616", UINT64_MAX },
    { "99999999999999999999999999999999", UINT64_MAX },
    { "", 0 },
    { "-1", 0 },
    { " 1", 0 },
    { "1x", 0 },
    { "\xff", 0 },
};

START_TEST(hops_are_the_digits_of_the_first_such_header)
{
    struct header own[] = {
        HEADER("a", "7"), HEADER("Hops", "8"), HEADER("hops", ""), HEADER("hops", "9"),
    };
    struct row row = some_row(own, 2);

    ck_assert_uint_eq(envelope_hops(&row), 0);
    own[2].value = hops[_i].text;
    own[2].value_len = strlen(hops[_i].text);
    row = some_row(own, N(own));
    ck_assert_uint_eq(envelope_hops(&row), hops[_i].hops);
}
END_TEST

START_TEST(cloudevents_write_an_attribute_once)
{
    static const struct header own[] = {
        HEADER("hops", "1"), HEADER("traceparent", "t1"),
        HEADER("hops", "2"), HEADER("traceparent", "t2"),
    };
    struct row row = some_row(own, N(own));

    expect(&cloudevents, &row,
           ATTRIBUTES "ce_hops=1\ntraceparent=t1\nce_traceparent=t1\ntraceparent=t2\n");
}
END_TEST

START_TEST(cloudevents_drop_an_own_content_type_only_when_the_column_is_set)
{
    static const struct header own[] = { HEADER("content-type", "application/cloudevents+json") };
    struct row row = some_row(own, N(own));

    expect(&cloudevents, &row, ATTRIBUTES "content-type=application/cloudevents+json\n");
    row.content_type = "text/plain";
    expect(&cloudevents, &row, BEFORE_TIME TIME "content-type=text/plain\n" AFTER_TIME);
}
END_TEST

static const struct {
    int64_t us;
    const char *text; /* NULL: none */
} times[] = {
    { 0, "1970-01-01T00:00:00.000000Z" },
    { 1, "1970-01-01T00:00:00.000001Z" },
    { -1, "1969-12-31T23:59:59.999999Z" },
    { -1000000, "1969-12-31T23:59:59.000000Z" },
    { -1000001, "1969-12-31T23:59:58.999999Z" },
    { INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z" },
    { INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z" },
    { INT64_C(951868800000000), "2000-03-01T00:00:00.000000Z" },
    { INT64_C(2147483647999999), "2038-01-19T03:14:07.999999Z" },
    { INT64_C(2147483648000000), "2038-01-19T03:14:08.000000Z" },
    { INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z" },
    { INT64_C(4107542399000000), "2100-02-28T23:59:59.000000Z" },
    { INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z" },
    { INT64_C(253402300800000000), NULL },
    { INT64_C(-62167219200000000), "0000-01-01T00:00:00.000000Z" },
    { INT64_C(-62162035200000000), "0000-03-01T00:00:00.000000Z" },
    { INT64_C(-62167219200000001), NULL },
    { INT64_MAX, NULL },
    { INT64_MIN, NULL },
};

/* One buffer for all, so that the kept second is put to the test too. */
START_TEST(time_is_rfc_3339_in_utc)
{
    struct row row = some_row(NULL, 0);
    struct envelope_buf buf = { .headers = NULL };

    for (size_t i = 0; i < N(times); i++) {
        char wanted[400];
        row.created_at_us = times[i].us;
        snprintf(wanted, sizeof wanted, BEFORE_TIME "%s%s%s" AFTER_TIME,
                 times[i].text != NULL ? "ce_time=" : "",
                 times[i].text != NULL ? times[i].text : "", times[i].text != NULL ? "\n" : "");
        char *text = render(&cloudevents, &row, &buf);
        ck_assert_str_eq(text, wanted);
        free(text);
    }
    envelope_buf_deinit(&buf);
}
END_TEST

/* All of 10,000 years in steps of almost five days, against the C library. */
START_TEST(time_agrees_with_gmtime)
{
    struct row row = some_row(NULL, 0);
    struct envelope_buf buf = { .headers = NULL };
    const struct header *h;
    size_t n, n_wrong = 0, n_times = 0;

    for (time_t t = -62167219200 + 12345; t < 253402300800; t += 5 * 86400 - 7) {
        char wanted[96];
        struct tm tm;
        ck_assert_ptr_nonnull(gmtime_r(&t, &tm));
        size_t len = (size_t)snprintf(
            wanted, sizeof wanted, "%04d-%02d-%02dT%02d:%02d:%02d.000009Z", tm.tm_year + 1900,
            tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        row.created_at_us = (int64_t)t * 1000000 + 9;
        n_times++;
        if (envelope_headers(&cloudevents, &row, &buf, &h, &n) != 0 || h[4].value_len != len ||
            memcmp(h[4].value, wanted, len) != 0)
            n_wrong++;
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_gt(n_times, 730000);
    envelope_buf_deinit(&buf);
}
END_TEST

START_TEST(a_kept_second_does_not_leak_into_the_next_row)
{
    struct row row = some_row(NULL, 0);
    struct envelope_buf buf = { .headers = NULL };
    static const struct {
        int64_t us;
        const char *wanted;
    } steps[] = {
        { SOME_TIME, "ce_time=2026-01-02T03:04:05.123456Z" },
        { SOME_TIME + 1, "ce_time=2026-01-02T03:04:05.123457Z" },
        { SOME_TIME + 1000000, "ce_time=2026-01-02T03:04:06.123456Z" },
        { SOME_TIME, "ce_time=2026-01-02T03:04:05.123456Z" },
    };

    for (size_t i = 0; i < N(steps); i++) {
        row.created_at_us = steps[i].us;
        char *text = render(&cloudevents, &row, &buf);
        ck_assert_ptr_nonnull(strstr(text, steps[i].wanted));
        free(text);
    }
    envelope_buf_deinit(&buf);
}
END_TEST

START_TEST(numbers_are_whole_at_their_limits)
{
    struct row row = some_row(NULL, 0);

    row.id = INT64_MAX;
    row.schema_version = INT32_MAX;
    expect(&cloudevents, &row,
           BEFORE_TIME TIME "ce_schemaversion=2147483647\nce_sequence=09223372036854775807\n");
    row.id = 0;
    row.schema_version = INT32_MIN;
    expect(&cloudevents, &row,
           BEFORE_TIME TIME "ce_schemaversion=-2147483648\nce_sequence=00000000000000000000\n");
    row.schema_version = 0;
    expect(&cloudevents, &row,
           BEFORE_TIME TIME "ce_schemaversion=0\nce_sequence=00000000000000000000\n");
}
END_TEST

START_TEST(debezium_is_id_and_event_type_then_own_headers)
{
    static const struct header own[] = { HEADER("correlationid", "c"), HEADER("ce_id", "x"),
                                         HEADER("id", "own"), HEADER("empty", "") };
    struct row row = some_row(own, N(own));

    row.content_type = "application/json";
    expect(&debezium, &row,
           "id=018f00ab-cdef-7001-8002-0000000000ff\neventType=order.placed\n"
           "correlationid=c\nce_id=x\nid=own\nempty=\n");
}
END_TEST

START_TEST(plain_is_own_headers_only)
{
    static const struct header own[] = { HEADER("traceparent", "t"), HEADER("ce_id", "x") };
    struct row row = some_row(own, N(own));

    row.content_type = "application/json";
    expect(&plain, &row, "traceparent=t\nce_id=x\n");
    row = some_row(NULL, 0);
    expect(&plain, &row, "");
}
END_TEST

/* Rows with more and fewer headers, through one buffer. */
START_TEST(the_buffer_grows_and_is_used_again)
{
    enum { MOST = 1000 };
    struct header *own = calloc(MOST, sizeof *own);
    struct envelope_buf buf = { .headers = NULL };
    const struct header *h;
    size_t n;

    for (size_t i = 0; i < MOST; i++)
        own[i] = (struct header)HEADER("traceparent", "t");
    for (size_t i = 0; i <= MOST; i++) {
        struct row row = some_row(own, i % 2 == 0 ? i : MOST - i);
        ck_assert_int_eq(envelope_headers(&cloudevents, &row, &buf, &h, &n), 0);
        ck_assert_uint_eq(n, 7 + row.n_headers + (row.n_headers > 0));
        ck_assert_uint_le(n, buf.max_headers);
        ck_assert_int_eq(envelope_headers(&debezium, &row, &buf, &h, &n), 0);
        ck_assert_uint_eq(n, 2 + row.n_headers);
    }
    envelope_buf_deinit(&buf);
    free(own);
}
END_TEST

Suite *suite_envelope(void)
{
    Suite *suite = suite_create("envelope");
    TCase *tc = tcase_create("envelope");

    tcase_add_test(tc, cloudevents_are_the_attributes_in_order);
    tcase_add_test(tc, cloudevents_have_the_content_type_when_it_is_set);
    tcase_add_test(tc, cloudevents_keep_own_headers_in_order_and_unchanged);
    tcase_add_test(tc, cloudevents_turn_known_headers_into_attributes);
    tcase_add_test(tc, cloudevents_drop_own_headers_that_repeat_an_attribute);
    tcase_add_test(tc, cloudevents_write_an_attribute_once);
    tcase_add_loop_test(tc, hops_are_the_digits_of_the_first_such_header, 0, N(hops));
    tcase_add_test(tc, cloudevents_drop_an_own_content_type_only_when_the_column_is_set);
    tcase_add_test(tc, time_is_rfc_3339_in_utc);
    tcase_add_test(tc, time_agrees_with_gmtime);
    tcase_add_test(tc, a_kept_second_does_not_leak_into_the_next_row);
    tcase_add_test(tc, numbers_are_whole_at_their_limits);
    tcase_add_test(tc, debezium_is_id_and_event_type_then_own_headers);
    tcase_add_test(tc, plain_is_own_headers_only);
    tcase_add_test(tc, the_buffer_grows_and_is_used_again);
    suite_add_tcase(suite, tc);
    return suite;
}
