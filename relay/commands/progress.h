/* progress.h - how far a command that takes long has come, on stderr: a bar where that is a terminal, a line
 * now and then where it is not.
 */
#ifndef RELAY_COMMANDS_PROGRESS_H
#define RELAY_COMMANDS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    const char *program, *verb; /* "outbox-relay replay", "replayed" */
    bool terminal, drawn;
    uint64_t began_ms, next_ms;
};

/* Borrows the texts. */
void progress_begin(struct progress *p, const char *program, const char *verb, uint64_t now_ms);
/* `done` of `total` steps, and n things made in them. Says something when it is time. */
void progress_show(struct progress *p, uint64_t now_ms, int64_t done, int64_t total, int64_t n);
/* What is printed next stands on a line of its own. */
void progress_end(struct progress *p);

#endif
