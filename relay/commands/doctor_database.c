/* doctor_database.c - the half of `doctor` that looks at PostgreSQL: asks for each fact, in the order in which a person
 * reads them. What they mean is in doctor_fact.c and doctor_lead.c.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "relay/commands/doctor.h"
#include "relay/exit_codes.h"
#include "relay/source/operate_status.h"
#include "relay/verdict.h"

/* Whoever locks a table is in the way of many checks: what they all meet is said once, in the words of the first. */
#define MAX_CAUSES 4
struct cause {
    int code;
    char sqlstate[6];
    const char *subject; /* the first check that could not be made */
    char others[240], why[1024];
};

struct asking {
    struct doctor *d;
    struct operate *op;
    bool installed, usable; /* by this role */
    bool unwritable; /* no relay can work on this server */
    bool blind; /* it may not see how old the transactions of others are */
    size_t n; /* facts of the kind that was asked for */
    double clock_s, period_s;
    enum doctor_lease lease;
    struct relays relays;
    struct verdict_blocker keeps_marks_out; /* the oldest; none: holds_marks is false */
    char application[64];
    struct cause cause[MAX_CAUSES];
    size_t n_causes;
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
    if (x->kind == FACT_BLIND) {
        a->blind = true;
        if (!a->usable) /* what makes it usable grants this as well */
            return;
    }
    if (x->kind == FACT_DEFAULT)
        a->period_s = x->number;
    if (x->kind == FACT_CLOCK)
        a->clock_s = x->number;
    if (x->kind == FACT_SERVER)
        a->unwritable = x->detail[0] != '\0';
    if (x->kind == FACT_LEAD && a->unwritable && (strcmp(x->detail, "ended") == 0 || strcmp(x->detail, "resigned") == 0))
        doctor_lead_nowhere(&a->d->findings);
    else
        doctor_fact(&a->d->findings, x);
}

static bool is_cause(const struct cause *c, int code, const char *sqlstate)
{
    return c->code == code && strcmp(c->sqlstate, sqlstate) == 0;
}

static void add_other(struct cause *c, const char *subject)
{
    size_t n = strlen(c->others);

    snprintf(c->others + n, sizeof c->others - n, "%s%s", n > 0 ? ", " : ", nor can ", subject);
}

/* Behind a failure of operate's: say_causes() says it. */
static void cannot_look(struct asking *a, int code, const char *subject)
{
    const char *why = operate_error(a->op), *sqlstate = operate_sqlstate(a->op);
    struct cause *c = a->cause;

    while (c < a->cause + a->n_causes && !is_cause(c, code, sqlstate))
        c++;
    if (c < a->cause + a->n_causes) {
        add_other(c, subject);
    } else if (a->n_causes < MAX_CAUSES) {
        *c = (struct cause){ .code = code, .subject = subject };
        snprintf(c->sqlstate, sizeof c->sqlstate, "%s", sqlstate);
        snprintf(c->why, sizeof c->why, "%s", why);
        a->n_causes++;
    } else {
        findings_fail(&a->d->findings, code, subject, NULL, "cannot be looked at: %s", why);
    }
}

static void say_causes(struct asking *a)
{
    bool size_is_due = a->d->space.bytes < 0;

    for (struct cause *c = a->cause; c < a->cause + a->n_causes; c++) {
        if (size_is_due && is_cause(c, a->d->space.code, a->d->space.sqlstate)) {
            add_other(c, "size");
            size_is_due = false;
        }
        findings_fail(&a->d->findings, c->code, c->subject, NULL, "cannot be looked at%s: %s", c->others, c->why);
    }
    if (size_is_due)
        doctor_space(&a->d->findings, &a->d->space);
}

