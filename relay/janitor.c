/* janitor.c - see janitor.h. */
#include "relay/janitor.h"

#include <stdio.h>

#include "relay/log.h"

/* A look costs nothing that could be measured; more often than each hundredth of the retention it would
 * find nothing new. */
#define LOOK_MIN_MS 100
#define LOOK_MAX_MS (60 * 1000)
/* A bucket that is put off waits no longer than this. */
#define WAIT_MAX_MS (60 * 60 * 1000)
/* The same obstacle is news again after this time. */
#define TELL_MS (10 * 60 * 1000)

static uint64_t limited(uint64_t v, uint64_t least, uint64_t most)
{
    return v < least ? least : v > most ? most : v;
}

static uint64_t interval_ms(const struct janitor *j)
{
    return limited(j->retention_ms / 100, LOOK_MIN_MS, LOOK_MAX_MS);
}

void janitor_init(struct janitor *j, uint64_t now_ms, uint64_t retention_ms)
{
    *j = (struct janitor){ .retention_ms = retention_ms, .next = JANITOR_LOOK };
    j->due_ms = now_ms + interval_ms(j);
}

void janitor_lead_begins(struct janitor *j)
{
    j->looked = false;
    j->short_ring = false;
    for (int b = 0; b < SOURCE_RING; b++)
        j->wait[b].old = false;
}

void janitor_link_down(struct janitor *j)
{
    j->asked = false;
    j->next = JANITOR_LOOK;
}

enum janitor_do janitor_next(struct janitor *j, uint64_t now_ms)
{
    if (now_ms < janitor_deadline(j))
        return JANITOR_NOTHING;
    j->asked = true;
    j->asked_ms = now_ms;
    return j->next;
}

uint64_t janitor_deadline(const struct janitor *j)
{
    return j->retention_ms == 0 || j->asked ? UINT64_MAX : j->due_ms;
}

/* -- what comes next -------------------------------------------------------------------------- */

static void rest(struct janitor *j, uint64_t now_ms)
{
    j->next = JANITOR_LOOK;
    j->due_ms = now_ms + interval_ms(j);
}

/* The next bucket of the round, in the order of the ring, so that one that is put off again and again
 * keeps none from its turn. */
static void next_bucket(struct janitor *j)
{
    j->next = JANITOR_TIDY;
    for (int i = 1; i <= SOURCE_RING && j->next == JANITOR_TIDY; i++) {
        int b = (j->bucket + i) % SOURCE_RING;
        if (j->todo & (1U << b)) {
            j->todo &= ~(1U << b);
            j->bucket = (int16_t)b;
            j->next = JANITOR_WALK;
            return;
        }
    }
}

static void put_off(struct janitor *j, uint64_t now_ms)
{
    struct janitor_wait *w = &j->wait[j->bucket];
    uint64_t most = limited(j->retention_ms / 4, interval_ms(j), WAIT_MAX_MS), ms = interval_ms(j);

    for (uint32_t i = 0; i < w->failures && ms < most; i++)
        ms *= 2;
    w->failures++;
    w->until_ms = now_ms + limited(ms, 0, most);
}

/* As long a pause as the answer took: at most half of one connection's time goes there. */
static void pace(struct janitor *j, uint64_t now_ms)
{
    j->due_ms = now_ms + (now_ms - j->asked_ms);
}

/* -- what is said ----------------------------------------------------------------------------- */

static enum log_level level_of(struct janitor *j, uint64_t now_ms, int64_t pid)
{
    struct janitor_wait *w = &j->wait[j->bucket];

    if (w->told_pid != pid)
        w->told = (struct restraint){ 0 };
    w->told_pid = pid;
    return restraint_admits(&w->told, now_ms, 1, TELL_MS, NULL) ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG;
}

