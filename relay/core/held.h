/* held.h - the keys that have rows in outbox.held: later rows of theirs must not pass. Pure.
 *
 * A set of 64-bit hashes, which grows as far as HELD_KEYS_MAX. Beyond it, or without memory, it holds
 * `all` keys until it is cleared: then every row with a key takes the way through outbox.held, where
 * the database knows its predecessors; slower, and never out of order.
 */
#ifndef RELAY_CORE_HELD_H
#define RELAY_CORE_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/core/hashtable.h"

#define HELD_KEYS_MAX (UINT32_C(1) << 20)

struct held_keys {
    struct hashtable table; /* of the keys alone */
    bool all;
};

void held_keys_deinit(struct held_keys *h);
void held_keys_clear(struct held_keys *h);
void held_keys_add(struct held_keys *h, uint64_t key); /* not 0 */
void held_keys_remove(struct held_keys *h, uint64_t key);
bool held_keys_has(const struct held_keys *h, uint64_t key);

#endif
