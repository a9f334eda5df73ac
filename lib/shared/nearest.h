/* nearest.h - how far two names are from each other, to guess which one was meant. Pure. */
#ifndef OUTBOX_SHARED_NEAREST_H
#define OUTBOX_SHARED_NEAREST_H

#include <stdbool.h>
#include <string.h>

enum { NEAREST_MAX = 64 }; /* longer ones are like no other */

static inline char nearest_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* How many characters to put in, leave out, replace or swap with the next one to make b of a, whose case does not
 * count; NEAREST_MAX when that is not known. */
static inline unsigned nearest_distance(const char *a, const char *b)
{
    unsigned row[NEAREST_MAX + 1], before[NEAREST_MAX + 1] = { 0 }, older[NEAREST_MAX + 1];
    size_t n = strlen(b);

    if (n > NEAREST_MAX || strlen(a) > NEAREST_MAX)
        return NEAREST_MAX;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        char c = nearest_lower(a[i - 1]);
        memcpy(older, before, sizeof older);
        memcpy(before, row, (n + 1) * sizeof *row);
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            bool swapped = i > 1 && j > 1 && c == b[j - 2] && nearest_lower(a[i - 2]) == b[j - 1];
            row[j] = before[j - 1] + (c != b[j - 1]);
            if (before[j] + 1 < row[j])
                row[j] = before[j] + 1;
            if (row[j - 1] + 1 < row[j])
                row[j] = row[j - 1] + 1;
            if (swapped && older[j - 2] + 1 < row[j])
                row[j] = older[j - 2] + 1;
        }
    }
    return row[n];
}

/* A name that is farther from it than this is another word. */
static inline unsigned nearest_limit(const char *name)
{
    return (unsigned)strlen(name) / 3 + 1;
}

/* Is known nearer to name than *limit? Then no other one is, unless it is nearer still. */
static inline bool nearest_is(const char *name, const char *known, unsigned *limit)
{
    unsigned distance = nearest_distance(name, known);
    bool nearer = distance < *limit;

    if (nearer)
        *limit = distance;
    return nearer;
}

#endif
