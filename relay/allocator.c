/* allocator.c - see allocator.h. Must not know what is allocated. */
#include "relay/allocator.h"

#include <stdlib.h>
#include <unistd.h>

/* Each header of each record is a piece of memory of its own inside librdkafka, and thousands of records are
 * on their way at once. glibc keeps seven freed pieces of a size at hand; the others it joins and splits
 * again, a sixth of the instructions that the loop's thread runs for a row with six headers (callgrind: 21.6k,
 * 17.9k with these). Only small pieces, and so many that what is kept stays below 9 MB at the very worst.
 * Read from the environment when a program starts, and not to be changed afterwards. */
#define VARIABLE "GLIBC_TUNABLES"
#define SETTINGS "glibc.malloc.tcache_count=4000:glibc.malloc.tcache_max=256"

void allocator_set_up(char **argv)
{
#ifdef __GLIBC__
    char self[4096]; /* by its own name: run as /proc/self/exe it would be shown as "exe" */

    if (getenv(VARIABLE) != NULL)
        return;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self);
    if (n <= 0 || (size_t)n == sizeof self || setenv(VARIABLE, SETTINGS, 1) < 0)
        return;
    self[n] = '\0';
    (void)execv(self, argv); /* when it cannot be, it goes on as it is */
#else
    (void)argv;
#endif
}
