/* operate.h - what a person does with the events that are held: list, retry, discard. Synchronous.
 *
 * One connection, and every operation in transactions of its own whose settings are all SET LOCAL (but that limits
 * which the DBA has set for sessions are taken away in ours, where it is not a pooler's). No
 * lease is needed, nor a relay that runs: one that runs looks at outbox.held once a second. Changes
 * are made in batches in order of id, each committed, so that nobody waits long for a lock; after a
 * failure those that were reported are done, and the same command goes on with the rest.
 *
 * Functions that return int give EXIT_OK or another exit code; operate_error then says why, with the
 * remedy, on one line. What a callback gets is borrowed until it returns.
 */
#ifndef RELAY_SOURCE_OPERATE_H
#define RELAY_SOURCE_OPERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct operate;

struct operate_options {
    const char *dsn; /* borrowed for the life of the struct operate */
    uint64_t statement_timeout_ms;
    uint64_t tcp_user_timeout_ms;
    bool skip_poison; /* later rows of a key pass a dead one, as far as is known: only for what is told */
    bool only_reads;  /* a standby does as well */
};

/* States of outbox.held, as a set. */
enum operate_state {
    OPERATE_RETRYING = 1,
    OPERATE_BLOCKED = 2,
    OPERATE_PAUSED = 4,
    OPERATE_SCHEDULED = 8,
    OPERATE_DEAD = 16,
    OPERATE_DISCARDED = 32,
    OPERATE_ALL_STATES = 63
};

/* Which held rows: those that all of these say. */
struct operate_choice {
    unsigned states;      /* of enum operate_state */
    int64_t id;           /* 0: any */
    const char *event_id; /* NULL: any; a UUID */
    const char *topic;    /* NULL: any */
    const void *key;      /* NULL: any */
    size_t key_len;
    int64_t upto; /* ids above this are left alone */
};

struct operate_event {
    int64_t id;
    const char *event_id, *type; /* NULL: the event itself is gone */
    const char *topic;
    const void *key; /* NULL: none */
    size_t key_len;
    const char *state;
    const char *was; /* the state before; retry and discard only */
    int64_t attempts;
    const char *next_attempt_at, *first_error_at; /* RFC 3339 in UTC, or NULL */
    const char *error_code, *error;               /* or NULL; of a discarded one: those before */
    bool maybe_delivered;
    int64_t n_waiting; /* list: later rows of its key that wait */
    bool waits;        /* retry: an earlier row of its key comes first, so it is not due */
};

struct operate_total {
    const char *topic, *state;
    int64_t n, newest_id;
};

/* An event of which later ones of the same topic and key are out. */
struct operate_overtaken {
    struct operate_event event; /* id, event_id, topic, key */
    int64_t n_later;
    const char *first_later; /* ids of the first few */
    int64_t n_all;           /* so many events are like this one, whether described or not */
};

typedef void operate_on_event(void *arg, const struct operate_event *event);
typedef void operate_on_total(void *arg, const struct operate_total *total);
typedef void operate_on_overtaken(void *arg, const struct operate_overtaken *overtaken);

/* NULL: out of memory. Does not connect. */
struct operate *operate_new(const struct operate_options *options);
/* Accepts NULL. */
void operate_free(struct operate *o);

/* Connects, whatever the server holds. */
int operate_open(struct operate *o);
/* Connects and looks whether the outbox is there, in a version that this program knows. */
int operate_connect(struct operate *o);
/* The same for the inbox of consumers, where there need be no outbox; see operate_inbox.h. */
int operate_connect_inbox(struct operate *o);

/* Which database that is, also when it could not be reached: what the dsn says, and what libpq takes where it says
 * nothing. Borrowed until the connection is closed; all NULL: the dsn cannot be read, or the connection was given up. */
struct operate_place {
    const char *dbname, *host, *port, *user; /* host: a directory for a socket */
};
struct operate_place operate_place(const struct operate *o);

/* Why the last call failed; good until the next. */
const char *operate_error(const struct operate *o);
/* Its SQLSTATE, as long; "": the server did not say one. */
const char *operate_sqlstate(const struct operate *o);
/* The same in two: the reason is written to `to`, what mends it is returned, a clause, static. NULL: there is no remedy
 * but that of a server that cannot be reached. */
const char *operate_reason(const struct operate *o, char *to, size_t to_size);

/* The chosen rows in order of id, at most `limit`. Counting who waits costs a walk over the later rows
 * of each one's key: n_waiting is 0 unless it is asked for. */
int operate_list(struct operate *o, const struct operate_choice *choice, int64_t limit,
                 bool with_waiting, operate_on_event *on_event, void *arg);

/* How many there are, by topic and state. */
int operate_totals(struct operate *o, const struct operate_choice *choice,
                   operate_on_total *on_total, void *arg);

/* Those whose order would be broken by sending them now, as far as the later events are still there;
 * at most `limit` are described. Reads the events appended since the oldest of them, so it may take
 * twenty times the statement timeout. */
int operate_overtaken(struct operate *o, const struct operate_choice *choice, int64_t limit,
                      operate_on_overtaken *on_overtaken, void *arg);

/* Dead and retrying rows go again: attempts 0, due now. A row with an earlier one in its key group
 * waits for it instead. choice->states is taken as retrying and dead at most. */
int operate_retry(struct operate *o, const struct operate_choice *choice,
                  operate_on_event *on_event, void *arg);

/* The chosen rows are given up, for that reason (borrowed), and the next of each key is due. Of
 * choice->states only retrying, paused and dead count. A relay that has one of them in hand may still send it. */
int operate_discard(struct operate *o, const struct operate_choice *choice, const char *reason,
                    operate_on_event *on_event, void *arg);

/* The state of the one event that is named by choice->id or, if it is held, by choice->event_id; ""
 * when there is none. Text of at most state_size - 1 bytes. */
int operate_state_of(struct operate *o, const struct operate_choice *choice, char *ret_state,
                     size_t state_size);

#endif
