/* inbox_status.c - `outbox-relay inbox status`: are events applied, and if not why; then the consumers, and how
 * far each partition is. Changes nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/affix.h"
#include "relay/commands/findings.h"
#include "relay/commands/inbox.h"
#include "relay/commands/object.h"
#include "relay/exit_codes.h"
#include "relay/loop.h"
#include "relay/sink/reader.h"
#include "relay/text.h"
#include "relay/verdict.h"

#define WIDE 60
#define ASK_KAFKA_MS 3000
#define AGAIN_MS 2000 /* what seems to stand still is looked at once more, so long after the command began */
#define LOOK_MS 200   /* between two such looks */
#define SLOW_S 60.0   /* so long a record may wait, and its position stand still, */
#define STUCK_S 300.0 /* before it is looked at; and before events count as not applied, */
#define GONE_S 120.0  /* which is sooner where nothing of the consumer moves, and no process of it is seen */

static const char help[] =
    "Usage: outbox-relay inbox status [--consumer C] [--json]\n"
    "Are events applied, and if not, why? The first line says it. Then the consumers, how far each of their\n"
    "partitions is, and what to do about each thing found. Looks at the database of the consumers and, when\n"
    "kafka.bootstrap.servers is set, at the ends of their topics, for how much waits and since when.\n"
    "\n"
    "      --consumer C      only this consumer (its Kafka group)\n"
    "      --json            one JSON object instead\n"
    "  -c, --config FILE     read settings from FILE; only dsn is needed\n"
    "  -X KEY=VALUE          set one setting; may be repeated\n"
    "  -h, --help            print this\n"
    "\n"
    "Examples:\n"
    "  outbox-relay inbox status -X dsn=postgresql:///billing\n"
    "  outbox-relay inbox status -X dsn=postgresql:///billing -X kafka.bootstrap.servers=localhost:9092\n"
    "  outbox-relay inbox status --config inbox.conf --json >/dev/null || echo 'events are not applied'\n"
    "\n"
    "OWNED: partitions that a process has, or had when it was killed; LAG: records in Kafka that are not finished\n"
    "(control records of transactions count, too); OLDEST: since when the first of these waits; DEAD: dead letters\n"
    "that wait for a decision; RETRY: those on their way back; KEEP: for how long ids are remembered.\n"
    "\n"
    "Events are not applied when a partition has stood still for 5 min while a record of it waits; after 2 min where\n"
    "nothing of its consumer has moved, and no session \"inbox C\" in the database shows that a process of it lives.\n"
    "Then it is looked at again for up to 2 s: an event that has come this moment may be an old one (a replay, a\n"
    "relay that was away).\n"
    "\n"
    "Exit codes: 0 events are applied, also when something needs a look; 69 they are not, or the database or\n"
    "Kafka cannot be reached; 64 usage, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

struct consumer {
    char name[256], keep[64];
    struct operate_consumer is; /* its text is above */
    int64_t lag;                /* negative: not known */
    double oldest_s;
};

struct look {
    const struct options *o;
    struct operate *op;
    uint64_t began_ms;
    struct consumer *consumers;
    size_t n_consumers;
    struct reader *kafka; /* NULL: not asked, or no longer */
    bool asked;
    struct findings found;
    struct table positions;
    json_t *position_list; /* NULL: tables are wanted */
    bool failed;           /* out of memory */
};

static void add_age(struct table *t, double seconds)
{
    char text[32];

    table_add(t, seconds >= 0 ? verdict_age(seconds, text, sizeof text) : "-");
}

static void add_known(struct table *t, int64_t n)
{
    if (n >= 0)
        table_add_number(t, n);
    else
        table_add(t, "-");
}

static bool is_asked_for(const struct look *l, const char *consumer)
{
    return l->o->consumer == NULL || strcmp(l->o->consumer, consumer) == 0;
}

