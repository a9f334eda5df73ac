/* pairs.c - see pairs.h. One pass over the text, all reads checked against its end. Runs for every row. */
#include "relay/source/pairs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/hex.h"

/* The text still to read, and where decoded bytes go. No piece of text becomes longer by decoding,
 * a terminator included, for it loses its quotes; so as many bytes as the text has are room enough.
 * */
struct reader {
    const char *at, *end;
    char *to;
};

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

/* Is the next thing `ch`? Then step over it. */
static inline bool take(struct reader *r, char ch)
{
    while (r->at < r->end && *r->at != ch && is_blank(*r->at))
        r->at++;
    if (r->at == r->end || *r->at != ch)
        return false;
    r->at++;
    return true;
}

/* Neither quote nor backslash nor control character: such bytes stand for themselves. */
static bool is_plain(char ch)
{
    return ch != '"' && ch != '\\' && (unsigned char)ch >= 0x20;
}

/* The same of each byte of a word. (x - 1) & ~x has the high bit of a byte set where that byte is zero, or
 * where a lower one is. */
static bool are_plain(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';

    return ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
             ((word - ones * 0x20) & ~word)) & ones * 0x80) == 0;
}

static void copy_plain(struct reader *r)
{
    uint64_t word;

    while (r->end - r->at >= (ptrdiff_t)sizeof word) {
        memcpy(&word, r->at, sizeof word);
        if (!are_plain(word))
            break;
        memcpy(r->to, &word, sizeof word);
        r->at += sizeof word;
        r->to += sizeof word;
    }
    while (r->at < r->end && is_plain(*r->at))
        *r->to++ = *r->at++;
}

static bool take_hex4(struct reader *r, uint32_t *ret_unit)
{
    *ret_unit = 0;
    if (r->end - r->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*r->at++);
        if (digit < 0)
            return false;
        *ret_unit = *ret_unit << 4 | (uint32_t)digit;
    }
    return true;
}

static void put_utf8(struct reader *r, uint32_t point)
{
    if (point < 0x80) {
        *r->to++ = (char)point;
        return;
    }
    if (point < 0x800) {
        *r->to++ = (char)(0xc0 | point >> 6);
    } else {
        if (point < 0x10000) {
            *r->to++ = (char)(0xe0 | point >> 12);
        } else {
            *r->to++ = (char)(0xf0 | point >> 18);
            *r->to++ = (char)(0x80 | (point >> 12 & 0x3f));
        }
        *r->to++ = (char)(0x80 | (point >> 6 & 0x3f));
    }
    *r->to++ = (char)(0x80 | (point & 0x3f));
}

/* Behind \u. What is valid as jsonb has neither \u0000 nor half a surrogate pair. */
static bool take_unicode(struct reader *r)
{
    uint32_t unit, low;

    if (!take_hex4(r, &unit) || unit == 0)
        return false;
    if (unit >= 0xd800 && unit < 0xe000) {
        if (unit >= 0xdc00 || r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
            return false;
        r->at += 2;
        if (!take_hex4(r, &low) || low < 0xdc00 || low >= 0xe000)
            return false;
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(r, unit);
    return true;
}

/* Behind a backslash. */
static bool take_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (r->at == r->end)
        return false;
    char ch = *r->at++;
    if (ch == 'u')
        return take_unicode(r);
    const char *known = ch != '\0' ? strchr(from, ch) : NULL;
    if (known == NULL)
        return false;
    *r->to++ = to[known - from];
    return true;
}

/* Decodes to r->to. */
static bool take_string(struct reader *r)
{
    if (!take(r, '"'))
        return false;
    for (;;) {
        copy_plain(r);
        if (r->at == r->end || (*r->at != '"' && *r->at != '\\'))
            return false;
        if (*r->at++ == '"')
            return true;
        if (!take_escape(r))
            return false;
    }
}

static bool take_pair(struct reader *r, struct header *h)
{
    h->name = r->to;
    if (!take(r, '[') || !take_string(r))
        return false;
    *r->to++ = '\0';
    h->value = r->to;
    if (!take(r, ',') || !take_string(r))
        return false;
    h->value_len = (size_t)(r->to - h->value);
    return take(r, ']');
}

static int reserve_bytes(struct pairs *buf, size_t n)
{
    if (n <= buf->max_bytes)
        return 0;
    char *grown = realloc(buf->bytes, n);
    if (grown == NULL)
        return -1;
    buf->bytes = grown;
    buf->max_bytes = n;
    return 0;
}

static int reserve_header(struct pairs *buf, size_t n)
{
    if (n < buf->max_headers)
        return 0;
    size_t more = buf->max_headers < 8 ? 16 : 2 * buf->max_headers;
    struct header *grown = realloc(buf->header, more * sizeof *grown);
    if (grown == NULL)
        return -1;
    buf->header = grown;
    buf->max_headers = more;
    return 0;
}

/* Behind the first bracket. */
static int take_pairs(struct reader *r, struct pairs *buf, size_t *n)
{
    if (take(r, ']'))
        return 0;
    do {
        if (reserve_header(buf, *n) < 0)
            return PAIRS_NOMEM;
        if (!take_pair(r, &buf->header[*n]))
            return PAIRS_MALFORMED;
        ++*n;
    } while (take(r, ','));
    return take(r, ']') ? 0 : PAIRS_MALFORMED;
}

int pairs_decode(const char *json, size_t len, struct pairs *buf, size_t *ret_n, size_t *ret_bytes)
{
    size_t n = 0, bytes = 0;

    if (json != NULL && len > 0) {
        if (reserve_bytes(buf, len) < 0)
            return PAIRS_NOMEM;
        struct reader r = { .at = json, .end = json + len, .to = buf->bytes };
        int rc = take(&r, '[') ? take_pairs(&r, buf, &n) : PAIRS_MALFORMED;
        if (rc < 0)
            return rc;
        while (r.at < r.end && is_blank(*r.at))
            r.at++;
        if (r.at < r.end)
            return PAIRS_MALFORMED;
        bytes = (size_t)(r.to - buf->bytes);
    }
    *ret_n = n;
    *ret_bytes = bytes;
    return 0;
}

void pairs_deinit(struct pairs *buf)
{
    free(buf->header);
    free(buf->bytes);
    *buf = (struct pairs){ .header = NULL };
}
