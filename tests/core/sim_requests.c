/* sim_requests.c - what a relay asks of the database, and how it hears of the outcome: its source.
 *
 * One request of each kind is under way per relay. It takes effect at some time (sim_database.c) and is
 * answered at some later time; a lost link loses the answer, and the effect or not. A loaded cursor is the
 * position of the reader.
 */
#include <string.h>

#include "tests/core/sim_world.h"

/* -- asking --------------------------------------------------------------------------------- */

/* As the source does it: what is older than `page` is forgotten. */
static uint32_t cursor_before(struct world *w, struct relay *r, uint64_t page)
{
    uint32_t n = 0, cursor;

    while (n < r->n_pages && r->page[n].page < page)
        n++;
    r->n_pages -= n;
    memmove(r->page, r->page + n, r->n_pages * sizeof r->page[0]);
    cursor = r->n_pages > 0 ? r->page[0].before : r->pos;
    if (cursor > first_unsettled(w))
        oops(w, "the cursor is to be saved at row %u, but row %u is not marked", cursor,
             first_unsettled(w));
    return cursor;
}

static void remember_page(struct world *w, struct relay *r, uint64_t page)
{
    if (r->n_pages > 0 && r->page[r->n_pages - 1].page == page)
        return;
    if (r->n_pages > 0 && r->page[r->n_pages - 1].page > page)
        oops(w, "page numbers go back");
    if (r->n_pages == MAX_PAGES)
        r->page[MAX_PAGES - 1].page = page; /* coarser: before two pages at once */
    else
        r->page[r->n_pages++] = (struct page_cursor){ page, r->pos };
}

void ask(struct world *w, struct relay *r, struct request *q, const struct core_action *a)
{
    if (!r->link_up || q->open)
        oops(w, "%s asked while the link is down or one is under way", request_names[a->what]);
    q->what = a->what;
    q->open = true;
    q->effected = q->arrived = false;
    q->good = true;
    q->n = a->n;
    q->bytes = a->bytes;
    q->page = a->page;
    q->epoch = r->epoch;
    q->topic = a->topic;
    q->fenced = false;
    q->cursor = 0;
    if (a->what == CORE_RENEW || a->what == CORE_RESIGN)
        q->cursor = cursor_before(w, r, a->page);
    SAY(w, r, "%s %u", request_names[a->what],
        a->what == CORE_RENEW || a->what == CORE_RESIGN ? q->cursor : a->n);
}

void do_write(struct world *w, struct relay *r, const struct core_action *a)
{
    ask(w, r, &r->mark, a);
    if (a->n == 0)
        oops(w, "%s of nothing", request_names[a->what]);
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t row = r->slot_row[a->slots[i]];
        const struct window_row *as = &r->core.window.row[a->slots[i]];
        SAY(w, r, "  %s row %u%s%s", request_names[a->what], row,
            a->what == CORE_HOLD ? " as " : "", a->what == CORE_HOLD ? hold_names[as->hold] : "");
        r->mark.rows[i] = row;
        r->mark.slots[i] = a->slots[i];
        r->mark.as[i] = *as;
        r->mark.freed[i] = false;
        if (a->what == CORE_MARK && (!r->slot_confirmed[a->slots[i]] || !w->row[row].logged))
            oops(w, "mark of row %u, which was not confirmed", row);
        if (a->what == CORE_HOLD && r->slot_confirmed[a->slots[i]])
            oops(w, "hold of row %u, which was confirmed", row);
    }
}

/* -- the answers ---------------------------------------------------------------------------- */

/* The source has the page. Whether the core may have it already, others decide. */
static bool read_arrives(struct world *w, struct relay *r)
{
    struct request *q = &r->read;

    if (q->what != CORE_READ || q->arrived)
        return false;
    q->arrived = true;
    if (q->n > 0)
        remember_page(w, r, q->page);
    r->pos = q->cursor;
    return percent(w, 20);
}

