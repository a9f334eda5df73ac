/* held.c - what concerns outbox.held: holding rows, marks of held rows, reading what is due, the
 * sweep. See source.h; the statements are in held_sql.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/crash_point.h"
#include "relay/log.h"
#include "relay/source/inside.h"
#include "relay/source/page.h"

/* What one sweep looks at. */
#define SWEEP_ROWS 5000
#define SWEEP_GROUPS 500

void held_deinit(struct source *s)
{
    struct held *h = &s->held;

    hold_arrays_deinit(&h->arrays);
    for (int i = 0; i < N_SIDES; i++)
        touched_deinit(&h->touched[i]);
    free(h->freed);
    free(h->keys);
    free(h->first_cursor.bytes);
    PQclear(h->keys_in);
}

const char *held_some_ids(const PGresult *res, int from, int col, char *to, size_t size)
{
    size_t at = 0;

    to[0] = '\0';
    for (int i = from; i < PQntuples(res) && at < size - 24; i++)
        if (!PQgetisnull(res, i, col))
            at += (size_t)snprintf(to + at, size - at, "%s%lld", at > 0 ? " " : "",
                                   (long long)wire_i64(PQgetvalue(res, i, col)));
    return to;
}

/* -- marking and holding -------------------------------------------------------------------- */

/* The parameters of outbox_settle. A fact needs no epoch. */
struct settle {
    char epoch[8], skip[1];
    const char *values[5];
    int lengths[5];
};

static struct conn_statement settle(const struct source *s, const struct touched *t, bool fenced,
                                    struct settle *p)
{
    p->skip[0] = s->cfg.skip_poison;
    p->values[0] = fenced ? net64(s->epoch, p->epoch) : NULL;
    p->values[1] = t->values[0];
    p->values[2] = t->values[1];
    p->values[3] = p->skip;
    p->values[4] = t->values[2];
    p->lengths[0] = 8;
    p->lengths[1] = t->lengths[0];
    p->lengths[2] = t->lengths[1];
    p->lengths[3] = 1;
    p->lengths[4] = t->lengths[2];
    return (struct conn_statement){ "outbox_settle", 5, p->values, p->lengths };
}

void held_mark(struct source *s, uint64_t now_ms)
{
    const struct touched *t = &s->held.touched[MARK_SIDE];
    struct settle p;
    const struct conn_statement statement[] = {
        mark_statement(s),
        { "outbox_unhold", 2, t->values, t->lengths },
        settle(s, t, false, &p),
    };

    source_request_transaction(s, now_ms, REQUEST_MARK, statement, 3);
}

/* The freed ids of outbox_settle, in an event. Out of memory: none are told, so their keys stay held in
 * the caller's mind, and their next row comes back through outbox.held. */
