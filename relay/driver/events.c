/* events.c - what the source has to say, told to all whom it concerns. Knows no SQL. */
#include "relay/driver/inside.h"

#include <stdio.h>

#include "relay/log.h"

/* The source speaks of ids, the core of slots: both of the request under way. */
static void on_freed(struct driver *d, const struct source_event *e, const uint32_t *slots, uint32_t n)
{
    for (uint32_t f = 0; f < e->n_freed; f++)
        for (uint32_t i = 0; i < n; i++)
            if (d->slot[slots[i]].row->id == e->freed[f]) {
                core_freed(&d->core, slots[i]);
                break;
            }
}

static void on_up(struct driver *d, bool moved)
{
    monitor_link(d->monitor, true, NULL, NULL);
    if (moved)
        core_moved(&d->core);
    core_link(&d->core, d->now_ms, true);
    notify_ready(&d->notify);
}

static void on_down(struct driver *d, const char *why, const char *remedy)
{
    monitor_link(d->monitor, false, why, remedy);
    takeover_end(&d->takeover);
    janitor_link_down(&d->janitor);
    core_link(&d->core, d->now_ms, false);
    if (d->once) {
        log_error("relay", "PostgreSQL is not available");
        driver_end(d, EXIT_UNAVAILABLE);
    }
}

static void on_answer(struct driver *d, enum metric_op op, const struct source_event *e, bool ok)
{
    struct verdict_failure failure = { .why = e->why, .code = e->sqlstate, .remedy = e->remedy };

    monitor_answered(d->monitor, op);
    monitor_outcome(d->monitor, op, ok || e->why == NULL ? NULL : &failure);
}

static void on_page(struct driver *d, const struct source_event *e, enum takeover_from from)
{
    monitor_answered(d->monitor, OP_READ);
    if (from == TAKEOVER_OUTBOX) /* that what is held can be read says nothing of it */
        monitor_outcome(d->monitor, OP_READ, NULL);
    monitor_page(d->monitor, e->n_rows, from == TAKEOVER_OUTBOX);
    driver_page(d, e, from);
}

static void on_read_failed(struct driver *d, const struct source_event *e)
{
    on_answer(d, OP_READ, e, false);
    monitor_twice(d->monitor, e->id);
    core_read_failed(&d->core, d->now_ms);
}

static void on_marked(struct driver *d, const struct source_event *e, bool ok)
{
    on_answer(d, OP_MARK, e, ok);
    if (ok) {
        on_freed(d, e, d->core.marking, d->core.n_marking);
        monitor_marked(d->monitor, d->core.n_marking);
        d->n_marked += d->core.n_marking;
    }
    core_marked(&d->core, d->now_ms, ok);
}

/* Counted and said, while the core still knows which rows they are. */
static void note_held(struct driver *d, uint32_t slot)
{
    const struct window_row *r = &d->core.window.row[slot];

    monitor_held(d->monitor, r->topic, d->slot[slot].row->topic, (enum hold_state)r->hold);
    if (r->hold == HOLD_DEAD)
        incidents_dead(&d->incidents, d->now_ms, d->slot[slot].row, r->attempts, &d->slot[slot].reason);
}

static void on_held(struct driver *d, const struct source_event *e, bool ok)
{
    const struct core *c = &d->core;

    on_answer(d, OP_HOLD, e, ok);
    if (ok) {
        on_freed(d, e, c->holding, c->n_holding);
        d->n_held += c->n_holding;
        for (uint32_t i = 0; i < c->n_holding; i++)
            note_held(d, c->holding[i]);
    }
    core_held(&d->core, d->now_ms, ok);
}

static void on_swept(struct driver *d, uint32_t n_found)
{
    monitor_answered(d->monitor, OP_SWEEP);
    monitor_swept(d->monitor, n_found);
    d->n_swept += n_found;
    core_swept(&d->core, d->now_ms, n_found > 0);
}

