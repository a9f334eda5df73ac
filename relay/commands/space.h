/* space.h - what the outbox takes on disk, and which bucket should have been emptied, for `status` and
 * `doctor`.
 */
#ifndef RELAY_COMMANDS_SPACE_H
#define RELAY_COMMANDS_SPACE_H

#include <jansson.h>
#include <stdint.h>

#include "relay/source/operate_status.h"
#include "relay/verdict.h"

#define SPACE_PARTS 10

struct space {
    int64_t bytes; /* negative: not known, and what follows says why */
    int code; /* of the failure */
    char sqlstate[6];
    char error[512];
    struct space_part {
        char name[8];
        int64_t bytes;
        double overdue_s; /* negative: it is not */
    } part[SPACE_PARTS]; /* the largest first */
    size_t n_parts;
    struct verdict_overdue overdue; /* the one that has been so for longest; its application is in `holder` */
    char holder[160];
};

/* That it cannot be had is no failure of the command: see .bytes. retention_ms 0: nothing is emptied. */
void space_ask(struct space *s, struct operate *op, uint64_t retention_ms);
/* "1.2 GiB: bucket 3 1.1 GiB, held 70 MiB"; or why it is not known. Returns to. */
const char *space_words(const struct space *s, char *to, size_t to_size);
/* NULL: out of memory. */
json_t *space_object(const struct space *s);

#endif
