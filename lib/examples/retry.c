/* retry.c - a transaction that is tried until it has committed once, whatever fails on the way.
 *
 * Four things can be right after a failure, and the flags say which:
 *   OUTBOX_ERRF_RETRY_TXN   roll back and run the whole transaction again
 *   OUTBOX_ERRF_LINK_LOST   the same on a new connection
 *   neither                 it would fail again: roll back and tell somebody
 * and after a COMMIT whose answer was lost: ask the server what became of the transaction, for it may
 * have committed. The number of the transaction is asked for with the business row, so that costs
 * nothing. And is the row there? After a failover the number may be that of another transaction.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
 * Build: cc retry.c $(pkg-config --cflags --libs outbox)   Run: ./a.out 'dbname=shop' 4711
 */
#define _POSIX_C_SOURCE 199309L /* nanosleep(), which C11 does not know */

#include <libpq-fe.h>
#include <outbox.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TRIES = 10 };

enum verdict { COMMITTED, AGAIN, RECONNECT, GIVE_UP };

struct job {
    const char *dsn, *order_id;
    PGconn *conn;
    char xid[24]; /* of the transaction whose COMMIT is on its way; "" when none is */
};

/* For the service's own statements: the same decision, from SQLSTATE. */
static enum verdict judge(PGconn *conn, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    fprintf(stderr, "%s: %s", sqlstate != NULL ? sqlstate : "no answer", PQerrorMessage(conn));
    if (sqlstate == NULL || PQstatus(conn) != CONNECTION_OK || strncmp(sqlstate, "08", 2) == 0 ||
        strncmp(sqlstate, "57P", 3) == 0)
        return RECONNECT; /* without SQLSTATE it is libpq that speaks: begin anew in any case */
    if (strncmp(sqlstate, "40", 2) == 0 || strcmp(sqlstate, "55P03") == 0)
        return AGAIN;
    return GIVE_UP;
}

static enum verdict judge_append(const outbox_error *err)
{
    fprintf(stderr, "outbox: %s\n", err->message);
    if (err->flags & OUTBOX_ERRF_LINK_LOST)
        return RECONNECT;
    return err->flags & OUTBOX_ERRF_RETRY_TXN ? AGAIN : GIVE_UP;
}

static enum verdict begin(struct job *job)
{
    PGresult *result = PQexec(job->conn, "BEGIN");
    enum verdict v = PQresultStatus(result) == PGRES_COMMAND_OK ? COMMITTED
                                                                : judge(job->conn, result);

    PQclear(result);
    return v;
}

static enum verdict insert_order(struct job *job, char xid[24])
{
    PGresult *result =
        PQexecParams(job->conn,
                     "INSERT INTO orders (id, item) VALUES ($1, 'book')"
                     " RETURNING pg_current_xact_id()",
                     1, NULL, &job->order_id, NULL, NULL, 0);
    enum verdict v = COMMITTED;

    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        snprintf(xid, 24, "%s", PQgetvalue(result, 0, 0));
    else
        v = judge(job->conn, result);
    PQclear(result);
    return v;
}

static enum verdict append_event(struct job *job)
{
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;

    event.topic = "orders";
    event.key = job->order_id;
    event.key_len = strlen(job->order_id);
    event.type = "com.example.order.placed";
    event.content_type = "application/json";
    event.payload = "{\"item\": \"book\"}";
    event.payload_len = strlen(event.payload);
    if (outbox_append(job->conn, &event, &err) == OUTBOX_OK)
        return COMMITTED;
    return judge_append(&err);
}

/* From here on the outcome is not known until there is an answer. */
static enum verdict commit(struct job *job, const char *xid)
{
    PGresult *result;
    enum verdict v;

    snprintf(job->xid, sizeof(job->xid), "%s", xid);
    result = PQexec(job->conn, "COMMIT");
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        v = strcmp(PQcmdStatus(result), "COMMIT") == 0 ? COMMITTED : GIVE_UP; /* or ROLLBACK */
    else
        v = judge(job->conn, result);
    if (v != RECONNECT)
        job->xid[0] = '\0';
    PQclear(result);
    return v;
}

static enum verdict try_once(struct job *job)
{
    char xid[24];
    enum verdict v = begin(job);

    if (v == COMMITTED)
        v = insert_order(job, xid);
    if (v == COMMITTED)
        v = append_event(job);
    if (v == COMMITTED)
        v = commit(job, xid);
    if (v == AGAIN || v == GIVE_UP)
        PQclear(PQexec(job->conn, "ROLLBACK"));
    return v;
}

/* On a new connection: what became of the COMMIT that had no answer? The old session may still be at
 * it, so "in progress" means to ask again. A standby that was promoted without the transaction has
 * given its number to another one: the row decides. Or it has not come to that number yet, which is
 * an error there (22023), and the transaction is not there either. One that is a standby still may
 * only be late: it is not asked. */
static enum verdict ask_outcome(struct job *job)
{
    const char *values[] = { job->xid, job->order_id };
    PGresult *result = PQexecParams(job->conn,
                                    "SELECT CASE WHEN NOT pg_is_in_recovery()"
                                    " THEN pg_xact_status($1::text::xid8) END,"
                                    " EXISTS (SELECT FROM orders WHERE id = $2)",
                                    2, NULL, values, NULL, NULL, 0);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    enum verdict v = RECONNECT;

    if (sqlstate != NULL && strcmp(sqlstate, "22023") == 0)
        v = AGAIN;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        if (strcmp(PQgetvalue(result, 0, 0), "committed") == 0)
            v = strcmp(PQgetvalue(result, 0, 1), "t") == 0 ? COMMITTED : AGAIN;
        else if (strcmp(PQgetvalue(result, 0, 0), "aborted") == 0)
            v = AGAIN;
    }
    PQclear(result);
    if (v != RECONNECT)
        job->xid[0] = '\0';
    return v;
}

static void pause_before(int try)
{
    long ms = (10L << (try < 7 ? try : 7)) / 2;
    struct timespec t = { 0, (ms + rand() % ms) * 1000000L }; /* spread, or rivals meet again */

    nanosleep(&t, NULL);
}

/* COMMITTED: once and only once. GIVE_UP: not at all, or, when job->xid is set, not known. */
static enum verdict run(struct job *job)
{
    enum verdict v = RECONNECT;

    for (int try = 0; try < MAX_TRIES && (v == AGAIN || v == RECONNECT); try++) {
        if (try > 0)
            pause_before(try);
        if (v == RECONNECT) {
            PQfinish(job->conn);
            job->conn = PQconnectdb(job->dsn);
            if (PQstatus(job->conn) != CONNECTION_OK) {
                fprintf(stderr, "%s", PQerrorMessage(job->conn));
                continue;
            }
        }
        v = job->xid[0] != '\0' ? ask_outcome(job) : AGAIN;
        if (v == AGAIN)
            v = try_once(job);
    }
    return v == COMMITTED ? COMMITTED : GIVE_UP;
}

int main(int argc, char **argv)
{
    struct job job = { argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "4711", NULL, "" };
    enum verdict v = run(&job);

    if (v != COMMITTED)
        fprintf(stderr, "order %s %s\n", job.order_id,
                job.xid[0] != '\0' ? "may have been placed: nobody answers" : "was not placed");
    PQfinish(job.conn);
    return v == COMMITTED ? 0 : 1;
}
