/* tool.h - what the programs beside the tests share: how they give up, how they are told to stop, and the time.
 *
 * Each program has its own copy. Nothing here knows a database, a broker or a test.
 */
#ifndef TESTS_TOOLS_TOOL_H
#define TESTS_TOOLS_TOOL_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The exit status of who gives up; a program that means something else by 1 defines its own. */
#ifndef GIVE_UP_STATUS
#define GIVE_UP_STATUS EXIT_FAILURE
#endif

static inline _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(GIVE_UP_STATUS);
}

static inline void *checked(void *memory)
{
    if (memory == NULL)
        give_up("out of memory");
    return memory;
}

static volatile sig_atomic_t stop_requested;

static inline void on_stop(int sig)
{
    (void)sig;
    stop_requested = 1;
}

/* TERM and INT set stop_requested, and end a wait. */
static inline void stop_on_signals(void)
{
    const struct sigaction action = { .sa_handler = on_stop };

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* Of CLOCK_MONOTONIC. */
static inline int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline int64_t now_ms(void)
{
    return now_ns() / 1000000;
}

#endif
