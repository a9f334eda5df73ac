/* batch_failed.c - what a statement of a batch that failed means for it: repeat, or end the run. Knows nothing of
 * handlers, of events or of their order. */
#include <libpq-fe.h>
#include <string.h>

#include "batch_inside.h"
#include "db.h"
#include "lib/outbox/error.h"

enum verdict inbox__batch_broken(struct batch *b, int code)
{
    b->code = code;
    return BROKEN;
}

enum verdict inbox__batch_no_memory(struct batch *b)
{
    return inbox__batch_broken(b, outbox__error_set(b->err, OUTBOX_ENOMEM,
                                                    "no memory for a transaction"));
}

static bool is_state(const PGresult *r, const char *sqlstate)
{
    const char *have = PQresultErrorField(r, PG_DIAG_SQLSTATE);

    return have != NULL && strcmp(have, sqlstate) == 0;
}

void inbox__batch_say_repeat(const struct batch *b, const char *why)
{
    inbox__log(b->c, 4, "a transaction with %zu events is repeated: %s", b->n, why);
}

enum verdict inbox__batch_failed(struct batch *b, const PGresult *r, const char *doing)
{
    outbox_error why = OUTBOX_ERROR_INIT;

    if (is_state(r, "IB003") || is_state(r, "3B001"))
        return inbox__batch_broken(b, inbox__handler_ended(b->c, b->n_called == 1
                                                               ? b->last_called->msg.type : NULL, b->err));
    (void)inbox__db_failed(b->c->conn, r, doing, &why);
    if (is_state(r, "IB001")) {
        b->c->figures.fenced++;
        inbox__rollback(b->c);
    } else if (!inbox__db_lost(b->c) && !is_state(r, "IB002") && !inbox__db_passes(r)) {
        return inbox__batch_broken(b, outbox__error_set_all(b->err, why.code, why.flags, why.sqlstate,
                                                            "%s", why.message));
    }
    inbox__batch_say_repeat(b, why.message);
    return REPEAT;
}

enum verdict inbox__batch_command(struct batch *b, const char *sql, const char *doing)
{
    PGresult *r = PQexec(b->c->conn, sql);
    enum verdict v =
        PQresultStatus(r) == PGRES_COMMAND_OK ? COMMITTED : inbox__batch_failed(b, r, doing);

    PQclear(r);
    return v;
}
