/* order_service.c - a small order service that publishes its events through liboutbox.
 *
 *   order_service --dsn D [--orders N] [--writers K] [--seed S]
 *
 * Every order goes through a saga of short transactions. Each changes the service's own tables and
 * appends the event that tells of it, with the order's number as key:
 *   place OrderPlaced -> charge ChargeCard -> reserve ReserveInventory -> finish SendReceipt
 * and sometimes, instead of the last, release ReleaseInventory -> refund RefundPayment.
 * demo.ledger holds the ids of the events of committed transactions: what must arrive, by the
 * application's own books. One transaction in ten is rolled back after its append and tried again,
 * so its event must never arrive; one in fifty stays open for a while, so it commits late.
 *
 * K processes with a connection each; an order belongs to one of them, so that the events of an
 * order have one true order. Each works on many orders at a time, in random turns that the seed
 * decides. Prints one line of totals at the end; exits 1 when anything failed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include <outbox.h>

#include "tests/tools/tool.h"

enum {
    MAX_WRITERS = 32,
    OPEN_ORDERS = 50, /* of one writer at a time */
    ROLLBACK_PERCENT = 10,
    LATE_PERCENT = 2,
    CANCEL_PERCENT = 15,
};

static const char SQL_TABLES[] =
    "create schema demo;"
    "create table demo.orders (id bigint primary key, status text not null, amount int not null);"
    "create table demo.ledger (event_id uuid primary key, order_id bigint not null,"
    " type text not null)";

enum step { PLACE, CHARGE, RESERVE, FINISH, RELEASE, REFUND, DONE };

static const struct step_info {
    const char *type;
    const char *topic;
    const char *sql; /* the change of the business data; $1 order, $2 amount */
    enum step next;
} steps[] = {
    [PLACE] = { "OrderPlaced", "orders.events",
                "insert into demo.orders (id, status, amount) values ($1, 'placed', $2)", CHARGE },
    [CHARGE] = { "ChargeCard", "payments.events",
                 "update demo.orders set status = 'charged' where id = $1 and amount = $2",
                 RESERVE },
    [RESERVE] = { "ReserveInventory", "orders.events",
                  "update demo.orders set status = 'reserved' where id = $1 and amount = $2",
                  FINISH },
    [FINISH] = { "SendReceipt", "orders.events",
                 "update demo.orders set status = 'done' where id = $1 and amount = $2", DONE },
    [RELEASE] = { "ReleaseInventory", "orders.events",
                  "update demo.orders set status = 'released' where id = $1 and amount = $2",
                  REFUND },
    [REFUND] = { "RefundPayment", "payments.events",
                 "update demo.orders set status = 'cancelled' where id = $1 and amount = $2",
                 DONE },
};

struct order {
    int64_t id;
    int amount;
    enum step step;
};

struct totals {
    int64_t orders, cancelled, committed, rolled_back;
};

struct service {
    PGconn *conn;
    uint64_t random;
    struct totals totals;
};

/* xorshift64*: the same seed gives the same orders. */
static uint32_t random_below(struct service *service, uint32_t limit)
{
    service->random ^= service->random >> 12;
    service->random ^= service->random << 25;
    service->random ^= service->random >> 27;
    return (uint32_t)((service->random * UINT64_C(2685821657736338717)) >> 33) % limit;
}

static bool chance(struct service *service, uint32_t percent)
{
    return random_below(service, 100) < percent;
}

static PGconn *connect_to(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);

    if (PQstatus(conn) != CONNECTION_OK)
        give_up("%s", PQerrorMessage(conn));
    return conn;
}

