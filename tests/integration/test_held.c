/* test_held.c - what the source writes to outbox.held and reads from it, against a real server.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 * `src` is a struct source driven directly, as in test_read.c. Rows that it read are kept in `rows` by
 * id. What is held is compared as text: "3:blocked*", the star for a row with next_attempt_at. Each test
 * starts with empty tables.
 */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/source/held_sql.h"
#include "relay/source/source.h"
#include "tests/rig/rig.h"

enum {
    DEADLINE_MS = 30000,
    MANY_BYTES = 1 << 30,
    MAX_ROWS = 20000,
    MAX_TEXT = 60000,
    N_KEYS = 5000,
    N_GROUP = 100000,
};

static PGconn *db, *a, *b; /* db is never in a transaction */
static struct source *src;
static struct row *rows[MAX_ROWS]; /* by id */
static struct source_event last;   /* its rows are in `page` */
static int64_t page[MAX_ROWS];
static uint32_t n_page;
static char freed[MAX_TEXT];
static char loaded[MAX_TEXT]; /* what the last takeover was told */
static uint32_t n_loaded;
static uint64_t next_page;

/* -- the source ----------------------------------------------------------------------------- */

static uint64_t now(void)
{
    return (uint64_t)rig_now_ms();
}

static void note_keys(const struct source_event *e)
{
    size_t at = strlen(loaded);

    n_loaded += e->n_keys;
    for (uint32_t i = 0; i < e->n_keys && at < sizeof loaded - 600; i++) {
        const struct source_key *k = &e->keys[i];
        at += (size_t)snprintf(loaded + at, sizeof loaded - at, "%s%s/%.*s", at > 0 ? " " : "",
                               k->topic, k->key != NULL ? (int)k->key_len : 1,
                               k->key != NULL ? (const char *)k->key : "*");
    }
}

static void note_freed(const struct source_event *e)
{
    size_t at = 0;

    freed[0] = '\0';
    for (uint32_t i = 0; i < e->n_freed && at < sizeof freed - 24; i++)
        at += (size_t)snprintf(freed + at, sizeof freed - at, "%s%lld", at > 0 ? " " : "",
                               (long long)e->freed[i]);
}

/* The rows of a page; what came before under the same id is replaced. */
static void keep_rows(const struct source_event *e)
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

static void note(const struct source_event *e)
{
    if (e->type == SOURCE_HELD_KEYS)
        note_keys(e);
    else if (e->type == SOURCE_MARKED || e->type == SOURCE_HELD)
        note_freed(e);
    else if (e->type == SOURCE_PAGE || e->type == SOURCE_DUE_PAGE || e->type == SOURCE_TOPIC_PAGE)
        keep_rows(e);
}

/* One turn; true when the event came. */
static bool turn(struct source *s, enum source_event_type type, int wait_ms)
{
    struct pollfd fds[SOURCE_MAX_FDS];

    while (source_next(s, now(), &last)) {
        note(&last);
        if (last.type == type)
            return true;
        ck_assert_msg(last.type == SOURCE_UP || last.type == SOURCE_HELD_KEYS,
                      "event %d instead of %d", (int)last.type, (int)type);
    }
    (void)poll(fds, (nfds_t)source_pollfds(s, fds), wait_ms);
    return false;
}

static void wait_for(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + DEADLINE_MS;

    while (!turn(src, type, 50))
        if (rig_now_ms() >= end_ms)
            ck_abort_msg("no event %d in %d ms", (int)type, DEADLINE_MS);
}

static struct source *new_source(bool skip)
{
    static struct source_config cfg = {
        .owner = "test",
        .lease_ttl_ms = 60000,
        .statement_timeout_ms = DEADLINE_MS,
        .retry_base_ms = 10,
        .retry_max_ms = 100,
    };

    static char dsn[1000];

    /* with the rights of a relay */
    snprintf(dsn, sizeof dsn, "%s options='-c role=outbox_relay'", rig_dsn());
    cfg.dsn = dsn;
    cfg.skip_poison = skip;
    struct source *s = source_new(&cfg);
    ck_assert_ptr_nonnull(s);
    return s;
}

static void acquire(void)
{
    loaded[0] = '\0';
    n_loaded = 0;
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    next_page = 0;
}

/* As after a crash: nobody resigned, and the name is the same. */
static void open_with(bool skip)
{
    source_free(src);
    src = new_source(skip);
    wait_for(SOURCE_UP);
    acquire();
}

static void open_source(void)
{
    open_with(false);
}

static void read_all(void)
{
    do {
        source_read(src, now(), 10000, MANY_BYTES, next_page);
        wait_for(SOURCE_PAGE);
        next_page += last.n_rows > 0;
    } while (last.full || last.catching_up);
}

static const char *page_text(void)
{
    static char text[MAX_TEXT];
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < n_page && at < sizeof text - 24; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", at > 0 ? " " : "",
                               (long long)page[i]);
    return text;
}

static const char *due_of(uint32_t max_rows, uint64_t max_bytes)
{
    source_read_due(src, now(), max_rows, max_bytes);
    wait_for(SOURCE_DUE_PAGE);
    return page_text();
}

static const char *due(void)
{
    return due_of(1000, MANY_BYTES);
}

static const char *topic_of(const char *topic, uint32_t max_rows)
{
    source_read_topic(src, now(), topic, max_rows, MANY_BYTES);
    wait_for(SOURCE_TOPIC_PAGE);
    return page_text();
}

/* "1r5000 2b 3p 4s 5d 6r?": id, state, delay in ms, ? for maybe delivered. */
static uint32_t parse_holds(const char *text, struct source_hold *to)
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

static void send_hold(const char *text)
{
    static struct source_hold holds[MAX_ROWS];

    source_hold(src, now(), holds, parse_holds(text, holds));
}

