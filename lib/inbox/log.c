/* log.c - the caller's log, and the clock: what every file of libinbox stands on. Knows nothing else of it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "inside.h"

uint64_t inbox__now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t inbox__now_ms(void)
{
    return inbox__now_us() / 1000;
}

void inbox__log(struct inbox_consumer *c, int level, const char *format, ...)
{
    char line[1024];
    va_list args;

    if (c->log == NULL)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    line[strcspn(line, "\n")] = '\0';
    c->log(level, line, c->log_arg);
}
