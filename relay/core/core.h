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
 *     here or in outbox.held, no later row of that key is produced;
 *   - a row that was read is in the window until it is marked or in outbox.held, or given up unsent, with
 *     the saved cursor before it, to be read again;
 *   - the window never holds more rows or bytes than configured (one row may exceed the bytes, and that with
 *     which holding is tried again (shed.h) does not count among these).
 */
#ifndef RELAY_CORE_CORE_H
#define RELAY_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/core/fate.h"
#include "relay/core/held.h"
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
    uint32_t retry_attempts; /* after the first; then a refused row is dead */
    uint32_t hops_max;       /* with more a row is dead at once; 0: never */
    uint64_t stall_timeout_ms; /* 0: never */
    uint64_t sweep_ms;         /* between two sweeps; 0: none */
    uint64_t lease_ttl_ms;
    uint64_t drain_timeout_ms;
    uint64_t seed;
    uint64_t secret[2]; /* of this process alone; what it is at core_init counts */
    bool skip_poison; /* later rows of the key pass a dead one */
    bool once; /* stop when all that is committed is marked */
};

enum core_phase {
    CORE_FOLLOW, /* not reading: no lease, or settling what an earlier lead left */
    CORE_LEAD,
    CORE_DRAIN, /* stopping: nothing new, what is out comes home */
    CORE_DONE
};

enum core_do {
    CORE_READ,    /* read up to n rows and bytes, which will be page; answer core_row for each, then
                     core_page_end, or core_read_failed */
    CORE_READ_DUE,   /* read from outbox.held what is due: core_held_row, core_due_end */
    CORE_READ_TOPIC, /* read from there what is paused of topic: core_held_row, core_topic_end */
    CORE_PRODUCE, /* slot into lane; answer core_report, now or later, or core_full or core_cold; core_refused,
                     core_refuses_hops or core_unreadable where it is not for Kafka */
    CORE_MARK,    /* slots[0..n); answer core_freed for some, then core_marked; the array is good
                     until then */
    CORE_HOLD,    /* put slots[0..n) into outbox.held as their .hold says; answer core_freed for some,
                     then core_held */
    CORE_RELEASE, /* the row's bytes can go; no answer */
    CORE_RESET,   /* purge, report and rebuild lane; answer core_lane_ready */
    CORE_ASK_KAFKA, /* does any broker answer? core_kafka_answered */
    CORE_ACQUIRE, /* ask for the lease and load the cursor; answer core_held_key and core_held_topic
                     for what is in outbox.held, then core_lease */
    CORE_RENEW,   /* keep the lease, save the cursor before page; answer core_lease */
    CORE_RESIGN,  /* give the lease back, save the cursor before page; answer core_resigned */
    CORE_SWEEP    /* look for rows that were passed by; answer core_swept */
};

struct core_action {
    enum core_do what;
    enum lane lane;
    uint32_t slot;
    uint32_t topic;
    uint32_t n;
    uint64_t bytes;
    uint64_t page;
    const uint32_t *slots;
};

struct core_lane {
    uint32_t n_sent;    /* rows handed over and not yet reported */
    uint32_t n_resets;  /* since the last confirmed row; sets the backoff */
    uint64_t reset_ms;  /* not before */
    uint32_t producer;  /* the number of the one that it has, not 0; no two have the same */
    bool full, want_reset, resetting;
    bool refused_row;   /* that producer had a row refused for itself */
    struct row_list returned; /* unordered, until the lane has come back whole */
};

/* The mark of a row that came from outbox.held needs that table as well, which may be locked. */
enum core_marks { MARKS_OF_NEW, MARKS_OF_HELD, N_CORE_MARKS };

enum core_reading { READING_NOTHING, READING_OUTBOX, READING_DUE, READING_TOPIC, N_CORE_READINGS };