static void tell_locked(struct janitor *j, uint64_t now_ms, const struct source_holder *h)
{
    const char *name = h->name[0] != '\0' ? h->name : NULL;

    log_write(level_of(j, now_ms, h->pid), "janitor", "a bucket is not emptied: it is locked", "bucket",
              log_i64(j->bucket), "pid", h->pid > 0 ? log_i64(h->pid) : NULL,
              h->prepared ? "prepared" : "application", name, "age_s",
              h->age_ms >= 0 ? log_i64(h->age_ms / 1000) : NULL, "remedy",
              "it is tried again by itself, and works once that transaction has ended; SELECT * FROM "
              "outbox.blocker", (char *)0);
}

static void tell_crowded(struct janitor *j, uint64_t now_ms)
{
    log_write(level_of(j, now_ms, -1), "janitor",
              "a bucket is not emptied: more of its events are held than can be moved", "bucket",
              log_i64(j->bucket), "remedy",
              "SELECT state, topic, count(*) FROM outbox.held GROUP BY 1, 2; let them go, retry or "
              "discard them", (char *)0);
}

/* Seven other buckets must fill before a bucket has its turn again; by then it has to be old enough. */
static void tell_short_ring(struct janitor *j, int64_t period_s)
{
    bool is_short = period_s > 0 && j->retention_ms / 1000 >= 7 * (uint64_t)period_s;

    if (is_short && !j->short_ring)
        log_warn("janitor", "the ring of buckets is shorter than the retention: no bucket becomes old "
                            "enough to be emptied", "retention_s", log_i64((int64_t)j->retention_ms / 1000),
                 "period_s", log_i64(period_s), "remedy",
                 "as its owner: SELECT outbox.set_bucket_period(...) with more than a seventh of the "
                 "retention, or shorten the retention");
    j->short_ring = is_short;
}

/* -- what is overdue ------------------------------------------------------------------------- */

static void note_obstacle(struct janitor *j, enum verdict_obstacle why, int64_t id)
{
    struct janitor_wait *w = &j->wait[j->bucket];

    w->why = why;
    w->id = id;
    w->holder_pid = 0;
    w->holder_age_ms = -1;
    w->holder[0] = '\0';
}

static void note_holder(struct janitor *j, const struct source_holder *h)
{
    struct janitor_wait *w = &j->wait[j->bucket];

    note_obstacle(j, OBSTACLE_LOCKED, 0);
    w->holder_pid = h->pid;
    w->holder_age_ms = h->age_ms;
    snprintf(w->holder, sizeof w->holder, "%s", h->name);
}

static void note_age(struct janitor *j, int bucket, uint64_t now_ms, int64_t age_ms)
{
    struct janitor_wait *w = &j->wait[bucket];
    bool old = age_ms >= 0 && (uint64_t)age_ms >= j->retention_ms;

    if (!w->old)
        w->why = OBSTACLE_UNKNOWN;
    w->old = old;
    w->due_ms = (int64_t)now_ms - (age_ms - (int64_t)j->retention_ms);
}

struct verdict_overdue janitor_overdue(const struct janitor *j, uint64_t now_ms)
{
    const struct janitor_wait *w = NULL;

    for (int b = 0; b < SOURCE_RING; b++)
        if (j->wait[b].old && (w == NULL || j->wait[b].due_ms < w->due_ms))
            w = &j->wait[b];
    if (w == NULL)
        return (struct verdict_overdue){ .s = -1 };
    return (struct verdict_overdue){
        .s = (double)((int64_t)now_ms - w->due_ms) / 1000,
        .bucket = (int)(w - j->wait),
        .why = w->why,
        .id = w->id,
        .holder = { .pid = w->holder_pid,
                    .application = w->holder[0] != '\0' ? w->holder : NULL,
                    .age_s = w->holder_age_ms >= 0 ? (double)w->holder_age_ms / 1000 : -1 },
    };
}

bool janitor_knows(const struct janitor *j)
{
    return j->retention_ms == 0 || j->looked;
}

