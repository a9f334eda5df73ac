/* held_arrays.c - see held_arrays.h. */
#include "relay/source/held_arrays.h"

#include <stdlib.h>
#include <string.h>

#include "relay/source/array.h"

/* The length of the UTF-8 sequence at p, or 0 where there is none. Never looks behind the NUL. */
static size_t sequence(const unsigned char *p)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* overlong, a surrogate, or beyond Unicode */
    return len;
}

static char *put_text(char *p, const char *text, size_t max)
{
    char *length = p, *to = p + 4;

    if (text == NULL)
        return array_put_null(p);
    for (const unsigned char *from = (const unsigned char *)text; *from != '\0';) {
        size_t len = sequence(from), n = len > 0 ? len : 1;
        if ((size_t)(to - (length + 4)) + n > max)
            break;
        if (len > 0)
            memcpy(to, from, n);
        else
            *to = '?';
        to += n;
        from += n;
    }
    (void)wire_put32(length, (int32_t)(to - (length + 4)));
    return to;
}

static const char *state_name(enum hold_state state)
{
    switch (state) {
    case HOLD_RETRYING:
        return "retrying";
    case HOLD_BLOCKED:
        return "blocked";
    case HOLD_PAUSED:
        return "paused";
    case HOLD_SCHEDULED:
        return "scheduled";
    case HOLD_DEAD:
        break;
    }
    return "dead";
}

static char *put_element(char *p, int column, const struct source_hold *h)
{
    switch (column) {
    case 0:
        return array_put64(p, h->row->id);
    case 1:
        return array_put16(p, h->row->bucket);
    case 2:
        return put_text(p, state_name(h->state), 16);
    case 3:
        return array_put32(p, h->attempts < INT32_MAX ? (int32_t)h->attempts : INT32_MAX);
    case 4:
        return array_put64(p, h->delay_ms < INT64_MAX ? (int64_t)h->delay_ms : INT64_MAX);
    case 5:
        return array_put_bool(p, h->maybe);
    case 6:
        return array_put_bool(p, h->row->key_unreadable);
    case 7:
        return put_text(p, h->error_code, HELD_CODE_BYTES);
    default:
        return put_text(p, h->error, HELD_ERROR_BYTES);
    }
}

static size_t text_room(const char *text, size_t max)
{
    return text != NULL ? strnlen(text, max) : 0;
}

static int reserve(char **bytes, size_t *cap, size_t need)
{
    if (need <= *cap)
        return 0;
    char *p = realloc(*bytes, need);
    if (p == NULL)
        return -1;
    *bytes = p;
    *cap = need;
    return 0;
}

int hold_arrays_encode(struct hold_arrays *a, const struct source_hold *holds, uint32_t n)
{
    static const int32_t oid[HOLD_COLUMNS] = { OID_INT8, OID_INT2, OID_TEXT, OID_INT4,
                                               OID_INT8, OID_BOOL, OID_BOOL, OID_TEXT, OID_TEXT };
    size_t need = HOLD_COLUMNS * ARRAY_HEAD_BYTES;

    for (uint32_t i = 0; i < n; i++)
        need += HOLD_COLUMNS * 4 + 8 + 2 + 16 + 4 + 8 + 1 + 1 +
                text_room(holds[i].error_code, HELD_CODE_BYTES) +
                text_room(holds[i].error, HELD_ERROR_BYTES);
    if (reserve(&a->bytes, &a->cap, need) < 0)
        return -1;
    char *p = a->bytes;
    for (int col = 0; col < HOLD_COLUMNS; col++) {
        char *end = array_put_head(p, oid[col], n, col >= 7);
        for (uint32_t i = 0; i < n; i++)
            end = put_element(end, col, &holds[i]);
        a->values[col] = p;
        a->lengths[col] = (int)(end - p);
        p = end;
    }
    return 0;
}

void hold_arrays_deinit(struct hold_arrays *a)
{
    free(a->bytes);
    *a = (struct hold_arrays){ .bytes = NULL };
}

int touched_add(struct touched *t, int64_t id, int16_t bucket, bool wanted)
{
    if (t->n == t->cap) {
        uint32_t cap = t->cap == 0 ? 64 : 2 * t->cap;
        struct touched_row *row = realloc(t->row, cap * sizeof *row);
        if (row == NULL)
            return -1;
        t->row = row;
        t->cap = cap;
    }
    t->row[t->n++] = (struct touched_row){ id, bucket, wanted };
    return 0;
}

int touched_encode(struct touched *t)
{
    static const int32_t oid[TOUCHED_COLUMNS] = { OID_INT8, OID_INT2, OID_BOOL };
    size_t need = TOUCHED_COLUMNS * (ARRAY_HEAD_BYTES + (size_t)t->n * (4 + 8));

    if (reserve(&t->bytes, &t->bytes_cap, need) < 0)
        return -1;
    char *p = t->bytes;
    for (int col = 0; col < TOUCHED_COLUMNS; col++) {
        char *end = array_put_head(p, oid[col], t->n, false);
        for (uint32_t i = 0; i < t->n; i++)
            end = col == 0   ? array_put64(end, t->row[i].id)
                  : col == 1 ? array_put16(end, t->row[i].bucket)
                             : array_put_bool(end, t->row[i].wanted);
        t->values[col] = p;
        t->lengths[col] = (int)(end - p);
        p = end;
    }
    return 0;
}

void touched_deinit(struct touched *t)
{
    free(t->row);
    free(t->bytes);
    *t = (struct touched){ .row = NULL };
}
