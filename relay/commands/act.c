/* act.c - see act.h. */
#include "relay/commands/act.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"
#include "relay/text.h"

#define MAX_LINES 20     /* events that are named to a person */
#define MAX_OBJECTS 1000 /* and in JSON: memory is bounded whatever the number */
#define WIDE 120
#define MAX_OTHERS 6     /* the states of outbox.held */

struct deed {
    const struct act *act;
    struct options *o;
    int64_t n_matched, newest_id;
    char *by_topic; /* "orders 3, payments 1" */
    size_t by_topic_len;
    FILE *by_topic_out;
    int64_t n_changed, n_due, n_shown;
    int64_t n_overtaken, n_overtaken_shown;
    json_t *events, *overtaken; /* NULL: words are wanted */
    bool no_memory;
};

/* -- words ------------------------------------------------------------------------------------ */

static void put_name(FILE *out, const struct operate_event *e)
{
    fprintf(out, "event %" PRId64 " (%s, topic ", e->id,
            e->event_id != NULL ? e->event_id : "no longer there");
    text_put(out, e->topic, WIDE);
    if (e->key != NULL) {
        fputs(", key ", out);
        text_put_key(out, e->key, e->key_len);
    }
    putc(')', out);
}

static const char *outcome(const struct deed *d, const struct operate_event *e)
{
    if (d->o->dry_run)
        return e->state;
    if (d->act->of == OPTIONS_DISCARD)
        return "discarded";
    return e->waits ? "waits for an earlier event of its key" : "due now";
}

static void say_event(const struct deed *d, const struct operate_event *e)
{
    put_name(stdout, e);
    printf(": %s", outcome(d, e));
    if (d->act->of == OPTIONS_DISCARD && e->maybe_delivered)
        fputs(" (an attempt of it ended without an answer: its record may be in the topic)", stdout);
    if (e->error_code != NULL || e->error != NULL) {
        fputs("; last error ", stdout);
        text_put(stdout, e->error_code, WIDE);
        fputs(": ", stdout);
        text_put(stdout, e->error, WIDE);
    }
    putchar('\n');
}

/* -- callbacks -------------------------------------------------------------------------------- */

static void keep(struct deed *d, json_t *list, json_t *object, bool is_whole)
{
    if (!object_append(list, object, is_whole))
        d->no_memory = true;
}

static void event_to_list(struct deed *d, const struct operate_event *e)
{
    json_t *object = json_object();

    keep(d, d->events, object,
         object != NULL && object_put_name(object, e) && object_put_text(object, "type", e->type) &&
             object_put_text(object, "was", e->was != NULL ? e->was : e->state) &&
             object_put_text(object, "state", e->was == NULL                     ? e->state
                                              : d->act->of == OPTIONS_DISCARD ? "discarded"
                                                                              : e->state) &&
             object_put_text(object, "last_error_code", e->error_code) &&
             object_put_text(object, "last_error", e->error));
}

static void on_event(void *arg, const struct operate_event *e)
{
    struct deed *d = arg;

    d->n_changed++;
    if (!e->waits)
        d->n_due++;
    if (d->n_shown == (d->events != NULL ? MAX_OBJECTS : MAX_LINES))
        return;
    d->n_shown++;
    if (d->events != NULL)
        event_to_list(d, e);
    else
        say_event(d, e);
}

static void on_total(void *arg, const struct operate_total *t)
{
    struct deed *d = arg;

    fputs(d->n_matched > 0 ? ", " : "", d->by_topic_out);
    text_put(d->by_topic_out, t->topic, WIDE);
    fprintf(d->by_topic_out, " %" PRId64 " %s", t->n, t->state);
    d->n_matched += t->n;
    if (t->newest_id > d->newest_id)
        d->newest_id = t->newest_id;
}

static void on_overtaken(void *arg, const struct operate_overtaken *v)
{
    struct deed *d = arg;

    d->n_overtaken = v->n_all;
    d->n_overtaken_shown++;
    if (d->overtaken != NULL) {
        json_t *object = json_object();
        keep(d, d->overtaken, object,
             object != NULL && object_put_name(object, &v->event) &&
                 object_put_number(object, "later_sent", v->n_later) &&
                 object_put_text(object, "first_later_ids", v->first_later));
        return;
    }
    fprintf(stderr, "%s: warning: ", d->o->program);
    put_name(stderr, &v->event);
    fprintf(stderr, ": %" PRId64 " later event%s of its key %s sent already (%s%s)\n", v->n_later,
            plural(v->n_later), v->n_later == 1 ? "is" : "are", v->first_later,
            v->n_later > 3 ? ", ..." : "");
}

