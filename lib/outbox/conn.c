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

static int refuse_no_transaction(const char *why, outbox_error *err)
{
    return outbox__error_set(err, OUTBOX_ENOTXN,
                             "no transaction is open%s: BEGIN first, so that the event and the "
                             "business data commit together",
                             why);
}

static int refuse_aborted(outbox_error *err)
{
    return outbox__error_set_all(err, OUTBOX_EABORTED, OUTBOX_ERRF_TXN_ABORTED, NULL,
                                 "an earlier statement failed and aborted the transaction; "
                                 "roll back");
}

/* libpq calls the connection active while commands are out; what became of them it cannot know. */
static int check_pipeline(PGconn *conn, outbox_error *err)
{
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_IDLE: return refuse_no_transaction(", as of the last Sync that was answered", err);
    case PQTRANS_INERROR: return refuse_aborted(err);
    case PQTRANS_INTRANS:
    case PQTRANS_ACTIVE: return OUTBOX_OK;
    case PQTRANS_UNKNOWN: break;
    }
    return refuse_link(conn, err);
}

int outbox__conn_check(PGconn *conn, enum outbox__need need, outbox_error *err)
{
    if (conn == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn is NULL");
    if (PQstatus(conn) != CONNECTION_OK)
        return refuse_link(conn, err);
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF) {
        if (need == OUTBOX__TO_SEND)
            return check_pipeline(conn, err);
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "the connection is in pipeline mode; use outbox_append_send(), or "
                                 "read all results and call PQexitPipelineMode() first");
    }
    switch (PQtransactionStatus(conn)) {
    case PQTRANS_INTRANS: return OUTBOX_OK;
    case PQTRANS_IDLE: return need == OUTBOX__IDLE ? OUTBOX_OK : refuse_no_transaction("", err);
    case PQTRANS_INERROR: return refuse_aborted(err);
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

/* Who waits for the answer has not sent COMMIT. Who looks at a result later may have sent it behind the
 * append, and then nothing here can tell what became of it. */
#define NOT_COMMITTED "the transaction did not commit, run it again on a new connection"
#define MAYBE_COMMITTED \
    "run the transaction again on a new connection, but if its COMMIT was sent as well, ask first " \
    "whether it committed"

static int say_lost(const char *sqlstate, const char *doing, const char *text, const char *outcome,
                    outbox_error *err)
{
    return outbox__error_set_all(err, OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, sqlstate,
                                 "the connection was lost while %s: %s; %s", doing, text, outcome);
}

static int say_refused(const struct outbox__verdict *verdict, const char *sqlstate,
                       const char *doing, const char *text, outbox_error *err)
{
    return outbox__error_set_all(err, verdict->code, verdict->flags, sqlstate,
                                 "the database refused while %s: %s%s%s%s%s%s", doing, text,
                                 sqlstate != NULL ? " (SQLSTATE " : "",
                                 sqlstate != NULL ? sqlstate : "", sqlstate != NULL ? ")" : "",
                                 verdict->remedy != NULL ? "; " : "",
                                 verdict->remedy != NULL ? verdict->remedy : "");
}

/* Neither the server said something nor is the link lost: libpq had no memory, most likely. */
static int say_libpq_failed(PGconn *conn, int code, const char *doing, const char *text, const char *outcome,
                            outbox_error *err)
{
    uint32_t aborted = PQtransactionStatus(conn) == PQTRANS_INERROR ? OUTBOX_ERRF_TXN_ABORTED : 0;

    return outbox__error_set_all(err, code, OUTBOX_ERRF_RETRY_TXN | aborted, NULL, "libpq failed while %s: %s; %s",
                                 doing, text[0] != '\0' ? text : "it does not say why", outcome);
}

int outbox__send_failed(PGconn *conn, const char *doing, outbox_error *err)
{
    struct outbox__verdict verdict = outbox__error_classify(NULL);
    char text[SERVER_TEXT_SIZE];

    outbox__one_line(PQerrorMessage(conn), text, sizeof(text));
    if (PQstatus(conn) != CONNECTION_OK)
        return say_lost(NULL, doing, text, NOT_COMMITTED, err);
    return say_libpq_failed(conn, verdict.code, doing, text,
                            "the statement could not be sent: roll back, and run the transaction again", err);
}

int outbox__conn_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err)
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);
    const char *primary = field(result, PG_DIAG_MESSAGE_PRIMARY); /* the detail shows the row */
    struct outbox__verdict verdict = outbox__error_classify(sqlstate);
    char text[SERVER_TEXT_SIZE];

    outbox__one_line(primary != NULL ? primary : PQerrorMessage(conn), text, sizeof(text));
    if (PQstatus(conn) != CONNECTION_OK || verdict.code == OUTBOX_ELINK)
        return say_lost(sqlstate, doing, text, NOT_COMMITTED, err);
    if (sqlstate == NULL && PQresultStatus(result) == PGRES_FATAL_ERROR) /* also of NULL */
        return say_libpq_failed(conn, verdict.code, doing, text,
                                "it could not take the answer, so whether the statement ran is not known: roll back, "
                                "and run the transaction again", err);
    if (PQtransactionStatus(conn) == PQTRANS_INERROR)
        verdict.flags |= OUTBOX_ERRF_TXN_ABORTED;
    else
        verdict.flags &= ~OUTBOX_ERRF_TXN_ABORTED;
    return say_refused(&verdict, sqlstate, doing, text, err);
}

int outbox__result_failed(const PGresult *result, const char *doing, outbox_error *err)
{
    const char *sqlstate = field(result, PG_DIAG_SQLSTATE);
    const char *primary = field(result, PG_DIAG_MESSAGE_PRIMARY);
    struct outbox__verdict verdict = outbox__error_classify(sqlstate);
    char text[SERVER_TEXT_SIZE];

    outbox__one_line(primary != NULL ? primary : PQresultErrorMessage(result), text, sizeof(text));
    if (sqlstate == NULL || verdict.code == OUTBOX_ELINK) /* without one it is libpq that speaks */
        return say_lost(sqlstate, doing, text, MAYBE_COMMITTED, err);
    verdict.flags |= OUTBOX_ERRF_TXN_ABORTED;
    return say_refused(&verdict, sqlstate, doing, text, err);
}
