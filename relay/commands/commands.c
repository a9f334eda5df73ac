/* commands.c - the table of the sub-commands. */
#include "relay/commands/commands.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/shared/nearest.h"
#include "relay/affix.h"

const struct command commands[] = {
    { "status", "do events flow, and if not why; who leads, what waits, what blocks", command_status },
    { "doctor", "look for what is wrong with database, brokers and topics, and say what to do", command_doctor },
    { "dead", "list the events that were given up, why, and what waits behind them",
      command_dead },
    { "retry", "let dead events go again, in the order of their keys", command_retry },
    { "discard", "give dead events up, for a reason that is kept", command_discard },
    { "replay", "send sent events to their topics again, marked as such", command_replay },
    { "verify", "is what was marked sent in the topics, once, and as it was sent?", command_verify },
    { "trace", "the story of one event: appended, held, sent, and is its record there", command_trace },
    { "inbox", "the consumers' side: are events applied, and the dead letters there", command_inbox },
    { NULL, NULL, NULL },
};

const struct command *command_find(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

const char *command_nearest(const char *name)
{
    unsigned limit = nearest_limit(name);
    const char *nearest = nearest_is(name, "run", &limit) ? "run" : NULL;

    for (const struct command *c = commands; c->name != NULL; c++)
        if (nearest_is(name, c->name, &limit))
            nearest = c->name;
    return nearest;
}

void command_hint_option(const char *program, const struct option *known, const char *word)
{
    char name[NEAREST_MAX + 1];
    const char *nearest = NULL;

    if (sscanf(word, "--%64[^=]", name) != 1)
        return;
    unsigned limit = nearest_limit(name);
    for (const struct option *o = known; o->name != NULL; o++) {
        if (starts_with(o->name, name))
            return; /* short for several, which getopt_long has listed */
        if (nearest_is(name, o->name, &limit))
            nearest = o->name;
    }
    if (nearest != NULL)
        fprintf(stderr, "%s: did you mean --%s?\n", program, nearest);
}
