/* affix.h - how a text begins and ends. Knows nothing else. */
#ifndef RELAY_AFFIX_H
#define RELAY_AFFIX_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

static inline bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), n_end = strlen(end);

    return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

/* "1 event", "2 events": what follows the noun. */
static inline const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

#endif
