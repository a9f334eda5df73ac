/* test_inbox_record.c - what libinbox makes of a record: its envelope, its identity, its copy; arrays as text, and a
 * type in a message. */
#include <check.h>
#include <string.h>

#include "lib/inbox/array.h"
#include "lib/inbox/batch.h"
#include "lib/inbox/record.h"

#define HEADER(name, value) { name, value, sizeof value - 1 }
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define UUID "01932b7a-0000-7000-8000-00000000abcd"

static inbox_message read_headers(const outbox_header *headers, size_t n)
{
    inbox_message msg = INBOX_MESSAGE_INIT;

    msg.flags = INBOX_MESSAGE_NO_ID; /* of a message that was read into this one before; so is the next */
    msg.schema_version = 7;
    msg.topic = "orders";
    msg.partition = 3;
    msg.offset = 17;
    msg.headers = headers;
    msg.n_headers = n;
    inbox_message_from_headers(&msg);
    return msg;
}

static const char *identity_of(const inbox_message *msg)
{
    static char text[INBOX__IDENTITY_SIZE];

    ck_assert_int_eq(inbox__identity(msg, text), (int)strlen(text));
    return text;
}

START_TEST(reads_cloudevents)
{
    const outbox_header h[] = { HEADER("ce_specversion", "1.0"), HEADER("ce_id", UUID),
                                HEADER("ce_source", "/shop"), HEADER("ce_type", "order.placed"),
                                HEADER("ce_schemaversion", "4"), HEADER("ce_hops", "2"),
                                HEADER("ce_correlationid", "c"), HEADER("ce_causationid", "d"),
                                HEADER("traceparent", "hop"), HEADER("ce_traceparent", "origin"),
                                HEADER("ce_sequence", "00000000000000000042"),
                                HEADER("content-type", "text/plain"), HEADER("id", "other") };
    inbox_message msg = read_headers(h, COUNT(h));

    ck_assert_str_eq(msg.event_id, UUID);
    ck_assert_str_eq(msg.source, "/shop");
    ck_assert_str_eq(msg.type, "order.placed");
    ck_assert_int_eq(msg.schema_version, 4);
    ck_assert_uint_eq(msg.hops, 2);
    ck_assert_str_eq(msg.correlation_id, "c");
    ck_assert_str_eq(msg.causation_id, "d");
    ck_assert_str_eq(msg.traceparent, "hop");
    ck_assert_str_eq(msg.sequence, "00000000000000000042");
    ck_assert_str_eq(msg.content_type, "text/plain");
    ck_assert_uint_eq(msg.flags, 0);
    ck_assert_str_eq(identity_of(&msg), UUID);
}
END_TEST

START_TEST(reads_debezium_and_plain)
{
    const outbox_header debezium[] = { HEADER("id", UUID), HEADER("eventType", "t") };
    const outbox_header plain[] = { HEADER("correlationid", "c"), HEADER("hops", "3") };
    inbox_message msg = read_headers(debezium, COUNT(debezium));

    ck_assert_str_eq(msg.event_id, UUID);
    ck_assert_str_eq(msg.type, "t");
    msg = read_headers(plain, COUNT(plain));
    ck_assert_ptr_null(msg.event_id);
    ck_assert_uint_eq(msg.flags, INBOX_MESSAGE_NO_ID);
    ck_assert_uint_eq(msg.hops, 3);
    ck_assert_int_eq(msg.schema_version, 1);
    ck_assert_str_eq(identity_of(&msg), "orders/3/17");
}
END_TEST

