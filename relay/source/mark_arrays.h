/* mark_arrays.h - marks as the binary arrays of the marking statement. Used by mark.c only; no libpq. */
#ifndef RELAY_SOURCE_MARK_ARRAYS_H
#define RELAY_SOURCE_MARK_ARRAYS_H

#include <stddef.h>
#include <stdint.h>

#include "relay/source/source.h"

/* bucket, id, kafka_partition, kafka_offset; and event_id, for marks that are checked */
enum { MARK_COLUMNS = 4, MARK_COLUMNS_CHECKED = 5 };

/* Reused from mark to mark. Start from zeroes. */
struct mark_arrays {
    char *bytes;
    size_t cap;
    const char *values[MARK_COLUMNS_CHECKED]; /* into bytes */
    int lengths[MARK_COLUMNS_CHECKED];
    int bucket; /* of all of them, 0 to 7; MARK_MIXED: of several, or of none in the ring */
};

#define MARK_MIXED (-1)

/* The first n_columns. 0, or -1 when out of memory. */
int marks_encode(struct mark_arrays *a, const struct source_mark *marks, uint32_t n, int n_columns);
void marks_deinit(struct mark_arrays *a);

#endif
