/* incidents.c - see incidents.h. */
#include "relay/incidents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/room.h"
#include "relay/text.h"
#include "relay/verdict.h"

/* Lines about rows, in so long. */
#define ROW_LINES 10
#define ROW_LINES_MS 1000

void reason_clear(struct reason *r)
{
    free(r->text);
    *r = (struct reason){ NULL, NULL };
}

static void reason_set(struct reason *r, const char *code, const char *text)
{
    reason_clear(r);
    *r = (struct reason){ code, strdup(text) }; /* without memory only the code is kept */
}

void incidents_deinit(struct incidents *i)
{
    for (uint32_t t = 0; t < i->n_topics; t++)
        reason_clear(&i->topic[t].reason);
    free(i->topic);
    *i = (struct incidents){ .topic = NULL };
}

/* NULL: out of memory. */
static struct topic_note *note_of(struct incidents *i, uint32_t topic)
{
    struct topic_note *notes = room_for(topic, i->topic, &i->n_topics, sizeof *notes);

    if (notes == NULL)
        return NULL;
    i->topic = notes;
    return &notes[topic];
}

const struct reason *incidents_of_topic(const struct incidents *i, uint32_t topic)
{
    return topic < i->n_topics && i->topic[topic].reason.code != NULL ? &i->topic[topic].reason : NULL;
}

static bool may_say(struct incidents *i, uint64_t now_ms)
{
    uint32_t suppressed;
    bool may = restraint_admits(&i->lines, now_ms, ROW_LINES, ROW_LINES_MS, &suppressed);

    if (suppressed > 0)
        log_warn("relay", "more lines of the same kind", "suppressed", log_i64(suppressed));
    return may;
}

/* Returns to. */
static const char *mend_topic(const char *topic, const char *code, char *to, size_t to_size)
{
    if (strcmp(code, "TOPIC_AUTHORIZATION_FAILED") == 0)
        snprintf(to, to_size, "grant this client WRITE and DESCRIBE on the topic; it is probed again by itself");
    else if (strstr(code, "UNKNOWN_TOPIC") != NULL || strstr(code, "UNKNOWN_PARTITION") != NULL)
        snprintf(to, to_size, "create the topic, and its rows go by themselves; where its name is a mistake: "
                 VERDICT_DISCARD, topic);
    else
        snprintf(to, to_size, "mend the brokers that hold the topic; it is probed again by itself");
    return to;
}

/* What the row is refused for may be no fault of its own. */
static const char *cause_of(const char *code)
{
    if (strcmp(code, "MSG_SIZE_TOO_LARGE") == 0)
        return " (max.message.bytes of the topic, kafka.message.max.bytes here)";
    if (strcmp(code, "INVALID_TIMESTAMP") == 0)
        return " (the clock of the database, or of the broker)";
    return "";
}

/* NULL: it goes by itself. Else returns to. */
static const char *mend_failure(const struct row *row, const struct sink_report *report, char *to, size_t to_size)
{
    switch (report->blame) {
    case BLAME_NONE:
    case BLAME_PRODUCER:
        return NULL;
    case BLAME_TOPIC:
        return mend_topic(row->topic, report->code, to, to_size);
    case BLAME_ROW:
        break;
    }
    snprintf(to, to_size, "mend the cause%s, or outbox-relay discard --retrying --reason TEXT --id %" PRId64,
             cause_of(report->code), row->id);
    return to;
}

void incidents_failed(struct incidents *i, uint64_t now_ms, const struct row *row, uint32_t topic,
                      uint32_t attempts, const struct sink_report *report, struct reason *ret_reason)
{
    struct topic_note *note;
    char how[500];

    switch (report->blame) {
    case BLAME_NONE:
        if (report->code[0] == '_' || strcmp(report->code, "NO_ERROR") == 0)
            return; /* librdkafka's own: the link, a purge, a confirmation that names no place */
        break;
    case BLAME_PRODUCER: /* of the topic, should it be paused for it */
    case BLAME_TOPIC:
        note = note_of(i, topic);
        if (note != NULL)
            reason_set(&note->reason, report->code, report->text);
        break;
    case BLAME_ROW:
        reason_set(ret_reason, report->code, report->text);
        break;
    }
    if (may_say(i, now_ms))
        log_warn("relay", "kafka did not accept a row; it stays unsent and goes again", "id",
                 log_i64(row->id), "topic", row->topic, "code", report->code, "error",
                 report->text, "refused_before", log_i64(attempts), "remedy",
                 mend_failure(row, report, how, sizeof how));
}

