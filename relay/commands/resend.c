/* resend.c - see resend.h. */
#include "relay/commands/resend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/loop.h"

#define WAIT_MS 200 /* between two looks at the clock */

/* -- reports --------------------------------------------------------------------------------- */

static void fail(struct resend *r, int64_t id, const char *code, const char *text)
{
    if (r->failed_id != 0)
        return; /* what comes after the first failure is its consequence */
    r->failed_id = id;
    snprintf(r->why, sizeof r->why, "%s: %s", code, text);
}

static void on_report(void *arg, const struct sink_report *report)
{
    struct resend *r = arg;

    r->n_out--;
    r->last_ms = loop_now_ms();
    if (report->outcome == OUTCOME_PERSISTED)
        r->confirmed[report->slot] = true;
    else
        fail(r, r->row[report->slot]->id, report->code, report->text);
}

/* The reports of the records that it cost follow. */
static void on_fatal(void *arg, enum lane lane)
{
    (void)arg;
    (void)lane;
}

/* -- opening --------------------------------------------------------------------------------- */

int resend_open(struct resend *r, const struct sink_property *properties, size_t n, uint64_t max_bytes,
                char *err, size_t err_size)
{
    const struct sink_config cfg = {
        .properties = properties,
        .n_properties = n,
        .max_rows = RESEND_ROWS,
        .max_bytes = max_bytes,
        .arg = r,
        .on_report = on_report,
        .on_fatal = on_fatal,
    };

    return sink_new(&cfg, &r->sink, err, err_size);
}

void resend_close(struct resend *r)
{
    sink_free(r->sink);
    r->sink = NULL;
    envelope_buf_deinit(&r->buf);
    free(r->headers);
    for (uint32_t i = 0; i < r->n_topics; i++)
        free(r->topics[i]);
    free(r->topics);
}

/* -- one record ------------------------------------------------------------------------------ */

/* UINT32_MAX: out of memory. */
static uint32_t topic_number(struct resend *r, const char *name)
{
    for (uint32_t i = r->n_topics; i-- > 0;)
        if (strcmp(r->topics[i], name) == 0)
            return i;
    char **grown = realloc(r->topics, (r->n_topics + 1) * sizeof *grown);
    if (grown == NULL)
        return UINT32_MAX;
    r->topics = grown;
    r->topics[r->n_topics] = strdup(name);
    return r->topics[r->n_topics] != NULL ? r->n_topics++ : UINT32_MAX;
}

/* The envelope's headers and the marker, in r->headers. Returns their number, 0 when out of memory. */
static size_t make_headers(struct resend *r, const struct row *row)
{
    const struct header *from;
    size_t n_from, n = 0;

    if (envelope_headers(&r->envelope, row, &r->buf, &from, &n_from) < 0)
        return 0;
    if (n_from + 1 > r->max_headers) {
        struct header *grown = realloc(r->headers, 2 * (n_from + 1) * sizeof *grown);
        if (grown == NULL)
            return 0;
        r->headers = grown;
        r->max_headers = 2 * (n_from + 1);
    }
    for (size_t i = 0; i < n_from; i++)
        if (strcmp(from[i].name, r->marker.name) != 0)
            r->headers[n++] = from[i];
    r->headers[n++] = r->marker;
    return n;
}

static bool may_go_on(struct resend *r)
{
    r->interrupted = r->interrupted || loop_stop_requested();
    return r->failed_id == 0 && !r->interrupted;
}

/* Waits a little for reports. False: there was none for too long. */
static bool wait_reports(struct resend *r)
{
    struct pollfd fd = { .fd = sink_fd(r->sink), .events = POLLIN };

    loop_wait(&fd, 1, loop_now_ms() + WAIT_MS);
    sink_poll(r->sink);
    if (r->n_out == 0 || loop_now_ms() - r->last_ms < r->patience_ms)
        return true;
    for (uint32_t i = 0; r->failed_id == 0 && i < r->n_sent; i++)
        if (!r->confirmed[i])
            fail(r, r->row[i]->id, "no answer", "nothing was confirmed within drain.timeout");
    return false;
}

/* False: it was not taken, and nothing more goes. */
static bool send(struct resend *r, uint32_t slot, const struct row *row)
{
    struct sink_record record = { .slot = slot, .topic = topic_number(r, row->topic), .row = row };
    struct sink_report refused;

    record.n_headers = make_headers(r, row);
    record.headers = r->headers;
    if (record.topic == UINT32_MAX || record.n_headers == 0) {
        fail(r, row->id, "no memory", "out of memory");
        return false;
    }
    while (may_go_on(r)) {
        if (r->n_out == 0)
            r->last_ms = loop_now_ms();
        /* see sink_must_wait: of the rows with a key one goes first to each partition */
        if (!sink_must_wait(r->sink, LANE_MAIN, record.topic, row)) {
            switch (sink_produce(r->sink, LANE_MAIN, &record, &refused)) {
            case SINK_TAKEN:
                r->n_out++;
                return true;
            case SINK_REFUSED:
                fail(r, row->id, refused.code, refused.text);
                return false;
            case SINK_FULL:
                break;
            }
        }
        if (!wait_reports(r))
            return false;
    }
    return false;
}

uint32_t resend_rows(struct resend *r, struct row *const *rows, uint32_t n)
{
    uint32_t n_confirmed = 0;

    r->row = rows;
    r->n_sent = 0;
    memset(r->confirmed, 0, sizeof r->confirmed);
    while (r->n_sent < n && send(r, r->n_sent, rows[r->n_sent]))
        r->n_sent++;
    while (r->n_out > 0 && wait_reports(r))
        continue;
    if (r->n_out > 0) { /* reports what is still out, and the rows may go */
        sink_free(r->sink);
        r->sink = NULL;
    }
    while (n_confirmed < n && r->confirmed[n_confirmed])
        n_confirmed++;
    return n_confirmed;
}
