/* source.c - the link, its two connections, and what is asked of them. See source.h. */
#include "relay/source/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/retry.h"
#include "relay/crash_point.h"
#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/source/inside.h"
#include "relay/source/page.h"

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

void source_configure(struct source *s, uint64_t retry_base_ms, uint64_t retry_max_ms)
{
    s->cfg.retry_base_ms = retry_base_ms;
    s->cfg.retry_max_ms = retry_max_ms;
}

const char *source_library_version(void)
{
    static char text[16];
    int v = PQlibVersion();

    snprintf(text, sizeof text, "%d.%d", v / 10000, v % 10000);
    return text;
}

int source_check_dsn(const char *dsn, char *err, size_t err_size)
{
    char *why = NULL;

    errno = 0; /* libpq does not set it for what it cannot read */
    PQconninfoOption *options = PQconninfoParse(dsn, &why);
    if (options != NULL) {
        PQconninfoFree(options);
        return 0;
    }
    /* libpq's own words repeat the part that it cannot read, which may be of the password */
    snprintf(err, err_size, "%s", why == NULL || errno == ENOMEM ? "out of memory" :
             "libpq cannot read it: neither a URI (postgresql://user@host/db, % written as "
             "%25) nor key=value pairs with known keys (a value with blanks in single quotes)");
    PQfreemem(why);
    return -1;
}

/* -- the link ------------------------------------------------------------------------------- */

void source_push(struct source *s, struct source_event e)
{
    if (s->n_events < sizeof s->event / sizeof s->event[0])
        s->event[s->n_events++] = e;
}

void source_link_lost(struct source *s, uint64_t now_ms, const char *why)
{
    uint64_t delay = retry_delay_ms(s->cfg.retry_base_ms, s->cfg.retry_max_ms, s->failures++,
                                    retry_random(&s->rng));

    log_warn("source", s->up ? "lost PostgreSQL" : "cannot use PostgreSQL", "error", why, "retry_ms",
             log_i64((int64_t)delay));
    snprintf(s->why, sizeof s->why, "%s", why); /* which may be of a connection that is closed now */
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
    source_push(s, (struct source_event){ .type = SOURCE_DOWN, .why = s->why });
}

static void link_open(struct source *s, uint64_t now_ms)
{
    struct conn_options opt = {
        .dsn = s->cfg.dsn,
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

void source_refuse(struct source *s, int exit_code)
{
    source_push(s, (struct source_event){ .type = SOURCE_REFUSED, .exit_code = exit_code });
}

/* Rights do not mend themselves. */
bool source_lacks_right(struct source *s, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (state == NULL || strcmp(state, "42501") != 0)
        return false;
    log_error("source", "the relay's role lacks a right", "error",
              PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY), "remedy",
              "apply sql/roles.sql and grant outbox_relay to the role of the dsn");
    source_refuse(s, EXIT_PERMISSION);
    return true;
}

/* -- reading -------------------------------------------------------------------------------- */

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
    static const char disorder[] = "the rows are not in order of id";
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
            free(s->rows[n]);
            s->rows[n] = NULL;
            why = disorder;
        }
        if (s->rows[n] == NULL) {
            source_free_rows(s, (uint32_t)n);
            return undecoded(s, why == page_no_memory ? TROUBLE_ROOM
                                : why == disorder     ? TROUBLE_OTHER
                                                      : TROUBLE_ROW,
                             why, page_id(res, i));
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
        source_link_lost(s, now_ms, "out of memory");
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

/* Class 22: it has characters that the client's encoding does not have. XX: what is stored is damaged, or
 * the server does not know what happened. Without a state it is libpq that has no room for the answer. */
void source_note_failure(struct source *s, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    struct failure *f = &s->failure;

    f->trouble = state == NULL                                                      ? TROUBLE_ROOM
                 : strncmp(state, "22", 2) == 0 || strncmp(state, "XX", 2) == 0 ? TROUBLE_ROW
                                                                                    : TROUBLE_OTHER;
    snprintf(f->sqlstate, sizeof f->sqlstate, "%s", state != NULL ? state : "");
    snprintf(f->text, sizeof f->text, "%s", text != NULL ? text : "no memory for the answer");
}

static void on_read(struct source *s, uint64_t now_ms, const PGresult *res)
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

/* -- marking -------------------------------------------------------------------------------- */

void source_request(struct source *s, uint64_t now_ms, enum request what, const char *statement,
                    int n_params, const char *const *values, const int *lengths)
{
    s->request = what;
    if (conn_send_prepared(&s->conn[MARK_SIDE], now_ms, statement, n_params, values, lengths) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[MARK_SIDE]));
}

