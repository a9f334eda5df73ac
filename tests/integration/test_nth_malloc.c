/* test_nth_malloc.c - every n-th allocation fails in the library, on a real connection. In the relay:
 * test_nth_malloc_relay.c.
 *
 * The allocator is that of nth_malloc.h. A loop runs a piece of work with its first, second, ...
 * allocation failing until the work makes fewer than that, once with this one failing and once with
 * all from there on. Leaks are left to the sanitizer. Needs OUTBOX_TEST_DSN.
 */
#include <check.h>
#include <string.h>

#include "outbox.h"
#include "tests/integration/nth_malloc.h"
#include "tests/rig/rig.h"

enum { N_HEADERS = 60 };

static PGconn *conn, *control;
static outbox_event event;
static outbox_error err;
static outbox_header headers[N_HEADERS];

static void setup_library(void)
{
    static char value[100];

    memset(value, 'v', sizeof value - 1);
    for (size_t i = 0; i < N_HEADERS; i++)
        headers[i] = (outbox_header){ "a-header", value, sizeof value - 1 };
    conn = rig_connect();
    control = rig_connect();
    rig_exec(control, "truncate outbox.event, outbox.sent");
    event = (outbox_event)OUTBOX_EVENT_INIT;
    event.topic = "nth.malloc";
    event.type = "test";
    event.payload = "payload";
    event.payload_len = 7;
}

static void teardown_library(void)
{
    PQfinish(conn);
    PQfinish(control);
    conn = control = NULL;
}

/* More than fit into 2 KiB, so that the library itself allocates. */
static void use_long_headers(void)
{
    event.headers = headers;
    event.n_headers = N_HEADERS;
}

static int64_t stored(void)
{
    return rig_scalar_i64(control, "select count(*) from outbox.event");
}

/* What is tried: one of the ways to append, and how many events that is. */
static int (*append)(void);
static int64_t n_events;

static int append_single(void)
{
    return outbox_append(conn, &event, &err);
}

/* Two portions, so that memory runs out also when something is in the transaction already. */
static int append_array(void)
{
    static outbox_event events[5];
    static char payload[2200000];

    for (size_t i = 0; i < 5; i++) {
        events[i] = event;
        events[i].payload = payload;
        events[i].payload_len = i % 2 == 1 ? sizeof payload : 10;
        events[i].max_event_bytes = sizeof payload + 100000;
    }
    return outbox_append_many(conn, events, 5, &err);
}

static int append_sent(void)
{
    int code = outbox_append_send(conn, &event, &err);
    PGresult *result;

    if (code != OUTBOX_OK)
        return code;
    result = PQgetResult(conn);
    code = outbox_append_result(result, &err);
    while (result != NULL) {
        PQclear(result);
        result = PQgetResult(conn);
    }
    return code;
}

static void append_again(void)
{
    int code = append();

    ck_assert_msg(code == OUTBOX_OK, "again: code %d: %s", code, err.message);
}

static unsigned n_ran; /* refused with OUTBOX_EDB, yet the event was there */

static void reconnect(void)
{
    PQfinish(conn);
    conn = rig_connect();
}

/* What the header of the library promises for each code; afterwards the events are stored once. */
static void check_append(int code, unsigned n)
{
    int64_t before = stored();

    if (code != OUTBOX_OK) {
        ck_assert_int_eq(err.code, code);
        ck_assert_msg(err.message[0] != '\0', "allocation %u: no message", n);
    }
    switch (code) {
    case OUTBOX_OK:
        break;
    case OUTBOX_ENOMEM: /* untouched: go on in it */
        ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
        append_again();
        break;
    case OUTBOX_EDB: /* libpq's own failure: the event may be in the transaction, so roll back */
        ck_assert_str_eq(err.sqlstate, "");
        ck_assert((err.flags & OUTBOX_ERRF_RETRY_TXN) != 0);
        n_ran += PQtransactionStatus(conn) == PQTRANS_INTRANS &&
                 rig_scalar_i64(conn, "select count(*) from outbox.event") > before;
        ck_assert_msg(strstr(err.message, "roll back") != NULL, "allocation %u: %s", n,
                      err.message);
        ck_assert_int_eq((err.flags & OUTBOX_ERRF_TXN_ABORTED) != 0,
                         PQtransactionStatus(conn) == PQTRANS_INERROR);
        rig_exec(conn, "rollback");
        ck_assert_int_eq(stored(), before);
        rig_exec(conn, "begin");
        append_again();
        break;
    case OUTBOX_ELINK:
        ck_assert_uint_eq(err.flags, OUTBOX_ERRF_LINK_LOST);
        reconnect();
        ck_assert_int_eq(stored(), before);
        rig_exec(conn, "begin");
        append_again();
        break;
    default:
        ck_abort_msg("allocation %u: code %d: %s", n, code, err.message);
    }
    rig_exec(conn, "commit");
    ck_assert_int_eq(stored(), before + n_events);
}

static unsigned append_loop(enum mode how, int (*what)(void), int64_t n_of_it)
{
    append = what;
    n_events = n_of_it;
    for (unsigned n = 1;; n++) {
        err = (outbox_error)OUTBOX_ERROR_INIT;
        reconnect();
        rig_exec(conn, "begin");
        arm(how, n);
        int code = append();
        bool failed = disarm();
        if (!failed) {
            ck_assert_int_eq(code, OUTBOX_OK);
            return n;
        }
        check_append(code, n);
    }
}

