/* read.c - a page of the outbox: asked for, decoded, the cursor moved over it. What is held is read in held.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/crash_point.h"
#include "relay/source/inside.h"
#include "relay/source/page.h"

struct statement {
    const char *name, *first;
    int n_params;
};

/* Where the rows of the last page were small enough for every row of this one to be as large as the
 * largest of them, no sum of their sizes is needed. */
static const struct statement *choose_statement(struct source *s, bool late)
{
    static const struct statement small = { "outbox_read_small", "outbox_first_read", 5 },
        other[2][2] = { { { "outbox_read", "outbox_first_read", 5 },
                          { "outbox_read_late", "outbox_first_read_late", 6 } },
                        { { "outbox_catch_up", "outbox_first_catch_up", 5 },
                          { "outbox_catch_up_late", "outbox_first_catch_up_late", 7 } } };

    s->read_small = !late && !s->catching_up && s->largest_row <= s->asked.max_bytes / s->read_max;
    return s->read_small ? &small : &other[s->catching_up][late];
}

static void send_page_read(struct source *s, uint64_t now_ms, bool first)
{
    const struct cursors *cur = &s->cursors;
    bool late = cur->late_until.bytes != NULL;
    int64_t above = late ? cur->late_from : s->first_read ? 0 : s->floor;
    char pos[8], above_id[8], rows[8], bytes[8], floor_id[8];
    const struct statement *st = choose_statement(s, late);
    uint64_t most = s->asked.max_bytes / (s->read_small ? s->read_max : 1);
    const char *const values[] = { net64(cur->now.pos, pos), cur->now.snap.bytes,
                                   net64(above, above_id), net64(s->read_max, rows),
                                   net64((int64_t)most, bytes), cur->late_until.bytes,
                                   net64(s->floor, floor_id) };
    const int lengths[] = { 8, cur->now.snap.len, 8, 8, 8, cur->late_until.len, 8 };

    /* The first read behind a long absence looks at every row appended since. */
    s->conn[READ_SIDE].timeout_ms = s->cfg.statement_timeout_ms * (s->catching_up ? 20 : 1);
    if (conn_send_prepared(&s->conn[READ_SIDE], now_ms, first ? st->first : st->name, st->n_params, values,
                           lengths) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[READ_SIDE]));
}

void source_send_read(struct source *s, uint64_t now_ms, bool first)
{
    s->read_max = isolate_limit(s);
    if (s->reading == READING_PAGE)
        send_page_read(s, now_ms, first);
    else
        held_send_read(s, now_ms, first);
}

void source_read(struct source *s, uint64_t now_ms, uint32_t max_rows, uint64_t max_bytes,
                 uint64_t page)
{
    s->reading = READING_PAGE;
    s->asked = (struct read_request){ .max_rows = max_rows, .max_bytes = max_bytes, .page = page };
    source_send_read(s, now_ms, false);
}

int source_room_for(struct source *s, uint32_t n)
{
    if (n <= s->rows_cap)
        return 0;
    struct row **rows = realloc(s->rows, n * sizeof(struct row *));
    if (rows == NULL)
        return -1;
    s->rows = rows;
    s->rows_cap = n;
    return 0;
}

void source_free_rows(struct source *s, uint32_t n)
{
    while (n > 0)
        free(s->rows[--n]);
}

/* Always -1. */
static int undecoded(struct source *s, enum trouble trouble, const char *what, int64_t id)
{
    s->failure = (struct failure){ .trouble = trouble };
    snprintf(s->failure.text, sizeof s->failure.text, "it cannot be decoded: %s, row %lld", what,
             (long long)id);
    return -1;
}

int source_decode(struct source *s, const PGresult *res, int rows, struct touched *stale)
{
    static const char disorder[] = "the rows are not in order of id", twice[] = "two events have one id";
    int n = 0;

    if (rows < 0)
        return undecoded(s, TROUBLE_OTHER, "there is no row 0", 0);
    if (source_room_for(s, (uint32_t)rows) < 0)
        return undecoded(s, TROUBLE_ROOM, page_no_memory, 0);
    for (int i = 1; i <= rows; i++) {
        const char *why = page_no_memory;
        if (stale != NULL && page_stale(res, i) != 0) {
            if (touched_add(stale, page_id(res, i), page_bucket(res, i), false) == 0)
                continue;
            s->rows[n] = NULL;
        } else {
            s->rows[n] = page_row(res, i, &s->pairs, &why);
        }
        if (s->rows[n] != NULL && n > 0 && s->rows[n]->id <= s->rows[n - 1]->id) {
            why = s->rows[n]->id == s->rows[n - 1]->id ? twice : disorder;
            free(s->rows[n]);
            s->rows[n] = NULL;
        }
        if (s->rows[n] == NULL) {
            source_free_rows(s, (uint32_t)n);
            (void)undecoded(s, why == page_no_memory               ? TROUBLE_ROOM
                               : why == disorder || why == twice ? TROUBLE_OTHER
                                                                 : TROUBLE_ROW,
                            why, page_id(res, i));
            s->failure.twice_id = why == twice ? page_id(res, i) : 0;
            return -1;
        }
        n++;
    }
    return n;
}

