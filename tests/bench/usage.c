/* usage.c - what a command cost: time, processor and memory, its own and that of servers beside it.
 *
 *   usage [NAME=PID]... -- COMMAND [ARGUMENT...]
 *
 * Runs COMMAND and then prints one line of name=value pairs: seconds of wall time; seconds of processor
 * time (user and system) and peak RSS of the command; for each NAME the processor time that the process and
 * all its descendants used meanwhile; and that of all others on the machine, by which to judge how quiet
 * it was. Exits with the command's status.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tools/tool.h"

enum { MAX_SERVERS = 8, MAX_PROCESSES = 4096 };

struct process {
    long pid, parent;
    unsigned long long ticks; /* its own, and of those of its children that have ended */
};

static struct process process[MAX_PROCESSES];
static int n_processes;

static bool read_process(long pid, struct process *ret)
{
    char path[64], line[1024];
    unsigned long long user, system, ended_user, ended_system;

    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    const char *behind_name = strrchr(line, ')');
    *ret = (struct process){ .pid = pid };
    if (behind_name == NULL ||
        sscanf(behind_name + 1, " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
               &ret->parent, &user, &system, &ended_user, &ended_system) != 5)
        return false;
    ret->ticks = user + system + ended_user + ended_system;
    return true;
}

static void read_processes(void)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;

    n_processes = 0;
    while (dir != NULL && n_processes < MAX_PROCESSES && (entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            read_process(atol(entry->d_name), &process[n_processes]))
            n_processes++;
    if (dir != NULL)
        closedir(dir);
}

static const struct process *find(long pid)
{
    for (int i = 0; i < n_processes; i++)
        if (process[i].pid == pid)
            return &process[i];
    return NULL;
}

static bool descends(const struct process *p, long ancestor)
{
    for (int depth = 0; p != NULL && depth < 64; depth++) {
        if (p->pid == ancestor)
            return true;
        p = find(p->parent);
    }
    return false;
}

static unsigned long long ticks_of_tree(long pid)
{
    unsigned long long ticks = 0;

    read_processes();
    for (int i = 0; i < n_processes; i++)
        if (descends(&process[i], pid))
            ticks += process[i].ticks;
    return ticks;
}

/* A process that ends while /proc is read is missed, in itself and in its parent: two readings that agree
 * have missed none. Other work of the tree goes on meanwhile, so not for ever. */
static double seconds_of_tree(long pid)
{
    unsigned long long last, ticks = ticks_of_tree(pid);
    int tries = 20;

    do {
        last = ticks;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        ticks = ticks_of_tree(pid);
    } while (ticks != last && --tries > 0);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Of the whole machine, without idle time and what a virtual machine did not get. */
static double seconds_of_machine(void)
{
    unsigned long long user = 0, nice = 0, system = 0, irq = 0, softirq = 0;
    FILE *f = fopen("/proc/stat", "r");

    if (f != NULL) {
        if (fscanf(f, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &irq, &softirq) != 5)
            user = 0;
        fclose(f);
    }
    return (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
}

static double seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static int run(char **argv, struct rusage *ret_usage)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, ret_usage) != pid)
        return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    const char *name[MAX_SERVERS];
    long pid[MAX_SERVERS];
    double before[MAX_SERVERS];
    struct rusage used;
    int n = 0, at = 1;

    for (; at < argc && n < MAX_SERVERS && strcmp(argv[at], "--") != 0; at++, n++) {
        char *equals = strchr(argv[at], '=');
        if (equals == NULL || (pid[n] = atol(equals + 1)) <= 0)
            break;
        *equals = '\0';
        name[n] = argv[at];
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") != 0) {
        fputs("usage: usage [NAME=PID]... -- COMMAND [ARGUMENT...]\n", stderr);
        return 64;
    }
    for (int i = 0; i < n; i++)
        before[i] = seconds_of_tree(pid[i]);
    int64_t began_ns = now_ns();
    double machine = seconds_of_machine();

    int status = run(argv + at + 1, &used);

    double wall = (double)(now_ns() - began_ns) / 1e9, cpu = seconds(used.ru_utime) + seconds(used.ru_stime);
    machine = seconds_of_machine() - machine - cpu;
    printf("wall=%.3f cpu=%.3f user=%.3f rss_kb=%ld switches=%ld", wall, cpu,
           seconds(used.ru_utime), used.ru_maxrss, used.ru_nvcsw + used.ru_nivcsw);
    for (int i = 0; i < n; i++) {
        double server = seconds_of_tree(pid[i]) - before[i];
        machine -= server;
        printf(" %s_cpu=%.2f", name[i], server);
    }
    printf(" others_cpu=%.2f\n", machine > 0 ? machine : 0);
    return status;
}