struct core {
    struct core_config cfg;
    struct window window;
    struct keys keys;
    struct topics topics;
    struct held_keys held;
    struct lead lead;
    struct core_lane lane[N_LANES];
    struct row_list ready;
    struct row_list acked[N_CORE_MARKS], hold, done; /* in the order they got there */
    uint32_t *marking, n_marking;      /* slots of the mark under way */
    uint32_t *holding, n_holding;      /* slots of the hold under way */
    enum core_phase phase;
    uint64_t rng;
    uint64_t secret[2];            /* of the hash of keys (keys.h) */
    uint64_t ticked_ms;            /* what waits for time was looked at at this time */
    enum core_reading reading;
    uint32_t reading_topic;
    uint64_t next_poll_ms, poll_ms;
    uint64_t due_ms;               /* when to look for what is due in outbox.held */
    uint64_t moved_seq;            /* rows before it were read in another history */
    uint64_t new_ground_seq;       /* rows before it may be earlier than what is held; 0: not known */
    uint64_t sweep_ms;
    uint64_t stall_ms;             /* when to look for rows that are out too long */
    uint64_t silent_ms;            /* when no broker answered, last */
    uint32_t n_producers;          /* the number of the newest one */
    uint32_t n_due;                /* rows in the window that were due in outbox.held */
    uint32_t n_left;               /* rows put there as retrying or dead in this lead, and not back */
    uint32_t n_behind;             /* rows behind keys and topics, and their bytes */
    uint64_t behind_bytes;
    uint64_t newest_page;
    uint64_t given_up_page;        /* the oldest page of a row given up since the cursor was loaded */
    uint32_t hold_probe;           /* core_gave_up(): the one row that was not, with which holding is tried again */
    struct core_pause read_pause[N_CORE_READINGS]; /* each its own, that one that fails does not keep the others
                                                      waiting; those of topics are theirs */
    struct core_pause mark_pause[N_CORE_MARKS]; /* so here; and while one of them lasts the two go apart */
    struct core_pause hold_pause;
    uint64_t drain_until_ms;
    uint64_t progress_ms;          /* last confirmation, or when there was nothing to wait for, or what is waited for began */
    uint64_t follow_ms;            /* when this spell of following began */
    uint64_t n_maybe;              /* sends that may have been written and are sent again */
    uint64_t n_dead;
    bool link_up, caught_up, resigning, sweeping, asking_kafka;
    bool put_aside;                /* a ready row was found to wait for something */
    bool hold_was_last;            /* marks and holds take turns */
    bool acquiring;                /* the request for the lease loads the cursor as well */
    bool loading;                  /* it is ours, and what a new leader must know comes: nobody is waited for */
    bool page_unused;              /* the newest page was begun for a READ that brought no row */
    bool quits;                    /* it ends soon, whatever fails: core_quit() */
    bool unclean;                  /* DONE with rows unmarked that were to be marked */
};

/* Returns 0, or -1 when out of memory. deinit accepts a core that was never or half initialised. */
int core_init(struct core *c, uint64_t now_ms, const struct core_config *cfg);
void core_deinit(struct core *c);

/* Other limits and times from now on, also for a pause that lasts already; what sizes the window must be as it was. */
void core_configure(struct core *c, uint64_t now_ms, const struct core_config *cfg);

/* The number by which the driver names a topic; UINT32_MAX when out of memory. */
uint32_t core_topic(struct core *c, const char *name);
/* The hash by which it names a key of the topic; never 0, which stands for none. */
uint64_t core_key(const struct core *c, uint32_t topic, const void *key, size_t key_len);

/* -- events --------------------------------------------------------------------------------- */

/* The database can be used from now on; or is lost, and with it the read and the mark under way. */
void core_link(struct core *c, uint64_t now_ms, bool up);
/* Before it is up again: it has another history now (a promoted standby, say). Rows that were read
 * before are read again; what is confirmed of them must not be marked, for ids may mean other events. */
void core_moved(struct core *c);
/* Answers to ACQUIRE and RENEW. Before ACQUIRE's comes what is in outbox.held: each key that has rows
 * which hold others back, each topic that has paused ones. */
void core_held_key(struct core *c, uint32_t topic, uint64_t key);
void core_held_topic(struct core *c, uint64_t now_ms, uint32_t topic);
/* They come in pieces; with each the database has renewed the lease. */
void core_held_piece(struct core *c, uint64_t now_ms);
void core_lease(struct core *c, uint64_t now_ms, bool ours);
void core_lease_failed(struct core *c, uint64_t now_ms);
void core_resigned(struct core *c, uint64_t now_ms);
/* Answer to READ: each row in order, then the end. `full`: there is more. `catching_up`: rows that an
 * earlier reader had seen may still come. Rows are taken only while the relay leads and reads:
 * core_row gives NO_SLOT otherwise and the row is to be forgotten; it will be read again.
 * A scheduled row goes to outbox.held, until its time. */