static bool page_is_full(const struct source *s, const PGresult *res, int n)
{
    return (uint32_t)n == s->read_max || (s->read_small ? n < PQntuples(res) - 1 : page_is_cut(res, n));
}

static void note_largest(struct source *s, int n)
{
    if (n > 0)
        s->largest_row = 0;
    for (int i = 0; i < n; i++)
        if (s->rows[i]->block_bytes > s->largest_row)
            s->largest_row = s->rows[i]->block_bytes;
}

/* Moves the cursor over the page. Late rows come before fresh ones, so a full page that ends with a
 * late row has more of them behind it: they are read first, as of this page's snapshot. */
static int advance(struct source *s, const PGresult *res, int n, bool full)
{
    struct cursors *cur = &s->cursors;
    const char *snap = PQgetvalue(res, 0, 0);
    int snap_len = PQgetlength(res, 0, 0);
    int64_t last = n > 0 ? s->rows[n - 1]->id : 0;

    if (n > 0 && cursors_remember(cur, s->asked.page) < 0)
        return -1;
    s->first_read = false;
    if (cur->late_until.bytes != NULL) {
        if (full) {
            cur->late_from = last;
        } else {
            free(cur->now.snap.bytes);
            cur->now.snap = cur->late_until;
            cur->late_until = (struct snapshot){ NULL, 0 };
        }
        return 0;
    }
    if (full && n > 0 && last <= cur->now.pos) {
        cur->late_from = last;
        return snapshot_set(&cur->late_until, snap, snap_len);
    }
    if (snapshot_set(&cur->now.snap, snap, snap_len) < 0)
        return -1;
    if (last > cur->now.pos)
        cur->now.pos = last;
    if (!full && s->catching_up && cur->now.pos < s->catch_up_to)
        cur->now.pos = s->catch_up_to; /* all up to there is settled or came just now */
    if (cur->now.pos >= s->catch_up_to)
        s->catching_up = false;
    return 0;
}

void source_take_page(struct source *s, uint64_t now_ms, const PGresult *res, int n, bool full)
{
    if (advance(s, res, n, full) < 0) {
        source_free_rows(s, (uint32_t)n);
        source_link_lost(s, now_ms, "out of memory for a page");
        return;
    }
    CRASH_POINT("source.page_read");
    source_push(s, (struct source_event){
                      .type = SOURCE_PAGE,
                      .rows = s->rows,
                      .n_rows = (uint32_t)n,
                      .full = full || s->cursors.late_until.bytes != NULL,
                      .catching_up = s->catching_up,
                  });
}

/* Row 0 of the result carries the snapshot. */
static void on_page(struct source *s, uint64_t now_ms, const PGresult *res)
{
    int rows = s->read_small ? page_before_cut(res) : PQntuples(res) - 1;
    int n = source_decode(s, res, rows >= 0 && PQgetisnull(res, 0, 0) ? -1 : rows, NULL);

    if (n < 0) {
        isolate_failed(s, now_ms);
        return;
    }
    bool full = page_is_full(s, res, n);
    note_largest(s, n);
    if (n == 0 && full) { /* the first row is a large one */
        s->largest_row = SIZE_MAX;
        source_send_read(s, now_ms, false);
        return;
    }
    isolate_whole(s);
    source_take_page(s, now_ms, res, n, full);
}

/* Without a state it is libpq that has no room for the answer. */
void source_note_failure(struct source *s, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    struct failure *f = &s->failure;

    f->twice_id = 0;
    f->trouble = state == NULL ? TROUBLE_ROOM : page_is_at_fault(state) ? TROUBLE_ROW : TROUBLE_OTHER;
    snprintf(f->sqlstate, sizeof f->sqlstate, "%s", state != NULL ? state : "");
    snprintf(f->text, sizeof f->text, "%s", text != NULL ? text : "no memory for the answer");
}

void read_on_answer(struct source *s, uint64_t now_ms, const PGresult *res)
{
    if (s->isolate.step != ISOLATE_NOT) {
        isolate_on_read(s, now_ms, res);
    } else if (!result_ok(res)) {
        if (source_lacks_right(s, res))
            return;
        source_note_failure(s, res);
        held_drop_page(s);
        isolate_failed(s, now_ms);
    } else if (s->reading == READING_PAGE) {
        on_page(s, now_ms, res);
    } else {
        held_on_read(s, now_ms, res);
    }
}
