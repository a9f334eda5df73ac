/* loop.h - the one clock, and the one place where the process waits. */
#ifndef RELAY_LOOP_H
#define RELAY_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds on a clock that nobody sets, and that goes on while the machine is suspended (but perhaps not while
 * a hypervisor pauses it). */
uint64_t loop_now_ms(void);
/* Microseconds on the same clock, for measuring. */
uint64_t loop_now_us(void);

/* SIGHUP from now on asks to reload the settings. SIGTERM and SIGINT ask to stop; a second one ends the process with exit code 128 + signal.
 * SIGPIPE is ignored. The signals are blocked except inside loop_wait, so that none is missed between a
 * check and the wait. 0, or -1 with errno. */
int loop_signals(void);
/* The stop was noticed: nothing can be missed any more, and a second signal shall not wait. */
void loop_signals_unblock(void);
bool loop_stop_requested(void);
/* SIGHUP came since this was last asked. */
bool loop_reload_requested(void);

/* Waits until one of the descriptors is ready, a signal came, or deadline_ms (UINT64_MAX: for ever). */
void loop_wait(struct pollfd *fds, size_t n, uint64_t deadline_ms);

#endif
