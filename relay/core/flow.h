/* flow.h - the way of one row through the core: which lane it takes next, and for what it waits.
 *
 * Used inside core/ only. Pure.
 */
#ifndef RELAY_CORE_FLOW_H
#define RELAY_CORE_FLOW_H

#include "relay/core/core.h"

/* The next ready row that can be produced now, and its lane; rows that must wait are parked on the
 * way. False when there is none. The row is SENT when true is returned. */
bool flow_next(struct core *c, uint64_t now_ms, uint32_t *ret_slot, enum lane *ret_lane);
/* Topics whose pause is over may be probed. */
void flow_wake(struct core *c, uint64_t now_ms);
/* The earliest such time; UINT64_MAX: none. */
uint64_t flow_deadline(const struct core *c);
/* The lane is whole again: what came back from it is ready. */
void flow_lane_whole(struct core *c, enum lane lane);
/* Every row that is not out with the sink and not confirmed is given up: it will be read again. */
void flow_give_up_unsent(struct core *c);
/* The saved cursor does not pass this page; NO_PAGE is behind all. */
void flow_give_up_page(struct core *c, uint64_t page);
/* One row is: it will be read again, from the outbox or from outbox.held. */
void flow_give_up(struct core *c, uint32_t slot);

static inline struct window_row *flow_row(struct core *c, uint32_t slot)
{
    return &c->window.row[slot];
}

/* With which marks the row's goes. */
static inline enum core_marks flow_marks_of(const struct window_row *r)
{
    return r->from != HELD_NOT ? MARKS_OF_HELD : MARKS_OF_NEW;
}

/* What the rows in the window take of the bytes that may be there: all but the one with which holding is tried
 * again, which stays for long and may be as large as all of it. */
static inline uint64_t flow_bytes(const struct core *c)
{
    return c->window.bytes - (core_gave_up(c) ? c->window.row[c->hold_probe].bytes : 0);
}

/* A page is worth a round trip when there is room for a whole batch, or when nothing else can make room. */
static inline bool flow_has_room(const struct core *c)
{
    const struct window *w = &c->window;
    uint64_t bytes = flow_bytes(c);

    return w->n == 0 || (w->cap - w->n >= c->cfg.batch_rows &&
                         (bytes == 0 || bytes + c->cfg.inflight_bytes / 4 <= c->cfg.inflight_bytes));
}

/* The row is in the log: it waits for its mark. */
void flow_acked(struct core *c, uint64_t now_ms, uint32_t slot);

/* The row is no longer out, and its topic does not wait for it as such. Its key does, until the row is
 * confirmed. */
void flow_unsend(struct core *c, uint32_t slot);
/* To be sent, in its place. */
void flow_ready(struct core *c, uint32_t slot);

/* For hold.c and back.c. */
struct key_wait *flow_wait_of(struct core *c, const struct window_row *r);
void flow_unpark(struct core *c, struct row_list *parked);
/* Is an earlier row of the key with Kafka, or not there yet? */
bool flow_is_behind_its_key(const struct core *c, const struct window_row *r);
/* A key with nothing unresolved and nobody waiting is forgotten. */
void flow_forget_idle_key(struct core *c, struct key_wait *wait);
/* From now on the row goes alone, and its key waits for it. */
void flow_suspect(struct core *c, uint32_t slot);
/* The row is confirmed, or dead where others may pass: the next one's turn, or nobody's. */
void flow_key_resolved(struct core *c, uint32_t slot);

#endif
