/* held_arrays.h - rows for outbox.held, and ids whose groups were touched, as the binary arrays of the
 * statements in held_sql.h. Used inside source/ only; no libpq.
 */
#ifndef RELAY_SOURCE_HELD_ARRAYS_H
#define RELAY_SOURCE_HELD_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/source/source.h"

/* id, bucket, state, attempts, delay_ms, maybe, key_unreadable, error_code, error */
enum { HOLD_COLUMNS = 9 };
enum { HELD_CODE_BYTES = 100, HELD_ERROR_BYTES = 500 };

/* Reused from request to request. Start from zeroes. */
struct hold_arrays {
    char *bytes;
    size_t cap;
    const char *values[HOLD_COLUMNS]; /* into bytes */
    int lengths[HOLD_COLUMNS];
};

/* 0, or -1 when out of memory. Texts are cut at a border of UTF-8; what is not UTF-8, which the server
 * would refuse, becomes '?'. */
int hold_arrays_encode(struct hold_arrays *a, const struct source_hold *holds, uint32_t n);
void hold_arrays_deinit(struct hold_arrays *a);

struct touched_row {
    int64_t id;
    int16_t bucket;
    bool wanted; /* say so if its key has become free */
};

enum { TOUCHED_COLUMNS = 3 }; /* id, bucket, wanted */

struct touched {
    struct touched_row *row;
    uint32_t n, cap;
    char *bytes;
    size_t bytes_cap;
    const char *values[TOUCHED_COLUMNS];
    int lengths[TOUCHED_COLUMNS];
};

/* Both return 0, or -1 when out of memory. Add, then encode once. */
int touched_add(struct touched *t, int64_t id, int16_t bucket, bool wanted);
int touched_encode(struct touched *t);
void touched_deinit(struct touched *t);

#endif
