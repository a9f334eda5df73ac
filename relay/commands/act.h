/* act.h - what retry and discard have in common: count what was named, say what is in the way, ask,
 * do it, and say what was done.
 */
#ifndef RELAY_COMMANDS_ACT_H
#define RELAY_COMMANDS_ACT_H

#include "relay/commands/options.h"

/* A command that changes events. */
struct act {
    enum options_of of;
    const char *name;      /* "retry" */
    const char *done;      /* "discarded" */
    const char *help;
    bool looks_for_overtakers; /* sending the events now may break the order of their keys */
    /* Why an event in that state is not among those that the command deals with. */
    const char *(*why_not)(const char *state);
    int (*change)(struct operate *op, const struct options *o, operate_on_event *on_event,
                  void *arg);
};

/* From the command line to the exit code. */
int act_run(const struct act *act, int argc, char **argv);

#endif