static void push_settled(struct source *s, enum source_event_type type, const PGresult *res)
{
    struct held *h = &s->held;
    uint32_t n = PQntuples(res) > 1 ? (uint32_t)PQntuples(res) - 1 : 0;

    if (n > h->freed_cap) {
        int64_t *freed = realloc(h->freed, n * sizeof *freed);
        if (freed == NULL) {
            n = 0;
        } else {
            h->freed = freed;
            h->freed_cap = n;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        h->freed[i] = wire_i64(PQgetvalue(res, (int)i + 1, 1));
    source_push(s, (struct source_event){ .type = type, .freed = h->freed, .n_freed = n });
}

void held_on_marked(struct source *s, const PGresult *res)
{
    push_settled(s, SOURCE_MARKED, res);
}

/* Rows that leave the group of their key, a dead one if these are skipped, which the statement knows: what waits
 * behind them may be first now. Only a dead one can free its key in the caller's eyes; with the others their topic
 * or their time is in the way. */
static int add_leaving(struct touched *t, const struct source_hold *h)
{
    if (h->row->key_unreadable)
        return 0; /* its group is not known */
    if (h->state == HOLD_DEAD)
        return touched_add(t, h->row->id, h->row->bucket, true);
    if ((h->state == HOLD_PAUSED || h->state == HOLD_SCHEDULED) && h->row->held_as == HELD_KEY)
        return touched_add(t, h->row->id, h->row->bucket, false);
    return 0;
}

void source_hold(struct source *s, uint64_t now_ms, const struct source_hold *holds, uint32_t n)
{
    struct held *h = &s->held;
    struct touched *t = &h->touched[MARK_SIDE];
    char epoch[8], skip[1] = { s->cfg.skip_poison };
    const char *values[2 + HOLD_COLUMNS] = { net64(s->epoch, epoch), skip };
    int lengths[2 + HOLD_COLUMNS] = { 8, 1 };
    struct settle p;
    int rc = hold_arrays_encode(&h->arrays, holds, n);

    t->n = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = add_leaving(t, &holds[i]);
    if (rc < 0 || touched_encode(t) < 0) {
        source_push(s, (struct source_event){ .type = SOURCE_HOLD_FAILED });
        return;
    }
    memcpy(values + 2, h->arrays.values, sizeof h->arrays.values);
    memcpy(lengths + 2, h->arrays.lengths, sizeof h->arrays.lengths);
    const struct conn_statement statement[] = {
        { "outbox_hold", 2 + HOLD_COLUMNS, values, lengths },
        settle(s, t, true, &p),
    };
    CRASH_POINT("source.before_hold");
    source_request_transaction(s, now_ms, REQUEST_HOLD, statement, 2);
    CRASH_POINT("source.hold_sent");
}

/* The first statement has locked the row of the lease if it was ours, so the second one's word holds. */
void held_on_hold(struct source *s, const PGresult *res)
{
    if (PQntuples(res) > 0 && result_true(res, 0, 0)) {
        push_settled(s, SOURCE_HELD, res);
        return;
    }
    lease_gone(s);
    source_push(s, (struct source_event){ .type = SOURCE_HOLD_FAILED });
}

/* -- reading -------------------------------------------------------------------------------- */

void held_send_read(struct source *s, uint64_t now_ms, bool first)
{
    static const char *const statement[2][2] = { { "outbox_read_due", "outbox_first_due" },
                                                 { "outbox_read_topic", "outbox_first_topic" } };
    const struct read_request *r = &s->asked;
    bool topic = s->reading == READING_TOPIC;
    char skip[1] = { s->cfg.skip_poison }, rows[8], bytes[8];
    const char *const values[] = { topic ? r->topic : skip, net64(s->read_max, rows),
                                   net64(r->max_bytes < INT64_MAX ? (int64_t)r->max_bytes : INT64_MAX,
                                         bytes) };
    const int lengths[] = { topic ? (int)strlen(r->topic) : 1, 8, 8 };

    s->conn[READ_SIDE].timeout_ms = s->cfg.statement_timeout_ms;
    if (conn_send_prepared(&s->conn[READ_SIDE], now_ms, statement[topic][first], 3, values, lengths) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[READ_SIDE]));
}

void source_read_due(struct source *s, uint64_t now_ms, uint32_t max_rows, uint64_t max_bytes)
{
    s->reading = READING_DUE;
    s->asked = (struct read_request){ .max_rows = max_rows, .max_bytes = max_bytes };
    source_send_read(s, now_ms, false);
}

void source_read_topic(struct source *s, uint64_t now_ms, const char *topic, uint32_t max_rows,
                       uint64_t max_bytes)
{
    s->reading = READING_TOPIC;
    s->asked = (struct read_request){ .max_rows = max_rows, .max_bytes = max_bytes };
    snprintf(s->asked.topic, sizeof s->asked.topic, "%s", topic);
    source_send_read(s, now_ms, false);
}

/* Rows that should not be in held, and whatever waited behind them. */
static int send_clean(struct source *s, uint64_t now_ms, enum side side)
{
    struct touched *t = &s->held.touched[side];
    struct settle p;

    if (touched_encode(t) < 0)
        return -1;
    const struct conn_statement statement[] = {
        { "outbox_clean", 1, t->values, t->lengths },
        settle(s, t, false, &p),
    };
    return conn_send_transaction(&s->conn[side], now_ms, statement, 2);
}

static void push_held_page(struct source *s)
{
    const struct held *h = &s->held;
    bool due = s->reading == READING_DUE;

    source_push(s, (struct source_event){
                       .type = due ? SOURCE_DUE_PAGE : SOURCE_TOPIC_PAGE,
                       .rows = s->rows,
                       .n_rows = h->read_rows,
                       .full = h->read_full,
                       .next_due_ms = !due ? UINT64_MAX : h->read_full ? 0 : h->next_due_ms,
                   });
}

static bool is_cut(const PGresult *res)
{
    for (int i = 1; i < PQntuples(res); i++)
        if (page_is_cut(res, i))
            return true;
    return false;
}

void held_drop_page(struct source *s)
{
    if (s->held.cleaning)
        source_free_rows(s, s->held.read_rows);
    s->held.cleaning = false;
}

void held_on_read(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct held *h = &s->held;
    struct touched *stale = &h->touched[READ_SIDE];

    if (h->cleaning) {
        h->cleaning = false;
        push_held_page(s);
        return;
    }
    stale->n = 0;
    int n = source_decode(s, res, PQntuples(res) - 1, stale);
    if (n < 0) {
        isolate_failed(s, now_ms);
        return;
    }
    isolate_whole(s);
    held_take_page(s, now_ms, (uint32_t)n,
                   (uint32_t)PQntuples(res) - 1 >= s->read_max || is_cut(res), page_next_due_ms(res));
}

void held_take_page(struct source *s, uint64_t now_ms, uint32_t n, bool full, uint64_t next_due_ms)
{
    struct held *h = &s->held;
    const struct touched *stale = &h->touched[READ_SIDE];

    h->read_rows = n;
    h->read_full = full;
    h->next_due_ms = next_due_ms;
    if (stale->n == 0) {
        push_held_page(s);
        return;
    }
    log_debug("source", "held rows that are sent, or gone, are cleaned away", "rows",
              log_i64(stale->n));
    h->cleaning = true;
    if (send_clean(s, now_ms, READ_SIDE) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[READ_SIDE]));
}

