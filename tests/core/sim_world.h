/* sim_world.h - a small PostgreSQL, a small Kafka and up to two relays around them, all driven by
 * one seed. Included by test_sim.c only, which decides what happens when.
 *
 * The model is as hostile as the real parts are documented to be, and no more:
 *   table    rows become visible in the order in which they are read; a read starts at the reader's
 *            position and leaves out what is marked or held; a loaded cursor is the position of the
 *            reader. outbox.held is a state per row; what is written there carries the epoch.
 *   database one request of each kind under way per relay; a request takes effect at some time and
 *            is answered at some later time; a lost link loses the answer, and the effect or not.
 *   Kafka    per lane and partition a FIFO of batches. In the main lane nothing is written behind a
 *            refused batch and the producer is dead (but what flies behind the first batch of a
 *            producer in a partition is written whatever became of that one); the solo lane has one
 *            record per batch. What is purged in flight may have been written, or is written later
 *            (a ghost), or never.
 * `oops` ends the history with a text; the seed brings it back.
 */
#ifndef TESTS_CORE_SIM_WORLD_H
#define TESTS_CORE_SIM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "relay/core/core.h"
#include "lib/shared/retry.h"
#include "tests/core/invariants.h"

enum {
    MAX_ROWS = 48,
    MAX_CAP = 24,
    MAX_RELAYS = 2,
    MAX_TOPICS = 3,
    MAX_KEYS = 4, /* per topic; key 0 is no key */
    N_PARTITIONS = 2,
    N_QUEUES = MAX_TOPICS * N_PARTITIONS,
    MAX_GHOSTS = 64,
    MAX_PAGES = MAX_CAP + 2
};

/* What outbox.held says of a row. */
enum db_held { DB_NOT, DB_RETRYING, DB_BLOCKED, DB_PAUSED, DB_SCHEDULED, DB_DEAD, DB_DISCARDED };

#define FOR_EVER UINT64_MAX

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
    N_FAULTS
};

enum count {
    N_HISTORIES, N_STEPS, N_READS, N_PRODUCED, N_LOGGED, N_DUPLICATES, N_MARKED, N_CHAOS_MARKED,
    N_REFUSED, N_MAYBE, N_TOPIC_FAILED, N_COLD, N_FULL, N_RESETS, N_RESETS_FAILED, N_LINKS_LOST,
    N_LEASES_LOST, N_MARKS_FAILED, N_KILLED, N_FROZEN, N_GHOSTS, N_STOPPED, N_UNCLEAN,
    N_ONCE_CLEAN, N_HELD_RETRYING, N_HELD_BLOCKED, N_HELD_PAUSED, N_HELD_SCHEDULED, N_HELD_DEAD,
    N_FREED, N_CAME_BACK, N_STALLED, N_FENCED, N_PERSON, N_BROKEN, N_MAYBE_HELD,
    N_READS_FAILED, N_COUNTS
};

static const char *const count_names[N_COUNTS] = {
    "histories", "steps", "reads", "produced", "logged", "duplicates", "marked",
    "of them before the calm", "refused", "maybe", "topic failed", "partition cold", "queue full",
    "resets", "failed resets", "links lost", "leases lost", "failed marks", "kills", "freezes",
    "ghosts", "stops", "unclean ends", "clean once", "held retrying", "held blocked",
    "held paused", "held scheduled", "held dead", "keys freed", "rows back from held", "stalls",
    "holds fenced", "retried or discarded by a person", "producers broken by a topic",
    "maybe and held", "failed reads"
};

struct world {
    uint64_t seed, rng, now, end_ms; /* end_ms: liveness must be there by then */
    struct core_config cfg;
    struct sim_row row[MAX_ROWS];
    uint32_t waiting_for; /* a row that is not settled */
    uint32_t n_rows, n_visible, n_topics, n_keys, n_relays;
    uint64_t missing_until_ms[MAX_TOPICS], silent_until_ms;
    uint64_t reads_fail_until_ms[3]; /* CORE_READ, CORE_READ_DUE, CORE_READ_TOPIC */
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
    bool narrow; /* one topic that comes and goes, many rows refused for a time, nothing else */
    bool calm, trace;
    uint64_t *count;
    jmp_buf oops;
    char why[256];
};

/* -- chance and words ----------------------------------------------------------------------- */

static uint32_t rnd(struct world *w, uint32_t n)
{
    return (uint32_t)(((uint64_t)retry_random(&w->rng) * n) >> 32);
}

static bool percent(struct world *w, uint32_t p)
{
    return rnd(w, 100) < p;
}

static bool goes_wrong(struct world *w)
{
    return !w->calm && percent(w, w->percent_bad);
}

