/* pipeline.c - a business row, its event and COMMIT in one round trip, in libpq's pipeline mode.
 *
 * All is sent before any answer is read. If something fails, what follows it is not run, COMMIT
 * included, and ROLLBACK ends the transaction. If the connection is lost before the answers are there,
 * it may have committed: ask before trying again, as retry.c does.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
 * Build: cc pipeline.c $(pkg-config --cflags --libs outbox)   Run: ./a.out 'dbname=shop' 4711
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <stdio.h>
#include <string.h>

static int queue(PGconn *conn, const char *sql, const char *id)
{
    return PQsendQueryParams(conn, sql, id != NULL ? 1 : 0, NULL, &id, NULL, NULL, 0);
}

static int queue_event(PGconn *conn, const char *id)
{
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;

    event.topic = "orders";
    event.key = id;
    event.key_len = strlen(id);
    event.type = "com.example.order.placed";
    event.content_type = "application/json";
    event.payload = "{\"item\": \"book\"}";
    event.payload_len = strlen(event.payload);
    if (outbox_append_send(conn, &event, &err) == OUTBOX_OK) /* copies: event may go */
        return 1;
    fprintf(stderr, "outbox: %s\n", err.message);
    return 0;
}

/* The result of the next command, and the NULL behind it. */
static PGresult *next(PGconn *conn)
{
    PGresult *result = PQgetResult(conn), *end = PQgetResult(conn);

    PQclear(end); /* NULL, unless the connection is lost */
    return result;
}

static int expect(PGconn *conn, const char *tag)
{
    PGresult *result = next(conn);
    int ok = result != NULL && strcmp(PQcmdStatus(result), tag) == 0;

    if (!ok && PQresultStatus(result) != PGRES_PIPELINE_ABORTED)
        fprintf(stderr, "no %s: %s", tag, PQresultErrorMessage(result));
    PQclear(result);
    return ok;
}

static int expect_event(PGconn *conn)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    PGresult *result = next(conn);
    int ok = outbox_append_result(result, &err) == OUTBOX_OK;

    if (!ok)
        fprintf(stderr, "outbox: %s\n", err.message);
    PQclear(result);
    return ok;
}

static int place_order(PGconn *conn, const char *id)
{
    int ok;

    if (!queue(conn, "BEGIN", NULL) ||
        !queue(conn, "INSERT INTO orders (id, item) VALUES ($1, 'book')", id) ||
        !queue_event(conn, id) || !queue(conn, "COMMIT", NULL) || !PQpipelineSync(conn)) {
        fprintf(stderr, "not sent: %s\n", PQerrorMessage(conn));
        return 0; /* without COMMIT in the queue nothing commits: close the connection */
    }
    ok = expect(conn, "BEGIN");
    ok = expect(conn, "INSERT 0 1") && ok; /* every result is read, whatever the one before was */
    ok = expect_event(conn) && ok;
    ok = expect(conn, "COMMIT") && ok;
    PQclear(PQgetResult(conn)); /* the Sync */
    if (!ok && PQstatus(conn) != CONNECTION_OK)
        fprintf(stderr, "order %s may have been placed: COMMIT has no answer\n", id);
    return ok;
}

int main(int argc, char **argv)
{
    PGconn *conn = PQconnectdb(argc > 1 ? argv[1] : "");
    int ok = PQstatus(conn) == CONNECTION_OK && PQenterPipelineMode(conn);

    if (!ok)
        fprintf(stderr, "%s", PQerrorMessage(conn));
    ok = ok && place_order(conn, argc > 2 ? argv[2] : "4711");
    if (PQexitPipelineMode(conn) && PQtransactionStatus(conn) == PQTRANS_INERROR)
        PQclear(PQexec(conn, "ROLLBACK")); /* for the next user of the connection */
    PQfinish(conn);
    return ok ? 0 : 1;
}
