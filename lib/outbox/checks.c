/* checks.c - what an event may hold. See checks.h.
 *
 * Pure. Messages name the field, its value where it is a name or an identifier, and the limit;
 * never bytes of the key, the payload or a header's value.
 */
#include "checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "text.h"
#include "uuid.h"

/* Fields of the event that travel as the first pairs of the headers column. The relay's envelopes
 * give them their names on the wire. */
static const char *const carried_names[OUTBOX__N_CARRIED] = {
    "correlationid", "causationid", "hops", "traceparent", "tracestate",
};

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
bool outbox__is_traceparent(const char *text)
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

    if (text == NULL || outbox__is_traceparent(text))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "traceparent %s is not a W3C value of version 00: 55 lower-case "
                             "characters, 00-trace-parent-flags, ids not all zero",
                             outbox__quote(text, strnlen(text, 56), quoted));
}

/* The W3C value may be empty, and may be longer than any limit that makes sense here. */
static int check_tracestate(const char *text, size_t max, size_t *ret_len, outbox_error *err)
{
    *ret_len = 0;
    if (text == NULL || *text == '\0')
        return OUTBOX_OK;
    return check_text("tracestate", text, max, ret_len, err);
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
static int collect_carried(const outbox_event *event, struct outbox__checked *ret, outbox_error *err)
{
    const char *const texts[OUTBOX__N_CARRIED] = { event->correlation_id, event->causation_id,
                                                   event->hops > 0 ? ret->hops : NULL,
                                                   event->traceparent, event->tracestate };
    size_t lens[OUTBOX__N_CARRIED] = { [3] = 55 };
    int code;

    if (event->hops > 0)
        lens[2] = (size_t)snprintf(ret->hops, sizeof(ret->hops), "%lu", (unsigned long)event->hops);
    if ((code = check_correlation("correlation_id", event->correlation_id, &lens[0], err)) !=
            OUTBOX_OK ||
        (code = check_correlation("causation_id", event->causation_id, &lens[1], err)) !=
            OUTBOX_OK ||
        (code = check_traceparent(event->traceparent, err)) != OUTBOX_OK ||
        (code = check_tracestate(event->tracestate, ret->max_bytes, &lens[4], err)) != OUTBOX_OK)
        return code;
    ret->n_carried = 0;
    for (size_t i = 0; i < OUTBOX__N_CARRIED; i++) {
        if (texts[i] != NULL)
            ret->carried[ret->n_carried++] = (outbox_header){ carried_names[i], texts[i], lens[i] };
    }
    return OUTBOX_OK;
}

static bool is_reserved_name(const char *name)
{
    if (strncmp(name, "ce_", 3) == 0)
        return true;
    for (size_t i = 0; i < OUTBOX__N_CARRIED; i++) {
        if (strcmp(name, carried_names[i]) == 0)
            return true;
    }
    return false;
}

static int check_header_name(const char *name, size_t i, size_t max, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    size_t len, at;

    if (name == NULL || name[0] == '\0')
        return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].name is %s", i,
                                 name == NULL ? "NULL" : "empty");
    len = strnlen(name, max + 1);
    if (len > max)
        return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].name %s is longer than %zu bytes",
                                 i, outbox__quote(name, len, quoted), max);
    at = outbox__utf8_check(name, len);
    if (at != OUTBOX__TEXT_OK)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].name %s has invalid UTF-8 at byte %zu", i,
                                 outbox__quote(name, len, quoted), at);
    if (is_reserved_name(name))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].name %s is reserved: names that start with \"ce_\", "
                                 "correlationid, causationid, traceparent, tracestate and hops are "
                                 "written by the relay; use the field of the event",
                                 i, outbox__quote(name, len, quoted));
    return OUTBOX_OK;
}

/* What is wrong with the bytes of a value, and where, or NULL. */
static const char *find_fault(const void *value, size_t len, size_t *ret_at)
{
    const char *nul;

    *ret_at = outbox__utf8_check(value, len);
    if (*ret_at != OUTBOX__TEXT_OK)
        return "invalid UTF-8";
    nul = memchr(value, '\0', len);
    if (nul == NULL)
        return NULL;
    *ret_at = (size_t)(nul - (const char *)value);
    return "a NUL character";
}

