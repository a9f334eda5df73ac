/* record.c - see record.h. */
#include "record.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outbox/text.h"
#include "lib/outbox/uuid.h"

/* -- headers ---------------------------------------------------------------------------------- */

/* Which headers fill which field, the preferred one first. The second names are those of the
 * envelopes debezium (id, eventType) and plain (the row's own headers). Any program may call anything
 * id: see has_id(). */
static const struct {
    const char *name[2];
    size_t field;
} texts[] = {
    { { "ce_id", "id" }, offsetof(inbox_message, event_id) },
    { { "ce_type", "eventType" }, offsetof(inbox_message, type) },
    { { "ce_source", NULL }, offsetof(inbox_message, source) },
    { { "content-type", NULL }, offsetof(inbox_message, content_type) },
    { { "ce_correlationid", "correlationid" }, offsetof(inbox_message, correlation_id) },
    { { "ce_causationid", "causationid" }, offsetof(inbox_message, causation_id) },
    { { "traceparent", "ce_traceparent" }, offsetof(inbox_message, traceparent) },
    { { "tracestate", "ce_tracestate" }, offsetof(inbox_message, tracestate) },
    { { "ce_sequence", NULL }, offsetof(inbox_message, sequence) },
};

const char *inbox__record_header(const inbox_message *msg, const char *name)
{
    for (size_t i = 0; name != NULL && i < msg->n_headers; i++) {
        const outbox_header *h = &msg->headers[i];
        if (h->value != NULL && strcmp(h->name, name) == 0 &&
            memchr(h->value, '\0', h->value_len) == NULL)
            return h->value;
    }
    return NULL;
}

static uint32_t find_number(const inbox_message *msg, const char *name, const char *other,
                            uint32_t otherwise)
{
    const char *text = inbox__record_header(msg, name);
    char *end;
    unsigned long n;

    if (text == NULL)
        text = inbox__record_header(msg, other);
    if (text == NULL || *text < '0' || *text > '9')
        return otherwise;
    n = strtoul(text, &end, 10);
    return *end == '\0' && n <= INT32_MAX ? (uint32_t)n : otherwise;
}

static bool is_usable_id(const char *id)
{
    size_t len = 0;

    if (id == NULL)
        return false;
    for (; id[len] != '\0'; len++)
        if (id[len] <= ' ' || id[len] > '~' || len == INBOX_MAX_ID_BYTES)
            return false;
    return len > 0;
}

/* What stands in the header id counts as the event's only if it is a UUID: of two records with the number of
 * one customer there the second must not be dropped. */
static bool has_id(const inbox_message *msg)
{
    bool any_programs = inbox__record_header(msg, "ce_id") == NULL &&
                        inbox__record_header(msg, "id") != NULL;
    uint8_t uuid[16];

    return is_usable_id(msg->event_id) &&
           (!any_programs || outbox__uuid_parse(msg->event_id, uuid));
}

void inbox_message_from_headers(inbox_message *msg)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *value = inbox__record_header(msg, texts[i].name[0]);
        if (value == NULL)
            value = inbox__record_header(msg, texts[i].name[1]);
        if (value != NULL)
            memcpy((char *)msg + texts[i].field, &value, sizeof value);
    }
    msg->schema_version = (int32_t)find_number(msg, "ce_schemaversion", NULL, 1);
    msg->hops = find_number(msg, "ce_hops", "hops", msg->hops);
    msg->flags &= ~INBOX_MESSAGE_NO_ID;
    if (!has_id(msg)) {
        msg->event_id = NULL;
        msg->flags |= INBOX_MESSAGE_NO_ID;
    }
}

/* -- identity --------------------------------------------------------------------------------- */

/* A source may be any text, and the identity is ASCII of bounded length. Ids of records that name no source
 * differ within their topic at most. */
static const char *plain_source(const inbox_message *msg, char hashed[17])
{
    const char *source = msg->source != NULL && *msg->source != '\0' ? msg->source : msg->topic;
    size_t len = strlen(source);

    for (size_t i = 0; i < len; i++)
        if (source[i] <= ' ' || source[i] > '~' || len > 800) {
            snprintf(hashed, 17, "%016" PRIx64, inbox__hash(INBOX__HASH, source, len));
            return hashed;
        }
    return source;
}

