/* fuzz_frame.c - any schema id, path and payload through outbox_frame_confluent(): a reader that is written
 * here from the registry's description finds the same, also when the payload lay in the buffer.
 *
 * Input: number of indexes (1 byte), id (4 bytes), place of the payload in the buffer (1 byte),
 * indexes (4 bytes each), payload.
 */
#include "outbox.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_INDEXES = 20, MAX_BYTES = 8192 };

static uint32_t take_word(struct input *in)
{
    uint32_t n = 0;

    for (int i = 0; i < 4; i++)
        n = n << 8 | take_byte(in);
    return n;
}

/* Zigzag, seven bits a byte. */
static int64_t read_varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t n = 0;

    for (unsigned shift = 0;; shift += 7) {
        REQUIRE(*at < end && shift < 64);
        uint8_t byte = *(*at)++;
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
}

static void check_path(const uint8_t **at, const uint8_t *end, const int32_t *indexes, size_t n)
{
    int64_t count = read_varint(at, end);

    if (count == 0) {
        REQUIRE(n == 1 && indexes[0] == 0);
        return;
    }
    REQUIRE(count == (int64_t)n && !(n == 1 && indexes[0] == 0));
    for (size_t i = 0; i < n; i++)
        REQUIRE(read_varint(at, end) == indexes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buffer[MAX_BYTES], before[MAX_BYTES];
    struct input in = { data, data + size };
    int32_t indexes[MAX_INDEXES];
    size_t n = take_byte(&in) % (MAX_INDEXES + 1), place, len, needed;
    uint32_t id = take_word(&in);
    bool negative = false;

    place = take_byte(&in);
    for (size_t i = 0; i < n; i++) {
        indexes[i] = (int32_t)take_word(&in);
        negative |= indexes[i] < 0;
    }
    const uint8_t *payload = in.at;
    len = (size_t)(in.end - in.at);
    if (len + place + 200 > sizeof buffer)
        return 0;
    memset(buffer, 0xa5, sizeof buffer);
    if (len > 0)
        memcpy(buffer + place, payload, len);
    memcpy(before, buffer, sizeof buffer);
    needed = outbox_frame_confluent(id, indexes, n, len > 0 ? buffer + place : NULL, len, buffer, 0);
    REQUIRE(memcmp(buffer, before, sizeof buffer) == 0);
    REQUIRE((needed == 0) == negative);
    if (negative)
        return 0;
    REQUIRE(outbox_frame_confluent(id, indexes, n, len > 0 ? buffer + place : NULL, len, buffer,
                                   needed) == needed);
    const uint8_t *at = buffer + 5, *end = buffer + needed;
    REQUIRE(buffer[0] == 0 && buffer[1] == id >> 24 && buffer[2] == (id >> 16 & 0xff) &&
            buffer[3] == (id >> 8 & 0xff) && buffer[4] == (id & 0xff));
    if (n > 0)
        check_path(&at, end, indexes, n);
    REQUIRE((size_t)(end - at) == len && (len == 0 || memcmp(at, payload, len) == 0));
    size_t behind = needed > place + len ? needed : place + len;
    REQUIRE(memcmp(buffer + behind, before + behind, sizeof buffer - behind) == 0);
    return 0;
}
