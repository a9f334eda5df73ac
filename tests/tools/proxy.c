/* proxy.c - a TCP proxy that can fail on command.
 *
 *   proxy PORT TARGET         PORT 0: pick one. TARGET: HOST:PORT (numeric), or the path of a socket
 * Listens on 127.0.0.1 and prints its port, then obeys one command per line of stdin and answers each
 * with "ok" or "error: why". Ends on EOF of stdin, on TERM and on INT.
 *   cut          reset every connection; new ones are welcome
 *   refuse       reset new connections; those that are open stay
 *   stall        pass nothing on, in either direction; connections stay open and new ones are taken
 *   stall-down   hold the target's answers back only
 *   pieces N [MS] pass on at most N bytes in one go, and pause for MS milliseconds after each
 *   lose TEXT    once: when TEXT has been passed on to the target, its next bytes on that connection
 *                are thrown away and the connection is reset, so that the answer is lost; "lost" is
 *                then written to stderr. TEXT has no blanks and must come in one read.
 *   resume       undo all but cut; what was held is passed on
 * One thread around poll(2). What is held stays in 64 KiB per direction and then in the sockets, as
 * behind a router that has gone silent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/tools/tool.h"

enum { MAX_LINKS = 200, BUFFER = 65536, LINE = 100, FIXED_FDS = 2 };

enum direction { UP, DOWN, N_DIRECTIONS }; /* to the target, and back */

/* What was read from one side and not yet written to the other. */
struct flow {
    char *bytes;
    size_t begin, end;
    bool eof;  /* the reading side has ended */
    bool shut; /* and the writing side was told */
};

struct link {
    bool lose; /* the next answer */
    int fd[N_DIRECTIONS]; /* fd[UP]: the client, read for UP; fd[DOWN]: the target */
    struct flow flow[N_DIRECTIONS];
};

struct proxy {
    int listener;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } target;
    socklen_t target_len;
    struct link link[MAX_LINKS];
    size_t n_links;
    bool refuse, stall[N_DIRECTIONS];
    size_t piece; /* the most that is passed on in one go */
    int pause_ms;
    char lose[LINE]; /* "": nothing */
    char line[LINE];
    size_t n_line;
};

/* -- connections ---------------------------------------------------------------------------- */

static void reset(int fd)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static void link_close(struct proxy *p, size_t i)
{
    struct link *l = &p->link[i];

    for (int d = 0; d < N_DIRECTIONS; d++) {
        reset(l->fd[d]);
        free(l->flow[d].bytes);
    }
    *l = p->link[--p->n_links];
}

static void set_socket(int fd)
{
    int one = 1;

    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on a unix socket */
}

