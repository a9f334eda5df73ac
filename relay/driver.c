/* driver.c - see driver.h. */
#include "relay/driver.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "include/outbox.h"
#include "relay/core/core.h"
#include "relay/http/listen.h"
#include "relay/incidents.h"
#include "relay/janitor.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/monitor.h"
#include "relay/notify.h"
#include "relay/reload.h"
#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"
#include "relay/source/source.h"
#include "relay/takeover.h"

/* So many actions between two looks at the sockets: reading ahead must not wait for a whole page to
 * be produced. */
#define ACTIONS_PER_TURN 256
/* Between two steps of the sweep, each over a few thousand events. */
#define SWEEP_MS 10000
/* How long some broker has to answer when rows are out too long; no longer than a quarter of the
 * lease, since the loop waits for it and must not be late to renew. */
#define ASK_KAFKA_MS 500

struct slot {
    struct row *row;
    int64_t offset;
    int32_t partition;
    struct reason reason; /* why the row was last refused */
};

struct driver {
    struct core core;
    struct source *source;
    struct sink *sink;
    struct slot *slot; /* by the core's slot */
    struct source_mark *marks;
    struct source_hold *holds;
    struct sink_property *properties;
    struct takeover takeover;
    struct incidents incidents;
    struct janitor janitor;
    struct monitor *monitor;
    struct envelope envelope;
    struct envelope_buf envelope_buf;
    struct notify notify;
    struct settings *settings;
    const struct settings_from *from; /* NULL: they are not loaded again */
    uint64_t now_ms;
    bool once;
    bool led; /* the role that was last logged */
    int exit_code;
    uint64_t n_read, n_confirmed, n_marked, n_failed, n_held, n_swept;
    char owner[160];
};

/* -- from the sink -------------------------------------------------------------------------- */

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

    if (d->settings->hops_max == 0 || hops <= d->settings->hops_max)
        return false;
    d->n_failed++;
    incidents_circle(hops, d->settings->hops_max, &d->slot[slot].reason);
    core_refused(&d->core, d->now_ms, slot, true);
    return true;
}

/* An event that could not be read. Another attempt would end the same, so it is dead, and holds its key back
 * or not as any dead row does. Where the key is what cannot be read, any later row of the topic may be of it:
 * all of them wait, until the row can be read. */
