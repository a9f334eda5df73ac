/* order_book.c - see order_book.h. Owns the schema orders. */
#include "order_book.h"

#include <stdio.h>
#include <string.h>

#include "saga.h"

enum { MAX_STEPS = 31 };

static int move(PGconn *conn, const inbox_message *msg, struct saga_order *order, const void *arg)
{
    const struct order_step *step = arg;
    int64_t expires_us = 0;
    char sql[512];
    int rows;

    /* The words are those of a table in the program, not of anybody's message. */
    snprintf(sql, sizeof sql,
             "UPDATE orders.orders SET status = '%s', changed_at = now(), because ="
             " CASE WHEN status IN ('cancelling', 'releasing', 'refunding') THEN because"
             " ELSE '%s' END"
             " WHERE id = $1 AND status = ANY ('{%s}')"
             " RETURNING (extract(epoch FROM expires_at) * 1000000)::bigint",
             step->to, step->event, step->from);
    rows = saga_rows(conn, sql, msg, order, &expires_us);
    if (rows <= 0)
        return rows == 0 ? INBOX_DONE : INBOX_RETRY;
    order->moved = 0;
    if (step->starts_clock &&
        saga_emit(conn, msg, order, "OrderTimedOut", expires_us) != INBOX_DONE)
        return INBOX_RETRY;
    return step->then == NULL ? INBOX_DONE : saga_emit(conn, msg, order, step->then, 0);
}

int order_book_main(int argc, char **argv, const struct order_step *steps)
{
    struct saga_on on[MAX_STEPS + 1];
    int n = 0;

    memset(on, 0, sizeof on);
    for (; steps[n].event != NULL && n < MAX_STEPS; n++)
        on[n] = (struct saga_on){ steps[n].event, move, &steps[n] };
    return saga_main(argc, argv, "orders", on);
}
