/* test_settings_mistakes.c - what cannot be taken as a setting, and what is said of it. */
#include <sys/stat.h>

#include "tests/unit/settings_rig.h"

#define A_DURATION "must be a whole number with a unit (ms, s, m, h, d), from "
#define A_SIZE "must be a whole number with a unit (B, KiB, MiB or GiB), from 1KiB to 64GiB"
#define ATTEMPTS "must be a whole number, from 0 to 10000"
#define NO_KEY "what is in front of the = is no key (letters, digits, . _ and -), and may be of a secret, so it is not shown; what is wanted is key = value"
#define A_COUNT "must be a whole number, from 1 to 100000"

static const struct {
    const char *x_arg, *wanted; /* behind "command line, -X: " */
} bad[] = {
    { "poll.max=20", "poll.max = 20: " A_DURATION "1ms to 1h; the unit is missing" },
    { "poll.max=", "poll.max = : " A_DURATION "1ms to 1h" },
    { "poll.max=ms", "poll.max = ms: " A_DURATION "1ms to 1h" },
    { "poll.max=0ms", "poll.max = 0ms: " A_DURATION "1ms to 1h" },
    { "poll.max=61m", "poll.max = 61m: " A_DURATION "1ms to 1h" },
    { "poll.max=1.5s", "poll.max = 1.5s: " A_DURATION "1ms to 1h" },
    { "poll.max=-1s", "poll.max = -1s: " A_DURATION "1ms to 1h" },
    { "poll.max=+1s", "poll.max = +1s: " A_DURATION "1ms to 1h" },
    { "poll.max=1 s", "poll.max = 1 s: " A_DURATION "1ms to 1h; no blank before the unit" },
    { "retention=3 days", "retention = 3 days: " A_DURATION "1ms to 365d or off; no blank before the unit" },
    { "batch.rows=1 s", "batch.rows = 1 s: " A_COUNT },
    { "poll.max=1S", "poll.max = 1S: " A_DURATION "1ms to 1h" },
    { "poll.max=1sec", "poll.max = 1sec: " A_DURATION "1ms to 1h" },
    { "poll.max=1KiB", "poll.max = 1KiB: " A_DURATION "1ms to 1h" },
    { "poll.max=18446744073709551617ms",
      "poll.max = 18446744073709551617ms: " A_DURATION "1ms to 1h" },
    { "poll.max=18446744073709551625ms",
      "poll.max = 18446744073709551625ms: " A_DURATION "1ms to 1h" },
    { "poll.max=5124095576030432h", "poll.max = 5124095576030432h: " A_DURATION "1ms to 1h" },
    { "lease.ttl=999ms", "lease.ttl = 999ms: " A_DURATION "1s to 1h" },
    { "inflight.bytes=1000000", "inflight.bytes = 1000000: " A_SIZE "; the unit is missing" },
    { "inflight.bytes=16MB", "inflight.bytes = 16MB: " A_SIZE },
    { "inflight.bytes=65GiB", "inflight.bytes = 65GiB: " A_SIZE },
    { "inflight.bytes=1023B", "inflight.bytes = 1023B: " A_SIZE },
    { "inflight.bytes=17179869184GiB", "inflight.bytes = 17179869184GiB: " A_SIZE },
    { "batch.rows=0", "batch.rows = 0: " A_COUNT },
    { "batch.rows=100001", "batch.rows = 100001: " A_COUNT },
    { "batch.rows=4294967297", "batch.rows = 4294967297: " A_COUNT },
    { "batch.rows=1k", "batch.rows = 1k: " A_COUNT },
    { "batch.rows=1s", "batch.rows = 1s: " A_COUNT },
    { "batch.rows=0x10", "batch.rows = 0x10: " A_COUNT },
    { "batch.rows=a\nb\033[1m", "batch.rows = a?b?[1m: " A_COUNT },
    { "retry.attempts=10001", "retry.attempts = 10001: " ATTEMPTS },
    { "retry.attempts=-1", "retry.attempts = -1: " ATTEMPTS },
    { "retry.attempts=2s", "retry.attempts = 2s: " ATTEMPTS },
    { "on.poison=stop", "on.poison = stop: must be one of block, skip" },
    { "stall.timeout=25h", "stall.timeout = 25h: " A_DURATION "0s to 24h" },
    { "retention=0s", "retention = 0s: " A_DURATION "1ms to 365d or off" },
    { "retention=never", "retention = never: " A_DURATION "1ms to 365d or off" },
    { "stall.timeout=off", "stall.timeout = off: " A_DURATION "0s to 24h" },
    { "stall.timeout=0", "stall.timeout = 0: " A_DURATION "0s to 24h; the unit is missing" },
    { "takeover.tail=on", "takeover.tail = on: must be one of auto, off" },
    { "source=", "source = : must be text, not empty" },
    { "source = ", "source = : must be text, not empty" },
    { "source=\"/shop\"", "source: there are no quotes around a value; leave them out" },
    { "poll.max=\"20ms\"", "poll.max: there are no quotes around a value; leave them out" },
    { "envelope=cloudevent",
      "envelope = cloudevent: must be one of cloudevents, debezium, plain" },
    { "envelope=", "envelope = : must be one of cloudevents, debezium, plain" },
    { "envelope=plain|", "envelope = plain|: must be one of cloudevents, debezium, plain" },
    { "envelope=cloudevents|debezium",
      "envelope = cloudevents|debezium: must be one of cloudevents, debezium, plain" },
    { "log.level=INFO", "log.level = INFO: must be one of error, warn, info, debug" },
    { "log.format=text", "log.format = text: must be one of logfmt, json" },
    { "batch.rows", "no = found; what is wanted is key = value" },
    { "=5", "no key before the =; what is wanted is key = value" },
    { "", "no = found; what is wanted is key = value" },
    { "batch.row=5", "batch.row: there is no such setting; did you mean batch.rows?" },
    { "batch-rows=5", "batch-rows: there is no such setting; did you mean batch.rows?" },
    { "Batch_Rows=5", "Batch_Rows: there is no such setting; did you mean batch.rows?" },
    { "bacth.rows=5", "bacth.rows: there is no such setting; did you mean batch.rows?" },
    { "dns=host=x", "dns: there is no such setting; did you mean dsn?" },
    { "dog=x", "dog: there is no such setting; --help lists them, and a property of librdkafka "
               "is kafka.<property>" },
    { "bootstrap.servers=x",
      "bootstrap.servers: there is no such setting; did you mean kafka.bootstrap.servers?" },
    { "kafak.bootstrap.servers=x",
      "kafak.bootstrap.servers: there is no such setting; did you mean kafka.bootstrap.servers?" },
    { "kafka.a\nbatch.rows=5", NO_KEY },
    { "postgresql://u:hunter2@h/db?sslmode=require", NO_KEY },
    { "dsn: postgresql://u:hunter2@h/db?sslmode=require", NO_KEY },
    { "kafka.sasl.password: aHVudGVyMg==", NO_KEY },
    { "xyzzy=5", "xyzzy: there is no such setting; --help lists them, and a property of librdkafka "
                 "is kafka.<property>" },
    { "inflight.rows=1999",
      "inflight.rows = 1999 (command line): must be at least twice batch.rows = 1000 (default)" },
    { "batch.rows=5001",
      "inflight.rows = 10000 (default): must be at least twice batch.rows = 5001 (command line)" },
    { "poll.min=21ms",
      "poll.max = 20ms (default): must be at least poll.min = 21ms (command line)" },
    { "retry.max=99ms",
      "retry.max = 99ms (command line): must be at least retry.base = 100ms (default)" },
    { "kafka.=x",
      "kafka. needs the name of a property of librdkafka, such as kafka.bootstrap.servers" },
};

