/* actions.c - what the core wants done, and the janitor: asked of source and sink. Decides nothing. */
#include <stdlib.h>

#include "relay/driver/inside.h"
#include "relay/log.h"
#include "relay/loop.h"

/* How long some broker has to answer when rows are out too long; no longer than a quarter of the
 * lease, since the loop waits for it and must not be late to renew. */
#define ASK_KAFKA_MS 500
#define STALLED_AGAIN_MS 60000

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct source_mark *)a)->id, y = ((const struct source_mark *)b)->id;

    return (x > y) - (x < y);
}

/* In order of id: the primary key of sent then grows at its end. */
static void do_mark(struct driver *d, const uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct slot *s = &d->slot[slots[i]];
        d->marks[i] = (struct source_mark){
            .id = s->row->id,
            .event_id = s->row->event_id,
            .offset = s->offset,
            .partition = s->partition,
            .bucket = s->row->bucket,
            .held = s->row->held_as != HELD_NOT,
        };
    }
    qsort(d->marks, n, sizeof *d->marks, by_id);
    source_mark(d->source, d->now_ms, d->marks, n);
}

static void do_hold(struct driver *d, const uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct window_row *r = &d->core.window.row[slots[i]];
        const struct slot *s = &d->slot[slots[i]];
        const struct reason *reason = &s->reason;
        if (r->hold == HOLD_PAUSED)
            reason = incidents_of_topic(&d->incidents, r->topic);
        d->holds[i] = (struct source_hold){
            .row = s->row,
            .state = (enum hold_state)r->hold,
            .attempts = r->attempts,
            .delay_ms = r->delay_ms,
            .maybe = r->maybe,
            .error_code = reason != NULL ? reason->code : NULL,
            .error = reason != NULL ? reason->text : NULL,
        };
    }
    source_hold(d->source, d->now_ms, d->holds, n);
}

static void do_reset(struct driver *d, enum lane lane)
{
    int rc = sink_reset(d->sink, lane);

    monitor_reset(d->monitor, lane);
    d->now_ms = loop_now_ms();
    core_lane_ready(&d->core, d->now_ms, lane, rc == 0);
}

/* It is asked every few seconds while rows stand still; what stays as it was is said once a minute. */
static void say_stalled(struct driver *d, bool any)
{
    if (any != d->stalled_any)
        d->stalled = (struct restraint){ .n = 0 };
    d->stalled_any = any;
    if (restraint_admits(&d->stalled, d->now_ms, 1, STALLED_AGAIN_MS, NULL))
        log_warn("relay", any ? "a broker answers; rows are on their way for longer than stall.timeout"
                              : "no broker answers; rows are on their way for longer than stall.timeout",
                 "bootstrap", settings_brokers(d->settings), "last_error", any ? NULL : monitor_kafka_said(d->monitor));
}

static void do_ask_kafka(struct driver *d)
{
    uint64_t most_ms = d->core.cfg.lease_ttl_ms / 4;
    bool any = sink_reachable(d->sink, most_ms < ASK_KAFKA_MS ? (int)most_ms : ASK_KAFKA_MS);

    d->now_ms = loop_now_ms();
    log_debug("relay", "asked whether a broker answers", "answers", any ? "yes" : "no");
    say_stalled(d, any);
    monitor_kafka(d->monitor, any, "records are on their way for longer than stall.timeout, and a question was not answered");
    core_kafka_answered(&d->core, d->now_ms, any);
    incidents_stalled(&d->incidents, &d->core.topics, d->now_ms);
}

/* What is asked of the database by this action; N_METRIC_OPS: nothing. */
static enum metric_op op_of(enum core_do what)
{
    switch (what) {
    case CORE_READ:
    case CORE_READ_DUE:
    case CORE_READ_TOPIC:
        return OP_READ;
    case CORE_MARK:
        return OP_MARK;
    case CORE_HOLD:
        return OP_HOLD;
    case CORE_ACQUIRE:
    case CORE_RENEW:
        return OP_LEASE;
    case CORE_SWEEP:
        return OP_SWEEP;
    case CORE_PRODUCE:
    case CORE_RELEASE:
    case CORE_RESET:
    case CORE_ASK_KAFKA:
    case CORE_RESIGN:
        break;
    }
    return N_METRIC_OPS;
}

void driver_do(struct driver *d, const struct core_action *a)
{
    enum metric_op op = op_of(a->what);

    if (op != N_METRIC_OPS)
        monitor_asked(d->monitor, op);
    switch (a->what) {
    case CORE_READ:
        source_read(d->source, d->now_ms, a->n, a->bytes, a->page);
        break;
    case CORE_READ_DUE:
        source_read_due(d->source, d->now_ms, a->n, a->bytes);
        break;
    case CORE_READ_TOPIC:
        source_read_topic(d->source, d->now_ms, d->core.topics.topic[a->topic].name, a->n, a->bytes);
        break;
    case CORE_PRODUCE:
        driver_produce(d, a->slot, a->lane);
        break;
    case CORE_MARK:
        do_mark(d, a->slots, a->n);
        break;
    case CORE_HOLD:
        do_hold(d, a->slots, a->n);
        break;
    case CORE_RELEASE:
        free(d->slot[a->slot].row);
        d->slot[a->slot].row = NULL;
        reason_clear(&d->slot[a->slot].reason);
        break;
    case CORE_RESET:
        do_reset(d, a->lane);
        break;
    case CORE_ASK_KAFKA:
        do_ask_kafka(d);
        break;
    case CORE_ACQUIRE:
        source_acquire(d->source, d->now_ms);
        break;
    case CORE_RENEW:
        source_renew(d->source, d->now_ms, a->page);
        break;
    case CORE_RESIGN:
        source_resign(d->source, d->now_ms, a->page);
        break;
    case CORE_SWEEP:
        source_sweep(d->source, d->now_ms);
        break;
    }
}

void driver_do_janitor(struct driver *d)
{
    if (d->core.phase != CORE_LEAD || !source_aside_ready(d->source))
        return;
    enum janitor_do next = janitor_next(&d->janitor, d->now_ms);
    if (next != JANITOR_NOTHING)
        monitor_asked(d->monitor, OP_CLEANUP);
    switch (next) {
    case JANITOR_NOTHING:
        break;
    case JANITOR_LOOK:
        source_look(d->source, d->now_ms);
        break;
    case JANITOR_WALK:
        source_walk(d->source, d->now_ms, d->janitor.bucket);
        break;
    case JANITOR_EMPTY:
        source_empty(d->source, d->now_ms, d->janitor.retention_ms);
        break;
    case JANITOR_TIDY:
        source_tidy(d->source, d->now_ms, d->janitor.retention_ms);
        break;
    }
}