static int check_header_value(const outbox_header *header, size_t i, size_t max, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    const char *why = NULL;
    size_t at = 0;

    if (header->value != NULL && header->value_len <= max &&
        (why = find_fault(header->value, header->value_len, &at)) == NULL)
        return OUTBOX_OK;
    outbox__quote(header->name, strlen(header->name), quoted);
    if (header->value == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].value of %s is NULL; an empty value is \"\" with 0",
                                 i, quoted);
    if (header->value_len > max)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "headers[%zu].value_len of %s is %zu; key, payload and headers "
                                 "together may have %zu bytes",
                                 i, quoted, header->value_len, max);
    return outbox__error_set(err, OUTBOX_EINVAL, "headers[%zu].value of %s has %s at byte %zu", i,
                             quoted, why, at);
}

static int check_header(const outbox_header *header, size_t i, size_t max, outbox_error *err)
{
    int code = check_header_name(header->name, i, max, err);

    return code != OUTBOX_OK ? code : check_header_value(header, i, max, err);
}

static int check_headers(const outbox_event *event, size_t max, outbox_error *err)
{
    int code = OUTBOX_OK;

    if (event->n_headers > OUTBOX_MAX_HEADERS)
        return outbox__error_set(err, OUTBOX_EINVAL, "n_headers is %zu; at most %d are allowed",
                                 event->n_headers, OUTBOX_MAX_HEADERS);
    if (event->headers == NULL && event->n_headers > 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "headers is NULL but n_headers is %zu",
                                 event->n_headers);
    for (size_t i = 0; code == OUTBOX_OK && i < event->n_headers; i++)
        code = check_header(&event->headers[i], i, max, err);
    return code;
}

static int check_bytes(const char *field, const void *bytes, size_t len, size_t max,
                       outbox_error *err)
{
    if (bytes == NULL && len > 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "%s is NULL but %s_len is %zu", field, field,
                                 len);
    if (len > max)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "%s_len is %zu; key, payload and headers together may have %zu "
                                 "bytes",
                                 field, len, max);
    return OUTBOX_OK;
}

/* The table has a limit of its own for keys. */
static int check_key(const outbox_event *event, size_t max, outbox_error *err)
{
    if (event->key_len > OUTBOX_MAX_KEY_BYTES && event->key_len <= max)
        return outbox__error_set(err, OUTBOX_EINVAL, "key_len is %zu; a key may have %d bytes",
                                 event->key_len, OUTBOX_MAX_KEY_BYTES);
    return check_bytes("key", event->key, event->key_len, max, err);
}

uint64_t outbox__header_bytes(const outbox_header *headers, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += strlen(headers[i].name) + headers[i].value_len;
    return sum;
}

/* Each part is within the limit of 32 MiB already, but they may share memory: the sum of some 140
 * parts fits into 64 bits, and not into 32. The trace state is sent twice, as a plain header and as a CloudEvents attribute. */
static int check_size(const outbox_event *event, const struct outbox__checked *checked,
                      outbox_error *err)
{
    uint64_t headers = outbox__header_bytes(checked->carried, checked->n_carried) +
                       outbox__header_bytes(event->headers, event->n_headers) +
                       (event->tracestate != NULL ? strlen(event->tracestate) : 0);
    uint64_t sum = headers + event->key_len + event->payload_len;

    if (sum <= checked->max_bytes)
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "the event has %" PRIu64 " bytes (key %zu, payload %zu, headers %" PRIu64
                             "); at most %zu are allowed",
                             sum, event->key_len, event->payload_len, headers, checked->max_bytes);
}

/* An order needs something that it is the order of. */
static int check_flags(const outbox_event *event, outbox_error *err)
{
    const uint32_t known = OUTBOX_APPEND_ORDERED | OUTBOX_APPEND_PREPARED;

    if ((event->flags & ~known) != 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "flags is 0x%lx; this version knows 0x%lx",
                                 (unsigned long)event->flags, (unsigned long)known);
    if ((event->flags & OUTBOX_APPEND_ORDERED) != 0 && event->key == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "flags has OUTBOX_APPEND_ORDERED but key is NULL: events without "
                                 "a key have no order");
    return OUTBOX_OK;
}

