/* array.c - see array.h. */
#include "array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void inbox__array_deinit(struct inbox__array *a)
{
    free(a->text);
    *a = (struct inbox__array){ 0 };
}

/* Room for n more bytes and the end. */
static bool reserve(struct inbox__array *a, size_t n)
{
    size_t size = a->size;
    char *more;

    if (a->failed || a->len + n + 3 <= size)
        return !a->failed;
    while (size < a->len + n + 3)
        size = size == 0 ? 256 : size * 2;
    more = realloc(a->text, size);
    a->failed = more == NULL;
    if (a->failed)
        return false;
    a->text = more;
    a->size = size;
    return true;
}

static bool begin(struct inbox__array *a, size_t n)
{
    if (!reserve(a, n + 1))
        return false;
    a->text[a->len] = a->len == 0 ? '{' : ',';
    a->len++;
    return true;
}

static void put_null(struct inbox__array *a)
{
    memcpy(a->text + a->len, "NULL", 4);
    a->len += 4;
}

void inbox__array_text(struct inbox__array *a, const char *element)
{
    if (!begin(a, element != NULL ? 2 * strlen(element) + 2 : 4))
        return;
    if (element == NULL) {
        put_null(a);
        return;
    }
    a->text[a->len++] = '"';
    for (; *element != '\0'; element++) {
        if (*element == '"' || *element == '\\')
            a->text[a->len++] = '\\';
        a->text[a->len++] = *element;
    }
    a->text[a->len++] = '"';
}

void inbox__array_bytes(struct inbox__array *a, const void *element, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = element;

    if (!begin(a, 2 * len + 6))
        return;
    if (element == NULL) {
        put_null(a);
        return;
    }
    memcpy(a->text + a->len, "\"\\\\x", 4);
    a->len += 4;
    for (size_t i = 0; i < len; i++) {
        a->text[a->len++] = hex[p[i] >> 4];
        a->text[a->len++] = hex[p[i] & 15];
    }
    a->text[a->len++] = '"';
}

void inbox__array_number(struct inbox__array *a, long long element)
{
    char digits[24];

    snprintf(digits, sizeof digits, "%lld", element);
    inbox__array_text(a, digits);
}

const char *inbox__array_finish(struct inbox__array *a)
{
    if (!reserve(a, 1))
        return NULL;
    if (a->len == 0)
        a->text[a->len++] = '{';
    a->text[a->len++] = '}';
    a->text[a->len] = '\0';
    return a->text;
}
