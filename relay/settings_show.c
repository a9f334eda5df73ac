/* settings_show.c - see settings.h. The values in force, the help and the sample file. */
#include "relay/settings.h"

#include <string.h>

#include "relay/mask.h"
#include "relay/settings_value.h"

static bool is_empty(const struct settings *s, const struct setting_spec *spec)
{
    return spec->type == TYPE_STRING && **(char *const *)setting_field(s, spec) == '\0';
}

void settings_origin(const struct settings *s, enum setting_id id, char *to, size_t size)
{
    struct setting_message msg;

    to[0] = '\0';
    if (setting_message_open(&msg, to, size) < 0)
        return;
    setting_print_origin(s, &s->origin[id], "", setting_specs[id].key, msg.out);
    if (s->origin[id].beats_file)
        fputs(", which wins over the settings file", msg.out);
    setting_message_close(&msg, to, size);
}

void settings_print(const struct settings *s, FILE *out)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        fputs("# ", out);
        setting_print_origin(s, &s->origin[i], "", setting_specs[i].key, out);
        fprintf(out, "\n%s =%s", setting_specs[i].key, is_empty(s, &setting_specs[i]) ? "" : " ");
        setting_print_value(s, &setting_specs[i], out);
        fputs("\n", out);
    }
    for (size_t i = 0; i < s->n_kafka; i++) {
        const struct setting_kv *kv = &s->kafka[i];
        fputs("# ", out);
        setting_print_origin(s, &kv->origin, SETTING_KAFKA, kv->name, out);
        fprintf(out, "\n" SETTING_KAFKA "%s = ", kv->name);
        setting_print_text(mask_property(kv->name, kv->value), out);
        fputs("\n", out);
    }
}

/* Words, each line behind `indent` and not past column 79. */
static void print_wrapped(const char *indent, const char *text, FILE *out)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > 79) {
            fputs("\n", out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column == 0 ? indent : " ", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    fputs("\n", out);
}

static const char kafka_doc[] =
    "Any property of librdkafka, handed to it as it is: " SETTING_KAFKA "bootstrap.servers (host:port,host:port), "
    "which is needed, " SETTING_KAFKA "security.protocol, " SETTING_KAFKA "linger.ms. Its numbers are plain "
    "ones, without a unit (" SETTING_KAFKA "linger.ms = 5); librdkafka's documentation says in which they are, and one "
    "with a unit is refused. In the environment "
    "OUTBOX_RELAY_KAFKA_BOOTSTRAP_SERVERS; each _ stands for a dot there, so a name that has a _ "
    "itself (log_level) cannot be given that way. Not to be set, because the guarantees rest on "
    "them:";

static void print_kafka_doc(const char *indent, FILE *out)
{
    print_wrapped(indent, kafka_doc, out);
    for (const struct setting_owned *o = setting_owned; o->property != NULL; o++)
        fprintf(out, "%s  %s\n", indent, o->property);
}

static void print_default(const struct setting_spec *spec, FILE *out)
{
    fprintf(out, "%s =%s%s\n", spec->key, *spec->dflt != '\0' ? " " : "", spec->dflt);
}

void settings_help(FILE *out)
{
    fputs("Settings: key = value in the file; OUTBOX_RELAY_KEY in the environment, in\n"
          "upper case with _ for each dot; -X key=value. The later wins. Secrets: in a\n"
          "file that others may not read; in one of its own, which OUTBOX_RELAY_KEY_FILE\n"
          "names; or as systemd's credential of that name (LoadCredential=dsn:FILE).\n", out);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        fputs("\n  ", out);
        print_default(&setting_specs[i], out);
        fputs("      ", out);
        setting_print_allowed(&setting_specs[i], out);
        fputs("\n", out);
        print_wrapped("      ", setting_specs[i].doc, out);
        if (setting_specs[i].flags & SETTING_RELOAD)
            fputs("      A change takes effect with SIGHUP.\n", out);
    }
    fputs("\n  " SETTING_KAFKA "<property>\n", out);
    print_kafka_doc("      ", out);
}

