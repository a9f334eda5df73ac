/* keys.h - the keys that have an unresolved row after a refusal, or rows back from outbox.held, and
 * who waits behind these.
 *
 * A key is here only while something of it went wrong; in good times the table is empty and a row
 * costs one comparison. Keys are 64-bit hashes of topic and key: keys of two topics with one hash wait for each
 * other, which costs time and never order. Pure.
 */
#ifndef RELAY_CORE_KEYS_H
#define RELAY_CORE_KEYS_H

#include <stddef.h>

#include "relay/core/hashtable.h"
#include "relay/core/window.h"

struct key_wait {
    uint64_t key;           /* the first member: hashtable.h */
    uint32_t busy;          /* the row of this key that was sent and is not confirmed; NO_SLOT: none */
    uint32_t n_suspects;    /* rows of this key that still have to go alone */
    uint32_t n_back;        /* rows of this key in the window that came from outbox.held */
    bool resuming;          /* these may be sent, and new ones wait here for what comes of it */
    struct row_list parked; /* later rows, in order */
    struct row_list behind; /* new rows, to go when none of the key is left in outbox.held */
};

struct keys {
    struct hashtable table; /* of struct key_wait; does not grow */
};

/* Room for `max` keys at once. Returns 0, or -1 when out of memory. */
int keys_init(struct keys *k, uint32_t max);
void keys_deinit(struct keys *k);
/* NULL when the key does not wait. The pointer is good until the next add or remove. */
struct key_wait *keys_find(const struct keys *k, uint64_t key);
/* For going over all of them, in an order that means nothing: the one behind `after`, the first one for NULL; NULL
 * behind the last. */
struct key_wait *keys_next(const struct keys *k, const struct key_wait *after);
/* The entry of the key, made when there is none. Never fails within `max` keys. */
struct key_wait *keys_add(struct keys *k, uint64_t key);
void keys_remove(struct keys *k, struct key_wait *w);
/* Forgets all keys, whoever is parked: the caller has taken the rows out by other means. */
void keys_clear(struct keys *k);

/* Never 0. Two keys of one topic with one hash would share what is known of outbox.held (held.h): when one of them
 * leaves it, new rows of the other might pass those that wait there. Chance does not bring that about among a
 * million keys, and nobody who does not know the secret, which is of this process alone, can. */
uint64_t key_hash(const uint64_t secret[2], uint64_t topic_hash, const void *key, size_t key_len);

#endif
