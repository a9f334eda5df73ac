/* text.c - see text.h. */
#include "relay/text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The number of bytes of the character at s, which is put into *ret_char; 0: not UTF-8. */
static size_t next_char(const unsigned char *s, size_t len, uint32_t *ret_char)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t c = n <= 1 ? s[0] : s[0] & (0xffu >> (n + 1));

    if (n == 0 || s[0] > 0xf4 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret_char = c;
    return n;
}

/* Control characters, those that cannot be seen or change how others are shown, and non-characters. */
static bool is_unsafe(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        { 0x0, 0x1f },       { 0x7f, 0x9f },      { 0xad, 0xad },      { 0x61c, 0x61c },
        { 0x180e, 0x180e },  { 0x200b, 0x200f },  { 0x2028, 0x202e },  { 0x2060, 0x206f },
        { 0xfdd0, 0xfdef },  { 0xfe00, 0xfe0f },  { 0xfeff, 0xfeff },  { 0xfff0, 0xfffb },
        { 0xe0000, 0xe0fff },
    };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return (c & 0xfffe) == 0xfffe;
}

bool text_is_utf8(const void *bytes, size_t len)
{
    const unsigned char *s = bytes;
    uint32_t c;

    for (size_t n; len > 0; s += n, len -= n) {
        n = next_char(s, len, &c);
        if (n == 0)
            return false;
    }
    return true;
}

static void put_char(FILE *out, const unsigned char *s, size_t n, uint32_t c)
{
    switch (c) {
    case '\n':
        fputs("\\n", out);
        return;
    case '\r':
        fputs("\\r", out);
        return;
    case '\t':
        fputs("\\t", out);
        return;
    case '\\':
        fputs("\\\\", out);
        return;
    }
    if (!is_unsafe(c))
        fwrite(s, 1, n, out);
    else if (c < 0x80)
        fprintf(out, "\\x%02x", (unsigned)c);
    else
        fprintf(out, "\\u{%x}", (unsigned)c);
}

static void put_escaped(FILE *out, const unsigned char *s, size_t len, size_t max_chars)
{
    for (size_t n, i = 0; len > 0; s += n, len -= n, i++) {
        uint32_t c = 0;
        if (i == max_chars) {
            fputs("...", out);
            return;
        }
        n = next_char(s, len, &c);
        if (n == 0) {
            fprintf(out, "\\x%02x", s[0]);
            n = 1;
        } else {
            put_char(out, s, n, c);
        }
    }
}

void text_put(FILE *out, const char *text, size_t max_chars)
{
    if (text == NULL)
        fputs("-", out);
    else
        put_escaped(out, (const unsigned char *)text, strlen(text), max_chars);
}

void text_put_hex(FILE *out, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%02x", ((const unsigned char *)bytes)[i]);
}

void text_uuid(const unsigned char id[16], char to[37])
{
    char *p = to;

    for (int i = 0; i < 16; i++)
        p += sprintf(p, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
}

static bool can_be_shown(const unsigned char *s, size_t len)
{
    for (size_t n; len > 0; s += n, len -= n) {
        uint32_t c;
        n = next_char(s, len, &c);
        if (n == 0 || is_unsafe(c) || c == '"' || c == '\\')
            return false;
    }
    return true;
}

void text_put_key(FILE *out, const void *key, size_t len)
{
    if (key == NULL) {
        fputs("-", out);
    } else if (can_be_shown(key, len)) {
        fprintf(out, "\"%.*s\"", (int)len, (const char *)key);
    } else {
        fputs("\\x", out);
        text_put_hex(out, key, len);
    }
}

/* -- tables ----------------------------------------------------------------------------------- */

FILE *table_open(struct table *t)
{
    t->text = NULL;
    t->len = 0;
    t->cell = t->failed ? NULL : open_memstream(&t->text, &t->len);
    if (t->cell == NULL)
        t->failed = true;
    return t->cell;
}

void table_close(struct table *t)
{
    if (t->cell == NULL)
        return;
    if (fclose(t->cell) != 0)
        t->failed = true;
    t->cell = NULL;
    if (t->n_cells == t->capacity) {
        size_t capacity = t->capacity > 0 ? 2 * t->capacity : 64;
        char **grown = realloc(t->cells, capacity * sizeof *grown);
        if (grown != NULL) {
            t->cells = grown;
            t->capacity = capacity;
        }
    }
    if (t->failed || t->n_cells == t->capacity) {
        t->failed = true;
        free(t->text);
        return;
    }
    t->cells[t->n_cells++] = t->text;
}

void table_add(struct table *t, const char *text)
{
    FILE *cell = table_open(t);

    if (cell != NULL)
        fputs(text, cell);
    table_close(t);
}

void table_heads(struct table *t, const char *const *heads, size_t n)
{
    for (size_t i = 0; t->n_columns == 0 && i < n; i++)
        table_add(t, heads[i]);
    t->n_columns = n;
}

void table_add_text(struct table *t, const char *text, size_t max_chars)
{
    FILE *cell = table_open(t);

    if (cell != NULL)
        text_put(cell, text, max_chars);
    table_close(t);
}

void table_add_key(struct table *t, const void *key, size_t len)
{
    FILE *cell = table_open(t);

    if (cell != NULL)
        text_put_key(cell, key, len);
    table_close(t);
}

void table_add_number(struct table *t, int64_t n)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, n);
    table_add(t, text);
}

/* Characters, not bytes; some take two columns of a terminal, which is then a little untidy. */
static size_t width_of(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

bool table_print(const struct table *t, FILE *out)
{
    size_t *widths = t->failed ? NULL : calloc(t->n_columns, sizeof *widths);

    if (widths == NULL)
        return false;
    for (size_t i = 0; i < t->n_cells; i++)
        if (width_of(t->cells[i]) > widths[i % t->n_columns])
            widths[i % t->n_columns] = width_of(t->cells[i]);
    for (size_t i = 0; i < t->n_cells; i++) {
        bool last = i % t->n_columns == t->n_columns - 1;
        size_t pad = last ? 0 : widths[i % t->n_columns] - width_of(t->cells[i]);
        fprintf(out, "%s%*s%s", t->cells[i], (int)pad, "", last ? "\n" : "  ");
    }
    free(widths);
    return true;
}

void table_deinit(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){ .cells = NULL };
}
