/* settings_reload.c - see settings.h: what changes while the relay runs, and what waits for a restart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/mask.h"
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

/* From malloc; NULL: out of memory. */
static char *text_of(const struct settings *s, const struct setting_spec *spec)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    setting_print_value(s, spec, out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static bool same_text(const char *was, const char *value)
{
    return was != NULL && value != NULL && strcmp(was, value) == 0;
}

static void note_setting(const struct settings *was, const struct settings *fresh, const struct setting_spec *spec,
                         settings_note *note, void *arg)
{
    char *before = text_of(was, spec), *after = text_of(fresh, spec);

    note(arg, &(struct settings_change){ "", spec->key, before, after, reloads(spec), same_text(before, after) });
    free(before);
    free(after);
}

/* NULL: it is not set. */
static const char *kafka_value(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, name) == 0)
            return s->kafka[i].value;
    return NULL;
}

static void note_property(const char *name, const char *was, const char *value, settings_note *note, void *arg)
{
    const char *before = mask_property(name, was), *after = mask_property(name, value);

    if (!same_text(was, value))
        note(arg, &(struct settings_change){ SETTING_KAFKA, name, before, after, false, same_text(before, after) });
}

static void note_kafka(const struct settings *was, const struct settings *fresh, settings_note *note, void *arg)
{
    for (size_t i = 0; i < was->n_kafka; i++)
        note_property(was->kafka[i].name, was->kafka[i].value, kafka_value(fresh, was->kafka[i].name), note, arg);
    for (size_t i = 0; i < fresh->n_kafka; i++)
        if (kafka_value(was, fresh->kafka[i].name) == NULL)
            note_property(fresh->kafka[i].name, NULL, fresh->kafka[i].value, note, arg);
}

int settings_reload(struct settings *s, const struct settings *fresh, settings_note *note, void *arg,
                    char *err, size_t err_size)
{
    const struct settings before = *s; /* shares the texts */
    struct setting_message msg;

    if (setting_message_open(&msg, err, err_size) < 0)
        return -1;
    take_over(s, fresh);
    unsigned n = setting_check(s, msg.out);
    setting_message_close(&msg, err, err_size);
    if (n > 0) {
        take_over(s, &before);
        return -1;
    }
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (!same(&before, fresh, &setting_specs[i]))
            note_setting(&before, fresh, &setting_specs[i], note, arg);
    note_kafka(&before, fresh, note, arg);
    return 0;
}
