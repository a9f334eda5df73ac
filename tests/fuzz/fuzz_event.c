/* fuzz_event.c - any event through the library's checks: what is accepted comes out of the relay's
 * decoder and envelope as it went in; what is refused says so in one line that shows no content.
 *
 * Input: presence (2 bytes, a bit for each field, the rest becomes hops), schema_version and available_at (8 bytes each),
 * growth of the payload, then fields with 0xff between them: topic, key, type, content type,
 * payload, event id, correlation id, causation id, traceparent, tracestate, then names and values
 * of headers.
 */
#include "lib/outbox/event.h"
#include "lib/outbox/text.h"
#include "lib/outbox/uuid.h"
#include "relay/sink/envelope.h"
#include "relay/source/pairs.h"
#include "tests/fuzz/fuzz.h"

enum field { TOPIC, KEY, TYPE, CONTENT_TYPE, PAYLOAD, EVENT_ID, CORRELATION, CAUSATION, TRACEPARENT,
             TRACESTATE, N_FIELDS, MAX_HEADERS = OUTBOX_MAX_HEADERS + 2, N_CARRIED = 5 };

struct made {
    outbox_event event;
    char *text[N_FIELDS];
    size_t len[N_FIELDS];
    outbox_header headers[MAX_HEADERS];
};

/* The key and the payload begin with the marker, which no message may show. */
static void mark(struct made *m, enum field f)
{
    size_t len = m->len[f] + strlen(MARKER);
    char *marked = must(malloc(len + 1));

    memcpy(marked, MARKER, strlen(MARKER));
    memcpy(marked + strlen(MARKER), m->text[f], m->len[f] + 1);
    free(m->text[f]);
    m->text[f] = marked;
    m->len[f] = len;
}

/* So that the limits can be reached: 2^shift times as long. */
static void grow(struct made *m, enum field f, unsigned shift)
{
    size_t len = m->len[f] << shift;
    char *grown = must(malloc(len + 1));

    for (size_t at = 0; at < len; at += m->len[f])
        memcpy(grown + at, m->text[f], m->len[f]);
    grown[len] = '\0';
    free(m->text[f]);
    m->text[f] = grown;
    m->len[f] = len;
}

static const char *given(const struct made *m, unsigned presence, enum field f)
{
    return presence >> f & 1 ? m->text[f] : NULL;
}

static void make(struct made *m, struct input *in)
{
    unsigned presence = take_byte(in) | (unsigned)take_byte(in) << 8;
    outbox_event e = OUTBOX_EVENT_INIT;

    e.hops = (presence >> N_FIELDS) * 0x04000001u;
    e.schema_version = (int32_t)take_i64(in);
    e.available_at_us = take_i64(in);
    unsigned shift = take_byte(in);
    for (int f = 0; f < N_FIELDS; f++)
        m->text[f] = take_field(in, &m->len[f]);
    mark(m, KEY);
    mark(m, PAYLOAD);
    grow(m, PAYLOAD, shift & 15);
    grow(m, TRACESTATE, shift >> 4);
    e.topic = given(m, presence, TOPIC);
    e.key = given(m, presence, KEY);
    e.key_len = e.key != NULL ? m->len[KEY] : 0;
    e.type = given(m, presence, TYPE);
    e.content_type = given(m, presence, CONTENT_TYPE);
    e.payload = given(m, presence, PAYLOAD);
    e.payload_len = e.payload != NULL ? m->len[PAYLOAD] : 0;
    e.event_id = given(m, presence, EVENT_ID);
    e.correlation_id = given(m, presence, CORRELATION);
    e.causation_id = given(m, presence, CAUSATION);
    e.traceparent = given(m, presence, TRACEPARENT);
    e.tracestate = given(m, presence, TRACESTATE);
    while (e.n_headers < MAX_HEADERS && !is_over(in)) {
        outbox_header *h = &m->headers[e.n_headers++];
        size_t len;

        h->name = take_field(in, &len);
        h->value = take_field(in, &h->value_len);
    }
    e.headers = e.n_headers > 0 ? m->headers : NULL;
    m->event = e;
}

