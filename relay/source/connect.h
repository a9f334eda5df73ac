/* connect.h - how a connection is asked for, by the relay and by its commands, and libpq's words about it.
 * Used inside source/ only.
 */
#ifndef RELAY_SOURCE_CONNECT_H
#define RELAY_SOURCE_CONNECT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_lists;

struct connect_options {
    const char *dsn, *application;
    bool only_reads;      /* where there is no primary a standby will do: connect_wait */
    const PGconn *beside; /* NULL, or: to the server that this one has reached, whatever the dsn says */
    const struct host_lists *hosts; /* NULL, or: in place of the dsn's own, as far as they are set */
    uint64_t timeout_ms, tcp_user_timeout_ms;
};

/* Both connect to a server that can be written to, whatever the dsn says of target_session_attrs. This one begins to;
 * NULL: out of memory. */
PGconn *connect_start(const struct connect_options *opt);
/* And waits for it; NULL: out of memory. */
PGconn *connect_wait(const struct connect_options *opt);

/* The connection's last error on one line, without a full stop, for more may follow; NULL: it is that memory ran out. There is no password in it: the dsn
 * was parsed before (source_check_dsn). */
void connect_error(const PGconn *pg, char *line, size_t size);

/* What mends it when a server has refused a connection with these words: a clause, static. NULL: that they do not tell,
 * or the server could not be reached. libpq gives no SQLSTATE of a connection that failed, so the server's English is
 * looked for; a server that speaks another language gets NULL. Pure. */
const char *connect_remedy(const char *words);

#endif
