/* test_settings_secrets.c - where secrets are taken from and where not; they are never shown. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/secret_file.h"
#include "relay/settings.h"

Suite *suite_settings_secrets(void);

#define N(array) (sizeof(array) / sizeof(array)[0])

static struct settings s;
static char err[1000];
static char dir[32];

static void setup(void)
{
    s = (struct settings){ .file = NULL };
    strcpy(dir, "/tmp/secrets.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    char command[64];

    settings_free(&s);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* The path is good until the eighth next call. */
static const char *path_of(const char *name)
{
    static char path[8][64];
    static unsigned next;
    char *p = path[next++ % 8];

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static const char *file(const char *name, const char *text, size_t len, mode_t mode)
{
    const char *path = path_of(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static const char *text_file(const char *name, const char *text, mode_t mode)
{
    return file(name, text, strlen(text), mode);
}

/* NAME=VALUE; good until the eighth next call. */
static char *variable(const char *name, const char *value)
{
    static char text[8][128];
    static unsigned next;
    char *t = text[next++ % 8];

    snprintf(t, sizeof text[0], "%s=%s", name, value);
    return t;
}

static int load(const char *config, char *first, char *second, const char *x_arg)
{
    char *const environment[] = { "PATH=/bin", first, second, NULL };

    settings_free(&s);
    err[0] = '\0';
    return settings_load(&s, config, environment, &x_arg, x_arg != NULL, err, sizeof err);
}

static void expect_loaded(int rc)
{
    ck_assert_msg(rc == 0, "%s", err);
}

static void expect_error(int rc, const char *words)
{
    ck_assert_int_eq(rc, -1);
    ck_assert_msg(strstr(err, words) != NULL, "%s", err);
    ck_assert_ptr_null(strstr(err, "hunter2"));
}

static void expect_printed(const char *wanted, bool there)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    settings_print(&s, out);
    fclose(out);
    ck_assert_msg((strstr(text, wanted) != NULL) == there, "%s in:\n%s", wanted, text);
    free(text);
}

static const char *const secrets[] = {
    "kafka.sasl.password=hunter2",
    "kafka.ssl.key.password=hunter2",
    "kafka.ssl.keystore.password=hunter2",
    "kafka.ssl.key.pem=hunter2",
    "kafka.ssl.key.anything=hunter2",
    "kafka.sasl.oauthbearer.client.secret=hunter2",
    "kafka.sasl.jaas.config=hunter2",
    "kafka.sasl.oauthbearer.assertion.private.key.passphrase=hunter2",
    "dsn=host=x password=hunter2",
    "dsn=postgresql://app:hunter2@db/shop",
};

START_TEST(secrets_are_not_taken_from_the_command_line)
{
    expect_error(load(NULL, NULL, NULL, secrets[_i]),
                 "every user of this machine can read a command line");
}
END_TEST

START_TEST(secrets_are_taken_from_the_file_and_not_shown)
{
    expect_loaded(load(text_file("conf", secrets[_i], 0600), NULL, NULL, NULL));
    expect_printed("hunter2", false);
    expect_printed("********", true);
}
END_TEST

START_TEST(secrets_are_not_taken_from_a_file_that_others_may_read)
{
    expect_error(load(text_file("conf", secrets[_i], 0644), NULL, NULL, NULL), "chmod 0600 ");
    expect_error(load(text_file("conf", secrets[_i], 0604), NULL, NULL, NULL), "chmod 0600 ");
}
END_TEST

START_TEST(others_may_read_a_file_without_secrets)
{
    expect_loaded(load(text_file("conf", "dsn = host=x\nkafka.sasl.username = u\n", 0644), NULL, NULL, NULL));
}
END_TEST

START_TEST(the_owner_alone_may_read_a_secret_or_the_group_of_roots)
{
    ck_assert(!secret_file_is_open(0600, 1000));
    ck_assert(!secret_file_is_open(0400, 1000));
    ck_assert(secret_file_is_open(0640, 1000));
    ck_assert(secret_file_is_open(0604, 1000));
    ck_assert(!secret_file_is_open(0640, 0));
    ck_assert(!secret_file_is_open(0440, 0));
    ck_assert(secret_file_is_open(0660, 0));
    ck_assert(secret_file_is_open(0644, 0));
}
END_TEST

START_TEST(the_hint_names_the_variable)
{
    (void)load(NULL, NULL, NULL, "kafka.sasl.password=x");
    ck_assert_str_eq(err, "command line, -X: kafka.sasl.password: every user of this machine can read a "
                          "command line, so no secret is taken from it; give it in the settings file, or in "
                          "a file that OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE names");
    (void)load(NULL, NULL, NULL, "dsn=password=x");
    ck_assert_str_eq(err, "command line, -X: dsn: every user of this machine can read a command line, so no "
                          "secret is taken from it; give it in the settings file, or in a file that "
                          "OUTBOX_RELAY_DSN_FILE names; a password best in a password file (PGPASSFILE)");
}
END_TEST

START_TEST(a_dsn_without_a_password_and_a_path_are_taken_from_the_command_line)
{
    expect_loaded(load(NULL, NULL, NULL, "dsn=postgresql://app@db:5432/shop?sslmode=require"));
    expect_loaded(load(NULL, NULL, NULL, "dsn=host=x passfile=/p"));
    expect_loaded(load(NULL, NULL, NULL, "kafka.ssl.key.location=/etc/key.pem"));
    expect_printed("kafka.ssl.key.location = /etc/key.pem", true);
}
END_TEST

START_TEST(a_url_with_a_login_is_not_shown)
{
    expect_loaded(load(text_file("conf", "kafka.sasl.oauthbearer.token.endpoint.url = https://me:hunter2@idp/\n", 0600), NULL,
                       NULL, NULL));
    expect_printed("hunter2", false);
    expect_printed("token.endpoint.url = ********\n", true);
}
END_TEST

/* -- a variable that names a file -------------------------------------------------------------- */

START_TEST(a_variable_may_name_a_file_with_the_value)
{
    expect_loaded(load(NULL, variable("OUTBOX_RELAY_DSN_FILE", text_file("d", "host=x password=hunter2\n", 0600)),
                       variable("OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE", text_file("p", " hunter2 ", 0400)), NULL));
    ck_assert_str_eq(s.dsn, "host=x password=hunter2");
    ck_assert_str_eq(s.kafka[0].name, "sasl.password");
    ck_assert_str_eq(s.kafka[0].value, " hunter2 ");
    expect_printed("# environment, OUTBOX_RELAY_DSN_FILE\n", true);
    expect_printed("# environment, OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE\n", true);
    expect_printed("hunter2", false);
}
END_TEST

START_TEST(line_ends_of_any_kind_are_no_part_of_a_secret)
{
    expect_loaded(load(NULL, variable("OUTBOX_RELAY_DSN_FILE", text_file("d", "host=x\r\n", 0600)),
                       variable("OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE", text_file("p", "hunter2\r\n\n", 0400)), NULL));
    ck_assert_str_eq(s.dsn, "host=x");
    ck_assert_str_eq(s.kafka[0].value, "hunter2");
}
END_TEST

START_TEST(a_variable_and_its_file_are_one_too_many)
{
    char *named = variable("OUTBOX_RELAY_DSN_FILE", text_file("d", "host=x", 0600));

    expect_error(load(NULL, named, "OUTBOX_RELAY_DSN=host=y", NULL), "dsn is set by another variable");
    expect_error(load(NULL, "OUTBOX_RELAY_DSN=host=y", named, NULL), "dsn is set by another variable");
    named = variable("OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE", text_file("p", "hunter2", 0600));
    expect_error(load(NULL, named, "OUTBOX_RELAY_KAFKA_SASL_PASSWORD=x", NULL), "is set by another variable");
}
END_TEST

START_TEST(a_secret_file_that_cannot_be_used_is_named)
{
    char name[] = "OUTBOX_RELAY_DSN_FILE";
    static char large[70000];

    memset(large, 'x', sizeof large);
    expect_error(load(NULL, variable(name, path_of("none")), NULL, NULL), "/none: No such file");
    expect_error(load(NULL, variable(name, dir), NULL, NULL), "is a directory");
    expect_error(load(NULL, variable(name, text_file("open", "password=hunter2", 0644)), NULL, NULL),
                 "other users may read it");
    expect_error(load(NULL, variable(name, file("nul", "hunter2\0x", 9, 0600)), NULL, NULL), "NUL byte");
    expect_error(load(NULL, variable(name, file("large", large, sizeof large, 0600)), NULL, NULL), "64 KiB");
    expect_error(load(NULL, variable("OUTBOX_RELAY_BATCH_ROWS_FILE", text_file("n", "many", 0600)), NULL, NULL),
                 "environment, OUTBOX_RELAY_BATCH_ROWS_FILE: batch.rows = many");
    expect_error(load(NULL, variable("OUTBOX_RELAY_NOTHING_FILE", text_file("n", "x", 0600)), NULL, NULL),
                 "there is no such setting");
}
END_TEST

/* The secret itself, in place of the path of its file. */
START_TEST(what_names_no_file_is_not_shown)
{
    static char *const given[] = { "OUTBOX_RELAY_DSN_FILE=postgresql://app:hunter2@db/shop", "OUTBOX_RELAY_DSN_FILE=host=x password=hunter2",
                                   "OUTBOX_RELAY_KAFKA_SASL_PASSWORD_FILE=hunter2" };

    for (size_t i = 0; i < N(given); i++)
        expect_error(load(NULL, given[i], NULL, NULL), "it must be the path of a file with the value");
    expect_error(load(NULL, "OUTBOX_RELAY_DSN_FILE=/nonexistent/dsn", NULL, NULL), "/nonexistent/dsn: No such file");
}
END_TEST

/* -- systemd's credentials ----------------------------------------------------------------------- */

START_TEST(credentials_with_the_names_of_settings_are_taken)
{
    text_file("dsn", "host=credential password=hunter2\n", 0400);
    text_file("kafka.sasl.password", "hunter2", 0400);
    text_file("tls-key-of-somebody", "x", 0444);
    expect_loaded(load(text_file("conf", "dsn = host=file\n", 0600), variable("CREDENTIALS_DIRECTORY", dir), NULL,
                       NULL));
    ck_assert_str_eq(s.dsn, "host=credential password=hunter2");
    ck_assert_uint_eq(s.n_kafka, 1);
    expect_printed("# credential dsn\n", true);
    expect_printed("# credential kafka.sasl.password\n", true);
    expect_printed("hunter2", false);
    expect_loaded(load(NULL, variable("CREDENTIALS_DIRECTORY", dir), "OUTBOX_RELAY_DSN=host=environment", NULL));
    ck_assert_str_eq(s.dsn, "host=environment");
}
END_TEST

START_TEST(credentials_that_cannot_be_read_are_an_error)
{
    expect_error(load(NULL, variable("CREDENTIALS_DIRECTORY", path_of("none")), NULL, NULL), "cannot be read");
    text_file("batch.rows", "many", 0400);
    expect_error(load(NULL, variable("CREDENTIALS_DIRECTORY", dir), NULL, NULL), "/batch.rows: batch.rows = many");
}
END_TEST

Suite *suite_settings_secrets(void)
{
    Suite *suite = suite_create("settings_secrets");
    TCase *tc = tcase_create("secrets");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, secrets_are_not_taken_from_the_command_line, 0, (int)N(secrets));
    tcase_add_loop_test(tc, secrets_are_taken_from_the_file_and_not_shown, 0, (int)N(secrets));
    tcase_add_loop_test(tc, secrets_are_not_taken_from_a_file_that_others_may_read, 0, (int)N(secrets));
    tcase_add_test(tc, others_may_read_a_file_without_secrets);
    tcase_add_test(tc, the_owner_alone_may_read_a_secret_or_the_group_of_roots);
    tcase_add_test(tc, the_hint_names_the_variable);
    tcase_add_test(tc, a_dsn_without_a_password_and_a_path_are_taken_from_the_command_line);
    tcase_add_test(tc, a_url_with_a_login_is_not_shown);
    tcase_add_test(tc, a_variable_may_name_a_file_with_the_value);
    tcase_add_test(tc, line_ends_of_any_kind_are_no_part_of_a_secret);
    tcase_add_test(tc, a_variable_and_its_file_are_one_too_many);
    tcase_add_test(tc, a_secret_file_that_cannot_be_used_is_named);
    tcase_add_test(tc, what_names_no_file_is_not_shown);
    tcase_add_test(tc, credentials_with_the_names_of_settings_are_taken);
    tcase_add_test(tc, credentials_that_cannot_be_read_are_an_error);
    return suite;
}
