/* fuzz_text.c - the library's text functions, UUID text and the meaning of an SQLSTATE, on any
 * bytes.
 */
#include "lib/outbox/error.h"
#include "lib/outbox/text.h"
#include "lib/outbox/uuid.h"
#include "relay/source/pairs.h"
#include "tests/fuzz/fuzz.h"

static size_t put_utf8(uint32_t cp, unsigned char to[4])
{
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        to[i] = (unsigned char)(0x80 | (cp & 0x3f));
    to[0] = (unsigned char)(lead[n] | cp);
    return n;
}

static void check_utf8(const char *text, size_t len)
{
    size_t at = 0, bad = outbox__utf8_check(text, len);
    uint32_t cp = 0;

    while (at < len) {
        unsigned char again[4];
        size_t n = outbox__utf8_decode((const unsigned char *)text + at, len - at, &cp);

        if (n == 0)
            break;
        REQUIRE(cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff));
        REQUIRE(put_utf8(cp, again) == n && memcmp(again, text + at, n) == 0);
        at += n;
    }
    REQUIRE(at == len ? bad == OUTBOX__TEXT_OK : bad == at);
    if (bad == OUTBOX__TEXT_OK)
        (void)outbox__control_find(text, len);
}

static bool is_printable_ascii(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    return true;
}

/* Written as JSON and read again by the relay's decoder. */
static void check_json(const char *text, size_t len)
{
    static const char before[] = "[[\"\",", after[] = "]]";
    size_t n = outbox__json_string(text, len, NULL), n_pairs, bytes;
    char *json = must(malloc(n + sizeof before + sizeof after));
    struct pairs pairs = { .header = NULL };

    memcpy(json, before, strlen(before));
    REQUIRE(outbox__json_string(text, len, json + strlen(before)) == n);
    memcpy(json + strlen(before) + n, after, sizeof after);
    REQUIRE(is_printable_ascii(json, strlen(before) + n));
    if (outbox__utf8_check(text, len) == OUTBOX__TEXT_OK && memchr(text, 0, len) == NULL) {
        REQUIRE(pairs_decode(json, strlen(json), &pairs, &n_pairs, &bytes) == 0);
        REQUIRE(n_pairs == 1 && bytes == strlen(pairs.header[0].name) + 1 + len);
        REQUIRE(memcmp(pairs.header[0].value, text, len) == 0);
    }
    pairs_deinit(&pairs);
    free(json);
}

static void check_line(const char *line, size_t size)
{
    size_t len = strlen(line);

    REQUIRE(len < size && outbox__utf8_check(line, len) == OUTBOX__TEXT_OK);
    REQUIRE(outbox__control_find(line, len) == OUTBOX__TEXT_OK);
}

static void check_one_line(const char *text)
{
    static const size_t sizes[] = { 1, 2, 3, 4, 5, 17, 300 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *line = must(malloc(sizes[i]));

        REQUIRE(outbox__one_line(text, line, sizes[i]) == line);
        check_line(line, sizes[i]);
        free(line);
    }
}

static void check_quote(const char *text, size_t len)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    REQUIRE(outbox__quote(text, len, quoted) == quoted);
    REQUIRE(strlen(quoted) < sizeof quoted && is_printable_ascii(quoted, strlen(quoted)));
}

static void check_uuid(const char *text, size_t len)
{
    unsigned char id[16], again[16];
    char out[OUTBOX__UUID_TEXT_SIZE];

    if (outbox__uuid_parse(text, id)) {
        REQUIRE(len >= 36 && strlen(text) == 36);
        outbox__uuid_format(id, out);
        for (size_t i = 0; i < 36; i++)
            REQUIRE(out[i] == (text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]));
    }
    if (len >= 16) {
        memcpy(id, text, 16);
        outbox__uuid_format(id, out);
        REQUIRE(outbox__uuid_parse(out, again) && memcmp(id, again, 16) == 0);
    }
}

static void check_sqlstate(const char *text)
{
    static const uint32_t all = OUTBOX_ERRF_RETRY_TXN | OUTBOX_ERRF_TXN_ABORTED |
                                OUTBOX_ERRF_LINK_LOST;
    struct outbox__verdict v = outbox__error_classify(text);
    outbox_error err = OUTBOX_ERROR_INIT;

    REQUIRE(v.code == OUTBOX_EDB || v.code == OUTBOX_ELINK || v.code == OUTBOX_ESCHEMA ||
            v.code == OUTBOX_EABORTED);
    REQUIRE((v.flags & ~all) == 0);
    REQUIRE((v.code == OUTBOX_ELINK) == ((v.flags & OUTBOX_ERRF_LINK_LOST) != 0));
    REQUIRE(outbox__error_set_all(&err, v.code, v.flags, text, "%s", text) == v.code);
    REQUIRE(err.code == v.code && err.flags == v.flags);
    REQUIRE(strlen(err.sqlstate) < sizeof err.sqlstate);
    REQUIRE(strncmp(err.sqlstate, text, strlen(err.sqlstate)) == 0);
    REQUIRE(strlen(err.message) < sizeof err.message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = copy_bytes(data, size);
    char *exact = must(malloc(size > 0 ? size : 1)); /* without a NUL */

    if (size > 0)
        memcpy(exact, data, size);
    check_utf8(exact, size);
    check_json(exact, size);
    check_quote(exact, size);
    (void)outbox__non_ascii_find(exact, size);
    check_one_line(text);
    check_uuid(text, size);
    check_sqlstate(text);
    free(exact);
    free(text);
    return 0;
}
