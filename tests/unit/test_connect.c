/* test_connect.c - what helps when a server has refused a connection, by the words in which it did so. */
#include <check.h>
#include <string.h>

#include "relay/source/connect.h"

#define AT "connection to server at \"db\" (10.0.0.1), port 5432 failed: "

static void mended_by(const char *words, const char *remedy)
{
    const char *said = connect_remedy(words);

    ck_assert_ptr_nonnull(said);
    ck_assert_msg(strstr(said, remedy) != NULL, "%s: %s", words, said);
}

START_TEST(each_refusal_has_its_remedy)
{
    mended_by(AT "FATAL:  password authentication failed for user \"relay\"", "password of the setting dsn");
    mended_by("FATAL:  Peer authentication failed for user \"relay\"", "correct user and password");
    mended_by(AT "fe_sendauth: no password supplied", "asks for a password");
    mended_by(AT "FATAL:  no pg_hba.conf entry for host \"10.0.0.2\", user \"relay\", database \"shop\", no encryption",
              "allow this role, database and address");
    mended_by(AT "FATAL:  role \"relay\" does not exist", "correct user ");
    mended_by(AT "FATAL:  role \"relay\" is not permitted to log in", "LOGIN");
    mended_by(AT "FATAL:  database \"shop\" does not exist", "correct dbname");
    mended_by(AT "FATAL:  permission denied for database \"shop\" DETAIL:  User does not have CONNECT privilege",
              "GRANT CONNECT");
    mended_by(AT "FATAL:  too many connections for role \"relay\"", "needs three connections");
    mended_by(AT "FATAL:  too many connections for database \"shop\"", "needs three connections");
    mended_by(AT "FATAL:  sorry, too many clients already", "needs three connections");
    mended_by(AT "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "needs three connections");
    mended_by(AT "session is read-only", "let the dsn name the primary, or all servers; where none of them is a primary, promote a standby or bring the primary back");
    mended_by(AT "server is in hot standby mode", "default_transaction_read_only to off");
}
END_TEST

START_TEST(what_is_no_refusal_of_that_kind_has_none)
{
    ck_assert_ptr_null(connect_remedy(""));
    ck_assert_ptr_null(connect_remedy(AT "Connection refused"));
    ck_assert_ptr_null(connect_remedy("could not translate host name \"role\" to address: Name or service not known"));
    ck_assert_ptr_null(connect_remedy(AT "FATAL:  the database system is starting up"));
    ck_assert_ptr_null(connect_remedy(AT "FATAL:  database \"shop\" is not currently accepting connections"));
}
END_TEST

Suite *suite_connect(void);

Suite *suite_connect(void)
{
    Suite *s = suite_create("connect");
    TCase *tc = tcase_create("remedies");

    tcase_add_test(tc, each_refusal_has_its_remedy);
    tcase_add_test(tc, what_is_no_refusal_of_that_kind_has_none);
    suite_add_tcase(s, tc);
    return s;
}
