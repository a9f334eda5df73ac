/* settings_blame.c - which settings a message of the sink's is about: their places, values and what mends it. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "relay/affix.h"
#include "relay/mask.h"
#include "relay/settings_value.h"

/* "kafka.linger.ms: ..." or "kafka.linger.ms = 5s: ..." */
static const struct setting_kv *property_in(const struct settings *s, const char *message)
{
    if (!starts_with(message, SETTING_KAFKA))
        return NULL;
    message += strlen(SETTING_KAFKA);
    for (size_t i = 0; i < s->n_kafka; i++) {
        const char *name = s->kafka[i].name;
        if (starts_with(message, name) && (starts_with(message + strlen(name), ": ") ||
                                           starts_with(message + strlen(name), " = ")))
            return &s->kafka[i];
    }
    return NULL;
}

/* -- what librdkafka finds wrong in several of them together ---------------------------------------- */

/* As a whole word. */
static bool names(const char *text, const char *name)
{
    static const char within[] = "abcdefghijklmnopqrstuvwxyz0123456789_.";
    size_t len = strlen(name);

    for (const char *at = text; (at = strstr(at, name)) != NULL; at += len) {
        const char *after = at + len + (at[len] == '.' && strchr(within, at[len + 1]) == NULL);
        if ((at == text || strchr(within, at[-1]) == NULL) && (*after == '\0' || strchr(within, *after) == NULL))
            return true;
    }
    return false;
}

/* Is it one of those that decide together on what is said, named or not? */
static bool is_of_kind(const char *said, const char *name)
{
    bool sasl = strcasestr(said, "sasl") != NULL, ssl = strcasestr(said, "ssl") != NULL;

    return (sasl && starts_with(name, "sasl.")) || (ssl && starts_with(name, "ssl.")) ||
           ((sasl || ssl) && strcmp(name, "security.protocol") == 0);
}

/* The only one that is named, or is there to be named. */
static const struct setting_kv *culprit(const struct settings *s, const char *said)
{
    const struct setting_kv *found = NULL, *of_kind = NULL;
    size_t n_named = 0, n_of_kind = 0;

    for (size_t i = 0; i < s->n_kafka; i++) {
        if (names(said, s->kafka[i].name)) {
            found = &s->kafka[i];
            n_named++;
        }
        if (is_of_kind(said, s->kafka[i].name)) {
            of_kind = &s->kafka[i];
            n_of_kind++;
        }
    }
    return n_named == 1 ? found : n_named == 0 && n_of_kind == 1 ? of_kind : NULL;
}

static void print_concerned(const struct settings *s, const char *said, FILE *out)
{
    const char *between = "";

    for (size_t i = 0; i < s->n_kafka; i++) {
        const struct setting_kv *kv = &s->kafka[i];
        if (!names(said, kv->name) && !is_of_kind(said, kv->name))
            continue;
        fprintf(out, "%s" SETTING_KAFKA "%s (", between, kv->name);
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, out);
        fputs(")", out);
        between = ", ";
    }
    fputs(*between == '\0' ? "the " SETTING_KAFKA "* settings together: " : ": ", out);
}

static const char *remedy(const char *said)
{
    if (strstr(said, "sasl.kerberos") != NULL)
        return SETTING_KAFKA "sasl.mechanism is GSSAPI, which is Kerberos, unless it is set: set it (PLAIN, "
                             "SCRAM-SHA-512, ...), or " SETTING_KAFKA "sasl.kerberos.keytab";
    if (strstr(said, "sasl.username and sasl.password") != NULL)
        return "set both, as " SETTING_KAFKA "sasl.username and " SETTING_KAFKA "sasl.password";
    return "correct what it says, or leave it out";
}

static void print_whole(const struct settings *s, const char *said, FILE *out)
{
    const struct setting_kv *kv = culprit(s, said);

    if (kv == NULL) {
        print_concerned(s, said, out);
    } else {
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, out);
        fprintf(out, ": " SETTING_KAFKA "%s = %s: ", kv->name, mask_property(kv->name, kv->value));
    }
    if (kv != NULL && ends_with(kv->name, ".location") && access(kv->value, R_OK) != 0)
        fprintf(out, "cannot be read: %s (%s)", strerror(errno), said);
    else
        fprintf(out, "%s; %s", said, remedy(said));
}

void settings_name_place(const struct settings *s, char *err, size_t err_size)
{
    static const char together[] = SETTING_KAFKA "*: ";
    const struct setting_kv *kv = property_in(s, err);
    bool whole = starts_with(err, together);
    struct setting_message msg;

    if ((kv == NULL && !whole) || setting_message_open(&msg, err, err_size) < 0)
        return;
    if (whole) {
        print_whole(s, err + strlen(together), msg.out);
    } else {
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, msg.out);
        fprintf(msg.out, ": %s", err);
    }
    setting_message_close(&msg, err, err_size);
}
