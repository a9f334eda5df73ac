/* reload.c - see reload.h. */
#include "relay/reload.h"

#include <stdio.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/log.h"

/* A line for each mistake. */
static void kept(char *err)
{
    for (char *line; (line = strsep(&err, "\n")) != NULL;)
        log_error("relay", "the settings were not reloaded; those in force stay", "error", line);
}

static void on_difference(void *arg, const struct settings_change *c)
{
    bool *changed = arg;
    char name[128];

    snprintf(name, sizeof name, "%s%s", c->prefix, c->key);
    if (c->in_force)
        log_info("relay", "a setting has changed", "setting", name, "was", c->was, "value", c->value);
    else if (c->only_secret)
        log_warn("relay", "a setting differs from the one in force; it needs a restart", "setting", name, "value", c->value,
                 "differs", "only in its secret part");
    else
        log_warn("relay", "a setting differs from the one in force; it needs a restart", "setting", name,
                 "in_force", c->was != NULL ? c->was : "(not set)", "value", c->value != NULL ? c->value : "(not set)");
    *changed = *changed || c->in_force;
}

/* Would a relay start with them? As --check-config asks. */
static bool is_good(const struct settings *fresh, const struct settings *s, settings_check *check, char *err, size_t err_size)
{
    if (settings_require(fresh, SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA, err, err_size) < 0)
        return false;
    int code = check(fresh, true);
    log_setup(s->log_level, s->log_format); /* the check silences the log while it tries */
    if (code != EXIT_OK)
        snprintf(err, err_size, "no relay would start with them: the line before says why");
    return code == EXIT_OK;
}

bool reload_settings(struct settings *s, const struct settings_from *from, settings_check *check)
{
    struct settings fresh;
    bool changed = false;
    char err[SETTINGS_MISTAKES_SIZE];

    if (settings_load(&fresh, from->file, from->environment, from->x_args, from->n_x, err, sizeof err) < 0) {
        kept(err);
        return false;
    }
    if (!is_good(&fresh, s, check, err, sizeof err) || settings_reload(s, &fresh, on_difference, &changed, err, sizeof err) < 0)
        kept(err);
    else
        log_info("relay", "the settings were loaded again", "file", s->file);
    settings_free(&fresh);
    if (changed)
        log_setup(s->log_level, s->log_format);
    return changed;
}
