/* test_aside.c - the third connection of the source: whatever befalls it, the link goes on.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied. `src`
 * is a struct source driven directly, with the rights of a relay. An event that a test does not wait for
 * fails it, above all SOURCE_DOWN and SOURCE_REFUSED.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/log.h"
#include "tests/integration/sources.h"
#include "tests/rig/fake.h"

enum { SILENCE_MS = 10000, TTL_MS = 600000 };

#define ASIDE_PID "select pid from pg_stat_activity where query like '%prepare outbox_look%' " \
                  "and pid <> pg_backend_pid() and datname = current_database() "              \
                  "order by backend_start desc limit 1" /* an earlier test's may still be ending */

static PGconn *db;
static struct source *src;
static struct source_event last;
static uint64_t statement_timeout_ms, retry_ms;
static int muted_pid; /* of the server process of which nothing is heard; 0: none */


FAKE_WHEN(int, PQisBusy, (PGconn *c), (c), muted_pid != 0 && PQbackendPID(c) == muted_pid, 1)

static void open_source(bool aside)
{
    struct source_config cfg = sources_config();

    cfg.lease_ttl_ms = TTL_MS;
    cfg.statement_timeout_ms = statement_timeout_ms;
    cfg.retry_base_ms = retry_ms;
    cfg.retry_max_ms = 10 * retry_ms;
    cfg.aside = aside;
    src = sources_new(&cfg);
}

/* The event of this type; `also` (or the type again) may come before it. */
static void wait_for_either(enum source_event_type type, enum source_event_type also)
{
    do {
        sources_next(src, &last, type);
        ck_assert_msg(last.type == type || last.type == also, "event %d instead of %d", (int)last.type, (int)type);
    } while (last.type != type);
}

static void wait_for(enum source_event_type type)
{
    wait_for_either(type, type);
}

static void lead(void)
{
    wait_for(SOURCE_UP);
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    sources_wait_aside(src, true);
}

/* Reading and the lease work. */
static void the_link_works(void)
{
    source_renew(src, now(), 0);
    wait_for(SOURCE_LEASE);
    ck_assert(last.ours);
    source_read(src, now(), 100, 1 << 20, 0);
    wait_for(SOURCE_PAGE);
    for (uint32_t i = 0; i < last.n_rows; i++)
        free(last.rows[i]);
}

static void wait_for_look(bool well)
{
    wait_for(SOURCE_LOOKED);
    ck_assert_msg(last.failed != well, "the look has %s", well ? "failed" : "not failed");
}

static void look(bool well)
{
    source_look(src, now());
    wait_for_look(well);
}

static bool aside_is_gone(void *pid)
{
    char sql[100];

    snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %d", *(int *)pid);
    return rig_scalar_i64(db, sql) == 0;
}

/* -- tests ------------------------------------------------------------------------------------ */

START_TEST(tells_how_old_the_buckets_are)
{
    rig_exec(db, "insert into outbox.event (bucket, created_at, topic, type) values "
                 "(2, now() - interval '1 hour', 't', 't'), (2, now() - interval '90 s', 't', 't'), "
                 "(5, now() + interval '1 hour', 't', 't')");
    open_source(true);
    lead();
    look(true);
    for (int i = 0; i < SOURCE_RING; i++)
        if (i != 2)
            ck_assert_int_eq(last.bucket_age_ms[i], i == 5 ? 0 : -1);
    ck_assert_int_ge(last.bucket_age_ms[2], 90 * 1000);
    ck_assert_int_lt(last.bucket_age_ms[2], 3000 * 1000);
    ck_assert_int_eq(last.bucket_period_s, 86400);
    rig_exec(db, "select outbox.set_bucket_period('2 hours')");
    look(true);
    ck_assert_int_eq(last.bucket_period_s, 7200);
    rig_exec(db, "select outbox.set_bucket_period('1 day')");
}
END_TEST

