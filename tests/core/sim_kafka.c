/* sim_kafka.c - the small Kafka: the log, what is wrong with topics and rows, and the lanes of a relay
 * up to their judged batches. It knows nothing of the database, and the core only as who fills the lanes.
 *
 * Per lane and partition a FIFO of batches. In the main lane nothing is written behind a refused batch and
 * the producer is dead (but what flies behind the first batch of a producer in a partition is written
 * whatever became of that one); the solo lane has one record per batch. What is purged in flight may have
 * been written, or is written later (a ghost), or never.
 */
#include <string.h>

#include "tests/core/sim_world.h"

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

bool refused(const struct world *w, uint32_t row)
{
    return w->now < w->row[row].poison_until_ms;
}

bool missing(const struct world *w, uint32_t row)
{
    return w->now < w->missing_until_ms[w->row[row].topic];
}

static bool breaks(const struct world *w, uint32_t row)
{
    return w->now < w->breaking_until_ms[w->row[row].topic];
}

bool ghost_arrives(struct world *w)
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

/* -- batches -------------------------------------------------------------------------------- */

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
bool launch(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue)
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
bool arrive(struct world *w, struct sim_lane *l, bool main_lane, uint32_t queue)
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

bool answer_produce(struct world *w, struct sim_lane *l, uint32_t queue)
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
bool give_back_queued(struct sim_lane *l)
{
    bool any = false;

    for (uint32_t i = 0; i < l->n; i++)
        if (l->entry[i].state == ENTRY_QUEUED) {
            judge(&l->entry[i], OUTCOME_NOT_PERSISTED, BLAME_NONE);
            any = true;
        }
    return any;
}

void purge(struct world *w, struct sim_lane *l)
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
bool kafka_moves(struct world *w, struct relay *r, enum lane lane)
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

/* -- what a producer takes ------------------------------------------------------------------ */

/* The client knows the topic again only after it has told all failures of it. */
static bool topic_is_failing(const struct world *w, const struct sim_lane *l, uint32_t queue)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->entry[i].state == ENTRY_JUDGED && l->entry[i].blame == BLAME_TOPIC &&
            w->row[l->entry[i].row].queue == queue)
            return true;
    return false;
}

void take(struct world *w, struct sim_lane *l, const struct core_action *a, uint32_t row)
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