static bool refuse_unreadable(struct driver *d, uint32_t slot)
{
    const struct row *row = d->slot[slot].row;
    uint32_t topic = d->core.window.row[slot].topic;

    if (row->unreadable == NULL)
        return false;
    d->n_failed++;
    incidents_unreadable(&d->incidents, row, topic, &d->slot[slot].reason);
    if (row->key_unreadable && !d->core.cfg.skip_poison)
        core_report(&d->core, d->now_ms, slot, OUTCOME_NOT_PERSISTED, BLAME_TOPIC);
    else
        core_refused(&d->core, d->now_ms, slot, true);
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

/* -- from the source ------------------------------------------------------------------------ */

/* As the core sees a row. */
struct facts {
    uint64_t key;
    uint32_t topic; /* UINT32_MAX: out of memory */
    uint32_t bytes;
};

static uint32_t number_of(struct driver *d, const char *topic)
{
    uint32_t number = core_topic(&d->core, topic);

    if (number == UINT32_MAX) {
        log_error("relay", "out of memory");
        d->exit_code = EXIT_INTERNAL;
    }
    return number;
}

static struct facts facts_of(struct driver *d, const struct row *row)
{
    struct facts f = {
        .key = row->key != NULL ? key_hash(row->topic, row->key, row->key_len) : 0,
        .topic = number_of(d, row->topic),
        .bytes = row->block_bytes < UINT32_MAX ? (uint32_t)row->block_bytes : UINT32_MAX,
    };

    return f;
}

static uint32_t hand_over(struct driver *d, const struct row *row, bool found)
{
    struct facts f = facts_of(d, row);
    struct core_held_info info = { (enum held_as)row->held_as, row->attempts, row->maybe, found };

    if (f.topic == UINT32_MAX)
        return NO_SLOT;
    if (row->held_as == HELD_NOT)
        monitor_read(d->monitor, f.topic, row->topic);
    if (row->held_as != HELD_NOT)
        return core_held_row(&d->core, d->now_ms, f.topic, f.key, f.bytes, info);
    if (found)
        return core_found_row(&d->core, d->now_ms, f.topic, f.key, f.bytes);
    return core_row(&d->core, f.topic, f.key, f.bytes, row->wait_ms > 0);
}

static void on_row(struct driver *d, struct row *row)
{
    int32_t partition = -1;
    int64_t offset = -1;
    bool found = takeover_found(&d->takeover, d->now_ms, row, &partition, &offset);
    uint32_t slot = hand_over(d, row, found);

    if (slot == NO_SLOT)
        free(row);
    else
        d->slot[slot] = (struct slot){ .row = row, .partition = partition, .offset = offset };
}

static void use_page(struct driver *d, const struct takeover_page *p)
{
    for (uint32_t i = 0; i < p->n_rows; i++)
        on_row(d, p->rows[i]);
    switch (p->from) {
    case TAKEOVER_OUTBOX:
        d->n_read += p->n_rows;
        core_page_end(&d->core, d->now_ms, p->n_rows, p->full, p->catching_up);
        break;
    case TAKEOVER_DUE:
        core_due_end(&d->core, d->now_ms, p->full, p->next_due_ms);
        break;
    case TAKEOVER_TOPIC:
        core_topic_end(&d->core, d->now_ms, p->full);
        break;
    }
    takeover_used(&d->takeover, d->now_ms, p);
}

static void on_page(struct driver *d, const struct source_event *e, enum takeover_from from)
{
    struct takeover_page p = { e->rows, e->n_rows, e->full, e->catching_up, from, e->next_due_ms };

    monitor_answered(d->monitor, OP_READ);
    monitor_page(d->monitor, e->n_rows);

    if (!takeover_wait(&d->takeover, d->now_ms, &p))
        use_page(d, &p);
}

static void on_held_keys(struct driver *d, const struct source_event *e)
{
    for (uint32_t i = 0; i < e->n_keys && d->exit_code < 0; i++) {
        const struct source_key *k = &e->keys[i];
        uint32_t topic = number_of(d, k->topic);
        if (topic == UINT32_MAX)
            break;
        if (k->key == NULL)
            core_held_topic(&d->core, d->now_ms, topic);
        else
            core_held_key(&d->core, topic, key_hash(k->topic, k->key, k->key_len));
    }
    core_held_piece(&d->core, d->now_ms);
}

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

static void on_held(struct driver *d, const struct source_event *e)
{
    const struct core *c = &d->core;

    on_freed(d, e, c->holding, c->n_holding);
    d->n_held += c->n_holding;
    for (uint32_t i = 0; i < c->n_holding; i++) {
        const struct window_row *r = &c->window.row[c->holding[i]];
        monitor_held(d->monitor, r->topic, d->slot[c->holding[i]].row->topic, (enum hold_state)r->hold);
        if (r->hold == HOLD_DEAD)
            incidents_dead(&d->incidents, d->now_ms, d->slot[c->holding[i]].row, r->attempts,
                           &d->slot[c->holding[i]].reason);
    }
    core_held(&d->core, d->now_ms, true);
}

static void on_lease(struct driver *d, bool ours)
{
    bool led = d->core.phase == CORE_LEAD;

    monitor_answered(d->monitor, OP_LEASE);
    core_lease(&d->core, d->now_ms, ours);
    if (!ours)
        monitor_lease(d->monitor, false);
    if (!led && d->core.phase == CORE_LEAD) {
        monitor_lease(d->monitor, true);
        janitor_lead_begins(&d->janitor);
        takeover_begin(&d->takeover, d->now_ms);
    }
}

static void on_source_event(struct driver *d, const struct source_event *e)
{
    switch (e->type) {
    case SOURCE_UP:
        monitor_link(d->monitor, true, NULL);
        if (e->moved)
            core_moved(&d->core);
        core_link(&d->core, d->now_ms, true);
        notify_ready(&d->notify);
        break;
    case SOURCE_DOWN:
        monitor_link(d->monitor, false, e->why);
        takeover_end(&d->takeover);
        janitor_link_down(&d->janitor);
        core_link(&d->core, d->now_ms, false);
        if (d->once) {
            log_error("relay", "PostgreSQL is not available");
            d->exit_code = EXIT_UNAVAILABLE;
        }
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
        monitor_answered(d->monitor, OP_READ);
        core_read_failed(&d->core, d->now_ms);
        break;
    case SOURCE_MARKED:
        on_freed(d, e, d->core.marking, d->core.n_marking);
        monitor_answered(d->monitor, OP_MARK);
        monitor_marked(d->monitor, d->core.n_marking);
        d->n_marked += d->core.n_marking;
        core_marked(&d->core, d->now_ms, true);
        break;
    case SOURCE_MARK_FAILED:
        monitor_answered(d->monitor, OP_MARK);
        core_marked(&d->core, d->now_ms, false);
        break;
    case SOURCE_HELD:
        monitor_answered(d->monitor, OP_HOLD);
        on_held(d, e);
        break;
    case SOURCE_HOLD_FAILED:
        monitor_answered(d->monitor, OP_HOLD);
        core_held(&d->core, d->now_ms, false);
        break;
    case SOURCE_HELD_KEYS:
        on_held_keys(d, e);
        break;
    case SOURCE_SWEPT:
        monitor_answered(d->monitor, OP_SWEEP);
        monitor_swept(d->monitor, e->n_found);
        d->n_swept += e->n_found;
        core_swept(&d->core, d->now_ms, e->n_found > 0);
        break;
    case SOURCE_SWEEP_FAILED:
        monitor_answered(d->monitor, OP_SWEEP);
        core_swept(&d->core, d->now_ms, false);
        break;
    case SOURCE_LEASE:
        on_lease(d, e->ours);
        break;
    case SOURCE_LEASE_FAILED:
        monitor_answered(d->monitor, OP_LEASE);
        core_lease_failed(&d->core, d->now_ms);
        break;
    case SOURCE_RESIGNED:
        core_resigned(&d->core, d->now_ms);
        break;
    case SOURCE_FIGURES:
        monitor_answered(d->monitor, OP_FIGURES);
        monitor_figures(d->monitor, e->figures);
        break;
    case SOURCE_LOOKED:
    case SOURCE_WALKED:
    case SOURCE_EMPTIED:
    case SOURCE_TIDIED:
        monitor_answered(d->monitor, OP_CLEANUP);
        janitor_answer(&d->janitor, d->now_ms, e);
        monitor_cleanup(d->monitor, &d->janitor);
        break;
    case SOURCE_REFUSED:
        d->exit_code = e->exit_code;
        break;
    }
}

/* -- the core's actions --------------------------------------------------------------------- */

static void do_produce(struct driver *d, uint32_t slot, enum lane lane)
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

static void do_ask_kafka(struct driver *d)
{
    uint64_t most_ms = d->core.cfg.lease_ttl_ms / 4;
    bool any = sink_reachable(d->sink, most_ms < ASK_KAFKA_MS ? (int)most_ms : ASK_KAFKA_MS);

    d->now_ms = loop_now_ms();
    log_warn("relay", any ? "a broker answers; rows are on their way for longer than stall.timeout"
                          : "no broker answers; rows are on their way for longer than stall.timeout");
    monitor_kafka(d->monitor, any, "records are on their way for longer than stall.timeout, and a question was not answered");
    core_kafka_answered(&d->core, d->now_ms, any);
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

static void do_action(struct driver *d, const struct core_action *a)
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
        do_produce(d, a->slot, a->lane);
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

/* Last of those who ask on the aside: it can wait. */
static void do_janitor(struct driver *d)
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

/* -- set-up and turns ----------------------------------------------------------------------- */

static uint64_t random_u64(void)
{
    uint64_t v = 0;

    if (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v)
        v = loop_now_ms() ^ ((uint64_t)getpid() << 32);
    return v;
}

static void name_owner(struct driver *d, const struct settings *set)
{
    char host[100] = "localhost";

    if (set->lease_owner[0] != '\0') {
        snprintf(d->owner, sizeof d->owner, "%s", set->lease_owner);
        return;
    }
    (void)gethostname(host, sizeof host - 1);
    snprintf(d->owner, sizeof d->owner, "%s/%ld/%08lx", host, (long)getpid(),
             (unsigned long)(random_u64() >> 32));
}

static struct core_config core_settings(const struct settings *set, bool once)
{
    return (struct core_config){
        .inflight_rows = set->inflight_rows,
        .batch_rows = set->batch_rows,
        .inflight_bytes = set->inflight_bytes,
        .poll_min_ms = set->poll_min_ms,
        .poll_max_ms = set->poll_max_ms,
        .mark_delay_ms = set->mark_delay_ms,
        .retry_base_ms = set->retry_base_ms,
        .retry_max_ms = set->retry_max_ms,
        .retry_attempts = set->retry_attempts,
        .skip_poison = set->on_poison == ON_POISON_SKIP,
        .stall_timeout_ms = set->stall_timeout_ms,
        .sweep_ms = SWEEP_MS,
        .lease_ttl_ms = set->lease_ttl_ms,
        .drain_timeout_ms = set->drain_timeout_ms,
        .seed = random_u64(),
        .once = once,
    };
}

/* Not with --once, whose port another relay may need. */
static bool serves(const struct driver *d, const struct settings *set)
{
    return !d->once && !listen_is_off(set->http_listen);
}

static int open_sink(struct driver *d, const struct settings *set)
{
    struct sink_property *props = calloc(set->n_kafka + 1, sizeof *props);
    char err[512] = "out of memory";
    int rc = -1;

    for (size_t i = 0; props != NULL && i < set->n_kafka; i++)
        props[i] = (struct sink_property){ set->kafka[i].name, set->kafka[i].value };
    struct sink_config cfg = {
        .properties = props,
        .n_properties = set->n_kafka,
        .max_rows = set->inflight_rows,
        .max_bytes = set->inflight_bytes,
        .arg = d,
        .on_report = on_report,
        .on_fatal = on_fatal,
        .on_error = d->monitor != NULL ? on_kafka_error : NULL,
        .on_statistics = d->monitor != NULL && serves(d, set) ? on_statistics : NULL,
    };
    if (props != NULL)
        rc = sink_new(&cfg, &d->sink, err, sizeof err);
    d->properties = props; /* the takeover needs them as well */
    takeover_init(&d->takeover,
                  &(struct tail_config){ props, set->n_kafka, set->envelope, set->inflight_rows,
                                         set->inflight_bytes },
                  set->takeover_tail == TAKEOVER_TAIL_AUTO && set->envelope != ENVELOPE_PLAIN);
    if (rc < 0)
        log_error("sink", "the producer cannot be set up", "error", err);
    return rc < 0 ? EXIT_CONFIGURATION : EXIT_OK;
}

static int check_dsn(const struct settings *set)
{
    char err[512];

    if (source_check_dsn(set->dsn, err, sizeof err) == 0)
        return EXIT_OK;
    log_error("source", "the setting dsn cannot be read", "error", err);
    return EXIT_CONFIGURATION;
}

static int open_monitor(struct driver *d, const struct settings *set)
{
    struct monitor_config cfg = {
        .listen = serves(d, set) ? set->http_listen : NULL,
        .owner = d->owner,
        .version = OUTBOX_VERSION_STRING,
        .librdkafka = sink_library_version(),
        .libpq = source_library_version(),
        .stall_timeout_ms = set->stall_timeout_ms,
    };

    d->monitor = monitor_new(&cfg, d->now_ms);
    if (d->monitor != NULL)
        return EXIT_OK;
    log_error("relay", "out of memory");
    return EXIT_INTERNAL;
}

static int open_all(struct driver *d, const struct settings *set)
{
    struct core_config core_cfg = core_settings(set, d->once);
    struct source_config source_cfg = {
        .dsn = set->dsn,
        .owner = d->owner,
        .lease_ttl_ms = set->lease_ttl_ms,
        .statement_timeout_ms = set->statement_timeout_ms,
        .tcp_user_timeout_ms = set->tcp_user_timeout_ms,
        .retry_base_ms = set->retry_base_ms,
        .retry_max_ms = set->retry_max_ms,
        .seed = random_u64(),
        .skip_poison = set->on_poison == ON_POISON_SKIP,
        .mark_async = set->mark_commit == MARK_COMMIT_ASYNC,
        .aside = serves(d, set) || (set->retention_ms > 0 && !d->once),
    };

    name_owner(d, set);
    d->envelope = (struct envelope){ .kind = set->envelope, .source = set->source };
    d->slot = calloc(set->inflight_rows, sizeof *d->slot);
    d->marks = calloc(set->inflight_rows, sizeof *d->marks);
    d->holds = calloc(set->inflight_rows, sizeof *d->holds);
    d->source = source_new(&source_cfg);
    d->now_ms = loop_now_ms();
    notify_init(&d->notify, d->now_ms);
    janitor_init(&d->janitor, d->now_ms, set->retention_ms);
    if (d->slot == NULL || d->marks == NULL || d->holds == NULL || d->source == NULL ||
        core_init(&d->core, d->now_ms, &core_cfg) < 0) {
        log_error("relay", "out of memory");
        return EXIT_INTERNAL;
    }
    int code = check_dsn(set);
    if (code == EXIT_OK)
        code = open_monitor(d, set);
    return code == EXIT_OK ? open_sink(d, set) : code;
}

static void close_all(struct driver *d, uint32_t n_slots)
{
    sink_free(d->sink); /* first: what it reports must still find the core */
    source_free(d->source);
    monitor_free(d->monitor);
    core_deinit(&d->core);
    takeover_deinit(&d->takeover);
    notify_deinit(&d->notify);
    incidents_deinit(&d->incidents);
    free(d->properties);
    for (uint32_t i = 0; d->slot != NULL && i < n_slots; i++) {
        free(d->slot[i].row);
        reason_clear(&d->slot[i].reason);
    }
    free(d->slot);
    free(d->marks);
    free(d->holds);
    envelope_buf_deinit(&d->envelope_buf);
}

/* Everything that happened is told to the core; then it is asked what to do. False: come back at
 * once, there is more to do. */
static bool turn(struct driver *d)
{
    struct source_event e;
    struct takeover_page page;
    struct core_action a;

    d->now_ms = loop_now_ms();
    monitor_turn(d->monitor, d->now_ms);
    sink_poll(d->sink);
    takeover_poll(&d->takeover, d->now_ms);
    if (takeover_ready(&d->takeover, d->now_ms, &page))
        use_page(d, &page);
    while (d->exit_code < 0 && source_next(d->source, d->now_ms, &e))
        on_source_event(d, &e);
    if (monitor_wants_figures(d->monitor) && source_aside_ready(d->source)) {
        monitor_asked(d->monitor, OP_FIGURES);
        source_figures(d->source, d->now_ms);
    }
    do_janitor(d);
    for (int i = 0; d->exit_code < 0 && i < ACTIONS_PER_TURN; i++) {
        if (!core_next(&d->core, d->now_ms, &a))
            return true;
        do_action(d, &a);
        if (a.what == CORE_ASK_KAFKA)
            break; /* it took its time; now the sockets */
    }
    return false;
}

/* The source says when a lead begins. It ends in the core, by the clock too, after a long freeze for
 * example, when no statement has said so. */
static void log_role(struct driver *d)
{
    bool leads = d->core.phase == CORE_LEAD;

    if (d->led && d->core.phase == CORE_FOLLOW)
        log_warn("relay", "no longer leading", "rows_out",
                 log_i64(d->core.window.n_state[ROW_SENT]));
    d->led = leads;
}

static void wait(struct driver *d, bool idle)
{
    struct pollfd fds[SOURCE_MAX_FDS + 2];
    size_t n = source_pollfds(d->source, fds);
    uint64_t due = source_deadline(d->source);
    uint64_t core_due = core_deadline(&d->core, d->now_ms);

    fds[n++] = (struct pollfd){ .fd = sink_fd(d->sink), .events = POLLIN };
    n += takeover_pollfds(&d->takeover, &fds[n]);
    if (core_due < due)
        due = core_due;
    if (takeover_deadline(&d->takeover) < due)
        due = takeover_deadline(&d->takeover);
    if (notify_deadline(&d->notify) < due)
        due = notify_deadline(&d->notify);
    if (d->core.phase == CORE_LEAD && source_aside_ready(d->source) &&
        janitor_deadline(&d->janitor) < due)
        due = janitor_deadline(&d->janitor);
    if (monitor_deadline(d->monitor) < due)
        due = monitor_deadline(d->monitor);
    loop_wait(fds, n, idle ? due : 0);
}

static void on_hangup(struct driver *d)
{
    if (d->from == NULL)
        return;
    notify_reloading(&d->notify);
    if (reload_settings(d->settings, d->from)) {
        struct core_config cfg = core_settings(d->settings, d->once);
        core_configure(&d->core, &cfg);
        source_configure(d->source, d->settings->retry_base_ms, d->settings->retry_max_ms);
        monitor_configure(d->monitor, d->settings->stall_timeout_ms);
    }
    notify_reloaded(&d->notify);
}

/* For the service manager: that the loop turns, and in a line what it does. */
static void report_health(struct driver *d)
{
    if (notify_turn(&d->notify, d->now_ms))
        notify_status(&d->notify, monitor_sentence(d->monitor));
}

static bool done(const struct driver *d)
{
    return d->exit_code >= 0 || d->core.phase == CORE_DONE;
}

static int finish(const struct driver *d)
{
    int code = d->exit_code >= 0 ? d->exit_code : d->core.unclean ? EXIT_UNAVAILABLE : EXIT_OK;

    if (d->once && d->exit_code < 0 && (d->core.unclean || loop_stop_requested())) {
        log_error("relay", loop_stop_requested() ? "interrupted before everything was published"
                                                 : "not everything could be published",
                  "remedy", "see the lines above; SELECT * FROM outbox.backlog");
        code = EXIT_UNAVAILABLE;
    }
    log_write(code == EXIT_OK ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "relay", "stopped", "rows_read",
              log_i64((int64_t)d->n_read), "rows_found", log_i64((int64_t)d->takeover.n_found),
              "rows_confirmed", log_i64((int64_t)d->n_confirmed),
              "rows_marked", log_i64((int64_t)d->n_marked), "rows_failed",
              log_i64((int64_t)d->n_failed), "rows_held", log_i64((int64_t)d->n_held), "rows_dead",
              log_i64((int64_t)d->core.n_dead), "maybe_delivered", log_i64((int64_t)d->core.n_maybe),
              "found_by_sweep", log_i64((int64_t)d->n_swept), "buckets_emptied",
              log_i64((int64_t)d->janitor.n_emptied), "exit_code", log_i64(code), (char *)0);
    return code;
}

static void stop(struct driver *d)
{
    loop_signals_unblock();
    notify_stopping(&d->notify, d->settings->drain_timeout_ms);
    core_stop(&d->core, d->now_ms);
}

int driver_run(struct settings *settings, const struct settings_from *from, bool once)
{
    struct driver d = { .once = once, .exit_code = -1, .settings = settings, .from = from };
    int code = open_all(&d, settings);

    if (code == EXIT_OK) {
        log_info("relay", "started", "librdkafka", sink_library_version(), "owner", d.owner);
        while (!done(&d)) {
            bool idle = turn(&d);
            log_role(&d);
            incidents_topics(&d.incidents, &d.core.topics);
            if (loop_reload_requested())
                on_hangup(&d);
            monitor_found(d.monitor, d.takeover.n_found);
            monitor_state(d.monitor, &d.core, &d.incidents, &d.janitor);
            report_health(&d);
            if (loop_stop_requested() && d.core.phase < CORE_DRAIN) {
                stop(&d);
            } else if (!done(&d)) {
                wait(&d, idle);
            }
        }
        code = finish(&d);
    }
    close_all(&d, settings->inflight_rows);
    return code;
}

int driver_check(const struct settings *settings)
{
    struct driver d = { .exit_code = -1 };
    int code = check_dsn(settings);

    if (code == EXIT_OK)
        code = open_sink(&d, settings);
    sink_free(d.sink);
    free(d.properties);
    return code;
}