/* Its events come last and are as old as its beginning. */
START_TEST(a_long_transaction_hides_no_newer_event)
{
    rig_exec(db, "insert into outbox.event (bucket, topic, type) select 2, 't', 't' from generate_series(1, 10)");
    rig_exec(db, "insert into outbox.event (bucket, created_at, topic, type) "
                 "select 2, now() - interval '2 hours', 't', 't' from generate_series(1, 2000)");
    open_source(true);
    lead();
    look(true);
    ck_assert_int_lt(last.bucket_age_ms[2], 3600 * 1000);
}
END_TEST

/* In quotes a backslash means something else there. */
START_TEST(knows_the_period_in_a_session_with_strings_of_old)
{
    rig_exec(db, "insert into outbox.event (topic, type) values ('t', 't')");
    rig_exec(db, "do $$ begin execute format('alter database %I set standard_conforming_strings = off', "
                 "current_database()); end $$");
    open_source(true);
    lead();
    look(true);
    ck_assert_int_eq(last.bucket_period_s, 86400);
    rig_exec(db, "do $$ begin execute format('alter database %I reset standard_conforming_strings', "
                 "current_database()); end $$");
}
END_TEST

START_TEST(is_not_there_unless_it_is_asked_for)
{
    struct pollfd fds[SOURCE_MAX_FDS];

    open_source(false);
    wait_for(SOURCE_UP);
    source_acquire(src, now());
    wait_for(SOURCE_LEASE);
    the_link_works();
    ck_assert_uint_eq(source_pollfds(src, fds), 2);
    ck_assert(!source_aside_ready(src));
}
END_TEST

START_TEST(its_loss_is_not_the_loss_of_the_link)
{
    open_source(true);
    lead();
    for (int i = 0; i < 3; i++) {
        int pid = (int)rig_scalar_i64(db, ASIDE_PID);
        if (_i == 1) { /* with a request under way, whose answer does not come before */
            muted_pid = pid;
            source_look(src, now());
        }
        rig_execf(db, "select pg_terminate_backend(%d)", pid);
        ck_assert(rig_wait_until(aside_is_gone, &pid, RIG_DEADLINE_MS));
        if (_i == 1)
            wait_for_look(false);
        else
            sources_wait_aside(src, false);
        the_link_works();
        sources_wait_aside(src, true);
        look(true);
    }
}
END_TEST

START_TEST(its_pause_is_cut_by_a_shorter_one)
{
    retry_ms = 100 * RIG_DEADLINE_MS;
    open_source(true);
    lead();
    int pid = (int)rig_scalar_i64(db, ASIDE_PID);
    rig_execf(db, "select pg_terminate_backend(%d)", pid);
    sources_wait_aside(src, false);
    ck_assert_uint_gt(source_deadline(src), now() + RIG_DEADLINE_MS);
    source_configure(src, now(), 10, 100);
    sources_wait_aside(src, true);
}
END_TEST

START_TEST(its_silence_delays_nobody)
{
    statement_timeout_ms = SILENCE_MS; /* passes once here, and no statement that is answered may miss it */
    open_source(true);
    lead();
    muted_pid = (int)rig_scalar_i64(db, ASIDE_PID);
    source_look(src, now());
    ck_assert(!source_aside_ready(src));
    the_link_works();
    ck_assert(!source_aside_ready(src)); /* it did not answer meanwhile */
    wait_for_look(false);                /* its deadline passed */
    the_link_works();
    muted_pid = 0;
    sources_wait_aside(src, true);
    look(true);
}
END_TEST

START_TEST(waits_for_no_lock)
{
    PGconn *a = rig_connect();
    int64_t pid;

    open_source(true);
    lead();
    pid = rig_scalar_i64(db, ASIDE_PID);
    rig_exec(a, "begin; lock table outbox.event_3 in access exclusive mode");
    look(false);
    rig_exec(a, "rollback");
    look(true);
    ck_assert_int_eq(rig_scalar_i64(db, "select pid from pg_stat_activity where query like "
                                        "'%outbox_look%' and pid <> pg_backend_pid() and "
                                        "datname = current_database() order by backend_start desc limit 1"), pid);
    PQfinish(a);
}
END_TEST

