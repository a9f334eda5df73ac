/* test_table.c - the tables of the commands: their heads, their columns, what others wrote, what is not known. */
#include <check.h>
#include <stdlib.h>

#include "relay/commands/cells.h"

static struct table t;
static char *shown;

static void begin(void)
{
    t = (struct table){ .cells = NULL };
    shown = NULL;
}

static void end(void)
{
    table_deinit(&t);
    free(shown);
}

static const char *show(void)
{
    size_t len;
    FILE *out = open_memstream(&shown, &len);

    ck_assert_ptr_nonnull(out);
    ck_assert(table_print(&t, out));
    ck_assert_int_eq(fclose(out), 0);
    return shown;
}

START_TEST(each_row_may_bring_the_heads)
{
    static const char *const heads[] = { "TOPIC", "N" };

    for (int i = 1; i <= 2; i++) {
        table_heads(&t, heads, 2);
        table_add_text(&t, "orders", 60);
        table_add_number(&t, i);
    }
    ck_assert_str_eq(show(), "TOPIC   N\n"
                             "orders  1\n"
                             "orders  2\n");
}
END_TEST

START_TEST(what_others_wrote_is_escaped_and_cut)
{
    t.n_columns = 4;
    table_add_text(&t, "a\n\x1b[31m", 60);
    table_add_text(&t, "gr\xc3\xbc\xc3\x9f", 3);
    table_add_key(&t, "\x6b\x00\xff", 3);
    table_add_text(&t, NULL, 60);
    ck_assert_str_eq(show(), "a\\n\\x1b[31m  gr\xc3\xbc...  \\x6b00ff  -\n");
}
END_TEST

START_TEST(what_is_not_known_is_a_dash)
{
    t.n_columns = 4;
    cell_age(&t, -1);
    cell_age(&t, 0);
    cell_number(&t, -1);
    cell_number(&t, 0);
    ck_assert_str_eq(show(), "-  0.0 s  -  0\n");
}
END_TEST

Suite *suite_table(void);
Suite *suite_table(void)
{
    Suite *suite = suite_create("table");
    TCase *tcase = tcase_create("table");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, each_row_may_bring_the_heads);
    tcase_add_test(tcase, what_others_wrote_is_escaped_and_cut);
    tcase_add_test(tcase, what_is_not_known_is_a_dash);
    suite_add_tcase(suite, tcase);
    return suite;
}
