/* connect.c - see connect.h. */
#include "relay/source/connect.h"

#include <stdio.h>
#include <string.h>

#include "lib/shared/hosts.h"
#include "relay/verdict.h"

/* libpq's own words for what target_session_attrs=read-write refuses; the second are those of libpq 13. */
#define SESSION_READ_ONLY "session is read-only"
#define NOT_WRITABLE "could not make a writable connection"

typedef PGconn *connect_function(const char *const *names, const char *const *values, int expand_dbname);

/* attrs: of the server, whatever the dsn says. */
static PGconn *connect_by(connect_function *function, const struct connect_options *opt, const char *attrs)
{
    char tcp_user_timeout[24], connect_timeout[24];
    /* The first dbname is expanded as a connection string; what follows it overrides it, what stands
     * before it are defaults that the string may override. */
    const char *const names[] = {
        "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "connect_timeout", "fallback_application_name", "dbname", "target_session_attrs",
        "client_encoding", "host", "hostaddr", "port", NULL
    };
    const PGconn *there = opt->beside;
    const struct host_lists beside = { PQhost(there), PQhostaddr(there), PQport(there) }; /* NULLs: as the dsn says */
    const struct host_lists *to = opt->hosts != NULL ? opt->hosts : &beside;
    const char *const values[] = {
        "10", "5", "3", tcp_user_timeout, connect_timeout, opt->application, opt->dsn,
        attrs, "UTF8", to->name, to->address, to->port, NULL
    };

    snprintf(tcp_user_timeout, sizeof tcp_user_timeout, "%llu",
             (unsigned long long)opt->tcp_user_timeout_ms);
    snprintf(connect_timeout, sizeof connect_timeout, "%llu",
             (unsigned long long)(opt->timeout_ms + 999) / 1000);
    return function(names, values, 1);
}

PGconn *connect_start(const struct connect_options *opt)
{
    return connect_by(PQconnectStartParams, opt, "read-write");
}

/* It answered, and is no primary, or not for this role. */
static bool is_read_only(const PGconn *pg)
{
    const char *words = pg != NULL && PQstatus(pg) != CONNECTION_OK ? PQerrorMessage(pg) : "";

    return strstr(words, SESSION_READ_ONLY) != NULL || strstr(words, NOT_WRITABLE) != NULL;
}

/* Of several servers the one on which a relay works: what a standby says may be of long ago. */
PGconn *connect_wait(const struct connect_options *opt)
{
    PGconn *pg = connect_by(PQconnectdbParams, opt, "read-write");

    if (!opt->only_reads || !is_read_only(pg))
        return pg;
    PQfinish(pg);
    return connect_by(PQconnectdbParams, opt, "any");
}

/* A line of libpq's that begins with a tab is advice ("Is the server running ...?"), which others give for us. */
static void leave_out_advice(char *text)
{
    for (char *at; (at = strstr(text, "\n\t")) != NULL;) {
        char *next = strchr(at + 1, '\n');
        memmove(at, next != NULL ? next : at + strlen(at), next != NULL ? strlen(next) + 1 : 1);
    }
}

/* Of two lines become two clauses, as far as there is room. */
static void end_line(char *line, size_t size, char *at)
{
    size_t rest = strlen(at + 1) + 1;

    if (*at == '\n' && (size_t)(at - line) + 2 + rest <= size) {
        memmove(at + 2, at + 1, rest);
        *at++ = ';';
    }
    *at = ' ';
}

void connect_error(const PGconn *pg, char *line, size_t size)
{
    snprintf(line, size, "%s", pg != NULL ? PQerrorMessage(pg) : "out of memory");
    leave_out_advice(line);
    for (size_t len = strlen(line); len > 0 && strchr(" .\n\t", line[len - 1]) != NULL;)
        line[--len] = '\0';
    for (char *p = line; (p = strpbrk(p, "\n\t")) != NULL;)
        end_line(line, size, p);
}

static const struct {
    const char *begins, *ends; /* the second one somewhere behind the first */
    const char *remedy;
} refusals[] = {
    { "authentication failed for user", "", /* 28P01, and 28000 of the other methods */
      "correct user and password of the setting dsn, or the password in the password file (passfile)" },
    { "no password supplied", "",
      "the server asks for a password: give it in the setting dsn or in a password file (passfile)" },
    { "pg_hba.conf", "", /* 28000 */
      "let the DBA allow this role, database and address in pg_hba.conf of the server, or correct the setting dsn" },
    { "role \"", "\" does not exist",
      "correct user in the setting dsn, or let the DBA create that role" },
    { "role \"", "\" is not permitted to log in",
      "let dsn name a role that may log in, or the DBA ALTER ROLE ... LOGIN" },
    { "database \"", "\" does not exist", /* 3D000 */
      "correct dbname in the setting dsn, or let the DBA create that database" },
    { "permission denied for database", "", /* 42501 */
      "let the DBA GRANT CONNECT ON DATABASE to the role of the dsn, or correct the setting dsn" },
    { "too many connections for", "", VERDICT_MORE_CONNECTIONS }, /* 53300: this role, or this database; */
    { "too many clients", "", VERDICT_MORE_CONNECTIONS },         /* all of them; */
    { "connection slots are reserved", "", VERDICT_MORE_CONNECTIONS }, /* all but what others may have */
    { SESSION_READ_ONLY, "", VERDICT_READ_WRITE },
    { "server is in hot standby mode", "", VERDICT_READ_WRITE },
    { NOT_WRITABLE, "", VERDICT_READ_WRITE },
};

const char *connect_remedy(const char *words)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const char *at = strstr(words, refusals[i].begins);
        if (at != NULL && strstr(at, refusals[i].ends) != NULL)
            return refusals[i].remedy;
    }
    return NULL;
}
