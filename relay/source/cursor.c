/* cursor.c - see cursor.h. */
#include "relay/source/cursor.h"

#include <stdlib.h>
#include <string.h>

int snapshot_set(struct snapshot *s, const char *bytes, int len)
{
    char *copy = malloc((size_t)len + 1);

    if (copy == NULL)
        return -1;
    memcpy(copy, bytes, (size_t)len);
    free(s->bytes);
    *s = (struct snapshot){ copy, len };
    return 0;
}

static void snapshot_clear(struct snapshot *s)
{
    free(s->bytes);
    *s = (struct snapshot){ NULL, 0 };
}

static void forget_first(struct cursors *c)
{
    snapshot_clear(&c->page[c->first].before.snap);
    c->first = (c->first + 1) % c->cap;
    c->n_pages--;
}

void cursors_deinit(struct cursors *c)
{
    while (c->n_pages > 0)
        forget_first(c);
    free(c->page);
    snapshot_clear(&c->now.snap);
    snapshot_clear(&c->late_until);
    *c = (struct cursors){ .page = NULL };
}

int cursors_load(struct cursors *c, int64_t pos, const char *snap, int snap_len)
{
    if (snapshot_set(&c->now.snap, snap, snap_len) < 0)
        return -1;
    c->now.pos = pos;
    snapshot_clear(&c->late_until);
    while (c->n_pages > 0)
        forget_first(c);
    return 0;
}

static int grow(struct cursors *c)
{
    size_t cap = c->cap == 0 ? 16 : c->cap * 2;
    struct page_cursor *page = calloc(cap, sizeof *page);

    if (page == NULL)
        return -1;
    for (size_t i = 0; i < c->n_pages; i++)
        page[i] = c->page[(c->first + i) % c->cap];
    free(c->page);
    c->page = page;
    c->cap = cap;
    c->first = 0;
    return 0;
}

int cursors_remember(struct cursors *c, uint64_t page)
{
    if (c->n_pages > 0 && c->page[(c->first + c->n_pages - 1) % c->cap].page == page)
        return 0; /* the page goes on: what stood before it stands */
    if (c->n_pages == c->cap && grow(c) < 0)
        return -1;
    struct page_cursor *p = &c->page[(c->first + c->n_pages) % c->cap];
    *p = (struct page_cursor){ .page = page, .before.pos = c->now.pos };
    if (snapshot_set(&p->before.snap, c->now.snap.bytes, c->now.snap.len) < 0)
        return -1;
    c->n_pages++;
    return 0;
}

const struct cursor *cursors_before(struct cursors *c, uint64_t page)
{
    while (c->n_pages > 0 && c->page[c->first].page < page)
        forget_first(c);
    return c->n_pages > 0 ? &c->page[c->first].before : &c->now;
}
