/* pairs.h - the headers column, as text, into headers. Pure: no I/O, no library.
 *
 * The column is json that is valid as jsonb: [["name", "value"], ...]. The decoder takes exactly that, in any JSON
 * spelling, and refuses everything else; it never reads outside the text. A decoder of our own
 * because this runs for every row: on six pairs it is about 15 times as fast as jansson's
 * json_loadb and a walk.
 */
#ifndef RELAY_SOURCE_PAIRS_H
#define RELAY_SOURCE_PAIRS_H

#include <stddef.h>

#include "relay/row.h"

/* Reused from row to row, owned by the caller. Start from zeroes. */
struct pairs {
    struct header *header;
    size_t max_headers;
    char *bytes; /* all names, each terminated, and values */
    size_t max_bytes;
};

enum { PAIRS_MALFORMED = -1, PAIRS_NOMEM = -2 };

/* Decode json (NULL or of length 0: no headers) into buf->header[0 .. *ret_n), which point into
 * buf->bytes[0 .. *ret_bytes) and are good until the next call with buf. Names hold no NUL. Returns 0 or
 * a negative PAIRS_ code; then nothing is given back. */
int pairs_decode(const char *json, size_t len, struct pairs *buf, size_t *ret_n, size_t *ret_bytes);

void pairs_deinit(struct pairs *buf);

#endif
