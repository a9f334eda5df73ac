/* test_event.c - each limit of an event at, below and above it, and the encoded parameters byte by byte. Headers, and
 * the size of all, are test_event_headers.c. */
#include <limits.h>
#include <stdlib.h>

#include "lib/outbox/event.h"
#include "tests/unit/events.h"

/* ---- Defaults and columns ------------------------------------------------------------------- */

START_TEST(event_init_matches_the_struct)
{
    outbox_event e = OUTBOX_EVENT_INIT;

    ck_assert_uint_eq(e.struct_size, sizeof(e));
    ck_assert_int_eq(e.schema_version, 1);
    ck_assert(e.topic == NULL && e.key == NULL && e.type == NULL && e.content_type == NULL);
    ck_assert(e.payload == NULL && e.headers == NULL && e.event_id == NULL);
    ck_assert(e.correlation_id == NULL && e.causation_id == NULL);
    ck_assert(e.traceparent == NULL && e.tracestate == NULL);
    ck_assert(e.key_len == 0 && e.payload_len == 0 && e.n_headers == 0);
    ck_assert(e.available_at_us == 0 && e.flags == 0);
    ck_assert(e.max_event_bytes == 0 && e.hops == 0 && e.reserved == 0);
}
END_TEST

START_TEST(event_layout_is_the_one_of_soname_0)
{
    if (sizeof(void *) != 8)
        return;
    ck_assert_uint_eq(sizeof(outbox_header), 24);
    ck_assert_uint_eq(sizeof(outbox_event), 160);
    ck_assert_uint_eq(OUTBOX__EVENT_SIZE_1, 144);
    ck_assert_uint_eq(offsetof(outbox_event, schema_version), 40);
    ck_assert_uint_eq(offsetof(outbox_event, headers), 72);
    ck_assert_uint_eq(offsetof(outbox_event, tracestate), 120);
    ck_assert_uint_eq(offsetof(outbox_event, flags), 136);
    ck_assert_uint_eq(offsetof(outbox_event, hops), 152);
    ck_assert_uint_eq(sizeof(outbox_cause), 48);
    ck_assert_uint_eq(sizeof(outbox_error), 544);
    ck_assert_uint_eq(offsetof(outbox_error, message), 18);
    ck_assert_uint_eq(offsetof(outbox_error, event_index), 536);
}
END_TEST

START_TEST(event_with_topic_and_type_only_leaves_the_rest_null)
{
    accept_event();
    expect_column(OUTBOX__TOPIC, BYTES("orders"));
    expect_column(OUTBOX__TYPE, BYTES("placed"));
    expect_column(OUTBOX__SCHEMA_VERSION, BYTES("\0\0\0\1"));
    ck_assert_ptr_null(row.values[OUTBOX__KEY]);
    ck_assert_ptr_null(row.values[OUTBOX__CONTENT_TYPE]);
    ck_assert_ptr_null(row.values[OUTBOX__PAYLOAD]);
    ck_assert_ptr_null(row.values[OUTBOX__HEADERS]);
    ck_assert_ptr_null(row.values[OUTBOX__AVAILABLE_AT]);
    ck_assert(row.needs_id);
    ck_assert_ptr_eq(row.values[OUTBOX__EVENT_ID], (const char *)row.event_id);
    ck_assert_int_eq(row.lengths[OUTBOX__EVENT_ID], 16);
    ck_assert_ptr_null(row.heap);
    ck_assert_ptr_null(row.non_ascii);
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_encodes_every_column_in_binary)
{
    event.key = "k\0y";
    event.key_len = 3;
    event.schema_version = 0x01020304;
    event.content_type = "text/plain";
    event.payload = "\xff\0\x80";
    event.payload_len = 3;
    event.event_id = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F";
    event.available_at_us = INT64_C(946684800000000) + 0x0102030405;
    accept_event();
    expect_column(OUTBOX__KEY, BYTES("k\0y"));
    expect_column(OUTBOX__SCHEMA_VERSION, BYTES("\1\2\3\4"));
    expect_column(OUTBOX__CONTENT_TYPE, BYTES("text/plain"));
    expect_column(OUTBOX__PAYLOAD, BYTES("\xff\0\x80"));
    expect_column(OUTBOX__EVENT_ID, BYTES("\x01\x7f\x22\xe2\x79\xb0\x7c\xc3"
                                          "\x98\xc4\xdc\x0c\x0c\x07\x39\x8f"));
    expect_column(OUTBOX__AVAILABLE_AT, BYTES("\0\0\0\1\2\3\4\5"));
    ck_assert(!row.needs_id);
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_keeps_empty_apart_from_absent)
{
    event.key = "";
    event.payload = "";
    accept_event();
    expect_column(OUTBOX__KEY, "", 0);
    expect_column(OUTBOX__PAYLOAD, "", 0);
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_refuses_a_length_without_bytes)
{
    event.key_len = 1;
    refuse_event("key is NULL", "key_len is 1");
    event.key_len = 0;
    event.payload_len = 9;
    refuse_event("payload is NULL", "payload_len is 9");
}
END_TEST

