/* text.h - what others wrote, made safe to show. Pure but for memory and the stream given.
 *
 * Topics, keys, types and errors may hold anything: line breaks, escape sequences of a terminal,
 * characters that turn the direction of writing, bytes that are no text. All that is shown escaped:
 * \n, \t, \r, \\, \x1b for a byte, \u{202e} for a character.
 */
#ifndef RELAY_TEXT_H
#define RELAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Is it UTF-8? A NUL byte is a character, too. */
bool text_is_utf8(const void *bytes, size_t len);

/* The escaped text, "-" for NULL; "..." stands for what is over max_chars characters. */
void text_put(FILE *out, const char *text, size_t max_chars);

/* A key: text that can be shown as it is, in double quotes; other bytes as \x6b00ff; "-" when NULL. */
void text_put_key(FILE *out, const void *key, size_t len);

/* The 36 characters of a UUID. */
void text_uuid(const unsigned char id[16], char to[37]);

void text_put_hex(FILE *out, const void *bytes, size_t len);

/* A table whose columns are as wide as they must be. */
struct table {
    FILE *cell; /* the cell in the making: written to by the user, between table_open and _close */
    char *text;
    size_t len;
    char **cells;
    size_t n_cells, capacity, n_columns;
    bool failed; /* out of memory: nothing more is added */
};

/* The first row, and with it how many columns there are; nothing when it is there already. */
void table_heads(struct table *t, const char *const *heads, size_t n);
/* One more cell, row by row; NULL when out of memory. */
FILE *table_open(struct table *t);
void table_close(struct table *t);
/* A cell of plain text of our own. */
void table_add(struct table *t, const char *text);
/* The text of others, as text_put and text_put_key. */
void table_add_text(struct table *t, const char *text, size_t max_chars);
void table_add_key(struct table *t, const void *key, size_t len);
void table_add_number(struct table *t, int64_t n);
/* false: out of memory, nothing was printed. */
bool table_print(const struct table *t, FILE *out);
void table_deinit(struct table *t);

#endif
