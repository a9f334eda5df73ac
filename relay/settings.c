/* settings.c - see settings.h. Loading: who sets what, which of them wins, and the errors. */
#include "relay/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "relay/mask.h"
#include "relay/settings_value.h"

/* -- messages --------------------------------------------------------------------------------- */

/* A message in the making; one line, whatever is put into it. */
struct message {
    FILE *out;
    char *text;
    size_t len;
};

static int message_open(struct message *m, char *err, size_t err_size)
{
    *m = (struct message){ .out = open_memstream(&m->text, &m->len) };
    if (m->out == NULL)
        snprintf(err, err_size, "out of memory");
    return m->out == NULL ? -1 : 0;
}

static void message_close(struct message *m, char *err, size_t err_size)
{
    if (fclose(m->out) != 0 || m->text == NULL)
        snprintf(err, err_size, "out of memory");
    else if (m->len > 0)
        snprintf(err, err_size, "%s", m->text);
    for (size_t i = 0; m->text != NULL && i < m->len && i + 1 < err_size; i++)
        if (iscntrl((unsigned char)err[i]))
            err[i] = '?';
    free(m->text);
}

struct load {
    struct settings *s;
    FILE *msg;            /* open until the end: what is in it is the error */
    const char *variable; /* being read, when the origin is the environment */
    struct setting_origin origin;
};