static void on_consumer(void *arg, const struct operate_consumer *is)
{
    struct look *l = arg;

    if (!is_asked_for(l, is->name))
        return;
    struct consumer *grown = realloc(l->consumers, (l->n_consumers + 1) * sizeof *grown);
    if (grown == NULL) {
        l->failed = true;
        return;
    }
    l->consumers = grown;
    struct consumer *c = &l->consumers[l->n_consumers++];
    *c = (struct consumer){ .is = *is, .lag = -1, .oldest_s = -1 };
    snprintf(c->name, sizeof c->name, "%s", is->name);
    snprintf(c->keep, sizeof c->keep, "%s", is->dedupe_keep);
}

/* NULL: it has positions, and no row of its own any more. */
static struct consumer *consumer_of(struct look *l, const char *name)
{
    for (size_t i = 0; i < l->n_consumers; i++)
        if (strcmp(l->consumers[i].name, name) == 0)
            return &l->consumers[i];
    return NULL;
}

/* -- Kafka ------------------------------------------------------------------------------------ */

static void fail_kafka(struct look *l, const char *err)
{
    findings_fail(&l->found, EXIT_UNAVAILABLE, "kafka",
                  "check kafka.bootstrap.servers, the network and the brokers.", "Kafka does not answer: %s", err);
    reader_free(l->kafka);
    l->kafka = NULL;
}

