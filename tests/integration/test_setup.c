/* test_setup.c - a server with which no relay may begin, or that says nothing, as a source finds it. What a script can come
 * by is in relay_cli.sh. See sources.h.
 */
#include "tests/integration/sources.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/exit_codes.h"
#include "tests/rig/fake.h"

static int pooler; /* what it adds to the process ids of the server */

FAKE_WHEN(int, PQbackendPID, (const PGconn *c), (c), pooler != 0, pooler + __real_PQbackendPID(c))

/* It would be another session of the server for each transaction: no lock and no setting would be ours. */
START_TEST(a_pooler_is_refused)
{
    struct source_config cfg = sources_config();
    struct source_event e;

    pooler = 1;
    rig_stderr_keep();
    struct source *s = sources_new(&cfg);
    sources_next(s, &e, SOURCE_REFUSED);
    pooler = 0;
    ck_assert_int_eq(e.type, SOURCE_REFUSED);
    ck_assert_int_eq(e.exit_code, EXIT_CONFIGURATION);
    source_free(s);
    ck_assert_uint_eq(rig_stderr_lines("the relay is connected through a pooler\" component=source remedy=\"let the dsn name "
                                       "PostgreSQL itself"), 1);
    rig_stderr_release();
}
END_TEST

/* It takes connections and never answers, as a primary that stands still. */
static int listen_mute(unsigned *ret_port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, len), 0);
    ck_assert_int_eq(listen(fd, 100), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

/* The third, since the second one refuses. */
START_TEST(next_server_is_asked_behind_one_that_says_nothing)
{
    PGconn *db = rig_connect();
    struct source_config cfg = sources_config();
    struct source_event e;
    char dsn[1000];
    unsigned port;
    int mute = listen_mute(&port), n_down = 0;

    snprintf(dsn, sizeof dsn, "%s host=127.0.0.1,127.0.0.1,%s port=%u,1,%s", cfg.dsn, PQhost(db), port, PQport(db));
    cfg.dsn = dsn;
    cfg.statement_timeout_ms = 500;
    rig_stderr_keep();
    struct source *s = sources_new(&cfg);
    do
        sources_next(s, &e, SOURCE_UP);
    while (e.type == SOURCE_DOWN && ++n_down < 20);
    ck_assert_int_eq(e.type, SOURCE_UP);
    ck_assert_int_ge(n_down, 1);
    source_free(s);
    close(mute);
    PQfinish(db);
    rig_stderr_release();
}
END_TEST

/* As after SIGHUP: nobody should have to restart the relay for a pause that he has made shorter. */
START_TEST(pause_before_the_next_try_is_cut_by_a_shorter_one)
{
    struct source_config cfg = sources_config();
    struct source_event e;

    cfg.dsn = "host=127.0.0.1 port=1 dbname=nothing";
    cfg.retry_base_ms = cfg.retry_max_ms = 3600000;
    rig_stderr_keep();
    struct source *s = sources_new(&cfg);
    sources_next(s, &e, SOURCE_DOWN);
    rig_stderr_release();
    ck_assert_int_eq(e.type, SOURCE_DOWN);
    ck_assert_uint_gt(source_next_attempt(s), now() + 600000);
    source_configure(s, now(), 10, 100);
    ck_assert_uint_le(source_next_attempt(s), now() + 100);
    source_free(s);
}
END_TEST

Suite *suite_setup(void);

Suite *suite_setup(void)
{
    Suite *suite = suite_create("setup");
    TCase *tc = rig_case(suite, "servers", NULL, NULL);

    tcase_add_test(tc, a_pooler_is_refused);
    tcase_add_test(tc, next_server_is_asked_behind_one_that_says_nothing);
    tcase_add_test(tc, pause_before_the_next_try_is_cut_by_a_shorter_one);
    return suite;
}
