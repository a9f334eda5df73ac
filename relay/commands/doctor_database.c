/* doctor_database.c - the half of `doctor` that looks at PostgreSQL: what each fact means, and what to do. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/commands/doctor.h"
#include "relay/exit_codes.h"
#include "relay/source/operate_status.h"
#include "relay/source/schema.h"
#include "relay/verdict.h"

#define SKEW_S 1.0
#define GIB (1024.0 * 1024.0 * 1024.0)
#define SCHEMA_REMEDY "let the DBA compare the schema with sql/001_outbox.up.sql and mend it"

/* -- what a fact means ----------------------------------------------------------------------- */

static void judge_server(struct findings *f, const struct operate_fact *x)
{
    if (x->number < SERVER_VERSION_MIN)
        findings_fail(f, EXIT_CONFIGURATION, "server", "upgrade PostgreSQL to 13 or later",
                      "PostgreSQL %s is too old", x->name);
    else if (strcmp(x->detail, "standby") == 0)
        findings_fail(f, EXIT_UNAVAILABLE, "server", "let the dsn name the primary, or all servers with "
                      "target_session_attrs=read-write",
                      "PostgreSQL %s is a standby: the relay can only work on the primary", x->name);
    else if (x->detail[0] != '\0')
        findings_fail(f, EXIT_UNAVAILABLE, "server", "set default_transaction_read_only to off for the role "
                      "of the relay", "PostgreSQL %s is %s for this role: nothing can be marked", x->name,
                      x->detail);
    else
        findings_ok(f, "server", "PostgreSQL %s, primary", x->name);
}

static void judge_version(struct findings *f, const struct operate_fact *x)
{
    int newest = (int)x->number, breaking = atoi(x->detail);

    if (newest < SCHEMA_VERSION)
        findings_fail(f, EXIT_CONFIGURATION, "schema", "apply the newer files in sql/ in order",
                      "the schema has version %d, this program needs %d", newest, SCHEMA_VERSION);
    else if (breaking > SCHEMA_VERSION)
        findings_fail(f, EXIT_CONFIGURATION, "schema", "upgrade outbox-relay",
                      "the schema has version %d, which programs that know %d must not use", breaking,
                      SCHEMA_VERSION);
    else
        findings_ok(f, "schema", "version %d", newest);
}

static void judge_default(struct findings *f, const struct operate_fact *x)
{
    char period[32];

    if (x->number < 0)
        findings_warn(f, "bucket", "SELECT outbox.set_bucket_period('1 day')",
                      "the default of outbox.event.bucket is not one that set_bucket_period writes: %s",
                      x->detail);
    else
        findings_ok(f, "bucket", "a new bucket each %s, eight of them",
                    verdict_age(x->number, period, sizeof period));
}

void doctor_retention(struct findings *f, double period_s, uint64_t retention_ms)
{
    double retention_s = (double)retention_ms / 1000;
    char age[32];

    if (retention_ms == 0)
        findings_warn(f, "retention", "set retention to a time, unless something else truncates the buckets",
                      "it is off in these settings: nothing is ever emptied, and the disk fills");
    else if (period_s > 0 && retention_s >= 7 * period_s)
        findings_fail(f, EXIT_CONFIGURATION, "retention", "as the owner: SELECT outbox.set_bucket_period(...) with "
                      "more than a seventh of the retention; or shorten the retention",
                      "it is %s, and the ring of eight buckets turns faster: no bucket becomes old enough to be "
                      "emptied, and the disk fills", verdict_age(retention_s, age, sizeof age));
    else
        findings_ok(f, "retention", "a bucket is emptied when all in it is sent and older than %s",
                    verdict_age(retention_s, age, sizeof age));
}

