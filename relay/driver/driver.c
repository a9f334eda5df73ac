/* driver.c - the loop: tell the core what happened, do what it wants, wait. See driver.h. */
#include "relay/driver/driver.h"

#include "include/outbox.h"
#include "relay/driver/inside.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/reload.h"

/* So many actions between two looks at the sockets: reading ahead must not wait for a whole page to
 * be produced. */
#define ACTIONS_PER_TURN 256

/* Everything that happened is told to the core; then it is asked what to do. False: come back at
 * once, there is more to do. */
static bool turn(struct driver *d)
{
    struct source_event e;
    struct takeover_page page;
    struct core_action a;
    const char *remedy = NULL;

    d->now_ms = loop_now_ms();
    monitor_turn(d->monitor, d->now_ms);
    sink_poll(d->sink);
    takeover_poll(&d->takeover, d->now_ms);
    if (takeover_ready(&d->takeover, d->now_ms, &page))
        driver_use_page(d, &page);
    while (d->core.phase != CORE_DONE && source_next(d->source, d->now_ms, &e))
        driver_on_event(d, &e);
    const char *aside_error = source_aside_error(d->source, &remedy);
    monitor_aside(d->monitor, aside_error, remedy);
    if (monitor_wants_figures(d->monitor) && source_aside_ready(d->source)) {
        monitor_asked(d->monitor, OP_FIGURES);
        source_figures(d->source, d->now_ms);
    }
    if (monitor_wants_schema(d->monitor) && source_aside_ready(d->source)) {
        monitor_asked_schema(d->monitor);
        source_schema(d->source, d->now_ms);
    }
    driver_do_janitor(d);
    for (int i = 0; i < ACTIONS_PER_TURN; i++) {
        if (!core_next(&d->core, d->now_ms, &a))
            return true;
        driver_do(d, &a);
        if (a.what == CORE_ASK_KAFKA)
            break; /* it took its time; now the sockets */
    }
    return false;
}

static const char *why_it_ended(const struct driver *d)
{
    return !d->core.link_up ? "PostgreSQL was lost"
           : d->robbed      ? "another relay has taken the lease"
                            : "the lease was not renewed in time";
}

/* The source says when a lead begins. It ends in the core, by the clock too, after a long freeze for
 * example, when no statement has said so. */
static void log_role(struct driver *d)
{
    bool leads = d->core.phase == CORE_LEAD, gave_up = core_gave_up(&d->core);

    if (gave_up && !d->gave_up)
        log_warn("relay", "rows that cannot be held are given up; they are read again when outbox.held can be written",
                 "remedy", "end what locks outbox.held; other topics go on meanwhile");
    if (d->gave_up && d->core.phase == CORE_FOLLOW && d->core.link_up && d->core.lead.leading)
        log_info("relay", "outbox.held can be written again; what was given up is read again");
    else if (d->led && d->core.phase == CORE_FOLLOW)
        log_warn("relay", "no longer leading", "rows_out",
                 log_i64(d->core.window.n_state[ROW_SENT]), "because", why_it_ended(d));
    d->led = leads;
    d->gave_up = gave_up;
    d->robbed = false;
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
    if (reload_settings(d->settings, d->from, driver_check)) {
        struct core_config cfg = driver_core_settings(d->settings, d->once);
        core_configure(&d->core, d->now_ms, &cfg);
        source_configure(d->source, d->now_ms, d->settings->retry_base_ms, d->settings->retry_max_ms);
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

/* Of --once, which has not done what it was asked for. */
static void log_not_all(const struct driver *d)
{
    if (!loop_stop_requested() && d->leader[0] != '\0')
        log_error("relay", "another relay leads and publishes", "owner", d->leader, "remedy",
                  "end it first, or leave it to it; `outbox-relay status` says whether events flow");
    else
        log_error("relay", loop_stop_requested() ? "interrupted before everything was published"
                                                 : "not everything could be published",
                  "remedy", "see the lines above; SELECT * FROM outbox.backlog");
}

/* The last that the service manager hears, and shows of a relay that is gone. */
static void tell_end(struct driver *d)
{
    char text[sizeof d->why.text + 40];

    if (d->exit_code < 0)
        return;
    snprintf(text, sizeof text, "Ended with %d: %s", d->exit_code, d->why.text[0] != '\0' ? d->why.text : "the log says why");
    notify_status(&d->notify, text);
}

static int finish(const struct driver *d)
{
    int code = d->exit_code >= 0 ? d->exit_code : d->core.unclean ? EXIT_UNAVAILABLE : EXIT_OK;

    if (d->once && d->exit_code < 0 && (d->core.unclean || d->left || loop_stop_requested())) {
        log_not_all(d);
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

void driver_end(struct driver *d, int exit_code)
{
    if (d->exit_code >= 0)
        return;
    d->exit_code = exit_code;
    (void)log_recent(&d->why, 1);
    core_quit(&d->core, d->now_ms);
    if (d->core.phase == CORE_DONE)
        return;
    notify_stopping(&d->notify, d->settings->drain_timeout_ms);
    log_info("relay", "ending: what is out comes home or is purged, and the lease is given back", "rows_out",
             log_i64(d->core.window.n_state[ROW_SENT]));
}

static void stop(struct driver *d)
{
    loop_signals_unblock();
    notify_stopping(&d->notify, d->settings->drain_timeout_ms);
    core_stop(&d->core, d->now_ms);
    const uint32_t *n = d->core.window.n_state;
    log_info("relay", "stopping: nothing more is read, and what is out is waited for", "rows_out",
             log_i64(n[ROW_SENT]), "rows_to_mark", log_i64((int64_t)n[ROW_ACKED] + n[ROW_MARKING]), "rows_to_hold",
             log_i64((int64_t)n[ROW_HOLD] + n[ROW_HOLDING]), "drain_timeout_ms",
             log_i64((int64_t)d->settings->drain_timeout_ms));
}

int driver_run(struct settings *settings, const struct settings_from *from, bool once)
{
    struct driver d = { .once = once, .exit_code = -1, .settings = settings, .from = from };
    int code = driver_open(&d, settings);

    if (code == EXIT_OK) {
        struct driver_libraries with = driver_libraries();
        log_info("relay", "started", "version", OUTBOX_VERSION_STRING, "librdkafka", with.librdkafka, "libpq", with.libpq,
                 "owner", d.owner);
        while (d.core.phase != CORE_DONE) {
            bool idle = turn(&d);
            log_role(&d);
            incidents_topics(&d.incidents, &d.core.topics);
            if (loop_reload_requested())
                on_hangup(&d);
            monitor_next_attempt(d.monitor, source_next_attempt(d.source));
            monitor_found(d.monitor, d.takeover.n_found);
            monitor_state(d.monitor, &d.core, &d.incidents, &d.janitor);
            report_health(&d);
            if (loop_stop_requested() && d.core.phase < CORE_DRAIN) {
                stop(&d);
            } else if (d.core.phase != CORE_DONE) {
                wait(&d, idle);
            }
        }
        code = finish(&d);
        tell_end(&d);
    }
    driver_close(&d, settings->inflight_rows);
    return code;
}
