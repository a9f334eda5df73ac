/* hold.h - the way of a row into outbox.held. Used inside core/ only. Pure.
 * It knows why a row must wait, and where; nothing of when what is there is read back: back.h.
 *
 * Rows go there by key or by topic. A key: a row was refused for itself, and the later ones wait for
 * it. A topic: it takes nothing, and all of it waits. When such a group moves again, its rows come
 * back in order of id, a batch at a time, and new rows of it wait behind them (in the window as long
 * as that is small), until the group is empty.
 */
#ifndef RELAY_CORE_HOLD_H
#define RELAY_CORE_HOLD_H

#include "relay/core/core.h"

/* The row is to be put into outbox.held. */
void hold_row(struct core *c, uint32_t slot, enum hold_state as, uint64_t delay_ms);
/* The key of this row waits in the window until it is there: now the key's later rows go there as well. */
void hold_shut_key(struct core *c, uint32_t slot);
/* Must this ready row wait because of what is in outbox.held, or because its topic has failed? Then it
 * is put where it waits. */
bool hold_put_aside(struct core *c, uint64_t now_ms, uint32_t slot);
/* The topic of this ready row takes nothing: the row goes to outbox.held, or stays there. */
void hold_shut_out(struct core *c, uint64_t now_ms, uint32_t slot);
/* The row is in outbox.held now. */
void hold_written(struct core *c, uint64_t now_ms, uint32_t slot);
/* Nothing more to do for the row, wherever it came from. */
void hold_done(struct core *c, uint32_t slot);
/* Rows behind keys and topics that take too much of the window go to outbox.held as well. */
void hold_relieve(struct core *c);

#endif
