/* operate_status.c - see operate_status.h. */
#include "relay/source/operate_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/source/operate_inside.h"
#include "relay/source/operate_sql.h"
#include "relay/source/operate_status_sql.h"

#define COUNT_MS 5000 /* for counting all that waits */

int operate_look_at_lead(struct operate *o, void (*on_lead)(void *arg, const struct operate_lead *lead), void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_LEAD, 0, &none, &res);

    if (code != EXIT_OK)
        return code;
    double left_s = operate_seconds(res, 0, 1);
    const struct operate_lead lead = {
        .owner = operate_text(res, 0, 0),
        .left_s = left_s,
        .ended = !PQgetisnull(res, 0, 1) && left_s < 0,
        .renewed_s = operate_seconds(res, 0, 2),
        .epoch = operate_number(res, 0, 3),
        .rate = operate_seconds(res, 0, 4),
        .since_mark_s = operate_seconds(res, 0, 5),
        .oldest_s = operate_seconds(res, 0, 6),
        .is_standby = operate_true(res, 0, 7),
        .one_of_several = operate_has_many_servers(o),
        .refused = operate_number(res, 0, 8),
        .refused_code = operate_text(res, 0, 9),
        .leading_s = operate_seconds(res, 0, 10),
        .refused_id = operate_number(res, 0, 11),
        .is_read_only = operate_true(res, 0, 12),
        .twice_id = operate_number(res, 0, 13),
        .behind = operate_number(res, 0, 14),
    };
    on_lead(arg, &lead);
    PQclear(res);
    return EXIT_OK;
}

int operate_relays(struct operate *o, void (*on_relay)(void *arg, const struct operate_relay *relay), void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_RELAYS, 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_relay relay = {
            .leads = operate_true(res, row, 0),
            .from = operate_text(res, row, 1),
            .silent_s = operate_seconds(res, row, 2),
        };
        on_relay(arg, &relay);
    }
    PQclear(res);
    return code;
}

static int ask_backlog(struct operate *o, const struct params *p, PGresult **ret_res)
{
    uint64_t timeout_ms = o->opt.statement_timeout_ms;
    char sql[sizeof SQL_TIMEOUT + 24];
    int code = operate_begin(o);

    snprintf(sql, sizeof sql, SQL_TIMEOUT,
             (unsigned long long)(timeout_ms < COUNT_MS ? timeout_ms : COUNT_MS));
    if (code == EXIT_OK)
        code = operate_run_text(o, sql, NULL);
    if (code == EXIT_OK)
        code = operate_run(o, SQL_BACKLOG, 1, p, ret_res);
    code = operate_end(o, code);
    if (code == EXIT_UNAVAILABLE && strcmp(o->state, "57014") == 0)
        code = operate_look(o, SQL_BACKLOG_PART, 1, p, ret_res);
    return code;
}

static int look_at_topics(struct operate *o, const struct params *p,
                          const struct operate_status *status)
{
    PGresult *res = NULL;
    int code = ask_backlog(o, p, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_topic topic = {
            .topic = PQgetvalue(res, row, 0),
            .pending = operate_number(res, row, 1),
            .held = operate_number(res, row, 2),
            .dead = operate_number(res, row, 3),
            .oldest_s = operate_seconds(res, row, 4),
            .paused_code = operate_text(res, row, 5),
            .paused_why = operate_text(res, row, 6),
            .more = operate_true(res, row, 7),
        };
        status->on_topic(status->arg, &topic);
    }
    PQclear(res);
    return code;
}

int operate_blockers(struct operate *o, int64_t limit,
                     void (*on_blocker)(void *arg, const struct operate_blocker *blocker), void *arg)
{
    struct params p = { .values = { p.limit } };
    PGresult *res = NULL;

    snprintf(p.limit, sizeof p.limit, "%lld", (long long)limit);
    int code = operate_look(o, SQL_BLOCKERS, 1, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_blocker blocker = {
            .pid = operate_number(res, row, 0),
            .prepared = operate_text(res, row, 1),
            .username = operate_text(res, row, 2),
            .application = operate_text(res, row, 3),
            .age_s = operate_seconds(res, row, 4),
            .holds_rows = operate_true(res, row, 5),
            .holds_truncate = operate_true(res, row, 6),
            .leaves = PQgetvalue(res, row, 7),
            .age_mend = operate_text(res, row, 8),
            .holds_marks = operate_true(res, row, 9),
        };
        on_blocker(arg, &blocker);
    }
    PQclear(res);
    return code;
}

int operate_space(struct operate *o, uint64_t retention_ms,
                  void (*on_part)(void *arg, const struct operate_part *part), void *arg)
{
    struct params p = { .values = { p.limit } };
    PGresult *res = NULL;

    snprintf(p.limit, sizeof p.limit, "%llu", (unsigned long long)retention_ms);
    int code = operate_look(o, SQL_SPACE, 1, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_part part = {
            .name = PQgetvalue(res, row, 0),
            .bytes = operate_number(res, row, 1),
            .overdue_s = operate_seconds(res, row, 2),
            .unsent_id = operate_number(res, row, 3),
            .crowded = operate_true(res, row, 4),
            .locked = operate_true(res, row, 5),
            .holder = { .pid = operate_number(res, row, 6),
                        .prepared = operate_text(res, row, 7),
                        .application = operate_text(res, row, 8),
                        .age_s = operate_seconds(res, row, 9),
                        .holds_truncate = true },
        };
        on_part(arg, &part);
    }
    PQclear(res);
    return code;
}

int operate_status(struct operate *o, int64_t limit, const struct operate_status *status)
{
    struct params p = { .values = { p.limit } };
    int code = operate_look_at_lead(o, status->on_lead, status->arg);

    snprintf(p.limit, sizeof p.limit, "%lld", (long long)limit);
    if (code == EXIT_OK)
        code = look_at_topics(o, &p, status);
    if (code == EXIT_OK)
        code = operate_blockers(o, limit, status->on_blocker, status->arg);
    return code;
}
