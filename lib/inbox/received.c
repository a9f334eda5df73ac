/* received.c - a record that has come: which handler it has, and its way into the window. Knows neither libpq nor
 * librdkafka. */
#include <string.h>

#include "attempts.h"
#include "inside.h"

const struct inbox__handler *inbox__handler_of(const struct inbox_consumer *c, const char *type)
{
    const struct inbox__handler *otherwise = NULL;

    for (size_t i = 0; i < c->n_handlers; i++) {
        const struct inbox__handler *h = &c->handlers[i];
        if (h->type == NULL)
            otherwise = h;
        else if (type != NULL && strcmp(h->type, type) == 0)
            return h;
    }
    return otherwise;
}

void inbox__received(struct inbox_consumer *c, struct inbox__partition *p, struct inbox__record *r)
{
    r->item.part = &p->part;
    c->figures.received++;
    inbox__stats_sequence(c, r);
    if (inbox__handler_of(c, r->msg.type) == NULL) {
        c->figures.ignored++;
        inbox__window_pass(&p->part, r->item.offset);
        inbox__record_free(r);
        return;
    }
    inbox__attempts_match(p, r);
    inbox__window_add(&c->window, &r->item);
}
