/* oracle.h - the two halves of the judge (oracle.c): who writes down what arrives, and who compares it. */
#ifndef TESTS_TOOLS_ORACLE_ORACLE_H
#define TESTS_TOOLS_ORACLE_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#define GIVE_UP_STATUS 2 /* could not judge */
#include "tests/tools/tool.h"

enum { EXIT_BAD = 1, LOOK_AGAIN_MS = 100 };

/* Writes the records of the topics to the file at `path`, until it is told to stop, or to their end. Returns the exit
 * status. */
int oracle_watch(const char *brokers, const char *path, const char *patterns, bool to_end);

struct verdict_wanted {
    const char *ledger; /* a query, or NULL */
    bool allow_pending;
    bool allow_held;
    int deadline_s; /* how long to wait until all has arrived and is marked; 0: not at all */
};

/* Judges the records in the file at `path`. Returns the exit status. */
int oracle_check(const char *dsn, const char *path, const struct verdict_wanted *wanted);

#endif
