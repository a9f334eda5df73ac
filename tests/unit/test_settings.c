/* test_settings.c - settings from the file, the environment and -X, and what a command needs of them. What is refused
 * is test_settings_mistakes.c, what is shown test_settings_show.c. */
#include "tests/unit/settings_rig.h"

START_TEST(defaults_are_those_of_the_table)
{
    expect_loaded(load(NULL, NULL, NULL));
    ck_assert_str_eq(s.dsn, "");
    ck_assert_str_eq(s.source, "/outbox");
    ck_assert_int_eq(s.envelope, ENVELOPE_CLOUDEVENTS);
    ck_assert_uint_eq(s.batch_rows, 1000);
    ck_assert_uint_eq(s.inflight_rows, 10000);
    ck_assert_uint_eq(s.inflight_bytes, 16 << 20);
    ck_assert_uint_eq(s.poll_min_ms, 1);
    ck_assert_uint_eq(s.poll_max_ms, 20);
    ck_assert_uint_eq(s.mark_delay_ms, 20);
    ck_assert_int_eq(s.mark_commit, MARK_COMMIT_SYNC);
    ck_assert_uint_eq(s.retry_base_ms, 100);
    ck_assert_uint_eq(s.retry_max_ms, 30000);
    ck_assert_uint_eq(s.retry_attempts, 10);
    ck_assert_int_eq(s.on_poison, ON_POISON_BLOCK);
    ck_assert_uint_eq(s.stall_timeout_ms, 30000);
    ck_assert_uint_eq(s.retention_ms, 72 * 3600 * 1000);
    ck_assert_int_eq(s.takeover_tail, TAKEOVER_TAIL_AUTO);
    ck_assert_uint_eq(s.lease_ttl_ms, 10000);
    ck_assert_str_eq(s.lease_owner, "");
    ck_assert_uint_eq(s.drain_timeout_ms, 20000);
    ck_assert_uint_eq(s.statement_timeout_ms, 30000);
    ck_assert_uint_eq(s.tcp_user_timeout_ms, 10000);
    ck_assert_int_eq(s.log_level, LOG_LEVEL_INFO);
    ck_assert_int_eq(s.log_format, LOG_FORMAT_LOGFMT);
    ck_assert_uint_eq(s.n_kafka, 0);
}
END_TEST

