/* record_id.c - see record_id.h. */
#include "relay/sink/record_id.h"

#include <stdio.h>
#include <string.h>

#include "lib/shared/hash.h"
#include "relay/sink/id_table.h"

/* By envelope; the plain one has neither. */
static const struct {
    const char *id;   /* the header with the event id */
    const char *also; /* one more that counts */
    bool content;     /* and so do key and payload */
} of[] = {
    [ENVELOPE_CLOUDEVENTS] = { "ce_id", "ce_sequence", false },
    [ENVELOPE_DEBEZIUM] = { "id", "eventType", true },
    [ENVELOPE_PLAIN] = { "", "", false },
};

/* Where a field ends counts as well, and whether it is there at all. */
static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    uint64_t end = data != NULL ? (uint64_t)len + 1 : 0;

    return hash_fnv1a(hash_fnv1a(h, data, data != NULL ? len : 0), &end, sizeof end);
}

struct content {
    const void *also, *key, *payload;
    size_t also_len, key_len, payload_len;
};

static void mix_in(enum envelope_kind envelope, const struct content *c, uint8_t id[16])
{
    uint64_t low, h = mix(HASH_FNV1A, c->also, c->also_len);

    if (of[envelope].content)
        h = mix(mix(h, c->key, c->key_len), c->payload, c->payload_len);
    memcpy(&low, id + 8, sizeof low);
    low ^= h;
    memcpy(id + 8, &low, sizeof low);
}

static bool header(rd_kafka_headers_t *headers, const char *name, const void **ret_value,
                   size_t *ret_len)
{
    return rd_kafka_header_get(headers, 0, name, ret_value, ret_len) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

bool record_id_of_message(enum envelope_kind envelope, const rd_kafka_message_t *m,
                          uint8_t ret_id[16])
{
    struct content c = { .key = m->key, .payload = m->payload, .key_len = m->key_len,
                         .payload_len = m->len };
    rd_kafka_headers_t *headers;
    const void *text;
    size_t len;

    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        !header(headers, of[envelope].id, &text, &len) || !id_parse(text, len, ret_id) ||
        !header(headers, of[envelope].also, &c.also, &c.also_len))
        return false;
    mix_in(envelope, &c, ret_id);
    return true;
}

void record_id_of_row(enum envelope_kind envelope, const struct row *row, uint8_t ret_id[16])
{
    char sequence[24];
    struct content c = { .also = row->type, .key = row->key, .payload = row->payload,
                         .key_len = row->key_len, .payload_len = row->payload_len };

    if (envelope == ENVELOPE_CLOUDEVENTS) {
        snprintf(sequence, sizeof sequence, "%020lld", (long long)row->id);
        c.also = sequence;
    }
    c.also_len = strlen(c.also);
    memcpy(ret_id, row->event_id, 16);
    mix_in(envelope, &c, ret_id);
}
