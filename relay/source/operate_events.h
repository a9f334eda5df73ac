/* operate_events.h - events that were sent, as rows, for `replay` and `verify`; and the story of one event, for
 * `trace`. Changes nothing. See operate.h for the connection and what functions return.
 *
 * Events have indexes on their id and their transaction only. A range of times, a topic or a key is
 * therefore found by walking over the ids, so many with each statement.
 */
#ifndef RELAY_SOURCE_OPERATE_EVENTS_H
#define RELAY_SOURCE_OPERATE_EVENTS_H

#include "relay/row.h"
#include "relay/source/operate.h"

/* Events that all of these say. Borrowed texts. */
struct operate_range {
    int64_t from_id, to_id;    /* both included; 0: any */
    const char *since, *until; /* when they were marked sent: since included, until not; NULL: any. As
                                * PostgreSQL reads a timestamptz in UTC, or 90s, 15m, 2h, 3d: so long ago */
    const char *topic;         /* NULL: any */
    const void *key;           /* NULL: any */
    size_t key_len;
};

/* A range as it was understood, and how far it was walked. */
struct operate_walk {
    struct operate_range range;
    char since[48], until[48]; /* "": any */
    char now[32];              /* the server's clock, RFC 3339 */
    int64_t first, last;       /* ids; last < first: there is none */
    int64_t at;                /* ids up to here were handled */
    int64_t look;              /* at so many with the next statement: more where few are meant */
    bool done;
};

/* A sent event, and where its record went. The row is from malloc and the caller's. Of an event
 * that cannot be read there is what row.h says, without its key. */
struct operate_sent {
    struct row *row;
    int32_t partition; /* -1: not known */
    int64_t offset;    /* -1: not known */
};

/* What does the range mean now? With times all marks are read once, which may take twenty times the
 * statement timeout. EXIT_USAGE: a time cannot be read. */
int operate_walk_begin(struct operate *o, const struct operate_range *range,
                       struct operate_walk *ret_walk);

/* The next sent events of the walk, in order of id, into ret[0 .. *ret_n): at most max_rows, and no more
 * than max_bytes but for the last; none before the walk is done is possible. Those of the range that are
 * not sent are only counted, in *n_unsent, to which is added. */
int operate_walk_next(struct operate *o, struct operate_walk *walk, uint32_t max_rows,
                      uint64_t max_bytes, struct operate_sent *ret, uint32_t *ret_n,
                      int64_t *n_unsent);

/* The number of the event with this UUID, 0 when there is none. UUIDs have no index: one of version 7 tells
 * about when it was made, and is looked for there first; else all events are read, which may take twenty
 * times the statement timeout. */
int operate_find_event(struct operate *o, const char *event_id, int64_t *ret_id);

/* Times are RFC 3339 in UTC, or NULL: did not happen, is not known. */
struct operate_story {
    struct operate_event event; /* with state "sent" or "pending" also; attempts and what follows as in held */
    const char *created_at, *available_at, *committed_at, *sent_at, *now;
    const char *xid;
    bool commit_times; /* the server keeps the times of commits */
    int64_t bucket;
    int64_t payload_bytes; /* -1: a tombstone */
    int64_t n_headers, schema_version;
    int64_t partition, offset;         /* -1: not known */
    double waited_s;                   /* from its append, or when it was due, to its mark or now; of a discarded one it says nothing */
    int64_t before_id;                 /* an earlier event of its key that is held and goes first; 0: none */
    const char *before_state;
    int64_t n_later, n_later_sent;     /* later ones of its key among the next n_looked events */
    int64_t n_looked;
};

typedef void operate_on_story(void *arg, const struct operate_story *story);

/* Calls on_story when there is such an event; *ret_found says whether. */
int operate_tell(struct operate *o, int64_t id, operate_on_story *on_story, void *arg, bool *ret_found);

#endif
