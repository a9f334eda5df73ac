/* settings_value.h - one setting: its row of settings.def, its value read and written, its names.
 *
 * Internal to the settings files: only settings.c (loading), settings_show.c (showing) and
 * settings_value.c, where all of this is defined, include it. The others include settings.h.
 */
#ifndef RELAY_SETTINGS_VALUE_H
#define RELAY_SETTINGS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "relay/settings.h"

#define SETTING_KAFKA "kafka."           /* begins the key of a property of librdkafka */
#define SETTING_VARIABLE "OUTBOX_RELAY_" /* begins the name of a variable of the environment */

enum setting_type { TYPE_STRING, TYPE_DURATION, TYPE_SIZE, TYPE_COUNT, TYPE_BOOL, TYPE_CHOICE };

/* A row of settings.def. */
struct setting_spec {
    const char *key;
    enum setting_type type;
    const char *dflt;
    const char *least, *most; /* of a number */
    const char *names;        /* of a CHOICE or BOOL, in the order of the values, with | between */
    const char *doc;
    size_t offset; /* of the field */
    unsigned flags;
};

/* Index: enum setting_id. */
extern const struct setting_spec setting_specs[N_SETTINGS];

/* What librdkafka would let the user change and the guarantees of the relay rest on. The last one
 * has no property. */
struct setting_owned {
    const char *property;
    const char *why;
};

extern const struct setting_owned setting_owned[];

enum setting_stored { SETTING_STORED, SETTING_REFUSED, SETTING_NO_MEMORY };

/* The field of a setting, of the C type that goes with the type in spec. */
void *setting_field(const struct settings *s, const struct setting_spec *spec);

/* Writes the field only if the text is a value that is allowed. */
enum setting_stored setting_store(struct settings *s, const struct setting_spec *spec,
                                  const char *text);

/* Is the text a number without the unit that it needs? */
bool setting_lacks_unit(const struct setting_spec *spec, const char *text);

/* The value in force, passwords masked. */
void setting_print_value(const struct settings *s, const struct setting_spec *spec, FILE *out);

/* As one line, whatever it holds. */
void setting_print_text(const char *text, FILE *out);

/* What may be set, for a sentence: "a whole number from 1 to 100000". */
void setting_print_allowed(const struct setting_spec *spec, FILE *out);

/* NULL: there is no such key. */
const struct setting_spec *setting_find(const char *key);

/* The known key that the user may have meant, or NULL. */
const char *setting_nearest_key(const char *key);

/* OUTBOX_RELAY_BATCH_ROWS for batch.rows; prefix: SETTING_KAFKA or "". */
void setting_print_variable(const char *prefix, const char *key, FILE *out);

/* Where a value is from; prefix and key as above. */
void setting_print_origin(const struct settings *s, const struct setting_origin *origin,
                          const char *prefix, const char *key, FILE *out);

#endif