uint32_t core_row(struct core *c, uint32_t topic, uint64_t key, uint32_t bytes, bool scheduled);
/* In place of a row that the caller cannot hand over, for want of memory, before it quits: no cursor passes it. */
void core_row_lost(struct core *c);
void core_page_end(struct core *c, uint64_t now_ms, uint32_t n_rows, bool full, bool catching_up);
/* In place of core_row for a row that is in the log already: nothing to send, only to mark. */
uint32_t core_found_row(struct core *c, uint64_t now_ms, uint32_t topic, uint64_t key,
                        uint32_t bytes);
/* Answers to READ_DUE and READ_TOPIC: rows from outbox.held, with what is said of them there. Of one
 * key they come in order. next_due_ms: so long until another one is due; UINT64_MAX: none. */
struct core_held_info {
    enum held_as from;
    uint16_t attempts;
    bool maybe;
    bool found; /* it is in the log already */
};
uint32_t core_held_row(struct core *c, uint64_t now_ms, uint32_t topic, uint64_t key, uint32_t bytes,
                       struct core_held_info info);
void core_due_end(struct core *c, uint64_t now_ms, bool full, uint64_t next_due_ms);
void core_topic_end(struct core *c, uint64_t now_ms, bool full);
/* A read of any kind failed, the link lives. */
void core_read_failed(struct core *c, uint64_t now_ms);
/* The lane took no row (its queue is full): slot goes back, first in line, until a report comes. */
void core_full(struct core *c, uint32_t slot);
/* The first record of the row's partition is still on its way in the lane: nothing may be behind it.
 * The row waits for the next report of its topic, of which one is out. */
void core_cold(struct core *c, uint32_t slot);
void core_report(struct core *c, uint64_t now_ms, uint32_t slot, enum outcome out, enum blame blame);
/* In place of a report: the row was refused for itself before it was handed over. for_good: another
 * attempt would end the same, so it is dead at once. */
void core_refused(struct core *c, uint64_t now_ms, uint32_t slot, bool for_good);
/* Before it is handed over: the row has come by so many causes. True: by too many, whatever Kafka would say, and so it was
 * refused for good, as by core_refused. */
bool core_refuses_hops(struct core *c, uint64_t now_ms, uint32_t slot, uint64_t hops);
/* In place of a report: the row has nothing to send, for it could not be read, nor could it next time: it is dead.
 * Where its key is what cannot be read, any later row of its topic may be of that key: unless these pass dead rows
 * anyway, the topic waits. */
void core_unreadable(struct core *c, uint64_t now_ms, uint32_t slot, bool key_unreadable);
/* The lane's producer is broken: it will take nothing more. */
void core_lane_fatal(struct core *c, enum lane lane);
/* RESET is done: every row of the lane has been reported. ok = false: no new producer could be made. */
void core_lane_ready(struct core *c, uint64_t now_ms, enum lane lane, bool ok);
/* Some broker answers, or none: then what is out too long is nobody's fault, and gets its time again
 * when one does. */
void core_kafka_answered(struct core *c, uint64_t now_ms, bool any);
/* With this row the last one of its key, that others wait for, has left outbox.held. Told for a slot
 * of the mark or hold under way, before its answer. */
void core_freed(struct core *c, uint32_t slot);
/* Answers to MARK and HOLD. */
void core_marked(struct core *c, uint64_t now_ms, bool ok);
void core_held(struct core *c, uint64_t now_ms, bool ok);
void core_swept(struct core *c, uint64_t now_ms, bool found);
/* Finish: read nothing more, wait for reports, mark, resign. */
void core_stop(struct core *c, uint64_t now_ms);
/* The same, for a cause that no waiting mends, and soon: reports have two seconds, and then what is out is purged;
 * what is confirmed is to be marked once, and given up where that fails. Without the link it is DONE at once. */
void core_quit(struct core *c, uint64_t now_ms);

/* -- actions -------------------------------------------------------------------------------- */

/* The next thing to do now; false when there is nothing. */
bool core_next(struct core *c, uint64_t now_ms, struct core_action *ret_action);
/* When core_next should be asked again although nothing happened; UINT64_MAX: never. */
uint64_t core_deadline(const struct core *c, uint64_t now_ms);

/* Does it lead, with rows given up that should have gone to outbox.held, which cannot be written (shed.h), or with
 * one that takes no room from others until it is there? Until
 * they are read again none of their topics and keys may pass, and what is in outbox.held may be later than they are. */
static inline bool core_gave_up(const struct core *c)
{
    return c->phase == CORE_LEAD && c->given_up_page != UINT64_MAX;
}

#endif
