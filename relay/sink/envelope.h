/* envelope.h - the headers of a record, made from a row. Pure: no I/O, no clock, no library.
 *
 *   cloudevents  the attributes of CloudEvents 1.0 in binary mode, then the row's own headers
 *   debezium     `id` and `eventType`, as Debezium's outbox router gives them, then the row's own
 *   plain        the row's own headers
 *
 * The row's own headers keep their order and their values. In cloudevents mode correlationid,
 * causationid and hops become ce_ attributes in their place; traceparent and tracestate stay as
 * they are and are repeated as ce_ attributes. A ce_ header of the row, or its content-type, that
 * would repeat one written here is left out, so that a consumer finds the same value whether it
 * takes the first or the last. ce_time is left out when its year does not have four digits.
 */
#ifndef RELAY_SINK_ENVELOPE_H
#define RELAY_SINK_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "relay/row.h"

enum envelope_kind { ENVELOPE_CLOUDEVENTS, ENVELOPE_DEBEZIUM, ENVELOPE_PLAIN };

struct envelope {
    enum envelope_kind kind;
    const char *source; /* ce_source; borrowed */
};

/* Reused from row to row, owned by the caller. Start from zeroes. */
struct envelope_buf {
    struct header *headers;
    size_t max_headers;
    int64_t second; /* whose text stands in `time` */
    char time[27];  /* 2026-01-02T03:04:05.123456Z; none of these is terminated */
    char id[36];
    char schema_version[11];
    char sequence[20];
};

/* The headers of `row`, in order. They point into the row, the envelope, buf and constants, and are
 * good until the next call with buf, and while the row is. Returns 0, or -1 when out of memory. */
int envelope_headers(const struct envelope *e, const struct row *row, struct envelope_buf *buf,
                     const struct header **ret_headers, size_t *ret_n);

/* What the row's own header `hops` says, as digits; 0: it has none, or something else. */
uint64_t envelope_hops(const struct row *row);

/* The header that holds the event id; NULL: none does. */
const char *envelope_id_header(enum envelope_kind kind);

void envelope_buf_deinit(struct envelope_buf *buf);

#endif
