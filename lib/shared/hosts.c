/* hosts.c - see hosts.h. */
#include "lib/shared/hosts.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t count(const char *list)
{
    size_t n = 1;

    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

/* The i-th of a list, allocated; of a list of one that one. NULL: out of memory. */
static char *part(const char *list, size_t i)
{
    for (; i > 0 && (list = strchr(list, ',')) != NULL; i--)
        list++;
    return list == NULL ? strdup("") : strndup(list, strcspn(list, ","));
}

/* Nobody is asked for it. */
static bool is_address(const char *name)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *list = NULL;
    int rc = getaddrinfo(name, NULL, &hints, &list);

    if (list != NULL)
        freeaddrinfo(list);
    return rc == 0;
}

static bool is_name(const char *name)
{
    return name[0] != '\0' && name[0] != '/' && name[0] != '@' && !is_address(name);
}

int outbox__hosts_parse(struct hosts *h, const char *name, const char *address, const char *port)
{
    const char *names = name != NULL ? name : "", *addresses = address != NULL ? address : "";
    const char *ports = port != NULL ? port : "";
    size_t n = count(*addresses != '\0' ? addresses : names), n_ports = count(ports);

    *h = (struct hosts){ 0 };
    if ((*names != '\0' && count(names) != n) || (n_ports != 1 && n_ports != n))
        return 0;
    h->host = calloc(n, sizeof *h->host);
    if (h->host == NULL)
        return -1;
    for (h->n = 0; h->n < n; h->n++) {
        struct host *host = &h->host[h->n];
        host->name = part(names, h->n);
        host->address = part(addresses, h->n);
        host->port = part(ports, n_ports == 1 ? 0 : h->n);
        if (host->name == NULL || host->address == NULL || host->port == NULL) {
            h->n++; /* what there is of it is freed as well */
            return -1;
        }
        host->sought = host->address[0] == '\0' && is_name(host->name);
    }
    return 0;
}

static bool is_port(const char *text, size_t len)
{
    char *end;
    long port = strtol(text, &end, 10); /* as libpq reads it: blanks may be around it */

    end += strspn(end, " \t\n\r\f\v");
    return port >= 1 && port <= 65535 && end == text + len;
}

const char *outbox__hosts_bad_port(const char *ports)
{
    for (size_t len;; ports += len + 1) {
        len = strcspn(ports, ",");
        if (len > 0 && !is_port(ports, len))
            return ports;
        if (ports[len] == '\0')
            return NULL;
    }
}

void outbox__hosts_deinit(struct hosts *h)
{
    for (size_t i = 0; i < h->n; i++) {
        free(h->host[i].name);
        free(h->host[i].address);
        free(h->host[i].port);
    }
    free(h->host);
    *h = (struct hosts){ 0 };
}

bool outbox__hosts_sought(const struct hosts *h)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->host[i].sought)
            return true;
    return false;
}

static bool is_missing(const struct host *host)
{
    return host->sought && host->address[0] == '\0';
}

bool outbox__hosts_known(const struct hosts *h)
{
    for (size_t i = 0; i < h->n; i++)
        if (!is_missing(&h->host[i]))
            return true;
    return false;
}

/* Takes it; NULL: it could not be written. */
static char *close_list(FILE *out, char **text)
{
    bool whole = out != NULL && !ferror(out);

    if (out == NULL || fclose(out) != 0 || !whole) {
        free(*text);
        *text = NULL;
    }
    return *text;
}

/* One of the lists, each entry as often as its host has addresses. NULL: out of memory. */
static char *write_list(const struct hosts *h, char *const *(*of)(const struct host *))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    const char *comma = "";

    for (size_t i = 0; out != NULL && i < h->n; i++) {
        const struct host *host = &h->host[i];
        char *const *entry = of(host);
        size_t times = is_missing(host) ? 0 : entry == &host->address ? 1 : count(host->address);
        for (; times > 0; times--) {
            fprintf(out, "%s%s", comma, *entry);
            comma = ",";
        }
    }
    return close_list(out, &text);
}

static char *const *name_of(const struct host *host)
{
    return &host->name;
}

static char *const *address_of(const struct host *host)
{
    return &host->address;
}

static char *const *port_of(const struct host *host)
{
    return &host->port;
}

int outbox__hosts_lists(const struct hosts *h, struct host_lists *ret)
{
    *ret = (struct host_lists){ 0 };
    if (!outbox__hosts_known(h))
        return 1;
    ret->name = write_list(h, name_of);
    ret->address = write_list(h, address_of);
    ret->port = write_list(h, port_of);
    if (ret->name != NULL && ret->address != NULL && ret->port != NULL)
        return 0;
    outbox__host_lists_deinit(ret);
    return -1;
}

/* The i-th of a list, up to its comma. */
static char *entry(char *list, size_t i)
{
    for (; i > 0; i--)
        list = strchr(list, ',') + 1;
    return list;
}

static bool is_entry(char *list, size_t i, const char *text)
{
    const char *at = entry(list, i);
    size_t len = strcspn(at, ",");

    return len == strlen(text) && strncmp(at, text, len) == 0;
}

/* One of several. */
static void cut_entry(char *list, size_t i)
{
    char *at = entry(list, i), *next = strchr(at, ',');

    if (next != NULL)
        memmove(at, next + 1, strlen(next + 1) + 1);
    else
        at[-1] = '\0';
}

bool outbox__host_lists_drop(struct host_lists *l, const char *name, const char *address, const char *port)
{
    size_t n = count(l->name), i = 0;

    if (n < 2)
        return false;
    while (i < n && !((is_entry(l->address, i, "") ? is_entry(l->name, i, name) : is_entry(l->address, i, address)) &&
                      (is_entry(l->port, i, "") || is_entry(l->port, i, port))))
        i++;
    i = i < n ? i : 0;
    cut_entry(l->name, i);
    cut_entry(l->address, i);
    cut_entry(l->port, i);
    return true;
}

void outbox__host_lists_deinit(struct host_lists *l)
{
    free(l->name);
    free(l->address);
    free(l->port);
    *l = (struct host_lists){ 0 };
}

void outbox__hosts_missing(const struct hosts *h, char *to, size_t size)
{
    size_t at = 0;

    to[0] = '\0';
    for (size_t i = 0; i < h->n && at < size; i++)
        if (is_missing(&h->host[i]))
            at += (size_t)snprintf(to + at, size - at, "%scould not translate host name \"%s\" to address: %s",
                                   at > 0 ? "; " : "", h->host[i].name, h->host[i].why);
}

/* Each `at "ADDRESS"` becomes `at "NAME" (ADDRESS)`. */
static void name_one(const char *name, const char *address, char *words, size_t size)
{
    char from[128], to[400], *rest;
    size_t n_from = (size_t)snprintf(from, sizeof from, "at \"%s\"", address);
    size_t n_to = (size_t)snprintf(to, sizeof to, "at \"%s\" (%s)", name, address);

    for (char *at = words; n_to < sizeof to && (at = strstr(at, from)) != NULL; at += n_to) {
        if ((size_t)(at - words) + n_to + strlen(at + n_from) >= size || (rest = strdup(at + n_from)) == NULL)
            return;
        memcpy(at, to, n_to);
        memcpy(at + n_to, rest, strlen(rest) + 1);
        free(rest);
    }
}

void outbox__hosts_name(const struct hosts *h, char *words, size_t size)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct host *host = &h->host[i];
        for (size_t k = 0; host->sought && host->address[0] != '\0' && k < count(host->address); k++) {
            char *address = part(host->address, k);
            if (address != NULL)
                name_one(host->name, address, words, size);
            free(address);
        }
    }
}