void source_request_transaction(struct source *s, uint64_t now_ms, enum request what,
                                const struct conn_statement *statement, int n)
{
    s->request = what;
    if (conn_send_transaction(&s->conn[MARK_SIDE], now_ms, statement, n) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[MARK_SIDE]));
}

struct conn_statement source_mark_statement(const struct source *s)
{
    static const char *const leaf[] = { "outbox_mark_0", "outbox_mark_1", "outbox_mark_2", "outbox_mark_3",
                                        "outbox_mark_4", "outbox_mark_5", "outbox_mark_6", "outbox_mark_7" };

    return (struct conn_statement){ !s->acquired                      ? "outbox_mark_checked"
                                    : s->mark_again                   ? "outbox_mark_again"
                                    : s->marks.bucket == MARK_MIXED ? "outbox_mark"
                                                                      : leaf[s->marks.bucket],
                                    s->acquired ? MARK_COLUMNS : MARK_COLUMNS_CHECKED, s->marks.values,
                                    s->marks.lengths };
}

static void send_marks(struct source *s, uint64_t now_ms)
{
    static const char *const commit = "off";
    const struct conn_statement statement[] = {
        { "outbox_commit", 1, &commit, &(int){ 3 } },
        source_mark_statement(s),
    };

    if (s->held.touched[MARK_SIDE].n > 0)
        held_mark(s, now_ms);
    else if (s->cfg.mark_async)
        source_request_transaction(s, now_ms, REQUEST_MARK, statement, 2);
    else
        source_request(s, now_ms, REQUEST_MARK, statement[1].name, statement[1].n_params,
                       s->marks.values, s->marks.lengths);
}

void source_mark(struct source *s, uint64_t now_ms, const struct source_mark *marks, uint32_t n)
{
    struct touched *held = &s->held.touched[MARK_SIDE];
    int rc = marks_encode(&s->marks, marks, n, s->acquired ? MARK_COLUMNS : MARK_COLUMNS_CHECKED);

    held->n = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        if (marks[i].held)
            rc = touched_add(held, marks[i].id, marks[i].bucket, true);
    if (rc < 0 || touched_encode(held) < 0) {
        source_push(s, (struct source_event){ .type = SOURCE_MARK_FAILED });
        return;
    }
    CRASH_POINT("source.before_mark");
    s->mark_again = false;
    send_marks(s, now_ms);
    CRASH_POINT("source.mark_sent");
}

/* -- leading -------------------------------------------------------------------------------- */

void source_acquire(struct source *s, uint64_t now_ms)
{
    char ttl[8], last[8];
    const char *const values[] = { s->cfg.owner, net64((int64_t)s->cfg.lease_ttl_ms, ttl),
                                   net64(s->last_epoch, last) };
    const int lengths[] = { (int)strlen(s->cfg.owner), 8, 8 };

    source_request(s, now_ms, REQUEST_ACQUIRE, "outbox_acquire", 3, values, lengths);
    CRASH_POINT("source.acquire_sent");
}

/* On a link where nothing was acquired, none: where we stood is a place in the history of an earlier one. A
 * server that crashed, or a standby that was promoted, may have given its ids and transaction ids to others. */
static const struct cursor *cursor_to_save(struct source *s, uint64_t page)
{
    static const struct cursor none;

    return s->acquired ? cursors_before(&s->cursors, page) : &none;
}

void source_renew(struct source *s, uint64_t now_ms, uint64_t page)
{
    const struct cursor *c = cursor_to_save(s, page);
    char epoch[8], ttl[8], pos[8];
    const char *const values[] = { net64(s->epoch, epoch), net64((int64_t)s->cfg.lease_ttl_ms, ttl),
                                   c->snap.bytes != NULL ? net64(c->pos, pos) : NULL, c->snap.bytes };
    const int lengths[] = { 8, 8, 8, c->snap.len };

    CRASH_POINT("source.before_renew");
    held_saving(s, c);
    source_request(s, now_ms, REQUEST_RENEW, "outbox_renew", 4, values, lengths);
    CRASH_POINT("source.renew_sent");
}

