/* test_log.c - one line an event, whatever is in it; priorities for the journal; repeats are cut off. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "relay/log.h"
#include "tests/rig/fake.h"
#include "tests/rig/rig.h"

Suite *suite_log(void);

static time_t fake_s;

/* The wall clock stands still, the monotonic one goes as the test says. */
FAKE(int, clock_gettime, (clockid_t clock, struct timespec *ret_time))
{
    *ret_time = (struct timespec){ .tv_sec = clock == CLOCK_MONOTONIC ? fake_s : 0, .tv_nsec = 7000000 };
    return 0;
}

static void begin(void)
{
    fake_s = 1000;
    (void)unsetenv("JOURNAL_STREAM");
    rig_stderr_keep();
}

static void end(void)
{
    rig_stderr_release();
}

static unsigned n_lines(void)
{
    unsigned n = 0;

    for (const char *p = rig_stderr(); *p != '\0'; p++)
        n += *p == '\n';
    return n;
}

START_TEST(a_line_is_logfmt)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_warn("source", "lost it", "error", "a \"b\"\nc=d", "code", "X", "absent", NULL, "utf8", "\xc3\xa9",
             "latin1", "\xe9");
    log_debug("source", "not this one");
    ck_assert_str_eq(rig_stderr(), "ts=1970-01-01T00:00:00.007Z level=warn msg=\"lost it\" component=source "
                                "error=\"a \\\"b\\\"\\nc=d\" code=X utf8=\xc3\xa9 latin1=\"\\u00e9\"\n");
}
END_TEST

START_TEST(a_line_is_json_whatever_is_in_it)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_error("sink", "tab\t, bell\a and \"quotes\"", "topic", "\x1b[31m\\", "utf8", "\xc3\xa9",
              "latin1", "\xe9");
    json_t *line = json_loads(rig_stderr(), 0, NULL);
    ck_assert_msg(line != NULL, "%s", rig_stderr());
    ck_assert_str_eq(json_string_value(json_object_get(line, "msg")), "tab\t, bell\a and \"quotes\"");
    ck_assert_str_eq(json_string_value(json_object_get(line, "topic")), "\x1b[31m\\");
    ck_assert_str_eq(json_string_value(json_object_get(line, "level")), "error");
    ck_assert_str_eq(json_string_value(json_object_get(line, "utf8")), "\xc3\xa9");
    ck_assert_str_eq(json_string_value(json_object_get(line, "latin1")), "\xc3\xa9");
    json_decref(line);
}
END_TEST

/* Of another's terminal they would make what they like. */
START_TEST(no_control_character_goes_through)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_warn("a", "b", "c1", "\xc2\x9b" "31m", "del", "\x7f", "nbsp", "\xc2\xa0", "latin1", "\x9b");
    ck_assert_ptr_nonnull(strstr(rig_stderr(), " c1=\"\\u009b31m\" del=\"\\u007f\" nbsp=\xc2\xa0 latin1=\"\\u009b\"\n"));
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_warn("a", "b", "c1", "\xc2\x85");
    ck_assert_ptr_nonnull(strstr(rig_stderr(), "\"c1\":\"\\u0085\""));
}
END_TEST

static void announce_journal(dev_t device)
{
    struct stat st;
    char stream[64];

    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)(st.st_dev + device), (uintmax_t)st.st_ino);
    ck_assert_int_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_LOGFMT);
}

START_TEST(the_journal_gets_priorities)
{
    announce_journal(0);
    log_error("a", "b");
    log_warn("a", "b");
    log_info("a", "b");
    log_debug("a", "b");
    const char *text = rig_stderr();
    ck_assert_int_eq(strncmp(text, "<3>ts=", 6), 0);
    ck_assert_ptr_nonnull(strstr(text, "\n<4>ts="));
    ck_assert_ptr_nonnull(strstr(text, "\n<6>ts="));
    ck_assert_ptr_nonnull(strstr(text, "\n<7>ts="));
}
END_TEST

START_TEST(another_standard_error_gets_none)
{
    announce_journal(1);
    log_error("a", "b");
    ck_assert_int_eq(strncmp(rig_stderr(), "ts=", 3), 0);
}
END_TEST

START_TEST(repeats_are_cut_off_and_counted)
{
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 250; i++)
        log_warn("kafka", "the same", "i", log_i64(i));
    ck_assert_uint_eq(n_lines(), 100);
    log_warn("kafka", "another");
    log_warn("source", "the same");
    ck_assert_uint_eq(n_lines(), 102);
    fake_s += 9;
    log_warn("kafka", "the same");
    ck_assert_uint_eq(n_lines(), 102);
    fake_s += 1;
    log_warn("kafka", "the same");
    ck_assert_uint_eq(n_lines(), 103);
    ck_assert_ptr_nonnull(strstr(rig_stderr(), "component=kafka suppressed=151\n"));
    log_warn("kafka", "the same");
    ck_assert_uint_eq(n_lines(), 104);
    ck_assert_str_eq(strrchr(rig_stderr(), '='), "=kafka\n");
}
END_TEST

START_TEST(many_messages_have_their_places)
{
    char msg[32];

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 200; i++) {
        snprintf(msg, sizeof msg, "message %d", i);
        log_info("a", msg);
    }
    ck_assert_uint_eq(n_lines(), 200);
}
END_TEST

START_TEST(what_is_kept_to_be_shown_is_not_escaped)
{
    struct log_line line[2];

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    log_warn("a", "failed", "sqlstate", "53100", "error", "file \"base/1\": no space", "hint", NULL);
    log_warn("a", "failed", "sqlstate", "53100", "error", "file \"base/1\": no space", "hint", NULL);
    ck_assert_uint_ge(log_recent(line, 2), 1); /* tests of one process share what is kept */
    ck_assert_str_eq(line[0].text, "failed sqlstate=53100 error=\"file \"base/1\": no space\"");
    ck_assert_uint_eq(line[0].times, 2);
}
END_TEST

Suite *suite_log(void)
{
    Suite *s = suite_create("log");
    TCase *tc = tcase_create("log");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, a_line_is_logfmt);
    tcase_add_test(tc, a_line_is_json_whatever_is_in_it);
    tcase_add_test(tc, no_control_character_goes_through);
    tcase_add_test(tc, the_journal_gets_priorities);
    tcase_add_test(tc, another_standard_error_gets_none);
    tcase_add_test(tc, repeats_are_cut_off_and_counted);
    tcase_add_test(tc, many_messages_have_their_places);
    tcase_add_test(tc, what_is_kept_to_be_shown_is_not_escaped);
    return s;
}
