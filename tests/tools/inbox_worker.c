/* inbox_worker.c - a consumer whose handler does as the payload says; for tests of libinbox.
 *
 *   inbox_worker DSN BROKERS TOPICS [NAME VALUE]...     settings of inbox_consumer_new(); ends at TERM
 *
 * Each event becomes a row of table `effect` (n, event_id, key, payload, attempt, pid), which has no
 * constraint that would hide a repeat. Words of the payload:
 *   fail=N    the first N calls ask for another try        reject    the handler rejects it
 *   sql=N     the first N calls break the transaction      sleep=MS  the handler takes so long
 *   commit    the handler commits                          begin     ... and begins another
 *   exit=N    the first N calls end the process            late      a deferred constraint refuses it
 *   kill=N    the first N calls kill it
 *   cut=N     the first N calls end the session            gate      waits for a row in table gate
 *   shut      fails as long as there is none
 * A call that fails inserts its row first: what stays of it is seen. Settings that begin with "worker." are
 * ours: worker.type (the handler is for this type only), worker.metrics (a file, written once a second
 * and at the end).
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "inbox.h"

enum { MAX_SETTINGS = 64 };

static inbox_consumer *consumer;
static const char *metrics_file;

static void on_signal(int signal)
{
    (void)signal;
    inbox_consumer_stop(consumer);
}

static void on_log(int level, const char *line, void *arg)
{
    (void)arg;
    fprintf(stderr, "<%d> %s\n", level, line);
}

/* The number behind word= in the payload; 0 when it is not there. */
static unsigned long number_of(const inbox_message *msg, const char *word)
{
    const char *at = msg->payload != NULL ? strstr(msg->payload, word) : NULL;

    return at != NULL ? strtoul(at + strlen(word), NULL, 10) : 0;
}

static int run(PGconn *conn, const char *sql)
{
    PGresult *r = PQexec(conn, sql);
    int ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;

    PQclear(r);
    return ok;
}

static int insert(PGconn *conn, const inbox_message *msg)
{
    char attempt[12], pid[12];
    const char *values[] = { msg->event_id, msg->key, msg->payload, attempt, pid };
    PGresult *r;
    int ok;

    snprintf(attempt, sizeof attempt, "%u", (unsigned)msg->attempt);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    r = PQexecParams(conn, "INSERT INTO public.effect (event_id, key, payload, attempt, pid)"
                           " VALUES ($1, $2, $3, $4, $5)", 5, NULL, values, NULL, NULL, 0);
    ok = PQresultStatus(r) == PGRES_COMMAND_OK;
    PQclear(r);
    return ok;
}

static int is_open(PGconn *conn)
{
    PGresult *r = PQexec(conn, "SELECT FROM public.gate");
    int open = PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) > 0;

    PQclear(r);
    return open;
}

static void wait_at_gate(PGconn *conn)
{
    while (PQstatus(conn) == CONNECTION_OK && !is_open(conn))
        nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
}

static int on_event(PGconn *conn, const inbox_message *msg, void *arg)
{
    unsigned long sleep_ms = number_of(msg, "sleep=");
    const char *text = msg->payload != NULL ? msg->payload : "";

    (void)arg;
    if (sleep_ms > 0)
        nanosleep(&(struct timespec){ (time_t)(sleep_ms / 1000), (long)(sleep_ms % 1000) * 1000000 },
                  NULL);
    if (!insert(conn, msg))
        return INBOX_RETRY;
    if (strstr(text, "gate") != NULL)
        wait_at_gate(conn);
    if (strstr(text, "shut") != NULL && !is_open(conn))
        return INBOX_RETRY;
    if (number_of(msg, "exit=") >= msg->attempt)
        _exit(9);
    if (number_of(msg, "kill=") >= msg->attempt)
        raise(SIGKILL);
    if (number_of(msg, "cut=") >= msg->attempt)
        (void)run(conn, "SELECT pg_terminate_backend(pg_backend_pid())");
    if (strstr(text, "commit") != NULL)
        (void)(run(conn, "COMMIT") && strstr(text, "begin") != NULL && run(conn, "BEGIN"));
    if (strstr(text, "late") != NULL && !run(conn, "INSERT INTO public.child VALUES (0)"))
        return INBOX_RETRY;
    if (number_of(msg, "sql=") >= msg->attempt && !run(conn, "SELECT 1 / 0"))
        return INBOX_DONE; /* in a transaction that has failed */
    if (number_of(msg, "fail=") >= msg->attempt)
        return INBOX_RETRY;
    if (strstr(text, "reject") != NULL) {
        inbox_fail(msg, "the payload says so");
        return INBOX_REJECT;
    }
    return INBOX_DONE;
}

static void write_metrics(void)
{
    static char text[32768], name[512];
    FILE *out;

    snprintf(name, sizeof name, "%s.new", metrics_file);
    out = fopen(name, "w");
    if (out == NULL || inbox_consumer_metrics(consumer, text, sizeof text) >= sizeof text)
        return;
    fputs(text, out);
    fclose(out);
    rename(name, metrics_file);
}

static void *metrics_loop(void *arg)
{
    (void)arg;
    for (;;) {
        write_metrics();
        nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
    }
    return NULL;
}

/* Ours are taken out. */
static const char *split_settings(int argc, char **argv, const char *settings[MAX_SETTINGS])
{
    const char *type = NULL;
    int n = 0;

    for (int i = 4; i + 1 < argc && n < MAX_SETTINGS - 10; i += 2)
        if (strcmp(argv[i], "worker.type") == 0) {
            type = argv[i + 1];
        } else if (strcmp(argv[i], "worker.metrics") == 0) {
            metrics_file = argv[i + 1];
        } else {
            settings[n++] = argv[i];
            settings[n++] = argv[i + 1];
        }
    settings[n] = NULL;
    return type;
}

int main(int argc, char **argv)
{
    const char *settings[MAX_SETTINGS] = { NULL }, *all[2 * MAX_SETTINGS];
    const char *type;
    outbox_error err = OUTBOX_ERROR_INIT;
    size_t n = 0;
    pthread_t thread;
    int code;

    if (argc < 4)
        return 64;
    type = split_settings(argc, argv, settings);
    const char *first[] = { "dsn", argv[1], "kafka.bootstrap.servers", argv[2], "topics", argv[3],
                            "group", "worker", "retry.base", "20ms", "retry.max", "200ms" };
    for (; n < sizeof first / sizeof first[0]; n++)
        all[n] = first[n];
    memcpy(all + n, settings, sizeof settings);
    code = inbox_consumer_new(all, &consumer, &err);
    if (code == OUTBOX_OK)
        code = inbox_consumer_on(consumer, type, on_event, NULL, &err);
    if (code == OUTBOX_OK) {
        inbox_consumer_log(consumer, on_log, NULL);
        signal(SIGTERM, on_signal);
        if (metrics_file != NULL && pthread_create(&thread, NULL, metrics_loop, NULL) != 0)
            return 70;
        code = inbox_consumer_run(consumer, &err);
    }
    if (code != OUTBOX_OK)
        fprintf(stderr, "inbox_worker: %d %s\n", code, err.message);
    if (metrics_file != NULL)
        write_metrics();
    return code == OUTBOX_OK ? 0 : 1; /* the thread of the metrics still looks at the consumer */
}
