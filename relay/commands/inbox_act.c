/* inbox_act.c - `outbox-relay inbox retry` and `discard`: what was named is looked at, asked about, changed
 * and told. Which states there are to change follows from the command; SQL is not known here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/commands/inbox.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"
#include "relay/text.h"

#define MAX_LINES 20     /* dead letters that are named to a person */
#define MAX_OBJECTS 1000 /* and in JSON */
#define WIDE 120

#define HELP_OPTIONS(act)                                                                          \
    "      --consumer C      all of this consumer that wait for a decision\n"                      \
    "      --topic T         of these, those from this topic\n"                                    \
    "      --all             all that wait for a decision\n"                                       \
    "      --yes             do not ask (many at once are asked about at a terminal)\n"            \
    "      --dry-run         say what would be done, and do nothing\n"                             \
    "      --json            one JSON object: n_matched, n_changed, letters (1000 at most)\n"      \
    "  -c, --config FILE     read settings from FILE; only dsn is needed\n"                        \
    "  -X KEY=VALUE          set one setting; may be repeated\n"                                   \
    "  -h, --help            print this\n"                                                         \
    "\n"                                                                                           \
    "Examples:\n"                                                                                  \
    "  outbox-relay inbox " act(" 7 8")                                                            \
    "  outbox-relay inbox " act(" --consumer billing --topic orders --dry-run")                    \
    "\n"
#define HELP_END                                                                                   \
    "\n"                                                                                           \
    "With IDs it is all of them or none: one that is not there, or not to be changed, is named.\n" \
    "Exit codes: 0 done, 1 there is no such dead letter, 2 nothing was done because the answer was no;\n" \
    "64 usage, 69 database unavailable, 70 internal error, 77 a right is missing, 78 settings or schema.\n"
#define RETRY_LINE(rest) "retry -X dsn=postgresql:///billing" rest "\n"
#define DISCARD_LINE(rest) "discard -X dsn=postgresql:///billing" rest " --reason 'ticket 4711'\n"

static const char retry_help[] =
    "Usage: outbox-relay inbox retry ID... | --consumer C [--topic T] | --all  [--dry-run] [--json]\n"
    "Let dead letters go again: their consumer, when it runs, calls its handler with each once more within\n"
    "seconds, in the transaction of its side effects. One that fails is dead again, with the new error; one\n"
    "that succeeds leaves inbox.dead. Later events of its key went past it long ago: a handler must bear that.\n"
    "\n" HELP_OPTIONS(RETRY_LINE)
    "An ID may name a discarded one, too, while it is still there: it is discarded no longer, and its reason is\n"
    "forgotten. (outbox-relay retry refuses a discarded event: there later ones of its key had waited for it.)\n" HELP_END;

static const char discard_help[] =
    "Usage: outbox-relay inbox discard ID... | --consumer C [--topic T] | --all  --reason TEXT\n"
    "                                  [--dry-run] [--json]\n"
    "Give dead letters up: no handler is called with them any more. They stay in inbox.dead with the reason\n"
    "for dedupe_keep, then the consumer deletes them.\n"
    "\n"
    "      --reason TEXT     why; kept in inbox.dead.discard_reason\n" HELP_OPTIONS(DISCARD_LINE)
    "An ID may name one that retry has sent on its way, too, as long as its handler has not succeeded.\n" HELP_END;

struct deed {
    struct options *o;
    const char *name, *done; /* "retry", "sent back" */
    struct operate_letters choice;
    bool *found; /* of each id */
    char problem[400];
    int64_t n_matched, n_changed, n_shown;
    json_t *letters; /* NULL: words are wanted */
    bool no_memory;
};

static bool is_discard(const struct deed *d)
{
    return d->o->of == OPTIONS_INBOX_DISCARD;
}

/* -- what was named --------------------------------------------------------------------------- */