void doctor_space(struct findings *f, const struct space *s)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;
    struct verdict v;
    char words[600];

    if (s->bytes < 0) {
        findings_warn(f, "size", NULL, "what the outbox takes on disk is %s", space_words(s, words, sizeof words));
        return;
    }
    findings_ok(f, "size", "the outbox takes %s", space_words(s, words, sizeof words));
    in.overdue = s->overdue;
    verdict_reach(&in, &v);
    for (uint32_t i = 0; i < v.n_findings; i++)
        findings_warn(f, "size", v.finding[i].remedy, "%s", v.finding[i].text);
}

static void judge_sequence(struct findings *f, const struct operate_fact *x)
{
    if (x->number > 0)
        findings_fail(f, EXIT_CONFIGURATION, "sequence", "SELECT setval(pg_get_serial_sequence("
                      "'outbox.event', 'id'), (SELECT max(id) FROM outbox.event))",
                      "the sequence of outbox.event.id stands %.0f below the highest id: ids are handed "
                      "out again, and such events are not sent (a copy without its sequence?)", x->number);
    else if (x->number < 0)
        findings_warn(f, "sequence", "run sql/roles.sql again, which grants it",
                      "the sequence of outbox.event.id may not be seen by this role");
    else
        findings_ok(f, "sequence", "the sequence of outbox.event.id is not behind");
}

static void judge_old(struct findings *f, const struct operate_fact *x)
{
    char age[32], how[200];

    verdict_age(x->number, age, sizeof age);
    if (x->kind == FACT_OLD)
        findings_warn(f, "transaction", verdict_end_session(strtoll(x->detail, NULL, 10), how, sizeof how),
                      "pid %s (%s) has been in a transaction for %s; vacuum cannot clean what it may still "
                      "see", x->detail, x->name, age);
    else
        findings_warn(f, "prepared", "COMMIT PREPARED or ROLLBACK PREPARED, as whoever prepared it says",
                      "the prepared transaction \"%s\" of %s has been there for %s; it holds its events, "
                      "buckets and vacuum", x->name, x->detail, age);
}

static void judge_slot(struct findings *f, const struct operate_fact *x)
{
    findings_warn(f, "slot", "start its consumer, or SELECT pg_drop_replication_slot(name)",
                  "the replication slot \"%s\" is %s and keeps %.1f GiB of the log%s", x->name, x->detail,
                  x->number / GIB, strcmp(x->detail, "active") == 0
                                       ? "; old rows that it may need are not cleaned" : "; the disk may fill");
}

static void judge_dead(struct findings *f, const struct operate_fact *x)
{
    findings_warn(f, "dead", "outbox-relay dead lists them with the reasons; mend the cause, then outbox-relay "
                  "retry or discard", "dead rows: %.0f%s%s; each waits for a person",
                  x->number, x->detail[0] != '\0' ? ", the oldest since " : "", x->detail);
}

/* What a crash of the machine would cost. */
static void judge_durability(struct findings *f, const struct operate_fact *x)
{
    if (x->kind == FACT_SETTING)
        findings_warn(f, "server", "set it to on", "%s is %s: a crash of the machine may damage the "
                      "database", x->name, x->detail);
    else
        findings_warn(f, "commits", "set it to on for whoever appends events",
                      "synchronous_commit is off for %s: a crash of the server may lose a transaction whose "
                      "event is published already", x->name);
}

static void judge_pooler(struct findings *f)
{
    findings_fail(f, EXIT_CONFIGURATION, "pooler", "let the dsn name PostgreSQL itself; applications may "
                  "go through the pooler", "the dsn leads to a pooler: the relay refuses to work there");
}

static void judge_installed(struct findings *f, const struct operate_fact *x)
{
    if (x->number == 0)
        findings_fail(f, EXIT_CONFIGURATION, "schema", "let the DBA apply sql/001_outbox.up.sql, or "
                      "correct the dsn", "the outbox is not installed in database \"%s\"", x->name);
}