static void hold(const char *text)
{
    send_hold(text);
    wait_for(SOURCE_HELD);
}

/* "1 2h": ids, h for rows that are held. */
static void mark(const char *text)
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

static void renew(void)
{
    source_renew(src, now(), next_page);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
}

/* -- the database --------------------------------------------------------------------------- */

static const char *held(void)
{
    return rig_scalar(db, "select string_agg(id || ':' || state || case when next_attempt_at is not"
                          " null then '*' else '' end, ' ' order by id) from outbox.held");
}

static const char *sent(void)
{
    return rig_scalar(db, "select string_agg(id::text, ' ' order by id) from outbox.sent");
}

/* "t/k t/k2 t/": one event each, without a key where there is none. */
static void append(const char *events)
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

static void append_and_read(const char *events)
{
    append(events);
    read_all();
}

static void make_due(const char *where_)
{
    rig_execf(db, "update outbox.held set next_attempt_at = now() where %s", where_);
}

static void forget_rows(void)
{
    for (int i = 0; i < MAX_ROWS; i++) {
        free(rows[i]);
        rows[i] = NULL;
    }
}

static void setup(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    db = rig_connect();
    a = rig_connect();
    b = rig_connect();
    rig_exec(db, "set client_min_messages = warning; set lock_timeout = '20s';"
                 "alter table outbox.held drop constraint if exists no;"
                 "truncate outbox.event, outbox.sent, outbox.held restart identity;"
                 "update outbox.relay set epoch = 0, owner = null, lease_expires_at = null,"
                 " cursor_id = 0, cursor_snapshot = pg_current_snapshot(), floor_id = 0");
    n_page = 0;
}

static void teardown(void)
{
    source_free(src);
    src = NULL;
    forget_rows();
    PQfinish(db);
    PQfinish(a);
    PQfinish(b);
}

/* -- holding -------------------------------------------------------------------------------- */

START_TEST(each_state_is_written_as_it_is_due)
{
    open_source();
    append("t/a t/a t/b t/ t/c");
    rig_exec(db, "insert into outbox.event (topic, type, available_at) values"
                 " ('t', 'x', '2100-01-01 00:00:00Z')");
    read_all();
    hold("1r60000 2b 3p 4d 6s");
    ck_assert_str_eq(held(), "1:retrying* 2:blocked 3:paused 4:dead 6:scheduled*");
    ck_assert_str_eq(rig_scalar(db, "select count(*) from outbox.held where next_attempt_at between"
                                    " now() + '50 s' and now() + '61 s'"), "1");
    ck_assert_str_eq(rig_scalar(db, "select next_attempt_at = '2100-01-01 00:00:00Z'"
                                    " from outbox.held where id = 6"), "t");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(format('%s,%s,%s,%s,%s', topic, key, attempts,"
                                    " error_code, first_error_at is null), ' ' order by id)"
                                    " from outbox.held where id in (1, 3, 4)"),
                     "t,\\x61,1,CODE,f t,\\x62,0,,t t,,1,CODE,f");
}
END_TEST

START_TEST(later_word_on_a_held_row_replaces_the_earlier_one)
{
    struct source_hold h = { .state = HOLD_RETRYING, .attempts = 2, .maybe = true, .delay_ms = 5,
                             .error_code = "FIRST", .error = "one" };

    open_source();
    append_and_read("t/a");
    h.row = rows[1];
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    rig_exec(db, "update outbox.held set first_error_at = '2020-01-01 00:00:00Z'");
    h = (struct source_hold){ .row = rows[1], .state = HOLD_DEAD, .attempts = 7 };
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s %s %s %s %s', state, attempts,"
                                    " maybe_delivered, error_code, error, first_error_at"
                                    " = '2020-01-01 00:00:00Z') from outbox.held"),
                     "dead 7 t FIRST one t");
    h.error_code = "SECOND";
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select error_code || error from outbox.held"), "SECONDone");
}
END_TEST

START_TEST(error_text_is_cut_and_made_fit_for_the_server)
{
    char text[2000];
    struct source_hold h = { .state = HOLD_DEAD, .error = text, .error_code = "\xff\xc3" };

    open_source();
    append_and_read("t/a");
    h.row = rows[1];
    memset(text, 'x', 499);
    strcpy(text + 499, "\xc3\xa4 and more");
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s', octet_length(error), error_code)"
                                    " from outbox.held"), "499 ??");
    strcpy(text, "a\xc3\xa4\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82");
    source_hold(src, now(), &h, 1);
    wait_for(SOURCE_HELD);
    ck_assert_str_eq(rig_scalar(db, "select error from outbox.held"),
                     "a\xc3\xa4???\xf0\x9f\x98\x80??");
}
END_TEST

START_TEST(sent_row_is_not_held_and_a_discarded_one_stays_so)
{
    open_source();
    append_and_read("t/a t/b t/b");
    mark("1");
    hold("1r 2d 3b");
    ck_assert_str_eq(held(), "2:dead 3:blocked");
    rig_exec(db, "update outbox.held set state = 'discarded' where id = 2");
    hold("2r 3b");
    ck_assert_str_eq(held(), "2:discarded 3:blocked*"); /* nothing is in front of 3 any more */
}
END_TEST

START_TEST(blocked_row_waits_for_the_row_in_front)
{
    open_source();
    append_and_read("t/a t/a t/a t/a t/b t/b");
    hold("2r60000 3b");
    ck_assert_str_eq(held(), "2:retrying* 3:blocked");
    hold("4b");
    hold("1b");
    ck_assert_str_eq(held(), "1:blocked* 2:retrying* 3:blocked 4:blocked");
    hold("5b 6b"); /* the first of its group, in one statement with the second */
    ck_assert_str_eq(held(), "1:blocked* 2:retrying* 3:blocked 4:blocked 5:blocked* 6:blocked");
}
END_TEST

