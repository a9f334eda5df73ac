/* order_book.h - the table of orders and how an order moves in it: shared by orders.c, which
 * follows the saga, and orchestrator.c, which conducts it. Knows no service.
 */
#ifndef ORDER_BOOK_H
#define ORDER_BOOK_H

#include <stdbool.h>

/* When this event comes and the order is in one of these states it moves, and says so. In any
 * other state the event has come too late: it changes nothing. */
struct order_step {
    const char *event;
    const char *from; /* states with commas between them */
    const char *to;
    const char *then; /* the event that is appended; NULL: none */
    bool starts_clock; /* and OrderTimedOut, for the time at which the order expires */
};

/* The main() of a service that has these steps; they end with an event of NULL. */
int order_book_main(int argc, char **argv, const struct order_step *steps);

#endif