static void unmake(struct made *m)
{
    for (int f = 0; f < N_FIELDS; f++)
        free(m->text[f]);
    for (size_t i = 0; i < m->event.n_headers; i++) {
        free((char *)(uintptr_t)m->headers[i].name);
        free((char *)(uintptr_t)m->headers[i].value);
    }
}

/* -- refused ----------------------------------------------------------------------------------- */

/* Fields whose beginning a message may quote. */
static bool may_be_quoted(const struct made *m, const char *text)
{
    bool found = false;

    for (int f = 0; f < N_FIELDS; f++)
        if (f != KEY && f != PAYLOAD)
            found |= strstr(m->text[f], text) != NULL;
    for (size_t i = 0; i < m->event.n_headers; i++)
        found |= strstr(m->headers[i].name, text) != NULL;
    return found;
}

static void check_refused(const struct made *m, int code, const outbox_error *err)
{
    size_t len = strlen(err->message);

    REQUIRE(code == OUTBOX_EINVAL && err->code == code && err->flags == 0);
    REQUIRE(len > 0 && len < sizeof err->message - 1); /* not cut */
    REQUIRE(outbox__utf8_check(err->message, len) == OUTBOX__TEXT_OK);
    REQUIRE(outbox__control_find(err->message, len) == OUTBOX__TEXT_OK);
    if (!may_be_quoted(m, MARKER))
        REQUIRE(strstr(err->message, MARKER) == NULL);
}

/* -- accepted ---------------------------------------------------------------------------------- */

static void same_text(const struct outbox__row *row, int col, const char *text)
{
    REQUIRE((row->values[col] == NULL) == (text == NULL));
    if (text == NULL)
        return;
    REQUIRE((size_t)row->lengths[col] == strlen(text));
    REQUIRE(memcmp(row->values[col], text, strlen(text)) == 0);
}

static void same_header(const struct header *h, const char *name, const void *value, size_t len)
{
    REQUIRE(strcmp(h->name, name) == 0);
    REQUIRE(h->value_len == len && memcmp(h->value, value, len) == 0);
}

/* The headers column, decoded as the relay does it. */
static size_t check_headers(const outbox_event *e, const struct outbox__row *row,
                            struct pairs *pairs)
{
    char hops[11];
    const char *const names[N_CARRIED] = { "correlationid", "causationid", "hops", "traceparent",
                                           "tracestate" };
    const char *const values[N_CARRIED] = { e->correlation_id, e->causation_id,
                                            e->hops > 0 ? hops : NULL, e->traceparent,
                                            e->tracestate };
    const char *column = row->values[OUTBOX__HEADERS];
    size_t n = 0, bytes, at = 0;

    snprintf(hops, sizeof hops, "%u", e->hops);
    if (column != NULL) {
        REQUIRE(row->lengths[OUTBOX__HEADERS] > 0 && column[0] == '[');
        REQUIRE(outbox__non_ascii_find(column, (size_t)row->lengths[OUTBOX__HEADERS]) ==
                OUTBOX__TEXT_OK);
        REQUIRE(pairs_decode(column, (size_t)row->lengths[OUTBOX__HEADERS], pairs, &n,
                             &bytes) == 0);
    }
    for (int i = 0; i < N_CARRIED; i++)
        if (values[i] != NULL) {
            REQUIRE(at < n);
            same_header(&pairs->header[at++], names[i], values[i], strlen(values[i]));
        }
    REQUIRE(n == at + e->n_headers);
    for (size_t i = 0; i < e->n_headers; i++)
        same_header(&pairs->header[at + i], e->headers[i].name, e->headers[i].value,
                    e->headers[i].value_len);
    return n;
}

static bool is_there(const struct header *list, size_t n, const char *name, const void *value,
                     size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0 && list[i].value_len == len &&
            memcmp(list[i].value, value, len) == 0)
            return true;
    return false;
}

static void carried(const struct header *h, size_t n, const char *name, const char *value)
{
    if (value != NULL)
        REQUIRE(is_there(h, n, name, value, strlen(value)));
}

