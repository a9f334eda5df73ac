/* core.c - phases, reading, marking, leading. The way of a row is in flow.c. See core.h. */
#include "relay/core/core.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/core/flow.h"
#include "relay/core/retry.h"

/* After the drain's time is over the lanes are purged; this much longer is left for the marks of what
 * was confirmed at the last moment. */
#define DRAIN_MARKS_MS 5000

int core_init(struct core *c, uint64_t now_ms, const struct core_config *cfg)
{
    *c = (struct core){
        .cfg = *cfg,
        .ready = ROW_LIST_EMPTY,
        .acked = ROW_LIST_EMPTY,
        .done = ROW_LIST_EMPTY,
        .rng = cfg->seed,
        .phase = CORE_FOLLOW,
        .follow_ms = now_ms,
        .ticked_ms = UINT64_MAX,
        .given_up_page = UINT64_MAX,
    };
    for (int l = 0; l < N_LANES; l++)
        c->lane[l].returned = ROW_LIST_EMPTY;
    topics_init(&c->topics);
    lead_init(&c->lead, cfg->lease_ttl_ms);
    c->backoff = calloc(cfg->inflight_rows, sizeof *c->backoff);
    c->marking = calloc(cfg->inflight_rows, sizeof *c->marking);
    if (window_init(&c->window, cfg->inflight_rows) < 0 ||
        keys_init(&c->keys, cfg->inflight_rows) < 0 || c->backoff == NULL || c->marking == NULL) {
        core_deinit(c);
        return -1;
    }
    return 0;
}

void core_deinit(struct core *c)
{
    window_deinit(&c->window);
    keys_deinit(&c->keys);
    topics_deinit(&c->topics);
    free(c->backoff);
    free(c->marking);
    c->backoff = c->marking = NULL;
}

uint32_t core_topic(struct core *c, const char *name)
{
    return topics_intern(&c->topics, name);
}

/* -- leading -------------------------------------------------------------------------------- */

static void purge_lanes(struct core *c)
{
    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].n_sent > 0 && !c->lane[l].resetting) {
            c->lane[l].want_reset = true;
            c->lane[l].reset_ms = 0;
        }
}

/* Stops reading. What is out comes home, what is confirmed gets its mark, the rest is given up and
 * will be read again, by us or by another, from the saved cursor. */
static void step_down(struct core *c, uint64_t now_ms)
{
    if (c->phase != CORE_LEAD)
        return;
    c->phase = CORE_FOLLOW;
    c->follow_ms = now_ms;
    flow_give_up_unsent(c);
}

static void step_up(struct core *c, uint64_t now_ms)
{
    assert(c->window.n == 0);
    c->phase = CORE_LEAD;
    c->caught_up = false;
    c->poll_ms = c->cfg.poll_min_ms;
    c->next_poll_ms = now_ms;
    c->progress_ms = now_ms;
}

void core_lease(struct core *c, uint64_t now_ms, bool ours)
{
    bool loaded = c->acquiring && ours;

    lead_answered(&c->lead, now_ms, ours);
    c->acquiring = false;
    if (loaded)
        c->given_up_page = UINT64_MAX;
    /* Only with the cursor just loaded: a RENEW may be answered after we stepped down. */
    if (loaded && c->lead.leading && c->phase == CORE_FOLLOW)
        step_up(c, now_ms);
    if (!c->lead.leading && (c->phase == CORE_LEAD || c->phase == CORE_DRAIN)) {
        step_down(c, now_ms);
        purge_lanes(c);
    }
}

void core_lease_failed(struct core *c, uint64_t now_ms)
{
    lead_unanswered(&c->lead, now_ms);
}

void core_resigned(struct core *c, uint64_t now_ms)
{
    (void)now_ms;
    c->resigning = false;
    c->lead.leading = false;
    c->phase = CORE_DONE;
}