START_TEST(row_behind_a_dead_one_waits_unless_dead_ones_are_skipped)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/b t/b t/c t/c");
    hold("1d");
    hold("2b");
    hold("3d 4b");
    ck_assert_str_eq(held(), skip ? "1:dead 2:blocked* 3:dead 4:blocked*"
                                  : "1:dead 2:blocked 3:dead 4:blocked");
    hold("5r 6b");
    hold("5d");
    ck_assert_str_eq(rig_scalar(db, "select next_attempt_at is not null from outbox.held"
                                    " where id = 6"), skip ? "t" : "f");
}
END_TEST

START_TEST(dead_row_that_is_skipped_frees_its_key)
{
    open_with(true);
    append_and_read("t/a t/a t/b t/ t/c");
    hold("1r 2b 3r");
    ck_assert_str_eq(freed, "");
    hold("1d 3d 4d 5p");
    ck_assert_str_eq(held(), "1:dead 2:blocked* 3:dead 4:dead 5:paused");
    ck_assert_str_eq(freed, "3");
}
END_TEST

START_TEST(row_that_leaves_its_group_lets_the_next_one_go)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    ck_assert_str_eq(due(), "1 2");
    ck_assert_int_eq(rows[1]->held_as, HELD_KEY);
    hold("1p");
    ck_assert_str_eq(held(), "1:paused 2:blocked*");
    ck_assert_str_eq(freed, "");
}
END_TEST

START_TEST(keys_are_any_bytes)
{
    static const char *const keys[] = { "null", "''::bytea", "'\\x00ff00'::bytea",
                                        "decode(repeat('ab', 4096), 'hex')",
                                        "decode(repeat('ab', 4095) || 'ac', 'hex')" };

    open_source();
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 5; k++)
            rig_execf(db, "insert into outbox.event (topic, type, key) values ('t', 'x', %s)",
                      keys[k]);
    read_all();
    hold("1r60000 2r60000 3r60000 4r60000 5r60000");
    hold("7b 8b 9b 10b");
    ck_assert_str_eq(held(), "1:retrying* 2:retrying* 3:retrying* 4:retrying* 5:retrying* "
                             "7:blocked 8:blocked 9:blocked 10:blocked");
    make_due("id = 2");
    make_due("id = 4");
    ck_assert_str_eq(due(), "2 4 7 9");
    ck_assert_uint_eq(rows[4]->key_len, 4096);
    mark("2h 7h 4h");
    ck_assert_str_eq(freed, "2");
    ck_assert_str_eq(held(), "1:retrying* 3:retrying* 5:retrying* 8:blocked 9:blocked* 10:blocked");
    open_source();
    ck_assert_uint_eq(n_loaded, 3); /* the one without a key is nobody's */
}
END_TEST

START_TEST(failed_hold_leaves_nothing_and_the_link_lives)
{
    open_source();
    append_and_read("t/a t/a");
    rig_exec(db, "alter table outbox.held add constraint no check (state <> 'blocked')");
    send_hold("1r 2b");
    wait_for(SOURCE_HOLD_FAILED);
    rig_exec(db, "alter table outbox.held drop constraint no");
    ck_assert_str_eq(held(), "");
    hold("1r 2b");
    ck_assert_str_eq(held(), "1:retrying* 2:blocked");
}
END_TEST

START_TEST(ten_thousand_rows_are_held_at_once)
{
    static struct source_hold holds[10000];

    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x',"
                 " (n % 1000)::text::bytea from generate_series(1, 10000) n");
    read_all();
    for (int i = 0; i < 10000; i++)
        holds[i] = (struct source_hold){ .row = rows[i + 1], .error = i < 1000 ? "why" : NULL,
                                         .state = i < 1000 ? HOLD_RETRYING : HOLD_BLOCKED };
    int64_t began = rig_now_ms();
    source_hold(src, now(), holds, 10000);
    wait_for(SOURCE_HELD);
    printf("10,000 rows held in %lld ms\n", (long long)(rig_now_ms() - began));
    ck_assert_str_eq(rig_scalar(db, "select string_agg(n::text, ' ' order by n) from (select count(*)"
                                    " n from outbox.held group by state, next_attempt_at is null) x"),
                     "1000 9000");
}
END_TEST

/* -- marking -------------------------------------------------------------------------------- */

START_TEST(mark_of_a_held_row_takes_it_out_and_the_next_one_goes)
{
    open_source();
    append_and_read("t/a t/a t/a t/b t/c t/");
    hold("1r 2b 3b 4r 6r");
    mark("1h 4h 5 6h");
    ck_assert_str_eq(sent(), "1 4 5 6");
    ck_assert_str_eq(held(), "2:blocked* 3:blocked");
    ck_assert_str_eq(freed, "4");
    mark("2h 3h");
    ck_assert_str_eq(held(), "");
    ck_assert_str_eq(freed, "2");
}
END_TEST

START_TEST(mark_that_is_there_already_still_takes_the_row_out)
{
    open_source();
    append_and_read("t/a t/a t/b");
    hold("1r 2b");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id = 1");
    mark("1h 3");
    ck_assert_str_eq(sent(), "1 3");
    ck_assert_str_eq(held(), "2:blocked*");
    ck_assert_str_eq(freed, "");
}
END_TEST

START_TEST(key_is_free_only_when_nothing_that_counts_is_held)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/a");
    hold("1r 2d 3p");
    mark("1h");
    ck_assert_str_eq(freed, skip ? "1" : "");
}
END_TEST

