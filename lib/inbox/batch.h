/* batch.h - what batches and redrive.c share: the words of a transaction, one call of a handler in it, and the way
 * out. */
#ifndef INBOX_LIB_BATCH_H
#define INBOX_LIB_BATCH_H

#include "inside.h"

enum inbox__call {
    INBOX__CALL_DONE,
    INBOX__CALL_RETRY,
    INBOX__CALL_REJECT,
    INBOX__CALL_LOST,  /* the link is */
    INBOX__CALL_ENDED  /* the handler ended the transaction, or left the connection unusable */
};

#define INBOX__BEGIN "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
/* What finish() looks for: gone when the transaction is. */
#define INBOX__SIGN "SELECT set_config('inbox.transaction', $1, true)"
#define INBOX__FINISH                                                                              \
    "SELECT inbox.finish($1, $2, $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::bigint[],"    \
    " $8::bigint[], $9::integer)"
#define INBOX__FINISH_VALUES 9

/* So many links lost, or deadlocks met, one after the other during the handler of one event, and it is the reason. */
#define INBOX__LOSSES_ARE_ITS_OWN 3
#define INBOX__LOST_EACH_TIME "the link to the database is lost each time its handler works"

/* Call r's handler on the open transaction. After RETRY and REJECT r->error says why, and what the
 * handler did is still to be undone. */
enum inbox__call inbox__call_handler(struct inbox_consumer *c, struct inbox__record *r);

/* Of one that asks for another try: has the database undone it for the sake of others (a deadlock, a serialization
 * failure)? */
bool inbox__call_was_undone(const struct inbox_consumer *c, const struct inbox__record *r);
/* Is it the SQLSTATE of that? */
bool inbox__is_bad_luck(const char *sqlstate);

/* INBOX_EHANDLER, and err for the type (NULL: one of several). */
int inbox__handler_ended(struct inbox_consumer *c, const char *type, outbox_error *err);

/* Back out of a transaction, whatever its state. */
void inbox__rollback(struct inbox_consumer *c);

#endif