void incidents_confirmed(struct incidents *i, const struct topics *topics, uint32_t topic)
{
    const struct topic *t = &topics->topic[topic];

    if (topic < i->n_topics && i->topic[topic].reason.code != NULL && t->failures == 0 && !t->held)
        reason_clear(&i->topic[topic].reason);
}

void incidents_circle(uint64_t hops, uint32_t hops_max, struct reason *ret_reason)
{
    char text[200];

    snprintf(text, sizeof text,
             "the event has %" PRIu64 " hops, hops.max is %" PRIu32 ": events cause each other in a circle",
             hops, hops_max);
    reason_set(ret_reason, "HOPS_EXCEEDED", text);
}

void incidents_unreadable(struct incidents *i, const struct row *row, uint32_t topic, struct reason *ret_reason)
{
    struct topic_note *note = note_of(i, topic);

    reason_set(ret_reason, "UNREADABLE", row->unreadable);
    if (row->key_unreadable && note != NULL)
        reason_set(&note->reason, "UNREADABLE", row->unreadable);
}

void incidents_dead(struct incidents *i, uint64_t now_ms, const struct row *row, uint32_t attempts,
                    const struct reason *reason)
{
    char event_id[37];

    text_uuid(row->event_id, event_id);
    if (may_say(i, now_ms))
        log_error("relay", "a row is dead: it is not sent until a person decides", "id", log_i64(row->id),
                  "event_id", event_id, "topic", row->topic, "bytes",
                  log_i64((int64_t)(row->key_len + row->payload_len)), "attempts", log_i64(attempts), "code", reason->code, "error",
                  reason->text, "remedy", "outbox-relay dead lists it; then outbox-relay retry or discard");
}

void incidents_stalled(struct incidents *i, const struct topics *topics, uint64_t at_ms)
{
    for (uint32_t n = 0; n < topics->n; n++) {
        struct topic_note *note = topics->topic[n].stalled_ms == at_ms ? note_of(i, n) : NULL;
        if (note != NULL)
            reason_set(&note->reason, "NO_PROGRESS",
                       "none of its records on their way was confirmed within stall.timeout, and a broker answers");
    }
}

void incidents_topics(struct incidents *i, const struct topics *topics)
{
    if (i->n_changes == topics->n_changes)
        return;
    i->n_changes = topics->n_changes;
    char how[500];
    for (uint32_t n = 0; n < topics->n; n++) {
        const struct topic *t = &topics->topic[n];
        struct topic_note *note = note_of(i, n);
        if (note == NULL)
            return;
        bool paused = topic_keeps_rows_waiting(t);
        if (paused && !note->paused)
            log_warn("relay", "a topic is paused: its rows wait in outbox.held", "topic", t->name, "code",
                     note->reason.code != NULL ? note->reason.code : t->found_paused ? "found so" : "no progress",
                     "error", note->reason.text, "remedy", note->reason.code == NULL && t->found_paused
                         ? "outbox-relay status says why; it is probed again by itself"
                         : mend_topic(t->name, note->reason.code != NULL ? note->reason.code : "", how, sizeof how));
        if (t->failures == 0 && note->paused)
            log_info("relay", "a topic takes rows again", "topic", t->name, "held",
                     t->held ? "its held rows come first" : NULL);
        if (!t->held && note->held && !paused)
            log_info("relay", "no row of the topic is paused any more", "topic", t->name);
        note->paused = paused;
        note->held = t->held;
        if (!note->paused && !note->held)
            reason_clear(&note->reason);
    }
}