static _Noreturn void oops(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static _Noreturn void oops(struct world *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(w->why, sizeof w->why, format, args);
    va_end(args);
    longjmp(w->oops, 1);
}

static void print_line(const struct world *w, const struct relay *r, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void print_line(const struct world *w, const struct relay *r, const char *format, ...)
{
    va_list args;

    printf("[%llu] ", (unsigned long long)w->now);
    if (r != NULL)
        printf("relay %llu: ", (unsigned long long)r->incarnation);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

#define SAY(w, ...) ((w)->trace ? print_line((w), __VA_ARGS__) : (void)0)

static const char *const lane_names[N_LANES] = { "main", "solo" };
static const char *const outcome_names[] = { "persisted", "not persisted", "maybe" };
static const char *const blame_names[] = { "", ", producer", ", row", ", topic" };
static const char *const request_names[] = { "read", "read due", "read topic", "produce", "mark",
                                             "hold", "release", "reset", "ask kafka", "acquire",
                                             "renew", "resign", "sweep" };
static const char *const hold_names[] = { "retrying", "blocked", "paused", "scheduled", "dead" };

/* -- the log -------------------------------------------------------------------------------- */

static void append(struct world *w, uint32_t row)
{
    struct sim_row *r = &w->row[row];

    SAY(w, NULL, "  log: row %u%s", row, r->logged ? " again" : "");
    w->count[r->logged ? N_DUPLICATES : N_LOGGED]++;
    if (r->logged)
        return;
    r->logged = true;
    if (w->now < r->due_ms)
        oops(w, "row %u is in the log before its time", row);
    if (r->key == 0 || r->due_ms > 0)
        return;
    for (uint32_t i = 0; i < w->n_rows; i++) {
        struct sim_row *o = &w->row[i];
        if (o->topic != r->topic || o->key != r->key || o->due_ms > 0)
            continue;
        if (i > row && o->logged && !r->passed)
            oops(w, "row %u is in the log after row %u of its key", row, i);
        if (i >= row || o->logged)
            continue;
        if (o->held != DB_DISCARDED && !(o->held == DB_DEAD && w->cfg.skip_poison) && !o->passed)
            oops(w, "row %u is in the log before row %u of its key, held as %d", row, i, (int)o->held);
        o->passed = true;
    }
}

static bool refused(const struct world *w, uint32_t row)
{
    return w->now < w->row[row].poison_until_ms;
}

static bool missing(const struct world *w, uint32_t row)
{
    return w->now < w->missing_until_ms[w->row[row].topic];
}

static bool breaks(const struct world *w, uint32_t row)
{
    return w->now < w->breaking_until_ms[w->row[row].topic];
}

/* A batch of a producer that is gone reaches the broker at last. */
static bool ghost_arrives(struct world *w)
{
    struct ghost g = w->ghost[0];
    uint32_t n = 0;

    if (w->n_ghosts == 0 || w->now < w->silent_until_ms)
        return false;
    memmove(w->ghost, w->ghost + 1, --w->n_ghosts * sizeof w->ghost[0]);
    w->count[N_GHOSTS]++;
    if (!refused(w, g.row) && !missing(w, g.row) && !breaks(w, g.row)) {
        SAY(w, NULL, "ghost of row %u", g.row);
        append(w, g.row);
        for (uint32_t i = 0; i < w->n_ghosts; i++)
            w->ghost[i].known |= w->ghost[i].stream == g.stream;
        return true;
    }
    for (uint32_t i = 0; i < w->n_ghosts; i++) /* the sequence is broken: the rest is refused */
        if (!g.known || w->ghost[i].stream != g.stream)
            w->ghost[n++] = w->ghost[i];
    w->n_ghosts = n;
    return true;
}

/* -- Kafka ---------------------------------------------------------------------------------- */

static void judge(struct entry *e, enum outcome out, enum blame blame)
{
    e->state = ENTRY_JUDGED;
    e->out = out;
    e->blame = blame;
}

static void judge_queue(struct world *w, struct sim_lane *l, uint32_t queue, enum outcome out,
                        enum blame blame)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (w->row[l->entry[i].row].queue == queue && l->entry[i].state <= ENTRY_FLYING)
            judge(&l->entry[i], out, blame);
}

static uint32_t queue_depth(struct world *w, const struct sim_lane *l, uint32_t queue,
                            enum entry_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < l->n; i++)
        n += w->row[l->entry[i].row].queue == queue && l->entry[i].state == state;
    return n;
}

/* A new batch of the queue goes out. */
static bool launch(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue)
{
    uint32_t max = main_lane ? 1 + rnd(w, 4) : 1, n = 0;

    if (l->fatal || w->now < w->stalled_until_ms[queue] || queue_depth(w, l, queue, ENTRY_FLYING) >= 8)
        return false;
    for (uint32_t i = 0; i < l->n && n < max; i++) {
        struct entry *e = &l->entry[i];
        if (w->row[e->row].queue != queue || e->state != ENTRY_QUEUED)
            continue;
        e->state = ENTRY_FLYING;
        e->batch = l->next_batch;
        n++;
    }
    l->next_batch += n > 0;
    return n > 0;
}

/* What the broker and the client make of one batch. */
static void judge_batch(struct world *w, struct sim_lane *l, bool main_lane, struct entry *const *e,
                        uint32_t n, uint32_t queue)
{
    enum outcome out = OUTCOME_PERSISTED;
    enum blame blame = BLAME_NONE;
    bool written = true, slow = !w->calm && percent(w, 50);

    for (uint32_t i = 0; i < n; i++)
        if (refused(w, e[i]->row))
            out = OUTCOME_NOT_PERSISTED;
    if (n > 1 && goes_wrong(w))
        out = OUTCOME_NOT_PERSISTED; /* too large as a batch: nobody's fault */
    if (out == OUTCOME_NOT_PERSISTED) {
        blame = BLAME_ROW;
        written = false;
        w->count[N_REFUSED] += n;
    } else if (goes_wrong(w)) {
        out = OUTCOME_MAYBE;
        written = percent(w, 50);
        w->count[N_MAYBE] += n;
    }
    l->known[queue] |= written;
    if (main_lane && out != OUTCOME_PERSISTED) {
        l->fatal = true;
        l->stopped[queue] = l->known[queue];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (written)
            append(w, e[i]->row);
        if (written && out == OUTCOME_PERSISTED && slow)
            e[i]->state = ENTRY_WRITTEN;
        else
            judge(e[i], out, blame);
    }
}

/* What the broker keeps of the producer in this partition is wrong, and the client believes no word of it any
 * more. */
static void judge_broken(struct world *w, struct sim_lane *l, struct entry *const *e, uint32_t n,
                         uint32_t queue)
{
    w->count[N_BROKEN]++;
    l->fatal = l->stopped[queue] = true;
    for (uint32_t i = 0; i < n; i++)
        judge(e[i], OUTCOME_MAYBE, BLAME_PRODUCER);
}

/* The broker looks at the oldest batch of the queue. */
static bool arrive(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue)
{
    struct entry *batch[MAX_CAP];
    uint32_t n = 0;

    if (w->now < w->stalled_until_ms[queue])
        return false;
    for (uint32_t i = 0; i < l->n; i++) {
        struct entry *e = &l->entry[i];
        if (w->row[e->row].queue == queue && e->state == ENTRY_FLYING &&
            (n == 0 || e->batch == batch[0]->batch))
            batch[n++] = e;
    }
    if (n == 0)
        return false;
    if (l->stopped[queue]) {
        judge_queue(w, l, queue, OUTCOME_NOT_PERSISTED, BLAME_NONE);
    } else if (missing(w, batch[0]->row)) {
        w->count[N_TOPIC_FAILED]++;
        judge_queue(w, l, queue, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
        if (main_lane && !w->calm && percent(w, 30))
            l->fatal = l->stopped[queue] = true; /* not authorised, say */
    } else if (breaks(w, batch[0]->row)) {
        judge_broken(w, l, batch, n, queue);
    } else {
        judge_batch(w, l, main_lane, batch, n, queue);
    }
    return true;
}

static bool answer_produce(struct world *w, struct sim_lane *l, uint32_t queue)
{
    bool any = false;

    for (uint32_t i = 0; i < l->n; i++)
        if (w->row[l->entry[i].row].queue == queue && l->entry[i].state == ENTRY_WRITTEN) {
            judge(&l->entry[i], OUTCOME_PERSISTED, BLAME_NONE);
            any = true;
        }
    return any;
}

/* A dead producer gives back what it has not sent. */
static bool give_back_queued(struct sim_lane *l)
{
    bool any = false;

    for (uint32_t i = 0; i < l->n; i++)
        if (l->entry[i].state == ENTRY_QUEUED) {
            judge(&l->entry[i], OUTCOME_NOT_PERSISTED, BLAME_NONE);
            any = true;
        }
    return any;
}

/* The connection is cut: what flies is written now, or later, or never; per queue a prefix. */
static void purge(struct world *w, struct sim_lane *l)
{
    uint64_t stream = w->next_stream;

    w->next_stream += N_QUEUES;
    give_back_queued(l);
    for (uint32_t i = 0; i < l->n; i++) {
        struct entry *e = &l->entry[i];
        uint32_t queue = w->row[e->row].queue;
        bool bad = refused(w, e->row) || missing(w, e->row) || breaks(w, e->row);
        bool ghostly = false;
        if (e->state == ENTRY_JUDGED)
            continue;
        for (uint32_t g = 0; g < w->n_ghosts; g++)
            ghostly |= w->ghost[g].stream == stream + queue;
        if (e->state == ENTRY_FLYING && !l->stopped[queue]) {
            if (!ghostly && !bad && w->now >= w->silent_until_ms &&
                w->now >= w->stalled_until_ms[queue] && percent(w, 30))
                append(w, e->row);
            else if (w->n_ghosts < MAX_GHOSTS && percent(w, 60))
                w->ghost[w->n_ghosts++] =
                    (struct ghost){ stream + queue, e->row, l->known[queue] };
            else
                l->stopped[queue] = true;
        }
        judge(e, OUTCOME_MAYBE, BLAME_NONE);
    }
}

/* Something that the producer and the broker do by themselves; false when there is nothing. */
static bool kafka_moves(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];
    uint32_t n_queues = w->n_topics * N_PARTITIONS, first = rnd(w, n_queues), what = rnd(w, 3);
    bool moved = false;

    if (l->n == 0 || l->resetting || w->now < w->silent_until_ms)
        return false;
    if (l->fatal && percent(w, 30))
        return give_back_queued(l);
    for (uint32_t i = 0; i < n_queues * 3 && !moved; i++) {
        uint32_t queue = (first + i / 3) % n_queues;
        switch ((what + i) % 3) {
        case 0:
            moved = launch(w, l, lane == LANE_MAIN, queue);
            break;
        case 1:
            moved = arrive(w, l, lane == LANE_MAIN, queue);
            break;
        case 2:
            moved = answer_produce(w, l, queue);
            break;
        }
    }
    return moved;
}

/* -- the relay's hands ---------------------------------------------------------------------- */

static void touch(struct relay *r)
{
    r->touched = true;
}

static void report(struct world *w, struct relay *r, uint32_t slot, enum outcome out,
                   enum blame blame)
{
    SAY(w, r, "report row %u %s%s", r->slot_row[slot], outcome_names[out], blame_names[blame]);
    r->slot_confirmed[slot] = out == OUTCOME_PERSISTED;
    r->slot_maybe[slot] |= out == OUTCOME_MAYBE;
    for (int i = 0; i < N_LANES; i++) {
        uint32_t *first = &r->lane[i].first[w->row[r->slot_row[slot]].queue];
        if (*first == slot + 1)
            *first = 0;
    }
    touch(r);
    core_report(&r->core, w->now, slot, out, blame);
}

static bool report_one(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];
    uint32_t first = l->n > 0 ? rnd(w, l->n) : 0;

    for (uint32_t i = 0; i < l->n; i++) {
        uint32_t at = (first + i) % l->n;
        struct entry e = l->entry[at];
        if (e.state != ENTRY_JUDGED)
            continue;
        memmove(&l->entry[at], &l->entry[at + 1], (--l->n - at) * sizeof e);
        l->started[w->row[e.row].queue] |= e.out == OUTCOME_PERSISTED;
        report(w, r, e.slot, e.out, e.blame);
        return true;
    }
    return false;
}

