/* reads.h - what the tests of reading share: a source that is driven directly, and who writes what it reads.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied; the
 * server must allow prepared transactions. `reader` is a struct source without core, sink or loop; what it
 * has read is in `seen`. Each test starts with empty tables.
 */
#ifndef TESTS_INTEGRATION_READS_H
#define TESTS_INTEGRATION_READS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/sources.h"

enum {
    MANY_BYTES = 1 << 30,
    MANY_READS = 5000,
};

static PGconn *db, *a, *b, *c; /* db is never in a transaction */
static struct source *reader;
static uint64_t next_page;
static struct seen {
    int64_t id;
    uint64_t page;
    int16_t bucket;
    uint8_t event_id[16];
    char key[24];
} *seen;
static size_t n_seen, seen_cap;
static struct source_event last; /* of read_page; its rows are gone */
static size_t last_bytes, last_row_bytes;
static unsigned last_large; /* rows that have something large */
static unsigned n_reads;

/* -- the reader ----------------------------------------------------------------------------- */

static inline void wait_for(enum source_event_type type)
{
    do {
        sources_next(reader, &last, type);
        ck_assert_msg(last.type == type || last.type == SOURCE_UP || last.type == SOURCE_HELD_KEYS,
                      "event %d instead of %d", (int)last.type, (int)type);
    } while (last.type != type);
}

static inline void reader_close(void)
{
    source_free(reader);
    reader = NULL;
}

/* As after a crash, when there was a reader: nobody resigned, and the name is the same. */
static bool mark_async;

static inline void reader_open(void)
{
    struct source_config cfg = sources_config();

    reader_close();
    cfg.dsn = rig_dsn(); /* a superuser's */
    cfg.mark_async = mark_async;
    reader = sources_new(&cfg);
    wait_for(SOURCE_UP);
    source_acquire(reader, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    next_page = 0;
}

static inline void remember(const struct row *row, uint64_t page)
{
    if (n_seen == seen_cap) {
        seen_cap = seen_cap == 0 ? 1024 : 2 * seen_cap;
        seen = realloc(seen, seen_cap * sizeof *seen);
        ck_assert_ptr_nonnull(seen);
    }
    seen[n_seen] = (struct seen){ .id = row->id, .page = page, .bucket = row->bucket };
    memcpy(seen[n_seen].event_id, row->event_id, sizeof row->event_id);
    if (row->key != NULL)
        snprintf(seen[n_seen].key, sizeof seen->key, "%.*s", (int)row->key_len,
                 (const char *)row->key);
    n_seen++;
}

static inline uint32_t read_page(uint32_t max_rows, uint64_t max_bytes)
{
    source_read(reader, now(), max_rows, max_bytes, next_page);
    wait_for(SOURCE_PAGE);
    ck_assert_uint_le(last.n_rows, max_rows);
    last_bytes = last_row_bytes = last_large = 0;
    for (uint32_t i = 0; i < last.n_rows; i++) {
        remember(last.rows[i], next_page);
        last_row_bytes = last.rows[i]->payload_len;
        last_bytes += last_row_bytes;
        last_large += last.rows[i]->block_bytes > 100000;
        free(last.rows[i]);
    }
    n_reads++;
    next_page += last.n_rows > 0;
    return last.n_rows;
}

/* As the core polls: until there is no more for now. */
static inline void read_all(uint32_t max_rows, uint64_t max_bytes)
{
    int n = 0;

    do {
        (void)read_page(max_rows, max_bytes);
        ck_assert_msg(n++ < MANY_READS, "there is always more to read");
    } while (last.full || last.catching_up);
}

/* The ids read since the call before, as text. */
static inline const char *new_ids(void)
{
    static char text[4096];
    static size_t from;
    size_t at = 0;

    text[0] = '\0';
    for (from = from > n_seen ? 0 : from; from < n_seen && at < sizeof text - 24; from++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", at > 0 ? " " : "",
                               (long long)seen[from].id);
    return text;
}

static inline void expect_read(const char *ids)
{
    read_all(100, MANY_BYTES);
    ck_assert_str_eq(new_ids(), ids);
}

static inline const struct seen *seen_of(int64_t id)
{
    for (size_t i = n_seen; i-- > 0;)
        if (seen[i].id == id)
            return &seen[i];
    ck_abort_msg("id %lld was not read", (long long)id);
}

static inline void mark_rows(const char *ids, bool held)
{
    struct source_mark marks[100];
    char *copy = strdup(ids), *rest = NULL;
    uint32_t n = 0;

    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        const struct seen *row = seen_of(atoll(word));
        marks[n++] = (struct source_mark){ .id = row->id, .event_id = row->event_id, .offset = row->id,
                                           .partition = 3, .bucket = row->bucket, .held = held };
    }
    free(copy);
    source_mark(reader, now(), marks, n);
    wait_for(SOURCE_MARKED);
}

