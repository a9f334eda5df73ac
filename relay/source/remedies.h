/* remedies.h - what mends an error of the server, by its SQLSTATE. Of a connection that is refused libpq tells none: for
 * that see connect_remedy. Used inside source/ only.
 */
#ifndef RELAY_SOURCE_REMEDIES_H
#define RELAY_SOURCE_REMEDIES_H

#include <stdbool.h>

struct remedy {
    const char *state;   /* or how it begins */
    const char *relay;   /* for log and verdict, a clause; NULL: the server's words must do, and the relay tries again */
    int exit_code;       /* of a command */
    const char *command; /* behind the server's words */
    const char *inbox;   /* the same of a command for the inbox; NULL: as the others */
    const char *handler; /* where a handler of a consumer met the error */
};

/* Never NULL: the last one fits each. NULL is none. */
const struct remedy *remedy_of(const char *sqlstate);
/* Of 42501, in the server's words (NULL: none): is it a policy that refuses, and no right that is missing? */
bool remedy_is_for_policy(const char *words);

#endif
