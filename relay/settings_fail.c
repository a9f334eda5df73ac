/* settings_fail.c - see settings_fail.h. */
#include "relay/settings_fail.h"

#include <stdarg.h>
#include <string.h>

/* Begins the message: where the mistake is. */
static void place(const struct load *l)
{
    switch (l->origin.from) {
    case FROM_FILE:
        fprintf(l->msg, "%s:%u: ", l->s->file, l->origin.line);
        break;
    case FROM_CREDENTIAL:
        fprintf(l->msg, "credential %s: ", l->credential);
        break;
    case FROM_ENVIRONMENT:
    case FROM_ENVIRONMENT_FILE:
        fprintf(l->msg, "environment, %s: ", l->variable);
        break;
    case FROM_COMMAND_LINE:
        fputs("command line, -X: ", l->msg);
        break;
    case FROM_DEFAULT:
        break;
    }
}

int load_fail(const struct load *l, const char *fmt, ...)
{
    va_list args;

    place(l);
    va_start(args, fmt);
    vfprintf(l->msg, fmt, args);
    va_end(args);
    return -1;
}

int load_fail_value(const struct load *l, const struct setting_spec *spec, const char *value)
{
    bool long_value = strlen(value) > 60;

    load_fail(l, "%s = %.60s%s: must be ", spec->key, value, long_value ? "..." : "");
    setting_print_allowed(spec, l->msg);
    fputs(setting_unit_remark(spec, value), l->msg);
    return -1;
}

int load_fail_secret(const struct load *l, const char *prefix, const char *key)
{
    load_fail(l, "%s%s: every user of this machine can read a command line, so no secret is taken from "
                 "it; give it in the settings file, or in a file that ", prefix, key);
    setting_print_variable(prefix, key, l->msg);
    fputs(SETTING_VARIABLE_FILE " names", l->msg);
    if (*prefix == '\0')
        fputs("; a password best in a password file (PGPASSFILE)", l->msg);
    return -1;
}

int load_fail_unknown(const struct load *l, const char *key)
{
    const char *near = setting_nearest_key(key);

    load_fail(l, "%s%s: there is no such setting", l->variable != NULL ? "taken as " : "", key);
    if (near == NULL) {
        fputs("; --help lists them, and a property of librdkafka is kafka.<property>", l->msg);
    } else {
        fputs("; did you mean ", l->msg);
        if (l->variable != NULL)
            setting_print_variable("", near, l->msg);
        else
            fputs(near, l->msg);
        fputs("?", l->msg);
    }
    return -1;
}

/* Two lines of a file that disagree, or a variable and its _FILE, are a mistake that nobody would see. */
int load_fail_twice(const struct load *l, const struct setting_origin *before, const char *prefix, const char *key)
{
    bool environment = l->origin.from == FROM_ENVIRONMENT || l->origin.from == FROM_ENVIRONMENT_FILE;

    if (l->origin.from == FROM_FILE && before->from == FROM_FILE)
        return load_fail(l, "%s%s is set in line %u already; remove one of the two", prefix, key, before->line);
    if (environment && (before->from == FROM_ENVIRONMENT || before->from == FROM_ENVIRONMENT_FILE))
        return load_fail(l, "%s%s is set by another variable already; remove one of the two", prefix, key);
    return 0;
}

int load_fail_comment(const struct load *l, const char *prefix, const char *key)
{
    return load_fail(l, "%s%s: a comment has a line of its own, it cannot stand behind a value (where # is part of the value, "
                        "give it in the environment)", prefix, key);
}
