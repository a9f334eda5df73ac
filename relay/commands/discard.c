/* discard.c - `outbox-relay discard`: events are given up, and their keys go on without them. */
#include <string.h>

#include "relay/commands/act.h"
#include "relay/commands/commands.h"

static const char help[] =
    "Usage: outbox-relay discard --reason TEXT [OPTION]...\n"
    "           EVENT_ID | --id N | --topic T [--key K] | --all\n"
    "Give dead events up: they are not sent any more, and the next event of each key is due. The reason is\n"
    "kept in outbox.held, in place of the last error, for as long as the event is.\n"
    "\n"
    "  EVENT_ID              the event with this UUID\n"
    "      --id N            the event with this number\n"
    "      --topic T         all dead ones of this topic\n"
    "      --key K           of them only those with this key, given as text\n"
    "      --key-hex HEX     the same, given as hexadecimal digits\n"
    "      --all             all dead ones\n"
    "      --reason TEXT     why: 1 to 500 bytes; required\n"
    "      --retrying        also events that are still being retried\n"
    "      --paused          also events that are paused, because their topic takes nothing\n"
    "                        (one of either kind that is on its way to Kafka just now may arrive\n"
    "                        all the same, and then counts as sent)\n"
    "      --yes             do not ask; needed with --topic and --all where there is no terminal\n"
    "      --dry-run         say what would be done, and do nothing\n"
    "      --json            one JSON object instead of words\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay discard --config relay.conf --id 4711 --reason 'test data, order never existed'\n"
    "  outbox-relay discard --config relay.conf --topic orders --key customer-17 --yes \\\n"
    "      --reason 'larger than the topic takes; sent by hand'\n"
    "  outbox-relay discard --config relay.conf --topic ordrs --paused --reason 'misspelt, appended anew'\n"
    "  outbox-relay discard -X dsn=postgresql:///shop --all --dry-run --reason 'staging is reset'\n"
    "\n"
    "Exit codes: 0 done; 1 no event is as described; 2 nothing was done, the answer was no; 64 usage,\n"
    "69 database unavailable, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

static const char *why_not(const char *state)
{
    if (strcmp(state, "sent") == 0)
        return "Kafka has confirmed it";
    if (strcmp(state, "retrying") == 0)
        return "--retrying discards it all the same";
    if (strcmp(state, "paused") == 0)
        return "--paused discards it all the same";
    if (strcmp(state, "discarded") == 0)
        return "there is nothing left to do";
    if (strcmp(state, "dead") == 0)
        return "it has just changed; run the command again";
    return "only one that Kafka has refused, or whose topic takes nothing, can be discarded";
}

static int change(struct operate *op, const struct options *o, operate_on_event *on_event, void *arg)
{
    return operate_discard(op, &o->choice, o->reason, on_event, arg);
}

int command_discard(int argc, char **argv)
{
    static const struct act discard = {
        .of = OPTIONS_DISCARD,
        .name = "discard",
        .done = "discarded",
        .help = help,
        .why_not = why_not,
        .change = change,
    };

    return act_run(&discard, argc, argv);
}
