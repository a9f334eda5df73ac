/* orchestrator.c - the service of the orders in a saga by orchestration, in the place of orders.c:
 * this table is the whole saga. The others are run with "orchestrated": they do what they are
 * asked, tell the outcome, and know of no next step.
 *
 * A step that fails undoes only what was done before it. When time is up nobody knows how far the
 * step has come that is under way; then all are undone from the last one on, where it is decided.
 */
#include "order_book.h"

#include <stddef.h>

int main(int argc, char **argv)
{
    static const struct order_step steps[] = {
        { "OrderPlaced", "placed", "charging", "ChargeCard", true },
        { "CardCharged", "charging", "reserving", "ReserveInventory", false },
        { "StockReserved", "reserving", "sending", "SendReceipt", false },
        { "ReceiptSent", "sending,cancelling", "completed", "OrderCompleted", false },

        { "CardDeclined", "charging", "cancelled", "OrderCancelled", false },
        { "OutOfStock", "reserving", "refunding", "RefundPayment", false },
        { "OrderTimedOut", "charging,reserving,sending", "cancelling", "CancelShipment", false },
        { "ShipmentCancelled", "cancelling", "releasing", "ReleaseInventory", false },
        { "StockReleased", "releasing", "refunding", "RefundPayment", false },
        { "PaymentRefunded", "refunding", "cancelled", "OrderCancelled", false },
        { NULL, NULL, NULL, NULL, false },
    };

    return order_book_main(argc, argv, steps);
}
