/* source.h - the outbox in PostgreSQL: read, mark, hold, lead. The only module that knows libpq and SQL.
 *
 * Two connections, one reads and one marks, are one link: both are up or the link is down, so that a
 * read never comes from another server than the marks go to. Nothing blocks, not even the look-up of a host's
 * name, unless no thread is to be had for it (lookup.h); every statement has a deadline of our own, after which
 * the link counts as lost, whatever TCP says.
 *
 * At most one of read, read_due and read_topic, and one of mark, hold, acquire, renew, resign and sweep,
 * may be under way.
 */
#ifndef RELAY_SOURCE_SOURCE_H
#define RELAY_SOURCE_SOURCE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/core/fate.h"
#include "relay/figures.h"
#include "relay/row.h"

struct source;

enum {
    SOURCE_MAX_FDS = 3,
    SOURCE_RING = 8 /* buckets; a power of two */
};

struct source_config {
    const char *dsn;   /* borrowed for the source's life, like the others */
    const char *owner; /* who we are in outbox.relay */
    uint64_t lease_ttl_ms;
    uint64_t statement_timeout_ms;
    uint64_t tcp_user_timeout_ms;
    uint64_t retry_base_ms, retry_max_ms;
    uint64_t seed;
    bool skip_poison; /* on.poison = skip: a dead row does not block its key */
    bool mark_async;  /* marks are answered before they are on disk; not those of rows that were held */
    bool aside;       /* open a third connection: see source_aside_ready */
    bool once;        /* RESIGNED says whether anything is left */
};

struct source_mark {
    int64_t id;
    const uint8_t *event_id; /* 16 bytes; borrowed during the call */
    int64_t offset; /* negative: not known */
    int32_t partition;
    int16_t bucket;
    bool held; /* it is in outbox.held, and leaves it with the mark */
};

struct source_hold {
    const struct row *row;
    enum hold_state state;
    uint32_t attempts;
    uint64_t delay_ms;      /* RETRYING: due so long after the database's now */
    bool maybe;             /* once true of a held row, it stays true */
    const char *error_code; /* NULL: what is there stays */
    const char *error;      /* the same; UTF-8, cut at 500 bytes */
};

/* A key that is not free: rows of it are in outbox.held. */
struct source_key {
    const char *topic;
    const void *key; /* NULL: the topic has paused rows */
    size_t key_len;
};

enum source_event_type {
    SOURCE_UP,
    SOURCE_DOWN,      /* was up, or an attempt failed; the source tries again by itself */
    SOURCE_PAGE,      /* answer to read */
    SOURCE_DUE_PAGE,   /* answer to read_due */
    SOURCE_TOPIC_PAGE, /* answer to read_topic */
    SOURCE_READ_FAILED, /* of any of the three; .id: two events have it, 0: it was something else */
    SOURCE_MARKED,
    SOURCE_MARK_FAILED,
    SOURCE_HELD,        /* answer to hold; all of it is written */
    SOURCE_HOLD_FAILED, /* nothing is; after SOURCE_LEASE when the epoch moved */
    SOURCE_HELD_KEYS,   /* between acquire and SOURCE_LEASE: some of what is held, or nothing yet; the lease was renewed */
    SOURCE_SWEPT,
    SOURCE_SWEEP_FAILED,
    SOURCE_LEASE,     /* answer to acquire or renew: .ours; unasked and not ours: the epoch moved */
    SOURCE_LEASE_FAILED,
    SOURCE_RESIGNED,  /* also when it failed: the lease then ends by itself */
    SOURCE_LOOKED,    /* answers of the aside, .failed or not */
    SOURCE_WALKED,
    SOURCE_EMPTIED,
    SOURCE_TIDIED,
    SOURCE_FIGURES,   /* answer to figures; .figures NULL: they could not be had */
    SOURCE_SCHEMA,    /* answer to schema: .schema_version; .schema_ends: the next connection would be refused */
    SOURCE_REFUSED    /* this database cannot be used as it is; .exit_code says how to end. A request that it was the
                       * answer to has its own one as well, but for the reads; resign may still be asked for */
};

/* The lease that another relay has, as it was when it was asked for. */
struct source_lease {
    const char *owner; /* NULL: not known */
    int64_t silent_ms; /* since it was renewed; -1: not known */
    int64_t left_ms;   /* until it ends */
};

