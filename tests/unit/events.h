/* events.h - what the unit tests of events share: one event, what it is encoded to, and how it is refused. */
#ifndef TESTS_UNIT_EVENTS_H
#define TESTS_UNIT_EVENTS_H

#include <check.h>
#include <string.h>

#include "lib/outbox/checks.h"
#include "lib/outbox/event.h"
#include "outbox.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(literal) (literal), sizeof(literal) - 1
#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static outbox_event event;
static outbox_error err;
static struct outbox__row row;
static char big[OUTBOX_MAX_EVENT_BYTES + 2]; /* 'a' throughout, no NUL but the last */

static inline void setup(void)
{
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.topic = "orders";
    event.type = "placed";
    err = (outbox_error)OUTBOX_ERROR_INIT;
    memset(&row, 0xa5, sizeof(row)); /* nothing may rest on zeroed memory */
    memset(big, 'a', sizeof(big) - 1);
}

static inline void accept_event(void)
{
    int code = outbox__row_encode(&event, &row, &err);

    ck_assert_msg(code == OUTBOX_OK, "refused: %s", err.message);
}

static inline void accept_and_drop(void)
{
    accept_event();
    outbox__row_deinit(&row);
}

/* Refused with OUTBOX_EINVAL, and the message holds these words. */
static inline void refuse_event(const char *word1, const char *word2)
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
static inline const char *letters(size_t n)
{
    static char text[1024];

    ck_assert_uint_lt(n, sizeof(text));
    memset(text, 't', n);
    text[n] = '\0';
    return text;
}

static inline void expect_column(int column, const void *bytes, size_t len)
{
    ck_assert_ptr_nonnull(row.values[column]);
    ck_assert_int_eq(row.lengths[column], (int)len);
    if (len > 0)
        ck_assert_mem_eq(row.values[column], bytes, len);
}

static inline void expect_headers(const char *json)
{
    accept_event();
    ck_assert_ptr_nonnull(row.values[OUTBOX__HEADERS]);
    expect_column(OUTBOX__HEADERS, json, strlen(json));
    outbox__row_deinit(&row);
}

#endif
