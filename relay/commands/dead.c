/* dead.c - `outbox-relay dead`: the events that are held, as a table or as JSON. Changes nothing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/commands.h"
#include "relay/commands/object.h"
#include "relay/commands/options.h"
#include "relay/exit_codes.h"
#include "relay/text.h"

#define WIDE 80 /* characters of a column that others wrote; --json has all of it */

static const char help[] =
    "Usage: outbox-relay dead [--topic T] [--limit N] [--state S | --all-states] [--json]\n"
    "List the events that were given up, the oldest first, why (mostly what Kafka said of it), and how many\n"
    "later events of its key wait behind each; then how many there are in all per topic.\n"
    "\n"
    "      --topic T         only those of this topic\n"
    "      --limit N         list at most N (default 50); all are counted\n"
    "      --state S         list events in state S instead: retrying, blocked, paused, scheduled,\n"
    "                        dead, discarded; may be repeated\n"
    "      --all-states      list all events that are held, whatever their state\n"
    "      --json            one JSON object instead of the table: events, totals, n, n_listed\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay dead --config /etc/outbox-relay.conf\n"
    "  outbox-relay dead -X dsn=postgresql:///shop --topic orders --limit 10\n"
    "  outbox-relay dead -X dsn=postgresql:///shop --state discarded --json\n"
    "\n"
    "A key is shown in double quotes, or as \\x and hexadecimal digits where it is no plain text (for\n"
    "--key-hex of retry and discard); MAYBE SENT: one attempt ended without an answer, so the record\n"
    "may be in the topic. What cannot be shown as it is, is escaped.\n"
    "\n"
    "Exit codes: 0 done, also when there are none; 64 usage, 69 database unavailable, 70 internal\n"
    "error, 77 a right is missing, 78 settings or schema.\n";

struct listing {
    bool with_state;
    struct table table;
    json_t *events, *totals; /* NULL: a table is wanted */
    int64_t n_listed, n;
    bool failed;
};

/* -- as JSON ---------------------------------------------------------------------------------- */

static bool event_to_object(json_t *object, const struct operate_event *e)
{
    return object_put_name(object, e) && object_put_text(object, "type", e->type) &&
           object_put_text(object, "state", e->state) &&
           object_put_number(object, "attempts", e->attempts) &&
           object_put_text(object, "first_error_at", e->first_error_at) &&
           object_put_text(object, "next_attempt_at", e->next_attempt_at) &&
           object_put_text(object, "error_code", e->error_code) &&
           object_put_text(object, "error", e->error) &&
           object_put(object, "maybe_delivered", json_boolean(e->maybe_delivered)) &&
           object_put_number(object, "waiting", e->n_waiting);
}

static void list_object(struct listing *l, json_t *list, json_t *object, bool is_whole)
{
    if (!object_append(list, object, is_whole))
        l->failed = true;
}

/* -- as a table ------------------------------------------------------------------------------- */

static void add_event(struct listing *l, const struct operate_event *e)
{
    struct table *t = &l->table;

    table_add_number(t, e->id);
    table_add_text(t, e->event_id, WIDE);
    table_add_text(t, e->topic, WIDE);
    table_add_key(t, e->key, e->key_len);
    table_add_text(t, e->type, WIDE);
    if (l->with_state)
        table_add_text(t, e->state, WIDE);
    table_add_number(t, e->attempts);
    table_add_text(t, e->first_error_at, WIDE);
    table_add(t, e->maybe_delivered ? "yes" : "no");
    table_add_number(t, e->n_waiting);
    table_add_text(t, e->error_code, WIDE);
    table_add_text(t, e->error, WIDE);
}

static void add_heads(struct listing *l)
{
    static const char *const heads[] = { "ID",       "EVENT ID",    "TOPIC",      "KEY",
                                         "TYPE",     "STATE",       "ATTEMPTS",   "FIRST ERROR",
                                         "MAYBE SENT", "WAITING",   "CODE",       "ERROR" };

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (l->with_state || strcmp(heads[i], "STATE") != 0) {
            table_add(&l->table, heads[i]);
            l->table.n_columns++;
        }
}

