/* object.h - jansson with one place to look for what failed, and events as JSON objects. */
#ifndef RELAY_COMMANDS_OBJECT_H
#define RELAY_COMMANDS_OBJECT_H

#include <jansson.h>
#include <stdbool.h>

#include "relay/source/operate.h"

/* `value` is taken, and may be NULL for "out of memory": then false. */
bool object_put(json_t *object, const char *name, json_t *value);
bool object_put_text(json_t *object, const char *name, const char *text); /* NULL: null */
bool object_put_number(json_t *object, const char *name, int64_t n);

/* Negative: null. */
bool object_put_known(json_t *object, const char *name, int64_t n);
bool object_put_seconds(json_t *object, const char *name, double seconds);
/* The object, which is taken, goes to the end of the list, if it is whole; else, or when it is NULL, false. */
bool object_append(json_t *list, json_t *object, bool is_whole);

/* id, event_id, topic, key (null where the key is not UTF-8) and key_hex. */
bool object_put_name(json_t *object, const struct operate_event *e);

/* One object on one line, escaped to ASCII; false: it could not be made or written. */
bool object_print(const json_t *object, FILE *out);

#endif
