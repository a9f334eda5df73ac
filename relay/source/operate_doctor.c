/* operate_doctor.c - see operate_doctor.h. */
#include "relay/source/operate_doctor.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/exit_codes.h"
#include "relay/source/operate_doctor_sql.h"
#include "relay/source/operate_inside.h"
#include "relay/source/operate_sql.h"

static const char *const statements[N_FACTS] = {
    [FACT_SERVER] = SQL_FACT_SERVER,
    [FACT_ROLE] = SQL_FACT_ROLE,
    [FACT_POOLER] = SQL_FACT_POOLER,
    [FACT_CLOCK] = SQL_FACT_CLOCK,
    [FACT_SETTING] = SQL_FACT_SETTING,
    [FACT_ASYNC_COMMIT] = SQL_FACT_ASYNC_COMMIT,
    [FACT_INSTALLED] = SQL_FACT_INSTALLED,
    [FACT_USAGE] = SQL_FACT_USAGE,
    [FACT_VERSION] = SQL_FACT_VERSION,
    [FACT_RIGHT] = SQL_FACT_RIGHT,
    [FACT_HIDDEN] = SQL_FACT_HIDDEN,
    [FACT_LEAF] = SQL_FACT_LEAF,
    [FACT_INDEX] = SQL_FACT_INDEX,
    [FACT_DEFAULT] = SQL_FACT_DEFAULT,
    [FACT_SEQUENCE] = SQL_FACT_SEQUENCE,
    [FACT_CLUSTER] = SQL_FACT_CLUSTER,
    [FACT_LEAD] = SQL_FACT_LEAD,
    [FACT_DEAD] = SQL_FACT_DEAD,
    [FACT_BLIND] = SQL_FACT_BLIND,
    [FACT_OLD] = SQL_FACT_OLD,
    [FACT_PREPARED] = SQL_FACT_PREPARED,
    [FACT_SLOT] = SQL_FACT_SLOT,
};

int operate_facts(struct operate *o, enum operate_fact_kind kind, operate_on_fact *on_fact, void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, statements[kind], 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_fact fact = { kind, PQgetvalue(res, row, 0), PQgetvalue(res, row, 1),
                                           strtod(PQgetvalue(res, row, 2), NULL),
                                           PQnfields(res) > 3 ? PQgetvalue(res, row, 3) : "" };
        /* A pooler hands out process ids of its own. */
        if (kind != FACT_POOLER || (int)fact.number != PQbackendPID(o->pg))
            on_fact(arg, &fact);
    }
    PQclear(res);
    return code;
}

int operate_needs(struct operate *o, int64_t limit, operate_on_need *on_need, void *arg)
{
    struct params p = { .values = { p.limit } };
    PGresult *res = NULL;

    snprintf(p.limit, sizeof p.limit, "%lld", (long long)limit);
    int code = operate_look(o, SQL_NEEDS, 1, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_need need = {
            .topic = PQgetvalue(res, row, 0),
            .waiting = operate_number(res, row, 1),
            .largest_bytes = operate_number(res, row, 2),
            .largest_id = operate_number(res, row, 3),
            .oldest_s = PQgetisnull(res, row, 4) ? -1 : strtod(PQgetvalue(res, row, 4), NULL),
            .error_code = operate_text(res, row, 5),
            .error = operate_text(res, row, 6),
            .largest_is_dead = operate_true(res, row, 7),
        };
        on_need(arg, &need);
    }
    PQclear(res);
    return code;
}
