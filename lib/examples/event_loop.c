/* event_loop.c - transactions on a non-blocking connection, driven by poll(2): nothing here waits but
 * the loop.
 *
 * A transaction is a row of steps. Each is sent; when its answer is there, the next one is. A real
 * program has more sockets in its poll and calls on_socket() when libpq's is ready.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
 * Build: cc event_loop.c $(pkg-config --cflags --libs outbox)   Run: ./a.out 'dbname=shop' 4711
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum step { BEGIN, ORDER, EVENT, COMMIT, ROLLBACK, DONE, FAILED };

struct order {
    PGconn *conn;
    const char *id;
    enum step step;  /* whose answer is awaited */
    int ok;          /* so far */
    int wants_write; /* libpq has bytes that the system did not take yet */
};

static int send_event(struct order *o)
{
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;

    event.topic = "orders";
    event.key = o->id;
    event.key_len = strlen(o->id);
    event.type = "com.example.order.placed";
    event.content_type = "application/json";
    event.payload = "{\"item\": \"book\"}";
    event.payload_len = strlen(event.payload);
    if (outbox_append_send(o->conn, &event, &err) == OUTBOX_OK)
        return 1;
    fprintf(stderr, "outbox: %s\n", err.message);
    return 0;
}

static int send_step(struct order *o)
{
    switch (o->step) {
    case BEGIN: return PQsendQuery(o->conn, "BEGIN");
    case ORDER:
        return PQsendQueryParams(o->conn, "INSERT INTO orders (id, item) VALUES ($1, 'book')", 1,
                                 NULL, &o->id, NULL, NULL, 0);
    case EVENT: return send_event(o);
    case COMMIT: return PQsendQuery(o->conn, "COMMIT");
    case ROLLBACK: return PQsendQuery(o->conn, "ROLLBACK");
    case DONE:
    case FAILED: break;
    }
    return 0;
}

/* Begin a step. When it cannot be sent, the way out is ROLLBACK, and from there the end. */
static void start(struct order *o, enum step step)
{
    o->step = step;
    if (step == DONE || step == FAILED)
        return;
    if (!send_step(o)) {
        o->ok = 0;
        start(o, step == ROLLBACK || PQstatus(o->conn) != CONNECTION_OK ? FAILED : ROLLBACK);
        return;
    }
    o->wants_write = PQflush(o->conn) == 1;
}

/* COMMIT of a failed transaction answers ROLLBACK, so the tag is looked at. */
static int is_good(const struct order *o, PGresult *result)
{
    static const char *const tags[] = { "BEGIN", "INSERT 0 1", "", "COMMIT", "ROLLBACK" };
    outbox_error err = OUTBOX_ERROR_INIT;

    if (o->step == EVENT) {
        if (outbox_append_result(result, &err) == OUTBOX_OK)
            return 1;
        fprintf(stderr, "outbox: %s\n", err.message);
        return 0;
    }
    if (strcmp(PQcmdStatus(result), tags[o->step]) == 0)
        return 1;
    fprintf(stderr, "%s", PQresultErrorMessage(result));
    if (o->step == COMMIT && PQstatus(o->conn) != CONNECTION_OK) /* retry.c asks what became of it */
        fprintf(stderr, "order %s may have been placed: COMMIT has no answer\n", o->id);
    return 0;
}

/* All results of the step are read: what is next? */
static void go_on(struct order *o)
{
    int lost = PQstatus(o->conn) != CONNECTION_OK;

    if (o->step == COMMIT && o->ok) /* whatever became of the connection then */
        start(o, DONE);
    else if (o->step == COMMIT || o->step == ROLLBACK || lost)
        start(o, FAILED);
    else
        start(o, o->ok ? (enum step)(o->step + 1) : ROLLBACK);
}

/* The socket is ready for something. */
static void on_socket(struct order *o)
{
    PGresult *result;

    (void)PQconsumeInput(o->conn); /* what came before a failure counts; the failure is a result too */
    if (o->wants_write)
        o->wants_write = PQflush(o->conn) == 1;
    while (o->step != DONE && o->step != FAILED && !PQisBusy(o->conn)) {
        result = PQgetResult(o->conn);
        if (result == NULL) {
            go_on(o);
            continue;
        }
        o->ok = is_good(o, result) && o->ok;
        PQclear(result);
    }
}

int main(int argc, char **argv)
{
    PGconn *conn = PQconnectdb(argc > 1 ? argv[1] : "");
    struct order order = { conn, argc > 2 ? argv[2] : "4711", BEGIN, 1, 0 };

    if (PQstatus(conn) != CONNECTION_OK || PQsetnonblocking(conn, 1) != 0) {
        fprintf(stderr, "%s", PQerrorMessage(conn));
        PQfinish(conn);
        return 1;
    }
    start(&order, BEGIN);
    while (order.step != DONE && order.step != FAILED) {
        struct pollfd fd = { PQsocket(conn), POLLIN, 0 };

        if (order.wants_write)
            fd.events |= POLLOUT;
        if (poll(&fd, 1, -1) > 0) /* with a signal it is -1: look again */
            on_socket(&order);
    }
    PQfinish(conn);
    return order.step == DONE ? 0 : 1;
}
