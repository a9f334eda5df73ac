/* number.h - whole numbers with a unit, as settings have them ("20ms", "64MiB"). Pure. */
#ifndef OUTBOX_SHARED_NUMBER_H
#define OUTBOX_SHARED_NUMBER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct number_unit {
    const char *name; /* NULL ends a table */
    uint64_t factor;
};

/* Bytes, and what is merely counted. How long a duration may be is each table's own affair. */
__attribute__((unused)) static const struct number_unit number_sizes[] = {
    { "B", 1 }, { "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { NULL, 0 }
};
__attribute__((unused)) static const struct number_unit number_counts[] = { { "", 1 }, { NULL, 0 } };

/* false: not a whole number with one of the units. What is too large becomes UINT64_MAX. */
static inline bool number_parse(const struct number_unit *units, const char *text,
                                uint64_t *ret_number)
{
    uint64_t n = 0;
    const char *unit = text;

    for (; *unit >= '0' && *unit <= '9'; unit++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*unit - '0'), &n))
            n = UINT64_MAX;
    if (unit == text)
        return false;
    for (const struct number_unit *u = units; u->name != NULL; u++)
        if (strcmp(u->name, unit) == 0) {
            if (__builtin_mul_overflow(n, u->factor, ret_number))
                *ret_number = UINT64_MAX;
            return true;
        }
    return false;
}

#endif
