/* batch.c - one transaction: which events are new, a handler for each of these, then their ids and the
 * positions behind them, and COMMIT.
 *
 *   one round trip    known ids; BEGIN
 *   for each event    the handler's own statements, in a savepoint when failures are about
 *   one round trip    inbox.finish(); rows of inbox.dead; COMMIT
 *
 * Ids are stored at the end, with the positions, and not when the event is taken: then a handler
 * that fails needs nothing undone but its own work, one that commits by itself cannot leave ids
 * behind of events that were never applied, and locks are held for a moment only, whatever handlers
 * do. What begins twice because of it ends once: finish() finds the id there (IB002), or the partition
 * under another owner (IB001), and nothing of the transaction stays.
 * The position's row is locked in finish() and not before the handlers for the same reason: a process
 * that stands still in the midst of its transaction must not keep the new owner waiting.
 *
 * A savepoint costs a round trip and a subtransaction, as much as a small handler. So a batch goes without as
 * long as none has failed for CAREFUL_EVENTS; when one fails then, all of it is rolled back and done
 * again with savepoints, in which one failure undoes nothing of the others.
 *
 * A call that may end the process is written down before, and its event is called alone: attempts.c.
 *
 * What became of the events is told to the window only after COMMIT has succeeded. When the link is
 * lost at that moment it may have: all of it is done again, and the ids are found.
 */
#include "batch.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attempts.h"
#include "db.h"
#include "dead.h"
#include "lib/outbox/error.h"
#include "lib/shared/retry.h"
#include "steps.h"

#define CAREFUL_EVENTS 1000
#define HANDLERS_TARGET_US 200000 /* handlers of one transaction together, about */
#define HANDLERS_LONG_MS 2000     /* after so long the rest waits for the next transaction */

enum verdict {
    COMMITTED,
    REPEAT, /* rolled back, for a reason that may pass */
    SINGLY, /* rolled back, and one of several may be the reason */
    GUARDED, /* a handler failed among several without savepoints: again, with these */
    BLAMED, /* rolled back at COMMIT because of the only event in it */
    BROKEN  /* waiting does not mend it: see code */
};

struct batch {
    struct inbox_consumer *c;
    struct inbox__record *rec[INBOX_MAX_BATCH_ROWS];
    size_t n, n_called;
    struct inbox__record *last_called;
    bool lost_in_call; /* the link was, while that one's handler worked */
    bool alone;       /* one only is called: it may be what ends the process */
    bool several;     /* to be called */
    bool savepoints;
    bool has_savepoint;
    uint64_t now_ms;
    int code;         /* of BROKEN */
    outbox_error *err;
};

/* -- words ------------------------------------------------------------------------------------ */

static enum verdict broken(struct batch *b, int code)
{
    b->code = code;
    return BROKEN;
}

static enum verdict no_memory(struct batch *b)
{
    return broken(b, outbox__error_set(b->err, OUTBOX_ENOMEM, "no memory for a transaction"));
}

static bool is_state(const PGresult *r, const char *sqlstate)
{
    const char *have = PQresultErrorField(r, PG_DIAG_SQLSTATE);

    return have != NULL && strcmp(have, sqlstate) == 0;
}

static void say_repeat(struct batch *b, const char *why)
{
    inbox__log(b->c, 4, "a transaction with %zu events is repeated: %s", b->n, why);
}

/* A statement of ours has failed. */
static enum verdict failed(struct batch *b, const PGresult *r, const char *doing)
{
    outbox_error why = OUTBOX_ERROR_INIT;

    if (is_state(r, "IB003") || is_state(r, "3B001"))
        return broken(b, inbox__handler_ended(b->c, b->n_called == 1 ? b->last_called->msg.type
                                                                     : NULL, b->err));
    (void)inbox__db_failed(b->c->conn, r, doing, &why);
    if (is_state(r, "IB001")) {
        b->c->figures.fenced++;
        inbox__rollback(b->c);
    } else if (!inbox__db_lost(b->c) && !is_state(r, "IB002") && !inbox__db_passes(r)) {
        return broken(b, outbox__error_set_all(b->err, why.code, why.flags, why.sqlstate, "%s",
                                               why.message));
    }
    say_repeat(b, why.message);
    return REPEAT;
}

