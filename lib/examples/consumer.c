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
#include <unistd.h>

static inbox_consumer *consumer;
static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
    (void)signal;
    stopped = 1;
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

static int make_table(PGconn *conn)
{
    /* Two that start at once would both find it missing. */
    static const char make[] =
        "SELECT pg_advisory_xact_lock(hashtext('consumer_example'));"
        " CREATE TABLE IF NOT EXISTS consumer_example (n bigint GENERATED ALWAYS AS IDENTITY,"
        " event_id text, topic text NOT NULL, type text, key bytea, payload bytea,"
        " applied_at timestamptz NOT NULL DEFAULT now())";
    PGresult *made = PQexec(conn, make);
    const char *sqlstate = PQresultErrorField(made, PG_DIAG_SQLSTATE);
    int ok = PQresultStatus(made) == PGRES_COMMAND_OK;

    if (!ok)
        fprintf(stderr, "consumer: making table consumer_example: %s", PQerrorMessage(conn));
    if (sqlstate != NULL && strcmp(sqlstate, "42501") == 0)
        fputs("consumer: as the owner of the schema GRANT CREATE ON SCHEMA public TO this role, or "
              "make the table and GRANT INSERT ON consumer_example\n", stderr);
    PQclear(made);
    return ok;
}

/* Both tables are there, or ours was made: 1; not, which was said: 0; no link to the database: -1. Where the
 * inbox is missing nothing is made: it may be another database than was meant. */
static int try_tables(PGconn *conn)
{
    static const char find[] = "SELECT to_regclass('inbox.seen') IS NOT NULL,"
                               " to_regclass('consumer_example') IS NOT NULL";
    PGresult *found;
    int ok, inbox, ours;

    if (PQstatus(conn) != CONNECTION_OK)
        return -1;
    found = PQexec(conn, find);
    ok = PQresultStatus(found) == PGRES_TUPLES_OK;
    inbox = ok && strcmp(PQgetvalue(found, 0, 0), "t") == 0;
    ours = ok && strcmp(PQgetvalue(found, 0, 1), "t") == 0;
    PQclear(found);
    if (!ok)
        fprintf(stderr, "consumer: looking for the tables: %s", PQerrorMessage(conn));
    else if (!inbox)
        fprintf(stderr, "consumer: database \"%s\" has no inbox; apply sql/002_inbox.up.sql to it\n",
                PQdb(conn));
    return inbox && (ours || make_table(conn));
}

/* Like inbox_consumer_run() it may start before its database: it waits, and says what for. */
static int have_tables(const char *dsn)
{
    int made = -1;

    while (made < 0 && !stopped) {
        PGconn *conn = PQconnectdb(dsn);
        made = try_tables(conn);
        if (made < 0) {
            fprintf(stderr, "consumer: no database yet: %s", PQerrorMessage(conn));
            sleep(1);
        }
        PQfinish(conn);
    }
    return made > 0;
}

int main(int argc, char **argv)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    int code, made = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: consumer DSN BROKERS TOPIC\n");
        return 64;
    }
    const char *settings[] = { "dsn", argv[1], "kafka.bootstrap.servers", argv[2], "topics", argv[3],
                               "group", "consumer", NULL };
    code = inbox_consumer_new(settings, &consumer, &err);
    if (code == OUTBOX_OK)
        code = inbox_consumer_on(consumer, NULL, on_event, NULL, &err);
    if (code == OUTBOX_OK) {
        inbox_consumer_log(consumer, on_log, NULL);
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        made = have_tables(argv[1]);
        if (made)
            code = inbox_consumer_run(consumer, &err);
    }
    if (code != OUTBOX_OK)
        fprintf(stderr, "consumer: %s\n", err.message);
    inbox_consumer_free(consumer);
    return code == OUTBOX_OK && (made || stopped) ? 0 : 1;
}
