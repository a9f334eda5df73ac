/* core.c - phases, reading, writing, leading. The way of a row is in flow.c, and that into
 * outbox.held and back in hold.c. See core.h. */
#include "relay/core/core.h"

#include <assert.h>
#include <stdlib.h>

#include "relay/core/flow.h"
#include "relay/core/hold.h"
#include "lib/shared/retry.h"

/* After the drain's time is over the lanes are purged; this much longer is left for the marks of what
 * was confirmed at the last moment. */
#define DRAIN_MARKS_MS 5000

/* What is due in outbox.held is looked for at least so often: people change rows there too. */
#define DUE_MS 1000

/* So many rows are put there at once. */
#define HOLD_ROWS 10000

int core_init(struct core *c, uint64_t now_ms, const struct core_config *cfg)
{
    *c = (struct core){
        .cfg = *cfg,
        .ready = ROW_LIST_EMPTY,
        .acked = ROW_LIST_EMPTY,
        .hold = ROW_LIST_EMPTY,
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
    c->marking = calloc(cfg->inflight_rows, sizeof *c->marking);
    c->holding = calloc(cfg->inflight_rows, sizeof *c->holding);
    if (window_init(&c->window, cfg->inflight_rows) < 0 ||
        keys_init(&c->keys, cfg->inflight_rows) < 0 || c->marking == NULL || c->holding == NULL) {
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
    held_keys_deinit(&c->held);
    free(c->marking);
    free(c->holding);
    c->marking = c->holding = NULL;
}

void core_configure(struct core *c, const struct core_config *cfg)
{
    assert(cfg->inflight_rows == c->cfg.inflight_rows && cfg->inflight_bytes == c->cfg.inflight_bytes);
    c->cfg = *cfg;
    if (c->poll_ms < cfg->poll_min_ms)
        c->poll_ms = cfg->poll_min_ms;
    if (c->poll_ms > cfg->poll_max_ms)
        c->poll_ms = cfg->poll_max_ms;
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
    c->next_poll_ms = c->due_ms = now_ms;
    c->new_ground_seq = 0;
    c->n_left = 0;
    c->sweep_ms = now_ms + c->cfg.sweep_ms;
    c->stall_ms = now_ms;
    c->progress_ms = now_ms;
    c->asking_kafka = false;
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

void core_held_piece(struct core *c, uint64_t now_ms)
{
    lead_heard(&c->lead, now_ms);
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
    if (c->reading == READING_OUTBOX)
        flow_give_up_page(c, c->newest_page); /* read already, perhaps */
    c->reading = READING_NOTHING;
    c->sweeping = false;
    if (c->lead.asking)
        lead_unanswered(&c->lead, now_ms);
    if (c->resigning)
        core_resigned(c, now_ms);
    if (c->n_marking > 0)
        core_marked(c, now_ms, false);
    if (c->n_holding > 0)
        core_held(c, now_ms, false);
    c->read_pause = c->mark_pause = c->hold_pause = (struct core_pause){ 0 };
    step_down(c, now_ms);
}

void core_moved(struct core *c)
{
    uint32_t slot;

    c->moved_seq = c->window.next_seq;
    while ((slot = row_list_pop(&c->window, &c->acked)) != NO_SLOT)
        flow_give_up(c, slot);
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

static void pause_after(struct core *c, struct core_pause *p, uint64_t now_ms)
{
    p->until_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, p->failures++,
                                          retry_random(&c->rng));
}

/* Rows that are read while the relay does not lead are to be read again. */
static bool takes_rows(struct core *c)
{
    if (c->phase == CORE_LEAD)
        return true;
    if (c->reading == READING_OUTBOX)
        flow_give_up_page(c, c->newest_page);
    return false;
}

static uint32_t admit(struct core *c, uint32_t topic, uint64_t key, uint32_t bytes)
{
    uint32_t slot = window_admit(&c->window, topic, key, bytes, c->reading == READING_OUTBOX);

    assert(slot != NO_SLOT); /* no read asks for more than there is room for */
    c->page_unused &= c->reading != READING_OUTBOX;
    return slot;
}

uint32_t core_row(struct core *c, uint32_t topic, uint64_t key, uint32_t bytes, bool scheduled)
{
    if (!takes_rows(c))
        return NO_SLOT;
    uint32_t slot = admit(c, topic, key, bytes);
    if (scheduled)
        hold_row(c, slot, HOLD_SCHEDULED, 0);
    else
        row_list_push(&c->window, &c->ready, slot);
    return slot;
}

uint32_t core_found_row(struct core *c, uint64_t now_ms, uint32_t topic, uint64_t key,
                        uint32_t bytes)
{
    if (!takes_rows(c))
        return NO_SLOT;
    uint32_t slot = admit(c, topic, key, bytes);
    flow_acked(c, now_ms, slot);
    return slot;
}

uint32_t core_held_row(struct core *c, uint64_t now_ms, uint32_t topic, uint64_t key,
                       uint32_t bytes, struct core_held_info info)
{
    if (!takes_rows(c))
        return NO_SLOT;
    uint32_t slot = admit(c, topic, key, bytes);
    struct window_row *r = &c->window.row[slot];
    r->from = (uint8_t)info.from;
    r->attempts = info.attempts;
    r->maybe = info.maybe;
    if (info.found)
        r->attempts = 0; /* it goes to nobody any more */
    else
        row_list_push(&c->window, &c->ready, slot);
    hold_came_back(c, slot);
    if (info.found)
        flow_acked(c, now_ms, slot);
    return slot;
}

static void read_ended(struct core *c)
{
    c->reading = READING_NOTHING;
    c->read_pause = (struct core_pause){ 0 };
}

void core_page_end(struct core *c, uint64_t now_ms, uint32_t n_rows, bool full, bool catching_up)
{
    read_ended(c);
    if (n_rows > 0) {
        c->poll_ms = c->cfg.poll_min_ms;
    } else {
        /* by half: a row that comes alone waits a third of the time since the one before, at most */
        c->poll_ms += (c->poll_ms + 1) / 2;
        if (c->poll_ms > c->cfg.poll_max_ms)
            c->poll_ms = c->cfg.poll_max_ms;
    }
    c->next_poll_ms = full ? now_ms : now_ms + c->poll_ms;
    if (!full && !catching_up)
        c->caught_up = true;
    if (!catching_up && c->new_ground_seq == 0)
        c->new_ground_seq = c->window.next_seq + 1;
    if (c->window.n_state[ROW_SENT] == 0)
        c->progress_ms = now_ms;
}

void core_due_end(struct core *c, uint64_t now_ms, bool full, uint64_t next_due_ms)
{
    read_ended(c);
    c->due_ms = full ? now_ms : now_ms + (next_due_ms < DUE_MS ? next_due_ms : DUE_MS);
}

void core_topic_end(struct core *c, uint64_t now_ms, bool full)
{
    (void)now_ms;
    read_ended(c);
    c->topics.topic[c->reading_topic].more |= full;
    hold_topic_settled(c, c->reading_topic);
}

void core_read_failed(struct core *c, uint64_t now_ms)
{
    if (c->reading == READING_TOPIC)
        c->topics.topic[c->reading_topic].more = true;
    c->reading = READING_NOTHING;
    pause_after(c, &c->read_pause, now_ms);
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

void core_kafka_answered(struct core *c, uint64_t now_ms, bool any)
{
    uint64_t wait = c->cfg.stall_timeout_ms;

    c->asking_kafka = false;
    if (!any)
        c->silent_ms = now_ms;
    /* When the brokers come back, what was out all the while gets its time to move. */
    if (any && c->phase == CORE_LEAD && now_ms >= wait && now_ms - wait >= c->silent_ms)
        (void)flow_stalled(c, now_ms, now_ms - wait, false);
}

/* -- marking and holding -------------------------------------------------------------------- */

void core_marked(struct core *c, uint64_t now_ms, bool ok)
{
    for (uint32_t i = 0; i < c->n_marking; i++) {
        uint32_t slot = c->marking[i];
        if (!ok) {
            window_state(&c->window, slot, ROW_ACKED);
            row_list_push(&c->window, &c->acked, slot);
            continue;
        }
        if (c->window.row[slot].from == HELD_KEY)
            c->due_ms = now_ms; /* the next of its key may be due now */
        hold_done(c, slot);
    }
    c->n_marking = 0;
    if (ok)
        c->mark_pause = (struct core_pause){ 0 };
    else
        pause_after(c, &c->mark_pause, now_ms);
}

void core_held(struct core *c, uint64_t now_ms, bool ok)
{
    for (uint32_t i = 0; i < c->n_holding; i++) {
        uint32_t slot = c->holding[i];
        if (ok) {
            hold_written(c, now_ms, slot);
        } else if (c->phase != CORE_LEAD) {
            flow_give_up(c, slot);
        } else {
            window_state(&c->window, slot, ROW_HOLD);
            row_list_push(&c->window, &c->hold, slot);
        }
    }
    c->n_holding = 0;
    if (ok)
        c->hold_pause = (struct core_pause){ 0 };
    else
        pause_after(c, &c->hold_pause, now_ms);
}

void core_swept(struct core *c, uint64_t now_ms, bool found)
{
    c->sweeping = false;
    c->sweep_ms = now_ms + c->cfg.sweep_ms;
    if (found)
        c->due_ms = now_ms;
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

/* --once: finished when everything that was due is marked or in outbox.held, and at a loss when what
 * is left does not move. What is held there and not for its time was not published. */
static void check_once(struct core *c, uint64_t now_ms)
{
    bool held = c->held.n > 0 || c->held.all || c->topics.n_held > 0 || c->topics.n_paused > 0 ||
                c->n_left > 0;
    uint32_t topic;

    if (c->phase == CORE_FOLLOW && now_ms - c->follow_ms > c->cfg.lease_ttl_ms + 1000) {
        c->unclean = true;
        core_stop(c, now_ms);
    }
    if (c->phase != CORE_LEAD || !c->caught_up || c->reading != READING_NOTHING)
        return;
    if (c->window.n == 0 && now_ms < c->due_ms && !hold_next_topic(c, &topic)) {
        c->unclean |= held;
        core_stop(c, now_ms);
    } else if (now_ms - c->progress_ms > c->cfg.drain_timeout_ms) {
        c->unclean = true;
        core_stop(c, now_ms);
        c->drain_until_ms = now_ms; /* what is out has been waited for already */
    }
}

static void check_drain(struct core *c, uint64_t now_ms)
{
    if (c->phase != CORE_DRAIN)
        return;
    /* a lease that was asked for may be ours already: then it is given back */
    if (c->window.n == 0 && (!c->link_up || (!c->lead.leading && !c->lead.asking))) {
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

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* One statement at a time on the connection that writes. */
static bool write_side_busy(const struct core *c)
{
    return c->n_marking > 0 || c->n_holding > 0 || c->lead.asking || c->resigning || c->sweeping;
}

static bool want_acquire(const struct core *c)
{
    return c->phase == CORE_FOLLOW && c->window.n == 0 && c->reading == READING_NOTHING;
}

/* Every row before this page is marked or held; rows given up are not, nor those of a page that was
 * read, perhaps, and has not been told yet. */
static uint64_t cursor_page(struct core *c)
{
    uint64_t page = window_page_oldest(&c->window);

    if (c->reading == READING_OUTBOX)
        page = min_u64(page, c->newest_page);
    return min_u64(page, c->given_up_page);
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
    if (want_acquire(c)) {
        hold_forget(c);
        *a = (struct core_action){ .what = CORE_ACQUIRE };
    } else if (c->phase != CORE_FOLLOW && c->lead.leading) {
        *a = (struct core_action){ .what = CORE_RENEW, .page = cursor_page(c) };
    } else {
        return false;
    }
    c->acquiring = a->what == CORE_ACQUIRE;
    lead_asked(&c->lead, now_ms);
    return true;
}

/* Each kind of work says from when on it can be done, UINT64_MAX where that does not depend on time;
 * core_next and core_deadline both go by it. */

/* Marks go in batches; a lone row waits for company, but not for long. */
static uint64_t mark_due_ms(const struct core *c)
{
    if (!c->link_up || write_side_busy(c) || c->acked.n == 0)
        return UINT64_MAX;
    if (c->acked.n >= c->cfg.batch_rows || c->phase != CORE_LEAD ||
        (c->cfg.once && c->window.n == c->acked.n))
        return c->mark_pause.until_ms;
    return max_u64(c->window.row[c->acked.head].since_ms + c->cfg.mark_delay_ms,
                   c->mark_pause.until_ms);
}

/* Not while outbox.held is read: a row would come back that is still in the window. */
static uint64_t hold_due_ms(const struct core *c)
{
    if (!c->link_up || write_side_busy(c) || c->hold.n == 0 || c->phase != CORE_LEAD ||
        c->reading == READING_DUE || c->reading == READING_TOPIC)
        return UINT64_MAX;
    return c->hold_pause.until_ms;
}

static uint64_t sweep_due_ms(const struct core *c)
{
    if (!c->link_up || write_side_busy(c) || c->phase != CORE_LEAD || !c->caught_up ||
        c->cfg.sweep_ms == 0 || c->cfg.once)
        return UINT64_MAX;
    return c->sweep_ms;
}

static bool may_read(const struct core *c)
{
    return c->phase == CORE_LEAD && c->link_up && c->reading == READING_NOTHING;
}

/* A page is worth a round trip when there is room for a whole batch, or when nothing else can make
 * room. */
static uint64_t outbox_due_ms(const struct core *c)
{
    const struct window *w = &c->window;

    if (!may_read(c) || (c->cfg.once && c->caught_up))
        return UINT64_MAX;
    if (w->n > 0 && (w->cap - w->n < c->cfg.batch_rows ||
                     w->bytes + c->cfg.inflight_bytes / 4 > c->cfg.inflight_bytes))
        return UINT64_MAX;
    return max_u64(c->next_poll_ms, c->read_pause.until_ms);
}

static bool is_before_new_ground(const struct core *c, const struct row_list *l)
{
    return l->n > 0 && c->window.row[l->head].seq + 1 < c->new_ground_seq;
}

/* What comes back from outbox.held needs less room: rows may wait behind it. But an earlier reader may
 * have left rows that go before those that it has put there; they come with the pages up to where it
 * stood, and have to find their places first. */
static bool may_read_back(const struct core *c)
{
    if (c->new_ground_seq == 0 || is_before_new_ground(c, &c->ready) ||
        is_before_new_ground(c, &c->hold))
        return false;
    return may_read(c) && c->n_holding == 0 && c->window.n < c->window.cap &&
           (c->window.n == 0 || c->window.bytes < c->cfg.inflight_bytes);
}

static uint64_t held_due_ms(const struct core *c)
{
    return may_read_back(c) && c->n_due == 0 ? max_u64(c->due_ms, c->read_pause.until_ms)
                                             : UINT64_MAX;
}

static uint64_t topic_due_ms(const struct core *c, uint32_t *ret_topic)
{
    return may_read_back(c) && hold_next_topic(c, ret_topic) ? c->read_pause.until_ms : UINT64_MAX;
}

static uint64_t stall_due_ms(const struct core *c)
{
    if (c->phase != CORE_LEAD || c->asking_kafka || c->cfg.stall_timeout_ms == 0 ||
        c->window.n_state[ROW_SENT] == 0)
        return UINT64_MAX;
    return c->stall_ms;
}

static bool next_mark(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < mark_due_ms(c))
        return false;
    while (c->acked.n > 0) {
        uint32_t slot = row_list_pop(&c->window, &c->acked);
        window_state(&c->window, slot, ROW_MARKING);
        c->marking[c->n_marking++] = slot;
    }
    c->hold_was_last = false;
    *a = (struct core_action){ .what = CORE_MARK, .slots = c->marking, .n = c->n_marking };
    return true;
}

static bool next_hold(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < hold_due_ms(c))
        return false;
    while (c->hold.n > 0 && c->n_holding < HOLD_ROWS) {
        uint32_t slot = row_list_pop(&c->window, &c->hold);
        window_state(&c->window, slot, ROW_HOLDING);
        c->holding[c->n_holding++] = slot;
    }
    c->hold_was_last = true;
    *a = (struct core_action){ .what = CORE_HOLD, .slots = c->holding, .n = c->n_holding };
    return true;
}

static bool next_write(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (c->hold_was_last)
        return next_mark(c, now_ms, a) || next_hold(c, now_ms, a);
    return next_hold(c, now_ms, a) || next_mark(c, now_ms, a);
}

static bool next_sweep(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < sweep_due_ms(c))
        return false;
    c->sweeping = true;
    *a = (struct core_action){ .what = CORE_SWEEP };
    return true;
}

static bool next_produce(struct core *c, uint64_t now_ms, struct core_action *a)
{
    uint32_t slot;
    enum lane lane;

    if (c->phase != CORE_LEAD || !flow_next(c, now_ms, &slot, &lane))
        return false;
    *a = (struct core_action){ .what = CORE_PRODUCE, .slot = slot, .lane = lane };
    return true;
}

static void ask_for_page(struct core *c, enum core_do what, enum core_reading reading,
                         struct core_action *a)
{
    uint32_t room = c->window.cap - c->window.n;
    uint64_t left = c->cfg.inflight_bytes > c->window.bytes
                        ? c->cfg.inflight_bytes - c->window.bytes : 0;

    c->reading = reading;
    *a = (struct core_action){
        .what = what,
        .n = room < c->cfg.batch_rows ? room : c->cfg.batch_rows,
        .bytes = left / 2 + 1,
    };
}

static bool next_read_back(struct core *c, uint64_t now_ms, struct core_action *a)
{
    uint32_t topic = 0;

    if (now_ms >= held_due_ms(c)) {
        ask_for_page(c, CORE_READ_DUE, READING_DUE, a);
        return true;
    }
    if (now_ms < topic_due_ms(c, &topic))
        return false;
    ask_for_page(c, CORE_READ_TOPIC, READING_TOPIC, a);
    if (c->topics.topic[topic].state != TOPIC_OPEN)
        a->n = 1; /* it probes */
    a->topic = c->reading_topic = topic;
    c->topics.topic[topic].more = false;
    c->topics.topic[topic].returning = true;
    return true;
}

static bool next_read(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < outbox_due_ms(c))
        return false;
    ask_for_page(c, CORE_READ, READING_OUTBOX, a);
    if (!c->page_unused)
        c->newest_page = window_page_begin(&c->window);
    c->page_unused = true;
    a->page = c->newest_page;
    return true;
}

static bool next_ask(struct core *c, uint64_t now_ms, struct core_action *a)
{
    uint64_t wait = c->cfg.stall_timeout_ms;

    if (now_ms < stall_due_ms(c))
        return false;
    c->stall_ms = now_ms + wait / 4 + 1;
    if (now_ms < wait || !flow_stalled(c, now_ms, now_ms - wait, true))
        return false;
    c->asking_kafka = true;
    *a = (struct core_action){ .what = CORE_ASK_KAFKA };
    return true;
}

/* What others work on first: the server reads the next page while this one is produced. */
static bool next_action(struct core *c, uint64_t now_ms, struct core_action *ret_action)
{
    return next_release(c, ret_action) || next_reset(c, now_ms, ret_action) ||
           next_lease(c, now_ms, ret_action) || next_write(c, now_ms, ret_action) ||
           next_sweep(c, now_ms, ret_action) || next_read_back(c, now_ms, ret_action) ||
           next_read(c, now_ms, ret_action) || next_ask(c, now_ms, ret_action) ||
           next_produce(c, now_ms, ret_action);
}

bool core_next(struct core *c, uint64_t now_ms, struct core_action *ret_action)
{
    tick(c, now_ms);
    do {
        c->put_aside = false;
        if (c->phase == CORE_DONE)
            return false;
        if (c->phase == CORE_LEAD)
            hold_relieve(c);
        if (next_action(c, now_ms, ret_action))
            return true;
    } while (c->put_aside); /* there is something to write now, or to let go */
    return false;
}

static uint64_t lease_deadline(const struct core *c)
{
    uint64_t due = c->lead.leading ? c->lead.until_ms : UINT64_MAX;

    if (c->link_up && !write_side_busy(c) &&
        (want_acquire(c) || (c->phase != CORE_FOLLOW && c->lead.leading)))
        due = min_u64(due, c->lead.next_ms);
    return due;
}

static uint64_t work_deadline(const struct core *c)
{
    uint32_t topic;
    uint64_t due = min_u64(min_u64(mark_due_ms(c), hold_due_ms(c)), sweep_due_ms(c));

    due = min_u64(due, min_u64(outbox_due_ms(c), held_due_ms(c)));
    return min_u64(due, min_u64(topic_due_ms(c, &topic), stall_due_ms(c)));
}

uint64_t core_deadline(const struct core *c, uint64_t now_ms)
{
    uint64_t due = min_u64(min_u64(lease_deadline(c), flow_deadline(c)), work_deadline(c));

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
