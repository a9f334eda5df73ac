/* window.c - see window.h.
 *
 * Invariants: an event that failed is the first of its key; behind it all of its key are BLOCKED;
 * otherwise they are READY (or TAKEN) in the order of their offsets. The first event of each key with
 * an unfinished one is in the table of keys, and leads to the others.
 */
#include "window.h"

#include <assert.h>
#include <stdlib.h>

/* -- lists ------------------------------------------------------------------------------------ */

/* Puts item behind `before`; NULL: to the front. */
static void list_insert(struct inbox__list *l, struct inbox__item *before, struct inbox__item *item)
{
    struct inbox__item *next = before != NULL ? before->list_next : l->first;

    item->list_prev = before;
    item->list_next = next;
    *(before != NULL ? &before->list_next : &l->first) = item;
    *(next != NULL ? &next->list_prev : &l->last) = item;
    l->n++;
    l->bytes += item->bytes;
}

static void list_remove(struct inbox__list *l, struct inbox__item *item)
{
    *(item->list_prev != NULL ? &item->list_prev->list_next : &l->first) = item->list_next;
    *(item->list_next != NULL ? &item->list_next->list_prev : &l->last) = item->list_prev;
    item->list_prev = item->list_next = NULL;
    l->n--;
    l->bytes -= item->bytes;
}

/* -- keys ------------------------------------------------------------------------------------- */

uint64_t inbox__hash(uint64_t hash, const void *data, size_t len)
{
    hash = hash_fnv1a(hash, data, len);
    return hash != 0 ? hash : 1;
}

static struct inbox__item **bucket_of(const struct inbox__window *w, uint64_t key, uint32_t part)
{
    uint64_t h = (key ^ part) * UINT64_C(0x9e3779b97f4a7c15);

    return &w->bucket[(h >> 32) & (w->n_buckets - 1)];
}

/* Where the table points to the first event of the key, or would. */
static struct inbox__item **find_head(const struct inbox__window *w, uint64_t key,
                                      const struct inbox__part *part)
{
    struct inbox__item **at = bucket_of(w, key, part->id);

    while (*at != NULL && ((*at)->key != key || (*at)->part != part))
        at = &(*at)->bucket_next;
    return at;
}

static bool is_held(const struct inbox__item *head)
{
    return head->failures > 0;
}

/* Joins the others of its key. Returns whether it must wait for them. */
static bool join_key(struct inbox__window *w, struct inbox__item *item)
{
    struct inbox__item **at = find_head(w, item->key, item->part), *head = *at;

    if (head == NULL) {
        *at = item;
        item->heads_key = true;
        item->key_last = item;
        return false;
    }
    head->key_last->key_next = item;
    head->key_last = item;
    return is_held(head);
}

/* The first event of a key leaves; the next takes its place. Returns that, or NULL. */
static struct inbox__item *leave_key(struct inbox__window *w, struct inbox__item *head)
{
    struct inbox__item **at = find_head(w, head->key, head->part), *next = head->key_next;

    assert(*at == head);
    if (next == NULL) {
        *at = head->bucket_next;
        return NULL;
    }
    next->heads_key = true;
    next->key_last = head->key_last;
    next->bucket_next = head->bucket_next;
    *at = next;
    return next;
}

static void free_key(struct inbox__window *w, struct inbox__item *first)
{
    for (struct inbox__item *i = first; i != NULL; i = i->key_next)
        if (i->state == INBOX__BLOCKED) {
            i->state = INBOX__READY;
            list_insert(&w->ready, w->ready.last, i);
        }
}

static void block_key(struct inbox__window *w, struct inbox__item *first)
{
    for (struct inbox__item *i = first; i != NULL; i = i->key_next)
        if (i->state == INBOX__READY) {
            i->state = INBOX__BLOCKED;
            list_remove(&w->ready, i);
        }
}

/* -- in and out ------------------------------------------------------------------------------- */

