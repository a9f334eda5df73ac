/* sim_world.h - a small PostgreSQL, a small Kafka and up to two relays around them, all driven by one seed:
 * what there is, and what its parts do for each other. test_sim.c runs the histories.
 *
 * The model is as hostile as the real parts are documented to be, and no more; each part says how hostile it
 * is: sim_kafka.c the broker, sim_database.c the tables, sim_requests.c the way to these, sim_relay.c the hands
 * of a relay, sim_life.c what happens when, sim_calm.c what must be so in the end. `oops` ends the history with a
 * text; the seed brings it back.
 */
#ifndef TESTS_CORE_SIM_WORLD_H
#define TESTS_CORE_SIM_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/core/core.h"
#include "lib/shared/retry.h"

enum {
    MAX_ROWS = 48,
    MAX_CAP = 24,
    MAX_RELAYS = 2,
    MAX_TOPICS = 3,
    MAX_KEYS = 4, /* per topic; key 0 is no key */
    N_PARTITIONS = 2,
    N_QUEUES = MAX_TOPICS * N_PARTITIONS,
    MAX_GHOSTS = 64,
    MAX_PAGES = MAX_CAP + 2,
    DRAIN_LIMIT_MS = 5000 /* beyond the drain's time, for the marks */
};

/* What outbox.held says of a row. */
enum db_held { DB_NOT, DB_RETRYING, DB_BLOCKED, DB_PAUSED, DB_SCHEDULED, DB_DEAD, DB_DISCARDED };

#define FOR_EVER UINT64_MAX
#define LAST_DUE_MS UINT32_C(1500) /* how much later than now a row may be scheduled */

struct sim_row {
    uint64_t hash;
    uint64_t poison_until_ms; /* refused until then */
    uint64_t due_ms;          /* not to be sent before; 0: at once */
    uint32_t bytes;
    uint64_t next_ms;         /* in held: when it is due; FOR_EVER: it is not */
    uint64_t revived_ms;      /* when a person last let it go again although it was dead; 0: never */
    uint32_t attempts;
    enum db_held held;
    uint8_t topic, key, queue;
    bool logged, marked, maybe;
    bool passed; /* later rows of its key are out, because it was dead or discarded */
};

enum entry_state { ENTRY_QUEUED, ENTRY_FLYING, ENTRY_WRITTEN, ENTRY_JUDGED };

struct entry {
    uint32_t slot, row, batch;
    enum entry_state state;
    enum outcome out;
    enum blame blame;
};

struct sim_lane {
    struct entry entry[MAX_CAP]; /* in the order of producing */
    uint32_t n, capacity, next_batch;
    bool fatal, fatal_told, resetting;
    bool stopped[N_QUEUES];
    bool known[N_QUEUES];     /* the broker has written something of this producer */
    bool started[N_QUEUES];   /* and we have heard of it */
    uint32_t first[N_QUEUES]; /* slot + 1 of the first record with a key, while it is out */
};

/* A request under way. `effected`: the database has done it. */
struct request {
    enum core_do what;
    uint64_t epoch;
    uint32_t n, cursor; /* cursor: to be saved, or loaded, or after the page */
    uint64_t bytes, page;
    uint32_t topic;
    uint64_t next_due_ms;
    bool open, effected, good;
    bool arrived; /* READ: the source has it, and its cursor is behind the page */
    bool fenced; /* the epoch had moved */
    uint32_t rows[MAX_CAP], slots[MAX_CAP];
    struct window_row as[MAX_CAP]; /* MARK and HOLD: what the core said of the row */
    bool freed[MAX_CAP];
    bool held_key[MAX_TOPICS][MAX_KEYS], held_topic[MAX_TOPICS]; /* ACQUIRE */
};

struct page_cursor {
    uint64_t page;
    uint32_t before;
};