static void on_sweep_failed(struct driver *d)
{
    monitor_answered(d->monitor, OP_SWEEP);
    core_swept(&d->core, d->now_ms, false);
}

static void on_lease(struct driver *d, const struct source_event *e)
{
    const struct source_lease *lease = &e->lease;
    bool led = d->core.phase == CORE_LEAD, ours = e->ours;

    on_answer(d, OP_LEASE, e, true);
    d->robbed = d->robbed || (led && !ours);
    core_lease(&d->core, d->now_ms, ours);
    snprintf(d->leader, sizeof d->leader, "%s", !ours && lease->owner != NULL ? lease->owner : "");
    if (ours) {
        monitor_leader(d->monitor, d->owner, 0, -1);
    } else {
        monitor_leader(d->monitor, lease->owner, (double)lease->silent_ms / 1e3, (double)lease->left_ms / 1e3);
        monitor_lease(d->monitor, false);
    }
    if (!led && d->core.phase == CORE_LEAD) {
        monitor_lease(d->monitor, true);
        janitor_lead_begins(&d->janitor);
        takeover_begin(&d->takeover, d->now_ms);
    }
}

static void on_lease_failed(struct driver *d, const struct source_event *e)
{
    on_answer(d, OP_LEASE, e, false);
    core_lease_failed(&d->core, d->now_ms);
}

static void on_figures(struct driver *d, const struct figures *f)
{
    monitor_answered(d->monitor, OP_FIGURES);
    monitor_figures(d->monitor, f);
}

static void on_cleanup(struct driver *d, const struct source_event *e)
{
    monitor_answered(d->monitor, OP_CLEANUP);
    janitor_answer(&d->janitor, d->now_ms, e);
    monitor_cleanup(d->monitor, &d->janitor);
}

/* A flat switch over all that the source says. */
void driver_on_event(struct driver *d, const struct source_event *e)
{
    switch (e->type) {
    case SOURCE_UP:
        on_up(d, e->moved);
        break;
    case SOURCE_DOWN:
        on_down(d, e->why, e->remedy);
        break;
    case SOURCE_PAGE:
        on_page(d, e, TAKEOVER_OUTBOX);
        break;
    case SOURCE_DUE_PAGE:
        on_page(d, e, TAKEOVER_DUE);
        break;
    case SOURCE_TOPIC_PAGE:
        on_page(d, e, TAKEOVER_TOPIC);
        break;
    case SOURCE_READ_FAILED:
        on_read_failed(d, e);
        break;
    case SOURCE_MARKED:
    case SOURCE_MARK_FAILED:
        on_marked(d, e, e->type == SOURCE_MARKED);
        break;
    case SOURCE_HELD:
    case SOURCE_HOLD_FAILED:
        on_held(d, e, e->type == SOURCE_HELD);
        break;
    case SOURCE_HELD_KEYS:
        driver_held_keys(d, e);
        break;
    case SOURCE_SWEPT:
        on_swept(d, e->n_found);
        break;
    case SOURCE_SWEEP_FAILED:
        on_sweep_failed(d);
        break;
    case SOURCE_LEASE:
        on_lease(d, e);
        break;
    case SOURCE_LEASE_FAILED:
        on_lease_failed(d, e);
        break;
    case SOURCE_RESIGNED:
        d->left = e->left;
        core_resigned(&d->core, d->now_ms);
        break;
    case SOURCE_FIGURES:
        on_figures(d, e->figures);
        break;
    case SOURCE_LOOKED:
    case SOURCE_WALKED:
    case SOURCE_EMPTIED:
    case SOURCE_TIDIED:
        on_cleanup(d, e);
        break;
    case SOURCE_SCHEMA:
        if (e->schema_version != 0)
            monitor_schema(d->monitor, e->schema_ends ? e->schema_version : 0);
        break;
    case SOURCE_REFUSED:
        driver_end(d, e->exit_code);
        break;
    }
}
