/* test_frame.c - the framing of a schema registry, byte by byte, and events made from a cause. */
#include <check.h>
#include <stdint.h>
#include <string.h>

#include "outbox.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(literal) (literal), sizeof(literal) - 1
#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/* ---- Frames --------------------------------------------------------------------------------- */

static const struct {
    uint32_t id;
    int32_t path[4];
    size_t n;
    const char *frame;
    size_t len;
} frames[] = {
    { 0, { 0 }, 0, BYTES("\0\0\0\0\0") },
    { 1, { 0 }, 0, BYTES("\0\0\0\0\1") },
    { 0x01020304, { 0 }, 0, BYTES("\0\1\2\3\4") },
    { UINT32_MAX, { 0 }, 0, BYTES("\0\xff\xff\xff\xff") },
    { 1, { 0 }, 1, BYTES("\0\0\0\0\1\0") },                 /* the first message: one byte */
    { 1, { 1 }, 1, BYTES("\0\0\0\0\1\2\2") },               /* one index, 1: zigzag 2 and 2 */
    { 1, { 0, 0 }, 2, BYTES("\0\0\0\0\1\4\0\0") },          /* a message in the first message */
    { 1, { 1, 0 }, 2, BYTES("\0\0\0\0\1\4\2\0") },          /* the registry's own example */
    { 1, { 63 }, 1, BYTES("\0\0\0\0\1\2\x7e") },
    { 1, { 64 }, 1, BYTES("\0\0\0\0\1\2\x80\1") },          /* the first of two bytes */
    { 1, { 8191 }, 1, BYTES("\0\0\0\0\1\2\xfe\x7f") },
    { 1, { 8192 }, 1, BYTES("\0\0\0\0\1\2\x80\x80\1") },
    { 1, { INT32_MAX }, 1, BYTES("\0\0\0\0\1\2\xfe\xff\xff\xff\x0f") },
};

START_TEST(frame_has_these_bytes)
{
    const int32_t *path = frames[_i].n > 0 ? frames[_i].path : NULL;
    size_t needed = frames[_i].len + 7;
    char buffer[64];

    memset(buffer, 0x5a, sizeof(buffer));
    for (size_t size = 0; size < needed; size++) {
        ck_assert_uint_eq(outbox_frame_confluent(frames[_i].id, path, frames[_i].n, "payload", 7,
                                                 buffer, size),
                          needed);
        ck_assert_int_eq(buffer[0], 0x5a); /* nothing was written */
    }
    ck_assert_uint_eq(outbox_frame_confluent(frames[_i].id, path, frames[_i].n, "payload", 7,
                                             buffer, needed),
                      needed);
    ck_assert_mem_eq(buffer, frames[_i].frame, frames[_i].len);
    ck_assert_mem_eq(buffer + frames[_i].len, "payload", 7);
    ck_assert_int_eq(buffer[needed], 0x5a);
    ck_assert_uint_eq(outbox_frame_confluent(frames[_i].id, path, frames[_i].n, NULL, 0, NULL, 0),
                      frames[_i].len);
}
END_TEST

START_TEST(frame_moves_a_payload_that_lies_in_the_buffer)
{
    static const int32_t path[] = { 1, 0 };

    for (size_t at = 0; at < 12; at++) {
        char buffer[32] = "";

        memcpy(buffer + at, "payload", 7);
        ck_assert_uint_eq(outbox_frame_confluent(1, path, 2, buffer + at, 7, buffer,
                                                 sizeof(buffer)),
                          15);
        ck_assert_mem_eq(buffer, "\0\0\0\0\1\4\2\0payload", 15);
    }
}
END_TEST

START_TEST(frame_refuses_what_makes_no_sense)
{
    static const int32_t negative[] = { 0, -1 };
    char buffer[32];

    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 1, "p", 1, buffer, sizeof(buffer)), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, negative, 2, "p", 1, buffer, sizeof(buffer)), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 0, NULL, 1, buffer, sizeof(buffer)), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 0, "p", 1, NULL, 1), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 0, "p", SIZE_MAX, buffer, 32), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 0, "p", SIZE_MAX - 4, buffer, 32), 0);
    ck_assert_uint_eq(outbox_frame_confluent(1, NULL, 0, "p", SIZE_MAX - 5, buffer, 32), SIZE_MAX);
}
END_TEST

/* ---- Causes --------------------------------------------------------------------------------- */

static outbox_event event;
static outbox_cause cause;
static outbox_error err;

