/* mark_arrays.c - see mark_arrays.h. */
#include "relay/source/mark_arrays.h"

#include <stdlib.h>

#include "relay/source/array.h"

static char *put_buckets(char *p, const struct source_mark *m, uint32_t n)
{
    p = array_put_head(p, OID_INT2, n, false);
    for (uint32_t i = 0; i < n; i++)
        p = array_put16(p, m[i].bucket);
    return p;
}

static char *put_ids(char *p, const struct source_mark *m, uint32_t n)
{
    p = array_put_head(p, OID_INT8, n, false);
    for (uint32_t i = 0; i < n; i++)
        p = array_put64(p, m[i].id);
    return p;
}

static char *put_partitions(char *p, const struct source_mark *m, uint32_t n)
{
    p = array_put_head(p, OID_INT4, n, false);
    for (uint32_t i = 0; i < n; i++)
        p = array_put32(p, m[i].partition);
    return p;
}

/* An offset that the broker did not tell is NULL: length -1. */
static char *put_offsets(char *p, const struct source_mark *m, uint32_t n)
{
    p = array_put_head(p, OID_INT8, n, true);
    for (uint32_t i = 0; i < n; i++)
        p = m[i].offset < 0 ? array_put_null(p) : array_put64(p, m[i].offset);
    return p;
}

static int common_bucket(const struct source_mark *m, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (m[i].bucket != m[0].bucket)
            return MARK_MIXED;
    return n > 0 && m[0].bucket >= 0 && m[0].bucket < 8 ? m[0].bucket : MARK_MIXED;
}

static char *put_event_ids(char *p, const struct source_mark *m, uint32_t n)
{
    p = array_put_head(p, OID_UUID, n, false);
    for (uint32_t i = 0; i < n; i++)
        p = array_put_uuid(p, m[i].event_id);
    return p;
}

int marks_encode(struct mark_arrays *a, const struct source_mark *marks, uint32_t n, int n_columns)
{
    static char *(*const put[MARK_COLUMNS_CHECKED])(char *, const struct source_mark *, uint32_t) = {
        put_buckets, put_ids, put_partitions, put_offsets, put_event_ids
    };
    size_t need = MARK_COLUMNS_CHECKED * (ARRAY_HEAD_BYTES + (size_t)n * (4 + 16));

    if (need > a->cap) {
        char *bytes = realloc(a->bytes, need);
        if (bytes == NULL)
            return -1;
        a->bytes = bytes;
        a->cap = need;
    }
    a->bucket = common_bucket(marks, n);
    char *p = a->bytes;
    for (int col = 0; col < n_columns; col++) {
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