START_TEST(identity_of_foreign_ids)
{
    static char long_id[INBOX_MAX_ID_BYTES + 2];
    const outbox_header with_source[] = { HEADER("ce_id", "7"), HEADER("ce_source", "/a") };
    const outbox_header without[] = { HEADER("ce_id", "7") };
    const outbox_header upper[] = { HEADER("ce_id", "01932B7A-0000-7000-8000-00000000ABCD") };
    const outbox_header other[] = { HEADER("ce_id", "\xc3\xa4") };
    outbox_header longer[] = { { "ce_id", long_id, INBOX_MAX_ID_BYTES + 1 } };
    inbox_message msg = read_headers(with_source, 2);

    ck_assert_str_eq(identity_of(&msg), "/a 7");
    msg = read_headers(without, 1);
    ck_assert_str_eq(identity_of(&msg), "orders 7");
    msg = read_headers(upper, 1);
    ck_assert_str_eq(identity_of(&msg), UUID);
    msg = read_headers(other, 1);
    ck_assert_str_eq(identity_of(&msg), "orders/3/17");
    memset(long_id, 'x', INBOX_MAX_ID_BYTES + 1);
    msg = read_headers(longer, 1);
    ck_assert_str_eq(identity_of(&msg), "orders/3/17");
    long_id[INBOX_MAX_ID_BYTES] = '\0';
    longer[0].value_len = INBOX_MAX_ID_BYTES;
    msg = read_headers(longer, 1);
    ck_assert_ptr_nonnull(msg.event_id);
}
END_TEST

/* Told apart, and in ASCII of bounded length. */
START_TEST(identity_of_sources_of_any_text)
{
    static char source[] = "/x\xc3\xa4", longest[802], first[INBOX__IDENTITY_SIZE];
    outbox_header h[] = { HEADER("ce_id", "7"), { "ce_source", "", 0 } };
    inbox_message msg = read_headers(h, 2);

    ck_assert_str_eq(identity_of(&msg), "orders 7"); /* that is none */
    h[1] = (outbox_header){ "ce_source", source, 4 };
    msg = read_headers(h, 2);
    strcpy(first, identity_of(&msg));
    ck_assert_uint_eq(strlen(first), 16 + 2);
    ck_assert_uint_eq(strspn(first, "0123456789abcdef"), 16);
    ck_assert_str_eq(first + 16, " 7");
    source[1] = 'y';
    msg = read_headers(h, 2);
    ck_assert_str_ne(identity_of(&msg), first);
    memset(longest, 'x', 801);
    h[1] = (outbox_header){ "ce_source", longest, 801 };
    msg = read_headers(h, 2);
    ck_assert_uint_eq(strlen(identity_of(&msg)), 16 + 2);
    longest[800] = '\0';
    h[1].value_len = 800;
    msg = read_headers(h, 2);
    ck_assert_uint_eq(strlen(identity_of(&msg)), 800 + 2);
}
END_TEST

/* Any program may have a header id. */
START_TEST(a_header_id_that_is_no_uuid_is_not_the_events)
{
    const outbox_header customer[] = { HEADER("id", "4711"), HEADER("eventType", "t") };
    const outbox_header both[] = { HEADER("id", "4711"), HEADER("ce_id", "7") };
    const outbox_header unusable[] = { HEADER("id", UUID), HEADER("ce_id", "") };
    inbox_message msg = read_headers(customer, COUNT(customer));

    ck_assert_ptr_null(msg.event_id);
    ck_assert_uint_eq(msg.flags, INBOX_MESSAGE_NO_ID);
    ck_assert_str_eq(msg.type, "t");
    ck_assert_str_eq(identity_of(&msg), "orders/3/17");
    msg = read_headers(both, COUNT(both));
    ck_assert_str_eq(identity_of(&msg), "orders 7");
    msg = read_headers(unusable, COUNT(unusable));
    ck_assert_str_eq(identity_of(&msg), "orders/3/17");
}
END_TEST