static void answer_read(struct world *w, struct relay *r)
{
    const struct request *q = &r->read;
    uint64_t bytes_before = 0;
    bool takes = r->core.phase == CORE_LEAD;

    SAY(w, r, "page %u of %u rows%s", (unsigned)q->page, q->n, takes ? "" : ", too late");
    for (uint32_t i = 0; i < q->n; i++) {
        const struct sim_row *row = &w->row[q->rows[i]];
        bool found = r->tail && r->logged_then[q->rows[i]];
        uint32_t slot = found ? core_found_row(&r->core, w->now, row->topic, row->hash, row->bytes)
                              : core_row(&r->core, row->topic, row->hash, row->bytes,
                                         row->due_ms > w->now);
        if ((slot != NO_SLOT) != takes)
            oops(w, "row %u taken or not against the phase", q->rows[i]);
        if (slot == NO_SLOT)
            continue;
        SAY(w, r, "  row %u, topic %u, key %u", q->rows[i], row->topic, row->key);
        bytes_before = r->core.window.bytes - row->bytes;
        r->slot_row[slot] = q->rows[i];
        r->slot_confirmed[slot] = found;
        r->slot_maybe[slot] = false;
        r->slot_unordered[slot] = row->due_ms > 0 || row->passed;
    }
    if (bytes_before > 0 && core_gave_up(&r->core)) /* the row with which holding is tried again does not count */
        bytes_before -= r->core.window.row[r->core.hold_probe].bytes;
    if (bytes_before > w->cfg.inflight_bytes)
        oops(w, "more bytes than configured before the last row of a page");
    core_page_end(&r->core, w->now, q->n, !q->good, r->pos < r->horizon);
}

static void answer_read_held(struct world *w, struct relay *r)
{
    const struct request *q = &r->read;
    static const enum held_as as[] = { HELD_NOT, HELD_KEY, HELD_KEY, HELD_TOPIC, HELD_TIME };

    SAY(w, r, "%s: %u rows%s", request_names[q->what], q->n, q->good ? "" : ", more");
    for (uint32_t i = 0; i < q->n; i++) {
        const struct sim_row *row = &w->row[q->rows[i]];
        if (row->held == DB_NOT || row->held >= DB_DEAD)
            continue; /* a person, or another relay, was quicker; ours would have it from the page */
        bool found = row->logged && percent(w, 20);
        uint32_t slot = core_held_row(&r->core, w->now, row->topic, row->hash, row->bytes,
                                      (struct core_held_info){ as[row->held],
                                                               (uint16_t)row->attempts, row->maybe,
                                                               found });
        if (slot == NO_SLOT)
            continue;
        SAY(w, r, "  row %u, %u attempts", q->rows[i], row->attempts);
        w->count[N_CAME_BACK]++;
        r->slot_row[slot] = q->rows[i];
        r->slot_confirmed[slot] = found;
        r->slot_maybe[slot] = false;
        r->slot_unordered[slot] = row->due_ms > 0 || row->passed;
    }
    if (q->what == CORE_READ_DUE)
        core_due_end(&r->core, w->now, !q->good, q->next_due_ms);
    else
        core_topic_end(&r->core, w->now, !q->good);
}

static void answer_write(struct world *w, struct relay *r)
{
    const struct request *q = &r->mark;

    SAY(w, r, "%s answered%s", request_names[q->what], q->fenced ? ": fenced" : "");
    if (q->what == CORE_SWEEP) {
        core_swept(&r->core, w->now, false);
        return;
    }
    if (q->fenced) {
        core_lease(&r->core, w->now, false);
        core_held(&r->core, w->now, false);
        return;
    }
    for (uint32_t i = 0; i < q->n; i++)
        if (q->freed[i])
            core_freed(&r->core, q->slots[i]);
    if (q->what == CORE_MARK)
        core_marked(&r->core, w->now, true);
    else
        core_held(&r->core, w->now, true);
}

