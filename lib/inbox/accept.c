/* accept.c - inbox_accept(): one event, in the caller's own transaction. */
#include <libpq-fe.h>
#include <stddef.h>
#include <string.h>

#include "db.h"
#include "lib/outbox/conn.h"
#include "lib/outbox/error.h"
#include "record.h"

/* The size that the struct had first: all that is read here is in it. A larger one than today's is of a header
 * that is newer than this library. */
#define MESSAGE_SIZE_1 (offsetof(inbox_message, internal) + sizeof(void *))

int inbox_accept(PGconn *conn, const char *consumer, const inbox_message *msg, outbox_error *err)
{
    char identity[INBOX__IDENTITY_SIZE];
    const char *values[] = { consumer, identity };
    PGresult *r;
    int code;

    if (conn == NULL || consumer == NULL || msg == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn, consumer or msg is NULL");
    if (msg->struct_size < MESSAGE_SIZE_1 || msg->struct_size > sizeof *msg)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "msg.struct_size is %zu, not %zu to %zu: start from "
                                 "INBOX_MESSAGE_INIT, with a header that is not newer than the "
                                 "library (%s)", msg->struct_size, MESSAGE_SIZE_1, sizeof *msg,
                                 OUTBOX_VERSION_STRING);
    if (msg->topic == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "msg.topic is NULL");
    if (consumer[0] == '\0' || strlen(consumer) > INBOX_MAX_GROUP_BYTES)
        return outbox__error_set(err, OUTBOX_EINVAL, "consumer may have 1 to %d bytes",
                                 INBOX_MAX_GROUP_BYTES);
    if (msg->topic[0] == '\0' || strlen(msg->topic) > OUTBOX_MAX_TOPIC_BYTES)
        return outbox__error_set(err, OUTBOX_EINVAL, "msg->topic may have 1 to %d bytes",
                                 OUTBOX_MAX_TOPIC_BYTES);
    code = outbox__conn_check(conn, OUTBOX__IN_TRANSACTION, err);
    if (code != OUTBOX_OK)
        return code;
    (void)inbox__identity(msg, identity);
    r = PQexecParams(conn, "SELECT inbox.accept($1, $2)", 2, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(r) == PGRES_TUPLES_OK)
        code = strcmp(PQgetvalue(r, 0, 0), "t") == 0 ? INBOX_NEW : INBOX_DUPLICATE;
    else
        code = inbox__db_failed(conn, r, "taking the event", err);
    PQclear(r);
    return code;
}