enum source_walk {
    WALK_MORE,       /* so far all is resolved: ask again */
    WALK_DONE,       /* all events of the bucket are */
    WALK_UNRESOLVED, /* .id is neither sent nor held; asked again, the walk goes on from there */
    WALK_CROWDED     /* more events are held than could be moved */
};

enum source_emptying {
    EMPTYING_DONE,
    EMPTYING_LOCKED,  /* the lock was not to be had in time; .holder has it, or had; walk again */
    EMPTYING_CHANGED, /* something came since the walk; walk again */
    EMPTYING_CROWDED,
    EMPTYING_NOT_LEADING,
    N_EMPTYINGS
};

/* Who has a lock on a bucket. */
struct source_holder {
    int32_t pid;      /* 0: a prepared transaction, or nobody was found any more */
    bool prepared;
    const char *name; /* its application, or the name of the prepared transaction; "": not known */
    int64_t age_ms;   /* of the transaction; -1: not known */
};

struct source_event {
    enum source_event_type type;
    struct row **rows; /* the three PAGEs: taken by the caller; the array itself is the source's */
    uint32_t n_rows;
    const char *why; /* DOWN: the reason; READ_FAILED, and answers of the mark side that tell of a failure: what failed, and
                      * the database's words, or NULL. Good until the next one */
    const char *sqlstate; /* with `why`, but of DOWN */
    const char *remedy; /* what mends that, a clause, static; NULL: of DOWN that the server or the way to it is mended, of
                         * the others that we have none */
    bool moved; /* UP: the database has another history than on the last link: ids may mean other events */
    bool full, catching_up;
    bool left; /* RESIGNED, of who publishes once: events are held, and not only for their time, or that is not known */
    bool ours;
    struct source_lease lease; /* LEASE, not ours; the name is the source's, as below */
    int exit_code;
    /* MARKED, HELD: one row of the request for each key of which nothing is held any more. The arrays
     * here and below are the source's, good until the next call of source_next or of a request. */
    const int64_t *freed;
    uint32_t n_freed;
    const struct source_key *keys; /* HELD_KEYS */
    uint32_t n_keys;
    uint64_t next_due_ms; /* DUE_PAGE: so long until the next held row is due; 0: at once, when full;
                           * UINT64_MAX: none is waiting for a time */
    uint32_t n_found;     /* SWEPT: rows that were neither sent nor held; now they are held */
    /* LOOKED: how long ago the newest event of each bucket was appended, -1: it is empty; for how long
     * the ring takes events to one bucket, 0: not known. */
    int64_t bucket_age_ms[SOURCE_RING];
    int64_t bucket_period_s;
    bool failed;      /* LOOKED, WALKED, EMPTIED, TIDIED: the question was not answered, as is logged */
    int16_t bucket;   /* WALKED, EMPTIED */
    enum source_walk walk;
    int64_t id;       /* WALKED, unresolved; READ_FAILED */
    enum source_emptying emptying;
    int64_t n_events; /* EMPTIED: that the bucket had; TIDIED: that left event_kept */
    int64_t n_moved, n_bytes; /* EMPTIED: events to event_kept, space given back */
    struct source_holder holder;
    int schema_version; /* SCHEMA: the newest; 0: it could not be had */
    bool schema_ends;
    const struct figures *figures; /* FIGURES: the source's, good until the next ones */
};

/* Returns NULL when out of memory. free accepts NULL; it closes the connections. */
struct source *source_new(const struct source_config *cfg);
void source_free(struct source *s);

/* Other pauses between attempts to connect, from now on; one that lasts already is no longer than these. */
void source_configure(struct source *s, uint64_t now_ms, uint64_t retry_base_ms, uint64_t retry_max_ms);

/* libpq's version, as text. */
const char *source_library_version(void);
/* Can libpq read this connection string, and its ports? 0, or -1 with what is expected in err. Connects to nothing. */
int source_check_dsn(const char *dsn, char *err, size_t err_size);

/* What to poll for; returns the number of entries. */
size_t source_pollfds(const struct source *s, struct pollfd fds[SOURCE_MAX_FDS]);
/* When source_next wants to be called although nothing can be read. */
uint64_t source_deadline(const struct source *s);
/* When the link is tried again; 0: it is up or being tried. */
uint64_t source_next_attempt(const struct source *s);
/* The next thing that happened; false when there is nothing. Call after every poll until false. */
bool source_next(struct source *s, uint64_t now_ms, struct source_event *ret_event);

