/* conn.h - the state of the caller's connection before a statement, and what a failed one means. */
#ifndef OUTBOX_LIB_CONN_H
#define OUTBOX_LIB_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "outbox.h"

/** Whether a statement may be sent now: link up, no pipeline, no command in progress, transaction
 *  not failed, and with need_txn a transaction open. Sends nothing. conn may be NULL. */
int outbox__conn_check(PGconn *conn, bool need_txn, outbox_error *err);

/** Fill err for a statement that did not give the expected result and return the code. result may
 *  be NULL and stays the caller's; doing says what was tried ("storing the event"). */
int outbox__conn_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err);

#endif
