/* test_pairs.c - the headers column into headers: what is taken, what comes out, what is refused.
 * */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/source/pairs.h"

Suite *suite_pairs(void);

#define N(array) (sizeof(array) / sizeof(array)[0])

/* From a block of just the text's size, so that ASan and valgrind see any read beyond it. */
static int decode(const char *json, size_t len, struct pairs *buf, char **ret_block, size_t *ret_n,
                  size_t *ret_bytes)
{
    *ret_block = malloc(len > 0 ? len : 1);
    ck_assert_ptr_nonnull(*ret_block);
    memcpy(*ret_block, json, len);
    return pairs_decode(*ret_block, len, buf, ret_n, ret_bytes);
}

/* "name=value;..." with the values' bytes as they are. */
static char *render(const struct pairs *buf, size_t n, size_t bytes)
{
    char *text = NULL;
    size_t size, sum = 0;
    FILE *out = open_memstream(&text, &size);

    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s=", buf->header[i].name);
        fwrite(buf->header[i].value, 1, buf->header[i].value_len, out);
        fputs(";", out);
        sum += strlen(buf->header[i].name) + 1 + buf->header[i].value_len;
        ck_assert(buf->header[i].name >= buf->bytes);
        ck_assert(buf->header[i].value + buf->header[i].value_len <= buf->bytes + bytes);
    }
    fclose(out);
    ck_assert_uint_eq(sum, bytes);
    return text;
}

static const struct {
    const char *json, *wanted;
} taken[] = {
    { "", "" },
    { "[]", "" },
    { " \t\r\n[ \n] ", "" },
    { "[[\"a\", \"1\"]]", "a=1;" },
    { "[[\"a\",\"1\"],[\"b\",\"2\"]]", "a=1;b=2;" },
    { " [ [ \"a\" , \"1\" ] , [ \"b\" , \"2\" ] ] ", "a=1;b=2;" },
    { "[[\"same\", \"1\"], [\"other\", \"2\"], [\"same\", \"3\"]]", "same=1;other=2;same=3;" },
    { "[[\"\", \"\"]]", "=;" },
    { "[[\"a\", \"\"], [\"b\", \"\\n\"]]", "a=;b=\n;" },
    { "[[\"a\", \"[\\\"x\\\", {}],\"]]", "a=[\"x\", {}],;" },
    { "[[\"a\", \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]]", "a=\"\\/\b\f\n\r\t;" },
    { "[[\"\\u0061\\\"b\", \"plain\"]]", "a\"b=plain;" },
    { "[[\"a\", \"\\u0001\\u007f\\u0080\\u07ff\"]]", "a=\x01\x7f\xc2\x80\xdf\xbf;" },
    { "[[\"a\", \"\\u0800\\uffff\\uFFFD\\ud7ff\\ue000\"]]",
      "a=\xe0\xa0\x80\xef\xbf\xbf\xef\xbf\xbd\xed\x9f\xbf\xee\x80\x80;" },
    { "[[\"a\", \"\\ud800\\udc00\\uDBFF\\uDFFF\\uD83D\\uDE00\"]]",
      "a=\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xf0\x9f\x98\x80;" },
    { "[[\"exactly8\", \"0123456789abcdef\"], [\"1234567\\n9\", \"12345678\\\"0\"]]",
      "exactly8=0123456789abcdef;1234567\n9=12345678\"0;" },
    { "[[\"gr\xc3\xbc\xc3\x9f\", \"\xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"]]",
      "gr\xc3\xbc\xc3\x9f=\xe2\x82\xac \xf0\x9f\x98\x80 \x7f;" },
};

START_TEST(pairs_come_out_in_order_and_decoded)
{
    struct pairs buf = { .header = NULL };
    size_t n, bytes;
    char *block;

    ck_assert_int_eq(decode(taken[_i].json, strlen(taken[_i].json), &buf, &block, &n, &bytes), 0);
    char *text = render(&buf, n, bytes);
    ck_assert_str_eq(text, taken[_i].wanted);
    free(text);
    free(block);
    pairs_deinit(&buf);
}
END_TEST