/* -- both ------------------------------------------------------------------------------------- */

static void on_event(void *arg, const struct operate_event *e)
{
    struct listing *l = arg;

    l->n_listed++;
    if (l->events != NULL) {
        json_t *object = json_object();
        list_object(l, l->events, object, object != NULL && event_to_object(object, e));
    } else {
        if (l->n_listed == 1)
            add_heads(l);
        add_event(l, e);
    }
}

static void on_total(void *arg, const struct operate_total *t)
{
    struct listing *l = arg;

    l->n += t->n;
    if (l->totals != NULL) {
        json_t *object = json_object();
        list_object(l, l->totals, object,
                    object != NULL && object_put_text(object, "topic", t->topic) &&
                        object_put_text(object, "state", t->state) &&
                        object_put_number(object, "n", t->n));
    } else {
        table_add_text(&l->table, t->topic, WIDE);
        table_add_text(&l->table, t->state, WIDE);
        table_add_number(&l->table, t->n);
    }
}

static int list(struct options *o, struct operate *op, struct listing *l)
{
    int code = operate_list(op, &o->choice, o->limit, true, on_event, l);

    if (code == EXIT_OK && l->events == NULL && l->n_listed > 0) {
        if (!table_print(&l->table, stdout))
            l->failed = true;
        putchar('\n');
        table_deinit(&l->table);
    }
    l->table.n_columns = 3;
    if (code == EXIT_OK)
        code = operate_totals(op, &o->choice, on_total, l);
    return code == EXIT_OK ? EXIT_OK : options_fail_operate(o, op, code);
}

static void print_sum(const struct options *o, struct listing *l)
{
    bool is_dead = o->choice.states == OPERATE_DEAD, is_any = o->choice.states == OPERATE_ALL_STATES;
    const char *what = is_dead ? "dead" : is_any ? "held" : "such";

    if (l->n == 0) {
        printf("%s%s\n", is_dead ? "no dead event" : is_any ? "no event is held" : "no such event is held",
               o->choice.topic != NULL ? " in this topic" : "");
        return;
    }
    if (!table_print(&l->table, stdout))
        l->failed = true;
    printf("%" PRId64 " %s event%s in all", l->n, what, l->n == 1 ? "" : "s");
    if (l->n > l->n_listed)
        printf("; the oldest %" PRId64 " are listed, --limit N lists more", l->n_listed);
    putchar('\n');
}

static void print_object(struct listing *l)
{
    json_t *object = json_object();

    if (object == NULL || json_object_set(object, "events", l->events) < 0 ||
        json_object_set(object, "totals", l->totals) < 0 ||
        !object_put_number(object, "n", l->n) ||
        !object_put_number(object, "n_listed", l->n_listed) || !object_print(object, stdout))
        l->failed = true;
    json_decref(object);
}

static int show(struct options *o, struct operate *op)
{
    struct listing l = { .with_state = o->choice.states != OPERATE_DEAD };
    int code = EXIT_OK;

    if (o->json) {
        l.events = json_array();
        l.totals = json_array();
        if (l.events == NULL || l.totals == NULL)
            code = options_fail(o, EXIT_INTERNAL, "out of memory");
    }
    if (code == EXIT_OK)
        code = list(o, op, &l);
    if (code == EXIT_OK && o->json && !l.failed)
        print_object(&l);
    else if (code == EXIT_OK && !o->json)
        print_sum(o, &l);
    if (code == EXIT_OK && (l.failed || l.table.failed))
        code = options_fail(o, EXIT_INTERNAL, "out of memory; list fewer with --limit");
    json_decref(l.events);
    json_decref(l.totals);
    table_deinit(&l.table);
    return code == EXIT_OK ? options_finish_output(o) : code;
}

int command_dead(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_DEAD, .help = help };

    return options_look(&o, SETTINGS_NEED_DATABASE, argc, argv, show);
}
