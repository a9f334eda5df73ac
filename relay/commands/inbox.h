/* inbox.h - the sub-commands of `outbox-relay inbox`, and what they share. */
#ifndef RELAY_COMMANDS_INBOX_H
#define RELAY_COMMANDS_INBOX_H

#include <jansson.h>

#include "relay/commands/options.h"
#include "relay/source/operate_inbox.h"

/* As the rows of commands.h: argv[0] is how error messages call the program. */
int inbox_status(int argc, char **argv);
int inbox_dead(int argc, char **argv);
int inbox_retry(int argc, char **argv);
int inbox_discard(int argc, char **argv);

/* When no consumer of the name that --consumer gives has started here or has dead letters: which there are, a clause
 * to be freed. NULL: there is one, or none was named, or it cannot be told. */
char *inbox_known(const struct options *o, struct operate *op);

/* All of a dead letter but its contents; NULL: out of memory. To be released. */
json_t *inbox_letter_object(const struct operate_letter *letter);

#endif
