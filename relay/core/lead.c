/* lead.c - see lead.h. */
#include "relay/core/lead.h"

/* The leader writes about once a second, more often under a short lease; a follower asks as often. */
static uint64_t interval_ms(const struct lead *l)
{
    return l->ttl_ms / 3 < 1000 ? l->ttl_ms / 3 : 1000;
}

void lead_init(struct lead *l, uint64_t ttl_ms)
{
    *l = (struct lead){ .ttl_ms = ttl_ms };
}

void lead_asked(struct lead *l, uint64_t now_ms)
{
    l->asking = true;
    l->asked_ms = l->heard_ms = now_ms;
}

void lead_heard(struct lead *l, uint64_t now_ms)
{
    l->asked_ms = l->heard_ms;
    l->heard_ms = now_ms;
}

void lead_answered(struct lead *l, uint64_t now_ms, bool ours)
{
    l->asking = false;
    l->until_ms = l->asked_ms + l->ttl_ms;
    l->leading = ours && now_ms < l->until_ms; /* an answer can be too late to be worth anything */
    l->next_ms = now_ms + interval_ms(l);
}

void lead_unanswered(struct lead *l, uint64_t now_ms)
{
    l->asking = false;
    l->next_ms = now_ms + interval_ms(l) / 4;
}

bool lead_holds(struct lead *l, uint64_t now_ms)
{
    if (l->leading && now_ms >= l->until_ms)
        l->leading = false;
    return l->leading;
}
