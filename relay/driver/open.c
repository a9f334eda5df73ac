/* open.c - from the settings to all that the loop drives, and its end. Knows neither SQL nor librdkafka. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "include/outbox.h"
#include "relay/driver/inside.h"
#include "relay/http/listen.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/mask.h"

/* Between two steps of the sweep, each over a few thousand events. */
#define SWEEP_MS 10000

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

struct core_config driver_core_settings(const struct settings *set, bool once)
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
        .hops_max = set->hops_max,
        .skip_poison = set->on_poison == ON_POISON_SKIP,
        .stall_timeout_ms = set->stall_timeout_ms,
        .sweep_ms = SWEEP_MS,
        .lease_ttl_ms = set->lease_ttl_ms,
        .drain_timeout_ms = set->drain_timeout_ms,
        .seed = random_u64(),
        .secret = { random_u64(), random_u64() },
        .once = once,
    };
}

/* Not with --once, whose port another relay may need. */
static bool serves(const struct driver *d, const struct settings *set)
{
    return !d->once && !listen_is_off(set->http_listen);
}

static void say_sink_failed(const struct settings *set, char *err, size_t err_size)
{
    settings_name_place(set, err, err_size);
    log_error("sink", "the producer cannot be set up", "error", err);
}

/* offline: without the brokers, so that it can be freed at once: what looks up a name, or connects, would be waited for. */
static int open_sink(struct driver *d, const struct settings *set, bool offline)
{
    struct sink_property *props = calloc(set->n_kafka + 1, sizeof *props);
    char err[1024] = "out of memory";
    size_t n = 0;
    int rc = -1;

    for (size_t i = 0; props != NULL && i < set->n_kafka; i++)
        if (!offline || !mask_is_brokers(set->kafka[i].name))
            props[n++] = (struct sink_property){ set->kafka[i].name, set->kafka[i].value };
    struct sink_config cfg = {
        .properties = props,
        .n_properties = n,
        .max_rows = set->inflight_rows,
        .max_bytes = set->inflight_bytes,
    };
    driver_hears(d, &cfg, serves(d, set));
    if (props != NULL)
        rc = sink_new(&cfg, &d->sink, err, sizeof err);
    d->properties = props; /* the takeover needs them as well */
    takeover_init(&d->takeover,
                  &(struct tail_config){ props, n, set->envelope, set->inflight_rows,
                                         set->inflight_bytes },
                  set->takeover_tail == TAKEOVER_TAIL_AUTO && set->envelope != ENVELOPE_PLAIN);
    if (rc < 0)
        say_sink_failed(set, err, sizeof err);
    return rc < 0 ? EXIT_CONFIGURATION : EXIT_OK;
}

static int check_dsn(const struct settings *set)
{
    char err[512], from[300];

    if (source_check_dsn(set->dsn, err, sizeof err) == 0)
        return EXIT_OK;
    settings_origin(set, SETTING_ID_dsn, from, sizeof from);
    log_error("source", "the setting dsn cannot be read", "from", from, "error", err, "remedy",
              "correct it and start the relay again");
    return EXIT_CONFIGURATION;
}

/* What is wrong with each by itself. */
static int check_each(const struct settings *set)
{
    int code = check_dsn(set);
    char err[1024];

    for (size_t i = 0; i < set->n_kafka; i++)
        if (sink_check_property(&(struct sink_property){ set->kafka[i].name, set->kafka[i].value }, err, sizeof err) < 0) {
            say_sink_failed(set, err, sizeof err);
            code = EXIT_CONFIGURATION;
        }
    return code;
}

struct driver_libraries driver_libraries(void)
{
    return (struct driver_libraries){ sink_library_version(), source_library_version() };
}

static int open_monitor(struct driver *d, const struct settings *set)
{
    const struct driver_libraries with = driver_libraries();
    struct monitor_config cfg = {
        .listen = serves(d, set) ? set->http_listen : NULL,
        .owner = d->owner,
        .version = OUTBOX_VERSION_STRING,
        .librdkafka = with.librdkafka,
        .libpq = with.libpq,
        .stall_timeout_ms = set->stall_timeout_ms,
    };

    d->monitor = monitor_new(&cfg, d->now_ms);
    if (d->monitor != NULL)
        return EXIT_OK;
    log_error("relay", "out of memory", "for", "metrics and page");
    return EXIT_INTERNAL;
}

int driver_open(struct driver *d, const struct settings *set)
{
    struct core_config core_cfg = driver_core_settings(set, d->once);
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
        .once = d->once,
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
        log_error("relay", "out of memory", "for", "inflight.rows", "inflight_rows",
                  log_i64((int64_t)set->inflight_rows));
        return EXIT_INTERNAL;
    }
    int code = check_each(set);
    if (code == EXIT_OK)
        code = open_monitor(d, set);
    return code == EXIT_OK ? open_sink(d, set, false) : code;
}

void driver_close(struct driver *d, uint32_t n_slots)
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

int driver_check(const struct settings *settings, bool whole)
{
    struct driver d = { .exit_code = -1 };
    int code = check_each(settings);

    if (code == EXIT_OK && whole)
        code = open_sink(&d, settings, true);
    /* that there is no broker is no matter of the settings */
    if (code == EXIT_OK && settings->log_level != LOG_LEVEL_DEBUG)
        log_setup(LOG_LEVEL_ERROR, settings->log_format);
    sink_free(d.sink);
    free(d.properties);
    return code;
}
