/* remedies.c - see remedies.h.
 *
 * One row for both who read it, so that neither misses what the other knows. Their words differ: the relay goes on by
 * itself when the cause is gone, a command is run again. The libraries have tables of their own (lib/outbox/error.c,
 * lib/inbox/db.c): those speak to programs, of other roles and of their own transaction.
 */
#include "relay/source/remedies.h"

#include <string.h>

#include "relay/exit_codes.h"
#include "relay/verdict.h"

#define NOT_AS_FOUND                                                                                                \
    "the schema outbox is not there as this relay found it: apply the migrations in sql/ in order, or correct the " \
    "dsn and restart; outbox-relay doctor says more"
#define UNEXPECTED " is not what this program expects: apply the migrations in sql/ in order"
/* In both schemas. */
#define SCHEMA NOT_AS_FOUND, EXIT_CONFIGURATION, "the schema outbox" UNEXPECTED, "the schema inbox" UNEXPECTED

const struct remedy *remedy_of(const char *sqlstate)
{
    static const struct remedy remedies[] = { /* the first that fits */
        { "42501", VERDICT_GRANT_ROLE, EXIT_PERMISSION, VERDICT_GRANT_ROLE,
          "apply sql/inbox_roles.sql and grant inbox_operator (or inbox_monitor, to look only) to the role of the dsn" },
        { "42", SCHEMA },
        { "3F000", SCHEMA },
        { "23514", SCHEMA },
        { "57014", NULL, EXIT_UNAVAILABLE, "raise the setting statement.timeout, or choose fewer events", NULL },
        { "55P03",
          "whoever locks a table of the outbox (ALTER TABLE, CREATE INDEX, VACUUM FULL) must end: " VERDICT_WHO_LOCKS
          "; the relay goes on by itself",
          EXIT_UNAVAILABLE, "another transaction has rows or a table locked: " VERDICT_WHO_LOCKS
          ", pg_stat_activity who may hold rows; when it has ended, run the same command again", NULL },
        { "25P04", NULL, EXIT_UNAVAILABLE,
          "the database, the role or the pooler sets transaction_timeout; raise it, or choose fewer events", NULL },
        { "25006", VERDICT_READ_WRITE VERDICT_TRIES_AGAIN, EXIT_UNAVAILABLE, VERDICT_READ_WRITE, NULL },
        { "40", NULL, EXIT_UNAVAILABLE, "run the same command again", NULL },
        { "53100", "make room on the disk of the database; the relay goes on by itself, and nothing is lost",
          EXIT_UNAVAILABLE, "make room on the disk of the database; then run the same command again", NULL },
        { "53300", VERDICT_MORE_CONNECTIONS, EXIT_UNAVAILABLE, VERDICT_MORE_CONNECTIONS, NULL },
        { "53", NULL, EXIT_UNAVAILABLE, "the server is out of a resource; run the same command again", NULL },
        { "57", NULL, EXIT_UNAVAILABLE, "the server is stopping or restarting; run the same command again", NULL },
        { "", NULL, EXIT_INTERNAL, "look into the log of the server", NULL },
    };
    size_t i = 0;

    while (sqlstate != NULL && strncmp(sqlstate, remedies[i].state, strlen(remedies[i].state)) != 0)
        i++;
    return sqlstate != NULL ? &remedies[i] : &remedies[sizeof remedies / sizeof remedies[0] - 1];
}
