/* hash.h - FNV-1a of 64 bits, for the relay and for libinbox: fast, and not safe from who wants two keys to meet.
 * Header only, as retry.h. */
#ifndef OUTBOX_SHARED_HASH_H
#define OUTBOX_SHARED_HASH_H

#include <stddef.h>
#include <stdint.h>

/* What a hash begins with. */
#define HASH_FNV1A UINT64_C(0xcbf29ce484222325)

/* The hash of what went before and these bytes. data may be NULL when len is 0. */
static inline uint64_t hash_fnv1a(uint64_t hash, const void *data, size_t len)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
