/* saga.c - see saga.h. */
#define _POSIX_C_SOURCE 199309L /* nanosleep(), which C11 does not know */

#include "saga.h"

#include <inttypes.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SETTINGS = 64, MAX_HANDLERS = 32, VERSION = 1 };

/* A service is one process with one consumer. */
static struct {
    const char *name, *topic;
    bool orchestrated;
    volatile sig_atomic_t stopped;
    inbox_consumer *consumer;
} service;

/* ---- The order as JSON ---------------------------------------------------------------------- */

static bool copy_text(char *to, size_t size, const char *from)
{
    return from != NULL && (size_t)snprintf(to, size, "%s", from) < size;
}

static bool read_order(const inbox_message *msg, struct saga_order *order)
{
    const char *item = NULL, *card = NULL;
    json_int_t quantity, amount, moved;
    json_t *json = json_loadb(msg->payload != NULL ? msg->payload : "", msg->payload_len, 0, NULL);
    bool ok = json_unpack(json, "{s:s, s:s, s:I, s:I, s:I}", "item", &item, "card", &card,
                          "quantity", &quantity, "amount", &amount, "moved", &moved) == 0 &&
              copy_text(order->item, sizeof order->item, item) &&
              copy_text(order->card, sizeof order->card, card) && msg->key != NULL &&
              msg->key_len < sizeof order->id;

    if (ok) {
        memcpy(order->id, msg->key, msg->key_len);
        order->id[msg->key_len] = '\0';
        order->quantity = quantity;
        order->amount = amount;
        order->moved = moved;
    }
    json_decref(json);
    return ok;
}

/* NULL: no memory. The caller frees it. */
static char *write_order(const struct saga_order *order)
{
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:I}", "item", order->item, "card", order->card,
                             "quantity", (json_int_t)order->quantity, "amount",
                             (json_int_t)order->amount, "moved", (json_int_t)order->moved);
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return text;
}

/* ---- Events --------------------------------------------------------------------------------- */

static int append(PGconn *conn, const char *topic, const outbox_cause *cause,
                  const struct saga_order *order, const char *type, int64_t at, outbox_error *err)
{
    outbox_event event = OUTBOX_EVENT_INIT;
    char *payload = write_order(order);
    int code;

    if (payload == NULL)
        return OUTBOX_ENOMEM;
    event.topic = topic;
    event.key = order->id;
    event.key_len = strlen(order->id);
    event.type = type;
    event.schema_version = VERSION;
    event.content_type = "application/json";
    event.payload = payload;
    event.payload_len = strlen(payload);
    event.correlation_id = order->id;
    event.available_at_us = at;
    code = cause != NULL ? outbox_event_from_cause(&event, cause, err) : OUTBOX_OK;
    if (code == OUTBOX_OK)
        code = outbox_append(conn, &event, err);
    free(payload);
    return code;
}

int saga_begin(PGconn *conn, const char *topic, const struct saga_order *order, outbox_error *err)
{
    return append(conn, topic, NULL, order, "OrderPlaced", 0, err);
}

int saga_emit(PGconn *conn, const inbox_message *msg, const struct saga_order *order,
              const char *type, int64_t at)
{
    outbox_cause cause = inbox_cause(msg);
    outbox_error err = OUTBOX_ERROR_INIT;

    if (append(conn, service.topic, &cause, order, type, at, &err) == OUTBOX_OK)
        return INBOX_DONE;
    inbox_fail(msg, err.message);
    return INBOX_RETRY;
}

int saga_answer(PGconn *conn, const inbox_message *msg, const struct saga_order *order,
                const char *fact, const char *next)
{
    int outcome = saga_emit(conn, msg, order, fact, 0);

    if (outcome != INBOX_DONE || next == NULL || service.orchestrated)
        return outcome;
    return saga_emit(conn, msg, order, next, 0);
}

/* ---- Statements ----------------------------------------------------------------------------- */

int saga_rows(PGconn *conn, const char *sql, const inbox_message *msg,
              const struct saga_order *order, int64_t *ret_value)
{
    enum { INT8 = 20, TEXT = 25 }; /* pg_type's own numbers: a statement need not use them all */
    static const Oid types[] = { INT8, TEXT, INT8, INT8, TEXT, INT8 };
    char quantity[24], amount[24], moved[24];
    const char *const values[] = { order->id, order->item, quantity, amount, msg->event_id, moved };
    PGresult *result;
    int rows = -1;

    snprintf(quantity, sizeof quantity, "%" PRId64, order->quantity);
    snprintf(amount, sizeof amount, "%" PRId64, order->amount);
    snprintf(moved, sizeof moved, "%" PRId64, order->moved);
    result = PQexecParams(conn, sql, 6, types, values, NULL, NULL, 0);
    if (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK)
        rows = atoi(PQcmdTuples(result));
    if (ret_value != NULL && PQntuples(result) > 0)
        *ret_value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return rows;
}

