/* operate_inbox.c - see operate_inbox.h. */
#include "relay/source/operate_inbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/source/operate_inbox_sql.h"
#include "relay/source/operate_inside.h"
#include "relay/source/remedies.h"

#define BATCH 1000 /* rows changed in one transaction */

/* -- parameters and results ------------------------------------------------------------------- */

/* Of something that lies in the past, though the clock may be a little behind it. */
static double age(const PGresult *res, int row, int column)
{
    double s = operate_seconds(res, row, column);

    return s < 0 && !PQgetisnull(res, row, column) ? 0 : s;
}

static void states_to_text(unsigned states, char *to, size_t size)
{
    snprintf(to, size, "{%s%s%s}", states & OPERATE_LETTER_DEAD ? "dead," : "",
             states & OPERATE_LETTER_RETRY ? "retry," : "",
             states & OPERATE_LETTER_DISCARDED ? "discarded," : "");
    if (strlen(to) > 2)
        memcpy(to + strlen(to) - 2, "}", 2); /* the last comma */
}

/* An array of ids as PostgreSQL reads it, to be freed; NULL when out of memory. */
static char *ids_to_text(const int64_t *ids, size_t n)
{
    char *text = malloc(n * 21 + 3);
    size_t len = 1;

    if (text == NULL)
        return NULL;
    text[0] = '{';
    for (size_t i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, "%s%" PRId64, i > 0 ? "," : "", ids[i]);
    strcpy(text + len, "}");
    return text;
}

/* $1 to $6; *ret_ids is to be freed. */
static int choose(struct operate *o, struct params *p, const struct operate_letters *c, int64_t limit,
                  char **ret_ids)
{
    *ret_ids = c->ids != NULL ? ids_to_text(c->ids, c->n_ids) : NULL;
    *p = (struct params){ .values = { p->states, *ret_ids, c->consumer, c->topic, p->upto, p->limit } };
    if (c->ids != NULL && *ret_ids == NULL)
        return operate_fail(o, EXIT_INTERNAL, "out of memory");
    states_to_text(c->states, p->states, sizeof p->states);
    snprintf(p->upto, sizeof p->upto, "%" PRId64, c->upto);
    snprintf(p->limit, sizeof p->limit, "%" PRId64, limit);
    return EXIT_OK;
}

static void each_letter(const PGresult *res, operate_on_letter *on_letter, void *arg)
{
    for (int row = 0; row < PQntuples(res); row++) {
        const struct operate_letter letter = {
            .id = operate_number(res, row, 0),
            .consumer = PQgetvalue(res, row, 1),
            .topic = PQgetvalue(res, row, 2),
            .partition = (int32_t)operate_number(res, row, 3),
            .offset = operate_number(res, row, 4),
            .event_id = PQgetvalue(res, row, 5),
            .type = operate_text(res, row, 6),
            .state = PQgetvalue(res, row, 7),
            .reason = PQgetvalue(res, row, 8),
            .attempts = operate_number(res, row, 9),
            .error_code = operate_text(res, row, 10),
            .error = operate_text(res, row, 11),
            .died_at = PQgetvalue(res, row, 12),
            .discard_reason = operate_text(res, row, 13),
            .was = operate_text(res, row, 14),
        };
        on_letter(arg, &letter);
    }
}

/* -- looking ---------------------------------------------------------------------------------- */

static int look_at_consumers(struct operate *o,
                             void (*on_consumer)(void *arg, const struct operate_consumer *consumer),
                             void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_CONSUMERS, 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_consumer c = {
            .name = PQgetvalue(res, row, 0),
            .dedupe_keep = PQgetvalue(res, row, 1),
            .partitions = operate_number(res, row, 2),
            .owned = operate_number(res, row, 3),
            .owners = operate_number(res, row, 4),
            .moved_s = age(res, row, 5),
            .dead = operate_number(res, row, 6),
            .retry = operate_number(res, row, 7),
            .oldest_dead_s = age(res, row, 8),
            .linked = strcmp(PQgetvalue(res, row, 9), "t") == 0,
            .applied_s = age(res, row, 10),
            .dead_since = operate_number(res, row, 11),
            .dead_since_s = age(res, row, 12),
            .dead_code = operate_text(res, row, 13),
            .dead_error = operate_text(res, row, 14),
            .seen_s = age(res, row, 15),
        };
        on_consumer(arg, &c);
    }
    PQclear(res);
    return code;
}

int operate_inbox_server(struct operate *o, struct operate_inbox_server *ret)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, "select pg_is_in_recovery()", 0, &none, &res);

    if (code == EXIT_OK)
        *ret = (struct operate_inbox_server){ operate_true(res, 0, 0), operate_has_many_servers(o) };
    PQclear(res);
    return code;
}

const char *operate_handler_remedy(const char *sqlstate)
{
    return remedy_of(sqlstate)->handler;
}

