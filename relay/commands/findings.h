/* findings.h - what `doctor` or `inbox status` has found: a list, as words or as JSON. Pure but for memory and the stream. */
#ifndef RELAY_COMMANDS_FINDINGS_H
#define RELAY_COMMANDS_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct finding {
    enum finding_level level;
    const char *subject; /* a word or two; static */
    char *text;          /* others wrote parts of it: escaped where it is shown */
    char *remedy;        /* in our own words; NULL: nothing is to be done */
    int exit_code;       /* of a FAIL */
};

/* Start from zeroes. */
struct findings {
    struct finding *list;
    size_t n, capacity;
    bool failed; /* out of memory */
};

void findings_deinit(struct findings *f);

/* subject is borrowed for good. */
__attribute__((format(printf, 3, 4))) void findings_ok(struct findings *f, const char *subject,
                                                       const char *fmt, ...);
__attribute__((format(printf, 4, 5))) void findings_warn(struct findings *f, const char *subject,
                                                         const char *remedy, const char *fmt, ...);
__attribute__((format(printf, 5, 6))) void findings_fail(struct findings *f, int exit_code,
                                                         const char *subject, const char *remedy,
                                                         const char *fmt, ...);

size_t findings_count(const struct findings *f, enum finding_level level);
/* EXIT_OK when nothing failed; else settings or schema before a right before what is away. */
int findings_exit_code(const struct findings *f);

/* The sum first, then the worst. */
void findings_print(const struct findings *f, FILE *out);
/* Without the sum. */
void findings_list(const struct findings *f, FILE *out);
/* NULL: out of memory. */
json_t *findings_object(const struct findings *f);

#endif
