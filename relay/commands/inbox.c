/* inbox.c - `outbox-relay inbox`: the table of its sub-commands, and a dead letter as JSON. */
#include "relay/commands/inbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/commands.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"

static const struct command inbox_commands[] = {
    { "status", "are events applied, and if not why; consumers, positions, lag, dead letters", inbox_status },
    { "dead", "list the events that a consumer could not apply, and why", inbox_dead },
    { "retry", "let dead letters go to their consumer's handler again", inbox_retry },
    { "discard", "give dead letters up, for a reason that is kept", inbox_discard },
    { NULL, NULL, NULL },
};

static void print_help(FILE *out)
{
    fputs("Usage: outbox-relay inbox COMMAND [OPTION]...\n"
          "Look after consumers that keep their inbox in PostgreSQL (sql/002_inbox.up.sql: libinbox, or\n"
          "the same tables from another language). The setting dsn names the database that the\n"
          "consumers write to; it needs no outbox.\n"
          "\n"
          "Commands, each with a --help of its own and --json:\n", out);
    for (const struct command *c = inbox_commands; c->name != NULL; c++)
        fprintf(out, "  %-9s %s\n", c->name, c->summary);
    fputs("\n"
          "Examples:\n"
          "  outbox-relay inbox status -X dsn=postgresql:///billing -X kafka.bootstrap.servers=localhost:9092\n"
          "  outbox-relay inbox dead -X dsn=postgresql:///billing --consumer billing\n"
          "  outbox-relay inbox retry -X dsn=postgresql:///billing 7 8\n"
          "  outbox-relay inbox discard -X dsn=postgresql:///billing 9 --reason 'test data, ticket 4711'\n"
          "\n"
          "The role of the dsn needs inbox_monitor to look, inbox_operator to retry and discard, or inbox_consumer\n"
          "for all of it (sql/inbox_roles.sql).\n",
          out);
}

int command_inbox(int argc, char **argv)
{
    char program[64];

    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    for (const struct command *c = inbox_commands; c->name != NULL; c++)
        if (strcmp(argv[1], c->name) == 0) {
            snprintf(program, sizeof program, "%s %s", argv[0], c->name);
            argv[1] = program;
            return c->run(argc - 1, argv + 1);
        }
    const struct options o = { .program = argv[0] };
    return options_fail(&o, EXIT_USAGE, "%s: the command comes first: status, dead, retry or discard", argv[1]);
}

#define MAX_NAMES 20

struct names {
    const char *wanted;
    FILE *out;
    size_t n;
    bool known;
};

static void on_name(void *arg, const char *name)
{
    struct names *names = arg;

    names->known = names->known || strcmp(name, names->wanted) == 0;
    if (names->n < MAX_NAMES)
        fprintf(names->out, "%s%s", names->n > 0 ? ", " : "", name);
    else if (names->n == MAX_NAMES)
        fputs(" and others", names->out);
    names->n++;
}

char *inbox_known(const struct options *o, struct operate *op)
{
    struct names names = { .wanted = o->consumer };
    char *text = NULL;
    size_t len;

    if (o->consumer == NULL || (names.out = open_memstream(&text, &len)) == NULL)
        return NULL;
    fputs("those known here: ", names.out);
    int code = operate_consumer_names(op, on_name, &names);
    if (names.n == 0)
        fputs("none", names.out);
    if (fclose(names.out) == 0 && code == EXIT_OK && !names.known)
        return text;
    free(text);
    return NULL;
}

json_t *inbox_letter_object(const struct operate_letter *l)
{
    json_t *object = json_object();

    if (object != NULL && object_put_number(object, "id", l->id) &&
        object_put_text(object, "consumer", l->consumer) && object_put_text(object, "topic", l->topic) &&
        object_put_number(object, "partition", l->partition) &&
        object_put_number(object, "offset", l->offset) &&
        object_put_text(object, "event_id", l->event_id) && object_put_text(object, "type", l->type) &&
        object_put_text(object, "was", l->was != NULL ? l->was : l->state) &&
        object_put_text(object, "state", l->state) && object_put_text(object, "reason", l->reason) &&
        object_put_number(object, "attempts", l->attempts) &&
        object_put_text(object, "error_code", l->error_code) &&
        object_put_text(object, "error", l->error) && object_put_text(object, "died_at", l->died_at) &&
        object_put_text(object, "discard_reason", l->discard_reason))
        return object;
    json_decref(object);
    return NULL;
}
