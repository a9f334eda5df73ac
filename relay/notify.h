/* notify.h - tells the service manager how the process does: sd_notify's protocol, a datagram to the
 * socket that NOTIFY_SOCKET names. Without that variable nothing happens. From the loop thread only: the
 * watchdog is fed by the loop that does the work, or not at all.
 */
#ifndef RELAY_NOTIFY_H
#define RELAY_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    int fd; /* -1: nobody listens */
    bool ready;
    uint64_t status_ms, watchdog_ms; /* when each is due; UINT64_MAX: never */
    uint64_t watchdog_every_ms;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. */
void notify_init(struct notify *n, uint64_t now_ms);
void notify_deinit(struct notify *n);

/* READY=1, the first time. */
void notify_ready(struct notify *n);
/* The watchdog when it is due. True: a status is due as well, about every 2 s. */
bool notify_turn(struct notify *n, uint64_t now_ms);
void notify_status(struct notify *n, const char *text);
/* RELOADING=1 with the time, and READY=1 when it is done; before the first READY=1 neither. */
void notify_reloading(struct notify *n);
void notify_reloaded(struct notify *n);
/* STOPPING=1, and so much time for it. */
void notify_stopping(struct notify *n, uint64_t budget_ms);
/* When notify_turn should be called again. */
uint64_t notify_deadline(const struct notify *n);

#endif
