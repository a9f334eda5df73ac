/* interrupted.c - to be preloaded: now and then a system call of the process is interrupted by a signal
 * that was not there (EINTR).
 *
 * Every INTERRUPT_EVERY-th call (never, when that is not set) of those below fails before it does anything,
 * whoever makes it: the relay, libpq, librdkafka. Not among them are the calls by which librdkafka reads
 * and writes its sockets: these never wait, and so no signal ever interrupts them. libc calls its own
 * functions directly; what it does for itself goes through.
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned every;
static atomic_uint n_calls;

static void __attribute__((constructor)) begin(void)
{
    const char *text = getenv("INTERRUPT_EVERY");

    every = text == NULL ? 0 : (unsigned)strtoul(text, NULL, 10);
}

/* Not static: where calls are fortified, the functions below are inline ones with external linkage. */
bool interrupted(void);
bool interrupted(void)
{
    if (every == 0 || atomic_fetch_add(&n_calls, 1) % every != every - 1)
        return false;
    errno = EINTR;
    return true;
}

#define INTERRUPTED(type, function, parameters, arguments)                                         \
    type function parameters;                                                                      \
    type function parameters                                                                       \
    {                                                                                              \
        static type(*real) parameters;                                                             \
                                                                                                   \
        if (real == NULL)                                                                          \
            *(void **)&real = dlsym(RTLD_NEXT, #function);                                         \
        return interrupted() ? -1 : real arguments;                                                \
    }

INTERRUPTED(ssize_t, read, (int fd, void *buf, size_t n), (fd, buf, n))
INTERRUPTED(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n))
INTERRUPTED(ssize_t, recv, (int fd, void *buf, size_t n, int flags), (fd, buf, n, flags))
INTERRUPTED(ssize_t, send, (int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags))
INTERRUPTED(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))
INTERRUPTED(int, ppoll,
            (struct pollfd * fds, nfds_t n, const struct timespec *wait, const sigset_t *mask),
            (fds, n, wait, mask))
INTERRUPTED(ssize_t, getrandom, (void *buf, size_t n, unsigned flags), (buf, n, flags))
