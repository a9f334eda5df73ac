/* steps.c - see steps.h. */
#include "steps.h"

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

static bool receive_sync(PGconn *conn)
{
    PGresult *r = PQgetResult(conn);
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
