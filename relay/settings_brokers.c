/* settings_brokers.c - is a list of brokers one that librdkafka can use? It would log an address that it cannot, forget
 * all behind it, and then wait for brokers for ever. What may work is let through: names are not looked up.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/settings_value.h"

/* Part of a value, not terminated. */
struct part {
    const char *at;
    size_t len;
};

static bool has_any(struct part p, const char *chars)
{
    for (size_t i = 0; i < p.len; i++)
        if (strchr(chars, p.at[i]) != NULL)
            return true;
    return false;
}

static bool is_word(struct part p, const char *word)
{
    return strlen(word) == p.len && strncasecmp(p.at, word, p.len) == 0;
}

/* NULL: what stands before "://" is what security.protocol says, as librdkafka wants it. */
static const char *check_protocol(struct part protocol, const char *wanted)
{
    static const char *const known[] = { "plaintext", "ssl", "sasl_plaintext", "sasl_ssl" };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is_word(protocol, known[i]))
            return is_word(protocol, wanted) ? NULL
                   : "the protocol of an address is not that of " SETTING_KAFKA "security.protocol (plaintext, if it is "
                     "not set); leave it out of the address";
    return "Kafka knows no such protocol; write host:port, and TLS or SASL as " SETTING_KAFKA "security.protocol";
}

/* As librdkafka takes it: a number, perhaps behind blanks, and what follows is passed over. */
static const char *check_port(struct part port)
{
    unsigned long number = 0;
    size_t n = 0;

    while (n < port.len && isspace((unsigned char)port.at[n]))
        n++;
    while (n < port.len && isdigit((unsigned char)port.at[n]) && number <= 65535)
        number = 10 * number + (unsigned long)(port.at[n++] - '0');
    return number >= 1 && number <= 65535 ? NULL : "a port is a number from 1 to 65535: write host:port";
}

/* Several colons, and none behind a bracket, are those of an IPv6 address, of which no port is taken. */
static const char *check_host_port(struct part address)
{
    const char *first = memchr(address.at, ':', address.len), *last = memrchr(address.at, ':', address.len);
    bool has_port = first != NULL && (first == last || last[-1] == ']');
    struct part host = { address.at, has_port ? (size_t)(last - address.at) : address.len };

    if (has_any(address, ";|"))
        return "brokers are separated by commas: host:port,host:port";
    if (has_any(host, " \t/"))
        return "no host has a blank or a slash in its name: write host:port,host:port";
    if (first != NULL && !has_port && host.at[0] != '[' && strspn(host.at, "0123456789abcdefABCDEF:.") < host.len &&
        memchr(host.at, '%', host.len) == NULL)
        return "too many colons: write host:port,host:port, and an IPv6 address in brackets";
    if (!has_port)
        return NULL;
    return check_port((struct part){ last + 1, (size_t)(address.at + address.len - last - 1) });
}

static const char *check_address(struct part address, const char *protocol)
{
    const char *behind = memmem(address.at, address.len, "://", 3);

    if (behind == NULL)
        return check_host_port(address);
    const char *why = check_protocol((struct part){ address.at, (size_t)(behind - address.at) }, protocol);
    if (why != NULL)
        return why;
    struct part host = { behind + 3, address.len - (size_t)(behind + 3 - address.at) };
    const char *path = memchr(host.at, '/', host.len); /* is passed over */
    host.len = path != NULL ? (size_t)(path - host.at) : host.len;
    return check_host_port(host);
}

const char *setting_check_brokers(const char *list, const char *protocol)
{
    size_t n = 0;

    if (strchr(list, '@') != NULL) /* before all else: a password may hold a comma or a slash */
        return "no host has an @ in its name: write host:port,host:port, and user and password as " SETTING_KAFKA
               "sasl.username and " SETTING_KAFKA "sasl.password";
    for (list += strspn(list, ", "); *list != '\0'; list += strspn(list, ", "), n++) {
        struct part address = { list, strcspn(list, ",") };
        const char *why = check_address(address, protocol);
        if (why != NULL)
            return why;
        list += address.len;
    }
    return n > 0 ? NULL : "it names no broker: write host:port,host:port";
}
