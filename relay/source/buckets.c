/* buckets.c - see buckets.h and source.h; the statements are in buckets_sql.h. */
#include "relay/source/buckets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/crash_point.h"
#include "relay/log.h"
#include "relay/source/array.h"
#include "relay/source/inside.h"

/* Events per piece of a walk, kept ones per tidying: a few dozen milliseconds, in which nobody else has the
 * aside. */
#define WALK_ROWS 20000
#define TIDY_ROWS 5000
/* More than empty_bucket would move. */
#define MAX_HELD 10000

void buckets_forget(struct buckets *b)
{
    free(b->walk.begun.bytes);
    b->walk.begun = (struct snapshot){ NULL, 0 };
    b->walk.last = b->walk.n_rows = 0;
    b->walk.n_held = 0;
    b->tidied = 0;
}

void buckets_deinit(struct buckets *b)
{
    buckets_forget(b);
    free(b->walk.held);
    free(b->walk.array);
}

/* -- how old ---------------------------------------------------------------------------------- */

void source_look(struct source *s, uint64_t now_ms)
{
    aside_send(s, now_ms, ASIDE_LOOK, "outbox_look", 0, NULL, NULL);
}

void buckets_on_look(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_LOOKED, .failed = res == NULL };

    for (int i = 0; i < SOURCE_RING; i++)
        e.bucket_age_ms[i] = -1;
    for (int i = 0; res != NULL && i < PQntuples(res); i++)
        e.bucket_age_ms[wire_i16(PQgetvalue(res, i, 0)) & (SOURCE_RING - 1)] =
            wire_i64(PQgetvalue(res, i, 1));
    if (res != NULL && PQntuples(res) > 0 && !PQgetisnull(res, 0, 2))
        e.bucket_period_s = wire_i64(PQgetvalue(res, 0, 2));
    source_push(s, e);
}

/* -- is all resolved -------------------------------------------------------------------------- */

void source_walk(struct source *s, uint64_t now_ms, int16_t bucket)
{
    struct walk *w = &s->buckets.walk;
    char statement[20], last[8], n[8];
    const char *const values[] = { last, net64(WALK_ROWS, n) };
    const int lengths[] = { 8, 8 };

    if (w->bucket != bucket)
        buckets_forget(&s->buckets);
    w->bucket = bucket;
    (void)net64(w->last, last);
    snprintf(statement, sizeof statement, "outbox_walk_%d", bucket & (SOURCE_RING - 1));
    aside_send(s, now_ms, ASIDE_WALK, statement, 2, values, lengths);
}

static int note_held(struct walk *w, const PGresult *res)
{
    uint32_t n = (uint32_t)PQntuples(res) - 1;

    if (w->n_held + n > w->held_cap) {
        int64_t *held = realloc(w->held, (w->n_held + n) * sizeof *held);
        if (held == NULL)
            return -1;
        w->held = held;
        w->held_cap = w->n_held + n;
    }
    for (uint32_t i = 1; i <= n; i++)
        w->held[w->n_held++] = wire_i64(PQgetvalue(res, (int)i, 4));
    return 0;
}

/* A piece with an event that is not resolved is walked again the next time: nothing of it is noted. */
void buckets_on_walk(struct source *s, const PGresult *res)
{
    struct walk *w = &s->buckets.walk;
    struct source_event e = { .type = SOURCE_WALKED, .failed = true, .bucket = w->bucket };

    if (res == NULL || PQntuples(res) == 0 || PQgetisnull(res, 0, 0)) {
        source_push(s, e);
        return;
    }
    int64_t n = wire_i64(PQgetvalue(res, 0, 2));
    if (w->begun.bytes == NULL &&
        snapshot_set(&w->begun, PQgetvalue(res, 0, 0), PQgetlength(res, 0, 0)) < 0) {
        log_warn("source", "out of memory; a bucket is not looked through");
    } else if (!PQgetisnull(res, 0, 3)) {
        e.failed = false;
        e.walk = WALK_UNRESOLVED;
        e.id = wire_i64(PQgetvalue(res, 0, 3));
    } else if (w->n_held + (uint32_t)PQntuples(res) - 1 > MAX_HELD) {
        e.failed = false;
        e.walk = WALK_CROWDED;
        buckets_forget(&s->buckets); /* it will be another one when they have left */
    } else if (note_held(w, res) < 0) {
        log_warn("source", "out of memory; a bucket is not looked through");
    } else {
        e.failed = false;
        e.walk = n < WALK_ROWS ? WALK_DONE : WALK_MORE;
        w->n_rows += n;
        if (n > 0)
            w->last = wire_i64(PQgetvalue(res, 0, 1));
    }
    source_push(s, e);
}

