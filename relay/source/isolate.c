/* isolate.c - a row that cannot be read must not stop the others: when a page fails again and again for what
 * is in it, smaller ones are read, down to the one row, and that is handed out as unreadable (row.h). See
 * inside.h; what becomes of it is the driver's.
 *
 * The row is named by a statement that does not look at what cannot be sent, and then read alone: only if
 * that fails as well is it the one, for a late row may have come in front of it meanwhile. The cursor moves
 * over it as over any page of one row, by the snapshot of the statement that named it.
 *
 * Never for what may pass: connection, locks, deadlines, a full disk. And a row is never given up because
 * we have no memory: pages become small, that is all.
 */
#include <stdio.h>
#include <string.h>

#include "relay/log.h"
#include "relay/source/inside.h"
#include "relay/source/page.h"
#include "relay/source/remedies.h"
#include "relay/verdict.h"

/* So often a page fails before its row is looked for: what the server could not explain may pass. */
#define PAGE_FAILURES 3

void isolate_end(struct source *s)
{
    PQclear(s->isolate.first);
    PQclear(s->isolate.stub);
    s->isolate.first = s->isolate.stub = NULL;
    s->isolate.step = ISOLATE_NOT;
}

uint32_t isolate_limit(const struct source *s)
{
    uint32_t limit = s->isolate.limit[s->reading];

    return limit > 0 && limit < s->asked.max_rows ? limit : s->asked.max_rows;
}

/* Step by step back to whole pages: rows like it often come together. Topics are read in turn, and that one can
 * be read says nothing of the one that failed. */
void isolate_whole(struct source *s)
{
    uint32_t *limit = &s->isolate.limit[s->reading];

    *limit = *limit <= s->asked.max_rows / 2 ? *limit * 2 : 0;
    if (*limit == 0 && (s->reading != READING_TOPIC || strcmp(s->asked.topic, s->isolate.topic) == 0))
        s->isolate.failures[s->reading] = 0;
}

static void tell(struct source *s, const char *what)
{
    struct failure *f = &s->failure;
    struct source_event e = { .type = SOURCE_READ_FAILED, .id = what != NULL ? f->twice_id : 0 };

    isolate_end(s);
    if (what != NULL && f->twice_id != 0)
        log_error("source", "two events have one id, which was handed out twice: reading stops there", "id",
                  log_i64(f->twice_id), "remedy", VERDICT_MEND_IDS "; the relay goes on by itself then");
    else if (what != NULL)
        log_warn("source", what, "sqlstate", f->sqlstate[0] != '\0' ? f->sqlstate : NULL, "error", f->text, "remedy",
                 remedy_of(f->sqlstate)->relay);
    if (what != NULL && f->trouble == TROUBLE_OTHER && f->twice_id == 0) { /* of a row it is told with the row */
        snprintf(f->said, sizeof f->said, "%s: %s", what, f->text);
        e.why = f->said;
        e.sqlstate = f->sqlstate;
        e.remedy = remedy_of(f->sqlstate)->relay;
    }
    source_push(s, e);
}

void isolate_failed(struct source *s, uint64_t now_ms)
{
    struct isolate *i = &s->isolate;
    uint32_t *n = &i->failures[s->reading];

    if (s->reading == READING_TOPIC && s->failure.trouble != TROUBLE_OTHER)
        memcpy(i->topic, s->asked.topic, sizeof i->topic);
    if (s->failure.trouble == TROUBLE_OTHER || *n + 1 < PAGE_FAILURES) {
        *n += s->failure.trouble != TROUBLE_OTHER;
        tell(s, "reading failed");
    } else if (s->read_max > 1) {
        *n = PAGE_FAILURES;
        i->limit[s->reading] = s->read_max / 2;
        source_send_read(s, now_ms, false);
    } else if (s->failure.trouble == TROUBLE_ROOM) {
        tell(s, "reading failed, of a single row");
    } else {
        i->step = ISOLATE_FIRST;
        source_send_read(s, now_ms, true);
    }
}

/* -- one row -------------------------------------------------------------------------------- */

static void send_one(struct source *s, uint64_t now_ms, enum isolate_step step)
{
    char id[8], bucket[2], with_key[1] = { step != ISOLATE_KEYLESS };
    const char *const values[] = { net64(page_id(s->isolate.first, 1), id), bucket, with_key };
    const int lengths[] = { 8, 2, 1 };

    (void)wire_put16(bucket, page_bucket(s->isolate.first, 1));
    s->isolate.step = step;
    if (conn_send_prepared(&s->conn[READ_SIDE], now_ms, step == ISOLATE_ONE ? "outbox_one" : "outbox_stub",
                           step == ISOLATE_ONE ? 2 : 3, values, lengths) < 0)
        source_link_lost(s, now_ms, conn_error(&s->conn[READ_SIDE]));
}

