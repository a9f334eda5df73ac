/* event.c - limits of an event, and one event as the parameters of the INSERT.
 *
 * Checks everything before it encodes anything. Pure but for one malloc for long headers; the id
 * of an event without one is the caller's business, as it needs a clock.
 * Messages name the field, its value where it is a name or an identifier, and the limit; never
 * bytes of the key, the payload or a header's value.
 */
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"
#include "uuid.h"

#define N_CARRIED 4
#define JSONB_VERSION 1
/* Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

/* Fields of the event that travel as the first pairs of the headers column. The relay's envelopes
 * give them their names on the wire. */
static const char *const carried_names[N_CARRIED] = { "correlationid", "causationid", "traceparent",
                                                      "tracestate" };

static void put_big_endian(unsigned char *to, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        to[i] = (unsigned char)(value >> (8 * (n_bytes - 1 - i)));
}

static int refuse_at(outbox_error *err, const char *field, const char *text, size_t len, size_t at,
                     const char *why)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    return outbox__error_set(err, OUTBOX_EINVAL, "%s %s has %s at byte %zu", field,
                             outbox__quote(text, len, quoted), why, at);
}

/* A text of 1 to max bytes, valid UTF-8 without control characters: what CloudEvents allows in an
 * attribute. On success ret_len is its length. */
static int check_text(const char *field, const char *text, size_t max, size_t *ret_len,
                      outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    size_t len, at;

    if (text == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "%s is NULL but required", field);
    len = strnlen(text, max + 1);
    if (len == 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "%s is empty; allowed are 1 to %zu bytes",
                                 field, max);
    if (len > max)
        return outbox__error_set(err, OUTBOX_EINVAL, "%s %s is longer than %zu bytes", field,
                                 outbox__quote(text, len, quoted), max);
    at = outbox__utf8_check(text, len);
    if (at != OUTBOX__TEXT_OK)
        return refuse_at(err, field, text, len, at, "invalid UTF-8");
    at = outbox__control_find(text, len);
    if (at != OUTBOX__TEXT_OK)
        return refuse_at(err, field, text, len, at, "a control character");
    *ret_len = len;
    return OUTBOX_OK;
}

static bool is_topic_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static int check_topic(const char *topic, size_t *ret_len, outbox_error *err)
{
    int code = check_text("topic", topic, OUTBOX_MAX_TOPIC_BYTES, ret_len, err);

    if (code != OUTBOX_OK)
        return code;
    for (size_t i = 0; i < *ret_len; i++) {
        if (!is_topic_character(topic[i]))
            return refuse_at(err, "topic", topic, *ret_len, i,
                             "a character outside [a-zA-Z0-9._-]");
    }
    if (strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "topic \"%s\" is a name that Kafka refuses",
                                 topic);
    return OUTBOX_OK;
}

static bool starts_with_ignoring_case(const char *text, const char *lower_case_prefix)
{
    for (; *lower_case_prefix != '\0'; text++, lower_case_prefix++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;

        if (c != *lower_case_prefix)
            return false;
    }
    return true;
}

static int check_content_type(const char *content_type, size_t *ret_len, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    int code;

    *ret_len = 0;
    if (content_type == NULL)
        return OUTBOX_OK;
    code = check_text("content_type", content_type, OUTBOX_MAX_CONTENT_TYPE_BYTES, ret_len, err);
    if (code != OUTBOX_OK)
        return code;
    if (starts_with_ignoring_case(content_type, "application/cloudevents"))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "content_type %s would announce a whole CloudEvent as the "
                                 "payload; give the type of the data itself",
                                 outbox__quote(content_type, *ret_len, quoted));
    return OUTBOX_OK;
}

static bool is_zero_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '0')
            return false;
    }
    return true;
}

