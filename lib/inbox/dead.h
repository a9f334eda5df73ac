/* dead.h - a record as a row of inbox.dead. Runs nothing: it fills a step that batch_end.c runs. */
#ifndef INBOX_LIB_DEAD_H
#define INBOX_LIB_DEAD_H

#include "array.h"
#include "inside.h"
#include "steps.h"

/* What the step's values point to. Start from zeroes. */
struct inbox__dead_row {
    struct inbox__array names, values;
    char partition[12], offset[24], attempts[12], recorded[32], first_error[32];
    char *type, *error;
};

/* inbox.dead.reason for an outcome (enum inbox__fate); NULL: that is no dead letter. */
const char *inbox__dead_reason(int outcome);

/* Fill the step with the INSERT. The row must live until the step was run. False: out of memory. */
bool inbox__dead_step(const struct inbox_consumer *c, const struct inbox__record *r,
                      const char *reason, uint64_t now_ms, struct inbox__dead_row *row,
                      struct inbox__step *step);
void inbox__dead_row_deinit(struct inbox__dead_row *row);

#endif