/* The role is not that of a relay, or is to become one. */
static void judge_stranger(struct findings *f, const struct operate_fact *x)
{
    char how[400];

    snprintf(how, sizeof how, "run it with the settings of the relay; if this is its role: `%s` (sql/roles.sql makes "
             "outbox_relay)", x->mend);
    findings_fail(f, EXIT_PERMISSION, "rights", how, x->kind == FACT_USAGE ? "the role may not use the schema outbox"
                  : "this is not the role of a relay: it lacks most of the rights that one needs");
}

static void judge_right(struct findings *f, const struct operate_fact *x)
{
    char how[1200];

    if (x->name[0] == '\0') {
        judge_stranger(f, x);
        return;
    }
    snprintf(how, sizeof how, "as the owner of the outbox, or as a superuser: `%s`", x->mend);
    findings_fail(f, EXIT_PERMISSION, "rights", how, "the role lacks %s on %s", x->detail, x->name);
}

static void judge_blind(struct findings *f)
{
    findings_warn(f, "rights", "grant pg_monitor to the role, or run the doctor as another",
                  "the role may not see how old the transactions of others are");
}

static void judge_part(struct findings *f, const struct operate_fact *x)
{
    if (x->kind == FACT_LEAF)
        findings_fail(f, EXIT_CONFIGURATION, "ring", SCHEMA_REMEDY, "%s %s", x->name, x->detail);
    else
        findings_fail(f, EXIT_CONFIGURATION, "index", "create it as sql/001_outbox.up.sql does; an invalid "
                      "one is dropped first", "%s has no valid index %s", x->name, x->detail);
}

static void judge_cluster(struct findings *f)
{
    findings_warn(f, "cluster", "nothing, when the database was restored or copied on purpose; the next "
                  "relay that leads sees to it", "what the relay saved last comes from another cluster");
}

/* A flat switch over what there is to know. */
void doctor_fact(struct findings *f, const struct operate_fact *x)
{
    switch (x->kind) {
    case FACT_SERVER:
        judge_server(f, x);
        return;
    case FACT_ROLE:
        findings_ok(f, "role", "\"%s\" in database \"%s\"", x->name, x->detail);
        return;
    case FACT_POOLER:
        judge_pooler(f);
        return;
    case FACT_SETTING:
    case FACT_ASYNC_COMMIT:
        judge_durability(f, x);
        return;
    case FACT_INSTALLED:
        judge_installed(f, x);
        return;
    case FACT_USAGE:
        if (x->number == 0)
            judge_stranger(f, x);
        return;
    case FACT_RIGHT:
        judge_right(f, x);
        return;
    case FACT_BLIND:
        judge_blind(f);
        return;
    case FACT_VERSION:
        judge_version(f, x);
        return;
    case FACT_LEAF:
    case FACT_INDEX:
        judge_part(f, x);
        return;
    case FACT_DEFAULT:
        judge_default(f, x);
        return;
    case FACT_SEQUENCE:
        judge_sequence(f, x);
        return;
    case FACT_CLUSTER:
        judge_cluster(f);
        return;
    case FACT_LEAD:
        doctor_lead(f, x);
        return;
    case FACT_DEAD:
        judge_dead(f, x);
        return;
    case FACT_OLD:
    case FACT_PREPARED:
        judge_old(f, x);
        return;
    case FACT_SLOT:
        judge_slot(f, x);
        return;
    case FACT_CLOCK: /* doctor_clock */
    case N_FACTS:
        return;
    }
}

void doctor_clock(struct findings *f, double before_s, double server_s, double after_s)
{
    double off = server_s < before_s ? before_s - server_s : server_s > after_s ? server_s - after_s : 0;
    char age[32];

    if (off > SKEW_S)
        findings_warn(f, "clock", "let both machines follow a time server",
                      "the clock of PostgreSQL is %s %s that of this machine; records bear the time of "
                      "PostgreSQL (a broker's clock cannot be asked for)", verdict_age(off, age, sizeof age),
                      server_s < before_s ? "behind" : "ahead of");
    else
        findings_ok(f, "clock", "PostgreSQL and this machine agree (a broker's clock cannot be asked for)");
}