static void answer_lease(struct world *w, struct relay *r)
{
    const struct request *q = &r->lease;

    SAY(w, r, "%s answered: %s", request_names[q->what], q->good ? "ours" : "not ours");
    if (q->what == CORE_RESIGN) {
        core_resigned(&r->core, w->now);
        return;
    }
    if (q->what == CORE_ACQUIRE && q->good) {
        r->epoch = q->epoch;
        r->pos = q->cursor;
        r->n_pages = 0;
        r->horizon = w->n_visible;
        r->tail = percent(w, 50);
        for (uint32_t i = 0; i < w->n_rows; i++)
            r->logged_then[i] = w->row[i].logged && percent(w, 90);
        for (uint32_t t = 0; t < w->n_topics; t++) {
            if (q->held_topic[t])
                core_held_topic(&r->core, w->now, t);
            for (uint32_t k = 1; k < w->n_keys; k++)
                if (q->held_key[t][k])
                    core_held_key(&r->core, t, hash_of(w, t, k));
        }
    }
    w->count[N_LEASES_LOST] += q->what == CORE_RENEW && !q->good;
    core_lease(&r->core, w->now, q->good);
}

static void fail_request(struct world *w, struct relay *r, const struct request *q)
{
    SAY(w, r, "%s failed", request_names[q->what]);
    if (q == &r->read) {
        w->count[N_READS_FAILED]++;
        core_read_failed(&r->core, w->now);
    } else if (q->what == CORE_MARK) {
        w->count[N_MARKS_FAILED]++;
        core_marked(&r->core, w->now, false);
    } else if (q->what == CORE_HOLD) {
        core_held(&r->core, w->now, false);
    } else if (q->what == CORE_SWEEP) {
        core_swept(&r->core, w->now, false);
    } else if (q->what == CORE_RESIGN) {
        core_resigned(&r->core, w->now);
    } else {
        core_lease_failed(&r->core, w->now);
    }
}

static bool needs_held(const struct world *w, const struct request *q)
{
    bool any = q->what == CORE_HOLD;

    for (uint32_t i = 0; i < q->n && q->what == CORE_MARK && !w->held_lets_go; i++)
        any |= q->as[i].from != HELD_NOT;
    return any;
}

bool database_moves(struct world *w, struct relay *r, struct request *q)
{
    if (!q->open)
        return false;
    bool in_vain = q == &r->read ? w->now < w->reads_fail_until_ms[q->what - CORE_READ]
                                 : q == &r->mark && w->now < w->held_fails_until_ms && needs_held(w, q);
    if (!q->effected && (in_vain || goes_wrong(w))) {
        q->open = false;
        touch(r);
        fail_request(w, r, q);
        return true;
    }
    if (!q->effected) {
        effect(w, r, q);
        return true;
    }
    if (q == &r->read && read_arrives(w, r))
        return true;
    q->open = false;
    touch(r);
    if (q->what == CORE_READ)
        answer_read(w, r);
    else if (q == &r->read)
        answer_read_held(w, r);
    else if (q == &r->lease)
        answer_lease(w, r);
    else
        answer_write(w, r);
    return true;
}

/* -- the link ------------------------------------------------------------------------------- */

void lose_requests(struct world *w, struct relay *r)
{
    struct request *const all[] = { &r->read, &r->mark, &r->lease };

    for (int i = 0; i < 3; i++) {
        if (all[i]->open && (all[i] != &r->read || all[i]->what != CORE_READ) && percent(w, 50))
            effect(w, r, all[i]);
        all[i]->open = false;
    }
}

void set_link(struct world *w, struct relay *r, bool up)
{
    if (r->link_up == up)
        return;
    SAY(w, r, "link %s", up ? "up" : "lost");
    w->count[N_LINKS_LOST] += !up;
    if (!up)
        lose_requests(w, r);
    r->link_up = up;
    touch(r);
    if (up && percent(w, 10)) { /* to a server that lost nothing here */
        SAY(w, r, "  in another history");
        core_moved(&r->core);
    }
    core_link(&r->core, w->now, up);
}
