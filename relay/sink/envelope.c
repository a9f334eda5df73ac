/* envelope.c - see envelope.h. Runs once per row: no allocation after the first rows, no printf. */
#include "relay/sink/envelope.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* -- text of fixed shape ---------------------------------------------------------------------- */

static void put_pair(char *to, unsigned n)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";

    memcpy(to, pairs + 2 * (size_t)n, 2);
}

/* n as exactly 2 * n_pairs digits. */
static void put_digits(char *to, uint64_t n, size_t n_pairs)
{
    for (char *p = to + 2 * n_pairs; p > to; n /= 100)
        put_pair(p -= 2, (unsigned)(n % 100));
}

static size_t put_int(char to[11], int32_t n)
{
    char digits[10];
    size_t minus = n < 0, first = sizeof digits;
    uint32_t left = n < 0 ? 0u - (uint32_t)n : (uint32_t)n;

    do {
        digits[--first] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    to[0] = '-';
    memcpy(to + minus, digits + first, sizeof digits - first);
    return minus + sizeof digits - first;
}

static void put_uuid(char to[36], const uint8_t id[16])
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[id[i] >> 4];
        *to++ = hex[id[i] & 15];
    }
}

#define YEAR_0_S INT64_C(-62167219200)    /* 0000-01-01T00:00:00Z */
#define YEAR_10000_S INT64_C(253402300800)

/* YYYY-MM-DDTHH:MM:SS. The calendar is counted from 1 March of year 0, so that the leap day is the
 * last day of its year: 400 years have 146097 days, months run 153 days in five. */
static void put_second(char to[19], int64_t second)
{
    uint64_t since = (uint64_t)(second - YEAR_0_S);
    uint64_t day = since / 86400 + 146097 - 60; /* days since 1 March of the year -400 */
    unsigned time = (unsigned)(since % 86400);
    uint64_t era = day / 146097;
    unsigned day_of_era = (unsigned)(day % 146097);
    unsigned year =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* 0 is March */

    year += (unsigned)era * 400 - 400 + (month >= 10);
    put_digits(to, year, 2);
    put_pair(to + 5, month < 10 ? month + 3 : month - 9);
    put_pair(to + 8, day_of_year - (153 * month + 2) / 5 + 1);
    put_pair(to + 11, time / 3600);
    put_pair(to + 14, time / 60 % 60);
    put_pair(to + 17, time % 60);
    to[4] = to[7] = '-';
    to[10] = 'T';
    to[13] = to[16] = ':';
}

/* RFC 3339 has four digits for the year: false when they do not do. Rows come by the thousand in a
 * second, so the text up to there is kept. */
static bool put_time(struct envelope_buf *buf, int64_t us)
{
    int64_t second = us / 1000000, rest = us % 1000000;

    if (rest < 0) {
        second--;
        rest += 1000000;
    }
    if (second < YEAR_0_S || second >= YEAR_10000_S)
        return false;
    if (second != buf->second || buf->time[0] == '\0') {
        put_second(buf->time, second);
        buf->second = second;
        buf->time[19] = '.';
        buf->time[26] = 'Z';
    }
    put_digits(buf->time + 20, (uint64_t)rest, 3);
    return true;
}

/* -- CloudEvents ------------------------------------------------------------------------------ */

/* Attributes that are written here, so that a row's own ce_ header does not repeat one. The first
 * are made from headers of the row that have the attribute's plain name. */
enum attribute {
    CORRELATIONID,
    CAUSATIONID,
    HOPS,
    TRACEPARENT,
    TRACESTATE,
    N_FROM_HEADERS,
    SPECVERSION = N_FROM_HEADERS,
    ID,
    SOURCE,
    TYPE,
    TIME,
    SCHEMAVERSION,
    SEQUENCE,
    N_ATTRIBUTES
};

static const char *const header_names[N_ATTRIBUTES] = {
    [CORRELATIONID] = "ce_correlationid",
    [CAUSATIONID] = "ce_causationid",
    [HOPS] = "ce_hops",
    [TRACEPARENT] = "ce_traceparent",
    [TRACESTATE] = "ce_tracestate",
    [SPECVERSION] = "ce_specversion",
    [ID] = "ce_id",
    [SOURCE] = "ce_source",
    [TYPE] = "ce_type",
    [TIME] = "ce_time",
    [SCHEMAVERSION] = "ce_schemaversion",
    [SEQUENCE] = "ce_sequence",
};

static const char content_type_name[] = "content-type";

/* Most names differ at the first two bytes (known has as many), and a call costs more than a look. */
static bool is_name(const char *name, const char *known)
{
    return name[0] == known[0] && name[1] == known[1] && strcmp(name, known) == 0;
}

/* Which of the first n attributes is this? name: without ce_. N_ATTRIBUTES: none. */
static enum attribute find_attribute(const char *name, int n)
{
    for (int a = 0; a < n; a++)
        if (is_name(name, header_names[a] + 3))
            return (enum attribute)a;
    return N_ATTRIBUTES;
}

/* The attribute that a header of the row becomes; N_ATTRIBUTES: none. */
static enum attribute made_of(const char *name)
{
    return find_attribute(name, N_FROM_HEADERS);
}

static unsigned bit(enum attribute a)
{
    return a < N_ATTRIBUTES ? 1u << a : 0;
}

