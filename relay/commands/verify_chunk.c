/* verify_chunk.c - see verify_chunk.h. */
#include "relay/commands/verify_chunk.h"

#include <stdlib.h>
#include <string.h>

#include "relay/commands/compare.h"

#define GAP 10000      /* records that are read over rather than a new reading begun; as inflight.rows */
#define STRAYS 50000   /* 40 bytes each */

/* -- order ----------------------------------------------------------------------------------- */

static int compare_place(const void *a, const void *b)
{
    const struct operate_sent *x = &(*(struct verify_event *const *)a)->sent;
    const struct operate_sent *y = &(*(struct verify_event *const *)b)->sent;
    int topic = strcmp(x->row->topic, y->row->topic);

    if (topic != 0)
        return topic;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_id(const void *a, const void *b)
{
    return memcmp((*(struct verify_event *const *)a)->id, (*(struct verify_event *const *)b)->id, 16);
}

static struct verify_event *find_id(const struct verify_chunk *c, const uint8_t id[16])
{
    uint32_t low = 0, high = c->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = memcmp(c->by_id[middle]->id, id, 16);
        if (order == 0)
            return c->by_id[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* -- records --------------------------------------------------------------------------------- */

static void note_repeat(struct verify_event *e, int32_t partition, int64_t offset)
{
    e->twice = true;
    e->again_partition = partition;
    e->again_offset = offset;
}

/* It is of none of the events here: one of the chunk before, or of the next one. */
static void look_across(struct verify_chunk *c, const uint8_t id[16], const struct reader_record *r)
{
    const struct id_place *place = id_table_find(&c->before, id);
    uint8_t event_id[16];

    if (compare_is_replay(c->envelope->kind, r))
        return;
    if (place != NULL) {
        if ((place->partition != r->partition || place->offset != r->offset) &&
            compare_event_id(c->envelope->kind, r, event_id))
            c->on_late_repeat(c->arg, event_id, place, r->partition, r->offset);
        return;
    }
    if (c->strays.n >= STRAYS)
        id_table_deinit(&c->strays); /* what lies so far off is not looked for */
    if (id_table_reserve(&c->strays, STRAYS) == 0)
        (void)id_table_add(&c->strays, id, r->partition, r->offset);
}

/* A record that bears an id, at whatever place. */
static void look_for_repeat(struct verify_chunk *c, const struct reader_record *r)
{
    uint8_t id[16];

    if (!compare_record_id(c->envelope->kind, r, id))
        return;
    struct verify_event *e = find_id(c, id);
    if (e == NULL) {
        look_across(c, id, r);
        return;
    }
    if (e->sent.partition == r->partition && e->sent.offset == r->offset)
        return;
    if (compare_is_replay(c->envelope->kind, r))
        e->replayed = true;
    else
        note_repeat(e, r->partition, r->offset);
}

static void compare_with(struct verify_chunk *c, struct verify_event *e, const struct reader_record *r)
{
    const struct header *headers;
    size_t n;

    if (e->sent.row->unreadable != NULL) {
        e->outcome = VERIFY_UNREADABLE;
        return;
    }
    if (envelope_headers(c->envelope, e->sent.row, &c->buf, &headers, &n) < 0) {
        snprintf(c->error, sizeof c->error, "out of memory");
        return;
    }
    e->differences = compare_record(c->envelope->kind, e->sent.row, headers, n, r);
    e->outcome = e->differences == 0 ? VERIFY_AS_SENT : VERIFY_CHANGED;
}

static void on_record(void *arg, const struct reader_record *r)
{
    struct verify_chunk *c = arg;

    while (c->at < c->end && c->by_place[c->at]->sent.offset < r->offset)
        c->at++;
    /* two events may claim one place, when a topic was made anew */
    for (uint32_t i = c->at; i < c->end && c->by_place[i]->sent.offset == r->offset; i++)
        compare_with(c, c->by_place[i], r);
    look_for_repeat(c, r);
}

/* -- one partition --------------------------------------------------------------------------- */

static void set_all(struct verify_chunk *c, uint32_t from, uint32_t to, enum verify_outcome outcome)
{
    for (uint32_t i = from; i < to; i++)
        c->by_place[i]->outcome = outcome;
}

/* Those of by_place[from .. to), whose records lie near each other; [low, high) is what there is. */
static void read_near(struct verify_chunk *c, uint32_t from, uint32_t to, int64_t low, int64_t high)
{
    const struct operate_sent *s = &c->by_place[from]->sent;
    int64_t begin = s->offset, end = c->by_place[to - 1]->sent.offset + 1;

    if (c->is_first)
        begin = begin - low > GAP ? begin - GAP : low;
    if (c->is_last)
        end = high - end > GAP ? end + GAP : high;
    set_all(c, from, to, VERIFY_MISSING);
    c->at = from;
    c->end = to;
    if (reader_read(c->reader, s->row->topic, s->partition, begin, end, c->timeout_ms, NULL, on_record, c,
                    c->error, sizeof c->error) < 0)
        for (uint32_t i = c->at; i < to; i++)
            if (c->by_place[i]->outcome == VERIFY_MISSING)
                c->by_place[i]->outcome = VERIFY_UNREAD;
}

/* All of one topic and partition. */
static void read_partition(struct verify_chunk *c, uint32_t from, uint32_t to)
{
    const struct operate_sent *s = &c->by_place[from]->sent;
    int64_t low = 0, high = 0;
    char why[sizeof c->error];

    if (s->partition < 0)
        return;
    switch (reader_ends(c->reader, s->row->topic, s->partition, c->timeout_ms, &low, &high, why,
                        sizeof why)) {
    case READER_FAILED:
        memcpy(c->error, why, sizeof why);
        set_all(c, from, to, VERIFY_UNREAD);
        return;
    case READER_NO_TOPIC:
        set_all(c, from, to, VERIFY_MISSING);
        for (uint32_t i = from; i < to; i++)
            c->by_place[i]->no_topic = true;
        return;
    case READER_THERE:
        break;
    }
    for (; from < to && c->by_place[from]->sent.offset < low; from++)
        c->by_place[from]->outcome = VERIFY_EXPIRED;
    for (; to > from && c->by_place[to - 1]->sent.offset >= high; to--)
        c->by_place[to - 1]->outcome = VERIFY_MISSING;
    for (uint32_t i = from, next; i < to; i = next) {
        for (next = i + 1; next < to && c->by_place[next]->sent.offset -
                                                c->by_place[next - 1]->sent.offset <= GAP;)
            next++;
        read_near(c, i, next, low, high);
    }
}

/* -- the chunk ------------------------------------------------------------------------------- */

static void begin(struct verify_chunk *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct verify_event *e = &c->event[i];
        bool placed = e->sent.partition >= 0 && e->sent.offset >= 0;
        compare_row_id(c->envelope->kind, e->sent.row, e->id);
        const struct id_place *stray = id_table_find(&c->strays, e->id);
        e->outcome = placed ? VERIFY_UNREAD : VERIFY_UNPLACED;
        if (!placed)
            e->sent.partition = -1; /* to be sorted before all others of the topic */
        if (stray != NULL && placed &&
            (stray->partition != e->sent.partition || stray->offset != e->sent.offset))
            note_repeat(e, stray->partition, stray->offset);
        c->by_place[i] = c->by_id[i] = e;
    }
    qsort(c->by_place, c->n, sizeof c->by_place[0], compare_place);
    qsort(c->by_id, c->n, sizeof c->by_id[0], compare_id);
}

static bool same_partition(const struct verify_event *a, const struct verify_event *b)
{
    return a->sent.partition == b->sent.partition && strcmp(a->sent.row->topic, b->sent.row->topic) == 0;
}

void verify_chunk_compare(struct verify_chunk *c)
{
    begin(c);
    for (uint32_t i = 0, next; i < c->n; i = next) {
        for (next = i + 1; next < c->n && same_partition(c->by_place[i], c->by_place[next]);)
            next++;
        read_partition(c, i, next);
    }
    for (uint32_t i = 0; i < c->n; i++) /* worse than anything but a record that is not there either */
        if (c->event[i].sent.row->unreadable != NULL && c->event[i].outcome != VERIFY_MISSING)
            c->event[i].outcome = VERIFY_UNREADABLE;
}

void verify_chunk_next(struct verify_chunk *c)
{
    id_table_deinit(&c->before);
    bool room = id_table_reserve(&c->before, VERIFY_ROWS) == 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct operate_sent *sent = &c->event[i].sent;
        if (room && sent->partition >= 0 && sent->offset >= 0)
            (void)id_table_add(&c->before, c->event[i].id, sent->partition, sent->offset);
        free(sent->row);
        c->event[i] = (struct verify_event){ .outcome = VERIFY_UNREAD };
    }
    c->n = 0;
}

void verify_chunk_deinit(struct verify_chunk *c)
{
    verify_chunk_next(c);
    id_table_deinit(&c->before);
    id_table_deinit(&c->strays);
    envelope_buf_deinit(&c->buf);
}
