/* verdict_judge.c - what is found, each thing by a function of its own, and what to do about it. See verdict.h. */
#include "relay/verdict_inside.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "relay/affix.h"

/* What the database refused is told for so long. What is still so is refused again before that, as the longest pause
 * between attempts (retry.max) is half of it unless set otherwise, and who looks every minute sees it; then it is past. */
#define FAILURE_S 60.0
/* A transaction, and the oldest event of a backlog that shrinks, are worth a word when they are older. */
#define OLD_S 60.0

/* The next one, to be worded, behind those that are as bad; were there too many, the last one would go. */
static struct verdict_finding *find(struct verdict *v, enum verdict_level level, const char *remedy)
{
    uint32_t at = v->n_findings < VERDICT_FINDINGS ? v->n_findings++ : VERDICT_FINDINGS - 1;

    for (; at > 0 && v->finding[at - 1].level < level; at--)
        v->finding[at] = v->finding[at - 1];
    struct verdict_finding *f = &v->finding[at];
    *f = (struct verdict_finding){ .level = level };
    verdict_append(f->remedy, sizeof f->remedy, "%s", remedy);
    if (level > v->level)
        v->level = level;
    return f;
}

/* Of a clause of our own, a sentence: what is behind it, is to be appended. */
static void begin_with_capital(char *remedy)
{
    remedy[0] = (char)toupper((unsigned char)remedy[0]);
}

static void judge_database(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    if (in->db_up != FACT_NO)
        return;
    struct verdict_finding *f = find(v, VERDICT_BAD, in->db_remedy != NULL ? in->db_remedy
                                                                           : "Mend " VERDICT_MEND_DATABASE);
    begin_with_capital(f->remedy);
    verdict_append(f->remedy, sizeof f->remedy, "%s.", in->db_remedy != NULL && !in->by_command ? VERDICT_TRIES_AGAIN : "");
    verdict_append(f->text, sizeof f->text, in->by_command ? "this command cannot look into the database" : "PostgreSQL cannot be used");
    if (in->by_command)
        verdict_append(f->remedy, sizeof f->remedy, " A relay that runs has a connection of its own: its page (http.listen) and its log "
                                                    "say whether events flow.");
    if (in->db_error != NULL)
        verdict_append(f->text, sizeof f->text, ": %s", in->db_error);
    if (in->db_again_s >= 1) /* the error is of the last attempt, and may be over */
        verdict_append(f->text, sizeof f->text, "%stried again in %s", in->db_error != NULL ? "; it is " : "; ",
                       verdict_age(in->db_again_s, age, sizeof age));
}

static void judge_schema(const struct verdict_input *in, struct verdict *v)
{
    if (in->schema_ends == 0)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "Install " VERDICT_MEND_SCHEMA ".");
    verdict_append(f->text, sizeof f->text, "the schema is version %d now, and this relay ends when it connects next",
                   in->schema_ends);
}

static const char *read_only_remedy(const struct verdict_input *in)
{
    return in->none_writable ? VERDICT_PROMOTE "; if one of them is a primary, set default_transaction_read_only to off for the "
                               "role of the dsn"
                             : VERDICT_READ_WRITE;
}

static void judge_lead(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    if (in->role != VERDICT_NOBODY_LEADS)
        return;
    struct verdict_finding *f = find(v, VERDICT_BAD, in->read_only != NULL ? read_only_remedy(in)
                                                            : "Start a relay (if it ends, its last line and outbox-relay doctor "
                                                              "say why)");
    verdict_append(f->remedy, sizeof f->remedy, "%s", in->read_only != NULL ? "; then a relay that runs goes on, or start one."
                                                                            : "; " VERDICT_TAKE_LEASE ".");
    begin_with_capital(f->remedy);
    verdict_append(f->text, sizeof f->text, "%s%s", in->read_only != NULL ? in->read_only : "",
                   in->read_only != NULL ? ", and none leads" : "no relay leads");
    if (in->leader == NULL && in->silent_s >= 0)
        verdict_append(f->text, sizeof f->text, ": the last one gave the lease back %s ago",
                       verdict_age(in->silent_s, age, sizeof age));
    if (in->leader == NULL)
        return;
    if (in->silent_s >= 0)
        verdict_append(f->text, sizeof f->text, ": %.100s was last heard of %s ago, its lease has ended", in->leader,
                       verdict_age(in->silent_s, age, sizeof age));
    else
        verdict_append(f->text, sizeof f->text, ": the lease of %.100s has ended", in->leader);
    verdict_append(f->text, sizeof f->text, ", and nobody has taken it");
}

