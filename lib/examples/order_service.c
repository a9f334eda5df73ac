/* order_service.c - a small service: an order is placed, paid and shipped, each step a transaction with
 * the row that changes and the events that tell of it.
 *
 * Placing an order stores two events at once. Paying and shipping answer an event: they carry its
 * correlation on, so that all that belongs to one order can be found. A step that was done before
 * stores nothing: the row is not as the step expects it, and the transaction is rolled back.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
 * Build: cc order_service.c $(pkg-config --cflags --libs outbox)   Run: ./a.out 'dbname=shop' 4711
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <stdio.h>
#include <string.h>

/* COMMIT of a failed transaction answers ROLLBACK, and a step that was done before "UPDATE 0". */
static int run(PGconn *conn, const char *sql, const char *id, const char *tag)
{
    PGresult *result = PQexecParams(conn, sql, id != NULL ? 1 : 0, NULL, &id, NULL, NULL, 0);
    int ok = result != NULL && strcmp(PQcmdStatus(result), tag) == 0;

    if (!ok)
        fprintf(stderr, "%s: no %s %s\n", sql, tag, PQresultErrorMessage(result));
    PQclear(result);
    return ok;
}

static void fill(outbox_event *event, const char *topic, const char *type, const char *id)
{
    *event = (outbox_event)OUTBOX_EVENT_INIT;
    event->topic = topic;
    event->type = type;
    event->key = id; /* events of one order stay in order, in each topic */
    event->key_len = strlen(id);
    event->content_type = "application/json";
    event->payload = "{}";
    event->payload_len = 2;
}

static int end(PGconn *conn, int ok)
{
    if (ok && run(conn, "COMMIT", NULL, "COMMIT"))
        return 1;
    PQclear(PQexec(conn, "ROLLBACK"));
    return 0;
}

static int complain(int code, const outbox_error *err)
{
    if (code != OUTBOX_OK)
        fprintf(stderr, "outbox: %s\n", err->message);
    return code == OUTBOX_OK;
}

/* event_id: of the event that the later steps answer. */
static int place(PGconn *conn, const char *id, char event_id[37])
{
    outbox_event events[2];
    outbox_error err = OUTBOX_ERROR_INIT;

    fill(&events[0], "orders", "com.example.order.placed", id);
    fill(&events[1], "mails", "com.example.mail.wanted", id);
    if (outbox_event_id_new(event_id) != OUTBOX_OK)
        return 0;
    events[0].event_id = event_id;
    if (!run(conn, "BEGIN", NULL, "BEGIN"))
        return 0;
    return end(conn, run(conn, "INSERT INTO orders (id, item) VALUES ($1, 'placed')", id,
                         "INSERT 0 1") &&
                         complain(outbox_append_many(conn, events, 2, &err), &err));
}

/* From one state to the next, because of an event. */
static int answer(PGconn *conn, const char *id, const outbox_cause *cause, const char *sql,
                  const char *type)
{
    outbox_event event;
    outbox_error err = OUTBOX_ERROR_INIT;

    fill(&event, "orders", type, id);
    if (!complain(outbox_event_from_cause(&event, cause, &err), &err) ||
        !run(conn, "BEGIN", NULL, "BEGIN"))
        return 0;
    return end(conn, run(conn, sql, id, "UPDATE 1") &&
                         complain(outbox_append(conn, &event, &err), &err));
}

static int serve(PGconn *conn, const char *id)
{
    outbox_cause cause = OUTBOX_CAUSE_INIT;
    char event_id[37];

    if (!place(conn, id, event_id))
        return 0;
    cause.event_id = event_id;
    if (!answer(conn, id, &cause,
                "UPDATE orders SET item = 'paid' WHERE id = $1 AND item = 'placed'",
                "com.example.order.paid"))
        return 0;
    cause.correlation_id = event_id; /* as a consumer of the second event would find it */
    cause.hops = 1;
    return answer(conn, id, &cause,
                  "UPDATE orders SET item = 'shipped' WHERE id = $1 AND item = 'paid'",
                  "com.example.order.shipped");
}

int main(int argc, char **argv)
{
    PGconn *conn = PQconnectdb(argc > 1 ? argv[1] : "");
    outbox_error err = OUTBOX_ERROR_INIT;
    int ok = PQstatus(conn) == CONNECTION_OK;

    if (!ok)
        fprintf(stderr, "%s", PQerrorMessage(conn));
    ok = ok && complain(outbox_check_schema(conn, &err), &err) &&
         serve(conn, argc > 2 ? argv[2] : "4711");
    PQfinish(conn);
    return ok ? 0 : 1;
}
