/* connect.c - the way to a link, in pieces: names are looked up beside the consumer (lib/shared/lookup.h), libpq is asked
 * step by step, and each address has its time. So a stop is heard and the group is polled meanwhile. */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "lib/shared/lookup.h"

/* Longer than name servers that answer at all need. What comes later is for the next try. */
#define LOOKUP_MS 10000
/* The most that an address has, whatever connect_timeout says. */
#define ADDRESS_MS 60000

struct inbox__way {
    struct lookup lookup;
    PGconn *pg;             /* NULL: not that far */
    struct host_lists left; /* of this try, when an address has had its time; all NULL: those of the look-up */
    char at[300];           /* the address that is tried, */
    uint64_t address_ms, deadline_ms; /* how long, and until when */
    short events;
    char late[200];         /* addresses that have had their time; "": none */
};

int inbox__way_init(struct inbox_consumer *c)
{
    c->way = calloc(1, sizeof *c->way);
    return c->way != NULL ? 0 : -1;
}

void inbox__way_leave(struct inbox_consumer *c)
{
    struct inbox__way *way = c->way;

    PQfinish(way->pg);
    way->pg = NULL;
    way->lookup.waiting = false;
    outbox__host_lists_deinit(&way->left);
    way->late[0] = '\0';
}

void inbox__way_deinit(struct inbox_consumer *c)
{
    if (c->way == NULL)
        return;
    inbox__way_leave(c);
    outbox__lookup_deinit(&c->way->lookup);
    free(c->way);
    c->way = NULL;
}

/* -- libpq ------------------------------------------------------------------------------------ */

/* libpq keeps to connect_timeout only where it waits by itself. */
static uint64_t time_of_an_address(PGconn *pg)
{
    PQconninfoOption *options = PQconninfo(pg);
    const char *timeout = options != NULL ? outbox__option_value(options, "connect_timeout") : NULL;
    long s = timeout != NULL ? strtol(timeout, NULL, 10) : 10;

    PQconninfoFree(options);
    return s > 0 && s < ADDRESS_MS / 1000 ? (uint64_t)s * 1000 : ADDRESS_MS;
}

/* The first look at an address, or the first after another. */
static void note_address(struct inbox__way *way)
{
    char at[sizeof way->at];

    snprintf(at, sizeof at, "%s (%s), port %s", PQhost(way->pg), PQhostaddr(way->pg), PQport(way->pg));
    if (strcmp(at, way->at) == 0)
        return;
    snprintf(way->at, sizeof way->at, "%s", at);
    way->deadline_ms = inbox__now_ms() + way->address_ms;
}

/* What the dsn says comes after our wishes and before what must be. */
static void start(struct inbox_consumer *c)
{
    struct inbox__way *way = c->way;
    const struct host_lists *to = way->left.name != NULL ? &way->left : &way->lookup.lists; /* NULLs: as the dsn says */
    char name[64 + INBOX_MAX_GROUP_BYTES];
    const char *const keys[] = { "connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
                                 "tcp_user_timeout", "target_session_attrs", "fallback_application_name", "dbname",
                                 "client_encoding", "host", "hostaddr", "port", NULL };
    /* Keepalives find out about a peer that is gone only while nothing is on its way to it. */
    const char *const values[] = { "10", "30", "10", "3", "60000", "primary", name, c->set.dsn, "UTF8",
                                   to->name, to->address, to->port, NULL };

    snprintf(name, sizeof name, "inbox %s", c->set.group);
    way->pg = PQconnectStartParams(keys, values, 1);
    way->events = POLLOUT;
    way->at[0] = '\0';
    if (way->pg == NULL)
        return;
    way->address_ms = time_of_an_address(way->pg);
    note_address(way);
}

