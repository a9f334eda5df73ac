/* datagrams.c - prints what is sent to a UNIX datagram socket, a line each: a service manager's side of
 * sd_notify. Line ends within a datagram are printed as blanks. Ends with SIGTERM.
 *
 *   datagrams PATH
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char text[4096];

    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
        fputs("usage: datagrams PATH\n", stderr);
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        perror(argv[1]);
        return 1;
    }
    for (ssize_t n; (n = recv(fd, text, sizeof text - 1, 0)) >= 0;) {
        text[n] = '\0';
        for (char *p = text; *p != '\0'; p++)
            if (*p == '\n')
                *p = ' ';
        puts(text);
        fflush(stdout);
    }
    return 1;
}
