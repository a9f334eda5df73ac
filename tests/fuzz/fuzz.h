/* fuzz.h - what the fuzz targets share: an input taken apart, and a check that ends the run.
 *
 * A target is one file fuzz_X.c with LLVMFuzzerTestOneInput; its seeds are tests/fuzz/corpus/X. It
 * checks properties of what it decodes, so a run finds wrong answers as well as bad memory. Every
 * piece of the input gets a block of its own size, so that the sanitizer sees any read beyond it.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What no output may show where it stands for a secret. */
#define MARKER "Zq7Hunter2Zq7"
#define MARKER_BYTE 0x01 /* stands for it in an input */
#define SEPARATOR 0xff   /* between fields: no byte of UTF-8 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

static inline void *must(void *block)
{
    REQUIRE(block != NULL);
    return block;
}

/* len bytes and a NUL, in a block of exactly that size. */
static inline char *copy_bytes(const void *bytes, size_t len)
{
    char *copy = must(malloc(len + 1));

    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

/* 0 when there is no more. */
static inline uint8_t take_byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline int64_t take_i64(struct input *in)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++)
        n = n << 8 | take_byte(in);
    return (int64_t)n;
}

static inline bool is_over(const struct input *in)
{
    return in->at == in->end;
}

/* The bytes up to the next separator, which is stepped over; from malloc. */
static inline char *take_field(struct input *in, size_t *ret_len)
{
    size_t rest = (size_t)(in->end - in->at);
    const uint8_t *stop = rest > 0 ? memchr(in->at, SEPARATOR, rest) : NULL;
    size_t len = stop != NULL ? (size_t)(stop - in->at) : rest;
    char *field = copy_bytes(in->at, len);

    in->at += len + (stop != NULL);
    *ret_len = len;
    return field;
}

/* The same with the marker for each MARKER_BYTE. It comes from nowhere else: libFuzzer learns it from the checks, and
 * would spell it with an escape in its midst, so that it is in the value and not in the text. */
static inline char *take_marked_field(struct input *in, size_t *ret_len)
{
    size_t len, n = 0;
    char *field = take_field(in, &len);
    char *marked = must(malloc(len * strlen(MARKER) + 1));

    for (size_t i = 0; i < len; i++) {
        if (field[i] == MARKER_BYTE) {
            memcpy(marked + n, MARKER, strlen(MARKER));
            n += strlen(MARKER);
        } else {
            marked[n++] = field[i] == MARKER[0] ? '-' : field[i];
        }
    }
    free(field);
    field = copy_bytes(marked, n);
    free(marked);
    *ret_len = n;
    return field;
}

#endif