static void on_named(void *arg, const struct operate_letter *l)
{
    struct deed *d = arg;
    bool wrong = is_discard(d) ? strcmp(l->state, "discarded") == 0 : strcmp(l->state, "retry") == 0;

    for (size_t i = 0; i < d->o->n_letters; i++)
        d->found[i] = d->found[i] || d->o->letter_ids[i] == l->id;
    if (wrong && d->problem[0] == '\0')
        snprintf(d->problem, sizeof d->problem, "dead letter %" PRId64 " of consumer %.249s is %s", l->id,
                 l->consumer, is_discard(d) ? "discarded already" : "on its way back already: does its consumer run?");
}

/* -1 to go on, or the exit code. */
static int check_named(struct deed *d, struct operate *op)
{
    struct operate_letters any = d->choice;

    if (d->choice.ids == NULL)
        return -1;
    any.states = OPERATE_LETTER_ALL;
    any.upto = INT64_MAX;
    d->found = calloc(d->o->n_letters, sizeof *d->found);
    if (d->found == NULL)
        return options_fail(d->o, EXIT_INTERNAL, "out of memory");
    int code = operate_letters(op, &any, (int64_t)d->o->n_letters, on_named, d);
    if (code != EXIT_OK)
        return options_fail_operate(d->o, op, code);
    for (size_t i = 0; i < d->o->n_letters; i++)
        if (!d->found[i])
            return options_fail(d->o, EXIT_NO_MATCH, "nothing was done: there is no dead letter %" PRId64
                                "; it was applied meanwhile, or the number is wrong", d->o->letter_ids[i]);
    return d->problem[0] == '\0' ? -1
                                 : options_fail(d->o, EXIT_NO_MATCH, "nothing was done: %s", d->problem);
}

static void on_total(void *arg, const struct operate_letter_total *t)
{
    struct deed *d = arg;

    d->n_matched += t->n;
    if (t->newest_id > d->choice.upto)
        d->choice.upto = t->newest_id;
}

static int count(struct deed *d, struct operate *op)
{
    const struct operate_letters *c = &d->choice;
    struct operate_letters all = *c;

    /* what comes to be dead from now on was not meant */
    all.upto = INT64_MAX;
    int code = operate_letter_totals(op, &all, on_total, d);
    if (code != EXIT_OK)
        return options_fail_operate(d->o, op, code);
    if (d->n_matched > 0)
        return -1;
    char *known = inbox_known(d->o, op);
    if (known != NULL) {
        code = options_fail(d->o, EXIT_NO_MATCH, "nothing to %s: there is no consumer %s; %s", d->name, c->consumer,
                            known);
        free(known);
        return code;
    }
    return options_fail(d->o, EXIT_NO_MATCH, "nothing to %s: no dead letter waits for a decision%s%s%s%s", d->name,
                        c->consumer != NULL ? ", consumer " : "", c->consumer != NULL ? c->consumer : "",
                        c->topic != NULL ? ", topic " : "", c->topic != NULL ? c->topic : "");
}

static bool must_ask(const struct options *o)
{
    return o->n_letters == 0 && !o->yes && !o->dry_run;
}

static int ask(const struct deed *d)
{
    if (!must_ask(d->o))
        return -1;
    fprintf(stderr, "%s %" PRId64 " dead letter%s? [y/N] ", d->name, d->n_matched, plural(d->n_matched));
    return options_answer(d->o);
}

/* -- done, and told --------------------------------------------------------------------------- */

static void on_letter(void *arg, const struct operate_letter *l)
{
    struct deed *d = arg;

    d->n_changed++;
    if (d->n_shown == (d->letters != NULL ? MAX_OBJECTS : MAX_LINES))
        return;
    d->n_shown++;
    if (d->letters != NULL) {
        if (!object_append(d->letters, inbox_letter_object(l), true))
            d->no_memory = true;
        return;
    }
    printf("dead letter %" PRId64 " (consumer ", l->id);
    text_put(stdout, l->consumer, WIDE);
    fputs(", event ", stdout);
    text_put(stdout, l->event_id, WIDE);
    fputs(", ", stdout);
    text_put(stdout, l->topic, WIDE);
    printf("/%" PRId32 "@%" PRId64 "): %s%s; last error: ", l->partition, l->offset, l->state,
           !is_discard(d) && l->was != NULL && strcmp(l->was, "discarded") == 0 ? ", discarded no longer" : "");
    text_put(stdout, l->error, WIDE);
    putchar('\n');
}

