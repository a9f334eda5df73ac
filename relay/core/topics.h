/* topics.h - the topics seen so far, by number, and whether each takes records. Pure.
 *
 *   NEW      nothing known: one row, the pilot, goes first; the others park behind it
 *   OPEN     rows flow; those for a partition that has not confirmed one yet park until it has
 *   PAUSED   the topic refused, or did not move; when due, one row probes it
 *
 * Rows of a topic that has failed are put into outbox.held as paused, and what comes after them too,
 * until the topic has opened and none is left there.
 *
 * A pilot makes the topic's first failure exact (nothing of the topic is behind it in Kafka's
 * queues), and it is the probe as well: no metadata request is ever waited for.
 */
#ifndef RELAY_CORE_TOPICS_H
#define RELAY_CORE_TOPICS_H

#include <stddef.h>
#include <stdint.h>

#include "relay/core/window.h"

enum topic_state { TOPIC_NEW, TOPIC_OPEN, TOPIC_PAUSED };

/* A kind of statement that failed is not tried again before a time. */
struct core_pause {
    uint64_t until_ms;
    uint32_t failures;
};

struct topic {
    char *name;
    uint64_t hash; /* of the name */
    uint64_t due_ms; /* PAUSED: when to probe */
    uint32_t failures; /* in a row; sets the backoff */
    uint32_t pilot;    /* the slot that finds out; NO_SLOT: none is out */
    enum topic_state state;
    bool found_paused; /* when the lead began, and nothing was heard of it since */
    bool deserted; /* it has failed, and was then found to have no row paused: it has still to open, but nothing waits for that */
    uint64_t stalled_ms; /* when it did not move, last */
    bool held; /* has rows in outbox.held, or on the way there, or back in the window */
    bool more; /* some of them are not in the window */
    struct core_pause read_pause; /* of reading them */
    bool returning; /* those that were asked for back may be sent */
    uint32_t n_holding; /* on the way there */
    uint32_t n_back;    /* back in the window */
    uint32_t n_broken;        /* producers that were refused for themselves with rows of it on their way, */
    uint32_t broken_producer; /* the last of them, */
    uint64_t broken_ms;       /* and when */
    uint64_t moved_ms;  /* the last confirmation, */
    uint64_t moved_to_ms; /* and until when rows were sent that are confirmed */
    struct row_list parked;
    struct row_list behind; /* new rows, to go when none is left in outbox.held */
};

struct topics {
    struct topic *topic;
    uint32_t *place; /* by name: numbers + 1; 0: empty. No hashtable.h: names are compared, not their hashes */
    uint32_t n, cap, n_places;
    uint32_t n_paused, n_held;
    uint32_t n_changes; /* of any state; for whoever wants to tell */
};

void topics_init(struct topics *t);
void topics_deinit(struct topics *t);
/* The number of a topic, made when it is new; UINT32_MAX when out of memory. */
uint32_t topics_intern(struct topics *t, const char *name);
/* Does it take nothing while rows wait for it? Where a person has discarded them all, it is no news any more. */
static inline bool topic_keeps_rows_waiting(const struct topic *t)
{
    return t->failures > 0 && !t->deserted;
}

#endif
