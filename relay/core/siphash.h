/* siphash.h - SipHash-2-4, a hash that nobody without its key can find collisions of. Pure. */
#ifndef RELAY_CORE_SIPHASH_H
#define RELAY_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *data, size_t len);

#endif
