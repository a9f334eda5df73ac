/* mute.c - to be preloaded: the name servers are mute. A name that ends with ".mute" has no answer for as long as the file
 * that MUTE_FILE names is there, and is 127.0.0.1 then. Each question is a byte more in that file with ".asked" behind
 * its name.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_mute(const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;

    return len >= 5 && strcmp(name + len - 5, ".mute") == 0;
}

static void note(const char *file)
{
    char path[400];

    snprintf(path, sizeof path, "%s.asked", file);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "?", 1) != 1)
        abort();
    close(fd);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const char *file = getenv("MUTE_FILE");
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (file == NULL || !is_mute(name) || (hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0))
        return real(name, service, hints, list);
    note(file);
    while (access(file, F_OK) == 0)
        (void)nanosleep(&pause, NULL);
    return real("127.0.0.1", service, hints, list);
}
