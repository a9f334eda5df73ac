/* page.h - a result of one of the reading statements, decoded into rows. Used by source.c only. */
#ifndef RELAY_SOURCE_PAGE_H
#define RELAY_SOURCE_PAGE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/row.h"
#include "relay/source/pairs.h"

/* Decodes result row `i` (binary format, the columns of sql.h). NULL: out of memory, or the row is
 * not what the schema promises; *ret_why then says which column. */
struct row *page_row(const PGresult *res, int i, struct pairs *scratch, const char **ret_why);

/* Did the bytes that were asked for end the page? n: its rows. */
bool page_is_cut(const PGresult *res, int n);

#endif