/* Of the text, up to where `end` begins. */
static int length_before(const char *text, const char *end)
{
    const char *at = strstr(text, end);

    return (int)(at != NULL ? (size_t)(at - text) : strlen(text));
}

/* Without a broker nothing is lost and nothing is held, so it is bad only when events wait. A command asks with its own
 * settings, from its own machine: what a relay publishes meanwhile, goes. */
static void judge_kafka(const struct verdict_input *in, struct verdict *v)
{
    if (in->kafka_up != FACT_NO)
        return;
    bool harmless = in->pending <= 0 || in->role == VERDICT_STANDS_BY || (in->by_command && in->rate >= VERDICT_NO_RATE);
    struct verdict_finding *f = find(v, harmless ? VERDICT_WARN : VERDICT_BAD, "Mend " VERDICT_MEND_KAFKA ".");
    verdict_append(f->text, sizeof f->text, in->by_command ? "no Kafka broker answers this command" : "no Kafka broker answers");
    if (in->by_command)
        verdict_append(f->remedy, sizeof f->remedy, " This command has its own settings; a relay has those that it was started with.");
    if (in->kafka_error != NULL) /* librdkafka tells after how long and how often, which is worth no word here */
        verdict_append(f->text, sizeof f->text, ": %.*s", length_before(in->kafka_error, " (after "), in->kafka_error);
}

static void judge_kafka_settings(const struct verdict_input *in, struct verdict *v)
{
    if (in->kafka_misset == NULL)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "Correct the setting: no relay starts with it. One that runs has the "
                                                      "settings that it was started with.");
    verdict_append(f->text, sizeof f->text, "no broker was asked: %s", in->kafka_misset);
}

bool verdict_leader_is_silent(const struct verdict_input *in)
{
    return in->db_up == FACT_YES && in->leader != NULL && in->silent_s - in->looked_s >= LEADER_SILENT_S && in->lease_left_s >= 0 &&
           (in->role == VERDICT_LEADS || in->role == VERDICT_STANDS_BY);
}

/* Is it known that nothing goes? Who stands by knows no rate, but sees that the oldest event stays. */
static bool nothing_goes(const struct verdict_input *in)
{
    bool still = in->rate >= 0 ? in->rate < VERDICT_NO_RATE : in->unmoved_s >= IDLE_S;

    return still && in->pending != 0 && in->oldest_s >= IDLE_S;
}

/* It may still send and mark what it has in hand, so it is bad only when that is known not to happen. */
static void judge_silence(const struct verdict_input *in, struct verdict *v)
{
    char age[32], left[32];

    if (!verdict_leader_is_silent(in))
        return;
    struct verdict_finding *f =
        find(v, nothing_goes(in) ? VERDICT_BAD : VERDICT_WARN,
             "Its name tells host and process id, unless lease.owner is set. If it still writes its log, that says what "
             "keeps it from PostgreSQL. Else end the process (kill -9), and once it is surely gone wait for the end of its "
             "lease, or start one relay with `-X lease.owner=` and that whole name: it leads at once.");
    verdict_append(f->text, sizeof f->text,
                   "%.100s leads and has been silent for %s, though it should renew its lease every second: it is gone, frozen or "
                   "kept from writing; its lease lasts %s more", in->leader, verdict_age(in->silent_s, age, sizeof age),
                   verdict_age(in->lease_left_s, left, sizeof left));
}

