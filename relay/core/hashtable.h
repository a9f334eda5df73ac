/* hashtable.h - places found by a 64-bit key: open addressing, linear probing, back-shift deletion. Pure.
 *
 * A place is a struct whose first member is its key, a uint64_t, or that alone. The key 0 marks an empty place; the
 * others are hashes already. At most half of the places are taken, so that a search is short and ends. `size` is
 * that of a place; all is inline, so that it is a constant to the compiler.
 *
 * Start from zeroes. A pointer to a place is good until something is added, removed or resized.
 */
#ifndef RELAY_CORE_HASHTABLE_H
#define RELAY_CORE_HASHTABLE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct hashtable {
    void *place;
    uint32_t cap, n; /* cap is 0 or a power of two; n places are taken */
};

static inline uint64_t *hashtable_at(const struct hashtable *t, size_t size, uint32_t i)
{
    void *place = (char *)t->place + i * size;

    return place;
}

static inline uint32_t hashtable_index(const struct hashtable *t, size_t size, const void *place)
{
    return (uint32_t)((size_t)((const char *)place - (const char *)t->place) / size);
}

static inline uint32_t hashtable_home(const struct hashtable *t, uint64_t key)
{
    return (uint32_t)(key ^ (key >> 32)) & (t->cap - 1);
}

/* Where the key is, or the empty place where it belongs; of a table that has places. */
static inline uint64_t *hashtable_seek(const struct hashtable *t, size_t size, uint64_t key)
{
    uint32_t i = hashtable_home(t, key);

    while (*hashtable_at(t, size, i) != 0 && *hashtable_at(t, size, i) != key)
        i = (i + 1) & (t->cap - 1);
    return hashtable_at(t, size, i);
}

/* The place of the key; NULL: it has none. In an empty table that costs one comparison. */
static inline void *hashtable_find(const struct hashtable *t, size_t size, uint64_t key)
{
    uint64_t *at = t->n > 0 ? hashtable_seek(t, size, key) : NULL;

    return at != NULL && *at != 0 ? at : NULL;
}

/* The taken place that follows `after` (NULL: the first one), in an order that means nothing; NULL: none. */
static inline void *hashtable_next(const struct hashtable *t, size_t size, const void *after)
{
    uint32_t i = after != NULL ? hashtable_index(t, size, after) + 1 : 0;

    for (; t->n > 0 && i < t->cap; i++)
        if (*hashtable_at(t, size, i) != 0)
            return hashtable_at(t, size, i);
    return NULL;
}

/* A place for a key that has none, where there is room. Only the key is written there: the rest is the caller's. */
static inline void *hashtable_add(struct hashtable *t, size_t size, uint64_t key)
{
    assert(key != 0 && t->n < t->cap / 2);
    uint64_t *at = hashtable_seek(t, size, key);

    assert(*at == 0);
    *at = key;
    t->n++;
    return at;
}

/* What follows moves up where a search for it would otherwise end at the hole. */
static inline void hashtable_remove(struct hashtable *t, size_t size, const void *place)
{
    uint32_t mask = t->cap - 1, hole = hashtable_index(t, size, place);

    for (uint32_t i = (hole + 1) & mask; *hashtable_at(t, size, i) != 0; i = (i + 1) & mask) {
        uint32_t home = hashtable_home(t, *hashtable_at(t, size, i));
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            memcpy(hashtable_at(t, size, hole), hashtable_at(t, size, i), size);
            hole = i;
        }
    }
    *hashtable_at(t, size, hole) = 0;
    t->n--;
}

/* To cap places, a power of two and more than twice as many as are taken, which are kept. 0; -1: no memory, and
 * nothing has changed. */
static inline int hashtable_resize(struct hashtable *t, size_t size, uint32_t cap)
{
    struct hashtable to = { .place = calloc(cap, size), .cap = cap, .n = t->n };

    if (to.place == NULL)
        return -1;
    for (const uint64_t *at = NULL; (at = hashtable_next(t, size, at)) != NULL;)
        memcpy(hashtable_seek(&to, size, *at), at, size);
    free(t->place);
    *t = to;
    return 0;
}

static inline void hashtable_deinit(struct hashtable *t)
{
    free(t->place);
    *t = (struct hashtable){ .place = NULL };
}

#endif
