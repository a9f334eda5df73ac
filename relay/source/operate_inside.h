/* operate_inside.h - the synchronous side of the source from inside: the one connection and its statements,
 * shared by the operate_*.c files, one for each subject. Used inside source/ only.
 */
#ifndef RELAY_SOURCE_OPERATE_INSIDE_H
#define RELAY_SOURCE_OPERATE_INSIDE_H

#include <libpq-fe.h>

#include "relay/source/operate.h"

#define OPERATE_LONG_READ 20 /* times the statement timeout, for the few statements that read much */
#define OPERATE_GRACE_MS 5000 /* the server's own timeout comes first, and says more */

struct operate {
    struct operate_options opt;
    PGconn *pg;
    uint64_t patience_ms;
    bool of_inbox; /* the remedies are those of the consumers' schema */
    bool deadlock; /* the last failure was one, and the same again may work */
    char state[6]; /* the SQLSTATE of the last failure; "": it was none of the server's */
    char said[300]; /* and that with the server's words */
    char error[1024];
    const char *remedy; /* with which it ends, behind "; ", and where; NULL: none of ours */
    size_t reason_len;
};

#define MAX_PARAMS 12

/* Of a statement: text, but where formats says binary. The arrays of characters hold what was written
 * as text for values to point to. */
struct params {
    const char *values[MAX_PARAMS];
    int lengths[MAX_PARAMS], formats[MAX_PARAMS];
    char states[80], id[24], above[24], upto[24], limit[24];
};

/* Notes why, for operate_error. Returns exit_code. */
__attribute__((format(printf, 3, 4))) int operate_fail(struct operate *o, int exit_code,
                                                       const char *fmt, ...);

/* Each returns an exit code. *ret_res: taken by the caller and set on success only; may be NULL. */
int operate_run_text(struct operate *o, const char *sql, PGresult **ret_res);
int operate_run(struct operate *o, const char *sql, int n, const struct params *p,
                PGresult **ret_res);
/* The same with a binary result. */
int operate_run_binary(struct operate *o, const char *sql, int n, const struct params *p,
                       PGresult **ret_res);
int operate_begin(struct operate *o);
/* In a transaction: the statements until the next end may take OPERATE_LONG_READ times as long. */
int operate_take_long(struct operate *o);
/* Commits when code is EXIT_OK, else rolls back and keeps code and what operate_error says. */
int operate_end(struct operate *o, int code);
/* One statement in a transaction; when that fails *ret_res is NULL. */
int operate_look(struct operate *o, const char *sql, int n, const struct params *p,
                 PGresult **ret_res);

/* Does the dsn name several, itself, by the environment or by a service file? One host may have several addresses, each of
 * the same server. */
bool operate_has_many_servers(const struct operate *o);

/* Results as text. */
const char *operate_text(const PGresult *res, int row, int column); /* NULL for null */
bool operate_true(const PGresult *res, int row, int column);
int64_t operate_number(const PGresult *res, int row, int column);
double operate_seconds(const PGresult *res, int row, int column); /* negative for null */
/* The bytes, to be freed with PQfreemem; NULL when null. */
int operate_key(struct operate *o, const PGresult *res, int row, int column,
                unsigned char **ret_key, size_t *ret_len);

#endif
