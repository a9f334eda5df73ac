/* text.c - UTF-8, quoting for messages, JSON strings.
 *
 * Pure: no I/O, no allocation, no ctype functions, so the locale of the caller changes nothing.
 */
#include "text.h"

#include <stdbool.h>
#include <string.h>

#define QUOTE_BYTES 48

static const char hex_digits[] = "0123456789abcdef";

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* The table of well-formed sequences in The Unicode Standard (table 3-7) as ranges for the second
 * byte: that is where overlong forms, surrogates and values over U+10FFFF show. */
size_t outbox__utf8_decode(const unsigned char *s, size_t n, uint32_t *ret_code_point)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t len;
    uint32_t cp;

    if (s[0] < 0x80) {
        *ret_code_point = s[0];
        return 1;
    }
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    switch (s[0]) {
    case 0xe0: low = 0xa0; break;  /* less would be overlong */
    case 0xed: high = 0x9f; break; /* more would be a surrogate */
    case 0xf0: low = 0x90; break;  /* less would be overlong */
    case 0xf4: high = 0x8f; break; /* more would be over U+10FFFF */
    default: break;
    }
    if (s[1] < low || s[1] > high)
        return 0;
    cp = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (!is_tail(s[i]))
            return 0;
        cp = cp << 6 | (s[i] & 0x3fu);
    }
    *ret_code_point = cp;
    return len;
}

size_t outbox__utf8_check(const void *text, size_t len)
{
    const unsigned char *s = text;
    uint32_t cp;

    for (size_t i = 0, step; i < len; i += step) {
        step = s[i] < 0x80 ? 1 : outbox__utf8_decode(s + i, len - i, &cp);
        if (step == 0)
            return i;
    }
    return OUTBOX__TEXT_OK;
}

static bool is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

size_t outbox__control_find(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t cp;

    for (size_t i = 0, step; i < len; i += step) {
        if (s[i] >= 0x20 && s[i] < 0x7f) { /* nearly all text */
            step = 1;
            continue;
        }
        step = outbox__utf8_decode(s + i, len - i, &cp);
        if (step == 0 || is_control(cp))
            return i;
    }
    return OUTBOX__TEXT_OK;
}

size_t outbox__non_ascii_find(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] >= 0x80)
            return i;
    }
    return OUTBOX__TEXT_OK;
}

const char *outbox__quote(const char *text, size_t len, char ret[OUTBOX__QUOTE_SIZE])
{
    size_t shown = len < QUOTE_BYTES ? len : QUOTE_BYTES;
    char *to = ret;

    /* At most 4 characters for each of 48 bytes, two quotes, three dots and the NUL: 198. */
    *to++ = '"';
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = (char)c;
        } else if (c >= 0x20 && c < 0x7f) {
            *to++ = (char)c;
        } else {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = hex_digits[c >> 4];
            *to++ = hex_digits[c & 15];
        }
    }
    *to++ = '"';
    for (int i = 0; shown < len && i < 3; i++)
        *to++ = '.';
    *to = '\0';
    return ret;
}

const char *outbox__one_line(const char *text, char *ret, size_t size)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t out = 0, left = 0;
    uint32_t cp;

    while (s[left] != '\0')
        left++;
    while (left > 0) {
        size_t step = outbox__utf8_decode(s, left, &cp);
        bool plain = step > 0 && !is_control(cp);
        size_t wanted = plain ? step : 1;

        if (out + wanted >= size)
            break;
        for (size_t i = 0; i < wanted; i++)
            ret[out++] = plain ? (char)s[i] : step > 0 ? ' ' : '?';
        step = step > 0 ? step : 1;
        s += step;
        left -= step;
    }
    while (out > 0 && ret[out - 1] == ' ') /* libpq ends its messages with a line feed */
        out--;
    ret[out] = '\0';
    return ret;
}

struct writer {
    char *to; /* NULL: count only */
    size_t len;
};

static void put(struct writer *w, char c)
{
    if (w->to != NULL)
        w->to[w->len] = c;
    w->len++;
}

static void put_bytes(struct writer *w, const unsigned char *bytes, size_t n)
{
    if (w->to != NULL && n > 0)
        memcpy(w->to + w->len, bytes, n);
    w->len += n;
}

static void put_escape(struct writer *w, uint32_t utf16)
{
    put(w, '\\');
    put(w, 'u');
    for (int shift = 12; shift >= 0; shift -= 4)
        put(w, hex_digits[utf16 >> shift & 15]);
}

static void put_escaped(struct writer *w, uint32_t cp)
{
    if (cp >= 0x10000) { /* JSON escapes are UTF-16 */
        put_escape(w, 0xd800 + ((cp - 0x10000) >> 10));
        put_escape(w, 0xdc00 + ((cp - 0x10000) & 0x3ff));
    } else if (cp == '"' || cp == '\\') {
        put(w, '\\');
        put(w, (char)cp);
    } else {
        put_escape(w, cp);
    }
}

/* How many bytes JSON takes as they are. Nearly all text is such, so it is copied in runs. */
static size_t plain_run(const unsigned char *s, size_t n)
{
    size_t i = 0;

    while (i < n && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

size_t outbox__json_string(const void *text, size_t len, char *ret)
{
    const unsigned char *s = text, *end = s + len;
    struct writer w = { ret, 0 };
    uint32_t cp = 0;

    put(&w, '"');
    while (s < end) {
        size_t run = plain_run(s, (size_t)(end - s)), step;

        put_bytes(&w, s, run);
        s += run;
        if (s == end)
            break;
        step = outbox__utf8_decode(s, (size_t)(end - s), &cp);
        put_escaped(&w, step > 0 ? cp : 0xfffd); /* never 0: the text was checked before */
        s += step > 0 ? step : 1;
    }
    put(&w, '"');
    return w.len;
}
