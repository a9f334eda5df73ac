/* crash_point.h - named places at which a test build of the relay dies on request.
 *
 * CRASH_POINT("where.what") is nothing unless OUTBOX_CRASH_POINTS is defined (`make crash`). Then
 * the environment chooses one place: OUTBOX_CRASH_AT=name[:nth] lets the process kill itself, without
 * a word, when it passes there for the nth time (the first). OUTBOX_CRASH_SIGNAL=n sends it another
 * signal than SIGKILL. Each name stands in the sources once; tests/faults/crash.sh finds them there.
 */
#ifndef RELAY_CRASH_POINT_H
#define RELAY_CRASH_POINT_H

#ifdef OUTBOX_CRASH_POINTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void crash_point(const char *name, unsigned long pass)
{
    const char *at = getenv("OUTBOX_CRASH_AT"), *signal_number = getenv("OUTBOX_CRASH_SIGNAL");
    size_t len = strlen(name);

    if (at == NULL || strncmp(at, name, len) != 0 || (at[len] != '\0' && at[len] != ':'))
        return;
    if (pass == (at[len] == ':' ? strtoul(at + len + 1, NULL, 10) : 1))
        (void)kill(getpid(), signal_number == NULL ? SIGKILL : atoi(signal_number));
}

#define CRASH_POINT(name)                                                                          \
    do {                                                                                           \
        static unsigned long crash_passes;                                                         \
        crash_point((name), ++crash_passes);                                                       \
    } while (0)

#else

#define CRASH_POINT(name) ((void)0)

#endif
#endif
