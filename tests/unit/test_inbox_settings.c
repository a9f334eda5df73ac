/* test_inbox_settings.c - the pairs of inbox_consumer_new(): what they become, and what is refused in which words. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "inbox.h"
#include "lib/inbox/settings.h"

#define NEEDED "dsn", "dbname=x", "group", "g", "topics", "orders", "kafka.bootstrap.servers", "b:1"

static struct inbox__settings set;
static outbox_error err;

/* Reads and checks; set must be given to forget(). */
static int settle(const char *const *pairs)
{
    int code;

    err = (outbox_error)OUTBOX_ERROR_INIT;
    code = inbox__settings_read(pairs, &set, &err);
    return code == OUTBOX_OK ? inbox__settings_check(&set, &err) : code;
}
#define SETTLE(...) settle((const char *const[]){ __VA_ARGS__, NULL })

static void forget(void)
{
    inbox__settings_deinit(&set);
    ck_assert_ptr_null(set.dsn);
}

/* The pairs are refused in these words (a part of them). */
static void refuse(const char *const *pairs, const char *words)
{
    ck_assert_msg(settle(pairs) == OUTBOX_EINVAL, "taken, but should say: %s", words);
    ck_assert_msg(strstr(err.message, words) != NULL, "\"%s\" does not say: %s", err.message, words);
    forget();
}
#define REFUSE(words, ...) refuse((const char *const[]){ __VA_ARGS__, NULL }, words)

START_TEST(defaults_are_those_of_the_header)
{
    ck_assert_msg(SETTLE(NEEDED) == OUTBOX_OK, "%s", err.message);
    ck_assert_str_eq(set.dsn, "dbname=x");
    ck_assert_str_eq(set.group, "g");
    ck_assert_str_eq(set.start, "earliest");
    ck_assert_ptr_null(set.sequence_header);
    ck_assert_uint_eq(set.n_topics, 1);
    ck_assert_uint_eq(set.n_kafka, 1);
    ck_assert_str_eq(set.kafka[0].name, "bootstrap.servers");
    ck_assert_str_eq(set.kafka[0].value, "b:1");
    ck_assert_uint_eq(set.batch_rows, 64);
    ck_assert_uint_eq(set.retry_base_ms, 200);
    ck_assert_uint_eq(set.retry_max_ms, 60000);
    ck_assert_uint_eq(set.retry_attempts, 10);
    ck_assert_uint_eq(set.retry_total_ms, 15 * 60000);
    ck_assert_uint_eq(set.inflight_rows, 10000);
    ck_assert_uint_eq(set.inflight_bytes, 64 << 20);
    ck_assert_uint_eq(set.dedupe_keep_ms, UINT64_C(7) * 86400000);
    forget();
}
END_TEST

START_TEST(a_later_pair_wins)
{
    ck_assert_msg(SETTLE(NEEDED, "topics", "a, b", "topics", "c,d,e", "group", "h", "retry.base", "1s",
                         "retry.base", "3s", "inbox.start", "latest", "sequence.header", "v",
                         "sequence.header", "version") == OUTBOX_OK, "%s", err.message);
    ck_assert_uint_eq(set.n_topics, 3);
    ck_assert_str_eq(set.topics[2], "e");
    ck_assert_str_eq(set.group, "h");
    ck_assert_str_eq(set.start, "latest");
    ck_assert_str_eq(set.sequence_header, "version");
    ck_assert_uint_eq(set.retry_base_ms, 3000);
    forget();
}
END_TEST

static const struct range {
    const char *name, *least, *most, *below, *above, *words;
} ranges[] = {
    { "batch.rows", "1", "64", "0", "65", "it may be 1 to 64" },
    { "retry.base", "1ms", "1m", "0ms", "2d", "it may be 1ms to 1d, with a unit: ms, s, m, h or d" },
    { "retry.max", "200ms", "1h", "0s", "25h", "it may be 1ms to 1d, with a unit" },
    { "retry.attempts", "0", "1000", "-1", "1000001", "it may be 0 to 1000000" },
    { "retry.total", "0s", "3d", "5", "366d", "it may be 0s to 365d, with a unit" },
    { "inflight.rows", "1", "10000000", "0", "10000001", "it may be 1 to 10000000" },
    { "inflight.bytes", "1KiB", "1024GiB", "1023B", "1025GiB",
      "it may be 1KiB to 1024GiB, with a unit: B, KiB, MiB or GiB" },
    { "dedupe.keep", "30m", "3650d", "59s", "99999999999999999999d", "it may be 1m to 3650d, with a unit" },
};

