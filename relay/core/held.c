/* held.c - open addressing with linear probing and back-shift deletion. See held.h. */
#include "relay/core/held.h"

#include <stdlib.h>
#include <string.h>

void held_keys_deinit(struct held_keys *h)
{
    free(h->place);
    *h = (struct held_keys){ .place = NULL };
}

void held_keys_clear(struct held_keys *h)
{
    held_keys_deinit(h); /* a set that once was large does not stay so */
}

static uint32_t home(const struct held_keys *h, uint64_t key)
{
    return (uint32_t)(key ^ (key >> 32)) & (h->cap - 1);
}

/* Where the key is, or the empty place where it belongs. */
static uint32_t find(const struct held_keys *h, uint64_t key)
{
    uint32_t i = home(h, key);

    while (h->place[i] != 0 && h->place[i] != key)
        i = (i + 1) & (h->cap - 1);
    return i;
}

static int grow(struct held_keys *h)
{
    struct held_keys more = { .cap = h->cap == 0 ? 64 : h->cap * 2, .n = h->n };

    if (more.cap / 2 > HELD_KEYS_MAX ||
        (more.place = calloc(more.cap, sizeof *more.place)) == NULL)
        return -1;
    for (uint32_t i = 0; i < h->cap; i++)
        if (h->place[i] != 0)
            more.place[find(&more, h->place[i])] = h->place[i];
    free(h->place);
    *h = more;
    return 0;
}

void held_keys_add(struct held_keys *h, uint64_t key)
{
    if (h->all || held_keys_has(h, key))
        return;
    if (h->n >= h->cap / 2 && grow(h) < 0) {
        h->all = true;
        return;
    }
    h->place[find(h, key)] = key;
    h->n++;
}

void held_keys_remove(struct held_keys *h, uint64_t key)
{
    if (h->all || !held_keys_has(h, key))
        return;
    uint32_t hole = find(h, key), mask = h->cap - 1;
    h->n--;
    for (uint32_t i = (hole + 1) & mask; h->place[i] != 0; i = (i + 1) & mask)
        if (((i - home(h, h->place[i])) & mask) >= ((i - hole) & mask)) {
            h->place[hole] = h->place[i];
            hole = i;
        }
    h->place[hole] = 0;
}

bool held_keys_has(const struct held_keys *h, uint64_t key)
{
    return h->all || (h->n > 0 && h->place[find(h, key)] == key);
}