/* 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, lower case; an id of zeros is invalid. */
static bool is_traceparent(const char *text)
{
    static const char form[] = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";

    for (size_t i = 0; i < sizeof(form); i++) { /* the NUL is part of the form */
        bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');

        if (form[i] == 'h' ? !hex : text[i] != form[i])
            return false;
    }
    return !is_zero_hex(text + 3, 32) && !is_zero_hex(text + 36, 16);
}

static int check_traceparent(const char *text, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    if (text == NULL || is_traceparent(text))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "traceparent %s is not a W3C value of version 00: 55 lower-case "
                             "characters, 00-trace-parent-flags, ids not all zero",
                             outbox__quote(text, strnlen(text, 56), quoted));
}

/* The W3C value may be empty, and may be longer than any limit that makes sense here. */
static int check_tracestate(const char *text, size_t *ret_len, outbox_error *err)
{
    *ret_len = 0;
    if (text == NULL || *text == '\0')
        return OUTBOX_OK;
    return check_text("tracestate", text, OUTBOX_MAX_EVENT_BYTES, ret_len, err);
}

static int check_correlation(const char *field, const char *text, size_t *ret_len,
                             outbox_error *err)
{
    *ret_len = 0;
    if (text == NULL)
        return OUTBOX_OK;
    return check_text(field, text, OUTBOX_MAX_CORRELATION_BYTES, ret_len, err);
}

/* Check the fields that travel as headers and list those that are there, in order. */
static int collect_carried(const outbox_event *event, outbox_header ret[N_CARRIED], size_t *ret_n,
                           outbox_error *err)
{
    const char *const texts[N_CARRIED] = { event->correlation_id, event->causation_id,
                                           event->traceparent, event->tracestate };
    size_t lens[N_CARRIED] = { 0, 0, 55, 0 };
    int code;

    *ret_n = 0;
    code = check_correlation("correlation_id", event->correlation_id, &lens[0], err);
    if (code == OUTBOX_OK)
        code = check_correlation("causation_id", event->causation_id, &lens[1], err);
    if (code == OUTBOX_OK)
        code = check_traceparent(event->traceparent, err);
    if (code == OUTBOX_OK)
        code = check_tracestate(event->tracestate, &lens[3], err);
    for (size_t i = 0; code == OUTBOX_OK && i < N_CARRIED; i++) {
        if (texts[i] != NULL)
            ret[(*ret_n)++] = (outbox_header){ carried_names[i], texts[i], lens[i] };
    }
    return code;
}

static bool is_reserved_name(const char *name)
{
    if (strncmp(name, "ce_", 3) == 0 || strcmp(name, "hops") == 0)
        return true;
    for (size_t i = 0; i < N_CARRIED; i++) {
        if (strcmp(name, carried_names[i]) == 0)
            return true;
    }
    return false;
}

static int check_header_name(const char *name, size_t i, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    size_t len, at;

    if (name == NULL || name[0] == '\0')
        return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].name is %s", i,
                                 name == NULL ? "NULL" : "empty");
    len = strnlen(name, OUTBOX_MAX_EVENT_BYTES + 1);
    outbox__quote(name, len, quoted);
    if (len > OUTBOX_MAX_EVENT_BYTES)
        return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].name %s is longer than %d bytes",
                                 i, quoted, OUTBOX_MAX_EVENT_BYTES);
    at = outbox__utf8_check(name, len);
    if (at != OUTBOX__TEXT_OK)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].name %s has invalid UTF-8 at byte %zu", i, quoted,
                                 at);
    if (is_reserved_name(name))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].name %s is reserved: names that start with \"ce_\", "
                                 "correlationid, causationid, traceparent, tracestate and hops are "
                                 "written by the relay; use the field of the event",
                                 i, quoted);
    return OUTBOX_OK;
}

