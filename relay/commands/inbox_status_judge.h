/* inbox_status_judge.h - what `inbox status` makes of the server, and of each consumer: has it partitions? Asks nobody. */
#ifndef RELAY_COMMANDS_INBOX_STATUS_JUDGE_H
#define RELAY_COMMANDS_INBOX_STATUS_JUDGE_H

#include "relay/commands/inbox_status_show.h"

/* What there is to say goes to the findings. */
void inbox_judge_server(struct inbox_look *l);
void inbox_judge_consumer(struct inbox_look *l, const struct inbox_consumer *c);

#endif
