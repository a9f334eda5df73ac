/* inbox_log.h - what the tests of a whole inbox_consumer_run() on a real PostgreSQL share: a log in the place of
 * Kafka, and a clock that nobody waits for.
 *
 * The test sets in_log, at_poll and is_over; run() stops when is_over() says so. Partitions are assigned at the
 * first poll, as kafka.c does, and begin where the database says, or at 0 where the log has no such offset. Waiting
 * for a record takes no time, but the clock goes on for a second.
 */
#ifndef TESTS_INTEGRATION_INBOX_LOG_H
#define TESTS_INTEGRATION_INBOX_LOG_H

#include <string.h>
#include <time.h>

#include "lib/inbox/inside.h"
#include "lib/outbox/error.h"
#include "tests/rig/fake.h"
#include "tests/rig/rig.h"

static inbox_consumer *c;

/* -- the clock -------------------------------------------------------------------------------- */

static int64_t skipped_s; /* nobody waited for */
static struct timespec stands_at; /* not 0: but for those it stands still, however long all takes */

FAKE(int, clock_gettime, (clockid_t id, struct timespec *ret))
{
    int code = __real_clock_gettime(id, ret);

    if (stands_at.tv_sec != 0 && id == CLOCK_MONOTONIC)
        *ret = stands_at;
    ret->tv_sec += (time_t)skipped_s;
    return code;
}

/* -- the log ---------------------------------------------------------------------------------- */

enum { N_PARTITIONS = 2, MOST_RECORDS = 6, PATIENCE_MS = 45000 };

/* key NULL: the end. id NULL: none. */
struct logged {
    const char *key, *id, *type;
};
static const struct logged (*in_log)[MOST_RECORDS + 1];
static bool endless; /* after the last record the first comes again, with the next offset */

static void (*at_poll)(void); /* before each */
static bool (*is_over)(void); /* asked when all has been handed out */

static unsigned n_joins;
static bool assigned;
static int64_t assigned_from_s; /* of skipped_s: Kafka does so then */
static int64_t fetched[N_PARTITIONS]; /* the next offset */

static int64_t n_logged(int partition)
{
    int64_t n = 0;

    while (in_log[partition][n].key != NULL)
        n++;
    return n;
}

static int64_t end_of(int partition)
{
    int64_t n = n_logged(partition);

    return endless && n > 0 ? INT64_MAX : n;
}

static struct inbox__record *record_at(int partition, int64_t offset)
{
    const struct logged *l = &in_log[partition][offset % n_logged(partition)];
    outbox_header headers[] = { { "ce_type", l->type, strlen(l->type) },
                                { "ce_id", l->id, l->id != NULL ? strlen(l->id) : 0 } };
    struct inbox__raw raw = { .topic = "nth",
                              .partition = partition,
                              .offset = offset,
                              .key = l->key,
                              .key_len = 1,
                              .payload = "payload",
                              .payload_len = 7,
                              .headers = headers,
                              .n_headers = l->id != NULL ? 2 : 1,
                              .timestamp_ms = 1700000000000 };

    return inbox__record_new(&raw);
}

/* -- kafka.c ---------------------------------------------------------------------------------- */

FAKE(int, inbox__kafka_open, (struct inbox_consumer *consumer, outbox_error *why))
{
    (void)why;
    consumer->kafka = (struct inbox__kafka *)consumer; /* not NULL: in the group */
    consumer->patience_ms = PATIENCE_MS;
    n_joins++;
    assigned = false;
    return OUTBOX_OK;
}

FAKE(void, inbox__kafka_close, (struct inbox_consumer *consumer))
{
    for (struct inbox__partition *p = consumer->partitions; p != NULL; p = p->next)
        if (p->claimed)
            inbox__db_release(consumer, p);
    inbox__partitions_clear(consumer);
    consumer->kafka = NULL;
}

static void fetch_from(int partition, int64_t offset)
{
    fetched[partition] = offset >= 0 && offset <= end_of(partition) ? offset : 0;
}

FAKE(bool, inbox__kafka_begin,
     (struct inbox_consumer *consumer, struct inbox__partition *p, int64_t *offset))
{
    (void)consumer;
    fetch_from(p->number, *offset);
    return true;
}

FAKE(void, inbox__kafka_pause,
     (struct inbox_consumer *consumer, struct inbox__partition *p, bool pause))
{
    (void)consumer;
    p->paused = pause;
}

FAKE(void, inbox__kafka_hint, (struct inbox_consumer *consumer))
{
    (void)consumer;
}

static int64_t has_lag;

FAKE(int64_t, inbox__kafka_lag, (struct inbox_consumer *consumer))
{
    (void)consumer;
    return has_lag;
}

FAKE(void, inbox__kafka_ends, (struct inbox_consumer *consumer))
{
    (void)consumer;
}

FAKE(int64_t, inbox__kafka_low,
     (const struct inbox_consumer *consumer, const struct inbox__partition *p))
{
    (void)consumer, (void)p;
    return 0;
}

FAKE(const char *, inbox__kafka_waits_for, (const struct inbox_consumer *consumer))
{
    (void)consumer;
    return "the test";
}

/* As kafka.c does. */
static int assign(outbox_error *why)
{
    assigned = true;
    for (int i = 0; i < N_PARTITIONS; i++) {
        int64_t start = -1;
        struct inbox__partition *p =
            inbox__partition_add(c, "nth", i, inbox__now_ms() + INBOX__ROUND_MS, &start);
        if (p == NULL)
            return outbox__error_set(why, OUTBOX_ENOMEM, "no memory for a partition");
        fetch_from(i, start);
        p->paused = !p->claimed;
    }
    return OUTBOX_OK;
}

static int hand_out(struct inbox__partition *p, outbox_error *why)
{
    struct inbox__record *r = record_at(p->number, fetched[p->number]);

    if (r == NULL)
        return outbox__error_set(why, OUTBOX_ENOMEM, "no memory for a record");
    fetched[p->number]++;
    if (inbox__partition_admits(c, p, r))
        inbox__received(c, p, r);
    else
        inbox__record_free(r);
    return OUTBOX_OK;
}

FAKE(int, inbox__kafka_poll,
     (struct inbox_consumer *consumer, int timeout_ms, bool *ret_any, outbox_error *why))
{
    (void)consumer;
    *ret_any = false;
    at_poll();
    if (c->kafka != NULL && !assigned && skipped_s >= assigned_from_s)
        return assign(why);
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (!p->paused && fetched[p->number] < end_of(p->number)) {
            *ret_any = true;
            return hand_out(p, why);
        }
    if (c->kafka != NULL && assigned && is_over())
        inbox_consumer_stop(c);
    skipped_s += timeout_ms > 0;
    return OUTBOX_OK;
}

#endif
