/* status.c - `outbox-relay status`: do events flow, and if not why; then who leads, what waits and what
 * blocks. Changes nothing. How it is shown is in status_show.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/commands.h"
#include "relay/commands/flow.h"
#include "relay/commands/options.h"
#include "relay/commands/status_show.h"
#include "relay/exit_codes.h"
#include "relay/sink/inspect.h"
#include "relay/text.h"

#define ASK_KAFKA_MS 3000

static const char help[] =
    "Usage: outbox-relay status [--json] [--limit N]\n"
    "Do events flow, and if not, why? The first line says it. Then which database that is, who leads, what\n"
    "the outbox takes on disk, what waits per topic (the oldest first), which transactions hold events back, and\n"
    "what to do about each thing found; with the relay's own settings also which bucket should have been emptied\n"
    "(retention) and is not. Looks at the database and, when kafka.bootstrap.servers is set, whether a broker answers this command;\n"
    "asks no relay.\n"
    "\n"
    "      --limit N         list at most N topics and transactions (default 50)\n"
    "      --json            one JSON object instead\n"
    "  -c, --config FILE     read settings from FILE\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay status --config /etc/outbox-relay.conf\n"
    "  outbox-relay status -X dsn=postgresql:///shop --json\n"
    "  outbox-relay status --config relay.conf >/dev/null || echo 'events do not flow'\n"
    "\n"
    "PENDING: committed and not taken up yet; HELD: kept in outbox.held, to go on by itself; DEAD: waits\n"
    "for a person; OLDEST: how long the oldest event that is due has waited. A number with a + is what was\n"
    "counted before the count was given up because so much waits.\n"
    "\n"
    "Exit codes: 0 events flow, also when something needs a look; 69 they do not, or the database cannot be\n"
    "reached; 64 usage, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

static void copy(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text != NULL ? text : "");
}

/* -- what is found --------------------------------------------------------------------------- */

static void on_lead(void *arg, const struct operate_lead *lead)
{
    struct look *l = arg;

    l->looked = true;
    l->lead = *lead;
    l->lead.owner = l->owner;
    copy(l->owner, sizeof l->owner, lead->owner);
    copy(l->refused_code, sizeof l->refused_code, lead->refused_code);
    flow_of_lead(&l->in, lead);
    l->in.leader = lead->owner != NULL ? l->owner : NULL;
    l->in.refused_code = lead->refused_code != NULL ? l->refused_code : NULL;
}

static void on_relay(void *arg, const struct operate_relay *relay)
{
    struct look *l = arg;

    relays_add(&l->relays, relay);
}

static void on_topic(void *arg, const struct operate_topic *t)
{
    struct look *l = arg;

    if (l->in.pending < 0)
        l->in.pending = 0;
    /* of what has come late, behind the saved cursor, only the backlog knows */
    if (t->pending > 0 && t->oldest_s > l->in.oldest_s)
        l->in.oldest_s = t->oldest_s;
    /* what is for later only has no age */
    l->in.pending += t->oldest_s >= 0 ? t->pending : 0;
    l->in.pending_capped = l->in.pending_capped || t->more;
    l->in.held += t->held;
    l->in.dead += t->dead;
    if (t->paused_code != NULL || t->paused_why != NULL) {
        if (l->in.n_paused++ == 0) {
            copy(l->paused_topic, sizeof l->paused_topic, t->topic);
            copy(l->paused_why, sizeof l->paused_why,
                 t->paused_why != NULL ? t->paused_why : t->paused_code);
            l->in.paused_topic = l->paused_topic;
            l->in.paused_why = l->paused_why;
        }
    }
    status_add_topic(l, t);
}

static void on_blocker(void *arg, const struct operate_blocker *b)
{
    struct look *l = arg;

    /* what lets nothing be marked, or the oldest whose events wait; another lock is told of with its bucket */
    if (l->in.n_blockers++ == 0 || (b->holds_marks && !l->in.blocker.holds_marks) ||
        (b->holds_rows && !l->in.blocker.holds_rows && !l->in.blocker.holds_marks)) {
        copy(l->application, sizeof l->application,
             b->pid == 0 ? b->prepared : b->application);
        l->in.blocker = (struct verdict_blocker){ b->pid, l->application, b->age_s, b->holds_rows,
                                                  b->holds_truncate, b->holds_marks };
    }
    if (b->age_mend != NULL) {
        copy(l->ages_mend, sizeof l->ages_mend, b->age_mend);
        l->in.ages_mend = l->ages_mend;
    }
    status_add_blocker(l, b);
}

