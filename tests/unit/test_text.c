/* test_text.c - UTF-8, JSON strings and quoting, on which the checks of events stand. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outbox/text.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(literal) (literal), sizeof(literal) - 1

static const struct {
    const char *bytes;
    size_t len;
    size_t bad_at; /* OUTBOX__TEXT_OK: valid */
} utf8[] = {
    { BYTES(""), OUTBOX__TEXT_OK },
    { BYTES("plain"), OUTBOX__TEXT_OK },
    { BYTES("a\0b"), OUTBOX__TEXT_OK },
    { BYTES("\x7f"), OUTBOX__TEXT_OK },
    { BYTES("\xc2\x80"), OUTBOX__TEXT_OK },         /* U+0080, the first of two bytes */
    { BYTES("\xdf\xbf"), OUTBOX__TEXT_OK },         /* U+07FF, the last */
    { BYTES("\xe0\xa0\x80"), OUTBOX__TEXT_OK },     /* U+0800, the first of three */
    { BYTES("\xed\x9f\xbf"), OUTBOX__TEXT_OK },     /* U+D7FF, before the surrogates */
    { BYTES("\xee\x80\x80"), OUTBOX__TEXT_OK },     /* U+E000, after them */
    { BYTES("\xef\xbf\xbf"), OUTBOX__TEXT_OK },     /* U+FFFF, the last of three */
    { BYTES("\xf0\x90\x80\x80"), OUTBOX__TEXT_OK }, /* U+10000, the first of four */
    { BYTES("\xf4\x8f\xbf\xbf"), OUTBOX__TEXT_OK }, /* U+10FFFF, the last */
    { BYTES("ab\x80"), 2 },                         /* a tail without a head */
    { BYTES("\xbf"), 0 },
    { BYTES("\xc0\x80"), 0 }, /* overlong NUL */
    { BYTES("\xc1\xbf"), 0 }, /* overlong of two */
    { BYTES("\xe0\x80\x80"), 0 },
    { BYTES("\xe0\x9f\xbf"), 0 }, /* overlong of three */
    { BYTES("\xf0\x80\x80\x80"), 0 },
    { BYTES("\xf0\x8f\xbf\xbf"), 0 }, /* overlong of four */
    { BYTES("\xed\xa0\x80"), 0 },     /* U+D800, the first surrogate */
    { BYTES("\xed\xbf\xbf"), 0 },     /* U+DFFF, the last */
    { BYTES("\xf4\x90\x80\x80"), 0 }, /* U+110000 */
    { BYTES("\xf5\x80\x80\x80"), 0 },
    { BYTES("\xff"), 0 },
    { BYTES("\xfe"), 0 },
    { BYTES("a\xc3"), 1 }, /* truncated at the end */
    { BYTES("\xe2\x82"), 0 },
    { BYTES("\xf0\x9f\x98"), 0 },
    { BYTES("\xc3(\xa9"), 0 }, /* truncated by another character */
    { BYTES("\xe2\x82("), 0 },
    { BYTES("\xe2(\xa1"), 0 },
    { BYTES("\xf0\x9f(\x80"), 0 },
    { BYTES("\xf0\x9f\x98("), 0 },
    { BYTES("\xc3\xa9\xc3\xa9\xe9"), 4 },
};

START_TEST(utf8_check_finds_the_first_bad_byte)
{
    /* A copy of exactly this size: sanitizers and valgrind see a read past the end. */
    char *copy = malloc(utf8[_i].len + (utf8[_i].len == 0));

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, utf8[_i].bytes, utf8[_i].len);
    ck_assert_msg(outbox__utf8_check(copy, utf8[_i].len) == utf8[_i].bad_at, "row %d", _i);
    free(copy);
}
END_TEST

