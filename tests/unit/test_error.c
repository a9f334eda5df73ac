/* test_error.c - what each SQLSTATE means, the caller's outbox_error, version and code texts. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "lib/outbox/error.h"
#include "outbox.h"

#define RETRY OUTBOX_ERRF_RETRY_TXN
#define ABORTED OUTBOX_ERRF_TXN_ABORTED
#define LOST OUTBOX_ERRF_LINK_LOST

static const struct {
    const char *sqlstate;
    int code;
    uint32_t flags;
    const char *remedy; /* a word of it, NULL: none */
} verdicts[] = {
    { "40001", OUTBOX_EDB, RETRY | ABORTED, NULL },
    { "40P01", OUTBOX_EDB, RETRY | ABORTED, NULL },
    { "40000", OUTBOX_EDB, RETRY | ABORTED, NULL },
    { "55P03", OUTBOX_EDB, RETRY | ABORTED, NULL },
    { "25P02", OUTBOX_EABORTED, ABORTED, NULL },
    { "25P03", OUTBOX_ELINK, LOST, NULL },
    { "25P04", OUTBOX_ELINK, LOST, NULL },
    { "08000", OUTBOX_ELINK, LOST, NULL },
    { "08006", OUTBOX_ELINK, LOST, NULL },
    { "08P01", OUTBOX_ELINK, LOST, NULL },
    { "57P01", OUTBOX_ELINK, LOST, NULL },
    { "57P02", OUTBOX_ELINK, LOST, NULL },
    { "57P03", OUTBOX_ELINK, LOST, NULL },
    { "57P05", OUTBOX_ELINK, LOST, NULL },
    { "57014", OUTBOX_EDB, 0, NULL }, /* a cancelled statement leaves the link alone */
    { "3F000", OUTBOX_ESCHEMA, 0, "sql/001_outbox.up.sql" },
    { "42P01", OUTBOX_ESCHEMA, 0, "sql/001_outbox.up.sql" },
    { "42703", OUTBOX_ESCHEMA, 0, "sql/001_outbox.up.sql" },
    { "42883", OUTBOX_ESCHEMA, 0, "sql/001_outbox.up.sql" },
    { "26000", OUTBOX_EDB, 0, "outbox_prepare()" },
    { "25006", OUTBOX_EDB, 0, "primary" },
    { "42501", OUTBOX_EDB, 0, "outbox_writer" },
    { "23514", OUTBOX_EDB, 0, NULL },
    { "53100", OUTBOX_EDB, 0, NULL },
    { "XX000", OUTBOX_EDB, 0, NULL },
    { "4", OUTBOX_EDB, 0, NULL }, /* shorter than any entry */
    { "", OUTBOX_EDB, 0, NULL },
    { NULL, OUTBOX_EDB, 0, NULL },
};

START_TEST(error_classify_knows_each_sqlstate)
{
    const char *sqlstate = verdicts[_i].sqlstate != NULL ? verdicts[_i].sqlstate : "NULL";
    struct outbox__verdict got = outbox__error_classify(verdicts[_i].sqlstate);

    ck_assert_msg(got.code == verdicts[_i].code, "%s: code %d", sqlstate, got.code);
    ck_assert_msg(got.flags == verdicts[_i].flags, "%s: flags %x", sqlstate, (unsigned)got.flags);
    if (verdicts[_i].remedy == NULL)
        ck_assert_ptr_null(got.remedy);
    else
        ck_assert_ptr_nonnull(strstr(got.remedy, verdicts[_i].remedy));
}
END_TEST

START_TEST(error_set_fills_the_whole_struct)
{
    outbox_error err = OUTBOX_ERROR_INIT;

    memset((char *)&err + sizeof(err.struct_size), 'x', sizeof(err) - sizeof(err.struct_size));
    ck_assert_int_eq(outbox__error_set_all(&err, OUTBOX_EDB, RETRY, "40001", "no %d", 7),
                     OUTBOX_EDB);
    ck_assert_int_eq(err.code, OUTBOX_EDB);
    ck_assert_uint_eq(err.flags, RETRY);
    ck_assert_str_eq(err.sqlstate, "40001");
    ck_assert_str_eq(err.message, "no 7");
    ck_assert_int_eq(outbox__error_set(&err, OUTBOX_EINVAL, "again"), OUTBOX_EINVAL);
    ck_assert_uint_eq(err.flags, 0);
    ck_assert_str_eq(err.sqlstate, "");
    ck_assert_str_eq(err.message, "again");
    ck_assert_uint_eq(err.struct_size, sizeof(err));
}
END_TEST

START_TEST(error_set_accepts_no_error_struct)
{
    ck_assert_int_eq(outbox__error_set(NULL, OUTBOX_EINVAL, "nobody listens"), OUTBOX_EINVAL);
}
END_TEST

/* What a program has that was built before event_index came. */
#define OLD_SIZE 532

START_TEST(error_set_fills_only_its_part_of_an_older_struct)
{
    outbox_error err;

    memset(&err, 0x5a, sizeof(err));
    err.struct_size = OLD_SIZE;
    ck_assert_int_eq(outbox__error_set_all(&err, OUTBOX_EDB, RETRY, "40001", "text"), OUTBOX_EDB);
    ck_assert_int_eq(outbox__error_of_event(&err, OUTBOX_EDB, 3), OUTBOX_EDB);
    ck_assert_str_eq(err.message, "events[3]: text");
    ck_assert_uint_eq(err.flags, RETRY);
    ck_assert_uint_eq(err.struct_size, OLD_SIZE);
    for (size_t i = OLD_SIZE; i < sizeof(err); i++)
        ck_assert_int_eq(((char *)&err)[i], 0x5a);
}
END_TEST

