/* test_nth_source.c - every n-th call of libpq fails, while a source does all that a source does.
 *
 * The flow: connect, take the lease, read to the end, mark, renew, resign. It goes on as the core
 * would: after a lost link from the start, after a failed request with the same request. So it
 * must come to its end whatever failed, with every row marked; each request has one answer, or the
 * link is lost; and what was marked is not read again. The other calls are real, on a real
 * PostgreSQL. Needs OUTBOX_TEST_DSN. Leaks are left to the sanitizer.
 */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "relay/source/source.h"
#include "tests/rig/fake.h"
#include "tests/rig/quiet.h"
#include "tests/rig/rig.h"

enum { N_ROWS = 7, MAX_ROWS = 3, N_VARIANTS = 3, NONE = 0 };

/* -- libpq ------------------------------------------------------------------------------------ */

static bool armed;
static int variant; /* of the ways in which a call fails */
static unsigned fail_at, n_calls;
static const char *failed; /* NULL: none yet */

/* The others fail in one way only. */
static bool has_variants(const char *function)
{
    return strcmp(function, "PQgetResult") == 0 || strcmp(function, "PQflush") == 0 ||
           strcmp(function, "PQconnectStartParams") == 0;
}

static bool fails(const char *function)
{
    if (!armed || (variant > 0 && !has_variants(function)) || ++n_calls != fail_at)
        return false;
    failed = function;
    return true;
}