/* -- begin ------------------------------------------------------------------------------------ */

static void mark_known(struct batch *b, const PGresult *known)
{
    for (int row = 0; row < PQntuples(known); row++)
        for (size_t i = 0; i < b->n; i++)
            if (strcmp(b->rec[i]->identity, PQgetvalue(known, row, 0)) == 0) {
                b->rec[i]->outcome = INBOX__DUPLICATE;
                b->rec[i]->item.finished = true;
            }
}

static size_t count_new(const struct batch *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        n += b->rec[i]->outcome == INBOX__AGAIN;
    return n;
}

static bool begins_with_suspect(const struct batch *b)
{
    size_t i = 0;

    while (i < b->n && b->rec[i]->outcome != INBOX__AGAIN)
        i++;
    return i < b->n && inbox__attempts_suspects(b->rec[i]);
}

static enum verdict begin(struct batch *b)
{
    struct inbox__array ids = { 0 };
    struct inbox__step steps[] = {
        { .sql = "SELECT pg_catalog.unnest(inbox.known($1, $2::text[]))", .n = 2, .alone = true,
          .values = { b->c->set.group } },
        { .sql = INBOX__BEGIN },
        { .sql = INBOX__SIGN, .n = 1, .values = { b->c->owner } },
    };
    enum verdict v = COMMITTED;

    for (size_t i = 0; i < b->n; i++) {
        b->rec[i]->outcome = INBOX__AGAIN;
        inbox__array_text(&ids, b->rec[i]->identity);
    }
    steps[0].values[1] = inbox__array_finish(&ids);
    if (steps[0].values[1] == NULL)
        v = no_memory(b);
    else if (!inbox__steps_run(b->c->conn, steps, 3))
        v = failed(b, NULL, "beginning a transaction");
    for (int i = 0; i < 3 && v == COMMITTED; i++)
        if (!inbox__step_ok(&steps[i]))
            v = failed(b, steps[i].result, "beginning a transaction");
    if (v == COMMITTED)
        mark_known(b, steps[0].result);
    inbox__steps_clear(steps, 3);
    inbox__array_deinit(&ids);
    b->alone = begins_with_suspect(b);
    b->several = !b->alone && count_new(b) > 1;
    b->savepoints = b->several && b->c->careful > 0;
    return v;
}

/* -- handlers --------------------------------------------------------------------------------- */

static enum verdict command(struct batch *b, const char *sql)
{
    PGresult *r = PQexec(b->c->conn, sql);
    enum verdict v =
        PQresultStatus(r) == PGRES_COMMAND_OK ? COMMITTED : failed(b, r, "setting a savepoint");

    PQclear(r);
    return v;
}

/* between: committed by itself, before the new transaction begins; or NULL. */
static enum verdict begin_again(struct batch *b, const struct inbox__step *between)
{
    struct inbox__step steps[4] = { { .sql = "ROLLBACK" } };
    enum verdict v = COMMITTED;
    int n = 1;

    if (between != NULL)
        steps[n++] = *between;
    steps[n++] = (struct inbox__step){ .sql = INBOX__BEGIN };
    steps[n++] = (struct inbox__step){ .sql = INBOX__SIGN, .n = 1, .values = { b->c->owner } };
    if (!inbox__steps_run(b->c->conn, steps, n))
        v = failed(b, NULL, "beginning a transaction");
    for (int i = 0; i < n && v == COMMITTED; i++)
        if (!inbox__step_ok(&steps[i]))
            v = failed(b, steps[i].result, "beginning a transaction");
    inbox__steps_clear(steps, n);
    return v;
}

