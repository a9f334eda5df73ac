/* test_event_headers.c - the headers of an event as they are encoded, and the limits of headers, of each part and of
 * all together. */
#include <stdlib.h>

#include "lib/outbox/event.h"
#include "tests/unit/events.h"

/* ---- Headers -------------------------------------------------------------------------------- */

START_TEST(event_headers_are_an_array_of_pairs_in_order_with_repeats)
{
    static const outbox_header headers[] = { { "b", BYTES("1") },
                                             { "a", BYTES("") },
                                             { "b", BYTES("\"\xe2\x82\xac\"") } };

    event.headers = headers;
    event.n_headers = 1;
    expect_headers("[[\"b\",\"1\"]]");
    event.n_headers = 3;
    expect_headers("[[\"b\",\"1\"],[\"a\",\"\"],[\"b\",\"\\\"\\u20ac\\\"\"]]");
}
END_TEST

START_TEST(event_fields_of_correlation_and_trace_come_before_the_headers)
{
    static const outbox_header headers[] = { { "own", BYTES("x") } };

    event.tracestate = "v=1";
    expect_headers("[[\"tracestate\",\"v=1\"]]");
    event.correlation_id = "c\xc3\xa9";
    event.causation_id = "k";
    event.traceparent = TRACEPARENT;
    event.hops = UINT32_MAX;
    event.headers = headers;
    event.n_headers = 1;
    expect_headers("[[\"correlationid\",\"c\\u00e9\"],[\"causationid\",\"k\"],"
                   "[\"hops\",\"4294967295\"],[\"traceparent\",\"" TRACEPARENT "\"],[\"tracestate\",\"v=1\"],"
                   "[\"own\",\"x\"]]");
    event.causation_id = NULL;
    event.hops = 0;
    event.tracestate = "";
    expect_headers("[[\"correlationid\",\"c\\u00e9\"],[\"traceparent\",\"" TRACEPARENT "\"],"
                   "[\"tracestate\",\"\"],[\"own\",\"x\"]]");
}
END_TEST

START_TEST(event_limits_the_number_of_headers)
{
    outbox_header headers[OUTBOX_MAX_HEADERS + 1];

    for (size_t i = 0; i < N(headers); i++)
        headers[i] = (outbox_header){ "name", "value", 5 };
    event.headers = headers;
    event.n_headers = OUTBOX_MAX_HEADERS;
    accept_and_drop();
    event.n_headers = OUTBOX_MAX_HEADERS + 1;
    refuse_event("n_headers is 65", "64");
    event.n_headers = SIZE_MAX;
    refuse_event("n_headers", "64");
    event.headers = NULL;
    event.n_headers = 1;
    refuse_event("headers is NULL", "n_headers is 1");
}
END_TEST

static const struct {
    outbox_header header;
    const char *words[2];
} bad_headers[] = {
    { { NULL, BYTES("v") }, { "headers[1].name", "NULL" } },
    { { "", BYTES("v") }, { "headers[1].name", "empty" } },
    { { "n\xff", BYTES("v") }, { "headers[1].name \"n\\xff\"", "invalid UTF-8 at byte 1" } },
    { { "n", NULL, 0 }, { "headers[1].value of \"n\"", "NULL" } },
    { { "n", NULL, 3 }, { "headers[1].value of \"n\"", "NULL" } },
    { { "n", BYTES("ok\xe9") }, { "headers[1].value of \"n\"", "invalid UTF-8 at byte 2" } },
    { { "n", BYTES("a\0b") }, { "headers[1].value of \"n\"", "NUL character at byte 1" } },
    { { "n", "v", SIZE_MAX }, { "headers[1].value_len of \"n\"", "1044480" } },
    { { "ce_id", BYTES("v") }, { "headers[1].name \"ce_id\"", "reserved" } },
    { { "ce_", BYTES("v") }, { "headers[1].name \"ce_\"", "reserved" } },
    { { "correlationid", BYTES("v") }, { "correlationid", "reserved" } },
    { { "causationid", BYTES("v") }, { "causationid", "reserved" } },
    { { "traceparent", BYTES("v") }, { "traceparent", "reserved" } },
    { { "tracestate", BYTES("v") }, { "tracestate", "reserved" } },
    { { "hops", BYTES("v") }, { "hops", "reserved" } },
};

