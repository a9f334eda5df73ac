/* test_setup.c - a server with which no relay may begin, as a source finds it when it connects. What a script can come
 * by is in relay_cli.sh. See sources.h.
 */
#include "tests/integration/sources.h"

#include <libpq-fe.h>

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

Suite *suite_setup(void);

Suite *suite_setup(void)
{
    Suite *suite = suite_create("setup");
    TCase *tc = rig_case(suite, "servers", NULL, NULL);

    tcase_add_test(tc, a_pooler_is_refused);
    return suite;
}