/* The call of r, alone, has failed. */
static enum verdict begin_after(struct batch *b, const struct inbox__record *r)
{
    struct inbox__attempt_row row;
    struct inbox__step returned = inbox__attempt_failed(b->c, r, &row);

    return begin_again(b, r->noted && r->outcome == INBOX__FAILED ? &returned : NULL);
}

static enum verdict note_call(struct batch *b, struct inbox__record *r)
{
    struct inbox__attempt_row row;
    struct inbox__step begins = inbox__attempt_begins(b->c, r, &row);

    return begin_again(b, &begins);
}

/* What a call that failed means for the event, by its attempts and its time. */
static void judge(struct batch *b, struct inbox__record *r)
{
    const struct inbox__settings *set = &b->c->set;
    uint64_t now_ms = inbox__now_ms();
    uint32_t calls = inbox__attempts_calls(r) + 1;

    if (set->retry_attempts != 0 && calls >= set->retry_attempts)
        r->outcome = INBOX__ATTEMPTS;
    else if (set->retry_total_ms != 0 && r->item.failures > 0 &&
             now_ms - r->item.first_error_ms >= set->retry_total_ms)
        r->outcome = INBOX__TIME;
    else
        r->outcome = INBOX__FAILED;
    r->item.finished = r->outcome != INBOX__FAILED;
    r->due_ms = now_ms + retry_delay_ms(set->retry_base_ms, set->retry_max_ms, calls - 1,
                                        retry_random(&b->c->chance));
}

static bool key_has_failed(const struct batch *b, size_t before)
{
    const struct inbox__item *item = &b->rec[before]->item;

    for (size_t i = 0; i < before && item->key != 0; i++)
        if (b->rec[i]->outcome == INBOX__FAILED && b->rec[i]->item.key == item->key &&
            b->rec[i]->item.part == item->part)
            return true;
    return false;
}

static enum verdict call(struct batch *b, struct inbox__record *r)
{
    enum verdict v = COMMITTED;
    enum inbox__call got;

    if (inbox__attempts_suspects(r))
        v = note_call(b, r);
    else if (b->savepoints)
        v = command(b, b->has_savepoint ? "RELEASE SAVEPOINT inbox_event; SAVEPOINT inbox_event"
                                        : "SAVEPOINT inbox_event");
    if (v != COMMITTED)
        return v;
    b->has_savepoint = b->savepoints;
    b->n_called++;
    b->last_called = r;
    got = inbox__call_handler(b->c, r);
    b->lost_in_call = got == INBOX__CALL_LOST;
    if (b->lost_in_call)
        return failed(b, NULL, "a handler was working");
    inbox__attempts_returned(r);
    if (got == INBOX__CALL_ENDED)
        return broken(b, inbox__handler_ended(b->c, r->msg.type, b->err));
    if (got == INBOX__CALL_DONE) {
        r->outcome = INBOX__APPLIED;
        r->item.finished = true;
        return COMMITTED;
    }
    b->c->careful = CAREFUL_EVENTS;
    if (b->several && !b->savepoints)
        return GUARDED;
    judge(b, r);
    if (got == INBOX__CALL_REJECT) {
        r->outcome = INBOX__REJECTED;
        r->item.finished = true;
    }
    return b->savepoints ? command(b, "ROLLBACK TO SAVEPOINT inbox_event") : begin_after(b, r);
}

static void put_off(struct inbox__record *r)
{
    r->outcome = INBOX__AGAIN;
    r->item.finished = false;
}

/* A repeat waits behind its key like any other event. */
static void put_off_behind_failed(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (key_has_failed(b, i))
            put_off(b->rec[i]);
}

/* Has it used up its calls by such as lost the link, or ended the process? AGAIN: no. */
static enum inbox__fate spent(const struct batch *b, const struct inbox__record *r)
{
    const struct inbox__settings *set = &b->c->set;

