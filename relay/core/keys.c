/* keys.c - see keys.h. */
#include "relay/core/keys.h"

#include <assert.h>
#include <string.h>

#include "relay/core/siphash.h"

int keys_init(struct keys *k, uint32_t max)
{
    uint32_t cap = 16;

    *k = (struct keys){ .table = { .place = NULL } };
    while (cap < (uint64_t)max * 2 && cap < UINT32_C(1) << 31)
        cap *= 2;
    return hashtable_resize(&k->table, sizeof(struct key_wait), cap);
}

void keys_deinit(struct keys *k)
{
    hashtable_deinit(&k->table);
}

struct key_wait *keys_find(const struct keys *k, uint64_t key)
{
    return hashtable_find(&k->table, sizeof(struct key_wait), key);
}

struct key_wait *keys_next(const struct keys *k, const struct key_wait *after)
{
    return hashtable_next(&k->table, sizeof(struct key_wait), after);
}

struct key_wait *keys_add(struct keys *k, uint64_t key)
{
    struct key_wait *w = keys_find(k, key);

    if (w == NULL) {
        w = hashtable_add(&k->table, sizeof *w, key);
        *w = (struct key_wait){
            .key = key, .busy = NO_SLOT, .parked = ROW_LIST_EMPTY, .behind = ROW_LIST_EMPTY
        };
    }
    return w;
}

void keys_remove(struct keys *k, struct key_wait *w)
{
    assert(w->parked.n == 0 && w->behind.n == 0);
    hashtable_remove(&k->table, sizeof *w, w);
}

void keys_clear(struct keys *k)
{
    if (k->table.n > 0)
        memset(k->table.place, 0, k->table.cap * sizeof(struct key_wait));
    k->table.n = 0;
}

uint64_t key_hash(const uint64_t secret[2], uint64_t topic_hash, const void *key, size_t key_len)
{
    const uint64_t of_topic[2] = { secret[0] ^ topic_hash, secret[1] };
    uint64_t h = siphash(of_topic, key, key_len);

    return h != 0 ? h : 1;
}
