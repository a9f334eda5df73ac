/* hosts.h - the hosts of a dsn and their addresses, as the lists that libpq takes. No libpq, and no I/O.
 *
 * libpq matches host, hostaddr and port by their place. So a host with several addresses stands there once for each:
 * its name beside every address, for TLS and the password file go by the name.
 */
#ifndef OUTBOX_SHARED_HOSTS_H
#define OUTBOX_SHARED_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

struct host {
    char *name;    /* or a directory of sockets; "": libpq's default */
    char *address; /* "": none is given, or none was found; of those that were sought there may be several, "a,b" */
    char *port;
    bool sought;     /* a name, and no address is given for it */
    const char *why; /* static: sought and not found */
};

struct hosts {
    struct host *host;
    size_t n;
};

/* Of the lists of a dsn (NULL: it has none). Lists that do not match are libpq's to refuse: there are no hosts then.
 * -1: out of memory; outbox__hosts_deinit() either way. */
int outbox__hosts_parse(struct hosts *h, const char *name, const char *address, const char *port);
void outbox__hosts_deinit(struct hosts *h);
/* A list of ports: the first entry that libpq would refuse at every connection, up to its comma; NULL: there is none. An
 * empty entry is its default. */
const char *outbox__hosts_bad_port(const char *ports);
/* Must one of them be looked up? */
bool outbox__hosts_sought(const struct hosts *h);
/* Has one of them an address by now, or needs none? */
bool outbox__hosts_known(const struct hosts *h);

/* What libpq is given in place of the dsn's own lists; NULL: that has no such list. */
struct host_lists {
    char *name, *address, *port;
};

/* Hosts that were sought and not found are left out. 0; 1: none is left; -1: out of memory. */
int outbox__hosts_lists(const struct hosts *h, struct host_lists *ret);
/* One entry leaves them: the first with this host, address and port as libpq has them, or else the first of all. False:
 * it is the only one. */
bool outbox__host_lists_drop(struct host_lists *l, const char *name, const char *address, const char *port);
void outbox__host_lists_deinit(struct host_lists *l);

/* Which hosts were not found and why, as libpq says it; "": all were. */
void outbox__hosts_missing(const struct hosts *h, char *to, size_t size);
/* libpq's words about an address that was looked up get the name back; cut where there is no room. */
void outbox__hosts_name(const struct hosts *h, char *words, size_t size);

#endif
