/* buckets.h - what the tests of emptying a bucket share: a source with the rights of a relay, which leads, and the
 * events that it finds.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied; the server
 * must allow prepared transactions. `src` is a struct source driven directly. Events are put into bucket 3, an
 * hour old. Each test starts with empty tables.
 */
#ifndef TESTS_INTEGRATION_BUCKETS_H
#define TESTS_INTEGRATION_BUCKETS_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/source/source.h"
#include "tests/rig/rig.h"

enum { TTL_MS = 60000, BUCKET = 3 };

#define RETENTION_MS (30 * 60 * 1000)
#define OLD "now() - interval '1 hour'"

static PGconn *db, *a; /* db is never in a transaction */
static struct source *src;
static struct source_event last;
static struct row *rows[100]; /* of the last page, by id */

/* -- the source ----------------------------------------------------------------------------- */

static inline uint64_t now(void)
{
    return (uint64_t)rig_now_ms();
}

static inline void keep_rows(void)
{
    for (uint32_t i = 0; i < last.n_rows; i++) {
        ck_assert_int_lt(last.rows[i]->id, 100);
        free(rows[last.rows[i]->id]);
        rows[last.rows[i]->id] = last.rows[i];
    }
}

static inline void wait_for(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;
    struct pollfd fds[SOURCE_MAX_FDS];

    for (;;) {
        while (source_next(src, now(), &last)) {
            if (last.type == SOURCE_PAGE || last.type == SOURCE_DUE_PAGE)
                keep_rows();
            if (last.type == type)
                return;
            ck_assert_msg(last.type == SOURCE_UP || last.type == SOURCE_HELD_KEYS,
                          "event %d instead of %d", (int)last.type, (int)type);
        }
        ck_assert_msg(rig_now_ms() < end_ms, "timed out: no event %d in %d ms", (int)type, RIG_DEADLINE_MS);
        (void)poll(fds, (nfds_t)source_pollfds(src, fds), 10);
    }
}

static inline void open_source(void)
{
    static char dsn[1000];
    const struct source_config cfg = {
        .dsn = dsn,
        .owner = "test",
        .lease_ttl_ms = TTL_MS,
        .statement_timeout_ms = RIG_DEADLINE_MS,
        .retry_base_ms = 10,
        .retry_max_ms = 100,
        .aside = true,
    };
    struct pollfd fds[SOURCE_MAX_FDS];

    source_free(src);
    snprintf(dsn, sizeof dsn, "%s options='-c role=outbox_relay'", rig_dsn());
    src = source_new(&cfg);
    ck_assert_ptr_nonnull(src);
    wait_for(SOURCE_UP);
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    for (int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS; !source_aside_ready(src);) {
        ck_assert(!source_next(src, now(), &last));
        ck_assert_int_lt(rig_now_ms(), end_ms);
        (void)poll(fds, (nfds_t)source_pollfds(src, fds), 10);
    }
}

static inline void read_all(void)
{
    do {
        source_read(src, now(), 1000, 1 << 30, 0);
        wait_for(SOURCE_PAGE);
    } while (last.full || last.catching_up);
}

static inline void walk_says(enum source_walk expected)
{
    source_walk(src, now(), BUCKET);
    wait_for(SOURCE_WALKED);
    ck_assert(!last.failed);
    ck_assert_int_eq(last.bucket, BUCKET);
    ck_assert_int_eq(last.walk, expected);
}

/* The lock is asked for 100 ms, and autovacuum may have another: then it is tried again, as the janitor does. */
static inline void empty_says(enum source_emptying expected)
{
    int64_t deadline = rig_now_ms() + RIG_DEADLINE_MS;

    do {
        source_empty(src, now(), RETENTION_MS);
        wait_for(SOURCE_EMPTIED);
        ck_assert(!last.failed);
    } while (last.emptying == EMPTYING_LOCKED && expected != EMPTYING_LOCKED && rig_now_ms() < deadline);
    ck_assert_int_eq(last.bucket, BUCKET);
    ck_assert_int_eq(last.emptying, expected);
}

static inline void empties(void)
{
    walk_says(WALK_DONE);
    empty_says(EMPTYING_DONE);
}

/* -- the database --------------------------------------------------------------------------- */

/* Ids go on from 1. */
static inline void append(PGconn *conn, int n)
{
    rig_execf(conn, "insert into outbox.event (bucket, created_at, topic, key, type, payload, headers) "
                    "select %d, " OLD ", 't', 'k', 'x', 'p', '[[\"a\", \"b\"]]' from generate_series(1, %d)",
              BUCKET, n);
}

static inline void mark(const char *where_)
{
    rig_execf(db, "insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) "
                  "select bucket, id, 1, id + 1000 from outbox.event where %s on conflict do nothing", where_);
}

static inline void hold(const char *where_, const char *state)
{
    rig_execf(db, "insert into outbox.held (id, bucket, topic, key, state) "
                  "select id, bucket, topic, key, '%s' from outbox.event where %s", state, where_);
}

static inline const char *count(const char *what)
{
    static char sql[300];

    snprintf(sql, sizeof sql, "select count(*) from %s", what);
    return rig_scalar(db, sql);
}

/* "3:7 -1:2": how many events are in each bucket. */
static inline const char *buckets(void)
{
    return rig_scalar(db, "select string_agg(bucket || ':' || n, ' ' order by bucket desc) from "
                          "(select bucket, count(*) as n from outbox.event group by 1) x");
}

static inline const char *status(void)
{
    return rig_scalar(db, "select string_agg(id || ':' || state, ' ' order by id) from outbox.event_status");
}

static inline void setup(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    db = rig_connect();
    a = rig_connect();
    rig_exec(a, "set application_name = 'shop'");
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s';"
                 "truncate outbox.event, outbox.sent, outbox.held restart identity;"
                 "update outbox.relay set epoch = 0, owner = null, lease_expires_at = null,"
                 " cursor_id = 0, cursor_snapshot = pg_current_snapshot(), floor_id = 0");
    open_source();
}

static inline void teardown(void)
{
    source_free(src);
    src = NULL;
    for (int i = 0; i < 100; i++) {
        free(rows[i]);
        rows[i] = NULL;
    }
    PQfinish(db);
    PQfinish(a);
}

#endif
