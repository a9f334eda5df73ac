/* settings_value.c - see settings_value.h. All that is known of a setting is its row in
 * settings.def. */
#include "relay/settings_value.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/nearest.h"
#include "lib/shared/number.h"
#include "relay/http/listen.h"
#include "relay/mask.h"

const struct setting_spec setting_specs[N_SETTINGS] = {
#define SETTING(type, field, key, dflt, least, most, flags, doc)                                   \
    { key, TYPE_##type, dflt, least, most, "false|true", doc,                                      \
      offsetof(struct settings, field), flags },
#define CHOICE(enum_type, field, key, dflt, names, flags, doc)                                     \
    { key, TYPE_CHOICE, dflt, "", "", names, doc, offsetof(struct settings, field), flags },
#include "relay/settings.def"
#undef SETTING
#undef CHOICE
};

/* The fields of all choices are written through a pointer to unsigned. */
#define SETTING(type, field, key, dflt, least, most, flags, doc)
#define CHOICE(enum_type, field, key, dflt, names, flags, doc)                                     \
    _Static_assert(sizeof(enum_type) == sizeof(unsigned), key);
#include "relay/settings.def"
#undef SETTING
#undef CHOICE

const struct setting_owned setting_owned[] = {
    { "acks", "it is always all: a row is marked sent only when every in-sync replica has it" },
    { "request.required.acks",
      "it is always all: a row is marked sent only when every in-sync replica has it" },
    { "enable.idempotence",
      "it is always on: without it a retry inside the producer duplicates and reorders rows" },
    { "enable.gapless.guarantee",
      "it is always on: without it a later row of a key can overtake one that Kafka refused" },
    { "message.timeout.ms",
      "it is always 0, which is never: later rows of a key would overtake one that timed out" },
    { "delivery.timeout.ms",
      "it is always 0, which is never: later rows of a key would overtake one that timed out" },
    { "max.in.flight", "the idempotent producer sets it: more requests at once break the order" },
    { "max.in.flight.requests.per.connection",
      "the idempotent producer sets it: more requests at once break the order" },
    { "transactional.id",
      "the relay does not use Kafka's transactions: rows are marked one confirmation at a time" },
    { "delivery.report.only.error",
      "the relay needs the report of every row: without it no row could be marked sent" },
    { "enabled_events",
      "the relay sets it: without the delivery reports no row could be marked sent" },
    { "log.queue", "the relay sets it, to write librdkafka's log lines among its own" },
    { NULL, NULL },
};

/* -- values ----------------------------------------------------------------------------------- */

static const struct number_unit *units_of(enum setting_type type)
{
    static const struct number_unit durations[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 }, { "d", 24 * 3600 * 1000 },
        { NULL, 0 }
    };

    return type == TYPE_DURATION ? durations : type == TYPE_SIZE ? number_sizes : number_counts;
}

static bool parse_number(enum setting_type type, const char *text, uint64_t *ret_number)
{
    return number_parse(units_of(type), text, ret_number);
}

/* In the largest unit that leaves it whole; days are hours, as the defaults have them. */
static void print_number(enum setting_type type, uint64_t n, FILE *out)
{
    const struct number_unit *unit = units_of(type);

    for (const struct number_unit *u = unit; u->name != NULL; u++)
        if (n != 0 && strcmp(u->name, "d") != 0 && n % u->factor == 0)
            unit = u;
    fprintf(out, "%llu%s", (unsigned long long)(n / unit->factor), unit->name);
}

static bool parse_limited(const struct setting_spec *spec, const char *text, uint64_t *ret_number)
{
    uint64_t least, most;

    return parse_number(spec->type, text, ret_number) &&
           parse_number(spec->type, spec->least, &least) && *ret_number >= least &&
           parse_number(spec->type, spec->most, &most) && *ret_number <= most;
}

static bool parse_name(const char *names, const char *text, unsigned *ret_value)
{
    size_t len = strlen(text);

    for (*ret_value = 0; len > 0; ++*ret_value) {
        size_t n = strcspn(names, "|");
        if (n == len && memcmp(names, text, n) == 0)
            return true;
        if (names[n] == '\0')
            return false;
        names += n + 1;
    }
    return false;
}

static void print_name(const char *names, unsigned value, FILE *out)
{
    while (value-- > 0)
        names += strcspn(names, "|") + 1;
    fprintf(out, "%.*s", (int)strcspn(names, "|"), names);
}

void *setting_field(const struct settings *s, const struct setting_spec *spec)
{
    return (char *)s + spec->offset;
}

static enum setting_stored store_string(const struct setting_spec *spec, const char *text,
                                        char **field)
{
    if ((*text == '\0' && (spec->flags & SETTING_NOT_EMPTY)) ||
        ((spec->flags & SETTING_LISTEN) && !listen_is_valid(text)))
        return SETTING_REFUSED;
    char *copy = strdup(text);
    if (copy == NULL)
        return SETTING_NO_MEMORY;
    free(*field);
    *field = copy;
    return SETTING_STORED;
}