/* The envelope carries all that the validator lets pass. */
static void check_envelope(const outbox_event *e, const struct outbox__row *row,
                           const struct pairs *pairs, size_t n_pairs)
{
    static struct envelope_buf buf;
    const struct envelope envelope = { ENVELOPE_CLOUDEVENTS, "/fuzz" };
    const struct header *h;
    size_t n;
    struct row r = { .id = 1, .topic = e->topic, .type = e->type, .content_type = e->content_type,
                     .schema_version = e->schema_version, .headers = pairs->header,
                     .n_headers = n_pairs };

    memcpy(r.event_id, row->event_id, sizeof r.event_id);
    REQUIRE(envelope_hops(&r) == e->hops);
    REQUIRE(envelope_headers(&envelope, &r, &buf, &h, &n) == 0);
    carried(h, n, "ce_type", e->type);
    carried(h, n, "content-type", e->content_type);
    carried(h, n, "ce_correlationid", e->correlation_id);
    carried(h, n, "ce_causationid", e->causation_id);
    carried(h, n, "ce_traceparent", e->traceparent);
    carried(h, n, "ce_tracestate", e->tracestate);
    carried(h, n, "tracestate", e->tracestate);
    for (size_t i = 0; i < e->n_headers; i++)
        if (e->content_type == NULL || strcmp(e->headers[i].name, "content-type") != 0)
            REQUIRE(is_there(h, n, e->headers[i].name, e->headers[i].value,
                             e->headers[i].value_len));
}

static void check_id(const outbox_event *e, const struct outbox__row *row)
{
    char text[OUTBOX__UUID_TEXT_SIZE];

    REQUIRE(row->needs_id == (e->event_id == NULL));
    if (row->needs_id)
        return;
    outbox__uuid_format(row->event_id, text);
    for (size_t i = 0; i < sizeof text; i++) {
        char c = e->event_id[i];

        REQUIRE(text[i] == (c >= 'A' && c <= 'F' ? c + 32 : c));
    }
}

static bool is_ascii(const char *text)
{
    return text == NULL || outbox__non_ascii_find(text, strlen(text)) == OUTBOX__TEXT_OK;
}

static void check_accepted(const outbox_event *e, const struct outbox__row *row)
{
    static struct pairs pairs;

    same_text(row, OUTBOX__TOPIC, e->topic);
    same_text(row, OUTBOX__TYPE, e->type);
    same_text(row, OUTBOX__CONTENT_TYPE, e->content_type);
    REQUIRE(row->values[OUTBOX__KEY] == e->key && row->values[OUTBOX__PAYLOAD] == e->payload);
    REQUIRE((size_t)row->lengths[OUTBOX__KEY] == e->key_len);
    REQUIRE((size_t)row->lengths[OUTBOX__PAYLOAD] == e->payload_len);
    REQUIRE(e->key_len + e->payload_len <= OUTBOX_MAX_EVENT_BYTES);
    REQUIRE(e->schema_version >= 1 && row->lengths[OUTBOX__SCHEMA_VERSION] == 4);
    REQUIRE((row->values[OUTBOX__AVAILABLE_AT] == NULL) == (e->available_at_us == 0));
    REQUIRE(e->available_at_us == 0 || e->available_at_us >= INT64_C(946684800000000));
    REQUIRE((row->non_ascii == NULL) == (is_ascii(e->type) && is_ascii(e->content_type)));
    check_id(e, row);
    check_envelope(e, row, &pairs, check_headers(e, row, &pairs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, data + size };
    struct outbox__row *row = must(malloc(sizeof *row));
    outbox_error err = OUTBOX_ERROR_INIT;
    struct made m;

    make(&m, &in);
    int code = outbox__row_encode(&m.event, row, &err);
    if (code == OUTBOX_OK) {
        REQUIRE(err.code == 0 && err.message[0] == '\0');
        check_accepted(&m.event, row);
        outbox__row_deinit(row);
    } else {
        check_refused(&m, code, &err);
    }
    unmake(&m);
    free(row);
    return 0;
}