void core_link(struct core *c, uint64_t now_ms, bool up)
{
    c->link_up = up;
    if (up)
        return;
    c->reading = false;
    if (c->lead.asking)
        lead_unanswered(&c->lead, now_ms);
    if (c->resigning)
        core_resigned(c, now_ms);
    if (c->n_marking > 0)
        core_marked(c, now_ms, false);
    c->mark_after_ms = 0;
    step_down(c, now_ms);
}

static void expire_lease(struct core *c, uint64_t now_ms)
{
    bool led = c->lead.leading;

    if (!lead_holds(&c->lead, now_ms) && led) {
        step_down(c, now_ms);
        purge_lanes(c);
    }
}

/* -- reading -------------------------------------------------------------------------------- */

uint32_t core_row(struct core *c, uint32_t topic, uint64_t key, uint32_t bytes,
                  uint64_t not_before_ms)
{
    if (c->phase != CORE_LEAD) {
        if (c->newest_page < c->given_up_page)
            c->given_up_page = c->newest_page;
        return NO_SLOT;
    }
    uint32_t slot = window_admit(&c->window, topic, key, bytes);
    assert(slot != NO_SLOT); /* READ never asks for more than there is room for */
    c->page_unused = false;
    if (not_before_ms > 0) {
        flow_schedule(c, slot, not_before_ms);
        c->ticked_ms = UINT64_MAX; /* it may be due already */
    } else {
        row_list_push(&c->window, &c->ready, slot);
    }
    return slot;
}

void core_page_end(struct core *c, uint64_t now_ms, uint32_t n_rows, bool full, bool catching_up)
{
    c->reading = false;
    if (n_rows > 0) {
        c->poll_ms = c->cfg.poll_min_ms;
    } else {
        c->poll_ms *= 2;
        if (c->poll_ms > c->cfg.poll_max_ms)
            c->poll_ms = c->cfg.poll_max_ms;
    }
    c->next_poll_ms = full ? now_ms : now_ms + c->poll_ms;
    if (!full && !catching_up)
        c->caught_up = true;
    if (c->window.n_state[ROW_SENT] == 0)
        c->progress_ms = now_ms;
}

void core_read_failed(struct core *c, uint64_t now_ms)
{
    c->reading = false;
    c->next_poll_ms = now_ms + c->cfg.retry_base_ms;
}

/* -- lanes ---------------------------------------------------------------------------------- */

void core_lane_fatal(struct core *c, enum lane lane)
{
    if (!c->lane[lane].resetting)
        c->lane[lane].want_reset = true;
}

void core_lane_ready(struct core *c, uint64_t now_ms, enum lane lane, bool ok)
{
    struct core_lane *l = &c->lane[lane];

    l->resetting = false;
    l->full = false;
    l->want_reset = !ok;
    l->reset_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, l->n_resets++,
                                          retry_random(&c->rng));
    flow_lane_whole(c, lane);
}

/* -- marking -------------------------------------------------------------------------------- */

void core_marked(struct core *c, uint64_t now_ms, bool ok)
{
    for (uint32_t i = 0; i < c->n_marking; i++) {
        uint32_t slot = c->marking[i];
        window_state(&c->window, slot, ok ? ROW_DONE : ROW_ACKED);
        row_list_push(&c->window, ok ? &c->done : &c->acked, slot);
    }
    c->n_marking = 0;
    c->mark_failures = ok ? 0 : c->mark_failures + 1;
    c->mark_after_ms = ok ? 0
                          : now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms,
                                                    c->mark_failures - 1, retry_random(&c->rng));
}

/* -- stopping ------------------------------------------------------------------------------- */

void core_stop(struct core *c, uint64_t now_ms)
{
    if (c->phase == CORE_DRAIN || c->phase == CORE_DONE)
        return;
    if (c->phase == CORE_LEAD)
        flow_give_up_unsent(c);
    c->phase = CORE_DRAIN;
    c->drain_until_ms = now_ms + c->cfg.drain_timeout_ms;
}

/* --once: finished when everything that was due is marked, and at a loss when what is left does not
 * move: paused topics, refused rows, or a broker that does not answer. */
