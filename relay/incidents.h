/* incidents.h - what goes wrong with rows and topics, in words: log lines, and the reasons that are kept
 * in outbox.held. Lines about rows are few per second however many rows fail.
 */
#ifndef RELAY_INCIDENTS_H
#define RELAY_INCIDENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/shared/restraint.h"
#include "relay/core/core.h"
#include "relay/row.h"
#include "relay/sink/sink.h"

struct reason {
    const char *code; /* name of an error, librdkafka's or our own (sql/001, held.error_code), static; NULL: none */
    char *text;
};

struct topic_note {
    struct reason reason; /* why it takes nothing */
    bool paused, held;    /* as was last said */
};

/* Start from zeroes. */
struct incidents {
    struct topic_note *topic; /* by the core's number */
    uint32_t n_topics;
    uint32_t n_changes; /* of the core's topics, when they were last looked at */
    struct restraint lines; /* about rows */
};

void incidents_deinit(struct incidents *i);
void reason_clear(struct reason *r);

/* A send failed: said, and its reason kept, in *ret_reason for the row, or for its topic. attempts: the row was
 * refused for itself so often before. */
void incidents_failed(struct incidents *i, uint64_t now_ms, const struct row *row, uint32_t topic,
                      uint32_t attempts, const struct sink_report *report, struct reason *ret_reason);
/* A row of the topic is confirmed: unless the topic is paused, or has rows that are, what was said of it is over. */
void incidents_confirmed(struct incidents *i, const struct topics *topics, uint32_t topic);
/* The row has more hops than it may have: the reason for it, in *ret_reason. */
void incidents_circle(uint64_t hops, uint32_t hops_max, struct reason *ret_reason);
/* The row is unreadable: so are its reasons. Without its key it counts as its topic's fault. */
void incidents_unreadable(struct incidents *i, const struct row *row, uint32_t topic, struct reason *ret_reason);
/* The row is dead: it is in outbox.held until a person decides. */
void incidents_dead(struct incidents *i, uint64_t now_ms, const struct row *row, uint32_t attempts,
                    const struct reason *reason);
/* Why the topic takes nothing; NULL: it never said. */
const struct reason *incidents_of_topic(const struct incidents *i, uint32_t topic);
/* The topics that did not move, as was found at this time: that is their reason now, whatever it was before. */
void incidents_stalled(struct incidents *i, const struct topics *topics, uint64_t at_ms);
/* Says which topics were paused, and which work again, since it was last called. */
void incidents_topics(struct incidents *i, const struct topics *topics);

#endif