void source_resign(struct source *s, uint64_t now_ms, uint64_t page)
{
    const struct cursor *c = cursor_to_save(s, page);
    char epoch[8], pos[8];
    const char *const values[] = { net64(s->epoch, epoch), c->snap.bytes != NULL ? net64(c->pos, pos) : NULL,
                                   c->snap.bytes };
    const int lengths[] = { 8, 8, c->snap.len };

    CRASH_POINT("source.before_resign");
    source_request(s, now_ms, REQUEST_RESIGN, "outbox_resign", 3, values, lengths);
    CRASH_POINT("source.resign_sent");
}

static void log_follow(struct source *s, const PGresult *res)
{
    const char *owner = PQgetvalue(res, 0, 5);
    bool namesake = strcmp(owner, s->cfg.owner) == 0;

    /* The lease was over, perhaps our own, and yet we did not get it: another relay was quicker. The next
     * answer says who. */
    if (!PQgetisnull(res, 0, 6) && wire_i64(PQgetvalue(res, 0, 6)) <= 0)
        return;

    log_write(s->following ? LOG_LEVEL_DEBUG : namesake ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "source",
              "another relay leads; this one stands by", "owner", owner, "lease_left_ms",
              PQgetisnull(res, 0, 6) ? "?" : log_i64(wire_i64(PQgetvalue(res, 0, 6))), "remedy",
              namesake ? "it has this one's name: give each process a lease.owner of its own" : NULL,
              (char *)0);
    s->following = true;
}

/* Whose the lease was, and why it could be had; the cases are those of the statement. */
static void note_taken(struct source *s, const PGresult *res)
{
    struct taken *t = &s->taken;
    bool over = PQgetisnull(res, 0, 6) || wire_i64(PQgetvalue(res, 0, 6)) < 0;

    snprintf(t->from, sizeof t->from, "%s", PQgetvalue(res, 0, 5));
    t->silent_ms = PQgetisnull(res, 0, 8) ? -1 : wire_i64(PQgetvalue(res, 0, 8));
    if (t->from[0] == '\0')
        t->why = PQgetisnull(res, 0, 8) ? "no relay has led before" : "resigned";
    else if (strcmp(t->from, s->cfg.owner) == 0)
        t->why = "it bears this relay's name";
    else
        t->why = over ? "expired" : "its time lies ahead of the server's clock";
}

/* The columns of outbox_acquire: epoch, cursor_id, cursor_snapshot, floor_id, catch_up_to, then of
 * the row before: owner, ms left, whether the cluster changed, ms since it was renewed. Columns 0-3 are NULL
 * when refused. */
static int on_acquired(struct source *s, uint64_t now_ms, const PGresult *res)
{
    if (PQntuples(res) == 0) {
        log_error("source", "outbox.relay has no row 'default'", "remedy",
                  "insert into outbox.relay (name) values ('default')");
        source_refuse(s, EXIT_CONFIGURATION);
        return 0;
    }
    if (PQgetisnull(res, 0, 0)) {
        log_follow(s, res);
        source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = false });
        return 0;
    }
    s->acquired = true;
    s->epoch = s->last_epoch = wire_i64(PQgetvalue(res, 0, 0));
    if (cursors_load(&s->cursors, wire_i64(PQgetvalue(res, 0, 1)), PQgetvalue(res, 0, 2),
                     PQgetlength(res, 0, 2)) < 0)
        return -1;
    s->floor = wire_i64(PQgetvalue(res, 0, 3));
    s->catch_up_to = wire_i64(PQgetvalue(res, 0, 4));
    s->catching_up = true; /* at least the first read leaves out what is settled */
    s->first_read = true;
    s->following = false;
    note_taken(s, res);
    if (PQgetvalue(res, 0, 7)[0] != 0)
        log_warn("source", "the database now lives on another cluster or timeline", "floor",
                 log_i64(s->floor));
    held_load(s, now_ms, res);
    return 0;
}

