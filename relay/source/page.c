/* page.c - see page.h. */
#include "relay/source/page.h"

#include <stdlib.h>
#include <string.h>

#include "relay/source/wire.h"

/* The columns of sql.h, in order. */
enum column {
    COL_SNAP,
    COL_ID,
    COL_BUCKET,
    COL_EVENT_ID,
    COL_CREATED_AT,
    COL_SCHEMA_VERSION,
    COL_TOPIC,
    COL_KEY,
    COL_TYPE,
    COL_CONTENT_TYPE,
    COL_PAYLOAD,
    COL_HEADERS,
    COL_WAIT_MS,
    COL_CUT,
    COL_HELD_AS, /* from here on in pages of held rows only */
    COL_ATTEMPTS,
    COL_MAYBE,
    COL_STALE
};

/* PostgreSQL counts microseconds from 2000-01-01 UTC. */
#define PG_EPOCH_US INT64_C(946684800000000)

bool page_is_cut(const PGresult *res, int n)
{
    return n > 0 && PQgetlength(res, n, COL_CUT) == 1 && PQgetvalue(res, n, COL_CUT)[0] != 0;
}

int page_before_cut(const PGresult *res)
{
    int rows = PQntuples(res) - 1;

    for (int i = 1; i <= rows; i++)
        if (page_is_cut(res, i))
            return i - 1;
    return rows;
}

int page_stale(const PGresult *res, int i)
{
    return PQgetisnull(res, i, COL_STALE) ? 0 : wire_i16(PQgetvalue(res, i, COL_STALE));
}

int64_t page_id(const PGresult *res, int i)
{
    return PQgetisnull(res, i, COL_ID) ? 0 : wire_i64(PQgetvalue(res, i, COL_ID));
}

int16_t page_bucket(const PGresult *res, int i)
{
    return PQgetisnull(res, i, COL_BUCKET) ? 0 : wire_i16(PQgetvalue(res, i, COL_BUCKET));
}

uint64_t page_next_due_ms(const PGresult *res)
{
    return PQgetisnull(res, 0, COL_WAIT_MS) ? UINT64_MAX
                                            : (uint64_t)wire_i64(PQgetvalue(res, 0, COL_WAIT_MS));
}

static size_t length(const PGresult *res, int i, int col)
{
    return (size_t)PQgetlength(res, i, col);
}

/* Copies a column behind *end, always terminated; NULL stays NULL. */
static char *put(char **end, const PGresult *res, int i, int col)
{
    char *to = *end;

    if (PQgetisnull(res, i, col))
        return NULL;
    memcpy(to, PQgetvalue(res, i, col), length(res, i, col));
    to[length(res, i, col)] = '\0';
    *end += length(res, i, col) + 1;
    return to;
}

/* The header's texts; their sizes were counted by pairs_decode. */
static void put_headers(struct header *to, char **end, const struct pairs *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct header *h = &from->header[i];
        size_t name_len = strlen(h->name);

        to[i] = (struct header){ .name = *end, .value_len = h->value_len };
        memcpy(*end, h->name, name_len + 1);
        *end += name_len + 1;
        to[i].value = *end;
        memcpy(*end, h->value, h->value_len);
        *end += h->value_len;
    }
}

static const char *wrong_column(const PGresult *res, int i)
{
    static const struct {
        int col, len;
    } fixed[] = { { COL_ID, 8 }, { COL_BUCKET, 2 }, { COL_EVENT_ID, 16 }, { COL_CREATED_AT, 8 },
                  { COL_SCHEMA_VERSION, 4 } };

    for (size_t f = 0; f < sizeof fixed / sizeof fixed[0]; f++)
        if (PQgetisnull(res, i, fixed[f].col) || PQgetlength(res, i, fixed[f].col) != fixed[f].len)
            return PQfname(res, fixed[f].col);
    if (!PQgetisnull(res, i, COL_WAIT_MS) && PQgetlength(res, i, COL_WAIT_MS) != 8)
        return PQfname(res, COL_WAIT_MS);
    if (PQgetisnull(res, i, COL_TOPIC) || PQgetisnull(res, i, COL_TYPE))
        return "topic or type";
    return NULL;
}