static void on_first(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct touched *stale = &s->held.touched[READ_SIDE];

    stale->n = 0;
    if (!result_ok(res)) {
        source_note_failure(s, res);
        tell(s, "reading failed, and which row it is cannot be read either");
    } else if (PQntuples(res) < 2) {
        tell(s, NULL); /* it has gone */
    } else if (page_stale(res, 1) != 0 && touched_add(stale, page_id(res, 1), page_bucket(res, 1), false) == 0) {
        isolate_end(s);
        held_take_page(s, now_ms, 0, true, 0);
    } else if ((s->isolate.first = PQcopyResult(res, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES)) == NULL) {
        tell(s, "out of memory; the row that cannot be read is looked for again");
    } else {
        send_one(s, now_ms, ISOLATE_STUB);
    }
}

/* 1: the row is there, in s->rows[0]; 0: it has gone; -1: s->failure says why it cannot be read. */
static int read_one(struct source *s, const PGresult *res)
{
    if (result_ok(res))
        return source_decode(s, res, PQntuples(res) - 1, NULL);
    source_note_failure(s, res);
    return -1;
}

/* Of a key that is not known, all rows of the topic bear this reason: hence the id. */
static void reason(const struct failure *why, int64_t id, bool keyless, char *to, size_t size)
{
    snprintf(to, size, "the %s event %lld cannot be read: %s%s%s", keyless ? "key of" : "content of",
             (long long)id, why->sqlstate, why->sqlstate[0] != '\0' ? " " : "", why->text);
}

/* The row has been read alone in vain, and that comes last: what a person has mended meanwhile is not given up. */
static void hand_out(struct source *s, uint64_t now_ms)
{
    struct isolate *i = &s->isolate;
    const struct failure *f = i->keyless ? &i->why : &s->failure;
    char text[400];
    const char *why = page_no_memory;
    struct row *row = NULL;
    PGresult *first = i->first;

    reason(f, page_id(i->stub, 1), i->keyless, text, sizeof text);
    if (source_room_for(s, 1) == 0)
        row = page_stub(i->stub, 1, text, i->keyless, &s->pairs, &why);
    if (row == NULL) {
        snprintf(s->failure.text, sizeof s->failure.text, "%s", why);
        tell(s, "what it takes to hold a row that cannot be read cannot be had");
        return;
    }
    log_warn("source", "an event cannot be read", "id", log_i64(row->id), "sqlstate",
             f->sqlstate[0] != '\0' ? f->sqlstate : NULL, "error", f->text);
    i->first = NULL;
    isolate_end(s);
    s->rows[0] = row;
    if (s->reading == READING_PAGE) {
        source_take_page(s, now_ms, first, 1, true);
    } else {
        page_held_as(row, first, 1);
        held_take_page(s, now_ms, 1, true, 0);
    }
    PQclear(first);
}

static void on_stub(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct isolate *i = &s->isolate;

    i->keyless = i->step == ISOLATE_KEYLESS;
    if (result_ok(res) && PQntuples(res) != 2) {
        tell(s, NULL); /* it has gone */
    } else if (result_ok(res)) {
        i->stub = PQcopyResult(res, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
        if (i->stub != NULL)
            send_one(s, now_ms, ISOLATE_ONE);
        else
            tell(s, "out of memory; the row that cannot be read is looked for again");
    } else {
        source_note_failure(s, res);
        i->why = s->failure;
        if (s->failure.trouble == TROUBLE_ROW && !i->keyless)
            send_one(s, now_ms, ISOLATE_KEYLESS);
        else
            tell(s, "what it takes to hold a row that cannot be read cannot be had");
    }
}

static void on_one(struct source *s, uint64_t now_ms, const PGresult *res)
{
    int n = read_one(s, res);

    if (n < 0 && s->failure.trouble == TROUBLE_ROW) {
        hand_out(s, now_ms);
        return;
    }
    if (n > 0)
        source_free_rows(s, 1);
    tell(s, n < 0 ? "reading failed" : NULL); /* else that was not the row, or it has been mended */
}

void isolate_on_read(struct source *s, uint64_t now_ms, const PGresult *res)
{
    if (!result_ok(res) && source_lacks_right(s, res)) {
        isolate_end(s);
        return;
    }
    switch (s->isolate.step) {
    case ISOLATE_NOT:
        break;
    case ISOLATE_FIRST:
        on_first(s, now_ms, res);
        break;
    case ISOLATE_ONE:
        on_one(s, now_ms, res);
        break;
    case ISOLATE_STUB:
    case ISOLATE_KEYLESS:
        on_stub(s, now_ms, res);
        break;
    }
}
