/* conn.c - see conn.h. */
#include "relay/source/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lib/shared/lookup.h"
#include "relay/log.h"
#include "relay/source/connect.h"

static void on_notice(void *arg, const PGresult *res)
{
    const struct conn *c = arg;
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    log_debug("source", "server notice", "connection", c->name, "text", text);
}

int conn_open(struct conn *c, const struct conn_options *opt, uint64_t now_ms)
{
    conn_close(c);
    c->lookup = opt->lookup;
    c->timeout_ms = opt->timeout_ms;
    c->pg = connect_start(&(struct connect_options){
        .dsn = opt->dsn,
        .application = "outbox-relay",
        .beside = opt->beside != NULL ? opt->beside->pg : NULL,
        .hosts = opt->hosts,
        .timeout_ms = opt->timeout_ms,
        .tcp_user_timeout_ms = opt->tcp_user_timeout_ms,
    });
    if (c->pg == NULL || PQstatus(c->pg) == CONNECTION_BAD)
        return -1;
    PQsetNoticeReceiver(c->pg, on_notice, c);
    c->state = CONN_CONNECTING;
    c->events = POLLOUT;
    c->deadline_ms = now_ms + opt->timeout_ms;
    return 0;
}

void conn_close(struct conn *c)
{
    PQclear(c->result);
    PQfinish(c->pg);
    c->result = NULL;
    c->pg = NULL;
    c->pipeline = c->silent = false;
    c->state = CONN_DOWN;
}

static int step_connecting(struct conn *c, PGresult **ret_result)
{
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        c->events = POLLIN;
        return 0;
    case PGRES_POLLING_WRITING:
        c->events = POLLOUT;
        return 0;
    case PGRES_POLLING_OK:
        if (PQsetnonblocking(c->pg, 1) != 0)
            return -1;
        c->state = CONN_IDLE;
        c->events = POLLIN;
        *ret_result = NULL;
        return 1;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: /* never returned */
        break;
    }
    return -1;
}

static int flush(struct conn *c)
{
    int rest = PQflush(c->pg);

    c->events = rest > 0 ? POLLIN | POLLOUT : POLLIN;
    return rest < 0 ? -1 : 0;
}

static bool failed(const PGresult *res)
{
    return res != NULL && PQresultStatus(res) == PGRES_FATAL_ERROR;
}

/* Of several statements in one text an error comes last. Of a transaction it is followed by one result
 * for each statement that was not run. */
static void keep_result(struct conn *c, PGresult *res)
{
    if (failed(c->result)) {
        PQclear(res);
        return;
    }
    PQclear(c->result);
    c->result = res;
}

static int answered(struct conn *c, PGresult **ret_result)
{
    c->state = CONN_IDLE;
    *ret_result = c->result;
    c->result = NULL;
    return PQstatus(c->pg) == CONNECTION_OK ? 1 : -1;
}

static int step_busy(struct conn *c, PGresult **ret_result)
{
    int n_nothing = 0;

    if (flush(c) < 0 || PQconsumeInput(c->pg) == 0)
        return -1;
    for (;;) {
        if (PQstatus(c->pg) != CONNECTION_OK)
            return -1;
        if (PQisBusy(c->pg))
            return 0;
        PGresult *res = PQgetResult(c->pg);
        if (res == NULL && !c->pipeline)
            return answered(c, ret_result);
        if (res == NULL && ++n_nothing > 1)
            return -1; /* the end of the transaction was not told: it would never come */
        if (res == NULL)
            continue; /* between two statements of the transaction */
        n_nothing = 0;
        if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
            PQclear(res);
            c->pipeline = false;
            return PQexitPipelineMode(c->pg) == 1 ? answered(c, ret_result) : -1;
        }
        keep_result(c, res);
    }
}

/* Between statements the server speaks only to say goodbye. */
static int step_idle(struct conn *c)
{
    return PQconsumeInput(c->pg) == 1 && PQstatus(c->pg) == CONNECTION_OK ? 0 : -1;
}

/* libpq would wait in PQconnectPoll if it were called before its socket is ready. A signal is no answer: an
 * interruption that came round with every turn of the loop would leave the result unread. */
static bool is_ready(const struct conn *c)
{
    struct pollfd p = { .fd = PQsocket(c->pg), .events = c->events };
    int n;

    do
        n = p.fd < 0 ? 1 : poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    return n != 0;
}

int conn_step(struct conn *c, uint64_t now_ms, PGresult **ret_result)
{
    int rc = 0;

    bool ready = is_ready(c);
    switch (c->state) {
    case CONN_DOWN:
        return 0;
    case CONN_CONNECTING:
        rc = ready ? step_connecting(c, ret_result) : 0;
        break;
    case CONN_IDLE:
        return ready ? step_idle(c) : 0;
    case CONN_BUSY:
        rc = ready ? step_busy(c, ret_result) : 0;
        break;
    }
    if (rc == 0 && now_ms >= c->deadline_ms) {
        log_warn("source", "no answer from PostgreSQL within the deadline", "connection", c->name,
                 "deadline_ms", log_i64((int64_t)c->timeout_ms));
        c->silent = true;
        return -1;
    }
    return rc;
}

static int sent(struct conn *c, uint64_t now_ms, int ok)
{
    if (!ok || flush(c) < 0)
        return -1;
    c->state = CONN_BUSY;
    c->deadline_ms = now_ms + c->timeout_ms;
    return 0;
}

static int send_prepared(struct conn *c, const struct conn_statement *st)
{
    static const int binary[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

    return PQsendQueryPrepared(c->pg, st->name, st->n_params, st->values, st->lengths, binary, 1);
}

int conn_send_prepared(struct conn *c, uint64_t now_ms, const char *name, int n_params,
                       const char *const *values, const int *lengths)
{
    struct conn_statement st = { name, n_params, values, lengths };

    return sent(c, now_ms, send_prepared(c, &st));
}

/* Up to the synchronisation point the server takes what comes for one transaction. */
int conn_send_transaction(struct conn *c, uint64_t now_ms, const struct conn_statement *statement,
                          int n)
{
    int ok = PQenterPipelineMode(c->pg);

    c->pipeline = true;
    for (int i = 0; ok && i < n; i++)
        ok = send_prepared(c, &statement[i]);
    return sent(c, now_ms, ok && PQpipelineSync(c->pg));
}

int conn_send_text(struct conn *c, uint64_t now_ms, const char *sql)
{
    return sent(c, now_ms, PQsendQuery(c->pg, sql));
}

const char *conn_error(const struct conn *c)
{
    static char line[720];
    char words[512];
    /* Hosts without an address were not tried: what became of the others is half of it. */
    const char *missing = c->lookup != NULL && c->state != CONN_IDLE && c->state != CONN_BUSY ? c->lookup->missing : "";

    connect_error(c->pg, words, sizeof words);
    if (c->lookup != NULL)
        outbox__hosts_name(&c->lookup->hosts, words, sizeof words);
    size_t len = strlen(words);
    if (c->silent)
        snprintf(words + len, sizeof words - len, "%sno answer within %.3g s",
                 len == 0 ? "" : words[len - 1] == ':' ? " " : "; ", (double)c->timeout_ms / 1000);
    snprintf(line, sizeof line, "%s%s%s", missing, missing[0] != '\0' && words[0] != '\0' ? "; " : "", words);
    return line;
}
