/* batch_calls.c - the first part of a batch: its transaction begins, and the handlers of the events that are new are
 * called, each undone where it fails. What is done at the end, and whether that succeeds, it does not know. */
#include <libpq-fe.h>
#include <string.h>

#include "array.h"
#include "attempts.h"
#include "batch_inside.h"
#include "lib/shared/retry.h"
#include "steps.h"

#define CAREFUL_EVENTS 1000
#define HANDLERS_LONG_MS 2000 /* after so long the rest waits for the next transaction */

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

/* The n steps with which a transaction begins; their results stay. */
static enum verdict begin_with(struct batch *b, struct inbox__step *steps, int n)
{
    enum verdict v = COMMITTED;

    if (!inbox__steps_run(b->c->conn, steps, n))
        v = inbox__batch_failed(b, NULL, "beginning a transaction");
    for (int i = 0; i < n && v == COMMITTED; i++)
        if (!inbox__step_ok(&steps[i]))
            v = inbox__batch_failed(b, steps[i].result, "beginning a transaction");
    return v;
}

enum verdict inbox__batch_begin(struct batch *b)
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
        v = inbox__batch_no_memory(b);
    else
        v = begin_with(b, steps, 3);
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

/* between: committed by itself, before the new transaction begins; or NULL. */
static enum verdict begin_again(struct batch *b, const struct inbox__step *between)
{
    struct inbox__step steps[4] = { { .sql = "ROLLBACK" } };
    enum verdict v;
    int n = 1;

    if (between != NULL)
        steps[n++] = *between;
    steps[n++] = (struct inbox__step){ .sql = INBOX__BEGIN };
    steps[n++] = (struct inbox__step){ .sql = INBOX__SIGN, .n = 1, .values = { b->c->owner } };
    v = begin_with(b, steps, n);
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

void inbox__batch_judge(struct batch *b, struct inbox__record *r)
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

static enum verdict savepoint(struct batch *b, const char *sql)
{
    return inbox__batch_command(b, sql, "setting a savepoint");
}

static enum verdict call(struct batch *b, struct inbox__record *r)
{
    enum verdict v = COMMITTED;
    enum inbox__call got;

    if (inbox__attempts_suspects(r))
        v = note_call(b, r);
    else if (b->savepoints)
        v = savepoint(b, b->has_savepoint ? "RELEASE SAVEPOINT inbox_event; SAVEPOINT inbox_event"
                                          : "SAVEPOINT inbox_event");
    if (v != COMMITTED)
        return v;
    b->has_savepoint = b->savepoints;
    b->n_called++;
    b->last_called = r;
    got = inbox__call_handler(b->c, r);
    if (got == INBOX__CALL_LOST)
        return inbox__batch_failed(b, NULL, "a handler was working");
    b->undone = got == INBOX__CALL_RETRY && inbox__call_was_undone(b->c, r);
    if (b->undone) {
        inbox__batch_say_repeat(b, r->error != NULL ? r->error : "");
        return REPEAT;
    }
    inbox__attempts_returned(r);
    if (got == INBOX__CALL_ENDED)
        return inbox__batch_broken(b, inbox__handler_ended(b->c, r->msg.type, b->err));
    if (got == INBOX__CALL_DONE) {
        r->outcome = INBOX__APPLIED;
        r->item.finished = true;
        return COMMITTED;
    }
    b->c->careful = CAREFUL_EVENTS;
    if (b->several && !b->savepoints)
        return GUARDED;
    inbox__batch_judge(b, r);
    if (got == INBOX__CALL_REJECT) {
        r->outcome = INBOX__REJECTED;
        r->item.finished = true;
    }
    return b->savepoints ? savepoint(b, "ROLLBACK TO SAVEPOINT inbox_event") : begin_after(b, r);
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

/* The last call that is written down has returned, and none was begun since: why it failed is in another process's
 * log, and may be mended. So it has one call here, whatever the count says, and dies of that with its reason. */
static bool may_be_mended(const struct inbox__record *r)
{
    return r->calls_before > 0 && !r->ended && r->item.failures == 0;
}

/* Has it used up its calls by such as lost the link, or ended the process? AGAIN: no. */
static enum inbox__fate spent(const struct batch *b, const struct inbox__record *r)
{
    const struct inbox__settings *set = &b->c->set;

    if (r->time_is_up)
        return INBOX__TIME;
    if (set->retry_attempts != 0 && inbox__attempts_calls(r) >= set->retry_attempts && !may_be_mended(r))
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

enum verdict inbox__batch_call_all(struct batch *b)
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

enum verdict inbox__batch_begin_without(struct batch *b)
{
    enum verdict v;

    inbox__batch_judge(b, b->last_called);
    v = begin_after(b, b->last_called);
    put_off_behind_failed(b);
    return v;
}
