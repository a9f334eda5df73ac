/* error.c - codes to text, SQLSTATE to code and flags, and the caller's outbox_error.
 *
 * What an SQLSTATE means to who appends stands in one table here and nowhere else. Decisions are never made
 * on message text, which the server translates. The remedies of libinbox (lib/inbox/db.c) and of the relay name
 * other roles and migrations. A full disk (53100) has none here: the server's words say it, to a program that can
 * only give up its transaction.
 */
#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

#define RETRY (OUTBOX_ERRF_RETRY_TXN | OUTBOX_ERRF_TXN_ABORTED)
#define APPLY_SCHEMA "apply sql/001_outbox.up.sql to this database"

/* First match counts; an entry is a whole SQLSTATE or the beginning of one. */
static const struct {
    char prefix[6];
    struct outbox__verdict verdict;
} sqlstate_map[] = {
    { "40", { OUTBOX_EDB, RETRY, NULL } },    /* serialization failure 40001, deadlock 40P01 */
    { "55P03", { OUTBOX_EDB, RETRY, NULL } }, /* lock timeout: DDL or a lock that will pass */
    { "25P02", { OUTBOX_EABORTED, OUTBOX_ERRF_TXN_ABORTED, NULL } },
    { "25P03", { OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, NULL } }, /* idle in transaction too long */
    { "25P04", { OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, NULL } }, /* transaction too long */
    { "08", { OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, NULL } },    /* connection exception */
    { "57P0", { OUTBOX_ELINK, OUTBOX_ERRF_LINK_LOST, NULL } },  /* shutdown, crash, drop database */
    { "3F000", { OUTBOX_ESCHEMA, 0, APPLY_SCHEMA } },           /* no such schema */
    { "42P01", { OUTBOX_ESCHEMA, 0, APPLY_SCHEMA } },           /* no such table */
    { "42703", { OUTBOX_ESCHEMA, 0, APPLY_SCHEMA } },           /* no such column */
    { "42883", { OUTBOX_ESCHEMA, 0, APPLY_SCHEMA } },           /* no such function */
    { "26000", { OUTBOX_EDB, 0, "call outbox_prepare() on this connection first, and behind a "
                               "transaction pooler do without OUTBOX_APPEND_PREPARED" } },
    { "25006", { OUTBOX_EDB, 0, OUTBOX__READ_ONLY } },
    { "42501", { OUTBOX_EDB, 0, "grant this role outbox_writer, see sql/roles.sql; or, where row-level security is enabled "
                               "for outbox.event, have a policy admit its events" } },
};

struct outbox__verdict outbox__error_classify(const char *sqlstate)
{
    static const struct outbox__verdict other = { OUTBOX_EDB, 0, NULL };
    size_t n = sizeof(sqlstate_map) / sizeof(sqlstate_map[0]);

    for (size_t i = 0; sqlstate != NULL && i < n; i++) {
        const char *prefix = sqlstate_map[i].prefix;

        if (strncmp(sqlstate, prefix, strlen(prefix)) == 0)
            return sqlstate_map[i].verdict;
    }
    return other;
}

/* The struct before event_index came, which is where programs stand that were built then. */
struct error_1 {
    uint32_t struct_size;
    int32_t code;
    uint32_t flags;
    char sqlstate[6];
    char message[OUTBOX_ERROR_MESSAGE_SIZE];
};

static bool has_index(const outbox_error *err)
{
    return err->struct_size >= offsetof(outbox_error, event_index) + sizeof(err->event_index);
}

OUTBOX__PRINTF(5, 0)
static int fill(outbox_error *err, int code, uint32_t flags, const char *sqlstate,
                const char *format, va_list args)
{
    size_t len = 0;

    /* Smaller than the first version of the struct means: not initialised. Larger means: from a
     * newer header, whose further fields this library does not know and leaves alone. */
    if (err == NULL || err->struct_size < sizeof(struct error_1))
        return code;
    if (has_index(err))
        err->event_index = -1;
    err->code = code;
    err->flags = flags;
    while (sqlstate != NULL && len < sizeof(err->sqlstate) - 1 && sqlstate[len] != '\0') {
        err->sqlstate[len] = sqlstate[len];
        len++;
    }
    err->sqlstate[len] = '\0';
    if (vsnprintf(err->message, sizeof(err->message), format, args) < 0)
        snprintf(err->message, sizeof(err->message), "%s", outbox_strerror(code));
    return code;
}

int outbox__error_set(outbox_error *err, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, 0, NULL, format, args);
    va_end(args);
    return code;
}

int outbox__error_set_all(outbox_error *err, int code, uint32_t flags, const char *sqlstate,
                          const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, flags, sqlstate, format, args);
    va_end(args);
    return code;
}

int outbox__error_of_event(outbox_error *err, int code, size_t index)
{
    char text[OUTBOX_ERROR_MESSAGE_SIZE], prefix[32];

    if (err == NULL || err->struct_size < sizeof(struct error_1))
        return code;
    if (has_index(err))
        err->event_index = (int64_t)index;
    memcpy(text, err->message, sizeof(text));
    snprintf(prefix, sizeof(prefix), "events[%zu]: ", index);
    snprintf(err->message, sizeof(err->message), "%s", prefix);
    outbox__one_line(text, err->message + strlen(prefix), sizeof(err->message) - strlen(prefix));
    return code;
}

const char *outbox_strerror(int code)
{
    switch ((enum outbox_code)code) {
    case OUTBOX_OK: return "success";
    case OUTBOX_EINVAL: return "invalid argument or limit exceeded, nothing was sent";
    case OUTBOX_ENOTXN: return "no transaction is open, nothing was sent";
    case OUTBOX_EABORTED: return "the transaction had failed before, only ROLLBACK is left";
    case OUTBOX_ELINK: return "the connection is lost, and with it the transaction";
    case OUTBOX_ESCHEMA: return "the outbox tables are missing or of another version";
    case OUTBOX_EDB: return "the database refused";
    case OUTBOX_ENOMEM: return "out of memory or random bytes, nothing was sent";
    }
    return "unknown outbox error code";
}