/* Without settings for Kafka nothing is known of it, and nothing concluded. */
static void ask_kafka(struct look *l, const struct options *o)
{
    char err[1024];

    if (settings_require(&o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0)
        return;
    struct inspect *kafka = options_inspect(o, l->kafka_error, sizeof l->kafka_error);
    if (kafka == NULL) {
        l->in.kafka_misset = l->kafka_error;
        return;
    }
    l->in.kafka_up = inspect_reach(kafka, ASK_KAFKA_MS, &l->brokers, l->kafka_error,
                                   sizeof l->kafka_error) ? FACT_YES : FACT_NO;
    l->in.kafka_error = l->kafka_error;
    inspect_free(kafka);
}

/* -- from the command line ------------------------------------------------------------------- */

static const char *without(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : text;
}

/* A database that does not answer is what the command is there to tell, and so is one that does not let it look. */
static int look_at_database(struct look *l, const struct options *o, struct operate *op)
{
    const struct operate_status status = { l, on_lead, on_topic, on_blocker };
    int code = operate_connect(op);

    if (code == EXIT_OK)
        code = operate_status(op, o->limit, &status);
    if (code == EXIT_OK)
        code = operate_relays(op, on_relay, l);
    if (l->in.leader == NULL || l->lead.ended)
        relays_nobody_leads(&l->relays);
    if (code != EXIT_OK && code != EXIT_UNAVAILABLE && code != EXIT_PERMISSION && code != EXIT_CONFIGURATION)
        return options_fail_operate(o, op, code);
    l->code = code;
    options_place(o, op, l->place_words, sizeof l->place_words);
    if (code == EXIT_OK) {
        l->in.pending = l->in.pending < 0 ? 0 : l->in.pending;
        space_ask(&l->space, op, o->settings.retention_ms);
        l->in.overdue = l->space.overdue;
    }
    l->place = operate_place(op); /* after the last question, with which the connection may have ended */
    if (code != EXIT_OK) {
        l->in.db_remedy = operate_reason(op, l->db_error, sizeof l->db_error);
        l->in.db_up = FACT_NO;
        l->in.db_error = without(l->db_error, "cannot connect to PostgreSQL: ");
    }
    return EXIT_OK;
}

static int show(struct options *o, struct operate *op)
{
    struct look l = { .in = VERDICT_INPUT_UNKNOWN };
    int code = EXIT_OK;

    l.in.role = VERDICT_LEADS;
    l.in.by_command = true;
    if (o->json) {
        l.topic_list = json_array();
        l.blocker_list = json_array();
        if (l.topic_list == NULL || l.blocker_list == NULL)
            code = options_fail(o, EXIT_INTERNAL, "out of memory");
    }
    if (code == EXIT_OK)
        code = look_at_database(&l, o, op);
    if (code == EXIT_OK) {
        ask_kafka(&l, o);
        verdict_reach(&l.in, &l.verdict);
        status_print(&l);
        code = options_finish_output(o);
        if (code == EXIT_OK && (l.failed || l.topics.failed || l.blockers.failed))
            code = options_fail(o, EXIT_INTERNAL, "out of memory; list fewer with --limit");
        if (code == EXIT_OK && l.verdict.level == VERDICT_BAD)
            code = l.code != EXIT_OK ? l.code : EXIT_UNAVAILABLE;
    }
    json_decref(l.topic_list);
    json_decref(l.blocker_list);
    table_deinit(&l.topics);
    table_deinit(&l.blockers);
    return code;
}

int command_status(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_STATUS, .help = help };
    struct operate *op = NULL;
    int code = options_parse(&o, argc, argv);

    if (code < 0) {
        code = options_settings(&o, SETTINGS_NEED_DATABASE);
        if (code == EXIT_OK && (op = options_operate(&o, true)) == NULL)
            code = EXIT_INTERNAL;
        if (code == EXIT_OK)
            code = show(&o, op);
    }
    operate_free(op);
    options_deinit(&o);
    return code;
}
