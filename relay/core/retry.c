/* retry.c - see retry.h. */
#include "relay/core/retry.h"

uint32_t retry_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

uint64_t retry_delay_ms(uint64_t base_ms, uint64_t cap_ms, uint32_t attempt, uint32_t rnd)
{
    uint64_t d = base_ms < cap_ms ? base_ms : cap_ms;

    while (attempt-- > 0 && d < cap_ms)
        d = d > cap_ms / 2 ? cap_ms : d * 2; /* stops at the cap, so it cannot overflow */
    return d - (((d / 2 + 1) * (uint64_t)rnd) >> 32);
}
