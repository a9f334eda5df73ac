/* settings_variable.c - names of settings as names of environment variables, there and back. */
#include <ctype.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/settings_value.h"

static void print_upper(const char *key, FILE *out)
{
    for (; *key != '\0'; key++)
        putc(*key == '.' ? '_' : toupper((unsigned char)*key), out);
}

void setting_print_variable(const char *prefix, const char *key, FILE *out)
{
    fputs(SETTING_VARIABLE, out);
    print_upper(prefix, out);
    print_upper(key, out);
}

bool setting_key_of_variable(char *name)
{
    size_t len = strlen(name), file = strlen(SETTING_VARIABLE_FILE);
    bool by_file = len > file && ends_with(name, SETTING_VARIABLE_FILE);

    if (by_file)
        name[len - file] = '\0';
    for (; *name != '\0'; name++)
        *name = (char)(*name == '_' ? '.' : tolower((unsigned char)*name));
    return by_file;
}

/* OUTBOX_RELAY_SERVICE_HOST, OUTBOX_RELAY_PORT=tcp://10.0.0.7:9188, OUTBOX_RELAY_PORT_9188_TCP_ADDR */
bool setting_is_service_link(const char *name, const char *value)
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
