/* restraint.h - how often a thing is said that would be said again and again: so many times in so long, for the relay
 * and for libinbox. Pure: the time is an argument. Header only, as retry.h. */
#ifndef OUTBOX_SHARED_RESTRAINT_H
#define OUTBOX_SHARED_RESTRAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start from zeroes. */
struct restraint {
    uint64_t since_ms;      /* the first of these was to be said then, and */
    uint32_t n, suppressed; /* so many were said since, so many not */
};

/* May it be said, as one of the `most` that are said within window_ms of their first? *ret_suppressed, unless it is
 * NULL: so many were not, in the window that this one ends. */
static inline bool restraint_admits(struct restraint *r, uint64_t now_ms, uint32_t most,
                                    uint64_t window_ms, uint32_t *ret_suppressed)
{
    bool anew = r->n == 0 || now_ms - r->since_ms >= window_ms;

    if (ret_suppressed != NULL)
        *ret_suppressed = anew ? r->suppressed : 0;
    if (anew)
        *r = (struct restraint){ .since_ms = now_ms };
    if (r->n >= most) {
        r->suppressed++;
        return false;
    }
    r->n++;
    return true;
}

#endif