int inbox__identity(const inbox_message *msg, char ret[INBOX__IDENTITY_SIZE])
{
    char hashed[17];
    uint8_t uuid[16];

    if (!is_usable_id(msg->event_id))
        return snprintf(ret, INBOX__IDENTITY_SIZE, "%s/%" PRId32 "/%" PRId64, msg->topic,
                        msg->partition, msg->offset);
    if (outbox__uuid_parse(msg->event_id, uuid)) {
        outbox__uuid_format(uuid, ret);
        return (int)strlen(ret);
    }
    return snprintf(ret, INBOX__IDENTITY_SIZE, "%s %s", plain_source(msg, hashed),
                    msg->event_id);
}

/* -- the block -------------------------------------------------------------------------------- */

/* Copies behind *at, with a NUL; NULL stays NULL. */
static const void *put(char **at, const void *from, size_t len)
{
    char *to = *at;

    if (from == NULL)
        return NULL;
    memcpy(to, from, len);
    to[len] = '\0';
    *at += len + 1;
    return to;
}

static size_t block_size(const struct inbox__raw *raw)
{
    size_t n = sizeof(struct inbox__record) + raw->n_headers * sizeof(outbox_header) +
               strlen(raw->topic) + 1 + raw->key_len + 1 + raw->payload_len + 1;

    for (size_t i = 0; i < raw->n_headers; i++)
        n += strlen(raw->headers[i].name) + 1 + raw->headers[i].value_len + 1;
    return n;
}

static void copy_headers(inbox_message *msg, outbox_header *to, const struct inbox__raw *raw,
                         char **at)
{
    for (size_t i = 0; i < raw->n_headers; i++) {
        const outbox_header *from = &raw->headers[i];
        to[i].name = put(at, from->name, strlen(from->name));
        to[i].value = put(at, from->value, from->value_len);
        to[i].value_len = from->value_len;
    }
    msg->headers = raw->n_headers > 0 ? to : NULL;
    msg->n_headers = raw->n_headers;
}

static uint64_t mark_of(const struct inbox__record *r)
{
    const uint64_t parts[] = { (uint64_t)r->msg.timestamp_ms, r->item.key, r->item.identity,
                               r->msg.payload_len };

    return inbox__hash(INBOX__HASH, parts, sizeof parts);
}

struct inbox__record *inbox__record_new(const struct inbox__raw *raw)
{
    char identity[INBOX__IDENTITY_SIZE];
    size_t size = block_size(raw);
    struct inbox__record *r = malloc(size);
    char *at;
    int len;

    if (r == NULL)
        return NULL;
    *r = (struct inbox__record){ .msg = INBOX_MESSAGE_INIT };
    at = (char *)(r + 1) + raw->n_headers * sizeof(outbox_header);
    copy_headers(&r->msg, (outbox_header *)(r + 1), raw, &at);
    r->msg.topic = put(&at, raw->topic, strlen(raw->topic));
    r->msg.key = put(&at, raw->key, raw->key_len);
    r->msg.key_len = raw->key_len;
    r->msg.payload = put(&at, raw->payload, raw->payload_len);
    r->msg.payload_len = raw->payload_len;
    r->msg.partition = raw->partition;
    r->msg.offset = raw->offset;
    r->msg.timestamp_ms = raw->timestamp_ms;
    inbox_message_from_headers(&r->msg);
    len = inbox__identity(&r->msg, identity);
    if (r->msg.event_id != NULL && strcmp(identity, r->msg.event_id) == 0)
        r->identity = r->msg.event_id;
    else
        r->identity = r->own_identity = strdup(identity);
    if (r->identity == NULL) {
        free(r);
        return NULL;
    }
    r->item.identity = inbox__hash(INBOX__HASH, identity, (size_t)len);
    r->item.key = raw->key != NULL ? inbox__hash(INBOX__HASH, raw->key, raw->key_len) : 0;
    r->item.offset = raw->offset;
    r->mark = mark_of(r);
    r->item.bytes = size;
    return r;
}

void inbox__record_free(struct inbox__record *r)
{
    if (r == NULL)
        return;
    free(r->own_identity);
    free(r->error);
    free(r);
}

void inbox__record_fail(struct inbox__record *r, const char *text)
{
    if (r->error == NULL)
        r->error = malloc(INBOX__ERROR_SIZE);
    if (r->error != NULL)
        outbox__one_line(text, r->error, INBOX__ERROR_SIZE);
}
