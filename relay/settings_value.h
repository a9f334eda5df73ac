/* settings_value.h - one setting: its row of settings.def, its value read and written, its names.
 *
 * Internal to the settings*.c files; the others include settings.h. Defined in settings_value.c, and what is about
 * variables in settings_variable.c, about messages and what goes together in settings_check.c, about lists of brokers in
 * settings_brokers.c.
 */
#ifndef RELAY_SETTINGS_VALUE_H
#define RELAY_SETTINGS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "relay/settings.h"

#define SETTING_KAFKA "kafka."           /* begins the key of a property of librdkafka */
#define SETTING_VARIABLE "OUTBOX_RELAY_" /* begins the name of a variable of the environment */
#define SETTING_VARIABLE_FILE "_FILE"    /* ends it when the variable names a file with the value */

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

/* Error messages in the making; in the end each is one line, whatever is put into it. */
struct setting_message {
    FILE *out;
    char *text;
    size_t len;
};

/* 0, or -1 with "out of memory" in err. */
int setting_message_open(struct setting_message *m, char *err, size_t err_size);
/* What was written to out goes to err, if anything was. */
void setting_message_close(struct setting_message *m, char *err, size_t err_size);

/* Ends each of several; no text holds it. */
#define SETTING_NEXT_MISTAKE '\0'

/* How many values do not go together? Each is in msg; those that are wrong by themselves are left out. */
unsigned setting_check(const struct settings *s, FILE *msg);
/* How many settings are missing? `need`: of enum setting_need. */
unsigned setting_check_need(const struct settings *s, unsigned need, FILE *msg);

/* A list of brokers that can never be used whole: why, and what to write. NULL: there is nothing against it.
 * protocol: the value of security.protocol. */
const char *setting_check_brokers(const char *list, const char *protocol);

enum setting_stored { SETTING_STORED, SETTING_REFUSED, SETTING_NO_MEMORY };

/* The field of a setting, of the C type that goes with the type in spec. */
void *setting_field(const struct settings *s, const struct setting_spec *spec);

/* Writes the field only if the text is a value that is allowed. */
enum setting_stored setting_store(struct settings *s, const struct setting_spec *spec,
                                  const char *text);

/* What is wrong with the unit of a number, for the end of a sentence: "; the unit is missing"; or "". */
const char *setting_unit_remark(const struct setting_spec *spec, const char *text);

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

/* The same backwards, in place, for what is behind OUTBOX_RELAY_: each _ is taken for a dot. True: it
 * ended with _FILE, which is cut off: the variable names a file with the value. */
bool setting_key_of_variable(char *name);

/* Kubernetes tells every pod of the services in its namespace, and one for the relay itself is likely to
 * be called outbox-relay. Is the variable (its name behind OUTBOX_RELAY_) one of those? */
bool setting_is_service_link(const char *name, const char *value);

/* Where a value is from; prefix and key as above. */
void setting_print_origin(const struct settings *s, const struct setting_origin *origin,
                          const char *prefix, const char *key, FILE *out);

#endif