    if (set->retry_attempts != 0 && inbox__attempts_calls(r) >= set->retry_attempts)
        return INBOX__ATTEMPTS;
    /* The database's clock went on while no process was there: one call alone never spends the time. */
    if (set->retry_attempts == 0 && r->ended && r->calls_before > 1 && set->retry_total_ms != 0 &&
        inbox__now_ms() - r->noted_ms >= set->retry_total_ms)
        return INBOX__TIME;
    return INBOX__AGAIN;
}

/* Kafka takes the partitions away from who does not poll, and who stops us waits. */
static bool is_long(const struct batch *b)
{
    return b->n_called > 0 && (atomic_load(&b->c->stop) != 0 ||
                               inbox__now_ms() - b->now_ms > HANDLERS_LONG_MS);
}

/* One that may end the process is called alone. */
static bool is_behind_suspect(const struct batch *b, const struct inbox__record *r)
{
    return b->n_called > 0 && (b->alone || inbox__attempts_suspects(r));
}

static enum verdict call_all(struct batch *b)
{
    enum verdict v = COMMITTED;
    bool rest = false;

    for (size_t i = 0; i < b->n && v == COMMITTED; i++) {
        struct inbox__record *r = b->rec[i];
        rest = rest || is_long(b) || is_behind_suspect(b, r);
        if (rest || key_has_failed(b, i)) {
            put_off(r);
        } else if (r->outcome == INBOX__AGAIN) {
            r->outcome = (int)spent(b, r);
            r->item.finished = r->outcome != INBOX__AGAIN;
            if (!r->item.finished)
                v = call(b, r);
        }
    }
    return v;
}

/* -- end -------------------------------------------------------------------------------------- */

static const char *reason_of(int outcome)
{
    switch ((enum inbox__fate)outcome) {
    case INBOX__REJECTED: return "rejected";
    case INBOX__ATTEMPTS: return "attempts";
    case INBOX__TIME: return "time";
    case INBOX__AGAIN:
    case INBOX__APPLIED:
    case INBOX__DUPLICATE:
    case INBOX__FAILED: break;
    }
    return NULL;
}

/* The parameters of inbox.finish(), and the positions for afterwards. */
struct ending {
    struct inbox__array ids, topics, numbers, offsets, witnesses, marks;
    struct inbox__array noted_topics, noted_numbers, noted_offsets;
    struct inbox__dead_row dead[INBOX_MAX_BATCH_ROWS];
    struct inbox__step steps[INBOX_MAX_BATCH_ROWS + 3];
    int n_dead, n_ids, n_moved, n_noted, n_steps;
};

static bool moves(const struct inbox__partition *p)
{
    int64_t position = inbox__window_position(&p->part);

    return p->claimed && position >= 0 && position != p->part.stored;
}

static bool has_event(const struct batch *b, const struct inbox__partition *p)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->rec[i]->item.part == &p->part)
            return true;
    return false;
}

static void list_witness(struct ending *e, struct inbox__witness w)
{
    if (w.offset < 0) {
        inbox__array_text(&e->witnesses, NULL);
        inbox__array_text(&e->marks, NULL);
    } else {
        inbox__array_number(&e->witnesses, w.offset);
        inbox__array_number(&e->marks, (int64_t)w.mark);
    }
}

/* Those that stand still, behind an event that is held back, are listed too: finish() looks at the owner of
 * what it is told. */
static void list_positions(struct batch *b, struct ending *e)
{
    for (struct inbox__partition *p = b->c->partitions; p != NULL; p = p->next)
        if (moves(p) || has_event(b, p)) {
            list_witness(e, inbox__partition_witness(p));
            inbox__array_text(&e->topics, p->topic);
            inbox__array_number(&e->numbers, p->number);
            inbox__array_number(&e->offsets, inbox__window_position(&p->part));
            e->n_moved += moves(p);
        }
}

static void list_noted(struct ending *e, const inbox_message *msg)
{
    inbox__array_text(&e->noted_topics, msg->topic);
    inbox__array_number(&e->noted_numbers, msg->partition);
    inbox__array_number(&e->noted_offsets, msg->offset);
    e->n_noted++;
}

