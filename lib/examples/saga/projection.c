/* projection.c - a fifth service, added later: it hears every event from the first one on and
 * builds a table of its own, for reports. It appends nothing and asks nobody. Owns the schema
 * projection.
 */
#include "saga.h"

/* Every event of an order has its line here or is of no interest. $6 is what the step moved. */
#define SET(change) "UPDATE projection.orders SET " change " WHERE id = $1"

static int apply(PGconn *conn, const inbox_message *msg, struct saga_order *order, const void *sql)
{
    if (saga_rows(conn, sql, msg, order, NULL) == 1)
        return INBOX_DONE;
    inbox_fail(msg, "an event of an order that was not placed");
    return INBOX_RETRY;
}

int main(int argc, char **argv)
{
    static const struct saga_on on[] = {
        { "OrderPlaced", apply, "INSERT INTO projection.orders (id, item) VALUES ($1, $2)" },
        { "CardCharged", apply, SET("charged = charged + $6") },
        { "PaymentRefunded", apply, SET("refunded = refunded + $6") },
        { "StockReserved", apply, SET("reserved = reserved + $6") },
        { "StockReleased", apply, SET("released = released + $6") },
        { "ReceiptSent", apply, SET("receipts = receipts + $6") },
        { "OrderCompleted", apply, SET("status = 'completed'") },
        { "OrderCancelled", apply, SET("status = 'cancelled'") },
        { NULL, NULL, NULL },
    };

    return saga_main(argc, argv, "projection", on);
}