/* -- the sweep ------------------------------------------------------------------------------ */

static bool same_snapshot(const struct snapshot *a, const struct snapshot *b)
{
    return a->bytes != NULL && a->len == b->len && memcmp(a->bytes, b->bytes, (size_t)a->len) == 0;
}

/* The cursor that was found may be of another cluster, and says nothing of what came with it. */
void held_saving(struct source *s, const struct cursor *c)
{
    s->held.saving_own = s->acquired && !s->catching_up && !same_snapshot(&s->held.first_cursor, &c->snap);
}

void held_saved(struct source *s)
{
    s->held.sweep_ready = s->held.sweep_ready || s->held.saving_own;
}

void source_sweep(struct source *s, uint64_t now_ms)
{
    char epoch[8], pos[8], n[8];
    const char *const values[] = { net64(s->epoch, epoch), net64(s->held.swept, pos),
                                   net64(SWEEP_ROWS, n) };
    const int lengths[] = { 8, 8, 8 };

    if (s->held.sweep_ready)
        source_request(s, now_ms, REQUEST_SWEEP, "outbox_sweep", 3, values, lengths);
    else
        source_push(s, (struct source_event){ .type = SOURCE_SWEPT });
}

void held_on_sweep(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct held *h = &s->held;
    char skip[1] = { s->cfg.skip_poison }, n[8], ids[128];
    const char *const values[] = { skip, h->healed.topic, h->healed.digest, net64(SWEEP_GROUPS, n) };
    const int lengths[] = { 1, (int)strlen(h->healed.topic), h->healed.digest_len, 8 };

    if (PQntuples(res) == 0 || !result_true(res, 0, 0)) {
        lease_gone(s);
        source_request_failed(s, REQUEST_SWEEP, NULL);
        return;
    }
    bool end = PQgetisnull(res, 0, 1) || wire_i64(PQgetvalue(res, 0, 2)) < SWEEP_ROWS;
    h->swept = end ? 0 : wire_i64(PQgetvalue(res, 0, 1));
    h->n_found = (uint32_t)PQntuples(res) - 1;
    if (h->n_found > 0)
        log_error("source", "rows behind the cursor were neither sent nor held; they go now", "rows",
                  log_i64(h->n_found), "ids", held_some_ids(res, 1, 3, ids, sizeof ids), "remedy",
                  "this is a defect of the relay, or marks were deleted; please report it");
    source_request(s, now_ms, REQUEST_HEAL, "outbox_heal", 4, values, lengths);
}

void held_on_heal(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct held *h = &s->held;
    struct touched *t = &h->touched[MARK_SIDE];
    int n = PQntuples(res);
    char ids[128];

    if (n == 0)
        h->healed = (struct place){ .digest_len = 0 }; /* from the first one again */
    else
        held_place(&h->healed, res, n - 1, 0, 1);
    t->n = 0;
    for (int i = 0; i < n; i++)
        if (!PQgetisnull(res, i, 2) &&
            touched_add(t, wire_i64(PQgetvalue(res, i, 2)), wire_i16(PQgetvalue(res, i, 3)), false) < 0) {
            source_request_failed(s, REQUEST_HEAL, NULL);
            return;
        }
    if (t->n == 0) {
        held_on_cleaned(s);
        return;
    }
    log_warn("source", "held keys stood still; their first rows are due now", "keys", log_i64(t->n),
             "ids", held_some_ids(res, 0, 2, ids, sizeof ids));
    s->request = REQUEST_CLEAN;
    if (send_clean(s, now_ms, MARK_SIDE) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[MARK_SIDE]));
}

void held_on_cleaned(struct source *s)
{
    source_push(s, (struct source_event){ .type = SOURCE_SWEPT, .n_found = s->held.n_found });
}
