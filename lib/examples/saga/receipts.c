/* receipts.c - the service that ships and sends the receipt: the point of no return. Owns the
 * schema receipts.
 *
 * What it is asked   what it tells                    what it asks for next, when nobody conducts
 * SendReceipt        ReceiptSent                      (the saga is done)
 * CancelShipment     ShipmentCancelled                ReleaseInventory
 *
 * Whether an order is completed or undone is decided here and nowhere else, by which of the two
 * comes first. Who comes second finds it decided: nothing is done, and no answer is needed.
 */
#include "saga.h"

/* Writes the line that arg names, unless the order has one of the other kind. */
static int decide(PGconn *conn, const inbox_message *msg, struct saga_order *order, const void *arg)
{
    const char *sql = arg;
    int rows = saga_rows(conn, sql, msg, order, &order->moved);

    if (rows <= 0)
        return rows == 0 ? INBOX_DONE : INBOX_RETRY;
    if (order->moved > 0)
        return saga_answer(conn, msg, order, "ReceiptSent", NULL);
    return saga_answer(conn, msg, order, "ShipmentCancelled", "ReleaseInventory");
}

int main(int argc, char **argv)
{
    static const char send[] =
        "INSERT INTO receipts.ledger (order_id, kind, amount, cause) SELECT $1, 'receipt', $4, $5"
        " WHERE NOT EXISTS (SELECT FROM receipts.ledger WHERE order_id = $1 AND kind = 'cancel')"
        " RETURNING amount";
    static const char cancel[] =
        "INSERT INTO receipts.ledger (order_id, kind, amount, cause) SELECT $1, 'cancel', 0, $5"
        " WHERE NOT EXISTS (SELECT FROM receipts.ledger WHERE order_id = $1 AND kind = 'receipt')"
        " RETURNING amount";
    static const struct saga_on on[] = {
        { "SendReceipt", decide, send },
        { "CancelShipment", decide, cancel },
        { NULL, NULL, NULL },
    };

    return saga_main(argc, argv, "receipts", on);
}
