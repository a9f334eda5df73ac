/* many.c - an array of events on the caller's connection, inside the caller's transaction.
 *
 * Events become arrays, a portion at a time. Before the first portion is sent the events of all others
 * have been checked, so that nothing is sent when one is wrong.
 */
#include <libpq-fe.h>
#include <string.h>

#include "append.h"
#include "arrays.h"
#include "checks.h"
#include "conn.h"
#include "error.h"
#include "event_id.h"
#include "outbox.h"
#include "statement.h"

/* What one statement carries. More would not be faster: a round trip is nothing beside the server's
 * work for thousands of rows. But libpq's buffer grows to it and stays. */
#define PORTION_BYTES ((size_t)4 * 1024 * 1024)

struct many {
    PGconn *conn;
    const outbox_event *events; /* of the caller's size */
    size_t n, at;               /* at: the first that is not in a portion yet */
    uint32_t prepared;          /* OUTBOX_APPEND_PREPARED or 0 */
    bool ordered;               /* some event of this portion asks for it */
    struct outbox__arrays arrays;
    unsigned char ids[OUTBOX__IDS_AT_ONCE][16];
    size_t n_ids, ids_used;
};

/* The caller's header decides how far one is from the next. */
static const outbox_event *event_at(const struct many *m, size_t i)
{
    return (const outbox_event *)(const void *)((const char *)m->events +
                                                i * m->events->struct_size);
}

static int read_event(const struct many *m, size_t i, outbox_event *ret, outbox_error *err)
{
    const outbox_event *event = event_at(m, i);

    if (event->struct_size != m->events->struct_size)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "struct_size is %zu, but that of the first event is %zu",
                                 event->struct_size, m->events->struct_size);
    if ((event->flags & OUTBOX_APPEND_PREPARED) != m->prepared)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "flags and those of the first event differ in "
                                 "OUTBOX_APPEND_PREPARED");
    return outbox__event_read(event, ret, err);
}

static int set_id(struct many *m, struct outbox__row *row, outbox_error *err)
{
    int code;

    if (!row->needs_id)
        return OUTBOX_OK;
    if (m->ids_used == m->n_ids) {
        size_t left = m->n - m->at;

        m->n_ids = m->ids_used = 0;
        left = left < OUTBOX__IDS_AT_ONCE ? left : OUTBOX__IDS_AT_ONCE;
        if ((code = outbox__event_ids_make(m->ids, left)) != OUTBOX_OK)
            return outbox__error_set(err, code, OUTBOX__NO_RANDOM_BYTES);
        m->n_ids = left;
    }
    memcpy(row->event_id, m->ids[m->ids_used++], sizeof(row->event_id));
    return OUTBOX_OK;
}

static bool fits(const struct many *m, const struct outbox__row *row)
{
    return m->arrays.n_rows == 0 ||
           m->arrays.n_bytes + outbox__arrays_row_bytes(row) <= PORTION_BYTES;
}

static int add_row(struct many *m, struct outbox__row *row, outbox_error *err)
{
    int code = outbox__encoding_check(m->conn, row, err);

    if (code == OUTBOX_OK)
        code = set_id(m, row, err);
    if (code == OUTBOX_OK && !outbox__arrays_add(&m->arrays, row))
        code = outbox__error_set(err, OUTBOX_ENOMEM, "no memory for the arrays of %zu events",
                                 m->arrays.n_rows + 1);
    m->ordered |= row->ordered[0] != 0;
    return code;
}

/* One event into the portion. ret_full: it did not fit, and is the first of the next. */
static int add_event(struct many *m, bool *ret_full, outbox_error *err)
{
    outbox_event e;
    struct outbox__row row;
    int code;

    if ((code = read_event(m, m->at, &e, err)) != OUTBOX_OK ||
        (code = outbox__row_encode(&e, &row, err)) != OUTBOX_OK)
        return code;
    *ret_full = !fits(m, &row);
    if (!*ret_full)
        code = add_row(m, &row, err);
    outbox__row_deinit(&row);
    return code;
}

