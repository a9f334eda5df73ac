/* window.h - the rows that are in the relay's hands, and the pages they came from.
 *
 * A row takes a slot when it is read and gives it back when its mark is written or it is in
 * outbox.held (or when the relay gives the row up, unsent, to be read again). A slot is in exactly one
 * list or, while Kafka or PostgreSQL has the word, in none. The bytes of a row are the driver's; the
 * window counts them. Rows that come from outbox.held belong to no page: the cursor has passed them.
 * Pure: no I/O, no clock.
 */
#ifndef RELAY_CORE_WINDOW_H
#define RELAY_CORE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define NO_SLOT UINT32_MAX
#define NO_PAGE UINT64_MAX

enum row_state {
    ROW_FREE,
    ROW_READY,    /* in a ready list: may be produced as far as it knows */
    ROW_SENT,     /* handed to the sink; no report yet */
    ROW_RETURNED, /* came back unsent; waits until its lane has come back whole */
    ROW_PARKED,   /* behind its key or its topic */
    ROW_HOLD,     /* to be put into outbox.held */
    ROW_HOLDING,  /* that is under way */
    ROW_ACKED,    /* confirmed by the broker, mark not yet asked for */
    ROW_MARKING,  /* the mark is under way */
    ROW_DONE      /* nothing more to do; the driver may free its bytes */
};

struct window_row {
    uint64_t seq;      /* order of reading; what order means everywhere in the core */
    uint64_t key;      /* hash of topic and key; 0: no key */
    uint64_t since_ms; /* when it entered SENT or ACKED */
    uint64_t page;     /* NO_PAGE: it came from outbox.held */
    uint32_t topic;
    uint32_t bytes;
    uint32_t next; /* in its list */
    uint32_t delay_ms; /* HOLD and HOLDING as retrying: before its next attempt */
    uint16_t attempts; /* that were refused for itself */
    uint8_t state;  /* enum row_state */
    uint8_t lane;   /* enum lane, while SENT */
    uint8_t from;   /* enum held_as */
    uint8_t hold;   /* enum hold_state, in HOLD and HOLDING */
    bool suspect;   /* was in a refused batch: goes alone from now on */
    bool maybe;     /* an earlier send may have reached the log */
    bool maybe_new; /* and outbox.held, where it comes from, does not say so */
};

struct row_list { /* in order of seq, unless said otherwise where it is declared */
    uint32_t head, tail, n;
};

struct window {
    struct window_row *row;
    uint32_t *page_open; /* ring: unresolved rows of page p at [p % page_cap] */
    uint64_t page_cap, oldest_page, next_page;
    uint64_t next_seq, bytes;
    uint32_t cap, n, free_head;
    uint32_t n_state[ROW_DONE + 1];
};

#define ROW_LIST_EMPTY ((struct row_list){ NO_SLOT, NO_SLOT, 0 })

/* Returns 0, or -1 when out of memory. deinit accepts a window that was never or half initialised. */
int window_init(struct window *w, uint32_t cap);
void window_deinit(struct window *w);

/* A new page, for the rows admitted until the next one begins; or the newest one again, when the
 * pages would reach too far back to be told apart. */
uint64_t window_page_begin(struct window *w);
/* The oldest page with an unresolved row, or the one that comes next when there is none. */
uint64_t window_page_oldest(struct window *w);

/* Takes a free slot for a row of the newest page (or of none); NO_SLOT when full. The row is in no
 * list. */
uint32_t window_admit(struct window *w, uint32_t topic, uint64_t key, uint32_t bytes, bool paged);
void window_release(struct window *w, uint32_t slot);
void window_state(struct window *w, uint32_t slot, enum row_state state);

/* Appending at the end is for a slot that is newer than all others in the list. */
void row_list_push(struct window *w, struct row_list *l, uint32_t slot);
uint32_t row_list_pop(struct window *w, struct row_list *l);
/* Puts a slot where its seq belongs; cheap at the end, linear otherwise. */
void row_list_insert(struct window *w, struct row_list *l, uint32_t slot);
/* Undoes a pop: the slot is older than all others in the list. */
void row_list_unpop(struct window *w, struct row_list *l, uint32_t slot);
/* Moves all of `from` into `to`, keeping the order of seq. */
void row_list_merge(struct window *w, struct row_list *to, struct row_list *from);
/* Brings a list that was filled in any order into the order of seq. */
void row_list_sort(struct window *w, struct row_list *l);

#endif