/* -- answers ---------------------------------------------------------------------------------- */

static void on_look(struct janitor *j, uint64_t now_ms, const struct source_event *e)
{
    j->looked = !e->failed;
    if (e->failed) {
        rest(j, now_ms);
        return;
    }
    tell_short_ring(j, e->bucket_period_s);
    j->todo = 0;
    for (int b = 0; b < SOURCE_RING; b++) {
        note_age(j, b, now_ms, e->bucket_age_ms[b]);
        if (j->wait[b].old && now_ms >= j->wait[b].until_ms)
            j->todo |= 1U << b;
    }
    next_bucket(j);
}

static void on_walk(struct janitor *j, uint64_t now_ms, const struct source_event *e)
{
    if (e->failed) {
        note_obstacle(j, OBSTACLE_FAILED, 0);
        put_off(j, now_ms);
        next_bucket(j);
        return;
    }
    switch (e->walk) {
    case WALK_MORE:
        pace(j, now_ms);
        break;
    case WALK_DONE:
        j->next = JANITOR_EMPTY;
        break;
    case WALK_UNRESOLVED:
        log_debug("janitor", "a bucket is not emptied: an event is not sent yet", "bucket",
                  log_i64(j->bucket), "id", log_i64(e->id));
        note_obstacle(j, OBSTACLE_UNSENT, e->id);
        put_off(j, now_ms);
        next_bucket(j);
        break;
    case WALK_CROWDED:
        tell_crowded(j, now_ms);
        note_obstacle(j, OBSTACLE_CROWDED, 0);
        put_off(j, now_ms);
        next_bucket(j);
        break;
    }
}

static void emptied(struct janitor *j, const struct source_event *e)
{
    j->wait[j->bucket] = (struct janitor_wait){ .until_ms = 0 };
    j->n_emptied++;
    j->n_dropped += (uint64_t)(e->n_events - e->n_moved);
    j->n_kept += (uint64_t)e->n_moved;
    j->n_bytes += (uint64_t)e->n_bytes;
    log_info("janitor", "a bucket was emptied", "bucket", log_i64(j->bucket), "events",
             log_i64(e->n_events), "kept", log_i64(e->n_moved), "bytes", log_i64(e->n_bytes));
}

static void on_emptied(struct janitor *j, uint64_t now_ms, const struct source_event *e)
{
    bool done = !e->failed && e->emptying == EMPTYING_DONE;

    if (done)
        emptied(j, e);
    else
        put_off(j, now_ms);
    if (e->failed) {
        note_obstacle(j, OBSTACLE_FAILED, 0);
    } else if (e->emptying == EMPTYING_LOCKED) {
        j->n_gave_up++;
        tell_locked(j, now_ms, &e->holder);
        note_holder(j, &e->holder);
    } else if (e->emptying == EMPTYING_CROWDED) {
        tell_crowded(j, now_ms);
        note_obstacle(j, OBSTACLE_CROWDED, 0);
    }
    next_bucket(j);
}

static void on_tidied(struct janitor *j, uint64_t now_ms, const struct source_event *e)
{
    if (e->failed || !e->full)
        rest(j, now_ms);
    else
        pace(j, now_ms);
    if (e->failed || e->n_events == 0)
        return;
    j->n_tidied += (uint64_t)e->n_events;
    log_info("janitor", "kept events left, sent or discarded and old", "events", log_i64(e->n_events));
}

void janitor_answer(struct janitor *j, uint64_t now_ms, const struct source_event *e)
{
    j->asked = false;
    if (e->type == SOURCE_LOOKED)
        on_look(j, now_ms, e);
    else if (e->type == SOURCE_WALKED)
        on_walk(j, now_ms, e);
    else if (e->type == SOURCE_EMPTIED)
        on_emptied(j, now_ms, e);
    else if (e->type == SOURCE_TIDIED)
        on_tidied(j, now_ms, e);
}
