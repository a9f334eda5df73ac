/* back.h - what is in outbox.held, by key and by topic, and its way back. Used inside core/ only. Pure.
 * It knows the rows that are there or came from there, and what waits behind them; nothing of why a row goes there,
 * and when: hold.h. */
#ifndef RELAY_CORE_BACK_H
#define RELAY_CORE_BACK_H

#include "relay/core/core.h"

/* Are rows of its key there? This one must not pass them then. */
bool back_key_is_held(const struct core *c, const struct window_row *r);
/* Rows of the topic are there, or on their way: they are to be read back when it takes rows again. */
void back_expect_topic(struct core *c, struct topic *t);
/* The rows of its key that came back stay where they are in outbox.held, and what is behind them in the window
 * goes there. */
void back_stop_key(struct core *c, const struct window_row *r);
/* A row from outbox.held is in the window: what it means for its key and its topic. */
void back_came(struct core *c, uint32_t slot);
/* Nothing more to do for the row: the same, and nothing if it is a new one. */
void back_done(struct core *c, uint32_t slot);
/* None of the topic's rows is left there, perhaps. */
void back_topic_settled(struct core *c, uint32_t topic);
/* Everything that waits behind the topic, or behind keys of it, becomes ready. */
void back_unpark_topic(struct core *c, uint32_t topic);
/* When paused rows of a topic can be read back, and of which one next; UINT64_MAX: none. */
uint64_t back_topic_due_ms(const struct core *c, uint64_t now_ms, uint32_t *ret_topic);
/* What is known of outbox.held is forgotten. The window is empty. */
void back_forget(struct core *c);

#endif
