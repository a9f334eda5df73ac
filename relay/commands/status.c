/* status.c - `outbox-relay status`: do events flow, and if not why; then who leads, what waits and what
 * blocks. Changes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/commands/commands.h"
#include "relay/commands/flow.h"
#include "relay/commands/object.h"
#include "relay/commands/options.h"
#include "relay/commands/relays.h"
#include "relay/commands/space.h"
#include "relay/exit_codes.h"
#include "relay/sink/inspect.h"
#include "relay/text.h"

#define WIDE 60
#define ASK_KAFKA_MS 3000

static const char help[] =
    "Usage: outbox-relay status [--json] [--limit N]\n"
    "Do events flow, and if not, why? The first line says it. Then who leads, what the outbox takes on\n"
    "disk, what waits per topic (the oldest first), which transactions hold events back, and what to do\n"
    "about each thing found; with the relay's own settings also which bucket should have been emptied\n"
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

struct look {
    struct verdict_input in;
    struct verdict verdict;
    struct operate_lead lead; /* its text is in owner */
    bool looked;              /* at the database */
    struct relays relays;
    char owner[160], refused_code[64], paused_topic[256], paused_why[512], application[160];
    char db_error[1024], kafka_error[1024];
    int brokers;
    struct space space;
    struct table topics, blockers;
    json_t *topic_list, *blocker_list; /* NULL: tables are wanted */
    int code;    /* EXIT_OK: the database let us look */
    bool failed; /* out of memory */
};

static void copy(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text != NULL ? text : "");
}