START_TEST(what_cannot_be_taken_is_refused_in_one_line)
{
    char wanted[400];
    bool between = strstr(bad[_i].wanted, "must be at least") != NULL;

    snprintf(wanted, sizeof wanted, "%s%s", between ? "" : "command line, -X: ", bad[_i].wanted);
    expect_error(load(NULL, NULL, bad[_i].x_arg), wanted);
}
END_TEST

START_TEST(an_error_names_file_and_line)
{
    expect_error(load("# x\n\nbatch.rows = many\n", NULL, NULL),
                 "FILE:3: batch.rows = many: " A_COUNT);
    expect_error(load("batch.rows = 6000\n", NULL, NULL),
                 "inflight.rows = 10000 (default): must be at least twice "
                 "batch.rows = 6000 (FILE:1)");
    expect_error(load("batch.rows = 5\nbatch rows\n", NULL, NULL),
                 "FILE:2: no = found; what is wanted is key = value");
    expect_error(load("\npol.max = 5\n", NULL, NULL),
                 "FILE:2: pol.max: there is no such setting; did you mean poll.max?");
}
END_TEST

START_TEST(an_error_names_the_variable)
{
    expect_error(load(NULL, "OUTBOX_RELAY_BATCH_ROWS=0", NULL),
                 "environment, OUTBOX_RELAY_BATCH_ROWS: batch.rows = 0: " A_COUNT);
    expect_error(load(NULL, "OUTBOX_RELAY_BATCHROWS=5", NULL),
                 "environment, OUTBOX_RELAY_BATCHROWS: taken as batchrows: there is no such "
                 "setting; did you mean OUTBOX_RELAY_BATCH_ROWS?");
    expect_error(load(NULL, "OUTBOX_RELAY_KAFKA_ACKS=1", NULL),
                 "environment, OUTBOX_RELAY_KAFKA_ACKS: kafka.acks cannot be set: it is always "
                 "all: a row is marked sent only when every in-sync replica has it");
}
END_TEST

