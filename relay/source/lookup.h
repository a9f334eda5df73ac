/* lookup.h - looks up the addresses of the hosts in the dsn in a thread of its own, so that name servers that say
 * nothing never stop the loop. Used inside source/ only.
 *
 * libpq would do it in the middle of connecting, and wait: twenty seconds and more for each name, with the
 * resolver's usual settings. There is one such thread at most. One that is not heard in time goes on, its answer is
 * used by a later try, and until then no other one is started; at the end of the process it is left behind. All that it
 * touches is its own until it is done.
 */
#ifndef RELAY_SOURCE_LOOKUP_H
#define RELAY_SOURCE_LOOKUP_H

#include <stdint.h>

#include "relay/source/hosts.h"

struct lookup_job;

struct lookup {
    struct lookup_job *job; /* NULL: none was begun, or its answer was taken */
    struct hosts hosts;
    struct host_lists lists; /* what to connect to; all NULL: as the dsn says */
    bool waiting;
    uint64_t deadline_ms; /* waiting: when the hosts go without an answer */
    char missing[200];    /* which hosts have no address, and why; "": all have one */
};

/* Both: 1: connect; 0: waiting, until lookup_fd is readable or deadline_ms; -1: no host has an address,
 * `missing` says why. */
int lookup_begin(struct lookup *l, const char *dsn, uint64_t now_ms, uint64_t timeout_ms);
int lookup_step(struct lookup *l, uint64_t now_ms);
/* While it is waiting. */
int lookup_fd(const struct lookup *l);
void lookup_deinit(struct lookup *l);

#endif