void settings_write_sample(FILE *out)
{
    fputs("# Settings of outbox-relay: key = value, one in a line. A line that starts with\n"
          "# # is a comment; there is no comment behind a value, and there are no quotes.\n"
          "# The environment (OUTBOX_RELAY_BATCH_ROWS) and -X batch.rows=500 win over this\n"
          "# file. Each value below is the default; that of kafka.bootstrap.servers, which\n"
          "# has none, is an example.\n", out);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        fputs("\n", out);
        print_wrapped("# ", setting_specs[i].doc, out);
        if (setting_specs[i].flags & SETTING_RELOAD)
            fputs("# A change takes effect with SIGHUP.\n", out);
        fputs("# Allowed: ", out);
        setting_print_allowed(&setting_specs[i], out);
        fputs("\n#", out);
        print_default(&setting_specs[i], out);
    }
    fputs("\n", out);
    print_kafka_doc("# ", out);
    fputs("#" SETTING_KAFKA "bootstrap.servers = localhost:9092\n", out);
}

/* -- the manual page, in scdoc's language ------------------------------------------------------- */

/* Characters that mean something there lose their meaning. */
static void print_scd(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (strchr("\\*_<>#[]|`", *text) != NULL)
            putc('\\', out);
        putc(*text, out);
    }
}

static void print_scd_setting(const struct setting_spec *spec, FILE *out)
{
    fputs("*", out);
    print_scd(spec->key, out);
    fputs("* = ", out);
    if (*spec->dflt != '\0') {
        fputs("_", out);
        print_scd(spec->dflt, out);
        fputs("_", out);
    }
    fputs("\n\t", out);
    print_scd(spec->doc, out);
    fputs("\n\n\tAllowed: ", out);
    setting_print_allowed(spec, out);
    fputs(spec->flags & SETTING_RELOAD ? ". A change takes effect with SIGHUP.\n\n" : ".\n\n", out);
}

void settings_write_man(FILE *out)
{
    fputs("outbox-relay.conf(5)\n\n# NAME\n\noutbox-relay.conf - settings of outbox-relay\n\n# DESCRIPTION\n\n"
          "A text file of lines *key* = _value_, given with *--config*. A line that starts with \\# is a\n"
          "comment; there is no comment behind a value (one that holds a blank and \\# is refused, but for a secret), and\n"
          "there are no quotes. A key stands in it once.\n"
          "An unknown key, or a value that is not allowed, is an error that names file and line (exit status\n"
          "78). Where librdkafka finds *kafka.* properties wrong only all together (TLS and SASL), it names those that\n"
          "are concerned. *outbox-relay --sample-config* prints such a file, *--print-config* what is in force and\n"
          "where it is from.\n\n"
          "The same settings are taken from systemd's credentials (a file of *$CREDENTIALS_DIRECTORY* with the\n"
          "name of the setting), from the environment (*OUTBOX_RELAY_BATCH_ROWS* for batch.rows;\n"
          "*OUTBOX_RELAY_DSN_FILE* names a file with the value) and from *-X* _key=value_. The later wins.\n\n"
          "Durations are written with a unit and no blank before it: ms, s, m, h, d; sizes with B, KiB, MiB, GiB.\n\n"
          "A secret is a password in *dsn*, and what librdkafka takes as a password, key or secret. It is\n"
          "refused on the command line, and in a file that others than its owner may read (a file of root's\n"
          "may be readable for its group); and it is masked wherever settings are shown, as is a URL with a\n"
          "login in it.\n\n# SETTINGS\n\n", out);
    for (size_t i = 0; i < N_SETTINGS; i++)
        print_scd_setting(&setting_specs[i], out);
    fputs("*kafka.*_property_\n\t", out);
    print_scd(kafka_doc, out);
    fputs("\n\n", out);
    for (const struct setting_owned *o = setting_owned; o->property != NULL; o++) {
        fputs("\t- ", out);
        print_scd(o->property, out);
        fputs(": ", out);
        print_scd(o->why, out);
        fputs("\n", out);
    }
    fputs("\n# EXAMPLE\n\n```\ndsn = service=shop\nkafka.bootstrap.servers = kafka-1:9092,kafka-2:9092\n"
          "source = /shop/orders\nlog.format = json\n```\n\n# SEE ALSO\n\n*outbox-relay*(1), *outbox*(7)\n", out);
}
