/* error.h - filling the caller's outbox_error, and what an SQLSTATE means. Knows no libpq. */
#ifndef OUTBOX_LIB_ERROR_H
#define OUTBOX_LIB_ERROR_H

#include <stdint.h>

#include "outbox.h"

#if defined(__GNUC__) || defined(__clang__)
#define OUTBOX__PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define OUTBOX__PRINTF(text, first)
#endif

/** What an error of the server means to the caller. remedy is static text, or NULL. */
struct outbox__verdict {
    int code;
    uint32_t flags;
    const char *remedy;
};

/** Of 25006: the server does not say which of the two it is. */
#define OUTBOX__READ_ONLY \
    "the server or the transaction is read-only: connect to the primary server, or begin the transaction READ WRITE " \
    "(see default_transaction_read_only)"

/** Look up an SQLSTATE; NULL, "" and unknown ones are OUTBOX_EDB without flags. */
struct outbox__verdict outbox__error_classify(const char *sqlstate);

/** Fill err, which may be NULL, and return code, so that a refusal is one return statement. */
int outbox__error_set(outbox_error *err, int code, const char *format, ...) OUTBOX__PRINTF(3, 4);

/** The same with flags and SQLSTATE; sqlstate may be NULL. */
int outbox__error_set_all(outbox_error *err, int code, uint32_t flags, const char *sqlstate,
                          const char *format, ...) OUTBOX__PRINTF(5, 6);

/** Name the event of an array that the error in err, which may be NULL, is about. Returns code. */
int outbox__error_of_event(outbox_error *err, int code, size_t index);

#endif
