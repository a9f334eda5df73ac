/* inbox_run.h - what the tests of whole runs of libinbox share: a consumer on a real PostgreSQL whose handler inserts
 * a row and then does as the test says. Kafka and the clock are faked: inbox_log.h, which the test includes too.
 */
#ifndef TESTS_INTEGRATION_INBOX_RUN_H
#define TESTS_INTEGRATION_INBOX_RUN_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include <libpq-fe.h>

#include "lib/inbox/db.h"
#include "tests/integration/inbox_log.h"

enum { DEADLINE_MS = 120000 };

static PGconn *control;
static outbox_error err;
static char said[400]; /* the last line of the log */
static int64_t end_ms;
static unsigned n_polls;
static uint64_t n_received; /* by the last run */

static const struct logged two[N_PARTITIONS][MOST_RECORDS + 1] = {
    { { "a", "a-1", "event" }, { "b", "b-1", "event" } },
};

/* -- a consumer ------------------------------------------------------------------------------- */

static int (*behaves)(const inbox_message *msg); /* after its INSERT */

static inline int is_done(const inbox_message *msg)
{
    (void)msg;
    return INBOX_DONE;
}

static inline int on_event(PGconn *conn, const inbox_message *msg, void *arg)
{
    const char *values[] = { msg->event_id };
    PGresult *r = PQexecParams(conn, "insert into applied (event) values ($1)", 1, NULL, values, NULL,
                               NULL, 0);
    bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;

    (void)arg;
    PQclear(r);
    return ok ? behaves(msg) : INBOX_RETRY;
}

static inline void on_log(int level, const char *line, void *arg)
{
    (void)level, (void)arg;
    snprintf(said, sizeof said, "%s", line);
}

static inline bool is_all_finished(void)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (!p->claimed || (end_of(p->number) > 0 && p->part.stored != end_of(p->number)))
            return false;
    return rig_scalar_i64(control, "select count(*) from inbox.dead where state = 'retry'") == 0;
}

static inline void count_polls(void)
{
    n_polls++;
    ck_assert_msg(rig_now_ms() - 1000 * skipped_s < end_ms, "timed out: the consumer does not end: %s", said);
}

static const char *settings[] = {
    "dsn", NULL, "group", "run", "topics", "nth", "kafka.bootstrap.servers", "127.0.0.1:1", "retry.base", "1ms",
    "retry.max", "1s", "retry.attempts", NULL, "retry.total", NULL, "dedupe.keep", "3650d", NULL
};

/* As if somebody did it between the end of a transaction and what comes next. */
static void (*after_rollback)(void);

FAKE(void, inbox__rollback, (struct inbox_consumer *consumer))
{
    void (*then)(void) = after_rollback;

    __real_inbox__rollback(consumer);
    after_rollback = NULL;
    if (then != NULL)
        then();
}

static inline void new_consumer_of(const char *dsn, const char *attempts, const char *total)
{
    settings[1] = dsn;
    settings[13] = attempts;
    settings[15] = total;
    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_int_eq(inbox_consumer_on(c, "event", on_event, NULL, &err), OUTBOX_OK);
    inbox_consumer_log(c, on_log, NULL);
}

static inline void new_consumer(const char *attempts, const char *total)
{
    new_consumer_of(rig_dsn(), attempts, total);
}

static inline void run(void)
{
    int code;

    end_ms = rig_now_ms() - 1000 * skipped_s + DEADLINE_MS;
    code = inbox_consumer_run(c, &err);
    ck_assert_msg(code == OUTBOX_OK, "%d: %s", code, err.message);
    n_received = c->figures.received;
    inbox_consumer_free(c);
    skipped_s = stands_at.tv_sec = 0; /* libcheck takes the time, too */
}

static inline void setup(void)
{
    control = rig_connect();
    err = (outbox_error)OUTBOX_ERROR_INIT;
    rig_exec(control,
             "set client_min_messages = warning; drop table if exists applied; "
             "create table applied (n bigserial, event text); drop function if exists decide cascade; "
             "truncate inbox.dead, inbox.attempt, inbox.position, inbox.seen, inbox.consumer");
    behaves = is_done;
    at_poll = count_polls;
    is_over = is_all_finished;
    after_rollback = NULL;
    endless = false;
    assigned_from_s = 0;
    n_polls = 0;
}

static inline void teardown(void)
{
    PQfinish(control);
    control = NULL;
}

static inline const char *applied(void)
{
    return rig_scalar(control, "select coalesce(string_agg(event, ' ' order by n), '') from applied");
}

/* One try, which comes in pieces. */
static inline int try_to_link(void)
{
    uint32_t failures = c->connect_failures;
    int code;

    do
        code = inbox__db_tend(c, inbox__now_ms(), &err);
    while (code == OUTBOX_OK && inbox__db_lost(c) && c->connect_failures == failures);
    return code;
}

/* Without a run. */
static inline void link_consumer(void)
{
    new_consumer("3", "15m");
    snprintf(c->owner, sizeof c->owner, "me");
    ck_assert_int_eq(try_to_link(), OUTBOX_OK);
    ck_assert(!inbox__db_lost(c));
}

static inline void unlink_consumer(void)
{
    inbox__db_close(c);
    inbox_consumer_free(c);
}

#endif
