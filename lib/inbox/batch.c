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
 * A call that may end the process is written down before, and its event is called alone: attempts.c. What failed
 * is written down afterwards: failures.c.
 *
 * What became of the events is told to the window only after COMMIT has succeeded. When the link is
 * lost at that moment it may have: all of it is done again, and the ids are found.
 *
 * This file takes events and settles what became of them; it runs no statement and calls no handler: batch_calls.c,
 * batch_end.c.
 */
#include "batch_inside.h"

#include <stdio.h>
#include <time.h>

#include "db.h"
#include "dead.h"
#include "failures.h"
#include "lib/outbox/text.h"
#include "lib/shared/retry.h"

/* So many failed attempts are logged in so long. */
#define SAID_MOST 100
#define SAID_AGAIN_MS 10000
#define HANDLERS_TARGET_US 200000 /* handlers of one transaction together, about */

/* -- what became of it ------------------------------------------------------------------------ */

/* A service that all handlers need may be away: then the first of these are enough. */
static bool may_say(struct inbox_consumer *c)
{
    struct restraint *said = &c->said_failed;

    if (restraint_admits(said, inbox__now_ms(), SAID_MOST, SAID_AGAIN_MS, NULL))
        return true;
    if (said->suppressed == 1)
        inbox__log(c, 4, "many attempts fail: for up to %d s more of them are counted (retries) and not logged",
                   SAID_AGAIN_MS / 1000);
    return false;
}

/* Where it has no id of its own its place says which it is. */
static void print_event(const inbox_message *msg, char *to, size_t size)
{
    char line[101];
    int n = 0;

    to[0] = '\0';
    if (msg->event_id != NULL)
        n = snprintf(to, size, ", event %s", outbox__one_line(msg->event_id, line, sizeof line));
    if (msg->type != NULL)
        snprintf(to + n, size - (size_t)n, "%s %s", n > 0 ? " of type" : ", type", outbox__one_line(msg->type, line, sizeof line));
}

static void say_failed(struct inbox_consumer *c, const struct inbox__record *r)
{
    uint64_t now_ms = inbox__now_ms(), wait_ms = r->due_ms > now_ms ? r->due_ms - now_ms : 0;
    char most[16] = "", event[240];

    if (!may_say(c))
        return;
    if (c->set.retry_attempts != 0)
        snprintf(most, sizeof most, " of %u", (unsigned)c->set.retry_attempts);
    print_event(&r->msg, event, sizeof event);
    inbox__log(c, 4, "%s/%d@%lld failed: attempt %u%s, next in %.1f s%s: %s", r->msg.topic,
               (int)r->msg.partition, (long long)r->msg.offset, (unsigned)r->msg.attempt, most,
               (double)wait_ms / 1000, event, r->error != NULL ? r->error : "");
}

static void keep_last(struct inbox_consumer *c, const struct inbox__record *r)
{
    snprintf(c->last_id, sizeof c->last_id, "%s", r->identity);
    c->last_id_ms = inbox__now_ms();
}

static void settle_one(struct batch *b, struct inbox__record *r)
{
    inbox_stats *f = &b->c->figures;

    switch ((enum inbox__fate)r->outcome) {
    case INBOX__AGAIN: return;
    case INBOX__FAILED:
        f->retries++;
        say_failed(b->c, r);
        inbox__window_failed(&b->c->window, &r->item, inbox__now_ms(), r->due_ms);
        return;
    case INBOX__APPLIED:
        f->applied++;
        keep_last(b->c, r);
        break;
    case INBOX__DUPLICATE: f->duplicates++; break;
    case INBOX__REJECTED: f->rejected++; /* fallthrough */
    case INBOX__ATTEMPTS:
    case INBOX__TIME:
        f->dead++;
        keep_last(b->c, r);
        inbox__log(b->c, 3, "%s/%d@%lld is a dead letter (%s), the later ones of its key go on: %s",
                   r->msg.topic, (int)r->msg.partition, (long long)r->msg.offset,
                   inbox__dead_reason(r->outcome), r->error != NULL ? r->error : "");
        break;
    }
    inbox__window_done(&b->c->window, &r->item);
    inbox__record_free(r);
}