START_TEST(error_of_event_names_the_event_and_keeps_the_rest)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    char longer[OUTBOX_ERROR_MESSAGE_SIZE];

    ck_assert_int_eq(err.event_index, -1);
    outbox__error_set(&err, OUTBOX_EINVAL, "topic is NULL");
    ck_assert_int_eq(err.event_index, -1);
    ck_assert_int_eq(outbox__error_of_event(&err, OUTBOX_EINVAL, 4711), OUTBOX_EINVAL);
    ck_assert_str_eq(err.message, "events[4711]: topic is NULL");
    ck_assert_int_eq(err.event_index, 4711);
    ck_assert_int_eq(err.code, OUTBOX_EINVAL);
    memset(longer, 'm', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    outbox__error_set(&err, OUTBOX_EINVAL, "%s", longer);
    ck_assert_int_eq(err.event_index, -1); /* the event before is forgotten */
    outbox__error_of_event(&err, OUTBOX_EINVAL, SIZE_MAX);
    ck_assert_uint_eq(strlen(err.message), OUTBOX_ERROR_MESSAGE_SIZE - 1);
    ck_assert_ptr_eq(strstr(err.message, "events[18446744073709551615]: mmm"), err.message);
    ck_assert_int_eq(outbox__error_of_event(NULL, OUTBOX_EINVAL, 1), OUTBOX_EINVAL);
}
END_TEST

START_TEST(error_set_leaves_a_struct_of_a_size_it_does_not_know)
{
    outbox_error err, before;

    memset(&err, 0x5a, sizeof(err));
    err.struct_size = 0; /* not initialised */
    before = err;
    ck_assert_int_eq(outbox__error_set(&err, OUTBOX_EINVAL, "text"), OUTBOX_EINVAL);
    ck_assert_mem_eq(&err, &before, sizeof(err));
    err.struct_size = OLD_SIZE - 1;
    before = err;
    ck_assert_int_eq(outbox__error_set(&err, OUTBOX_EINVAL, "text"), OUTBOX_EINVAL);
    ck_assert_mem_eq(&err, &before, sizeof(err));
}
END_TEST

START_TEST(error_set_fills_only_its_part_of_a_larger_struct)
{
    struct {
        outbox_error v1;
        char later[16];
    } err;

    memset(&err, 0x5a, sizeof(err));
    err.v1.struct_size = sizeof(err);
    ck_assert_int_eq(outbox__error_set(&err.v1, OUTBOX_EINVAL, "text"), OUTBOX_EINVAL);
    ck_assert_str_eq(err.v1.message, "text");
    ck_assert_uint_eq(err.v1.struct_size, sizeof(err));
    for (size_t i = 0; i < sizeof(err.later); i++)
        ck_assert_int_eq(err.later[i], 0x5a);
}
END_TEST

START_TEST(error_set_cuts_long_texts_and_long_sqlstates)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    char longer[2 * OUTBOX_ERROR_MESSAGE_SIZE];

    memset(longer, 'm', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_int_eq(outbox__error_set_all(&err, OUTBOX_EDB, 0, "123456789", "%s", longer),
                     OUTBOX_EDB);
    ck_assert_uint_eq(strlen(err.message), OUTBOX_ERROR_MESSAGE_SIZE - 1);
    ck_assert_str_eq(err.sqlstate, "12345");
}
END_TEST

START_TEST(strerror_has_its_own_text_for_each_code)
{
    for (int a = OUTBOX_ENOMEM; a <= OUTBOX_OK; a++) {
        ck_assert_str_ne(outbox_strerror(a), outbox_strerror(1));
        for (int b = OUTBOX_ENOMEM; b < a; b++)
            ck_assert_str_ne(outbox_strerror(a), outbox_strerror(b));
    }
    ck_assert_str_eq(outbox_strerror(OUTBOX_ENOMEM - 1), outbox_strerror(1));
}
END_TEST

START_TEST(version_of_library_and_header_agree)
{
    char text[32];

    snprintf(text, sizeof(text), "%d.%d.%d", OUTBOX_VERSION_MAJOR, OUTBOX_VERSION_MINOR,
             OUTBOX_VERSION_PATCH);
    ck_assert_str_eq(OUTBOX_VERSION_STRING, text);
    ck_assert_str_eq(outbox_version_string(), text);
    ck_assert_int_eq(outbox_version_number(), OUTBOX_VERSION_NUMBER);
}
END_TEST

Suite *suite_error(void);
Suite *suite_error(void)
{
    Suite *suite = suite_create("error");
    TCase *tcase = tcase_create("error");

    tcase_add_loop_test(tcase, error_classify_knows_each_sqlstate, 0,
                        sizeof(verdicts) / sizeof(verdicts[0]));
    tcase_add_test(tcase, error_set_fills_the_whole_struct);
    tcase_add_test(tcase, error_set_accepts_no_error_struct);
    tcase_add_test(tcase, error_set_fills_only_its_part_of_an_older_struct);
    tcase_add_test(tcase, error_of_event_names_the_event_and_keeps_the_rest);
    tcase_add_test(tcase, error_set_leaves_a_struct_of_a_size_it_does_not_know);
    tcase_add_test(tcase, error_set_fills_only_its_part_of_a_larger_struct);
    tcase_add_test(tcase, error_set_cuts_long_texts_and_long_sqlstates);
    tcase_add_test(tcase, strerror_has_its_own_text_for_each_code);
    tcase_add_test(tcase, version_of_library_and_header_agree);
    suite_add_tcase(suite, tcase);
    return suite;
}
