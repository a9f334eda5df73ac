/* siphash.c - after Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). See siphash.h. */
#include "relay/core/siphash.h"

static uint64_t left(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = left(v[1], 13) ^ v[0];
        v[3] = left(v[3], 16) ^ v[2];
        v[0] = left(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = left(v[1], 17) ^ v[2];
        v[3] = left(v[3], 21) ^ v[0];
        v[2] = left(v[2], 32);
    }
}

/* At most 8 bytes, the lowest first. */
static uint64_t word(const unsigned char *p, size_t n)
{
    uint64_t w = 0;

    while (n-- > 0)
        w = w << 8 | p[n];
    return w;
}

static void take(uint64_t v[4], uint64_t w)
{
    v[3] ^= w;
    rounds(v, 2);
    v[0] ^= w;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t len)
{
    const unsigned char *p = data;
    size_t left_over = len % 8;
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)
    };

    for (size_t i = 0; i < len - left_over; i += 8)
        take(v, word(p + i, 8));
    take(v, (uint64_t)len << 56 | (left_over > 0 ? word(p + len - left_over, left_over) : 0));
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
