/* inventory.c - the service that sets goods aside and puts them back. Owns the schema inventory.
 *
 * What it is asked   what it tells                    what it asks for next, when nobody conducts
 * ReserveInventory   StockReserved or OutOfStock      SendReceipt
 * ReleaseInventory   StockReleased                    RefundPayment
 *
 * As in payments, a release of what was not reserved is a line of 0, after which nothing is
 * reserved: while an order is undone the step before may still be on its way.
 */
#include "saga.h"

static int reserve(PGconn *conn, const inbox_message *msg, struct saga_order *order,
                   const void *arg)
{
    int rows = saga_rows(
        conn, "SELECT FROM inventory.ledger WHERE order_id = $1 AND kind = 'release'", msg, order,
        NULL);

    (void)arg;
    if (rows != 0)
        return rows > 0 ? INBOX_DONE : INBOX_RETRY;
    rows = saga_rows(conn,
                     "UPDATE inventory.stock SET on_hand = on_hand - $3"
                     " WHERE item = $2 AND on_hand >= $3",
                     msg, order, NULL);
    order->moved = rows > 0 ? order->quantity : 0;
    if (rows == 0)
        return saga_answer(conn, msg, order, "OutOfStock", NULL);
    if (rows < 0 || saga_rows(conn,
                              "INSERT INTO inventory.ledger (order_id, kind, item, quantity, cause)"
                              " VALUES ($1, 'reserve', $2, -$3, $5)",
                              msg, order, NULL) != 1)
        return INBOX_RETRY;
    return saga_answer(conn, msg, order, "StockReserved", "SendReceipt");
}

static int release(PGconn *conn, const inbox_message *msg, struct saga_order *order,
                   const void *arg)
{
    (void)arg;
    if (saga_rows(conn,
                  "INSERT INTO inventory.ledger (order_id, kind, item, quantity, cause)"
                  " SELECT $1, 'release', $2, -coalesce((SELECT quantity FROM inventory.ledger"
                  " WHERE order_id = $1 AND kind = 'reserve' LIMIT 1), 0), $5 RETURNING quantity",
                  msg, order, &order->moved) != 1 ||
        saga_rows(conn, "UPDATE inventory.stock SET on_hand = on_hand + $6 WHERE item = $2", msg,
                  order, NULL) < 0)
        return INBOX_RETRY;
    return saga_answer(conn, msg, order, "StockReleased", "RefundPayment");
}

int main(int argc, char **argv)
{
    static const struct saga_on on[] = {
        { "ReserveInventory", reserve, NULL },
        { "ReleaseInventory", release, NULL },
        { NULL, NULL, NULL },
    };

    return saga_main(argc, argv, "inventory", on);
}
