/* marks.h - marks as the four binary arrays of the marking statement. Used by source.c only; no libpq. */
#ifndef RELAY_SOURCE_MARKS_H
#define RELAY_SOURCE_MARKS_H

#include <stddef.h>
#include <stdint.h>

#include "relay/source/source.h"

enum { MARK_COLUMNS = 4 }; /* bucket, id, kafka_partition, kafka_offset */

/* Reused from mark to mark. Start from zeroes. */
struct mark_arrays {
    char *bytes;
    size_t cap;
    const char *values[MARK_COLUMNS]; /* into bytes */
    int lengths[MARK_COLUMNS];
};

/* 0, or -1 when out of memory. */
int marks_encode(struct mark_arrays *a, const struct source_mark *marks, uint32_t n);
void marks_deinit(struct mark_arrays *a);

#endif
