/* cursor.h - where the reader stands, and where it stood before each page that is not settled yet.
 *
 * A cursor is a pair: the highest id read and the snapshot of that read (as PostgreSQL's binary form
 * of pg_snapshot, which we never look into). Used inside source/ only; no libpq.
 */
#ifndef RELAY_SOURCE_CURSOR_H
#define RELAY_SOURCE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot {
    char *bytes; /* NULL: none */
    int len;
};

struct cursor {
    int64_t pos;
    struct snapshot snap;
};

struct page_cursor {
    uint64_t page;
    struct cursor before;
};

struct cursors {
    struct cursor now;
    /* While late rows of one snapshot are read over several pages: */
    struct snapshot late_until; /* that snapshot; NULL bytes: not now */
    int64_t late_from;          /* the last of them read so far */
    /* Of the pages that have rows, oldest first: */
    struct page_cursor *page;
    size_t n_pages, first, cap;
};

/* Those with an int return 0, or -1 when out of memory with the object as it was. */
int snapshot_set(struct snapshot *s, const char *bytes, int len);
void cursors_deinit(struct cursors *c);
/* Starts afresh from a cursor that was saved. */
int cursors_load(struct cursors *c, int64_t pos, const char *snap, int snap_len);
/* A page was read from where we stand; its rows bear this number. Before moving on. */
int cursors_remember(struct cursors *c, uint64_t page);
/* The cursor to save when all pages before `page` are settled; forgets those. Good until the next call. */
const struct cursor *cursors_before(struct cursors *c, uint64_t page);

#endif
