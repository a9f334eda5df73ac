/* test_check_schema.c - outbox_check_schema() against a real PostgreSQL, and databases whose schema is missing, old or
 * too new. See appends.h. */
#include "tests/integration/appends.h"

#include <unistd.h>

static PGconn *scratch;
static char scratch_name[40];

/* A database without the schema, for the states that the real one is not in. */
static void setup_scratch(void)
{
    setup();
    snprintf(scratch_name, sizeof(scratch_name), "outbox_scratch_%d", (int)getpid());
    rig_execf(control, "create database %s", scratch_name);
    scratch = connect_to(scratch_name);
}

static void teardown_scratch(void)
{
    PQfinish(scratch);
    rig_execf(control, "drop database %s", scratch_name);
    teardown();
}

/* As far as the check looks. */
#define EVENT_TABLE \
    "create table outbox.event (topic text, key bytea, type text, schema_version int," \
    " content_type text, payload bytea, headers json, event_id uuid, available_at timestamptz);"
#define PROCEDURE \
    "create procedure outbox.append_event(text, bytea, text, int, text, bytea, json, uuid, timestamptz)" \
    " language sql as '';"

/* Inside of a transaction, which stays usable, and outside of one. */
static void expect_schema(int code, const char *words)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    rig_exec(scratch, "begin; create temp table witness (n integer) on commit drop");
    ck_assert_int_eq(outbox_check_schema(scratch, &err), code);
    ck_assert_int_eq(err.code, code);
    ck_assert_uint_eq(err.flags, 0);
    expect_words(words);
    ck_assert_int_eq(PQtransactionStatus(scratch), PQTRANS_INTRANS);
    rig_exec(scratch, "insert into witness values (1); commit");
    ck_assert_int_eq(outbox_check_schema(scratch, &err), code);
    ck_assert_int_eq(outbox_check_schema(scratch, NULL), code);
    ck_assert_int_eq(PQtransactionStatus(scratch), PQTRANS_IDLE);
}

START_TEST(check_schema_accepts_the_real_one)
{
    ck_assert_int_eq(outbox_check_schema(conn, &err), OUTBOX_OK);
    rig_exec(conn, "begin");
    ck_assert_int_eq(outbox_check_schema(conn, &err), OUTBOX_OK);
    event.topic = "checked";
    append_ok();
    rig_exec(conn, "commit");
    expect_rows("checked", 1);
    expect_code(outbox_check_schema(NULL, &err), OUTBOX_EINVAL, 0);
}
END_TEST

START_TEST(check_schema_refuses_in_a_failed_transaction)
{
    rig_exec(conn, "begin");
    ck_assert_str_eq(rig_sqlstate(conn, "select 1 / 0"), "22012");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EABORTED, ABORTED);
}
END_TEST

START_TEST(check_schema_tells_each_state_apart)
{
    expect_schema(OUTBOX_ESCHEMA, "schema outbox does not exist");
    rig_exec(scratch, "create schema outbox");
    expect_schema(OUTBOX_ESCHEMA, "table outbox.schema_version does not exist");
    rig_exec(scratch, "create table outbox.schema_version (version integer, min_relay text,"
                      " breaking boolean not null, applied_at timestamptz default now())");
    expect_schema(OUTBOX_ESCHEMA, "too old");
    rig_exec(scratch, "insert into outbox.schema_version values (1, '0.1.0', true)");
    expect_schema(OUTBOX_ESCHEMA, "table outbox.event does not exist");
    rig_exec(scratch, EVENT_TABLE);
    expect_schema(OUTBOX_ESCHEMA, "procedure outbox.append_event does not exist");
    rig_exec(scratch, PROCEDURE);
    expect_schema(OUTBOX_OK, "");
    rig_exec(scratch, "insert into outbox.schema_version values (2, '0.1.0', false)");
    expect_schema(OUTBOX_OK, "");
    rig_exec(scratch, "insert into outbox.schema_version values (3, '0.3.0', true)");
    expect_schema(OUTBOX_ESCHEMA, "version 3, too new");
    rig_exec(scratch, "insert into outbox.schema_version values (4, '0.3.0', false)");
    expect_schema(OUTBOX_ESCHEMA, "version 4, too new"); /* a harmless one does not undo it */
}
END_TEST

START_TEST(check_schema_ignores_the_search_path)
{
    rig_exec(scratch,
             "create schema evil;"
             "create function evil.no(name, name) returns boolean language sql as 'select false';"
             "create function evil.no(oid, oid) returns boolean language sql as 'select false';"
             "create function evil.yes(integer, integer) returns boolean language sql"
             " as 'select true';"
             "create operator evil.= (leftarg = name, rightarg = name, function = evil.no);"
             "create operator evil.= (leftarg = oid, rightarg = oid, function = evil.no);"
             "create operator evil.> (leftarg = integer, rightarg = integer, function = evil.yes);"
             "create aggregate evil.max(integer) (sfunc = int4smaller, stype = integer,"
             " initcond = 0); create schema outbox;"
             "create table outbox.schema_version (version integer, min_relay text,"
             " breaking boolean not null, applied_at timestamptz default now());"
             "insert into outbox.schema_version values (1, '0.1.0', true);" EVENT_TABLE PROCEDURE
             "create domain evil.text as integer;"
             "set search_path = evil, pg_catalog");
    expect_schema(OUTBOX_OK, "");
}
END_TEST

