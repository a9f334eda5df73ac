/* lease.c - the lease and the cursor that is saved with it: acquired, renewed, given back; the floor. Knows no rows. */
#include <stdio.h>
#include <string.h>

#include "relay/crash_point.h"
#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/source/inside.h"
#include "relay/source/sql.h"
#include "relay/verdict.h"

/* Rows of another cluster per piece: where the tables are new or the disk is slow, 20 us for each are within the
 * shortest lease. */
#define FLOOR_ROWS 20000

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

    if (s->epoch == 0) { /* there never was one */
        source_push(s, (struct source_event){ .type = SOURCE_RESIGNED });
        return;
    }
    CRASH_POINT("source.before_resign");
    source_request(s, now_ms, REQUEST_RESIGN, s->cfg.once ? "outbox_resign_once" : "outbox_resign", 3, values, lengths);
    CRASH_POINT("source.resign_sent");
}

static void log_follow(struct source *s, const struct source_lease *lease)
{
    bool namesake = strcmp(lease->owner, s->cfg.owner) == 0;

    log_write(s->following ? LOG_LEVEL_DEBUG : namesake ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "source",
              "another relay leads; this one stands by", "owner", lease->owner, "lease_left_ms",
              log_i64(lease->left_ms), "remedy",
              namesake ? "it has this one's name: give each process a lease.owner of its own" : NULL,
              (char *)0);
    s->following = true;
}

/* Not ours. When it was over, perhaps our own, another relay was quicker; the next answer says who. */
static void follow(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_LEASE, .ours = false };
    int64_t left_ms = PQgetisnull(res, 0, 6) ? 0 : wire_i64(PQgetvalue(res, 0, 6));

    if (left_ms > 0) {
        snprintf(s->leader, sizeof s->leader, "%s", PQgetvalue(res, 0, 5));
        e.lease = (struct source_lease){ s->leader, PQgetisnull(res, 0, 8) ? -1 : wire_i64(PQgetvalue(res, 0, 8)), left_ms };
        log_follow(s, &e.lease);
    }
    source_push(s, e);
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

/* What was sent or held under a number that is handed out once more, looks as if it were the new event. */
static void check_sequence(const struct source *s, const PGresult *res)
{
    if (PQgetisnull(res, 0, 9) || wire_i64(PQgetvalue(res, 0, 9)) >= s->catch_up_to)
        return;
    log_error("source", "the sequence of outbox.event.id hands out numbers again: such events count as sent", "last_value",
              log_i64(wire_i64(PQgetvalue(res, 0, 9))), "highest", log_i64(s->catch_up_to), "remedy", VERDICT_MEND_IDS);
}

static void no_row(struct source *s)
{
    if (source_is_hidden(s, "outbox.relay"))
        return;
    log_error("source", "outbox.relay has no row 'default'", "remedy", SQL_RELAY_ROW THEN_START);
    source_refuse(s, EXIT_CONFIGURATION);
}

static void ask_floor(struct source *s, uint64_t now_ms)
{
    char epoch[8], ttl[8], id[8], n[8];
    const char *const values[] = { net64(s->epoch, epoch), net64((int64_t)s->cfg.lease_ttl_ms, ttl), s->foreign.xid,
                                   net64(s->foreign.id, id), net64(FLOOR_ROWS, n) };
    const int lengths[] = { 8, 8, 8, 8, 8 };

    source_request(s, now_ms, REQUEST_FLOOR, "outbox_floor", 5, values, lengths);
}

static void floor_is_known(struct source *s, uint64_t now_ms)
{
    if (s->other_cluster)
        log_warn("source", "the database now lives on another cluster or timeline", "floor",
                 log_i64(s->floor));
    s->other_cluster = false;
    held_load(s, now_ms);
}

/* The pieces come one after the other until one is empty. */
void lease_on_floor(struct source *s, uint64_t now_ms, const PGresult *res)
{
    if (PQntuples(res) == 0 || PQgetisnull(res, 0, 0)) {
        lease_gone(s);
        return;
    }
    s->floor = wire_i64(PQgetvalue(res, 0, 0));
    if (PQgetisnull(res, 0, 2)) {
        floor_is_known(s, now_ms);
        return;
    }
    memcpy(s->foreign.xid, PQgetvalue(res, 0, 1), sizeof s->foreign.xid);
    s->foreign.id = wire_i64(PQgetvalue(res, 0, 2));
    source_push(s, (struct source_event){ .type = SOURCE_HELD_KEYS });
    ask_floor(s, now_ms);
}

/* The columns of outbox_acquire: epoch, cursor_id, cursor_snapshot, floor_id, catch_up_to, then of
 * the row before: owner, ms left, whether the cluster changed, ms since it was renewed; where the sequence of the ids
 * stands, NULL when that may not be seen; and whether there are rows of another cluster. Columns 0-3 are NULL when refused. */
int lease_on_acquired(struct source *s, uint64_t now_ms, const PGresult *res)
{
    if (PQntuples(res) == 0) {
        no_row(s);
        source_push(s, (struct source_event){ .type = SOURCE_LEASE_FAILED });
        return 0;
    }
    if (PQgetisnull(res, 0, 0)) {
        follow(s, res);
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
    s->other_cluster |= result_true(res, 0, 7);
    check_sequence(s, res);
    s->foreign = (struct foreign){ .id = 0 };
    if (result_true(res, 0, 10))
        ask_floor(s, now_ms);
    else
        floor_is_known(s, now_ms);
    return 0;
}

void lease_leading(struct source *s)
{
    log_info("source", "leading", "owner", s->cfg.owner, "epoch", log_i64(s->epoch), "cursor",
             log_i64(s->cursors.now.pos), "held_keys", log_i64(s->held.n_loaded), "lease_of",
             s->taken.from[0] != '\0' ? s->taken.from : NULL, "because", s->taken.why, "silent_ms",
             s->taken.silent_ms >= 0 ? log_i64(s->taken.silent_ms) : NULL);
    CRASH_POINT("source.acquired");
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = true });
}

void lease_gone(struct source *s)
{
    log_warn("source", "the lease was taken by another relay", "epoch", log_i64(s->epoch));
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = false });
}

void lease_on_renewed(struct source *s, const PGresult *res)
{
    if (strcmp(PQcmdTuples((PGresult *)(uintptr_t)res), "1") != 0) {
        lease_gone(s);
        return;
    }
    held_saved(s);
    source_push(s, (struct source_event){ .type = SOURCE_LEASE, .ours = true });
}
