/* orders.c - the service of the orders in a saga by choreography: it begins the saga, follows it
 * by what the others tell, and asks for it to be undone when a step fails or time is up. Who does
 * what after which step stands in the services.
 */
#include "order_book.h"

#include <stddef.h>

#define OPEN "charging,reserving,sending"

int main(int argc, char **argv)
{
    static const struct order_step steps[] = {
        { "OrderPlaced", "placed", "charging", "ChargeCard", true },
        { "CardCharged", "charging", "reserving", NULL, false },
        { "StockReserved", "reserving", "sending", NULL, false },
        { "ReceiptSent", OPEN ",cancelling", "completed", "OrderCompleted", false },

        { "CardDeclined", OPEN, "cancelling", "CancelShipment", false },
        { "OutOfStock", OPEN, "cancelling", "CancelShipment", false },
        { "OrderTimedOut", OPEN, "cancelling", "CancelShipment", false },
        { "ShipmentCancelled", "cancelling", "releasing", NULL, false },
        { "StockReleased", "releasing", "refunding", NULL, false },
        { "PaymentRefunded", "refunding", "cancelled", "OrderCancelled", false },
        { NULL, NULL, NULL, NULL, false },
    };

    return order_book_main(argc, argv, steps);
}
