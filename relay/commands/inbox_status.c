/* inbox_status.c - `outbox-relay inbox status`: are events applied, and if not why; then the consumers, and how
 * far each partition is. Changes nothing. How it is shown is in inbox_status_show.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/affix.h"
#include "relay/commands/inbox.h"
#include "relay/commands/inbox_status_failing.h"
#include "relay/commands/inbox_status_judge.h"
#include "relay/commands/inbox_status_show.h"
#include "relay/exit_codes.h"
#include "relay/loop.h"
#include "relay/sink/reader.h"
#include "relay/verdict.h"

#define ASK_KAFKA_MS 3000
#define AGAIN_MS 2000 /* for so long what seems to stand still is looked at again */
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
    "(control records of transactions count, too); OLDEST: since when the first of these waits; FAILING: events whose\n"
    "handler failed and is called again (view inbox.failing), SINCE when; DEAD: dead letters that wait for a decision,\n"
    "SINCE when; RETRY: those on their way back; KEEP: for how long ids are remembered.\n"
    "\n"
    "Events are not applied when a partition has stood still for 5 min while a record of it waits; after 2 min where\n"
    "nothing of its consumer has moved, and no session \"inbox C\" in the database shows that a process of it lives.\n"
    "They are not, either, when events of a consumer fail and none was applied since the oldest of these was first\n"
    "called, or for 1 min in which others failed for the first time. While any are applied, what fails needs a look.\n"
    "And they are not when all events that were called since one was applied became dead letters that wait for a\n"
    "decision, three or more; or one, where none was ever applied. Less than that needs a look.\n"
    "The first two are looked at again for up to 2 s: an event that has come this moment may be an old one (a replay,\n"
    "a relay that was away), and a second call may succeed. Of a --consumer that has never started here none are applied.\n"
    "\n"
    "Exit codes: 0 events are applied, also when something needs a look; 69 they are not, or the database or\n"
    "Kafka cannot be reached; 64 usage, 70 internal error, 77 a right is missing, 78 settings or schema.\n";

/* A position that seems to stand still. */
struct standing {
    char consumer[256], topic[256], owner[300];
    int32_t partition;
    int64_t next_offset, lag;
    double stands_s;
    bool begun; /* it has moved at all */
    bool moved; /* it did when it was looked at again */
};

struct asking {
    const struct options *o;
    struct operate *op;
    struct reader *kafka; /* NULL: not asked, or no longer */
    struct standing *standing;
    size_t n_standing, n_moved;
    struct inbox_look look;
};

static bool is_asked_for(const struct asking *a, const char *consumer)
{
    return a->o->consumer == NULL || strcmp(a->o->consumer, consumer) == 0;
}

static void on_consumer(void *arg, const struct operate_consumer *is)
{
    struct asking *a = arg;
    struct inbox_look *l = &a->look;

    if (!is_asked_for(a, is->name))
        return;
    struct inbox_consumer *grown = realloc(l->consumers, (l->n_consumers + 1) * sizeof *grown);
    if (grown == NULL) {
        l->failed = true;
        return;
    }
    l->consumers = grown;
    struct inbox_consumer *c = &l->consumers[l->n_consumers++];
    *c = (struct inbox_consumer){ .is = *is, .lag = -1, .oldest_s = -1 };
    snprintf(c->name, sizeof c->name, "%s", is->name);
    snprintf(c->keep, sizeof c->keep, "%s", is->dedupe_keep);
    snprintf(c->dead_code, sizeof c->dead_code, "%s", is->dead_code != NULL ? is->dead_code : "");
    snprintf(c->dead_error, sizeof c->dead_error, "%s", is->dead_error != NULL ? is->dead_error : "");
}

/* NULL: it has positions, and no row of its own any more. */
static struct inbox_consumer *consumer_of(struct inbox_look *l, const char *name)
{
    for (size_t i = 0; i < l->n_consumers; i++)
        if (strcmp(l->consumers[i].name, name) == 0)
            return &l->consumers[i];
    return NULL;
}

