/* test_nth_malloc_relay.c - every n-th allocation fails while the relay loads its settings, sets itself up and runs.
 * As test_nth_malloc.c does for the library. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/driver/driver.h"
#include "relay/settings.h"
#include "tests/integration/nth_malloc.h"
#include "tests/rig/rig.h"

static PGconn *control;

/* -- the relay's settings ---------------------------------------------------------------------- */

static char settings_path[64];

static void write_settings(void)
{
    static const char text[] = "# settings\ndsn = host=/nowhere password=secret\nbatch.rows = 7\n"
                               "kafka.bootstrap.servers = 127.0.0.1:1\nkafka.linger.ms = 2\n"
                               "kafka.linger.ms.x = 1234567890\nlease.owner = me\n";
    FILE *file;

    snprintf(settings_path, sizeof settings_path, "%s/relay.conf", rig_tmpdir());
    ck_assert_uint_lt(strlen(settings_path), sizeof settings_path - 1);
    file = fopen(settings_path, "w");
    ck_assert_int_eq(fchmod(fileno(file), 0600), 0); /* it holds a secret */
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static int load(struct settings *s, char *text, size_t size)
{
    static char *const environment[] = { "OUTBOX_RELAY_POLL_MAX=7ms",
                                         "OUTBOX_RELAY_KAFKA_LINGER_MS=3", "HOME=/", NULL };
    static const char *const x[] = { "envelope=plain", "kafka.client.id=x", "dsn=host=/elsewhere" };

    return settings_load(s, settings_path, environment, x, 3, text, size);
}

static void expect_settings(const struct settings *s, unsigned n)
{
    ck_assert_msg(strcmp(s->dsn, "host=/elsewhere") == 0, "allocation %u: dsn %s", n, s->dsn);
    ck_assert_msg(s->batch_rows == 7 && s->poll_max_ms == 7 && s->envelope == ENVELOPE_PLAIN &&
                      strcmp(s->lease_owner, "me") == 0 && s->n_kafka == 4,
                  "allocation %u: settings were lost", n);
}

START_TEST(settings_are_whole_or_refused_in_words)
{
    static const struct settings none;
    struct settings s;
    bool failed = true;

    write_settings();
    for (unsigned n = 1; failed; n++) {
        char text[500] = "";

        arm((enum mode)_i, n);
        int rc = load(&s, text, sizeof text);
        failed = disarm();
        if (rc == 0) {
            expect_settings(&s, n);
            settings_free(&s);
            continue;
        }
        ck_assert_msg(failed, "not loaded: %s", text);
        ck_assert_msg(memcmp(&s, &none, sizeof s) == 0, "allocation %u: something is left", n);
        ck_assert_msg(strstr(text, "out of memory") != NULL ||
                          strstr(text, "Cannot allocate memory") != NULL,
                      "allocation %u: \"%s\"", n, text);
    }
}
END_TEST

START_TEST(missing_settings_are_named_or_memory_is)
{
    struct settings s;
    char text[500];
    bool failed = true;

    ck_assert_int_eq(settings_load(&s, NULL, NULL, NULL, 0, text, sizeof text), 0);
    for (unsigned n = 1; failed; n++) {
        text[0] = '\0';
        arm((enum mode)_i, n);
        int rc = settings_require(&s, SETTINGS_NEED_DATABASE, text, sizeof text);
        failed = disarm();
        ck_assert_int_eq(rc, -1);
        ck_assert_msg(strstr(text, failed ? "out of memory" : "dsn is not set") != NULL, "%s",
                      text);
    }
    settings_free(&s);
}
END_TEST

/* -- the relay's set-up and its run ------------------------------------------------------------ */

static void load_relay(struct settings *s, const char *dsn, const char *brokers)
{
    char text[500], dsn_x[600], brokers_x[200];
    const char *const x[] = { dsn_x, brokers_x, "inflight.rows=100", "batch.rows=5",
                              "retry.base=1ms", "retry.max=2ms", "lease.owner=nth" };

    snprintf(dsn_x, sizeof dsn_x, "dsn=%s", dsn);
    snprintf(brokers_x, sizeof brokers_x, "kafka.bootstrap.servers=%s", brokers);
    ck_assert_msg(settings_load(s, NULL, NULL, x, sizeof x / sizeof x[0], text, sizeof text) == 0,
                  "%s", text);
}

/* Set up, then no database: with --once that is the end. */
START_TEST(set_up_ends_with_an_error_that_says_memory)
{
    struct settings s;
    bool failed = true, refused = false;

    load_relay(&s, "host=/nowhere", "127.0.0.1:1");
    for (unsigned n = 1; failed; n++) {
        rig_stderr_keep();
        arm((enum mode)_i, n);
        int code = driver_run(&s, NULL, true);
        failed = disarm();
        const char *text = rig_stderr();
        rig_stderr_release();
        ck_assert_msg(code == EXIT_INTERNAL || code == EXIT_CONFIGURATION ||
                          code == EXIT_UNAVAILABLE,
                      "allocation %u: exit code %d: %s", n, code, text);
        if (code != EXIT_UNAVAILABLE) {
            ck_assert_msg(strstr(text, "memory") != NULL,
                          "allocation %u: exit code %d: %s", n, code, text);
            refused = true;
        }
        ck_assert(failed || code == EXIT_UNAVAILABLE);
    }
    ck_assert(refused);
    settings_free(&s);
}
END_TEST

START_TEST(check_config_ends_with_an_error_that_says_memory)
{
    struct settings s;
    bool failed = true;

    load_relay(&s, "host=/nowhere", "127.0.0.1:1");
    for (unsigned n = 1; failed; n++) {
        rig_stderr_keep();
        arm((enum mode)_i, n);
        int code = driver_check(&s, true);
        failed = disarm();
        const char *text = rig_stderr();
        rig_stderr_release();
        ck_assert_msg(code == EXIT_OK || (failed && code == EXIT_INTERNAL) ||
                          (failed && code == EXIT_CONFIGURATION),
                      "allocation %u: exit code %d: %s", n, code, text);
        if (code != EXIT_OK)
            ck_assert_msg(strstr(text, "memory") != NULL,
                          "allocation %u: exit code %d: %s", n, code, text);
    }
    settings_free(&s);
}
END_TEST

enum { N_ROWS = 12 };

static void append_rows(void)
{
    rig_exec(control, "truncate outbox.event, outbox.sent");
    rig_exec(control, "insert into outbox.event (topic, key, type, payload, headers) "
                      "select 'nth.' || i % 3, convert_to((i % 4)::text, 'UTF8'), 't', 'p', "
                      "'[[\"a\", \"1\"]]' from generate_series(1, 12) i");
}

/* The n-th allocation fails somewhere on the way; a relay without the fault finishes what is left.
 * Returns whether one failed. */
static bool run_twice(struct settings *s, unsigned n)
{
    append_rows();
    rig_stderr_keep();
    arm(ONE_FAILS, n);
    int code = driver_run(s, NULL, true);
    bool failed = disarm();
    int again = code == EXIT_OK ? EXIT_OK : driver_run(s, NULL, true);
    const char *text = rig_stderr();
    rig_stderr_release();
    ck_assert_msg(code == EXIT_OK || (failed && (code == EXIT_INTERNAL ||
                                                 code == EXIT_CONFIGURATION ||
                                                 code == EXIT_UNAVAILABLE)),
                  "allocation %u: exit code %d: %s", n, code, text);
    ck_assert_msg(again == EXIT_OK, "allocation %u: then exit code %d: %s", n, again, text);
    ck_assert_msg(rig_scalar_i64(control, "select count(*) from outbox.sent") == N_ROWS,
                  "allocation %u: %s", n, text);
    return failed;
}

static void run_loop(unsigned step)
{
    struct settings s;
    unsigned n = 1;

    control = rig_connect();
    load_relay(&s, rig_dsn(), rig_brokers());
    while (run_twice(&s, n))
        n += step;
    ck_assert_uint_gt(n, 50);
    settings_free(&s);
    PQfinish(control);
    control = NULL;
}

START_TEST(a_run_loses_no_row)
{
    libpq_counts = false;
    n_ranges = 0; /* looked up again */
    run_loop(1);
    libpq_counts = true;
    n_ranges = 0;
}
END_TEST

/* Most of libpq's are those of a connection's set-up, so some of them stand for all. */
START_TEST(a_run_loses_no_row_by_libpq)
{
    run_loop(6);
}
END_TEST

Suite *suite_nth_malloc_relay(void);

Suite *suite_nth_malloc_relay(void)
{
    Suite *suite = suite_create("nth_malloc_relay");
    TCase *settings = tcase_create("settings"), *relay = tcase_create("relay");

    tcase_add_loop_test(settings, settings_are_whole_or_refused_in_words, 0, N_MODES);
    tcase_add_loop_test(settings, missing_settings_are_named_or_memory_is, 0, N_MODES);
    suite_add_tcase(suite, settings);
    tcase_add_loop_test(relay, set_up_ends_with_an_error_that_says_memory, 0, N_MODES);
    tcase_add_loop_test(relay, check_config_ends_with_an_error_that_says_memory, 0, N_MODES);
    tcase_add_test(relay, a_run_loses_no_row);
    tcase_add_test(relay, a_run_loses_no_row_by_libpq);
    suite_add_tcase(suite, relay);
    return suite;
}