START_TEST(mark_follows_a_row_that_the_janitor_moved)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    rig_exec(db, "begin; insert into outbox.event_kept overriding system value"
                 " select xid, id, created_at, -1, event_id, schema_version, topic, key, type,"
                 " content_type, payload, headers, available_at from outbox.event where id <= 2;"
                 " update outbox.held set bucket = -1;"
                 " delete from outbox.event where bucket <> -1; commit");
    hold("1r60000");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(bucket::text, ' ') from outbox.held"), "-1 -1");
    mark("1h");
    ck_assert_str_eq(rig_scalar(db, "select state from outbox.event_status where id = 1"), "sent");
    ck_assert_str_eq(held(), "2:blocked*");
}
END_TEST

/* -- against people and former leaders ------------------------------------------------------ */

#define SQL_DISCARD "update outbox.held set state = 'discarded', next_attempt_at = null where id = 1"
#define SQL_PROMOTE                                                                                \
    "update outbox.held set next_attempt_at = now() where id = (select min(id) from outbox.held"   \
    " where state = 'blocked') and next_attempt_at is null"

/* Turns of the source until somebody waits for a lock, in either session. */
static void turn_until_waiting(enum source_event_type type)
{
    int64_t end_ms = rig_now_ms() + DEADLINE_MS;

    while (rig_scalar_i64(db, "select count(*) from pg_locks where not granted") == 0) {
        ck_assert(!turn(src, type, 1));
        ck_assert_int_lt(rig_now_ms(), end_ms);
    }
}

/* The hold comes while a person's discard of the row in front is not committed yet: it does not wait,
 * and whichever way that ends, the new row is not forgotten. */
START_TEST(blocked_row_survives_a_discard_that_began_before)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1d");
    rig_exec(a, "begin; " SQL_DISCARD);
    hold("2b");
    rig_exec(a, SQL_PROMOTE);
    rig_exec(a, _i == 0 ? "commit" : "rollback");
    ck_assert_str_eq(held(), _i == 0 ? "1:discarded 2:blocked*" : "1:dead 2:blocked*");
    ck_assert_str_eq(due(), _i == 0 ? "2" : "");
}
END_TEST

/* The hold is in the midst of its transaction when the discard comes: the discard waits, and sees it. */
START_TEST(blocked_row_survives_a_discard_that_began_later)
{
    open_source();
    append_and_read("t/a t/a t/b");
    hold("1d 3p");
    /* the insert of row 2 waits for this one, after row 1 was locked */
    rig_exec(a, "begin; insert into outbox.held (id, bucket, topic, state) values (2, 0, 't', 'dead')");
    send_hold("2b");
    turn_until_waiting(SOURCE_HELD);
    ck_assert_int_eq(PQsendQuery(b, SQL_DISCARD), 1);
    rig_wait_scalar(db, "select count(*) from pg_locks where not granted", "2", DEADLINE_MS);
    rig_exec(a, "rollback");
    wait_for(SOURCE_HELD);
    for (PGresult *res; (res = PQgetResult(b)) != NULL; PQclear(res))
        ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    ck_assert_str_eq(held(), "1:discarded 2:blocked 3:paused");
    rig_exec(b, SQL_PROMOTE);
    ck_assert_str_eq(held(), "1:discarded 2:blocked* 3:paused");
}
END_TEST

START_TEST(former_leader_holds_nothing)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1r 2b");
    struct source *zombie = src;
    src = NULL;
    open_source();
    struct source *heir = src;
    src = zombie;
    send_hold("1d 2r");
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
    wait_for(SOURCE_HOLD_FAILED);
    ck_assert_str_eq(held(), "1:retrying* 2:blocked");
    mark("1h"); /* a fact, whoever writes it */
    ck_assert_str_eq(held(), "2:blocked*");
    source_sweep(src, now());
    wait_for(SOURCE_SWEPT); /* it never saved a cursor */
    source_free(src);
    src = heir;
}
END_TEST

START_TEST(takeover_waits_for_a_hold_and_then_knows_of_it)
{
    open_source();
    append_and_read("t/a t/c t/b");
    hold("1r");
    rig_exec(a, "begin; update outbox.held set attempts = 9 where id = 1");
    send_hold("1r 3r");
    turn_until_waiting(SOURCE_HELD);
    struct source *zombie = src;
    src = new_source(false);
    wait_for(SOURCE_UP);
    source_acquire(src, now());
    loaded[0] = '\0';
    rig_wait_scalar(db, "select count(*) from pg_locks where not granted", "1", DEADLINE_MS);
    int64_t end_ms = rig_now_ms() + DEADLINE_MS;
    while (rig_scalar_i64(db, "select count(*) from pg_locks where not granted") < 2) {
        ck_assert(!turn(src, SOURCE_LEASE, 1));
        ck_assert_int_lt(rig_now_ms(), end_ms);
    }
    rig_exec(a, "rollback");
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    ck_assert_str_eq(loaded, "t/b t/a"); /* in order of digests */
    struct source *heir = src;
    src = zombie;
    wait_for(SOURCE_HELD);
    source_free(src);
    src = heir;
    /* row 3 is held, though the lease was asked for before; page by page, for a first page that is the
     * last leaves out what is held in any case */
    for (int i = 0; i < 2; i++) {
        source_read(src, now(), 1, MANY_BYTES, next_page++);
        wait_for(SOURCE_PAGE);
        ck_assert_str_eq(page_text(), i == 0 ? "2" : "");
    }
}
END_TEST

/* -- reading what is due -------------------------------------------------------------------- */

