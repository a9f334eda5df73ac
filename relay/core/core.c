/* core.c - what happened to rows: read, marked, put into outbox.held, and what became of a lane. Their way
 * through the window is in flow.c, that into outbox.held in hold.c, that back in back.c, when they are read
 * at all in phase.c, and what to do next in next.c. See core.h.
 */
#include "relay/core/core.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/shared/retry.h"
#include "relay/core/back.h"
#include "relay/core/flow.h"
#include "relay/core/hold.h"
#include "relay/core/phase.h"
#include "relay/core/report.h"

/* What is due in outbox.held is looked for at least so often: people change rows there too. */
#define DUE_MS 1000

int core_init(struct core *c, uint64_t now_ms, const struct core_config *cfg)
{
    *c = (struct core){
        .cfg = *cfg,
        .ready = ROW_LIST_EMPTY,
        .acked = { ROW_LIST_EMPTY, ROW_LIST_EMPTY },
        .hold = ROW_LIST_EMPTY,
        .done = ROW_LIST_EMPTY,
        .rng = cfg->seed,
        .secret = { cfg->secret[0], cfg->secret[1] },
        .phase = CORE_FOLLOW,
        .follow_ms = now_ms,
        .ticked_ms = UINT64_MAX,
        .given_up_page = UINT64_MAX,
    };
    for (int l = 0; l < N_LANES; l++)
        c->lane[l] = (struct core_lane){ .producer = ++c->n_producers, .returned = ROW_LIST_EMPTY };
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

static void not_after(uint64_t *ms, uint64_t latest_ms)
{
    if (*ms > latest_ms)
        *ms = latest_ms;
}

/* A pause that began under other settings lasts no longer than one that begins now. */
static void shorten_pauses(struct core *c, uint64_t now_ms)
{
    uint64_t latest_ms = now_ms + c->cfg.retry_max_ms;

    for (int l = 0; l < N_LANES; l++)
        not_after(&c->lane[l].reset_ms, latest_ms);
    for (int r = 0; r < N_CORE_READINGS; r++)
        not_after(&c->read_pause[r].until_ms, latest_ms);
    for (int of = 0; of < N_CORE_MARKS; of++)
        not_after(&c->mark_pause[of].until_ms, latest_ms);
    not_after(&c->hold_pause.until_ms, latest_ms);
    for (uint32_t i = 0; i < c->topics.n; i++) {
        not_after(&c->topics.topic[i].due_ms, latest_ms);
        not_after(&c->topics.topic[i].read_pause.until_ms, latest_ms);
    }
    not_after(&c->next_poll_ms, now_ms + c->poll_ms);
    not_after(&c->stall_ms, now_ms);
    if (c->phase == CORE_DRAIN)
        not_after(&c->drain_until_ms, now_ms + c->cfg.drain_timeout_ms);
}

void core_configure(struct core *c, uint64_t now_ms, const struct core_config *cfg)
{
    assert(cfg->inflight_rows == c->cfg.inflight_rows && cfg->inflight_bytes == c->cfg.inflight_bytes);
    c->cfg = *cfg;
    if (c->poll_ms < cfg->poll_min_ms)
        c->poll_ms = cfg->poll_min_ms;
    if (c->poll_ms > cfg->poll_max_ms)
        c->poll_ms = cfg->poll_max_ms;
    shorten_pauses(c, now_ms);
}

uint32_t core_topic(struct core *c, const char *name)
{
    return topics_intern(&c->topics, name);
}

uint64_t core_key(const struct core *c, uint32_t topic, const void *key, size_t key_len)
{
    return key_hash(c->secret, c->topics.topic[topic].hash, key, key_len);
}

/* -- reading -------------------------------------------------------------------------------- */

static void pause_after(struct core *c, struct core_pause *p, uint64_t now_ms)
{
    p->until_ms = now_ms + retry_delay_ms(c->cfg.retry_base_ms, c->cfg.retry_max_ms, p->failures++,
                                          retry_random(&c->rng));
}

void core_row_lost(struct core *c)
{
    if (c->reading == READING_OUTBOX)
        flow_give_up_page(c, c->newest_page);
}

/* Rows that are read while the relay does not lead are to be read again. */
static bool takes_rows(struct core *c)
{
    if (c->phase == CORE_LEAD)
        return true;
    core_row_lost(c);
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
    back_came(c, slot);
    if (info.found)
        flow_acked(c, now_ms, slot);
    return slot;
}

static struct core_pause *read_pause(struct core *c)
{
    return c->reading == READING_TOPIC ? &c->topics.topic[c->reading_topic].read_pause : &c->read_pause[c->reading];
}

static void read_ended(struct core *c)
{
    *read_pause(c) = (struct core_pause){ 0 };
    c->reading = READING_NOTHING;
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
    back_topic_settled(c, c->reading_topic);
}

void core_read_failed(struct core *c, uint64_t now_ms)
{
    if (c->reading == READING_TOPIC)
        c->topics.topic[c->reading_topic].more = true;
    if (read_pause(c)->failures == 0 && c->window.n_state[ROW_SENT] == 0)
        c->progress_ms = now_ms; /* it may have taken long */
    pause_after(c, read_pause(c), now_ms);
    c->reading = READING_NOTHING;
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
    l->producer = ++c->n_producers;
    l->refused_row = false;
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
        (void)report_stalled(c, now_ms, now_ms - wait, false);
}

/* -- marking and holding -------------------------------------------------------------------- */

void core_marked(struct core *c, uint64_t now_ms, bool ok)
{
    bool any[N_CORE_MARKS] = { false };

    for (uint32_t i = 0; i < c->n_marking; i++) {
        uint32_t slot = c->marking[i];
        enum core_marks of = flow_marks_of(&c->window.row[slot]);
        any[of] = true;
        bool stands = of == MARKS_OF_HELD && c->phase == CORE_FOLLOW && c->link_up;
        if (!ok && (c->quits || stands)) {
            /* whoever leads next finds it in its topic, or sends it again; standing, it would keep all reading from
             * beginning while that table is locked */
            flow_give_up(c, slot);
            continue;
        }
        if (!ok) {
            window_state(&c->window, slot, ROW_ACKED);
            row_list_push(&c->window, &c->acked[of], slot);
            continue;
        }
        if (c->window.row[slot].from == HELD_KEY)
            c->due_ms = now_ms; /* the next of its key may be due now */
        hold_done(c, slot);
    }
    c->n_marking = 0;
    for (int of = 0; of < N_CORE_MARKS; of++)
        if (any[of] && ok)
            c->mark_pause[of] = (struct core_pause){ 0 };
        else if (any[of] && !c->quits)
            pause_after(c, &c->mark_pause[of], now_ms);
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
    if (!ok) {
        pause_after(c, &c->hold_pause, now_ms);
        return;
    }
    c->hold_pause = (struct core_pause){ 0 };
    if (core_gave_up(c))
        phase_begin_anew(c, now_ms);
}

void core_swept(struct core *c, uint64_t now_ms, bool found)
{
    c->sweeping = false;
    c->sweep_ms = now_ms + c->cfg.sweep_ms;
    if (found)
        c->due_ms = now_ms;
}
