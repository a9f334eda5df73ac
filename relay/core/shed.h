/* shed.h - while outbox.held cannot be written, what should go there does not fill the window. Pure.
 * It knows the window's rows that wait to be held, and nothing of keys, topics and what is behind them: hold.h. */
#ifndef RELAY_CORE_SHED_H
#define RELAY_CORE_SHED_H

#include "relay/core/core.h"

/* Before each action of a lead: give up, to be read again, what should be held and takes much of the window. Once some
 * rows were given up (core_gave_up), so is all that should be held after them, but for what is told in shed.c. */
void shed_what_cannot_be_held(struct core *c);

#endif
