/* inbox_dead.c - `outbox-relay inbox dead`: dead letters as a table or as JSON. Changes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/affix.h"
#include "relay/commands/inbox.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"
#include "relay/text.h"

#define WIDE 80

static const char help[] =
    "Usage: outbox-relay inbox dead [--consumer C] [--topic T] [--limit N] [--state S | --all-states]\n"
    "                               [--json]\n"
    "List the events that a consumer could not apply and that wait for a decision, the oldest first: which\n"
    "event, where it stands in Kafka, why it is dead, and what its handler said last.\n"
    "\n"
    "      --consumer C      only those of this consumer (its Kafka group)\n"
    "      --topic T         only those from this topic\n"
    "      --limit N         list at most N (default 50); all are counted\n"
    "      --state S         list those in state S instead: dead (they wait), retry (on their way back),\n"
    "                        discarded (given up); may be repeated\n"
    "      --all-states      list all of them, whatever their state\n"
    "      --json            one JSON object instead of the table: letters, n, n_listed\n"
    "  -c, --config FILE     read settings from FILE; only dsn is needed\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay inbox dead -X dsn=postgresql:///billing\n"
    "  outbox-relay inbox dead -X dsn=postgresql:///billing --consumer billing --json\n"
    "  outbox-relay inbox dead -X dsn=postgresql:///billing --state discarded\n"
    "\n"
    "REASON: rejected, by the handler; attempts, retry.attempts were used up; time, retry.total had passed.\n"
    "The contents of an event are not shown; inbox.dead has them, for who may read it:\n"
    "  SELECT convert_from(payload, 'UTF8') FROM inbox.dead WHERE id = 7\n"
    "\n"
    "Exit codes: 0 done, also when there are none; 64 usage, 69 database unavailable, 70 internal\n"
    "error, 77 a right is missing, 78 settings or schema.\n";

struct listing {
    unsigned states;
    struct table table;
    json_t *letters; /* NULL: a table is wanted */
    int64_t n, n_listed;
    bool failed; /* out of memory */
};

static void add_heads(struct listing *l)
{
    static const char *const heads[] = { "ID",     "CONSUMER", "EVENT ID", "TYPE",  "PLACE", "STATE",
                                         "REASON", "ATTEMPTS", "SINCE",    "ERROR", "DISCARDED BECAUSE" };

    table_heads(&l->table, heads, sizeof heads / sizeof heads[0] - !(l->states & OPERATE_LETTER_DISCARDED));
}

static void add_letter(struct listing *l, const struct operate_letter *letter)
{
    struct table *t = &l->table;

    table_add_number(t, letter->id);
    table_add_text(t, letter->consumer, WIDE);
    table_add_text(t, letter->event_id, WIDE);
    table_add_text(t, letter->type, WIDE);
    FILE *cell = table_open(t);
    if (cell != NULL) {
        text_put(cell, letter->topic, WIDE);
        fprintf(cell, "/%" PRId32 "@%" PRId64, letter->partition, letter->offset);
    }
    table_close(t);
    table_add_text(t, letter->state, WIDE);
    table_add_text(t, letter->reason, WIDE);
    table_add_number(t, letter->attempts);
    table_add_text(t, letter->died_at, WIDE);
    table_add_text(t, letter->error, WIDE);
    if (l->states & OPERATE_LETTER_DISCARDED)
        table_add_text(t, letter->discard_reason, WIDE);
}

static void on_letter(void *arg, const struct operate_letter *letter)
{
    struct listing *l = arg;

    l->n_listed++;
    if (l->letters != NULL) {
        if (!object_append(l->letters, inbox_letter_object(letter), true))
            l->failed = true;
        return;
    }
    add_heads(l);
    add_letter(l, letter);
}

static void on_total(void *arg, const struct operate_letter_total *total)
{
    struct listing *l = arg;

    l->n += total->n;
}

static void print_object(struct listing *l)
{
    json_t *object = json_object();

    if (object == NULL || !object_put(object, "letters", json_incref(l->letters)) ||
        !object_put_number(object, "n", l->n) || !object_put_number(object, "n_listed", l->n_listed) ||
        !object_print(object, stdout))
        l->failed = true;
    json_decref(object);
}

/* known: NULL, or which consumers there are when there is none of the name. */
static void print_words(struct listing *l, const char *known)
{
    const char *such = l->states == OPERATE_LETTER_DEAD || l->states == OPERATE_LETTER_ALL ? "" : "such ";

    if (l->n == 0) {
        printf("no %sdead letter%s%s", such, l->states == OPERATE_LETTER_DEAD ? " that waits for a decision" : "",
               known != NULL ? ": there is no such consumer; " : "");
        if (known != NULL)
            text_put(stdout, known, 1000);
        putchar('\n');
        return;
    }
    if (!table_print(&l->table, stdout))
        l->failed = true;
    printf("%" PRId64 " %sdead letter%s in all", l->n, such, plural(l->n));
    if (l->n > l->n_listed)
        printf("; the oldest %" PRId64 " are listed, --limit N lists more", l->n_listed);
    putchar('\n');
}

static int show(struct options *o, struct operate *op)
{
    const struct operate_letters choice = {
        .states = o->choice.states,
        .consumer = o->consumer, .topic = o->choice.topic, .upto = INT64_MAX,
    };
    struct listing l = { .states = o->choice.states };

    if (o->json && (l.letters = json_array()) == NULL)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    int code = operate_letters(op, &choice, o->limit, on_letter, &l);
    if (code == EXIT_OK)
        code = operate_letter_totals(op, &choice, on_total, &l);
    if (code != EXIT_OK)
        options_fail_operate(o, op, code);
    else if (o->json)
        print_object(&l);
    else {
        char *known = l.n == 0 ? inbox_known(o, op) : NULL;
        print_words(&l, known);
        free(known);
    }
    if (code == EXIT_OK && (l.failed || l.table.failed))
        code = options_fail(o, EXIT_INTERNAL, "out of memory; list fewer with --limit");
    json_decref(l.letters);
    table_deinit(&l.table);
    return code == EXIT_OK ? options_finish_output(o) : code;
}

int inbox_dead(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_INBOX_DEAD, .help = help };

    return options_look(&o, SETTINGS_NEED_DATABASE, argc, argv, show);
}
