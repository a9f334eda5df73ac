/* process.c - the figures that all exporters give of their process. Linux; elsewhere they are left out. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "relay/http/pages.h"

/* Field `n` of /proc/self/stat, counted as proc(5) does, from 3 on; the second may hold blanks. */
static double stat_field(int n)
{
    char text[1024];
    FILE *in = fopen("/proc/self/stat", "re");
    size_t len = in != NULL ? fread(text, 1, sizeof text - 1, in) : 0;

    if (in != NULL)
        fclose(in);
    text[len] = '\0';
    char *at = strrchr(text, ')');
    for (int i = 2; at != NULL && i < n; i++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtod(at, NULL) : -1;
}

static double open_fds(void)
{
    double n = -1; /* the directory's own */
    DIR *dir = opendir("/proc/self/fd");

    if (dir == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* The time of the boot stands in a file that is kept from a service with ProcSubset=pid, so two clocks tell it. Once, for
 * one of them is set now and then. */
static double started(double ticks)
{
    static double start_s = -1;
    double after_boot = stat_field(22);
    struct timespec now, up;

    if (start_s < 0 && after_boot >= 0 && clock_gettime(CLOCK_REALTIME, &now) == 0 && clock_gettime(CLOCK_BOOTTIME, &up) == 0)
        start_s = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9 + after_boot / ticks;
    return start_s;
}

static void set(double *gauge, double value)
{
    if (value >= 0)
        *gauge = value;
}

void process_measure(struct metrics *m)
{
    double ticks = (double)sysconf(_SC_CLK_TCK), pages = (double)sysconf(_SC_PAGESIZE);
    double resident = stat_field(24);
    struct rusage used;
    struct rlimit limit;

    if (getrusage(RUSAGE_SELF, &used) == 0)
        m->process_cpu[0] = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                            (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    set(m->process_start, started(ticks));
    set(m->process_virtual, stat_field(23));
    if (resident >= 0)
        m->process_resident[0] = resident * pages;
    set(m->process_fds, open_fds());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        m->process_max_fds[0] = (double)limit.rlim_cur;
}