/* -- asking ---------------------------------------------------------------------------------- */

struct asking {
    struct doctor *d;
    struct operate *op;
    bool installed, usable; /* by this role */
    size_t n; /* facts of the kind that was asked for */
    double clock_s, period_s;
    enum doctor_lease lease;
    struct relays relays;
};

static void on_fact(void *arg, const struct operate_fact *x)
{
    struct asking *a = arg;

    a->n++;
    if (x->kind == FACT_INSTALLED)
        a->installed = x->number != 0;
    if (x->kind == FACT_USAGE)
        a->usable = x->number != 0;
    if (x->kind == FACT_RIGHT && x->name[0] == '\0') /* all else would be refused to it as well */
        a->usable = false;
    if (x->kind == FACT_DEFAULT)
        a->period_s = x->number;
    if (x->kind == FACT_CLOCK)
        a->clock_s = x->number;
    doctor_fact(&a->d->findings, x);
}

/* `good`: what there is to say when there is no such fact; NULL: nothing. False: it cannot be known. */
static bool ask(struct asking *a, enum operate_fact_kind kind, const char *subject, const char *good)
{
    a->n = 0;
    int code = operate_facts(a->op, kind, on_fact, a);
    if (code != EXIT_OK)
        findings_fail(&a->d->findings, code, subject, NULL, "cannot be looked at: %s", operate_error(a->op));
    else if (a->n == 0 && good != NULL)
        findings_ok(&a->d->findings, subject, "%s", good);
    return code == EXIT_OK;
}

/* The time of day, as this machine has it. */
static double wall_clock_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ask_clock(struct asking *a)
{
    double before_s = wall_clock_s();

    if (ask(a, FACT_CLOCK, "clock", NULL))
        doctor_clock(&a->d->findings, before_s, a->clock_s, wall_clock_s());
}

static void ask_server(struct asking *a)
{
    (void)ask(a, FACT_SERVER, "server", NULL);
    (void)ask(a, FACT_ROLE, "role", NULL);
    (void)ask(a, FACT_POOLER, "pooler", "none in between");
    (void)ask(a, FACT_SETTING, "server", NULL);
    (void)ask(a, FACT_ASYNC_COMMIT, "commits", "synchronous_commit is not off for anybody");
    ask_clock(a);
    (void)ask(a, FACT_BLIND, "rights", NULL);
    (void)ask(a, FACT_OLD, "transaction", "none has been open for five minutes");
    (void)ask(a, FACT_PREPARED, "prepared", "there is no prepared transaction");
    (void)ask(a, FACT_SLOT, "slot", "no replication slot is inactive or holds cleaning back");
}

static void on_need(void *arg, const struct operate_need *need)
{
    struct doctor *d = arg;
    struct doctor_need *n = &d->need[d->n_needs++];

    n->need = *need;
    snprintf(n->topic, sizeof n->topic, "%s", need->topic);
    snprintf(n->error_code, sizeof n->error_code, "%s", need->error_code != NULL ? need->error_code : "");
    snprintf(n->error, sizeof n->error, "%s", need->error != NULL ? need->error : "");
    n->need.topic = n->topic;
    n->need.error_code = need->error_code != NULL ? n->error_code : NULL;
    n->need.error = need->error != NULL ? n->error : NULL;
}

static void on_blocker(void *arg, const struct operate_blocker *b)
{
    struct doctor *d = arg;
    char age[32], how[200];

    if (b->age_s < 60)
        return;
    const char *holds = b->holds_rows ? "its events" : "the emptying of a bucket";
    verdict_age(b->age_s, age, sizeof age);
    if (b->pid != 0)
        findings_warn(&d->findings, "blocker", verdict_end_session(b->pid, how, sizeof how),
                      "the transaction of pid %" PRId64 " (%s) has been open for %s and holds back %s", b->pid,
                      b->application != NULL ? b->application : "?", age, holds);
    else
        findings_warn(&d->findings, "blocker", "COMMIT PREPARED or ROLLBACK PREPARED, as whoever prepared it "
                      "says", "the prepared transaction \"%s\" has been there for %s and holds back %s",
                      b->prepared != NULL ? b->prepared : "?", age, holds);
}

