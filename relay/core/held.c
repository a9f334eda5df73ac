/* held.c - see held.h. */
#include "relay/core/held.h"

void held_keys_deinit(struct held_keys *h)
{
    hashtable_deinit(&h->table);
    h->all = false;
}

void held_keys_clear(struct held_keys *h)
{
    held_keys_deinit(h); /* a set that once was large does not stay so */
}

static int make_room(struct held_keys *h)
{
    uint32_t cap = h->table.cap == 0 ? 64 : h->table.cap * 2;

    if (h->table.n < h->table.cap / 2)
        return 0;
    return cap / 2 <= HELD_KEYS_MAX ? hashtable_resize(&h->table, sizeof(uint64_t), cap) : -1;
}

void held_keys_add(struct held_keys *h, uint64_t key)
{
    if (held_keys_has(h, key))
        return;
    if (make_room(h) < 0) {
        h->all = true;
        return;
    }
    (void)hashtable_add(&h->table, sizeof(uint64_t), key);
}

void held_keys_remove(struct held_keys *h, uint64_t key)
{
    const uint64_t *at = h->all ? NULL : hashtable_find(&h->table, sizeof(uint64_t), key);

    if (at != NULL)
        hashtable_remove(&h->table, sizeof(uint64_t), at);
}

bool held_keys_has(const struct held_keys *h, uint64_t key)
{
    return h->all || hashtable_find(&h->table, sizeof(uint64_t), key) != NULL;
}
