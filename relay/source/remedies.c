/* remedies.c - see remedies.h.
 *
 * One row for all who read it, so that none misses what the others know. Their words differ: the relay goes on by
 * itself when the cause is gone, a command is run again, and a handler's error, which `inbox status` tells, is of other
 * tables and another role. The libraries have tables of their own (lib/outbox/error.c,
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
#define LOOK_INTO_LOG NULL, EXIT_INTERNAL, "look into the log of the server", NULL
#define MIGRATE "the database is not what the handler expects: apply the migrations of its service, or mend the handler"
#define LACKS "give the server what the error says it lacks; the consumer goes on by itself"
#define DOES_NOT_FIT "the event does not go together with the rows that are there: mend these, or the handler"

const struct remedy *remedy_of(const char *sqlstate)
{
    static const struct remedy remedies[] = { /* the first that fits */
        { "42501", VERDICT_GRANT_ROLE, EXIT_PERMISSION, VERDICT_GRANT_ROLE,
          "apply sql/inbox_roles.sql and grant inbox_operator (or inbox_monitor, to look only) to the role of the dsn",
          "grant the right that the error names to the role of the consumer" },
        { "22", LOOK_INTO_LOG,
          "the event has a value that the database does not take: mend the handler, or who makes such events" },
        { "42", SCHEMA, MIGRATE },
        { "3F000", SCHEMA, MIGRATE },
        { "23514", SCHEMA, DOES_NOT_FIT },
        { "23", LOOK_INTO_LOG, DOES_NOT_FIT },
        { "57014", NULL, EXIT_UNAVAILABLE, "raise the setting statement.timeout, or choose fewer events", NULL,
          "a statement of the handler takes too long: see what it waits for, or raise statement_timeout of its role" },
        { "55P03",
          "whoever locks a table of the outbox (ALTER TABLE, CREATE INDEX, VACUUM FULL) must end: " VERDICT_WHO_LOCKS
          "; the relay goes on by itself",
          EXIT_UNAVAILABLE, "another transaction has rows or a table locked: " VERDICT_WHO_LOCKS
          ", pg_stat_activity who may hold rows; when it has ended, run the same command again", NULL,
          "another transaction has rows or a table of the handler locked: " VERDICT_WHO_LOCKS
          ", pg_stat_activity who may hold rows; end it" },
        { "25P04", NULL, EXIT_UNAVAILABLE,
          "the database, the role or the pooler sets transaction_timeout; raise it, or choose fewer events", NULL,
          "the database, the role or the pooler sets transaction_timeout: raise it, or make the handler faster" },
        { "25006", VERDICT_READ_WRITE VERDICT_TRIES_AGAIN, EXIT_UNAVAILABLE, VERDICT_READ_WRITE, NULL,
          "let the dsn of the consumer name the primary server" },
        { "40", NULL, EXIT_UNAVAILABLE, "run the same command again", NULL,
          "its transaction meets others of the same rows each time: let all of them lock these in one order" },
        { "53100", "make room on the disk of the database; the relay goes on by itself, and nothing is lost",
          EXIT_UNAVAILABLE, "make room on the disk of the database; then run the same command again", NULL,
          "make room on the disk of the database; the consumer goes on by itself" },
        { "53300", VERDICT_MORE_CONNECTIONS, EXIT_UNAVAILABLE, VERDICT_MORE_CONNECTIONS, NULL, LACKS },
        { "53", NULL, EXIT_UNAVAILABLE, "the server is out of a resource; run the same command again", NULL, LACKS },
        { "57", NULL, EXIT_UNAVAILABLE, "the server is stopping or restarting; run the same command again", NULL,
          "the server is stopping or restarting, or ends such sessions: see its log" },
        { "", LOOK_INTO_LOG, "mend what the error names; the log of the server says more" },
    };
    size_t i = 0;

    while (sqlstate != NULL && strncmp(sqlstate, remedies[i].state, strlen(remedies[i].state)) != 0)
        i++;
    return sqlstate != NULL ? &remedies[i] : &remedies[sizeof remedies / sizeof remedies[0] - 1];
}

/* The code is the same: they are told apart where the server speaks English. */
bool remedy_is_for_policy(const char *words)
{
    return words != NULL && strstr(words, "row-level security") != NULL;
}
