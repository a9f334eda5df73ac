/* attempts.h - calls of handlers that are written down in inbox.attempt before they begin. */
#ifndef INBOX_LIB_ATTEMPTS_H
#define INBOX_LIB_ATTEMPTS_H

#include "inside.h"
#include "steps.h"

#define INBOX__ENDED "its process ended, or lost the partition, while the handler worked"

/* Read what earlier processes wrote down of p, which is claimed. False: the database did not answer. */
bool inbox__attempts_load(struct inbox_consumer *c, struct inbox__partition *p);
void inbox__attempts_forget(struct inbox__partition *p);
/* r has come: what was written down of it is its own from here on. */
void inbox__attempts_match(const struct inbox__partition *p, struct inbox__record *r);

/* May the next call of r end the process? */
bool inbox__attempts_suspects(const struct inbox__record *r);
/* A call of r has returned. */
void inbox__attempts_returned(const struct inbox__record *r);
/* Calls of r before the next one, by whatever process. */
uint32_t inbox__attempts_calls(const struct inbox__record *r);

/* Why r failed last, as inbox.attempt takes it; NULL: not known, or none of the database's. */
struct inbox__failure_text {
    const char *error_code, *error;
    char buffer[INBOX__ERROR_SIZE];
};
void inbox__failure_text(const struct inbox_consumer *c, const struct inbox__record *r,
                         struct inbox__failure_text *ret);

/* The texts that a step's values point to. */
struct inbox__attempt_row {
    char partition[12], offset[24], attempts[12], wait_ms[24];
    struct inbox__failure_text failure;
};
/* The next call of r begins, and r counts as noted; the last one has failed and returned, and r is due again. */
struct inbox__step inbox__attempt_begins(const struct inbox_consumer *c, struct inbox__record *r,
                                         struct inbox__attempt_row *row);
struct inbox__step inbox__attempt_failed(const struct inbox_consumer *c,
                                         const struct inbox__record *r,
                                         struct inbox__attempt_row *row);
/* $1 consumer, $2 to $4 topics, partitions and offsets of events that are finished. */
#define INBOX__ATTEMPTS_DONE                                                                       \
    "DELETE FROM inbox.attempt a"                                                                  \
    " USING unnest($2::text[], $3::integer[], $4::bigint[]) AS w (topic, number, place)"           \
    " WHERE a.consumer = $1 AND a.topic = w.topic AND a.kafka_partition = w.number"                \
    " AND a.kafka_offset = w.place"

#endif