static bool list_events(struct batch *b, struct ending *e)
{
    for (size_t i = 0; i < b->n; i++) {
        struct inbox__record *r = b->rec[i];
        const char *reason = reason_of(r->outcome);
        if (reason != NULL) {
            if (!inbox__dead_step(b->c, r, reason, inbox__now_ms(), &e->dead[e->n_dead],
                                  &e->steps[1 + e->n_dead]))
                return false;
            e->n_dead++;
        }
        if (reason != NULL || r->outcome == INBOX__APPLIED) {
            inbox__array_text(&e->ids, r->identity);
            e->n_ids++;
        }
        if (r->noted && r->item.finished)
            list_noted(e, &r->msg);
    }
    return true;
}

/* All but the first values, which are no arrays. NULL: there was no memory for one. */
static bool all_set(const struct inbox__step *s)
{
    bool all = true;

    for (int i = 1; i < s->n; i++)
        all = all && s->values[i] != NULL;
    return all;
}

/* Dead letters after finish(), for which an id that is in inbox.dead has been stored meanwhile. */
static bool prepare_ending(struct batch *b, struct ending *e)
{
    struct inbox__step *finish = &e->steps[0];

    if (!list_events(b, e))
        return false;
    list_positions(b, e);
    *finish = (struct inbox__step){
        .sql = INBOX__FINISH,
        .n = INBOX__FINISH_VALUES,
        .values = { b->c->set.group, b->c->owner, inbox__array_finish(&e->ids),
                    inbox__array_finish(&e->topics), inbox__array_finish(&e->numbers),
                    inbox__array_finish(&e->offsets), inbox__array_finish(&e->witnesses),
                    inbox__array_finish(&e->marks) },
    };
    e->n_steps = 1 + e->n_dead;
    if (e->n_noted > 0)
        e->steps[e->n_steps++] = (struct inbox__step){
            .sql = INBOX__ATTEMPTS_DONE,
            .n = 4,
            .values = { b->c->set.group, inbox__array_finish(&e->noted_topics),
                        inbox__array_finish(&e->noted_numbers),
                        inbox__array_finish(&e->noted_offsets) },
        };
    e->steps[e->n_steps++] = (struct inbox__step){ .sql = "COMMIT" };
    return all_set(finish) && (e->n_noted == 0 || all_set(&e->steps[e->n_steps - 2]));
}

/* COMMIT was refused, by a deferred constraint or a serialization failure. */
static enum verdict commit_refused(struct batch *b, const PGresult *r)
{
    char why[300];

    if (inbox__db_lost(b->c) || inbox__db_passes(r))
        return failed(b, r, "committing");
    snprintf(why, sizeof why, "at COMMIT: %s", inbox__db_words(r, ""));
    if (b->n_called != 1) {
        say_repeat(b, why);
        return SINGLY;
    }
    inbox__record_fail(b->last_called, why);
    snprintf(b->last_called->sqlstate, sizeof b->last_called->sqlstate, "%s",
             PQresultErrorField(r, PG_DIAG_SQLSTATE));
    return BLAMED;
}

static enum verdict run_ending(struct batch *b, struct ending *e)
{
    int n = e->n_steps;
    bool answered = inbox__steps_run(b->c->conn, e->steps, n);

    for (int i = 0; i < n - 1; i++)
        if (e->steps[i].result != NULL && !inbox__step_ok(&e->steps[i]))
            return failed(b, e->steps[i].result, i == 0           ? "finishing a transaction"
                                               : i <= e->n_dead ? "writing to inbox.dead"
                                                                : "deleting from inbox.attempt");
    if (!answered)
        return failed(b, e->steps[n - 1].result, "committing");
    if (!inbox__step_ok(&e->steps[n - 1]))
        return commit_refused(b, e->steps[n - 1].result);
    /* COMMIT in a transaction that has failed succeeds, and says what it did. */
    if (strcmp(PQcmdStatus(e->steps[n - 1].result), "COMMIT") != 0)
        return failed(b, NULL, "committing");
    return COMMITTED;
}