/* -- steps: each returns -1 to go on, or the exit code ----------------------------------------- */

static int count(struct deed *d, struct operate *op)
{
    d->by_topic_out = open_memstream(&d->by_topic, &d->by_topic_len);
    if (d->by_topic_out == NULL)
        return options_fail(d->o, EXIT_INTERNAL, "out of memory");
    int code = operate_totals(op, &d->o->choice, on_total, d);
    if (fclose(d->by_topic_out) != 0 && code == EXIT_OK)
        return options_fail(d->o, EXIT_INTERNAL, "out of memory");
    /* what comes to be dead from now on was not meant */
    d->o->choice.upto = d->newest_id;
    return code == EXIT_OK ? -1 : options_fail_operate(d->o, op, code);
}

/* Of many that were named none is in a state that the command deals with: in which are they? */
struct others {
    int64_t n[MAX_OTHERS]; /* 0: none from here on */
    char state[MAX_OTHERS][16];
};

static void on_other(void *arg, const struct operate_total *t)
{
    struct others *others = arg;

    for (int i = 0; i < MAX_OTHERS; i++) {
        if (others->n[i] == 0)
            snprintf(others->state[i], sizeof others->state[i], "%s", t->state);
        if (strcmp(others->state[i], t->state) == 0) {
            others->n[i] += t->n;
            return;
        }
    }
}

static int explain_many(const struct deed *d, struct operate *op)
{
    struct operate_choice any = d->o->choice;
    struct others others = { .n = { 0 } };
    char text[1000];
    int n = 0;

    any.states = OPERATE_ALL_STATES;
    any.upto = INT64_MAX;
    int code = operate_totals(op, &any, on_other, &others);
    if (code != EXIT_OK)
        return options_fail_operate(d->o, op, code);
    text[0] = '\0';
    for (int i = 0; i < MAX_OTHERS && others.n[i] > 0 && n < (int)sizeof text; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRId64 "%s %s %s (%s%s)", i > 0 ? "; " : "", others.n[i],
                      i > 0 ? "" : others.n[i] == 1 ? " event" : " events", others.n[i] == 1 ? "is" : "are",
                      others.state[i], others.n[i] == 1 ? "" : "each: ", d->act->why_not(others.state[i]));
    return options_fail(d->o, EXIT_NO_MATCH, "nothing to %s%s%s: %s", d->act->name, any.topic != NULL ? " in topic " : "",
                        any.topic != NULL ? any.topic : "", n > 0 ? text : "no such event is held");
}

/* Nothing matched: why. */
static int explain(const struct deed *d, struct operate *op)
{
    const struct operate_choice *c = &d->o->choice;
    char state[32] = "";

    if (c->id == 0 && c->event_id == NULL)
        return explain_many(d, op);
    int code = operate_state_of(op, c, state, sizeof state);
    if (code != EXIT_OK)
        return options_fail_operate(d->o, op, code);
    if (state[0] == '\0' && c->id != 0)
        return options_fail(d->o, EXIT_NO_MATCH, "there is no event with the number %" PRId64,
                            c->id);
    if (state[0] == '\0')
        return options_fail(d->o, EXIT_NO_MATCH, "event %s is not held; `outbox-relay trace %s` says whether it was sent, "
                            "goes by itself or is nowhere", c->event_id, c->event_id);
    return options_fail(d->o, EXIT_NO_MATCH, "nothing to %s: the event is %s; %s", d->act->name,
                        state, d->act->why_not(state));
}

static int look_for_overtakers(struct deed *d, struct operate *op)
{
    int64_t most = d->overtaken != NULL ? MAX_OBJECTS : MAX_LINES;
    int code = operate_overtaken(op, &d->o->choice, most, on_overtaken, d);

    if (code != EXIT_OK)
        return options_fail_operate(d->o, op, code);
    if (d->n_overtaken > d->n_overtaken_shown && d->overtaken == NULL)
        fprintf(stderr, "%s: warning: %" PRId64 " more like these\n", d->o->program,
                d->n_overtaken - d->n_overtaken_shown);
    return -1;
}

static bool must_ask(const struct options *o)
{
    return (o->all || o->choice.topic != NULL) && !o->yes && !o->dry_run;
}

static int ask(const struct deed *d)
{
    if (!must_ask(d->o))
        return -1;
    fprintf(stderr, "%s %" PRId64 " event%s (%s)? [y/N] ", d->act->name, d->n_matched,
            plural(d->n_matched), d->by_topic);
    return options_answer(d->o);
}

