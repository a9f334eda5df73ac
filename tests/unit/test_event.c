/* test_event.c - each limit of an event at, below and above it, and the encoded parameters byte by
 * byte; UTF-8, JSON strings and quoting, on which they stand.
 */
#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outbox/checks.h"
#include "lib/outbox/event.h"
#include "lib/outbox/text.h"
#include "outbox.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(literal) (literal), sizeof(literal) - 1
#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static outbox_event event;
static outbox_error err;
static struct outbox__row row;
static char big[OUTBOX_MAX_EVENT_BYTES + 2]; /* 'a' throughout, no NUL but the last */

static void setup(void)
{
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.topic = "orders";
    event.type = "placed";
    err = (outbox_error)OUTBOX_ERROR_INIT;
    memset(&row, 0xa5, sizeof(row)); /* nothing may rest on zeroed memory */
    memset(big, 'a', sizeof(big) - 1);
}

static void accept_event(void)
{
    int code = outbox__row_encode(&event, &row, &err);

    ck_assert_msg(code == OUTBOX_OK, "refused: %s", err.message);
}

static void accept_and_drop(void)
{
    accept_event();
    outbox__row_deinit(&row);
}

/* Refused with OUTBOX_EINVAL, and the message holds these words. */
static void refuse_event(const char *word1, const char *word2)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_int_eq(outbox__row_encode(&event, &row, &err), OUTBOX_EINVAL);
    ck_assert_int_eq(err.code, OUTBOX_EINVAL);
    ck_assert_uint_eq(err.flags, 0);
    ck_assert_str_eq(err.sqlstate, "");
    ck_assert_msg(strstr(err.message, word1) != NULL, "\"%s\" lacks %s", err.message, word1);
    ck_assert_msg(strstr(err.message, word2) != NULL, "\"%s\" lacks %s", err.message, word2);
    ck_assert_int_eq(outbox__row_encode(&event, &row, NULL), OUTBOX_EINVAL);
}

/* A text of n letters in the big buffer. */
static const char *letters(size_t n)
{
    static char text[1024];

    ck_assert_uint_lt(n, sizeof(text));
    memset(text, 't', n);
    text[n] = '\0';
    return text;
}

static void expect_column(int column, const void *bytes, size_t len)
{
    ck_assert_ptr_nonnull(row.values[column]);
    ck_assert_int_eq(row.lengths[column], (int)len);
    if (len > 0)
        ck_assert_mem_eq(row.values[column], bytes, len);
}

static void expect_headers(const char *json)
{
    accept_event();
    ck_assert_ptr_nonnull(row.values[OUTBOX__HEADERS]);
    ck_assert_int_eq(row.values[OUTBOX__HEADERS][0], 1); /* version of jsonb's binary form */
    ck_assert_int_eq(row.lengths[OUTBOX__HEADERS], (int)strlen(json) + 1);
    ck_assert_mem_eq(row.values[OUTBOX__HEADERS] + 1, json, strlen(json));
    outbox__row_deinit(&row);
}

/* ---- UTF-8, JSON, quoting ------------------------------------------------------------------- */

