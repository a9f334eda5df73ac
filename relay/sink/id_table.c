/* id_table.c - see id_table.h. Open addressing; never more than 4/5 full. */
#include "relay/sink/id_table.h"

#include <stdlib.h>
#include <string.h>

#include "lib/shared/hex.h"

/* Ids may be anything that the application chose, so all bits count. */
static uint32_t first_slot(const struct id_table *t, const uint8_t id[16])
{
    uint64_t a, b;

    memcpy(&a, id, 8);
    memcpy(&b, id + 8, 8);
    a = (a ^ (a >> 29)) * UINT64_C(0xbf58476d1ce4e5b9) + b;
    a = (a ^ (a >> 32)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(((a >> 32) * t->cap) >> 32);
}

/* Where the id is, or the free place that it would take. */
static struct id_place *slot_of(const struct id_table *t, const uint8_t id[16])
{
    uint32_t i = first_slot(t, id);

    while (t->place[i].used && memcmp(t->place[i].id, id, 16) != 0)
        i = i + 1 < t->cap ? i + 1 : 0;
    return &t->place[i];
}

int id_table_reserve(struct id_table *t, uint64_t n)
{
    struct id_table grown = { .place = NULL };
    uint64_t cap = n + n / 4 + 2;

    if (n <= t->room)
        return 0;
    if (cap > UINT32_MAX || (grown.place = calloc((size_t)cap, sizeof *grown.place)) == NULL)
        return -1;
    grown.cap = (uint32_t)cap;
    grown.room = (uint32_t)n;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->place[i].used)
            (void)id_table_add(&grown, t->place[i].id, t->place[i].partition, t->place[i].offset);
    free(t->place);
    *t = grown;
    return 0;
}

static bool is_before(int32_t partition, int64_t offset, const struct id_place *p)
{
    return partition < p->partition || (partition == p->partition && offset < p->offset);
}

bool id_table_add(struct id_table *t, const uint8_t id[16], int32_t partition, int64_t offset)
{
    if (t->cap == 0)
        return false;
    struct id_place *p = slot_of(t, id);
    if (!p->used && t->n == t->room)
        return false;
    if (!p->used) {
        memcpy(p->id, id, 16);
        p->used = true;
        t->n++;
    } else if (!is_before(partition, offset, p)) {
        return true;
    }
    p->partition = partition;
    p->offset = offset;
    return true;
}

const struct id_place *id_table_find(const struct id_table *t, const uint8_t id[16])
{
    const struct id_place *p = t->cap > 0 ? slot_of(t, id) : NULL;

    return p != NULL && p->used ? p : NULL;
}

void id_table_deinit(struct id_table *t)
{
    free(t->place);
    *t = (struct id_table){ .place = NULL };
}

bool id_parse(const void *text, size_t len, uint8_t ret_id[16])
{
    const char *s = text;

    if (s == NULL || len != 36)
        return false;
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *s++ != '-')
            return false;
        int high = hex_digit(s[0]), low = hex_digit(s[1]);
        if (high < 0 || low < 0)
            return false;
        ret_id[i] = (uint8_t)(high << 4 | low);
        s += 2;
    }
    return true;
}
