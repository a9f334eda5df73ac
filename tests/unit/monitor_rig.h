/* monitor_rig.h - what the tests of the monitor share: a monitor that is told what a relay meets, and its next picture. */
#ifndef TESTS_UNIT_MONITOR_RIG_H
#define TESTS_UNIT_MONITOR_RIG_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "relay/monitor_inside.h"

#define MINUTE 60000

static struct monitor *m;
static struct core core;
static struct incidents incidents;
static struct janitor janitor;
static uint64_t now_ms;

static inline void setup(void)
{
    struct core_config cfg = { .inflight_rows = 4, .batch_rows = 4, .inflight_bytes = 1000, .lease_ttl_ms = 10 * MINUTE };

    now_ms = 1000;
    m = monitor_new(&(struct monitor_config){ .owner = "me", .version = "1", .librdkafka = "2", .libpq = "3" }, now_ms);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(core_init(&core, now_ms, &cfg), 0);
    janitor_init(&janitor, now_ms, 0);
}

static inline void teardown(void)
{
    monitor_free(m);
    core_deinit(&core);
}

/* So much later, the next picture; good until the one after it. */
static inline const struct status *picture(uint64_t later_ms)
{
    now_ms += later_ms;
    monitor_turn(m, now_ms);
    m->publish_ms = 0;
    monitor_state(m, &core, &incidents, &janitor);
    return m->board.current;
}

static inline void link_is(bool up)
{
    monitor_link(m, up, up ? NULL : "it is gone", NULL);
    core_link(&core, now_ms, up);
}

static inline void begin_to_lead(void)
{
    struct core_action a;

    link_is(true);
    while (core_next(&core, now_ms, &a) && a.what != CORE_ACQUIRE)
        ;
    core_lease(&core, now_ms, true);
    ck_assert_int_eq(core.phase, CORE_LEAD);
    monitor_leader(m, "me", 0, -1);
    monitor_lease(m, true);
}

static inline void figures(int64_t pending, double oldest_s)
{
    struct figures *f = calloc(1, sizeof *f);

    ck_assert_ptr_nonnull(f);
    f->pending = pending;
    f->oldest_s = oldest_s;
    f->n_topics = 1;
    snprintf(f->topic[0].name, sizeof f->topic[0].name, "orders");
    f->topic[0].pending = pending;
    f->topic[0].oldest_s = oldest_s;
    f->topic[0].behind_s = 50;
    monitor_figures(m, f);
    free(f);
}

static inline void another_leads(double silent_s, double left_s)
{
    monitor_leader(m, "other", silent_s, left_s);
    monitor_lease(m, false);
}

#endif
