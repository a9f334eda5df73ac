/* fuzz_pairs.c - the headers column: what is decoded can be written again and is then decoded to
 * the same; and the decoder takes what jansson takes, where that is at hand (HAVE_JANSSON).
 */
#include "relay/source/pairs.h"
#include "tests/fuzz/fuzz.h"

#ifdef HAVE_JANSSON
#include <jansson.h>
#include "lib/outbox/text.h"

static bool is_pair(const json_t *pair)
{
    return json_is_array(pair) && json_array_size(pair) == 2 &&
           json_is_string(json_array_get(pair, 0)) && json_is_string(json_array_get(pair, 1));
}

static bool same_string(const json_t *s, const char *bytes, size_t len)
{
    return json_string_length(s) == len && memcmp(json_string_value(s), bytes, len) == 0;
}

/* Bytes that are not UTF-8 are in no jsonb; jansson refuses them, our decoder does not look. */
static void compare(const char *json, size_t len, const struct pairs *ours, bool taken, size_t n)
{
    json_t *root, *pair;
    size_t i;
    bool good;

    if (outbox__utf8_check(json, len) != OUTBOX__TEXT_OK)
        return;
    root = json_loadb(json, len, 0, NULL);
    good = json_is_array(root);
    json_array_foreach(root, i, pair) good = good && is_pair(pair);
    REQUIRE(good == taken);
    if (taken) {
        REQUIRE(json_array_size(root) == n);
        json_array_foreach(root, i, pair)
        {
            const struct header *h = &ours->header[i];

            REQUIRE(same_string(json_array_get(pair, 0), h->name, strlen(h->name)));
            REQUIRE(same_string(json_array_get(pair, 1), h->value, h->value_len));
        }
    }
    json_decref(root);
}
#else
static void compare(const char *json, size_t len, const struct pairs *ours, bool taken, size_t n)
{
    (void)json, (void)len, (void)ours, (void)taken, (void)n;
}
#endif

static void put_string(FILE *out, const char *s, size_t len)
{
    putc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)s[i];

        if (ch < 0x20 || ch == '"' || ch == '\\')
            fprintf(out, "\\u%04x", ch);
        else
            putc(ch, out);
    }
    putc('"', out);
}

static char *encode(const struct pairs *p, size_t n, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = must(open_memstream(&text, ret_len));

    putc('[', out);
    for (size_t i = 0; i < n; i++) {
        fputs(i == 0 ? "[" : ",[", out);
        put_string(out, p->header[i].name, strlen(p->header[i].name));
        putc(',', out);
        put_string(out, p->header[i].value, p->header[i].value_len);
        putc(']', out);
    }
    putc(']', out);
    REQUIRE(fclose(out) == 0);
    return text;
}

static void decode_again(const struct pairs *first, size_t n, size_t bytes)
{
    struct pairs again = { .header = NULL };
    size_t len = 0, n2, bytes2;
    char *text = encode(first, n, &len);

    REQUIRE(pairs_decode(text, len, &again, &n2, &bytes2) == 0);
    REQUIRE(n2 == n && bytes2 == bytes);
    for (size_t i = 0; i < n; i++) {
        const struct header *a = &first->header[i], *b = &again.header[i];

        REQUIRE(strcmp(a->name, b->name) == 0 && a->value_len == b->value_len);
        REQUIRE(memcmp(a->value, b->value, a->value_len) == 0);
    }
    free(text);
    pairs_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pairs scratch; /* used again from input to input, as from row to row */
    char *json = must(malloc(size > 0 ? size : 1));
    size_t n = 999, bytes = 999, sum = 0;
    int rc;

    memcpy(json, data, size);
    rc = pairs_decode(json, size, &scratch, &n, &bytes);
    REQUIRE(rc == 0 || (rc == PAIRS_MALFORMED && n == 999 && bytes == 999));
    if (size > 0) /* an empty text is no headers to us, and no JSON */
        compare(json, size, &scratch, rc == 0, n);
    if (rc == 0) {
        for (size_t i = 0; i < n; i++)
            sum += strlen(scratch.header[i].name) + 1 + scratch.header[i].value_len;
        REQUIRE(sum == bytes);
        decode_again(&scratch, n, bytes);
    }
    free(json);
    return 0;
}
