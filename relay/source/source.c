/* source.c - the link, its two connections, and whose each answer is. See source.h. */
#include "relay/source/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/retry.h"
#include "relay/crash_point.h"
#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/source/connect.h"
#include "relay/source/inside.h"
#include "relay/source/remedies.h"
#include "relay/verdict.h"

#define SAY_AGAIN_MS 10000

struct source *source_new(const struct source_config *cfg)
{
    struct source *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->cfg = *cfg;
    s->rng = cfg->seed;
    s->conn[READ_SIDE].name = "read";
    s->conn[MARK_SIDE].name = "mark";
    return s;
}

void source_free(struct source *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < N_SIDES; i++)
        conn_close(&s->conn[i]);
    outbox__lookup_deinit(&s->lookup);
    outbox__host_lists_deinit(&s->left);
    aside_link_down(s);
    isolate_end(s);
    held_drop_page(s);
    buckets_deinit(&s->buckets);
    cursors_deinit(&s->cursors);
    pairs_deinit(&s->pairs);
    free(s->rows);
    marks_deinit(&s->marks);
    free(s->figures);
    held_deinit(s);
    free(s);
}

void source_configure(struct source *s, uint64_t now_ms, uint64_t retry_base_ms, uint64_t retry_max_ms)
{
    s->cfg.retry_base_ms = retry_base_ms;
    s->cfg.retry_max_ms = retry_max_ms;
    if (s->retry_at_ms > now_ms + retry_max_ms)
        s->retry_at_ms = now_ms + retry_max_ms;
    if (s->aside.retry_at_ms > now_ms + retry_max_ms)
        s->aside.retry_at_ms = now_ms + retry_max_ms;
}

const char *source_library_version(void)
{
    static char text[16];
    int v = PQlibVersion();

    snprintf(text, sizeof text, "%d.%d", v / 10000, v % 10000);
    return text;
}

/* -- the link ---------------------------------------------------------------------------- */

void source_push(struct source *s, struct source_event e)
{
    if (s->n_events < sizeof s->event / sizeof s->event[0])
        s->event[s->n_events++] = e;
}

/* libpq goes to the next server when one refuses, or is no primary; one that takes connections and says nothing it would
 * ask first at each try. So the next try is without it; for any other reason, or when none is left, with all of them. */
static void choose_servers(struct source *s)
{
    const PGconn *silent = NULL;

    for (int i = 0; i < N_SIDES && !s->up; i++)
        if (s->conn[i].silent)
            silent = s->conn[i].pg;
    if (silent != NULL && (s->left.name != NULL || outbox__hosts_lists(&s->lookup.hosts, &s->left) == 0) &&
        outbox__host_lists_drop(&s->left, PQhost(silent), PQhostaddr(silent), PQport(silent)))
        return;
    outbox__host_lists_deinit(&s->left);
}

/* remedy: what mends that, a clause of our own; NULL: it is not known. */
static void link_lost(struct source *s, uint64_t now_ms, const char *why, const char *remedy)
{
    char text[500];

    snprintf(text, sizeof text, "%s" VERDICT_TRIES_AGAIN, remedy != NULL ? remedy : "");
    uint64_t delay = retry_delay_ms(s->cfg.retry_base_ms, s->cfg.retry_max_ms, s->failures++,
                                    retry_random(&s->rng));

    log_warn("source", s->up ? "lost PostgreSQL" : "cannot use PostgreSQL", "error", why, "retry_ms",
             log_i64((int64_t)delay), "remedy",
             remedy != NULL ? text : s->up ? NULL : "mend " VERDICT_MEND_DATABASE);
    snprintf(s->why, sizeof s->why, "%s", why); /* which may be of a connection that is closed now */
    choose_servers(s);
    for (int i = 0; i < N_SIDES; i++)
        conn_close(&s->conn[i]);
    aside_link_down(s);
    isolate_end(s);
    held_drop_page(s);
    s->up = s->acquired = false;
    if (s->request == REQUEST_ACQUIRE)
        s->last_epoch = 0; /* we may have a new one */
    s->request = REQUEST_NONE;
    s->retry_at_ms = now_ms + delay;
    s->n_events = 0; /* answers of a link that is gone */
    source_push(s, (struct source_event){ .type = SOURCE_DOWN, .why = s->why, .remedy = remedy });
}

