/* window.c - slots, lists and pages of the rows in hand. See window.h. */
#include "relay/core/window.h"

#include <assert.h>
#include <stdlib.h>

int window_init(struct window *w, uint32_t cap)
{
    *w = (struct window){ .cap = cap, .page_cap = (uint64_t)cap + 1, .free_head = NO_SLOT };
    w->row = calloc(cap, sizeof *w->row);
    w->page_open = calloc(w->page_cap, sizeof *w->page_open);
    if (w->row == NULL || w->page_open == NULL) {
        window_deinit(w);
        return -1;
    }
    for (uint32_t i = cap; i-- > 0;) {
        w->row[i].next = w->free_head;
        w->free_head = i;
    }
    return 0;
}

void window_deinit(struct window *w)
{
    free(w->row);
    free(w->page_open);
    *w = (struct window){ .free_head = NO_SLOT };
}

uint64_t window_page_oldest(struct window *w)
{
    while (w->oldest_page < w->next_page && w->page_open[w->oldest_page % w->page_cap] == 0)
        w->oldest_page++;
    return w->oldest_page;
}

uint64_t window_page_begin(struct window *w)
{
    uint64_t page = w->next_page;

    /* Every open page has a row in the window, but resolved pages lie between them: a row that
     * waits long can hold the oldest page open while thousands pass. The ring must not wrap. */
    (void)window_page_oldest(w);
    if (page - w->oldest_page >= w->page_cap - 1)
        return page - 1; /* the rows join the page before: the cursor is saved more coarsely */
    w->page_open[page % w->page_cap] = 0;
    w->next_page++;
    return page;
}

uint32_t window_admit(struct window *w, uint32_t topic, uint64_t key, uint32_t bytes, bool paged)
{
    uint32_t slot = w->free_head;

    if (slot == NO_SLOT)
        return NO_SLOT;
    assert(!paged || w->next_page > 0);
    w->free_head = w->row[slot].next;
    w->row[slot] = (struct window_row){
        .seq = w->next_seq++,
        .key = key,
        .page = paged ? w->next_page - 1 : NO_PAGE,
        .topic = topic,
        .bytes = bytes,
        .next = NO_SLOT,
        .state = ROW_READY,
    };
    if (paged) {
        w->page_open[w->row[slot].page % w->page_cap]++;
        if (w->oldest_page > w->row[slot].page)
            w->oldest_page = w->row[slot].page; /* it had been passed while it was empty */
    }
    w->n++;
    w->bytes += bytes;
    w->n_state[ROW_READY]++;
    return slot;
}

void window_release(struct window *w, uint32_t slot)
{
    struct window_row *r = &w->row[slot];

    assert(r->state != ROW_FREE);
    if (r->page != NO_PAGE)
        w->page_open[r->page % w->page_cap]--;
    w->n--;
    w->bytes -= r->bytes;
    w->n_state[r->state]--;
    r->state = ROW_FREE;
    r->next = w->free_head;
    w->free_head = slot;
}

void window_state(struct window *w, uint32_t slot, enum row_state state)
{
    w->n_state[w->row[slot].state]--;
    w->n_state[state]++;
    w->row[slot].state = (uint8_t)state;
}

void row_list_push(struct window *w, struct row_list *l, uint32_t slot)
{
    w->row[slot].next = NO_SLOT;
    if (l->tail == NO_SLOT)
        l->head = slot;
    else
        w->row[l->tail].next = slot;
    l->tail = slot;
    l->n++;
}

uint32_t row_list_pop(struct window *w, struct row_list *l)
{
    uint32_t slot = l->head;

    if (slot == NO_SLOT)
        return NO_SLOT;
    l->head = w->row[slot].next;
    if (l->head == NO_SLOT)
        l->tail = NO_SLOT;
    l->n--;
    w->row[slot].next = NO_SLOT;
    return slot;
}

void row_list_unpop(struct window *w, struct row_list *l, uint32_t slot)
{
    assert(l->head == NO_SLOT || w->row[slot].seq < w->row[l->head].seq);
    w->row[slot].next = l->head;
    l->head = slot;
    if (l->tail == NO_SLOT)
        l->tail = slot;
    l->n++;
}

void row_list_insert(struct window *w, struct row_list *l, uint32_t slot)
{
    struct row_list one = ROW_LIST_EMPTY;
    uint64_t seq = w->row[slot].seq;

    if (l->tail == NO_SLOT || w->row[l->tail].seq < seq) {
        row_list_push(w, l, slot);
    } else if (seq < w->row[l->head].seq) {
        row_list_unpop(w, l, slot);
    } else {
        row_list_push(w, &one, slot);
        row_list_merge(w, l, &one);
    }
}

void row_list_merge(struct window *w, struct row_list *to, struct row_list *from)
{
    struct row_list all = ROW_LIST_EMPTY;

    if (from->n == 0)
        return;
    if (to->n == 0 || w->row[to->tail].seq < w->row[from->head].seq) {
        while (from->n > 0)
            row_list_push(w, to, row_list_pop(w, from));
        return;
    }
    while (to->n > 0 && from->n > 0) {
        struct row_list *first = w->row[to->head].seq < w->row[from->head].seq ? to : from;
        row_list_push(w, &all, row_list_pop(w, first));
    }
    while (to->n > 0)
        row_list_push(w, &all, row_list_pop(w, to));
    while (from->n > 0)
        row_list_push(w, &all, row_list_pop(w, from));
    *to = all;
}

/* Merge sort from the bottom up: run[i] holds 2^i sorted rows or none. */
void row_list_sort(struct window *w, struct row_list *l)
{
    struct row_list run[32], all = ROW_LIST_EMPTY;

    for (int i = 0; i < 32; i++)
        run[i] = ROW_LIST_EMPTY;
    while (l->n > 0) {
        struct row_list carry = ROW_LIST_EMPTY;
        int i = 0;

        row_list_push(w, &carry, row_list_pop(w, l));
        for (; run[i].n > 0; i++)
            row_list_merge(w, &carry, &run[i]);
        run[i] = carry;
    }
    for (int i = 0; i < 32; i++)
        row_list_merge(w, &all, &run[i]);
    *l = all;
}
