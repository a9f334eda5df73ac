/* fuzz_envelope.c - any row into the headers of a record: each attribute once, the row's own
 * headers in order and unchanged, the time that was meant.
 *
 * Input: id and created_at as 8 bytes each, schema_version as 8, flags, then fields with 0xff
 * between them: type, content type, and names and values of headers.
 */
#include <time.h>

#include "relay/sink/envelope.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_HEADERS = 40, HAS_CONTENT_TYPE = 1 };

static const char *const attributes[] = { "ce_specversion", "ce_id", "ce_source", "ce_type",
                                          "ce_schemaversion", "ce_sequence" };
static const char *const made[] = { "ce_correlationid", "ce_causationid", "ce_hops",
                                    "ce_traceparent", "ce_tracestate", "ce_time" };
#define N(array) (sizeof(array) / sizeof(array)[0])

static size_t count(const char *name, const struct header *h, size_t n)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += strcmp(h[i].name, name) == 0;
    return found;
}

static const struct header *find(const char *name, const struct header *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(h[i].name, name) == 0)
            return &h[i];
    return NULL;
}

/* Every byte that is handed on must be there. */
static unsigned touch(const struct header *h, size_t n)
{
    unsigned sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (unsigned)strlen(h[i].name);
        for (size_t j = 0; j < h[i].value_len; j++)
            sum += (unsigned char)h[i].value[j];
    }
    return sum;
}

static bool is_dropped_or_renamed(const struct row *row, const char *name)
{
    return strncmp(name, "ce_", 3) == 0 || strcmp(name, "correlationid") == 0 ||
           strcmp(name, "causationid") == 0 || strcmp(name, "hops") == 0 ||
           (row->content_type != NULL && strcmp(name, "content-type") == 0);
}

static bool same(const struct header *a, const struct header *b)
{
    return strcmp(a->name, b->name) == 0 && a->value_len == b->value_len &&
           memcmp(a->value, b->value, a->value_len) == 0;
}

static void check_own(const struct row *row, const struct header *h, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < row->n_headers; i++) {
        if (is_dropped_or_renamed(row, row->headers[i].name))
            continue;
        while (at < n && !same(&h[at], &row->headers[i]))
            at++;
        REQUIRE(at < n);
        at++;
    }
}

/* The first of the row's headers with the plain name is the attribute's value. */
static void check_made(const struct row *row, const struct header *h, size_t n)
{
    for (size_t a = 0; a + 1 < N(made); a++) {
        const struct header *own = find(made[a] + 3, row->headers, row->n_headers);
        const struct header *attribute = find(made[a], h, n);

        if (own == NULL)
            continue;
        REQUIRE(attribute != NULL && attribute->value_len == own->value_len);
        REQUIRE(memcmp(attribute->value, own->value, own->value_len) == 0);
        REQUIRE(count(made[a], h, n) == 1);
    }
}

static void check_time(const struct row *row, const struct header *h, size_t n)
{
    const struct header *t = find("ce_time", h, n);
    struct tm tm = { .tm_isdst = 0 };
    char text[28];
    int us;

    if (t == NULL || find("ce_time", row->headers, row->n_headers) != NULL)
        return;
    REQUIRE(t->value_len == 27);
    memcpy(text, t->value, 27);
    text[27] = '\0';
    REQUIRE(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us) == 7);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    REQUIRE(timegm(&tm) * INT64_C(1000000) + us == row->created_at_us);
}

static void cloudevents(const struct row *row, struct envelope_buf *buf)
{
    static const struct envelope e = { ENVELOPE_CLOUDEVENTS, "/fuzz" };
    const struct header *h;
    size_t n;

    REQUIRE(envelope_headers(&e, row, buf, &h, &n) == 0);
    (void)touch(h, n);
    for (size_t a = 0; a < N(attributes); a++)
        REQUIRE(count(attributes[a], h, n) == 1);
    REQUIRE(strlen(row->type) == find("ce_type", h, n)->value_len);
    REQUIRE(row->content_type == NULL || count("content-type", h, n) == 1);
    check_made(row, h, n);
    check_own(row, h, n);
    check_time(row, h, n);
}

static void others(const struct row *row, struct envelope_buf *buf)
{
    static const struct envelope debezium = { ENVELOPE_DEBEZIUM, "/fuzz" };
    static const struct envelope plain = { ENVELOPE_PLAIN, "/fuzz" };
    const struct header *h;
    size_t n;

    REQUIRE(envelope_headers(&debezium, row, buf, &h, &n) == 0 && n == row->n_headers + 2);
    (void)touch(h, n);
    REQUIRE(strcmp(h[0].name, "id") == 0 && strcmp(h[1].name, "eventType") == 0);
    for (size_t i = 0; i < row->n_headers; i++)
        REQUIRE(same(&h[i + 2], &row->headers[i]));
    REQUIRE(envelope_headers(&plain, row, buf, &h, &n) == 0 && n == row->n_headers);
    for (size_t i = 0; i < n; i++)
        REQUIRE(same(&h[i], &row->headers[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct envelope_buf buf;
    struct input in = { data, data + size };
    struct header headers[MAX_HEADERS];
    struct row row = { .id = take_i64(&in), .created_at_us = take_i64(&in) };
    size_t len;

    row.schema_version = (int32_t)take_i64(&in);
    uint8_t flags = take_byte(&in);
    char *type = take_field(&in, &len), *content_type = take_field(&in, &len);
    row.type = type;
    row.content_type = flags & HAS_CONTENT_TYPE ? content_type : NULL;
    row.headers = headers;
    memcpy(row.event_id, &row.id, sizeof row.id);
    while (row.n_headers < MAX_HEADERS && !is_over(&in)) {
        struct header *h = &headers[row.n_headers++];

        h->name = take_field(&in, &len);
        h->value = take_field(&in, &h->value_len);
    }
    cloudevents(&row, &buf);
    others(&row, &buf);
    for (size_t i = 0; i < row.n_headers; i++) {
        free((char *)(uintptr_t)headers[i].name);
        free((char *)(uintptr_t)headers[i].value);
    }
    free(type);
    free(content_type);
    return 0;
}
