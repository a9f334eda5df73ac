/* takeover.c - see takeover.h. */
#include "relay/takeover.h"

#include <stdlib.h>
#include <string.h>

#include "relay/log.h"

void takeover_init(struct takeover *t, const struct tail_config *cfg, bool enabled)
{
    *t = (struct takeover){ .cfg = *cfg, .enabled = enabled };
}

static void forget_page(struct takeover *t)
{
    for (uint32_t i = 0; t->waiting && i < t->page.n_rows; i++)
        free(t->page.rows[i]);
    free(t->page.rows);
    t->page = (struct takeover_page){ .rows = NULL };
    t->waiting = false;
}

void takeover_deinit(struct takeover *t)
{
    forget_page(t);
    tail_free(t->tail);
    tail_free(t->ending);
    t->tail = t->ending = NULL;
    hashtable_deinit(&t->missed);
}

/* The loop must not wait for a client of Kafka to be closed. The one before this has had a lead's time. */
static void leave_tail(struct takeover *t)
{
    if (t->tail == NULL)
        return;
    tail_free(t->ending);
    t->ending = t->tail;
    t->tail = NULL;
    tail_end(t->ending);
    hashtable_deinit(&t->missed);
}

void takeover_begin(struct takeover *t, uint64_t now_ms)
{
    char err[256];

    forget_page(t);
    t->n_left = 0;
    if (!t->enabled)
        return;
    /* A new one each time: what another relay has sent since is to be seen. */
    leave_tail(t);
    t->tail = tail_new(&t->cfg, err, sizeof err);
    if (t->tail != NULL) {
        t->n_left = t->cfg.rows;
        t->held_until_ms = now_ms + TAKEOVER_HELD_MS;
    } else {
        log_warn("relay", "the ends of the topics cannot be read; rows may go twice", "error", err, "remedy",
                 "correct the settings kafka.* as it says, or restart the relay where it lacks memory, threads or files");
    }
}

void takeover_end(struct takeover *t)
{
    forget_page(t);
    t->n_left = 0;
    t->held_until_ms = 0;
}

static bool is_being_read(const struct takeover *t)
{
    for (uint32_t i = 0; i < t->page.n_rows; i++) {
        if (tail_state(t->tail, t->page.rows[i]->topic) == TAIL_READING)
            return true;
    }
    return false;
}

/* Asks for the topics of the page that were not asked for yet. */
static bool ask(struct takeover *t, const struct takeover_page *page)
{
    bool any = false;

    for (uint32_t i = 0; i < page->n_rows; i++) {
        const char *topic = page->rows[i]->topic;
        switch (tail_state(t->tail, topic)) {
        case TAIL_NONE:
            any |= tail_read(t->tail, topic, TAKEOVER_TAIL_MS) == 0;
            break;
        case TAIL_READING:
            any = true;
            break;
        case TAIL_READY:
        case TAIL_FAILED:
            break;
        }
    }
    return any;
}

static bool looks_for(const struct takeover *t, uint64_t now_ms, enum takeover_from from)
{
    return t->tail != NULL && (from == TAKEOVER_OUTBOX ? t->n_left > 0 : now_ms < t->held_until_ms);
}

bool takeover_wait(struct takeover *t, uint64_t now_ms, const struct takeover_page *page)
{
    struct row **rows;

    if (page->n_rows == 0 || !looks_for(t, now_ms, page->from) || !ask(t, page))
        return false;
    rows = malloc(page->n_rows * sizeof *rows);
    if (rows == NULL)
        return false;
    memcpy(rows, page->rows, page->n_rows * sizeof *rows);
    t->page = *page;
    t->page.rows = rows;
    t->until_ms = now_ms + TAKEOVER_TAIL_MS + 2000; /* the reader should have ended by itself */
    t->waiting = true;
    return true;
}

bool takeover_ready(struct takeover *t, uint64_t now_ms, struct takeover_page *ret_page)
{
    if (!t->waiting || (is_being_read(t) && now_ms < t->until_ms))
        return false;
    t->waiting = false; /* the rows go; the array stays until the next page */
    *ret_page = t->page;
    return true;
}

static bool is_missed(const struct takeover *t, uint64_t key)
{
    return key != 0 && hashtable_find(&t->missed, sizeof key, key) != NULL;
}

/* Without memory nothing is looked for any more: duplicates. */
static void note_missed(struct takeover *t, uint64_t key)
{
    struct hashtable *m = &t->missed;

    if (key == 0)
        return;
    if (m->n < m->cap / 2 || hashtable_resize(m, sizeof key, m->cap > 0 ? m->cap * 2 : 64) == 0) {
        (void)hashtable_add(m, sizeof key, key);
    } else {
        t->n_left = 0;
        t->held_until_ms = 0;
    }
}

bool takeover_found(struct takeover *t, uint64_t now_ms, const struct row *row, uint64_t key,
                    int32_t *ret_partition, int64_t *ret_offset)
{
    enum takeover_from from = row->held_as == HELD_NOT ? TAKEOVER_OUTBOX : TAKEOVER_DUE;

    if (!looks_for(t, now_ms, from))
        return false;
    t->n_left -= from == TAKEOVER_OUTBOX;
    if (is_missed(t, key))
        return false;
    if (!tail_find(t->tail, row, ret_partition, ret_offset)) {
        note_missed(t, key);
        return false;
    }
    t->n_found++;
    return true;
}

static void end_looking(struct takeover *t, uint64_t now_ms)
{
    if (!t->waiting && t->n_left == 0 && now_ms >= t->held_until_ms)
        leave_tail(t);
}

void takeover_used(struct takeover *t, uint64_t now_ms, const struct takeover_page *page)
{
    bool last = page->from == TAKEOVER_OUTBOX && !page->full && !page->catching_up;

    forget_page(t);
    if (last)
        t->n_left = 0;
    end_looking(t, now_ms);
}

void takeover_poll(struct takeover *t, uint64_t now_ms)
{
    if (t->tail != NULL)
        tail_poll(t->tail);
    end_looking(t, now_ms);
}

uint64_t takeover_deadline(const struct takeover *t)
{
    return t->waiting ? t->until_ms : UINT64_MAX;
}

size_t takeover_pollfds(const struct takeover *t, struct pollfd *fd)
{
    if (t->tail == NULL)
        return 0;
    *fd = (struct pollfd){ .fd = tail_fd(t->tail), .events = POLLIN };
    return 1;
}
