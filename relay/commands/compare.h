/* compare.h - is this record what the relay makes of that row? Pure. For verify and trace. */
#ifndef RELAY_COMMANDS_COMPARE_H
#define RELAY_COMMANDS_COMPARE_H

#include <stdbool.h>
#include <stdio.h>

#include "relay/sink/envelope.h"
#include "relay/sink/reader.h"

/* What differs, as a set. */
enum compare_difference {
    COMPARE_EVENT_ID = 1, /* it is the record of another event, or of none */
    COMPARE_KEY = 2,
    COMPARE_PAYLOAD = 4,
    COMPARE_HEADERS = 8, /* any but the id's */
    COMPARE_SOURCE = 16  /* instead of COMPARE_HEADERS: only the value of ce_source, which is a setting */
};
#define COMPARE_N_DIFFERENCES 5

/* The id of the record's event, as its envelope gives it: false when there is none. */
bool compare_event_id(enum envelope_kind kind, const struct reader_record *record, uint8_t ret_id[16]);

/* The same with what tells apart rows to which an application gave one event id: with CloudEvents the row's
 * number is mixed in. compare_row_id is what a record of that row gives. */
bool compare_record_id(enum envelope_kind kind, const struct reader_record *record, uint8_t ret_id[16]);
void compare_row_id(enum envelope_kind kind, const struct row *row, uint8_t ret_id[16]);

/* Was it written by replay? */
bool compare_is_replay(enum envelope_kind kind, const struct reader_record *record);
/* The header that replay adds. */
const char *compare_replay_header(enum envelope_kind kind);

/* headers: those that the envelope makes of the row. With the plain envelope the id is not compared. */
unsigned compare_record(enum envelope_kind kind, const struct row *row, const struct header *headers,
                        size_t n_headers, const struct reader_record *record);

/* One of them, as programs read it. */
const char *compare_name(unsigned difference);

/* "key, payload". */
void compare_print(unsigned differences, FILE *out);

/* What to think of when nothing but ce_source differs. */
void compare_print_source_hint(const char *source, FILE *out);

#endif
