/* dead.c - see dead.h.
 *
 * A dead letter that could not be stored would stop its partition for ever, so no byte of it may be one
 * that the database refuses: text is made valid UTF-8 without NUL, and ASCII where the database has
 * another encoding.
 */
#include "dead.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db.h"
#include "lib/outbox/text.h"

/* The end of the database's timestamps, in Unix milliseconds. A producer may send any number. */
#define LAST_TIMESTAMP_MS INT64_C(9224318015999000)

static const char sql[] =
    "INSERT INTO inbox.dead (consumer, topic, kafka_partition, kafka_offset, event_id, type, key, payload,"
    " header_names, header_values, recorded_at, reason, attempts, error, first_error_at,"
    " error_code) VALUES"
    " ($1, $2, $3::integer, $4::bigint, $5, $6, $7::bytea, $8::bytea, $9::text[], $10::bytea[],"
    " to_timestamp($11::float8 / 1000), $12, $13::integer, $14,"
    " clock_timestamp() - $15::float8 * interval '1 ms', $16)";

const char *inbox__dead_reason(int outcome)
{
    switch ((enum inbox__fate)outcome) {
    case INBOX__REJECTED: return "rejected";
    case INBOX__ATTEMPTS: return "attempts";
    case INBOX__TIME: return "time";
    case INBOX__AGAIN:
    case INBOX__APPLIED:
    case INBOX__DUPLICATE:
    case INBOX__FAILED: break;
    }
    return NULL;
}

/* A copy that the database takes; NULL: out of memory. */
static char *plain(const struct inbox_consumer *c, const char *text)
{
    size_t size = 3 * strlen(text) + 1;
    char *copy = malloc(size);

    if (copy == NULL)
        return NULL;
    outbox__one_line(text, copy, size);
    inbox__db_plain(c, copy);
    return copy;
}

static bool put_headers(const struct inbox_consumer *c, const inbox_message *msg,
                        struct inbox__dead_row *row)
{
    for (size_t i = 0; i < msg->n_headers; i++) {
        char *name = plain(c, msg->headers[i].name);
        if (name == NULL)
            return false;
        inbox__array_text(&row->names, name);
        inbox__array_bytes(&row->values, msg->headers[i].value, msg->headers[i].value_len);
        free(name);
    }
    return true;
}

static void put_bytes(struct inbox__step *s, int at, const void *bytes, size_t len)
{
    s->values[at] = bytes;
    s->lengths[at] = (int)len;
    s->formats[at] = 1;
}

static void put_numbers(const struct inbox__record *r, uint64_t now_ms, struct inbox__dead_row *row)
{
    uint64_t first_ms = r->calls_before > 0    ? r->noted_ms
                        : r->item.failures > 0 ? r->item.first_error_ms
                                               : now_ms;

    snprintf(row->partition, sizeof row->partition, "%d", (int)r->msg.partition);
    snprintf(row->offset, sizeof row->offset, "%" PRId64, r->msg.offset);
    snprintf(row->attempts, sizeof row->attempts, "%" PRIu32, r->msg.attempt);
    snprintf(row->recorded, sizeof row->recorded, "%" PRId64, r->msg.timestamp_ms);
    snprintf(row->first_error, sizeof row->first_error, "%" PRIu64, now_ms - first_ms);
}

bool inbox__dead_step(const struct inbox_consumer *c, const struct inbox__record *r,
                      const char *reason, uint64_t now_ms, struct inbox__dead_row *row,
                      struct inbox__step *step)
{
    const inbox_message *msg = &r->msg;

    put_numbers(r, now_ms, row);
    row->type = msg->type != NULL ? plain(c, msg->type) : NULL;
    row->error = plain(c, r->error != NULL ? r->error : "");
    if (row->error == NULL || (msg->type != NULL && row->type == NULL) || !put_headers(c, msg, row))
        return false;
    *step = (struct inbox__step){
        .sql = sql,
        .n = 16,
        .values = { c->set.group, msg->topic, row->partition, row->offset, r->identity, row->type,
                    NULL, NULL, inbox__array_finish(&row->names), inbox__array_finish(&row->values),
                    msg->timestamp_ms >= 0 && msg->timestamp_ms <= LAST_TIMESTAMP_MS ? row->recorded : NULL,
                    reason, row->attempts, row->error,
                    row->first_error, r->sqlstate[0] != '\0' ? r->sqlstate : NULL },
    };
    put_bytes(step, 6, msg->key, msg->key_len);
    put_bytes(step, 7, msg->payload, msg->payload_len);
    return step->values[8] != NULL && step->values[9] != NULL;
}

void inbox__dead_row_deinit(struct inbox__dead_row *row)
{
    inbox__array_deinit(&row->names);
    inbox__array_deinit(&row->values);
    free(row->type);
    free(row->error);
    *row = (struct inbox__dead_row){ 0 };
}
