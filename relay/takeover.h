/* takeover.h - the first rows after a takeover: which of them did the relay before us send already?
 *
 * It may have produced as many rows without marking them as it may have had in flight. They are among
 * the first unmarked ones. So at the beginning of a lead the pages that are read wait until the ends of
 * their topics have been read as well (sink/tail.h), for TAKEOVER_TAIL_MS and a little more at most.
 * What is not found in time is sent: at worst a duplicate. Then all later rows of its key are sent as well, found or
 * not: an older event must not be what a topic has last of a key.
 */
#ifndef RELAY_TAKEOVER_H
#define RELAY_TAKEOVER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/core/hashtable.h"
#include "relay/row.h"
#include "relay/sink/tail.h"

#define TAKEOVER_TAIL_MS 5000

/* Rows that are held are read later than the others: they are looked for as long after the begin. */
#define TAKEOVER_HELD_MS 30000

/* A page as it was read: from the outbox, or what was due or paused in outbox.held. */
enum takeover_from { TAKEOVER_OUTBOX, TAKEOVER_DUE, TAKEOVER_TOPIC };
struct takeover_page {
    struct row **rows;
    uint32_t n_rows;
    bool full, catching_up;
    enum takeover_from from;
    uint64_t next_due_ms; /* DUE: as the source said */
};

struct takeover {
    struct tail_config cfg; /* borrowed strings */
    bool enabled;
    struct tail *tail;     /* NULL: nothing to look at now */
    struct tail *ending;   /* the one before, which ends by itself */
    uint32_t n_left;       /* rows of the outbox still to be looked for */
    uint64_t held_until_ms; /* and rows that were held, until then */
    struct hashtable missed; /* keys of which a row was not found */
    struct takeover_page page;
    uint64_t until_ms;     /* the page waits no longer, whatever the tail says */
    bool waiting;          /* page waits for the tails of its topics */
    uint64_t n_found;      /* since the start of the process */
};

void takeover_init(struct takeover *t, const struct tail_config *cfg, bool enabled);
void takeover_deinit(struct takeover *t);

/* A lead begins, or ends: then a page that waits is forgotten; its rows will be read again. */
void takeover_begin(struct takeover *t, uint64_t now_ms);
void takeover_end(struct takeover *t);
/* True: the page was taken and waits; false: it can be used at once, and is still the caller's. */
bool takeover_wait(struct takeover *t, uint64_t now_ms, const struct takeover_page *page);
/* The page that waited, when it can be used. Its rows are the caller's then, the array is not. */
bool takeover_ready(struct takeover *t, uint64_t now_ms, struct takeover_page *ret_page);
/* When to ask although nothing happened; UINT64_MAX: never. */
uint64_t takeover_deadline(const struct takeover *t);
/* Is the row in its topic already, and all of its key that went before it? Asked once for each row of a page, in their
 * order. key as the core has it; 0: none. */
bool takeover_found(struct takeover *t, uint64_t now_ms, const struct row *row, uint64_t key,
                    int32_t *ret_partition, int64_t *ret_offset);
/* The page has been used up. When it was the last one with rows that the relay before us could have
 * read, nothing more is looked for. */
void takeover_used(struct takeover *t, uint64_t now_ms, const struct takeover_page *page);
/* Call when the descriptor below is readable, or more often. */
void takeover_poll(struct takeover *t, uint64_t now_ms);
/* What to poll for: up to one entry; returns their number. */
size_t takeover_pollfds(const struct takeover *t, struct pollfd *fd);

#endif