static const struct {
    const char *bytes;
    size_t len;
    size_t bad_at; /* OUTBOX__TEXT_OK: valid */
} utf8[] = {
    { BYTES(""), OUTBOX__TEXT_OK },
    { BYTES("plain"), OUTBOX__TEXT_OK },
    { BYTES("a\0b"), OUTBOX__TEXT_OK },
    { BYTES("\x7f"), OUTBOX__TEXT_OK },
    { BYTES("\xc2\x80"), OUTBOX__TEXT_OK },         /* U+0080, the first of two bytes */
    { BYTES("\xdf\xbf"), OUTBOX__TEXT_OK },         /* U+07FF, the last */
    { BYTES("\xe0\xa0\x80"), OUTBOX__TEXT_OK },     /* U+0800, the first of three */
    { BYTES("\xed\x9f\xbf"), OUTBOX__TEXT_OK },     /* U+D7FF, before the surrogates */
    { BYTES("\xee\x80\x80"), OUTBOX__TEXT_OK },     /* U+E000, after them */
    { BYTES("\xef\xbf\xbf"), OUTBOX__TEXT_OK },     /* U+FFFF, the last of three */
    { BYTES("\xf0\x90\x80\x80"), OUTBOX__TEXT_OK }, /* U+10000, the first of four */
    { BYTES("\xf4\x8f\xbf\xbf"), OUTBOX__TEXT_OK }, /* U+10FFFF, the last */
    { BYTES("ab\x80"), 2 },                         /* a tail without a head */
    { BYTES("\xbf"), 0 },
    { BYTES("\xc0\x80"), 0 }, /* overlong NUL */
    { BYTES("\xc1\xbf"), 0 }, /* overlong of two */
    { BYTES("\xe0\x80\x80"), 0 },
    { BYTES("\xe0\x9f\xbf"), 0 }, /* overlong of three */
    { BYTES("\xf0\x80\x80\x80"), 0 },
    { BYTES("\xf0\x8f\xbf\xbf"), 0 }, /* overlong of four */
    { BYTES("\xed\xa0\x80"), 0 },     /* U+D800, the first surrogate */
    { BYTES("\xed\xbf\xbf"), 0 },     /* U+DFFF, the last */
    { BYTES("\xf4\x90\x80\x80"), 0 }, /* U+110000 */
    { BYTES("\xf5\x80\x80\x80"), 0 },
    { BYTES("\xff"), 0 },
    { BYTES("\xfe"), 0 },
    { BYTES("a\xc3"), 1 }, /* truncated at the end */
    { BYTES("\xe2\x82"), 0 },
    { BYTES("\xf0\x9f\x98"), 0 },
    { BYTES("\xc3(\xa9"), 0 }, /* truncated by another character */
    { BYTES("\xe2\x82("), 0 },
    { BYTES("\xe2(\xa1"), 0 },
    { BYTES("\xf0\x9f(\x80"), 0 },
    { BYTES("\xf0\x9f\x98("), 0 },
    { BYTES("\xc3\xa9\xc3\xa9\xe9"), 4 },
};

START_TEST(utf8_check_finds_the_first_bad_byte)
{
    /* A copy of exactly this size: sanitizers and valgrind see a read past the end. */
    char *copy = malloc(utf8[_i].len + (utf8[_i].len == 0));

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, utf8[_i].bytes, utf8[_i].len);
    ck_assert_msg(outbox__utf8_check(copy, utf8[_i].len) == utf8[_i].bad_at, "row %d", _i);
    free(copy);
}
END_TEST

START_TEST(utf8_decode_agrees_with_encoding_for_every_code_point)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        unsigned char s[4] = { (unsigned char)cp };
        size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        uint32_t back = 0;

        for (size_t i = len; len > 1 && i-- > 1;)
            s[i] = (unsigned char)(0x80 | (cp >> (6 * (len - 1 - i)) & 0x3f));
        if (len > 1)
            s[0] = (unsigned char)((0xff00u >> len & 0xffu) | cp >> (6 * (len - 1)));
        if (cp >= 0xd800 && cp <= 0xdfff) {
            ck_assert_uint_eq(outbox__utf8_decode(s, len, &back), 0);
        } else if (outbox__utf8_decode(s, len, &back) != len || back != cp) {
            ck_abort_msg("U+%04X was read as U+%04X", (unsigned)cp, (unsigned)back);
        }
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    const char *json;
} json_strings[] = {
    { BYTES(""), "\"\"" },
    { BYTES("a/b 'c' ~"), "\"a/b 'c' ~\"" },
    { BYTES("\"\\"), "\"\\\"\\\\\"" },
    { BYTES("\x01\x08\t\n\r\x1f"), "\"\\u0001\\u0008\\u0009\\u000a\\u000d\\u001f\"" },
    { BYTES("\x7f"), "\"\\u007f\"" },
    { BYTES("\xc3\xa9"), "\"\\u00e9\"" },
    { BYTES("\xe2\x82\xac"), "\"\\u20ac\"" },
    { BYTES("\xef\xbf\xbf"), "\"\\uffff\"" },
    { BYTES("\xf0\x90\x80\x80"), "\"\\ud800\\udc00\"" },
    { BYTES("\xf0\x9f\x98\x80"), "\"\\ud83d\\ude00\"" },
    { BYTES("\xf4\x8f\xbf\xbf"), "\"\\udbff\\udfff\"" },
    { BYTES("bad \xff end"), "\"bad \\ufffd end\"" },
};

