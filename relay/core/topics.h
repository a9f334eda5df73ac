/* topics.h - the topics seen so far, by number, and whether each takes records. Pure.
 *
 *   NEW      nothing known: one row, the pilot, goes first; the others park behind it
 *   OPEN     rows flow; those for a partition that has not confirmed one yet park until it has
 *   PAUSED   the topic refused; when due, one row probes it
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

struct topic {
    char *name;
    uint64_t due_ms; /* PAUSED: when to probe */
    uint32_t failures; /* in a row; sets the backoff */
    uint32_t pilot;    /* the slot that finds out; NO_SLOT: none is out */
    enum topic_state state;
    struct row_list parked;
};

struct topics {
    struct topic *topic;
    uint32_t *place; /* hash table of numbers + 1; 0: empty */
    uint32_t n, cap, n_places;
    uint32_t n_paused;
};

void topics_init(struct topics *t);
void topics_deinit(struct topics *t);
/* The number of a topic, made when it is new; UINT32_MAX when out of memory. */
uint32_t topics_intern(struct topics *t, const char *name);

#endif
