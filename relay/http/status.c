/* status.c - see status.h. */
#include "relay/http/status.h"

#include <stdlib.h>

void status_board_init(struct status_board *b)
{
    pthread_mutex_init(&b->lock, NULL);
    b->current = NULL;
    atomic_init(&b->turned_ms, 0);
    atomic_init(&b->looked_ms, 0);
}

void status_board_deinit(struct status_board *b)
{
    free(b->current);
    b->current = NULL;
    pthread_mutex_destroy(&b->lock);
}

/* Frees outside the lock. */
static void let_go(struct status_board *b, struct status *s)
{
    pthread_mutex_lock(&b->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&b->lock);
    if (last)
        free(s);
}

void status_publish(struct status_board *b, struct status *s)
{
    s->refs = 1; /* the board's own */
    pthread_mutex_lock(&b->lock);
    struct status *old = b->current;
    b->current = s;
    pthread_mutex_unlock(&b->lock);
    if (old != NULL)
        let_go(b, old);
}

const struct status *status_take(struct status_board *b)
{
    pthread_mutex_lock(&b->lock);
    struct status *s = b->current;
    if (s != NULL)
        s->refs++;
    pthread_mutex_unlock(&b->lock);
    return s;
}

void status_release(struct status_board *b, const struct status *s)
{
    if (s != NULL)
        let_go(b, (struct status *)(uintptr_t)s);
}
