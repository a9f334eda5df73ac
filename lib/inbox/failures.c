/* failures.c - see failures.h.
 *
 * Why an event is called again, and when, stands in its row of inbox.attempt. Of a call that was written down before it began
 * that is said with its return, in the statement that is needed anyway: attempts.c. This is for the others, most of
 * which have failed for the first time: without it nothing but the log would know of them until their second call,
 * which may be a minute away.
 *
 * It is a note. So it is a transaction of its own behind the batch, which has been settled; it waits 200 ms for a lock at
 * most, and for no disk; and it writes only what is still this process's: a new owner has read the rows when it claimed the partition, and
 * would not know of one that comes later. Whoever claims it meanwhile waits for the lock of the position.
 */
#include "failures.h"

#include <libpq-fe.h>

#include "array.h"
#include "attempts.h"
#include "batch.h"
#include "db.h"
#include "steps.h"

enum { TOPICS, PARTITIONS, OFFSETS, EVENT_IDS, ATTEMPTS, AGES_MS, ERROR_CODES, ERRORS, WAITS_MS, N_COLUMNS };

static const char sql_waits_little[] =
    "SELECT set_config('lock_timeout', '200ms', true), set_config('synchronous_commit', 'off', true)";

static const char sql_note[] =
    "INSERT INTO inbox.attempt AS a (consumer, topic, kafka_partition, kafka_offset, event_id, attempts,"
    " first_begun_at, error_code, error, last_failed_at, next_attempt_at)"
    " SELECT $1, f.topic, f.number, f.place, f.event_id, f.attempts, t.now - f.age_ms * interval '1 ms',"
    " f.error_code, f.error, t.now, t.now + f.wait_ms * interval '1 ms'"
    " FROM (SELECT clock_timestamp()) AS t (now), unnest($3::text[], $4::integer[], $5::bigint[], $6::text[],"
    " $7::integer[], $8::bigint[], $9::text[], $10::text[], $11::bigint[])"
    " AS f (topic, number, place, event_id, attempts, age_ms, error_code, error, wait_ms)"
    " JOIN inbox.position p ON p.consumer = $1 AND p.topic = f.topic AND p.kafka_partition = f.number"
    " AND p.owner = $2 FOR SHARE OF p"
    " ON CONFLICT ON CONSTRAINT attempt_pkey DO UPDATE SET event_id = excluded.event_id,"
    " attempts = excluded.attempts, begun_by = NULL, first_begun_at = CASE WHEN a.event_id = excluded.event_id"
    " THEN least(a.first_begun_at, excluded.first_begun_at) ELSE excluded.first_begun_at END,"
    " error_code = excluded.error_code, error = excluded.error, last_failed_at = excluded.last_failed_at,"
    " next_attempt_at = excluded.next_attempt_at";

static void add_row(const struct inbox_consumer *c, const struct inbox__record *r, struct inbox__array *columns)
{
    struct inbox__failure_text text;
    uint64_t now_ms = inbox__now_ms();

    inbox__failure_text(c, r, &text);
    inbox__array_text(&columns[TOPICS], r->msg.topic);
    inbox__array_number(&columns[PARTITIONS], r->msg.partition);
    inbox__array_number(&columns[OFFSETS], r->msg.offset);
    inbox__array_text(&columns[EVENT_IDS], r->identity);
    inbox__array_number(&columns[ATTEMPTS], inbox__attempts_calls(r));
    inbox__array_number(&columns[AGES_MS], (long long)(now_ms - r->called_ms));
    inbox__array_text(&columns[ERROR_CODES], text.error_code);
    inbox__array_text(&columns[ERRORS], text.error);
    inbox__array_number(&columns[WAITS_MS], r->due_ms > now_ms ? (long long)(r->due_ms - now_ms) : 0);
}

static void run(struct inbox_consumer *c, struct inbox__step *note)
{
    struct inbox__step steps[] = { { .sql = sql_waits_little }, *note };

    if (!inbox__steps_run(c->conn, steps, 2))
        inbox__rollback(c);
    else if (!inbox__step_ok(&steps[1]))
        inbox__log(c, 7, "inbox.attempt does not say yet what failed: %s",
                   inbox__db_words(steps[1].result, "the database did not answer"));
    inbox__steps_clear(steps, 2);
}

void inbox__failures_write(struct inbox_consumer *c, struct inbox__record *const *failed, size_t n)
{
    struct inbox__array columns[N_COLUMNS] = { { 0 } };
    struct inbox__step note = { .sql = sql_note, .n = 2 + N_COLUMNS, .values = { c->set.group, c->owner } };
    bool all = true;

    if (n == 0 || inbox__db_lost(c))
        return;
    for (size_t i = 0; i < n; i++)
        add_row(c, failed[i], columns);
    for (int i = 0; i < N_COLUMNS; i++)
        all = (note.values[2 + i] = inbox__array_finish(&columns[i])) != NULL && all;
    for (size_t i = 0; i < n && all; i++)
        failed[i]->noted = true;
    if (all)
        run(c, &note);
    for (int i = 0; i < N_COLUMNS; i++)
        inbox__array_deinit(&columns[i]);
}
