/* arrays.c - encoded events as one binary array per column. See arrays.h. */
#include "arrays.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 20 /* dimensions, has a null, type of the elements, their number, first index */
#define FIRST_SIZE 4096

static void put_word(char *to, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(unsigned char)(word >> (24 - 8 * i));
}

void outbox__arrays_clear(struct outbox__arrays *a)
{
    for (int i = 0; i < OUTBOX__N_PARAMETERS; i++) {
        a->column[i].len = 0;
        a->column[i].n_nulls = 0;
    }
    a->n_rows = a->n_bytes = 0;
}

void outbox__arrays_deinit(struct outbox__arrays *a)
{
    for (int i = 0; i < OUTBOX__N_PARAMETERS; i++)
        free(a->column[i].bytes);
    memset(a, 0, sizeof(*a));
}

size_t outbox__arrays_row_bytes(const struct outbox__row *row)
{
    size_t sum = 0;

    for (int i = 0; i < OUTBOX__N_PARAMETERS; i++)
        sum += 4 + (row->values[i] != NULL ? (size_t)row->lengths[i] : 0);
    return sum;
}

/* Lengths are bounded by the limits of an event and of what goes into one statement. */
static bool reserve(struct outbox__array *array, size_t more)
{
    size_t size = array->size > 0 ? array->size : FIRST_SIZE;
    char *grown;

    if (array->len + more <= array->size)
        return true;
    while (size < array->len + more)
        size *= 2;
    grown = realloc(array->bytes, size);
    if (grown == NULL)
        return false;
    array->bytes = grown;
    array->size = size;
    return true;
}

static bool add_element(struct outbox__array *array, const char *value, int len)
{
    size_t n = value != NULL ? (size_t)len : 0;

    if (!reserve(array, HEADER_BYTES + 4 + n))
        return false;
    if (array->len == 0)
        array->len = HEADER_BYTES;
    put_word(array->bytes + array->len, value != NULL ? (uint32_t)n : UINT32_MAX);
    array->len += 4;
    if (value == NULL)
        array->n_nulls++;
    else if (n > 0)
        memcpy(array->bytes + array->len, value, n);
    array->len += n;
    return true;
}

bool outbox__arrays_add(struct outbox__arrays *a, const struct outbox__row *row)
{
    for (int i = 0; i < OUTBOX__N_PARAMETERS; i++) {
        if (!add_element(&a->column[i], row->values[i], row->lengths[i]))
            return false;
    }
    a->n_rows++;
    a->n_bytes += outbox__arrays_row_bytes(row);
    return true;
}

const char *outbox__arrays_finish(struct outbox__arrays *a, int column, uint32_t element_type,
                                  int *ret_len)
{
    struct outbox__array *array = &a->column[column];

    *ret_len = 0;
    if (array->n_nulls == a->n_rows)
        return NULL;
    put_word(array->bytes, 1);
    put_word(array->bytes + 4, array->n_nulls > 0);
    put_word(array->bytes + 8, element_type);
    put_word(array->bytes + 12, (uint32_t)a->n_rows);
    put_word(array->bytes + 16, 1);
    *ret_len = (int)array->len;
    return array->bytes;
}