START_TEST(due_rows_come_when_their_time_has_come)
{
    open_source();
    append("t/a t/ t/b");
    rig_exec(db, "insert into outbox.event (topic, type, key, available_at) values"
                 " ('t', 'x', 'c', now() + interval '1 day'), ('t', 'x', 'd', now() - interval '1 day'),"
                 " ('t', 'x', 'd', 'infinity')");
    read_all();
    ck_assert_str_eq(due(), "");
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
    hold("4s 6s");
    ck_assert_str_eq(due(), "");
    ck_assert_uint_gt(last.next_due_ms, 86000000);
    ck_assert_uint_le(last.next_due_ms, 86400000);
    hold("1r30000? 2r40000 3r0 5s");
    ck_assert_str_eq(due(), "3 5");
    ck_assert(!last.full);
    ck_assert_uint_gt(last.next_due_ms, 20000);
    ck_assert_uint_le(last.next_due_ms, 30000);
    ck_assert_int_eq(rows[5]->held_as, HELD_TIME);
    ck_assert_int_eq(rows[5]->wait_ms, 0);
    ck_assert_int_eq(rows[3]->held_as, HELD_KEY);
    ck_assert_int_eq(rows[3]->attempts, 1);
    ck_assert(!rows[3]->maybe);
    rig_exec(db, "update outbox.held set attempts = 100000");
    make_due("id < 4");
    ck_assert_str_eq(due(), "1 2 3 5");
    ck_assert(rows[1]->maybe);
    ck_assert_int_eq(rows[1]->attempts, 65535);
    ck_assert_str_eq((const char *)rows[1]->payload, "p");
}
END_TEST

START_TEST(group_goes_up_to_the_first_row_that_must_wait)
{
    bool skip = _i == 1;

    open_with(skip);
    append_and_read("t/a t/a t/a t/a t/a t/b t/b t/b");
    hold("1r 2b 3r60000 4r 5b 6r60000 7b 8r");
    ck_assert_str_eq(due(), "1 2"); /* 8 is due, but not its turn */
    ck_assert_uint_gt(last.next_due_ms, 1000);
    make_due("id = 3");
    ck_assert_str_eq(due(), "1 2 3 4 5");
    hold("4d");
    ck_assert_str_eq(due(), skip ? "1 2 3 5" : "1 2 3");
    hold("6d 7b");
    ck_assert_str_eq(due(), skip ? "1 2 3 5 7 8" : "1 2 3");
}
END_TEST

START_TEST(orphan_in_front_goes_with_the_row_that_is_due)
{
    open_source();
    append_and_read("t/a t/a t/a");
    hold("2r0 3b");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state)"
                 " select id, bucket, topic, key, 'blocked' from outbox.event where id = 1");
    ck_assert_str_eq(due(), "1 2 3");
}
END_TEST

START_TEST(due_page_is_cut_by_rows_and_by_bytes)
{
    open_source();
    append_and_read("t/a t/b t/a t/b t/a t/b t/a t/");
    hold("1r 2r 3b 4b 5b 6b 7b 8r");
    rig_exec(db, "update outbox.held set next_attempt_at = now() - id * interval '1 s'"
                 " where next_attempt_at is not null");
    ck_assert_str_eq(due_of(3, MANY_BYTES), "2 4 8"); /* the longest waiting group first */
    ck_assert(last.full);
    ck_assert_uint_eq(last.next_due_ms, 0);
    ck_assert_str_eq(due_of(6, MANY_BYTES), "1 2 3 4 6 8");
    ck_assert_str_eq(due_of(100, 1), "8");
    ck_assert(last.full);
    ck_assert_str_eq(due_of(8, MANY_BYTES), "1 2 3 4 5 6 7 8");
    ck_assert(last.full);
    ck_assert_str_eq(due_of(9, MANY_BYTES), "1 2 3 4 5 6 7 8");
    ck_assert(!last.full);
}
END_TEST

/* Rows that are due and cannot go do not stand in the way of those that can. */
START_TEST(groups_that_cannot_move_do_not_hide_others)
{
    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x', (n / 2)::text::bytea"
                 " from generate_series(0, 999) n");
    append("t/last");
    read_all();
    hold("1001r");
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, case id % 2 when 1 then 'dead' else 'blocked' end,"
                 " case id % 2 when 0 then now() - interval '1 h' end from outbox.event"
                 " where id <= 1000");
    ck_assert_str_eq(due_of(10, MANY_BYTES), "1001");
    ck_assert(!last.full);
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
}
END_TEST

START_TEST(rows_that_are_sent_or_gone_are_cleaned_away)
{
    open_source();
    append_and_read("t/a t/a t/a t/b t/b t/ t/p t/p");
    hold("1r 2b 3b 4r 5b 6r 7p 8p");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id in (1, 2, 7); delete from outbox.event where id in (4, 6)");
    ck_assert_str_eq(due(), "3 5");
    ck_assert_str_eq(held(), "3:blocked* 4:discarded 5:blocked* 6:discarded 7:paused 8:paused");
    ck_assert_str_eq(due(), "3 5");
    ck_assert_str_eq(topic_of("t", 1), "");
    ck_assert(last.full);
    ck_assert_str_eq(topic_of("t", 1), "8");
    ck_assert_str_eq(rig_scalar(db, "select string_agg(distinct error_code, ' ') from outbox.held"
                                    " where state = 'discarded'"), "EVENT_GONE");
}
END_TEST

START_TEST(paused_rows_are_read_by_topic_in_order)
{
    open_source();
    append_and_read("t/a u/a t/ t/b u/c t/a");
    hold("6p 4p 3p 2p 1r 5r");
    ck_assert_str_eq(topic_of("t", 2), "3 4");
    ck_assert(last.full);
    ck_assert_uint_eq(last.next_due_ms, UINT64_MAX);
    ck_assert_int_eq(rows[3]->held_as, HELD_TOPIC);
    ck_assert_str_eq(topic_of("t", 10), "3 4 6");
    ck_assert(!last.full);
    ck_assert_str_eq(topic_of("u", 10), "2");
    ck_assert_str_eq(topic_of("none", 10), "");
    ck_assert_str_eq(due(), "1 5");
}
END_TEST