static void check_once(struct core *c, uint64_t now_ms)
{
    const struct window *w = &c->window;
    uint32_t stuck = w->n_state[ROW_PARKED] + w->n_state[ROW_BACKOFF];
    uint32_t n_due = w->n - w->n_state[ROW_SCHEDULED];

    if (c->phase == CORE_FOLLOW && now_ms - c->follow_ms > c->cfg.lease_ttl_ms + 1000) {
        c->unclean = true;
        core_stop(c, now_ms);
    }
    if (c->phase != CORE_LEAD || !c->caught_up || c->reading)
        return;
    if (n_due == 0) {
        core_stop(c, now_ms);
    } else if (stuck == n_due || now_ms - c->progress_ms > c->cfg.drain_timeout_ms) {
        c->unclean = true;
        core_stop(c, now_ms);
        c->drain_until_ms = now_ms; /* what is out has been waited for already */
    }
}

static void check_drain(struct core *c, uint64_t now_ms)
{
    if (c->phase != CORE_DRAIN)
        return;
    if (c->window.n == 0 && (!c->link_up || !c->lead.leading)) {
        c->phase = CORE_DONE;
        return;
    }
    if (now_ms < c->drain_until_ms)
        return;
    purge_lanes(c);
    if (now_ms < c->drain_until_ms + DRAIN_MARKS_MS)
        return;
    c->unclean |= c->window.n > 0; /* else only the lease is left, and ends by itself */
    c->phase = CORE_DONE;
}

static void tick(struct core *c, uint64_t now_ms)
{
    if (now_ms != c->ticked_ms) {
        expire_lease(c, now_ms);
        flow_wake(c, now_ms);
    }
    c->ticked_ms = now_ms;
    if (c->cfg.once)
        check_once(c, now_ms);
    check_drain(c, now_ms);
}

/* -- actions -------------------------------------------------------------------------------- */

static bool next_release(struct core *c, struct core_action *a)
{
    uint32_t slot = row_list_pop(&c->window, &c->done);

    if (slot == NO_SLOT)
        return false;
    window_release(&c->window, slot);
    *a = (struct core_action){ .what = CORE_RELEASE, .slot = slot };
    return true;
}

static bool next_reset(struct core *c, uint64_t now_ms, struct core_action *a)
{
    for (int i = 0; i < N_LANES; i++) {
        struct core_lane *l = &c->lane[i];
        if (!l->want_reset || l->resetting || now_ms < l->reset_ms)
            continue;
        l->want_reset = false;
        l->resetting = true;
        *a = (struct core_action){ .what = CORE_RESET, .lane = (enum lane)i };
        return true;
    }
    return false;
}

/* One statement at a time on the connection that marks and keeps the lease. */
static bool write_side_busy(const struct core *c)
{
    return c->n_marking > 0 || c->lead.asking || c->resigning;
}

static bool want_acquire(const struct core *c)
{
    return c->phase == CORE_FOLLOW && c->window.n == 0 && !c->reading;
}

/* Every row before this page is marked; rows given up are not. */
static uint64_t cursor_page(struct core *c)
{
    uint64_t page = window_page_oldest(&c->window);

    return page < c->given_up_page ? page : c->given_up_page;
}

static bool next_lease(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (!c->link_up || write_side_busy(c))
        return false;
    if (c->phase == CORE_DRAIN && c->window.n == 0) {
        c->resigning = true;
        *a = (struct core_action){ .what = CORE_RESIGN, .page = cursor_page(c) };
        return true;
    }
    if (now_ms < c->lead.next_ms)
        return false;
    if (want_acquire(c))
        *a = (struct core_action){ .what = CORE_ACQUIRE };
    else if (c->phase != CORE_FOLLOW && c->lead.leading)
        *a = (struct core_action){ .what = CORE_RENEW, .page = cursor_page(c) };
    else
        return false;
    c->acquiring = a->what == CORE_ACQUIRE;
    lead_asked(&c->lead, now_ms);
    return true;
}

