/* retry.c - `outbox-relay retry`: dead events go again, those that are being retried go at once. */
#include <string.h>

#include "relay/commands/act.h"
#include "relay/commands/commands.h"

static const char help[] =
    "Usage: outbox-relay retry [OPTION]... EVENT_ID | --id N | --topic T [--key K] | --all\n"
    "Let dead events go again with all their attempts, and those that are being retried at once. The\n"
    "events of a key go in their order: one that has an earlier unsent event of its key before it\n"
    "waits for that. A relay that runs notices within about a second; else they go when one runs.\n"
    "\n"
    "  EVENT_ID              the event with this UUID\n"
    "      --id N            the event with this number\n"
    "      --topic T         all of this topic\n"
    "      --key K           of them only those with this key, given as text\n"
    "      --key-hex HEX     the same, given as hexadecimal digits\n"
    "      --all             all\n"
    "      --yes             do not ask; needed with --topic and --all where there is no terminal\n"
    "      --force-order     also where later events of the same key are sent already\n"
    "      --dry-run         say what would be done, and do nothing\n"
    "      --json            one JSON object instead of words\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay retry --config relay.conf 01890a5d-ac96-774b-bcce-b302099a8057\n"
    "  outbox-relay retry --config relay.conf --topic orders --key customer-17 --yes\n"
    "  outbox-relay retry -X dsn=postgresql:///shop --all --dry-run\n"
    "\n"
    "Where later events of the same topic and key are sent already (with on.poison = skip), consumers\n"
    "would see the event out of order: the command names each such event and does nothing, unless\n"
    "--force-order is given. Later events that the relay has cleared away are not seen.\n"
    "\n"
    "Exit codes: 0 done; 1 no event is as described; 2 nothing was done: the answer was no, or order\n"
    "would be broken; 64 usage, 69 database unavailable, 70 internal error, 77 a right is missing,\n"
    "78 settings or schema.\n";

static const char *why_not(const char *state)
{
    if (strcmp(state, "sent") == 0)
        return "Kafka has confirmed it";
    if (strcmp(state, "pending") == 0)
        return "nothing has held it up; it goes by itself (outbox-relay status says what it waits for)";
    if (strcmp(state, "blocked") == 0)
        return "it waits for an earlier event of its key, which is the one to retry or discard";
    if (strcmp(state, "paused") == 0)
        return "it goes by itself when its topic works again";
    if (strcmp(state, "scheduled") == 0)
        return "it goes by itself at its available_at";
    if (strcmp(state, "discarded") == 0)
        return "it was given up; append it anew if it is wanted after all";
    return "it has just changed; run the command again";
}

static int change(struct operate *op, const struct options *o, operate_on_event *on_event, void *arg)
{
    return operate_retry(op, &o->choice, on_event, arg);
}

int command_retry(int argc, char **argv)
{
    static const struct act retry = {
        .of = OPTIONS_RETRY,
        .name = "retry",
        .done = "retried",
        .help = help,
        .looks_for_overtakers = true,
        .why_not = why_not,
        .change = change,
    };

    return act_run(&retry, argc, argv);
}
