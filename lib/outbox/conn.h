/* conn.h - the state of the caller's connection before a statement, and what a failed one means. */
#ifndef OUTBOX_LIB_CONN_H
#define OUTBOX_LIB_CONN_H

#include <libpq-fe.h>

#include "outbox.h"

#define OUTBOX__STORING "storing the event"

/** What a statement asks of the connection. */
enum outbox__need {
    OUTBOX__IDLE,           /* no command out, no pipeline; a transaction or none */
    OUTBOX__IN_TRANSACTION, /* the same, and a transaction open */
    OUTBOX__TO_SEND         /* the same, or pipeline mode with whatever is out */
};

/** Whether a statement may be sent now: link up, the transaction not failed, and as need says. Sends
 *  nothing. conn may be NULL. */
int outbox__conn_check(PGconn *conn, enum outbox__need need, outbox_error *err);

/** Fill err for a statement that did not give the expected result and return the code. result may
 *  be NULL and stays the caller's; doing says what was tried ("storing the event"). */
int outbox__conn_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err);

/** The same for a statement that libpq did not take to send. */
int outbox__send_failed(PGconn *conn, const char *doing, outbox_error *err);

/** The same for a result alone, PGRES_FATAL_ERROR, of a statement within a transaction. */
int outbox__result_failed(const PGresult *result, const char *doing, outbox_error *err);

#endif
