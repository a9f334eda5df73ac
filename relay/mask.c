/* mask.c - see mask.h. */
#include "relay/mask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"

bool mask_is_secret(const char *property)
{
    if (ends_with(property, ".location")) /* a path */
        return false;
    return strstr(property, "password") != NULL || strstr(property, "secret") != NULL ||
           strstr(property, "passphrase") != NULL || ends_with(property, ".key.pem") || starts_with(property, "ssl.key.") ||
           starts_with(property, "sasl.jaas");
}

bool mask_is_brokers(const char *property)
{
    return strcmp(property, "bootstrap.servers") == 0 || strcmp(property, "metadata.broker.list") == 0;
}

static bool has_login(const char *property, const char *value)
{
    const char *from = mask_is_brokers(property) ? value : strstr(value, "://");

    return from != NULL && strchr(from, '@') != NULL;
}

const char *mask_property(const char *property, const char *value)
{
    return value != NULL && (mask_is_secret(property) || has_login(property, value)) ? MASK : value;
}

/* Where the masked copy grows. It has room for anything: see mask_dsn. */
struct copy {
    char *end;
    bool found;
};

static void keep(struct copy *to, const char *from, const char *until)
{
    memcpy(to->end, from, (size_t)(until - from));
    to->end += until - from;
}

static void hide(struct copy *to)
{
    memcpy(to->end, MASK, sizeof MASK - 1);
    to->end += sizeof MASK - 1;
}

static void hide_password(struct copy *to)
{
    hide(to);
    to->found = true;
}

/* A parameter of a connection string: password, sslpassword, oauth_client_secret, scram_*_key. */
static bool is_secret_parameter(const char *name, size_t len)
{
    char text[64];

    if (len >= sizeof text)
        return false;
    memcpy(text, name, len);
    text[len] = '\0';
    return strstr(text, "password") != NULL || strstr(text, "secret") != NULL ||
           (starts_with(text, "scram_") && ends_with(text, "_key"));
}

/* In a URI a name may be written with %XX. Returns the length of what came out, at most size. */
static size_t percent_decode(const char *from, const char *until, char *to, size_t size)
{
    size_t n = 0;

    while (from < until && n < size) {
        if (*from == '%' && until - from >= 3 && isxdigit((unsigned char)from[1]) &&
            isxdigit((unsigned char)from[2])) {
            const char hex[] = { from[1], from[2], '\0' };
            to[n++] = (char)strtol(hex, NULL, 16);
            from += 3;
        } else {
            to[n++] = *from++;
        }
    }
    return n;
}

/* The equals sign behind the name of a secret. The name may stand behind another question mark: the query begins
 * there if the first one is part of a host in brackets. */
static const char *find_secret(const char *from, const char *until)
{
    for (;;) {
        char name[64];
        const char *equals = memchr(from, '=', (size_t)(until - from));
        if (equals == NULL ||
            is_secret_parameter(name, percent_decode(from, equals, name, sizeof name - 1)))
            return equals;
        const char *mark = memchr(from, '?', (size_t)(until - from));
        if (mark == NULL)
            return NULL;
        from = mark + 1;
    }
}

static void mask_query(struct copy *to, const char *s)
{
    while (*s != '\0') {
        const char *end = s + strcspn(s, "&");
        const char *equals = find_secret(s, end);
        if (equals != NULL) {
            keep(to, s, equals + 1);
            hide_password(to);
        } else {
            keep(to, s, end);
        }
        s = end + (*end == '&');
        keep(to, end, s);
    }
}

static const char *find_last(const char *from, const char *until, char ch)
{
    while (until > from)
        if (*--until == ch)
            return until;
    return NULL;
}

/* Behind the scheme. To libpq the user's part ends at the first @ that no slash precedes, whatever
 * else does. A password may hold unescaped, by mistake, also @ and slash, so it is taken up to the
 * last @ before the query. */
static void mask_uri(struct copy *to, const char *s)
{
    const char *first_at = s + strcspn(s, "@/");
    const char *query = strchr(*first_at == '@' ? first_at : s, '?');
    const char *end = s + strlen(s);
    const char *at = find_last(s, query != NULL ? query : end, '@');
    const char *colon = at != NULL ? memchr(s, ':', (size_t)(at - s)) : NULL;

    if (colon != NULL) {
        keep(to, s, colon + 1);
        hide_password(to);
        s = at;
    }
    const char *rest = query != NULL ? query + 1 : end;
    keep(to, s, rest);
    mask_query(to, rest);
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t\n\r\f\v");
}

/* Behind the value that starts at s; NULL when its quote is not closed. */
static const char *value_end(const char *s)
{
    bool quoted = *s == '\'';

    for (s += quoted; *s != '\0'; s++) {
        if (quoted ? *s == '\'' : isspace((unsigned char)*s))
            return s + quoted;
        if (*s == '\\' && s[1] != '\0')
            s++;
    }
    return quoted ? NULL : s;
}

static void mask_key_values(struct copy *to, const char *s)
{
    for (;;) {
        const char *name = skip_blanks(s);
        keep(to, s, name);
        if (*name == '\0')
            return;
        const char *name_end = name + strcspn(name, "= \t\n\r\f\v");
        const char *equals = skip_blanks(name_end);
        if (name_end == name || *equals != '=')
            break;
        const char *value = skip_blanks(equals + 1), *end = value_end(value);
        if (end == NULL)
            break;
        keep(to, name, value);
        if (is_secret_parameter(name, (size_t)(name_end - name)))
            hide_password(to);
        else
            keep(to, value, end);
        s = end;
    }
    /* libpq would refuse the rest: who knows what it is. */
    hide(to);
}

char *mask_dsn(const char *dsn, bool *ret_found)
{
    static const char *const schemes[] = { "postgresql://", "postgres://" };
    size_t len = strlen(dsn);
    char *masked = malloc((len + 1) * sizeof MASK); /* room for a mask at every character */
    struct copy to = { .end = masked };

    if (masked == NULL)
        return NULL;
    size_t scheme = 0;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (starts_with(dsn, schemes[i]))
            scheme = strlen(schemes[i]);
    keep(&to, dsn, dsn + scheme);
    if (scheme > 0)
        mask_uri(&to, dsn + scheme);
    else
        mask_key_values(&to, dsn);
    *to.end = '\0';
    if (ret_found != NULL)
        *ret_found = to.found;
    return masked;
}
