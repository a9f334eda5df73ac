/* settings_reload.c - see settings.h: what changes while the relay runs, and what waits for a restart. */
#include <string.h>

#include "relay/settings_value.h"

static size_t size_of(const struct setting_spec *spec)
{
    switch (spec->type) {
    case TYPE_DURATION:
    case TYPE_SIZE:
        return sizeof(uint64_t);
    case TYPE_COUNT:
        return sizeof(uint32_t);
    case TYPE_BOOL:
        return sizeof(bool);
    case TYPE_CHOICE:
        return sizeof(enum on_poison); /* of every enum */
    case TYPE_STRING:
        break;
    }
    return 0;
}

static bool same(const struct settings *a, const struct settings *b, const struct setting_spec *spec)
{
    const void *x = setting_field(a, spec), *y = setting_field(b, spec);

    if (spec->type == TYPE_STRING)
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    return memcmp(x, y, size_of(spec)) == 0;
}

static bool reloads(const struct setting_spec *spec)
{
    return (spec->flags & SETTING_RELOAD) != 0 && spec->type != TYPE_STRING;
}

static void take_over(struct settings *s, const struct settings *fresh)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (!reloads(&setting_specs[i]))
            continue;
        memcpy(setting_field(s, &setting_specs[i]), setting_field(fresh, &setting_specs[i]),
               size_of(&setting_specs[i]));
        s->origin[i] = fresh->origin[i];
    }
}

static bool kafka_differs(const struct settings *a, const struct settings *b)
{
    if (a->n_kafka != b->n_kafka)
        return true;
    for (size_t i = 0; i < a->n_kafka; i++)
        if (strcmp(a->kafka[i].name, b->kafka[i].name) != 0 || strcmp(a->kafka[i].value, b->kafka[i].value) != 0)
            return true;
    return false;
}

int settings_reload(struct settings *s, const struct settings *fresh, settings_note *note, void *arg,
                    char *err, size_t err_size)
{
    const struct settings before = *s; /* shares the texts */
    struct setting_message msg;

    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    take_over(s, fresh);
    int rc = setting_check(s, msg.out);
    setting_message_close(&msg, err, err_size);
    if (rc < 0) {
        take_over(s, &before);
        return -1;
    }
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (!same(&before, fresh, &setting_specs[i]))
            note(arg, setting_specs[i].key, reloads(&setting_specs[i]));
    if (kafka_differs(s, fresh))
        note(arg, SETTING_KAFKA "*", false);
    return 0;
}