/* A header of the row that would repeat one that is written here. */
static bool is_repeat(const char *name, unsigned written, const struct row *row)
{
    if (name[0] != 'c')
        return false;
    if (strncmp(name, "ce_", 3) == 0)
        return (written & bit(find_attribute(name + 3, N_ATTRIBUTES))) != 0;
    return row->content_type != NULL && strcmp(name, content_type_name) == 0;
}

static struct header text(const char *name, const char *value)
{
    return (struct header){ name, value, strlen(value) };
}

static struct header *put_attributes(struct header *h, const struct envelope *e,
                                     const struct row *row, struct envelope_buf *buf, bool has_time)
{
    put_uuid(buf->id, row->event_id);
    put_digits(buf->sequence, (uint64_t)row->id, sizeof buf->sequence / 2);
    *h++ = (struct header){ header_names[SPECVERSION], "1.0", 3 };
    *h++ = (struct header){ header_names[ID], buf->id, sizeof buf->id };
    *h++ = text(header_names[SOURCE], e->source);
    *h++ = text(header_names[TYPE], row->type);
    if (has_time)
        *h++ = (struct header){ header_names[TIME], buf->time, sizeof buf->time };
    if (row->content_type != NULL)
        *h++ = text(content_type_name, row->content_type);
    *h++ = (struct header){ header_names[SCHEMAVERSION], buf->schema_version,
                            put_int(buf->schema_version, row->schema_version) };
    *h++ = (struct header){ header_names[SEQUENCE], buf->sequence, sizeof buf->sequence };
    return h;
}

/* An attribute is written once: of two headers that would become the same, the first counts. */
static struct header *put_own(struct header *h, const struct row *row, unsigned written)
{
    unsigned made = 0;

    for (size_t i = 0; i < row->n_headers; i++) {
        const struct header *own = &row->headers[i];
        enum attribute a = made_of(own->name);

        if (a == N_ATTRIBUTES || a == TRACEPARENT || a == TRACESTATE)
            if (!is_repeat(own->name, written, row))
                *h++ = *own;
        if (a != N_ATTRIBUTES && !(made & bit(a)))
            *h++ = (struct header){ header_names[a], own->value, own->value_len };
        made |= bit(a);
    }
    return h;
}

static size_t cloudevents(const struct envelope *e, const struct row *row, struct envelope_buf *buf)
{
    bool has_time = put_time(buf, row->created_at_us);
    unsigned written = bit(SPECVERSION) | bit(ID) | bit(SOURCE) | bit(TYPE) | bit(SCHEMAVERSION) |
                       bit(SEQUENCE) | (has_time ? bit(TIME) : 0);

    for (size_t i = 0; i < row->n_headers; i++)
        written |= bit(made_of(row->headers[i].name));
    struct header *h = put_attributes(buf->headers, e, row, buf, has_time);
    h = put_own(h, row, written);
    return (size_t)(h - buf->headers);
}

/* -- all -------------------------------------------------------------------------------------- */

static size_t debezium(const struct row *row, struct envelope_buf *buf)
{
    put_uuid(buf->id, row->event_id);
    buf->headers[0] = (struct header){ "id", buf->id, sizeof buf->id };
    buf->headers[1] = text("eventType", row->type);
    for (size_t i = 0; i < row->n_headers; i++)
        buf->headers[2 + i] = row->headers[i];
    return 2 + row->n_headers;
}

/* Room for what any envelope makes of n own headers. */
static int reserve(struct envelope_buf *buf, size_t n)
{
    size_t most = N_ATTRIBUTES - N_FROM_HEADERS + 1 + n + N_FROM_HEADERS;

    if (most <= buf->max_headers)
        return 0;
    struct header *grown = realloc(buf->headers, 2 * most * sizeof *grown);
    if (grown == NULL)
        return -1;
    buf->headers = grown;
    buf->max_headers = 2 * most;
    return 0;
}

int envelope_headers(const struct envelope *e, const struct row *row, struct envelope_buf *buf,
                     const struct header **ret_headers, size_t *ret_n)
{
    if (e->kind != ENVELOPE_PLAIN && reserve(buf, row->n_headers) < 0)
        return -1;
    switch (e->kind) {
    case ENVELOPE_CLOUDEVENTS:
        *ret_n = cloudevents(e, row, buf);
        break;
    case ENVELOPE_DEBEZIUM:
        *ret_n = debezium(row, buf);
        break;
    case ENVELOPE_PLAIN:
        *ret_headers = row->headers;
        *ret_n = row->n_headers;
        return 0;
    }
    *ret_headers = buf->headers;
    return 0;
}

/* Whatever is larger than a number can be is its largest. */
static uint64_t number_of(const struct header *h)
{
    uint64_t n = 0;

    for (size_t i = 0; i < h->value_len; i++) {
        unsigned digit = (unsigned char)h->value[i] - (unsigned)'0';
        if (digit > 9)
            return 0;
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : 10 * n + digit;
    }
    return n;
}

uint64_t envelope_hops(const struct row *row)
{
    for (size_t i = 0; i < row->n_headers; i++)
        if (is_name(row->headers[i].name, header_names[HOPS] + 3))
            return number_of(&row->headers[i]);
    return 0;
}

const char *envelope_id_header(enum envelope_kind kind)
{
    switch (kind) {
    case ENVELOPE_CLOUDEVENTS:
        return "ce_id";
    case ENVELOPE_DEBEZIUM:
        return "id";
    case ENVELOPE_PLAIN:
        break;
    }
    return NULL;
}

void envelope_buf_deinit(struct envelope_buf *buf)
{
    free(buf->headers);
    *buf = (struct envelope_buf){ .headers = NULL };
}
