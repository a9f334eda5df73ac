/* frame.c - the framing of a schema registry before a payload. Pure. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "outbox.h"

#define PREFIX_BYTES 5 /* 0, and the id */

/* A varint: seven bits a byte, the lowest first, the top bit says that more come. Zigzag of a number
 * that is not negative is twice the number. Returns the number of bytes; with to NULL it only counts. */
static size_t put_zigzag(unsigned char *to, uint64_t number)
{
    uint64_t left = 2 * number;
    size_t n = 0;

    do {
        unsigned char byte = (unsigned char)(left & 0x7f);

        left >>= 7;
        if (to != NULL)
            to[n] = (unsigned char)(byte | (left > 0 ? 0x80 : 0));
        n++;
    } while (left > 0);
    return n;
}

static size_t put_path(unsigned char *to, const int32_t *indexes, size_t n_indexes)
{
    size_t n;

    if (n_indexes == 0)
        return 0;
    if (n_indexes == 1 && indexes[0] == 0) /* the first message, by far the commonest */
        return put_zigzag(to, 0);
    n = put_zigzag(to, n_indexes);
    for (size_t i = 0; i < n_indexes; i++)
        n += put_zigzag(to != NULL ? to + n : NULL, (uint64_t)indexes[i]);
    return n;
}

static bool is_path(const int32_t *indexes, size_t n_indexes)
{
    if (n_indexes > 0 && indexes == NULL)
        return false;
    for (size_t i = 0; i < n_indexes; i++) {
        if (indexes[i] < 0)
            return false;
    }
    return true;
}

size_t outbox_frame_confluent(uint32_t schema_id, const int32_t *indexes, size_t n_indexes,
                              const void *payload, size_t payload_len, void *buffer, size_t size)
{
    unsigned char *to = buffer;
    size_t frame;

    if (!is_path(indexes, n_indexes) || (payload == NULL && payload_len > 0) ||
        (buffer == NULL && size > 0))
        return 0;
    frame = PREFIX_BYTES + put_path(NULL, indexes, n_indexes);
    if (payload_len > SIZE_MAX - frame)
        return 0;
    if (frame + payload_len > size)
        return frame + payload_len;
    if (payload_len > 0)
        memmove(to + frame, payload, payload_len); /* first: it may lie where the frame goes */
    to[0] = 0;
    for (int i = 0; i < 4; i++)
        to[1 + i] = (unsigned char)(schema_id >> (24 - 8 * i));
    (void)put_path(to + PREFIX_BYTES, indexes, n_indexes);
    return frame + payload_len;
}