static enum verdict end(struct batch *b)
{
    struct ending *e = calloc(1, sizeof *e);
    enum verdict v;

    if (e == NULL)
        return no_memory(b);
    if (!prepare_ending(b, e))
        v = no_memory(b);
    else if (e->n_ids == 0 && e->n_moved == 0 && e->n_noted == 0)
        v = command(b, "ROLLBACK");
    else
        v = run_ending(b, e);
    inbox__steps_clear(e->steps, e->n_steps);
    for (int i = 0; i < INBOX_MAX_BATCH_ROWS; i++)
        inbox__dead_row_deinit(&e->dead[i]);
    inbox__array_deinit(&e->ids);
    inbox__array_deinit(&e->topics);
    inbox__array_deinit(&e->numbers);
    inbox__array_deinit(&e->offsets);
    inbox__array_deinit(&e->witnesses);
    inbox__array_deinit(&e->marks);
    inbox__array_deinit(&e->noted_topics);
    inbox__array_deinit(&e->noted_numbers);
    inbox__array_deinit(&e->noted_offsets);
    free(e);
    return v;
}

/* -- what became of it ------------------------------------------------------------------------ */

static void settle_one(struct batch *b, struct inbox__record *r)
{
    inbox_stats *f = &b->c->figures;

    switch ((enum inbox__fate)r->outcome) {
    case INBOX__AGAIN: return;
    case INBOX__FAILED:
        f->retries++;
        inbox__log(b->c, 4, "%s/%d@%lld failed, call %u, next in %lld ms: %s", r->msg.topic,
                   (int)r->msg.partition, (long long)r->msg.offset, (unsigned)r->msg.attempt,
                   (long long)(r->due_ms - inbox__now_ms()), r->error != NULL ? r->error : "");
        inbox__window_failed(&b->c->window, &r->item, inbox__now_ms(), r->due_ms);
        return;
    case INBOX__APPLIED: f->applied++; break;
    case INBOX__DUPLICATE: f->duplicates++; break;
    case INBOX__REJECTED: f->rejected++; /* fallthrough */
    case INBOX__ATTEMPTS:
    case INBOX__TIME:
        f->dead++;
        inbox__log(b->c, 3, "%s/%d@%lld is a dead letter (%s), the later ones of its key go on: %s",
                   r->msg.topic, (int)r->msg.partition, (long long)r->msg.offset,
                   reason_of(r->outcome), r->error != NULL ? r->error : "");
        break;
    }
    inbox__window_done(&b->c->window, &r->item);
    inbox__record_free(r);
}

/* Nothing of it happened. blamed: the one that fails because of it; or NULL. */
static void give_back(struct batch *b, struct inbox__record *blamed)
{
    if (blamed != NULL) {
        inbox__record_fail(blamed, INBOX__LOST_EACH_TIME);
        blamed->sqlstate[0] = '\0';
        judge(b, blamed);
        blamed->outcome = INBOX__FAILED; /* should it be dead now: at its next turn */
        settle_one(b, blamed);
    }
    for (size_t i = b->n; i-- > 0;)
        if (b->rec[i] != blamed)
            inbox__window_again(&b->c->window, &b->rec[i]->item);
}

/* A handler that is the reason why its links are lost (the server ends them after a time, or dies of it)
 * must hold back its own key only. */
static struct inbox__record *who_is_to_blame(const struct batch *b)
{
    bool alone = b->n_called == 1 && b->c->batch_failures + 1 >= INBOX__LOSSES_ARE_ITS_OWN;

    return b->lost_in_call && alone ? b->last_called : NULL;
}

