/* steps.c - see steps.h. */
#include "steps.h"

#include <errno.h>
#include <poll.h>

/* What the statements answered has come by then, so this is for the end of the last one's transaction: a disk, or
 * a standby that has to confirm. */
#define SYNC_DEADLINE_MS 60000

static bool send(PGconn *conn, const struct inbox__step *s, bool last)
{
    return PQsendQueryParams(conn, s->sql, s->n, NULL, s->values, s->lengths, s->formats, 0) == 1 &&
           (!(s->alone || last) || PQpipelineSync(conn) == 1);
}

/* One result and the NULL behind it. */
static void receive(PGconn *conn, struct inbox__step *s)
{
    PGresult *more;

    s->result = PQgetResult(conn);
    while (s->result != NULL && (more = PQgetResult(conn)) != NULL)
        PQclear(more);
}

/* False: nothing has come for too long, or the link is lost. */
static bool await(PGconn *conn)
{
    while (PQisBusy(conn) == 1) {
        struct pollfd wanted = { .fd = PQsocket(conn), .events = POLLIN };
        int n;

        if (PQconsumeInput(conn) != 1) /* before poll(), which does not see what TLS has read already */
            return false;
        if (PQisBusy(conn) != 1)
            break;
        n = poll(&wanted, 1, SYNC_DEADLINE_MS);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
    }
    return true;
}

/* libpq that has no memory for the answer to a Sync drops it, and PQgetResult() would wait for ever. */
static bool receive_sync(PGconn *conn)
{
    PGresult *r = await(conn) ? PQgetResult(conn) : NULL;
    bool ok = PQresultStatus(r) == PGRES_PIPELINE_SYNC;

    PQclear(r);
    return ok;
}

bool inbox__steps_run(PGconn *conn, struct inbox__step *steps, int n)
{
    bool ok = PQenterPipelineMode(conn) == 1;

    for (int i = 0; i < n; i++)
        steps[i].result = NULL;
    for (int i = 0; i < n && ok; i++)
        ok = send(conn, &steps[i], i == n - 1);
    for (int i = 0; i < n && ok; i++) {
        receive(conn, &steps[i]);
        ok = steps[i].result != NULL && PQstatus(conn) == CONNECTION_OK &&
             (!(steps[i].alone || i == n - 1) || receive_sync(conn));
    }
    return ok && PQexitPipelineMode(conn) == 1 && PQstatus(conn) == CONNECTION_OK;
}

void inbox__steps_clear(struct inbox__step *steps, int n)
{
    for (int i = 0; i < n; i++) {
        PQclear(steps[i].result);
        steps[i].result = NULL;
    }
}

bool inbox__step_ok(const struct inbox__step *s)
{
    ExecStatusType status = PQresultStatus(s->result);

    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}
