/* array.h - one-dimensional arrays in PostgreSQL's binary format, for statements that take a set of rows
 * as one array per column. Used inside source/ only; no libpq.
 */
#ifndef RELAY_SOURCE_ARRAY_H
#define RELAY_SOURCE_ARRAY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "relay/source/wire.h"

enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_TEXT = 25, OID_UUID = 2950 };
enum { ARRAY_HEAD_BYTES = 20 };

/* All return the place behind what they wrote. */

static inline char *array_put_head(char *p, int32_t element_oid, uint32_t n, bool has_nulls)
{
    p = wire_put32(p, n > 0); /* dimensions */
    p = wire_put32(p, has_nulls);
    p = wire_put32(p, element_oid);
    if (n == 0)
        return p;
    p = wire_put32(p, (int32_t)n);
    return wire_put32(p, 1); /* index of the first */
}

static inline char *array_put_null(char *p)
{
    return wire_put32(p, -1);
}

static inline char *array_put_bool(char *p, bool v)
{
    p = wire_put32(p, 1);
    *p = v;
    return p + 1;
}

static inline char *array_put_uuid(char *p, const uint8_t v[16])
{
    memcpy(wire_put32(p, 16), v, 16);
    return p + 20;
}

static inline char *array_put16(char *p, int16_t v)
{
    return wire_put16(wire_put32(p, 2), v);
}

static inline char *array_put32(char *p, int32_t v)
{
    return wire_put32(wire_put32(p, 4), v);
}

static inline char *array_put64(char *p, int64_t v)
{
    return wire_put64(wire_put32(p, 8), v);
}

#endif