static bool leader_is_late(const struct verdict_input *in)
{
    return in->role == VERDICT_LEADS && in->silent_s - in->looked_s >= LEADER_LATE_S;
}

/* A relay whose sessions are older, or whose role is another, may write there: so only of one that renews its lease late.
 * Where none of several servers can be written to, nothing but its lateness says that the primary is not just out of reach. */
static void judge_read_only(const struct verdict_input *in, struct verdict *v)
{
    bool late = leader_is_late(in);

    if (in->read_only == NULL || in->role != VERDICT_LEADS || (!in->none_writable && (in->lease_left_s < 0 || !late)))
        return;
    struct verdict_finding *f = find(v, in->none_writable && late ? VERDICT_BAD : VERDICT_WARN, read_only_remedy(in));
    begin_with_capital(f->remedy);
    verdict_append(f->remedy, sizeof f->remedy, ".");
    verdict_append(f->text, sizeof f->text, "%s", in->read_only);
}

/* Before it counts as silent: for what is seen of one that was just killed, nothing else is to be blamed. One that marks is
 * there. */
static void judge_late(const struct verdict_input *in, struct verdict *v)
{
    char age[32], left[32];

    if (!leader_is_late(in) || in->leader == NULL || in->db_up != FACT_YES || in->read_only != NULL || in->lease_left_s < 0 ||
        verdict_leader_is_silent(in) || (in->idle_s >= 0 && in->idle_s < LEADER_LATE_S))
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "If it still writes its log, that says what keeps it from PostgreSQL. If it "
                                                      "is gone, a relay that stands by, or the next one that is started, leads "
                                                      "when its lease ends, in ");
    verdict_append(f->remedy, sizeof f->remedy, "%s.", verdict_age(in->lease_left_s, left, sizeof left));
    verdict_append(f->text, sizeof f->text, "%.100s leads and was last heard of %s ago, though it should renew its lease every "
                                            "second", in->leader, verdict_age(in->silent_s, age, sizeof age));
}

static bool is_stuck(const struct verdict_input *in)
{
    return in->stuck_s > 0 && in->db_up != FACT_NO && in->kafka_up != FACT_NO && !verdict_leader_is_silent(in);
}

static bool failure_stands(const struct verdict_input *in)
{
    return in->failure.s >= 0 && in->failure.stands;
}

/* " (marking failed: could not extend file: No space left on device, SQLSTATE 53100)", and what mends that. */
static void append_failure(struct verdict_finding *f, const struct verdict_failure *failure, const char *else_remedy)
{
    verdict_append(f->text, sizeof f->text, " (%.250s, SQLSTATE %s)", failure->why, failure->code);
    if (failure->remedy != NULL) {
        verdict_append(f->remedy, sizeof f->remedy, "%s.", failure->remedy);
        begin_with_capital(f->remedy);
    } else {
        verdict_append(f->remedy, sizeof f->remedy, "%s", else_remedy);
    }
}

/* Which of the two is which cannot be told by marks, so that neither is sent. */
static void judge_ids(const struct verdict_input *in, struct verdict *v)
{
    char count[32];

    if (in->twice_id != 0) {
        struct verdict_finding *f = find(v, VERDICT_BAD, VERDICT_MEND_IDS ".");
        begin_with_capital(f->remedy);
        verdict_append(f->text, sizeof f->text, "two events have the id %" PRId64 ", which was handed out twice, and reading stops "
                                                "there", in->twice_id);
    }
    if (in->behind > 0) {
        struct verdict_finding *f = find(v, VERDICT_BAD, VERDICT_MEND_IDS ".");
        begin_with_capital(f->remedy);
        verdict_append(f->text, sizeof f->text, "the sequence of outbox.event.id is %s below what was sent or held: new events count "
                                                "as sent, and are not", verdict_count(in->behind, count, sizeof count));
    }
}