static void execute(PGconn *conn, const char *sql, int n_values, const char *const *values)
{
    PGresult *result = PQexecParams(conn, sql, n_values, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        give_up("%sin: %s", PQerrorMessage(conn), sql);
    PQclear(result);
}

/* Stores the event of this step in the open transaction, and its id in the service's own ledger. */
static void append_event(PGconn *conn, const struct order *order, const char *key)
{
    const struct step_info *info = &steps[order->step];
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;
    char id[37];
    char payload[160];
    const char *const ledger[] = { id, key, info->type };

    if (outbox_event_id_new(id) != OUTBOX_OK)
        give_up("no event id");
    snprintf(payload, sizeof payload, "{\"order\":%" PRId64 ",\"event\":\"%s\",\"amount\":%d}",
             order->id, info->type, order->amount);
    event.event_id = id;
    event.topic = info->topic;
    event.key = key;
    event.key_len = strlen(key);
    event.type = info->type;
    event.content_type = "application/json";
    event.payload = payload;
    event.payload_len = strlen(payload);
    if (outbox_append(conn, &event, &err) != OUTBOX_OK)
        give_up("outbox_append: %s", err.message);
    execute(conn, "insert into demo.ledger (event_id, order_id, type) values ($1, $2, $3)", 3,
            ledger);
}

/* One transaction: change the order, append its event. False when it was rolled back. */
static bool run_step(struct service *service, const struct order *order)
{
    char key[32];
    char amount[16];
    const char *const values[] = { key, amount };
    bool commits = !chance(service, ROLLBACK_PERCENT);

    snprintf(key, sizeof key, "%" PRId64, order->id);
    snprintf(amount, sizeof amount, "%d", order->amount);
    execute(service->conn, "begin", 0, NULL);
    execute(service->conn, steps[order->step].sql, 2, values);
    append_event(service->conn, order, key);
    if (chance(service, LATE_PERCENT))
        execute(service->conn, "select pg_sleep(0.05)", 0, NULL);
    execute(service->conn, commits ? "commit" : "rollback", 0, NULL);
    if (commits)
        service->totals.committed++;
    else
        service->totals.rolled_back++;
    return commits;
}

/* Brings one order one step further, unless its transaction was rolled back. */
static void advance(struct service *service, struct order *order)
{
    if (!run_step(service, order))
        return;
    if (order->step == RESERVE && chance(service, CANCEL_PERCENT)) {
        order->step = RELEASE;
        service->totals.cancelled++;
    } else {
        order->step = steps[order->step].next;
    }
    if (order->step == DONE)
        service->totals.orders++;
}

/* The orders first, first + stride, ... up to last, OPEN_ORDERS of them at a time. */
static struct totals run_writer(const char *dsn, uint64_t seed, int64_t first, int64_t stride,
                                int64_t last)
{
    struct service service = { .conn = connect_to(dsn),
                               .random = (seed + (uint64_t)first) * 0x9e3779b97f4a7c15 | 1 };
    struct order open[OPEN_ORDERS];
    uint32_t n_open = 0;
    int64_t next = first;
    uint32_t turn;

    while (next <= last || n_open > 0) {
        while (next <= last && n_open < OPEN_ORDERS) {
            open[n_open++] =
                (struct order){ next, (int)random_below(&service, 50000) + 100, PLACE };
            next += stride;
        }
        turn = random_below(&service, n_open);
        advance(&service, &open[turn]);
        if (open[turn].step == DONE)
            open[turn] = open[--n_open];
    }
    PQfinish(service.conn);
    return service.totals;
}

/* Starts one writer process; its totals come through the pipe. */
static void start_writer(int pipe_fd, const char *dsn, uint64_t seed, int64_t first, int64_t stride,
                         int64_t last)
{
    pid_t pid = fork();
    struct totals totals;

    if (pid < 0)
        give_up("fork: %s", strerror(errno));
    if (pid > 0)
        return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    totals = run_writer(dsn, seed, first, stride, last);
    _exit(write(pipe_fd, &totals, sizeof totals) == (ssize_t)sizeof totals ? EXIT_SUCCESS
                                                                           : EXIT_FAILURE);
}

static struct totals collect(int pipe_fd, int n_writers)
{
    struct totals sum = { 0 };
    struct totals one;
    int status;

    for (int i = 0; i < n_writers; i++) {
        if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
            give_up("a writer failed");
        if (read(pipe_fd, &one, sizeof one) != (ssize_t)sizeof one)
            give_up("a writer left no totals");
        sum.orders += one.orders;
        sum.cancelled += one.cancelled;
        sum.committed += one.committed;
        sum.rolled_back += one.rolled_back;
    }
    return sum;
}

static void prepare(const char *dsn)
{
    PGconn *conn = connect_to(dsn);
    outbox_error err = OUTBOX_ERROR_INIT;
    PGresult *result;

    if (outbox_check_schema(conn, &err) != OUTBOX_OK)
        give_up("%s", err.message);
    result = PQexec(conn, SQL_TABLES);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        give_up("%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
}

static long parse_number(const char *text, long min, long max)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        give_up("%s is not a number from %ld to %ld", text, min, max);
    return value;
}

struct arguments {
    const char *dsn;
    long orders, writers, seed;
};

static bool parse_arguments(int argc, char **argv, struct arguments *args)
{
    static const struct option options[] = {
        { "dsn", required_argument, NULL, 'd' },
        { "orders", required_argument, NULL, 'o' },
        { "writers", required_argument, NULL, 'w' },
        { "seed", required_argument, NULL, 's' },
        { 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'd': args->dsn = optarg; break;
        case 'o': args->orders = parse_number(optarg, 1, 100000000); break;
        case 'w': args->writers = parse_number(optarg, 1, MAX_WRITERS); break;
        case 's': args->seed = parse_number(optarg, 0, 2000000000); break;
        default: return false;
        }
    }
    return optind == argc && args->dsn != NULL;
}

int main(int argc, char **argv)
{
    struct arguments args = { .orders = 1000, .writers = 4, .seed = 1 };
    struct totals totals;
    int fds[2];

    if (!parse_arguments(argc, argv, &args)) {
        fputs("usage: order_service --dsn D [--orders N] [--writers K] [--seed S]\n", stderr);
        return 64;
    }
    prepare(args.dsn);
    if (pipe(fds) != 0)
        give_up("pipe: %s", strerror(errno));
    for (long i = 1; i <= args.writers; i++)
        start_writer(fds[1], args.dsn, (uint64_t)args.seed, i, args.writers, args.orders);
    totals = collect(fds[0], (int)args.writers);
    printf("orders=%" PRId64 " cancelled=%" PRId64 " committed=%" PRId64 " rolled_back=%" PRId64
           "\n",
           totals.orders, totals.cancelled, totals.committed, totals.rolled_back);
    return EXIT_SUCCESS;
}