START_TEST(append_survives_each_failing_allocation)
{
    unsigned n_short = append_loop((enum mode)_i, append_single, 1);

    use_long_headers();
    ck_assert_uint_gt(append_loop((enum mode)_i, append_single, 1), n_short);
    ck_assert_uint_gt(n_ran, 0); /* or the rule for OUTBOX_EDB is no longer needed */
}
END_TEST

START_TEST(append_many_survives_each_failing_allocation)
{
    use_long_headers();
    ck_assert_uint_gt(append_loop((enum mode)_i, append_array, 5), 20);
}
END_TEST

START_TEST(append_send_survives_each_failing_allocation)
{
    use_long_headers();
    ck_assert_uint_gt(append_loop((enum mode)_i, append_sent, 1), 3);
}
END_TEST

/* In pipeline mode a failure of memory is met by closing the connection: what is queued is not known. */
static bool pipeline_once(enum mode how, unsigned n)
{
    int64_t before = stored();
    int code;
    bool failed;

    err = (outbox_error)OUTBOX_ERROR_INIT;
    reconnect();
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
    ck_assert_int_eq(PQsendQueryParams(conn, "begin", 0, NULL, NULL, NULL, NULL, 0), 1);
    arm(how, n);
    code = outbox_append_send(conn, &event, &err);
    failed = disarm();
    ck_assert_msg(code == OUTBOX_OK || (failed && (code == OUTBOX_ENOMEM || code == OUTBOX_EDB)),
                  "allocation %u: code %d: %s", n, code, err.message);
    if (code == OUTBOX_EDB) {
        ck_assert_uint_eq(err.flags, OUTBOX_ERRF_RETRY_TXN);
        ck_assert_msg(strstr(err.message, "libpq failed while sending the event: ") == err.message &&
                          strstr(err.message, "could not be sent: roll back") != NULL,
                      "%s", err.message);
    }
    if (code != OUTBOX_OK)
        ck_assert_int_eq(outbox_append_send(conn, &event, &err), OUTBOX_OK); /* with memory */
    reconnect();
    ck_assert_int_eq(stored(), before);
    return failed;
}

START_TEST(append_send_in_a_pipeline_survives_each_failing_allocation)
{
    unsigned n = 1;

    use_long_headers();
    while (pipeline_once((enum mode)_i, n))
        n++;
    ck_assert_uint_gt(n, 2);
}
END_TEST

/* Nothing is written here, so the transaction holds what it held before. */
static void asking_loop(enum mode how, bool in_transaction, int (*ask)(PGconn *, outbox_error *))
{
    for (unsigned n = 1;; n++) {
        err = (outbox_error)OUTBOX_ERROR_INIT;
        reconnect();
        if (in_transaction)
            rig_exec(conn, "begin");
        arm(how, n);
        int code = ask(conn, &err);
        bool failed = disarm();
        if (!failed) {
            ck_assert_int_eq(code, OUTBOX_OK);
            ck_assert_uint_gt(n, 1);
            return;
        }
        ck_assert_msg(code == OUTBOX_OK || code == OUTBOX_EDB || code == OUTBOX_ELINK,
                      "allocation %u: code %d: %s", n, code, err.message);
        if (code != OUTBOX_OK)
            ck_assert_msg(err.code == code && err.message[0] != '\0', "allocation %u", n);
        if (code == OUTBOX_ELINK)
            reconnect();
        else if (in_transaction)
            rig_exec(conn, (err.flags & OUTBOX_ERRF_TXN_ABORTED) ? "rollback" : "commit");
        ck_assert_msg(ask(conn, &err) == OUTBOX_OK, "again after %u: %s", n,
                      err.message);
    }
}

START_TEST(check_schema_survives_each_failing_allocation)
{
    asking_loop((enum mode)_i, false, outbox_check_schema);
    asking_loop((enum mode)_i, true, outbox_check_schema);
}
END_TEST

START_TEST(prepare_survives_each_failing_allocation)
{
    asking_loop((enum mode)_i, false, outbox_prepare);
    asking_loop((enum mode)_i, true, outbox_prepare);
}
END_TEST

START_TEST(an_event_id_needs_no_memory)
{
    char id[37];

    arm(ALL_FAIL_FROM_THERE_ON, 1);
    int code = outbox_event_id_new(id);
    ck_assert(!disarm());
    ck_assert_int_eq(code, OUTBOX_OK);
}
END_TEST

Suite *suite_nth_malloc(void);

Suite *suite_nth_malloc(void)
{
    Suite *suite = suite_create("nth_malloc");
    TCase *library = tcase_create("library");

    tcase_add_checked_fixture(library, setup_library, teardown_library);
    tcase_add_loop_test(library, append_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_loop_test(library, append_many_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_loop_test(library, append_send_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_loop_test(library, append_send_in_a_pipeline_survives_each_failing_allocation, 0,
                        N_MODES);
    tcase_add_loop_test(library, check_schema_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_loop_test(library, prepare_survives_each_failing_allocation, 0, N_MODES);
    tcase_add_test(library, an_event_id_needs_no_memory);
    suite_add_tcase(suite, library);
    return suite;
}