static void setup(void)
{
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.topic = "orders";
    cause = (outbox_cause)OUTBOX_CAUSE_INIT;
    cause.event_id = "the-cause";
    err = (outbox_error)OUTBOX_ERROR_INIT;
}

START_TEST(cause_is_carried_into_the_event)
{
    cause.correlation_id = "the-order";
    cause.traceparent = TRACEPARENT;
    cause.tracestate = "v=1";
    cause.hops = 7;
    ck_assert_int_eq(outbox_event_from_cause(&event, &cause, &err), OUTBOX_OK);
    ck_assert_str_eq(event.correlation_id, "the-order");
    ck_assert_str_eq(event.causation_id, "the-cause");
    ck_assert_str_eq(event.traceparent, TRACEPARENT);
    ck_assert_str_eq(event.tracestate, "v=1");
    ck_assert_uint_eq(event.hops, 8);
    ck_assert_str_eq(event.topic, "orders");
    ck_assert_ptr_null(event.event_id);
}
END_TEST

START_TEST(cause_without_a_correlation_becomes_it)
{
    event.traceparent = TRACEPARENT; /* of something else: the cause had none */
    ck_assert_int_eq(outbox_event_from_cause(&event, &cause, NULL), OUTBOX_OK);
    ck_assert_str_eq(event.correlation_id, "the-cause");
    ck_assert_str_eq(event.causation_id, "the-cause");
    ck_assert_ptr_null(event.traceparent);
    ck_assert_uint_eq(event.hops, 1);
}
END_TEST

START_TEST(cause_loses_a_trace_that_is_none)
{
    cause.traceparent = "01" TRACEPARENT;
    cause.tracestate = "v=1";
    ck_assert_int_eq(outbox_event_from_cause(&event, &cause, &err), OUTBOX_OK);
    ck_assert_ptr_null(event.traceparent);
    ck_assert_ptr_null(event.tracestate);
}
END_TEST

static void refuse(outbox_event *e, const outbox_cause *c, const char *words)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_int_eq(outbox_event_from_cause(e, c, &err), OUTBOX_EINVAL);
    ck_assert_int_eq(err.code, OUTBOX_EINVAL);
    ck_assert_msg(strstr(err.message, words) != NULL, "\"%s\" lacks \"%s\"", err.message, words);
    ck_assert_int_eq(outbox_event_from_cause(e, c, NULL), OUTBOX_EINVAL);
}

START_TEST(cause_that_is_wrong_changes_nothing)
{
    outbox_event before = event;

    refuse(NULL, &cause, "event is NULL");
    refuse(&event, NULL, "cause is NULL");
    cause.event_id = NULL;
    refuse(&event, &cause, "cause.event_id is NULL");
    cause.event_id = "";
    refuse(&event, &cause, "cause.event_id is empty");
    cause.event_id = "e";
    cause.hops = UINT32_MAX;
    refuse(&event, &cause, "4294967295");
    cause.hops = 0;
    cause.reserved = 1;
    refuse(&event, &cause, "OUTBOX_CAUSE_INIT");
    cause.reserved = 0;
    cause.struct_size--;
    refuse(&event, &cause, "cause.struct_size is 47");
    cause.struct_size += 9;
    refuse(&event, &cause, "cause.struct_size is 56"); /* of a newer header */
    cause.struct_size -= 8;
    event.struct_size = before.struct_size = sizeof(event) + 8;
    refuse(&event, &cause, "event.struct_size is 168");
    event.struct_size = before.struct_size = offsetof(outbox_event, max_event_bytes);
    refuse(&event, &cause, "event.struct_size is 144"); /* it has no room for hops */
    ck_assert_mem_eq(&event, &before, sizeof(event));
}
END_TEST

Suite *suite_frame(void);
Suite *suite_frame(void)
{
    Suite *suite = suite_create("frame");
    TCase *frame = tcase_create("frame"), *causes = tcase_create("cause");

    tcase_add_loop_test(frame, frame_has_these_bytes, 0, N(frames));
    tcase_add_test(frame, frame_moves_a_payload_that_lies_in_the_buffer);
    tcase_add_test(frame, frame_refuses_what_makes_no_sense);
    suite_add_tcase(suite, frame);
    tcase_add_checked_fixture(causes, setup, NULL);
    tcase_add_test(causes, cause_is_carried_into_the_event);
    tcase_add_test(causes, cause_without_a_correlation_becomes_it);
    tcase_add_test(causes, cause_loses_a_trace_that_is_none);
    tcase_add_test(causes, cause_that_is_wrong_changes_nothing);
    suite_add_tcase(suite, causes);
    return suite;
}
