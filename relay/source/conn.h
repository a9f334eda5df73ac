/* conn.h - one non-blocking connection: connect, set up, one statement or one short transaction at a
 * time, each with a deadline. Used inside source/ only.
 */
#ifndef RELAY_SOURCE_CONN_H
#define RELAY_SOURCE_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct host_lists;
struct lookup;

enum conn_state { CONN_DOWN, CONN_CONNECTING, CONN_IDLE, CONN_BUSY };

struct conn {
    PGconn *pg;
    enum conn_state state;
    short events;          /* what poll should wait for */
    uint64_t deadline_ms;  /* CONNECTING and BUSY: when the link counts as lost */
    uint64_t timeout_ms;
    const char *name;      /* for the log: "read", "mark" or "aside" */
    PGresult *result;      /* the last of the statement's results so far; of a transaction the first error */
    bool pipeline;         /* BUSY with a transaction */
    const struct lookup *lookup; /* NULL, or: where its hosts are from */
    bool silent;           /* lost because nothing came within timeout_ms; libpq has no word for that */
};

/* A statement prepared during set-up, all parameters and results binary. */
struct conn_statement {
    const char *name;
    int n_params;
    const char *const *values;
    const int *lengths;
};

struct conn_options {
    const char *dsn;
    const struct conn *beside; /* NULL, or: to the server that this one has reached, whatever the dsn says */
    const struct lookup *lookup; /* NULL, or: where its hosts are from; borrowed until conn_close */
    const struct host_lists *hosts; /* NULL, or: in place of the dsn's own, as far as they are set */
    uint64_t timeout_ms;
    uint64_t tcp_user_timeout_ms;
};

/* Begins to connect. -1: at once impossible; conn_error says why. */
int conn_open(struct conn *c, const struct conn_options *opt, uint64_t now_ms);
void conn_close(struct conn *c);
/* Moves on after poll. 1: idle, and *ret_result (taken by the caller, may be NULL after connecting)
 * is the answer; 0: nothing yet; -1: the connection is lost. */
int conn_step(struct conn *c, uint64_t now_ms, PGresult **ret_result);
/* A statement prepared during set-up, all parameters and results binary. -1: the connection is lost. */
int conn_send_prepared(struct conn *c, uint64_t now_ms, const char *name, int n_params,
                       const char *const *values, const int *lengths);
/* Several of them as one transaction in one round trip; each sees what those before it did, and what
 * others committed meanwhile. The answer is that of the last, or the first error; then nothing was done. */
int conn_send_transaction(struct conn *c, uint64_t now_ms, const struct conn_statement *statement,
                          int n);
/* Text of one or more statements without parameters; the answer is that of the last. */
int conn_send_text(struct conn *c, uint64_t now_ms, const char *sql);
/* The connection's last error on one line, without the password. Good until the next call. */
const char *conn_error(const struct conn *c);

#endif
