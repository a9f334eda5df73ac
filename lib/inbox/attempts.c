/* attempts.c - see attempts.h.
 *
 * A handler that kills its process (a segmentation fault, the OOM killer) takes the count of its attempts
 * along, and the next process would die of the same event, for ever. So a call that may do so is
 * written down and committed before it begins, and such events are called alone: then it is known which
 * one the process died of. That costs a transaction, so it is done only where there is suspicion:
 *
 *   - the event has been called before, in this process or by what stands in inbox.attempt;
 *   - or its partition was taken over from an owner that did not give it up (inbox.position.owner was
 *     not NULL: it was killed, or lost), and it is among the first INBOX_MAX_BATCH_ROWS that are called
 *     here for the first time.
 *
 * Why this ends: the events of the batch that killed a process are taken in the order of their offsets, so
 * the guilty one is among the first INBOX_MAX_BATCH_ROWS new ones of its partition; only where keys were
 * held back there may be others before it. Whoever takes over finishes these one by one, each in a
 * transaction of its own, or writes them down as failed, before it calls several at once: so with each
 * process that dies of it the guilty one comes nearer by so many, until it is called alone. From then on
 * each death is an attempt, and after retry.attempts the event is dead at its turn, without a call.
 *
 * With the return of such a call its row says why it failed, and when the next one comes. What failed without having
 * been written down gets its row afterwards: failures.c.
 *
 * What an outage of the database costs. Without a link nothing is called, so nothing counts. A link that is lost in a
 * call, or behind it, costs nothing by itself, however often: what is written down anew is the same number. Two things count:
 *   - the third of three such losses in a row, of an event that was called alone (INBOX__LOSSES_ARE_ITS_OWN): a
 *     server that dies of the event looks no different;
 *   - a partition that changes hands while a call is written down as under way, for the next owner cannot know whether
 *     the last one died. That takes session.timeout.ms without a link (the consumer's leaving of the group), so one
 *     for each such time.
 * With the ten attempts of the default that is thirty links, each had and lost within transactions of one event and with
 * none committed in between, and the backoffs of nine failures besides; or ten times 45 s. To count less
 * would let an event of which the server dies go on for ever; what is dead is kept, and can be sent back.
 *
 * A row goes in the transaction that finishes its event. What an old owner leaves behind goes when the
 * partition is claimed next behind it. An identity is compared too: offsets begin again in a topic that was
 * made anew.
 */
#include "attempts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db.h"

struct inbox__note {
    int64_t offset;
    uint64_t identity;
    uint64_t begun_ms; /* the first call */
    uint32_t attempts;
    bool ended;
};

static const char sql_load[] =
    "WITH place AS (SELECT coalesce(max(next_offset), 0) AS next FROM inbox.position"
    " WHERE consumer = $1 AND topic = $2 AND kafka_partition = $3::integer),"
    " gone AS (DELETE FROM inbox.attempt WHERE consumer = $1 AND topic = $2"
    " AND kafka_partition = $3::integer AND kafka_offset < (SELECT next FROM place))"
    " SELECT kafka_offset, event_id, attempts, begun_by IS NOT NULL AND begun_by <> $4,"
    " greatest(extract(epoch FROM clock_timestamp() - first_begun_at)"
    " OPERATOR(pg_catalog.*) 1000, 0)::bigint"
    " FROM inbox.attempt WHERE consumer = $1 AND topic = $2 AND kafka_partition = $3::integer"
    " AND kafka_offset >= (SELECT next FROM place) ORDER BY kafka_offset";

static const char sql_begins[] =
    "INSERT INTO inbox.attempt AS a (consumer, topic, kafka_partition, kafka_offset, event_id,"
    " attempts, begun_by) VALUES ($1, $2, $3::integer, $4::bigint, $5, $6::integer, $7)"
    " ON CONFLICT ON CONSTRAINT attempt_pkey DO UPDATE SET event_id = excluded.event_id,"
    " attempts = excluded.attempts, begun_by = excluded.begun_by, next_attempt_at = NULL,"
    " first_begun_at = CASE WHEN a.event_id = excluded.event_id THEN a.first_begun_at"
    " ELSE excluded.first_begun_at END,"
    " error_code = CASE WHEN a.event_id = excluded.event_id THEN a.error_code END,"
    " error = CASE WHEN a.event_id = excluded.event_id THEN a.error END,"
    " last_failed_at = CASE WHEN a.event_id = excluded.event_id THEN a.last_failed_at END";

static const char sql_failed[] =
    "UPDATE inbox.attempt SET begun_by = NULL, error_code = $5, error = $6, last_failed_at = clock_timestamp(),"
    " next_attempt_at = clock_timestamp() + $7::bigint * interval '1 ms'"
    " WHERE consumer = $1 AND topic = $2 AND kafka_partition = $3::integer AND kafka_offset = $4::bigint";

/* -- what earlier processes wrote ------------------------------------------------------------- */

