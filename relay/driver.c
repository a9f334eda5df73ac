/* driver.c - see driver.h. */
#include "relay/driver.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "relay/core/core.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"
#include "relay/source/source.h"

/* So many actions between two looks at the sockets: reading ahead must not wait for a whole page to
 * be produced. */
#define ACTIONS_PER_TURN 256
/* Lines about refused rows, per second. */
#define REFUSAL_LINES 10

struct slot {
    struct row *row;
    int64_t offset;
    int32_t partition;
};

struct driver {
    struct core core;
    struct source *source;
    struct sink *sink;
    struct slot *slot; /* by the core's slot */
    struct source_mark *marks;
    struct envelope envelope;
    struct envelope_buf envelope_buf;
    uint64_t now_ms;
    bool once;
    bool led; /* the role that was last logged */
    int exit_code;
    uint64_t n_read, n_confirmed, n_marked, n_failed;
    uint64_t lines_since_ms;
    uint32_t n_lines, n_suppressed;
    char owner[160];
};

/* -- from the sink -------------------------------------------------------------------------- */

static void log_failure(struct driver *d, const struct sink_report *r)
{
    const struct row *row = d->slot[r->slot].row;

    if (d->now_ms - d->lines_since_ms >= 1000) {
        if (d->n_suppressed > 0)
            log_warn("relay", "more rows were not accepted", "suppressed",
                     log_i64(d->n_suppressed));
        d->lines_since_ms = d->now_ms;
        d->n_lines = d->n_suppressed = 0;
    }
    if (d->n_lines++ >= REFUSAL_LINES) {
        d->n_suppressed++;
        return;
    }
    log_warn("relay", "kafka did not accept a row; it stays unsent and goes again", "id",
             log_i64(row->id), "topic", row->topic, "code", r->code, "error", r->text, "attempts",
             log_i64(d->core.window.row[r->slot].attempts));
}

static void on_report(void *arg, const struct sink_report *r)
{
    struct driver *d = arg;

    if (r->outcome == OUTCOME_PERSISTED) {
        d->slot[r->slot].partition = r->partition;
        d->slot[r->slot].offset = r->offset;
        d->n_confirmed++;
    } else {
        d->n_failed++;
        if (r->blame != BLAME_NONE)
            log_failure(d, r);
    }
    core_report(&d->core, d->now_ms, r->slot, r->outcome, r->blame);
}

static void on_fatal(void *arg, enum lane lane)
{
    struct driver *d = arg;

    core_lane_fatal(&d->core, lane);
}

/* -- from the source ------------------------------------------------------------------------ */

static void on_page(struct driver *d, const struct source_event *e)
{
    for (uint32_t i = 0; i < e->n_rows; i++) {
        struct row *row = e->rows[i];
        uint64_t key = row->key != NULL ? key_hash(row->topic, row->key, row->key_len) : 0;
        uint32_t topic = core_topic(&d->core, row->topic);
        uint32_t bytes = row->block_bytes < UINT32_MAX ? (uint32_t)row->block_bytes : UINT32_MAX;
        uint64_t due = row->wait_ms > 0 ? d->now_ms + (uint64_t)row->wait_ms : 0;
        uint32_t slot = topic != UINT32_MAX ? core_row(&d->core, topic, key, bytes, due) : NO_SLOT;

        if (topic == UINT32_MAX) {
            log_error("relay", "out of memory");
            d->exit_code = EXIT_INTERNAL;
        }
        if (slot == NO_SLOT)
            free(row);
        else
            d->slot[slot] = (struct slot){ .row = row };
    }
    d->n_read += e->n_rows;
    core_page_end(&d->core, d->now_ms, e->n_rows, e->full, e->catching_up);
}

static void on_source_event(struct driver *d, const struct source_event *e)
{
    switch (e->type) {
    case SOURCE_UP:
        core_link(&d->core, d->now_ms, true);
        break;
    case SOURCE_DOWN:
        core_link(&d->core, d->now_ms, false);
        if (d->once) {
            log_error("relay", "PostgreSQL is not available");
            d->exit_code = EXIT_UNAVAILABLE;
        }
        break;
    case SOURCE_PAGE:
        on_page(d, e);
        break;
    case SOURCE_READ_FAILED:
        core_read_failed(&d->core, d->now_ms);
        break;
    case SOURCE_MARKED:
        d->n_marked += d->core.n_marking;
        core_marked(&d->core, d->now_ms, true);
        break;
    case SOURCE_MARK_FAILED:
        core_marked(&d->core, d->now_ms, false);
        break;
    case SOURCE_LEASE:
        core_lease(&d->core, d->now_ms, e->ours);
        break;
    case SOURCE_LEASE_FAILED:
        core_lease_failed(&d->core, d->now_ms);
        break;
    case SOURCE_RESIGNED:
        core_resigned(&d->core, d->now_ms);
        break;
    case SOURCE_DUE_PAGE:
    case SOURCE_TOPIC_PAGE:
    case SOURCE_HELD:
    case SOURCE_HOLD_FAILED:
    case SOURCE_HELD_KEYS:
    case SOURCE_SWEPT:
    case SOURCE_SWEEP_FAILED:
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
        break;
    case SINK_FULL:
        core_full(&d->core, slot);
        break;
    case SINK_REFUSED:
        on_report(d, &refused);
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
            .id = s->row->id, .offset = s->offset, .partition = s->partition, .bucket = s->row->bucket
        };
    }
    qsort(d->marks, n, sizeof *d->marks, by_id);
    source_mark(d->source, d->now_ms, d->marks, n);
}