static void say_sum(const struct deed *d)
{
    int64_t n = d->o->dry_run ? d->n_matched : d->n_changed;

    if (n > d->n_shown)
        printf("and %" PRId64 " more\n", n - d->n_shown);
    printf("%" PRId64 " dead letter%s %s%s\n", n, plural(n), d->o->dry_run ? "would be " : "", d->done);
}

static void print_object(struct deed *d)
{
    json_t *object = json_object();

    if (object == NULL || !object_put_text(object, "command", d->name) ||
        !object_put(object, "dry_run", json_boolean(d->o->dry_run)) ||
        !object_put_number(object, "n_matched", d->n_matched) ||
        !object_put_number(object, "n_changed", d->o->dry_run ? 0 : d->n_changed) ||
        !object_put(object, "letters", json_incref(d->letters)) || !object_print(object, stdout))
        d->no_memory = true;
    json_decref(object);
}

static int do_it(struct deed *d, struct operate *op)
{
    int64_t most = d->letters != NULL ? MAX_OBJECTS : MAX_LINES;
    int code = d->o->dry_run ? operate_letters(op, &d->choice, most, on_letter, d)
                             : operate_change_letters(op, &d->choice, d->o->reason, on_letter, d);

    /* a failure half way leaves what was done before: that is said, too */
    if (code != EXIT_OK)
        options_fail_operate(d->o, op, code);
    if (d->letters == NULL && (code == EXIT_OK || d->n_changed > 0))
        say_sum(d);
    return code;
}

static int act_on(struct deed *d, struct operate *op)
{
    int code = check_named(d, op);

    if (code < 0)
        code = count(d, op);
    if (code < 0)
        code = ask(d);
    if (code < 0)
        code = do_it(d, op);
    if (d->letters != NULL)
        print_object(d); /* whatever became of it */
    if (d->no_memory && code == EXIT_OK)
        code = options_fail(d->o, EXIT_INTERNAL, "what was done cannot be shown: out of memory, or stdout "
                            "cannot be written");
    return code == EXIT_OK ? options_finish_output(d->o) : code;
}

static void prepare_choice(struct deed *d)
{
    struct options *o = d->o;

    d->choice = (struct operate_letters){ .states = OPERATE_LETTER_DEAD, .consumer = o->consumer,
                                          .topic = o->choice.topic };
    if (o->n_letters == 0)
        return;
    d->choice.ids = o->letter_ids;
    d->choice.n_ids = o->n_letters;
    d->choice.states |= is_discard(d) ? OPERATE_LETTER_RETRY : OPERATE_LETTER_DISCARDED;
}

static int run(struct deed *d, int argc, char **argv)
{
    struct options *o = d->o;
    struct operate *op = NULL;
    int code = options_parse(o, argc, argv);

    if (code < 0 && must_ask(o) && !options_has_person())
        code = options_fail(o, EXIT_USAGE, "%s concerns many dead letters and there is no terminal to ask at: "
                            "give --yes, or --dry-run to see them", o->all ? "--all" : "--consumer");
    if (code < 0 && o->json && (d->letters = json_array()) == NULL)
        code = options_fail(o, EXIT_INTERNAL, "out of memory");
    if (code < 0) {
        prepare_choice(d);
        code = options_connect(o, SETTINGS_NEED_DATABASE, o->dry_run, &op);
        if (code == EXIT_OK)
            code = act_on(d, op);
    }
    json_decref(d->letters);
    free(d->found);
    operate_free(op);
    options_deinit(o);
    return code;
}

int inbox_retry(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_INBOX_RETRY, .help = retry_help };
    struct deed d = { .o = &o, .name = "retry", .done = "sent back to the handler" };

    return run(&d, argc, argv);
}

int inbox_discard(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_INBOX_DISCARD, .help = discard_help };
    struct deed d = { .o = &o, .name = "discard", .done = "discarded" };

    return run(&d, argc, argv);
}
