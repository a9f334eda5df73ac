/* page.h - a result of one of the reading statements, decoded into rows. Used inside source/ only. */
#ifndef RELAY_SOURCE_PAGE_H
#define RELAY_SOURCE_PAGE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/row.h"
#include "relay/source/pairs.h"

/* What *ret_why below is when there is no memory. */
extern const char page_no_memory[];

/* Decodes result row `i` (binary format, the columns of sql.h). NULL: out of memory, or the row is
 * not what the schema promises; *ret_why then says which column. */
struct row *page_row(const PGresult *res, int i, struct pairs *scratch, const char **ret_why);
/* The same of outbox_stub: a row that is unreadable for this reason (row.h), which is copied. */
struct row *page_stub(const PGresult *res, int i, const char *unreadable, bool key_unreadable,
                      struct pairs *scratch, const char **ret_why);
/* A statement failed with this SQLSTATE (NULL: none): is that for what a row is, so that it would fail the next time
 * as well? Class 22: it has characters that the client's encoding does not have. XX: what is stored is damaged, or
 * the server does not know what happened. */
bool page_is_at_fault(const char *sqlstate);
/* What row i, of a page of held rows, says of its being held. */
void page_held_as(struct row *r, const PGresult *res, int i);

/* Did the bytes that were asked for end the page at row n? */
bool page_is_cut(const PGresult *res, int n);
/* Of a page of small rows: how many come before the first one that is cut. -1: there is no row 0. */
int page_before_cut(const PGresult *res);

/* Of a page of held rows (of any other: 0): 0, 1 when row i is in outbox.sent, 2 when its event is gone. Only the id and
 * bucket of such a row can be asked for. */
int page_stale(const PGresult *res, int i);
int64_t page_id(const PGresult *res, int i);
int16_t page_bucket(const PGresult *res, int i);
/* So long until the next one is due; UINT64_MAX: none. */
uint64_t page_next_due_ms(const PGresult *res);

#endif
