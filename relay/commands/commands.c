/* commands.c - the table of the sub-commands. */
#include "relay/commands/commands.h"

#include <stddef.h>
#include <string.h>

const struct command commands[] = {
    { "dead", "list the events that Kafka refused for good, and what waits behind them",
      command_dead },
    { "retry", "let dead events go again, in the order of their keys", command_retry },
    { "discard", "give dead events up, for a reason that is kept", command_discard },
    { NULL, NULL, NULL },
};

const struct command *command_find(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}