START_TEST(numbers_have_ranges_and_units)
{
    const struct range *r = &ranges[_i];
    char words[300];

    ck_assert_msg(SETTLE(NEEDED, r->name, r->least) == OUTBOX_OK, "%s", err.message);
    forget();
    ck_assert_msg(SETTLE(NEEDED, r->name, r->most) == OUTBOX_OK, "%s", err.message);
    forget();
    REFUSE(r->words, NEEDED, r->name, r->below);
    REFUSE(r->words, NEEDED, r->name, r->above);
    snprintf(words, sizeof words, "%s: \"%s\" is not allowed", r->name, r->above);
    REFUSE(words, NEEDED, r->name, r->above);
    REFUSE("is not allowed", NEEDED, r->name, "7 ");
    REFUSE("is not allowed", NEEDED, r->name, "");
}
END_TEST

START_TEST(what_is_missing_is_named)
{
    REFUSE("setting dsn is missing", "group", "g");
    REFUSE("setting group is missing", "dsn", "");
    REFUSE("setting topics is missing", "dsn", "", "group", "g");
    REFUSE("setting kafka.bootstrap.servers is missing", "dsn", "", "group", "g", "topics", "t");
    ck_assert_int_eq(SETTLE("dsn", "", "group", "g", "topics", "t", "kafka.metadata.broker.list", "b"), OUTBOX_OK);
    forget();
    ck_assert_int_eq(settle((const char *const[]){ "dsn", NULL, NULL }), OUTBOX_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "setting \"dsn\" has no value"));
    forget();
}
END_TEST

START_TEST(what_is_unknown_finds_its_neighbour)
{
    REFUSE("setting \"retry.atempts\" is unknown; did you mean retry.attempts?", NEEDED, "retry.atempts", "1");
    REFUSE("did you mean topics?", NEEDED, "topic", "t");
    REFUSE("did you mean inbox.start?", NEEDED, "inbox.strat", "latest");
    REFUSE("did you mean kafka.bootstrap.servers?", NEEDED, "bootstrap.servers", "b");
    REFUSE("setting \"colour\" is unknown; there are dsn, group, topics, kafka.*, batch.rows", NEEDED, "colour", "red");
    REFUSE("setting \"kafka.\" is unknown", NEEDED, "kafka.", "x");
}
END_TEST

START_TEST(texts_are_looked_at)
{
    char group[INBOX_MAX_GROUP_BYTES + 2], topic[OUTBOX_MAX_TOPIC_BYTES + 2];

    memset(group, 'g', sizeof group);
    group[sizeof group - 1] = '\0';
    REFUSE("group: it may be 1 to 249 bytes of UTF-8", NEEDED, "group", group);
    ck_assert_int_eq(SETTLE(NEEDED, "group", group + 1), OUTBOX_OK);
    forget();
    REFUSE("group: it may be 1 to 249 bytes", NEEDED, "group", "");
    REFUSE("group: it may be 1 to 249 bytes", NEEDED, "group", "\xff");
    memset(topic, 't', sizeof topic);
    topic[sizeof topic - 1] = '\0';
    REFUSE("is not the name of a topic", NEEDED, "topics", topic);
    ck_assert_int_eq(SETTLE(NEEDED, "topics", topic + 1), OUTBOX_OK);
    forget();
    REFUSE("topics: \"a b\" is not the name of a topic", NEEDED, "topics", "ok,a b");
    REFUSE("topics: \"\" is not the name of a topic", NEEDED, "topics", "a,,b");
    REFUSE("topics: \"ab\" stands there twice", NEEDED, "topics", "ab,a,ab");
    REFUSE("topics: \"\" is not the name of a topic", NEEDED, "topics", "");
    REFUSE("sequence.header is empty", NEEDED, "sequence.header", "");
    REFUSE("inbox.start: \"newest\" is not allowed; it may be earliest or latest", NEEDED, "inbox.start", "newest");
}
END_TEST

START_TEST(a_unit_stands_right_behind_its_number)
{
    REFUSE("with a unit: ms, s, m, h or d; no blank before the unit", NEEDED, "retry.base", "5 s");
    REFUSE("KiB, MiB or GiB; no blank before the unit", NEEDED, "inflight.bytes", "1 MiB");
    REFUSE("\"6 4\" is not allowed; it may be 1 to 64", NEEDED, "batch.rows", "6 4");
    ck_assert_ptr_null(strstr(err.message, "blank"));
}
END_TEST

