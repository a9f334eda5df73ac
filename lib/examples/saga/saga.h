/* saga.h - what the services of the order saga share: the order that every event carries, events
 * that answer events, and the run of a service. Knows none of the steps; README.md beside it tells
 * the story.
 */
#ifndef SAGA_H
#define SAGA_H

#include <inbox.h>
#include <outbox.h>

/* The payload of every event: so a service needs nothing of another one but its events. */
struct saga_order {
    char id[21]; /* the key of its events, and their correlation id */
    char item[33];
    char card[33];
    int64_t quantity;
    int64_t amount; /* cents */
    int64_t moved;  /* what the step that the event tells of took or gave back; 0: nothing */
};

/* A handler of the saga: the message has been read, and its order is there. It returns what an
 * inbox_handler returns, and may change the order. */
typedef int (*saga_handler)(PGconn *conn, const inbox_message *msg, struct saga_order *order,
                            const void *arg);

struct saga_on {
    const char *type;
    saga_handler handler;
    const void *arg;
};

/* The main() of a service: SERVICE DSN BROKERS TOPIC [orchestrated] [SETTING=VALUE ...]. Its group
 * is "saga-NAME". Runs until TERM or INT; returns an exit status. on ends with a type of NULL. */
int saga_main(int argc, char **argv, const char *name, const struct saga_on *on);

/* Is the schema of a service in the database, as its SQL file makes it? 1: yes; 0: no, and stderr says which
 * file to apply; -1: the database does not answer. conn may be NULL. */
int saga_has_schema(PGconn *conn, const char *name);

/* Run one statement in the handler's transaction. What it may use:
 *   $1 bigint order id   $2 text item              $3 bigint quantity
 *   $4 bigint amount     $5 text id of the event   $6 bigint what was moved
 * Returns the number of rows that it found or changed; -1: it failed, and the handler returns
 * INBOX_RETRY. ret_value, when not NULL, is given the first column of the first row. */
int saga_rows(PGconn *conn, const char *sql, const inbox_message *msg,
              const struct saga_order *order, int64_t *ret_value);

/* Append an event of this order because of msg; at: Unix microseconds, not to be sent before, or 0.
 * Returns INBOX_DONE or INBOX_RETRY, so that a handler can end with it. */
int saga_emit(PGconn *conn, const inbox_message *msg, const struct saga_order *order,
              const char *type, int64_t at);

/* End a step: tell what happened, and, unless somebody conducts the saga, ask for the next step.
 * next may be NULL. */
int saga_answer(PGconn *conn, const inbox_message *msg, const struct saga_order *order,
                const char *fact, const char *next);

/* For who places orders: append the event that nothing caused. OUTBOX_OK or a negative code. */
int saga_begin(PGconn *conn, const char *topic, const struct saga_order *order, outbox_error *err);

#endif