static void add_age(struct table *t, double seconds)
{
    char text[32];

    table_add(t, seconds >= 0 ? verdict_age(seconds, text, sizeof text) : "-");
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

static void topic_to_list(struct look *l, const struct operate_topic *t)
{
    json_t *object = json_object();

    if (!object_append(l->topic_list, object,
                       object != NULL && object_put_text(object, "topic", t->topic) &&
                           object_put_number(object, "pending", t->pending) &&
                           object_put(object, "more", json_boolean(t->more)) &&
                           object_put_number(object, "held", t->held) &&
                           object_put_number(object, "dead", t->dead) &&
                           object_put_seconds(object, "oldest_s", t->oldest_s) &&
                           object_put_text(object, "paused_code", t->paused_code) &&
                           object_put_text(object, "paused_why", t->paused_why)))
        l->failed = true;
}

static void topic_to_table(struct look *l, const struct operate_topic *t)
{
    static const char *const heads[] = { "TOPIC", "PENDING", "HELD", "DEAD", "OLDEST", "PAUSED BECAUSE" };
    FILE *cell;

    for (size_t i = 0; l->topics.n_columns == 0 && i < sizeof heads / sizeof heads[0]; i++)
        table_add(&l->topics, heads[i]);
    l->topics.n_columns = sizeof heads / sizeof heads[0];
    table_add_text(&l->topics, t->topic, WIDE);
    cell = table_open(&l->topics);
    if (cell != NULL)
        fprintf(cell, "%" PRId64 "%s", t->pending, t->more ? "+" : "");
    table_close(&l->topics);
    table_add_number(&l->topics, t->held);
    table_add_number(&l->topics, t->dead);
    add_age(&l->topics, t->oldest_s);
    table_add_text(&l->topics, t->paused_why != NULL ? t->paused_why : t->paused_code, WIDE);
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
    if (l->topic_list != NULL)
        topic_to_list(l, t);
    else
        topic_to_table(l, t);
}

static void blocker_to_list(struct look *l, const struct operate_blocker *b)
{
    json_t *object = json_object();

    if (!object_append(l->blocker_list, object,
                       object != NULL && object_put_number(object, "pid", b->pid) &&
                           object_put_text(object, "prepared", b->prepared) &&
                           object_put_text(object, "application", b->application) &&
                           object_put_text(object, "username", b->username) &&
                           object_put_seconds(object, "age_s", b->age_s) &&
                           object_put(object, "holds_rows", json_boolean(b->holds_rows)) &&
                           object_put(object, "holds_truncate", json_boolean(b->holds_truncate)) &&
                           object_put_text(object, "leaves", b->leaves)))
        l->failed = true;
}

static void blocker_to_table(struct look *l, const struct operate_blocker *b)
{
    static const char *const heads[] = { "PID", "APPLICATION", "USER", "OPEN FOR", "HOLDS" };
    struct table *t = &l->blockers;

    for (size_t i = 0; t->n_columns == 0 && i < sizeof heads / sizeof heads[0]; i++)
        table_add(t, heads[i]);
    t->n_columns = sizeof heads / sizeof heads[0];
    if (b->pid != 0)
        table_add_number(t, b->pid);
    else
        table_add_text(t, b->prepared, WIDE);
    table_add_text(t, b->application, WIDE);
    table_add_text(t, b->username, WIDE);
    add_age(t, b->age_s);
    table_add(t, b->holds_rows && b->holds_truncate ? "its events, and a bucket"
              : b->holds_rows                       ? "its events"
                                                    : "a bucket");
}

static void on_blocker(void *arg, const struct operate_blocker *b)
{
    struct look *l = arg;

    if (l->in.n_blockers++ == 0) {
        copy(l->application, sizeof l->application,
             b->pid == 0 ? b->prepared : b->application);
        l->in.blocker = (struct verdict_blocker){ b->pid, l->application, b->age_s, b->holds_rows,
                                                  b->holds_truncate };
    }
    if (l->blocker_list != NULL)
        blocker_to_list(l, b);
    else
        blocker_to_table(l, b);
}

/* Without settings for Kafka nothing is known of it, and nothing concluded. */
static void ask_kafka(struct look *l, const struct options *o)
{
    char err[1024];
    size_t n;

    if (settings_require(&o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0)
        return;
    struct sink_property *p = options_kafka(o, &n);
    struct inspect *kafka = p != NULL ? inspect_new(p, n, l->kafka_error, sizeof l->kafka_error) : NULL;
    if (kafka != NULL)
        l->in.kafka_up = inspect_reach(kafka, ASK_KAFKA_MS, &l->brokers, l->kafka_error,
                                       sizeof l->kafka_error) ? FACT_YES : FACT_NO;
    else
        l->in.kafka_up = FACT_NO;
    l->in.kafka_error = l->kafka_error;
    inspect_free(kafka);
    free(p);
}

/* -- shown ----------------------------------------------------------------------------------- */

static const char *level_of(const struct look *l)
{
    return verdict_level_name(l->verdict.level);
}

static json_t *findings_of(const struct look *l)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list != NULL && i < l->verdict.n_findings; i++) {
        const struct verdict_finding *f = &l->verdict.finding[i];
        json_t *object = json_object();
        if (!object_append(list, object,
                           object != NULL &&
                               object_put_text(object, "level", verdict_level_name(f->level)) &&
                               object_put_text(object, "text", f->text) &&
                               object_put_text(object, "remedy", f->remedy))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *lead_of(const struct look *l)
{
    const struct operate_lead *lead = &l->lead;
    json_t *object = json_object();

    if (!l->looked || object == NULL) {
        json_decref(object);
        return l->looked ? NULL : json_null();
    }
    if (object_put_text(object, "owner", l->in.leader) &&
        object_put(object, "lease_left_s", l->in.leader != NULL ? json_real(lead->left_s) : json_null()) &&
        object_put_seconds(object, "renewed_s", lead->renewed_s) &&
        object_put_seconds(object, "leading_s", lead->leading_s) &&
        object_put_number(object, "epoch", lead->epoch) &&
        object_put_seconds(object, "rate", lead->rate) &&
        object_put_seconds(object, "last_mark_s", lead->since_mark_s) &&
        object_put(object, "server_is_standby", json_boolean(lead->is_standby)))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *fact(enum verdict_fact f)
{
    return f == FACT_UNKNOWN ? json_null() : json_boolean(f == FACT_YES);
}

static void print_object(struct look *l)
{
    json_t *object = json_object();

    if (object == NULL ||
        !object_put(object, "flowing", l->code != EXIT_OK ? json_null() : json_boolean(l->verdict.level != VERDICT_BAD)) ||
        !object_put_text(object, "level", level_of(l)) ||
        !object_put_text(object, "verdict", l->verdict.text) ||
        !object_put(object, "findings", findings_of(l)) || !object_put(object, "lead", lead_of(l)) ||
        !object_put(object, "relays", l->looked && !l->lead.is_standby ? relays_list(&l->relays) : json_null()) ||
        !object_put(object, "database_up", fact(l->code == EXIT_OK || l->code == EXIT_UNAVAILABLE ? l->in.db_up : FACT_UNKNOWN)) ||
        !object_put_text(object, "database_error", l->in.db_error) ||
        !object_put(object, "kafka_up", fact(l->in.kafka_up)) ||
        !object_put_text(object, "kafka_error", l->in.kafka_up == FACT_NO ? l->kafka_error : NULL) ||
        !object_put(object, "space", l->looked ? space_object(&l->space) : json_null()) ||
        !object_put(object, "topics", json_incref(l->topic_list)) ||
        !object_put(object, "blockers", json_incref(l->blocker_list)) || !object_print(object, stdout))
        l->failed = true;
    json_decref(object);
}

/* A standby server has no relays, and does not know those of its primary. */
static void print_relays(const struct look *l)
{
    const struct relays *r = &l->relays;
    int others = r->n - r->n_leading;
    bool nobody_leads = l->in.leader == NULL || l->lead.ended;
    char from[500];

    if (l->lead.is_standby)
        return;
    if (others == 0)
        puts(nobody_leads ? "relays  none is connected" : "standby none");
    else if (nobody_leads)
        printf("relays  %d connected%s\n", others, relays_from(r, false, from, sizeof from));
    else
        printf("standby %d relay%s%s\n", others, plural(others), relays_from(r, false, from, sizeof from));
}

static void print_lead(const struct look *l)
{
    const struct operate_lead *lead = &l->lead;
    char age[32], count[32];

    fputs("lead    ", stdout);
    if (l->in.leader == NULL) {
        puts("nobody");
    } else {
        text_put(stdout, l->owner, WIDE);
        if (lead->ended)
            printf(", until %s ago", verdict_age(-lead->left_s, age, sizeof age));
        else
            printf(", for another %s", verdict_age(lead->left_s, age, sizeof age));
        fputs(" (", stdout);
        if (!lead->ended && lead->leading_s >= 0)
            printf("leads for %s, ", verdict_age(lead->leading_s, age, sizeof age));
        printf("last heard of %s ago, epoch %" PRId64 ")\n",
               verdict_age(lead->renewed_s, age, sizeof age), lead->epoch);
    }
    print_relays(l);
    printf("marks   %s a second", verdict_rate(lead->rate, count, sizeof count));
    if (lead->since_mark_s >= 0)
        printf(", the last %s ago", verdict_age(lead->since_mark_s, age, sizeof age));
    putchar('\n');
    if (lead->is_standby)
        puts("server  a standby: this may lag behind, and no relay can work here");
}

static void print_space(const struct look *l)
{
    char words[600];

    fputs("size    ", stdout);
    text_put(stdout, space_words(&l->space, words, sizeof words), sizeof words);
    putchar('\n');
}

static void print_kafka(const struct look *l)
{
    if (l->in.kafka_up == FACT_UNKNOWN) {
        puts("kafka   not asked: kafka.bootstrap.servers is not set");
    } else if (l->in.kafka_up == FACT_YES) {
        printf("kafka   %d broker%s, asked by this command\n", l->brokers, plural(l->brokers));
    } else {
        fputs("kafka   no answer to this command: ", stdout);
        text_put(stdout, l->kafka_error, sizeof l->kafka_error);
        putchar('\n');
    }
}

static void print_table(struct look *l, const struct table *t)
{
    if (t->n_cells == 0)
        return;
    putchar('\n');
    if (!table_print(t, stdout))
        l->failed = true;
}

static void print_words(struct look *l)
{
    text_put(stdout, l->verdict.text, sizeof l->verdict.text);
    fputs("\n\n", stdout);
    if (l->looked)
        print_lead(l);
    print_kafka(l);
    if (l->looked)
        print_space(l);
    print_table(l, &l->topics);
    print_table(l, &l->blockers);
    for (uint32_t i = 0; i < l->verdict.n_findings; i++) {
        const struct verdict_finding *f = &l->verdict.finding[i];
        printf("%s%-5s", i == 0 ? "\n" : "", verdict_level_name(f->level));
        text_put(stdout, f->text, sizeof f->text);
        printf("\n     %s\n", f->remedy);
    }
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
    if (code != EXIT_OK && code != EXIT_UNAVAILABLE)
        (void)options_fail_operate(o, op, code);
    if (code != EXIT_OK && code != EXIT_UNAVAILABLE && code != EXIT_PERMISSION && code != EXIT_CONFIGURATION)
        return code;
    l->code = code;
    if (code == EXIT_OK) {
        l->in.pending = l->in.pending < 0 ? 0 : l->in.pending;
        space_ask(&l->space, op, o->settings.retention_ms);
        l->in.overdue = l->space.overdue;
    }
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
        if (o->json)
            print_object(&l);
        else
            print_words(&l);
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