struct relay {
    struct core core;
    struct sim_lane lane[N_LANES];
    struct request read, mark, lease;
    uint64_t epoch, incarnation;
    uint64_t promised_ms; /* what core_deadline said, good while not touched */
    uint64_t started_ms, stopped_ms;
    uint32_t pos, horizon; /* next row to read; where readers before may have stood */
    uint32_t n_visible_at_start;
    struct page_cursor page[MAX_PAGES]; /* where the reader stood before it; oldest first */
    uint32_t n_pages;
    uint32_t slot_row[MAX_CAP];
    bool slot_confirmed[MAX_CAP], slot_unordered[MAX_CAP];
    bool slot_maybe[MAX_CAP]; /* a send of it in this stay may have been written */
    bool link_up, frozen, touched, stopped, quiet_stop;
    bool tail, logged_then[MAX_ROWS]; /* it found the ends of the topics readable, and so read them */
};

struct ghost {
    uint64_t stream;
    uint32_t row;
    bool known; /* the broker knows the producer */
};

enum fault {
    FAULT_LINK,
    FAULT_TOPIC,
    FAULT_SILENCE,
    FAULT_KILL,
    FAULT_FREEZE,
    FAULT_STOP,
    FAULT_STALL,
    FAULT_PERSON,
    N_USUAL_FAULTS,
    FAULT_PRODUCER = N_USUAL_FAULTS, /* these in one history of eight, so that the others stay what they were */
    FAULT_READ,
    FAULT_HELD,
    FAULT_RELOAD,
    N_FAULTS
};

enum count {
    N_HISTORIES, N_STEPS, N_READS, N_PRODUCED, N_LOGGED, N_DUPLICATES, N_MARKED, N_CHAOS_MARKED,
    N_REFUSED, N_MAYBE, N_TOPIC_FAILED, N_COLD, N_FULL, N_RESETS, N_RESETS_FAILED, N_LINKS_LOST,
    N_LEASES_LOST, N_MARKS_FAILED, N_KILLED, N_FROZEN, N_GHOSTS, N_STOPPED, N_QUITS, N_UNCLEAN,
    N_ONCE_CLEAN, N_HELD_RETRYING, N_HELD_BLOCKED, N_HELD_PAUSED, N_HELD_SCHEDULED, N_HELD_DEAD,
    N_FREED, N_CAME_BACK, N_STALLED, N_FENCED, N_PERSON, N_BROKEN, N_MAYBE_HELD,
    N_READS_FAILED, N_GIVEN_UP, N_RELOADED, N_COUNTS
};

struct world {
    uint64_t seed, rng, now, end_ms; /* end_ms: liveness must be there by then */
    struct core_config cfg;
    struct sim_row row[MAX_ROWS];
    uint32_t waiting_for; /* a row that is not settled */
    uint32_t n_rows, n_visible, n_topics, n_keys, n_relays;
    uint64_t missing_until_ms[MAX_TOPICS], silent_until_ms;
    uint64_t reads_fail_until_ms[3]; /* CORE_READ, CORE_READ_DUE, CORE_READ_TOPIC */
    uint64_t held_fails_until_ms; /* nothing can be put into outbox.held, as while somebody has locked it */
    bool held_lets_go; /* but what is there can leave it */
    uint64_t breaking_until_ms[MAX_TOPICS]; /* its batches break the producer that sends them */
    uint64_t stalled_until_ms[N_QUEUES];
    struct {
        uint64_t owner, epoch, expires_ms;
        uint32_t cursor;
    } db;
    struct relay relay[MAX_RELAYS];
    struct ghost ghost[MAX_GHOSTS];
    uint32_t n_ghosts;
    uint64_t next_incarnation, next_stream;
    uint32_t percent_bad; /* how often a statement or a batch goes wrong */
    bool may_happen[N_FAULTS];
    bool collide; /* keys of two topics have one hash */
    bool unusual; /* all faults, not only the usual ones */
    bool crowded; /* one topic takes nothing in the end, held neither, and the window is small */
    bool narrow; /* one topic that comes and goes, many rows refused for a time, nothing else */
    bool calm, trace;
    uint64_t *count;
    jmp_buf oops;
    char why[256];
};

/* -- chance --------------------------------------------------------------------------------- */

static inline uint32_t rnd(struct world *w, uint32_t n)
{
    return (uint32_t)(((uint64_t)retry_random(&w->rng) * n) >> 32);
}