int inbox__window_init(struct inbox__window *w, uint32_t rows)
{
    *w = (struct inbox__window){ .n_buckets = 64 };
    while (w->n_buckets < rows && w->n_buckets < UINT32_C(1) << 20)
        w->n_buckets *= 2;
    w->bucket = calloc(w->n_buckets, sizeof *w->bucket);
    return w->bucket != NULL ? 0 : -1;
}

void inbox__window_deinit(struct inbox__window *w)
{
    free(w->bucket);
    *w = (struct inbox__window){ 0 };
}

static void enter(struct inbox__window *w, struct inbox__item *item)
{
    struct inbox__part *part = item->part;

    item->part_prev = part->last;
    item->part_next = NULL;
    *(part->last != NULL ? &part->last->part_next : &part->first) = item;
    part->last = item;
    w->n_rows++;
    w->n_bytes += item->bytes;
    part->n_rows++;
    part->n_bytes += item->bytes;
}

static void leave(struct inbox__window *w, struct inbox__item *item)
{
    struct inbox__part *part = item->part;

    *(item->part_prev != NULL ? &item->part_prev->part_next : &part->first) = item->part_next;
    *(item->part_next != NULL ? &item->part_next->part_prev : &part->last) = item->part_prev;
    w->n_rows--;
    w->n_bytes -= item->bytes;
    part->n_rows--;
    part->n_bytes -= item->bytes;
}

static void hold(struct inbox__window *w, struct inbox__part *part)
{
    w->n_held_keys++;
    part->n_held_keys++;
}

static void let_go(struct inbox__window *w, struct inbox__part *part)
{
    w->n_held_keys--;
    part->n_held_keys--;
}

void inbox__window_pass(struct inbox__part *part, int64_t offset)
{
    assert(offset >= part->next);
    part->next = offset + 1;
}

void inbox__window_add(struct inbox__window *w, struct inbox__item *item)
{
    item->failures = 0;
    item->finished = item->heads_key = false;
    item->list_prev = item->list_next = NULL;
    item->key_next = item->key_last = item->bucket_next = NULL;
    inbox__window_pass(item->part, item->offset);
    enter(w, item);
    if (item->key != 0 && join_key(w, item)) {
        item->state = INBOX__BLOCKED;
    } else {
        item->state = INBOX__READY;
        list_insert(&w->ready, w->ready.last, item);
    }
}

/* -- batches ---------------------------------------------------------------------------------- */

/* What is due goes in front, the earliest first: it has waited. */
static void wake(struct inbox__window *w, uint64_t now_ms)
{
    struct inbox__item *before = NULL;

    while (w->waiting.first != NULL && w->waiting.first->due_ms <= now_ms) {
        struct inbox__item *item = w->waiting.first;
        list_remove(&w->waiting, item);
        item->state = INBOX__READY;
        list_insert(&w->ready, before, item);
        before = item;
    }
}

static bool is_among(struct inbox__item *const *batch, size_t n, uint64_t identity)
{
    for (size_t i = 0; i < n; i++)
        if (batch[i]->identity == identity)
            return true;
    return false;
}

size_t inbox__window_take(struct inbox__window *w, uint64_t now_ms, struct inbox__item **batch,
                          size_t max)
{
    size_t n = 0;

    wake(w, now_ms);
    while (n < max && w->ready.first != NULL && !is_among(batch, n, w->ready.first->identity)) {
        struct inbox__item *item = w->ready.first;
        list_remove(&w->ready, item);
        item->state = INBOX__TAKEN;
        item->finished = false;
        batch[n++] = item;
    }
    return n;
}

void inbox__window_done(struct inbox__window *w, struct inbox__item *item)
{
    assert(item->state == INBOX__TAKEN);
    if (item->key != 0) {
        struct inbox__item *next = leave_key(w, item);
        if (is_held(item)) {
            let_go(w, item->part);
            free_key(w, next);
        }
    } else if (is_held(item)) {
        let_go(w, item->part);
    }
    leave(w, item);
}