static int check_header(const outbox_header *header, size_t i, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    const char *why = NULL;
    size_t at = 0;
    int code = check_header_name(header->name, i, err);

    if (code != OUTBOX_OK)
        return code;
    outbox__quote(header->name, strlen(header->name), quoted);
    if (header->value == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].value of %s is NULL; an empty value is \"\" with 0",
                                 i, quoted);
    if (header->value_len > OUTBOX_MAX_EVENT_BYTES)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].value_len of %s is %zu; key, payload and headers "
                                 "together may have %d bytes",
                                 i, quoted, header->value_len, OUTBOX_MAX_EVENT_BYTES);
    at = outbox__utf8_check(header->value, header->value_len);
    if (at != OUTBOX__TEXT_OK) {
        why = "invalid UTF-8";
    } else {
        const char *nul = memchr(header->value, '\0', header->value_len);

        if (nul != NULL) {
            why = "a NUL character";
            at = (size_t)(nul - (const char *)header->value);
        }
    }
    if (why == NULL)
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].value of %s has %s at byte %zu", i,
                             quoted, why, at);
}

static int check_headers(const outbox_event *event, outbox_error *err)
{
    int code = OUTBOX_OK;

    if (event->n_headers > OUTBOX_MAX_HEADERS)
        return outbox__error_set(err, OUTBOX_EINVAL, "n_headers is %zu; at most %d are allowed",
                                 event->n_headers, OUTBOX_MAX_HEADERS);
    if (event->headers == NULL && event->n_headers > 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "headers is NULL but n_headers is %zu",
                                 event->n_headers);
    for (size_t i = 0; code == OUTBOX_OK && i < event->n_headers; i++)
        code = check_header(&event->headers[i], i, err);
    return code;
}

static int check_bytes(const char *field, const void *bytes, size_t len, outbox_error *err)
{
    if (bytes == NULL && len > 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "%s is NULL but %s_len is %zu", field, field,
                                 len);
    if (len > OUTBOX_MAX_EVENT_BYTES)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "%s_len is %zu; key, payload and headers together may have %d "
                                 "bytes",
                                 field, len, OUTBOX_MAX_EVENT_BYTES);
    return OUTBOX_OK;
}

static size_t header_bytes(const outbox_header *headers, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += strlen(headers[i].name) + headers[i].value_len;
    return sum;
}

/* Each part is within the limit already, so the sum of at most 139 parts cannot overflow. The trace
 * state is sent twice, as a plain header and as a CloudEvents attribute. */
static int check_size(const outbox_event *event, const outbox_header *carried, size_t n_carried,
                      outbox_error *err)
{
    size_t headers = header_bytes(carried, n_carried) +
                     header_bytes(event->headers, event->n_headers) +
                     (event->tracestate != NULL ? strlen(event->tracestate) : 0);
    size_t sum = event->key_len + event->payload_len + headers;

    if (sum <= OUTBOX_MAX_EVENT_BYTES)
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "the event has %zu bytes (key %zu, payload %zu, headers %zu); at most "
                             "%d are allowed",
                             sum, event->key_len, event->payload_len, headers,
                             OUTBOX_MAX_EVENT_BYTES);
}

static int check_numbers(const outbox_event *event, outbox_error *err)
{
    if (event->flags != 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "flags is 0x%lx; this version knows none",
                                 (unsigned long)event->flags);
    if (event->schema_version < 1)
        return outbox__error_set(err, OUTBOX_EINVAL, "schema_version is %ld; it starts at 1",
                                 (long)event->schema_version);
    if (event->available_at_us < 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "available_at_us is %lld; it counts from 1970, 0 is now",
                                 (long long)event->available_at_us);
    return OUTBOX_OK;
}

static int check_event_id(const char *text, struct outbox__row *row, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    row->needs_id = text == NULL;
    if (text == NULL || outbox__uuid_parse(text, row->event_id))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "event_id %s is not a UUID of 36 characters with hyphens",
                             outbox__quote(text, strnlen(text, 49), quoted));
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

/* jsonb in binary is a version byte and the text, here an array of [name, value]. The text is ASCII
 * only, so that the connection's client_encoding does not touch it. With to NULL it only counts. */
