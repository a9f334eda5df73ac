/* operate.c - see operate.h. */
#include "relay/source/operate.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/source/operate_sql.h"
#include "relay/source/source.h"

#define SCHEMA_VERSION 1
#define BATCH "1000"          /* rows changed in one transaction */
#define LOCK_TIMEOUT_MS 5000  /* the relay's own transactions take milliseconds */
#define LONG_READ 20          /* times the statement timeout, for the one statement that reads much */
#define GRACE_MS 5000         /* the server's own timeout comes first, and says more */
#define N_DEADLOCKS 5         /* so often a batch that was a deadlock's victim goes again */
#define N_LOCK_ROUNDS 50

struct operate {
    struct operate_options opt;
    PGconn *pg;
    uint64_t patience_ms;
    bool deadlock; /* the last failure was one, and the same again may work */
    char error[1024];
};

struct operate *operate_new(const struct operate_options *options)
{
    struct operate *o = calloc(1, sizeof *o);

    if (o != NULL) {
        o->opt = *options;
        o->patience_ms = options->statement_timeout_ms + GRACE_MS;
    }
    return o;
}

void operate_free(struct operate *o)
{
    if (o == NULL)
        return;
    PQfinish(o->pg);
    free(o);
}

const char *operate_error(const struct operate *o)
{
    return o->error;
}

/* -- errors ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int fail(struct operate *o, int exit_code,
                                                      const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(o->error, sizeof o->error, fmt, args);
    va_end(args);
    return exit_code;
}

/* libpq's words may have several lines. The dsn was parsed before, so there is no password in them. */
static int fail_link(struct operate *o, const char *what)
{
    char line[512];
    size_t len = 0;

    for (const char *p = PQerrorMessage(o->pg); *p != '\0' && len + 1 < sizeof line; p++)
        line[len++] = *p == '\n' || *p == '\t' ? ' ' : *p;
    while (len > 0 && line[len - 1] == ' ')
        len--;
    line[len] = '\0';
    return fail(o, EXIT_UNAVAILABLE, "%s: %s; see the setting dsn (--print-config shows it)", what,
                len > 0 ? line : "out of memory");
}

static const struct {
    const char *state; /* or how it begins */
    int exit_code;
    const char *remedy;
} remedies[] = {
    { "42501", EXIT_PERMISSION,
      "apply sql/roles.sql and grant outbox_relay to the role of the dsn" },
    { "42", EXIT_CONFIGURATION, "the schema outbox is not what this program expects: apply the "
                                "migrations in sql/ in order" },
    { "23514", EXIT_CONFIGURATION, "the schema outbox is not what this program expects: apply the "
                                   "migrations in sql/ in order" },
    { "57014", EXIT_UNAVAILABLE, "raise the setting statement.timeout, or choose fewer events" },
    { "55P03", EXIT_UNAVAILABLE, "another transaction has the rows locked; look for it in "
                                 "pg_stat_activity, then run the same command again" },
    { "25006", EXIT_UNAVAILABLE, "let the dsn name the primary server" },
    { "40", EXIT_UNAVAILABLE, "run the same command again" },
    { "53", EXIT_UNAVAILABLE, "the server is out of a resource; run the same command again" },
    { "57", EXIT_UNAVAILABLE, "the server is stopping or restarting; run the same command again" },
    { "", EXIT_INTERNAL, "look into the log of the server" },
};

static int fail_result(struct operate *o, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || text == NULL)
        return fail_link(o, "lost PostgreSQL");
    o->deadlock = strcmp(state, "40P01") == 0 || strcmp(state, "40001") == 0;
    size_t i = 0;
    while (strncmp(state, remedies[i].state, strlen(remedies[i].state)) != 0)
        i++;
    return fail(o, remedies[i].exit_code, "PostgreSQL: %s (SQLSTATE %s); %s", text, state,
                remedies[i].remedy);
}

/* -- statements ------------------------------------------------------------------------------- */

