/* resend.h - records produced once more, in order, each confirmed by all replicas: the producing side of
 * `replay`. It stops at the first that is not confirmed. Memory: one batch of rows.
 */
#ifndef RELAY_COMMANDS_RESEND_H
#define RELAY_COMMANDS_RESEND_H

#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"

#define RESEND_ROWS 2000 /* of a batch */

struct resend {
    struct envelope envelope;
    struct header marker; /* added to each record; one of the row with its name is left out */
    uint64_t patience_ms; /* without any confirmation */
    struct sink *sink;
    struct envelope_buf buf;
    struct header *headers;
    size_t max_headers;
    char **topics; /* by the sink's number */
    uint32_t n_topics;

    /* The batch: of row[i] the slot is i. */
    struct row *const *row;
    bool confirmed[RESEND_ROWS];
    uint32_t n_sent, n_out;
    uint64_t last_ms; /* a report came */
    bool interrupted;
    int64_t failed_id; /* 0: none */
    char why[400];     /* "MSG_SIZE_TOO_LARGE: ..." */
};

/* envelope, marker and patience_ms are set, the rest is zero; borrows the texts of these. 0, or -1 and err
 * says why. resend_close in any case. */
int resend_open(struct resend *r, const struct sink_property *properties, size_t n, uint64_t max_bytes,
                char *err, size_t err_size);
void resend_close(struct resend *r);

/* Produces the rows (at most RESEND_ROWS) and waits for what becomes of them, or until a signal asks to stop.
 * Returns how many of the first were confirmed, without a gap: all of them, or it stopped, and why is said in
 * *r. After less than all, nothing more may be sent with it. */
uint32_t resend_rows(struct resend *r, struct row *const *rows, uint32_t n);

#endif