static bool tell_fatal(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];

    if (!l->fatal || l->fatal_told)
        return false;
    SAY(w, r, "%s lane is fatal", lane_names[lane]);
    l->fatal_told = true;
    touch(r);
    core_lane_fatal(&r->core, lane);
    return true;
}

static bool finish_reset(struct world *w, struct relay *r, enum lane lane)
{
    struct sim_lane *l = &r->lane[lane];
    bool ok = w->calm || percent(w, 80);

    if (!l->resetting || l->n > 0)
        return false;
    SAY(w, r, "%s lane is %s", lane_names[lane], ok ? "new" : "not to be made");
    w->count[N_RESETS_FAILED] += !ok;
    l->resetting = false;
    l->fatal = !ok;
    l->fatal_told = !ok;
    memset(l->stopped, 0, sizeof l->stopped);
    memset(l->known, 0, sizeof l->known);
    memset(l->started, 0, sizeof l->started);
    touch(r);
    core_lane_ready(&r->core, w->now, lane, ok);
    return true;
}

/* The client knows the topic again only after it has told all failures of it. */
static bool topic_is_failing(const struct world *w, const struct sim_lane *l, uint32_t queue)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->entry[i].state == ENTRY_JUDGED && l->entry[i].blame == BLAME_TOPIC &&
            w->row[l->entry[i].row].queue == queue)
            return true;
    return false;
}