static inline bool percent(struct world *w, uint32_t p)
{
    return rnd(w, 100) < p;
}

static inline bool goes_wrong(struct world *w)
{
    return !w->calm && percent(w, w->percent_bad);
}

/* -- words (sim_world.c) -------------------------------------------------------------------- */

extern const char *const count_names[N_COUNTS];
extern const char *const lane_names[N_LANES];
extern const char *const outcome_names[], *const blame_names[], *const request_names[], *const hold_names[];

_Noreturn void oops(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void print_line(const struct world *w, const struct relay *r, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define SAY(w, ...) ((w)->trace ? print_line((w), __VA_ARGS__) : (void)0)

/* How the core is told of a key; two topics may have one for theirs. */
uint64_t hash_of(const struct world *w, uint32_t topic, uint32_t key);

/* -- Kafka (sim_kafka.c) -------------------------------------------------------------------- */

/* A batch of a producer that is gone reaches the broker at last; false: there is none. */
bool ghost_arrives(struct world *w);
/* Does the broker refuse the row, or say that it has no such topic? */
bool refused(const struct world *w, uint32_t row);
bool missing(const struct world *w, uint32_t row);
/* What the producer and the broker do by themselves, one step of it; false when there is nothing. */
bool launch(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue);
bool arrive(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue);
bool answer_produce(struct world *w, struct sim_lane *l, uint32_t queue);
bool give_back_queued(struct sim_lane *l);
bool kafka_moves(struct world *w, struct relay *r, enum lane lane);
/* The connection is cut: what flies is written now, or later, or never; per queue a prefix. */
void purge(struct world *w, struct sim_lane *l);
/* The lane has the record of CORE_PRODUCE. */
void take(struct world *w, struct sim_lane *l, const struct core_action *a, uint32_t row);

/* -- the database (sim_database.c) ---------------------------------------------------------- */

uint32_t first_unsettled(const struct world *w);
bool same_group(const struct sim_row *a, const struct sim_row *b);
/* Does the row, in held, hold back later ones of its key? */
bool counts(const struct world *w, const struct sim_row *r);
/* The first row of the group is due, if it was only waiting for others. */
void promote(struct world *w, const struct sim_row *r);
void effect(struct world *w, struct relay *r, struct request *q);

/* -- requests to it (sim_requests.c) -------------------------------------------------------- */

void ask(struct world *w, struct relay *r, struct request *q, const struct core_action *a);
/* MARK and HOLD. */
void do_write(struct world *w, struct relay *r, const struct core_action *a);
/* One request goes one step on: it takes effect, or it is answered. */
bool database_moves(struct world *w, struct relay *r, struct request *q);
/* What was under way is done or not, and nobody hears of it. */
void lose_requests(struct world *w, struct relay *r);
void set_link(struct world *w, struct relay *r, bool up);

/* -- a relay (sim_relay.c) ------------------------------------------------------------------ */

/* Something happened to it: what its core said of the next deadline is no longer good. */
static inline void touch(struct relay *r)
{
    r->touched = true;
}

void start_relay(struct world *w, struct relay *r, bool once);
void stop_relay(struct world *w, struct relay *r);
/* Its settings are as w->cfg now says. */
void reload_relay(struct world *w, struct relay *r);
/* As by kill -9; another one starts in its place. */
void replace_relay(struct world *w, struct relay *r);
/* Asks the core until it has nothing left to do, as the driver does after every event. True: there
 * was something. */
bool pump(struct world *w, struct relay *r);
void check_step(struct world *w, const struct relay *r);
/* What its lanes tell it, one thing at a time; false when there is nothing. */
bool report_one(struct world *w, struct relay *r, enum lane lane);
bool tell_fatal(struct world *w, struct relay *r, enum lane lane);
bool finish_reset(struct world *w, struct relay *r, enum lane lane);

/* -- its end (sim_calm.c) ------------------------------------------------------------------- */

void calm_down(struct world *w);
void stop_all(struct world *w);

/* -- a history (sim_life.c) ----------------------------------------------------------------- */

/* The next deadline that a core gave. */
uint64_t next_deadline(const struct world *w);
void live(struct world *w);

#endif
