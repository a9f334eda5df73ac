/* redrive.c - dead letters that somebody sent back (state retry): the handler once more, and the row
 * goes when it succeeds, in one transaction. One after the other, whatever the number of processes: two
 * may be of one key. The lock of the row keeps other processes off, and the row itself all else that
 * would apply the event: inbox.known() looks there too. When it goes its id is stored anew, since the one
 * that was stored when it died may be gone or go soon.
 *
 * A call that ends its process must not be made again by the next, for ever: who calls is written down and
 * committed before (called_by), and taken back when the call has returned and the row stays. Between that and the
 * transaction of the call no row is locked; a lock of the session keeps others off, and says that a caller that is
 * written there without it is gone, or has lost its link and will be back.
 *
 * Knows neither the window nor partitions: a dead letter moves no position. */
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "db.h"
#include "lib/outbox/text.h"
#include "lib/shared/hex.h"
#include "steps.h"

#define CALLER_AWAY_MS 30000 /* more than the longest wait before another try to connect */
#define BUSY_LOOKS 5 /* one after the other: more than other processes that look too */

enum column { ID, TOPIC, PARTITION, OFFSET, KEY, PAYLOAD, RECORDED, ATTEMPTS, EVENT_ID, CALLED_BY };

static const char sql_next[] =
    "SELECT id, topic, kafka_partition, kafka_offset, encode(key, 'hex'), encode(payload, 'hex'),"
    " coalesce((extract(epoch FROM recorded_at) * 1000)::bigint, -1), attempts, event_id, called_by"
    " FROM inbox.dead WHERE id = (SELECT min(id) FROM inbox.dead WHERE consumer = $1 AND state = 'retry')"
    " AND state = 'retry' FOR UPDATE SKIP LOCKED";

#define LOCK_KEY "hashtext('inbox.redrive'), hashtext($1)"

static const char sql_headers[] =
    "SELECT n, encode(v, 'hex') FROM inbox.dead, unnest(header_names, header_values) WITH ORDINALITY"
    " AS h (n, v, i) WHERE id = $1::bigint ORDER BY i";

/* -- a row as a record ------------------------------------------------------------------------ */

/* In the place of its digits, which encode() has made, in the result itself; NULL stays NULL. */
static const void *bytes(const PGresult *r, int row, int column, size_t *ret_len)
{
    char *text = PQgetvalue(r, row, column);

    *ret_len = 0;
    if (PQgetisnull(r, row, column))
        return NULL;
    for (char *from = text; *from != '\0'; from += 2)
        text[(*ret_len)++] = (char)(hex_digit(from[0]) << 4 | hex_digit(from[1]));
    return text;
}

static struct inbox__record *record_of(const PGresult *row, const PGresult *named)
{
    size_t n = (size_t)PQntuples(named);
    outbox_header *headers = calloc(n + 1, sizeof *headers);
    struct inbox__raw raw = { .topic = PQgetvalue(row, 0, TOPIC),
                              .partition = atoi(PQgetvalue(row, 0, PARTITION)),
                              .offset = strtoll(PQgetvalue(row, 0, OFFSET), NULL, 10),
                              .headers = headers,
                              .n_headers = n,
                              .timestamp_ms = strtoll(PQgetvalue(row, 0, RECORDED), NULL, 10) };
    struct inbox__record *r = NULL;

    raw.key = bytes(row, 0, KEY, &raw.key_len);
    raw.payload = bytes(row, 0, PAYLOAD, &raw.payload_len);
    for (size_t i = 0; headers != NULL && i < n; i++) {
        headers[i].name = PQgetvalue(named, (int)i, 0);
        headers[i].value = bytes(named, (int)i, 1, &headers[i].value_len);
    }
    if (headers != NULL)
        r = inbox__record_new(&raw);
    free(headers);
    if (r != NULL) {
        r->msg.flags |= INBOX_MESSAGE_REDRIVEN;
        r->item.failures = (uint32_t)atoi(PQgetvalue(row, 0, ATTEMPTS));
    }
    return r;
}

/* -- one dead letter -------------------------------------------------------------------------- */

static PGresult *with(struct inbox_consumer *c, const char *sql, const char *one, const char *two)
{
    const char *values[] = { one, two };

    return PQexecParams(c->conn, sql, two != NULL ? 2 : 1, NULL, values, NULL, NULL, 0);
}

