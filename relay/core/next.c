/* next.c - what to do next, and when to ask again: each kind of work, and from when on it can be done. */
#include "relay/core/core.h"
#include "relay/core/back.h"
#include "relay/core/flow.h"
#include "relay/core/hold.h"
#include "relay/core/phase.h"
#include "relay/core/report.h"
#include "relay/core/shed.h"

/* So many rows are put into outbox.held at once. */
#define HOLD_ROWS 10000

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
        back_forget(c);
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

/* One kind of marks failed and has not been well since: it must not fail the other one with it. */
static bool marks_go_apart(const struct core *c)
{
    return c->mark_pause[MARKS_OF_NEW].failures > 0 || c->mark_pause[MARKS_OF_HELD].failures > 0;
}

/* Marks go in batches; a lone row waits for company, but not for long. */
static uint64_t marks_due_ms(const struct core *c, enum core_marks of)
{
    uint64_t until_ms = c->mark_pause[of].until_ms;
    uint32_t n_all = c->acked[MARKS_OF_NEW].n + c->acked[MARKS_OF_HELD].n;
    uint32_t n = marks_go_apart(c) ? c->acked[of].n : n_all;

    if (c->acked[of].n == 0)
        return UINT64_MAX;
    if (n >= c->cfg.batch_rows || c->phase != CORE_LEAD || (c->cfg.once && c->window.n == n_all))
        return until_ms;
    return max_u64(c->window.row[c->acked[of].head].since_ms + c->cfg.mark_delay_ms, until_ms);
}

static uint64_t mark_due_ms(const struct core *c)
{
    if (!c->link_up || write_side_busy(c))
        return UINT64_MAX;
    return min_u64(marks_due_ms(c, MARKS_OF_NEW), marks_due_ms(c, MARKS_OF_HELD));
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

static uint64_t outbox_due_ms(const struct core *c)
{
    if (!may_read(c) || (c->cfg.once && c->caught_up) || !flow_has_room(c))
        return UINT64_MAX;
    return max_u64(c->next_poll_ms, c->read_pause[READING_OUTBOX].until_ms);
}

static bool is_before_new_ground(const struct core *c, const struct row_list *l)
{
    return l->n > 0 && c->window.row[l->head].seq + 1 < c->new_ground_seq;
}

/* They need that table, which may be locked: more of them would fill the window. */
static bool marks_of_held_pile_up(const struct core *c)
{
    return c->mark_pause[MARKS_OF_HELD].failures > 0 || c->acked[MARKS_OF_HELD].n > c->window.cap / 4;
}

/* What comes back from outbox.held needs less room: rows may wait behind it. But an earlier reader may
 * have left rows that go before those that it has put there; they come with the pages up to where it
 * stood, and have to find their places first. So have those that we gave up ourselves. */
static bool may_read_back(const struct core *c)
{
    if (c->new_ground_seq == 0 || core_gave_up(c) || marks_of_held_pile_up(c) || is_before_new_ground(c, &c->ready) ||
        is_before_new_ground(c, &c->hold))
        return false;
    return may_read(c) && c->n_holding == 0 && c->window.n < c->window.cap &&
           (c->window.n == 0 || c->window.bytes < c->cfg.inflight_bytes);
}

static uint64_t held_due_ms(const struct core *c)
{
    return may_read_back(c) && c->n_due == 0 ? max_u64(c->due_ms, c->read_pause[READING_DUE].until_ms)
                                             : UINT64_MAX;
}

static uint64_t topic_due_ms(const struct core *c, uint64_t now_ms, uint32_t *ret_topic)
{
    return may_read_back(c) ? back_topic_due_ms(c, now_ms, ret_topic) : UINT64_MAX;
}

static uint64_t stall_due_ms(const struct core *c)
{
    if (c->phase != CORE_LEAD || c->asking_kafka || c->cfg.stall_timeout_ms == 0 ||
        c->window.n_state[ROW_SENT] == 0)
        return UINT64_MAX;
    return c->stall_ms;
}

/* Of those that are due the ones that have waited longest: so neither kind keeps the other from its turn. */
static enum core_marks marks_first(const struct core *c, uint64_t now_ms)
{
    const struct window_row *row = c->window.row;
    bool new_due = now_ms >= marks_due_ms(c, MARKS_OF_NEW), held_due = now_ms >= marks_due_ms(c, MARKS_OF_HELD);

    if (new_due && held_due)
        held_due = row[c->acked[MARKS_OF_HELD].head].since_ms < row[c->acked[MARKS_OF_NEW].head].since_ms;
    return held_due ? MARKS_OF_HELD : MARKS_OF_NEW;
}

static void take_marks(struct core *c, enum core_marks of)
{
    uint32_t slot;

    while ((slot = row_list_pop(&c->window, &c->acked[of])) != NO_SLOT) {
        window_state(&c->window, slot, ROW_MARKING);
        c->marking[c->n_marking++] = slot;
    }
}

static bool next_mark(struct core *c, uint64_t now_ms, struct core_action *a)
{
    if (now_ms < mark_due_ms(c))
        return false;
    enum core_marks first = marks_first(c, now_ms);
    bool apart = marks_go_apart(c);
    take_marks(c, first);
    if (!apart)
        take_marks(c, first == MARKS_OF_NEW ? MARKS_OF_HELD : MARKS_OF_NEW);
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
    uint64_t bytes = flow_bytes(c), left = c->cfg.inflight_bytes > bytes ? c->cfg.inflight_bytes - bytes : 0;

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
    if (now_ms < topic_due_ms(c, now_ms, &topic))
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
    if (!c->page_unused && !core_gave_up(c)) /* no place behind those is saved, and they may be many */
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
    if (now_ms < wait || !report_stalled(c, now_ms, now_ms - wait, true))
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
    phase_tick(c, now_ms);
    do {
        c->put_aside = false;
        if (c->phase == CORE_DONE)
            return false;
        if (c->phase == CORE_LEAD) {
            hold_relieve(c);
            shed_what_cannot_be_held(c);
        }
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

static uint64_t work_deadline(const struct core *c, uint64_t now_ms)
{
    uint32_t topic;
    uint64_t due = min_u64(min_u64(mark_due_ms(c), hold_due_ms(c)), sweep_due_ms(c));

    due = min_u64(due, min_u64(outbox_due_ms(c), held_due_ms(c)));
    return min_u64(due, min_u64(topic_due_ms(c, now_ms, &topic), stall_due_ms(c)));
}

uint64_t core_deadline(const struct core *c, uint64_t now_ms)
{
    uint64_t due = min_u64(min_u64(lease_deadline(c), flow_deadline(c)), work_deadline(c, now_ms));

    for (int l = 0; l < N_LANES; l++)
        if (c->lane[l].want_reset && !c->lane[l].resetting)
            due = min_u64(due, c->lane[l].reset_ms);
    return min_u64(due, phase_deadline(c, now_ms));
}
