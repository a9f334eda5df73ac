/* place.c - the shop: places orders FIRST to LAST, each in one transaction with its event
 * OrderPlaced.
 *
 *   place DSN TOPIC FIRST LAST [ORDERS_PER_SECOND [SEED]]
 *
 * The order's number and the seed decide what is ordered, so that the same command places the same
 * orders: one card in ten is declined, one order in five expires within seconds. While the
 * database is away it tries again; an order that is there already, because the answer to COMMIT
 * was lost, is left.
 */
#define _POSIX_C_SOURCE 199309L /* nanosleep(), which C11 does not know */

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "saga.h"

static const struct {
    const char *name;
    int64_t price; /* cents */
} items[] = { { "book", 1900 }, { "lamp", 4500 }, { "chair", 12900 }, { "globe", 8900 } };

/* splitmix64: what an order holds follows from seed and number alone. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void fill(struct saga_order *order, char expires[24], int64_t number, uint64_t seed)
{
    uint64_t state = seed * 1000003 + (uint64_t)number;
    size_t item = draw(&state) % (sizeof items / sizeof items[0]);

    memset(order, 0, sizeof *order);
    snprintf(order->id, sizeof order->id, "%" PRId64, number);
    snprintf(order->item, sizeof order->item, "%s", items[item].name);
    snprintf(order->card, sizeof order->card, "%s", draw(&state) % 10 == 0 ? "declined" : "4242");
    order->quantity = (int64_t)(draw(&state) % 3) + 1;
    order->amount = order->quantity * items[item].price;
    if (draw(&state) % 5 == 0)
        snprintf(expires, 24, "%" PRIu64 " ms", draw(&state) % 3000);
    else
        snprintf(expires, 24, "1 hour");
}

static int command(PGconn *conn, const char *sql, const char *tag)
{
    PGresult *result = PQexec(conn, sql);
    /* NULL: no connection, or no memory. COMMIT of a failed transaction answers ROLLBACK. */
    int ok = result != NULL && strcmp(PQcmdStatus(result), tag) == 0;

    PQclear(result);
    return ok;
}

/* How many rows it made: 1; 0: the order is there; -1: it failed. */
static int insert(PGconn *conn, const struct saga_order *order, const char *expires)
{
    char quantity[24], amount[24];
    const char *const values[] = { order->id, order->item, quantity, amount, expires };
    PGresult *result;
    int rows = -1;

    snprintf(quantity, sizeof quantity, "%" PRId64, order->quantity);
    snprintf(amount, sizeof amount, "%" PRId64, order->amount);
    result = PQexecParams(conn,
                          "INSERT INTO orders.orders (id, item, quantity, amount, expires_at)"
                          " VALUES ($1, $2, $3, $4, now() + $5::interval) ON CONFLICT DO NOTHING",
                          5, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        rows = atoi(PQcmdTuples(result));
    PQclear(result);
    return rows;
}

static int place(PGconn *conn, const char *topic, const struct saga_order *order,
                 const char *expires)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    int rows;

    if (!command(conn, "BEGIN", "BEGIN"))
        return 0;
    rows = insert(conn, order, expires);
    if ((rows == 0 || (rows == 1 && saga_begin(conn, topic, order, &err) == OUTBOX_OK)) &&
        command(conn, "COMMIT", "COMMIT"))
        return 1;
    (void)command(conn, "ROLLBACK", "ROLLBACK");
    return 0;
}

static void pause_ms(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

    (void)nanosleep(&time, NULL);
}

static void try_later(PGconn *conn, const char *what)
{
    fprintf(stderr, "place: %s again: %s", what, PQerrorMessage(conn));
    pause_ms(200);
    PQreset(conn);
}

int main(int argc, char **argv)
{
    PGconn *conn;
    struct saga_order order;
    char expires[24];
    int there;
    long rate = argc > 5 ? atol(argv[5]) : 0;
    uint64_t seed = argc > 6 ? strtoull(argv[6], NULL, 10) : 1;

    if (argc < 5) {
        fputs("usage: place DSN TOPIC FIRST LAST [ORDERS_PER_SECOND [SEED]]\n", stderr);
        return 64;
    }
    conn = PQconnectdb(argv[1]);
    while ((there = saga_has_schema(conn, "orders")) < 0)
        try_later(conn, "the shop opens");
    if (there == 0) {
        PQfinish(conn);
        return EXIT_FAILURE;
    }
    for (int64_t n = atoll(argv[3]); n <= atoll(argv[4]); n++) {
        fill(&order, expires, n, seed);
        while (!place(conn, argv[2], &order, expires))
            try_later(conn, order.id);
        if (rate > 0)
            pause_ms(1000 / rate);
    }
    PQfinish(conn);
    return 0;
}
