/* inbox_status_failing.h - what `inbox status` makes of events that fail again and again, and of dead letters. Asks
 * nobody. */
#ifndef RELAY_COMMANDS_INBOX_STATUS_FAILING_H
#define RELAY_COMMANDS_INBOX_STATUS_FAILING_H

#include "relay/commands/inbox_status_show.h"

void inbox_failing_set(struct inbox_failing *to, const struct operate_failing *is);

/* Is nothing applied but what fails? */
bool inbox_failing_is_all(const struct inbox_failing *f);

/* What there is to say of the consumer goes to the findings. */
void inbox_failing_judge(struct inbox_look *l, const struct inbox_consumer *c);
void inbox_dead_judge(struct inbox_look *l, const struct inbox_consumer *c);

#endif
