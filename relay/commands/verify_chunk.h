/* verify_chunk.h - so many sent events at a time, compared with what their topics hold.
 *
 * Each event's record is looked for at the place that its mark tells. On the way there other records are
 * read as well: one that bears the id of an event of this chunk or of the one before, at another place, is
 * a repeat. A repeat lies near its event, as many records off as were on their way when a relay crashed.
 */
#ifndef RELAY_COMMANDS_VERIFY_CHUNK_H
#define RELAY_COMMANDS_VERIFY_CHUNK_H

#include "relay/sink/envelope.h"
#include "relay/sink/id_table.h"
#include "relay/sink/reader.h"
#include "relay/source/operate_events.h"

#define VERIFY_ROWS 5000
#define VERIFY_BYTES (16 * 1024 * 1024)

enum verify_outcome {
    VERIFY_UNREAD,   /* the topic could not be read */
    VERIFY_AS_SENT,
    VERIFY_CHANGED,  /* another record is there, or it differs */
    VERIFY_MISSING,  /* there is no record, and the topic goes down that far */
    VERIFY_EXPIRED,  /* below the first offset that the topic still has */
    VERIFY_UNPLACED, /* the mark does not tell where it is */
    VERIFY_UNREADABLE, /* the event itself could not be read, so there is nothing to compare with */
    N_VERIFY_OUTCOMES
};

struct verify_event {
    struct operate_sent sent;
    uint8_t id[16]; /* compare_row_id */
    enum verify_outcome outcome;
    unsigned differences; /* of enum compare_difference */
    bool no_topic; /* it is missing with its topic, or partition */
    bool twice, replayed; /* it is there once more; written by replay */
    int32_t again_partition; /* where, when twice */
    int64_t again_offset;
};

struct verify_chunk {
    const struct envelope *envelope;
    struct reader *reader;
    int timeout_ms;
    bool is_first, is_last; /* no other chunk reads what lies before, or behind */
    /* An event of the chunk before, whose record is at *place, is there once more. */
    void (*on_late_repeat)(void *arg, const uint8_t event_id[16], const struct id_place *place,
                           int32_t partition, int64_t offset);
    void *arg;
    struct verify_event event[VERIFY_ROWS];
    uint32_t n;
    char error[512]; /* why something could not be read; "" */

    /* While it is compared. */
    struct verify_event *by_place[VERIFY_ROWS], *by_id[VERIFY_ROWS];
    struct envelope_buf buf;
    uint32_t at, end; /* of by_place: what is being read */
    /* Repeats across the border: places of the events of the chunk before, and of records that were read and
     * belonged to no event then. */
    struct id_table before, strays;
};

/* Compares event[0 .. n), whose `sent` is set. */
void verify_chunk_compare(struct verify_chunk *c);
/* Frees the rows; the next chunk can be filled. */
void verify_chunk_next(struct verify_chunk *c);
void verify_chunk_deinit(struct verify_chunk *c);

#endif