static void open_kafka(struct look *l)
{
    char err[1024];

    if (settings_require(&l->o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0)
        return;
    l->asked = true;
    l->kafka = options_reader(l->o, err, sizeof err);
    if (l->kafka == NULL)
        findings_fail(&l->found, EXIT_CONFIGURATION, "kafka", "correct the setting.",
                      "Kafka cannot be asked: %s", err);
}

static void on_record(void *arg, const struct reader_record *record)
{
    double *oldest_s = arg;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    double s = (double)now.tv_sec - (double)record->timestamp_ms / 1000;
    if (record->timestamp_ms >= 0 && *oldest_s < 0)
        *oldest_s = s > 0 ? s : 0;
}

/* How much of the partition is not finished, and since when its first record waits: negative for what is
 * not known. */
static void ask_kafka(struct look *l, const struct operate_position *p, int64_t *ret_lag, double *ret_oldest_s)
{
    char err[512];
    int64_t low, high;

    *ret_lag = -1;
    *ret_oldest_s = -1;
    if (l->kafka == NULL)
        return;
    enum reader_ends ends = reader_ends(l->kafka, p->topic, p->partition, ASK_KAFKA_MS, &low, &high, err, sizeof err);
    if (ends == READER_FAILED) {
        fail_kafka(l, err);
        return;
    }
    if (ends == READER_NO_TOPIC) {
        findings_warn(&l->found, "topic", "if it is to be gone, delete its rows of inbox.position.",
                      "consumer %s: %s/%" PRId32 " is not in Kafka", p->consumer, p->topic, p->partition);
        return;
    }
    int64_t from = p->next_offset > low ? p->next_offset : low;
    if (p->next_offset >= 0 && p->next_offset < low)
        findings_warn(&l->found, "lost", "let the topic keep records for longer, and replay those: outbox-relay replay --help.",
                      "consumer %s: Kafka has deleted offsets %" PRId64 " to %" PRId64 " of %s/%" PRId32
                      " before they were applied", p->consumer, p->next_offset, low - 1, p->topic, p->partition);
    *ret_lag = high > from ? high - from : 0;
    if (*ret_lag > 0 && reader_read(l->kafka, p->topic, p->partition, from, from + 1, ASK_KAFKA_MS, NULL, on_record,
                                    ret_oldest_s, err, sizeof err) < 0)
        fail_kafka(l, err);
}

/* -- positions -------------------------------------------------------------------------------- */

static void position_to_list(struct look *l, const struct operate_position *p, int64_t lag, double oldest_s)
{
    json_t *object = json_object();

    if (!object_append(l->position_list, object,
                       object != NULL && object_put_text(object, "consumer", p->consumer) &&
                           object_put_text(object, "topic", p->topic) &&
                           object_put_number(object, "partition", p->partition) &&
                           object_put(object, "next_offset",
                                      p->next_offset >= 0 ? json_integer(p->next_offset) : json_null()) &&
                           object_put(object, "lag", lag >= 0 ? json_integer(lag) : json_null()) &&
                           object_put_seconds(object, "oldest_s", oldest_s) &&
                           object_put_text(object, "owner", p->owner) &&
                           object_put_seconds(object, "moved_s", p->moved_s)))
        l->failed = true;
}

static void position_to_table(struct look *l, const struct operate_position *p, int64_t lag, double oldest_s)
{
    static const char *const heads[] = { "CONSUMER", "TOPIC", "PARTITION", "NEXT OFFSET", "LAG", "OLDEST",
                                         "MOVED",    "OWNER" };
    struct table *t = &l->positions;

    for (size_t i = 0; t->n_columns == 0 && i < sizeof heads / sizeof heads[0]; i++)
        table_add(t, heads[i]);
    t->n_columns = sizeof heads / sizeof heads[0];
    table_add_text(t, p->consumer, WIDE);
    table_add_text(t, p->topic, WIDE);
    table_add_number(t, p->partition);
    add_known(t, p->next_offset);
    add_known(t, lag);
    add_age(t, oldest_s);
    add_age(t, p->moved_s);
    table_add_text(t, p->owner, WIDE);
}

/* Nothing of it has moved for long, and no session shows that a process of it lives. */
static bool may_be_gone(const struct consumer *c)
{
    return c != NULL && !c->is.linked && (c->is.moved_s < 0 || c->is.moved_s >= GONE_S);
}

struct again {
    const struct operate_position *was;
    bool stands;
};

static void on_again(void *arg, const struct operate_position *p)
{
    struct again *a = arg;

    if (p->partition == a->was->partition && strcmp(p->topic, a->was->topic) == 0 &&
        strcmp(p->consumer, a->was->consumer) == 0)
        a->stands = p->next_offset == a->was->next_offset;
}

/* A record that has come this moment may be old: a replay, a retry or a relay that was away keep the event's time.
 * Nothing tells when it came, so a consumer that had nothing to do is given the time to take it. */
static bool still_stands(const struct look *l, const struct operate_position *p)
{
    struct again a = { p, true };

    for (;;) {
        bool last = loop_now_ms() >= l->began_ms + AGAIN_MS;
        if (operate_positions(l->op, on_again, &a) != EXIT_OK || !a.stands || last)
            return a.stands;
        loop_wait(NULL, 0, loop_now_ms() + LOOK_MS);
    }
}

static void judge_position(struct look *l, const struct consumer *c, const struct operate_position *p, int64_t lag,
                           double oldest_s)
{
    static const char remedy[] = "see whether that process still runs; if not, start it; if it does, look into its log: "
                                 "a handler that takes long, or one event that is tried again and again.";
    /* it may have stood for long only because nothing came */
    double stands_s = p->moved_s >= 0 && p->moved_s < oldest_s ? p->moved_s : oldest_s;
    char age[32], text[1200];

    if (p->owner == NULL || stands_s < SLOW_S || !still_stands(l, p))
        return; /* of partitions without an owner the consumer says enough */
    int host = (int)strcspn(p->owner, "/"); /* the owner is host/pid/chance */
    const char *pid = p->owner[host] != '\0' ? p->owner + host + 1 : "?";
    snprintf(text, sizeof text, "consumer %s stands still in %s/%" PRId32 ": it has not moved for %s, %" PRId64
             " record%s %s to be done, and its owner is process %.*s on host %.*s", p->consumer, p->topic,
             p->partition, verdict_age(stands_s, age, sizeof age), lag, plural(lag), lag == 1 ? "is" : "are",
             (int)strcspn(pid, "/"), pid, host, p->owner);
    if (stands_s >= STUCK_S || (stands_s >= GONE_S && may_be_gone(c)))
        findings_fail(&l->found, EXIT_UNAVAILABLE, "position", remedy, "%s", text);
    else
        findings_warn(&l->found, "position", remedy, "%s", text);
}

static void on_position(void *arg, const struct operate_position *p)
{
    struct look *l = arg;
    struct consumer *c = consumer_of(l, p->consumer);
    int64_t lag;
    double oldest_s;

    if (!is_asked_for(l, p->consumer))
        return;
    ask_kafka(l, p, &lag, &oldest_s);
    if (c != NULL && lag >= 0)
        c->lag = (c->lag > 0 ? c->lag : 0) + lag;
    if (c != NULL && oldest_s > c->oldest_s)
        c->oldest_s = oldest_s;
    judge_position(l, c, p, lag, oldest_s);
    if (l->position_list != NULL)
        position_to_list(l, p, lag, oldest_s);
    else
        position_to_table(l, p, lag, oldest_s);
}

/* -- consumers -------------------------------------------------------------------------------- */

static void judge_consumer(struct look *l, const struct consumer *c)
{
    const struct operate_consumer *is = &c->is;
    char age[32];

    if (is->partitions == 0)
        findings_warn(&l->found, "owner", "does it run, do its topics exist, and may it read them?",
                      "consumer %s has started and never had a partition", c->name);
    else if (is->owned == 0)
        findings_fail(&l->found, EXIT_UNAVAILABLE, "owner",
                      "start it; one that was just started may still be waiting to join its group (kafka.session.timeout.ms, "
                      "45 s unless set): see its log; if it is to be no more, delete its rows of inbox.consumer and "
                      "inbox.position.",
                      "no process of consumer %s has a partition", c->name);
    else if (is->owned < is->partitions)
        findings_warn(&l->found, "owner", "wait for a rebalance to end; delete rows of inbox.position that are of "
                      "topics it reads no more.", "of consumer %s's %" PRId64 " partitions %" PRId64 " have no owner",
                      c->name, is->partitions, is->partitions - is->owned);
    if (is->dead > 0)
        findings_warn(&l->found, "dead letters", "outbox-relay inbox dead lists them; then inbox retry or inbox discard.",
                      "%" PRId64 " dead letter%s of consumer %s wait%s for a decision, the oldest for %s", is->dead,
                      plural(is->dead), c->name, is->dead == 1 ? "s" : "",
                      verdict_age(is->oldest_dead_s, age, sizeof age));
}

static void print_consumers(struct look *l)
{
    static const char *const heads[] = { "CONSUMER", "PARTITIONS", "OWNED", "PROCESSES", "MOVED", "LAG",
                                         "OLDEST",   "DEAD",       "SINCE", "RETRY",     "KEEP" };
    struct table t = { .n_columns = sizeof heads / sizeof heads[0] };

    for (size_t i = 0; i < t.n_columns; i++)
        table_add(&t, heads[i]);
    for (size_t i = 0; i < l->n_consumers; i++) {
        const struct consumer *c = &l->consumers[i];
        table_add_text(&t, c->name, WIDE);
        table_add_number(&t, c->is.partitions);
        table_add_number(&t, c->is.owned);
        table_add_number(&t, c->is.owners);
        add_age(&t, c->is.moved_s);
        add_known(&t, c->lag);
        add_age(&t, c->oldest_s);
        table_add_number(&t, c->is.dead);
        add_age(&t, c->is.oldest_dead_s);
        table_add_number(&t, c->is.retry);
        table_add_text(&t, c->keep, WIDE);
    }
    if (l->n_consumers > 0 && (putchar('\n') == EOF || !table_print(&t, stdout)))
        l->failed = true;
    table_deinit(&t);
}

static json_t *consumer_list(const struct look *l)
{
    json_t *list = json_array();

    for (size_t i = 0; list != NULL && i < l->n_consumers; i++) {
        const struct consumer *c = &l->consumers[i];
        json_t *object = json_object();
        if (!object_append(list, object,
                           object != NULL && object_put_text(object, "consumer", c->name) &&
                               object_put_number(object, "partitions", c->is.partitions) &&
                               object_put_number(object, "owned", c->is.owned) &&
                               object_put_number(object, "processes", c->is.owners) &&
                               object_put_seconds(object, "moved_s", c->is.moved_s) &&
                               object_put(object, "lag", c->lag >= 0 ? json_integer(c->lag) : json_null()) &&
                               object_put_seconds(object, "oldest_s", c->oldest_s) &&
                               object_put_number(object, "dead", c->is.dead) &&
                               object_put_seconds(object, "oldest_dead_s", c->is.oldest_dead_s) &&
                               object_put_number(object, "retry", c->is.retry) &&
                               object_put_text(object, "dedupe_keep", c->keep))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* -- shown ------------------------------------------------------------------------------------ */

static const char *first_of(const struct findings *f, enum finding_level level)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].level == level)
            return f->list[i].text;
    return "";
}

/* The first line; to be freed, NULL when out of memory. */
static char *sentence_of(const struct look *l)
{
    size_t failed = findings_count(&l->found, FINDING_FAIL), warned = findings_count(&l->found, FINDING_WARN);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    if (failed > 0)
        fprintf(out, "Events are not applied as they should be: %s", first_of(&l->found, FINDING_FAIL));
    else if (l->n_consumers == 0) {
        char *known = inbox_known(l->o, l->op);
        fprintf(out, "No consumer%s has ever started here%s%s", l->o->consumer != NULL ? " of this name" : "",
                known != NULL ? "; " : "", known != NULL ? known : "");
        free(known);
    } else
        fprintf(out, "Events are applied%s%s", warned > 0 ? ", but look: " : "", first_of(&l->found, FINDING_WARN));
    if (failed + warned > 1)
        fprintf(out, " (and %zu more, below)", failed + warned - 1);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static void print_object(struct look *l, const char *sentence)
{
    json_t *object = json_object(), *found = findings_object(&l->found);

    if (object == NULL || found == NULL ||
        !object_put(object, "applied", json_boolean(findings_count(&l->found, FINDING_FAIL) == 0)) ||
        !object_put_text(object, "verdict", sentence) ||
        !object_put(object, "findings", json_incref(json_object_get(found, "findings"))) ||
        !object_put(object, "kafka_up", l->asked ? json_boolean(l->kafka != NULL) : json_null()) ||
        !object_put(object, "consumers", consumer_list(l)) ||
        !object_put(object, "positions", json_incref(l->position_list)) || !object_print(object, stdout))
        l->failed = true;
    json_decref(found);
    json_decref(object);
}

static void print_words(struct look *l, const char *sentence)
{
    text_put(stdout, sentence, 1000);
    putchar('\n');
    print_consumers(l);
    if (l->positions.n_cells > 0 && (putchar('\n') == EOF || !table_print(&l->positions, stdout)))
        l->failed = true;
    if (!l->asked)
        puts("\nLAG and OLDEST are not known: kafka.bootstrap.servers is not set");
    if (l->found.n > 0)
        putchar('\n');
    findings_list(&l->found, stdout);
}

static int show(struct look *l)
{
    char *sentence;

    for (size_t i = 0; i < l->n_consumers; i++)
        judge_consumer(l, &l->consumers[i]);
    sentence = sentence_of(l);
    if (sentence == NULL)
        return options_fail(l->o, EXIT_INTERNAL, "out of memory");
    if (l->o->json)
        print_object(l, sentence);
    else
        print_words(l, sentence);
    free(sentence);
    if (l->failed || l->positions.failed || l->found.failed)
        return options_fail(l->o, EXIT_INTERNAL, "out of memory, or stdout cannot be written");
    int code = options_finish_output(l->o);
    return code == EXIT_OK ? findings_exit_code(&l->found) : code;
}

static int look(struct options *o, struct operate *op)
{
    struct look l = { .o = o, .op = op, .began_ms = loop_now_ms() };
    int code = EXIT_OK;

    if (o->json && (l.position_list = json_array()) == NULL)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    open_kafka(&l);
    code = operate_inbox_status(op, on_consumer, on_position, &l);
    code = code == EXIT_OK ? show(&l) : options_fail_operate(o, op, code);
    reader_free(l.kafka);
    json_decref(l.position_list);
    table_deinit(&l.positions);
    findings_deinit(&l.found);
    free(l.consumers);
    return code;
}

int inbox_status(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_INBOX_STATUS, .help = help };

    return options_look(&o, argc, argv, look);
}
