/* wire.h - integers in PostgreSQL's binary formats: network order. Used inside source/ only. */
#ifndef RELAY_SOURCE_WIRE_H
#define RELAY_SOURCE_WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline int16_t wire_i16(const char *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return (int16_t)be16toh(v);
}

static inline int32_t wire_i32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return (int32_t)be32toh(v);
}

static inline int64_t wire_i64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return (int64_t)be64toh(v);
}

/* The put functions return the place behind what they wrote. */
static inline char *wire_put16(char *p, int16_t v)
{
    uint16_t be = htobe16((uint16_t)v);

    memcpy(p, &be, sizeof be);
    return p + sizeof be;
}

static inline char *wire_put32(char *p, int32_t v)
{
    uint32_t be = htobe32((uint32_t)v);

    memcpy(p, &be, sizeof be);
    return p + sizeof be;
}

static inline char *wire_put64(char *p, int64_t v)
{
    uint64_t be = htobe64((uint64_t)v);

    memcpy(p, &be, sizeof be);
    return p + sizeof be;
}

#endif