static bool is_done(PGresult *r)
{
    bool done = PQresultStatus(r) == PGRES_COMMAND_OK;

    PQclear(r);
    return done;
}

static bool begin(struct inbox_consumer *c)
{
    struct inbox__step steps[] = {
        { .sql = INBOX__BEGIN },
        { .sql = INBOX__SIGN, .n = 1, .values = { c->owner } },
    };
    bool ok = inbox__steps_run(c->conn, steps, 2) && inbox__step_ok(&steps[0]) &&
              inbox__step_ok(&steps[1]);

    inbox__steps_clear(steps, 2);
    return ok;
}

/* In the bucket that lasts longest, also where an older one has it. */
static const char sql_remember[] =
    "INSERT INTO inbox.seen (bucket, consumer, event_id) SELECT bucket, $1, $2 FROM inbox.ring"
    " WHERE is_current ON CONFLICT DO NOTHING";

/* An event was applied, which `applied_at` says. Who has the row locked finishes events of its own. */
static const char sql_applied[] =
    "UPDATE inbox.position SET applied_at = clock_timestamp() WHERE (consumer, topic, kafka_partition) IN"
    " (SELECT consumer, topic, kafka_partition FROM inbox.position WHERE consumer = $1 AND topic = $2"
    " AND kafka_partition = $3::integer FOR UPDATE SKIP LOCKED)";

/* Of a lock: false when it is not to be had. Without an answer nobody knows whether the session has it, so that
 * goes, and the lock with it. */
static bool says_true(struct inbox_consumer *c, const char *sql)
{
    PGresult *r = with(c, sql, c->set.group, NULL);
    bool answered = PQresultStatus(r) == PGRES_TUPLES_OK;
    bool is_true = answered && strcmp(PQgetvalue(r, 0, 0), "t") == 0;

    if (!answered) {
        inbox__log(c, 4, "whether the lock of dead letters is held is not known, the link is given up: %s",
                   inbox__db_words(r, "the link is lost"));
        inbox__db_close(c);
    }
    PQclear(r);
    return is_true;
}

/* Nobody else is at it, also where no row is locked. Until unlock(), or the end of the session. */
static bool lock(struct inbox_consumer *c)
{
    return says_true(c, "SELECT pg_try_advisory_lock(" LOCK_KEY ")");
}

static void unlock(struct inbox_consumer *c)
{
    if (!inbox__db_lost(c))
        (void)says_true(c, "SELECT pg_advisory_unlock(" LOCK_KEY ")");
}

/* -- who calls -------------------------------------------------------------------------------- */

/* Somebody who decides about the letter may have its row for long: then at the next look. */
#define IS_SOON_FREE "pg_catalog.set_config('lock_timeout', '200ms', true) IS NOT NULL"

static const char sql_take_back[] =
    "UPDATE inbox.dead SET called_by = NULL WHERE id = $1::bigint AND called_by = $2 AND " IS_SOON_FREE;

bool inbox__redrive_take_back(struct inbox_consumer *c)
{
    char id[24];

    if (c->sent_back.called == 0)
        return true;
    snprintf(id, sizeof id, "%" PRId64, c->sent_back.called);
    if (inbox__db_lost(c) || !is_done(with(c, sql_take_back, id, c->owner)))
        return false;
    c->sent_back.called = 0;
    return true;
}

static int64_t id_of(const char *id)
{
    return strtoll(id, NULL, 10);
}

/* Is the one that called it last away, who does not have the lock? */
static bool caller_is_away(struct inbox_consumer *c, const PGresult *row)
{
    int64_t id = id_of(PQgetvalue(row, 0, ID));
    bool away = !PQgetisnull(row, 0, CALLED_BY) && strcmp(PQgetvalue(row, 0, CALLED_BY), c->owner) != 0;

    if (away && id != c->sent_back.away)
        c->sent_back.away_ms = inbox__now_ms();
    c->sent_back.away = away ? id : 0;
    c->sent_back.busy = 0;
    return away;
}

/* Somebody else has the row, or there is none: another process looks, or the caller is back. */
static void see_nothing(struct inbox_consumer *c)
{
    if (++c->sent_back.busy >= BUSY_LOOKS)
        c->sent_back.away = 0;
}

/* For so long that it would have found its link again. */
static bool caller_has_ended(const struct inbox_consumer *c)
{
    return inbox__now_ms() - c->sent_back.away_ms >= CALLER_AWAY_MS;
}