void source_link_lost(struct source *s, uint64_t now_ms, const char *why)
{
    link_lost(s, now_ms, why, s->up ? NULL : connect_remedy(why));
}

static void link_open(struct source *s, uint64_t now_ms)
{
    struct conn_options opt = {
        .dsn = s->cfg.dsn,
        .lookup = &s->lookup,
        .hosts = s->left.name != NULL ? &s->left : &s->lookup.lists,
        .timeout_ms = s->cfg.statement_timeout_ms,
        .tcp_user_timeout_ms = s->cfg.tcp_user_timeout_ms,
    };

    for (int i = 0; i < N_SIDES; i++) {
        s->setup[i] = SETUP_CONNECT;
        if (conn_open(&s->conn[i], &opt, now_ms) < 0) {
            source_link_lost(s, now_ms, conn_error(&s->conn[i]));
            return;
        }
    }
}

static bool link_is_down(const struct source *s)
{
    return s->conn[READ_SIDE].state == CONN_DOWN && s->conn[MARK_SIDE].state == CONN_DOWN;
}

/* Once for both connections: they must reach the same server. */
static void link_begin(struct source *s, uint64_t now_ms)
{
    int rc = s->lookup.waiting ? outbox__lookup_step(&s->lookup, now_ms)
                               : outbox__lookup_begin(&s->lookup, s->cfg.dsn, now_ms, s->cfg.statement_timeout_ms);

    if (s->lookup.threadless)
        log_warn("source", "no thread can be had that looks up names; nothing else is done while libpq looks them up");
    if (rc < 0)
        source_link_lost(s, now_ms, s->lookup.missing);
    else if (rc > 0)
        link_open(s, now_ms);
}

void source_refuse(struct source *s, int exit_code)
{
    s->refused = true;
    source_push(s, (struct source_event){ .type = SOURCE_REFUSED, .exit_code = exit_code });
}

/* Rights do not mend themselves. */
bool source_lacks_right(struct source *s, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE), *words = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || strcmp(state, "42501") != 0)
        return false;
    if (!s->refused) /* what the relay does on its way out may lack it as well */
        log_error("source", "the relay's role lacks a right", "error", words, "remedy",
                  remedy_is_for_policy(words) ? VERDICT_SEE_ALL_ROWS THEN_START : VERDICT_GRANT_ROLE THEN_START);
    source_refuse(s, EXIT_PERMISSION);
    return true;
}

bool source_is_hidden(struct source *s, const char *table)
{
    if (!s->policies)
        return false;
    log_error("source", "row-level security hides what the relay needs", "table", table, "remedy", VERDICT_SEE_ALL_ROWS THEN_START);
    source_refuse(s, EXIT_PERMISSION);
    return true;
}

/* -- requests ---------------------------------------------------------------------------- */

void source_request(struct source *s, uint64_t now_ms, enum request what, const char *statement,
                    int n_params, const char *const *values, const int *lengths)
{
    s->request = what;
    s->request_ms = now_ms;
    if (conn_send_prepared(&s->conn[MARK_SIDE], now_ms, statement, n_params, values, lengths) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[MARK_SIDE]));
}

void source_request_transaction(struct source *s, uint64_t now_ms, enum request what,
                                const struct conn_statement *statement, int n)
{
    s->request = what;
    s->request_ms = now_ms;
    if (conn_send_transaction(&s->conn[MARK_SIDE], now_ms, statement, n) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[MARK_SIDE]));
}

/* -- answers ----------------------------------------------------------------------------- */

