/* uuid.c - UUIDv7 from a clock and random bytes that are given; UUID text.
 *
 * Pure: no clock, no random source, no state. event_id.c brings those.
 */
#include "uuid.h"

#include <stddef.h>

#include "lib/shared/hex.h"

#define STAMP_BITS 60
#define STAMP_MASK ((UINT64_C(1) << STAMP_BITS) - 1)

uint64_t outbox__uuid_stamp(int64_t seconds, long nanoseconds)
{
    uint64_t ms, sub_ns;

    if (seconds < 0)
        return 0;
    ms = (uint64_t)seconds * 1000 + (uint64_t)nanoseconds / 1000000;
    sub_ns = (uint64_t)nanoseconds % 1000000;
    return (ms << 12 | (sub_ns << 12) / 1000000) & STAMP_MASK;
}

uint64_t outbox__uuid_stamp_after(uint64_t last, uint64_t now)
{
    return now > last ? now : last + 1;
}

void outbox__uuid_v7(uint64_t stamp, const unsigned char random[8], unsigned char ret[16])
{
    uint64_t ms = stamp >> 12;

    for (int i = 0; i < 6; i++)
        ret[i] = (unsigned char)(ms >> (40 - 8 * i));
    ret[6] = (unsigned char)(0x70 | (stamp >> 8 & 0x0f)); /* version 7 */
    ret[7] = (unsigned char)stamp;
    ret[8] = (unsigned char)(0x80 | (random[0] & 0x3f)); /* variant 10 */
    for (int i = 1; i < 8; i++)
        ret[8 + i] = random[i];
}

static bool is_hyphen_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

void outbox__uuid_format(const unsigned char uuid[16], char ret[OUTBOX__UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *to = ret;

    for (size_t i = 0; i < 16; i++) {
        if (is_hyphen_place((size_t)(to - ret)))
            *to++ = '-';
        *to++ = digits[uuid[i] >> 4];
        *to++ = digits[uuid[i] & 15];
    }
    *to = '\0';
}

bool outbox__uuid_parse(const char *text, unsigned char ret[16])
{
    size_t n = 0; /* nibbles read */

    for (size_t i = 0; i < OUTBOX__UUID_TEXT_SIZE - 1; i++) {
        int value = hex_digit(text[i]);

        if (is_hyphen_place(i)) {
            if (text[i] != '-')
                return false;
            continue;
        }
        if (value < 0) /* the NUL of a shorter text included */
            return false;
        ret[n / 2] = (unsigned char)(n % 2 == 0 ? value << 4 : ret[n / 2] | value);
        n++;
    }
    return text[OUTBOX__UUID_TEXT_SIZE - 1] == '\0';
}