START_TEST(reading_what_is_held_leaves_the_cursor_alone)
{
    open_source();
    append_and_read("t/a t/b");
    mark("2");
    hold("1r");
    append("t/c");
    ck_assert_str_eq(due(), "1");
    read_all();
    ck_assert_str_eq(page_text(), "3");
    (void)topic_of("t", 10);
    renew();
    ck_assert_int_eq(rig_scalar_i64(db, "select cursor_id from outbox.relay"), 3);
}
END_TEST

/* -- taking over ---------------------------------------------------------------------------- */

START_TEST(new_leader_is_told_of_every_key_and_paused_topic_once)
{
    bool skip = _i == 1;

    open_source();
    ck_assert_uint_eq(n_loaded, 0);
    append_and_read("t/a t/a t/b t/b u/a u/a v/x v/y v/ w/ w/z t/dd");
    hold("1r 2b 3d 4b 5d 6d 7p 8p 9r 10p 11s 12d");
    rig_exec(db, "update outbox.held set state = 'discarded' where id = 12");
    open_with(skip);
    ck_assert_str_eq(loaded, skip ? "t/b t/a v/* w/*" : "t/b t/a u/a v/* w/*");
    read_all();
    ck_assert_uint_eq(n_page, 0);
}
END_TEST

static void append_keys(int n)
{
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't' || n %% 7, 'x',"
                  " ('k' || n)::bytea from generate_series(1, %d) n", n);
}

START_TEST(many_keys_and_topics_are_loaded_in_pieces)
{
    open_source();
    append_keys(N_KEYS);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, case when id % 2 = 0 then 'retrying' else 'dead' end,"
                 " now() from outbox.event;"
                 "insert into outbox.held (id, bucket, topic, key, state)"
                 " select -n, 0, 'p' || n / 3, 'x', 'paused' from generate_series(0, 2999) n");
    open_source();
    ck_assert_uint_eq(n_loaded, N_KEYS + 1000);
    open_with(true);
    ck_assert_uint_eq(n_loaded, N_KEYS / 2 + 1000);
}
END_TEST

START_TEST(lease_that_is_lost_while_loading_does_not_begin)
{
    open_source();
    append_keys(N_KEYS);
    rig_exec(db, "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                 " select id, bucket, topic, key, 'retrying', now() from outbox.event");
    source_acquire(src, now());
    while (!turn(src, SOURCE_HELD_KEYS, 1))
        ;
    rig_exec(db, "update outbox.relay set epoch = epoch + 1");
    wait_for(SOURCE_LEASE);
    ck_assert(!last.ours);
}
END_TEST

/* -- the sweep ------------------------------------------------------------------------------ */

static uint32_t sweep(void)
{
    source_sweep(src, now());
    wait_for(SOURCE_SWEPT);
    return last.n_found;
}

START_TEST(sweep_finds_nothing_in_a_healthy_outbox)
{
    open_source();
    append_and_read("t/a t/a t/b t/ t/p t/d t/d");
    hold("1r60000 2b 4r60000 5p 6d 7b");
    mark("3");
    renew();
    char before[500];
    snprintf(before, sizeof before, "%s", held());
    append("t/a");
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(held(), before);
}
END_TEST

START_TEST(sweep_finds_rows_behind_the_cursor_that_were_forgotten)
{
    open_source();
    rig_exec(a, "begin");
    rig_exec(a, "insert into outbox.event (topic, type) values ('t', 'late')");
    append_and_read("t/a t/b t/c");
    mark("2 3 4");
    ck_assert_uint_eq(sweep(), 0);
    renew();
    rig_exec(db, "delete from outbox.sent where id = 3");
    rig_exec(a, "commit"); /* row 1 is behind the cursor and yet to be read */
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 1);
    ck_assert_str_eq(rig_scalar(db, "select format('%s %s %s %s', id, state, maybe_delivered,"
                                    " error_code) from outbox.held"), "3 retrying t FOUND_BY_SWEEP");
    ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(due(), "3");
    mark("3h");
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

/* With ids of transactions that this cluster has not reached: nobody else looks for them there. */
START_TEST(sweep_finds_rows_that_were_restored_behind_the_reader)
{
    open_source();
    append_and_read("t/a t/b t/c");
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event;"
                 "alter table outbox.event alter id restart with 10");
    append_and_read("t/d");
    mark("10");
    renew();
    rig_exec(db, "insert into outbox.event (xid, id, topic, type) overriding system value"
                 " values ((pg_current_xact_id()::text::bigint + 1000000)::text::xid8, 5, 't', 'x')");
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 1);
    ck_assert_str_eq(held(), "5:retrying*");
    ck_assert_uint_eq(sweep(), 0);
}
END_TEST

START_TEST(sweep_goes_round_in_pieces)
{
    open_source();
    append_keys(12000);
    read_all();
    rig_exec(db, "insert into outbox.sent (bucket, id) select bucket, id from outbox.event");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    for (int round = 0; round < 2; round++) {
        rig_exec(db, "delete from outbox.held; delete from outbox.sent where id in (1, 6000, 12000)");
        for (int i = 0; i < 3; i++)
            ck_assert_uint_eq(sweep(), 1);
        ck_assert_str_eq(held(), "1:retrying* 6000:retrying* 12000:retrying*");
    }
}
END_TEST

START_TEST(sweep_wakes_keys_that_nothing_else_would)
{
    open_source();
    append_and_read("t/a t/a t/b t/b t/c t/c t/d");
    hold("1r 2b 3d 4b 5r 6b 7p");
    rig_exec(db, "delete from outbox.held where id = 1;" /* 2 is left alone */
                 "insert into outbox.sent (bucket, id) select bucket, id from outbox.event"
                 " where id in (1, 3);" /* dead by the word of one, sent by the word of another */
                 "update outbox.held set next_attempt_at = null where id = 5");
    rig_exec(db, "update outbox.held set state = 'blocked' where id = 5");
    ck_assert_str_eq(due(), "");
    append_and_read("t/x");
    mark("8");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(sweep(), 0);
    ck_assert_str_eq(held(), "2:blocked* 4:blocked* 5:blocked* 6:blocked 7:paused");
    ck_assert_str_eq(due(), "2 4 5 6");
}
END_TEST

