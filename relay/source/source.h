/* source.h - the outbox in PostgreSQL: read, mark, lead. The only module that knows libpq and SQL.
 *
 * Two connections, one reads and one marks, are one link: both are up or the link is down, so that a
 * read never comes from another server than the marks go to. Nothing blocks (but the resolution of a
 * host name, which libpq does by itself); every statement has a deadline of our own, after which the
 * link counts as lost, whatever TCP says.
 *
 * At most one read, and one of mark, acquire, renew and resign, may be under way.
 */
#ifndef RELAY_SOURCE_SOURCE_H
#define RELAY_SOURCE_SOURCE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"

struct source;

struct source_config {
    const char *dsn;   /* borrowed for the source's life, like the others */
    const char *owner; /* who we are in outbox.relay */
    uint64_t lease_ttl_ms;
    uint64_t statement_timeout_ms;
    uint64_t tcp_user_timeout_ms;
    uint64_t retry_base_ms, retry_max_ms;
    uint64_t seed;
};

struct source_mark {
    int64_t id;
    int64_t offset; /* negative: not known */
    int32_t partition;
    int16_t bucket;
};

enum source_event_type {
    SOURCE_UP,
    SOURCE_DOWN,      /* was up, or an attempt failed; the source tries again by itself */
    SOURCE_PAGE,      /* answer to read */
    SOURCE_READ_FAILED,
    SOURCE_MARKED,
    SOURCE_MARK_FAILED,
    SOURCE_LEASE,     /* answer to acquire or renew: .ours */
    SOURCE_LEASE_FAILED,
    SOURCE_RESIGNED,  /* also when it failed: the lease then ends by itself */
    SOURCE_REFUSED    /* this database cannot be used as it is; .exit_code says how to end */
};

struct source_event {
    enum source_event_type type;
    struct row **rows; /* PAGE: taken by the caller; the array itself is the source's */
    uint32_t n_rows;
    bool full, catching_up;
    bool ours;
    int exit_code;
};

/* Returns NULL when out of memory. free accepts NULL; it closes the connections. */
struct source *source_new(const struct source_config *cfg);
void source_free(struct source *s);

/* Can libpq read this connection string? 0, or -1 with what is expected in err. Connects to nothing. */
int source_check_dsn(const char *dsn, char *err, size_t err_size);

/* What to poll for: up to two entries; returns their number. */
size_t source_pollfds(const struct source *s, struct pollfd fds[2]);
/* When source_next wants to be called although nothing can be read. */
uint64_t source_deadline(const struct source *s);
/* The next thing that happened; false when there is nothing. Call after every poll until false. */
bool source_next(struct source *s, uint64_t now_ms, struct source_event *ret_event);

/* Requests. The link must be up and the connection free, as the core's order of actions ensures. */
/* `page` is the core's number for the rows that come; source_renew speaks of it. */
void source_read(struct source *s, uint64_t now_ms, uint32_t max_rows, uint64_t max_bytes,
                 uint64_t page);
void source_mark(struct source *s, uint64_t now_ms, const struct source_mark *marks, uint32_t n);
void source_acquire(struct source *s, uint64_t now_ms);
/* Keeps the lease and saves the cursor that stood before `page`. */
void source_renew(struct source *s, uint64_t now_ms, uint64_t page);
void source_resign(struct source *s, uint64_t now_ms, uint64_t page);

#endif
