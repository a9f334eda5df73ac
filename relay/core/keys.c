/* keys.c - open addressing with linear probing and back-shift deletion. See keys.h. */
#include "relay/core/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/core/siphash.h"

int keys_init(struct keys *k, uint32_t max)
{
    uint32_t cap = 16;

    *k = (struct keys){ 0 };
    while (cap < (uint64_t)max * 2 && cap < UINT32_C(1) << 31)
        cap *= 2;
    k->place = calloc(cap, sizeof *k->place);
    if (k->place == NULL)
        return -1;
    k->cap = cap;
    return 0;
}

void keys_deinit(struct keys *k)
{
    free(k->place);
    *k = (struct keys){ 0 };
}

static uint32_t home(const struct keys *k, uint64_t key)
{
    return (uint32_t)(key ^ (key >> 32)) & (k->cap - 1);
}

struct key_wait *keys_find(const struct keys *k, uint64_t key)
{
    if (k->n == 0)
        return NULL;
    for (uint32_t i = home(k, key); k->place[i].key != 0; i = (i + 1) & (k->cap - 1))
        if (k->place[i].key == key)
            return &k->place[i];
    return NULL;
}

struct key_wait *keys_add(struct keys *k, uint64_t key)
{
    uint32_t i = home(k, key);

    assert(key != 0);
    while (k->place[i].key != 0 && k->place[i].key != key)
        i = (i + 1) & (k->cap - 1);
    if (k->place[i].key == 0) {
        assert(k->n < k->cap / 2);
        k->place[i] = (struct key_wait){
            .key = key, .busy = NO_SLOT, .parked = ROW_LIST_EMPTY, .behind = ROW_LIST_EMPTY
        };
        k->n++;
    }
    return &k->place[i];
}

void keys_remove(struct keys *k, struct key_wait *w)
{
    uint32_t hole = (uint32_t)(w - k->place);

    assert(w->parked.n == 0 && w->behind.n == 0);
    k->n--;
    for (uint32_t i = (hole + 1) & (k->cap - 1); k->place[i].key != 0; i = (i + 1) & (k->cap - 1)) {
        uint32_t want = home(k, k->place[i].key);
        if (((i - want) & (k->cap - 1)) >= ((i - hole) & (k->cap - 1))) {
            k->place[hole] = k->place[i];
            hole = i;
        }
    }
    k->place[hole].key = 0;
}

void keys_clear(struct keys *k)
{
    if (k->n > 0)
        memset(k->place, 0, k->cap * sizeof *k->place);
    k->n = 0;
}

uint64_t key_hash(const uint64_t secret[2], uint64_t topic_hash, const void *key, size_t key_len)
{
    const uint64_t of_topic[2] = { secret[0] ^ topic_hash, secret[1] };
    uint64_t h = siphash(of_topic, key, key_len);

    return h != 0 ? h : 1;
}
