/* holds.h - what the tests of outbox.held share: a source that is driven directly, and what it has said.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 * `src` is a struct source without core, sink or loop, as in reads.h. Rows that it read are kept in `rows` by
 * id. What is held is compared as text: "3:blocked*", the star for a row with next_attempt_at. Each test
 * starts with empty tables.
 */
#ifndef TESTS_INTEGRATION_HOLDS_H
#define TESTS_INTEGRATION_HOLDS_H

#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/sources.h"

enum {
    MANY_BYTES = 1 << 30,
    MAX_ROWS = 20000,
    MAX_TEXT = 60000,
};

static PGconn *db, *a, *b; /* db is never in a transaction */
static struct source *src;
static struct row *rows[MAX_ROWS]; /* by id */
static struct source_event last;   /* its rows are in `page` */
static int64_t page[MAX_ROWS];
static uint32_t n_page;
static char freed[MAX_TEXT];
static char loaded[MAX_TEXT]; /* what the last takeover was told */
static uint32_t n_loaded, n_pieces;
static uint64_t next_page;
static bool hold_waits; /* for a lock of ours: a second is all it has */

/* -- the source ----------------------------------------------------------------------------- */

static inline void note_keys(const struct source_event *e)
{
    size_t at = strlen(loaded);

    n_pieces++;
    n_loaded += e->n_keys;
    for (uint32_t i = 0; i < e->n_keys && at < sizeof loaded - 600; i++) {
        const struct source_key *k = &e->keys[i];
        at += (size_t)snprintf(loaded + at, sizeof loaded - at, "%s%s/%.*s", at > 0 ? " " : "",
                               k->topic, k->key != NULL ? (int)k->key_len : 1,
                               k->key != NULL ? (const char *)k->key : "*");
    }
}

static inline void note_freed(const struct source_event *e)
{
    size_t at = 0;

    freed[0] = '\0';
    for (uint32_t i = 0; i < e->n_freed && at < sizeof freed - 24; i++)
        at += (size_t)snprintf(freed + at, sizeof freed - at, "%s%lld", at > 0 ? " " : "",
                               (long long)e->freed[i]);
}

/* The rows of a page; what came before under the same id is replaced. */
static inline void keep_rows(const struct source_event *e)
{
    n_page = e->n_rows;
    for (uint32_t i = 0; i < e->n_rows; i++) {
        int64_t id = e->rows[i]->id;
        ck_assert_int_lt(id, MAX_ROWS);
        ck_assert(i == 0 || page[i - 1] < id);
        free(rows[id]);
        rows[id] = e->rows[i];
        page[i] = id;
    }
}

static inline void note(const struct source_event *e)
{
    if (e->type == SOURCE_HELD_KEYS)
        note_keys(e);
    else if (e->type == SOURCE_MARKED || e->type == SOURCE_HELD)
        note_freed(e);
    else if (e->type == SOURCE_PAGE || e->type == SOURCE_DUE_PAGE || e->type == SOURCE_TOPIC_PAGE)
        keep_rows(e);
}

/* One turn; true when the event came. */
static inline bool turn(struct source *s, enum source_event_type type, int wait_ms)
{
    while (sources_turn(s, &last, wait_ms)) {
        note(&last);
        if (last.type == type)
            return true;
        if ((last.type == SOURCE_HOLD_FAILED || last.type == SOURCE_LEASE_FAILED) && hold_waits)
            ck_abort_msg("timed out: the second of a hold or a takeover was over before its lock was free");
        ck_assert_msg(last.type == SOURCE_UP || last.type == SOURCE_HELD_KEYS,
                      "event %d instead of %d", (int)last.type, (int)type);
    }
    return false;
}

static inline void wait_for(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    while (!turn(src, type, 50))
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("timed out: no event %d in %d ms", (int)type, RIG_DEADLINE_MS);
}

static inline struct source *new_source(bool skip)
{
    struct source_config cfg = sources_config();

    cfg.skip_poison = skip;
    return sources_new(&cfg);
}

static inline void acquire(void)
{
    loaded[0] = '\0';
    n_loaded = n_pieces = 0;
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    next_page = 0;
}

/* As after a crash: nobody resigned, and the name is the same. */
static inline void open_with(bool skip)
{
    source_free(src);
    src = new_source(skip);
    wait_for(SOURCE_UP);
    acquire();
}

static inline void open_source(void)
{
    open_with(false);
}

static inline void read_all(void)
{
    do {
        source_read(src, now(), 10000, MANY_BYTES, next_page);
        wait_for(SOURCE_PAGE);
        next_page += last.n_rows > 0;
    } while (last.full || last.catching_up);
}

