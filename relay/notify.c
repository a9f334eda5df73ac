/* notify.c - see notify.h; sd_notify(3) describes the messages. */
#include "relay/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "relay/text.h"

#define STATUS_EVERY_MS 2000
#define STATUS_CHARS 1000

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || len >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Half of what the manager waits; 0: it does not watch us. */
static uint64_t watchdog_every(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    return strtoull(usec, NULL, 10) / 2000;
}

void notify_init(struct notify *n, uint64_t now_ms)
{
    const char *path = getenv("NOTIFY_SOCKET");

    *n = (struct notify){ .fd = path != NULL ? connect_to(path) : -1, .watchdog_ms = UINT64_MAX,
                          .status_ms = UINT64_MAX };
    if (n->fd < 0)
        return;
    n->status_ms = now_ms;
    n->watchdog_every_ms = watchdog_every();
    if (n->watchdog_every_ms > 0)
        n->watchdog_ms = now_ms;
}

void notify_deinit(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

/* Lost when the manager does not listen; the next one may get through. */
static void tell(const struct notify *n, const char *text)
{
    if (n->fd >= 0)
        (void)!send(n->fd, text, strlen(text), MSG_NOSIGNAL);
}

void notify_ready(struct notify *n)
{
    if (!n->ready)
        tell(n, "READY=1");
    n->ready = true;
}

bool notify_turn(struct notify *n, uint64_t now_ms)
{
    if (now_ms >= n->watchdog_ms) {
        tell(n, "WATCHDOG=1");
        n->watchdog_ms = now_ms + n->watchdog_every_ms;
    }
    if (now_ms < n->status_ms)
        return false;
    n->status_ms = now_ms + STATUS_EVERY_MS;
    return true;
}

/* A line each, and UTF-8: what is none the manager would leave out, and go on to show the status before. */
void notify_status(struct notify *n, const char *text)
{
    char *message = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&message, &size);

    if (out == NULL)
        return;
    fputs("STATUS=", out);
    text_put(out, text, STATUS_CHARS);
    if (fclose(out) == 0)
        tell(n, message);
    free(message);
}

void notify_reloading(struct notify *n)
{
    struct timespec ts;
    char message[80];

    if (!n->ready) /* the READY=1 behind it would be taken for the first */
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
    tell(n, message);
}

void notify_reloaded(struct notify *n)
{
    if (n->ready)
        tell(n, "READY=1");
}

void notify_stopping(struct notify *n, uint64_t budget_ms)
{
    char message[80];

    snprintf(message, sizeof message, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, (budget_ms + 5000) * 1000);
    tell(n, message);
}

uint64_t notify_deadline(const struct notify *n)
{
    return n->watchdog_ms < n->status_ms ? n->watchdog_ms : n->status_ms;
}
