/* array.h - text for PostgreSQL's array parameters, one element after the other. Pure but for memory. */
#ifndef INBOX_LIB_ARRAY_H
#define INBOX_LIB_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Start from zeroes. failed: memory ran out, the text is of no use. */
struct inbox__array {
    char *text;
    size_t len, size;
    bool failed;
};

void inbox__array_deinit(struct inbox__array *a);
/* A text element; NULL is a NULL. */
void inbox__array_text(struct inbox__array *a, const char *element);
/* A bytea element, in hexadecimal; NULL is a NULL. */
void inbox__array_bytes(struct inbox__array *a, const void *element, size_t len);
void inbox__array_number(struct inbox__array *a, long long element);
/* The whole array; "{}" without elements. NULL when memory ran out. */
const char *inbox__array_finish(struct inbox__array *a);

#endif