/* 0: there is an answer, or the link broke, which PQgetResult will say; -1: it takes too long. */
static int wait_answer(struct operate *o, uint64_t deadline_ms)
{
    while (PQisBusy(o->pg)) {
        struct pollfd p = { .fd = PQsocket(o->pg), .events = POLLIN };
        uint64_t now = loop_now_ms(), left = deadline_ms > now ? deadline_ms - now : 0;

        if (left == 0)
            return -1;
        if (poll(&p, 1, left < 60000 ? (int)left : 60000) < 0 && errno != EINTR)
            return 0;
        if (p.revents != 0 && PQconsumeInput(o->pg) == 0)
            return 0;
    }
    return 0;
}

/* The last result is the answer; of several an error comes last. NULL: lost, or too late. */
static PGresult *answer(struct operate *o)
{
    uint64_t deadline_ms = loop_now_ms() + o->patience_ms;
    PGresult *last = NULL;

    for (;;) {
        PGresult *res = NULL;
        if (wait_answer(o, deadline_ms) < 0) {
            PQclear(last);
            PQfinish(o->pg); /* what is still under way must not be mistaken for a later answer */
            o->pg = NULL;
            return NULL;
        }
        res = PQgetResult(o->pg);
        if (res == NULL)
            return last;
        PQclear(last);
        last = res;
        if (PQstatus(o->pg) != CONNECTION_OK)
            return last;
    }
}

/* *ret_res: taken by the caller, and set on success only; may be NULL. */
static int finish(struct operate *o, int was_sent, PGresult **ret_res)
{
    if (!was_sent)
        return fail_link(o, "lost PostgreSQL");
    PGresult *res = answer(o);
    if (o->pg == NULL)
        return fail(o, EXIT_UNAVAILABLE, "no answer from PostgreSQL within %llu ms; see the setting "
                    "statement.timeout, and run the same command again",
                    (unsigned long long)o->patience_ms);
    ExecStatusType status = PQresultStatus(res); /* PGRES_FATAL_ERROR for NULL */
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        if (ret_res != NULL)
            *ret_res = res;
        else
            PQclear(res);
        return EXIT_OK;
    }
    int code = fail_result(o, res);
    PQclear(res);
    return code;
}

static int run_text(struct operate *o, const char *sql, PGresult **ret_res)
{
    o->deadlock = false;
    if (o->pg == NULL)
        return fail(o, EXIT_UNAVAILABLE, "not connected to PostgreSQL");
    return finish(o, PQsendQuery(o->pg, sql), ret_res);
}

#define MAX_PARAMS 10

struct params {
    const char *values[MAX_PARAMS];
    int lengths[MAX_PARAMS], formats[MAX_PARAMS];
    char states[80], id[24], above[24], upto[24], limit[24];
};

static int run(struct operate *o, const char *sql, int n, const struct params *p, PGresult **ret_res)
{
    o->deadlock = false;
    if (o->pg == NULL)
        return fail(o, EXIT_UNAVAILABLE, "not connected to PostgreSQL");
    return finish(o, PQsendQueryParams(o->pg, sql, n, NULL, p->values, p->lengths, p->formats, 0),
                  ret_res);
}

static int begin(struct operate *o)
{
    char sql[sizeof SQL_BEGIN + 64];

    snprintf(sql, sizeof sql, SQL_BEGIN, o->opt.only_reads ? "read only" : "read write",
             (unsigned long long)o->opt.statement_timeout_ms, (unsigned long long)LOCK_TIMEOUT_MS);
    return run_text(o, sql, NULL);
}

static int commit(struct operate *o)
{
    PGresult *res = NULL;
    int code = run_text(o, "commit", &res);

    if (code == EXIT_OK && strcmp(PQcmdStatus(res), "COMMIT") != 0)
        code = fail(o, EXIT_INTERNAL, "PostgreSQL rolled back what should have been committed; look "
                    "into the log of the server");
    else if (code != EXIT_OK && (o->pg == NULL || PQstatus(o->pg) != CONNECTION_OK))
        code = fail(o, EXIT_UNAVAILABLE, "lost PostgreSQL while a change was being committed, so it "
                    "may be done or not; run the same command again: what is done is left alone");
    PQclear(res);
    return code;
}

/* After a failure, whose words are kept; a link that is gone has rolled back by itself. */
static void rollback(struct operate *o)
{
    char error[sizeof o->error];
    bool deadlock = o->deadlock;

    if (o->pg == NULL || PQtransactionStatus(o->pg) == PQTRANS_IDLE)
        return;
    memcpy(error, o->error, sizeof error);
    (void)run_text(o, "rollback", NULL);
    memcpy(o->error, error, sizeof error);
    o->deadlock = deadlock;
}

