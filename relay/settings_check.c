/* settings_check.c - see settings.h: what must be set, and what goes with what; messages of one line. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "relay/mask.h"
#include "relay/settings_value.h"

int setting_message_open(struct setting_message *m, char *err, size_t err_size)
{
    *m = (struct setting_message){ .out = open_memstream(&m->text, &m->len) };
    if (m->out == NULL)
        snprintf(err, err_size, "out of memory");
    return m->out == NULL ? -1 : 0;
}

void setting_message_close(struct setting_message *m, char *err, size_t err_size)
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

static void print_set(const struct settings *s, const char *key, FILE *out)
{
    const struct setting_spec *spec = setting_find(key);

    fprintf(out, "%s = ", key);
    setting_print_value(s, spec, out);
    fputs(" (", out);
    setting_print_origin(s, &s->origin[spec - setting_specs], "", key, out);
    fputs(")", out);
}

static int fail_pair(const struct settings *s, const char *key, const char *relation,
                     const char *other, FILE *msg)
{
    print_set(s, key, msg);
    fprintf(msg, ": must be at least %s", relation);
    print_set(s, other, msg);
    return -1;
}

static bool names_brokers(const struct setting_kv *kv)
{
    return mask_is_brokers(kv->name) && *kv->value != '\0';
}

static int check_brokers(const struct settings *s, FILE *msg)
{
    const char *protocol = "plaintext", *why = NULL;

    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, "security.protocol") == 0)
            protocol = s->kafka[i].value;
    for (size_t i = 0; i < s->n_kafka; i++) {
        const struct setting_kv *kv = &s->kafka[i];
        if (!names_brokers(kv) || (why = setting_check_brokers(kv->value, protocol)) == NULL)
            continue;
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, msg);
        fprintf(msg, ": " SETTING_KAFKA "%s = %s: %s", kv->name, mask_property(kv->name, kv->value), why);
        return -1;
    }
    return 0;
}

int setting_check(const struct settings *s, FILE *msg)
{
    if (s->inflight_rows < 2 * (uint64_t)s->batch_rows)
        return fail_pair(s, "inflight.rows", "twice ", "batch.rows", msg);
    if (s->poll_max_ms < s->poll_min_ms)
        return fail_pair(s, "poll.max", "", "poll.min", msg);
    if (s->retry_max_ms < s->retry_base_ms)
        return fail_pair(s, "retry.max", "", "retry.base", msg);
    return check_brokers(s, msg);
}

const char *settings_brokers(const struct settings *s)
{
    for (size_t i = 0; i < s->n_kafka; i++)
        if (names_brokers(&s->kafka[i]))
            return s->kafka[i].value;
    return NULL;
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
    struct setting_message msg;
    int rc = 0;

    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    if ((need & SETTINGS_NEED_DATABASE) && *s->dsn == '\0')
        rc = missing("", "dsn", "the database", "postgresql://localhost/shop", msg.out);
    else if ((need & SETTINGS_NEED_KAFKA) && settings_brokers(s) == NULL)
        rc = missing(SETTING_KAFKA, "bootstrap.servers", "the brokers", "localhost:9092", msg.out);
    setting_message_close(&msg, err, err_size);
    return rc;
}
