/* test_compare.c - is a record what the relay makes of a row? Each difference by itself. */
#include <check.h>
#include <string.h>

#include "relay/commands/compare.h"

static const char id_text[] = "01890a5d-ac96-774b-bcce-b302099a8057";
static const uint8_t id_bytes[16] = { 0x01, 0x89, 0x0a, 0x5d, 0xac, 0x96, 0x77, 0x4b,
                                      0xbc, 0xce, 0xb3, 0x02, 0x09, 0x9a, 0x80, 0x57 };

static struct row row;
static struct header headers[3], wanted[3];
static struct reader_record record;

static void setup(void)
{
    row = (struct row){ .topic = "t", .key = "k", .key_len = 1, .payload = "pay", .payload_len = 3 };
    memcpy(row.event_id, id_bytes, sizeof id_bytes);
    headers[0] = (struct header){ "ce_id", id_text, 36 };
    headers[1] = (struct header){ "a", "1", 1 };
    headers[2] = (struct header){ "b", "", 0 };
    memcpy(wanted, headers, sizeof wanted);
    record = (struct reader_record){ .key = "k", .key_len = 1, .payload = "pay", .payload_len = 3,
                                     .headers = headers, .n_headers = 3 };
}

static unsigned compared(enum envelope_kind kind)
{
    return compare_record(kind, &row, wanted, 3, &record);
}

START_TEST(same_is_same)
{
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), 0);
    ck_assert_uint_eq(compared(ENVELOPE_PLAIN), 0);
}
END_TEST

START_TEST(key_differs)
{
    record.key = "K";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_KEY);
    record.key = NULL;
    record.key_len = 0;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_KEY);
    row.key_len = 0; /* empty is not absent */
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_KEY);
    row.key = NULL;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), 0);
}
END_TEST

START_TEST(payload_differs)
{
    record.payload = "paY";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_PAYLOAD);
    record.payload = "payl";
    record.payload_len = 4;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_PAYLOAD);
    row.payload = NULL;
    row.payload_len = 0;
    record.payload_len = 0;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_PAYLOAD);
}
END_TEST

START_TEST(headers_differ)
{
    headers[1].value = "2";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_HEADERS);
    headers[1].value = "1";
    headers[1].name = "A";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_HEADERS);
    headers[1].name = "a";
    record.n_headers = 2;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_HEADERS);
}
END_TEST

START_TEST(a_source_alone_is_told_as_that)
{
    wanted[1].name = headers[1].name = "ce_source";
    headers[1].value = "2";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_SOURCE);
    headers[2].name = "other";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_HEADERS);
}
END_TEST

START_TEST(order_of_headers_counts)
{
    struct header h = headers[1];

    headers[1] = headers[2];
    headers[2] = h;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_HEADERS);
}
END_TEST

START_TEST(other_event_is_told_as_that)
{
    headers[0].value = "01890a5d-ac96-774b-bcce-b302099a8058";
    record.payload = "other";
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_EVENT_ID);
    ck_assert_uint_eq(compared(ENVELOPE_PLAIN), COMPARE_HEADERS | COMPARE_PAYLOAD);
    record.n_headers = 0;
    ck_assert_uint_eq(compared(ENVELOPE_CLOUDEVENTS), COMPARE_EVENT_ID);
}
END_TEST

START_TEST(id_stands_where_the_envelope_puts_it)
{
    uint8_t id[16];

    ck_assert(compare_event_id(ENVELOPE_CLOUDEVENTS, &record, id));
    ck_assert_mem_eq(id, id_bytes, 16);
    ck_assert(!compare_event_id(ENVELOPE_DEBEZIUM, &record, id));
    ck_assert(!compare_event_id(ENVELOPE_PLAIN, &record, id));
    headers[0].name = "id";
    ck_assert(compare_event_id(ENVELOPE_DEBEZIUM, &record, id));
}
END_TEST

/* Two events of one id are told apart by their number. */
START_TEST(number_tells_rows_of_one_id_apart)
{
    uint8_t of_row[16], of_record[16];

    row.id = 4711;
    headers[1] = (struct header){ "ce_sequence", "00000000000000004711", 20 };
    compare_row_id(ENVELOPE_CLOUDEVENTS, &row, of_row);
    ck_assert(compare_record_id(ENVELOPE_CLOUDEVENTS, &record, of_record));
    ck_assert_mem_eq(of_row, of_record, 16);
    row.id = 4712;
    compare_row_id(ENVELOPE_CLOUDEVENTS, &row, of_row);
    ck_assert_mem_ne(of_row, of_record, 16);
    headers[0].name = "id";
    compare_row_id(ENVELOPE_DEBEZIUM, &row, of_row);
    ck_assert(compare_record_id(ENVELOPE_DEBEZIUM, &record, of_record));
    ck_assert_mem_eq(of_row, of_record, 16);
    ck_assert_mem_eq(of_row, id_bytes, 16);
}
END_TEST

START_TEST(replays_are_known_by_their_header)
{
    ck_assert(!compare_is_replay(ENVELOPE_CLOUDEVENTS, &record));
    headers[1].name = "replay";
    ck_assert(!compare_is_replay(ENVELOPE_CLOUDEVENTS, &record));
    ck_assert(compare_is_replay(ENVELOPE_DEBEZIUM, &record));
    ck_assert(compare_is_replay(ENVELOPE_PLAIN, &record));
    headers[1].name = "ce_replay";
    ck_assert(compare_is_replay(ENVELOPE_CLOUDEVENTS, &record));
}
END_TEST

Suite *suite_compare(void);

Suite *suite_compare(void)
{
    Suite *s = suite_create("compare");
    TCase *tc = tcase_create("records");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, same_is_same);
    tcase_add_test(tc, key_differs);
    tcase_add_test(tc, payload_differs);
    tcase_add_test(tc, headers_differ);
    tcase_add_test(tc, a_source_alone_is_told_as_that);
    tcase_add_test(tc, order_of_headers_counts);
    tcase_add_test(tc, other_event_is_told_as_that);
    tcase_add_test(tc, id_stands_where_the_envelope_puts_it);
    tcase_add_test(tc, number_tells_rows_of_one_id_apart);
    tcase_add_test(tc, replays_are_known_by_their_header);
    suite_add_tcase(s, tc);
    return s;
}
