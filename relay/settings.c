/* settings.c - see settings.h. Loading: who sets what, which of them wins, and the errors. */
#include "relay/settings.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/affix.h"
#include "relay/mask.h"
#include "relay/secret_file.h"
#include "relay/settings_value.h"

/* -- messages --------------------------------------------------------------------------------- */

struct load {
    struct settings *s;
    FILE *msg;              /* open until the end: what is in it is the error */
    const char *variable;   /* being read, when the origin is the environment */
    const char *credential; /* the path, when it is that */
    bool public_file;       /* others may read the settings file */
    struct setting_origin origin;
};

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

__attribute__((format(printf, 2, 3))) static int fail(const struct load *l, const char *fmt, ...)
{
    va_list args;

    place(l);
    va_start(args, fmt);
    vfprintf(l->msg, fmt, args);
    va_end(args);
    return -1;
}

static int fail_value(const struct load *l, const struct setting_spec *spec, const char *value)
{
    bool long_value = strlen(value) > 60;

    fail(l, "%s = %.60s%s: must be ", spec->key, value, long_value ? "..." : "");
    setting_print_allowed(spec, l->msg);
    fputs(setting_unit_remark(spec, value), l->msg);
    return -1;
}

static int fail_secret(const struct load *l, const char *prefix, const char *key)
{
    fail(l, "%s%s: every user of this machine can read a command line, so no secret is taken from "
            "it; give it in the settings file, or in a file that ", prefix, key);
    setting_print_variable(prefix, key, l->msg);
    fputs(SETTING_VARIABLE_FILE " names", l->msg);
    if (*prefix == '\0')
        fputs("; a password best in a password file (PGPASSFILE)", l->msg);
    return -1;
}

static int fail_unknown(const struct load *l, const char *key)
{
    const char *near = setting_nearest_key(key);

    fail(l, "%s%s: there is no such setting", l->variable != NULL ? "taken as " : "", key);
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

/* -- one setting ------------------------------------------------------------------------------ */

/* Two lines of a file that disagree, or a variable and its _FILE, are a mistake that nobody would see. */
static int fail_twice(const struct load *l, const struct setting_origin *before, const char *prefix,
                      const char *key)
{
    bool environment = l->origin.from == FROM_ENVIRONMENT || l->origin.from == FROM_ENVIRONMENT_FILE;

    if (l->origin.from == FROM_FILE && before->from == FROM_FILE)
        return fail(l, "%s%s is set in line %u already; remove one of the two", prefix, key, before->line);
    if (environment && (before->from == FROM_ENVIRONMENT || before->from == FROM_ENVIRONMENT_FILE))
        return fail(l, "%s%s is set by another variable already; remove one of the two", prefix, key);
    return 0;
}

static bool is_secret(const struct setting_spec *spec, const char *value, bool *ret_failed)
{
    bool secret = false;

    if (spec->flags & SETTING_DSN) {
        char *masked = mask_dsn(value, &secret);
        *ret_failed = masked == NULL;
        free(masked);
    }
    return secret;
}

/* Where others could read it no secret is taken. */
static int refuse_public_secret(const struct load *l, const char *prefix, const char *key)
{
    if (l->origin.from == FROM_COMMAND_LINE)
        return fail_secret(l, prefix, key);
    if (l->origin.from == FROM_FILE && l->public_file)
        return fail(l, "%s%s: other users may read this file, so no secret is taken from it; "
                       "chmod 0600 %s", prefix, key, l->s->file);
    return 0;
}

static bool is_quoted(const char *value)
{
    size_t n = strlen(value);

    return n >= 2 && value[0] == '"' && value[n - 1] == '"';
}

/* " # why": a comment, as other formats have it. Only in a file: whoever wants such a text gives it elsewhere. */
static bool has_comment(const struct load *l, const char *value)
{
    return l->origin.from == FROM_FILE &&
           (starts_with(value, "# ") || strstr(value, " #") != NULL || strstr(value, "\t#") != NULL);
}

static int fail_comment(const struct load *l, const char *prefix, const char *key)
{
    return fail(l, "%s%s: a comment has a line of its own, it cannot stand behind a value (where # is part of the value, "
                   "give it in the environment)", prefix, key);
}

static int set_own(const struct load *l, const struct setting_spec *spec, const char *value)
{
    struct setting_origin *origin = &l->s->origin[spec - setting_specs];
    bool no_memory = false, secret, beats_file;

    if (fail_twice(l, origin, "", spec->key) < 0)
        return -1;
    secret = is_secret(spec, value, &no_memory);
    if (secret && refuse_public_secret(l, "", spec->key) < 0)
        return -1;
    if (no_memory)
        return fail(l, "out of memory");
    if (is_quoted(value)) /* not shown: it may hold a password */
        return fail(l, "%s: there are no quotes around a value; leave them out", spec->key);
    if (!secret && has_comment(l, value) && !((spec->flags & SETTING_DSN) && strchr(value, '\'') != NULL))
        return fail_comment(l, "", spec->key);
    switch (setting_store(l->s, spec, value)) {
    case SETTING_STORED:
        beats_file = origin->beats_file || origin->from == FROM_FILE;
        *origin = l->origin;
        origin->beats_file = beats_file;
        return 0;
    case SETTING_REFUSED:
        return fail_value(l, spec, value);
    case SETTING_NO_MEMORY:
        break;
    }
    return fail(l, "out of memory");
}

static void kv_free(struct setting_kv *kv)
{
    free(kv->name);
    free(kv->value);
}

/* Last in the list, so that the later wins also between two names of one property. */
static int append_kafka(const struct load *l, const char *name, const char *value)
{
    struct settings *s = l->s;
    struct setting_kv *grown = realloc(s->kafka, (s->n_kafka + 1) * sizeof *grown);

    if (grown == NULL)
        return fail(l, "out of memory");
    s->kafka = grown;
    struct setting_kv *kv = &grown[s->n_kafka];
    *kv = (struct setting_kv){ strdup(name), strdup(value), l->origin };
    if (kv->name == NULL || kv->value == NULL) {
        kv_free(kv);
        return fail(l, "out of memory");
    }
    s->n_kafka++;
    return 0;
}

static void remove_kafka(struct settings *s, size_t i)
{
    kv_free(&s->kafka[i]);
    s->n_kafka--;
    memmove(&s->kafka[i], &s->kafka[i + 1], (s->n_kafka - i) * sizeof s->kafka[0]);
}

static bool has_control(const char *s)
{
    while (*s != '\0' && !iscntrl((unsigned char)*s))
        s++;
    return *s != '\0';
}

static int set_kafka(const struct load *l, const char *name, const char *value)
{
    struct settings *s = l->s;

    if (*name == '\0')
        return fail(l, SETTING_KAFKA " needs the name of a property of librdkafka, such as "
                    SETTING_KAFKA "bootstrap.servers");
    /* names are shown as they are, by --print-config for example, which writes a settings file */
    if (has_control(name))
        return fail(l, SETTING_KAFKA "%s: no property has a control character in its name", name);
    for (const struct setting_owned *o = setting_owned; o->property != NULL; o++)
        if (strcmp(name, o->property) == 0)
            return fail(l, SETTING_KAFKA "%s cannot be set: %s", name, o->why);
    if (mask_is_secret(name) && refuse_public_secret(l, SETTING_KAFKA, name) < 0)
        return -1;
    if (!mask_is_secret(name) && has_comment(l, value))
        return fail_comment(l, SETTING_KAFKA, name);
    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, name) == 0) {
            if (fail_twice(l, &s->kafka[i].origin, SETTING_KAFKA, name) < 0)
                return -1;
            remove_kafka(s, i);
            break;
        }
    return append_kafka(l, name, value);
}

