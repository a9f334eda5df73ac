/* settings_rig.h - what the tests of settings share: settings loaded from a text, a variable and an argument, the
 * error of that, and what is printed of them. */
#ifndef TESTS_UNIT_SETTINGS_RIG_H
#define TESTS_UNIT_SETTINGS_RIG_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/settings.h"

#define N(array) (sizeof(array) / sizeof(array)[0])

static struct settings s;
static char err[SETTINGS_MISTAKES_SIZE];
static char path[64]; /* of the settings file, when there is one */

static inline void setup(void)
{
    s = (struct settings){ .file = NULL };
    err[0] = path[0] = '\0';
}

static inline void teardown(void)
{
    settings_free(&s);
    if (path[0] != '\0')
        unlink(path);
}

static inline void write_file(const char *text, size_t len)
{
    strcpy(path, "/tmp/test_settings.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

/* Any of the three may be NULL. The file is given by what is in it. */
static inline int load(const char *text, char *variable, const char *x_arg)
{
    char *const environment[] = { "PATH=/bin", variable, NULL };

    settings_free(&s);
    if (text != NULL && path[0] != '\0')
        unlink(path);
    if (text != NULL)
        write_file(text, strlen(text));
    return settings_load(&s, text != NULL ? path : NULL, environment, &x_arg, x_arg != NULL, err,
                         sizeof err);
}

/* The message, with FILE for the file's name. */
static inline void expect_error(int rc, const char *wanted)
{
    char text[sizeof err];

    ck_assert_int_eq(rc, -1);
    snprintf(text, sizeof text, "%s", err);
    for (char *at; path[0] != '\0' && (at = strstr(text, path)) != NULL;) {
        memcpy(at, "FILE", 4);
        memmove(at + 4, at + strlen(path), strlen(at + strlen(path)) + 1);
    }
    ck_assert_str_eq(text, wanted);
    ck_assert_ptr_null(s.dsn);
    ck_assert_ptr_null(s.kafka);
}

static inline void expect_loaded(int rc)
{
    ck_assert_msg(rc == 0, "%s", err);
}

static inline char *printed(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    settings_print(&s, out);
    fclose(out);
    return text;
}

static inline void expect_printed(const char *wanted, bool there)
{
    char *text = printed();

    ck_assert_msg((strstr(text, wanted) != NULL) == there, "%s in:\n%s", wanted, text);
    free(text);
}

#endif
