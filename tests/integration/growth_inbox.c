/* growth_inbox.c - a program of growth.sh's that hands libinbox each struct that may grow: takes an event twice, and
 * reads a consumer's figures. What stands behind a struct is not the library's.
 *
 *   growth_inbox DSN ID
 */
#include <inbox.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

static outbox_error err = OUTBOX_ERROR_INIT;

/* INBOX_NEW, INBOX_DUPLICATE, or a negative code. */
static int take(PGconn *conn, const char *id)
{
    const outbox_header headers[] = { { "ce_id", id, strlen(id) }, { "ce_source", "growth", 6 } };
    const inbox_message init = INBOX_MESSAGE_INIT;
    struct {
        inbox_message msg;
        unsigned char behind[64];
    } m;

    memset(&m, 0xff, sizeof m);
    m.msg = init;
    m.msg.topic = "t";
    m.msg.headers = headers;
    m.msg.n_headers = 2;
    inbox_message_from_headers(&m.msg);
    return inbox_accept(conn, "growth", &m.msg, &err);
}

static int take_twice(const char *dsn, const char *id)
{
    PGconn *conn = PQconnectdb(dsn);
    int first, second;

    PQclear(PQexec(conn, "BEGIN"));
    first = take(conn, id);
    second = first == INBOX_NEW ? take(conn, id) : first;
    PQclear(PQexec(conn, "COMMIT"));
    PQfinish(conn);
    return first == INBOX_NEW && second == INBOX_DUPLICATE;
}

static int read_figures(const char *dsn)
{
    const char *settings[] = { "dsn", dsn, "group", "growth", "topics", "t",
                               "kafka.bootstrap.servers", "127.0.0.1:1", NULL };
    const inbox_stats init = INBOX_STATS_INIT;
    inbox_consumer *c = NULL;
    struct {
        inbox_stats stats;
        unsigned char behind[64];
    } s;

    if (inbox_consumer_new(settings, &c, &err) != OUTBOX_OK)
        return 0;
    memset(&s, 0x5a, sizeof s);
    s.stats = init;
    s.stats.received = 1; /* not what the library says */
    inbox_consumer_stats(c, &s.stats);
    inbox_consumer_free(c);
    if (s.stats.struct_size != sizeof s.stats || s.stats.received != 0)
        return fputs("the figures are untouched\n", stderr), 0;
    for (size_t i = 0; i < sizeof s.behind; i++)
        if (s.behind[i] != 0x5a)
            return fputs("the library wrote behind the figures\n", stderr), 0;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 64;
    if (take_twice(argv[1], argv[2]) && read_figures(argv[1]))
        return 0;
    fprintf(stderr, "growth_inbox: %s\n", err.message);
    return 1;
}
