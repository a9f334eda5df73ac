/* steps.h - several statements in one round trip, on a connection that is lent to handlers between
 * them. The only place where the connection is in pipeline mode. Knows neither events nor what the
 * statements are for. */
#ifndef INBOX_LIB_STEPS_H
#define INBOX_LIB_STEPS_H

#include <libpq-fe.h>
#include <stdbool.h>

#define INBOX__MAX_VALUES 16

struct inbox__step {
    const char *sql;
    int n;
    const char *values[INBOX__MAX_VALUES];
    int lengths[INBOX__MAX_VALUES]; /* of a binary one */
    int formats[INBOX__MAX_VALUES]; /* 1: binary */
    bool alone;                     /* a Sync follows: the next is not skipped when it fails */
    PGresult *result;               /* NULL: it was not run, or libpq has no memory */
};

/* Run them and set their results, which the caller clears. Blocks. True: all were answered, each with success or not.
 * False: the link is lost, or libpq is in a state that only a new link mends; what has no result may have been
 * done. Then inbox__rollback() closes the connection. */
bool inbox__steps_run(PGconn *conn, struct inbox__step *steps, int n);
void inbox__steps_clear(struct inbox__step *steps, int n);

/* Did the step, a SELECT or a command, succeed? */
bool inbox__step_ok(const struct inbox__step *s);

#endif