/* Counts the lines that are logged meanwhile. */
static unsigned log_lines(void (*during)(void), const char *needle)
{
    unsigned n;

    rig_stderr_keep();
    during();
    n = rig_stderr_lines(needle);
    rig_stderr_release();
    return n;
}

static void look_in_vain(void)
{
    for (int i = 0; i < 5; i++)
        look(false);
}

START_TEST(a_missing_right_is_told_once)
{
    open_source(true);
    lead();
    rig_exec(db, "revoke select on outbox.event from outbox_relay");
    ck_assert_int_eq(log_lines(look_in_vain, "roles.sql"), 1);
    rig_exec(db, "grant select on outbox.event to outbox_relay");
    look(true);
    the_link_works();
}
END_TEST

static void ask_schema(void)
{
    source_schema(src, now());
    wait_for(SOURCE_SCHEMA);
}

static void ask_schema_thrice(void)
{
    for (int i = 0; i < 3; i++)
        ask_schema();
}

/* The link that is up goes on all the same. */
START_TEST(a_schema_that_the_next_connection_would_be_refused_for_is_told_once)
{
    open_source(true);
    lead();
    ask_schema();
    ck_assert(!last.schema_ends);
    ck_assert_int_gt(last.schema_version, 0);
    rig_exec(db, "insert into outbox.schema_version values (1000, '99.0.0', false)");
    ck_assert_int_eq(log_lines(ask_schema_thrice, "the schema has changed"), 0);
    ck_assert(!last.schema_ends);
    rig_exec(db, "update outbox.schema_version set breaking = true where version = 1000");
    ck_assert_int_eq(log_lines(ask_schema_thrice, "the schema has changed"), 1);
    ck_assert(last.schema_ends);
    ck_assert_int_eq(last.schema_version, 1000);
    the_link_works();
    rig_exec(db, "delete from outbox.schema_version where version = 1000");
    ask_schema();
    ck_assert(!last.schema_ends);
}
END_TEST

START_TEST(goes_down_and_comes_up_with_the_link)
{
    open_source(true);
    lead();
    source_look(src, now());
    rig_exec(db, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> "
                 "pg_backend_pid() and datname = current_database() and query like '%prepare outbox_read%'");
    wait_for_either(SOURCE_DOWN, SOURCE_LOOKED);
    ck_assert(!source_aside_ready(src));
    lead();
    look(true);
    the_link_works();
}
END_TEST

/* -- fixture ---------------------------------------------------------------------------------- */

static void setup(void)
{
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    db = rig_connect();
    muted_pid = 0;
    statement_timeout_ms = RIG_DEADLINE_MS;
    retry_ms = 10;
    sources_anew(db);
}

static void teardown(void)
{
    source_free(src);
    src = NULL;
    PQfinish(db);
}

Suite *suite_aside(void);

Suite *suite_aside(void)
{
    Suite *s = suite_create("aside");
    TCase *tc = tcase_create("the third connection");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, tells_how_old_the_buckets_are);
    tcase_add_test(tc, a_long_transaction_hides_no_newer_event);
    tcase_add_test(tc, knows_the_period_in_a_session_with_strings_of_old);
    tcase_add_test(tc, is_not_there_unless_it_is_asked_for);
    tcase_add_loop_test(tc, its_loss_is_not_the_loss_of_the_link, 0, 2);
    tcase_add_test(tc, its_pause_is_cut_by_a_shorter_one);
    tcase_add_test(tc, its_silence_delays_nobody);
    tcase_add_test(tc, waits_for_no_lock);
    tcase_add_test(tc, a_missing_right_is_told_once);
    tcase_add_test(tc, a_schema_that_the_next_connection_would_be_refused_for_is_told_once);
    tcase_add_test(tc, goes_down_and_comes_up_with_the_link);
    suite_add_tcase(s, tc);
    return s;
}