START_TEST(a_key_stands_in_the_file_once)
{
    expect_error(load("batch.rows = 5\n\nbatch.rows = 5\n", NULL, NULL),
                 "FILE:3: batch.rows is set in line 1 already; remove one of the two");
    expect_error(load("# x\nkafka.linger.ms = 5\nkafka.linger.ms = 6\n", NULL, NULL),
                 "FILE:3: kafka.linger.ms is set in line 2 already; remove one of the two");
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
    expect_error(settings_load(&s, "/nonexistent/relay.conf", NULL, NULL, 0, err, sizeof err),
                 "/nonexistent/relay.conf: cannot be opened: No such file or directory");
    if (geteuid() != 0) { /* which may read everything */
        write_file("batch.rows = 5\n", 15);
        ck_assert_int_eq(chmod(path, 0), 0);
        ck_assert_int_eq(settings_load(&s, path, NULL, NULL, 0, err, sizeof err), -1);
        ck_assert_ptr_nonnull(strstr(err, "Permission denied; run this as root (sudo) or as a user who may read it"));
        ck_assert_int_eq(chmod(path, 0600), 0);
    }
    expect_error(settings_load(&s, "/", NULL, NULL, 0, err, sizeof err),
                 "/: cannot be read: Is a directory");
    write_file("batch.rows = 5\0 \n", 17);
    expect_error(settings_load(&s, path, NULL, NULL, 0, err, sizeof err),
                 "FILE:1: there is a NUL byte in it; a settings file is text");
}
END_TEST

/* It is kept in the database and shown as a whole, so that no two are taken for one. */
START_TEST(an_owner_that_would_be_cut_is_refused)
{
    char x[200];

    snprintf(x, sizeof x, "lease.owner=%0159d", 0);
    expect_loaded(load(NULL, NULL, x));
    snprintf(x, sizeof x, "lease.owner=%0160d", 0);
    expect_error(load(NULL, NULL, x), "command line: lease.owner has 160 bytes: at most 159 are taken");
    expect_error(load("lease.owner = caf\xe9\n", NULL, NULL), "FILE:1: lease.owner is not UTF-8");
}
END_TEST

START_TEST(all_mistakes_are_told)
{
    expect_error(load("batch.rows = 0\npoll.min = 2s\nnothing\nkafka.acks = 1\nlease.ttl = 5\n",
                      "OUTBOX_RELAY_ENVELOPE=xml", "poll.max=1s"),
                 "FILE:1: batch.rows = 0: must be a whole number, from 1 to 100000\n"
                 "FILE:3: no = found; what is wanted is key = value\n"
                 "FILE:4: kafka.acks cannot be set: it is always all: a row is marked sent only when every in-sync replica "
                 "has it\n"
                 "FILE:5: lease.ttl = 5: must be a whole number with a unit (ms, s, m, h, d), from 1s to 1h; the unit is missing\n"
                 "environment, OUTBOX_RELAY_ENVELOPE: envelope = xml: must be one of cloudevents, debezium, plain\n"
                 "poll.max = 1s (command line): must be at least poll.min = 2s (FILE:2)");
}
END_TEST

/* Its default is not what the user wants. */
START_TEST(what_follows_from_a_mistake_is_none)
{
    expect_error(load("poll.max = 1\npoll.min = 1m\n", NULL, NULL),
                 "FILE:1: poll.max = 1: must be a whole number with a unit (ms, s, m, h, d), from 1ms to 1h; the unit is missing");
}
END_TEST

