/* replay.c - `outbox-relay replay`: events that were sent go to their topics once more, as they are, with a
 * header that says so. Nothing in the database changes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/commands.h"
#include "relay/commands/compare.h"
#include "relay/commands/object.h"
#include "relay/commands/options.h"
#include "relay/commands/progress.h"
#include "relay/commands/resend.h"
#include "relay/exit_codes.h"
#include "relay/loop.h"
#include "relay/source/operate_events.h"
#include "relay/text.h"

static const char help[] =
    "Usage: outbox-relay replay [OPTION]...\n"
    "           --from-id A --to-id B | --since TIME --until TIME | --topic T --key K\n"
    "Send events that were sent before to their topics again: the same record with the same event id, and\n"
    "one more header, ce_replay (envelope cloudevents) or replay (the others), with the time of the replay.\n"
    "Consumers that drop repeats by the event id drop these; others meet each event once more, after newer\n"
    "ones of its key. Events that are not sent yet are skipped: they go by themselves, in their order.\n"
    "Nothing in the database changes, and relays may run. Give it the settings of the relay: envelope and\n"
    "source are those of the settings here, and with others it is not the same record.\n"
    "\n"
    "      --from-id A       events from this number on\n"
    "      --to-id B         up to this one\n"
    "      --since TIME      marked sent at or after: '2026-01-02 03:04+00', 'today', or 15m, 2h, 3d ago\n"
    "      --until TIME      marked sent before\n"
    "      --topic T         only those of this topic\n"
    "      --key K           of them only those with this key, given as text\n"
    "      --key-hex HEX     the same, given as hexadecimal digits\n"
    "      --yes             do not ask; needed where there is no terminal\n"
    "      --dry-run         count what would be sent, and send nothing\n"
    "      --json            one JSON object instead of words\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay replay --config relay.conf --since 2h --topic orders --dry-run\n"
    "  outbox-relay replay --config relay.conf --from-id 1000 --to-id 2000 --yes\n"
    "  outbox-relay replay --config relay.conf --topic orders --key customer-17\n"
    "\n"
    "What is given must all hold. Events go in the order of their numbers, and so those of a key in theirs.\n"
    "A key is looked for among all events; a range beside it makes that quick. At the first record that the\n"
    "brokers do not confirm, at an event that the database cannot send (what it stores is damaged, say), on\n"
    "SIGINT or SIGTERM, it stops, and says with which number to go on.\n"
    "\n"
    "Exit codes: 0 all were confirmed; 1 no sent event is as described; 2 nothing was done, the answer was no;\n"
    "69 not all were confirmed, or database or brokers unavailable; 64 usage, 70 internal error, 77 a right is\n"
    "missing, 78 settings or schema.\n";

struct replay {
    struct options *o;
    struct operate *op;
    struct operate_walk walk;
    struct resend resend;
    struct progress progress;
    int64_t n, n_unsent;
    int64_t next_id; /* where to go on; 0: all is done */
    bool unreadable; /* for the database cannot send that event */
};

/* -- asking ---------------------------------------------------------------------------------- */

static int check_terminal(const struct options *o)
{
    if (o->yes || o->dry_run || options_has_person())
        return -1;
    return options_fail(o, EXIT_USAGE, "events would be sent again and there is no terminal to ask at: give "
                        "--yes, or --dry-run to count them");
}

static int ask(const struct replay *v)
{
    if (v->o->yes || v->o->dry_run)
        return -1;
    fprintf(stderr, "send the sent events with numbers %" PRId64 " to %" PRId64 " that are as described "
            "again? [y/N] ", v->walk.first, v->walk.last);
    return options_answer(v->o);
}

/* -- doing ----------------------------------------------------------------------------------- */

/* The one event of its batch. */
static bool is_unreadable(struct replay *v, const struct row *row)
{
    if (row->unreadable == NULL)
        return false;
    v->unreadable = true;
    v->resend.failed_id = row->id;
    snprintf(v->resend.why, sizeof v->resend.why, "%s", row->unreadable);
    return true;
}

/* One batch; *ret_on: there is more to do. */
static int step(struct replay *v, bool *ret_on)
{
    static struct operate_sent sent[RESEND_ROWS];
    static struct row *rows[RESEND_ROWS];
    uint32_t n = 0, done;
    int code = operate_walk_next(v->op, &v->walk, RESEND_ROWS, v->o->settings.inflight_bytes, sent, &n,
                                 &v->n_unsent);

    for (uint32_t i = 0; i < n; i++)
        rows[i] = sent[i].row;
    if (n > 0 && is_unreadable(v, rows[0]))
        done = 0;
    else
        done = v->o->dry_run || n == 0 ? n : resend_rows(&v->resend, rows, n);
    v->n += done;
    if (done < n)
        v->next_id = rows[done]->id;
    for (uint32_t i = 0; i < n; i++)
        free(rows[i]);
    if (code == EXIT_OK && done == n && !v->walk.done && loop_stop_requested()) {
        v->resend.interrupted = true;
        v->next_id = v->walk.at + 1;
    }
    *ret_on = code == EXIT_OK && v->next_id == 0 && !v->walk.done;
    progress_show(&v->progress, loop_now_ms(), v->walk.at - v->walk.first + 1,
                  v->walk.last - v->walk.first + 1, v->n);
    if (code != EXIT_OK)
        v->next_id = v->walk.at + 1;
    return code;
}

static int do_it(struct replay *v)
{
    bool on = !v->walk.done;
    int code = EXIT_OK;

    progress_begin(&v->progress, v->o->program, v->o->dry_run ? "found" : "replayed", loop_now_ms());
    while (on && code == EXIT_OK)
        code = step(v, &on);
    progress_end(&v->progress);
    return code == EXIT_OK ? EXIT_OK : options_fail_operate(v->o, v->op, code);
}

