/* lookup.h - looks up the addresses of the hosts in the dsn in a thread of its own, so that name servers that say
 * nothing never stop the caller's loop. For the relay and for libinbox, into whose host process it brings a thread: it
 * takes no signal, holds no lock, and touches nothing of the caller's. Times are of CLOCK_MONOTONIC.
 *
 * libpq would do it in the middle of connecting, and wait: twenty seconds and more for each name, with the
 * resolver's usual settings. There is one such thread at most. One that is not heard in time goes on, its answer is
 * used by a later try, and until then no other one is started; outbox__lookup_deinit() leaves it behind. All that it
 * touches is its own until it is done.
 */
#ifndef OUTBOX_SHARED_LOOKUP_H
#define OUTBOX_SHARED_LOOKUP_H

#include <libpq-fe.h>
#include <stdint.h>

#include "lib/shared/hosts.h"

struct lookup_job;

struct lookup {
    struct lookup_job *job; /* NULL: none was begun, or its answer was taken */
    struct hosts hosts;
    struct host_lists lists; /* what to connect to; all NULL: as the dsn says */
    bool waiting;
    bool threadless; /* no thread was to be had at the last begin: nothing is looked up, and libpq does it and waits */
    uint64_t deadline_ms; /* waiting: when the hosts go without an answer */
    char missing[200];    /* which hosts have no address, and why; "": all have one */
};

/* The value of a keyword in a list of libpq's options; NULL: it has none. */
const char *outbox__option_value(const PQconninfoOption *options, const char *keyword);

/* Both: 1: connect; 0: waiting, until outbox__lookup_fd() is readable or deadline_ms; -1: no host has an address,
 * `missing` says why. */
int outbox__lookup_begin(struct lookup *l, const char *dsn, uint64_t now_ms, uint64_t timeout_ms);
int outbox__lookup_step(struct lookup *l, uint64_t now_ms);
/* While it is waiting. */
int outbox__lookup_fd(const struct lookup *l);
void outbox__lookup_deinit(struct lookup *l);

#endif
