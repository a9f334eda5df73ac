/* settings.c - see settings.h. Loading: who sets what, which of them wins, and the errors. */
#include "relay/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/affix.h"
#include "relay/mask.h"
#include "relay/secret_file.h"
#include "relay/settings_fail.h"
#include "relay/settings_value.h"

/* So many are told at once: a file of another kind would give one for each of its lines. */
#define MOST_MISTAKES 20

/* One is at its end. What comes after it is looked at, too. */
static void note_mistake(struct load *l)
{
    putc(SETTING_NEXT_MISTAKE, l->msg);
    if (++l->n_mistakes == MOST_MISTAKES)
        fprintf(l->msg, "what may come after these %d was not looked at%c", MOST_MISTAKES, SETTING_NEXT_MISTAKE);
}

static void note_result(struct load *l, int rc)
{
    if (rc < 0)
        note_mistake(l);
}

static bool is_full(const struct load *l)
{
    return l->n_mistakes >= MOST_MISTAKES;
}

/* -- one setting ------------------------------------------------------------------------------ */

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
        return load_fail_secret(l, prefix, key);
    if (l->origin.from == FROM_FILE && l->public_file)
        return load_fail(l, "%s%s: other users may read this file, so no secret is taken from it; "
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

static int set_own(const struct load *l, const struct setting_spec *spec, const char *value)
{
    struct setting_origin *origin = &l->s->origin[spec - setting_specs];
    bool no_memory = false, secret, beats_file;

    if (load_fail_twice(l, origin, "", spec->key) < 0)
        return -1;
    secret = is_secret(spec, value, &no_memory);
    if (secret && refuse_public_secret(l, "", spec->key) < 0)
        return -1;
    if (no_memory)
        return load_fail(l, "out of memory");
    if (is_quoted(value)) /* not shown: it may hold a password */
        return load_fail(l, "%s: there are no quotes around a value; leave them out", spec->key);
    if (!secret && has_comment(l, value) && !((spec->flags & SETTING_DSN) && strchr(value, '\'') != NULL))
        return load_fail_comment(l, "", spec->key);
    switch (setting_store(l->s, spec, value)) {
    case SETTING_STORED:
        beats_file = origin->beats_file || origin->from == FROM_FILE;
        *origin = l->origin;
        origin->beats_file = beats_file;
        return 0;
    case SETTING_REFUSED:
        return load_fail_value(l, spec, value);
    case SETTING_NO_MEMORY:
        break;
    }
    return load_fail(l, "out of memory");
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
        return load_fail(l, "out of memory");
    s->kafka = grown;
    struct setting_kv *kv = &grown[s->n_kafka];
    *kv = (struct setting_kv){ strdup(name), strdup(value), l->origin };
    if (kv->name == NULL || kv->value == NULL) {
        kv_free(kv);
        return load_fail(l, "out of memory");
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

static int set_kafka(const struct load *l, const char *name, const char *value)
{
    struct settings *s = l->s;

    if (*name == '\0')
        return load_fail(l, SETTING_KAFKA " needs the name of a property of librdkafka, such as "
                    SETTING_KAFKA "bootstrap.servers");
    for (const struct setting_owned *o = setting_owned; o->property != NULL; o++)
        if (strcmp(name, o->property) == 0)
            return load_fail(l, SETTING_KAFKA "%s cannot be set: %s", name, o->why);
    if (mask_is_secret(name) && refuse_public_secret(l, SETTING_KAFKA, name) < 0)
        return -1;
    if (!mask_is_secret(name) && has_comment(l, value))
        return load_fail_comment(l, SETTING_KAFKA, name);
    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, name) == 0) {
            if (load_fail_twice(l, &s->kafka[i].origin, SETTING_KAFKA, name) < 0)
                return -1;
            remove_kafka(s, i);
            break;
        }
    return append_kafka(l, name, value);
}

/* It is not what the user wants, whatever its value is now. */
static int leave_wrong(const struct load *l, const char *key)
{
    const struct setting_spec *spec = setting_find(key);

    if (spec != NULL)
        l->s->origin[spec - setting_specs].wrong = true;
    else if (starts_with(key, SETTING_KAFKA) && mask_is_brokers(key + strlen(SETTING_KAFKA)))
        l->s->wrong_brokers = true;
    return -1;
}

/* What is none may be of a secret: "dsn: postgresql://user:password@host/db?sslmode=require", or that address alone. */
static bool is_key(const char *text)
{
    static const char within[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    return text[strspn(text, within)] == '\0';
}

static int set(const struct load *l, const char *key, const char *value)
{
    const struct setting_spec *spec = setting_find(key);
    int rc = !is_key(key) ? load_fail(l, "what is in front of the = is no key (letters, digits, . _ and -), and may be of a "
                                         "secret, so it is not shown; what is wanted is key = value")
             : starts_with(key, SETTING_KAFKA) ? set_kafka(l, key + strlen(SETTING_KAFKA), value)
             : spec != NULL                    ? set_own(l, spec, value)
                                               : load_fail_unknown(l, key);

    return rc < 0 ? leave_wrong(l, key) : 0;
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
        return load_fail(l, "no = found; what is wanted is key = value");
    *equals = '\0';
    char *key = trim(pair);
    if (*key == '\0')
        return load_fail(l, "no key before the =; what is wanted is key = value");
    return set(l, key, trim(equals + 1));
}

/* why: errno. */
static void leave_unread(struct load *l, const char *what, const char *path)
{
    fprintf(l->msg, "%s: cannot be %s: %s%s", path, what, strerror(errno),
            errno == EACCES ? "; " SECRET_FILE_MEND_ACCESS : "");
    note_mistake(l);
    l->unread = true;
}

static void load_lines(struct load *l, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;

    while (!l->unread && !is_full(l) && (errno = 0, n = getline(&line, &size, file)) >= 0) {
        bool nul = strlen(line) < (size_t)n;
        char *text = trim(line);
        l->origin.line++;
        if (l->origin.line == 1 && starts_with(text, "\xef\xbb\xbf"))
            text += 3; /* a byte order mark, as some editors put it there */
        if (nul) {
            note_result(l, load_fail(l, "there is a NUL byte in it; a settings file is text"));
            l->unread = true;
        } else if (*text != '\0' && *text != '#') {
            note_result(l, set_pair(l, text));
        }
    }
    if (!l->unread && !is_full(l) && !feof(file)) /* an error, or no memory for a line */
        leave_unread(l, "read", l->s->file);
    free(line);
}

static void load_file(struct load *l, const char *path)
{
    l->origin = (struct setting_origin){ .from = FROM_FILE };
    l->s->file = strdup(path);
    FILE *file = fopen(path, "re");
    struct stat st = { .st_mode = 0 };
    if (l->s->file == NULL || file == NULL || fstat(fileno(file), &st) < 0) {
        leave_unread(l, "opened", path);
    } else {
        l->public_file = S_ISREG(st.st_mode) && secret_file_is_open(st.st_mode, st.st_uid);
        load_lines(l, file);
    }
    if (file != NULL)
        fclose(file);
}

/* -- the environment and -X -------------------------------------------------------------------- */

/* Sets it to what the file holds. */
static int set_from_file(const struct load *l, const char *key, const char *path)
{
    char why[512];
    char *value = secret_file_read(path, why, sizeof why);

    if (value == NULL) {
        load_fail(l, "%s", why);
        return leave_wrong(l, key);
    }
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

static void load_environment(struct load *l, char *const *environment)
{
    l->origin = (struct setting_origin){ .from = FROM_ENVIRONMENT };
    for (; !is_full(l) && environment != NULL && *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!starts_with(*environment, SETTING_VARIABLE) || equals == NULL)
            continue;
        char *variable = strndup(*environment, (size_t)(equals - *environment));
        char *name = variable != NULL ? strdup(variable + strlen(SETTING_VARIABLE)) : NULL;
        l->variable = variable;
        note_result(l, name != NULL ? set_variable(l, name, equals + 1) : load_fail(l, "out of memory"));
        l->variable = NULL;
        free(name);
        free(variable);
    }
}

/* Of what systemd hands over (LoadCredential=) that which has the name of a setting: dsn,
 * kafka.sasl.password. The rest is for others. */
static int set_credential(struct load *l, const char *directory, const char *key)
{
    char *path = NULL;

    if (!starts_with(key, SETTING_KAFKA) && setting_find(key) == NULL)
        return 0;
    if (asprintf(&path, "%s/%s", directory, key) < 0)
        return load_fail(l, "out of memory");
    l->credential = path;
    int rc = set_from_file(l, key, path);
    l->credential = NULL;
    free(path);
    return rc;
}

static void load_credentials(struct load *l, char *const *environment)
{
    static const char variable[] = "CREDENTIALS_DIRECTORY=";

    while (environment != NULL && *environment != NULL && !starts_with(*environment, variable))
        environment++;
    if (environment == NULL || *environment == NULL)
        return;
    const char *path = *environment + strlen(variable);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        leave_unread(l, "read", *environment);
        return;
    }
    l->origin = (struct setting_origin){ .from = FROM_CREDENTIAL };
    for (const struct dirent *e; !is_full(l) && (e = readdir(directory)) != NULL;)
        note_result(l, set_credential(l, path, e->d_name));
    closedir(directory);
}

static void load_x(struct load *l, const char *const *x_args, size_t n_x)
{
    l->origin = (struct setting_origin){ .from = FROM_COMMAND_LINE };
    for (size_t i = 0; !is_full(l) && i < n_x; i++) {
        char *pair = strdup(x_args[i]);
        note_result(l, pair != NULL ? set_pair(l, pair) : load_fail(l, "out of memory"));
        free(pair);
    }
}

static void load_defaults(struct load *l)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        note_result(l, set_own(l, &setting_specs[i], setting_specs[i].dflt));
}

static void load_all(struct load *l, const struct settings_from *from, unsigned need)
{
    if (from->file != NULL)
        load_file(l, from->file);
    load_credentials(l, from->environment);
    load_environment(l, from->environment);
    load_x(l, from->x_args, from->n_x);
    if (!is_full(l))
        l->n_mistakes += setting_check(l->s, l->msg) + setting_check_need(l->s, l->unread ? 0 : need, l->msg);
}

int settings_read(struct settings *s, const struct settings_from *from, unsigned need, char *err, size_t err_size)
{
    struct setting_message msg;

    *s = (struct settings){ .file = NULL };
    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    struct load l = { .s = s, .msg = msg.out };
    load_defaults(&l);
    if (l.n_mistakes == 0) /* else there is no memory for these */
        load_all(&l, from, need);
    setting_message_close(&msg, err, err_size);
    return l.n_mistakes > 0 ? -1 : 0;
}

int settings_load(struct settings *s, const char *file, char *const *environment,
                  const char *const *x_args, size_t n_x, char *err, size_t err_size)
{
    int rc = settings_read(s, &(struct settings_from){ file, environment, x_args, n_x }, 0, err, err_size);

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