/* "pid 42, psql, open for 3 h" */
static void append_session(char *text, size_t size, const struct verdict_blocker *b)
{
    char age[32];

    verdict_append_blocker(text, size, b);
    if (b->age_s >= 0)
        verdict_append(text, size, ", open for %s", verdict_age(b->age_s, age, sizeof age));
}

static void append_lock(struct verdict_finding *f, const struct verdict_blocker *b)
{
    verdict_append(f->text, sizeof f->text, ": outbox.sent, or a leaf of it, is locked against marks (");
    append_session(f->text, sizeof f->text, b);
    verdict_append(f->text, sizeof f->text, ")");
    verdict_append(f->remedy, sizeof f->remedy, "The relay goes on by itself when that transaction has ended");
    verdict_append_end(f->remedy, sizeof f->remedy, b);
}

static void judge_progress(const struct verdict_input *in, struct verdict *v)
{
    static const char where_to_look[] =
        "The log of the relay that leads says what fails, and so may its page (http.listen): `marking failed`, for example, "
        "and then PostgreSQL's words (a full disk), or its brokers. It works with the settings with which it was started: "
        "after a change of dsn or kafka.* restart it.";
    bool known = failure_stands(in);
    char age[32];

    if (!is_stuck(in))
        return;
    bool blocked = in->n_blockers > 0 && in->blocker.holds_marks;
    struct verdict_finding *f = find(v, VERDICT_BAD, known || blocked ? "" : where_to_look);
    verdict_append(f->text, sizeof f->text, "nothing has moved for %s", verdict_age(in->stuck_s, age, sizeof age));
    if (known)
        append_failure(f, &in->failure, where_to_look);
    else if (blocked)
        append_lock(f, &in->blocker);
}

/* On a disk that is full some marks succeed still, so that rows move. */
static void judge_failure(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    if (in->failure.s < 0 || in->failure.s >= FAILURE_S || (is_stuck(in) && failure_stands(in)))
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "");
    verdict_append(f->text, sizeof f->text, "PostgreSQL refused a statement of this relay %s ago",
                   verdict_age(in->failure.s, age, sizeof age));
    append_failure(f, &in->failure, "The relay tries again by itself, and nothing is lost; its log, and that of the server, say "
                                    "more and how often.");
}

/* Rows move without it; who looks is blind. */
static void judge_aside(const struct verdict_input *in, struct verdict *v)
{
    if (in->aside_error == NULL || in->db_up == FACT_NO)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, in->aside_remedy != NULL ? in->aside_remedy
                                                                               : "Mend what those words name");
    begin_with_capital(f->remedy);
    verdict_append(f->remedy, sizeof f->remedy, ". The relay tries again by itself.");
    verdict_append(f->text, sizeof f->text, VERDICT_ASIDE ": what waits and what is held is not known, and no bucket is emptied",
                   in->aside_error);
    f->said = in->role == VERDICT_LEADS && in->pending < 0 && in->rate < VERDICT_NO_RATE;
}

static void judge_topics(const struct verdict_input *in, struct verdict *v)
{
    if (in->n_paused == 0)
        return;
    struct verdict_finding *f =
        find(v, VERDICT_WARN, "Create the topic, or grant the right to write to it. It is probed again by "
                              "itself, and its events then go in order. Where its name is a mistake: ");
    verdict_append(f->remedy, sizeof f->remedy, "`" VERDICT_DISCARD "`.",
                   in->paused_topic != NULL ? in->paused_topic : "TOPIC");
    verdict_append(f->text, sizeof f->text, "topic \"%.100s\" takes nothing",
                   in->paused_topic != NULL ? in->paused_topic : "?");
    if (in->paused_why != NULL)
        verdict_append(f->text, sizeof f->text, " (%s)", in->paused_why);
    if (in->n_paused > 1)
        verdict_append(f->text, sizeof f->text, ", nor do%s %u other%s", in->n_paused == 2 ? "es" : "",
                       in->n_paused - 1, plural(in->n_paused - 1));
}

