/* number.h - whole numbers with a unit, as settings have them ("20ms", "64MiB"), and numbers that another
 * reader took for something else. Pure. */
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

#define NUMBER_DIGITS "0123456789"

/* Behind the blanks and the sign that a number may begin with. */
static inline const char *number_unsigned(const char *text)
{
    text += strspn(text, " \t");
    return text + (*text == '+' || *text == '-');
}

/* Has a reader that stops where it understands no more, as strtol does, made another number of the text?
 * "60s" becomes 60, "0,5" 0, and "010" 8. taken: how the reader writes what it has; where that is no
 * plain number, or the text itself, the text is no number to it. 0x10 and 1e3 count as cut as well. */
static inline bool number_was_cut(const char *given, const char *taken)
{
    const char *g = number_unsigned(given), *t = number_unsigned(taken);

    if (strcmp(given, taken) == 0 || strspn(g, NUMBER_DIGITS) == 0 || strspn(t, NUMBER_DIGITS) == 0)
        return false;
    g += strspn(g, "0");
    t += strspn(t, "0");
    size_t n = strspn(g, NUMBER_DIGITS), n_taken = strspn(t, NUMBER_DIGITS);
    const char *rest = g + n, *rest_taken = t + n_taken;
    bool fraction = *rest_taken == '.';
    if (rest_taken[fraction ? 1 + strspn(rest_taken + 1, NUMBER_DIGITS) : 0] != '\0')
        return false;
    if (*rest == '.') /* may be rounded, not left out */
        rest += 1 + strspn(rest + 1, fraction ? NUMBER_DIGITS : "0");
    return rest[strspn(rest, " \t")] != '\0' || n != n_taken || memcmp(g, t, n) != 0;
}

#endif
