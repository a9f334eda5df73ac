/* test_settings_show.c - what is shown of settings: with value and origin, as a file, and as a sample. */
#include "tests/unit/settings_rig.h"

START_TEST(what_is_printed_has_value_and_origin)
{
    char wanted[200];

    expect_loaded(load("\ninflight.bytes = 2048KiB\nkafka.linger.ms = 5\nmark.delay = 0s\n",
                       "OUTBOX_RELAY_DRAIN_TIMEOUT=120s", "kafka.client.id=me"));
    expect_printed("# default\nsource = /outbox\n", true);
    expect_printed("# default\nlease.owner =\n", true);
    expect_printed("# default\npoll.min = 1ms\n", true);
    expect_printed("# default\nenvelope = cloudevents\n", true);
    expect_printed("# environment, OUTBOX_RELAY_DRAIN_TIMEOUT\ndrain.timeout = 2m\n", true);
    expect_printed("# command line\nkafka.client.id = me\n", true);
    snprintf(wanted, sizeof wanted, "# %s:4\nmark.delay = 0ms\n", path);
    expect_printed(wanted, true);
    snprintf(wanted, sizeof wanted, "# %s:2\ninflight.bytes = 2MiB\n", path);
    expect_printed(wanted, true);
    snprintf(wanted, sizeof wanted, "# %s:3\nkafka.linger.ms = 5\n", path);
    expect_printed(wanted, true);
    expect_loaded(load(NULL, "OUTBOX_RELAY_KAFKA_LINGER_MS=5", NULL));
    expect_printed("# environment, OUTBOX_RELAY_KAFKA_LINGER_MS\nkafka.linger.ms = 5\n", true);
    expect_loaded(load(NULL, "OUTBOX_RELAY_KAFKA_SSL_CA_PEM=a\nb\tc", NULL));
    expect_printed("kafka.ssl.ca.pem = a\\nb?c\n", true);
}
END_TEST

/* No setting keeps its default here: one that is not printed would be missed. */
static const char all_set[] =
    "dsn = host=x dbname='a b'\nsource = /s\nenvelope = debezium\nbatch.rows = 17\n"
    "inflight.rows = 1234\ninflight.bytes = 1500B\npoll.min = 2ms\npoll.max = 1500ms\n"
    "mark.delay = 0ms\nmark.commit = async\nretry.base = 7s\nretry.max = 90s\nretry.attempts = 0\n"
    "hops.max = 7\non.poison = skip\nstall.timeout = 0ms\ntakeover.tail = off\nlease.ttl = 3600s\n"
    "lease.owner = pod-0\ndrain.timeout = 3h\nretention = off\nstatement.timeout = 101ms\n"
    "tcp.user.timeout = 61s\nhttp.listen = [::1]:0\nlog.level = warn\nlog.format = json\nkafka.b = 2\nkafka.a = 1\n";

START_TEST(what_is_printed_is_a_file_of_the_same_settings)
{
    expect_loaded(load(all_set, NULL, NULL));
    char *first = printed();
    ck_assert_ptr_null(strstr(first, "# default"));
    expect_loaded(load(first, NULL, NULL));
    ck_assert_uint_eq(s.poll_max_ms, 1500);
    ck_assert_uint_eq(s.inflight_bytes, 1500);
    ck_assert_uint_eq(s.lease_ttl_ms, 3600000);
    ck_assert_uint_eq(s.retry_attempts, 0);
    ck_assert_int_eq(s.mark_commit, MARK_COMMIT_ASYNC);
    ck_assert_int_eq(s.on_poison, ON_POISON_SKIP);
    ck_assert_uint_eq(s.stall_timeout_ms, 0);
    ck_assert_int_eq(s.takeover_tail, TAKEOVER_TAIL_OFF);
    ck_assert_int_eq(s.log_level, LOG_LEVEL_WARN);
    ck_assert_str_eq(s.dsn, "host=x dbname='a b'");
    ck_assert_str_eq(s.kafka[0].name, "b");
    ck_assert_str_eq(s.kafka[1].name, "a");
    free(first);
}
END_TEST

static char *collect(void (*write_it)(FILE *))
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    write_it(out);
    fclose(out);
    return text;
}

/* "#key = value" becomes "key = value"; "# words" stays a comment. */
static size_t uncomment(char *text)
{
    size_t n = 0;

    for (char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (line[0] == '#' && line[1] != ' ') {
            line[0] = ' ';
            n++;
        }
    }
    return n;
}

START_TEST(the_sample_holds_every_setting_with_its_default)
{
    expect_loaded(load(NULL, NULL, NULL));
    char *defaults = printed(), *sample = collect(settings_write_sample);

    expect_loaded(load(sample, NULL, NULL)); /* all is commented out */
    char *same = printed();
    ck_assert_str_eq(same, defaults);
    ck_assert_uint_eq(uncomment(sample), N_SETTINGS + 1);
    expect_loaded(load(sample, NULL, NULL));
    for (size_t i = 0; i < N_SETTINGS; i++)
        ck_assert_int_eq(s.origin[i].from, FROM_FILE);
    ck_assert_str_eq(s.kafka[0].name, "bootstrap.servers");
    free(defaults);
    free(sample);
    free(same);
}
END_TEST

START_TEST(help_and_sample_fit_80_columns)
{
    static void (*const writers[])(FILE *) = { settings_help, settings_write_sample };

    for (size_t i = 0; i < N(writers); i++) {
        char *text = collect(writers[i]);
        ck_assert_ptr_nonnull(strstr(text, "statement.timeout = 30s"));
        for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
            ck_assert_msg(strcspn(line, "\n") < 80, "%.100s", line);
        free(text);
    }
}
END_TEST

Suite *suite_settings_show(void);

Suite *suite_settings_show(void)
{
    Suite *suite = suite_create("settings_show");
    TCase *tc = tcase_create("showing");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_printed_has_value_and_origin);
    tcase_add_test(tc, what_is_printed_is_a_file_of_the_same_settings);
    tcase_add_test(tc, the_sample_holds_every_setting_with_its_default);
    tcase_add_test(tc, help_and_sample_fit_80_columns);
    suite_add_tcase(suite, tc);
    return suite;
}