static int end(struct operate *o, int code)
{
    if (code == EXIT_OK)
        return commit(o);
    rollback(o);
    return code;
}

/* -- connecting ------------------------------------------------------------------------------- */

static void on_notice(void *arg, const PGresult *res)
{
    (void)arg;
    log_debug("source", "server notice", "text", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
}

static PGconn *connect_to(const struct operate_options *opt)
{
    char tcp_user_timeout[24], connect_timeout[24];
    /* What stands before dbname are defaults that the dsn may override, what follows overrides it. */
    const char *const names[] = {
        "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "connect_timeout", "fallback_application_name", "dbname", "target_session_attrs",
        "client_encoding", NULL
    };
    const char *const values[] = {
        "10", "5", "3", tcp_user_timeout, connect_timeout, "outbox-relay command", opt->dsn,
        opt->only_reads ? "any" : "read-write", "UTF8", NULL
    };

    snprintf(tcp_user_timeout, sizeof tcp_user_timeout, "%llu",
             (unsigned long long)opt->tcp_user_timeout_ms);
    snprintf(connect_timeout, sizeof connect_timeout, "%llu",
             (unsigned long long)(opt->statement_timeout_ms + 999) / 1000);
    return PQconnectdbParams(names, values, 1);
}

static int check_versions(struct operate *o, int newest, int breaking)
{
    if (newest >= SCHEMA_VERSION && breaking <= SCHEMA_VERSION)
        return EXIT_OK;
    return fail(o, EXIT_CONFIGURATION, "the schema outbox has version %d and this program needs %d; "
                "%s", newest, SCHEMA_VERSION,
                newest < SCHEMA_VERSION ? "apply the newer files in sql/" : "upgrade outbox-relay");
}

static int check_schema(struct operate *o)
{
    PGresult *res = NULL;
    int code = run_text(o, SQL_INSTALLED, &res);

    if (code != EXIT_OK)
        return code;
    bool installed = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
    PQclear(res);
    if (!installed)
        return fail(o, EXIT_CONFIGURATION, "the outbox is not installed in database \"%s\"; let the "
                    "DBA apply sql/001_outbox.up.sql, or correct the setting dsn", PQdb(o->pg));
    code = run_text(o, SQL_NEWEST, &res);
    if (code != EXIT_OK)
        return code;
    code = check_versions(o, atoi(PQgetvalue(res, 0, 0)), atoi(PQgetvalue(res, 0, 1)));
    PQclear(res);
    return code;
}

int operate_connect(struct operate *o)
{
    char why[256];

    if (source_check_dsn(o->opt.dsn, why, sizeof why) < 0)
        return fail(o, EXIT_CONFIGURATION, "the setting dsn: %s", why);
    o->pg = connect_to(&o->opt);
    if (o->pg == NULL || PQstatus(o->pg) != CONNECTION_OK)
        return fail_link(o, "cannot connect to PostgreSQL");
    PQsetNoticeReceiver(o->pg, on_notice, NULL);
    int code = begin(o);
    return end(o, code == EXIT_OK ? check_schema(o) : code);
}

/* -- parameters and results ------------------------------------------------------------------- */

static const char *const state_names[] = { "retrying", "blocked", "paused",
                                           "scheduled", "dead", "discarded" };

static void states_to_text(unsigned states, char *to, size_t size)
{
    size_t len = (size_t)snprintf(to, size, "{");

    for (unsigned i = 0; i < sizeof state_names / sizeof state_names[0]; i++)
        if (states & (1u << i))
            len += (size_t)snprintf(to + len, size - len, "%s%s", len > 1 ? "," : "",
                                    state_names[i]);
    snprintf(to + len, size - len, "}");
}

/* $1 to $9 of the statements that begin with SQL_CHOSEN. limit: NULL, or what LIMIT takes. */
static void choose(struct params *p, const struct operate_choice *c, const char *above,
                   const char *limit, bool skip_poison)
{
    *p = (struct params){ .values = { p->states, c->id != 0 ? p->id : NULL, c->event_id, c->topic,
                                      c->key, above, p->upto, limit, skip_poison ? "t" : "f" },
                          .lengths[4] = (int)c->key_len, .formats[4] = 1 };
    states_to_text(c->states, p->states, sizeof p->states);
    snprintf(p->id, sizeof p->id, "%lld", (long long)c->id);
    snprintf(p->upto, sizeof p->upto, "%lld", (long long)c->upto);
}

static void limit_to_text(int64_t limit, char to[24])
{
    snprintf(to, 24, "%lld", (long long)limit);
}

static const char *text_or_null(const PGresult *res, int row, int column)
{
    return PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
}

/* The key, to be freed with PQfreemem; NULL when there is none. An exit code. */
static int key_of(struct operate *o, const PGresult *res, int row, int column,
                  unsigned char **ret_key, size_t *ret_len)
{
    *ret_key = NULL;
    *ret_len = 0;
    if (PQgetisnull(res, row, column))
        return EXIT_OK;
    *ret_key = PQunescapeBytea((const unsigned char *)PQgetvalue(res, row, column), ret_len);
    return *ret_key != NULL ? EXIT_OK : fail(o, EXIT_INTERNAL, "out of memory");
}

/* SQL_EVENT_COLUMNS, and what follows them. */
enum column {
    COLUMN_ID, COLUMN_EVENT_ID, COLUMN_TOPIC, COLUMN_KEY, COLUMN_TYPE, COLUMN_STATE,
    COLUMN_ATTEMPTS, COLUMN_NEXT, COLUMN_FIRST_ERROR, COLUMN_ERROR_CODE, COLUMN_ERROR, COLUMN_MAYBE,
    COLUMN_WAITING,              /* SQL_LIST */
    COLUMN_WAS = COLUMN_WAITING, /* SQL_RETRY, SQL_DISCARD */
    COLUMN_WAITS
};

static bool is_true(const PGresult *res, int row, int column)
{
    return strcmp(PQgetvalue(res, row, column), "t") == 0;
}

static int64_t number_of(const PGresult *res, int row, int column)
{
    return strtoll(PQgetvalue(res, row, column), NULL, 10);
}

static int each_event(struct operate *o, const PGresult *res, bool changed,
                      operate_on_event *on_event, void *arg)
{
    for (int row = 0; row < PQntuples(res); row++) {
        unsigned char *key;
        struct operate_event e = {
            .id = number_of(res, row, COLUMN_ID),
            .event_id = text_or_null(res, row, COLUMN_EVENT_ID),
            .type = text_or_null(res, row, COLUMN_TYPE),
            .topic = PQgetvalue(res, row, COLUMN_TOPIC),
            .state = PQgetvalue(res, row, COLUMN_STATE),
            .attempts = number_of(res, row, COLUMN_ATTEMPTS),
            .next_attempt_at = text_or_null(res, row, COLUMN_NEXT),
            .first_error_at = text_or_null(res, row, COLUMN_FIRST_ERROR),
            .error_code = text_or_null(res, row, COLUMN_ERROR_CODE),
            .error = text_or_null(res, row, COLUMN_ERROR),
            .maybe_delivered = is_true(res, row, COLUMN_MAYBE),
        };
        if (changed) {
            e.was = PQgetvalue(res, row, COLUMN_WAS);
            e.waits = is_true(res, row, COLUMN_WAITS);
        } else {
            e.n_waiting = number_of(res, row, COLUMN_WAITING);
        }
        int code = key_of(o, res, row, COLUMN_KEY, &key, &e.key_len);
        if (code != EXIT_OK)
            return code;
        e.key = key;
        on_event(arg, &e);
        PQfreemem(key);
    }
    return EXIT_OK;
}

/* -- looking ---------------------------------------------------------------------------------- */

/* One statement in a transaction; *ret_res as in finish. */
static int look(struct operate *o, const char *sql, int n, const struct params *p,
                PGresult **ret_res)
{
    int code = begin(o);

    if (code == EXIT_OK)
        code = run(o, sql, n, p, ret_res);
    code = end(o, code);
    if (code != EXIT_OK) {
        PQclear(*ret_res);
        *ret_res = NULL;
    }
    return code;
}

int operate_list(struct operate *o, const struct operate_choice *choice, int64_t limit,
                 bool with_waiting, operate_on_event *on_event, void *arg)
{
    struct params p = { .limit = "" };
    PGresult *res = NULL;

    choose(&p, choice, "0", p.limit, o->opt.skip_poison);
    limit_to_text(limit, p.limit);
    p.values[9] = with_waiting ? "t" : "f";
    int code = look(o, SQL_LIST, 10, &p, &res);
    if (code == EXIT_OK)
        code = each_event(o, res, false, on_event, arg);
    PQclear(res);
    return code;
}

int operate_totals(struct operate *o, const struct operate_choice *choice,
                   operate_on_total *on_total, void *arg)
{
    struct params p = { .limit = "" };
    PGresult *res = NULL;

    choose(&p, choice, "0", NULL, false);
    int code = look(o, SQL_TOTALS, 7, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_total t = { PQgetvalue(res, row, 0), PQgetvalue(res, row, 1),
                                         number_of(res, row, 2), number_of(res, row, 3) };
        on_total(arg, &t);
    }
    PQclear(res);
    return code;
}

static int each_overtaken(struct operate *o, const PGresult *res,
                          operate_on_overtaken *on_overtaken, void *arg)
{
    for (int row = 0; row < PQntuples(res); row++) {
        unsigned char *key;
        struct operate_overtaken v = {
            .event = { .id = number_of(res, row, 0), .event_id = text_or_null(res, row, 1),
                       .topic = PQgetvalue(res, row, 2) },
            .n_later = number_of(res, row, 4),
            .first_later = PQgetvalue(res, row, 5),
            .n_all = number_of(res, row, 6),
        };
        int code = key_of(o, res, row, 3, &key, &v.event.key_len);
        if (code != EXIT_OK)
            return code;
        v.event.key = key;
        on_overtaken(arg, &v);
        PQfreemem(key);
    }
    return EXIT_OK;
}

int operate_overtaken(struct operate *o, const struct operate_choice *choice, int64_t limit,
                      operate_on_overtaken *on_overtaken, void *arg)
{
    uint64_t timeout_ms = o->opt.statement_timeout_ms * LONG_READ;
    char slow[sizeof SQL_LONG_READ + 24];
    struct params p = { .limit = "" };
    PGresult *res = NULL;
    int code = begin(o);

    snprintf(slow, sizeof slow, SQL_LONG_READ, (unsigned long long)timeout_ms);
    if (code == EXIT_OK)
        code = run_text(o, slow, NULL);
    choose(&p, choice, "0", p.limit, false);
    limit_to_text(limit, p.limit);
    o->patience_ms = timeout_ms + GRACE_MS;
    if (code == EXIT_OK)
        code = run(o, SQL_OVERTAKEN, 8, &p, &res);
    o->patience_ms = o->opt.statement_timeout_ms + GRACE_MS;
    code = end(o, code);
    if (code == EXIT_OK)
        code = each_overtaken(o, res, on_overtaken, arg);
    PQclear(res);
    return code;
}

int operate_state_of(struct operate *o, const struct operate_choice *choice, char *ret_state,
                     size_t state_size)
{
    struct params p = { .limit = "" };
    PGresult *res = NULL;

    choose(&p, choice, "0", NULL, false);
    p.values[0] = choice->id != 0 ? p.id : choice->event_id;
    int code = look(o, choice->id != 0 ? SQL_STATE_OF_ID : SQL_STATE_OF_EVENT_ID, 1, &p, &res);
    if (code == EXIT_OK)
        snprintf(ret_state, state_size, "%s", PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
    return code;
}

/* -- changing --------------------------------------------------------------------------------- */

/* What one batch is about: text that goes from one statement to the next. */
struct batch {
    char above[24];            /* ids up to here were handled before */
    char *rows, *fronts;       /* arrays of ids, as PostgreSQL writes them */
    bool is_empty;
};

static void batch_deinit(struct batch *b)
{
    free(b->rows);
    free(b->fronts);
    b->rows = b->fronts = NULL;
}

/* *ret_same: nothing else was found than the time before. */
static int find(struct operate *o, const struct operate_choice *choice, struct batch *b,
                bool *ret_same, char ret_last[24])
{
    struct params p = { .limit = "" };
    PGresult *res = NULL;

    choose(&p, choice, b->above, BATCH, o->opt.skip_poison);
    int code = run(o, SQL_FIND, 9, &p, &res);
    if (code != EXIT_OK)
        return code;
    char *rows = strdup(PQgetvalue(res, 0, 0)), *fronts = strdup(PQgetvalue(res, 0, 1));
    if (rows == NULL || fronts == NULL) {
        free(rows);
        free(fronts);
        PQclear(res);
        return fail(o, EXIT_INTERNAL, "out of memory");
    }
    *ret_same = b->rows != NULL && strcmp(rows, b->rows) == 0 && strcmp(fronts, b->fronts) == 0;
    b->is_empty = number_of(res, 0, 2) == 0;
    if (!b->is_empty)
        snprintf(ret_last, 24, "%s", PQgetvalue(res, 0, 3));
    batch_deinit(b);
    b->rows = rows;
    b->fronts = fronts;
    PQclear(res);
    return EXIT_OK;
}

/* While a lock was waited for, what is first in a group may have become another row: looks again,
 * with a new snapshot, until all that is found is locked. */
static int find_and_lock(struct operate *o, const struct operate_choice *choice, struct batch *b,
                         char ret_last[24])
{
    for (int i = 0; i < N_LOCK_ROUNDS; i++) {
        bool same = false;
        int code = find(o, choice, b, &same, ret_last);
        if (code != EXIT_OK || same || b->is_empty)
            return code;
        const struct params p = { .values = { b->rows, b->fronts } };
        code = run(o, SQL_LOCK, 2, &p, NULL);
        if (code != EXIT_OK)
            return code;
    }
    return fail(o, EXIT_UNAVAILABLE, "the rows change faster than they can be locked; run the same "
                "command again");
}

/* reason: NULL to retry. *ret_res: the rows changed, as in finish. */
static int change_locked(struct operate *o, const struct operate_choice *choice,
                         const struct batch *b, const char *reason, PGresult **ret_res)
{
    const char *skip = o->opt.skip_poison ? "t" : "f";
    const struct params retry = { .values = { b->rows, skip } };
    struct params discard = { .values = { b->rows, discard.states, reason } };

    if (reason == NULL)
        return run(o, SQL_RETRY, 2, &retry, ret_res);
    states_to_text(choice->states, discard.states, sizeof discard.states);
    int code = run(o, SQL_DISCARD, 3, &discard, ret_res);
    /* A statement of its own: only a snapshot taken after the lock was got has the rows that others
     * put behind these until then. */
    return code == EXIT_OK ? run(o, SQL_PROMOTE, 2, &retry, NULL) : code;
}

static int change_batch(struct operate *o, const struct operate_choice *choice, struct batch *b,
                        const char *reason, PGresult **ret_res)
{
    char last[24] = "0";
    int code = begin(o);

    if (code == EXIT_OK)
        code = find_and_lock(o, choice, b, last);
    if (code == EXIT_OK && !b->is_empty)
        code = change_locked(o, choice, b, reason, ret_res);
    code = end(o, code);
    if (code == EXIT_OK)
        memcpy(b->above, last, sizeof last);
    return code;
}

static int change(struct operate *o, const struct operate_choice *choice, const char *reason,
                  operate_on_event *on_event, void *arg)
{
    struct operate_choice c = *choice;
    struct batch b = { .above = "0" };
    int code = EXIT_OK, deadlocks = 0;

    c.states &= OPERATE_RETRYING | OPERATE_DEAD;
    while (code == EXIT_OK && !b.is_empty) {
        PGresult *res = NULL;
        batch_deinit(&b);
        code = change_batch(o, &c, &b, reason, &res);
        if (code != EXIT_OK && o->deadlock && deadlocks++ < N_DEADLOCKS) {
            code = EXIT_OK;
        } else if (code == EXIT_OK && !b.is_empty) {
            deadlocks = 0;
            code = each_event(o, res, true, on_event, arg);
        }
        PQclear(res);
    }
    batch_deinit(&b);
    return code;
}

int operate_retry(struct operate *o, const struct operate_choice *choice,
                  operate_on_event *on_event, void *arg)
{
    return change(o, choice, NULL, on_event, arg);
}

int operate_discard(struct operate *o, const struct operate_choice *choice, const char *reason,
                    operate_on_event *on_event, void *arg)
{
    return change(o, choice, reason, on_event, arg);
}