/* A time before 2000 was counted in seconds or milliseconds, and would be long over: the event would go at once. */
#define AVAILABLE_MIN_US INT64_C(946684800000000)

static int check_available_at(int64_t us, outbox_error *err)
{
    char date[32];
    struct tm tm;

    if (us < 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "available_at_us is %" PRId64 "; it counts from 1970, 0 is now", us);
    if (us == 0 || us >= AVAILABLE_MIN_US)
        return OUTBOX_OK;
    time_t seconds = (time_t)(us / 1000000);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "available_at_us is %" PRId64 ", which is %s: it counts microseconds "
                             "since 1970, and none before 2000 is taken", us, date);
}

static int check_numbers(const outbox_event *event, struct outbox__checked *ret, outbox_error *err)
{
    ret->max_bytes = event->max_event_bytes != 0 ? event->max_event_bytes : OUTBOX_MAX_EVENT_BYTES;
    if (ret->max_bytes > OUTBOX_MAX_EVENT_BYTES_CEILING)
        return outbox__error_set(err, OUTBOX_EINVAL, "max_event_bytes is %zu; it ends at %d",
                                 ret->max_bytes, OUTBOX_MAX_EVENT_BYTES_CEILING);
    if (event->reserved != 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "reserved is %lu, not 0: start from OUTBOX_EVENT_INIT",
                                 (unsigned long)event->reserved);
    if (event->schema_version < 1)
        return outbox__error_set(err, OUTBOX_EINVAL, "schema_version is %ld; it starts at 1",
                                 (long)event->schema_version);
    return check_available_at(event->available_at_us, err);
}

static int check_event_id(const char *text, struct outbox__checked *ret, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    ret->needs_id = text == NULL;
    if (text == NULL || outbox__uuid_parse(text, ret->event_id))
        return OUTBOX_OK;
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "event_id %s is not a UUID of 36 characters with hyphens",
                             outbox__quote(text, strnlen(text, 49), quoted));
}

/* Fields that the caller's header does not have yet are zero, which is the default of each. */
int outbox__event_read(const outbox_event *event, outbox_event *ret, outbox_error *err)
{
    if (event == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "event is NULL");
    if (event->struct_size != sizeof(*event) && event->struct_size != OUTBOX__EVENT_SIZE_1)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "event.struct_size is %zu, not %zu or %zu: start from "
                                 "OUTBOX_EVENT_INIT, with a header that is not newer than the "
                                 "library (%s)",
                                 event->struct_size, sizeof(*event), OUTBOX__EVENT_SIZE_1,
                                 OUTBOX_VERSION_STRING);
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, event, event->struct_size);
    return OUTBOX_OK;
}

int outbox__event_check(const outbox_event *event, struct outbox__checked *ret, outbox_error *err)
{
    int code;

    if ((code = check_flags(event, err)) != OUTBOX_OK ||
        (code = check_numbers(event, ret, err)) != OUTBOX_OK ||
        (code = check_topic(event->topic, &ret->topic_len, err)) != OUTBOX_OK ||
        (code = check_text("type", event->type, OUTBOX_MAX_TYPE_BYTES, &ret->type_len, err)) !=
            OUTBOX_OK ||
        (code = check_content_type(event->content_type, &ret->content_type_len, err)) !=
            OUTBOX_OK ||
        (code = check_event_id(event->event_id, ret, err)) != OUTBOX_OK ||
        (code = check_key(event, ret->max_bytes, err)) != OUTBOX_OK ||
        (code = check_bytes("payload", event->payload, event->payload_len, ret->max_bytes, err)) !=
            OUTBOX_OK ||
        (code = collect_carried(event, ret, err)) != OUTBOX_OK ||
        (code = check_headers(event, ret->max_bytes, err)) != OUTBOX_OK)
        return code;
    return check_size(event, ret, err);
}