static void take(struct world *w, struct sim_lane *l, const struct core_action *a, uint32_t row)
{
    uint32_t queue = w->row[row].queue;
    bool failing = topic_is_failing(w, l, queue);

    l->entry[l->n] = (struct entry){ .slot = a->slot, .row = row, .state = ENTRY_QUEUED };
    if (failing)
        judge(&l->entry[l->n], OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
    if (a->lane == LANE_MAIN && w->row[row].key != 0 && !l->started[queue])
        l->first[queue] = a->slot + 1;
    l->n++;
}

static void do_produce(struct world *w, struct relay *r, const struct core_action *a)
{
    struct sim_lane *l = &r->lane[a->lane];
    uint32_t row = r->slot_row[a->slot];
    for (uint32_t sl = 0; sl < r->core.window.cap; sl++)
        if (r->core.window.row[sl].state != ROW_FREE && w->row[r->slot_row[sl]].passed)
            r->slot_unordered[sl] = true;
    const char *broken = produce_broken(&r->core, a->slot, a->lane, r->slot_row, r->slot_unordered);

    SAY(w, r, "produce row %u, %s lane", row, lane_names[a->lane]);
    w->count[N_PRODUCED]++;
    touch(r);
    if (w->row[row].key != 0 && l->first[w->row[row].queue] != 0) {
        SAY(w, r, "  cold");
        w->count[N_COLD]++;
        core_cold(&r->core, a->slot);
        return;
    }
    if (broken != NULL)
        oops(w, "row %u: %s", row, broken);
    if (l->fatal) {
        /* that the producer is dead is told later */
        report(w, r, a->slot, OUTCOME_NOT_PERSISTED, BLAME_NONE);
    } else if (l->n >= l->capacity) {
        SAY(w, r, "  full");
        w->count[N_FULL]++;
        core_full(&r->core, a->slot);
    } else if (missing(w, row) && percent(w, 50)) {
        report(w, r, a->slot, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
    } else if (refused(w, row) && percent(w, 30)) {
        SAY(w, r, "  refused");
        core_refused(&r->core, w->now, a->slot, row % 16 == 5);
    } else {
        take(w, l, a, row);
    }
}

/* -- the database --------------------------------------------------------------------------- */

static uint32_t first_unsettled(const struct world *w)
{
    uint32_t i = 0;

    while (i < w->n_visible && (w->row[i].marked || w->row[i].held != DB_NOT))
        i++;
    return i;
}

static bool same_group(const struct sim_row *a, const struct sim_row *b)
{
    return a->key != 0 && a->topic == b->topic && a->key == b->key;
}

/* Does the row, in held, hold back later ones of its key? */
static bool counts(const struct world *w, const struct sim_row *r)
{
    return r->held == DB_RETRYING || r->held == DB_BLOCKED ||
           (r->held == DB_DEAD && !w->cfg.skip_poison);
}

/* The first row of the group that counts, or NULL. */
static struct sim_row *first_of_group(struct world *w, const struct sim_row *r)
{
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (same_group(r, &w->row[i]) && counts(w, &w->row[i]))
            return &w->row[i];
    return NULL;
}

static void promote(struct world *w, const struct sim_row *r)
{
    struct sim_row *first = first_of_group(w, r);

    if (first != NULL && first->held == DB_BLOCKED && first->next_ms == FOR_EVER)
        first->next_ms = w->now;
}

/* As the source does it: what is older than `page` is forgotten. */
static uint32_t cursor_before(struct world *w, struct relay *r, uint64_t page)
{
    uint32_t n = 0, cursor;

    while (n < r->n_pages && r->page[n].page < page)
        n++;
    r->n_pages -= n;
    memmove(r->page, r->page + n, r->n_pages * sizeof r->page[0]);
    cursor = r->n_pages > 0 ? r->page[0].before : r->pos;
    if (cursor > first_unsettled(w))
        oops(w, "the cursor is to be saved at row %u, but row %u is not marked", cursor,
             first_unsettled(w));
    return cursor;
}

static void remember_page(struct world *w, struct relay *r, uint64_t page)
{
    if (r->n_pages > 0 && r->page[r->n_pages - 1].page == page)
        return;
    if (r->n_pages > 0 && r->page[r->n_pages - 1].page > page)
        oops(w, "page numbers go back");
    if (r->n_pages == MAX_PAGES)
        r->page[MAX_PAGES - 1].page = page; /* coarser: before two pages at once */
    else
        r->page[r->n_pages++] = (struct page_cursor){ page, r->pos };
}

static void ask(struct world *w, struct relay *r, struct request *q, const struct core_action *a)
{
    if (!r->link_up || q->open)
        oops(w, "%s asked while the link is down or one is under way", request_names[a->what]);
    q->what = a->what;
    q->open = true;
    q->effected = q->arrived = false;
    q->good = true;
    q->n = a->n;
    q->bytes = a->bytes;
    q->page = a->page;
    q->epoch = r->epoch;
    q->topic = a->topic;
    q->fenced = false;
    q->cursor = 0;
    if (a->what == CORE_RENEW || a->what == CORE_RESIGN)
        q->cursor = cursor_before(w, r, a->page);
    SAY(w, r, "%s %u", request_names[a->what],
        a->what == CORE_RENEW || a->what == CORE_RESIGN ? q->cursor : a->n);
}

/* MARK and HOLD. */
static void do_write(struct world *w, struct relay *r, const struct core_action *a)
{
    ask(w, r, &r->mark, a);
    if (a->n == 0)
        oops(w, "%s of nothing", request_names[a->what]);
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t row = r->slot_row[a->slots[i]];
        const struct window_row *as = &r->core.window.row[a->slots[i]];
        SAY(w, r, "  %s row %u%s%s", request_names[a->what], row,
            a->what == CORE_HOLD ? " as " : "", a->what == CORE_HOLD ? hold_names[as->hold] : "");
        r->mark.rows[i] = row;
        r->mark.slots[i] = a->slots[i];
        r->mark.as[i] = *as;
        r->mark.freed[i] = false;
        if (a->what == CORE_MARK && (!r->slot_confirmed[a->slots[i]] || !w->row[row].logged))
            oops(w, "mark of row %u, which was not confirmed", row);
        if (a->what == CORE_HOLD && r->slot_confirmed[a->slots[i]])
            oops(w, "hold of row %u, which was confirmed", row);
    }
}

static void effect_lease(struct world *w, struct relay *r)
{
    struct request *q = &r->lease;
    bool mine = w->db.owner == r->incarnation &&
                (q->what == CORE_ACQUIRE || w->db.epoch == q->epoch);
    bool free_now = w->db.owner == 0 || w->now >= w->db.expires_ms;

    q->good = mine || (q->what == CORE_ACQUIRE && free_now);
    if (!q->good)
        return;
    if (q->what == CORE_ACQUIRE) {
        w->db.owner = r->incarnation;
        q->epoch = ++w->db.epoch;
        q->cursor = w->db.cursor;
        memset(q->held_key, 0, sizeof q->held_key);
        memset(q->held_topic, 0, sizeof q->held_topic);
        for (uint32_t i = 0; i < w->n_rows; i++) {
            const struct sim_row *o = &w->row[i];
            if (o->key != 0 && counts(w, o))
                q->held_key[o->topic][o->key] = true;
            if (o->held == DB_PAUSED)
                q->held_topic[o->topic] = true;
        }
    } else {
        w->db.cursor = q->cursor;
    }
    w->db.expires_ms = w->now + w->cfg.lease_ttl_ms;
    if (q->what == CORE_RESIGN)
        w->db.owner = 0;
}

static void effect_read(struct world *w, struct relay *r)
{
    struct request *q = &r->read;
    uint32_t max = q->n, at = r->pos;
    uint64_t bytes = 0;

    if (max == 0 || max > MAX_CAP)
        oops(w, "read of %u rows", max);
    for (q->n = 0; at < w->n_visible && q->n < max && (q->n == 0 || bytes < q->bytes); at++) {
        if (w->row[at].marked || w->row[at].held != DB_NOT)
            continue;
        q->rows[q->n++] = at;
        bytes += w->row[at].bytes;
    }
    q->cursor = at;
    q->good = at == w->n_visible; /* nothing more */
    if (at < r->horizon && percent(w, 30))
        q->good = true; /* short, but still catching up */
}

static bool is_due(const struct world *w, const struct sim_row *r)
{
    return r->held != DB_NOT && r->next_ms <= w->now;
}

/* May the row, which is in held, be sent now? For a key: when every row of the group before it may. */
static bool may_go(struct world *w, uint32_t at)
{
    const struct sim_row *r = &w->row[at];
    bool due = false;

    if (r->held == DB_SCHEDULED || (r->held == DB_RETRYING && r->key == 0))
        return is_due(w, r);
    if (r->held != DB_RETRYING && r->held != DB_BLOCKED)
        return false;
    for (uint32_t i = 0; i < w->n_rows; i++) {
        const struct sim_row *o = &w->row[i];
        if (!same_group(r, o) || !counts(w, o))
            continue;
        due |= is_due(w, o);
        if (i <= at && (o->held == DB_DEAD || (o->held == DB_RETRYING && !is_due(w, o))))
            return false;
    }
    return due;
}

static void effect_read_held(struct world *w, struct relay *r)
{
    struct request *q = &r->read;
    uint32_t max = q->n;
    uint64_t bytes = 0;

    if (max == 0 || max > MAX_CAP)
        oops(w, "read of %u rows", max);
    q->next_due_ms = FOR_EVER;
    for (uint32_t i = 0; i < w->n_rows; i++) { /* in sent: it counts as sent */
        if (!w->row[i].marked || !is_due(w, &w->row[i]))
            continue;
        w->row[i].held = DB_NOT;
        promote(w, &w->row[i]);
    }
    q->good = true;
    q->n = 0;
    for (uint32_t i = 0; i < w->n_rows && q->good; i++) {
        if (q->what == CORE_READ_TOPIC ? w->row[i].held != DB_PAUSED || w->row[i].topic != q->topic
                                       : !may_go(w, i))
            continue;
        q->good = q->n < max && (q->n == 0 || bytes < q->bytes);
        if (q->good) {
            q->rows[q->n++] = i;
            bytes += w->row[i].bytes;
        }
    }
    for (uint32_t i = 0; i < w->n_rows; i++)
        if (w->row[i].held != DB_NOT && w->row[i].next_ms > w->now &&
            w->row[i].next_ms - w->now < q->next_due_ms)
            q->next_due_ms = w->row[i].next_ms - w->now;
}

static void effect_mark(struct world *w, struct request *q)
{
    for (uint32_t i = 0; i < q->n; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        w->count[N_MARKED] += !o->marked;
        o->marked = true;
        if (q->as[i].from != HELD_NOT)
            o->held = DB_NOT;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        if (q->as[i].from == HELD_NOT || o->key == 0)
            continue;
        promote(w, o);
        q->freed[i] = first_of_group(w, o) == NULL;
        w->count[N_FREED] += q->freed[i];
    }
}

static void hold(struct world *w, struct sim_row *o, const struct window_row *as)
{
    static const enum db_held state[] = { DB_RETRYING, DB_BLOCKED, DB_PAUSED, DB_SCHEDULED, DB_DEAD };

    if (o->held == DB_DISCARDED)
        return;
    w->count[N_HELD_RETRYING + as->hold]++;
    o->held = state[as->hold];
    o->attempts = as->attempts;
    o->maybe |= as->maybe;
    o->next_ms = as->hold == HOLD_RETRYING    ? w->now + as->delay_ms
                 : as->hold == HOLD_SCHEDULED ? o->due_ms
                                              : FOR_EVER;
}

static void effect_hold(struct world *w, struct relay *r)
{
    struct request *q = &r->mark;

    q->fenced = w->db.epoch != r->epoch;
    w->count[N_FENCED] += q->fenced;
    for (uint32_t i = 0; i < q->n && !q->fenced; i++)
        if (!w->row[q->rows[i]].marked)
            hold(w, &w->row[q->rows[i]], &q->as[i]);
    for (uint32_t i = 0; i < q->n && !q->fenced; i++) {
        struct sim_row *o = &w->row[q->rows[i]];
        if (o->held == DB_BLOCKED && q->as[i].hold == HOLD_BLOCKED && first_of_group(w, o) == o)
            o->next_ms = w->now;
        if (q->as[i].hold != HOLD_DEAD || !w->cfg.skip_poison || o->key == 0)
            continue;
        promote(w, o);
        q->freed[i] = first_of_group(w, o) == NULL;
    }
}

static void effect_sweep(struct world *w)
{
    for (uint32_t i = 0; i < w->db.cursor; i++)
        if (!w->row[i].marked && w->row[i].held == DB_NOT)
            oops(w, "row %u is behind the cursor and neither marked nor held", i);
}

static void effect(struct world *w, struct relay *r, struct request *q)
{
    if (q->effected)
        return;
    q->effected = true;
    if (q->what == CORE_READ)
        effect_read(w, r);
    else if (q == &r->read)
        effect_read_held(w, r);
    else if (q == &r->lease)
        effect_lease(w, r);
    else if (q->what == CORE_MARK)
        effect_mark(w, q);
    else if (q->what == CORE_HOLD)
        effect_hold(w, r);
    else
        effect_sweep(w);
}

static uint64_t hash_of(const struct world *w, uint32_t topic, uint32_t key)
{
    uint64_t hash = w->collide ? key : (uint64_t)topic * MAX_KEYS + key + 1;

    return key == 0 ? 0 : hash * UINT64_C(0x9e3779b97f4a7c15);
}

/* The source has the page. Whether the core may have it already, others decide. */
static bool read_arrives(struct world *w, struct relay *r)
{
    struct request *q = &r->read;

    if (q->what != CORE_READ || q->arrived)
        return false;
    q->arrived = true;
    if (q->n > 0)
        remember_page(w, r, q->page);
    r->pos = q->cursor;
    return percent(w, 20);
}

static void answer_read(struct world *w, struct relay *r)
{
    const struct request *q = &r->read;
    uint64_t bytes_before = 0;
    bool takes = r->core.phase == CORE_LEAD;

    SAY(w, r, "page %u of %u rows%s", (unsigned)q->page, q->n, takes ? "" : ", too late");
    for (uint32_t i = 0; i < q->n; i++) {
        const struct sim_row *row = &w->row[q->rows[i]];
        bool found = r->tail && r->logged_then[q->rows[i]];
        uint32_t slot = found ? core_found_row(&r->core, w->now, row->topic, row->hash, row->bytes)
                              : core_row(&r->core, row->topic, row->hash, row->bytes,
                                         row->due_ms > w->now);
        if ((slot != NO_SLOT) != takes)
            oops(w, "row %u taken or not against the phase", q->rows[i]);
        if (slot == NO_SLOT)
            continue;
        SAY(w, r, "  row %u, topic %u, key %u", q->rows[i], row->topic, row->key);
        bytes_before = r->core.window.bytes - row->bytes;
        r->slot_row[slot] = q->rows[i];
        r->slot_confirmed[slot] = found;
        r->slot_maybe[slot] = false;
        r->slot_unordered[slot] = row->due_ms > 0 || row->passed;
    }
    if (bytes_before > w->cfg.inflight_bytes)
        oops(w, "more bytes than configured before the last row of a page");
    core_page_end(&r->core, w->now, q->n, !q->good, r->pos < r->horizon);
}

static void answer_read_held(struct world *w, struct relay *r)
{
    const struct request *q = &r->read;
    static const enum held_as as[] = { HELD_NOT, HELD_KEY, HELD_KEY, HELD_TOPIC, HELD_TIME };

    SAY(w, r, "%s: %u rows%s", request_names[q->what], q->n, q->good ? "" : ", more");
    for (uint32_t i = 0; i < q->n; i++) {
        const struct sim_row *row = &w->row[q->rows[i]];
        if (row->held == DB_NOT || row->held >= DB_DEAD)
            continue; /* a person, or another relay, was quicker; ours would have it from the page */
        bool found = row->logged && percent(w, 20);
        uint32_t slot = core_held_row(&r->core, w->now, row->topic, row->hash, row->bytes,
                                      (struct core_held_info){ as[row->held],
                                                               (uint16_t)row->attempts, row->maybe,
                                                               found });
        if (slot == NO_SLOT)
            continue;
        SAY(w, r, "  row %u, %u attempts", q->rows[i], row->attempts);
        w->count[N_CAME_BACK]++;
        r->slot_row[slot] = q->rows[i];
        r->slot_confirmed[slot] = found;
        r->slot_maybe[slot] = false;
        r->slot_unordered[slot] = row->due_ms > 0 || row->passed;
    }
    if (q->what == CORE_READ_DUE)
        core_due_end(&r->core, w->now, !q->good, q->next_due_ms);
    else
        core_topic_end(&r->core, w->now, !q->good);
}

static void answer_write(struct world *w, struct relay *r)
{
    const struct request *q = &r->mark;

    SAY(w, r, "%s answered%s", request_names[q->what], q->fenced ? ": fenced" : "");
    if (q->what == CORE_SWEEP) {
        core_swept(&r->core, w->now, false);
        return;
    }
    if (q->fenced) {
        core_lease(&r->core, w->now, false);
        core_held(&r->core, w->now, false);
        return;
    }
    for (uint32_t i = 0; i < q->n; i++)
        if (q->freed[i])
            core_freed(&r->core, q->slots[i]);
    if (q->what == CORE_MARK)
        core_marked(&r->core, w->now, true);
    else
        core_held(&r->core, w->now, true);
}

static void answer_lease(struct world *w, struct relay *r)
{
    const struct request *q = &r->lease;

    SAY(w, r, "%s answered: %s", request_names[q->what], q->good ? "ours" : "not ours");
    if (q->what == CORE_RESIGN) {
        core_resigned(&r->core, w->now);
        return;
    }
    if (q->what == CORE_ACQUIRE && q->good) {
        r->epoch = q->epoch;
        r->pos = q->cursor;
        r->n_pages = 0;
        r->horizon = w->n_visible;
        r->tail = percent(w, 50);
        for (uint32_t i = 0; i < w->n_rows; i++)
            r->logged_then[i] = w->row[i].logged && percent(w, 90);
        for (uint32_t t = 0; t < w->n_topics; t++) {
            if (q->held_topic[t])
                core_held_topic(&r->core, w->now, t);
            for (uint32_t k = 1; k < w->n_keys; k++)
                if (q->held_key[t][k])
                    core_held_key(&r->core, t, hash_of(w, t, k));
        }
    }
    w->count[N_LEASES_LOST] += q->what == CORE_RENEW && !q->good;
    core_lease(&r->core, w->now, q->good);
}

static void fail_request(struct world *w, struct relay *r, const struct request *q)
{
    SAY(w, r, "%s failed", request_names[q->what]);
    if (q == &r->read) {
        w->count[N_READS_FAILED]++;
        core_read_failed(&r->core, w->now);
    } else if (q->what == CORE_MARK) {
        w->count[N_MARKS_FAILED]++;
        core_marked(&r->core, w->now, false);
    } else if (q->what == CORE_HOLD) {
        core_held(&r->core, w->now, false);
    } else if (q->what == CORE_SWEEP) {
        core_swept(&r->core, w->now, false);
    } else if (q->what == CORE_RESIGN) {
        core_resigned(&r->core, w->now);
    } else {
        core_lease_failed(&r->core, w->now);
    }
}

/* One request goes one step on: it takes effect, or it is answered. */
static bool database_moves(struct world *w, struct relay *r, struct request *q)
{
    if (!q->open)
        return false;
    bool in_vain = q == &r->read && w->now < w->reads_fail_until_ms[q->what - CORE_READ];
    if (!q->effected && (in_vain || goes_wrong(w))) {
        q->open = false;
        touch(r);
        fail_request(w, r, q);
        return true;
    }
    if (!q->effected) {
        effect(w, r, q);
        return true;
    }
    if (q == &r->read && read_arrives(w, r))
        return true;
    q->open = false;
    touch(r);
    if (q->what == CORE_READ)
        answer_read(w, r);
    else if (q == &r->read)
        answer_read_held(w, r);
    else if (q == &r->lease)
        answer_lease(w, r);
    else
        answer_write(w, r);
    return true;
}

/* What was under way is done or not, and nobody hears of it. */
static void lose_requests(struct world *w, struct relay *r)
{
    struct request *const all[] = { &r->read, &r->mark, &r->lease };

    for (int i = 0; i < 3; i++) {
        if (all[i]->open && (all[i] != &r->read || all[i]->what != CORE_READ) && percent(w, 50))
            effect(w, r, all[i]);
        all[i]->open = false;
    }
}

static void set_link(struct world *w, struct relay *r, bool up)
{
    if (r->link_up == up)
        return;
    SAY(w, r, "link %s", up ? "up" : "lost");
    w->count[N_LINKS_LOST] += !up;
    if (!up)
        lose_requests(w, r);
    r->link_up = up;
    touch(r);
    if (up && percent(w, 10)) { /* to a server that lost nothing here */
        SAY(w, r, "  in another history");
        core_moved(&r->core);
    }
    core_link(&r->core, w->now, up);
}

#endif
