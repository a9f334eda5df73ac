/* flow.h - the way of one row through the core: where it goes next, and what a report makes of it.
 *
 * Used by core.c only. Pure.
 */
#ifndef RELAY_CORE_FLOW_H
#define RELAY_CORE_FLOW_H

#include "relay/core/core.h"

/* The next ready row that can be produced now, and its lane; rows that must wait are parked on the
 * way. False when there is none. The row is SENT when true is returned. */
bool flow_next(struct core *c, uint32_t *ret_slot, enum lane *ret_lane);
/* The row waits until its time has come. */
void flow_schedule(struct core *c, uint32_t slot, uint64_t due_ms);
/* Rows whose backoff, and topics whose pause, is over become ready again. */
void flow_wake(struct core *c, uint64_t now_ms);
/* The earliest such time; UINT64_MAX: none. */
uint64_t flow_deadline(const struct core *c);
/* The lane is whole again: what came back from it is ready. */
void flow_lane_whole(struct core *c, enum lane lane);
/* Every row that is not out with the sink and not confirmed is given up: it will be read again. */
void flow_give_up_unsent(struct core *c);

#endif