/* -- what fails ------------------------------------------------------------------------------- */

static void on_failing(void *arg, const struct operate_failing *is)
{
    struct asking *a = arg;
    struct inbox_consumer *c = consumer_of(&a->look, is->consumer);

    if (c != NULL)
        inbox_failing_set(&c->failing, is);
}

static int ask_failing(struct asking *a)
{
    for (size_t i = 0; i < a->look.n_consumers; i++)
        a->look.consumers[i].failing.is.n = 0;
    return operate_failing(a->op, on_failing, a);
}

/* -- Kafka ------------------------------------------------------------------------------------ */

static void fail_kafka(struct asking *a, const char *err)
{
    findings_fail(&a->look.findings, EXIT_UNAVAILABLE, "kafka",
                  "check kafka.bootstrap.servers, the network and the brokers. This command has its own settings; a "
                  "consumer has those that it was started with.", "Kafka does not answer this command: %s", err);
    reader_free(a->kafka);
    a->kafka = NULL;
}

static void open_kafka(struct asking *a)
{
    char err[1024];

    if (settings_require(&a->o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0)
        return;
    a->look.kafka_asked = true;
    a->kafka = options_reader(a->o, err, sizeof err);
    if (a->kafka == NULL)
        findings_fail(&a->look.findings, EXIT_CONFIGURATION, "kafka", "correct the setting.",
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
static void ask_kafka(struct asking *a, const struct operate_position *p, int64_t *ret_lag, double *ret_oldest_s)
{
    char err[512];
    int64_t low, high;

    *ret_lag = -1;
    *ret_oldest_s = -1;
    if (a->kafka == NULL)
        return;
    enum reader_ends ends = reader_ends(a->kafka, p->topic, p->partition, ASK_KAFKA_MS, &low, &high, err, sizeof err);
    if (ends == READER_FAILED) {
        fail_kafka(a, err);
        return;
    }
    if (ends == READER_NO_TOPIC) {
        findings_warn(&a->look.findings, "topic", "if it is to be gone, delete its rows of inbox.position.",
                      "consumer %s: %s/%" PRId32 " is not in Kafka", p->consumer, p->topic, p->partition);
        return;
    }
    int64_t from = p->next_offset > low ? p->next_offset : low;
    if (p->next_offset >= 0 && p->next_offset < low)
        findings_warn(&a->look.findings, "lost", "let the topic keep records for longer, and replay those: outbox-relay replay --help.",
                      "consumer %s: Kafka has deleted offsets %" PRId64 " to %" PRId64 " of %s/%" PRId32
                      " before they were applied", p->consumer, p->next_offset, low - 1, p->topic, p->partition);
    *ret_lag = high > from ? high - from : 0;
    if (*ret_lag > 0 && reader_read(a->kafka, p->topic, p->partition, from, from + 1, ASK_KAFKA_MS, NULL, on_record,
                                    ret_oldest_s, err, sizeof err) < 0)
        fail_kafka(a, err);
}

/* -- positions -------------------------------------------------------------------------------- */

static struct standing standing_at(const struct operate_position *p)
{
    struct standing s = { .partition = p->partition, .next_offset = p->next_offset };

    snprintf(s.consumer, sizeof s.consumer, "%s", p->consumer);
    snprintf(s.topic, sizeof s.topic, "%s", p->topic);
    snprintf(s.owner, sizeof s.owner, "%s", p->owner != NULL ? p->owner : "");
    return s;
}

static void note_standing(struct asking *a, const struct operate_position *p, int64_t lag, double oldest_s)
{
    /* it may have stood for long only because nothing came */
    double stands_s = p->moved_s >= 0 && p->moved_s < oldest_s ? p->moved_s : oldest_s;

    if (stands_s < SLOW_S)
        return;
    struct standing *grown = realloc(a->standing, (a->n_standing + 1) * sizeof *grown);
    if (grown == NULL) {
        a->look.failed = true;
        return;
    }
    a->standing = grown;
    a->standing[a->n_standing] = standing_at(p);
    a->standing[a->n_standing].lag = lag;
    a->standing[a->n_standing].begun = p->moved_s >= 0;
    a->standing[a->n_standing++].stands_s = stands_s;
}

static void on_position(void *arg, const struct operate_position *p)
{
    struct asking *a = arg;
    struct inbox_consumer *c = consumer_of(&a->look, p->consumer);
    int64_t lag;
    double oldest_s;

    if (!is_asked_for(a, p->consumer))
        return;
    ask_kafka(a, p, &lag, &oldest_s);
    if (c != NULL && lag >= 0)
        c->lag = (c->lag > 0 ? c->lag : 0) + lag;
    if (c != NULL && oldest_s > c->oldest_s)
        c->oldest_s = oldest_s;
    note_standing(a, p, lag, oldest_s);
    inbox_status_add_position(&a->look, p, lag, oldest_s);
}

/* -- what stands still ------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
    const struct standing *x = a, *y = b;
    int order = strcmp(x->consumer, y->consumer);

    if (order == 0)
        order = strcmp(x->topic, y->topic);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void on_again(void *arg, const struct operate_position *p)
{
    struct asking *a = arg;
    const struct standing key = standing_at(p);
    struct standing *s = bsearch(&key, a->standing, a->n_standing, sizeof key, by_place);

    if (s == NULL || s->moved || s->next_offset == p->next_offset)
        return;
    s->moved = true;
    a->n_moved++;
}

static bool any_fails_wholly(const struct inbox_look *l)
{
    for (size_t i = 0; i < l->n_consumers; i++)
        if (inbox_failing_is_all(&l->consumers[i].failing))
            return true;
    return false;
}

static bool is_settled(const struct asking *a)
{
    return a->n_moved == a->n_standing && !any_fails_wholly(&a->look);
}

static int ask_again(struct asking *a)
{
    int code = a->n_moved < a->n_standing ? operate_positions(a->op, on_again, a) : EXIT_OK;

    return code == EXIT_OK && any_fails_wholly(&a->look) ? ask_failing(a) : code;
}

/* A record that has come this moment may be old: a replay, a retry or a relay that was away keep the event's time.
 * Nothing tells when it came, so a consumer that had nothing to do is given the time to take it; and one whose only
 * event has failed once, to apply it. */
static int look_again(struct asking *a)
{
    uint64_t until_ms = loop_now_ms() + AGAIN_MS;

    if (is_settled(a))
        return EXIT_OK;
    if (a->n_standing > 0)
        qsort(a->standing, a->n_standing, sizeof *a->standing, by_place);
    for (;;) {
        bool last = loop_now_ms() >= until_ms;
        int code = ask_again(a);
        if (code != EXIT_OK || is_settled(a) || last)
            return code;
        loop_wait(NULL, 0, loop_now_ms() + LOOK_MS);
    }
}

/* Nothing of it has moved for long, and no session shows that a process of it lives. */
static bool may_be_gone(const struct inbox_consumer *c)
{
    return c != NULL && !c->is.linked && (c->is.moved_s < 0 || c->is.moved_s >= GONE_S);
}

static void name_owner(const struct standing *s, char *to, size_t size)
{
    int host = (int)strcspn(s->owner, "/"); /* the owner is host/pid/chance */
    const char *pid = s->owner[host] != '\0' ? s->owner + host + 1 : "?";

    if (s->owner[0] == '\0')
        snprintf(to, size, "no process has it");
    else
        snprintf(to, size, "its owner is process %.*s on host %.*s", (int)strcspn(pid, "/"), pid, host, s->owner);
}

/* A consumer that has no partition at all is told by itself: inbox_judge_consumer(). */
static bool is_of_nobody(struct inbox_look *l, const struct standing *s)
{
    const struct inbox_consumer *c = consumer_of(l, s->consumer);

    return s->owner[0] == '\0' && c != NULL && c->is.owned == 0;
}

static void judge_standing(struct inbox_look *l, const struct standing *s)
{
    static const char of_owner[] = "see whether that process still runs; if not, start it; if it does, look into its log: "
                                   "a handler that takes long, or one event that is tried again and again.";
    static const char of_none[] = "Kafka has given it to no process, or to one that cannot use this database (a wrong dsn, "
                                  "password or right, a lock on inbox.position): look into the logs of all processes of the group; "
                                  "kafka-consumer-groups.sh --describe --members says which have partitions.";
    const char *remedy = s->owner[0] != '\0' ? of_owner : of_none;
    char age[32], owner[400], text[1200];

    if (is_of_nobody(l, s))
        return;
    name_owner(s, owner, sizeof owner);
    snprintf(text, sizeof text, "consumer %s stands still in %s/%" PRId32 ": it has not %s %s%s, %" PRId64
             " record%s %s to be done, and %s", s->consumer, s->topic, s->partition,
             s->begun ? "moved for" : "begun, its oldest record is", verdict_age(s->stands_s, age, sizeof age),
             s->begun ? "" : " old", s->lag, plural(s->lag), s->lag == 1 ? "is" : "are", owner);
    if (s->stands_s >= STUCK_S || (s->stands_s >= GONE_S && may_be_gone(consumer_of(l, s->consumer))))
        findings_fail(&l->findings, EXIT_UNAVAILABLE, "position", remedy, "%s", text);
    else
        findings_warn(&l->findings, "position", remedy, "%s", text);
}

/* -- all of it -------------------------------------------------------------------------------- */

/* Of one that was never there nothing is applied. Without a name there may be nothing to apply yet. */
static void judge_name(struct asking *a)
{
    if (a->o->consumer == NULL || a->look.n_consumers > 0)
        return;
    char *known = inbox_known(a->o, a->op);
    findings_fail(&a->look.findings, EXIT_UNAVAILABLE, "consumer",
                  "start it, or correct the name, or the dsn: that of the database to which the consumer writes.",
                  "no consumer of this name has ever started here%s%s", known != NULL ? "; " : "",
                  known != NULL ? known : "");
    free(known);
}

static int show(struct asking *a)
{
    struct inbox_look *l = &a->look;

    l->kafka_up = a->kafka != NULL;
    inbox_judge_server(l);
    judge_name(a);
    for (size_t i = 0; i < l->n_consumers; i++)
        inbox_failing_judge(l, &l->consumers[i]);
    for (size_t i = 0; i < a->n_standing; i++)
        if (!a->standing[i].moved)
            judge_standing(l, &a->standing[i]);
    for (size_t i = 0; i < l->n_consumers; i++)
        inbox_judge_consumer(l, &l->consumers[i]);
    inbox_status_print(l);
    if (l->failed || l->positions.failed || l->findings.failed)
        return options_fail(a->o, EXIT_INTERNAL, "out of memory, or stdout cannot be written");
    int code = options_finish_output(a->o);
    return code == EXIT_OK ? findings_exit_code(&l->findings) : code;
}

static int ask_and_show(struct options *o, struct operate *op)
{
    struct asking a = { .o = o, .op = op };

    if (o->json && (a.look.position_list = json_array()) == NULL)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    open_kafka(&a);
    int code = operate_inbox_server(op, &a.look.server);
    if (code == EXIT_OK)
        code = operate_inbox_status(op, on_consumer, on_position, &a);
    if (code == EXIT_OK)
        code = ask_failing(&a);
    if (code == EXIT_OK)
        code = look_again(&a);
    code = code == EXIT_OK ? show(&a) : options_fail_operate(o, op, code);
    reader_free(a.kafka);
    free(a.standing);
    inbox_look_deinit(&a.look);
    return code;
}

int inbox_status(int argc, char **argv)
{
    struct options o = { .of = OPTIONS_INBOX_STATUS, .help = help };

    return options_look(&o, SETTINGS_NEED_DATABASE, argc, argv, ask_and_show);
}