/* The lease is asked for again several times a second. What stays as it was is said now and then. */
static bool may_say(struct source *s, const char *what, const char *state)
{
    struct said *said = &s->said;

    if (said->what == NULL || strcmp(said->what, what) != 0 || strcmp(said->state, state) != 0) {
        *said = (struct said){ .what = what };
        snprintf(said->state, sizeof said->state, "%s", state);
    }
    return restraint_admits(&said->restraint, s->request_ms, 1, SAY_AGAIN_MS, NULL);
}

static void say_failed(struct source *s, const char *what, bool often, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (!often || may_say(s, what, state != NULL ? state : ""))
        log_warn("source", what, "sqlstate", state, "error", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY), "remedy",
                 remedy_of(state)->relay);
}

void source_request_failed(struct source *s, enum request what, const PGresult *res)
{
    static const struct {
        enum source_event_type event;
        const char *said;
    } failed[] = {
        [REQUEST_MARK] = { SOURCE_MARK_FAILED, "marking failed" },
        [REQUEST_HOLD] = { SOURCE_HOLD_FAILED, "holding rows failed" },
        [REQUEST_ACQUIRE] = { SOURCE_LEASE_FAILED, "the lease cannot be written" },
        [REQUEST_FLOOR] = { SOURCE_LEASE_FAILED, "the lease cannot be written" },
        [REQUEST_LOAD_BEGIN] = { SOURCE_LEASE_FAILED, "what is held cannot be read" },
        [REQUEST_LOAD] = { SOURCE_LEASE_FAILED, "what is held cannot be read" },
        [REQUEST_RENEW] = { SOURCE_LEASE_FAILED, "the lease cannot be written" },
        [REQUEST_RESIGN] = { SOURCE_RESIGNED, "the lease cannot be written" },
        [REQUEST_SWEEP] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
        [REQUEST_HEAL] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
        [REQUEST_CLEAN] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
    };

    if (res != NULL && !source_lacks_right(s, res))
        say_failed(s, failed[what].said, failed[what].event == SOURCE_LEASE_FAILED, res);
    struct source_event e = { .type = failed[what].event, .left = s->cfg.once };
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY), *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    if (text != NULL && state != NULL) {
        snprintf(s->why, sizeof s->why, "%s: %s", failed[what].said, text);
        snprintf(s->why_state, sizeof s->why_state, "%s", state);
        e.why = s->why;
        e.sqlstate = s->why_state;
        e.remedy = remedy_of(state)->relay;
    }
    source_push(s, e);
}

/* The session may write no more: default_transaction_read_only was turned on, or what was the primary is none. What
 * mends that (ALTER ROLE, another server of the dsn) reaches new sessions only. */
static bool is_read_only(const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    return state != NULL && strcmp(state, "25006") == 0;
}