/* What the message says is done, and it is the cure. */
static void expect_grant(const char *grant)
{
    char role[64], words[300];

    snprintf(role, sizeof(role), "\"Shop %d\"", (int)getpid());
    snprintf(words, sizeof(words), "role %s may not append: GRANT %s TO %s; or GRANT outbox_writer TO %s,", role,
             grant, role, role);
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0);
    expect_words(words);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    rig_exec(conn, "reset role");
    rig_execf(conn, "grant %s to %s", grant, role);
    rig_execf(conn, "set role %s", role);
}

/* All of it in a transaction that is rolled back. */
START_TEST(check_schema_names_the_privilege_that_is_missing)
{
    rig_execf(conn, "begin; create role \"Shop %d\"; grant usage on schema outbox to \"Shop %d\";"
                    "grant select on outbox.schema_version to \"Shop %d\";"
                    "revoke execute on procedure outbox.append_event from public",
              (int)getpid(), (int)getpid(), (int)getpid());
    rig_execf(conn, "set role \"Shop %d\"", (int)getpid());
    expect_grant("INSERT (event_id, schema_version, topic, key, type, content_type, payload, headers, available_at)"
                 " ON outbox.event");
    expect_grant("EXECUTE ON PROCEDURE outbox.append_event");
    ck_assert_msg(outbox_check_schema(conn, &err) == OUTBOX_OK, "%s", err.message);
    event.topic = "granted";
    append_ok();
    rig_execf(conn, "reset role; revoke insert (headers, key) on outbox.event from \"Shop %d\"", (int)getpid());
    rig_execf(conn, "set role \"Shop %d\"", (int)getpid());
    expect_grant("INSERT (key, headers) ON outbox.event");
    ck_assert_msg(outbox_check_schema(conn, &err) == OUTBOX_OK, "%s", err.message);
    rig_exec(conn, "rollback");
}
END_TEST

/* Not that the schema is old. */
START_TEST(check_schema_tells_of_a_policy_that_hides_the_version)
{
    rig_exec(conn, "begin; alter table outbox.schema_version enable row level security; set local role outbox_writer");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0);
    expect_words("row-level security hides outbox.schema_version");
    rig_exec(conn, "rollback");
}
END_TEST

/* What cannot be appended there is told before the first append. */
START_TEST(check_schema_tells_of_transactions_that_only_read)
{
    static const char words[] = "begin it READ WRITE, or turn default_transaction_read_only off";

    event.topic = "read.only";
    rig_exec(conn, "begin read only");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0);
    expect_words(words);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    expect_code(outbox_append(conn, &event, &err), OUTBOX_EDB, ABORTED);
    ck_assert_str_eq(err.sqlstate, "25006");
    expect_words("the server or the transaction is read-only: connect to the primary server, or begin the transaction "
                 "READ WRITE (see default_transaction_read_only)");
    rig_exec(conn, "rollback");
    rig_exec(conn, "set default_transaction_read_only = on");
    expect_code(outbox_check_schema(conn, &err), OUTBOX_EDB, 0);
    expect_words(words);
    rig_exec(conn, "begin read write");
    ck_assert_msg(outbox_check_schema(conn, &err) == OUTBOX_OK, "%s", err.message);
    append_ok();
    rig_exec(conn, "rollback");
    rig_exec(conn, "reset default_transaction_read_only");
}
END_TEST

Suite *suite_check_schema(void);
Suite *suite_check_schema(void)
{
    Suite *suite = suite_create("check_schema");
    TCase *real = tcase_create("schema");
    TCase *states = tcase_create("schema states");

    tcase_add_checked_fixture(real, setup, teardown);
    tcase_add_test(real, check_schema_accepts_the_real_one);
    tcase_add_test(real, check_schema_refuses_in_a_failed_transaction);
    tcase_add_test(real, check_schema_names_the_privilege_that_is_missing);
    tcase_add_test(real, check_schema_tells_of_a_policy_that_hides_the_version);
    tcase_add_test(real, check_schema_tells_of_transactions_that_only_read);
    suite_add_tcase(suite, real);
    tcase_add_checked_fixture(states, setup_scratch, teardown_scratch);
    tcase_add_test(states, check_schema_tells_each_state_apart);
    tcase_add_test(states, check_schema_ignores_the_search_path);
    suite_add_tcase(suite, states);
    return suite;
}