/* Keys that were blocked by a dead row move when dead rows are skipped from now on. */
START_TEST(sweep_wakes_keys_behind_dead_rows_once_these_are_skipped)
{
    open_source();
    append_and_read("t/a t/a");
    hold("1d 2b");
    open_with(true);
    append_and_read("t/x");
    mark("3");
    renew();
    log_setup((enum log_level)-1, LOG_FORMAT_LOGFMT);
    (void)sweep();
    ck_assert_str_eq(due(), "2");
}
END_TEST

/* -- cost ----------------------------------------------------------------------------------- */

static char plan_text[MAX_TEXT];

/* The first run also plans and fills the caches. All in a transaction that is rolled back. */
static void explain(const char *execute)
{
    char sql[4000];
    size_t at = 0;

    snprintf(sql, sizeof sql, "explain (analyze, buffers, timing off) execute %s", execute);
    rig_exec(a, "begin");
    rig_exec(a, sql);
    rig_exec(a, "rollback; begin");
    PGresult *res = PQexec(a, sql);
    ck_assert_msg(PQresultStatus(res) == PGRES_TUPLES_OK, "%s", PQerrorMessage(a));
    for (int i = 0; i < PQntuples(res); i++)
        at += (size_t)snprintf(plan_text + at, sizeof plan_text - at, "%s\n",
                               PQgetvalue(res, i, 0));
    ck_assert_uint_lt(at, sizeof plan_text);
    PQclear(res);
    rig_exec(a, "rollback");
}

static long number_behind(const char *line, const char *word)
{
    const char *at = strstr(line, word), *end = strchr(line, '\n');

    return at != NULL && at < end ? atol(at + strlen(word)) : 0;
}

/* The first such line belongs to the top of the plan. */
static void expect_cheap(const char *execute, long most)
{
    explain(execute);
    const char *line = strstr(plan_text, "Buffers: shared");
    long n = line != NULL ? number_behind(line, "hit=") + number_behind(line, "read=") : 0;

    if (n < most && strstr(plan_text, "Seq Scan") == NULL)
        return;
    fputs(plan_text, stderr); /* longer than what libcheck takes as a message */
    ck_abort_msg("%ld buffers, or a scan of a table; the plan is above", n);
}

static void prepare_all(void)
{
    rig_exec(a, SQL_SESSION " select 1");
    rig_exec(a, SQL_PREPARE_HOLD SQL_PREPARE("outbox_read_due", "bool, bigint, bigint", SQL_READ_DUE)
                    SQL_PREPARE("outbox_read_topic", "text, bigint, bigint", SQL_READ_TOPIC));
}

/* With statistics and without: the tables may have been filled since the last analyze. */
START_TEST(large_group_is_read_by_its_index)
{
    open_source();
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't', 'x', 'k'"
                  " from generate_series(1, %d);"
                  "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                  " select id, bucket, topic, key, 'blocked', case id when 1 then now() end"
                  " from outbox.event;"
                  "insert into outbox.held (id, bucket, topic, key, state)"
                  " select 1000000 + n, 0, 'p', 'k', 'paused' from generate_series(1, %d) n;"
                  "insert into outbox.held (id, bucket, topic, key, state)"
                  " select 2000000 + n, 0, 't', 'k', 'dead' from generate_series(1, %d) n",
              N_GROUP, N_GROUP, N_GROUP);
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.held");
    rig_exec(db, "insert into outbox.event (topic, type, key) values ('t', 'x', 'k')");
    prepare_all();
    expect_cheap("outbox_read_due (false, 10, 1000000)", 300);
    expect_cheap("outbox_read_topic ('p', 10, 1000000)", 300);
    char execute[300];
    int bucket = (int)rig_scalar_i64(db, "select bucket from outbox.event where id = 100001");
    snprintf(execute, sizeof execute, "outbox_hold (1, false, '{100001}', '{%d}', '{blocked}', '{0}',"
                                      " '{0}', '{f}', '{f}', '{null}', '{null}')", bucket);
    expect_cheap(execute, 200);
    ck_assert_ptr_nonnull(strstr(plan_text, "held_key_idx"));
    expect_cheap("outbox_unhold ('{1}', '{1}')", 100);
    snprintf(execute, sizeof execute, "outbox_settle (null, '{1}', '{%d}', false, '{t}')", bucket);
    expect_cheap(execute, 100);
    expect_cheap("outbox_load_begin (1)", 100);
    expect_cheap("outbox_load_live (1, 1000, '', '', 2000)", 100);
    expect_cheap("outbox_load_dead (1, 1000, '', '', 2000)", 100);
    expect_cheap("outbox_load_topics (1, 1000, '', '', 2000)", 100);
    expect_cheap("outbox_heal (false, '', '', 500)", 100);
}
END_TEST