static void leave_read_only(struct source *s, uint64_t now_ms, const PGresult *res)
{
    char why[300];

    snprintf(why, sizeof why, "the database cannot be written: %s", PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
    link_lost(s, now_ms, why, VERDICT_READ_WRITE);
    s->unwritable = true;
}

static void note_written(struct source *s)
{
    if (s->unwritable)
        s->failures = 0;
    s->unwritable = false;
}

static void on_answer(struct source *s, uint64_t now_ms, PGresult **res)
{
    enum request what = s->request;

    s->request = REQUEST_NONE;
    if (what == REQUEST_MARK && mark_goes_again(s, now_ms, *res))
        return;
    if (what != REQUEST_RESIGN && is_read_only(*res)) { /* who resigns has no use for another link */
        leave_read_only(s, now_ms, *res);
        return;
    }
    if (!result_ok(*res)) {
        source_request_failed(s, what, *res);
        return;
    }
    note_written(s);
    switch (what) {
    case REQUEST_NONE:
        break;
    case REQUEST_MARK:
        CRASH_POINT("source.mark_answered");
        mark_on_answer(s, *res);
        break;
    case REQUEST_HOLD:
        CRASH_POINT("source.hold_answered");
        held_on_hold(s, *res);
        break;
    case REQUEST_ACQUIRE:
        if (lease_on_acquired(s, now_ms, *res) < 0)
            source_request_failed(s, what, NULL);
        break;
    case REQUEST_FLOOR:
        lease_on_floor(s, now_ms, *res);
        break;
    case REQUEST_LOAD_BEGIN:
        held_on_load_begin(s, now_ms, *res);
        break;
    case REQUEST_LOAD:
        held_on_load(s, now_ms, res);
        break;
    case REQUEST_RENEW:
        s->said.what = NULL;
        CRASH_POINT("source.renewed");
        lease_on_renewed(s, *res);
        break;
    case REQUEST_RESIGN:
        CRASH_POINT("source.resigned");
        source_push(s, (struct source_event){ .type = SOURCE_RESIGNED,
                                              .left = s->cfg.once && (PQntuples(*res) == 0 || result_true(*res, 0, 0)) });
        break;
    case REQUEST_SWEEP:
        held_on_sweep(s, now_ms, *res);
        break;
    case REQUEST_HEAL:
        held_on_heal(s, now_ms, *res);
        break;
    case REQUEST_CLEAN:
        held_on_cleaned(s);
        break;
    }
}

/* -- the loop's side --------------------------------------------------------------------- */

static size_t pollfd_of(const struct conn *c, struct pollfd *fd)
{
    if (c->state == CONN_DOWN)
        return 0;
    *fd = (struct pollfd){ .fd = PQsocket(c->pg), .events = c->events };
    return 1;
}

size_t source_pollfds(const struct source *s, struct pollfd fds[SOURCE_MAX_FDS])
{
    size_t n = 0;

    for (int i = 0; i < N_SIDES; i++)
        n += pollfd_of(&s->conn[i], &fds[n]);
    if (s->lookup.waiting)
        fds[n++] = (struct pollfd){ .fd = outbox__lookup_fd(&s->lookup), .events = POLLIN }; /* there are no connections then */
    return n + pollfd_of(&s->aside.conn, &fds[n]);
}

uint64_t source_deadline(const struct source *s)
{
    uint64_t due = aside_deadline(s);

    if (s->n_events > 0)
        return 0;
    if (link_is_down(s))
        return s->lookup.waiting ? s->lookup.deadline_ms : s->retry_at_ms;
    for (int i = 0; i < N_SIDES; i++)
        if ((s->conn[i].state == CONN_CONNECTING || s->conn[i].state == CONN_BUSY) &&
            s->conn[i].deadline_ms < due)
            due = s->conn[i].deadline_ms;
    return due;
}

uint64_t source_next_attempt(const struct source *s)
{
    return link_is_down(s) && !s->lookup.waiting ? s->retry_at_ms : 0;
}

static void step(struct source *s, uint64_t now_ms, enum side side)
{
    PGresult *res = NULL;
    int rc = conn_step(&s->conn[side], now_ms, &res);

    if (rc < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[side]));
    else if (rc > 0 && s->setup[side] != SETUP_DONE)
        setup_step(s, now_ms, side, res);
    else if (rc > 0 && side == READ_SIDE)
        read_on_answer(s, now_ms, res);
    else if (rc > 0)
        on_answer(s, now_ms, &res);
    PQclear(res);
}

bool source_next(struct source *s, uint64_t now_ms, struct source_event *ret_event)
{
    if (s->n_events == 0) {
        if (link_is_down(s) && (s->lookup.waiting || now_ms >= s->retry_at_ms))
            link_begin(s, now_ms);
        for (int side = 0; side < N_SIDES && s->n_events == 0; side++)
            step(s, now_ms, (enum side)side);
        if (s->n_events == 0)
            aside_step(s, now_ms);
    }
    if (s->n_events == 0)
        return false;
    *ret_event = s->event[0];
    s->n_events--;
    memmove(&s->event[0], &s->event[1], s->n_events * sizeof s->event[0]);
    return true;
}
