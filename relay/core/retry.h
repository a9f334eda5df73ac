/* retry.h - how long to wait before the next attempt. Pure: the random draw is an argument. */
#ifndef RELAY_CORE_RETRY_H
#define RELAY_CORE_RETRY_H

#include <stdint.h>

/* A random draw in [0, 2^32) from a generator whose whole state is *state (splitmix64, Steele, Lea
 * and Flood 2014): one seed replays a run. */
uint32_t retry_random(uint64_t *state);

/* Exponential with half jitter: uniform in [d/2, d], d = min(base * 2^attempt, cap). The lower half
 * is never drawn, so that a burst of failures cannot turn into a tight loop. attempt counts from 0. */
uint64_t retry_delay_ms(uint64_t base_ms, uint64_t cap_ms, uint32_t attempt, uint32_t rnd);

#endif
