/* produce.c - a row on its way to Kafka, and what is said of it there. Knows neither SQL nor librdkafka. */
#include "relay/driver/inside.h"

static void note_failure(struct driver *d, const struct sink_report *r)
{
    const struct window_row *row = &d->core.window.row[r->slot];

    d->n_failed++;
    incidents_failed(&d->incidents, d->now_ms, d->slot[r->slot].row, row->topic, row->attempts, r,
                     &d->slot[r->slot].reason);
}

static void on_report(void *arg, const struct sink_report *r)
{
    struct driver *d = arg;
    const struct window_row *row = &d->core.window.row[r->slot];

    monitor_report(d->monitor, row->topic, d->slot[r->slot].row, row->since_ms, r);
    if (r->outcome == OUTCOME_PERSISTED) {
        d->slot[r->slot].partition = r->partition;
        d->slot[r->slot].offset = r->offset;
        d->n_confirmed++;
        incidents_confirmed(&d->incidents, &d->core.topics, row->topic);
    } else {
        note_failure(d, r);
    }
    core_report(&d->core, d->now_ms, r->slot, r->outcome, r->blame);
}

/* The sink did not take the row. */
static void on_refused(struct driver *d, const struct sink_report *r)
{
    if (r->blame != BLAME_ROW) {
        on_report(d, r);
        return;
    }
    monitor_report(d->monitor, d->core.window.row[r->slot].topic, d->slot[r->slot].row, d->now_ms, r);
    note_failure(d, r);
    core_refused(&d->core, d->now_ms, r->slot, false);
}

/* An event that came round too often. Nothing is sent, whatever Kafka would say. */
static bool refuse_circle(struct driver *d, uint32_t slot)
{
    uint64_t hops = envelope_hops(d->slot[slot].row);

    if (!core_refuses_hops(&d->core, d->now_ms, slot, hops))
        return false;
    d->n_failed++;
    incidents_circle(hops, d->core.cfg.hops_max, &d->slot[slot].reason);
    return true;
}

/* An event that could not be read. There is nothing to send. */
static bool refuse_unreadable(struct driver *d, uint32_t slot)
{
    const struct row *row = d->slot[slot].row;

    if (row->unreadable == NULL)
        return false;
    d->n_failed++;
    incidents_unreadable(&d->incidents, row, d->core.window.row[slot].topic, &d->slot[slot].reason);
    core_unreadable(&d->core, d->now_ms, slot, row->key_unreadable);
    return true;
}

static void on_fatal(void *arg, enum lane lane)
{
    struct driver *d = arg;

    core_lane_fatal(&d->core, lane);
}

static void on_kafka_error(void *arg, const char *code, const char *text, bool all_down)
{
    struct driver *d = arg;

    monitor_kafka_error(d->monitor, code, text, all_down);
}

static void on_statistics(void *arg, const struct sink_statistics *s)
{
    struct driver *d = arg;

    monitor_statistics(d->monitor, s);
}

void driver_hears(struct driver *d, struct sink_config *cfg, bool statistics)
{
    cfg->arg = d;
    cfg->on_report = on_report;
    cfg->on_fatal = on_fatal;
    cfg->on_error = d->monitor != NULL ? on_kafka_error : NULL;
    cfg->on_statistics = d->monitor != NULL && statistics ? on_statistics : NULL;
}

void driver_produce(struct driver *d, uint32_t slot, enum lane lane)
{
    struct sink_record rec = {
        .slot = slot, .topic = d->core.window.row[slot].topic, .row = d->slot[slot].row
    };
    struct sink_report refused;

    if (refuse_unreadable(d, slot) || refuse_circle(d, slot))
        return;
    if (sink_must_wait(d->sink, lane, rec.topic, rec.row)) {
        core_cold(&d->core, slot);
        return;
    }
    if (envelope_headers(&d->envelope, rec.row, &d->envelope_buf, &rec.headers, &rec.n_headers) < 0) {
        core_full(&d->core, slot);
        return;
    }
    switch (sink_produce(d->sink, lane, &rec, &refused)) {
    case SINK_TAKEN:
        monitor_produced(d->monitor, rec.topic, rec.row);
        break;
    case SINK_FULL:
        core_full(&d->core, slot);
        break;
    case SINK_REFUSED:
        on_refused(d, &refused);
        break;
    }
}