void source_leading(struct source *s)
{
    log_info("source", "leading", "owner", s->cfg.owner, "epoch", log_i64(s->epoch), "cursor",
             log_i64(s->cursors.now.pos), "held_keys", log_i64(s->held.n_loaded), "lease_of",
             s->taken.from[0] != '\0' ? s->taken.from : NULL, "because", s->taken.why, "silent_ms",
             s->taken.silent_ms >= 0 ? log_i64(s->taken.silent_ms) : NULL);
    CRASH_POINT("source.acquired");
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = true });
}

void source_lease_gone(struct source *s)
{
    log_warn("source", "the lease was taken by another relay", "epoch", log_i64(s->epoch));
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = false });
}

static void on_renewed(struct source *s, const PGresult *res)
{
    if (strcmp(PQcmdTuples((PGresult *)(uintptr_t)res), "1") != 0) {
        source_lease_gone(s);
        return;
    }
    held_saved(s);
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = true });
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
        [REQUEST_LOAD_BEGIN] = { SOURCE_LEASE_FAILED, "what is held cannot be read" },
        [REQUEST_LOAD] = { SOURCE_LEASE_FAILED, "what is held cannot be read" },
        [REQUEST_RENEW] = { SOURCE_LEASE_FAILED, "the lease cannot be written" },
        [REQUEST_RESIGN] = { SOURCE_RESIGNED, "the lease cannot be written" },
        [REQUEST_SWEEP] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
        [REQUEST_HEAL] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
        [REQUEST_CLEAN] = { SOURCE_SWEEP_FAILED, "the sweep failed" },
    };

    if (res != NULL && source_lacks_right(s, res))
        return;
    if (res != NULL)
        log_warn("source", failed[what].said, "sqlstate",
                 PQresultErrorField(res, PG_DIAG_SQLSTATE), "error",
                 PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
    source_push(s, (struct source_event){ .type = failed[what].event });
}

static bool is_duplicate(const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    return state != NULL && strcmp(state, "23505") == 0;
}

static void on_answer(struct source *s, uint64_t now_ms, PGresult **res)
{
    enum request what = s->request;

    s->request = REQUEST_NONE;
    if (what == REQUEST_MARK && is_duplicate(*res)) {
        s->mark_again = true;
        send_marks(s, now_ms);
        return;
    }
    if (!result_ok(*res)) {
        source_request_failed(s, what, *res);
        return;
    }
    switch (what) {
    case REQUEST_NONE:
        break;
    case REQUEST_MARK:
        CRASH_POINT("source.mark_answered");
        held_on_marked(s, *res);
        break;
    case REQUEST_HOLD:
        CRASH_POINT("source.hold_answered");
        held_on_hold(s, *res);
        break;
    case REQUEST_ACQUIRE:
        if (on_acquired(s, now_ms, *res) < 0)
            source_request_failed(s, what, NULL);
        break;
    case REQUEST_LOAD_BEGIN:
        held_on_load_begin(s, now_ms, *res);
        break;
    case REQUEST_LOAD:
        held_on_load(s, now_ms, res);
        break;
    case REQUEST_RENEW:
        CRASH_POINT("source.renewed");
        on_renewed(s, *res);
        break;
    case REQUEST_RESIGN:
        CRASH_POINT("source.resigned");
        source_push(s, (struct source_event){ .type = SOURCE_RESIGNED });
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

/* -- the loop's side ------------------------------------------------------------------------ */

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
    return n + pollfd_of(&s->aside.conn, &fds[n]);
}

uint64_t source_deadline(const struct source *s)
{
    uint64_t due = aside_deadline(s);

    if (s->n_events > 0)
        return 0;
    if (s->conn[READ_SIDE].state == CONN_DOWN && s->conn[MARK_SIDE].state == CONN_DOWN)
        return s->retry_at_ms;
    for (int i = 0; i < N_SIDES; i++)
        if ((s->conn[i].state == CONN_CONNECTING || s->conn[i].state == CONN_BUSY) &&
            s->conn[i].deadline_ms < due)
            due = s->conn[i].deadline_ms;
    return due;
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
        on_read(s, now_ms, res);
    else if (rc > 0)
        on_answer(s, now_ms, &res);
    PQclear(res);
}

bool source_next(struct source *s, uint64_t now_ms, struct source_event *ret_event)
{
    if (s->n_events == 0) {
        if (s->conn[READ_SIDE].state == CONN_DOWN && s->conn[MARK_SIDE].state == CONN_DOWN &&
            now_ms >= s->retry_at_ms)
            link_open(s, now_ms);
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
