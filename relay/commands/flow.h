/* flow.h - who leads and whether anything moves, as the database tells it, for the verdict. Pure. */
#ifndef RELAY_COMMANDS_FLOW_H
#define RELAY_COMMANDS_FLOW_H

#include "relay/source/operate_status.h"
#include "relay/verdict.h"

/* Nothing was marked for so long, and an event has waited for as long: then it stands still. */
#define FLOW_STUCK_S 30.0

/* The texts of `in` are borrowed from `lead`. */
void flow_of_lead(struct verdict_input *in, const struct operate_lead *lead);

#endif