START_TEST(event_available_at_counts_from_the_unix_epoch)
{
    event.available_at_us = INT64_C(946684800000001);
    accept_event();
    expect_column(OUTBOX__AVAILABLE_AT, BYTES("\x00\x00\x00\x00\x00\x00\x00\x01"));
    outbox__row_deinit(&row);
    event.available_at_us = INT64_C(946684800000000); /* PostgreSQL's epoch, and the earliest */
    accept_and_drop();
    event.available_at_us = INT64_MAX;
    accept_and_drop();
    event.available_at_us = -1;
    refuse_event("available_at_us", "-1");
    event.available_at_us = INT64_MIN;
    refuse_event("available_at_us", "1970");
}
END_TEST

START_TEST(event_refuses_a_time_in_seconds_or_milliseconds)
{
    event.available_at_us = 1760000000;
    refuse_event("available_at_us is 1760000000, which is 1970-01-01T00:29:20Z", "microseconds");
    event.available_at_us = INT64_C(1760000000000);
    refuse_event("which is 1970-01-21T08:53:20Z", "microseconds");
    event.available_at_us = INT64_C(946684799999999);
    refuse_event("which is 1999-12-31T23:59:59Z", "before 2000");
    event.available_at_us = 1;
    refuse_event("which is 1970-01-01T00:00:00Z", "microseconds");
    event.available_at_us = 0;
    accept_and_drop();
}
END_TEST

/* ---- Limits --------------------------------------------------------------------------------- */

START_TEST(event_limits_the_length_of_the_topic)
{
    event.topic = letters(1);
    accept_and_drop();
    event.topic = letters(OUTBOX_MAX_TOPIC_BYTES);
    accept_and_drop();
    event.topic = letters(OUTBOX_MAX_TOPIC_BYTES + 1);
    refuse_event("topic", "249");
    event.topic = "";
    refuse_event("topic is empty", "249");
    event.topic = NULL;
    refuse_event("topic is NULL", "required");
}
END_TEST