/* Requests. The link must be up and the connection free, as the core's order of actions ensures. */
/* `page` is the core's number for the rows that come; source_renew speaks of it.
 * A row that cannot be read (PostgreSQL cannot send it, we cannot decode it) comes, after a few failures of the
 * pages that have it, as a row with .unreadable, in its place and alone in a page; the same holds below. */
void source_read(struct source *s, uint64_t now_ms, uint32_t max_rows, uint64_t max_bytes,
                 uint64_t page);
/* Held rows that may be sent now: scheduled ones whose time has come, retrying ones without a key, and
 * of each key with a row that is due its rows in order of id, from its first up to the first that must
 * wait longer. In order of id. Rows that were given out stay due until they are marked or held anew. */
void source_read_due(struct source *s, uint64_t now_ms, uint32_t max_rows, uint64_t max_bytes);
/* The paused rows of the topic in order of id. As above, they come again until marked or held anew. */
void source_read_topic(struct source *s, uint64_t now_ms, const char *topic, uint32_t max_rows,
                       uint64_t max_bytes);
/* Before the first acquire of a link, which rows of an earlier link are marked with: a crash may have lost
 * transactions that were not on disk (synchronous_commit = off), and their ids are then given to others. So a
 * row is marked only if its event is there still; what is not is logged, and counts as marked. */
void source_mark(struct source *s, uint64_t now_ms, const struct source_mark *marks, uint32_t n);
/* Writes the rows into outbox.held, or writes anew what it says of them; all of them or, when the epoch
 * moved, none. A row that is in outbox.sent is left out, and one that a person has discarded stays so.
 * BLOCKED behind nothing (the row in front has gone meanwhile) makes the row due at once. Everything is
 * copied. At most 10,000 rows. */
void source_hold(struct source *s, uint64_t now_ms, const struct source_hold *holds, uint32_t n);
/* Before SOURCE_LEASE says ours, SOURCE_HELD_KEYS name every key and every paused topic that is held. */
void source_acquire(struct source *s, uint64_t now_ms);
/* Keeps the lease and saves the cursor that stood before `page`. */
void source_renew(struct source *s, uint64_t now_ms, uint64_t page);
void source_resign(struct source *s, uint64_t now_ms, uint64_t page);
/* The backstop: looks at the next few thousand events before the saved cursor, and holds as due what is
 * neither in sent nor in held; looks at the next few hundred held keys, and makes due the first row of
 * those that nothing would wake. In a healthy outbox it finds nothing. */
void source_sweep(struct source *s, uint64_t now_ms);

/* -- The aside: a third connection, for what is worth knowing and may wait. It opens by itself once the
 * link is up; that it is slow, lost or lacks a right touches nothing above. Ask only when it is ready,
 * one thing at a time. Each request has one answer, failed or not, unless SOURCE_DOWN comes before. */
bool source_aside_ready(const struct source *s);
/* Why it does not work, good until the next call of source_next, and what mends that, static or NULL; NULL: it works, as far
 * as is known, or it has failed only once. */
const char *source_aside_error(const struct source *s, const char **ret_remedy);
/* How old the buckets are. */
void source_look(struct source *s, uint64_t now_ms);
/* The next few thousand events of the bucket: are they sent or held? Goes on from where the walk of this
 * bucket stands; there is one walk, which another bucket's, an emptying and the loss of the link end. */
void source_walk(struct source *s, uint64_t now_ms, int16_t bucket);
/* Empties the bucket whose walk is done, if we lead, nothing is younger than the retention, and what came
 * since the walk is resolved as well. What is held moves to event_kept; what was discarded goes. */
void source_empty(struct source *s, uint64_t now_ms, uint64_t retention_ms);
/* Of the next few thousand events in event_kept, those that are old and resolved go. SOURCE_TIDIED says
 * in .full whether there are more to look at. */
void source_tidy(struct source *s, uint64_t now_ms, uint64_t retention_ms);
/* What waits, what is held and what blocks. Milliseconds of the server's time when little waits, and about a
 * tenth of a second at most, whatever the backlog. */
void source_figures(struct source *s, uint64_t now_ms);
/* Is the schema still one that we would connect to? That it is not any more is logged, once for each version. */
void source_schema(struct source *s, uint64_t now_ms);

#endif
