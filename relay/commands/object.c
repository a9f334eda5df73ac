/* object.c - see object.h. */
#include "relay/commands/object.h"

#include <stdlib.h>
#include <string.h>

#include "relay/text.h"

bool object_put(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

/* What is no UTF-8, such as the first words of a server with another locale, is escaped: it would not be JSON. NULL: out of
 * memory. */
static json_t *string_of(const char *text)
{
    char *shown = NULL;
    size_t size = 0;

    if (text_is_utf8(text, strlen(text)))
        return json_string(text);
    FILE *out = open_memstream(&shown, &size);
    if (out == NULL)
        return NULL;
    text_put(out, text, SIZE_MAX);
    json_t *string = fclose(out) == 0 ? json_string(shown) : NULL;
    free(shown);
    return string;
}

bool object_put_text(json_t *object, const char *name, const char *text)
{
    return object_put(object, name, text != NULL ? string_of(text) : json_null());
}

bool object_put_number(json_t *object, const char *name, int64_t n)
{
    return object_put(object, name, json_integer(n));
}

bool object_put_known(json_t *object, const char *name, int64_t n)
{
    return object_put(object, name, n >= 0 ? json_integer(n) : json_null());
}

bool object_put_seconds(json_t *object, const char *name, double seconds)
{
    return object_put(object, name, seconds >= 0 ? json_real(seconds) : json_null());
}

bool object_append(json_t *list, json_t *object, bool is_whole)
{
    bool done = object != NULL && is_whole && json_array_append(list, object) == 0;

    json_decref(object);
    return done;
}

static json_t *hex_of(const void *bytes, size_t len)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return NULL;
    text_put_hex(out, bytes, len);
    json_t *hex = fclose(out) == 0 ? json_string(text) : NULL;
    free(text);
    return hex;
}

bool object_put_name(json_t *object, const struct operate_event *e)
{
    bool is_text = e->key != NULL && text_is_utf8(e->key, e->key_len);

    return object_put_number(object, "id", e->id) && object_put_text(object, "event_id", e->event_id) &&
           object_put_text(object, "topic", e->topic) &&
           object_put(object, "key", is_text ? json_stringn(e->key, e->key_len) : json_null()) &&
           object_put(object, "key_hex", e->key != NULL ? hex_of(e->key, e->key_len) : json_null());
}

bool object_print(const json_t *object, FILE *out)
{
    return json_dumpf(object, out, JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9)) == 0 &&
           putc('\n', out) != EOF;
}
