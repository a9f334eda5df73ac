/* call.c - one call of a handler: lent the connection, and what it left of it. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "attempts.h"
#include "batch.h"
#include "lib/outbox/error.h"
#include "lib/outbox/text.h"

/* Is it the transaction that we began? In one that has failed nobody can ask. */
static bool is_ours(const struct inbox_consumer *c)
{
    PGresult *r;
    bool ours;

    if (PQtransactionStatus(c->conn) != PQTRANS_INTRANS)
        return true;
    r = PQexec(c->conn, "SELECT pg_catalog.current_setting('inbox.transaction', true)");
    ours = PQresultStatus(r) != PGRES_TUPLES_OK || strcmp(PQgetvalue(r, 0, 0), c->owner) == 0;
    PQclear(r);
    return ours;
}

/* The last error of the connection without its details, which show values of rows: of
 * "ERROR:  23505: duplicate key ..." (severity in the server's language) the code and what follows. libpq's
 * own errors have neither. line is "" when there was none. */
static void last_error(const PGconn *conn, char line[501], char ret_state[6])
{
    const char *text = PQerrorMessage(conn), *state = strstr(text, ":  ");
    size_t len;

    ret_state[0] = '\0';
    if (state != NULL && state < text + strcspn(text, "\n") &&
        strspn(state + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
        strncmp(state + 8, ": ", 2) == 0) {
        memcpy(ret_state, state + 3, 5);
        ret_state[5] = '\0';
        text = state + 10;
    }
    len = strcspn(text, "\n");
    snprintf(line, 501, "%.*s", (int)len, text);
}

/* For a handler that did not. said: the last error of its connection, or "". */
static void say_why(struct inbox__record *r, const char *said, int outcome)
{
    char line[200];

    if (said[0] != '\0') {
        inbox__record_fail(r, said);
    } else if (outcome == INBOX_REJECT) {
        inbox__record_fail(r, "the handler rejected it, and did not say why with inbox_fail()");
    } else if (outcome == INBOX_RETRY) {
        inbox__record_fail(r, "the handler asked for another try, and did not say why with inbox_fail()");
    } else {
        snprintf(line, sizeof line,
                 "the handler returned %d, which is no outcome and is taken for INBOX_RETRY: INBOX_DONE is %d, "
                 "INBOX_RETRY %d, INBOX_REJECT %d",
                 outcome, INBOX_DONE, INBOX_RETRY, INBOX_REJECT);
        inbox__record_fail(r, line);
    }
}

enum inbox__call inbox__call_handler(struct inbox_consumer *c, struct inbox__record *r)
{
    const struct inbox__handler *h = inbox__handler_of(c, r->msg.type);
    uint64_t began = inbox__now_us();
    char line[501];
    int outcome;

    r->msg.attempt = inbox__attempts_calls(r) + 1;
    r->msg.internal = r;
    if (r->error != NULL)
        r->error[0] = '\0';
    r->sqlstate[0] = '\0';
    r->called_ms = began / 1000;
    outcome = h->call(c->conn, &r->msg, h->arg);
    inbox__stats_handler(c, inbox__now_us() - began);
    if (PQstatus(c->conn) != CONNECTION_OK)
        return INBOX__CALL_LOST;
    if (PQpipelineStatus(c->conn) != PQ_PIPELINE_OFF)
        return INBOX__CALL_ENDED;
    switch (PQtransactionStatus(c->conn)) {
    case PQTRANS_INTRANS: break;
    case PQTRANS_INERROR: outcome = outcome == INBOX_REJECT ? INBOX_REJECT : INBOX_RETRY; break;
    case PQTRANS_UNKNOWN: return INBOX__CALL_LOST;
    case PQTRANS_IDLE:
    case PQTRANS_ACTIVE: return INBOX__CALL_ENDED;
    }
    if (outcome == INBOX_DONE)
        return INBOX__CALL_DONE;
    last_error(c->conn, line, r->sqlstate);
    if (r->error == NULL || r->error[0] == '\0')
        say_why(r, line, outcome);
    if (!is_ours(c))
        return INBOX__CALL_ENDED;
    return outcome == INBOX_REJECT ? INBOX__CALL_REJECT : INBOX__CALL_RETRY;
}

bool inbox__is_bad_luck(const char *sqlstate)
{
    return strncmp(sqlstate, "40", 2) == 0;
}

bool inbox__call_was_undone(const struct inbox_consumer *c, const struct inbox__record *r)
{
    return PQtransactionStatus(c->conn) == PQTRANS_INERROR && inbox__is_bad_luck(r->sqlstate);
}

int inbox__handler_ended(struct inbox_consumer *c, const char *type, outbox_error *err)
{
    char line[OUTBOX_MAX_TYPE_BYTES + 1] = ""; /* who wrote the record may have put anything there */

    (void)c;
    if (type != NULL)
        outbox__one_line(type, line, sizeof line);
    return outbox__error_set(err, INBOX_EHANDLER,
                             "a handler, %s%s%s, ended the transaction that it was lent, or left a "
                             "query, a COPY or pipeline mode behind: it must do neither. What it "
                             "committed itself is not known to the inbox",
                             type != NULL ? "that of type \"" : "one of those called in this batch",
                             line, type != NULL ? "\"" : "");
}

/* What a handler left running may take for ever: it is not waited for. */
static bool can_roll_back(const PGconn *conn)
{
    PGTransactionStatusType t = PQtransactionStatus(conn);

    return PQpipelineStatus(conn) == PQ_PIPELINE_OFF && (t == PQTRANS_INTRANS || t == PQTRANS_INERROR);
}

void inbox__rollback(struct inbox_consumer *c)
{
    if (PQstatus(c->conn) == CONNECTION_OK && can_roll_back(c->conn))
        PQclear(PQexec(c->conn, "ROLLBACK"));
    if (PQstatus(c->conn) == CONNECTION_OK && (PQpipelineStatus(c->conn) != PQ_PIPELINE_OFF ||
                                               PQtransactionStatus(c->conn) != PQTRANS_IDLE))
        inbox__db_close(c); /* nothing else makes it usable */
}
