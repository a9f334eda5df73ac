/* settings_fail.h - what is wrong with a setting, in words: where, which one, and what mends it. Used by settings.c only;
 * each of these begins a message and returns -1.
 */
#ifndef RELAY_SETTINGS_FAIL_H
#define RELAY_SETTINGS_FAIL_H

#include "relay/settings_value.h"

struct load {
    struct settings *s;
    FILE *msg;              /* open until the end: what is in it are the errors */
    unsigned n_mistakes;    /* in it */
    const char *variable;   /* being read, when the origin is the environment */
    const char *credential; /* the path, when it is that */
    bool public_file;       /* others may read the settings file */
    bool unread;            /* there is more in it, or in the credentials, than was read */
    struct setting_origin origin;
};

int load_fail(const struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int load_fail_value(const struct load *l, const struct setting_spec *spec, const char *value);
int load_fail_secret(const struct load *l, const char *prefix, const char *key);
int load_fail_unknown(const struct load *l, const char *key);
int load_fail_comment(const struct load *l, const char *prefix, const char *key);
/* Is it set twice in one place? Else 0. */
int load_fail_twice(const struct load *l, const struct setting_origin *before, const char *prefix, const char *key);

#endif
