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

const char page_no_memory[] = "out of memory";

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
    return PQnfields(res) <= COL_STALE || PQgetisnull(res, i, COL_STALE)
               ? 0 : wire_i16(PQgetvalue(res, i, COL_STALE));
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

/* One column of one row. */
struct value {
    const char *at; /* NULL: it is NULL */
    size_t len;
};

/* Up to COL_WAIT_MS. Each is asked for once: libpq checks row and column at each call. */
static void get_values(const PGresult *res, int i, struct value v[COL_CUT])
{
    for (int col = COL_ID; col < COL_CUT; col++) {
        v[col].len = (size_t)PQgetlength(res, i, col);
        v[col].at = v[col].len == 0 && PQgetisnull(res, i, col) ? NULL : PQgetvalue(res, i, col);
    }
}

/* Copies a column behind *end, always terminated; NULL stays NULL. */
static char *put(char **end, struct value v)
{
    char *to = *end;

    if (v.at == NULL)
        return NULL;
    memcpy(to, v.at, v.len);
    to[v.len] = '\0';
    *end += v.len + 1;
    return to;
}

static void put_headers(struct header *to, char **end, const struct pairs *from, size_t n, size_t bytes)
{
    if (n == 0)
        return;
    memcpy(*end, from->bytes, bytes);
    for (size_t i = 0; i < n; i++)
        to[i] = (struct header){ .name = *end + (from->header[i].name - from->bytes),
                                 .value = *end + (from->header[i].value - from->bytes),
                                 .value_len = from->header[i].value_len };
    *end += bytes;
}

static const char *wrong_column(const PGresult *res, const struct value v[COL_CUT])
{
    static const struct {
        int col;
        size_t len;
    } fixed[] = { { COL_ID, 8 }, { COL_BUCKET, 2 }, { COL_EVENT_ID, 16 }, { COL_CREATED_AT, 8 },
                  { COL_SCHEMA_VERSION, 4 } };

    for (size_t f = 0; f < sizeof fixed / sizeof fixed[0]; f++)
        if (v[fixed[f].col].at == NULL || v[fixed[f].col].len != fixed[f].len)
            return PQfname(res, fixed[f].col);
    if (v[COL_WAIT_MS].at != NULL && v[COL_WAIT_MS].len != 8)
        return PQfname(res, COL_WAIT_MS);
    if (v[COL_TOPIC].at == NULL || v[COL_TYPE].at == NULL)
        return "topic or type";
    return NULL;
}

/* From PostgreSQL's epoch to Unix's. The last years of a timestamptz and 'infinity' do not fit. */
static int64_t unix_us(int64_t pg_us)
{
    int64_t us;

    return __builtin_add_overflow(pg_us, PG_EPOCH_US, &us) ? INT64_MAX : us;
}

static int decode_headers(struct value v, struct pairs *scratch, size_t *ret_n, size_t *ret_bytes)
{
    *ret_n = *ret_bytes = 0;
    if (v.at == NULL)
        return 0;
    return pairs_decode(v.at, v.len, scratch, ret_n, ret_bytes);
}

bool page_is_at_fault(const char *sqlstate)
{
    return sqlstate != NULL && (strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "XX", 2) == 0);
}

void page_held_as(struct row *r, const PGresult *res, int i)
{
    int32_t attempts = wire_i32(PQgetvalue(res, i, COL_ATTEMPTS));

    r->held_as = (uint8_t)wire_i16(PQgetvalue(res, i, COL_HELD_AS));
    r->attempts = attempts < UINT16_MAX ? (uint16_t)attempts : UINT16_MAX;
    r->maybe = PQgetvalue(res, i, COL_MAYBE)[0] != 0;
}

/* unreadable: NULL, or see page_stub. */
static struct row *decode(const PGresult *res, int i, const char *unreadable, struct pairs *scratch,
                          const char **ret_why)
{
    struct value v[COL_CUT], why = { unreadable, unreadable != NULL ? strlen(unreadable) : 0 };
    size_t n_headers, header_bytes;

    get_values(res, i, v);
    *ret_why = wrong_column(res, v);
    if (*ret_why != NULL)
        return NULL;
    int rc = decode_headers(v[COL_HEADERS], scratch, &n_headers, &header_bytes);
    if (rc < 0) {
        *ret_why = rc == PAIRS_NOMEM ? page_no_memory : "headers";
        return NULL;
    }
    size_t bytes = sizeof(struct row) + n_headers * sizeof(struct header) + header_bytes + why.len + 1;
    for (int col = COL_TOPIC; col <= COL_PAYLOAD; col++)
        bytes += v[col].len + 1;
    struct row *r = malloc(bytes);
    if (r == NULL) {
        *ret_why = page_no_memory;
        return NULL;
    }
    struct header *headers = (struct header *)(r + 1);
    char *end = (char *)(headers + n_headers);
    *r = (struct row){
        .id = wire_i64(v[COL_ID].at),
        .created_at_us = unix_us(wire_i64(v[COL_CREATED_AT].at)),
        .wait_ms = v[COL_WAIT_MS].at == NULL ? 0 : wire_i64(v[COL_WAIT_MS].at),
        .schema_version = wire_i32(v[COL_SCHEMA_VERSION].at),
        .bucket = wire_i16(v[COL_BUCKET].at),
        .key_len = v[COL_KEY].len,
        .payload_len = v[COL_PAYLOAD].len,
        .headers = headers,
        .n_headers = n_headers,
        .block_bytes = bytes,
    };
    memcpy(r->event_id, v[COL_EVENT_ID].at, sizeof r->event_id);
    r->topic = put(&end, v[COL_TOPIC]);
    r->key = put(&end, v[COL_KEY]);
    r->type = put(&end, v[COL_TYPE]);
    r->content_type = put(&end, v[COL_CONTENT_TYPE]);
    r->payload = put(&end, v[COL_PAYLOAD]);
    put_headers(headers, &end, scratch, n_headers, header_bytes);
    r->unreadable = put(&end, why);
    return r;
}

struct row *page_row(const PGresult *res, int i, struct pairs *scratch, const char **ret_why)
{
    struct row *r = decode(res, i, NULL, scratch, ret_why);

    if (r != NULL && PQnfields(res) > COL_STALE)
        page_held_as(r, res, i);
    return r;
}

struct row *page_stub(const PGresult *res, int i, const char *unreadable, bool key_unreadable,
                      struct pairs *scratch, const char **ret_why)
{
    struct row *r = decode(res, i, unreadable, scratch, ret_why);

    if (r != NULL)
        r->key_unreadable = key_unreadable;
    return r;
}
