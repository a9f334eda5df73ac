/* test_append_encoding.c - text outside ASCII over connections, and to databases, of other encodings. See appends.h. */
#include "tests/integration/appends.h"
#include "tests/rig/fake.h"

static const char *encoding_of_database; /* NULL: as it is */

FAKE(const char *, PQparameterStatus, (const PGconn *of, const char *name))
{
    return encoding_of_database != NULL && strcmp(name, "server_encoding") == 0 ? encoding_of_database
                                                                               : __real_PQparameterStatus(of, name);
}

START_TEST(append_refuses_text_that_client_encoding_would_change)
{
    static const outbox_header header = { "n\xc3\xa4me", "\xe2\x82\xac", 3 };

    event.topic = "latin1";
    event.type = "caf\xc3\xa9";
    rig_exec(conn, "set client_encoding to 'LATIN1'; begin");
    refuse(OUTBOX_EINVAL, 0, "client_encoding is LATIN1");
    expect_words("SET client_encoding TO 'UTF8'");
    event.type = "cafe";
    event.content_type = "text/\xc3\xa9";
    refuse(OUTBOX_EINVAL, 0, "content_type");
    event.content_type = NULL;
    event.headers = &header; /* headers are sent as ASCII and may be anything */
    event.n_headers = 1;
    event.correlation_id = "\xf0\x9f\x98\x80";
    append_ok();
    rig_exec(conn, "commit; set client_encoding to 'SQL_ASCII'; begin");
    event.topic = "sql.ascii";
    event.type = "caf\xc3\xa9";
    append_ok();
    encoding_of_database = "LATIN1"; /* which takes the bytes for two characters */
    refuse(OUTBOX_EINVAL, 0, "client_encoding is SQL_ASCII and the database has LATIN1");
    encoding_of_database = "SQL_ASCII";
    append_ok();
    rig_exec(conn, "set client_encoding to 'UTF8'");
    encoding_of_database = "LATIN1";
    append_ok();
    encoding_of_database = NULL;
    rig_exec(conn, "commit");
    expect_scalar("select headers::jsonb from outbox.event where topic = 'latin1'",
                  "[[\"correlationid\", \"\xf0\x9f\x98\x80\"], [\"n\xc3\xa4me\", "
                  "\"\xe2\x82\xac\"]]");
    expect_scalar("select string_agg(type, ' ') from outbox.event where topic = 'sql.ascii'",
                  "caf\xc3\xa9 caf\xc3\xa9 caf\xc3\xa9");
}
END_TEST

Suite *suite_append_encoding(void);
Suite *suite_append_encoding(void)
{
    Suite *suite = suite_create("append_encoding");
    TCase *tcase = tcase_create("refused");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, append_refuses_text_that_client_encoding_would_change);
    suite_add_tcase(suite, tcase);
    return suite;
}
