/* operate.c - see operate.h. */
#include "relay/source/operate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/source/operate_inside.h"
#include "relay/source/operate_sql.h"

#define BATCH "1000"     /* rows changed in one transaction */
#define N_DEADLOCKS 5    /* so often a batch that was a deadlock's victim goes again */
#define N_LOCK_ROUNDS 50

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

/* SQL_EVENT_COLUMNS, and what follows them. */
enum column {
    COLUMN_ID, COLUMN_EVENT_ID, COLUMN_TOPIC, COLUMN_KEY, COLUMN_TYPE, COLUMN_STATE,
    COLUMN_ATTEMPTS, COLUMN_NEXT, COLUMN_FIRST_ERROR, COLUMN_ERROR_CODE, COLUMN_ERROR, COLUMN_MAYBE,
    COLUMN_WAITING,              /* SQL_LIST */
    COLUMN_WAS = COLUMN_WAITING, /* SQL_RETRY, SQL_DISCARD */
    COLUMN_WAITS
};

static int each_event(struct operate *o, const PGresult *res, bool changed,
                      operate_on_event *on_event, void *arg)
{
    for (int row = 0; row < PQntuples(res); row++) {
        unsigned char *key;
        struct operate_event e = {
            .id = operate_number(res, row, COLUMN_ID),
            .event_id = operate_text(res, row, COLUMN_EVENT_ID),
            .type = operate_text(res, row, COLUMN_TYPE),
            .topic = PQgetvalue(res, row, COLUMN_TOPIC),
            .state = PQgetvalue(res, row, COLUMN_STATE),
            .attempts = operate_number(res, row, COLUMN_ATTEMPTS),
            .next_attempt_at = operate_text(res, row, COLUMN_NEXT),
            .first_error_at = operate_text(res, row, COLUMN_FIRST_ERROR),
            .error_code = operate_text(res, row, COLUMN_ERROR_CODE),
            .error = operate_text(res, row, COLUMN_ERROR),
            .maybe_delivered = operate_true(res, row, COLUMN_MAYBE),
        };
        if (changed) {
            e.was = PQgetvalue(res, row, COLUMN_WAS);
            e.waits = operate_true(res, row, COLUMN_WAITS);
        } else {
            e.n_waiting = operate_number(res, row, COLUMN_WAITING);
        }
        int code = operate_key(o, res, row, COLUMN_KEY, &key, &e.key_len);
        if (code != EXIT_OK)
            return code;
        e.key = key;
        on_event(arg, &e);
        PQfreemem(key);
    }
    return EXIT_OK;
}

/* -- looking ---------------------------------------------------------------------------------- */

int operate_list(struct operate *o, const struct operate_choice *choice, int64_t limit,
                 bool with_waiting, operate_on_event *on_event, void *arg)
{
    struct params p = { .limit = "" };
    PGresult *res = NULL;

    choose(&p, choice, "0", p.limit, o->opt.skip_poison);
    limit_to_text(limit, p.limit);
    p.values[9] = with_waiting ? "t" : "f";
    int code = operate_look(o, SQL_LIST, 10, &p, &res);
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
    int code = operate_look(o, SQL_TOTALS, 7, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_total t = { PQgetvalue(res, row, 0), PQgetvalue(res, row, 1),
                                         operate_number(res, row, 2), operate_number(res, row, 3) };
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
            .event = { .id = operate_number(res, row, 0), .event_id = operate_text(res, row, 1),
                       .topic = PQgetvalue(res, row, 2) },
            .n_later = operate_number(res, row, 4),
            .first_later = PQgetvalue(res, row, 5),
            .n_all = operate_number(res, row, 6),
        };
        int code = operate_key(o, res, row, 3, &key, &v.event.key_len);
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
    struct params p = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_begin(o);

    if (code == EXIT_OK)
        code = operate_take_long(o);
    if (code == EXIT_OK)
        code = operate_run_text(o, SQL_BY_HASH, NULL);
    choose(&p, choice, "0", p.limit, false);
    limit_to_text(limit, p.limit);
    if (code == EXIT_OK)
        code = operate_run(o, SQL_OVERTAKEN, 8, &p, &res);
    code = operate_end(o, code);
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
    int code = operate_look(o, choice->id != 0 ? SQL_STATE_OF_ID : SQL_STATE_OF_EVENT_ID, 1, &p, &res);
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

    choose(&p, choice, b->above, BATCH, false);
    int code = operate_run(o, SQL_FIND, 8, &p, &res);
    if (code != EXIT_OK)
        return code;
    char *rows = strdup(PQgetvalue(res, 0, 0)), *fronts = strdup(PQgetvalue(res, 0, 1));
    if (rows == NULL || fronts == NULL) {
        free(rows);
        free(fronts);
        PQclear(res);
        return operate_fail(o, EXIT_INTERNAL, "out of memory");
    }
    *ret_same = b->rows != NULL && strcmp(rows, b->rows) == 0 && strcmp(fronts, b->fronts) == 0;
    b->is_empty = operate_number(res, 0, 2) == 0;
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
        code = operate_run(o, SQL_LOCK, 2, &p, NULL);
        if (code != EXIT_OK)
            return code;
    }
    return operate_fail(o, EXIT_UNAVAILABLE, "the rows change faster than they can be locked; run the same "
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
        return operate_run(o, SQL_RETRY, 2, &retry, ret_res);
    states_to_text(choice->states, discard.states, sizeof discard.states);
    int code = operate_run(o, SQL_DISCARD, 3, &discard, ret_res);
    /* A statement of its own: only a snapshot taken after the lock was got has the rows that others
     * put behind these until then. */
    return code == EXIT_OK ? operate_run(o, SQL_PROMOTE, 1, &retry, NULL) : code;
}

static int change_batch(struct operate *o, const struct operate_choice *choice, struct batch *b,
                        const char *reason, PGresult **ret_res)
{
    char last[24] = "0";
    int code = operate_begin(o);

    if (code == EXIT_OK)
        code = find_and_lock(o, choice, b, last);
    if (code == EXIT_OK && !b->is_empty)
        code = change_locked(o, choice, b, reason, ret_res);
    code = operate_end(o, code);
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

    c.states &= OPERATE_RETRYING | OPERATE_DEAD | (reason != NULL ? OPERATE_PAUSED : 0);
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
