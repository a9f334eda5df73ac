/* event.c - one event as the parameters of the statement. See event.h.
 *
 * Pure but for one malloc for long headers; the id of an event without one is the caller's
 * business, as it needs a clock. checks.c has looked at the event before anything is encoded.
 */
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "error.h"
#include "text.h"

/* Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

static void put_big_endian(unsigned char *to, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        to[i] = (unsigned char)(value >> (8 * (n_bytes - 1 - i)));
}

static size_t put_byte(char *to, size_t at, char c)
{
    if (to != NULL)
        to[at] = c;
    return at + 1;
}

static size_t put_string(char *to, size_t at, const void *text, size_t len)
{
    return at + outbox__json_string(text, len, to != NULL ? to + at : NULL);
}

static size_t put_pairs(char *to, size_t at, const outbox_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        at = put_byte(to, at, '[');
        at = put_string(to, at, headers[i].name, strlen(headers[i].name));
        at = put_byte(to, at, ',');
        at = put_string(to, at, headers[i].value, headers[i].value_len);
        at = put_byte(to, at, ']');
        at = put_byte(to, at, ','); /* the last one is taken back */
    }
    return at;
}

/* json in binary is its text, here an array of [name, value]. ASCII only, so that the connection's
 * client_encoding does not touch it. With to NULL it only counts. */
static size_t put_headers(char *to, const outbox_event *event,
                          const struct outbox__checked *checked)
{
    size_t at = put_byte(to, 0, '[');

    at = put_pairs(to, at, checked->carried, checked->n_carried);
    at = put_pairs(to, at, event->headers, event->n_headers);
    return put_byte(to, at - 1, ']');
}

static int encode_headers(const outbox_event *event, const struct outbox__checked *checked,
                          struct outbox__row *row, outbox_error *err)
{
    size_t n = checked->n_carried + event->n_headers;
    uint64_t bytes = outbox__header_bytes(checked->carried, checked->n_carried) +
                     outbox__header_bytes(event->headers, event->n_headers);
    char *to = row->small;

    if (n == 0)
        return OUTBOX_OK;
    /* A byte becomes 6 at most, a pair has 8 of its own: mostly that fits without counting. */
    if (bytes * 6 + n * 8 + 2 > sizeof(row->small)) {
        size_t len = put_headers(NULL, event, checked);

        if (len > sizeof(row->small)) {
            row->heap = malloc(len);
            if (row->heap == NULL)
                return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for %zu bytes of headers",
                                         len);
            to = row->heap;
        }
    }
    row->values[OUTBOX__HEADERS] = to;
    row->lengths[OUTBOX__HEADERS] = (int)put_headers(to, event, checked);
    return OUTBOX_OK;
}

/* A pointer that is not NULL keeps an empty value apart from SQL NULL. */
static void set_column(struct outbox__row *row, int column, const void *value, size_t len)
{
    row->values[column] = value;
    row->lengths[column] = (int)len;
}

static void encode_fixed(const outbox_event *event, struct outbox__row *row)
{
    put_big_endian(row->schema_version, (uint64_t)event->schema_version, 4);
    set_column(row, OUTBOX__SCHEMA_VERSION, row->schema_version, 4);
    set_column(row, OUTBOX__EVENT_ID, row->event_id, 16);
    set_column(row, OUTBOX__AVAILABLE_AT, NULL, 0);
    if (event->available_at_us != 0) {
        put_big_endian(row->available_at, (uint64_t)(event->available_at_us - PG_EPOCH_US), 8);
        set_column(row, OUTBOX__AVAILABLE_AT, row->available_at, 8);
    }
}

static void encode_texts(const outbox_event *event, const struct outbox__checked *checked,
                         struct outbox__row *row)
{
    set_column(row, OUTBOX__TOPIC, event->topic, checked->topic_len);
    set_column(row, OUTBOX__TYPE, event->type, checked->type_len);
    set_column(row, OUTBOX__CONTENT_TYPE, event->content_type, checked->content_type_len);
    row->non_ascii = NULL; /* a topic is ASCII */
    if (outbox__non_ascii_find(event->type, checked->type_len) != OUTBOX__TEXT_OK)
        row->non_ascii = "type";
    else if (event->content_type != NULL &&
             outbox__non_ascii_find(event->content_type, checked->content_type_len) !=
                 OUTBOX__TEXT_OK)
        row->non_ascii = "content_type";
}

int outbox__row_encode(const outbox_event *event, struct outbox__row *ret, outbox_error *err)
{
    struct outbox__checked checked;
    int code = outbox__event_check(event, &checked, err);

    if (code != OUTBOX_OK)
        return code;
    ret->heap = NULL;
    ret->needs_id = checked.needs_id;
    if (!checked.needs_id)
        memcpy(ret->event_id, checked.event_id, sizeof(ret->event_id));
    ret->ordered[0] = (event->flags & OUTBOX_APPEND_ORDERED) != 0;
    set_column(ret, OUTBOX__HEADERS, NULL, 0);
    set_column(ret, OUTBOX__ORDERED, (const char *)ret->ordered, 1);
    encode_texts(event, &checked, ret);
    encode_fixed(event, ret);
    set_column(ret, OUTBOX__KEY, event->key, event->key_len);
    set_column(ret, OUTBOX__PAYLOAD, event->payload, event->payload_len);
    return encode_headers(event, &checked, ret, err);
}

void outbox__row_deinit(struct outbox__row *row)
{
    free(row->heap);
    row->heap = NULL;
}