static int fill_portion(struct many *m, outbox_error *err)
{
    bool full = false;

    outbox__arrays_clear(&m->arrays);
    m->ordered = false;
    while (m->at < m->n) {
        int code = add_event(m, &full, err);

        if (code != OUTBOX_OK)
            return outbox__error_of_event(err, code, m->at);
        if (full)
            break;
        m->at++;
    }
    return OUTBOX_OK;
}

/* What is behind the first portion, encoded for the sake of the checks alone. */
static int check_rest(const struct many *m, outbox_error *err)
{
    for (size_t i = m->at; i < m->n; i++) {
        outbox_event e;
        struct outbox__row row;
        int code = read_event(m, i, &e, err);

        if (code == OUTBOX_OK && (code = outbox__row_encode(&e, &row, err)) == OUTBOX_OK) {
            code = outbox__encoding_check(m->conn, &row, err);
            outbox__row_deinit(&row);
        }
        if (code != OUTBOX_OK)
            return outbox__error_of_event(err, code, i);
    }
    return OUTBOX_OK;
}

static int send_portion(struct many *m, outbox_error *err)
{
    const struct outbox__statement *statement = outbox__statement(true, m->ordered);
    const char *values[OUTBOX__N_PARAMETERS];
    int lengths[OUTBOX__N_PARAMETERS];
    PGresult *result;
    int code;

    for (int i = 0; i < statement->n_parameters; i++)
        values[i] = outbox__arrays_finish(&m->arrays, i, outbox__element_type(i), &lengths[i]);
    result = outbox__statement_run(m->conn, statement, m->prepared != 0, values, lengths);
    code = PQresultStatus(result) == PGRES_COMMAND_OK
               ? outbox__stored_check(result, m->arrays.n_rows, err)
               : outbox__conn_failed(m->conn, result, "storing the events", err);
    PQclear(result);
    return code;
}

/* Out of memory means that nothing was sent. Here something was. */
static int fill_further_portion(struct many *m, outbox_error *err)
{
    int code = fill_portion(m, err);

    if (code == OUTBOX_OK)
        return code;
    return outbox__error_set_all(err, OUTBOX_EDB, OUTBOX_ERRF_RETRY_TXN, NULL,
                                 "no memory or random bytes for event %zu, with those before it in "
                                 "the transaction: roll back",
                                 m->at);
}

static int append_portions(struct many *m, outbox_error *err)
{
    int code = fill_portion(m, err);

    if (code == OUTBOX_OK)
        code = check_rest(m, err);
    if (code == OUTBOX_OK)
        code = send_portion(m, err);
    while (code == OUTBOX_OK && m->at < m->n) {
        code = fill_further_portion(m, err);
        if (code == OUTBOX_OK)
            code = send_portion(m, err);
    }
    outbox__arrays_deinit(&m->arrays);
    return code;
}

/* Not as an array of one: that would cost the server more. */
static int append_one(PGconn *conn, const outbox_event *event, outbox_error *err)
{
    int code = outbox__append_one(conn, event, err);

    return code == OUTBOX_EINVAL ? outbox__error_of_event(err, code, 0) : code;
}

int outbox_append_many(PGconn *conn, const outbox_event *events, size_t n_events, outbox_error *err)
{
    struct many m = { .conn = conn, .events = events, .n = n_events };
    outbox_event first;
    int code;

    if (conn == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "conn is NULL");
    if (events == NULL && n_events > 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "events is NULL but n_events is %zu",
                                 n_events);
    if (n_events > 0 && (code = outbox__event_read(events, &first, err)) != OUTBOX_OK)
        return outbox__error_of_event(err, code, 0);
    if ((code = outbox__conn_check(conn, OUTBOX__IN_TRANSACTION, err)) != OUTBOX_OK)
        return code;
    if (n_events == 0)
        return OUTBOX_OK;
    if (n_events == 1)
        return append_one(conn, &first, err);
    m.prepared = first.flags & OUTBOX_APPEND_PREPARED;
    return append_portions(&m, err);
}