/* From PostgreSQL's epoch to Unix's. The last years of a timestamptz and 'infinity' do not fit. */
static int64_t unix_us(int64_t pg_us)
{
    int64_t us;

    return __builtin_add_overflow(pg_us, PG_EPOCH_US, &us) ? INT64_MAX : us;
}

/* jsonb's binary form is its text behind a version byte. */
static int decode_headers(const PGresult *res, int i, struct pairs *scratch, size_t *ret_n,
                          size_t *ret_bytes)
{
    *ret_n = *ret_bytes = 0;
    if (PQgetisnull(res, i, COL_HEADERS))
        return 0;
    if (length(res, i, COL_HEADERS) < 1 || PQgetvalue(res, i, COL_HEADERS)[0] != 1)
        return -1;
    if (pairs_decode(PQgetvalue(res, i, COL_HEADERS) + 1, length(res, i, COL_HEADERS) - 1, scratch,
                     ret_n, ret_bytes) < 0)
        return -1;
    for (size_t h = 0; h < *ret_n; h++)
        *ret_bytes += strlen(scratch->header[h].name) + 1;
    return 0;
}

static void put_held(struct row *r, const PGresult *res, int i)
{
    int32_t attempts = wire_i32(PQgetvalue(res, i, COL_ATTEMPTS));

    r->held_as = (uint8_t)wire_i16(PQgetvalue(res, i, COL_HELD_AS));
    r->attempts = attempts < UINT16_MAX ? (uint16_t)attempts : UINT16_MAX;
    r->maybe = PQgetvalue(res, i, COL_MAYBE)[0] != 0;
}

struct row *page_row(const PGresult *res, int i, struct pairs *scratch, const char **ret_why)
{
    size_t n_headers, header_bytes;

    *ret_why = wrong_column(res, i);
    if (*ret_why != NULL)
        return NULL;
    if (decode_headers(res, i, scratch, &n_headers, &header_bytes) < 0) {
        *ret_why = "headers";
        return NULL;
    }
    size_t bytes = sizeof(struct row) + n_headers * sizeof(struct header) + header_bytes;
    for (int col = COL_TOPIC; col <= COL_PAYLOAD; col++)
        bytes += length(res, i, col) + 1;
    struct row *r = malloc(bytes);
    if (r == NULL) {
        *ret_why = "out of memory";
        return NULL;
    }
    struct header *headers = (struct header *)(r + 1);
    char *end = (char *)(headers + n_headers);
    *r = (struct row){
        .id = wire_i64(PQgetvalue(res, i, COL_ID)),
        .created_at_us = unix_us(wire_i64(PQgetvalue(res, i, COL_CREATED_AT))),
        .wait_ms = PQgetisnull(res, i, COL_WAIT_MS) ? 0 : wire_i64(PQgetvalue(res, i, COL_WAIT_MS)),
        .schema_version = wire_i32(PQgetvalue(res, i, COL_SCHEMA_VERSION)),
        .bucket = wire_i16(PQgetvalue(res, i, COL_BUCKET)),
        .key_len = length(res, i, COL_KEY),
        .payload_len = length(res, i, COL_PAYLOAD),
        .headers = headers,
        .n_headers = n_headers,
        .block_bytes = bytes,
    };
    memcpy(r->event_id, PQgetvalue(res, i, COL_EVENT_ID), sizeof r->event_id);
    r->topic = put(&end, res, i, COL_TOPIC);
    r->key = put(&end, res, i, COL_KEY);
    r->type = put(&end, res, i, COL_TYPE);
    r->content_type = put(&end, res, i, COL_CONTENT_TYPE);
    r->payload = put(&end, res, i, COL_PAYLOAD);
    put_headers(headers, &end, scratch, n_headers);
    if (PQnfields(res) > COL_STALE)
        put_held(r, res, i);
    return r;
}