static void settle(struct batch *b)
{
    struct timespec now;

    for (struct inbox__partition *p = b->c->partitions; p != NULL; p = p->next)
        if (moves(p))
            p->part.stored = inbox__window_position(&p->part);
    clock_gettime(CLOCK_REALTIME, &now);
    b->c->figures.last_commit_unix_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    b->c->figures.transactions++;
    /* Those that were not called keep their place, in order: the last one first. */
    for (size_t i = 0; i < b->n; i++)
        if (b->rec[i]->outcome != INBOX__AGAIN) {
            settle_one(b, b->rec[i]);
            b->rec[i] = NULL;
        }
    for (size_t i = b->n; i-- > 0;)
        if (b->rec[i] != NULL)
            inbox__window_again(&b->c->window, &b->rec[i]->item);
}

/* As many as handlers do in about HANDLERS_TARGET_US; doubles, so that it gets there soon. */
static void grow(struct inbox_consumer *c, const struct batch *b, uint64_t took_us)
{
    size_t most = c->set.batch_rows;

    c->batch_failures = 0;
    c->careful -= c->careful < b->n_called ? c->careful : (uint32_t)b->n_called;
    if (b->n_called > 0 && took_us / b->n_called > 0) {
        uint64_t fit = HANDLERS_TARGET_US / (took_us / b->n_called);
        most = fit < 1 ? 1 : fit < most ? (size_t)fit : most;
    }
    c->batch_limit = c->batch_limit * 2 < most ? c->batch_limit * 2 : most;
}

/* The first repeat comes at once, for bad luck; then with backoff, and one event at a time. */
static void shrink(struct inbox_consumer *c, enum verdict v)
{
    uint32_t n = c->batch_failures;

    c->figures.rollbacks++;
    if (v == GUARDED)
        return;
    c->batch_failures++;
    if (v == SINGLY || n > 0)
        c->batch_limit = 1;
    if (n > 0)
        c->batch_due_ms = inbox__now_ms() + retry_delay_ms(c->set.retry_base_ms, c->set.retry_max_ms,
                                                           n - 1, retry_random(&c->chance));
}

static bool any_moves(const struct inbox_consumer *c)
{
    for (const struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (moves(p))
            return true;
    return false;
}

/* The only event that was called is why COMMIT was refused: a failed call like another. */
static enum verdict end_without(struct batch *b)
{
    enum verdict v;

    judge(b, b->last_called);
    v = begin_after(b, b->last_called);
    put_off_behind_failed(b);
    return v == COMMITTED ? end(b) : v;
}

static enum verdict run(struct batch *b)
{
    enum verdict v = begin(b);

    if (v == COMMITTED)
        v = call_all(b);
    if (v == COMMITTED)
        v = end(b);
    if (v == BLAMED)
        v = end_without(b);
    return v == BLAMED ? REPEAT : v;
}

int inbox__batch_run(struct inbox_consumer *c, uint64_t now_ms, bool flush, outbox_error *err)
{
    struct batch b = { .c = c, .now_ms = now_ms, .err = err };
    uint64_t before_us = c->figures.handler_us, fenced = c->figures.fenced;
    struct inbox__record *blamed;
    enum verdict v;

    if (inbox__db_lost(c) || now_ms < c->batch_due_ms)
        return OUTBOX_OK;
    b.n = inbox__window_take(&c->window, now_ms, (struct inbox__item **)b.rec, c->batch_limit);
    if (b.n == 0 && !(flush && any_moves(c)))
        return OUTBOX_OK;
    v = run(&b);
    if (v == COMMITTED) {
        settle(&b);
        grow(c, &b, c->figures.handler_us - before_us);
        return OUTBOX_OK;
    }
    blamed = who_is_to_blame(&b);
    give_back(&b, blamed);
    inbox__rollback(c);
    shrink(c, v);
    if (blamed != NULL)
        c->batch_failures = 0;
    if (c->figures.fenced != fenced)
        inbox__partitions_fenced(c);
    return v == BROKEN ? b.code : OUTBOX_OK;
}
