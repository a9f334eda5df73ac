/* consumer.c - the smallest complete consumer: one row per event in a table of its own.
 *
 *   consumer DSN BROKERS TOPIC      until SIGTERM or SIGINT; its group is "consumer"
 *
 * The database has sql/002_inbox.up.sql; the table consumer_example is made when it is missing. A
 * payload that begins with "poison" is rejected: it goes to inbox.dead and the others go on.
 *
 * Build: cc consumer.c $(pkg-config --cflags --libs inbox)
 * Run:   ./a.out 'dbname=shop' localhost:9092 orders
 */
#include <inbox.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static inbox_consumer *consumer;

static void on_signal(int signal)
{
    (void)signal;
    inbox_consumer_stop(consumer);
}

static void on_log(int level, const char *line, void *arg)
{
    (void)arg;
    if (level <= 6)
        fprintf(stderr, "<%d>%s\n", level, line);
}

/* Runs in a transaction that the library began and will commit, with the event's id. */
static int on_event(PGconn *conn, const inbox_message *msg, void *arg)
{
    const char *values[] = { msg->event_id, msg->topic, msg->type, msg->key, msg->payload };
    const int lengths[] = { 0, 0, 0, (int)msg->key_len, (int)msg->payload_len };
    const int formats[] = { 0, 0, 0, 1, 1 };
    PGresult *r;
    int outcome;

    (void)arg;
    if (msg->payload_len >= 6 && memcmp(msg->payload, "poison", 6) == 0) {
        inbox_fail(msg, "the payload begins with poison");
        return INBOX_REJECT;
    }
    r = PQexecParams(conn,
                     "INSERT INTO consumer_example (event_id, topic, type, key, payload)"
                     " VALUES ($1, $2, $3, $4::bytea, $5::bytea)",
                     5, NULL, values, lengths, formats, 0);
    outcome = PQresultStatus(r) == PGRES_COMMAND_OK ? INBOX_DONE : INBOX_RETRY;
    PQclear(r);
    return outcome;
}

static int make_table(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);
    /* Two that start at once would both find it missing. */
    PGresult *r = PQexec(conn, "SELECT pg_advisory_xact_lock(hashtext('consumer_example'));"
                               " CREATE TABLE IF NOT EXISTS consumer_example (n bigint GENERATED ALWAYS"
                               " AS IDENTITY, event_id text, topic text NOT NULL, type text, key bytea,"
                               " payload bytea, applied_at timestamptz NOT NULL DEFAULT now())");
    int ok = PQresultStatus(r) == PGRES_COMMAND_OK;

    if (!ok)
        fprintf(stderr, "consumer: %s", PQerrorMessage(conn));
    PQclear(r);
    PQfinish(conn);
    return ok;
}

int main(int argc, char **argv)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    int code;

    if (argc != 4) {
        fprintf(stderr, "usage: consumer DSN BROKERS TOPIC\n");
        return 64;
    }
    const char *settings[] = { "dsn", argv[1], "kafka.bootstrap.servers", argv[2], "topics", argv[3],
                               "group", "consumer", NULL };
    if (!make_table(argv[1]))
        return 1;
    code = inbox_consumer_new(settings, &consumer, &err);
    if (code == OUTBOX_OK)
        code = inbox_consumer_on(consumer, NULL, on_event, NULL, &err);
    if (code == OUTBOX_OK) {
        inbox_consumer_log(consumer, on_log, NULL);
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        code = inbox_consumer_run(consumer, &err);
    }
    if (code != OUTBOX_OK)
        fprintf(stderr, "consumer: %s\n", err.message);
    inbox_consumer_free(consumer);
    return code == OUTBOX_OK ? 0 : 1;
}