enum setting_stored setting_store(struct settings *s, const struct setting_spec *spec,
                                  const char *text)
{
    void *field = setting_field(s, spec);
    uint64_t number;
    unsigned value;

    switch (spec->type) {
    case TYPE_STRING:
        return store_string(spec, text, field);
    case TYPE_DURATION:
    case TYPE_SIZE:
        if ((spec->flags & SETTING_OFF) && strcmp(text, "off") == 0)
            number = 0;
        else if (!parse_limited(spec, text, &number))
            return SETTING_REFUSED;
        *(uint64_t *)field = number;
        return SETTING_STORED;
    case TYPE_COUNT:
        if (!parse_limited(spec, text, &number) || number > UINT32_MAX)
            return SETTING_REFUSED;
        *(uint32_t *)field = (uint32_t)number;
        return SETTING_STORED;
    case TYPE_BOOL:
        if (!parse_name(spec->names, text, &value))
            return SETTING_REFUSED;
        *(bool *)field = value != 0;
        return SETTING_STORED;
    case TYPE_CHOICE:
        if (!parse_name(spec->names, text, &value))
            return SETTING_REFUSED;
        *(unsigned *)field = value;
        return SETTING_STORED;
    }
    return SETTING_REFUSED;
}

const char *setting_unit_remark(const struct setting_spec *spec, const char *text)
{
    bool has_units = units_of(spec->type)->name[0] != '\0';
    size_t n = strspn(text, "0123456789");

    if (!has_units || n == 0)
        return "";
    return text[n] == '\0'  ? "; the unit is missing"
           : text[n] == ' ' ? "; no blank before the unit"
                            : "";
}

void setting_print_text(const char *text, FILE *out)
{
    for (; *text != '\0'; text++)
        if (*text == '\n')
            fputs("\\n", out);
        else
            putc(iscntrl((unsigned char)*text) ? '?' : *text, out);
}

void setting_print_value(const struct settings *s, const struct setting_spec *spec, FILE *out)
{
    const void *field = setting_field(s, spec);

    switch (spec->type) {
    case TYPE_STRING:
        if (spec->flags & SETTING_DSN) {
            char *masked = mask_dsn(*(char *const *)field, NULL);
            setting_print_text(masked != NULL ? masked : MASK, out);
            free(masked);
        } else {
            setting_print_text(*(char *const *)field, out);
        }
        break;
    case TYPE_DURATION:
    case TYPE_SIZE:
        if ((spec->flags & SETTING_OFF) && *(const uint64_t *)field == 0)
            fputs("off", out);
        else
            print_number(spec->type, *(const uint64_t *)field, out);
        break;
    case TYPE_COUNT:
        print_number(TYPE_COUNT, *(const uint32_t *)field, out);
        break;
    case TYPE_BOOL:
        print_name(spec->names, *(const bool *)field, out);
        break;
    case TYPE_CHOICE:
        print_name(spec->names, *(const unsigned *)field, out);
        break;
    }
}

void setting_print_allowed(const struct setting_spec *spec, FILE *out)
{
    switch (spec->type) {
    case TYPE_STRING:
        fputs(spec->flags & SETTING_DSN         ? "a connection string"
              : spec->flags & SETTING_LISTEN    ? "HOST:PORT (an IPv6 address in brackets), :PORT or off"
              : spec->flags & SETTING_NOT_EMPTY ? "text, not empty"
                                                : "text",
              out);
        return;
    case TYPE_DURATION:
        fputs("a whole number with a unit (ms, s, m, h, d)", out);
        break;
    case TYPE_SIZE:
        fputs("a whole number with a unit (B, KiB, MiB or GiB)", out);
        break;
    case TYPE_COUNT:
        fputs("a whole number", out);
        break;
    case TYPE_BOOL:
    case TYPE_CHOICE:
        fputs("one of", out);
        for (const char *n = spec->names; *n != '\0'; n += strcspn(n, "|"), n += *n == '|')
            fprintf(out, "%s %.*s", n == spec->names ? "" : ",", (int)strcspn(n, "|"), n);
        return;
    }
    fprintf(out, ", from %s to %s%s", spec->least, spec->most,
            spec->flags & SETTING_OFF ? " or off" : "");
}

/* -- keys ------------------------------------------------------------------------------------- */

const struct setting_spec *setting_find(const char *key)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (strcmp(setting_specs[i].key, key) == 0)
            return &setting_specs[i];
    return NULL;
}

const char *setting_nearest_key(const char *key)
{
    static const char bootstrap[] = SETTING_KAFKA "bootstrap.servers";
    const char *nearest = strcmp(key, bootstrap + strlen(SETTING_KAFKA)) == 0 ? bootstrap : NULL;
    unsigned limit = nearest_limit(key);

    for (size_t i = 0; i <= N_SETTINGS; i++) {
        const char *known = i < N_SETTINGS ? setting_specs[i].key : bootstrap;
        if (nearest_is(key, known, &limit))
            nearest = known;
    }
    return nearest;
}

/* -- origins ---------------------------------------------------------------------------------- */

void setting_print_origin(const struct settings *s, const struct setting_origin *origin,
                          const char *prefix, const char *key, FILE *out)
{
    switch (origin->from) {
    case FROM_DEFAULT:
        fputs("default", out);
        break;
    case FROM_FILE:
        fprintf(out, "%s:%u", s->file, origin->line);
        break;
    case FROM_CREDENTIAL:
        fprintf(out, "credential %s%s", prefix, key);
        break;
    case FROM_ENVIRONMENT:
    case FROM_ENVIRONMENT_FILE:
        fputs("environment, ", out);
        setting_print_variable(prefix, key, out);
        if (origin->from == FROM_ENVIRONMENT_FILE)
            fputs(SETTING_VARIABLE_FILE, out);
        break;
    case FROM_COMMAND_LINE:
        fputs("command line", out);
        break;
    }
}
