/* test_inbox_link.c - libinbox on its way to a link: a server that takes connections and never answers, one whose
 * connections are not taken at all, name servers that say nothing. Meanwhile a stop is heard and Kafka is polled, and
 * each address has its time, whatever the dsn says. Needs OUTBOX_TEST_DSN.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/inbox_log.h"
#include "tests/integration/inbox_run.h"
#include "tests/rig/name_servers.h"

enum { STOP_MS = 2000, ASKED = 3 };

static const struct logged none[N_PARTITIONS][MOST_RECORDS + 1];

/* -- servers ---------------------------------------------------------------------------------- */

static int listener, filler[16], peer; /* -1: none */
static unsigned port;

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

/* It takes connections and never answers. */
static void listen_mute(int backlog)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;

    listener = new_socket();
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, len), 0);
    ck_assert_int_eq(listen(listener, backlog), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    port = ntohs(in.sin_port);
}

/* Linux drops the SYNs of a listener whose queue is full. */
static void listen_full(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct pollfd p = { .events = POLLOUT };
    size_t n = 0;

    listen_mute(0);
    in.sin_port = htons((uint16_t)port);
    do {
        ck_assert_uint_lt(n, sizeof filler / sizeof filler[0]);
        p.fd = filler[n++] = new_socket();
        (void)connect(p.fd, (struct sockaddr *)&in, sizeof in);
    } while (poll(&p, 1, 100) == 1);
}

/* Has somebody connected, and was he taken? */
static bool is_taken(void)
{
    if (peer < 0)
        peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    return peer >= 0;
}

/* Does somebody else than the last filler wait to be taken? */
static bool is_waiting(void)
{
    char line[300], to[40];
    unsigned n = 0;
    FILE *f = fopen("/proc/self/net/tcp", "re");

    ck_assert_ptr_nonnull(f);
    snprintf(to, sizeof to, " 0100007F:%04X 02 ", port); /* SYN_SENT */
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, to) != NULL;
    fclose(f);
    return n > 1;
}

static bool is_asked(void)
{
    pthread_mutex_lock(&lock);
    bool asked = n_asked > 0;
    pthread_mutex_unlock(&lock);
    return asked;
}

/* -- a run ------------------------------------------------------------------------------------ */

static char dsn[600];
static bool (*is_under_way)(void);
static int64_t stopped_ms; /* 0: not yet */
static unsigned n_then;    /* polls since it is under way */

static int64_t real_ms(void)
{
    return rig_now_ms() - 1000 * skipped_s;
}

static void stop_under_way(void)
{
    count_polls();
    if (stopped_ms == 0 && is_under_way() && ++n_then > ASKED) {
        inbox_consumer_stop(c);
        stopped_ms = real_ms();
    }
}

__attribute__((format(printf, 1, 2))) static void run_with(const char *format, ...)
{
    va_list args;
    size_t n = (size_t)snprintf(dsn, sizeof dsn, "%s ", rig_dsn());

    va_start(args, format);
    (void)vsnprintf(dsn + n, sizeof dsn - n, format, args);
    va_end(args);
    in_log = none;
    new_consumer_of(dsn, "3", "15m");
    run();
}

static void expect_heard(bool (*under_way)(void), const char *timeout)
{
    is_under_way = under_way;
    at_poll = stop_under_way;
    run_with("host=%s port=%u connect_timeout=%s", under_way == is_asked ? "db.mute" : "127.0.0.1", port, timeout);
    ck_assert_int_ne(stopped_ms, 0);
    ck_assert_int_lt(real_ms() - stopped_ms, STOP_MS);
    ck_assert_int_eq(n_joins, 0);
}

/* Until the log says why there is no link. */
static void stop_when_told(void)
{
    count_polls();
    if (strstr(said, "no link to the database") != NULL)
        inbox_consumer_stop(c);
}

/* As if a minute had passed. */
static void skip_when_taken(void)
{
    stop_when_told();
    if (is_taken() && n_then++ == 0)
        skipped_s += 61;
}