/* It goes round for minutes before it is dead, and later ones of its key wait meanwhile. */
static void judge_refused(const struct verdict_input *in, struct verdict *v)
{
    char count[32];

    if (in->refused <= 0)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "`outbox-relay dead --all-states` says which and why. Mend the cause "
                                                      "(MSG_SIZE_TOO_LARGE: the topic's max.message.bytes, or the relay's "
                                                      "kafka.message.max.bytes; INVALID_TIMESTAMP: the clock of the database "
                                                      "or of the broker), or give it up: "
                                                      "`outbox-relay discard --retrying --reason TEXT ");
    if (in->refused == 1 && in->refused_id != 0)
        verdict_append(f->remedy, sizeof f->remedy, "--id %" PRId64, in->refused_id);
    else
        verdict_append(f->remedy, sizeof f->remedy, "--id N");
    verdict_append(f->remedy, sizeof f->remedy, "`. Later events of its key wait.");
    verdict_append(f->text, sizeof f->text, "Kafka refuses %s event%s", verdict_count(in->refused, count, sizeof count),
                   plural(in->refused));
    if (in->refused_code != NULL)
        verdict_append(f->text, sizeof f->text, " (%.60s)", in->refused_code);
    verdict_append(f->text, sizeof f->text, ", and %s tried again", in->refused == 1 ? "it is" : "they are");
}

static void judge_dead(const struct verdict_input *in, struct verdict *v)
{
    char count[32];

    if (in->dead <= 0)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "`outbox-relay dead` lists them with their reasons; then "
                                                      "`outbox-relay retry` or `discard`.");
    verdict_append(f->text, sizeof f->text, "%s event%s for a person", verdict_count(in->dead, count, sizeof count),
                   in->dead == 1 ? " is dead: it waits" : "s are dead: they wait");
}

static void judge_blockers(const struct verdict_input *in, struct verdict *v)
{
    const struct verdict_blocker *b = &in->blocker;
    char age[32];

    bool holds_bucket = b->holds_truncate && in->overdue.s >= 0; /* else there is none to be emptied */

    if (in->n_blockers == 0 || b->age_s < OLD_S || (!b->holds_rows && !holds_bucket))
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "Other events pass it");
    verdict_append_end(f->remedy, sizeof f->remedy, b);
    verdict_append(f->text, sizeof f->text, "a transaction has been open for %s (",
                   verdict_age(b->age_s, age, sizeof age));
    verdict_append_blocker(f->text, sizeof f->text, b);
    verdict_append(f->text, sizeof f->text, "): %s",
                   b->holds_rows && holds_bucket ? "its own events wait for its commit, and a bucket cannot be emptied"
                   : b->holds_rows               ? "its own events wait for its commit"
                                                 : "a bucket cannot be emptied");
}

/* While none is old there is nothing to see, and so it is no warning. */
static void judge_hidden_ages(const struct verdict_input *in, struct verdict *v)
{
    if (in->ages_mend == NULL)
        return;
    struct verdict_finding *f = find(v, VERDICT_GOOD, "As a superuser: `");
    verdict_append(f->remedy, sizeof f->remedy, "%.200s`" VERDICT_GRANTED_BY_ROLES ".", in->ages_mend);
    verdict_append(f->text, sizeof f->text, "this role may not see for how long the transactions of others have been open: an old "
                                            "one is not warned of");
}

static void append_holder(char *text, size_t size, const struct verdict_blocker *b)
{
    verdict_append(text, size, ": it is locked");
    if (b->pid == 0 && b->application == NULL)
        return;
    verdict_append(text, size, " by ");
    append_session(text, size, b);
}

