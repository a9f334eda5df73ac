/* operate_link.c - the one connection of the commands: connecting, statements in short transactions, and
 * errors in words with their remedy. See operate_inside.h.
 */
#include "relay/source/operate_inside.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/source/connect.h"
#include "relay/source/operate_sql.h"
#include "relay/source/remedies.h"
#include "relay/source/schema.h"
#include "relay/source/source.h"
#include "relay/verdict.h"

#define LOCK_TIMEOUT_MS 5000  /* the relay's own transactions take milliseconds */

struct operate *operate_new(const struct operate_options *options)
{
    struct operate *o = calloc(1, sizeof *o);

    if (o != NULL) {
        o->opt = *options;
        o->patience_ms = options->statement_timeout_ms + OPERATE_GRACE_MS;
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

const char *operate_sqlstate(const struct operate *o)
{
    return o->state;
}

const char *operate_reason(const struct operate *o, char *to, size_t to_size)
{
    snprintf(to, to_size, "%.*s", o->remedy != NULL ? (int)o->reason_len : (int)sizeof o->error, o->error);
    return o->remedy;
}

/* -- errors ----------------------------------------------------------------------------------- */

int operate_fail(struct operate *o, int exit_code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(o->error, sizeof o->error, fmt, args);
    va_end(args);
    o->state[0] = o->said[0] = '\0';
    o->remedy = NULL;
    return exit_code;
}

/* Behind operate_fail: what mends that, static. Returns exit_code. */
static int mended_by(struct operate *o, int exit_code, const char *remedy)
{
    o->remedy = remedy;
    o->reason_len = strlen(o->error);
    snprintf(o->error + o->reason_len, sizeof o->error - o->reason_len, "; %s", remedy);
    return exit_code;
}

/* libpq's words may have several lines. The dsn was parsed before, so there is no password in them. */
static int fail_link(struct operate *o, const char *what)
{
    char line[512];

    connect_error(o->pg, line, sizeof line);
    const char *remedy = connect_remedy(line);
    int code = operate_fail(o, EXIT_UNAVAILABLE, "%s: %s%s", what, line[0] != '\0' ? line : "out of memory",
                            remedy == NULL ? "; see the setting dsn (--print-config shows it)" : "");
    return remedy != NULL ? mended_by(o, code, remedy) : code;
}

static int fail_result(struct operate *o, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || text == NULL)
        return fail_link(o, "lost PostgreSQL");
    o->deadlock = strcmp(state, "40P01") == 0 || strcmp(state, "40001") == 0;
    const struct remedy *remedy = remedy_of(state);
    int code = operate_fail(o, remedy->exit_code, "PostgreSQL: %s (SQLSTATE %s)", text, state);
    mended_by(o, code, o->of_inbox && remedy->inbox != NULL ? remedy->inbox : remedy->command);
    snprintf(o->state, sizeof o->state, "%s", state);
    snprintf(o->said, sizeof o->said, "%s %s", state, text);
    return code;
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
        return operate_fail(o, EXIT_UNAVAILABLE, "no answer from PostgreSQL within %llu ms; see the setting "
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

int operate_run_text(struct operate *o, const char *sql, PGresult **ret_res)
{
    o->deadlock = false;
    if (o->pg == NULL)
        return operate_fail(o, EXIT_UNAVAILABLE, "not connected to PostgreSQL");
    return finish(o, PQsendQuery(o->pg, sql), ret_res);
}

static int run_format(struct operate *o, const char *sql, int n, const struct params *p, int format,
                      PGresult **ret_res)
{
    o->deadlock = false;
    if (o->pg == NULL)
        return operate_fail(o, EXIT_UNAVAILABLE, "not connected to PostgreSQL");
    return finish(o, PQsendQueryParams(o->pg, sql, n, NULL, p->values, p->lengths, p->formats, format),
                  ret_res);
}

int operate_run(struct operate *o, const char *sql, int n, const struct params *p,
                PGresult **ret_res)
{
    return run_format(o, sql, n, p, 0, ret_res);
}

int operate_run_binary(struct operate *o, const char *sql, int n, const struct params *p,
                       PGresult **ret_res)
{
    return run_format(o, sql, n, p, 1, ret_res);
}

int operate_begin(struct operate *o)
{
    char sql[sizeof SQL_BEGIN + 64];

    snprintf(sql, sizeof sql, SQL_BEGIN, o->opt.only_reads ? "read only" : "read write",
             (unsigned long long)o->opt.statement_timeout_ms, (unsigned long long)LOCK_TIMEOUT_MS);
    return operate_run_text(o, sql, NULL);
}

int operate_take_long(struct operate *o)
{
    uint64_t timeout_ms = o->opt.statement_timeout_ms * OPERATE_LONG_READ;
    char sql[sizeof SQL_TIMEOUT + 24];

    snprintf(sql, sizeof sql, SQL_TIMEOUT, (unsigned long long)timeout_ms);
    int code = operate_run_text(o, sql, NULL);
    o->patience_ms = timeout_ms + OPERATE_GRACE_MS;
    return code;
}

static int commit(struct operate *o)
{
    PGresult *res = NULL;
    int code = operate_run_text(o, "commit", &res);

    if (code == EXIT_OK && strcmp(PQcmdStatus(res), "COMMIT") != 0)
        code = operate_fail(o, EXIT_INTERNAL, "PostgreSQL rolled back what should have been committed; look "
                    "into the log of the server");
    else if (code != EXIT_OK && (o->pg == NULL || PQstatus(o->pg) != CONNECTION_OK))
        code = operate_fail(o, EXIT_UNAVAILABLE, "lost PostgreSQL while a change was being committed, so it "
                    "may be done or not; run the same command again: what is done is left alone");
    PQclear(res);
    return code;
}

/* After a failure, whose words are kept; a link that is gone has rolled back by itself. */
static void rollback(struct operate *o)
{
    char error[sizeof o->error], state[sizeof o->state], said[sizeof o->said];
    const char *remedy = o->remedy;
    size_t reason_len = o->reason_len;
    bool deadlock = o->deadlock;

    if (o->pg == NULL || PQtransactionStatus(o->pg) == PQTRANS_IDLE)
        return;
    memcpy(error, o->error, sizeof error);
    memcpy(state, o->state, sizeof state);
    memcpy(said, o->said, sizeof said);
    (void)operate_run_text(o, "rollback", NULL);
    memcpy(o->error, error, sizeof error);
    memcpy(o->state, state, sizeof state);
    memcpy(o->said, said, sizeof said);
    o->remedy = remedy;
    o->reason_len = reason_len;
    o->deadlock = deadlock;
}

int operate_end(struct operate *o, int code)
{
    o->patience_ms = o->opt.statement_timeout_ms + OPERATE_GRACE_MS;
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

struct schema {
    const char *name, *installed, *newest; /* statements */
    int version;
    const char *remedy; /* when it is not installed */
};
static const struct schema outbox_schema = {
    "outbox", SQL_INSTALLED("outbox"), SQL_NEWEST("outbox"), SCHEMA_VERSION,
    "let the DBA apply sql/001_outbox.up.sql, or correct the setting dsn",
};
static const struct schema inbox_schema = {
    "inbox", SQL_INSTALLED("inbox"), SQL_NEWEST("inbox"), INBOX_VERSION,
    "let dsn name the database that the consumers write to, or the DBA apply sql/002_inbox.up.sql there",
};

static int check_versions(struct operate *o, const struct schema *s, const PGresult *res)
{
    int newest = atoi(PQgetvalue(res, 0, 0)), breaking = atoi(PQgetvalue(res, 0, 1));

    if (operate_true(res, 0, 2))
        return mended_by(o, operate_fail(o, EXIT_PERMISSION, "row-level security hides %s.schema_version from this role", s->name),
                         VERDICT_SEE_ALL_ROWS);
    if (newest >= s->version && breaking <= s->version)
        return EXIT_OK;
    int code = operate_fail(o, EXIT_CONFIGURATION, "the schema %s has version %d and this program needs %d", s->name,
                            newest, s->version);
    return mended_by(o, code, newest < s->version ? "apply the newer files in sql/" : "upgrade outbox-relay");
}

static int check_schema(struct operate *o, const struct schema *s)
{
    PGresult *res = NULL;
    int code = operate_run_text(o, s->installed, &res);

    if (code != EXIT_OK)
        return code;
    bool installed = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
    PQclear(res);
    if (!installed) {
        code = operate_fail(o, EXIT_CONFIGURATION, "the %s is not installed in database \"%s\"", s->name, PQdb(o->pg));
        return mended_by(o, code, s->remedy);
    }
    code = operate_run_text(o, s->newest, &res);
    if (code != EXIT_OK)
        return code;
    code = check_versions(o, s, res);
    PQclear(res);
    return code;
}

/* A pooler hands out process ids of its own, and its sessions are not ours to change. */
static int lift_limits(struct operate *o)
{
    char sql[sizeof SQL_LIFT_LIMITS + 24];

    snprintf(sql, sizeof sql, SQL_LIFT_LIMITS, PQbackendPID(o->pg));
    return operate_run_text(o, sql, NULL);
}

int operate_open(struct operate *o)
{
    char why[256];

    if (source_check_dsn(o->opt.dsn, why, sizeof why) < 0)
        return operate_fail(o, EXIT_CONFIGURATION, "the setting dsn: %s", why);
    o->pg = connect_wait(&(struct connect_options){
        .dsn = o->opt.dsn,
        .application = "outbox-relay command",
        .only_reads = o->opt.only_reads,
        .timeout_ms = o->opt.statement_timeout_ms,
        .tcp_user_timeout_ms = o->opt.tcp_user_timeout_ms,
    });
    if (o->pg == NULL || PQstatus(o->pg) != CONNECTION_OK)
        return fail_link(o, "cannot connect to PostgreSQL");
    PQsetNoticeReceiver(o->pg, on_notice, NULL);
    return lift_limits(o);
}

struct operate_place operate_place(const struct operate *o)
{
    if (o->pg == NULL || PQdb(o->pg) == NULL)
        return (struct operate_place){ .dbname = NULL };
    return (struct operate_place){ PQdb(o->pg), PQhost(o->pg), PQport(o->pg), PQuser(o->pg) };
}

static int connect_and_check(struct operate *o, const struct schema *s)
{
    int code = operate_open(o);

    if (code != EXIT_OK)
        return code;
    code = operate_begin(o);
    return operate_end(o, code == EXIT_OK ? check_schema(o, s) : code);
}

int operate_connect(struct operate *o)
{
    return connect_and_check(o, &outbox_schema);
}

int operate_connect_inbox(struct operate *o)
{
    o->of_inbox = true;
    return connect_and_check(o, &inbox_schema);
}

bool operate_has_many_servers(const struct operate *o)
{
    PQconninfoOption *options = PQconninfo(o->pg);
    bool many = false;

    for (const PQconninfoOption *at = options; at != NULL && at->keyword != NULL; at++)
        if (at->val != NULL && (strcmp(at->keyword, "host") == 0 || strcmp(at->keyword, "hostaddr") == 0))
            many = many || strchr(at->val, ',') != NULL;
    PQconninfoFree(options);
    return many;
}

/* -- results ---------------------------------------------------------------------------------- */

const char *operate_text(const PGresult *res, int row, int column)
{
    return PQgetisnull(res, row, column) ? NULL : PQgetvalue(res, row, column);
}

int operate_key(struct operate *o, const PGresult *res, int row, int column,
                  unsigned char **ret_key, size_t *ret_len)
{
    *ret_key = NULL;
    *ret_len = 0;
    if (PQgetisnull(res, row, column))
        return EXIT_OK;
    *ret_key = PQunescapeBytea((const unsigned char *)PQgetvalue(res, row, column), ret_len);
    return *ret_key != NULL ? EXIT_OK : operate_fail(o, EXIT_INTERNAL, "out of memory");
}

bool operate_true(const PGresult *res, int row, int column)
{
    return strcmp(PQgetvalue(res, row, column), "t") == 0;
}

int64_t operate_number(const PGresult *res, int row, int column)
{
    return strtoll(PQgetvalue(res, row, column), NULL, 10);
}

double operate_seconds(const PGresult *res, int row, int column)
{
    return PQgetisnull(res, row, column) ? -1 : strtod(PQgetvalue(res, row, column), NULL);
}

int operate_look(struct operate *o, const char *sql, int n, const struct params *p,
                PGresult **ret_res)
{
    int code = operate_begin(o);

    if (code == EXIT_OK)
        code = operate_run(o, sql, n, p, ret_res);
    code = operate_end(o, code);
    if (code != EXIT_OK) {
        PQclear(*ret_res);
        *ret_res = NULL;
    }
    return code;
}
