/* doctor_fact.c - what `doctor` makes of each fact about PostgreSQL, and what to do about it. Pure. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/doctor.h"
#include "relay/exit_codes.h"
#include "relay/source/schema.h"
#include "relay/verdict.h"

#define SKEW_S 1.0
#define GIB (1024.0 * 1024.0 * 1024.0)
#define SCHEMA_REMEDY "let the DBA compare the schema with sql/001_outbox.up.sql and mend it"

static void judge_server(struct findings *f, const struct operate_fact *x)
{
    if (x->number < SERVER_VERSION_MIN)
        findings_fail(f, EXIT_CONFIGURATION, "server", "upgrade PostgreSQL to 13 or later",
                      "PostgreSQL %s is too old", x->name);
    else if (strcmp(x->detail, "standby") == 0)
        findings_fail(f, EXIT_UNAVAILABLE, "server", "let the dsn name the primary, or all servers; where "
                      "none of them is a primary, " VERDICT_PROMOTE,
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

    if (strcmp(x->name, "hidden") == 0)
        findings_fail(f, EXIT_PERMISSION, "schema", VERDICT_SEE_ALL_ROWS,
                      "row-level security hides outbox.schema_version from the role");
    else if (newest < SCHEMA_VERSION)
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
        findings_ok(f, "retention", "by these settings a bucket is emptied when all in it is sent and older than %s",
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
    char how[200];

    snprintf(how, sizeof how, "SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), %s); man 7 outbox, COPIES AND "
             "CRASHES, says what mends the events", x->detail);
    if (x->name[0] != '\0')
        findings_fail(f, EXIT_CONFIGURATION, "sequence", "as the owner: ALTER TABLE outbox.event ALTER COLUMN id SET CACHE 1 "
                      "SET INCREMENT BY 1 SET NO CYCLE",
                      "the sequence of outbox.event.id has %s: ids do not follow the order of transactions, and events of a "
                      "key go out of order", x->name);
    if (x->number > 0)
        findings_fail(f, EXIT_CONFIGURATION, "sequence", how,
                      "the sequence of outbox.event.id stands %.0f below the highest id: ids are handed "
                      "out again, and such events are not sent (a copy without its sequence, or RESTART IDENTITY?)", x->number);
    else if (x->number < 0)
        findings_warn(f, "sequence", "run sql/roles.sql again, which grants it",
                      "the sequence of outbox.event.id may not be seen by this role");
    else if (x->name[0] == '\0')
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
    else if (strcmp(x->detail, "own") == 0)
        findings_warn(f, "commits", "set it to on for that role; the setting mark.commit = async does without the disk for marks alone",
                      "synchronous_commit is off for %s, the one of this dsn: a crash of the server may lose what a relay has just "
                      "written (marks, its lease, what it holds), so that events go again", x->name);
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

/* The role is not that of a relay, or is to become one: one remedy for all that it lacks. */
static void judge_stranger(struct findings *f, const struct operate_fact *x)
{
    bool roles_first = x->detail[0] != '\0', is_member = x->mend[0] == '\0';
    char how[400];

    if (is_member)
        snprintf(how, sizeof how, "apply sql/roles.sql, as who applied sql/001_outbox.up.sql or as a superuser");
    else
        snprintf(how, sizeof how, "run it with the settings of the relay; if this is its role: %s`%s`",
                 roles_first ? "apply sql/roles.sql, then " : "", x->mend);
    findings_fail(f, EXIT_PERMISSION, "rights", how, "%s",
                  x->kind == FACT_USAGE ? "the role may not use the schema outbox"
                  : is_member ? "outbox_relay, which the role is a member of, lacks most of the rights that a relay needs"
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

static void judge_blind(struct findings *f, const struct operate_fact *x)
{
    char how[400];

    snprintf(how, sizeof how, "as a superuser: `%s`" VERDICT_GRANTED_BY_ROLES, x->mend);
    findings_warn(f, "transaction", how, "the role may not see how old the transactions of others are: those that hold "
                  "events, buckets or vacuum back are not told here, nor by status and the relay");
}

static void judge_hidden(struct findings *f, const struct operate_fact *x)
{
    findings_warn(f, "rights", VERDICT_SEE_ALL_ROWS, "row-level security may hide events from the role, of %s: what "
                  "the relay does not see is not published, and no bucket is emptied that it hides events of", x->name);
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
        judge_blind(f, x);
        return;
    case FACT_VERSION:
        judge_version(f, x);
        return;
    case FACT_HIDDEN:
        judge_hidden(f, x);
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

void doctor_blocker(struct findings *f, const struct operate_blocker *b, bool bucket_is_due)
{
    char age[32], how[200];

    if (b->age_s < 60 || (!b->holds_rows && !bucket_is_due))
        return;
    const char *holds = b->holds_rows ? "its events" : "the emptying of a bucket";
    verdict_age(b->age_s, age, sizeof age);
    if (b->pid != 0)
        findings_warn(f, "blocker", verdict_end_session(b->pid, how, sizeof how),
                      "the transaction of pid %" PRId64 " (%s) has been open for %s and holds back %s", b->pid,
                      b->application != NULL ? b->application : "?", age, holds);
    else
        findings_warn(f, "blocker", "COMMIT PREPARED or ROLLBACK PREPARED, as whoever prepared it "
                      "says", "the prepared transaction \"%s\" has been there for %s and holds back %s",
                      b->prepared != NULL ? b->prepared : "?", age, holds);
}

void doctor_clock(struct findings *f, double before_s, double server_s, double after_s)
{
    double off = server_s < before_s ? before_s - server_s : server_s > after_s ? server_s - after_s : 0;
    char age[32];

    if (off > SKEW_S)
        findings_warn(f, "clock", "let both machines follow a time server, and the brokers: they refuse "
                      "records that are further ahead than the topic's message.timestamp.after.max.ms",
                      "the clock of PostgreSQL is %s %s that of this machine; records bear the time of "
                      "PostgreSQL (a broker's clock cannot be asked for)", verdict_age(off, age, sizeof age),
                      server_s < before_s ? "behind" : "ahead of");
    else
        findings_ok(f, "clock", "PostgreSQL and this machine agree (a broker's clock cannot be asked for)");
}
