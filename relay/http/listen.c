/* listen.c - see listen.h. */
#include "relay/http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct parts {
    char host[256]; /* "": every address */
    char port[8];
};

static bool is_port(const char *text)
{
    uint32_t n = 0;

    if (text[0] == '\0' || strlen(text) > 5)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (uint32_t)(*text - '0');
    }
    return n <= 65535;
}

static bool split(const char *text, struct parts *p)
{
    const char *colon = strrchr(text, ':'), *begin = text, *end = colon;

    if (colon == NULL || !is_port(colon + 1))
        return false;
    if (*begin == '[') {
        if (end[-1] != ']')
            return false;
        begin++;
        end--;
        if (begin == end)
            return false;
    } else if (memchr(begin, ':', (size_t)(end - begin)) != NULL) {
        return false; /* an IPv6 address without brackets: where does the port begin? */
    }
    for (const char *c = begin; c < end; c++)
        if ((unsigned char)*c <= ' ' || *c == '[' || *c == ']' || *c == '/')
            return false;
    size_t len = (size_t)(end - begin);
    if (len >= sizeof p->host)
        return false;
    memcpy(p->host, begin, len);
    p->host[len] = '\0';
    if (strcmp(p->host, "*") == 0)
        p->host[0] = '\0';
    snprintf(p->port, sizeof p->port, "%s", colon + 1);
    return true;
}

bool listen_is_off(const char *text)
{
    return strcmp(text, "off") == 0;
}

bool listen_is_valid(const char *text)
{
    struct parts p;

    return listen_is_off(text) || split(text, &p);
}

int listen_resolve(const char *text, struct listen_address *ret_address, char *err, size_t err_size)
{
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *list = NULL;
    struct parts p;

    if (!split(text, &p)) {
        snprintf(err, err_size, "not HOST:PORT");
        return -1;
    }
    int rc = getaddrinfo(p.host[0] != '\0' ? p.host : NULL, p.port, &hints, &list);
    if (rc != 0) {
        snprintf(err, err_size, "%s", rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return -1;
    }
    /* Every address: an IPv6 socket takes IPv4 as well, where there is IPv6. */
    const struct addrinfo *chosen = list;
    for (const struct addrinfo *a = list; p.host[0] == '\0' && a != NULL; a = a->ai_next)
        if (a->ai_family == AF_INET6)
            chosen = a;
    memcpy(&ret_address->addr, chosen->ai_addr, chosen->ai_addrlen);
    ret_address->len = chosen->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

int listen_open(const struct listen_address *address, char *err, size_t err_size)
{
    int on = 1, off = 0;
    int fd = socket(address->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address->addr.ss_family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(fd, (const struct sockaddr *)&address->addr, address->len) == 0 && listen(fd, 128) == 0)
            return fd;
    }
    snprintf(err, err_size, "%s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void listen_print(int fd, char *to, size_t to_size)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[64], port[8];

    snprintf(to, to_size, "?");
    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(to, to_size, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
