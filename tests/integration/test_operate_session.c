/* test_operate_session.c - the session of the commands: which limits of the database it has taken away.
 *
 * Needs OUTBOX_TEST_DSN: a superuser's conninfo of a database of its own with the schema applied.
 */
#include <check.h>
#include <stdio.h>

#include "relay/exit_codes.h"
#include "relay/source/operate_inside.h"
#include "tests/rig/rig.h"

static struct operate *op;

/* What stands in the dsn counts like a default of the database. */
static void begin(void)
{
    static char dsn[1000];
    PGconn *db = rig_connect();
    bool new_enough = PQserverVersion(db) >= 140000;

    PQfinish(db);
    (void)snprintf(dsn, sizeof dsn, "%s options='%s-c idle_in_transaction_session_timeout=1h'", rig_dsn(),
                   new_enough ? "-c idle_session_timeout=1h " : "");
    op = operate_new(&(struct operate_options){ .dsn = dsn, .statement_timeout_ms = RIG_DEADLINE_MS });
    ck_assert_ptr_nonnull(op);
}

static void end(void)
{
    operate_free(op);
}

START_TEST(session_that_waits_is_not_ended)
{
    PGresult *res = NULL;
    int code = operate_connect(op);

    ck_assert_msg(code == EXIT_OK, "%s", operate_error(op));
    code = operate_run_text(op, "select count(*), max(setting) from pg_settings where name in "
                                "('idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')",
                            &res);
    ck_assert_msg(code == EXIT_OK, "%s", operate_error(op));
    ck_assert_int_ge(operate_number(res, 0, 0), 1);
    ck_assert_str_eq(operate_text(res, 0, 1), "0");
    PQclear(res);
}
END_TEST

Suite *suite_operate_session(void);

Suite *suite_operate_session(void)
{
    Suite *suite = suite_create("operate_session");
    TCase *tc = rig_case(suite, "session", begin, end);

    tcase_add_test(tc, session_that_waits_is_not_ended);
    return suite;
}