static int check_order(const struct deed *d)
{
    if (d->n_overtaken == 0 || d->o->force_order || d->o->dry_run)
        return -1;
    bool one = d->n_overtaken == 1;
    return options_fail(d->o, EXIT_REFUSED, "nothing was done: later events of the same key are "
                        "sent already, so consumers would see %s out of order; --force-order sends "
                        "%s all the same, discard gives %s up", one ? "this event" : "these events",
                        one ? "it" : "them", one ? "it" : "them");
}

/* -- results ---------------------------------------------------------------------------------- */

static void say_sum(const struct deed *d)
{
    int64_t n = d->n_changed;

    if (d->o->dry_run) {
        if (d->n_matched > d->n_shown)
            printf("and %" PRId64 " more\n", d->n_matched - d->n_shown);
        printf("%" PRId64 " event%s would be %s (%s); nothing was done\n", d->n_matched,
               plural(d->n_matched), d->act->done, d->by_topic);
        return;
    }
    if (n > d->n_shown)
        printf("and %" PRId64 " more\n", n - d->n_shown);
    printf("%" PRId64 " event%s %s", n, plural(n), d->act->done);
    if (d->act->of == OPTIONS_RETRY && d->n_due < n)
        printf(", %" PRId64 " due now and %" PRId64 " behind an earlier event of the key", d->n_due,
               n - d->n_due);
    putchar('\n');
}

static void print_object(struct deed *d)
{
    json_t *object = json_object();

    if (object == NULL || !object_put_text(object, "command", d->act->name) ||
        !object_put(object, "dry_run", json_boolean(d->o->dry_run)) ||
        !object_put_number(object, "n_matched", d->n_matched) ||
        !object_put_number(object, "n_changed", d->o->dry_run ? 0 : d->n_changed) ||
        (d->act->of == OPTIONS_RETRY &&
         !object_put_number(object, "n_due", d->o->dry_run ? 0 : d->n_due)) ||
        (d->act->looks_for_overtakers &&
         (!object_put_number(object, "n_overtaken", d->n_overtaken) ||
          json_object_set(object, "overtaken", d->overtaken) < 0)) ||
        json_object_set(object, "events", d->events) < 0 || !object_print(object, stdout))
        d->no_memory = true;
    json_decref(object);
}

static int do_it(struct deed *d, struct operate *op)
{
    int64_t most = d->events != NULL ? MAX_OBJECTS : MAX_LINES;
    int code = d->o->dry_run ? operate_list(op, &d->o->choice, most, false, on_event, d)
                             : d->act->change(op, d->o, on_event, d);

    /* A failure half way leaves what was done before: that is said, too. */
    if (code != EXIT_OK)
        options_fail_operate(d->o, op, code);
    if (d->events == NULL && (code == EXIT_OK || d->n_changed > 0))
        say_sum(d);
    return code;
}

static int act_on(struct deed *d, struct operate *op)
{
    int code = count(d, op);

    if (code >= 0)
        return code;
    if (d->n_matched == 0)
        code = explain(d, op);
    if (code < 0 && d->act->looks_for_overtakers)
        code = look_for_overtakers(d, op);
    if (code < 0)
        code = check_order(d);
    if (code < 0)
        code = ask(d);
    if (code < 0)
        code = do_it(d, op);
    /* one object whatever became of it */
    if (d->events != NULL && !d->no_memory)
        print_object(d);
    if (d->no_memory && code == EXIT_OK)
        code = options_fail(d->o, EXIT_INTERNAL, "what was done cannot be shown: out of memory, or "
                            "stdout cannot be written");
    return code == EXIT_OK ? options_finish_output(d->o) : code;
}

static int prepare(struct deed *d)
{
    const struct options *o = d->o;

    if (must_ask(o) && !options_has_person())
        return options_fail(o, EXIT_USAGE, "%s concerns many events and there is no terminal to ask "
                            "at: give --yes, or --dry-run to see them", o->all ? "--all" : "--topic");
    if (o->json) {
        d->events = json_array();
        d->overtaken = json_array();
        if (d->events == NULL || d->overtaken == NULL)
            return options_fail(o, EXIT_INTERNAL, "out of memory");
    }
    return -1;
}

int act_run(const struct act *act, int argc, char **argv)
{
    struct options o = { .of = act->of, .help = act->help };
    struct deed d = { .act = act, .o = &o };
    struct operate *op = NULL;
    int code = options_parse(&o, argc, argv);

    if (code < 0)
        code = prepare(&d);
    if (code < 0) {
        code = options_connect(&o, SETTINGS_NEED_DATABASE, o.dry_run, &op);
        if (code == EXIT_OK)
            code = act_on(&d, op);
    }
    json_decref(d.events);
    json_decref(d.overtaken);
    free(d.by_topic);
    operate_free(op);
    options_deinit(&o);
    return code;
}
