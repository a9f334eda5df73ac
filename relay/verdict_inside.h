/* verdict_inside.h - the verdict from inside: what verdict.c (the sentence), verdict_judge.c (what is found) and
 * verdict_words.c share.
 */
#ifndef RELAY_VERDICT_INSIDE_H
#define RELAY_VERDICT_INSIDE_H

#include <stddef.h>

#include "relay/verdict.h"

/* So long nothing was published although something waits: then it cannot be said to flow. */
#define IDLE_S 5.0

/* A format, of the words of libpq. */
#define VERDICT_ASIDE "the third connection to PostgreSQL does not work (%.250s)"

/* All that is found, worst first, and the level of the worst. v: all zeroes before. */
void verdict_judge(const struct verdict_input *in, struct verdict *v);
/* Does another relay lead that does not lead? A lease of minutes goes on without it. */
bool verdict_leader_is_silent(const struct verdict_input *in);
/* Behind what is there already; cut where it must be, never within a character. */
__attribute__((format(printf, 3, 4))) void verdict_append(char *text, size_t size, const char *format, ...);
/* "pid 42, psql" */
void verdict_append_blocker(char *text, size_t size, const struct verdict_blocker *b);
/* "; let it end, or ..." */
void verdict_append_end(char *text, size_t size, const struct verdict_blocker *b);

#endif
