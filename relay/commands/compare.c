/* compare.c - see compare.h. */
#include "relay/commands/compare.h"

#include <string.h>

#include "relay/sink/id_table.h"
#include "relay/text.h"

#define WIDE 200

/* The first header of that name; NULL: none. */
static const struct header *find(const struct reader_record *r, const char *name)
{
    for (size_t i = 0; name != NULL && i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return &r->headers[i];
    return NULL;
}

bool compare_event_id(enum envelope_kind kind, const struct reader_record *record, uint8_t ret_id[16])
{
    const struct header *h = find(record, envelope_id_header(kind));

    return h != NULL && h->value != NULL && id_parse(h->value, h->value_len, ret_id);
}

static void mix(uint8_t id[16], uint64_t number)
{
    uint64_t low;

    memcpy(&low, id + 8, sizeof low);
    low ^= number * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(id + 8, &low, sizeof low);
}

bool compare_record_id(enum envelope_kind kind, const struct reader_record *record, uint8_t ret_id[16])
{
    const struct header *h = kind == ENVELOPE_CLOUDEVENTS ? find(record, "ce_sequence") : NULL;
    uint64_t number = 0;

    if (!compare_event_id(kind, record, ret_id))
        return false;
    for (size_t i = 0; h != NULL && i < h->value_len; i++)
        number = 10 * number + (uint64_t)(unsigned char)h->value[i] - '0';
    mix(ret_id, number);
    return true;
}

void compare_row_id(enum envelope_kind kind, const struct row *row, uint8_t ret_id[16])
{
    memcpy(ret_id, row->event_id, 16);
    mix(ret_id, kind == ENVELOPE_CLOUDEVENTS ? (uint64_t)row->id : 0);
}

const char *compare_replay_header(enum envelope_kind kind)
{
    return kind == ENVELOPE_CLOUDEVENTS ? "ce_replay" : "replay";
}

bool compare_is_replay(enum envelope_kind kind, const struct reader_record *record)
{
    return find(record, compare_replay_header(kind)) != NULL;
}

static bool same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return (a == NULL) == (b == NULL) && a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* In order, and nothing besides. */
static unsigned compare_headers(const struct header *want, size_t n_want, const struct reader_record *r)
{
    unsigned differences = 0;

    if (n_want != r->n_headers)
        return COMPARE_HEADERS;
    for (size_t i = 0; i < n_want; i++) {
        const struct header *a = &want[i], *b = &r->headers[i];
        bool same = a->value_len == b->value_len &&
                    (a->value_len == 0 || memcmp(a->value, b->value, a->value_len) == 0);
        if (strcmp(a->name, b->name) != 0 || (!same && strcmp(a->name, "ce_source") != 0))
            return COMPARE_HEADERS;
        if (!same)
            differences = COMPARE_SOURCE;
    }
    return differences;
}

unsigned compare_record(enum envelope_kind kind, const struct row *row, const struct header *headers,
                        size_t n_headers, const struct reader_record *record)
{
    uint8_t id[16];

    if (kind != ENVELOPE_PLAIN && (!compare_event_id(kind, record, id) ||
                                   memcmp(id, row->event_id, sizeof id) != 0))
        return COMPARE_EVENT_ID;
    return (same_bytes(row->key, row->key_len, record->key, record->key_len) ? 0 : COMPARE_KEY) |
           (same_bytes(row->payload, row->payload_len, record->payload, record->payload_len)
                ? 0 : COMPARE_PAYLOAD) |
           compare_headers(headers, n_headers, record);
}

static const char *const names[COMPARE_N_DIFFERENCES] = { "event_id", "key", "payload", "headers",
                                                          "ce_source" };

const char *compare_name(unsigned difference)
{
    unsigned i = 0;

    while (difference >> i != 1)
        i++;
    return names[i];
}

void compare_print(unsigned differences, FILE *out)
{
    const char *comma = "";

    for (unsigned i = 0; i < COMPARE_N_DIFFERENCES; i++)
        if (differences & (1u << i)) {
            fprintf(out, "%s%s", comma, i == 0 ? "event id" : names[i]);
            comma = ", ";
        }
}

void compare_print_source_hint(const char *source, FILE *out)
{
    fputs("only ce_source differs: is the setting source, here ", out);
    text_put(out, source, WIDE);
    fputs(", that of the relay?\n", out);
}
