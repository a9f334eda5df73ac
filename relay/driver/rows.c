/* rows.c - rows that were read become the core's rows, each in its slot. Knows neither SQL nor Kafka. */
#include <stdlib.h>

#include "relay/driver/inside.h"
#include "relay/log.h"

/* As the core sees a row. */
struct facts {
    uint64_t key;
    uint32_t topic; /* UINT32_MAX: out of memory */
    uint32_t bytes;
};

static uint32_t number_of(struct driver *d, const char *topic)
{
    uint32_t number = core_topic(&d->core, topic);

    if (number == UINT32_MAX) {
        log_error("relay", "out of memory", "for", "a topic", "topic", topic);
        driver_end(d, EXIT_INTERNAL);
    }
    return number;
}

static struct facts facts_of(struct driver *d, const struct row *row)
{
    struct facts f = {
        .topic = number_of(d, row->topic),
        .bytes = row->block_bytes < UINT32_MAX ? (uint32_t)row->block_bytes : UINT32_MAX,
    };

    if (row->key != NULL && f.topic != UINT32_MAX)
        f.key = core_key(&d->core, f.topic, row->key, row->key_len);
    return f;
}

static uint32_t hand_over(struct driver *d, const struct row *row, const struct facts *f, bool found)
{
    struct core_held_info info = { (enum held_as)row->held_as, row->attempts, row->maybe, found };

    if (row->held_as == HELD_NOT)
        monitor_read(d->monitor, f->topic, row->topic);
    if (row->held_as != HELD_NOT)
        return core_held_row(&d->core, d->now_ms, f->topic, f->key, f->bytes, info);
    if (found)
        return core_found_row(&d->core, d->now_ms, f->topic, f->key, f->bytes);
    return core_row(&d->core, f->topic, f->key, f->bytes, row->wait_ms > 0);
}

static void on_row(struct driver *d, struct row *row)
{
    struct facts f = facts_of(d, row);
    int32_t partition = -1;
    int64_t offset = -1;
    uint32_t slot;

    if (f.topic == UINT32_MAX) {
        core_row_lost(&d->core);
        slot = NO_SLOT;
    } else {
        bool found = takeover_found(&d->takeover, d->now_ms, row, f.key, &partition, &offset);
        slot = hand_over(d, row, &f, found);
    }
    if (slot == NO_SLOT)
        free(row);
    else
        d->slot[slot] = (struct slot){ .row = row, .partition = partition, .offset = offset };
}

void driver_use_page(struct driver *d, const struct takeover_page *p)
{
    for (uint32_t i = 0; i < p->n_rows; i++)
        on_row(d, p->rows[i]);
    switch (p->from) {
    case TAKEOVER_OUTBOX:
        d->n_read += p->n_rows;
        core_page_end(&d->core, d->now_ms, p->n_rows, p->full, p->catching_up);
        break;
    case TAKEOVER_DUE:
        core_due_end(&d->core, d->now_ms, p->full, p->next_due_ms);
        break;
    case TAKEOVER_TOPIC:
        core_topic_end(&d->core, d->now_ms, p->full);
        break;
    }
    takeover_used(&d->takeover, d->now_ms, p);
}

void driver_page(struct driver *d, const struct source_event *e, enum takeover_from from)
{
    struct takeover_page p = { e->rows, e->n_rows, e->full, e->catching_up, from, e->next_due_ms };

    if (!takeover_wait(&d->takeover, d->now_ms, &p))
        driver_use_page(d, &p);
}

void driver_held_keys(struct driver *d, const struct source_event *e)
{
    for (uint32_t i = 0; i < e->n_keys && d->exit_code < 0; i++) {
        const struct source_key *k = &e->keys[i];
        uint32_t topic = number_of(d, k->topic);
        if (topic == UINT32_MAX)
            break;
        if (k->key == NULL)
            core_held_topic(&d->core, d->now_ms, topic);
        else
            core_held_key(&d->core, topic, core_key(&d->core, topic, k->key, k->key_len));
    }
    core_held_piece(&d->core, d->now_ms);
}
