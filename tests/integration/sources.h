/* sources.h - what the tests that drive a source directly share, without core, sink or loop: its settings, a database
 * in which nothing has happened, and the wait for what it says. What may be said is for each test to know.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 */
#ifndef TESTS_INTEGRATION_SOURCES_H
#define TESTS_INTEGRATION_SOURCES_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/source/source.h"
#include "tests/rig/quiet.h"
#include "tests/rig/rig.h"

enum { SOURCES_TTL_MS = 60000 };

static inline uint64_t now(void)
{
    return (uint64_t)rig_now_ms();
}

/* Settings of a source with the rights of a relay; it leads, if anybody does, as "test". */
static inline struct source_config sources_config(void)
{
    static char dsn[1000];

    snprintf(dsn, sizeof dsn, "%s options='-c role=outbox_relay'", rig_dsn());
    return (struct source_config){
        .dsn = dsn,
        .owner = "test",
        .lease_ttl_ms = SOURCES_TTL_MS,
        .statement_timeout_ms = RIG_DEADLINE_MS,
        .retry_base_ms = 10,
        .retry_max_ms = 100,
    };
}

static inline struct source *sources_new(const struct source_config *cfg)
{
    struct source *s = source_new(cfg);

    ck_assert_ptr_nonnull(s);
    return s;
}

/* Nothing was ever appended, sent, held or led. */
static inline void sources_anew(PGconn *db)
{
    rig_exec(db, "truncate outbox.event, outbox.sent, outbox.held restart identity;"
                 "update outbox.relay set epoch = 0, owner = null, lease_expires_at = null,"
                 " cursor_id = 0, cursor_snapshot = pg_current_snapshot(), floor_id = 0,"
                 " system_identifier = null, timeline = null");
}

/* What it says next; false: nothing, and it was waited for wait_ms or until something came to be read. */
static inline bool sources_turn(struct source *s, struct source_event *ret_event, int wait_ms)
{
    struct pollfd fds[SOURCE_MAX_FDS];

    if (source_next(s, now(), ret_event))
        return true;
    (void)poll(fds, (nfds_t)source_pollfds(s, fds), wait_ms);
    return false;
}

/* What it says next, on the way to an event of this type. */
static inline void sources_next(struct source *s, struct source_event *ret_event, enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    while (!sources_turn(s, ret_event, 10))
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("timed out: no event %d in %d ms", (int)type, RIG_DEADLINE_MS);
}

/* The third connection can be used, or cannot; until then nothing is said. */
static inline void sources_wait_aside(struct source *s, bool ready)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;
    struct source_event e;

    while (source_aside_ready(s) != ready) {
        if (sources_turn(s, &e, 10))
            ck_abort_msg("event %d while the aside opens or is lost", (int)e.type);
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("timed out: the aside is not as expected in %d ms", RIG_DEADLINE_MS);
    }
}

/* Rows that all nodes of a statement's plan gave out or passed over: its work, whatever else the machine does. It is run in
 * a session of its own, behind what prepares it, and leaves nothing. */
static inline double sources_rows_handled(const char *prepare, const char *statement)
{
    PGconn *own = rig_connect();
    char explain[200];
    double sum = 0, rows, loops = 1;

    rig_exec(own, prepare);
    rig_exec(own, "begin");
    snprintf(explain, sizeof explain, "explain (analyze, costs off, timing off) %s", statement);
    PGresult *res = PQexec(own, explain);
    ck_assert_int_eq(PQresultStatus(res), PGRES_TUPLES_OK);
    for (int i = 0; i < PQntuples(res); i++) {
        const char *line = PQgetvalue(res, i, 0), *at = strstr(line, "(actual rows=");
        if (at != NULL && sscanf(at, "(actual rows=%lf loops=%lf)", &rows, &loops) == 2)
            sum += rows * loops;
        else if ((at = strstr(line, "Rows Removed by")) != NULL && (at = strchr(at, ':')) != NULL)
            sum += strtod(at + 1, NULL) * loops;
    }
    PQclear(res);
    PQfinish(own);
    return sum;
}

#endif