static void read_row(const PGresult *r, int row, struct inbox__note *note)
{
    const char *identity = PQgetvalue(r, row, 1);
    uint64_t age_ms = strtoull(PQgetvalue(r, row, 4), NULL, 10), now_ms = inbox__now_ms();

    *note = (struct inbox__note){
        .offset = strtoll(PQgetvalue(r, row, 0), NULL, 10),
        .identity = inbox__hash(INBOX__HASH, identity, strlen(identity)),
        .attempts = (uint32_t)strtoul(PQgetvalue(r, row, 2), NULL, 10),
        .ended = strcmp(PQgetvalue(r, row, 3), "t") == 0,
        .begun_ms = age_ms < now_ms ? now_ms - age_ms : 0,
    };
}

bool inbox__attempts_load(struct inbox_consumer *c, struct inbox__partition *p)
{
    char number[12], why[400];
    const char *values[] = { c->set.group, p->topic, number, c->owner };
    struct inbox__note *notes = NULL;
    PGresult *r;
    bool ok;

    if (inbox__db_lost(c))
        return false;
    snprintf(number, sizeof number, "%d", (int)p->number);
    r = PQexecParams(c->conn, sql_load, 4, NULL, values, NULL, NULL, 0);
    ok = PQresultStatus(r) == PGRES_TUPLES_OK;
    if (ok && PQntuples(r) > 0)
        ok = (notes = calloc((size_t)PQntuples(r), sizeof *notes)) != NULL;
    if (ok) {
        inbox__attempts_forget(p);
        p->notes = notes;
        p->n_notes = (size_t)PQntuples(r);
        for (int row = 0; row < PQntuples(r); row++)
            read_row(r, row, &notes[row]);
    } else {
        snprintf(why, sizeof why, "its attempts cannot be read: %s",
                 inbox__db_words(r, "the link or memory is missing"));
        inbox__partition_waits(c, p, why);
    }
    PQclear(r);
    return ok;
}

void inbox__attempts_forget(struct inbox__partition *p)
{
    free(p->notes);
    p->notes = NULL;
    p->n_notes = 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct inbox__note *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

void inbox__attempts_match(const struct inbox__partition *p, struct inbox__record *r)
{
    const struct inbox__note wanted = { .offset = r->item.offset };
    const struct inbox__note *note =
        p->n_notes == 0 ? NULL : bsearch(&wanted, p->notes, p->n_notes, sizeof wanted, by_offset);

    if (note == NULL || note->identity != r->item.identity)
        return;
    r->noted = true;
    r->ended = note->ended;
    r->calls_before = r->msg.attempt = note->attempts;
    r->noted_ms = note->begun_ms;
    if (note->ended)
        inbox__record_fail(r, INBOX__ENDED);
}

/* -- one event -------------------------------------------------------------------------------- */

static struct inbox__partition *partition_of(const struct inbox__record *r)
{
    return (struct inbox__partition *)r->item.part;
}

uint32_t inbox__attempts_calls(const struct inbox__record *r)
{
    return r->calls_before + r->item.failures;
}

bool inbox__attempts_suspects(const struct inbox__record *r)
{
    return r->noted || r->item.failures > 0 || partition_of(r)->suspects > 0;
}

void inbox__attempts_returned(const struct inbox__record *r)
{
    if (inbox__attempts_calls(r) == 0 && partition_of(r)->suspects > 0)
        partition_of(r)->suspects--;
}

static void print_place(const struct inbox__record *r, struct inbox__attempt_row *row)
{
    snprintf(row->partition, sizeof row->partition, "%d", (int)r->msg.partition);
    snprintf(row->offset, sizeof row->offset, "%" PRId64, r->msg.offset);
}

struct inbox__step inbox__attempt_begins(const struct inbox_consumer *c, struct inbox__record *r,
                                         struct inbox__attempt_row *row)
{
    print_place(r, row);
    snprintf(row->attempts, sizeof row->attempts, "%" PRIu32, inbox__attempts_calls(r) + 1);
    r->noted = true;
    r->ended = false;
    return (struct inbox__step){
        .sql = sql_begins,
        .n = 7,
        .values = { c->set.group, r->msg.topic, row->partition, row->offset, r->identity,
                    row->attempts, c->owner },
        .alone = true,
    };
}

void inbox__failure_text(const struct inbox_consumer *c, const struct inbox__record *r,
                         struct inbox__failure_text *ret)
{
    ret->error_code = r->sqlstate[0] != '\0' ? r->sqlstate : NULL;
    ret->error = r->error != NULL ? ret->buffer : NULL;
    snprintf(ret->buffer, sizeof ret->buffer, "%s", r->error != NULL ? r->error : "");
    inbox__db_plain(c, ret->buffer);
}

struct inbox__step inbox__attempt_failed(const struct inbox_consumer *c,
                                         const struct inbox__record *r,
                                         struct inbox__attempt_row *row)
{
    uint64_t now_ms = inbox__now_ms();

    print_place(r, row);
    inbox__failure_text(c, r, &row->failure);
    snprintf(row->wait_ms, sizeof row->wait_ms, "%" PRIu64, r->due_ms > now_ms ? r->due_ms - now_ms : 0);
    return (struct inbox__step){
        .sql = sql_failed,
        .n = 7,
        .values = { c->set.group, r->msg.topic, row->partition, row->offset, row->failure.error_code,
                    row->failure.error, row->wait_ms },
        .alone = true,
    };
}
