/* threads.c - eight threads on eight connections use every function of the library at once; built with
 * -fsanitize=thread by tests/tsan/run, which says what races.
 *
 *   threads DSN [race]     race: two threads write one number without a lock, so that it can be seen
 *                          that a race is found
 *
 * Prints the number of events that were committed. Exits 1 when anything failed.
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 25, MANY = 40, PER_ROUND = MANY + 3 };

static const char *dsn;
static bool race;
static volatile int shared; /* with `race` only */

struct worker {
    PGconn *conn;
    uint32_t flags;
    char why[2 * OUTBOX_ERROR_MESSAGE_SIZE];
};

static bool run(struct worker *w, const char *sql)
{
    PGresult *result = PQexec(w->conn, sql);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;

    if (!ok)
        snprintf(w->why, sizeof w->why, "%s: %s", sql, PQerrorMessage(w->conn));
    PQclear(result);
    return ok;
}

static void fill(outbox_event *event, uint32_t flags)
{
    static const outbox_header header = { "name", "value", 5 };
    static const char key[] = "a key for all";

    *event = (outbox_event)OUTBOX_EVENT_INIT;
    event->topic = "threads";
    event->type = "test";
    event->key = key;
    event->key_len = sizeof key - 1;
    event->payload = "payload";
    event->payload_len = 7;
    event->headers = &header;
    event->n_headers = 1;
    event->flags = flags;
}

static int append_by_result(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    int code = outbox_append_send(conn, event, err);
    PGresult *result;

    if (code != OUTBOX_OK)
        return code;
    result = PQgetResult(conn);
    code = outbox_append_result(result, err);
    PQclear(result);
    PQclear(PQgetResult(conn));
    return code;
}

/* Each function, and one refusal of each kind, as their texts are made in buffers. */
static bool round_of(struct worker *w)
{
    outbox_event event, many[MANY];
    outbox_cause cause = OUTBOX_CAUSE_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;
    char id[37], framed[64];

    if (outbox_event_id_new(id) != OUTBOX_OK)
        return false;
    cause.event_id = id;
    fill(&event, w->flags);
    event.payload_len = outbox_frame_confluent(7, NULL, 0, "payload", 7, framed, sizeof framed);
    event.payload = framed;
    for (size_t i = 0; i < MANY; i++)
        fill(&many[i], w->flags);
    if (outbox_append(w->conn, &event, &err) != OUTBOX_ENOTXN || !run(w, "BEGIN"))
        return false;
    many[3].topic = "";
    if (outbox_append_many(w->conn, many, MANY, &err) != OUTBOX_EINVAL)
        return false;
    many[3].topic = "threads";
    if (outbox_event_from_cause(&event, &cause, &err) != OUTBOX_OK ||
        outbox_append(w->conn, &event, &err) != OUTBOX_OK ||
        append_by_result(w->conn, &event, &err) != OUTBOX_OK ||
        outbox_append_many(w->conn, many, MANY, &err) != OUTBOX_OK ||
        outbox_append_many(w->conn, many, 1, &err) != OUTBOX_OK || !run(w, "COMMIT")) {
        if (w->why[0] == '\0')
            snprintf(w->why, sizeof w->why, "%s: %s", outbox_strerror(err.code), err.message);
        return false;
    }
    return true;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    outbox_error err = OUTBOX_ERROR_INIT;
    bool ok;

    w->conn = PQconnectdb(dsn);
    ok = PQstatus(w->conn) == CONNECTION_OK && outbox_check_schema(w->conn, &err) == OUTBOX_OK &&
         outbox_prepare(w->conn, &err) == OUTBOX_OK;
    for (int i = 0; ok && i < ROUNDS; i++) {
        w->flags = i % 3 == 0 ? OUTBOX_APPEND_PREPARED : i % 3 == 1 ? OUTBOX_APPEND_ORDERED : 0;
        ok = round_of(w);
        if (race)
            shared++;
    }
    if (!ok && w->why[0] == '\0')
        snprintf(w->why, sizeof w->why, "%.200s%.300s", err.message, PQerrorMessage(w->conn));
    PQfinish(w->conn);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    int n_failed = 0;

    dsn = argc > 1 ? argv[1] : "";
    race = argc > 2 && strcmp(argv[2], "race") == 0;
    for (int i = 0; i < THREADS; i++)
        n_failed += pthread_create(&threads[i], NULL, work, &workers[i]) != 0;
    for (int i = 0; i < THREADS; i++) {
        n_failed += pthread_join(threads[i], NULL) != 0 || workers[i].why[0] != '\0';
        if (workers[i].why[0] != '\0')
            fprintf(stderr, "thread %d: %s\n", i, workers[i].why);
    }
    printf("%d\n", THREADS * ROUNDS * PER_ROUND);
    return n_failed == 0 ? 0 : 1;
}
