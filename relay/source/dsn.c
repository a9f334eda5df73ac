/* dsn.c - can libpq read a connection string and its ports, and if not, which key is it about? See source_check_dsn. */
#include <errno.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/shared/hosts.h"
#include "lib/shared/lookup.h"
#include "lib/shared/nearest.h"
#include "relay/affix.h"
#include "relay/source/source.h"

#define KEY_SIZE 64

/* The known key that was meant, static; NULL: none is near. */
static const char *nearest_key(const char *key)
{
    static char near[NEAREST_MAX + 1];
    PQconninfoOption *known = PQconndefaults();
    unsigned limit = strlen(key) < 6 ? 2 : 3; /* nearest_limit() would take more of what is no key */

    near[0] = '\0';
    for (const PQconninfoOption *o = known; o != NULL && o->keyword != NULL; o++)
        if (nearest_is(key, o->keyword, &limit))
            snprintf(near, sizeof near, "%s", o->keyword);
    PQconninfoFree(known);
    return near[0] != '\0' ? near : NULL;
}

/* What libpq takes for a key may be of the password, one with a blank in it: only the key that it resembles is shown. */
static bool name_key(const char *said, char *err, size_t err_size)
{
    char key[KEY_SIZE];
    const char *near;

    if (!starts_with(said, "invalid connection option") && !starts_with(said, "invalid URI query parameter"))
        return false;
    const char *quoted = strchr(said, '"');
    if (quoted == NULL || sscanf(quoted, "\"%63[a-z_]\"", key) != 1 || (near = nearest_key(key)) == NULL)
        return false;
    snprintf(err, err_size, "a key in it is unknown; did you mean %s?", near);
    return true;
}

/* libpq reads any text for a port, and refuses it whenever it connects. In a URI that may be a password whose host was
 * forgotten, as in postgresql://user:password, or the part of one before a slash: so it is not shown. */
static int check_ports(const char *dsn, const PQconninfoOption *o, char *err, size_t err_size)
{
    bool uri = starts_with(dsn, "postgresql://") || starts_with(dsn, "postgres://");
    const char *ports = outbox__option_value(o, "port");
    const char *bad = ports != NULL ? outbox__hosts_bad_port(ports) : NULL;

    if (bad == NULL)
        return 0;
    int length = (int)strcspn(bad, ",");
    if (uri)
        snprintf(err, err_size, "a port in it, what stands behind the colon of a host, is not a number from 1 to 65535 (in "
                                "user:password@host a slash or @ of the password is written %%2F or %%40)");
    else
        snprintf(err, err_size, "port = %.*s: must be a number from 1 to 65535", length < 40 ? length : 40, bad);
    return -1;
}

int source_check_dsn(const char *dsn, char *err, size_t err_size)
{
    char *why = NULL;

    errno = 0; /* libpq does not set it for what it cannot read */
    PQconninfoOption *options = PQconninfoParse(dsn, &why);
    if (options != NULL) {
        int rc = check_ports(dsn, options, err, err_size);
        PQconninfoFree(options);
        return rc;
    }
    /* libpq's own words repeat the part that it cannot read, which may be of the password */
    if (why == NULL || errno == ENOMEM)
        snprintf(err, err_size, "out of memory");
    else if (!name_key(why, err, err_size))
        snprintf(err, err_size, "libpq cannot read it: neither a URI (postgresql://user@host/db, %% written as "
                                "%%25) nor key=value pairs with known keys (a value with blanks in single quotes)");
    PQfreemem(why);
    return -1;
}
