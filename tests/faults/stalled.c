/* stalled.c - to be preloaded: the thread that runs main stops where it waits, for as long as the file that
 * STALL_FILE names is there. All other threads go on: it is what a loop that hangs looks like from outside.
 */
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *wait, const sigset_t *mask)
{
    static int (*real)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    const char *file = getenv("STALL_FILE");
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "ppoll");
    while (file != NULL && syscall(SYS_gettid) == getpid() && access(file, F_OK) == 0)
        (void)nanosleep(&pause, NULL);
    return real(fds, n, wait, mask);
}