int operate_failing(struct operate *o, void (*on_failing)(void *arg, const struct operate_failing *failing), void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_FAILING, 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_failing f = {
            .consumer = PQgetvalue(res, row, 0),
            .n = operate_number(res, row, 1),
            .oldest_s = age(res, row, 2),
            .none_since = strcmp(PQgetvalue(res, row, 3), "t") == 0,
            .only_s = age(res, row, 4),
            .topic = PQgetvalue(res, row, 5),
            .partition = (int32_t)operate_number(res, row, 6),
            .offset = operate_number(res, row, 7),
            .event_id = PQgetvalue(res, row, 8),
            .attempts = operate_number(res, row, 9),
            .error_code = operate_text(res, row, 10),
            .error = operate_text(res, row, 11),
            .failed_s = age(res, row, 12),
            .waits = !PQgetisnull(res, row, 13),
            .next_s = operate_seconds(res, row, 13),
        };
        on_failing(arg, &f);
    }
    PQclear(res);
    return code;
}

int operate_positions(struct operate *o, operate_on_position *on_position, void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_POSITIONS, 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_position p = {
            .consumer = PQgetvalue(res, row, 0),
            .topic = PQgetvalue(res, row, 1),
            .partition = (int32_t)operate_number(res, row, 2),
            .next_offset = operate_number(res, row, 3),
            .owner = operate_text(res, row, 4),
            .moved_s = age(res, row, 5),
        };
        on_position(arg, &p);
    }
    PQclear(res);
    return code;
}

int operate_inbox_status(struct operate *o,
                         void (*on_consumer)(void *arg, const struct operate_consumer *consumer),
                         operate_on_position *on_position, void *arg)
{
    int code = look_at_consumers(o, on_consumer, arg);

    return code == EXIT_OK ? operate_positions(o, on_position, arg) : code;
}

int operate_consumer_names(struct operate *o, void (*on_name)(void *arg, const char *name), void *arg)
{
    const struct params none = { .limit = "" };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_CONSUMER_NAMES, 0, &none, &res);

    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++)
        on_name(arg, PQgetvalue(res, row, 0));
    PQclear(res);
    return code;
}

int operate_letters(struct operate *o, const struct operate_letters *choice, int64_t limit,
                    operate_on_letter *on_letter, void *arg)
{
    struct params p;
    PGresult *res = NULL;
    char *ids;
    int code = choose(o, &p, choice, limit, &ids);

    if (code == EXIT_OK)
        code = operate_look(o, SQL_LETTERS, 6, &p, &res);
    if (code == EXIT_OK)
        each_letter(res, on_letter, arg);
    PQclear(res);
    free(ids);
    return code;
}

int operate_letter_totals(struct operate *o, const struct operate_letters *choice,
                          void (*on_total)(void *arg, const struct operate_letter_total *total), void *arg)
{
    struct params p;
    PGresult *res = NULL;
    char *ids;
    int code = choose(o, &p, choice, 0, &ids);

    if (code == EXIT_OK)
        code = operate_look(o, SQL_LETTER_TOTALS, 5, &p, &res);
    for (int row = 0; code == EXIT_OK && row < PQntuples(res); row++) {
        const struct operate_letter_total t = { PQgetvalue(res, row, 0), PQgetvalue(res, row, 1),
                                                PQgetvalue(res, row, 2), operate_number(res, row, 3),
                                                operate_number(res, row, 4) };
        on_total(arg, &t);
    }
    PQclear(res);
    free(ids);
    return code;
}

/* -- changing --------------------------------------------------------------------------------- */

static int change_batch(struct operate *o, const struct operate_letters *choice, const struct params *p,
                        PGresult **ret_res)
{
    int code = operate_begin(o);

    if (code == EXIT_OK)
        code = operate_run(o, SQL_LETTERS_CHANGE, 8, p, ret_res);
    if (code == EXIT_OK && choice->ids != NULL && (size_t)PQntuples(*ret_res) != choice->n_ids)
        code = operate_fail(o, EXIT_NO_MATCH, "nothing was done: somebody has changed one of these dead letters "
                            "meanwhile; run the same command again");
    return operate_end(o, code);
}

int operate_change_letters(struct operate *o, const struct operate_letters *choice, const char *reason,
                           operate_on_letter *on_letter, void *arg)
{
    /* ids are one batch */
    int64_t limit = choice->ids != NULL ? (int64_t)choice->n_ids : BATCH;
    struct params p;
    char *ids;
    int code = choose(o, &p, choice, limit, &ids);
    bool more = code == EXIT_OK;

    p.values[6] = reason;
    p.values[7] = p.above;
    strcpy(p.above, "0");
    while (more) {
        PGresult *res = NULL;
        code = change_batch(o, choice, &p, &res);
        if (code == EXIT_OK)
            each_letter(res, on_letter, arg);
        int n = code == EXIT_OK ? PQntuples(res) : 0;
        if (n > 0)
            snprintf(p.above, sizeof p.above, "%s", PQgetvalue(res, n - 1, 0));
        more = choice->ids == NULL && n == BATCH;
        PQclear(res);
    }
    free(ids);
    return code;
}