void inbox__window_failed(struct inbox__window *w, struct inbox__item *item, uint64_t now_ms,
                          uint64_t due_ms)
{
    struct inbox__item *before = w->waiting.last;

    assert(item->state == INBOX__TAKEN && (item->key == 0 || item->heads_key));
    if (item->failures++ == 0) {
        item->first_error_ms = now_ms;
        hold(w, item->part);
        block_key(w, item->key_next);
    }
    item->state = INBOX__WAITING;
    item->due_ms = due_ms;
    while (before != NULL && before->due_ms > due_ms)
        before = before->list_prev;
    list_insert(&w->waiting, before, item);
}

void inbox__window_again(struct inbox__window *w, struct inbox__item *item)
{
    assert(item->state == INBOX__TAKEN);
    item->finished = false;
    if (item->key != 0 && !item->heads_key && is_held(*find_head(w, item->key, item->part))) {
        item->state = INBOX__BLOCKED;
        return;
    }
    item->state = INBOX__READY;
    /* One that has failed may let the others pass, for all of its key are behind it. */
    list_insert(&w->ready, is_held(item) ? w->ready.last : NULL, item);
}

const struct inbox__item *inbox__window_first(const struct inbox__part *part)
{
    const struct inbox__item *i = part->first;

    while (i != NULL && i->state == INBOX__TAKEN && i->finished)
        i = i->part_next;
    return i;
}

int64_t inbox__window_position(const struct inbox__part *part)
{
    const struct inbox__item *i = inbox__window_first(part);

    return i != NULL ? i->offset : part->next;
}

uint64_t inbox__window_due(const struct inbox__window *w)
{
    return w->waiting.first != NULL ? w->waiting.first->due_ms : UINT64_MAX;
}

bool inbox__window_has_work(const struct inbox__window *w, uint64_t now_ms)
{
    return w->ready.n > 0 || inbox__window_due(w) <= now_ms;
}

struct inbox__item *inbox__window_drop(struct inbox__window *w, struct inbox__part *part)
{
    struct inbox__item *all = part->first;

    for (struct inbox__item *i = all; i != NULL; i = i->part_next) {
        assert(i->state != INBOX__TAKEN);
        if (i->state == INBOX__READY)
            list_remove(&w->ready, i);
        else if (i->state == INBOX__WAITING)
            list_remove(&w->waiting, i);
        if (is_held(i))
            let_go(w, part);
        if (i->heads_key)
            *find_head(w, i->key, part) = i->bucket_next;
        w->n_rows--;
        w->n_bytes -= i->bytes;
    }
    part->first = part->last = NULL;
    part->n_rows = 0;
    part->n_bytes = 0;
    return all;
}

/* -- how much -------------------------------------------------------------------------------------- */

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static bool fills(uint64_t all, uint64_t ready, uint64_t bound, bool was)
{
    uint64_t left = less(bound, all - ready), quarter = left < 4 ? 1 : left / 4;

    return was ? all + quarter > bound : all >= bound;
}

bool inbox__window_full(const struct inbox__window *w, struct inbox__bound bound, bool was)
{
    return w->n_rows > 0 && (fills(w->n_rows, w->ready.n, bound.rows, was) ||
                             fills(w->n_bytes, w->ready.bytes, bound.bytes, was));
}

bool inbox__window_crowded(const struct inbox__window *w, const struct inbox__part *part,
                           struct inbox__bound bound, bool was)
{
    uint64_t times = was ? 6 : 3; /* as much as is free */

    return (was ? part->n_rows > 0 : part->n_held_keys > 0) &&
           (part->n_rows * times > less(bound.rows, w->n_rows) ||
            part->n_bytes * times > less(bound.bytes, w->n_bytes));
}

bool inbox__window_stocked(const struct inbox__window *w, struct inbox__bound bound, size_t n)
{
    return w->ready.n >= n || w->ready.n > less(bound.rows, w->n_rows) ||
           w->ready.bytes > less(bound.bytes, w->n_bytes);
}