START_TEST(absent_headers_are_no_headers)
{
    struct pairs buf = { .header = NULL };
    size_t n = 9, bytes = 9;

    ck_assert_int_eq(pairs_decode(NULL, 0, &buf, &n, &bytes), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(bytes, 0);
    pairs_deinit(&buf);
}
END_TEST

static const char *const refused[] = {
    " ",
    "null",
    "{}",
    "\"a\"",
    "1",
    "[",
    "]",
    "[]]",
    "[] x",
    "[],",
    "[,]",
    "[null]",
    "[\"a\", \"b\"]",
    "[[]]",
    "[[\"a\"]]",
    "[[\"a\",]]",
    "[[\"a\", null]]",
    "[[\"a\", 1]]",
    "[[\"a\", true]]",
    "[[\"a\", {}]]",
    "[[\"a\", [\"b\"]]]",
    "[[1, \"b\"]]",
    "[[null, \"b\"]]",
    "[[\"a\" \"b\"]]",
    "[[\"a\", \"b\", \"c\"]]",
    "[[\"a\", \"b\"],]",
    "[[\"a\", \"b\"] [\"c\", \"d\"]]",
    "[[\"a\", \"b\"]",
    "[[\"a\", \"b\"}]",
    "[['a', 'b']]",
    "[[\"a\", \"b\"]]x",
    "\v[]",
    "\xef\xbb\xbf[]",
    "[[\"a\", \"new\nline\"]]",
    "[[\"a\", \"\x1f\"]]",
    "[[\"a\", \"\x1f" "2345678\"]]",
    "[[\"a\", \"1234567\x1f\"]]",
    "[[\"a\", \"12345678901\x01" "23456\"]]",
    "[[\"a\", \"12345678",
    "[[\"a\x01\", \"b\"]]",
    "[[\"a\", \"\\",
    "[[\"a\", \"\\x\"]]",
    "[[\"a\", \"\\0\"]]",
    "[[\"a\", \"\\U0041\"]]",
    "[[\"a\", \"\\u\"]]",
    "[[\"a\", \"\\u004\"]]",
    "[[\"a\", \"\\u004g\"]]",
    "[[\"a\", \"\\u00 1\"]]",
    "[[\"a\", \"\\u+041\"]]",
    "[[\"a\", \"\\u00@1\"]]",
    "[[\"a\", \"\\u00`1\"]]",
    "[[\"a\", \"\\u00/1\"]]",
    "[[\"a\", \"\\u00:1\"]]",
    "[[\"a\", \"\\u00G1\"]]",
    "[[\"a\", \"\\u0000\"]]",
    "[[\"\\u0000\", \"b\"]]",
    "[[\"a\", \"\\ud800\"]]",
    "[[\"a\", \"\\ud800x\"]]",
    "[[\"a\", \"\\ud800\\n\"]]",
    "[[\"a\", \"\\ud800\\u0041\"]]",
    "[[\"a\", \"\\ud800\\ud800\"]]",
    "[[\"a\", \"\\ud800\\ue000\"]]",
    "[[\"a\", \"\\udc00\"]]",
    "[[\"a\", \"\\udc00\\ud800\"]]",
    "[[\"a\", \"\\udc00\\udc00\"]]",
    "[[\"a\", \"\\ud83d\\ude0\"]]",
};

START_TEST(anything_else_is_refused_and_gives_nothing_back)
{
    struct pairs buf = { .header = NULL };
    size_t n = 77, bytes = 88;
    char *block;

    ck_assert_int_eq(decode(refused[_i], strlen(refused[_i]), &buf, &block, &n, &bytes),
                     PAIRS_MALFORMED);
    ck_assert_uint_eq(n, 77);
    ck_assert_uint_eq(bytes, 88);
    free(block);
    pairs_deinit(&buf);
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
    static const char json[] = "[[\"a\", \"b\0\"]]", escape[] = "[[\"a\", \"\\\0\"]]";
    struct pairs buf = { .header = NULL };
    size_t n, bytes;
    char *block;

    ck_assert_int_eq(decode(json, sizeof json - 1, &buf, &block, &n, &bytes), PAIRS_MALFORMED);
    free(block);
    ck_assert_int_eq(decode(escape, sizeof escape - 1, &buf, &block, &n, &bytes), PAIRS_MALFORMED);
    free(block);
    ck_assert_int_eq(decode("[]", 3, &buf, &block, &n, &bytes), PAIRS_MALFORMED);
    free(block);
    pairs_deinit(&buf);
}
END_TEST

START_TEST(text_cut_anywhere_is_refused)
{
    static const char json[] = "[[\"n\\u00e4me\", \"v\\ud83d\\ude00\"], [\"b\", \"\\\\\"], "
                               "[\"c\", \"3\"]]";
    struct pairs buf = { .header = NULL };
    size_t n, bytes;
    char *block;

    for (size_t len = 1; len < sizeof json - 1; len++) {
        ck_assert_int_eq(decode(json, len, &buf, &block, &n, &bytes), PAIRS_MALFORMED);
        free(block);
    }
    ck_assert_int_eq(decode(json, sizeof json - 1, &buf, &block, &n, &bytes), 0);
    ck_assert_uint_eq(n, 3);
    free(block);
    pairs_deinit(&buf);
}
END_TEST

/* n pairs; every third value with an escape, so that both ways of a value are taken. */
static char *many(size_t n)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    fputs("[", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s[\"name-%zu\", \"%svalue-%zu\"]", i == 0 ? "" : ", ", i,
                i % 3 == 0 ? "\\t" : "", i);
    fputs("]", out);
    fclose(out);
    return text;
}

static void expect_many(struct pairs *buf, size_t n)
{
    size_t got, bytes;
    char *json = many(n);

    ck_assert_int_eq(pairs_decode(json, strlen(json), buf, &got, &bytes), 0);
    ck_assert_uint_eq(got, n);
    for (size_t i = 0; i < n; i++) {
        char name[40], value[40];
        int len = snprintf(value, sizeof value, "%svalue-%zu", i % 3 == 0 ? "\t" : "", i);
        snprintf(name, sizeof name, "name-%zu", i);
        ck_assert_str_eq(buf->header[i].name, name);
        ck_assert_uint_eq(buf->header[i].value_len, (size_t)len);
        ck_assert_mem_eq(buf->header[i].value, value, (size_t)len);
    }
    free(json);
}

START_TEST(the_buffer_grows_and_is_used_again)
{
    static const size_t counts[] = { 1, 6, 15, 16, 17, 6, 1000, 3, 5000, 0, 1 };
    struct pairs buf = { .header = NULL };

    for (size_t i = 0; i < N(counts); i++)
        expect_many(&buf, counts[i]);
    pairs_deinit(&buf);
}
END_TEST

START_TEST(a_refused_text_does_not_spoil_the_buffer)
{
    struct pairs buf = { .header = NULL };
    size_t n, bytes;

    expect_many(&buf, 6);
    ck_assert_int_eq(pairs_decode("[[\"a\", \"\\n", 10, &buf, &n, &bytes), PAIRS_MALFORMED);
    expect_many(&buf, 6);
    pairs_deinit(&buf);
    expect_many(&buf, 6); /* as new */
    pairs_deinit(&buf);
}
END_TEST

Suite *suite_pairs(void)
{
    Suite *suite = suite_create("pairs");
    TCase *tc = tcase_create("pairs");

    tcase_add_loop_test(tc, pairs_come_out_in_order_and_decoded, 0, (int)N(taken));
    tcase_add_test(tc, absent_headers_are_no_headers);
    tcase_add_loop_test(tc, anything_else_is_refused_and_gives_nothing_back, 0, (int)N(refused));
    tcase_add_test(tc, a_nul_byte_is_refused);
    tcase_add_test(tc, text_cut_anywhere_is_refused);
    tcase_add_test(tc, the_buffer_grows_and_is_used_again);
    tcase_add_test(tc, a_refused_text_does_not_spoil_the_buffer);
    suite_add_tcase(suite, tc);
    return suite;
}