static inline void mark(const char *ids)
{
    mark_rows(ids, false);
}

/* What must hold of the saved cursor at any time: no row that is not settled is behind it. */
#define SQL_PASSED                                                                                 \
    "select count(*) from outbox.event e, outbox.relay r where e.id <= r.cursor_id"                \
    " and pg_visible_in_snapshot(e.xid, r.cursor_snapshot)"                                        \
    " and not exists (select from outbox.sent s where s.id = e.id)"                                \
    " and not exists (select from outbox.held h where h.id = e.id)"

static inline void renew(uint64_t page)
{
    source_renew(reader, now(), page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_int_eq(rig_scalar_i64(db, SQL_PASSED), 0);
}

/* -- the writers ---------------------------------------------------------------------------- */

static inline int64_t append(PGconn *conn, const char *key)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "insert into outbox.event (topic, type, key, payload) values ('t', 'x', '%s', 'p')"
             " returning id", key);
    return rig_scalar_i64(conn, sql);
}

static inline int64_t own_xid(PGconn *conn)
{
    return rig_scalar_i64(conn, "select pg_current_xact_id()::text::bigint");
}

static inline void reset_tables(void)
{
    rig_exec(db, "drop trigger if exists stall on outbox.event");
    sources_anew(db);
    n_seen = 0;
    (void)new_ids();
}

/* What a test that failed half way left behind would lock out all others. */
static inline void forget_prepared(void)
{
    PGresult *res = PQexec(db, "select format('rollback prepared %L', gid) from pg_prepared_xacts"
                               " where database = current_database()");

    for (int i = 0; i < PQntuples(res); i++)
        rig_exec(db, PQgetvalue(res, i, 0));
    PQclear(res);
}

static inline void setup(void)
{
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    db = rig_connect();
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s'");
    forget_prepared();
    a = rig_connect();
    b = rig_connect();
    c = rig_connect();
    reset_tables();
}

static inline void teardown(void)
{
    reader_close();
    PQfinish(db);
    PQfinish(a);
    PQfinish(b);
    PQfinish(c);
    free(seen);
    seen = NULL;
    n_seen = seen_cap = 0;
}

/* -- what was read against what is there ---------------------------------------------------- */

static inline void append_series(PGconn *conn, const char *key, int n)
{
    rig_execf(conn, "insert into outbox.event (topic, type, key, payload) select 't', 'x', '%s',"
                    " convert_to(n::text, 'UTF8') from generate_series(1, %d) n", key, n);
}

/* Every committed row exactly once, whatever the order. */
static inline void expect_all_once(void)
{
    size_t n = (size_t)rig_scalar_i64(db, "select count(*) from outbox.event");
    int64_t top = rig_scalar_i64(db, "select coalesce(max(id), 0) from outbox.event");
    char *hits = calloc((size_t)top + 1, 1);
    PGresult *res = PQexec(db, "select id from outbox.event");

    for (size_t i = 0; i < n_seen; i++)
        if (hits[seen[i].id]++ > 0)
            ck_abort_msg("id %lld was read twice", (long long)seen[i].id);
    for (int i = 0; i < PQntuples(res); i++)
        if (hits[atoll(PQgetvalue(res, i, 0))] == 0)
            ck_abort_msg("id %s was not read", PQgetvalue(res, i, 0));
    PQclear(res);
    free(hits);
    ck_assert_uint_eq(n_seen, n);
}

/* Rows of a key that one writer wrote came in the order of their ids. */
static inline void expect_key_order(void)
{
    for (size_t i = 0; i < n_seen; i++)
        for (size_t j = i; j-- > 0;)
            if (strcmp(seen[j].key, seen[i].key) == 0) {
                if (seen[j].id >= seen[i].id)
                    ck_abort_msg("key %s: id %lld after %lld", seen[i].key, (long long)seen[i].id,
                                 (long long)seen[j].id);
                break;
            }
}

#endif