START_TEST(json_string_is_ascii_with_escapes)
{
    char out[128];
    size_t len = outbox__json_string(json_strings[_i].bytes, json_strings[_i].len, out);

    ck_assert_uint_eq(len, strlen(json_strings[_i].json));
    ck_assert_mem_eq(out, json_strings[_i].json, len);
    ck_assert_uint_eq(outbox__json_string(json_strings[_i].bytes, json_strings[_i].len, NULL), len);
}
END_TEST

START_TEST(quote_shows_printable_ascii_and_cuts)
{
    char out[OUTBOX__QUOTE_SIZE];

    ck_assert_str_eq(outbox__quote(BYTES("or\"d\\er"), out), "\"or\\\"d\\\\er\"");
    ck_assert_str_eq(outbox__quote(BYTES("\xc3\xa9\n\x7f"), out), "\"\\xc3\\xa9\\x0a\\x7f\"");
    ck_assert_str_eq(outbox__quote("", 0, out), "\"\"");
    ck_assert_uint_eq(strlen(outbox__quote(letters(48), 48, out)), 50);
    ck_assert_uint_eq(strlen(outbox__quote(letters(49), 49, out)), 53);
    memset(big, '\xff', 1000);
    ck_assert_uint_eq(strlen(outbox__quote(big, 1000, out)), 48 * 4 + 2 + 3);
}
END_TEST

START_TEST(one_line_keeps_valid_text_and_replaces_the_rest)
{
    char out[16];

    ck_assert_str_eq(outbox__one_line("two\nlines\n", out, sizeof(out)), "two lines");
    ck_assert_str_eq(outbox__one_line("caf\xc3\xa9", out, sizeof(out)), "caf\xc3\xa9");
    ck_assert_str_eq(outbox__one_line("caf\xe9 x", out, sizeof(out)), "caf? x");
    ck_assert_str_eq(outbox__one_line("", out, sizeof(out)), "");
    ck_assert_str_eq(outbox__one_line("0123456789abcdefg", out, sizeof(out)), "0123456789abcde");
    ck_assert_str_eq(outbox__one_line("0123456789abcd\xc3\xa9", out, sizeof(out)),
                     "0123456789abcd"); /* cut between characters */
    ck_assert_str_eq(outbox__one_line("text", out, 1), "");
}
END_TEST

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
    event.available_at_us = 1; /* 30 years before PostgreSQL's epoch */
    accept_event();
    expect_column(OUTBOX__AVAILABLE_AT, BYTES("\xff\xfc\xa2\xfe\xc4\xc8\x20\x01"));
    outbox__row_deinit(&row);
    event.available_at_us = INT64_MAX;
    accept_and_drop();
    event.available_at_us = -1;
    refuse_event("available_at_us", "-1");
    event.available_at_us = INT64_MIN;
    refuse_event("available_at_us", "1970");
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
    /* [["n","aaa..."]] with the version byte has 11 bytes besides the value. */
    outbox_header header = { "n", big, sizeof(row.small) - 11 };

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
    outbox_header header = { "n", big, (sizeof(row.small) - 11) / 6 };

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
    ck_assert_int_eq(row.lengths[OUTBOX__HEADERS], (OUTBOX_MAX_EVENT_BYTES - 1) * 6 + 11);
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

static void add_text_tests(Suite *suite)
{
    TCase *tcase = tcase_create("text");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_loop_test(tcase, utf8_check_finds_the_first_bad_byte, 0, N(utf8));
    tcase_add_test(tcase, utf8_decode_agrees_with_encoding_for_every_code_point);
    tcase_add_loop_test(tcase, json_string_is_ascii_with_escapes, 0, N(json_strings));
    tcase_add_test(tcase, quote_shows_printable_ascii_and_cuts);
    tcase_add_test(tcase, one_line_keeps_valid_text_and_replaces_the_rest);
    suite_add_tcase(suite, tcase);
}

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
    tcase_add_test(tcase, event_limits_each_part_and_the_sum);
    tcase_add_test(tcase, event_size_of_names_alone_is_limited);
    tcase_add_test(tcase, event_messages_never_show_key_payload_or_values);
    tcase_add_test(tcase, event_messages_fit_with_the_longest_values);
    suite_add_tcase(suite, tcase);
}

static void add_header_tests(Suite *suite)
{
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
}

Suite *suite_event(void);
Suite *suite_event(void)
{
    Suite *suite = suite_create("event");

    add_text_tests(suite);
    add_column_tests(suite);
    add_limit_tests(suite);
    add_header_tests(suite);
    return suite;
}