START_TEST(event_refuses_bad_headers_and_says_which)
{
    outbox_header headers[2] = { { "fine", BYTES("v") }, bad_headers[_i].header };

    event.headers = headers;
    event.n_headers = 2;
    refuse_event(bad_headers[_i].words[0], bad_headers[_i].words[1]);
}
END_TEST

START_TEST(event_takes_names_that_only_resemble_reserved_ones)
{
    static const outbox_header headers[] = {
        { "ce", BYTES("v") },         { "CE_id", BYTES("v") },        { "ce-id", BYTES("v") },
        { "hop", BYTES("v") },        { "hopss", BYTES("v") },        { "Traceparent", BYTES("v") },
        { "trace\xc3\xa9", BYTES("v") }, { "control\x01", BYTES("\n") },
    };

    event.headers = headers;
    event.n_headers = N(headers);
    accept_and_drop();
}
END_TEST

START_TEST(event_headers_move_to_the_heap_only_when_they_are_long)
{
    /* [["n","aaa..."]] has 10 bytes besides the value. */
    outbox_header header = { "n", big, sizeof(row.small) - 10 };

    event.headers = &header;
    event.n_headers = 1;
    accept_event();
    ck_assert_ptr_null(row.heap);
    ck_assert_int_eq(row.lengths[OUTBOX__HEADERS], (int)sizeof(row.small));
    outbox__row_deinit(&row);
    header.value_len++;
    accept_event();
    ck_assert_ptr_nonnull(row.heap);
    ck_assert_ptr_eq(row.values[OUTBOX__HEADERS], row.heap);
    ck_assert_int_eq(row.lengths[OUTBOX__HEADERS], (int)sizeof(row.small) + 1);
    ck_assert_int_eq(row.heap[sizeof(row.small)], ']');
    outbox__row_deinit(&row);
    ck_assert_ptr_null(row.heap);
    outbox__row_deinit(&row); /* twice is fine */
}
END_TEST

START_TEST(event_headers_move_to_the_heap_by_their_length_as_json)
{
    outbox_header header = { "n", big, (sizeof(row.small) - 10) / 6 };

    memset(big, 1, sizeof(big) - 1); /* each becomes 6 bytes */
    event.headers = &header;
    event.n_headers = 1;
    accept_event();
    ck_assert_ptr_null(row.heap);
    outbox__row_deinit(&row);
    header.value_len++;
    accept_event();
    ck_assert_ptr_nonnull(row.heap);
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_headers_may_grow_sixfold_when_escaped)
{
    outbox_header header = { "n", big, OUTBOX_MAX_EVENT_BYTES - 1 };

    memset(big, 1, sizeof(big) - 1);
    event.headers = &header;
    event.n_headers = 1;
    accept_event();
    ck_assert_int_eq(row.lengths[OUTBOX__HEADERS], (OUTBOX_MAX_EVENT_BYTES - 1) * 6 + 10);
    outbox__row_deinit(&row);
}
END_TEST

/* ---- Size ----------------------------------------------------------------------------------- */