START_TEST(the_file_is_read_line_by_line)
{
    expect_loaded(load("\xef\xbb\xbf# a comment\r\n"
                       "\n"
                       "   # another\n"
                       " \t \r\n"
                       "dsn=host=/run/pg dbname=shop options='-c a=b'\n"
                       "  batch.rows\t=  7  \r\n"
                       "source = /a;b#c \"quoted\" = x\n"
                       "envelope = plain\n"
                       "log.level = debug\n"
                       "log.format = json\n"
                       "lease.owner =\n"
                       "kafka.linger.ms = 5\n"
                       "kafka.client.id =\n"
                       "inflight.bytes = 2GiB", /* no newline at the end */
                       NULL, NULL));
    ck_assert_str_eq(s.dsn, "host=/run/pg dbname=shop options='-c a=b'");
    ck_assert_uint_eq(s.batch_rows, 7);
    ck_assert_str_eq(s.source, "/a;b#c \"quoted\" = x");
    ck_assert_int_eq(s.envelope, ENVELOPE_PLAIN);
    ck_assert_int_eq(s.log_level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(s.log_format, LOG_FORMAT_JSON);
    ck_assert_str_eq(s.lease_owner, "");
    ck_assert_uint_eq(s.inflight_bytes, UINT64_C(2) << 30);
    ck_assert_uint_eq(s.n_kafka, 2);
    ck_assert_str_eq(s.kafka[0].name, "linger.ms");
    ck_assert_str_eq(s.kafka[0].value, "5");
    ck_assert_str_eq(s.kafka[1].name, "client.id");
    ck_assert_str_eq(s.kafka[1].value, "");
}
END_TEST

START_TEST(a_line_may_be_long)
{
    enum { LEN = 100000 };
    char *text = malloc(LEN + 64);

    strcpy(text, "source = ");
    memset(text + 9, 'x', LEN);
    strcpy(text + 9 + LEN, "\nbatch.rows = 9\n");
    expect_loaded(load(text, NULL, NULL));
    ck_assert_uint_eq(strlen(s.source), LEN);
    ck_assert_uint_eq(s.batch_rows, 9);
    free(text);
}
END_TEST

START_TEST(the_later_wins)
{
    expect_loaded(load("poll.max = 1s\nkafka.linger.ms = 1\n", NULL, NULL));
    ck_assert_uint_eq(s.poll_max_ms, 1000);
    expect_loaded(load("poll.max = 1s\n", "OUTBOX_RELAY_POLL_MAX=2m", NULL));
    ck_assert_uint_eq(s.poll_max_ms, 120000);
    expect_loaded(load("poll.max = 1s\n", "OUTBOX_RELAY_POLL_MAX=2m", "poll.max=1h"));
    ck_assert_uint_eq(s.poll_max_ms, 3600000);
    expect_loaded(load("kafka.linger.ms = 1\nkafka.client.id = x\n",
                       "OUTBOX_RELAY_KAFKA_LINGER_MS=2", NULL));
    ck_assert_uint_eq(s.n_kafka, 2);
    ck_assert_str_eq(s.kafka[0].name, "client.id"); /* linger.ms was set later */
    ck_assert_str_eq(s.kafka[1].name, "linger.ms");
    ck_assert_str_eq(s.kafka[1].value, "2");
}
END_TEST

START_TEST(of_two_arguments_the_later_wins)
{
    static const char *const x[] = { "batch.rows=1", "kafka.linger.ms=1", "batch.rows = 2",
                                     "kafka.linger.ms=2" };

    expect_loaded(settings_load(&s, NULL, NULL, x, N(x), err, sizeof err));
    ck_assert_uint_eq(s.batch_rows, 2);
    ck_assert_uint_eq(s.n_kafka, 1);
    ck_assert_str_eq(s.kafka[0].value, "2");
}
END_TEST

START_TEST(variables_name_settings)
{
    expect_loaded(load(NULL, "OUTBOX_RELAY_TCP_USER_TIMEOUT=0ms", NULL));
    ck_assert_uint_eq(s.tcp_user_timeout_ms, 0);
    expect_loaded(load(NULL, "OUTBOX_RELAY_DSN=host=x password=y", NULL));
    ck_assert_str_eq(s.dsn, "host=x password=y");
    expect_loaded(load(NULL, "OUTBOX_RELAY_SOURCE=/the/\"shop\"", NULL)); /* that is no quoted value */
    expect_loaded(load(NULL, "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS=a:1,b:2", NULL));
    ck_assert_str_eq(s.kafka[0].name, "bootstrap.servers");
    ck_assert_str_eq(s.kafka[0].value, "a:1,b:2");
    expect_loaded(load(NULL, "OUTBOX_RELAYS=1", NULL));
    expect_loaded(load(NULL, "OUTBOX_RELAY=1", NULL));
}
END_TEST

/* What Kubernetes sets in a pod beside services called outbox-relay, outbox-relay-kafka. */
START_TEST(variables_of_kubernetes_services_are_not_ours)
{
    static char *const links[] = {
        "OUTBOX_RELAY_SERVICE_HOST=10.0.0.7",
        "OUTBOX_RELAY_SERVICE_PORT=9188",
        "OUTBOX_RELAY_SERVICE_PORT_METRICS=9188",
        "OUTBOX_RELAY_PORT=tcp://10.0.0.7:9188",
        "OUTBOX_RELAY_PORT_9188_TCP=tcp://10.0.0.7:9188",
        "OUTBOX_RELAY_PORT_9188_TCP_PROTO=tcp",
        "OUTBOX_RELAY_PORT_9188_TCP_PORT=9188",
        "OUTBOX_RELAY_PORT_9188_TCP_ADDR=10.0.0.7",
        "OUTBOX_RELAY_KAFKA_SERVICE_HOST=10.0.0.8",
        "OUTBOX_RELAY_KAFKA_PORT=tcp://10.0.0.8:9092",
        "OUTBOX_RELAY_KAFKA_PORT_9092_TCP=tcp://10.0.0.8:9092",
    };

    for (size_t i = 0; i < N(links); i++) {
        expect_loaded(load(NULL, links[i], NULL));
        ck_assert_uint_eq(s.n_kafka, 0);
    }
    expect_error(load(NULL, "OUTBOX_RELAY_PORT_9188_X=1", NULL), "environment, OUTBOX_RELAY_PORT_9188_X: taken as port.9188.x: "
                 "there is no such setting; --help lists them, and a property of librdkafka is kafka.<property>");
    expect_error(load(NULL, "OUTBOX_RELAY_HTTP_PORT=9188", NULL),
                 "environment, OUTBOX_RELAY_HTTP_PORT: taken as http.port: there is no such "
                 "setting; --help lists them, and a property of librdkafka is kafka.<property>");
}
END_TEST

static const struct {
    const char *x_arg;
    uint64_t ms;
} durations[] = {
    { "drain.timeout=0ms", 0 },          { "drain.timeout=0h", 0 },
    { "drain.timeout=1ms", 1 },          { "drain.timeout=007s", 7000 },
    { "drain.timeout=3m", 180000 },      { "drain.timeout=24h", 86400000 },
    { "drain.timeout=86400000ms", 86400000 }, { "drain.timeout=1d", 86400000 },
};

START_TEST(durations_have_units)
{
    expect_loaded(load(NULL, NULL, durations[_i].x_arg));
    ck_assert_uint_eq(s.drain_timeout_ms, durations[_i].ms);
}
END_TEST

static const struct {
    const char *x_arg;
    uint64_t bytes;
} sizes[] = {
    { "inflight.bytes=1024B", 1024 },
    { "inflight.bytes=1KiB", 1024 },
    { "inflight.bytes=5MiB", 5 << 20 },
    { "inflight.bytes=64GiB", UINT64_C(64) << 30 },
};

START_TEST(sizes_have_units)
{
    expect_loaded(load(NULL, NULL, sizes[_i].x_arg));
    ck_assert_uint_eq(s.inflight_bytes, sizes[_i].bytes);
}
END_TEST

START_TEST(limits_themselves_are_taken)
{
    expect_loaded(load("batch.rows = 100000\ninflight.rows = 200000\npoll.min = 1m\npoll.max = 1m\n"
                       "retry.base = 30s\nlease.ttl = 1s\n",
                       NULL, NULL));
    expect_loaded(load("batch.rows = 1\ninflight.rows = 2\n", NULL, NULL));
    expect_loaded(load("retention = off\n", NULL, NULL));
    ck_assert_uint_eq(s.retention_ms, 0);
    expect_printed("retention = off\n", true);
    expect_loaded(load("retention = 1ms\n", NULL, NULL));
    ck_assert_uint_eq(s.retention_ms, 1);
    expect_loaded(load("retry.attempts = 0\nstall.timeout = 0s\n", NULL, NULL));
    ck_assert_uint_eq(s.retry_attempts, 0);
    ck_assert_uint_eq(s.stall_timeout_ms, 0);
    expect_loaded(load("retry.attempts = 10000\nstall.timeout = 24h\n", NULL, NULL));
    ck_assert_uint_eq(s.retry_attempts, 10000);
    ck_assert_uint_eq(s.stall_timeout_ms, 86400000);
}
END_TEST

/* -- what a command needs ------------------------------------------------------------------- */

START_TEST(a_command_gets_what_it_needs_or_an_error)
{
    const unsigned both = SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA;

    expect_loaded(load(NULL, NULL, NULL));
    ck_assert_int_eq(settings_require(&s, 0, err, sizeof err), 0);
    ck_assert_int_eq(settings_require(&s, both, err, sizeof err), -1);
    ck_assert_str_eq(err, "dsn is not set: it names the database; give it in the settings file "
                          "(dsn = postgresql://localhost/shop), in OUTBOX_RELAY_DSN, or with -X "
                          "dsn=postgresql://localhost/shop; a service's credential (LoadCredential=) is read by "
                          "OUTBOX_RELAY_DSN_FILE=PATH in front of the command\n"
                          "kafka.bootstrap.servers is not set: it names the brokers; give it in "
                          "the settings file (kafka.bootstrap.servers = localhost:9092), in "
                          "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS, or with -X "
                          "kafka.bootstrap.servers=localhost:9092; a service's credential (LoadCredential=) is read by "
                          "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS_FILE=PATH in front of the command");
    expect_loaded(load(NULL, NULL, "dsn=host=x"));
    ck_assert_int_eq(settings_require(&s, SETTINGS_NEED_DATABASE, err, sizeof err), 0);
    ck_assert_int_eq(settings_require(&s, both, err, sizeof err), -1);
    ck_assert_str_eq(err, "kafka.bootstrap.servers is not set: it names the brokers; give it in "
                          "the settings file (kafka.bootstrap.servers = localhost:9092), in "
                          "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS, or with -X "
                          "kafka.bootstrap.servers=localhost:9092; a service's credential (LoadCredential=) is read by "
                          "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS_FILE=PATH in front of the command");
    expect_loaded(load("kafka.bootstrap.servers =\n", NULL, "dsn=host=x"));
    ck_assert_int_eq(settings_require(&s, both, err, sizeof err), -1);
    expect_loaded(load("kafka.bootstrap.servers = a\n", NULL, "dsn=host=x"));
    ck_assert_int_eq(settings_require(&s, both, err, sizeof err), 0);
    expect_loaded(load("kafka.metadata.broker.list = a\n", NULL, "dsn=host=x"));
    ck_assert_int_eq(settings_require(&s, both, err, sizeof err), 0);
}
END_TEST

START_TEST(free_accepts_nothing)
{
    settings_free(NULL);
    settings_free(&s);
    settings_free(&s);
}
END_TEST

Suite *suite_settings(void);

Suite *suite_settings(void)
{
    Suite *suite = suite_create("settings");
    TCase *tc = tcase_create("settings");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, defaults_are_those_of_the_table);
    tcase_add_test(tc, the_file_is_read_line_by_line);
    tcase_add_test(tc, a_line_may_be_long);
    tcase_add_test(tc, the_later_wins);
    tcase_add_test(tc, of_two_arguments_the_later_wins);
    tcase_add_test(tc, variables_name_settings);
    tcase_add_test(tc, variables_of_kubernetes_services_are_not_ours);
    tcase_add_loop_test(tc, durations_have_units, 0, (int)N(durations));
    tcase_add_loop_test(tc, sizes_have_units, 0, (int)N(sizes));
    tcase_add_test(tc, limits_themselves_are_taken);
    tcase_add_test(tc, a_command_gets_what_it_needs_or_an_error);
    tcase_add_test(tc, free_accepts_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