START_TEST(what_the_guarantees_rest_on_is_refused)
{
    static const char *const names[] = { "group.id", "enable.auto.commit", "enable.auto.offset.store",
                                         "auto.commit.enable", "partition.assignment.strategy",
                                         "auto.offset.reset", "enable.partition.eof", "log.queue" };
    char name[64], words[100];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "kafka.%s", names[i]);
        snprintf(words, sizeof words, "%s cannot be set: ", name);
        REFUSE(words, NEEDED, name, "x");
    }
    REFUSE("records of an aborted transaction would be applied", NEEDED, "kafka.isolation.level", "read_uncommitted");
    ck_assert_int_eq(SETTLE(NEEDED, "kafka.isolation.level", "read_committed"), OUTBOX_OK);
    forget();
    REFUSE("it is always classic", NEEDED, "kafka.group.protocol", "consumer");
    ck_assert_int_eq(SETTLE(NEEDED, "kafka.group.protocol", "classic"), OUTBOX_OK);
    forget();
}
END_TEST

START_TEST(waits_must_fit_into_what_is_remembered)
{
    REFUSE("retry.max is less than retry.base", NEEDED, "retry.base", "2s", "retry.max", "1s");
    REFUSE("retry.attempts is 0 and retry.total is 0s: not both may be 0", NEEDED, "retry.attempts", "0", "retry.total", "0s");
    REFUSE("for 85 h, longer than half of dedupe.keep (84 h): lower", NEEDED, "retry.total", "85h", "retry.attempts", "0");
    REFUSE("longer than half of dedupe.keep", NEEDED, "dedupe.keep", "10m");
    REFUSE("longer than half of dedupe.keep", NEEDED, "retry.total", "85h", "retry.attempts", "0");
    ck_assert_int_eq(SETTLE(NEEDED, "retry.total", "84h", "retry.attempts", "0"), OUTBOX_OK);
    forget();
    /* Whichever of the two comes first. */
    ck_assert_int_eq(SETTLE(NEEDED, "retry.total", "0s", "retry.attempts", "5040"), OUTBOX_OK);
    forget();
    REFUSE("longer than half of dedupe.keep", NEEDED, "retry.total", "0s", "retry.attempts", "5041");
}
END_TEST

static void refuse_consumer(const char *const *settings, const char *words)
{
    static inbox_consumer *const untouched = (inbox_consumer *)&set;
    inbox_consumer *c = untouched;

    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_int_eq(inbox_consumer_new(settings, &c, &err), OUTBOX_EINVAL);
    ck_assert_msg(strstr(err.message, words) != NULL, "\"%s\" does not say: %s", err.message, words);
    ck_assert_ptr_eq(c, untouched);
}

START_TEST(a_consumer_is_made_of_what_was_checked)
{
    const char *const good[] = { NEEDED, NULL };

    refuse_consumer(NULL, "NULL");
    ck_assert_int_eq(inbox_consumer_new(good, NULL, &err), OUTBOX_EINVAL);
    refuse_consumer((const char *const[]){ "colour", "red", NULL }, "is unknown");
    refuse_consumer((const char *const[]){ "dsn", "", "group", "g", NULL }, "setting topics is missing");
    refuse_consumer((const char *const[]){ NEEDED, "dsn", "hosst=x", NULL }, "dsn: libpq cannot read it");
    inbox_consumer_free(NULL);
}
END_TEST

Suite *suite_inbox_settings(void);
Suite *suite_inbox_settings(void)
{
    Suite *s = suite_create("inbox_settings");
    TCase *tc = tcase_create("settings");

    tcase_add_test(tc, defaults_are_those_of_the_header);
    tcase_add_test(tc, a_later_pair_wins);
    tcase_add_loop_test(tc, numbers_have_ranges_and_units, 0, sizeof ranges / sizeof ranges[0]);
    tcase_add_test(tc, what_is_missing_is_named);
    tcase_add_test(tc, what_is_unknown_finds_its_neighbour);
    tcase_add_test(tc, texts_are_looked_at);
    tcase_add_test(tc, a_unit_stands_right_behind_its_number);
    tcase_add_test(tc, what_the_guarantees_rest_on_is_refused);
    tcase_add_test(tc, waits_must_fit_into_what_is_remembered);
    tcase_add_test(tc, a_consumer_is_made_of_what_was_checked);
    suite_add_tcase(s, tc);
    return s;
}