static int set(const struct load *l, const char *key, const char *value)
{
    if (starts_with(key, SETTING_KAFKA))
        return set_kafka(l, key + strlen(SETTING_KAFKA), value);
    const struct setting_spec *spec = setting_find(key);
    return spec != NULL ? set_own(l, spec, value) : fail_unknown(l, key);
}

/* -- the file --------------------------------------------------------------------------------- */

static char *trim(char *s)
{
    s += strspn(s, " \t\r\n");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL)
        n--;
    s[n] = '\0';
    return s;
}

/* "key = value", which is cut up. What stands in a wrong one is not shown: it may be a secret. */
static int set_pair(const struct load *l, char *pair)
{
    char *equals = strchr(pair, '=');

    if (equals == NULL)
        return fail(l, "no = found; what is wanted is key = value");
    *equals = '\0';
    char *key = trim(pair);
    if (*key == '\0')
        return fail(l, "no key before the =; what is wanted is key = value");
    return set(l, key, trim(equals + 1));
}

static int load_lines(struct load *l, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int rc = 0;

    while (rc == 0 && (errno = 0, n = getline(&line, &size, file)) >= 0) {
        bool nul = strlen(line) < (size_t)n;
        char *text = trim(line);
        l->origin.line++;
        if (l->origin.line == 1 && starts_with(text, "\xef\xbb\xbf"))
            text += 3; /* a byte order mark, as some editors put it there */
        if (nul)
            rc = fail(l, "there is a NUL byte in it; a settings file is text");
        else if (*text != '\0' && *text != '#')
            rc = set_pair(l, text);
    }
    if (rc == 0 && !feof(file)) { /* an error, or no memory for a line */
        fprintf(l->msg, "%s: cannot be read: %s", l->s->file, strerror(errno));
        rc = -1;
    }
    free(line);
    return rc;
}