#define FAKE_NTH(type, function, parameters, arguments, failure)                                   \
    FAKE_WHEN(type, function, parameters, arguments, fails(#function), failure)

static PGconn *bad_connection(void);
static PGresult *bad_result(PGconn *conn);

FAKE_NTH(PGconn *, PQconnectStartParams,
         (const char *const *names, const char *const *values, int expand),
         (names, values, expand), variant == 0 ? NULL : bad_connection())
FAKE_NTH(PostgresPollingStatusType, PQconnectPoll, (PGconn *c), (c), PGRES_POLLING_FAILED)
FAKE_NTH(ConnStatusType, PQstatus, (const PGconn *c), (c), CONNECTION_BAD)
FAKE_NTH(int, PQsocket, (const PGconn *c), (c), -1)
FAKE_NTH(int, PQsetnonblocking, (PGconn *c, int on), (c, on), -1)
FAKE_NTH(int, PQflush, (PGconn *c), (c), variant == 0 ? 1 : -1)
FAKE_NTH(int, PQconsumeInput, (PGconn *c), (c), 0)
FAKE_NTH(PGresult *, PQgetResult, (PGconn *c), (c), variant == 0 ? NULL : bad_result(c))
FAKE_NTH(int, PQsendQuery, (PGconn *c, const char *sql), (c, sql), 0)
FAKE_NTH(int, PQsendQueryPrepared,
         (PGconn *c, const char *name, int n, const char *const *values, const int *lengths,
          const int *formats, int format),
         (c, name, n, values, lengths, formats, format), 0)
FAKE_NTH(PQconninfoOption *, PQconninfoParse, (const char *dsn, char **why), (dsn, why), NULL)
FAKE_NTH(PQconninfoOption *, PQconninfo, (PGconn *c), (c), NULL)
FAKE_NTH(char *, PQresultErrorField, (const PGresult *res, int field), (res, field), NULL)
FAKE_NTH(const char *, PQparameterStatus, (const PGconn *c, const char *name), (c, name), NULL)

static PGconn *bad_connection(void)
{
    static const char *const names[] = { "no_such_option", NULL }, *const values[] = { "x", NULL };

    return __real_PQconnectStartParams(names, values, 0);
}

/* In place of the server's answer, which is lost; variant 2: it was the last, only NULL follows. */
static PGresult *bad_result(PGconn *conn)
{
    PGresult *real;

    do {
        real = __real_PQgetResult(conn);
        PQclear(real);
    } while (variant == 2 && real != NULL);
    return PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

/* -- the flow --------------------------------------------------------------------------------- */

enum waiting { FOR_NOTHING, FOR_ACQUIRE, FOR_MARK, FOR_HOLD, FOR_SWEEP, FOR_RENEW, FOR_RESIGN };
enum { HELD_ROW = N_ROWS - 1 }; /* it takes the way through outbox.held */

static PGconn *db;
static struct source *source;
static struct flow {
    bool reading;
    enum waiting waiting; /* on the marking connection */
    struct source_mark mark[N_ROWS]; /* read and not yet marked */
    uint8_t event_id[N_ROWS][16];
    uint32_t n_marks;
    struct row *held; /* read, and to be held */
    bool marked[N_ROWS];
    int64_t first_id;
    uint64_t page;
    unsigned n_up, n_down;
    bool done;
} flow;

static uint64_t now(void)
{
    return (uint64_t)rig_now_ms();
}

static void ask(enum waiting what)
{
    flow.waiting = what;
    if (what == FOR_ACQUIRE)
        source_acquire(source, now());
    else if (what == FOR_MARK)
        source_mark(source, now(), flow.mark, flow.n_marks);
    else if (what == FOR_HOLD)
        source_hold(source, now(),
                    &(struct source_hold){ .row = flow.held, .state = HOLD_RETRYING, .attempts = 1,
                                           .error_code = "NTH", .error = "n-th call" }, 1);
    else if (what == FOR_SWEEP)
        source_sweep(source, now());
    else if (what == FOR_RENEW)
        source_renew(source, now(), flow.page + 1);
    else if (what == FOR_RESIGN)
        source_resign(source, now(), flow.page + 1);
}

static void read_on(void)
{
    flow.reading = true;
    source_read(source, now(), MAX_ROWS, 1 << 20, flow.page);
}

static void on_row(struct row *row)
{
    int64_t i = row->id - flow.first_id;

    ck_assert_int_ge(i, 0);
    ck_assert_int_lt(i, N_ROWS);
    ck_assert_msg(!flow.marked[i], "row %d was marked and is read again", (int)i);
    ck_assert_uint_lt(flow.n_marks, N_ROWS);
    if (i == HELD_ROW && row->held_as == HELD_NOT) {
        ck_assert_ptr_null(flow.held);
        flow.held = row;
        return;
    }
    for (uint32_t m = 0; m < flow.n_marks; m++)
        ck_assert_msg(flow.mark[m].id != row->id, "row %d is read twice in one lead", (int)i);
    memcpy(flow.event_id[i], row->event_id, sizeof flow.event_id[i]);
    flow.mark[flow.n_marks++] = (struct source_mark){
        .id = row->id, .event_id = flow.event_id[i], .offset = i, .partition = 0, .bucket = row->bucket,
        .held = row->held_as != HELD_NOT
    };
    free(row);
}

static void read_due(void)
{
    flow.reading = true;
    source_read_due(source, now(), MAX_ROWS, 1 << 20);
}

/* What was due, if it was not marked before, by a mark whose answer was lost. */
static void on_due_page(const struct source_event *e)
{
    ck_assert(flow.reading);
    flow.reading = false;
    ck_assert_uint_le(e->n_rows, 1);
    for (uint32_t i = 0; i < e->n_rows; i++) {
        ck_assert_uint_eq(e->rows[i]->held_as, HELD_KEY);
        ck_assert_uint_eq(e->rows[i]->attempts, 1);
        on_row(e->rows[i]);
    }
    if (flow.n_marks > 0) {
        ask(FOR_MARK);
        return;
    }
    flow.reading = true;
    source_read_topic(source, now(), "nth", MAX_ROWS, 1 << 20);
}

static void on_topic_page(const struct source_event *e)
{
    ck_assert(flow.reading);
    flow.reading = false;
    ck_assert_uint_eq(e->n_rows, 0); /* nothing is paused */
    ask(FOR_SWEEP);
}

static void on_page(const struct source_event *e)
{
    ck_assert(flow.reading);
    flow.reading = false;
    for (uint32_t i = 0; i < e->n_rows; i++)
        on_row(e->rows[i]);
    flow.page += e->n_rows > 0;
    if (e->full || e->catching_up)
        read_on();
    else if (flow.held != NULL)
        ask(FOR_HOLD);
    else if (flow.n_marks > 0)
        ask(FOR_MARK);
    else
        read_due();
}

static void on_held(void)
{
    ck_assert_int_eq(flow.waiting, FOR_HOLD);
    flow.waiting = FOR_NOTHING;
    free(flow.held);
    flow.held = NULL;
    if (flow.n_marks > 0)
        ask(FOR_MARK);
    else
        read_due();
}

static void on_marked(void)
{
    ck_assert_int_eq(flow.waiting, FOR_MARK);
    for (uint32_t m = 0; m < flow.n_marks; m++)
        flow.marked[flow.mark[m].id - flow.first_id] = true;
    flow.n_marks = 0;
    flow.waiting = FOR_NOTHING;
    read_due();
}

static void on_lease(bool ours)
{
    ck_assert(flow.waiting == FOR_ACQUIRE || flow.waiting == FOR_RENEW);
    ck_assert(ours);
    if (flow.waiting == FOR_RENEW) {
        ask(FOR_RESIGN);
        return;
    }
    flow.waiting = FOR_NOTHING;
    flow.n_marks = 0; /* a new lead reads again what is not marked */
    read_on();
}

/* Every request that was under way is off, and what was read counts for nothing. */
static void on_down(void)
{
    flow.n_down++;
    flow.reading = false;
    flow.waiting = FOR_NOTHING;
    flow.n_marks = 0;
    free(flow.held);
    flow.held = NULL;
}

/* A flat switch over all that a source says. */
static void on_event(const struct source_event *e)
{
    switch (e->type) {
    case SOURCE_UP:
        flow.n_up++;
        ck_assert(!flow.reading && flow.waiting == FOR_NOTHING);
        ask(FOR_ACQUIRE);
        break;
    case SOURCE_DOWN:
        on_down();
        break;
    case SOURCE_PAGE:
        on_page(e);
        break;
    case SOURCE_DUE_PAGE:
        on_due_page(e);
        break;
    case SOURCE_TOPIC_PAGE:
        on_topic_page(e);
        break;
    case SOURCE_READ_FAILED: /* of whatever kind: from the beginning, which finds nothing twice */
        ck_assert(flow.reading);
        read_on();
        break;
    case SOURCE_HELD:
        on_held();
        break;
    case SOURCE_HOLD_FAILED:
        ck_assert_int_eq(flow.waiting, FOR_HOLD);
        ask(FOR_HOLD);
        break;
    case SOURCE_HELD_KEYS:
        ck_assert_int_eq(flow.waiting, FOR_ACQUIRE);
        break;
    case SOURCE_SWEPT:
        ck_assert_uint_eq(e->n_found, 0);
        ask(FOR_RENEW);
        break;
    case SOURCE_SWEEP_FAILED:
        ck_assert_int_eq(flow.waiting, FOR_SWEEP);
        ask(FOR_SWEEP);
        break;
    case SOURCE_MARKED:
        on_marked();
        break;
    case SOURCE_MARK_FAILED:
        ck_assert_int_eq(flow.waiting, FOR_MARK);
        ask(FOR_MARK);
        break;
    case SOURCE_LEASE:
        on_lease(e->ours);
        break;
    case SOURCE_LEASE_FAILED:
        ck_assert(flow.waiting == FOR_ACQUIRE || flow.waiting == FOR_RENEW);
        ask(flow.waiting);
        break;
    case SOURCE_RESIGNED:
        ck_assert_int_eq(flow.waiting, FOR_RESIGN);
        flow.done = true;
        break;
    case SOURCE_SCHEMA:
    case SOURCE_FIGURES:
    case SOURCE_LOOKED:
    case SOURCE_WALKED:
    case SOURCE_EMPTIED:
    case SOURCE_TIDIED:
        ck_abort_msg("nobody asked for the buckets");
    case SOURCE_REFUSED:
        ck_abort_msg("%s failed, and the database is refused", failed != NULL ? failed : "nothing");
    }
}

static void run_flow(void)
{
    static struct source_config cfg = {
        .owner = "nth",
        .lease_ttl_ms = 60000,
        .retry_base_ms = 1,
        .retry_max_ms = 2,
    };
    uint64_t end_ms = now() + RIG_DEADLINE_MS;
    struct source_event e;
    struct pollfd fds[SOURCE_MAX_FDS];
    char why[300];

    cfg.dsn = rig_dsn();
    /* An answer that is lost is waited for so long; a slow machine's comes after it now and then. */
    cfg.statement_timeout_ms = fail_at == NONE ? RIG_DEADLINE_MS : 1000;
    (void)source_check_dsn(cfg.dsn, why, sizeof why);
    source = source_new(&cfg);
    ck_assert_ptr_nonnull(source);
    while (!flow.done) {
        while (!flow.done && source_next(source, now(), &e))
            on_event(&e);
        uint64_t due = source_deadline(source), at = now();
        ck_assert_msg(at < end_ms, "%s failed (variant %d), and the flow hangs",
                      failed != NULL ? failed : "nothing", variant);
        int wait_ms = due <= at ? 0 : due - at < 100 ? (int)(due - at) : 100;
        if (!flow.done)
            (void)poll(fds, (nfds_t)source_pollfds(source, fds), wait_ms);
    }
    source_free(source);
}

static void prepare(void)
{
    flow = (struct flow){
        .first_id = rig_scalar_i64(
            db, "with new as (insert into outbox.event (topic, key, type, payload, headers) "
                "select 'nth', 'k', 't', 'p', '[[\"a\", \"1\"]]' from generate_series(1, 7) "
                "returning id) select min(id) from new")
    };
}

/* Calls whose failure leaves a connection that cannot be used: it is never passed over. */
static bool ends_the_link(const char *function)
{
    static const char *const names[] = { "PQconnectStartParams", "PQconnectPoll", "PQstatus",
                                         "PQsetnonblocking", "PQconsumeInput", "PQsendQuery",
                                         "PQsendQueryPrepared" };
    bool found = strcmp(function, "PQflush") == 0 && variant > 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        found |= strcmp(function, names[i]) == 0;
    return found;
}

START_TEST(every_row_is_marked_whatever_fails)
{
    unsigned n, n_down = 0;

    db = rig_connect();
    /* hundreds of flows, and no crash of the server in any */
    rig_exec(db, "do $$ begin execute format('alter database %I set synchronous_commit = off', "
                 "current_database()); end $$; set synchronous_commit = off");
    rig_quiet();
    variant = _i;
    failed = "";
    /* The variants share the calls among them; NTH_STEP=1: each of them fails every one. */
    unsigned step = getenv("NTH_STEP") != NULL ? (unsigned)atoi(getenv("NTH_STEP")) : N_VARIANTS;
    ck_assert_uint_gt(step, 0);
    for (n = 1 + (unsigned)_i % step; failed != NULL; n += step) {
        prepare();
        failed = NULL;
        fail_at = n;
        n_calls = 0;
        armed = true;
        run_flow();
        armed = false;
        n_down += flow.n_down;
        ck_assert_msg(rig_scalar_i64(db, "select count(*) from outbox.event e where not exists "
                                         "(select from outbox.sent s where s.id = e.id)") == 0,
                      "call %u (%s) failed, and not all rows are marked", n, failed);
        ck_assert_msg(failed == NULL || !ends_the_link(failed) || flow.n_down >= 1,
                      "call %u (%s) failed, and the link was lost %u times", n, failed,
                      flow.n_down);
    }
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_gt(n_down, 10);
    prepare();
    fail_at = NONE;
    run_flow();
    ck_assert_msg(flow.n_up == 1 && flow.n_down == 0, "nothing failed, and the link was lost");
    PQfinish(db);
}
END_TEST

START_TEST(a_dsn_that_cannot_be_parsed_is_an_error_in_words)
{
    char why[300] = "";

    failed = NULL;
    fail_at = 1;
    n_calls = 0;
    armed = true;
    ck_assert_int_eq(source_check_dsn("host=x", why, sizeof why), -1);
    armed = false;
    ck_assert_str_eq(failed, "PQconninfoParse");
    ck_assert_str_eq(why, "out of memory");
}
END_TEST

Suite *suite_nth_source(void);

Suite *suite_nth_source(void)
{
    Suite *suite = suite_create("nth_source");
    TCase *tcase = tcase_create("libpq");

    tcase_add_loop_test(tcase, every_row_is_marked_whatever_fails, 0, N_VARIANTS);
    tcase_add_test(tcase, a_dsn_that_cannot_be_parsed_is_an_error_in_words);
    suite_add_tcase(suite, tcase);
    return suite;
}