static inline const char *page_text(void)
{
    static char text[MAX_TEXT];
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < n_page && at < sizeof text - 24; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", at > 0 ? " " : "",
                               (long long)page[i]);
    return text;
}

static inline const char *due_of(uint32_t max_rows, uint64_t max_bytes)
{
    source_read_due(src, now(), max_rows, max_bytes);
    wait_for(SOURCE_DUE_PAGE);
    return page_text();
}

static inline const char *due(void)
{
    return due_of(1000, MANY_BYTES);
}

static inline const char *topic_of(const char *topic, uint32_t max_rows)
{
    source_read_topic(src, now(), topic, max_rows, MANY_BYTES);
    wait_for(SOURCE_TOPIC_PAGE);
    return page_text();
}

/* "1r5000 2b 3p 4s 5d 6r?": id, state, delay in ms, ? for maybe delivered. */
static inline uint32_t parse_holds(const char *text, struct source_hold *to)
{
    static const char letters[] = "rbpsd";
    uint32_t n = 0;

    while (*text != '\0') {
        char *end;
        int64_t id = strtoll(text, &end, 10);
        const char *letter = strchr(letters, *end++);
        ck_assert_ptr_nonnull(letter);
        ck_assert_ptr_nonnull(rows[id]);
        to[n] = (struct source_hold){ .row = rows[id], .state = (enum hold_state)(letter - letters) };
        if (isdigit((unsigned char)*end))
            to[n].delay_ms = strtoull(end, &end, 10);
        if (*letter == 'r' || *letter == 'd') {
            to[n].attempts = 1;
            to[n].error_code = "CODE";
            to[n].error = "why";
        }
        to[n].maybe = *end == '?';
        n++;
        text = end + strspn(end, "? ");
    }
    return n;
}

static inline void send_hold(const char *text)
{
    static struct source_hold holds[MAX_ROWS];

    source_hold(src, now(), holds, parse_holds(text, holds));
}

static inline void hold(const char *text)
{
    send_hold(text);
    wait_for(SOURCE_HELD);
}

/* "1 2h": ids, h for rows that are held. */
static inline void mark(const char *text)
{
    struct source_mark marks[100];
    uint32_t n = 0;

    while (*text != '\0') {
        char *end;
        int64_t id = strtoll(text, &end, 10);
        ck_assert_ptr_nonnull(rows[id]);
        marks[n++] = (struct source_mark){ .id = id, .offset = id, .bucket = rows[id]->bucket,
                                           .held = *end == 'h' };
        text = end + strspn(end, "h ");
    }
    source_mark(src, now(), marks, n);
    wait_for(SOURCE_MARKED);
}

static inline void renew(void)
{
    source_renew(src, now(), next_page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
}

/* -- the database --------------------------------------------------------------------------- */

static inline const char *held(void)
{
    return rig_scalar(db, "select string_agg(id || ':' || state || case when next_attempt_at is not"
                          " null then '*' else '' end, ' ' order by id) from outbox.held");
}

static inline const char *sent(void)
{
    return rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.sent");
}

/* "t/k t/k2 t/": one event each, without a key where there is none. */
static inline void append(const char *events)
{
    char copy[1000], *rest = NULL;

    snprintf(copy, sizeof copy, "%s", events);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *slash = strchr(word, '/');
        *slash = '\0';
        rig_execf(db, "insert into outbox.event (topic, type, key, payload) values"
                      " ('%s', 'x', nullif('%s', '')::bytea, 'p')", word, slash + 1);
    }
}

static inline void append_keys(int n)
{
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't' || n %% 7, 'x',"
                  " ('k' || n)::bytea from generate_series(1, %d) n", n);
}

static inline void append_and_read(const char *events)
{
    append(events);
    read_all();
}

static inline void make_due(const char *where_)
{
    rig_execf(db, "update outbox.held set next_attempt_at = now() where %s", where_);
}

static inline void forget_rows(void)
{
    for (int i = 0; i < MAX_ROWS; i++) {
        free(rows[i]);
        rows[i] = NULL;
    }
}

static inline void setup(void)
{
    rig_quiet();
    db = rig_connect();
    a = rig_connect();
    b = rig_connect();
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s';"
                 "alter table outbox.held drop constraint if exists no");
    sources_anew(db);
    n_page = 0;
}

static inline void teardown(void)
{
    source_free(src);
    src = NULL;
    forget_rows();
    PQfinish(db);
    PQfinish(a);
    PQfinish(b);
}

#endif