/* Marks go in batches; a lone row waits for company, but not for long. */
static uint64_t mark_due_ms(const struct core *c)
{
    if (!c->link_up || write_side_busy(c) || c->acked.n == 0)
        return UINT64_MAX;
    if (c->acked.n >= c->cfg.batch_rows || c->phase != CORE_LEAD ||
        (c->cfg.once && c->window.n == c->acked.n))
        return c->mark_after_ms;
    uint64_t due = c->window.row[c->acked.head].since_ms + c->cfg.mark_delay_ms;
    return due > c->mark_after_ms ? due : c->mark_after_ms;
}

static bool next_mark(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < mark_due_ms(c))
        return false; /* UINT64_MAX: never */
    while (c->acked.n > 0) {
        uint32_t slot = row_list_pop(&c->window, &c->acked);
        window_state(&c->window, slot, ROW_MARKING);
        c->marking[c->n_marking++] = slot;
    }
    *a = (struct core_action){ .what = CORE_MARK, .slots = c->marking, .n = c->n_marking };
    return true;
}

static bool next_produce(struct core *c, struct core_action *a)
{
    uint32_t slot;
    enum lane lane;

    if (c->phase != CORE_LEAD || !flow_next(c, &slot, &lane))
        return false;
    *a = (struct core_action){ .what = CORE_PRODUCE, .slot = slot, .lane = lane };
    return true;
}

/* A page is worth a round trip when there is room for a whole batch, or when nothing else can make
 * room. */
static bool may_read(const struct core *c)
{
    const struct window *w = &c->window;

    if (c->phase != CORE_LEAD || !c->link_up || c->reading || (c->cfg.once && c->caught_up))
        return false;
    return w->n == 0 || (w->cap - w->n >= c->cfg.batch_rows &&
                         w->bytes + c->cfg.inflight_bytes / 4 <= c->cfg.inflight_bytes);
}

static bool next_read(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (!may_read(c) || now_ms < c->next_poll_ms)
        return false;
    uint32_t room = c->window.cap - c->window.n;
    c->reading = true;
    if (!c->page_unused)
        c->newest_page = window_page_begin(&c->window);
    c->page_unused = true;
    *a = (struct core_action){
        .what = CORE_READ,
        .page = c->newest_page,
        .n = room < c->cfg.batch_rows ? room : c->cfg.batch_rows,
        .bytes = (c->cfg.inflight_bytes - c->window.bytes) / 2 + 1,
    };
    return true;
}

bool core_next(struct core *c, uint64_t now_ms, struct core_action *ret_action)
{
    tick(c, now_ms);
    if (c->phase == CORE_DONE)
        return false;
    /* what others work on first: the server reads the next page while this one is produced */
    return next_release(c, ret_action) || next_reset(c, now_ms, ret_action) ||
           next_lease(c, now_ms, ret_action) || next_mark(c, now_ms, ret_action) ||
           next_read(c, now_ms, ret_action) || next_produce(c, ret_action);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t lease_deadline(const struct core *c)
{
    uint64_t due = c->lead.leading ? c->lead.until_ms : UINT64_MAX;

    if (c->link_up && !write_side_busy(c) &&
        (want_acquire(c) || (c->phase != CORE_FOLLOW && c->lead.leading)))
        due = min_u64(due, c->lead.next_ms);
    return due;
}

uint64_t core_deadline(const struct core *c, uint64_t now_ms)
{
    uint64_t due = min_u64(lease_deadline(c), min_u64(flow_deadline(c), mark_due_ms(c)));

    if (may_read(c))
        due = min_u64(due, c->next_poll_ms);
    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].want_reset && !c->lane[l].resetting)
            due = min_u64(due, c->lane[l].reset_ms);
    if (c->phase == CORE_DRAIN)
        due = min_u64(due, now_ms < c->drain_until_ms ? c->drain_until_ms
                                                      : c->drain_until_ms + DRAIN_MARKS_MS);
    if (c->cfg.once)
        due = min_u64(due, now_ms + 100); /* check_once looks at the clock by itself */
    return due;
}