/* r fails because nothing of the batch happened. Should it be dead now: at its next turn. */
static void blame(struct batch *b, struct inbox__record *r)
{
    if (inbox__db_lost(b->c)) {
        inbox__record_fail(r, INBOX__LOST_EACH_TIME);
        r->sqlstate[0] = '\0';
    }
    inbox__batch_judge(b, r);
    r->time_is_up = r->outcome == INBOX__TIME;
    r->outcome = INBOX__FAILED;
    settle_one(b, r);
    b->failed[b->n_failed++] = r;
}

/* Nothing of it happened. blamed: the one that fails because of it; or NULL. */
static void give_back(struct batch *b, struct inbox__record *blamed)
{
    if (blamed != NULL)
        blame(b, blamed);
    for (size_t i = b->n; i-- > 0;)
        if (b->rec[i] != blamed)
            inbox__window_again(&b->c->window, &b->rec[i]->item);
}

/* A handler that is the reason why its links are lost (the server ends them after a time, or dies of it), or that
 * meets a deadlock each time, must hold back its own key only. Most links are seen to be lost when they are used
 * next, which may be behind the call. */
static struct inbox__record *who_is_to_blame(const struct batch *b)
{
    bool alone = b->n_called == 1 && b->c->batch_failures + 1 >= INBOX__LOSSES_ARE_ITS_OWN;

    return (inbox__db_lost(b->c) || b->undone) && alone ? b->last_called : NULL;
}

static void settle(struct batch *b)
{
    struct timespec now;

    for (struct inbox__partition *p = b->c->partitions; p != NULL; p = p->next)
        if (inbox__partition_moves(p))
            p->part.stored = inbox__window_position(&p->part);
    clock_gettime(CLOCK_REALTIME, &now);
    b->c->figures.last_commit_unix_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    b->c->figures.transactions++;
    /* Those that were not called keep their place, in order: the last one first. */
    for (size_t i = 0; i < b->n; i++)
        if (b->rec[i]->outcome != INBOX__AGAIN) {
            if (b->rec[i]->outcome == INBOX__FAILED && !b->rec[i]->noted)
                b->failed[b->n_failed++] = b->rec[i];
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

static bool any(const struct inbox_consumer *c, bool (*is)(const struct inbox__partition *p))
{
    for (const struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (is(p))
            return true;
    return false;
}

/* One that was called with care is seldom the only one, and those behind it would be looked up for nothing. */
static size_t how_many(const struct inbox_consumer *c)
{
    return c->one_by_one ? 1 : c->batch_limit;
}

static enum verdict run(struct batch *b)
{
    enum verdict v = inbox__batch_begin(b);

    if (v == COMMITTED)
        v = inbox__batch_call_all(b);
    if (v == COMMITTED)
        v = inbox__batch_end(b);
    if (v == BLAMED) { /* a failed call like another */
        v = inbox__batch_begin_without(b);
        v = v == COMMITTED ? inbox__batch_end(b) : v;
    }
    return v == BLAMED ? REPEAT : v;
}

int inbox__batch_run(struct inbox_consumer *c, uint64_t now_ms, bool flush, outbox_error *err)
{
    struct batch b = { .c = c, .now_ms = now_ms, .err = err };
    uint64_t before_us = c->figures.handler_us, fenced = c->figures.fenced;
    /* Then the database is told before any event is taken: what is written down of a call below the position is of
     * no use to the next owner. */
    bool goes_back = any(c, inbox__partition_goes_back);
    struct inbox__record *blamed;
    enum verdict v;

    if (inbox__db_lost(c) || now_ms < c->batch_due_ms)
        return OUTBOX_OK;
    if (!goes_back)
        b.n = inbox__window_take(&c->window, now_ms, (struct inbox__item **)b.rec, how_many(c));
    if (b.n == 0 && !goes_back && !(flush && any(c, inbox__partition_moves)))
        return OUTBOX_OK;
    v = run(&b);
    if (v == COMMITTED) {
        settle(&b);
        grow(c, &b, c->figures.handler_us - before_us);
        c->one_by_one = b.alone;
        inbox__failures_write(c, b.failed, b.n_failed);
        return OUTBOX_OK;
    }
    blamed = v == REPEAT ? who_is_to_blame(&b) : NULL;
    give_back(&b, blamed);
    inbox__rollback(c);
    shrink(c, v);
    inbox__failures_write(c, b.failed, b.n_failed);
    if (blamed != NULL)
        c->batch_failures = 0;
    if (c->figures.fenced != fenced)
        inbox__partitions_fenced(c);
    return v == BROKEN ? b.code : OUTBOX_OK;
}
