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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/sources.h"

enum { BUCKET = 3 };

#define RETENTION_MS (30 * 60 * 1000)
#define OLD "now() - interval '1 hour'"

static PGconn *db, *a; /* db is never in a transaction */
static struct source *src;
static struct source_event last;
static struct row *rows[100]; /* of the last page, by id */

/* -- the source ----------------------------------------------------------------------------- */

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
    do {
        sources_next(src, &last, type);
        if (last.type == SOURCE_PAGE || last.type == SOURCE_DUE_PAGE)
            keep_rows();
        ck_assert_msg(last.type == type || last.type == SOURCE_UP || last.type == SOURCE_HELD_KEYS,
                      "event %d instead of %d", (int)last.type, (int)type);
    } while (last.type != type);
}

static inline void open_source(void)
{
    struct source_config cfg = sources_config();

    cfg.aside = true;
    source_free(src);
    src = sources_new(&cfg);
    wait_for(SOURCE_UP);
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    sources_wait_aside(src, true);
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

static inline void empty_says(enum source_emptying expected)
{
    source_empty(src, now(), RETENTION_MS);
    wait_for(SOURCE_EMPTIED);
    ck_assert(!last.failed);
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
    rig_quiet();
    db = rig_connect();
    a = rig_connect();
    rig_exec(a, "set application_name = 'shop'");
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s';"
                 "alter table outbox.event_3 set (autovacuum_enabled = off);" /* who is in the way is told */
                 "alter table outbox.sent_3 set (autovacuum_enabled = off)");
    sources_anew(db);
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