static void expect_told(const char *what)
{
    ck_assert_msg(strstr(said, what) != NULL, "%s is not in: %s", what, said);
}

static void set_up(void)
{
    setup();
    listener = peer = -1;
    for (size_t i = 0; i < sizeof filler / sizeof filler[0]; i++)
        filler[i] = -1;
    stopped_ms = 0;
    n_then = n_joins = n_asked = 0;
    said[0] = '\0';
    mute = true;
    no_thread = false;
    found[0] = "127.0.0.1";
    found[1] = NULL;
    at_poll = stop_when_told;
}

static void close_one(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void tear_down(void)
{
    close_one(listener);
    close_one(peer);
    for (size_t i = 0; i < sizeof filler / sizeof filler[0]; i++)
        close_one(filler[i]);
    answer_all();
    teardown();
}

START_TEST(stop_is_heard_while_a_server_says_nothing)
{
    static const char *const timeout[] = { "0", "600" };

    listen_mute(5);
    expect_heard(is_taken, timeout[_i]);
}
END_TEST

START_TEST(stop_is_heard_while_no_connection_is_taken)
{
    listen_full();
    expect_heard(is_waiting, "0");
}
END_TEST

START_TEST(stop_is_heard_while_name_servers_are_mute)
{
    listen_mute(5);
    expect_heard(is_asked, "0");
}
END_TEST

START_TEST(name_that_is_found_later_is_used)
{
    listen_mute(5);
    expect_heard(is_asked, "0");
    stopped_ms = n_then = 0;
    mute = false;
    expect_heard(is_taken, "0");
}
END_TEST

START_TEST(without_a_thread_libpq_looks_up)
{
    no_thread = true;
    run_with("host=no-such-host.invalid");
    expect_told("no-such-host.invalid");
}
END_TEST

START_TEST(name_that_is_not_known_is_told)
{
    run_with("host=db.gone");
    expect_told("could not translate host name \"db.gone\" to address: Name or service not known");
}
END_TEST

START_TEST(server_that_says_nothing_has_the_time_of_the_dsn)
{
    listen_mute(5);
    run_with("host=127.0.0.1 port=%u connect_timeout=1", port);
    expect_told("no answer from 127.0.0.1 (127.0.0.1)");
    expect_told("within 1 s");
}
END_TEST

START_TEST(and_a_minute_where_the_dsn_gives_it_all_the_time)
{
    listen_mute(5);
    at_poll = skip_when_taken;
    run_with("host=127.0.0.1 port=%u connect_timeout=0", port);
    expect_told("within 60 s");
}
END_TEST

/* The third, since the second one refuses. */
START_TEST(next_server_is_tried_behind_one_that_is_late)
{
    if (_i == 0)
        listen_mute(5);
    else
        listen_full();
    run_with("host=127.0.0.1,127.0.0.1,%s port=%u,1,%s connect_timeout=1", PQhost(control), port, PQport(control));
    ck_assert_int_eq(n_joins, 1);
}
END_TEST

Suite *suite_inbox_link(void);

Suite *suite_inbox_link(void)
{
    Suite *suite = suite_create("inbox_link");
    TCase *tc = tcase_create("the way to a link");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, stop_is_heard_while_a_server_says_nothing, 0, 2);
    tcase_add_test(tc, stop_is_heard_while_no_connection_is_taken);
    tcase_add_test(tc, stop_is_heard_while_name_servers_are_mute);
    tcase_add_test(tc, name_that_is_found_later_is_used);
    tcase_add_test(tc, without_a_thread_libpq_looks_up);
    tcase_add_test(tc, name_that_is_not_known_is_told);
    tcase_add_test(tc, server_that_says_nothing_has_the_time_of_the_dsn);
    tcase_add_test(tc, and_a_minute_where_the_dsn_gives_it_all_the_time);
    tcase_add_loop_test(tc, next_server_is_tried_behind_one_that_is_late, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
