/* operate_inbox.h - what a person asks of the inbox of consumers and does with its dead letters.
 *
 * The inbox is in the database that the consumers write to, which may have no outbox. A dead letter that
 * goes again is called by its consumer, not here; the rest is as in operate.h.
 */
#ifndef RELAY_SOURCE_OPERATE_INBOX_H
#define RELAY_SOURCE_OPERATE_INBOX_H

#include "relay/source/operate.h"

/* States of inbox.dead, as a set. */
enum operate_letter_state {
    OPERATE_LETTER_DEAD = 1,
    OPERATE_LETTER_RETRY = 2,
    OPERATE_LETTER_DISCARDED = 4,
    OPERATE_LETTER_ALL = 7
};

/* Which dead letters: those that all of these say. */
struct operate_letters {
    unsigned states;
    const int64_t *ids; /* NULL: any */
    size_t n_ids;
    const char *consumer, *topic; /* NULL: any */
    int64_t upto;                 /* ids above this are left alone */
};

struct operate_inbox_server {
    bool is_standby;
    bool one_of_many; /* the dsn names several; a primary among them would have been taken */
};

/* Ages are seconds, negative where there is none. */
struct operate_consumer {
    const char *name;
    const char *dedupe_keep; /* "7 days" */
    int64_t partitions, owned, owners;
    double moved_s; /* since any position last moved */
    int64_t dead, retry;
    double oldest_dead_s;
    double applied_s; /* since any event was last applied */
    int64_t dead_since; /* of `dead` those since which no event was applied */
    double dead_since_s; /* since the oldest of these died */
    const char *dead_code, *dead_error; /* of the last of these; or NULL */
    bool linked; /* a session of a process of it is seen; false: none, or it has another name */
    double seen_s; /* since a process of it last connected, or finished events */
};

struct operate_position {
    const char *consumer, *topic;
    int32_t partition;
    int64_t next_offset; /* negative: nothing is finished yet */
    const char *owner;   /* or NULL */
    double moved_s;
};

/* What fails of one consumer; no such row where nothing does. Of the event that failed last: */
struct operate_failing {
    const char *consumer;
    int64_t n;
    double oldest_s;  /* since the first call of the oldest of these */
    bool none_since;  /* no event was applied since then */
    double only_s;    /* since the first call of the oldest of those since which none was; negative: there is none */
    const char *topic;
    int32_t partition;
    int64_t offset;
    const char *event_id;
    int64_t attempts;
    const char *error_code, *error; /* or NULL */
    double failed_s;
    bool waits;                     /* for its next call; false: it is called now, or its process ended in it */
    double next_s;                  /* until then; negative: it is overdue */
};

struct operate_letter {
    int64_t id;
    const char *consumer, *topic;
    int32_t partition;
    int64_t offset;
    const char *event_id;
    const char *type; /* or NULL */
    const char *state, *reason;
    int64_t attempts;
    const char *error_code, *error; /* or NULL */
    const char *died_at;            /* RFC 3339 in UTC */
    const char *discard_reason;     /* or NULL */
    const char *was;                /* the state before; NULL: nothing was changed */
};

/* Of one consumer, topic and state. */
struct operate_letter_total {
    const char *consumer, *topic, *state;
    int64_t n, newest_id;
};

typedef void operate_on_letter(void *arg, const struct operate_letter *letter);

typedef void operate_on_position(void *arg, const struct operate_position *position);

/* The positions of all consumers. A callback may take its time, and ask further questions: nothing is locked. */
int operate_positions(struct operate *o, operate_on_position *on_position, void *arg);
/* What mends an error of the database that a handler met. A clause, static. */
const char *operate_handler_remedy(const char *sqlstate);
/* What fails, of all consumers by name. */
int operate_failing(struct operate *o, void (*on_failing)(void *arg, const struct operate_failing *failing), void *arg);
int operate_inbox_server(struct operate *o, struct operate_inbox_server *ret);
/* The consumers by name, then the positions, as above. */
int operate_inbox_status(struct operate *o,
                         void (*on_consumer)(void *arg, const struct operate_consumer *consumer),
                         operate_on_position *on_position, void *arg);

/* The names of all consumers that have started here or have dead letters, in order. */
int operate_consumer_names(struct operate *o, void (*on_name)(void *arg, const char *name), void *arg);

/* In order of id, at most `limit`. */
int operate_letters(struct operate *o, const struct operate_letters *choice, int64_t limit,
                    operate_on_letter *on_letter, void *arg);
int operate_letter_totals(struct operate *o, const struct operate_letters *choice,
                          void (*on_total)(void *arg, const struct operate_letter_total *total), void *arg);

/* The chosen ones get the state retry; or, with a reason (borrowed; NULL: retry), discarded. In batches,
 * each committed. When ids are given it is all of them or none: EXIT_NO_MATCH when one is not in one of
 * the states by then. on_letter tells what was committed, with the state it has now. */
int operate_change_letters(struct operate *o, const struct operate_letters *choice, const char *reason,
                           operate_on_letter *on_letter, void *arg);

#endif
