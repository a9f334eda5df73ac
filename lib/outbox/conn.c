/* conn.c - the state of the caller's connection before a statement, and what a failed one means.
 *
 * Reads the state that libpq keeps on the client's side; never sends anything, never changes the
 * connection.
 */
#include "conn.h"

#include "error.h"
#include "text.h"

#define SERVER_TEXT_SIZE 300 /* leaves room in outbox_error.message for what we say around it */

static int refuse_link(PGconn *conn, outbox_error *err)
{
    char text[SERVER_TEXT_SIZE];

    outbox__one_line(PQerrorMessage(conn), text, sizeof(text));
    return outbox__error_set_all(err, OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, NULL,
                                 "the connection is not usable%s%s; nothing was sent, a "
                                 "transaction that was open on it did not commit: run it again on "
                                 "a new connection",
                                 text[0] == '\0' ? "" : ": ", text);
}

int outbox__conn_check(PGconn *conn, bool need_txn, outbox_error *err)
{
    if (conn == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn is NULL");
    if (PQstatus(conn) != CONNECTION_OK)
        return refuse_link(conn, err);
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "the connection is in pipeline mode; read all results and call "
                                 "PQexitPipelineMode() first");
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_INTRANS: return OUTBOX_OK;
    case PQTRANS_IDLE:
        if (!need_txn)
            return OUTBOX_OK;
        return outbox__error_set(err, OUTBOX_ENOTXN,
                                 "no transaction is open: BEGIN first, so that the event and the "
                                 "business data commit together");
    case PQTRANS_INERROR:
        return outbox__error_set_all(err, OUTBOX_EABORTED, OUTBOX_ERRF_TXN_ABORTED, NULL,
                                     "an earlier statement failed and aborted the transaction; "
                                     "roll back");
    case PQTRANS_ACTIVE:
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "a command is in progress on the connection; read its results "
                                 "with PQgetResult() until NULL, or end the COPY, first");
    case PQTRANS_UNKNOWN: break;
    }
    return refuse_link(conn, err);
}

static const char *field(const PGresult *result, int code)
{
    return result != NULL ? PQresultErrorField(result, code) : NULL;
}

int outbox__conn_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err)
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);
    const char *primary = field(result, PG_DIAG_MESSAGE_PRIMARY); /* the detail shows the row */
    struct outbox__verdict verdict = outbox__error_classify(sqlstate);
    char text[SERVER_TEXT_SIZE];

    outbox__one_line(primary != NULL ? primary : PQerrorMessage(conn), text, sizeof(text));
    if (PQstatus(conn) != CONNECTION_OK || verdict.code == OUTBOX_ELINK)
        return outbox__error_set_all(err, OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, sqlstate,
                                     "the connection was lost while %s: %s; the transaction did "
                                     "not commit, run it again on a new connection",
                                     doing, text);
    if (sqlstate == NULL && PQresultStatus(result) == PGRES_FATAL_ERROR) { /* also of NULL */
        verdict.flags = OUTBOX_ERRF_RETRY_TXN;
        verdict.remedy = "libpq could not take the answer, so whether the statement ran is not "
                         "known: roll back";
    }
    if (PQtransactionStatus(conn) == PQTRANS_INERROR)
        verdict.flags |= OUTBOX_ERRF_TXN_ABORTED;
    else
        verdict.flags &= ~OUTBOX_ERRF_TXN_ABORTED;
    return outbox__error_set_all(err, verdict.code, verdict.flags, sqlstate,
                                 "the database refused while %s: %s%s%s%s%s%s", doing, text,
                                 sqlstate != NULL ? " (SQLSTATE " : "",
                                 sqlstate != NULL ? sqlstate : "", sqlstate != NULL ? ")" : "",
                                 verdict.remedy != NULL ? "; " : "",
                                 verdict.remedy != NULL ? verdict.remedy : "");
}
