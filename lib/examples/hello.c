/* hello.c - one business row and one event in one transaction, with every error checked.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
 * Build: cc hello.c $(pkg-config --cflags --libs outbox)    Run: ./a.out 'dbname=shop' 4711
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <stdio.h>
#include <string.h>

static int run(PGconn *conn, const char *sql, const char *id, const char *expected_tag)
{
    PGresult *result = PQexecParams(conn, sql, id ? 1 : 0, NULL, &id, NULL, NULL, 0);
    int ok = result != NULL && strcmp(PQcmdStatus(result), expected_tag) == 0; /* COMMIT may answer ROLLBACK */

    if (!ok)
        fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(conn));
    PQclear(result);
    return ok;
}

static int store_event(PGconn *conn, const char *order_id, char ret_event_id[37])
{
    static const char payload[] = "{\"item\": \"book\"}";
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;

    event.topic = "orders";
    event.key = order_id; /* events of one order stay in order */
    event.key_len = strlen(order_id);
    event.type = "com.example.order.placed";
    event.content_type = "application/json";
    event.payload = payload;
    event.payload_len = strlen(payload);
    event.event_id = ret_event_id; /* NULL, which it is at first, lets the library make one */
    if (outbox_event_id_new(ret_event_id) != OUTBOX_OK)
        snprintf(err.message, sizeof err.message, "no random bytes for an event's id");
    else if (outbox_append(conn, &event, &err) == OUTBOX_OK)
        return 1;
    fprintf(stderr, "outbox: %s\n", err.message);
    return 0;
}

int main(int argc, char **argv)
{
    PGconn *conn = PQconnectdb(argc > 1 ? argv[1] : "");
    const char *id = argc > 2 ? argv[2] : "4711";
    char event_id[37];
    int ok = PQstatus(conn) == CONNECTION_OK;

    if (!ok)
        fprintf(stderr, "%s", PQerrorMessage(conn));
    ok = ok && run(conn, "BEGIN", NULL, "BEGIN") &&
         run(conn, "INSERT INTO orders (id, item) VALUES ($1, 'book')", id, "INSERT 0 1") &&
         store_event(conn, id, event_id) && run(conn, "COMMIT", NULL, "COMMIT");
    if (ok)
        printf("order %s and event %s are committed; the relay sends the event\n", id, event_id);
    PQfinish(conn); /* without COMMIT the server rolls back */
    return ok ? 0 : 1;
}
