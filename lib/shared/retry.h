/* retry.h - how long to wait before the next attempt, for the relay and for libinbox. Pure: the
 * random draw is an argument. Header only, so that neither brings the other a symbol. */
#ifndef OUTBOX_SHARED_RETRY_H
#define OUTBOX_SHARED_RETRY_H

#include <stdint.h>

/* A random draw in [0, 2^32) from a generator whose whole state is *state (splitmix64, Steele, Lea
 * and Flood 2014): one seed replays a run. */
static inline uint32_t retry_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

/* Exponential with half jitter: uniform in [d/2, d], d = min(base * 2^attempt, cap). The lower half
 * is never drawn, so that a burst of failures cannot turn into a tight loop. attempt counts from 0. */
static inline uint64_t retry_delay_ms(uint64_t base_ms, uint64_t cap_ms, uint32_t attempt,
                                      uint32_t rnd)
{
    uint64_t d = base_ms < cap_ms ? base_ms : cap_ms;

    while (attempt-- > 0 && d < cap_ms)
        d = d > cap_ms / 2 ? cap_ms : d * 2; /* stops at the cap, so it cannot overflow */
    return d - (((d / 2 + 1) * (uint64_t)rnd) >> 32);
}

#endif
