/* id_table.h - event ids and where their records are: a hash table of fixed size. Pure.
 *
 * 40 bytes per id that room was made for. Start from zeroes.
 *
 * Another kind than core/hashtable.h: ids are 16 bytes that others chose, none is ever removed, and as memory is what
 * limits their number it is filled to four fifths, not to a half.
 */
#ifndef RELAY_SINK_ID_TABLE_H
#define RELAY_SINK_ID_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_place {
    uint8_t id[16];
    int64_t offset;
    int32_t partition;
    bool used;
};

struct id_table {
    struct id_place *place;
    uint32_t cap, n;
    uint32_t room; /* ids that fit */
};

/* Room for n ids in all; keeps those that are there. 0, or -1 when that cannot be had. */
int id_table_reserve(struct id_table *t, uint64_t n);
/* Of an id that stands in a partition more than once the lowest offset is kept: there a consumer
 * that drops repeats took it. Of two partitions the lower one, so that the outcome does not depend
 * on which was read first. False: no room. */
bool id_table_add(struct id_table *t, const uint8_t id[16], int32_t partition, int64_t offset);
/* NULL: not there. */
const struct id_place *id_table_find(const struct id_table *t, const uint8_t id[16]);
void id_table_deinit(struct id_table *t);

/* 36 characters, hexadecimal digits of either case. */
bool id_parse(const void *text, size_t len, uint8_t ret_id[16]);

#endif
