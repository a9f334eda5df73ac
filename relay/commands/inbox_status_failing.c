/* inbox_status_failing.c - see inbox_status_failing.h. */
#include "relay/commands/inbox_status_failing.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/affix.h"
#include "relay/exit_codes.h"
#include "relay/verdict.h"

#define DEAD_IN_A_ROW 3 /* fewer may be poison behind which nothing has come yet */
#define ALL_S 60.0 /* so long nothing but failures, and what was applied before, while older ones failed, says nothing */

void inbox_failing_set(struct inbox_failing *to, const struct operate_failing *is)
{
    to->is = *is;
    snprintf(to->topic, sizeof to->topic, "%s", is->topic);
    snprintf(to->event_id, sizeof to->event_id, "%s", is->event_id);
    snprintf(to->error_code, sizeof to->error_code, "%s", is->error_code != NULL ? is->error_code : "");
    snprintf(to->error, sizeof to->error, "%s", is->error != NULL ? is->error : "");
    to->is.consumer = NULL;
    to->is.topic = to->topic;
    to->is.event_id = to->event_id;
    to->is.error_code = is->error_code != NULL ? to->error_code : NULL;
    to->is.error = is->error != NULL ? to->error : NULL;
}

bool inbox_failing_is_all(const struct inbox_failing *f)
{
    return f->is.n > 0 && f->is.only_s >= 0 && (f->is.none_since || f->is.only_s >= ALL_S);
}

static const char *print_error(const char *code, const char *error, char *to, size_t size)
{
    snprintf(to, size, "%s%s%s", code != NULL ? code : "", code != NULL ? " " : "",
             error != NULL ? error : "why is not known");
    return to;
}

static const char *print_next(const struct operate_failing *f, char *to, size_t size)
{
    char age[32];

    if (!f->waits)
        snprintf(to, size, "that call has not returned");
    else if (f->next_s >= 0)
        snprintf(to, size, "it is called again in %s", verdict_age(f->next_s, age, sizeof age));
    else
        snprintf(to, size, "its next call has been due for %s", verdict_age(-f->next_s, age, sizeof age));
    return to;
}

/* Of the one that failed last. */
static void print_last(const struct operate_failing *f, char *to, size_t size)
{
    char error[2100], next[80];

    snprintf(to, size, "%s, %s/%" PRId32 "@%" PRId64 ", was called %" PRId64 " time%s: %s; %s",
             f->n == 1 ? "it" : "the last of them", f->topic, f->partition, f->offset, f->attempts, plural(f->attempts),
             print_error(f->error_code, f->error, error, sizeof error), print_next(f, next, sizeof next));
}

static const char *what_mends(const struct operate_failing *f)
{
    if (f->error == NULL)
        return "the log of the consumer says why, unless its handler ends the process: then see what killed that.";
    if (f->error_code == NULL)
        return "mend what the error says, in the handler or in what it calls: it is called again by itself. SELECT * FROM "
               "inbox.failing lists all of them.";
    return operate_handler_remedy(f->error_code);
}

static void print_applied(const struct operate_consumer *is, char *to, size_t size)
{
    char age[32];

    if (is->applied_s < 0)
        snprintf(to, size, "never applied an event");
    else
        snprintf(to, size, "applied no event for %s", verdict_age(is->applied_s, age, sizeof age));
}

void inbox_failing_judge(struct inbox_look *l, const struct inbox_consumer *c)
{
    static const char subject[] = "failing";
    const struct operate_failing *f = &c->failing.is;
    char age[32], applied[80], last[2600];

    if (f->n == 0)
        return;
    print_last(f, last, sizeof last);
    print_applied(&c->is, applied, sizeof applied);
    /* without a process nothing is applied for that reason, which is told */
    if (inbox_failing_is_all(&c->failing) && c->is.owned > 0)
        findings_fail(&l->findings, EXIT_UNAVAILABLE, subject, what_mends(f),
                      "consumer %s has %s, and %" PRId64 " fail%s, the oldest for %s; %s", c->name, applied, f->n,
                      f->n == 1 ? "s" : "", verdict_age(f->oldest_s, age, sizeof age), last);
    else
        findings_warn(&l->findings, subject, what_mends(f),
                      "%" PRId64 " event%s of consumer %s fail%s, the oldest for %s; %s", f->n, plural(f->n), c->name,
                      f->n == 1 ? "s" : "", verdict_age(f->oldest_s, age, sizeof age), last);
}

/* -- dead letters ----------------------------------------------------------------------------- */

#define DECIDE "outbox-relay inbox dead lists them; then inbox retry or inbox discard."

/* Is what became of the last events that they died? One that never applied any has shown nothing yet. */
static bool all_die(const struct operate_consumer *c)
{
    return c->owned > 0 && c->dead_since >= (c->applied_s < 0 ? 1 : DEAD_IN_A_ROW);
}

static void fail_dead(struct inbox_look *l, const struct inbox_consumer *c)
{
    const struct operate_consumer *is = &c->is;
    char age[32], applied[80], error[2100], remedy[600];

    print_applied(is, applied, sizeof applied);
    snprintf(remedy, sizeof remedy, "%s; " DECIDE,
             c->dead_code[0] != '\0' ? operate_handler_remedy(c->dead_code)
                                   : "mend what the error says, in the handler or in what it calls");
    findings_fail(&l->findings, EXIT_UNAVAILABLE, "dead letters", remedy,
                  "consumer %s has %s, and %" PRId64 "%s %s dead letter%s, the oldest for %s; the last one: %s",
                  c->name, applied, is->dead_since, is->applied_s >= 0 ? " that it called since" : "", is->dead_since == 1 ? "is a" : "are", plural(is->dead_since),
                  verdict_age(is->dead_since_s, age, sizeof age),
                  print_error(c->dead_code[0] != '\0' ? c->dead_code : NULL, c->dead_error[0] != '\0' ? c->dead_error : NULL,
                              error, sizeof error));
}

void inbox_dead_judge(struct inbox_look *l, const struct inbox_consumer *c)
{
    const struct operate_consumer *is = &c->is;
    char age[32];

    if (all_die(is))
        fail_dead(l, c);
    else if (is->dead > 0)
        findings_warn(&l->findings, "dead letters", DECIDE,
                      "%" PRId64 " dead letter%s of consumer %s wait%s for a decision, the oldest for %s", is->dead,
                      plural(is->dead), c->name, is->dead == 1 ? "s" : "",
                      verdict_age(is->oldest_dead_s, age, sizeof age));
}
