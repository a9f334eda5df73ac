/* record.h - one record of Kafka in memory: a copy in one block, and what its headers say. Pure but
 * for memory; knows neither libpq nor librdkafka.
 *
 * A copy, because what librdkafka hands out keeps the whole answer of the broker alive, and an event
 * that is held back may stay for long.
 */
#ifndef INBOX_LIB_RECORD_H
#define INBOX_LIB_RECORD_H

#include "inbox.h"
#include "window.h"

/* What there is to copy. NULL means NULL, for values of headers too. */
struct inbox__raw {
    const char *topic;
    int32_t partition;
    int64_t offset;
    const void *key;
    size_t key_len;
    const void *payload;
    size_t payload_len;
    const outbox_header *headers;
    size_t n_headers;
    int64_t timestamp_ms;
};

#define INBOX__ERROR_SIZE 501

struct inbox__record {
    struct inbox__item item; /* first: an item is the record that it begins */
    inbox_message msg;
    uint64_t mark;        /* hash of timestamp, key, identity and length: whether it is the same record */
    const char *identity; /* as inbox.seen knows it; ASCII */
    char *own_identity;   /* the same where it is not msg.event_id */
    char *error;          /* why it failed last, or NULL; UTF-8, one line */
    uint32_t calls_before; /* by earlier processes, as they wrote down; attempts.h */
    bool noted;           /* it may have a row in inbox.attempt */
    bool ended;           /* the last of those calls never returned */
    uint64_t noted_ms;    /* when the first of them began */
    uint64_t called_ms;   /* when its last call began, here; 0: none did */
    bool time_is_up;      /* that was found when nothing could be stored: it is dead at its next turn */
    char sqlstate[6];     /* of that error; "": none of the server's */
    int outcome;          /* of the batch that is being applied: enum inbox__fate */
    uint64_t due_ms;      /* INBOX__FAILED: when it is tried again */
};

/* NULL: out of memory. item.key, identity and bytes are set, part is not. */
struct inbox__record *inbox__record_new(const struct inbox__raw *raw);
void inbox__record_free(struct inbox__record *r);

/* Keep text as the error: one line, cut after 500 bytes. Without memory it is lost. */
void inbox__record_fail(struct inbox__record *r, const char *text);

/* The value of the first header of the name that is text; NULL: there is none. */
const char *inbox__record_header(const inbox_message *msg, const char *name);

/* What the event is called in inbox.seen, as long as size allows; returns its length (see snprintf). */
#define INBOX__IDENTITY_SIZE 1101
int inbox__identity(const inbox_message *msg, char ret[INBOX__IDENTITY_SIZE]);

#endif