/* `good`: what there is to say when there is no such fact; NULL: nothing. False: it cannot be known. */
static bool ask(struct asking *a, enum operate_fact_kind kind, const char *subject, const char *good)
{
    a->n = 0;
    int code = operate_facts(a->op, kind, on_fact, a);
    if (code != EXIT_OK)
        cannot_look(a, code, subject);
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
    struct asking *a = arg;
    const char *name = b->pid == 0 ? b->prepared : b->application;

    doctor_blocker(&a->d->findings, b, a->d->space.bytes < 0 || a->d->space.overdue.s >= 0);
    if (!b->holds_marks || a->keeps_marks_out.holds_marks)
        return;
    snprintf(a->application, sizeof a->application, "%s", name != NULL ? name : "");
    a->keeps_marks_out = (struct verdict_blocker){ b->pid, a->application, b->age_s, .holds_marks = true };
}

static void on_lead(void *arg, const struct operate_lead *lead)
{
    struct asking *a = arg;

    a->lease = lead->is_standby ? LEASE_COPIED : lead->owner == NULL || lead->left_s < -LEADER_SILENT_S ? LEASE_FREE : lead->ended ? LEASE_OVER : LEASE_HELD;
    doctor_flow(&a->d->findings, lead, &a->keeps_marks_out);
}

/* Behind who leads; whoever keeps marks out is why they stand still. */
static void ask_flow(struct asking *a)
{
    int code = operate_blockers(a->op, 10, on_blocker, a);

    if (code != EXIT_OK)
        cannot_look(a, code, "blocker");
    code = operate_look_at_lead(a->op, on_lead, a);
    if (code != EXIT_OK)
        cannot_look(a, code, "flow");
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
        cannot_look(a, code, "relays");
}

static void ask_outbox(struct asking *a)
{
    struct doctor *d = a->d;

    (void)ask(a, FACT_RIGHT, "rights", "the role has all that the relay needs");
    (void)ask(a, FACT_HIDDEN, "rights", NULL);
    (void)ask(a, FACT_LEAF, "ring", "all leaves are there");
    (void)ask(a, FACT_INDEX, "index", "all are there and valid");
    if (ask(a, FACT_DEFAULT, "bucket", NULL))
        doctor_retention(&d->findings, a->period_s, d->o->settings.retention_ms);
    if (!a->usable)
        return;
    (void)ask(a, FACT_VERSION, "schema", NULL);
    space_ask(&d->space, a->op, d->o->settings.retention_ms);
    if (d->space.bytes >= 0)
        doctor_space(&d->findings, &d->space);
    (void)ask(a, FACT_SEQUENCE, "sequence", NULL);
    (void)ask(a, FACT_CLUSTER, "cluster", NULL);
    (void)ask(a, FACT_LEAD, "lead", NULL);
    ask_flow(a);
    ask_relays(a);
    (void)ask(a, FACT_DEAD, "dead", "no row is dead");
    int code = operate_needs(a->op, DOCTOR_TOPICS, on_need, d);
    d->needs_known = code == EXIT_OK;
    if (code != EXIT_OK)
        cannot_look(a, code, "topics");
}

/* Behind the rights. */
static void ask_ages(struct asking *a)
{
    bool known = ask(a, FACT_BLIND, "transaction", NULL);

    (void)ask(a, FACT_OLD, "transaction", known && !a->blind ? "none has been open for five minutes" : NULL);
}

void doctor_database(struct doctor *d)
{
    struct asking a = { .d = d, .op = options_operate(d->o, true) };
    char place[700];

    if (a.op == NULL) {
        d->findings.failed = true;
        return;
    }
    int code = operate_open(a.op);
    options_place(d->o, a.op, place, sizeof place);
    if (place[0] != '\0')
        findings_ok(&d->findings, "dsn", "%s", place);
    if (code != EXIT_OK) {
        char why[1024];
        const char *how = operate_reason(a.op, why, sizeof why);
        findings_fail(&d->findings, code, "database", how != NULL ? how : "mend " VERDICT_MEND_DATABASE, "%s", why);
    } else {
        ask_server(&a);
        if (ask(&a, FACT_INSTALLED, "schema", NULL) && a.installed &&
            ask(&a, FACT_USAGE, "rights", NULL) && a.usable)
            ask_outbox(&a);
        ask_ages(&a);
        say_causes(&a);
    }
    operate_free(a.op);
}
