/* failures.h - calls of handlers that failed, written down in inbox.attempt for people to see. */
#ifndef INBOX_LIB_FAILURES_H
#define INBOX_LIB_FAILURES_H

#include "inside.h"

/* These wait for their next call, and their rows do not say why: between two batches. Best effort: what cannot be
 * written at once is not. They count as noted. */
void inbox__failures_write(struct inbox_consumer *c, struct inbox__record *const *failed, size_t n);

#endif
