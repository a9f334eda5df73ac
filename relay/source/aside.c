/* aside.c - see aside.h. */
#include "relay/source/aside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/retry.h"
#include "relay/log.h"
#include "relay/source/buckets.h"
#include "relay/source/buckets_sql.h"
#include "relay/source/connect.h"
#include "relay/source/figures_sql.h"
#include "relay/source/inside.h"
#include "relay/source/remedies.h"
#include "relay/source/sql.h"
#include "relay/verdict.h"

/* What is asked here is worth no wait. A request for a lock that is not granted queues everybody else
 * behind it for so long. */
#define ASIDE_LOCK_TIMEOUT_MS 100

static const struct {
    const char *failed; /* for the log */
    void (*on_answer)(struct source *s, const PGresult *res); /* NULL: there is none */
} requests[N_ASIDE_REQUESTS] = {
    [ASIDE_FIGURES] = { "what waits and what blocks cannot be looked at", figures_on_answer },
    [ASIDE_SCHEMA] = { "the version of the schema cannot be looked at", schema_on_answer },
    [ASIDE_LOOK] = { "the buckets cannot be looked at", buckets_on_look },
    [ASIDE_WALK] = { "a bucket cannot be looked through", buckets_on_walk },
    [ASIDE_EMPTY] = { "a bucket cannot be emptied", buckets_on_empty },
    [ASIDE_TIDY] = { "what was kept cannot be tidied", buckets_on_tidy },
};

bool source_aside_ready(const struct source *s)
{
    return s->aside.setup == ASIDE_READY && s->aside.request == ASIDE_NOTHING;
}

/* Once it may be cut like any other; what does not last is not worth a word. */
const char *source_aside_error(const struct source *s, const char **ret_remedy)
{
    if (!s->cfg.aside || !s->up || s->aside.failures < 2)
        return NULL;
    *ret_remedy = connect_remedy(s->aside.error);
    return s->aside.error;
}

static void answer(struct source *s, const PGresult *res)
{
    enum aside_request what = s->aside.request;

    s->aside.request = ASIDE_NOTHING;
    if (what != ASIDE_NOTHING)
        requests[what].on_answer(s, res);
}

static void shut(struct aside *a)
{
    conn_close(&a->conn);
    a->setup = ASIDE_CONNECT;
}

/* The first time in a row is news; the log need not have it every few seconds. */
static void lost(struct source *s, uint64_t now_ms, const char *why)
{
    struct aside *a = &s->aside;
    uint64_t delay = retry_delay_ms(s->cfg.retry_base_ms, s->cfg.retry_max_ms, a->failures,
                                    retry_random(&s->rng));

    log_write(a->failures == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "source",
              "the third connection to PostgreSQL does not work; rows go on without it", "error", why != NULL && *why != '\0' ? why : NULL,
              "retry_ms", log_i64((int64_t)delay), (char *)0);
    snprintf(a->error, sizeof a->error, "%s", why != NULL && *why != '\0' ? why : "no answer");
    a->failures++;
    a->retry_at_ms = now_ms + delay;
    shut(a);
    answer(s, NULL);
}

/* Not by its name: libpq would ask for the address of the host again, and we would wait. */
static void open_it(struct source *s, uint64_t now_ms)
{
    struct aside *a = &s->aside;
    struct conn_options opt = {
        .dsn = s->cfg.dsn,
        .beside = &s->conn[READ_SIDE],
        .timeout_ms = s->cfg.statement_timeout_ms,
        .tcp_user_timeout_ms = s->cfg.tcp_user_timeout_ms,
    };

    a->conn.name = "aside";
    if (conn_open(&a->conn, &opt, now_ms) < 0)
        lost(s, now_ms, conn_error(&a->conn));
}

/* The server stops what takes longer than we wait: nobody would be there for its answer. */
static int send_session(struct source *s, uint64_t now_ms)
{
    char text[2000];
    int n = snprintf(text, sizeof text,
                     SQL_SESSION "set lock_timeout = %d; set statement_timeout = %llu; " SQL_CHECK,
                     ASIDE_LOCK_TIMEOUT_MS, (unsigned long long)s->cfg.statement_timeout_ms);

    return n < (int)sizeof text ? conn_send_text(&s->aside.conn, now_ms, text) : -1;
}

/* res is the answer to the step before. */
static void set_up(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct aside *a = &s->aside;
    int rc = 0;

    if (a->setup != ASIDE_CONNECT && !result_ok(res)) {
        lost(s, now_ms, res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : "no answer");
        return;
    }
    if (a->setup == ASIDE_SESSION &&
        (PQntuples(res) != 1 || strcmp(PQgetvalue(res, 0, SQL_CHECK_HISTORY), s->last_history) != 0)) {
        lost(s, now_ms, "it reached another server than the first two");
        return;
    }
    a->setup++;
    if (a->setup == ASIDE_SESSION)
        rc = send_session(s, now_ms);
    else if (a->setup == ASIDE_PREPARE)
        rc = conn_send_text(&a->conn, now_ms, SQL_PREPARE_BUCKETS SQL_PREPARE_FIGURES SQL_PREPARE_SCHEMA);
    if (rc < 0)
        lost(s, now_ms, conn_error(&a->conn));
}

/* A right that is missing is told once: the request comes again and again. */
static void log_failed(struct aside *a, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    bool right = state != NULL && strcmp(state, "42501") == 0;
    bool hidden = right && remedy_is_for_policy(words);

    if (right && a->right_told[a->request])
        return;
    if (right)
        a->right_told[a->request] = true;
    log_warn("source", requests[a->request].failed, "sqlstate", state, "error", words, "remedy",
             hidden ? VERDICT_SEE_ALL_ROWS : remedy_of(state)->relay);
}

void aside_send(struct source *s, uint64_t now_ms, enum aside_request what, const char *statement,
                int n_params, const char *const *values, const int *lengths)
{
    struct aside *a = &s->aside;

    a->request = what;
    if (conn_send_prepared(&a->conn, now_ms, statement, n_params, values, lengths) < 0)
        lost(s, now_ms, conn_error(&a->conn));
}

void aside_step(struct source *s, uint64_t now_ms)
{
    struct aside *a = &s->aside;
    PGresult *res = NULL;

    if (!s->cfg.aside || !s->up)
        return;
    if (a->conn.state == CONN_DOWN && now_ms >= a->retry_at_ms)
        open_it(s, now_ms);
    int rc = conn_step(&a->conn, now_ms, &res);
    if (rc < 0) {
        lost(s, now_ms, conn_error(&a->conn));
    } else if (rc > 0 && a->setup != ASIDE_READY) {
        set_up(s, now_ms, res);
    } else if (rc > 0) {
        bool ok = result_ok(res);
        if (ok)
            a->failures = 0;
        else
            log_failed(a, res);
        answer(s, ok ? res : NULL);
    }
    PQclear(res);
}

uint64_t aside_deadline(const struct source *s)
{
    const struct aside *a = &s->aside;

    if (!s->cfg.aside || !s->up || (a->setup == ASIDE_READY && a->request == ASIDE_NOTHING))
        return UINT64_MAX;
    return a->conn.state == CONN_DOWN ? a->retry_at_ms : a->conn.deadline_ms;
}

void aside_link_up(struct source *s, uint64_t now_ms)
{
    s->aside.failures = 0;
    s->aside.retry_at_ms = now_ms;
}

void aside_link_down(struct source *s)
{
    buckets_forget(&s->buckets);
    shut(&s->aside);
    s->aside.request = ASIDE_NOTHING;
}
