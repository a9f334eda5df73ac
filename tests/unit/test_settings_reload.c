/* test_settings_reload.c - settings loaded again: what is taken over, what is said of it, and no secret in that. */
#include "tests/unit/settings_rig.h"

static char said[2000]; /* "setting was>value +" for what is in force now, "-" for a restart; "*": only a secret differs */

static void on_change(void *arg, const struct settings_change *c)
{
    size_t n = strlen(said);

    (void)arg;
    snprintf(said + n, sizeof said - n, "%s%s %s>%s %c%s\n", c->prefix, c->key, c->was != NULL ? c->was : "(none)",
             c->value != NULL ? c->value : "(none)", c->in_force ? '+' : '-', c->only_secret ? "*" : "");
}

static int reload(const char *before, const char *after)
{
    struct settings fresh;

    said[0] = '\0';
    expect_loaded(load(after, NULL, NULL));
    fresh = s;
    s = (struct settings){ .file = NULL };
    expect_loaded(load(before, NULL, NULL));
    int rc = settings_reload(&s, &fresh, on_change, NULL, err, sizeof err);
    settings_free(&fresh);
    return rc;
}

START_TEST(each_change_is_said_with_both_values)
{
    expect_loaded(reload("poll.max = 20ms\nretention = off\non.poison = block\n",
                         "poll.max = 1s\nretention = 24h\non.poison = block\nlog.level = debug\n"));
    ck_assert_str_eq(said, "poll.max 20ms>1s +\nretention off>24h -\nlog.level info>debug +\n");
    ck_assert_uint_eq(s.poll_max_ms, 1000);
}
END_TEST

START_TEST(what_needs_a_restart_stays_and_is_said)
{
    expect_loaded(reload("source = /a\nkafka.linger.ms = 5\nkafka.client.id = x\n",
                         "source = /b\nkafka.linger.ms = 7\nkafka.compression.type = lz4\n"));
    ck_assert_str_eq(said, "source /a>/b -\nkafka.linger.ms 5>7 -\nkafka.client.id x>(none) -\n"
                           "kafka.compression.type (none)>lz4 -\n");
    ck_assert_str_eq(s.source, "/a");
}
END_TEST

START_TEST(secrets_are_masked)
{
    expect_loaded(reload("dsn = host=a password=old-secret\nkafka.sasl.password = old-secret\n",
                         "dsn = host=b password=new-secret\nkafka.sasl.password = new-secret\n"));
    ck_assert_str_eq(said, "dsn host=a password=********>host=b password=******** -\n"
                           "kafka.sasl.password ********>******** -*\n");
    expect_loaded(reload("dsn = host=a password=old-secret\n", "dsn = host=a password=new-secret\n"));
    ck_assert_str_eq(said, "dsn host=a password=********>host=a password=******** -*\n");
    expect_loaded(reload("kafka.https.url = https://u:old-secret@h\n", "kafka.https.url = https://h\n"));
    ck_assert_str_eq(said, "kafka.https.url ********>https://h -\n");
}
END_TEST

START_TEST(values_that_do_not_go_together_change_nothing)
{
    ck_assert_int_eq(reload("batch.rows = 100\n", "inflight.rows = 20000\nbatch.rows = 9000\npoll.max = 1s\n"), -1);
    ck_assert_str_eq(said, "");
    ck_assert_uint_eq(s.batch_rows, 100);
    ck_assert_uint_eq(s.poll_max_ms, 20);
    ck_assert_ptr_nonnull(strstr(err, "batch.rows = 9000"));
}
END_TEST

Suite *suite_settings_reload(void);

Suite *suite_settings_reload(void)
{
    Suite *suite = suite_create("settings_reload");
    TCase *tc = tcase_create("reload");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_change_is_said_with_both_values);
    tcase_add_test(tc, what_needs_a_restart_stays_and_is_said);
    tcase_add_test(tc, secrets_are_masked);
    tcase_add_test(tc, values_that_do_not_go_together_change_nothing);
    return suite;
}