START_TEST(record_is_a_copy)
{
    char key[] = "k\0y", payload[] = "p", value[] = UUID, name[] = "ce_id", topic[] = "orders";
    outbox_header h[] = { { name, value, sizeof value - 1 }, { "null", NULL, 0 } };
    struct inbox__raw raw = { .topic = topic, .partition = 1, .offset = 2, .key = key, .key_len = 3,
                              .payload = payload, .payload_len = 1, .headers = h, .n_headers = 2 };
    struct inbox__record *r = inbox__record_new(&raw);

    memset(key, 'x', 3);
    memset(value, 'x', 3);
    payload[0] = topic[0] = name[0] = 'x';
    ck_assert_mem_eq(r->msg.key, "k\0y", 4);
    ck_assert_str_eq(r->msg.payload, "p");
    ck_assert_str_eq(r->msg.topic, "orders");
    ck_assert_str_eq(r->msg.headers[0].name, "ce_id");
    ck_assert_ptr_null(r->msg.headers[1].value);
    ck_assert_str_eq(r->identity, UUID);
    inbox__record_fail(r, "one\ntwo");
    ck_assert_str_eq(r->error, "one two");
    inbox__record_free(r);
}
END_TEST

START_TEST(record_without_key_and_payload)
{
    struct inbox__raw raw = { .topic = "t", .offset = 1 };
    struct inbox__record *r = inbox__record_new(&raw);

    ck_assert_ptr_null(r->msg.key);
    ck_assert_ptr_null(r->msg.payload);
    ck_assert_uint_eq(r->item.key, 0);
    inbox__record_free(r);
    raw.key = "";
    r = inbox__record_new(&raw);
    ck_assert_ptr_nonnull(r->msg.key);
    ck_assert_uint_ne(r->item.key, 0);
    inbox__record_free(r);
}
END_TEST

START_TEST(arrays_are_quoted)
{
    struct inbox__array a = { 0 };

    ck_assert_str_eq(inbox__array_finish(&a), "{}");
    inbox__array_deinit(&a);
    inbox__array_text(&a, "a\"b\\c,{}");
    inbox__array_text(&a, NULL);
    inbox__array_text(&a, "NULL");
    inbox__array_bytes(&a, "\x00\xff", 2);
    inbox__array_bytes(&a, NULL, 0);
    inbox__array_number(&a, -5);
    ck_assert_str_eq(inbox__array_finish(&a), "{\"a\\\"b\\\\c,{}\",NULL,\"NULL\",\"\\\\x00ff\",NULL,\"-5\"}");
    inbox__array_deinit(&a);
}
END_TEST

/* The type is a text of whoever wrote the record. */
START_TEST(a_handler_that_ended_is_named_in_one_line_of_utf8)
{
    outbox_error err = OUTBOX_ERROR_INIT;

    ck_assert_int_eq(inbox__handler_ended(NULL, "a\nb\xff" "c\xc3\xa9", &err), INBOX_EHANDLER);
    ck_assert_msg(strstr(err.message, "that of type \"a b?c\xc3\xa9\", ended") != NULL, "%s", err.message);
    ck_assert_int_eq(inbox__handler_ended(NULL, NULL, &err), INBOX_EHANDLER);
    ck_assert_msg(strstr(err.message, "a handler, one of those called in this batch, ended") != NULL, "%s", err.message);
}
END_TEST

Suite *suite_inbox_record(void);
Suite *suite_inbox_record(void)
{
    Suite *s = suite_create("inbox_record");
    TCase *tc = tcase_create("record");

    tcase_add_test(tc, reads_cloudevents);
    tcase_add_test(tc, reads_debezium_and_plain);
    tcase_add_test(tc, identity_of_foreign_ids);
    tcase_add_test(tc, identity_of_sources_of_any_text);
    tcase_add_test(tc, a_header_id_that_is_no_uuid_is_not_the_events);
    tcase_add_test(tc, record_is_a_copy);
    tcase_add_test(tc, record_without_key_and_payload);
    tcase_add_test(tc, arrays_are_quoted);
    tcase_add_test(tc, a_handler_that_ended_is_named_in_one_line_of_utf8);
    suite_add_tcase(s, tc);
    return s;
}