START_TEST(event_limits_each_part_and_the_sum)
{
    static const outbox_header header = { "name", BYTES("value") };

    event.payload = big;
    event.payload_len = OUTBOX_MAX_EVENT_BYTES;
    accept_and_drop();
    event.payload_len++;
    refuse_event("payload_len is 1044481", "1044480");
    event.payload_len = SIZE_MAX;
    refuse_event("payload_len", "1044480");
    event.payload_len = OUTBOX_MAX_EVENT_BYTES - 1;
    event.key = big;
    event.key_len = 1;
    accept_and_drop();
    event.key_len = 2;
    refuse_event("1044481 bytes (key 2, payload 1044479, headers 0)", "1044480");
    event.key_len = SIZE_MAX;
    refuse_event("key_len", "1044480");
    event.key_len = 1;
    event.headers = &header;
    event.n_headers = 1;
    refuse_event("headers 9", "1044480");
    event.payload_len = OUTBOX_MAX_EVENT_BYTES - 10;
    accept_and_drop();
    event.correlation_id = "c";
    refuse_event("headers 23", "1044480"); /* 9 + correlationid + c */
    event.payload_len -= 14;
    accept_and_drop();
    event.correlation_id = NULL;
    event.payload_len = OUTBOX_MAX_EVENT_BYTES - 10 - 10 - 2 * 3; /* tracestate and twice a=b */
    event.tracestate = "a=b";
    accept_and_drop();
    event.payload_len++;
    refuse_event("headers 25", "1044480");
}
END_TEST

START_TEST(event_size_of_names_alone_is_limited)
{
    outbox_header header = { big, BYTES("") };

    event.headers = &header;
    event.n_headers = 1;
    big[OUTBOX_MAX_EVENT_BYTES] = '\0';
    accept_and_drop();
    big[OUTBOX_MAX_EVENT_BYTES] = 'a';
    refuse_event("headers[0].name", "1044480");
}
END_TEST

START_TEST(event_messages_never_show_key_payload_or_values)
{
    static const outbox_header header = { "name", BYTES("SECRET\xff") };

    event.key = "SECRET";
    event.key_len = 6;
    event.payload = "SECRET";
    event.payload_len = 6;
    event.headers = &header;
    event.n_headers = 1;
    refuse_event("headers[0].value", "byte 6");
    ck_assert_ptr_null(strstr(err.message, "SECRET"));
    event.n_headers = 0;
    event.payload_len = SIZE_MAX;
    refuse_event("payload_len", "bytes");
    ck_assert_ptr_null(strstr(err.message, "SECRET"));
}
END_TEST

START_TEST(event_messages_fit_with_the_longest_values)
{
    event.topic = letters(250);
    refuse_event("topic", "longer than 249 bytes");
    memset(big, '\x01', sizeof(big) - 1);
    event.topic = "t";
    event.type = big;
    refuse_event("...", "longer than 255 bytes");
    event.type = "t";
    event.content_type = big;
    refuse_event("...", "longer than 255 bytes");
}
END_TEST

Suite *suite_event_headers(void);
Suite *suite_event_headers(void)
{
    Suite *suite = suite_create("event_headers");
    TCase *tcase = tcase_create("headers");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, event_headers_are_an_array_of_pairs_in_order_with_repeats);
    tcase_add_test(tcase, event_fields_of_correlation_and_trace_come_before_the_headers);
    tcase_add_test(tcase, event_limits_the_number_of_headers);
    tcase_add_loop_test(tcase, event_refuses_bad_headers_and_says_which, 0,
                        N(bad_headers));
    tcase_add_test(tcase, event_takes_names_that_only_resemble_reserved_ones);
    tcase_add_test(tcase, event_headers_move_to_the_heap_only_when_they_are_long);
    tcase_add_test(tcase, event_headers_move_to_the_heap_by_their_length_as_json);
    tcase_add_test(tcase, event_headers_may_grow_sixfold_when_escaped);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("size");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, event_limits_each_part_and_the_sum);
    tcase_add_test(tcase, event_size_of_names_alone_is_limited);
    tcase_add_test(tcase, event_messages_never_show_key_payload_or_values);
    tcase_add_test(tcase, event_messages_fit_with_the_longest_values);
    suite_add_tcase(suite, tcase);
    return suite;
}
