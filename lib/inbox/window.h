/* window.h - the events that a consumer has in memory: which may be applied now, which wait for
 * another attempt or behind their key, and how far each partition is.
 *
 * Only events that are not finished are here. The position of a partition is the offset of its lowest
 * unfinished one: what was finished above it needs no memory, because inbox.seen knows it should it
 * come again. A key is held back while its first event waits for another attempt; keys are 64-bit
 * hashes, and two keys of a partition with one hash wait for each other, which costs time and never
 * order. Pure: no I/O, no clock, no libpq or librdkafka type; one seed replays a run.
 */
#ifndef INBOX_LIB_WINDOW_H
#define INBOX_LIB_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/shared/hash.h"

struct inbox__part;

enum inbox__state {
    INBOX__READY,   /* may be taken, in the order in which it came */
    INBOX__BLOCKED, /* behind an event of its key that failed */
    INBOX__WAITING, /* failed; due at due_ms */
    INBOX__TAKEN    /* in the batch that is being applied */
};

/* One event; the first member of whatever holds its contents. */
struct inbox__item {
    uint64_t key;      /* hash of it; 0: no key, no order */
    uint64_t identity; /* hash of what inbox.seen would know it by */
    int64_t offset;
    size_t bytes;
    struct inbox__part *part;
    enum inbox__state state;
    bool finished;           /* of a taken one: it will be when the batch commits */
    uint32_t failures;       /* calls of the handler that failed */
    uint64_t first_error_ms; /* when the first did */
    uint64_t due_ms;
    /* the window's own */
    struct inbox__item *part_prev, *part_next;
    struct inbox__item *list_prev, *list_next;
    struct inbox__item *key_next, *key_last, *bucket_next;
    bool heads_key;
};

struct inbox__list {
    struct inbox__item *first, *last;
    uint32_t n;
    size_t bytes;
};

/* One partition that is assigned. */
struct inbox__part {
    struct inbox__item *first, *last; /* unfinished, by offset */
    int64_t next;                     /* offset after the last that came; -1: none came yet */
    int64_t stored;                   /* position in the database; -1: none */
    uint32_t id;                      /* differs between the partitions of a window */
    uint32_t n_rows, n_held_keys;     /* unfinished; held keys of these */
    size_t n_bytes;
};

struct inbox__window {
    struct inbox__list ready, waiting; /* waiting by due_ms */
    struct inbox__item **bucket;       /* first events of keys, by hash */
    uint32_t n_buckets;                /* a power of two */
    uint32_t n_rows, n_held_keys;
    size_t n_bytes;
};

/* How much of it may be in memory. */
struct inbox__bound {
    uint64_t rows, bytes;
};

/* 0, or -1 when out of memory. */
int inbox__window_init(struct inbox__window *w, uint32_t rows);
void inbox__window_deinit(struct inbox__window *w);

/* FNV-1a, never 0, from an earlier hash or INBOX__HASH. */
#define INBOX__HASH HASH_FNV1A
uint64_t inbox__hash(uint64_t hash, const void *data, size_t len);

/* An event has come. key, identity, offset, bytes and part are set; the rest is the window's. Its
 * offset is at least part->next. */
void inbox__window_add(struct inbox__window *w, struct inbox__item *item);

/* An offset that there is nothing to do for has come. */
void inbox__window_pass(struct inbox__part *part, int64_t offset);

/* Fill batch with events to apply now, in order, at most max. Two with one identity are never in one
 * batch: the second must be looked up after the first was stored. Returns how many. */
size_t inbox__window_take(struct inbox__window *w, uint64_t now_ms, struct inbox__item **batch,
                          size_t max);

/* What became of a taken event, in the order of the batch. After one that failed the later ones of its key
 * in the batch, repeats too, are told as again. done: it leaves the window, and the caller
 * frees it. failed: it waits until due_ms, and its key behind it. again: as if it had not been taken,
 * but one that has failed before lets those of other keys pass; these are told last, in the reverse order. */
void inbox__window_done(struct inbox__window *w, struct inbox__item *item);
void inbox__window_failed(struct inbox__window *w, struct inbox__item *item, uint64_t now_ms,
                          uint64_t due_ms);
void inbox__window_again(struct inbox__window *w, struct inbox__item *item);

/* The lowest unfinished event of the partition if all taken events with `finished` leave; NULL: none. */
const struct inbox__item *inbox__window_first(const struct inbox__part *part);

/* Position of the partition if all taken events with `finished` leave; -1: not known yet. */
int64_t inbox__window_position(const struct inbox__part *part);

/* When the first waiting event is due; UINT64_MAX: none waits. */
uint64_t inbox__window_due(const struct inbox__window *w);

/* Is anything to be taken at now_ms? */
bool inbox__window_has_work(const struct inbox__window *w, uint64_t now_ms);

/* Memory is full; or it was, and less than a quarter of what events that wait leave of it is free. Not
 * while it is empty: something must be taken, however large it is. */
bool inbox__window_full(const struct inbox__window *w, struct inbox__bound bound, bool was);

/* Does the partition have more than a quarter of what the others leave, while a key of it is held? It must not
 * get more then: so the others always have some memory left, however many are like this. was: it
 * did, and has more than a seventh still. */
bool inbox__window_crowded(const struct inbox__window *w, const struct inbox__part *part,
                           struct inbox__bound bound, bool was);

/* Are enough ready to be taken: n, or more than half of what events that wait leave? More would be no use,
 * and one of them that fails makes those of its key wait. */
bool inbox__window_stocked(const struct inbox__window *w, struct inbox__bound bound, size_t n);

/* The partition is another's now: all its events leave, none of which is taken. Returns them as a
 * list by part_next, for the caller to free. */
struct inbox__item *inbox__window_drop(struct inbox__window *w, struct inbox__part *part);

#endif
