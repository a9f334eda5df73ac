/* db.h - what a statement that failed means, for all files of libinbox that run some. */
#ifndef INBOX_LIB_DB_H
#define INBOX_LIB_DB_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "inbox.h"

struct inbox_consumer;

/* Is there no link? */
bool inbox__db_lost(const struct inbox_consumer *c);

/* An error that may be gone when the transaction is run again, and is nobody's fault. */
bool inbox__db_passes(const PGresult *result);

/* The database's words for why a statement failed, as long as result lives; else these, for there was no answer. */
const char *inbox__db_words(const PGresult *result, const char *otherwise);

/* Text, one line of UTF-8, that this database takes: in place, ASCII where it has another encoding. */
void inbox__db_plain(const struct inbox_consumer *c, char *text);

/* Fill err for a statement of ours and return the code. */
int inbox__db_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err);

#endif