START_TEST(utf8_decode_agrees_with_encoding_for_every_code_point)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        unsigned char s[4] = { (unsigned char)cp };
        size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        uint32_t back = 0;

        for (size_t i = len; len > 1 && i-- > 1;)
            s[i] = (unsigned char)(0x80 | (cp >> (6 * (len - 1 - i)) & 0x3f));
        if (len > 1)
            s[0] = (unsigned char)((0xff00u >> len & 0xffu) | cp >> (6 * (len - 1)));
        if (cp >= 0xd800 && cp <= 0xdfff) {
            ck_assert_uint_eq(outbox__utf8_decode(s, len, &back), 0);
        } else if (outbox__utf8_decode(s, len, &back) != len || back != cp) {
            ck_abort_msg("U+%04X was read as U+%04X", (unsigned)cp, (unsigned)back);
        }
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    const char *json;
} json_strings[] = {
    { BYTES(""), "\"\"" },
    { BYTES("a/b 'c' ~"), "\"a/b 'c' ~\"" },
    { BYTES("\"\\"), "\"\\\"\\\\\"" },
    { BYTES("\x01\x08\t\n\r\x1f"), "\"\\u0001\\u0008\\u0009\\u000a\\u000d\\u001f\"" },
    { BYTES("\x7f"), "\"\\u007f\"" },
    { BYTES("\xc3\xa9"), "\"\\u00e9\"" },
    { BYTES("\xe2\x82\xac"), "\"\\u20ac\"" },
    { BYTES("\xef\xbf\xbf"), "\"\\uffff\"" },
    { BYTES("\xf0\x90\x80\x80"), "\"\\ud800\\udc00\"" },
    { BYTES("\xf0\x9f\x98\x80"), "\"\\ud83d\\ude00\"" },
    { BYTES("\xf4\x8f\xbf\xbf"), "\"\\udbff\\udfff\"" },
    { BYTES("bad \xff end"), "\"bad \\ufffd end\"" },
};

START_TEST(json_string_is_ascii_with_escapes)
{
    char out[128];
    size_t len = outbox__json_string(json_strings[_i].bytes, json_strings[_i].len, out);

    ck_assert_uint_eq(len, strlen(json_strings[_i].json));
    ck_assert_mem_eq(out, json_strings[_i].json, len);
    ck_assert_uint_eq(outbox__json_string(json_strings[_i].bytes, json_strings[_i].len, NULL), len);
}
END_TEST

START_TEST(quote_shows_printable_ascii_and_cuts)
{
    char out[OUTBOX__QUOTE_SIZE], many[1000];

    ck_assert_str_eq(outbox__quote(BYTES("or\"d\\er"), out), "\"or\\\"d\\\\er\"");
    ck_assert_str_eq(outbox__quote(BYTES("\xc3\xa9\n\x7f"), out), "\"\\xc3\\xa9\\x0a\\x7f\"");
    ck_assert_str_eq(outbox__quote("", 0, out), "\"\"");
    memset(many, 't', sizeof many);
    ck_assert_uint_eq(strlen(outbox__quote(many, 48, out)), 50);
    ck_assert_uint_eq(strlen(outbox__quote(many, 49, out)), 53);
    memset(many, '\xff', sizeof many);
    ck_assert_uint_eq(strlen(outbox__quote(many, sizeof many, out)), 48 * 4 + 2 + 3);
}
END_TEST

START_TEST(one_line_keeps_valid_text_and_replaces_the_rest)
{
    char out[16];

    ck_assert_str_eq(outbox__one_line("two\nlines\n", out, sizeof(out)), "two lines");
    ck_assert_str_eq(outbox__one_line("caf\xc3\xa9", out, sizeof(out)), "caf\xc3\xa9");
    ck_assert_str_eq(outbox__one_line("caf\xe9 x", out, sizeof(out)), "caf? x");
    ck_assert_str_eq(outbox__one_line("", out, sizeof(out)), "");
    ck_assert_str_eq(outbox__one_line("0123456789abcdefg", out, sizeof(out)), "0123456789abcde");
    ck_assert_str_eq(outbox__one_line("0123456789abcd\xc3\xa9", out, sizeof(out)),
                     "0123456789abcd"); /* cut between characters */
    ck_assert_str_eq(outbox__one_line("text", out, 1), "");
}
END_TEST

Suite *suite_text(void);
Suite *suite_text(void)
{
    Suite *suite = suite_create("text");
    TCase *tcase = tcase_create("text");

    tcase_add_loop_test(tcase, utf8_check_finds_the_first_bad_byte, 0, N(utf8));
    tcase_add_test(tcase, utf8_decode_agrees_with_encoding_for_every_code_point);
    tcase_add_loop_test(tcase, json_string_is_ascii_with_escapes, 0, N(json_strings));
    tcase_add_test(tcase, quote_shows_printable_ascii_and_cuts);
    tcase_add_test(tcase, one_line_keeps_valid_text_and_replaces_the_rest);
    suite_add_tcase(suite, tcase);
    return suite;
}