static void on_lead(void *arg, const struct operate_lead *lead)
{
    struct asking *a = arg;

    a->lease = lead->owner == NULL || lead->left_s < -LEADER_SILENT_S ? LEASE_FREE : lead->ended ? LEASE_OVER : LEASE_HELD;
    doctor_flow(&a->d->findings, lead);
}

static void ask_flow(struct asking *a)
{
    int code = operate_look_at_lead(a->op, on_lead, a);

    if (code != EXIT_OK)
        findings_fail(&a->d->findings, code, "flow", NULL, "cannot be looked at: %s", operate_error(a->op));
}

static void on_relay(void *arg, const struct operate_relay *relay)
{
    struct asking *a = arg;

    relays_add(&a->relays, relay);
}

/* Behind ask_flow. */
static void ask_relays(struct asking *a)
{
    int code = operate_relays(a->op, on_relay, a);

    if (a->lease != LEASE_HELD)
        relays_nobody_leads(&a->relays);
    if (code == EXIT_OK)
        doctor_relays(&a->d->findings, &a->relays, a->lease);
    else
        findings_fail(&a->d->findings, code, "relays", NULL, "cannot be looked at: %s", operate_error(a->op));
}

static void ask_outbox(struct asking *a)
{
    struct doctor *d = a->d;

    (void)ask(a, FACT_RIGHT, "rights", "the role has all that the relay needs");
    (void)ask(a, FACT_LEAF, "ring", "all leaves are there");
    (void)ask(a, FACT_INDEX, "index", "all are there and valid");
    if (ask(a, FACT_DEFAULT, "bucket", NULL))
        doctor_retention(&d->findings, a->period_s, d->o->settings.retention_ms);
    if (!a->usable)
        return;
    (void)ask(a, FACT_VERSION, "schema", NULL);
    space_ask(&d->space, a->op, d->o->settings.retention_ms);
    doctor_space(&d->findings, &d->space);
    (void)ask(a, FACT_SEQUENCE, "sequence", NULL);
    (void)ask(a, FACT_CLUSTER, "cluster", NULL);
    (void)ask(a, FACT_LEAD, "lead", NULL);
    ask_flow(a);
    ask_relays(a);
    (void)ask(a, FACT_DEAD, "dead", "no row is dead");
    int code = operate_blockers(a->op, 10, on_blocker, d);
    if (code == EXIT_OK)
        code = operate_needs(a->op, DOCTOR_TOPICS, on_need, d);
    d->needs_known = code == EXIT_OK;
    if (code != EXIT_OK)
        findings_fail(&d->findings, code, "topics", NULL, "what waits cannot be looked at: %s",
                      operate_error(a->op));
}

void doctor_database(struct doctor *d)
{
    struct asking a = { .d = d, .op = options_operate(d->o, true) };

    if (a.op == NULL) {
        d->findings.failed = true;
        return;
    }
    int code = operate_open(a.op);
    if (code != EXIT_OK) {
        char why[1024];
        const char *how = operate_reason(a.op, why, sizeof why);
        findings_fail(&d->findings, code, "database", how != NULL ? how : "mend " VERDICT_MEND_DATABASE, "%s", why);
    } else {
        ask_server(&a);
        if (ask(&a, FACT_INSTALLED, "schema", NULL) && a.installed &&
            ask(&a, FACT_USAGE, "rights", NULL) && a.usable)
            ask_outbox(&a);
    }
    operate_free(a.op);
}