static size_t put_headers(char *to, const outbox_event *event, const outbox_header *carried,
                          size_t n_carried)
{
    size_t at = put_byte(to, 0, JSONB_VERSION);

    at = put_byte(to, at, '[');
    at = put_pairs(to, at, carried, n_carried);
    at = put_pairs(to, at, event->headers, event->n_headers);
    return put_byte(to, at - 1, ']');
}

static int encode_headers(const outbox_event *event, const outbox_header *carried, size_t n_carried,
                          struct outbox__row *row, outbox_error *err)
{
    size_t n = n_carried + event->n_headers;
    size_t bytes = header_bytes(carried, n_carried) +
                   header_bytes(event->headers, event->n_headers);
    char *to = row->small;

    if (n == 0)
        return OUTBOX_OK;
    /* A byte becomes 6 at most, a pair has 8 of its own: mostly that fits without counting. */
    if (bytes * 6 + n * 8 + 2 > sizeof(row->small)) {
        size_t len = put_headers(NULL, event, carried, n_carried);

        if (len > sizeof(row->small)) {
            row->heap = malloc(len);
            if (row->heap == NULL)
                return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for %zu bytes of headers",
                                         len);
            to = row->heap;
        }
    }
    row->values[OUTBOX__HEADERS] = to;
    row->lengths[OUTBOX__HEADERS] = (int)put_headers(to, event, carried, n_carried);
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

struct text_lengths {
    size_t topic, type, content_type;
};

static void encode_texts(const outbox_event *event, const struct text_lengths *lens,
                         struct outbox__row *row)
{
    set_column(row, OUTBOX__TOPIC, event->topic, lens->topic);
    set_column(row, OUTBOX__TYPE, event->type, lens->type);
    set_column(row, OUTBOX__CONTENT_TYPE, event->content_type, lens->content_type);
    row->non_ascii = NULL; /* a topic is ASCII */
    if (outbox__non_ascii_find(event->type, lens->type) != OUTBOX__TEXT_OK)
        row->non_ascii = "type";
    else if (event->content_type != NULL &&
             outbox__non_ascii_find(event->content_type, lens->content_type) != OUTBOX__TEXT_OK)
        row->non_ascii = "content_type";
}

int outbox__row_encode(const outbox_event *event, struct outbox__row *ret, outbox_error *err)
{
    outbox_header carried[N_CARRIED];
    struct text_lengths lens;
    size_t n_carried = 0;
    int code;

    ret->heap = NULL;
    set_column(ret, OUTBOX__HEADERS, NULL, 0);
    if ((code = check_numbers(event, err)) != OUTBOX_OK ||
        (code = check_topic(event->topic, &lens.topic, err)) != OUTBOX_OK ||
        (code = check_text("type", event->type, OUTBOX_MAX_TYPE_BYTES, &lens.type, err)) !=
            OUTBOX_OK ||
        (code = check_content_type(event->content_type, &lens.content_type, err)) != OUTBOX_OK ||
        (code = check_event_id(event->event_id, ret, err)) != OUTBOX_OK ||
        (code = check_bytes("key", event->key, event->key_len, err)) != OUTBOX_OK ||
        (code = check_bytes("payload", event->payload, event->payload_len, err)) != OUTBOX_OK ||
        (code = collect_carried(event, carried, &n_carried, err)) != OUTBOX_OK ||
        (code = check_headers(event, err)) != OUTBOX_OK ||
        (code = check_size(event, carried, n_carried, err)) != OUTBOX_OK)
        return code;
    encode_texts(event, &lens, ret);
    encode_fixed(event, ret);
    set_column(ret, OUTBOX__KEY, event->key, event->key_len);
    set_column(ret, OUTBOX__PAYLOAD, event->payload, event->payload_len);
    return encode_headers(event, carried, n_carried, ret, err);
}

void outbox__row_deinit(struct outbox__row *row)
{
    free(row->heap);
    row->heap = NULL;
}