int saga_has_schema(PGconn *conn, const char *name)
{
    PGresult *result = PQexecParams(conn, "SELECT pg_catalog.to_regnamespace($1) IS NOT NULL", 1,
                                    NULL, &name, NULL, NULL, 0);
    int there = -1;

    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    PQclear(result);
    if (there == 0)
        fprintf(stderr, "schema \"%s\" is not in database \"%s\": apply lib/examples/saga/%s.sql to it\n",
                name, PQdb(conn), name);
    return there;
}

/* ---- The run of a service ------------------------------------------------------------------- */

static int on_message(PGconn *conn, const inbox_message *msg, void *arg)
{
    const struct saga_on *on = arg;
    struct saga_order order;

    if (msg->schema_version != VERSION || !read_order(msg, &order)) {
        inbox_fail(msg, "not an order as this service knows it");
        return INBOX_REJECT;
    }
    return on->handler(conn, msg, &order, on->arg);
}

static void on_signal(int signal_number)
{
    (void)signal_number;
    service.stopped = 1;
    inbox_consumer_stop(service.consumer);
}

static void on_log(int level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    fprintf(stderr, "%s: %s\n", service.name, line);
}

static bool make(const char *const *settings, const struct saga_on *on, outbox_error *err)
{
    static struct saga_on handlers[MAX_HANDLERS]; /* lent to the consumer */

    if (inbox_consumer_new(settings, &service.consumer, err) != OUTBOX_OK)
        return false;
    inbox_consumer_log(service.consumer, on_log, NULL);
    for (size_t i = 0; on[i].type != NULL && i < MAX_HANDLERS; i++) {
        handlers[i] = on[i];
        if (inbox_consumer_on(service.consumer, on[i].type, on_message, &handlers[i], err) !=
            OUTBOX_OK)
            return false;
    }
    return true;
}

/* Events would become dead letters one after the other. While the database is away it waits, as the consumer
 * will. False: the schema is missing. */
static bool wait_for_schema(const char *dsn)
{
    static const char *const names[] = { "connect_timeout", "dbname", NULL };
    const char *const values[] = { "5", dsn, NULL };
    int there = -1;

    while (there < 0 && !service.stopped) {
        PGconn *conn = PQconnectdbParams(names, values, 1);
        there = saga_has_schema(conn, service.name);
        if (there < 0) {
            fprintf(stderr, "%s: waits for the database: %s", service.name, PQerrorMessage(conn));
            (void)nanosleep(&(struct timespec){ 0, 500000000 }, NULL);
        }
        PQfinish(conn);
    }
    return there != 0;
}

static int run(const char *dsn, const char *const *settings, const struct saga_on *on)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    inbox_stats stats = INBOX_STATS_INIT;
    struct sigaction stop = { .sa_handler = on_signal };
    bool ok = make(settings, on, &err);

    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    if (ok && !wait_for_schema(dsn)) {
        inbox_consumer_free(service.consumer);
        return EXIT_FAILURE;
    }
    ok = ok && inbox_consumer_run(service.consumer, &err) == OUTBOX_OK;
    if (!ok)
        fprintf(stderr, "%s: %s\n", service.name, err.message);
    inbox_consumer_stats(service.consumer, &stats);
    inbox_consumer_free(service.consumer);
    printf("%s applied=%" PRIu64 " duplicates=%" PRIu64 " retries=%" PRIu64 " dead=%" PRIu64 "\n",
           service.name, stats.applied, stats.duplicates, stats.retries, stats.dead);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SETTING=VALUE of the command line as settings of the consumer; false: something else is there. */
static bool add_settings(char **words, const char **settings, size_t room)
{
    for (; *words != NULL && room > 2; words++) {
        char *value = strchr(*words, '=');

        if (value == NULL)
            return false;
        *value = '\0';
        *settings++ = *words;
        *settings++ = value + 1;
        room -= 2;
    }
    return *words == NULL;
}

int saga_main(int argc, char **argv, const char *name, const struct saga_on *on)
{
    enum { OWN_SETTINGS = 8 };
    char group[64];
    const char *settings[MAX_SETTINGS] = { "group", group, "dsn", NULL,
                                           "kafka.bootstrap.servers", NULL, "topics", NULL };

    snprintf(group, sizeof group, "saga-%s", name);
    service.name = name;
    service.orchestrated = argc > 4 && strcmp(argv[4], "orchestrated") == 0;
    if (argc < 4 || !add_settings(argv + (service.orchestrated ? 5 : 4), settings + OWN_SETTINGS,
                                  MAX_SETTINGS - OWN_SETTINGS)) {
        fprintf(stderr, "usage: %s DSN BROKERS TOPIC [orchestrated] [SETTING=VALUE ...]\n", name);
        return 64;
    }
    settings[3] = argv[1];
    settings[5] = argv[2];
    settings[7] = service.topic = argv[3];
    return run(argv[1], settings, on);
}
