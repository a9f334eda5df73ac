/* settings_check.c - see settings.h: what must be set, and what goes with what; messages of one line. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "relay/mask.h"
#include "relay/settings_value.h"
#include "relay/text.h"

int setting_message_open(struct setting_message *m, char *err, size_t err_size)
{
    *m = (struct setting_message){ .out = open_memstream(&m->text, &m->len) };
    if (m->out == NULL)
        snprintf(err, err_size, "out of memory");
    return m->out == NULL ? -1 : 0;
}

void setting_message_close(struct setting_message *m, char *err, size_t err_size)
{
    bool whole = fclose(m->out) == 0 && m->text != NULL;
    size_t n = whole ? m->len : 0;

    while (n > 0 && m->text[n - 1] == SETTING_NEXT_MISTAKE)
        n--;
    if (!whole)
        snprintf(err, err_size, "out of memory");
    else if (n > 0 && err_size > 0) {
        n = n < err_size ? n : err_size - 1;
        for (size_t i = 0; i < n; i++)
            err[i] = m->text[i] == SETTING_NEXT_MISTAKE ? '\n' : iscntrl((unsigned char)m->text[i]) ? '?' : m->text[i];
        err[n] = '\0';
    }
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

static bool is_wrong(const struct settings *s, const char *key)
{
    return s->origin[setting_find(key) - setting_specs].wrong;
}

static unsigned check_pair(const struct settings *s, bool good, const char *key, const char *relation, const char *other,
                           FILE *msg)
{
    if (good || is_wrong(s, key) || is_wrong(s, other))
        return 0;
    print_set(s, key, msg);
    fprintf(msg, ": must be at least %s", relation);
    print_set(s, other, msg);
    putc(SETTING_NEXT_MISTAKE, msg);
    return 1;
}

static bool names_brokers(const struct setting_kv *kv)
{
    return mask_is_brokers(kv->name) && *kv->value != '\0';
}

static unsigned check_brokers(const struct settings *s, FILE *msg)
{
    const char *protocol = "plaintext", *why = NULL;
    unsigned n = 0;

    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, "security.protocol") == 0)
            protocol = s->kafka[i].value;
    for (size_t i = 0; i < s->n_kafka; i++) {
        const struct setting_kv *kv = &s->kafka[i];
        if (!names_brokers(kv) || (why = setting_check_brokers(kv->value, protocol)) == NULL)
            continue;
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, msg);
        fprintf(msg, ": " SETTING_KAFKA "%s = %s: %s%c", kv->name, mask_property(kv->name, kv->value), why,
                SETTING_NEXT_MISTAKE);
        n++;
    }
    return n;
}

/* PostgreSQL takes no other text. */
static unsigned check_owner(const struct settings *s, FILE *msg)
{
    size_t len = strlen(s->lease_owner);
    bool too_long = len > SETTINGS_OWNER_MAX;

    if (!too_long && text_is_utf8(s->lease_owner, len))
        return 0;
    setting_print_origin(s, &s->origin[SETTING_ID_lease_owner], "", "lease.owner", msg);
    if (too_long)
        fprintf(msg, ": lease.owner has %zu bytes: at most %d are taken", len, SETTINGS_OWNER_MAX);
    else
        fputs(": lease.owner is not UTF-8", msg);
    putc(SETTING_NEXT_MISTAKE, msg);
    return 1;
}

unsigned setting_check(const struct settings *s, FILE *msg)
{
    return check_pair(s, s->inflight_rows >= 2 * (uint64_t)s->batch_rows, "inflight.rows", "twice ", "batch.rows", msg) +
           check_pair(s, s->poll_max_ms >= s->poll_min_ms, "poll.max", "", "poll.min", msg) +
           check_pair(s, s->retry_max_ms >= s->retry_base_ms, "retry.max", "", "retry.base", msg) +
           check_owner(s, msg) + check_brokers(s, msg);
}

const char *settings_brokers(const struct settings *s)
{
    for (size_t i = 0; i < s->n_kafka; i++)
        if (names_brokers(&s->kafka[i]))
            return s->kafka[i].value;
    return NULL;
}

static unsigned missing(const char *prefix, const char *key, const char *what, const char *example, FILE *out)
{
    fprintf(out, "%s%s is not set: it names %s; give it in the settings file (%s%s = %s), in ",
            prefix, key, what, prefix, key, example);
    setting_print_variable(prefix, key, out);
    fprintf(out, ", or with -X %s%s=%s; a service's credential (LoadCredential=) is read by ", prefix, key, example);
    setting_print_variable(prefix, key, out);
    fprintf(out, SETTING_VARIABLE_FILE "=PATH in front of the command%c", SETTING_NEXT_MISTAKE);
    return 1;
}

unsigned setting_check_need(const struct settings *s, unsigned need, FILE *msg)
{
    unsigned n = 0;

    if ((need & SETTINGS_NEED_DATABASE) && *s->dsn == '\0' && !is_wrong(s, "dsn"))
        n += missing("", "dsn", "the database", "postgresql://localhost/shop", msg);
    if ((need & SETTINGS_NEED_KAFKA) && settings_brokers(s) == NULL && !s->wrong_brokers)
        n += missing(SETTING_KAFKA, "bootstrap.servers", "the brokers", "localhost:9092", msg);
    return n;
}

int settings_require(const struct settings *s, unsigned need, char *err, size_t err_size)
{
    struct setting_message msg;

    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    unsigned n = setting_check_need(s, need, msg.out);
    setting_message_close(&msg, err, err_size);
    return n > 0 ? -1 : 0;
}