START_TEST(event_takes_exactly_the_characters_that_kafka_takes_in_a_topic)
{
    static const char legal[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    char topic[3] = "x?";

    for (int c = 1; c < 256; c++) {
        topic[1] = (char)c;
        event.topic = topic;
        if (strchr(legal, c) != NULL)
            accept_and_drop();
        else
            refuse_event("topic \"x", "at byte 1");
    }
    event.topic = ".";
    refuse_event("topic \".\"", "Kafka");
    event.topic = "..";
    refuse_event("topic \"..\"", "Kafka");
    event.topic = "...";
    accept_and_drop();
}
END_TEST

START_TEST(event_limits_the_type)
{
    event.type = letters(OUTBOX_MAX_TYPE_BYTES);
    accept_and_drop();
    event.type = letters(OUTBOX_MAX_TYPE_BYTES + 1);
    refuse_event("type", "255");
    event.type = "";
    refuse_event("type is empty", "255");
    event.type = NULL;
    refuse_event("type is NULL", "required");
    event.type = "bad\xff";
    refuse_event("type \"bad\\xff\"", "invalid UTF-8 at byte 3");
    event.type = "tab\t";
    refuse_event("type \"tab\\x09\"", "control character at byte 3");
    event.type = "c1\xc2\x85";
    refuse_event("type \"c1\\xc2\\x85\"", "control character at byte 2");
}
END_TEST

START_TEST(event_names_the_text_outside_ascii)
{
    event.type = "caf\xc3\xa9";
    accept_event();
    ck_assert_str_eq(row.non_ascii, "type");
    expect_column(OUTBOX__TYPE, BYTES("caf\xc3\xa9"));
    outbox__row_deinit(&row);
    event.type = "cafe";
    event.content_type = "text/plain; name=\xc3\xa9";
    accept_event();
    ck_assert_str_eq(row.non_ascii, "content_type");
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_limits_the_content_type)
{
    event.content_type = letters(OUTBOX_MAX_CONTENT_TYPE_BYTES);
    accept_and_drop();
    event.content_type = letters(OUTBOX_MAX_CONTENT_TYPE_BYTES + 1);
    refuse_event("content_type", "255");
    event.content_type = "";
    refuse_event("content_type is empty", "255");
    event.content_type = "application/cloudevents";
    refuse_event("content_type", "CloudEvent");
    event.content_type = "Application/CloudEvents+JSON; charset=UTF-8";
    refuse_event("content_type \"Application/CloudEvents+JSON", "CloudEvent");
    event.content_type = "application/cloudevent";
    accept_and_drop();
    event.content_type = "application/json";
    accept_and_drop();
}
END_TEST

START_TEST(event_limits_the_numbers)
{
    event.schema_version = 0;
    refuse_event("schema_version is 0", "starts at 1");
    event.schema_version = INT32_MIN;
    refuse_event("schema_version", "-2147483648");
    event.schema_version = INT32_MAX;
    accept_and_drop();
    event.flags = 4;
    refuse_event("flags is 0x4", "knows 0x3");
    event.flags = 0x80000001u;
    refuse_event("flags is 0x80000001", "knows 0x3");
    event.flags = OUTBOX_APPEND_PREPARED;
    accept_and_drop();
    event.reserved = 1;
    refuse_event("reserved is 1", "OUTBOX_EVENT_INIT");
}
END_TEST

START_TEST(event_order_needs_a_key)
{
    event.flags = OUTBOX_APPEND_ORDERED;
    refuse_event("OUTBOX_APPEND_ORDERED", "key is NULL");
    event.key = "";
    accept_event();
    expect_column(OUTBOX__ORDERED, BYTES("\1"));
    outbox__row_deinit(&row);
    event.flags = 0;
    accept_event();
    expect_column(OUTBOX__ORDERED, BYTES("\0"));
    outbox__row_deinit(&row);
}
END_TEST

START_TEST(event_takes_the_limit_that_it_brings)
{
    outbox_header header = { "h", big, 5 };

    event.max_event_bytes = 10;
    event.payload = big;
    event.payload_len = 10;
    accept_and_drop();
    event.payload_len = 11;
    refuse_event("payload_len is 11", "10 bytes");
    event.payload_len = 4;
    event.headers = &header;
    event.n_headers = 1;
    accept_and_drop();
    header.value_len = 6;
    refuse_event("11 bytes (key 0, payload 4, headers 7)", "at most 10");
    header.value_len = 11;
    refuse_event("headers[0].value_len", "10 bytes");
    event.n_headers = 0;
    event.payload_len = OUTBOX_MAX_EVENT_BYTES + 1;
    event.max_event_bytes = OUTBOX_MAX_EVENT_BYTES + 1;
    accept_and_drop();
    event.max_event_bytes = OUTBOX_MAX_EVENT_BYTES_CEILING;
    accept_and_drop();
    event.max_event_bytes++;
    refuse_event("max_event_bytes is 33554433", "33554432");
    event.max_event_bytes = SIZE_MAX;
    refuse_event("max_event_bytes", "33554432");
}
END_TEST

START_TEST(event_has_a_key_of_a_mebibyte_at_most)
{
    event.max_event_bytes = OUTBOX_MAX_EVENT_BYTES_CEILING;
    event.key = big;
    event.key_len = OUTBOX_MAX_KEY_BYTES;
    accept_and_drop();
    event.key_len++;
    refuse_event("key_len is 1048577", "1048576");
}
END_TEST

/* Lengths that do not fit into the int of libpq, or into 32 bits at all. */
START_TEST(event_refuses_lengths_of_gigabytes_without_reading)
{
    static const size_t lens[] = { (size_t)INT_MAX, (size_t)INT_MAX + 1, (size_t)UINT32_MAX,
                                   (size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 2, SIZE_MAX };
    outbox_header header = { "h", "v", 0 };

    for (size_t i = 0; i < N(lens); i++) {
        event.key = "k";
        event.key_len = lens[i];
        refuse_event("key_len", "1044480");
        event.key_len = 1;
        event.payload = "p";
        event.payload_len = lens[i];
        refuse_event("payload_len", "1044480");
        event.payload_len = 1;
        header.value_len = lens[i];
        event.headers = &header;
        event.n_headers = 1;
        refuse_event("headers[0].value_len", "1044480");
        event.n_headers = lens[i];
        refuse_event("n_headers", "64");
        event.n_headers = 0;
    }
}
END_TEST

START_TEST(event_of_any_known_size_is_read_and_no_other)
{
    outbox_event old, full;

    memset(&old, 0xff, sizeof(old)); /* what stands behind an older struct is not its own */
    memcpy(&old, &event, OUTBOX__EVENT_SIZE_1);
    old.struct_size = OUTBOX__EVENT_SIZE_1;
    ck_assert_int_eq(outbox__event_read(&old, &full, &err), OUTBOX_OK);
    ck_assert_str_eq(full.topic, "orders");
    ck_assert(full.max_event_bytes == 0 && full.hops == 0 && full.reserved == 0);
    for (size_t size = 0; size < 2 * sizeof(event); size++) {
        bool known = size == sizeof(event) || size == OUTBOX__EVENT_SIZE_1;

        event.struct_size = size;
        ck_assert_int_eq(outbox__event_read(&event, &full, &err),
                         known ? OUTBOX_OK : OUTBOX_EINVAL);
    }
    ck_assert_ptr_nonnull(strstr(err.message, "struct_size is 319"));
    ck_assert_int_eq(outbox__event_read(NULL, &full, &err), OUTBOX_EINVAL);
}
END_TEST

START_TEST(event_refuses_an_id_that_is_not_a_uuid)
{
    event.event_id = "";
    refuse_event("event_id \"\"", "36 characters");
    event.event_id = "017f22e2-79b0-7cc3-98c4-dc0c0c07398fX";
    refuse_event("event_id \"017f22e2", "36 characters");
}
END_TEST

START_TEST(event_limits_correlation_and_causation)
{
    event.correlation_id = letters(OUTBOX_MAX_CORRELATION_BYTES);
    event.causation_id = event.correlation_id;
    accept_and_drop();
    event.causation_id = "";
    refuse_event("causation_id is empty", "255");
    event.causation_id = "\n";
    refuse_event("causation_id \"\\x0a\"", "control");
    event.causation_id = NULL;
    event.correlation_id = letters(OUTBOX_MAX_CORRELATION_BYTES + 1);
    refuse_event("correlation_id", "255");
    event.correlation_id = "\xc0\x80";
    refuse_event("correlation_id", "invalid UTF-8 at byte 0");
}
END_TEST

START_TEST(event_takes_only_well_formed_trace_parents)
{
    static const char *const wrong[] = {
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        TRACEPARENT "0",
        TRACEPARENT "-",
        "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    };

    event.traceparent = TRACEPARENT;
    accept_and_drop();
    event.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    accept_and_drop();
    for (size_t i = 0; i < N(wrong); i++) {
        event.traceparent = wrong[i];
        refuse_event("traceparent \"", "55");
    }
}
END_TEST

START_TEST(event_takes_trace_states_of_any_length_and_empty_ones)
{
    event.traceparent = TRACEPARENT;
    event.tracestate = "";
    accept_and_drop();
    event.tracestate = letters(1000);
    accept_and_drop();
    event.tracestate = "a=b\x01";
    refuse_event("tracestate", "control");
}
END_TEST

static void add_column_tests(Suite *suite)
{
    TCase *tcase = tcase_create("columns");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, event_init_matches_the_struct);
    tcase_add_test(tcase, event_layout_is_the_one_of_soname_0);
    tcase_add_test(tcase, event_with_topic_and_type_only_leaves_the_rest_null);
    tcase_add_test(tcase, event_encodes_every_column_in_binary);
    tcase_add_test(tcase, event_keeps_empty_apart_from_absent);
    tcase_add_test(tcase, event_refuses_a_length_without_bytes);
    tcase_add_test(tcase, event_available_at_counts_from_the_unix_epoch);
    tcase_add_test(tcase, event_refuses_a_time_in_seconds_or_milliseconds);
    suite_add_tcase(suite, tcase);
}

static void add_limit_tests(Suite *suite)
{
    TCase *tcase = tcase_create("limits");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, event_limits_the_length_of_the_topic);
    tcase_add_test(tcase, event_takes_exactly_the_characters_that_kafka_takes_in_a_topic);
    tcase_add_test(tcase, event_limits_the_type);
    tcase_add_test(tcase, event_names_the_text_outside_ascii);
    tcase_add_test(tcase, event_limits_the_content_type);
    tcase_add_test(tcase, event_limits_the_numbers);
    tcase_add_test(tcase, event_order_needs_a_key);
    tcase_add_test(tcase, event_takes_the_limit_that_it_brings);
    tcase_add_test(tcase, event_has_a_key_of_a_mebibyte_at_most);
    tcase_add_test(tcase, event_refuses_lengths_of_gigabytes_without_reading);
    tcase_add_test(tcase, event_of_any_known_size_is_read_and_no_other);
    tcase_add_test(tcase, event_refuses_an_id_that_is_not_a_uuid);
    tcase_add_test(tcase, event_limits_correlation_and_causation);
    tcase_add_test(tcase, event_takes_only_well_formed_trace_parents);
    tcase_add_test(tcase, event_takes_trace_states_of_any_length_and_empty_ones);
    suite_add_tcase(suite, tcase);
}

Suite *suite_event(void);
Suite *suite_event(void)
{
    Suite *suite = suite_create("event");

    add_column_tests(suite);
    add_limit_tests(suite);
    return suite;
}