/* Every third key has nothing but live rows, every third nothing but a dead one; all have one topic. */
START_TEST(many_groups_are_read_by_their_indexes)
{
    open_source();
    rig_execf(db, "insert into outbox.event (topic, type, key) select 't', 'x', n::text::bytea"
                  " from generate_series(1, %d) n;"
                  "insert into outbox.held (id, bucket, topic, key, state, next_attempt_at)"
                  " select id, bucket, topic, key, case when id %% 3 < 2 then 'retrying' else 'dead' end,"
                  " case when id %% 3 < 2 then now() end from outbox.event",
              N_GROUP);
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.held");
    prepare_all();
    expect_cheap("outbox_read_due (false, 10, 1000000)", 600);
    expect_cheap("outbox_read_due (true, 10, 1000000)", 600);
    expect_cheap("outbox_heal (false, '', '', 100)", 3000);
    expect_cheap("outbox_load_live (1, 1000, '', '', 100)", 1500);
    expect_cheap("outbox_load_dead (1, 1000, '', '', 100)", 2500);
    int bucket = (int)rig_scalar_i64(db, "select bucket from outbox.event where id = 1");
    char execute[300];
    snprintf(execute, sizeof execute, "outbox_settle (null, '{1,2}', '{%d,%d}', false, '{t,t}')",
             bucket, bucket);
    expect_cheap(execute, 200);
    snprintf(execute, sizeof execute, "outbox_hold (1, false, '{1,2}', '{%d,%d}', '{blocked,blocked}',"
                                      " '{0,0}', '{0,0}', '{f,f}', '{f,f}', '{null,null}', '{null,null}')",
             bucket, bucket);
    expect_cheap(execute, 300);
}
END_TEST

START_TEST(sweep_looks_at_its_piece_only)
{
    open_source();
    rig_exec(db, "insert into outbox.event (topic, type, key) select 't', 'x', 'k'"
                 " from generate_series(1, 200000);"
                 "insert into outbox.sent (bucket, id) select bucket, id from outbox.event;"
                 "update outbox.relay set cursor_id = 200000, cursor_snapshot = pg_current_snapshot()");
    if (_i == 0)
        rig_exec(db, "analyze outbox.event; analyze outbox.sent");
    prepare_all();
    expect_cheap("outbox_sweep (1, 100000, 5000)", 5000 * 8); /* a probe of sent and of held each */
    expect_cheap("outbox_sweep (1, 200000, 5000)", 200);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, int timeout_s)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, timeout_s);
    suite_add_tcase(s, tc);
    return tc;
}

Suite *suite_held(void);

Suite *suite_held(void)
{
    Suite *s = suite_create("held");

    TCase *tc = add_case(s, "hold", 60);
    tcase_add_test(tc, each_state_is_written_as_it_is_due);
    tcase_add_test(tc, later_word_on_a_held_row_replaces_the_earlier_one);
    tcase_add_test(tc, error_text_is_cut_and_made_fit_for_the_server);
    tcase_add_test(tc, sent_row_is_not_held_and_a_discarded_one_stays_so);
    tcase_add_test(tc, blocked_row_waits_for_the_row_in_front);
    tcase_add_loop_test(tc, row_behind_a_dead_one_waits_unless_dead_ones_are_skipped, 0, 2);
    tcase_add_test(tc, dead_row_that_is_skipped_frees_its_key);
    tcase_add_test(tc, row_that_leaves_its_group_lets_the_next_one_go);
    tcase_add_test(tc, keys_are_any_bytes);
    tcase_add_test(tc, failed_hold_leaves_nothing_and_the_link_lives);
    tcase_add_test(tc, ten_thousand_rows_are_held_at_once);

    tc = add_case(s, "mark", 60);
    tcase_add_test(tc, mark_of_a_held_row_takes_it_out_and_the_next_one_goes);
    tcase_add_test(tc, mark_that_is_there_already_still_takes_the_row_out);
    tcase_add_loop_test(tc, key_is_free_only_when_nothing_that_counts_is_held, 0, 2);
    tcase_add_test(tc, mark_follows_a_row_that_the_janitor_moved);

    tc = add_case(s, "together", 60);
    tcase_add_loop_test(tc, blocked_row_survives_a_discard_that_began_before, 0, 2);
    tcase_add_test(tc, blocked_row_survives_a_discard_that_began_later);
    tcase_add_test(tc, former_leader_holds_nothing);
    tcase_add_test(tc, takeover_waits_for_a_hold_and_then_knows_of_it);

    tc = add_case(s, "due", 60);
    tcase_add_test(tc, due_rows_come_when_their_time_has_come);
    tcase_add_loop_test(tc, group_goes_up_to_the_first_row_that_must_wait, 0, 2);
    tcase_add_test(tc, orphan_in_front_goes_with_the_row_that_is_due);
    tcase_add_test(tc, due_page_is_cut_by_rows_and_by_bytes);
    tcase_add_test(tc, groups_that_cannot_move_do_not_hide_others);
    tcase_add_test(tc, rows_that_are_sent_or_gone_are_cleaned_away);
    tcase_add_test(tc, paused_rows_are_read_by_topic_in_order);
    tcase_add_test(tc, reading_what_is_held_leaves_the_cursor_alone);

    tc = add_case(s, "takeover", 60);
    tcase_add_loop_test(tc, new_leader_is_told_of_every_key_and_paused_topic_once, 0, 2);
    tcase_add_test(tc, many_keys_and_topics_are_loaded_in_pieces);
    tcase_add_test(tc, lease_that_is_lost_while_loading_does_not_begin);

    tc = add_case(s, "sweep", 60);
    tcase_add_test(tc, sweep_finds_nothing_in_a_healthy_outbox);
    tcase_add_test(tc, sweep_finds_rows_behind_the_cursor_that_were_forgotten);
    tcase_add_test(tc, sweep_finds_rows_that_were_restored_behind_the_reader);
    tcase_add_test(tc, sweep_goes_round_in_pieces);
    tcase_add_test(tc, sweep_wakes_keys_that_nothing_else_would);
    tcase_add_test(tc, sweep_wakes_keys_behind_dead_rows_once_these_are_skipped);

    tc = add_case(s, "cost", 120);
    tcase_add_loop_test(tc, large_group_is_read_by_its_index, 0, 2);
    tcase_add_loop_test(tc, many_groups_are_read_by_their_indexes, 0, 2);
    tcase_add_loop_test(tc, sweep_looks_at_its_piece_only, 0, 2);
    return s;
}
