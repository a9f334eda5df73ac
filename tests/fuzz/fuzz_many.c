/* fuzz_many.c - any events as arrays: what was added comes out of them in the order in which it went in,
 * by a reader of PostgreSQL's binary arrays that is written here a second time.
 *
 * Input: for each event a byte that says which fields are there and how long the payload is, then
 * fields with 0xff between them: topic, key, type, payload, correlation id.
 */
#include "lib/outbox/arrays.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_EVENTS = 200, N_TEXTS = 5 };

struct made {
    outbox_event event;
    char *text[N_TEXTS];
};

static void make(struct made *m, struct input *in)
{
    unsigned presence = take_byte(in);
    size_t len[N_TEXTS];

    m->event = (outbox_event)OUTBOX_EVENT_INIT;
    for (int i = 0; i < N_TEXTS; i++)
        m->text[i] = take_field(in, &len[i]);
    m->event.topic = m->text[0];
    if (presence & 1) {
        m->event.key = m->text[1];
        m->event.key_len = len[1];
        m->event.flags = presence & 2 ? OUTBOX_APPEND_ORDERED : 0;
    }
    m->event.type = m->text[2];
    if (presence & 4) {
        m->event.payload = m->text[3];
        m->event.payload_len = len[3];
    }
    if (presence & 8)
        m->event.correlation_id = m->text[4];
    if (presence & 16)
        m->event.available_at_us = INT64_C(946684800000001);
    m->event.hops = presence >> 5;
}

static void unmake(struct made *m)
{
    for (int i = 0; i < N_TEXTS; i++)
        free(m->text[i]);
}

static uint32_t word(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The next element of the array; *at moves behind it. NULL: a null. */
static const unsigned char *element(const unsigned char **at, const unsigned char *end,
                                    uint32_t *ret_len)
{
    const unsigned char *value;

    REQUIRE(end - *at >= 4);
    *ret_len = word(*at);
    *at += 4;
    if (*ret_len == UINT32_MAX)
        return NULL;
    REQUIRE((size_t)(end - *at) >= *ret_len);
    value = *at;
    *at += *ret_len;
    return value;
}

/* Against the row, encoded once more by itself. */
static void check_column(struct outbox__arrays *arrays, int column, const struct made *made,
                         const unsigned *accepted, size_t n)
{
    static struct outbox__row row;
    int len;
    const unsigned char *at =
        (const unsigned char *)outbox__arrays_finish(arrays, column, 4711, &len);
    bool null = false;

    if (at == NULL) {
        REQUIRE(len == 0);
        for (size_t i = 0; i < n; i++) {
            REQUIRE(outbox__row_encode(&made[accepted[i]].event, &row, NULL) == OUTBOX_OK);
            REQUIRE(row.values[column] == NULL);
            outbox__row_deinit(&row);
        }
        return;
    }
    const unsigned char *end = at + len;
    REQUIRE(len >= 20 && word(at) == 1 && word(at + 8) == 4711 && word(at + 12) == n &&
            word(at + 16) == 1);
    uint32_t says_null = word(at + 4);
    at += 20;
    for (size_t i = 0; i < n; i++) {
        uint32_t value_len;
        const unsigned char *value = element(&at, end, &value_len);

        REQUIRE(outbox__row_encode(&made[accepted[i]].event, &row, NULL) == OUTBOX_OK);
        REQUIRE((value == NULL) == (row.values[column] == NULL));
        if (value != NULL) {
            REQUIRE(value_len == (uint32_t)row.lengths[column]);
            REQUIRE(column == OUTBOX__EVENT_ID ||
                    memcmp(value, row.values[column], value_len) == 0);
        }
        null |= value == NULL;
        outbox__row_deinit(&row);
    }
    REQUIRE(at == end && says_null == null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct made made[MAX_EVENTS];
    static struct outbox__row row;
    struct input in = { data, data + size };
    struct outbox__arrays arrays;
    unsigned accepted[MAX_EVENTS];
    size_t n = 0, n_accepted = 0;

    memset(&arrays, 0, sizeof arrays);
    while (n < MAX_EVENTS && !is_over(&in)) {
        make(&made[n], &in);
        if (outbox__row_encode(&made[n].event, &row, NULL) == OUTBOX_OK) {
            memset(row.event_id, 0, sizeof row.event_id);
            REQUIRE(outbox__arrays_add(&arrays, &row));
            outbox__row_deinit(&row);
            accepted[n_accepted++] = (unsigned)n;
        }
        n++;
    }
    REQUIRE(arrays.n_rows == n_accepted);
    for (int column = 0; n_accepted > 0 && column < OUTBOX__N_PARAMETERS; column++)
        check_column(&arrays, column, made, accepted, n_accepted);
    outbox__arrays_deinit(&arrays);
    for (size_t i = 0; i < n; i++)
        unmake(&made[i]);
    return 0;
}