/* -- a call ----------------------------------------------------------------------------------- */

/* Write down who calls, and begin the transaction of the call. False: somebody has decided otherwise, or the
 * link is lost. */
static bool begin_call(struct inbox_consumer *c, const char *id)
{
    struct inbox__step steps[] = {
        { .sql = "UPDATE inbox.dead SET called_by = $2 WHERE id = $1::bigint", .n = 2,
          .values = { id, c->owner } },
        { .sql = "COMMIT" },
        { .sql = INBOX__BEGIN },
        { .sql = INBOX__SIGN, .n = 1, .values = { c->owner } },
        { .sql = "SELECT FROM inbox.dead WHERE id = $1::bigint AND state = 'retry' FOR UPDATE SKIP LOCKED",
          .n = 1, .values = { id } },
    };
    const int n = sizeof steps / sizeof steps[0];
    bool ok;

    c->sent_back.called = id_of(id);
    ok = inbox__steps_run(c->conn, steps, n);
    for (int i = 0; i < n; i++)
        ok = ok && inbox__step_ok(&steps[i]);
    ok = ok && PQntuples(steps[n - 1].result) == 1;
    inbox__steps_clear(steps, n);
    return ok;
}

/* The row goes and its id is new again; no position moves, but finish() sees whether it is the transaction
 * that we began. Sets the SQLSTATE, "" when all is committed, "?" when there was no answer. */
static void end(struct inbox_consumer *c, const char *id, const char *event_id, const inbox_message *msg, char ret_state[6])
{
    char partition[12];
    struct inbox__step steps[] = {
        { .sql = sql_remember, .n = 2, .values = { c->set.group, event_id } },
        { .sql = "DELETE FROM inbox.dead WHERE id = $1::bigint", .n = 1, .values = { id } },
        { .sql = sql_applied, .n = 3, .values = { c->set.group, msg->topic, partition } },
        { .sql = INBOX__FINISH,
          .n = INBOX__FINISH_VALUES,
          .values = { c->set.group, c->owner, "{}", "{}", "{}", "{}", "{}", "{}", "0" } },
        { .sql = "COMMIT" },
    };
    const int n = sizeof steps / sizeof steps[0];

    snprintf(partition, sizeof partition, "%d", (int)msg->partition);
    bool ok = inbox__steps_run(c->conn, steps, n);
    strcpy(ret_state, ok ? "" : "?");
    for (int i = 0; i < n; i++)
        if (steps[i].result != NULL && !inbox__step_ok(&steps[i]) && ret_state[0] == '\0')
            snprintf(ret_state, 6, "%s",
                     PQresultErrorField(steps[i].result, PG_DIAG_SQLSTATE) != NULL
                         ? PQresultErrorField(steps[i].result, PG_DIAG_SQLSTATE) : "?");
    inbox__steps_clear(steps, n);
}

/* Somebody may have decided about it since the transaction of the call ended. */
static const char sql_bury[] =
    "UPDATE inbox.dead SET state = 'dead', attempts = attempts + 1, error = $2, error_code = nullif($3, ''),"
    " changed_at = now(), called_by = NULL WHERE id = $1::bigint AND state = 'retry' AND " IS_SOON_FREE;

/* Dead again, in a transaction of its own; where that fails, or somebody has decided otherwise, nothing changes.
 * state: SQLSTATE of the error, "" where there is none. */
static void bury(struct inbox_consumer *c, const char *id, const char *why, const char *state)
{
    char line[501];
    const char *values[] = { id, line, state };
    PGresult *r;

    inbox__rollback(c);
    outbox__one_line(why, line, sizeof line);
    inbox__db_plain(c, line);
    if (inbox__db_lost(c))
        return;
    r = PQexecParams(c->conn, sql_bury, 3, NULL, values, NULL, NULL, 0);
    if (strcmp(PQcmdTuples(r), "1") == 0) {
        c->sent_back.called = 0;
        c->sent_back.losses = c->sent_back.undone = 0; /* who sends it back once more has mended something */
        inbox__log(c, 4, "dead letter %s failed once more: %s", id, line);
    }
    PQclear(r);
}

/* It will be called again by nobody: the next who looks finds its caller gone. */
static int ended(struct inbox_consumer *c, const struct inbox__record *r, outbox_error *err)
{
    c->sent_back.called = 0;
    return inbox__handler_ended(c, r->msg.type, err);
}

