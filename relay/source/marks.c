/* marks.c - see marks.h. */
#include "relay/source/marks.h"

#include <stdlib.h>

#include "relay/source/wire.h"

enum { OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23 };
enum { ARRAY_HEAD_BYTES = 20 };

/* The head of a one-dimensional array that is not empty. */
static char *put_array_head(char *p, int32_t element_oid, uint32_t n, int has_nulls)
{
    p = wire_put32(p, 1); /* dimensions */
    p = wire_put32(p, has_nulls);
    p = wire_put32(p, element_oid);
    p = wire_put32(p, (int32_t)n);
    return wire_put32(p, 1); /* index of the first */
}

static char *put_buckets(char *p, const struct source_mark *m, uint32_t n)
{
    p = put_array_head(p, OID_INT2, n, 0);
    for (uint32_t i = 0; i < n; i++)
        p = wire_put16(wire_put32(p, 2), m[i].bucket);
    return p;
}

static char *put_ids(char *p, const struct source_mark *m, uint32_t n)
{
    p = put_array_head(p, OID_INT8, n, 0);
    for (uint32_t i = 0; i < n; i++)
        p = wire_put64(wire_put32(p, 8), m[i].id);
    return p;
}

static char *put_partitions(char *p, const struct source_mark *m, uint32_t n)
{
    p = put_array_head(p, OID_INT4, n, 0);
    for (uint32_t i = 0; i < n; i++)
        p = wire_put32(wire_put32(p, 4), m[i].partition);
    return p;
}

/* An offset that the broker did not tell is NULL: length -1. */
static char *put_offsets(char *p, const struct source_mark *m, uint32_t n)
{
    p = put_array_head(p, OID_INT8, n, 1);
    for (uint32_t i = 0; i < n; i++)
        p = m[i].offset < 0 ? wire_put32(p, -1) : wire_put64(wire_put32(p, 8), m[i].offset);
    return p;
}

int marks_encode(struct mark_arrays *a, const struct source_mark *marks, uint32_t n)
{
    static char *(*const put[MARK_COLUMNS])(char *, const struct source_mark *, uint32_t) = {
        put_buckets, put_ids, put_partitions, put_offsets
    };
    size_t need = MARK_COLUMNS * (ARRAY_HEAD_BYTES + (size_t)n * (4 + 8));

    if (need > a->cap) {
        char *bytes = realloc(a->bytes, need);
        if (bytes == NULL)
            return -1;
        a->bytes = bytes;
        a->cap = need;
    }
    char *p = a->bytes;
    for (int col = 0; col < MARK_COLUMNS; col++) {
        char *end = put[col](p, marks, n);
        a->values[col] = p;
        a->lengths[col] = (int)(end - p);
        p = end;
    }
    return 0;
}

void marks_deinit(struct mark_arrays *a)
{
    free(a->bytes);
    *a = (struct mark_arrays){ .bytes = NULL };
}
