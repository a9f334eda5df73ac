/* test_arrays.c - events as binary arrays, byte by byte. */
#include <check.h>
#include <string.h>

#include "lib/outbox/arrays.h"

#define BYTES(literal) (literal), sizeof(literal) - 1

static struct outbox__arrays arrays;
static outbox_event event;

static void setup(void)
{
    memset(&arrays, 0, sizeof(arrays));
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.topic = "t";
    event.type = "type";
}

static void teardown(void)
{
    outbox__arrays_deinit(&arrays);
}

static void add(void)
{
    struct outbox__row row;
    size_t before = arrays.n_bytes;
    outbox_error err = OUTBOX_ERROR_INIT;

    ck_assert_msg(outbox__row_encode(&event, &row, &err) == OUTBOX_OK, "%s", err.message);
    memset(row.event_id, 'i', sizeof(row.event_id));
    ck_assert(outbox__arrays_add(&arrays, &row));
    ck_assert_uint_eq(arrays.n_bytes - before, outbox__arrays_row_bytes(&row));
    outbox__row_deinit(&row);
}

static void expect(int column, uint32_t type, const char *bytes, size_t len)
{
    int got;
    const char *array = outbox__arrays_finish(&arrays, column, type, &got);

    ck_assert_int_eq(got, (int)len);
    ck_assert_mem_eq(array, bytes, len);
}

/* One dimension, with or without a null, the type, the number, from 1 on. */
START_TEST(arrays_hold_each_column_in_order)
{
    event.key = "k\0";
    event.key_len = 2;
    add();
    event.topic = "topic";
    event.key = NULL;
    event.key_len = 0;
    event.payload = "";
    event.schema_version = 2;
    add();
    ck_assert_uint_eq(arrays.n_rows, 2);
    expect(OUTBOX__TOPIC, 25, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\2\0\0\0\1"
                                    "\0\0\0\1t\0\0\0\5topic"));
    expect(OUTBOX__KEY, 17, BYTES("\0\0\0\1\0\0\0\1\0\0\0\x11\0\0\0\2\0\0\0\1"
                                  "\0\0\0\2k\0\xff\xff\xff\xff"));
    int len;
    ck_assert_ptr_null(outbox__arrays_finish(&arrays, OUTBOX__HEADERS, 114, &len)); /* all null */
    ck_assert_int_eq(len, 0);
    expect(OUTBOX__PAYLOAD, 17, BYTES("\0\0\0\1\0\0\0\1\0\0\0\x11\0\0\0\2\0\0\0\1"
                                      "\xff\xff\xff\xff\0\0\0\0")); /* a tombstone, then empty */
    expect(OUTBOX__SCHEMA_VERSION, 23, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x17\0\0\0\2\0\0\0\1"
                                             "\0\0\0\4\0\0\0\1\0\0\0\4\0\0\0\2"));
    expect(OUTBOX__EVENT_ID, 2950, BYTES("\0\0\0\1\0\0\0\0\0\0\x0b\x86\0\0\0\2\0\0\0\1"
                                         "\0\0\0\x10iiiiiiiiiiiiiiii"
                                         "\0\0\0\x10iiiiiiiiiiiiiiii"));
    expect(OUTBOX__ORDERED, 16, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x10\0\0\0\2\0\0\0\1"
                                      "\0\0\0\1\0\0\0\0\1\0"));
}
END_TEST

START_TEST(arrays_that_were_cleared_hold_what_comes_then)
{
    add();
    outbox__arrays_clear(&arrays);
    ck_assert(arrays.n_rows == 0 && arrays.n_bytes == 0);
    event.topic = "u";
    event.key = "k";
    event.key_len = 1;
    add();
    expect(OUTBOX__TOPIC, 25, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\1\0\0\0\1\0\0\0\1u"));
    expect(OUTBOX__KEY, 17, BYTES("\0\0\0\1\0\0\0\0\0\0\0\x11\0\0\0\1\0\0\0\1\0\0\0\1k"));
}
END_TEST

START_TEST(arrays_grow)
{
    static char payload[100000];

    memset(payload, 'p', sizeof(payload));
    event.payload = payload;
    for (size_t i = 0; i < 50; i++) {
        event.payload_len = i * 2000;
        add();
    }
    int len;
    const char *array = outbox__arrays_finish(&arrays, OUTBOX__PAYLOAD, 17, &len);
    ck_assert_int_eq(len, 20 + 50 * 4 + 2000 * (49 * 50 / 2));
    ck_assert_int_eq(array[len - 1], 'p');
    ck_assert_mem_eq(array + 20, "\0\0\0\0\0\0\7\xd0pppp", 12);
}
END_TEST

Suite *suite_arrays(void);
Suite *suite_arrays(void)
{
    Suite *suite = suite_create("arrays");
    TCase *tcase = tcase_create("arrays");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, arrays_hold_each_column_in_order);
    tcase_add_test(tcase, arrays_that_were_cleared_hold_what_comes_then);
    tcase_add_test(tcase, arrays_grow);
    suite_add_tcase(suite, tcase);
    return suite;
}
