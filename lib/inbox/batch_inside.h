/* batch_inside.h - what the files of a batch share: the one that is under way, and what each step of it came to.
 *
 * batch.c takes events and settles what became of them; batch_calls.c begins the transaction and calls
 * handlers; batch_end.c commits; batch_failed.c says what a statement that failed means. The last three do not
 * know each other but for batch_failed.c, and none of them touches the window.
 */
#ifndef INBOX_LIB_BATCH_INSIDE_H
#define INBOX_LIB_BATCH_INSIDE_H

#include "batch.h"

/* Of one step. All but COMMITTED end the batch, but for BLAMED, which can be ended without the one. */
enum verdict {
    COMMITTED, /* done; of the last step: and committed */
    REPEAT,    /* rolled back, for a reason that may pass */
    SINGLY,    /* rolled back, and one of several may be the reason */
    GUARDED,   /* a handler failed among several without savepoints: again, with these */
    BLAMED,    /* rolled back at COMMIT because of the only event that was called: last_called */
    BROKEN     /* waiting does not mend it: see code */
};

/* Events in the order in which the window gave them; rec[i]->outcome says what becomes of each (enum
 * inbox__fate), rec[i]->item.finished whether it leaves when all of it commits. */
struct batch {
    struct inbox_consumer *c;
    struct inbox__record *rec[INBOX_MAX_BATCH_ROWS];
    size_t n, n_called;
    struct inbox__record *failed[INBOX_MAX_BATCH_ROWS]; /* of those, what inbox.attempt does not know of */
    size_t n_failed;
    struct inbox__record *last_called; /* NULL: none was */
    bool undone;        /* the transaction was, by a deadlock or the like: in that one's call, or behind it and maybe
                         * because of it */
    bool alone;         /* one only is called: it may be what ends the process */
    bool several;       /* to be called */
    bool savepoints;
    bool has_savepoint;
    uint64_t now_ms;    /* when it began */
    int code;           /* of BROKEN */
    outbox_error *err;  /* of BROKEN too; may be NULL */
};

/* -- batch_calls.c ---------------------------------------------------------------------------- */

/* Find out which events are known, and begin a transaction. COMMITTED: it is open, and outcome is DUPLICATE or
 * AGAIN of each. REPEAT or BROKEN: whatever it is in, inbox__rollback() ends it. */
enum verdict inbox__batch_begin(struct batch *b);

/* Call the handlers of those that are AGAIN, one after the other, and undo what the failing ones did. COMMITTED: the
 * transaction is open and has the work of those that are APPLIED, and no other. Those that stay AGAIN were not
 * called. GUARDED, REPEAT or BROKEN: outcomes mean nothing, inbox__rollback() ends it. */
enum verdict inbox__batch_call_all(struct batch *b);

/* The call of r has failed: FAILED, with due_ms, or ATTEMPTS or TIME when that was the last one. */
void inbox__batch_judge(struct batch *b, struct inbox__record *r);

/* After BLAMED: begin again without the work of last_called, which has failed; those behind it wait. Results as
 * of inbox__batch_begin(). */
enum verdict inbox__batch_begin_without(struct batch *b);

/* -- batch_end.c ------------------------------------------------------------------------------ */

/* Store ids, positions and dead letters, and commit; where there is nothing to store, roll back, which is COMMITTED
 * too. REPEAT: nothing of it happened, or, when the link was lost at COMMIT, all of it. SINGLY or BLAMED: COMMIT was
 * refused. inbox__rollback() ends what is left. */
enum verdict inbox__batch_end(struct batch *b);

/* -- batch_failed.c --------------------------------------------------------------------------- */

/* BROKEN, with code; the text is in b->err already. */
enum verdict inbox__batch_broken(struct batch *b, int code);
/* BROKEN, with OUTBOX_ENOMEM and its text. */
enum verdict inbox__batch_no_memory(struct batch *b);
/* A statement of ours has failed with r, NULL where there is none, while `doing`. REPEAT, after a line in the log, or
 * BROKEN. One that another owner is the reason of is counted and rolled back. */
enum verdict inbox__batch_failed(struct batch *b, const PGresult *r, const char *doing);
/* Run a command without a result. COMMITTED, or as inbox__batch_failed(). */
enum verdict inbox__batch_command(struct batch *b, const char *sql, const char *doing);
/* To the log. */
void inbox__batch_say_repeat(const struct batch *b, const char *why);

#endif