static void do_action(struct driver *d, const struct core_action *a)
{
    switch (a->what) {
    case CORE_READ:
        source_read(d->source, d->now_ms, a->n, a->bytes, a->page);
        break;
    case CORE_PRODUCE:
        do_produce(d, a->slot, a->lane);
        break;
    case CORE_MARK:
        do_mark(d, a->slots, a->n);
        break;
    case CORE_RELEASE:
        free(d->slot[a->slot].row);
        d->slot[a->slot].row = NULL;
        break;
    case CORE_RESET: {
        int rc = sink_reset(d->sink, a->lane);
        d->now_ms = loop_now_ms();
        core_lane_ready(&d->core, d->now_ms, a->lane, rc == 0);
        break;
    }
    case CORE_ACQUIRE:
        source_acquire(d->source, d->now_ms);
        break;
    case CORE_RENEW:
        source_renew(d->source, d->now_ms, a->page);
        break;
    case CORE_RESIGN:
        source_resign(d->source, d->now_ms, a->page);
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
        .lease_ttl_ms = set->lease_ttl_ms,
        .drain_timeout_ms = set->drain_timeout_ms,
        .seed = random_u64(),
        .once = once,
    };
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
    };
    if (props != NULL)
        rc = sink_new(&cfg, &d->sink, err, sizeof err);
    free(props);
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
    };

    name_owner(d, set);
    d->envelope = (struct envelope){ .kind = set->envelope, .source = set->source };
    d->slot = calloc(set->inflight_rows, sizeof *d->slot);
    d->marks = calloc(set->inflight_rows, sizeof *d->marks);
    d->source = source_new(&source_cfg);
    d->now_ms = loop_now_ms();
    if (d->slot == NULL || d->marks == NULL || d->source == NULL ||
        core_init(&d->core, d->now_ms, &core_cfg) < 0) {
        log_error("relay", "out of memory");
        return EXIT_INTERNAL;
    }
    int code = check_dsn(set);
    return code == EXIT_OK ? open_sink(d, set) : code;
}

static void close_all(struct driver *d, uint32_t n_slots)
{
    sink_free(d->sink); /* first: what it reports must still find the core */
    source_free(d->source);
    core_deinit(&d->core);
    for (uint32_t i = 0; d->slot != NULL && i < n_slots; i++)
        free(d->slot[i].row);
    free(d->slot);
    free(d->marks);
    envelope_buf_deinit(&d->envelope_buf);
}

/* Everything that happened is told to the core; then it is asked what to do. False: come back at
 * once, there is more to do. */
static bool turn(struct driver *d)
{
    struct source_event e;
    struct core_action a;

    d->now_ms = loop_now_ms();
    sink_poll(d->sink);
    while (d->exit_code < 0 && source_next(d->source, d->now_ms, &e))
        on_source_event(d, &e);
    for (int i = 0; d->exit_code < 0 && i < ACTIONS_PER_TURN; i++) {
        if (!core_next(&d->core, d->now_ms, &a))
            return true;
        do_action(d, &a);
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
    struct pollfd fds[3];
    size_t n = source_pollfds(d->source, fds);
    uint64_t due = source_deadline(d->source);
    uint64_t core_due = core_deadline(&d->core, d->now_ms);

    fds[n++] = (struct pollfd){ .fd = sink_fd(d->sink), .events = POLLIN };
    if (core_due < due)
        due = core_due;
    loop_wait(fds, n, idle ? due : 0);
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
              log_i64((int64_t)d->n_read), "rows_confirmed", log_i64((int64_t)d->n_confirmed),
              "rows_marked", log_i64((int64_t)d->n_marked), "rows_failed",
              log_i64((int64_t)d->n_failed), "exit_code", log_i64(code), (char *)0);
    return code;
}

int driver_run(const struct settings *settings, bool once)
{
    struct driver d = { .once = once, .exit_code = -1 };
    int code = open_all(&d, settings);

    if (code == EXIT_OK) {
        log_info("relay", "started", "librdkafka", sink_library_version(), "owner", d.owner);
        while (!done(&d)) {
            bool idle = turn(&d);
            log_role(&d);
            if (loop_stop_requested() && d.core.phase < CORE_DRAIN) {
                loop_signals_unblock();
                core_stop(&d.core, d.now_ms);
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
    return code;
}
