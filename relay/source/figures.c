/* figures.c - what waits, what is held and what blocks, asked on the aside. See source.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/source/buckets.h"
#include "relay/source/inside.h"

enum kind { KIND_SUMMARY, KIND_TOPIC, KIND_STATE, KIND_HELD, KIND_BLOCKER, KIND_SIZE };
enum column { COL_KIND, COL_A, COL_B, COL_C, COL_D, COL_E, COL_N1, COL_N2, COL_N3, COL_F1, COL_F2, N_COLUMNS };

static const char *const state_names[FIGURES_STATES] = { "retrying", "blocked", "paused", "scheduled", "dead",
                                                         "discarded" };

/* One row of the answer. */
struct answer {
    const PGresult *res;
    int row;
};

static void text_of(const struct answer *a, int col, char *to, size_t to_size)
{
    snprintf(to, to_size, "%s", PQgetvalue(a->res, a->row, col)); /* NULL comes as "" */
}

static int64_t number_of(const struct answer *a, int col)
{
    return PQgetisnull(a->res, a->row, col) ? 0 : wire_i64(PQgetvalue(a->res, a->row, col));
}

static double seconds_of(const struct answer *a, int col, double unknown)
{
    int64_t bits;
    double d;

    if (PQgetisnull(a->res, a->row, col))
        return unknown;
    bits = wire_i64(PQgetvalue(a->res, a->row, col));
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* To the larger one; a clock that was set back makes no negative age. */
static void grow(double *oldest_s, double age_s)
{
    if (age_s > *oldest_s)
        *oldest_s = age_s > 0 ? age_s : 0;
}

/* Those that have no room are added up in one without a name. */
static void add_topic(const struct answer *a, struct figures *f)
{
    bool room = f->n_topics < FIGURES_TOPICS;
    struct figures_topic *t = &f->topic[room ? f->n_topics : FIGURES_TOPICS];

    if (room)
        text_of(a, COL_A, t->name, sizeof t->name);
    if (room || f->n_topics == FIGURES_TOPICS) {
        f->n_topics++;
        t->oldest_s = t->behind_s = -1;
    }
    t->pending += number_of(a, COL_N1);
    t->held += number_of(a, COL_N2);
    t->dead += number_of(a, COL_N3);
    grow(&t->oldest_s, seconds_of(a, COL_F1, -1));
    grow(&t->behind_s, seconds_of(a, COL_F2, -1));
    f->pending += number_of(a, COL_N1);
}

static void add_state(const struct answer *a, struct figures *f)
{
    for (int i = 0; i < FIGURES_STATES; i++)
        if (strcmp(state_names[i], PQgetvalue(a->res, a->row, COL_A)) == 0)
            f->held[i] = number_of(a, COL_N1);
}

static void add_held(const struct answer *a, struct figures *f)
{
    if (f->n_held == FIGURES_HELD)
        return;
    struct figures_held *h = &f->row[f->n_held++];
    text_of(a, COL_A, h->topic, sizeof h->topic);
    text_of(a, COL_B, h->state, sizeof h->state);
    text_of(a, COL_C, h->code, sizeof h->code);
    text_of(a, COL_D, h->error, sizeof h->error);
    text_of(a, COL_E, h->event_id, sizeof h->event_id);
    h->id = number_of(a, COL_N1);
    h->attempts = number_of(a, COL_N2);
    h->since_s = seconds_of(a, COL_F1, -1);
    h->next_s = seconds_of(a, COL_F2, -1);
}

static void add_blocker(const struct answer *a, struct figures *f)
{
    if (f->n_blockers == FIGURES_BLOCKERS)
        return;
    struct figures_blocker *b = &f->blocker[f->n_blockers++];
    text_of(a, COL_A, b->application, sizeof b->application);
    text_of(a, COL_B, b->user, sizeof b->user);
    b->pid = number_of(a, COL_N1);
    b->holds_rows = number_of(a, COL_N2) != 0;
    b->holds_truncate = number_of(a, COL_N3) != 0;
    b->age_s = seconds_of(a, COL_F1, -1);
}

/* Buckets by their number, then "kept" and "held". */
static void add_size(const struct answer *a, struct figures *f)
{
    const char *part = PQgetvalue(a->res, a->row, COL_A);
    int i = part[0] >= '0' && part[0] <= '7' ? part[0] - '0' : strcmp(part, "kept") == 0 ? SOURCE_RING : SOURCE_RING + 1;

    f->bytes[i] = number_of(a, COL_N1);
}

/* What lies behind the events that were looked at, as their ids tell, is taken to be of the same topics. */
static void add_rest(struct figures *f, int64_t rest)
{
    double factor = f->pending > 0 ? (double)(f->pending + rest) / (double)f->pending : 1;

    for (uint32_t i = 0; i < f->n_topics; i++)
        f->topic[i].pending = (int64_t)((double)f->topic[i].pending * factor);
    f->pending += rest;
    f->estimated = rest > 0;
}

static void decode(const PGresult *res, struct figures *f)
{
    int64_t rest = 0, n_blockers = 0;

    f->oldest_s = -1;
    for (struct answer a = { res, 0 }; a.row < PQntuples(res); a.row++) {
        switch ((enum kind)wire_i16(PQgetvalue(res, a.row, COL_KIND))) {
        case KIND_SUMMARY:
            rest = number_of(&a, COL_N1);
            n_blockers = number_of(&a, COL_N2);
            f->oldest_s = seconds_of(&a, COL_F1, -1);
            break;
        case KIND_TOPIC:
            add_topic(&a, f);
            break;
        case KIND_STATE:
            add_state(&a, f);
            break;
        case KIND_HELD:
            add_held(&a, f);
            break;
        case KIND_BLOCKER:
            add_blocker(&a, f);
            break;
        case KIND_SIZE:
            add_size(&a, f);
            break;
        }
    }
    f->n_more_blockers = n_blockers > f->n_blockers ? (uint32_t)n_blockers - f->n_blockers : 0;
    add_rest(f, rest);
}

void source_figures(struct source *s, uint64_t now_ms)
{
    aside_send(s, now_ms, ASIDE_FIGURES, "outbox_figures", 0, NULL, NULL);
}

void figures_on_answer(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_FIGURES };

    if (s->figures == NULL)
        s->figures = malloc(sizeof *s->figures);
    if (res != NULL && s->figures != NULL && PQnfields(res) == N_COLUMNS) {
        memset(s->figures, 0, sizeof *s->figures);
        decode(res, s->figures);
        e.figures = s->figures;
    }
    source_push(s, e);
}
