/* listen.h - the setting http.listen: HOST:PORT to a socket. */
#ifndef RELAY_HTTP_LISTEN_H
#define RELAY_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* "off". */
bool listen_is_off(const char *text);
/* Is it "off" or HOST:PORT, with an IPv6 address in brackets? HOST may be missing or "*": every address.
 * Nothing is looked up. */
bool listen_is_valid(const char *text);

struct listen_address {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* Looks a name up, which may take its time. 0, or -1 with the reason in err. */
int listen_resolve(const char *text, struct listen_address *ret_address, char *err, size_t err_size);
/* A listening socket, or -1 with the reason in err. */
int listen_open(const struct listen_address *address, char *err, size_t err_size);
/* The address of a socket in the same form, with the port that it got. */
void listen_print(int fd, char *to, size_t to_size);

#endif
