/* phase.c - follow, lead, drain, done: the link, the lease, and how it ends. */
#include "relay/core/phase.h"

#include <assert.h>
#include <string.h>

#include "relay/core/back.h"
#include "relay/core/flow.h"

/* After the drain's time is over the lanes are purged; this much longer is left for the marks of what
 * was confirmed at the last moment. */
#define DRAIN_MARKS_MS 5000
/* Whoever quits waits so long for reports. */
#define QUIT_MS 2000

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
    memset(c->mark_pause, 0, sizeof c->mark_pause); /* what could not be marked is none of this lead's */
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].deserted = !c->topics.topic[i].held;
    c->topics.n_changes++;
}

/* Without rows in hand only the lease is left, and ends by itself. */
static void end(struct core *c)
{
    c->unclean |= c->window.n > 0;
    c->phase = CORE_DONE;
}

void phase_begin_anew(struct core *c, uint64_t now_ms)
{
    step_down(c, now_ms);
    c->lead.next_ms = now_ms;
}

void core_lease(struct core *c, uint64_t now_ms, bool ours)
{
    bool loaded = c->acquiring && ours;

    lead_answered(&c->lead, now_ms, ours);
    c->acquiring = c->loading = false;
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
    c->loading = true;
}

void core_lease_failed(struct core *c, uint64_t now_ms)
{
    lead_unanswered(&c->lead, now_ms);
    c->loading = false;
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
    c->loading = false;
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
    memset(c->read_pause, 0, sizeof c->read_pause);
    for (uint32_t i = 0; i < c->topics.n; i++)
        c->topics.topic[i].read_pause = (struct core_pause){ 0 };
    memset(c->mark_pause, 0, sizeof c->mark_pause);
    c->hold_pause = (struct core_pause){ 0 };
    step_down(c, now_ms);
    if (c->quits)
        end(c);
}

void core_moved(struct core *c)
{
    uint32_t slot;

    c->moved_seq = c->window.next_seq;
    for (int of = 0; of < N_CORE_MARKS; of++)
        while ((slot = row_list_pop(&c->window, &c->acked[of])) != NO_SLOT)
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

void core_quit(struct core *c, uint64_t now_ms)
{
    core_stop(c, now_ms);
    c->quits = true;
    if (c->drain_until_ms > now_ms + QUIT_MS)
        c->drain_until_ms = now_ms + QUIT_MS;
    if (!c->link_up)
        end(c);
}

/* --once: finished when everything that was due is marked or in outbox.held, and at a loss when what
 * is left does not move. What is held there and not for its time was not published. */
static void check_once(struct core *c, uint64_t now_ms)
{
    bool held = c->held.table.n > 0 || c->held.all || c->topics.n_held > 0 || c->topics.n_paused > 0 ||
                c->n_left > 0;
    uint32_t topic;

    if (c->phase == CORE_FOLLOW && !c->loading && now_ms - c->follow_ms > c->cfg.lease_ttl_ms + 1000) {
        c->unclean = true;
        core_stop(c, now_ms);
    }
    if (c->phase != CORE_LEAD || c->reading != READING_NOTHING)
        return;
    if (c->caught_up && c->window.n == 0 && now_ms < c->due_ms && back_topic_due_ms(c, now_ms, &topic) == UINT64_MAX) {
        c->unclean |= held;
        core_stop(c, now_ms);
    } else if ((c->caught_up || c->window.n > 0 || c->read_pause[READING_OUTBOX].failures > 0) &&
               now_ms - c->progress_ms > c->cfg.drain_timeout_ms) {
        c->unclean = true;
        core_stop(c, now_ms);
        c->drain_until_ms = now_ms; /* what is out has been waited for already */
    }
}

static void check_drain(struct core *c, uint64_t now_ms)
{
    if (c->phase != CORE_DRAIN)
        return;
    /* a lease that was asked for may be ours already: then it is given back; so may one whose request has failed */
    if (c->window.n == 0 && (!c->link_up || (!c->lead.leading && !c->lead.asking && !c->quits))) {
        c->phase = CORE_DONE;
        return;
    }
    if (now_ms < c->drain_until_ms)
        return;
    purge_lanes(c);
    if (now_ms < c->drain_until_ms + DRAIN_MARKS_MS)
        return;
    end(c);
}

void phase_tick(struct core *c, uint64_t now_ms)
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

uint64_t phase_deadline(const struct core *c, uint64_t now_ms)
{
    uint64_t due = UINT64_MAX;

    if (c->phase == CORE_DRAIN)
        due = now_ms < c->drain_until_ms ? c->drain_until_ms : c->drain_until_ms + DRAIN_MARKS_MS;
    if (c->cfg.once && due > now_ms + 100)
        due = now_ms + 100; /* check_once looks at the clock by itself */
    return due;
}