/* The target is on this machine: connecting does not take long. -1: it does not want. */
static int connect_target(const struct proxy *p)
{
    int fd = socket(p->target.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &p->target.any, p->target_len) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void link_open(struct proxy *p)
{
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    int target;

    if (client < 0)
        return;
    if (p->refuse || p->n_links == MAX_LINKS || (target = connect_target(p)) < 0) {
        reset(client);
        return;
    }
    set_socket(client);
    set_socket(target);
    struct link *l = &p->link[p->n_links++];
    *l = (struct link){ .fd = { client, target } };
    for (int d = 0; d < N_DIRECTIONS; d++)
        l->flow[d].bytes = checked(malloc(BUFFER));
}

/* -- bytes ---------------------------------------------------------------------------------- */

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static bool flow_fill(struct flow *f, int from)
{
    if (f->begin == f->end)
        f->begin = f->end = 0;
    if (f->eof || f->end == BUFFER)
        return true;
    ssize_t n = recv(from, f->bytes + f->end, BUFFER - f->end, 0);
    if (n > 0)
        f->end += (size_t)n;
    f->eof = n == 0;
    return n >= 0 || would_block();
}

static bool flow_drain(struct flow *f, int to, size_t piece)
{
    if (f->begin < f->end) {
        size_t size = f->end - f->begin < piece ? f->end - f->begin : piece;
        ssize_t n = send(to, f->bytes + f->begin, size, MSG_NOSIGNAL);
        if (n < 0)
            return would_block();
        f->begin += (size_t)n;
    }
    if (f->eof && !f->shut && f->begin == f->end) {
        (void)shutdown(to, SHUT_WR);
        f->shut = true;
    }
    return true;
}

/* False: an answer has come that is to be lost. Looks at what was read and not yet passed on. */
static bool lose_answer(struct proxy *p, struct link *l)
{
    const struct flow *up = &l->flow[UP], *down = &l->flow[DOWN];
    size_t n = strlen(p->lose);

    if (l->lose && down->begin < down->end) {
        fputs("lost\n", stderr);
        return false;
    }
    if (n > 0 && memmem(up->bytes + up->begin, up->end - up->begin, p->lose, n) != NULL) {
        l->lose = true;
        p->lose[0] = '\0';
    }
    return true;
}

static void pause_between(const struct proxy *p)
{
    struct timespec wait = { p->pause_ms / 1000, p->pause_ms % 1000 * 1000000 };

    if (p->pause_ms > 0)
        (void)nanosleep(&wait, NULL);
}

/* False: the link has ended. */
static bool link_step(struct proxy *p, struct link *l)
{
    for (int d = 0; d < N_DIRECTIONS; d++) {
        if (p->stall[d])
            continue;
        if (!flow_fill(&l->flow[d], l->fd[d]) || !lose_answer(p, l) ||
            !flow_drain(&l->flow[d], l->fd[!d], p->piece))
            return false;
    }
    return !l->flow[UP].shut || !l->flow[DOWN].shut;
}

/* What to wait for at the side that is read for direction d. */
static short events_of(const struct proxy *p, const struct link *l, int d)
{
    const struct flow *in = &l->flow[d], *out = &l->flow[!d];
    short events = 0;

    if (!p->stall[d] && !in->eof && (in->begin == in->end || in->end < BUFFER))
        events |= POLLIN;
    if (!p->stall[!d] && out->begin < out->end)
        events |= POLLOUT;
    return events;
}

/* -- commands ------------------------------------------------------------------------------- */

static const char *obey(struct proxy *p, const char *command)
{
    size_t piece = 0;
    int pause_ms = 0;

    if (strcmp(command, "cut") == 0) {
        while (p->n_links > 0)
            link_close(p, 0);
    } else if (strcmp(command, "refuse") == 0) {
        p->refuse = true;
    } else if (strcmp(command, "stall") == 0) {
        p->stall[UP] = p->stall[DOWN] = true;
    } else if (strcmp(command, "stall-down") == 0) {
        p->stall[DOWN] = true;
    } else if (strncmp(command, "lose ", 5) == 0 && command[5] != '\0') {
        strcpy(p->lose, command + 5); /* both are of the size LINE */
    } else if (sscanf(command, "pieces %zu %d", &piece, &pause_ms) >= 1 && piece > 0) {
        p->piece = piece;
        p->pause_ms = pause_ms;
    } else if (strcmp(command, "resume") == 0) {
        p->refuse = p->stall[UP] = p->stall[DOWN] = false;
        p->piece = BUFFER;
        p->pause_ms = 0;
        p->lose[0] = '\0';
    } else {
        return "unknown command";
    }
    return NULL;
}

/* False at EOF. */
static bool read_commands(struct proxy *p)
{
    ssize_t n = read(STDIN_FILENO, p->line + p->n_line, sizeof p->line - 1 - p->n_line);

    if (n <= 0)
        return n < 0 && would_block();
    p->n_line += (size_t)n;
    for (char *end; (end = memchr(p->line, '\n', p->n_line)) != NULL;) {
        *end = '\0';
        const char *why = obey(p, p->line);
        printf(why == NULL ? "ok\n" : "error: %s\n", why);
        p->n_line -= (size_t)(end + 1 - p->line);
        memmove(p->line, end + 1, p->n_line);
    }
    if (p->n_line == sizeof p->line - 1)
        p->n_line = 0; /* no command is that long */
    return true;
}

static void serve(struct proxy *p)
{
    static struct pollfd fds[FIXED_FDS + N_DIRECTIONS * MAX_LINKS];

    for (;;) {
        size_t n_links = p->n_links;

        fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = p->listener, .events = POLLIN };
        for (size_t i = 0; i < n_links; i++)
            for (int d = 0; d < N_DIRECTIONS; d++) {
                short events = events_of(p, &p->link[i], d);
                /* without wishes not even asked: a peer that hung up would wake us for ever */
                fds[FIXED_FDS + N_DIRECTIONS * i + (size_t)d] =
                    (struct pollfd){ .fd = events != 0 ? p->link[i].fd[d] : -1, .events = events };
            }
        if (poll(fds, FIXED_FDS + N_DIRECTIONS * n_links, -1) < 0 && errno != EINTR)
            give_up("poll: %s", strerror(errno));
        pause_between(p);
        for (size_t i = n_links; i-- > 0;) /* downwards: closing one moves the last into its place */
            if (!link_step(p, &p->link[i]))
                link_close(p, i);
        if (fds[0].revents != 0 && !read_commands(p))
            return;
        if (fds[1].revents != 0)
            link_open(p);
    }
}

/* -- set-up --------------------------------------------------------------------------------- */

static bool parse_port(const char *text, in_port_t *ret_port)
{
    char *end;
    long port = strtol(text, &end, 10);

    *ret_port = htons((in_port_t)port);
    return end != text && *end == '\0' && port >= 0 && port <= 65535;
}

static bool parse_target(struct proxy *p, char *text)
{
    char *colon = strrchr(text, ':');

    if (text[0] == '/') {
        p->target.un = (struct sockaddr_un){ .sun_family = AF_UNIX };
        p->target_len = sizeof p->target.un;
        if (strlen(text) >= sizeof p->target.un.sun_path)
            return false;
        strcpy(p->target.un.sun_path, text);
        return true;
    }
    if (colon == NULL)
        return false;
    *colon = '\0';
    p->target.in = (struct sockaddr_in){ .sin_family = AF_INET };
    p->target_len = sizeof p->target.in;
    return inet_pton(AF_INET, text, &p->target.in.sin_addr) == 1 &&
           parse_port(colon + 1, &p->target.in.sin_port);
}

static void listen_on(struct proxy *p, in_port_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = port,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int one = 1;

    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->listener < 0 ||
        setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(p->listener, (struct sockaddr *)&at, len) < 0 || listen(p->listener, 128) < 0 ||
        getsockname(p->listener, (struct sockaddr *)&at, &len) < 0)
        give_up("listen: %s", strerror(errno));
    printf("%d\n", ntohs(at.sin_port));
}

int main(int argc, char **argv)
{
    static struct proxy proxy = { .piece = BUFFER };
    in_port_t port;

    if (argc != 3 || !parse_port(argv[1], &port) || !parse_target(&proxy, argv[2])) {
        fprintf(stderr, "usage: proxy PORT HOST:PORT | PATH\n"
                        "commands on stdin: cut, refuse, stall, stall-down, pieces N [MS], lose TEXT, resume\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    listen_on(&proxy, port);
    serve(&proxy);
    return EXIT_SUCCESS;
}
