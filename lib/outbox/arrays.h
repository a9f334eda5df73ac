/* arrays.h - encoded events as one binary array per column. Pure but for memory: no libpq. */
#ifndef OUTBOX_LIB_ARRAYS_H
#define OUTBOX_LIB_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/** A one-dimensional array as PostgreSQL reads it: five words, then length and bytes of each. */
struct outbox__array {
    char *bytes;
    size_t len, size;
    size_t n_nulls;
};

struct outbox__arrays {
    struct outbox__array column[OUTBOX__N_PARAMETERS];
    size_t n_rows;
    size_t n_bytes; /* of all columns, without the five words */
};

/** Start from zeroes; deinit takes that too. clear keeps the memory for the next rows. */
void outbox__arrays_clear(struct outbox__arrays *a);
void outbox__arrays_deinit(struct outbox__arrays *a);

/** What the row would add to n_bytes. */
size_t outbox__arrays_row_bytes(const struct outbox__row *row);

/** Add a row; its bytes are copied. False: out of memory, the arrays are of no use any more. */
bool outbox__arrays_add(struct outbox__arrays *a, const struct outbox__row *row);

/** The finished array of one column; there is a row at least. NULL when all its values are: the
 *  server fills what is missing beside the other columns with nulls, at less cost. */
const char *outbox__arrays_finish(struct outbox__arrays *a, int column, uint32_t element_type,
                                  int *ret_len);

#endif
