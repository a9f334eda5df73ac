/* payments.c - the service that charges cards and gives money back. Owns the schema payments.
 *
 * What it is asked   what it tells                    what it asks for next, when nobody conducts
 * ChargeCard         CardCharged or CardDeclined      ReserveInventory
 * RefundPayment      PaymentRefunded                  (the saga is undone)
 *
 * It writes to a ledger and updates nothing. A refund of an order that was not charged is a line
 * of 0: a charge that comes after it does nothing.
 */
#include "saga.h"

#include <string.h>

static int charge(PGconn *conn, const inbox_message *msg, struct saga_order *order, const void *arg)
{
    int rows;

    (void)arg;
    order->moved = 0;
    if (strcmp(order->card, "declined") == 0) /* here a bank would be asked */
        return saga_answer(conn, msg, order, "CardDeclined", NULL);
    rows = saga_rows(conn,
                     "INSERT INTO payments.ledger (order_id, kind, amount, cause)"
                     " SELECT $1, 'charge', $4, $5 WHERE NOT EXISTS"
                     " (SELECT FROM payments.ledger WHERE order_id = $1 AND kind = 'refund')",
                     msg, order, NULL);
    if (rows <= 0)
        return rows == 0 ? INBOX_DONE : INBOX_RETRY;
    order->moved = order->amount;
    return saga_answer(conn, msg, order, "CardCharged", "ReserveInventory");
}

static int refund(PGconn *conn, const inbox_message *msg, struct saga_order *order, const void *arg)
{
    (void)arg;
    if (saga_rows(conn,
                  "INSERT INTO payments.ledger (order_id, kind, amount, cause)"
                  " SELECT $1, 'refund', -coalesce((SELECT amount FROM payments.ledger"
                  " WHERE order_id = $1 AND kind = 'charge' LIMIT 1), 0), $5 RETURNING -amount",
                  msg, order, &order->moved) != 1)
        return INBOX_RETRY;
    return saga_answer(conn, msg, order, "PaymentRefunded", NULL);
}

int main(int argc, char **argv)
{
    static const struct saga_on on[] = {
        { "ChargeCard", charge, NULL },
        { "RefundPayment", refund, NULL },
        { NULL, NULL, NULL },
    };

    return saga_main(argc, argv, "payments", on);
}
