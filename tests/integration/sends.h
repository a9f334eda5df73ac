/* sends.h - what the tests of pipelines and of prepared statements share: an append that is sent, and its result.
 * For files that include appends.h.
 */
#ifndef TESTS_INTEGRATION_SENDS_H
#define TESTS_INTEGRATION_SENDS_H

#include "tests/integration/appends.h"

static int send_event(void)
{
    err = (outbox_error)OUTBOX_ERROR_INIT;
    return outbox_append_send(conn, &event, &err);
}

/* The next one is an append's. */
static int append_result(void)
{
    PGresult *result = PQgetResult(conn);
    int code;

    err = (outbox_error)OUTBOX_ERROR_INIT;
    code = outbox_append_result(result, &err);
    PQclear(result);
    if (code != OUTBOX_ELINK)
        ck_assert_ptr_null(PQgetResult(conn));
    return code;
}

static void enter(void)
{
    ck_assert_int_eq(PQenterPipelineMode(conn), 1);
}

static void leave(void)
{
    ck_assert_msg(PQexitPipelineMode(conn) == 1, "%s", PQerrorMessage(conn));
}

#endif
