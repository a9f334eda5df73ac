/* shed.c - see shed.h. */
#include "relay/core/shed.h"

#include "relay/core/flow.h"
#include "relay/core/hold.h"

/* What waits in the window until holding works again. */
struct waiting {
    uint32_t n;
    uint64_t bytes;
};

static void add_all(struct core *c, struct waiting *w, const struct row_list *l)
{
    w->n += l->n;
    for (uint32_t s = l->head; s != NO_SLOT; s = flow_row(c, s)->next)
        w->bytes += flow_row(c, s)->bytes;
}

/* Behind a dead row that lets others pass, once it is there, they wait for that. */
static bool keeps_others(struct core *c, uint32_t slot)
{
    const struct key_wait *wait = flow_wait_of(c, flow_row(c, slot));

    return flow_row(c, slot)->hold == HOLD_DEAD && wait != NULL && wait->busy == slot;
}

/* NO_SLOT: what should go to outbox.held and is not there yet does not take much of the window. */
static uint32_t oldest_of_many(struct core *c)
{
    struct waiting w = { 0, 0 };
    uint32_t oldest = c->hold.head;

    add_all(c, &w, &c->hold);
    for (uint32_t s = c->hold.head; s != NO_SLOT; s = flow_row(c, s)->next) {
        if (keeps_others(c, s))
            add_all(c, &w, &flow_wait_of(c, flow_row(c, s))->parked);
        if (flow_row(c, s)->seq < flow_row(c, oldest)->seq)
            oldest = s;
    }
    return w.n > c->window.cap / 4 || w.bytes > c->cfg.inflight_bytes / 4 ? oldest : NO_SLOT;
}

/* A row with which holding is tried again. Of its key no earlier row that the database does not have there may be given
 * up, now or later: it would be the first of its key there, and be sent before that one. Where it is the only one it
 * counts as given up all the same, for its size must not stand in the way of others; also when it came from
 * outbox.held and is of no page. */
static bool choose_probe(struct core *c)
{
    uint32_t probe;

    if (c->hold_pause.failures == 0 || flow_has_room(c) || (probe = oldest_of_many(c)) == NO_SLOT)
        return false;
    const struct window_row *r = flow_row(c, probe);
    for (uint32_t s = 0; s < c->window.cap && r->key != 0; s++) {
        const struct window_row *o = flow_row(c, s);
        if (o->key == r->key && o->topic == r->topic && o->seq < r->seq && o->state != ROW_FREE && o->from == HELD_NOT)
            return false;
    }
    c->hold_probe = probe;
    flow_give_up_page(c, r->page != NO_PAGE ? r->page : c->window.next_page);
    return true;
}

/* Somebody has locked outbox.held, say. The saved cursor stays in front of what is given up; when holding works again
 * all is read again from there (core_held), as after the loss of a link. Until then its topics and keys stay shut, and
 * what else should be held of them is given up as well. What came from outbox.held stays there as it was, an attempt
 * more or not; but where it may have been delivered, and there is no word of it, it stays here. */
void shed_what_cannot_be_held(struct core *c)
{
    uint32_t slot;

    if (c->n_holding > 0 || (!core_gave_up(c) && !choose_probe(c)))
        return;
    struct row_list all = c->hold;
    c->hold = ROW_LIST_EMPTY;
    while ((slot = row_list_pop(&c->window, &all)) != NO_SLOT) {
        const struct window_row *r = flow_row(c, slot);
        if (keeps_others(c, slot))
            hold_shut_key(c, slot);
        if (slot == c->hold_probe || (r->from != HELD_NOT && r->maybe_new))
            row_list_push(&c->window, &c->hold, slot);
        else
            flow_give_up(c, slot);
    }
}