/* -- empty it --------------------------------------------------------------------------------- */

static int encode_held(struct walk *w)
{
    char *array = realloc(w->array, ARRAY_HEAD_BYTES + 12 * (size_t)w->n_held);

    if (array == NULL)
        return -1;
    w->array = array;
    char *p = array_put_head(array, OID_INT8, w->n_held, false);
    for (uint32_t i = 0; i < w->n_held; i++)
        p = array_put64(p, w->held[i]);
    return (int)(p - array);
}

void source_empty(struct source *s, uint64_t now_ms, uint64_t retention_ms)
{
    struct walk *w = &s->buckets.walk;
    int array_len = encode_held(w);
    char bucket[2], epoch[8], retention[8];
    const char *const values[] = { bucket, net64(s->epoch, epoch),
                                   net64((int64_t)retention_ms, retention), w->begun.bytes, w->array };
    const int lengths[] = { 2, 8, 8, w->begun.len, array_len };

    (void)wire_put16(bucket, w->bucket);
    if (array_len < 0) {
        log_warn("source", "out of memory; a bucket is not emptied");
        buckets_on_empty(s, NULL);
        return;
    }
    CRASH_POINT("source.before_empty");
    aside_send(s, now_ms, ASIDE_EMPTY, "outbox_empty", 5, values, lengths);
    CRASH_POINT("source.empty_sent");
}

static enum source_emptying outcome_of(const PGresult *res)
{
    static const char *const name[N_EMPTYINGS] = {
        [EMPTYING_DONE] = "emptied",       [EMPTYING_LOCKED] = "locked",
        [EMPTYING_CHANGED] = "changed",    [EMPTYING_CROWDED] = "crowded",
        [EMPTYING_NOT_LEADING] = "not leading",
    };
    const char *outcome = PQgetvalue(res, 0, 0);

    for (int i = 0; i < N_EMPTYINGS; i++)
        if (strcmp(outcome, name[i]) == 0)
            return (enum source_emptying)i;
    return EMPTYING_CHANGED; /* whatever it means: nothing was done */
}

static int64_t number(const PGresult *res, int col, int64_t when_null)
{
    return PQgetisnull(res, 0, col) ? when_null : wire_i64(PQgetvalue(res, 0, col));
}

/* Whatever came of it, the next try walks anew. The statement knows what came since the walk by its transaction id, and
 * rows that somebody copies in bear those of long ago: the longer the walk is kept, the more of them it may miss. A lock
 * that is there for hours costs six walks in the first of them, and one an hour from then on (put_off in janitor.c). */
void buckets_on_empty(struct source *s, const PGresult *res)
{
    struct buckets *b = &s->buckets;
    struct source_event e = { .type = SOURCE_EMPTIED, .failed = true, .bucket = b->walk.bucket };

    CRASH_POINT("source.emptied");
    if (res != NULL && PQntuples(res) == 1) {
        bool prepared = !PQgetisnull(res, 0, 4);
        snprintf(b->holder, sizeof b->holder, "%s", PQgetvalue(res, 0, prepared ? 4 : 5));
        e.failed = false;
        e.emptying = outcome_of(res);
        e.n_events = b->walk.n_rows;
        e.n_moved = number(res, 1, 0);
        e.n_bytes = number(res, 2, 0);
        e.holder = (struct source_holder){
            .pid = PQgetisnull(res, 0, 3) ? 0 : wire_i32(PQgetvalue(res, 0, 3)),
            .prepared = prepared,
            .name = b->holder,
            .age_ms = number(res, 6, -1),
        };
    }
    buckets_forget(b);
    source_push(s, e);
}

/* -- what was kept ---------------------------------------------------------------------------- */

void source_tidy(struct source *s, uint64_t now_ms, uint64_t retention_ms)
{
    char epoch[8], retention[8], last[8], n[8];
    const char *const values[] = { net64(s->epoch, epoch), net64((int64_t)retention_ms, retention),
                                   net64(s->buckets.tidied, last), net64(TIDY_ROWS, n) };
    const int lengths[] = { 8, 8, 8, 8 };

    aside_send(s, now_ms, ASIDE_TIDY, "outbox_tidy", 4, values, lengths);
}

void buckets_on_tidy(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_TIDIED, .failed = res == NULL || PQntuples(res) != 1 };

    if (!e.failed) {
        bool end = PQgetisnull(res, 0, 1) || wire_i64(PQgetvalue(res, 0, 2)) < TIDY_ROWS;
        s->buckets.tidied = end ? 0 : wire_i64(PQgetvalue(res, 0, 1));
        e.full = !end;
        e.n_events = wire_i64(PQgetvalue(res, 0, 3));
    }
    source_push(s, e);
}
