/* core.h - what the relay decides. Events in, actions out; no I/O, no clock, no chance of its own.
 *
 * The driver tells the core what happened (the functions that take now_ms) and then asks it what to
 * do until it has nothing left (core_next). Time is monotonic milliseconds; randomness comes from one
 * seed; so a run can be replayed from its events alone. The core knows a row by its slot, topic
 * number, key hash and size; names, bytes, SQL and Kafka are the driver's.
 *
 * What holds after every step:
 *   - a mark is asked for only for a row that was confirmed;
 *   - of one key at most one run of rows is unresolved after a failure: while a row of a key waits,
 *     no later row of that key is produced;
 *   - a row that was read is in the window until it is marked, or given back unsent to be read again;
 *   - the window never holds more rows or bytes than configured (one row may exceed the bytes).
 */
#ifndef RELAY_CORE_CORE_H
#define RELAY_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/core/fate.h"
#include "relay/core/keys.h"
#include "relay/core/lead.h"
#include "relay/core/topics.h"
#include "relay/core/window.h"

struct core_config {
    uint32_t inflight_rows, batch_rows;
    uint64_t inflight_bytes;
    uint64_t poll_min_ms, poll_max_ms;
    uint64_t mark_delay_ms;
    uint64_t retry_base_ms, retry_max_ms;
    uint64_t lease_ttl_ms;
    uint64_t drain_timeout_ms;
    uint64_t seed;
    bool once; /* stop when all that is committed is marked */
};

enum core_phase {
    CORE_FOLLOW, /* not reading: no lease, or settling what an earlier lead left */
    CORE_LEAD,
    CORE_DRAIN, /* stopping: nothing new, what is out comes home */
    CORE_DONE
};

enum core_do {
    CORE_READ,    /* read up to n rows and bytes, which will be page; answer core_page_end or
                     core_read_failed */
    CORE_PRODUCE, /* slot into lane; answer core_report, now or later, or core_full or core_cold */
    CORE_MARK,    /* slots[0..n); answer core_marked; the array is good until then */
    CORE_RELEASE, /* the row's bytes can go; no answer */
    CORE_RESET,   /* purge, report and rebuild lane; answer core_lane_ready */
    CORE_ACQUIRE, /* ask for the lease and load the cursor; answer core_lease */
    CORE_RENEW,   /* keep the lease, save the cursor before page; answer core_lease */
    CORE_RESIGN   /* give the lease back, save the cursor before page; answer core_resigned */
};

struct core_action {
    enum core_do what;
    enum lane lane;
    uint32_t slot;
    uint32_t n;
    uint64_t bytes;
    uint64_t page;
    const uint32_t *slots;
};

struct core_lane {
    uint32_t n_sent;    /* rows handed over and not yet reported */
    uint32_t n_resets;  /* since the last confirmed row; sets the backoff */
    uint64_t reset_ms;  /* not before */
    bool full, want_reset, resetting;
    struct row_list returned; /* unordered, until the lane has come back whole */
};

struct core {
    struct core_config cfg;
    struct window window;
    struct keys keys;
    struct topics topics;
    struct lead lead;
    struct core_lane lane[N_LANES];
    struct row_list ready;
    struct row_list acked, done;   /* in the order they got there */
    uint32_t *backoff, n_backoff;  /* slots in BACKOFF or SCHEDULED, in no order */
    uint32_t *marking, n_marking;  /* slots of the mark under way */
    enum core_phase phase;
    uint64_t rng;
    uint64_t ticked_ms;            /* what waits for time was looked at at this time */
    uint64_t next_poll_ms, poll_ms;
    uint64_t newest_page;
    uint64_t given_up_page;        /* the oldest page of a row given up since the cursor was loaded */
    uint64_t mark_after_ms;        /* a mark failed: not before */
    uint32_t mark_failures;
    uint64_t drain_until_ms;
    uint64_t progress_ms;          /* last confirmation, or when there was nothing to wait for */
    uint64_t follow_ms;            /* when this spell of following began */
    bool link_up, reading, caught_up, resigning;
    bool acquiring;                /* the request for the lease loads the cursor as well */
    bool page_unused;              /* the newest page was begun for a READ that brought no row */
    bool unclean;                  /* DONE with rows unmarked that were to be marked */
};

/* Returns 0, or -1 when out of memory. deinit accepts a core that was never or half initialised. */
int core_init(struct core *c, uint64_t now_ms, const struct core_config *cfg);
void core_deinit(struct core *c);

/* The number by which the driver names a topic; UINT32_MAX when out of memory. */
uint32_t core_topic(struct core *c, const char *name);

/* -- events --------------------------------------------------------------------------------- */

/* The database can be used from now on; or is lost, and with it the read and the mark under way. */
void core_link(struct core *c, uint64_t now_ms, bool up);
/* Answers to ACQUIRE and RENEW. */
void core_lease(struct core *c, uint64_t now_ms, bool ours);
void core_lease_failed(struct core *c, uint64_t now_ms);
void core_resigned(struct core *c, uint64_t now_ms);
/* Answer to READ: each row in order, then the end. `full`: there is more. `catching_up`: rows that an
 * earlier reader had seen may still come. Rows are taken only while the relay leads and reads:
 * core_row gives NO_SLOT otherwise and the row is to be forgotten; it will be read again.
 * A row is not produced before not_before_ms (0: at once); until then it waits in the window. */
uint32_t core_row(struct core *c, uint32_t topic, uint64_t key, uint32_t bytes,
                  uint64_t not_before_ms);
void core_page_end(struct core *c, uint64_t now_ms, uint32_t n_rows, bool full, bool catching_up);
/* READ failed, the link lives. */
void core_read_failed(struct core *c, uint64_t now_ms);
/* The lane took no row (its queue is full): slot goes back, first in line, until a report comes. */
void core_full(struct core *c, uint32_t slot);
/* The first record of the row's partition is still on its way in the lane: nothing may be behind it.
 * The row waits for the next report of its topic, of which one is out. */
void core_cold(struct core *c, uint32_t slot);
void core_report(struct core *c, uint64_t now_ms, uint32_t slot, enum outcome out, enum blame blame);
/* The lane's producer is broken: it will take nothing more. */
void core_lane_fatal(struct core *c, enum lane lane);
/* RESET is done: every row of the lane has been reported. ok = false: no new producer could be made. */
void core_lane_ready(struct core *c, uint64_t now_ms, enum lane lane, bool ok);
/* Answer to MARK. */
void core_marked(struct core *c, uint64_t now_ms, bool ok);
/* Finish: read nothing more, wait for reports, mark, resign. */
void core_stop(struct core *c, uint64_t now_ms);

/* -- actions -------------------------------------------------------------------------------- */

/* The next thing to do now; false when there is nothing. */
bool core_next(struct core *c, uint64_t now_ms, struct core_action *ret_action);
/* When core_next should be asked again although nothing happened; UINT64_MAX: never. */
uint64_t core_deadline(const struct core *c, uint64_t now_ms);

#endif