/* Begins the message: where the mistake is. */
static void place(const struct load *l)
{
    switch (l->origin.from) {
    case FROM_FILE:
        fprintf(l->msg, "%s:%u: ", l->s->file, l->origin.line);
        break;
    case FROM_ENVIRONMENT:
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
    if (setting_lacks_unit(spec, value))
        fputs("; the unit is missing", l->msg);
    return -1;
}

static int fail_secret(const struct load *l, const char *prefix, const char *key)
{
    fail(l, "%s%s: every user of this machine can read a command line, so no secret is taken from "
            "it; give it in the settings file or in ", prefix, key);
    setting_print_variable(prefix, key, l->msg);
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

static bool starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

/* A key may stand in the file once: two lines that disagree are a mistake that nobody would see. */
static bool twice_in_file(const struct load *l, const struct setting_origin *before)
{
    return l->origin.from == FROM_FILE && before->from == FROM_FILE;
}

static int set_own(const struct load *l, const struct setting_spec *spec, const char *value)
{
    struct setting_origin *origin = &l->s->origin[spec - setting_specs];

    if (twice_in_file(l, origin))
        return fail(l, "%s is set in line %u already; remove one of the two", spec->key,
                    origin->line);
    if ((spec->flags & SETTING_DSN) && l->origin.from == FROM_COMMAND_LINE) {
        bool password = false;
        char *masked = mask_dsn(value, &password);
        if (masked == NULL)
            return fail(l, "out of memory");
        free(masked);
        if (password)
            return fail_secret(l, "", spec->key);
    }
    switch (setting_store(l->s, spec, value)) {
    case SETTING_STORED:
        *origin = l->origin;
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
    if (l->origin.from == FROM_COMMAND_LINE && mask_is_secret(name))
        return fail_secret(l, SETTING_KAFKA, name);
    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, name) == 0) {
            if (twice_in_file(l, &s->kafka[i].origin))
                return fail(l, SETTING_KAFKA "%s is set in line %u already; remove one of the two",
                            name, s->kafka[i].origin.line);
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
    l->origin = (struct setting_origin){ FROM_FILE, 0 };
    l->s->file = strdup(path);
    if (l->s->file == NULL) {
        fputs("out of memory", l->msg);
        return -1;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(l->msg, "%s: cannot be opened: %s", path, strerror(errno));
        return -1;
    }
    int rc = load_lines(l, file);
    fclose(file);
    return rc;
}

/* -- the environment and -X -------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

/* Kubernetes tells every pod of the services in its namespace, and one for the relay itself is
 * likely to be called outbox-relay: OUTBOX_RELAY_SERVICE_HOST,
 * OUTBOX_RELAY_PORT=tcp://10.0.0.7:9188, OUTBOX_RELAY_PORT_9188_TCP_ADDR. Those are not meant for
 * us. */
static bool is_service_link(const char *name, const char *value)
{
    static const char *const protocols[] = { "_TCP", "_UDP", "_SCTP" };
    const char *port = strstr(name, "PORT_");

    if (ends_with(name, "SERVICE_HOST") || ends_with(name, "SERVICE_PORT") ||
        strstr(name, "SERVICE_PORT_") != NULL)
        return true;
    if (ends_with(name, "PORT") && strstr(value, "://") != NULL)
        return true;
    if (port == NULL)
        return false;
    port += strlen("PORT_");
    const char *after = port + strspn(port, "0123456789");
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (after > port && starts_with(after, protocols[i]))
            return true;
    return false;
}

/* setting_print_variable backwards, in place: each _ is taken for a dot. */
static void key_of_variable(char *name)
{
    for (; *name != '\0'; name++)
        *name = (char)(*name == '_' ? '.' : tolower((unsigned char)*name));
}

/* name: of the variable, behind OUTBOX_RELAY_; cut up. */
static int set_variable(const struct load *l, char *name, const char *value)
{
    char *key = name;

    if (is_service_link(name, value))
        return 0;
    key_of_variable(key);
    return set(l, key, value);
}

static int load_environment(struct load *l, char *const *environment)
{
    int rc = 0;

    l->origin = (struct setting_origin){ FROM_ENVIRONMENT, 0 };
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

static int load_x(struct load *l, const char *const *x_args, size_t n_x)
{
    int rc = 0;

    l->origin = (struct setting_origin){ FROM_COMMAND_LINE, 0 };
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

/* -- settings that depend on each other ------------------------------------------------------- */

static void print_set(const struct settings *s, const char *key, FILE *out)
{
    const struct setting_spec *spec = setting_find(key);

    fprintf(out, "%s = ", key);
    setting_print_value(s, spec, out);
    fputs(" (", out);
    setting_print_origin(s, &s->origin[spec - setting_specs], "", key, out);
    fputs(")", out);
}

static int fail_pair(const struct load *l, const char *key, const char *relation,
                     const char *other)
{
    print_set(l->s, key, l->msg);
    fprintf(l->msg, ": must be at least %s", relation);
    print_set(l->s, other, l->msg);
    return -1;
}

static int check(const struct load *l)
{
    const struct settings *s = l->s;

    if (s->inflight_rows < 2 * (uint64_t)s->batch_rows)
        return fail_pair(l, "inflight.rows", "twice ", "batch.rows");
    if (s->poll_max_ms < s->poll_min_ms)
        return fail_pair(l, "poll.max", "", "poll.min");
    if (s->retry_max_ms < s->retry_base_ms)
        return fail_pair(l, "retry.max", "", "retry.base");
    return 0;
}

int settings_load(struct settings *s, const char *file, char *const *environment,
                  const char *const *x_args, size_t n_x, char *err, size_t err_size)
{
    struct message msg;

    *s = (struct settings){ .file = NULL };
    if (message_open(&msg, err, err_size) < 0)
        return -1;
    struct load l = { .s = s, .msg = msg.out };
    int rc = load_defaults(&l);
    if (rc == 0 && file != NULL)
        rc = load_file(&l, file);
    if (rc == 0)
        rc = load_environment(&l, environment);
    if (rc == 0)
        rc = load_x(&l, x_args, n_x);
    if (rc == 0)
        rc = check(&l);
    message_close(&msg, err, err_size);
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

/* Under either of its two names. */
static bool has_brokers(const struct settings *s)
{
    for (size_t i = 0; i < s->n_kafka; i++)
        if ((strcmp(s->kafka[i].name, "bootstrap.servers") == 0 ||
             strcmp(s->kafka[i].name, "metadata.broker.list") == 0) && *s->kafka[i].value != '\0')
            return true;
    return false;
}

static int missing(const char *prefix, const char *key, const char *what, const char *example,
                   FILE *out)
{
    fprintf(out, "%s%s is not set: it names %s; give it in the settings file (%s%s = %s), in ",
            prefix, key, what, prefix, key, example);
    setting_print_variable(prefix, key, out);
    fprintf(out, ", or with -X %s%s=%s", prefix, key, example);
    return -1;
}

int settings_require(const struct settings *s, unsigned need, char *err, size_t err_size)
{
    struct message msg;
    int rc = 0;

    if (message_open(&msg, err, err_size) < 0)
        return -1;
    if ((need & SETTINGS_NEED_DATABASE) && *s->dsn == '\0')
        rc = missing("", "dsn", "the database", "postgresql://localhost/shop", msg.out);
    else if ((need & SETTINGS_NEED_KAFKA) && !has_brokers(s))
        rc = missing(SETTING_KAFKA, "bootstrap.servers", "the brokers", "localhost:9092", msg.out);
    message_close(&msg, err, err_size);
    return rc;
}
