/* batch_end.c - the last part of a batch: ids, positions, dead letters and COMMIT in one round trip. It reads what
 * became of each event, and knows neither handlers nor why. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempts.h"
#include "batch_inside.h"
#include "db.h"
#include "dead.h"

/* The parameters of inbox.finish(), and the positions for afterwards. */
struct ending {
    struct inbox__array ids, topics, numbers, offsets, witnesses, marks;
    struct inbox__array noted_topics, noted_numbers, noted_offsets;
    struct inbox__dead_row dead[INBOX_MAX_BATCH_ROWS];
    struct inbox__step steps[INBOX_MAX_BATCH_ROWS + 3];
    char n_applied[12];
    int n_dead, n_ids, n_moved, n_noted, n_steps;
};

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
        if (inbox__partition_moves(p) || has_event(b, p)) {
            list_witness(e, inbox__partition_witness(p));
            inbox__array_text(&e->topics, p->topic);
            inbox__array_number(&e->numbers, p->number);
            inbox__array_number(&e->offsets, inbox__window_position(&p->part));
            e->n_moved += inbox__partition_moves(p);
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
        const char *reason = inbox__dead_reason(r->outcome);
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
    snprintf(e->n_applied, sizeof e->n_applied, "%d", e->n_ids - e->n_dead);
    *finish = (struct inbox__step){
        .sql = INBOX__FINISH,
        .n = INBOX__FINISH_VALUES,
        .values = { b->c->set.group, b->c->owner, inbox__array_finish(&e->ids),
                    inbox__array_finish(&e->topics), inbox__array_finish(&e->numbers),
                    inbox__array_finish(&e->offsets), inbox__array_finish(&e->witnesses),
                    inbox__array_finish(&e->marks), e->n_applied },
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

/* The only event that was called failed with this, should it turn out to be the reason. */
static void keep_why(struct batch *b, const PGresult *r, const char *why)
{
    inbox__record_fail(b->last_called, why);
    snprintf(b->last_called->sqlstate, sizeof b->last_called->sqlstate, "%s",
             PQresultErrorField(r, PG_DIAG_SQLSTATE));
}

/* May what its handler did be the reason: locks that it took, READ ONLY, what it put off until COMMIT? If so, one that
 * meets it each time must hold back its own key only. */
static void look_for_blame(struct batch *b, const PGresult *r, bool at_commit)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    char why[300];

    if (b->n_called != 1 || b->last_called->outcome != INBOX__APPLIED || state == NULL || inbox__db_lost(b->c))
        return;
    b->undone = inbox__is_bad_luck(state) || strcmp(state, "25006") == 0 ||
                (at_commit && (strcmp(state, "55P03") == 0 || strcmp(state, "57014") == 0));
    if (!b->undone)
        return;
    snprintf(why, sizeof why, "%s: %s", at_commit ? "at COMMIT" : "behind the handler", inbox__db_words(r, ""));
    keep_why(b, r, why);
}

/* COMMIT was refused, by a deferred constraint or a serialization failure. */
static enum verdict commit_refused(struct batch *b, const PGresult *r)
{
    char why[300];

    if (inbox__db_lost(b->c) || inbox__db_passes(r)) {
        look_for_blame(b, r, true);
        return inbox__batch_failed(b, r, "committing");
    }
    snprintf(why, sizeof why, "at COMMIT: %s", inbox__db_words(r, ""));
    if (b->n_called != 1) {
        inbox__batch_say_repeat(b, why);
        return SINGLY;
    }
    keep_why(b, r, why);
    return BLAMED;
}

static enum verdict ending_failed(struct batch *b, const struct ending *e, int i)
{
    look_for_blame(b, e->steps[i].result, false);
    return inbox__batch_failed(b, e->steps[i].result,
                               i == 0           ? "finishing a transaction"
                               : i <= e->n_dead ? "writing to inbox.dead"
                                                : "deleting from inbox.attempt");
}

static enum verdict run_ending(struct batch *b, struct ending *e)
{
    int n = e->n_steps;
    bool answered = inbox__steps_run(b->c->conn, e->steps, n);

    for (int i = 0; i < n - 1; i++)
        if (e->steps[i].result != NULL && !inbox__step_ok(&e->steps[i]))
            return ending_failed(b, e, i);
    if (!answered)
        return inbox__batch_failed(b, e->steps[n - 1].result, "committing");
    if (!inbox__step_ok(&e->steps[n - 1]))
        return commit_refused(b, e->steps[n - 1].result);
    /* COMMIT in a transaction that has failed succeeds, and says what it did. */
    if (strcmp(PQcmdStatus(e->steps[n - 1].result), "COMMIT") != 0)
        return inbox__batch_failed(b, NULL, "committing");
    return COMMITTED;
}

enum verdict inbox__batch_end(struct batch *b)
{
    struct ending *e = calloc(1, sizeof *e);
    enum verdict v;

    if (e == NULL)
        return inbox__batch_no_memory(b);
    if (!prepare_ending(b, e))
        v = inbox__batch_no_memory(b);
    else if (e->n_ids == 0 && e->n_moved == 0 && e->n_noted == 0)
        v = inbox__batch_command(b, "ROLLBACK", "ending a transaction");
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