/* -- results --------------------------------------------------------------------------------- */

static void print_object(const struct replay *v, int *code)
{
    const struct resend *r = &v->resend;
    json_t *object = json_object();

    if (object == NULL || !object_put_text(object, "command", "replay") ||
        !object_put(object, "dry_run", json_boolean(v->o->dry_run)) ||
        !object_put_number(object, v->o->dry_run ? "n_found" : "n_replayed", v->n) ||
        !object_put_number(object, "n_not_sent", v->n_unsent) ||
        !object_put_number(object, "first_id", v->walk.first) ||
        !object_put_number(object, "last_id", v->walk.last) ||
        !object_put_text(object, "header", r->marker.name) ||
        !object_put_text(object, "value", v->walk.now) ||
        !object_put(object, "interrupted", json_boolean(r->interrupted)) ||
        !object_put(object, "failed_id", r->failed_id != 0 ? json_integer(r->failed_id) : json_null()) ||
        !object_put_text(object, "error", r->failed_id != 0 ? r->why : NULL) ||
        !object_put(object, "go_on_from_id", v->next_id != 0 ? json_integer(v->next_id) : json_null()) ||
        !object_print(object, stdout))
        *code = options_fail(v->o, EXIT_INTERNAL, "out of memory");
    json_decref(object);
}

static void print_words(const struct replay *v)
{
    if (v->o->dry_run)
        printf("%" PRId64 " event%s would be sent again; nothing was sent\n", v->n, v->n == 1 ? "" : "s");
    else
        printf("%" PRId64 " event%s sent again, with %s: %s\n", v->n, v->n == 1 ? "" : "s",
               v->resend.marker.name, v->walk.now);
    if (v->n_unsent > 0)
        printf("%" PRId64 " event%s skipped: not sent yet; the relay sends %s in order\n", v->n_unsent,
               v->n_unsent == 1 ? "" : "s", v->n_unsent == 1 ? "it" : "them");
}

static int say_stop(const struct replay *v)
{
    const struct resend *r = &v->resend;

    if (v->unreadable && r->failed_id >= v->walk.last)
        return options_fail(v->o, EXIT_UNAVAILABLE, "event %" PRId64 " cannot be read from the database: %s; restore "
                            "it; all before it is done, and nothing comes after it", r->failed_id, r->why);
    if (v->unreadable)
        options_fail(v->o, EXIT_UNAVAILABLE, "event %" PRId64 " cannot be read from the database: %s; restore "
                     "it, or leave it out: the same command with --from-id %" PRId64 " --to-id %" PRId64,
                     r->failed_id, r->why, r->failed_id + 1, v->walk.last);
    else if (r->failed_id != 0)
        options_fail(v->o, EXIT_UNAVAILABLE, "event %" PRId64 " was not confirmed: %s", r->failed_id, r->why);
    else if (r->interrupted)
        options_fail(v->o, EXIT_UNAVAILABLE, "interrupted");
    return options_fail(v->o, EXIT_UNAVAILABLE, "stopped: all before number %" PRId64 " is done; go on with "
                        "the same command and --from-id %" PRId64 " --to-id %" PRId64, v->next_id,
                        v->next_id, v->walk.last);
}

static int finish(struct replay *v, int code)
{
    if (code == EXIT_OK && v->n == 0 && v->next_id == 0)
        code = EXIT_NO_MATCH;
    if (v->o->json)
        print_object(v, &code);
    else
        print_words(v);
    if (code == EXIT_NO_MATCH)
        return options_fail(v->o, code, "no sent event is as described");
    if (v->next_id != 0)
        return code == EXIT_OK || code == EXIT_UNAVAILABLE ? say_stop(v) : code;
    return code == EXIT_OK ? options_finish_output(v->o) : code;
}

/* -- from the command line ------------------------------------------------------------------- */

static int open_sink(struct replay *v)
{
    const struct settings *set = &v->o->settings;
    struct resend *r = &v->resend;
    char err[1024];

    r->envelope = (struct envelope){ set->envelope, set->source };
    r->marker = (struct header){ compare_replay_header(set->envelope), v->walk.now, strlen(v->walk.now) };
    r->patience_ms = set->drain_timeout_ms;
    if (v->o->dry_run)
        return -1;
    if (loop_signals() < 0)
        return options_fail(v->o, EXIT_INTERNAL, "signals cannot be handled");
    if (resend_open(r, v->o->kafka, v->o->n_kafka, set->inflight_bytes, err, sizeof err) == 0)
        return -1;
    settings_name_place(set, err, sizeof err);
    return options_fail(v->o, EXIT_CONFIGURATION, "%s", err);
}

static int replay(struct replay *v)
{
    const struct options *o = v->o;
    const struct operate_range range = { o->from_id, o->to_id, o->since, o->until, o->choice.topic,
                                         o->choice.key, o->choice.key_len };
    int code = operate_walk_begin(v->op, &range, &v->walk);

    if (code != EXIT_OK)
        return options_fail_operate(o, v->op, code);
    code = ask(v);
    if (code < 0)
        code = open_sink(v);
    if (code < 0)
        code = finish(v, do_it(v));
    resend_close(&v->resend);
    return code;
}

int command_replay(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_REPLAY, .help = help };
    struct replay v = { .o = &o };
    int code = options_parse(&o, argc, argv);

    if (code < 0)
        code = check_terminal(&o);
    if (code < 0) {
        code = options_connect(&o, SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA, true, &v.op);
        if (code == EXIT_OK)
            code = replay(&v);
    }
    operate_free(v.op);
    options_deinit(&o);
    return code;
}