static int start_with_what_is_left(struct inbox_consumer *c)
{
    struct inbox__way *way = c->way;
    size_t len = strlen(way->late);

    snprintf(way->late + len, sizeof way->late - len, "%sno answer from %s within %g s", len > 0 ? "; " : "", way->at,
             (double)way->address_ms / 1000);
    if (way->left.name == NULL && outbox__hosts_lists(&way->lookup.hosts, &way->left) != 0)
        return -1;
    if (!outbox__host_lists_drop(&way->left, PQhost(way->pg), PQhostaddr(way->pg), PQport(way->pg)))
        return -1;
    PQfinish(way->pg);
    start(c);
    return 0;
}

static int ask(struct inbox__way *way)
{
    switch (PQconnectPoll(way->pg)) {
    case PGRES_POLLING_READING:
        way->events = POLLIN;
        break;
    case PGRES_POLLING_WRITING:
        way->events = POLLOUT;
        break;
    case PGRES_POLLING_OK:
        return 1;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: /* never returned */
        return -1;
    }
    note_address(way);
    return 0;
}

/* -- one step --------------------------------------------------------------------------------- */

/* Until then or `until_ms`; a signal ends it too. */
static bool is_ready(int fd, short events, uint64_t deadline_ms, uint64_t until_ms)
{
    struct pollfd p = { .fd = fd, .events = events };
    uint64_t now_ms = inbox__now_ms(), end_ms = deadline_ms < until_ms ? deadline_ms : until_ms;

    return fd < 0 || poll(&p, 1, end_ms > now_ms ? (int)(end_ms - now_ms) : 0) > 0;
}

static int look_up(struct inbox_consumer *c, uint64_t until_ms)
{
    struct lookup *l = &c->way->lookup;
    int rc;

    if (l->waiting) {
        (void)is_ready(outbox__lookup_fd(l), POLLIN, l->deadline_ms, until_ms);
        rc = outbox__lookup_step(l, inbox__now_ms());
    } else {
        rc = outbox__lookup_begin(l, c->set.dsn, inbox__now_ms(), LOOKUP_MS);
    }
    if (l->threadless)
        inbox__log(c, 4, "no thread can be had that looks up names; a stop is not heard while libpq looks them up");
    return rc;
}

static int step(struct inbox_consumer *c, uint64_t until_ms)
{
    struct inbox__way *way = c->way;

    if (way->pg == NULL) {
        int rc = look_up(c, until_ms);
        if (rc <= 0)
            return rc;
        start(c);
    }
    if (way->pg == NULL || PQstatus(way->pg) == CONNECTION_BAD)
        return -1;
    /* libpq would wait in PQconnectPoll if it were called before its socket is ready. */
    if (is_ready(PQsocket(way->pg), way->events, way->deadline_ms, until_ms))
        return ask(way);
    return inbox__now_ms() >= way->deadline_ms ? start_with_what_is_left(c) : 0;
}

/* Hosts without an address were not tried, and late ones are not in libpq's words: each is a part of it. */
static void say_why(struct inbox__way *way, char *why, size_t size)
{
    const char *missing = way->lookup.missing, *late = way->late;
    char words[512] = "";

    if (late[0] == '\0' || PQstatus(way->pg) == CONNECTION_BAD)
        snprintf(words, sizeof words, "%s", way->pg != NULL ? PQerrorMessage(way->pg) : missing[0] != '\0' ? "" : "out of memory");
    outbox__hosts_name(&way->lookup.hosts, words, sizeof words);
    snprintf(why, size, "%s%s%s%s%s", missing, missing[0] != '\0' && late[0] != '\0' ? "; " : "", late,
             (missing[0] != '\0' || late[0] != '\0') && words[0] != '\0' ? "; " : "", words);
}

int inbox__way_go(struct inbox_consumer *c, PGconn **ret_conn, char *why, size_t size)
{
    uint64_t until_ms = inbox__now_ms() + INBOX__IDLE_MS;
    int rc;

    do
        rc = step(c, until_ms);
    while (rc == 0 && inbox__now_ms() < until_ms && atomic_load(&c->stop) == 0);
    if (rc > 0) {
        *ret_conn = c->way->pg;
        c->way->pg = NULL;
    } else if (rc < 0) {
        say_why(c->way, why, size);
    }
    if (rc != 0)
        inbox__way_leave(c);
    return rc;
}