/* Nothing is lost and nothing waits by it, but the disk fills. */
static void judge_overdue(const struct verdict_input *in, struct verdict *v)
{
    static const char *const remedies[] = {
        [OBSTACLE_UNKNOWN] = "If the relays run with another retention, give this command their settings. Else "
                             "the log of the one that leads says why (component janitor).",
        [OBSTACLE_UNSENT] = "What is not sent is never dropped: mend what keeps it, and the bucket is emptied "
                            "by itself. `outbox-relay trace` tells the story of an event.",
        [OBSTACLE_LOCKED] = "It is emptied by itself once that transaction has ended",
        [OBSTACLE_CROWDED] = "`outbox-relay dead --all-states` lists them: mend their topic, retry or discard.",
        [OBSTACLE_FAILED] = "The log of this relay says why (component janitor or source).",
    };
    const struct verdict_overdue *o = &in->overdue;
    char age[32];

    if (o->s < OVERDUE_S)
        return;
    struct verdict_finding *f = find(v, o->why == OBSTACLE_UNKNOWN ? VERDICT_GOOD : VERDICT_WARN, remedies[o->why]);
    verdict_append(f->text, sizeof f->text, "bucket %d should have been emptied %s ago", o->bucket,
                   verdict_age(o->s, age, sizeof age));
    if (o->why == OBSTACLE_UNSENT)
        verdict_append(f->text, sizeof f->text, ": its event %" PRId64 " is not sent", o->id);
    if (o->why == OBSTACLE_CROWDED)
        verdict_append(f->text, sizeof f->text, ": more of its events are held than can be moved");
    if (o->why == OBSTACLE_LOCKED) {
        append_holder(f->text, sizeof f->text, &o->holder);
        if (o->holder.pid != 0 || o->holder.application != NULL)
            verdict_append_end(f->remedy, sizeof f->remedy, &o->holder);
        else
            verdict_append(f->remedy, sizeof f->remedy, "; outbox.blocker lists who holds it.");
    }
}

static void judge_ring(const struct verdict_input *in, struct verdict *v)
{
    if (!in->short_ring)
        return;
    struct verdict_finding *f = find(v, VERDICT_WARN, "As the owner of the outbox: `SELECT "
                                                      "outbox.set_bucket_period(...)` with more than a seventh "
                                                      "of the retention; or shorten the retention.");
    verdict_append(f->text, sizeof f->text, "no bucket is ever emptied: the ring of buckets is shorter than the retention");
}

static void judge_age(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    if (v->level == VERDICT_BAD || in->pending <= 0 || in->oldest_s < OLD_S)
        return;
    struct verdict_finding *f =
        find(v, VERDICT_WARN, "If the backlog shrinks, wait. If not, the brokers or the database are slower "
                              "than the application.");
    verdict_append(f->text, sizeof f->text, "the oldest event has waited for %s",
                   verdict_age(in->oldest_s, age, sizeof age));
    f->said = true;
}

static void judge_held(const struct verdict_input *in, struct verdict *v)
{
    char count[32];

    if (in->held <= 0 || in->n_paused > 0)
        return;
    struct verdict_finding *f = find(v, VERDICT_GOOD, "`outbox-relay dead --all-states` lists them with their "
                                                      "reasons; they go on by themselves, but those behind a dead one.");
    verdict_append(f->text, sizeof f->text,
                   "%s event%s held: for another attempt, behind an earlier one of the key, for the topic, or for later",
                   verdict_count(in->held, count, sizeof count), in->held == 1 ? " is" : "s are");
}

void verdict_judge(const struct verdict_input *in, struct verdict *v)
{
    judge_database(in, v);
    judge_lead(in, v);
    judge_kafka(in, v);
    judge_silence(in, v);
    judge_ids(in, v);
    judge_progress(in, v);
    judge_read_only(in, v);
    judge_late(in, v);
    judge_failure(in, v);
    judge_aside(in, v);
    judge_topics(in, v);
    judge_refused(in, v);
    judge_dead(in, v);
    judge_kafka_settings(in, v);
    judge_schema(in, v);
    judge_blockers(in, v);
    judge_overdue(in, v);
    judge_ring(in, v);
    judge_age(in, v);
    judge_held(in, v);
    judge_hidden_ages(in, v);
}
