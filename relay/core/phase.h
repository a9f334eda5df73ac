/* phase.h - follow, lead, drain, done: what the passing of time makes of them. Used inside core/ only. Pure. */
#ifndef RELAY_CORE_PHASE_H
#define RELAY_CORE_PHASE_H

#include "relay/core/core.h"

/* A lease may be over, a topic's pause too; --once may be finished, a drain at its end. */
void phase_tick(struct core *c, uint64_t now_ms);
/* The lead begins anew, from the saved cursor. */
void phase_begin_anew(struct core *c, uint64_t now_ms);
/* When it should be called again although nothing happened, but for the lease and the pauses of topics;
 * UINT64_MAX: never. */
uint64_t phase_deadline(const struct core *c, uint64_t now_ms);

#endif
