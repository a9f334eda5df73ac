/* fuzz_page.c - rows as the reading statements give them, in binary: what is taken is column for
 * column what was there, and goes through every envelope.
 *
 * Input: values, one after the other, row by row. A value is a length byte and so many bytes;
 * a length of 254 is NULL, of 255 a length in the next two bytes.
 */
#include <endian.h>
#include <libpq-fe.h>

#include "relay/sink/envelope.h"
#include "relay/source/page.h"
#include "tests/fuzz/fuzz.h"

enum { ID = 1, BUCKET, EVENT_ID, CREATED_AT, SCHEMA_VERSION, TOPIC, KEY, TYPE, CONTENT_TYPE,
       PAYLOAD, HEADERS, WAIT_MS, N_COLUMNS = 14, MAX_ROWS = 4 };

static PGresult *result_of(struct input *in)
{
    static char *const names[N_COLUMNS] = { "snap", "id", "bucket", "event_id", "created_at",
                                            "schema_version", "topic", "key", "type",
                                            "content_type", "payload", "headers", "wait_ms",
                                            "cut" };
    PGresAttDesc attrs[N_COLUMNS] = { { .name = NULL } };
    PGresult *res = must(PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK));

    for (int i = 0; i < N_COLUMNS; i++)
        attrs[i] = (PGresAttDesc){ .name = names[i], .format = 1, .typlen = -1 };
    REQUIRE(PQsetResultAttrs(res, N_COLUMNS, attrs));
    for (int row = 0; row < MAX_ROWS && !is_over(in); row++) {
        for (int col = 0; col < N_COLUMNS; col++) {
            int len = take_byte(in);

            if (len == 255) {
                len = take_byte(in) << 8;
                len |= take_byte(in);
            } else if (len == 254) {
                REQUIRE(PQsetvalue(res, row, col, NULL, -1));
                continue;
            }
            if (len > in->end - in->at)
                len = (int)(in->end - in->at);
            REQUIRE(PQsetvalue(res, row, col, (char *)(uintptr_t)in->at, len));
            in->at += len;
        }
    }
    return res;
}

static int64_t number(const PGresult *res, int i, int col, int bytes)
{
    uint64_t n = 0;

    REQUIRE(!PQgetisnull(res, i, col) && PQgetlength(res, i, col) == bytes);
    for (int b = 0; b < bytes; b++)
        n = n << 8 | (unsigned char)PQgetvalue(res, i, col)[b];
    return (int64_t)(n << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static void same_bytes(const struct row *r, const PGresult *res, int i, int col, const void *bytes,
                       size_t len)
{
    const char *from = bytes, *block = (const char *)r;

    REQUIRE((bytes == NULL) == (PQgetisnull(res, i, col) != 0));
    if (bytes == NULL)
        return;
    REQUIRE((size_t)PQgetlength(res, i, col) == len);
    REQUIRE(memcmp(bytes, PQgetvalue(res, i, col), len) == 0 && from[len] == '\0');
    REQUIRE(from >= block && from + len < block + r->block_bytes);
}

static void same_headers(const struct row *r, const PGresult *res, int i)
{
    struct pairs own = { .header = NULL };
    size_t n = 0, bytes;

    if (!PQgetisnull(res, i, HEADERS))
        REQUIRE(pairs_decode(PQgetvalue(res, i, HEADERS), (size_t)PQgetlength(res, i, HEADERS),
                             &own, &n, &bytes) == 0);
    REQUIRE(n == r->n_headers);
    for (size_t h = 0; h < n; h++) {
        REQUIRE(strcmp(own.header[h].name, r->headers[h].name) == 0);
        REQUIRE(own.header[h].value_len == r->headers[h].value_len);
        REQUIRE(memcmp(own.header[h].value, r->headers[h].value, own.header[h].value_len) == 0);
    }
    pairs_deinit(&own);
}

/* A text column of PostgreSQL holds no NUL; if one did, the row's text would end there. */
static void same_text(const struct row *r, const PGresult *res, int i, int col, const char *text)
{
    same_bytes(r, res, i, col, text, text != NULL ? (size_t)PQgetlength(res, i, col) : 0);
}

static void same_row(const struct row *r, const PGresult *res, int i)
{
    REQUIRE(r->id == number(res, i, ID, 8) && r->bucket == number(res, i, BUCKET, 2));
    REQUIRE(r->schema_version == number(res, i, SCHEMA_VERSION, 4));
    (void)number(res, i, CREATED_AT, 8);
    if (!PQgetisnull(res, i, WAIT_MS))
        REQUIRE(r->wait_ms == number(res, i, WAIT_MS, 8));
    else
        REQUIRE(r->wait_ms == 0);
    REQUIRE(PQgetlength(res, i, EVENT_ID) == 16);
    REQUIRE(memcmp(r->event_id, PQgetvalue(res, i, EVENT_ID), 16) == 0);
    REQUIRE(r->topic != NULL && r->type != NULL);
    same_text(r, res, i, TOPIC, r->topic);
    same_text(r, res, i, TYPE, r->type);
    same_text(r, res, i, CONTENT_TYPE, r->content_type);
    same_bytes(r, res, i, KEY, r->key, r->key_len);
    same_bytes(r, res, i, PAYLOAD, r->payload, r->payload_len);
    same_headers(r, res, i);
}

static void through_envelopes(const struct row *r)
{
    static struct envelope_buf buf;
    const struct header *headers;
    size_t n;

    for (int kind = ENVELOPE_CLOUDEVENTS; kind <= ENVELOPE_PLAIN; kind++) {
        struct envelope e = { (enum envelope_kind)kind, "/fuzz" };

        REQUIRE(envelope_headers(&e, r, &buf, &headers, &n) == 0);
        REQUIRE(n >= (kind == ENVELOPE_CLOUDEVENTS ? 6 : kind == ENVELOPE_DEBEZIUM ? 2 : 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pairs scratch;
    struct input in = { data, data + size };
    PGresult *res = result_of(&in);

    for (int i = 0; i < PQntuples(res); i++) {
        const char *why = NULL;
        struct row *r = page_row(res, i, &scratch, &why);

        (void)page_is_cut(res, i);
        REQUIRE((r == NULL) == (why != NULL));
        if (r != NULL) {
            same_row(r, res, i);
            through_envelopes(r);
        }
        free(r);
    }
    PQclear(res);
    return 0;
}
