/* buckets.h - what the janitor asks the database, on the aside. Used inside source/ only; see source.h. */
#ifndef RELAY_SOURCE_BUCKETS_H
#define RELAY_SOURCE_BUCKETS_H

#include <libpq-fe.h>
#include <stdint.h>

#include "relay/source/cursor.h"

struct source;

/* How far one bucket was walked. All before `last` that `begun` saw was sent then, or is in `held`. */
struct walk {
    int16_t bucket;
    struct snapshot begun; /* of the first piece; NULL bytes: nothing is walked */
    int64_t last;
    int64_t n_rows;
    int64_t *held; /* ids */
    uint32_t n_held, held_cap;
    char *array; /* of held, encoded */
};

struct buckets {
    struct walk walk;
    int64_t tidied; /* event_kept was looked at up to here */
    char holder[100];
};

void buckets_deinit(struct buckets *b);
/* Another link, and perhaps another server: what was walked says nothing of it. */
void buckets_forget(struct buckets *b);

/* Answers of the aside; NULL: the request failed. Each becomes an event. */
void buckets_on_look(struct source *s, const PGresult *res);
void buckets_on_walk(struct source *s, const PGresult *res);
void buckets_on_empty(struct source *s, const PGresult *res);
void buckets_on_tidy(struct source *s, const PGresult *res);

#endif