START_TEST(of_many_mistakes_the_first_are_told)
{
    char text[40 * 2 + 1] = "";
    unsigned lines = 1;

    for (int i = 0; i < 40; i++)
        strcat(text, "x\n");
    ck_assert_int_eq(load(text, NULL, "batch.rows=0"), -1);
    for (const char *at = err; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    ck_assert_uint_eq(lines, 21);
    ck_assert_ptr_nonnull(strstr(err, ":20: no = found"));
    ck_assert_ptr_nonnull(strstr(err, "\nwhat may come after these 20 was not looked at"));
}
END_TEST

/* What is set wrong is not said to be missing. */
START_TEST(what_is_needed_and_missing_is_told_with_them)
{
    const unsigned both = SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA;
    static const struct {
        const char *x[2], *said, *not_said;
    } given[] = {
        { { "batch.rows=0", "poll.min=1ms" }, "\ndsn is not set: ", "\n\n" },
        { { "batch.rows=0", "dsn=host=x" }, "\nkafka.bootstrap.servers is not set: ", "dsn" },
        { { "dsn=\"host=x\"", "kafka.bootstrap.servers=x" }, "quotes", "not set" },
        { { "dsn=host=x", "kafka.bootstrap.servers=a;b" }, "commas", "not set" },
    };

    for (size_t i = 0; i < N(given); i++) {
        const struct settings_from from = { NULL, NULL, given[i].x, 2 };
        ck_assert_int_eq(settings_read(&s, &from, both, err, sizeof err), -1);
        ck_assert_msg(strstr(err, given[i].said) != NULL && strstr(err, given[i].not_said) == NULL, "%zu: %s", i, err);
        settings_free(&s);
    }
    const struct settings_from nowhere = { "/nonexistent/relay.conf", NULL, NULL, 0 };
    ck_assert_int_eq(settings_read(&s, &nowhere, both, err, sizeof err), -1);
    ck_assert_str_eq(err, "/nonexistent/relay.conf: cannot be opened: No such file or directory");
}
END_TEST

START_TEST(a_long_message_is_cut)
{
    char small[20];
    const char *x = "batch.rows=0";

    memset(small, 'x', sizeof small);
    ck_assert_int_eq(settings_load(&s, NULL, NULL, &x, 1, small, sizeof small), -1);
    ck_assert_str_eq(small, "command line, -X: b");
    ck_assert_int_eq(settings_load(&s, NULL, NULL, &x, 1, small, 0), -1);
}
END_TEST

static const char *const owned_properties[] = {
    "kafka.acks=1",
    "kafka.request.required.acks=1",
    "kafka.enable.idempotence=false",
    "kafka.enable.gapless.guarantee=false",
    "kafka.message.timeout.ms=5",
    "kafka.delivery.timeout.ms=5",
    "kafka.max.in.flight=5",
    "kafka.max.in.flight.requests.per.connection=5",
    "kafka.transactional.id=x",
    "kafka.delivery.report.only.error=true",
    "kafka.enabled_events=0",
    "kafka.log.queue=false",
};

START_TEST(properties_that_the_guarantees_rest_on_are_refused)
{
    char wanted[100];
    const char *x = owned_properties[_i];

    snprintf(wanted, sizeof wanted, "command line, -X: %.*s cannot be set: ", (int)strcspn(x, "="),
             x);
    ck_assert_int_eq(load(NULL, NULL, x), -1);
    ck_assert_msg(strncmp(err, wanted, strlen(wanted)) == 0, "%s", err);
    ck_assert_uint_gt(strlen(err), strlen(wanted) + 20); /* there is a reason */
}
END_TEST

/* -- comments ---------------------------------------------------------------------------------- */

static const struct {
    const char *file;
    const char *said; /* NULL: it is taken */
} comments[] = {
    { "source = /a # the shop\n", ":1: source: a comment has a line of its own" },
    { "source = /a\t#the shop\n", ":1: source: a comment has a line of its own" },
    { "lease.owner = # unset\n", ":1: lease.owner: a comment has a line of its own" },
    { "poll.max = 30ms # foo\n", ":1: poll.max: a comment has a line of its own" },
    { "kafka.client.id = x # y\n", ":1: kafka.client.id: a comment has a line of its own" },
    { "dsn = postgresql://h/db # the shop\n", ":1: dsn: a comment has a line of its own" },
    { "source = /a#b\n", NULL },
    { "source = #b\n", NULL },
    { "dsn = host=h user='a #b'\n", NULL },
    { "dsn = host=h password='a #b'\n", NULL },
    { "kafka.sasl.password = a #b\n", NULL },
};

START_TEST(comment_behind_a_value_is_refused)
{
    int rc = load(comments[_i].file, NULL, NULL);

    if (comments[_i].said == NULL) {
        expect_loaded(rc);
        return;
    }
    ck_assert_int_eq(rc, -1);
    ck_assert_msg(strstr(err, comments[_i].said) != NULL, "%s", err);
}
END_TEST

START_TEST(what_looks_like_a_comment_is_taken_from_elsewhere)
{
    expect_loaded(load(NULL, NULL, "source=/a # the shop"));
    ck_assert_str_eq(s.source, "/a # the shop");
}
END_TEST

/* -- brokers ---------------------------------------------------------------------------------- */

static const struct {
    const char *brokers, *said; /* NULL: it is taken */
} lists[] = {
    { "localhost:9092", NULL },
    { "localhost", NULL },
    { ":9092", NULL },
    { "a:9092,b:9092, c:9092 ,", NULL },
    { "a: 9092", NULL },
    { "a_b.example.com:1,xn--bcher-kva:65535", NULL },
    { "::1", NULL },
    { "[::1]:9092", NULL },
    { "[fe80::1%eth0]", NULL },
    { "fe80::1%eth0", NULL },
    { "10.0.0.1:9092/kafka", NULL },
    { "PLAINTEXT://a:9092,plaintext://b/x", NULL },
    { "http://localhost:9092", "Kafka knows no such protocol" },
    { "kafka+ssl://a:9092", "Kafka knows no such protocol" },
    { "://a:9092", "Kafka knows no such protocol" },
    { "a:9092,tcp://b:9092", "Kafka knows no such protocol" },
    { "ssl://a:9093", "is not that of kafka.security.protocol" },
    { "a:9092;b:9092", "separated by commas" },
    { "a;b", "separated by commas" },
    { "a:9092|b:9092", "separated by commas" },
    { "a:9092 b:9092", "no host has a blank" },
    { "a :9092", "no host has a blank" },
    { "a/kafka:9092", "no host has a blank or a slash" },
    { "kafka:9092:9092", "too many colons" },
    { "a:", "a port is a number" },
    { "a:kafka", "a port is a number" },
    { "a:0", "a port is a number" },
    { "a:65536", "a port is a number" },
    { "[::1]:65536", "a port is a number" },
    { "a:99999999999999999999999", "a port is a number" },
    { "plaintext://a:x/", "a port is a number" },
    { ",", "it names no broker" },
    { "u@a:9092", "no host has an @" },
    { "user:hunter2@a:9092", "no host has an @" },
    { "user:hunter2,hunter2@a:9092", "no host has an @" },
    { "SASL_SSL://user:hunter2@a:9092", "no host has an @" },
};

START_TEST(list_of_brokers_that_can_never_work_is_refused)
{
    char file[200];

    snprintf(file, sizeof file, "kafka.bootstrap.servers = %s\n", lists[_i].brokers);
    if (lists[_i].said == NULL) {
        expect_loaded(load(file, NULL, NULL));
        return;
    }
    ck_assert_int_eq(load(file, NULL, NULL), -1);
    ck_assert_msg(strstr(err, ":1: kafka.bootstrap.servers = ") != NULL, "%s", err);
    ck_assert_msg(strstr(err, lists[_i].said) != NULL, "%s", err);
    ck_assert_msg(strstr(err, "hunter2") == NULL, "%s", err);
}
END_TEST

START_TEST(protocol_of_an_address_is_that_of_the_setting)
{
    expect_loaded(load("kafka.security.protocol = SASL_SSL\nkafka.metadata.broker.list = sasl_ssl://a:9093\n", NULL, NULL));
    ck_assert_int_eq(load("kafka.metadata.broker.list = plaintext://a\n", NULL, "kafka.security.protocol=ssl"), -1);
    ck_assert_msg(strstr(err, ":1: kafka.metadata.broker.list = plaintext://a: ") != NULL, "%s", err);
}
END_TEST

/* -- what librdkafka finds in several together -------------------------------------------------- */

static const struct {
    const char *file, *said, *wanted; /* wanted: the end, behind the name of the file where it begins with a colon */
} together[] = {
    { "kafka.linger.ms = 5\nkafka.security.protocol = sasl_ssl\n", "Invalid sasl.kerberos.kinit.cmd value",
      ":2: kafka.security.protocol = sasl_ssl: Invalid sasl.kerberos.kinit.cmd value; kafka.sasl.mechanism is GSSAPI, "
      "which is Kerberos, unless it is set: set it (PLAIN, SCRAM-SHA-512, ...), or kafka.sasl.kerberos.keytab" },
    { "kafka.retries = 0\nkafka.linger.ms = 5\n", "`retries` must be set >= 1",
      ":1: kafka.retries = 0: `retries` must be set >= 1; correct what it says, or leave it out" },
    { "kafka.security.protocol = ssl\nkafka.ssl.ca.location = /nope/ca.pem\n", "ssl.ca.location failed: error:1",
      ":2: kafka.ssl.ca.location = /nope/ca.pem: cannot be read: No such file or directory (ssl.ca.location failed: error:1)" },
    { "kafka.security.protocol = ssl\nkafka.ssl.ca.location = /etc/passwd\n", "ssl.ca.location failed.",
      ":2: kafka.ssl.ca.location = /etc/passwd: ssl.ca.location failed.; correct what it says, or leave it out" },
    { "kafka.ssl.key.pem = geheim\n", "ssl.key.pem failed", ":1: kafka.ssl.key.pem = ********: ssl.key.pem failed; correct what it says, or leave it out" },
    { "kafka.security.protocol = sasl_ssl\nkafka.linger.ms = 5\nkafka.sasl.mechanism = PLAIN\n",
      "sasl.username and sasl.password must be set",
      ":3): sasl.username and sasl.password must be set; set both, as kafka.sasl.username and kafka.sasl.password" },
    { "kafka.linger.ms = 5\n", "linger.ms.max and x.linger.ms are wrong",
      "the kafka.* settings together: linger.ms.max and x.linger.ms are wrong; correct what it says, or leave it out" },
};

START_TEST(what_is_wrong_in_several_properties_names_those_concerned)
{
    expect_loaded(load(together[_i].file, NULL, NULL));
    snprintf(err, sizeof err, "kafka.*: %s", together[_i].said);
    settings_name_place(&s, err, sizeof err);
    const char *end = strstr(err, together[_i].wanted);
    ck_assert_msg(end != NULL && end[strlen(together[_i].wanted)] == '\0', "%s", err);
    ck_assert_msg(strstr(err, ":3): ") == NULL || strncmp(err, "kafka.security.protocol (", 25) == 0, "%s", err);
    ck_assert_ptr_null(strstr(err, "geheim"));
}
END_TEST

START_TEST(other_messages_stay_as_they_are)
{
    expect_loaded(load("kafka.linger.ms = 5\n", NULL, NULL));
    snprintf(err, sizeof err, "linger.ms: out of memory");
    settings_name_place(&s, err, sizeof err);
    ck_assert_str_eq(err, "linger.ms: out of memory");
}
END_TEST

Suite *suite_settings_mistakes(void);

Suite *suite_settings_mistakes(void)
{
    Suite *suite = suite_create("settings_mistakes");
    TCase *tc = tcase_create("mistakes");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_cannot_be_taken_is_refused_in_one_line, 0, (int)N(bad));
    tcase_add_test(tc, an_error_names_file_and_line);
    tcase_add_test(tc, an_error_names_the_variable);
    tcase_add_test(tc, a_key_stands_in_the_file_once);
    tcase_add_test(tc, a_file_that_cannot_be_read_is_named);
    tcase_add_test(tc, an_owner_that_would_be_cut_is_refused);
    tcase_add_test(tc, all_mistakes_are_told);
    tcase_add_test(tc, what_follows_from_a_mistake_is_none);
    tcase_add_test(tc, of_many_mistakes_the_first_are_told);
    tcase_add_test(tc, what_is_needed_and_missing_is_told_with_them);
    tcase_add_test(tc, a_long_message_is_cut);
    tcase_add_loop_test(tc, properties_that_the_guarantees_rest_on_are_refused, 0,
                        (int)N(owned_properties));
    tcase_add_loop_test(tc, comment_behind_a_value_is_refused, 0, (int)N(comments));
    tcase_add_test(tc, what_looks_like_a_comment_is_taken_from_elsewhere);
    tcase_add_loop_test(tc, list_of_brokers_that_can_never_work_is_refused, 0, (int)N(lists));
    tcase_add_test(tc, protocol_of_an_address_is_that_of_the_setting);
    tcase_add_loop_test(tc, what_is_wrong_in_several_properties_names_those_concerned, 0, (int)N(together));
    tcase_add_test(tc, other_messages_stay_as_they_are);
    suite_add_tcase(suite, tc);
    return suite;
}