/* Undone for the sake of others: called again, but not for ever. */
static bool may_repeat(struct inbox_consumer *c, const char *id, const char *why)
{
    if (++c->sent_back.undone >= INBOX__LOSSES_ARE_ITS_OWN)
        return false;
    inbox__log(c, 4, "dead letter %s is called again: %s", id, why);
    return true;
}

/* Its transaction is open. */
static int call_handler(struct inbox_consumer *c, const char *id, const char *event_id, struct inbox__record *r,
                        outbox_error *err)
{
    char state[6];
    enum inbox__call got = inbox__call_handler(c, r);
    const char *why = r->error != NULL ? r->error : "";

    if (got == INBOX__CALL_ENDED)
        return ended(c, r, err);
    if (got == INBOX__CALL_RETRY && inbox__call_was_undone(c, r) && may_repeat(c, id, why))
        return OUTBOX_OK;
    if (got == INBOX__CALL_RETRY || got == INBOX__CALL_REJECT)
        bury(c, id, why, r->sqlstate);
    if (got != INBOX__CALL_DONE)
        return OUTBOX_OK;
    end(c, id, event_id, &r->msg, state);
    if (strcmp(state, "IB003") == 0)
        return ended(c, r, err);
    if (state[0] == '\0') {
        c->sent_back.called = 0;
        c->figures.redriven++;
        inbox__log(c, 6, "dead letter %s was applied", id);
    } else if (state[0] != '?' && !(inbox__is_bad_luck(state) && may_repeat(c, id, "COMMIT was refused"))) {
        bury(c, id, "COMMIT was refused", state);
    }
    return OUTBOX_OK;
}

static int call(struct inbox_consumer *c, const char *id, const char *event_id,
                struct inbox__record *r, outbox_error *err)
{
    int code;

    if (inbox__handler_of(c, r->msg.type) == NULL) {
        bury(c, id, "no handler for its type", "");
        return OUTBOX_OK;
    }
    if (!begin_call(c, id))
        return OUTBOX_OK;
    code = call_handler(c, id, event_id, r, err);
    c->sent_back.losses += inbox__db_lost(c); /* also where that was seen behind the call */
    return code;
}

/* Has its handler lost the link again and again? Then it is the reason, and others wait behind it. */
static bool is_deadly(struct inbox_consumer *c, const char *id)
{
    if (id_of(id) != c->sent_back.last)
        c->sent_back.losses = c->sent_back.undone = 0;
    c->sent_back.last = id_of(id);
    return c->sent_back.losses >= INBOX__LOSSES_ARE_ITS_OWN;
}

static int redrive_row(struct inbox_consumer *c, const PGresult *row, bool *ret_more,
                       outbox_error *err)
{
    const char *id = PQgetvalue(row, 0, ID);
    PGresult *named = with(c, sql_headers, id, NULL);
    struct inbox__record *r =
        PQresultStatus(named) == PGRES_TUPLES_OK ? record_of(row, named) : NULL;
    bool away = caller_is_away(c, row);
    int code = OUTBOX_OK;

    if (away && caller_has_ended(c))
        bury(c, id, "its process ended while the handler worked", "");
    else if (!away && is_deadly(c, id))
        bury(c, id, INBOX__LOST_EACH_TIME, "");
    else if (!away && r != NULL)
        code = call(c, id, PQgetvalue(row, 0, EVENT_ID), r, err);
    *ret_more = r != NULL && !away && !inbox__db_lost(c);
    PQclear(named);
    inbox__record_free(r);
    return code;
}

int inbox__redrive(struct inbox_consumer *c, bool *ret_more, outbox_error *err)
{
    PGresult *row;
    bool locked;
    int code = OUTBOX_OK;

    *ret_more = false;
    if (inbox__db_lost(c) || !inbox__redrive_take_back(c) || !begin(c)) {
        if (c->conn != NULL)
            inbox__rollback(c);
        return OUTBOX_OK;
    }
    row = with(c, sql_next, c->set.group, NULL);
    locked = PQresultStatus(row) == PGRES_TUPLES_OK && PQntuples(row) == 1 && lock(c);
    if (locked)
        code = redrive_row(c, row, ret_more, err);
    else
        see_nothing(c);
    PQclear(row);
    inbox__rollback(c);
    if (locked) {
        (void)inbox__redrive_take_back(c);
        unlock(c);
    }
    return code;
}
