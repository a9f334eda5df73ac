/* room.h - an array in which the numbers of topics, or of partitions, are the places. Pure but for memory.
 *
 * They begin at 0 and leave few out, and nobody knows beforehand how many there will be.
 */
#ifndef RELAY_ROOM_H
#define RELAY_ROOM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The array of *n things, which is taken, with a place for this number; places that are new hold zeroes. NULL when out
 * of memory: then nothing has changed. */
static inline void *room_for(uint32_t number, void *array, uint32_t *n, size_t size)
{
    uint32_t n_then = number + 16;

    if (number < *n)
        return array;
    char *grown = realloc(array, n_then * size);
    if (grown == NULL)
        return NULL;
    memset(grown + *n * size, 0, (n_then - *n) * size);
    *n = n_then;
    return grown;
}

#endif