static int load_file(struct load *l, const char *path)
{
    l->origin = (struct setting_origin){ .from = FROM_FILE };
    l->s->file = strdup(path);
    if (l->s->file == NULL) {
        fputs("out of memory", l->msg);
        return -1;
    }
    FILE *file = fopen(path, "re");
    struct stat st = { .st_mode = 0 };
    if (file == NULL || fstat(fileno(file), &st) < 0) {
        fprintf(l->msg, "%s: cannot be opened: %s", path, strerror(errno));
        if (file != NULL)
            fclose(file);
        return -1;
    }
    l->public_file = S_ISREG(st.st_mode) && secret_file_is_open(st.st_mode, st.st_uid);
    int rc = load_lines(l, file);
    fclose(file);
    return rc;
}

/* -- the environment and -X -------------------------------------------------------------------- */

/* Sets it to what the file holds. */
static int set_from_file(const struct load *l, const char *key, const char *path)
{
    char why[512];
    char *value = secret_file_read(path, why, sizeof why);

    if (value == NULL)
        return fail(l, "%s", why);
    int rc = set(l, key, value);
    free(value);
    return rc;
}

/* name: of the variable, behind OUTBOX_RELAY_; becomes the key. */
static int set_variable(struct load *l, char *name, const char *value)
{
    if (setting_is_service_link(name, value))
        return 0;
    bool by_file = setting_key_of_variable(name);
    l->origin.from = by_file ? FROM_ENVIRONMENT_FILE : FROM_ENVIRONMENT;
    return by_file ? set_from_file(l, name, value) : set(l, name, value);
}

static int load_environment(struct load *l, char *const *environment)
{
    int rc = 0;

    l->origin = (struct setting_origin){ .from = FROM_ENVIRONMENT };
    for (; rc == 0 && environment != NULL && *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!starts_with(*environment, SETTING_VARIABLE) || equals == NULL)
            continue;
        char *variable = strndup(*environment, (size_t)(equals - *environment));
        char *name = variable != NULL ? strdup(variable + strlen(SETTING_VARIABLE)) : NULL;
        l->variable = variable;
        rc = name != NULL ? set_variable(l, name, equals + 1) : fail(l, "out of memory");
        l->variable = NULL;
        free(name);
        free(variable);
    }
    return rc;
}

/* Of what systemd hands over (LoadCredential=) that which has the name of a setting: dsn,
 * kafka.sasl.password. The rest is for others. */
static int set_credential(struct load *l, const char *directory, const char *key)
{
    char *path = NULL;

    if (!starts_with(key, SETTING_KAFKA) && setting_find(key) == NULL)
        return 0;
    if (asprintf(&path, "%s/%s", directory, key) < 0)
        return fail(l, "out of memory");
    l->credential = path;
    int rc = set_from_file(l, key, path);
    l->credential = NULL;
    free(path);
    return rc;
}

static int load_credentials(struct load *l, char *const *environment)
{
    static const char variable[] = "CREDENTIALS_DIRECTORY=";
    int rc = 0;

    while (environment != NULL && *environment != NULL && !starts_with(*environment, variable))
        environment++;
    if (environment == NULL || *environment == NULL)
        return 0;
    const char *path = *environment + strlen(variable);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        fprintf(l->msg, "%s%s: cannot be read: %s", variable, path, strerror(errno));
        return -1;
    }
    l->origin = (struct setting_origin){ .from = FROM_CREDENTIAL };
    for (const struct dirent *e; rc == 0 && (e = readdir(directory)) != NULL;)
        rc = set_credential(l, path, e->d_name);
    closedir(directory);
    return rc;
}

static int load_x(struct load *l, const char *const *x_args, size_t n_x)
{
    int rc = 0;

    l->origin = (struct setting_origin){ .from = FROM_COMMAND_LINE };
    for (size_t i = 0; rc == 0 && i < n_x; i++) {
        char *pair = strdup(x_args[i]);
        rc = pair != NULL ? set_pair(l, pair) : fail(l, "out of memory");
        free(pair);
    }
    return rc;
}

static int load_defaults(struct load *l)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (set_own(l, &setting_specs[i], setting_specs[i].dflt) < 0)
            return -1;
    return 0;
}

int settings_load(struct settings *s, const char *file, char *const *environment,
                  const char *const *x_args, size_t n_x, char *err, size_t err_size)
{
    struct setting_message msg;

    *s = (struct settings){ .file = NULL };
    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    struct load l = { .s = s, .msg = msg.out };
    int rc = load_defaults(&l);
    if (rc == 0 && file != NULL)
        rc = load_file(&l, file);
    if (rc == 0)
        rc = load_credentials(&l, environment);
    if (rc == 0)
        rc = load_environment(&l, environment);
    if (rc == 0)
        rc = load_x(&l, x_args, n_x);
    if (rc == 0)
        rc = setting_check(s, l.msg);
    setting_message_close(&msg, err, err_size);
    if (rc < 0)
        settings_free(s);
    return rc;
}

void settings_free(struct settings *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (setting_specs[i].type == TYPE_STRING)
            free(*(char **)setting_field(s, &setting_specs[i]));
    for (size_t i = 0; i < s->n_kafka; i++)
        kv_free(&s->kafka[i]);
    free(s->kafka);
    free(s->file);
    *s = (struct settings){ .file = NULL };
}
