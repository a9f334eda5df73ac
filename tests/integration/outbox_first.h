/**
 * outbox.h - store events in the database transaction that changes the data.
 *
 * This header is the description of the library; what is not in it is not part of the interface.
 * Link with `pkg-config --cflags --libs outbox`. Needs libpq and nothing else. C11 and C++11.
 *
 *     PGresult *r = PQexec(conn, "BEGIN");                     ... business statements ...
 *     outbox_event event = OUTBOX_EVENT_INIT;
 *     outbox_error err = OUTBOX_ERROR_INIT;
 *     event.topic = "orders";             event.key = "4711";      event.key_len = 4;
 *     event.type = "com.example.order";   event.payload = text;   event.payload_len = strlen(text);
 *     if (outbox_append(conn, &event, &err) != OUTBOX_OK)
 *         fprintf(stderr, "%s\n", err.message);                ... and PQexec(conn, "ROLLBACK") ...
 *
 * lib/examples/hello.c is the whole program.
 *
 * Guarantees
 *   An event that was appended reaches Kafka if and only if the transaction commits. It may arrive
 *   more than once, always with the same event id, so consumers drop repeats by id. Events with
 *   the same topic and key first appear in the order in which the database ordered their
 *   transactions; events without a key have no order. An append waits for the database only:
 *   whether Kafka or the relay runs makes no difference to it.
 *   Not guaranteed: exactly one record per event, and any order between keys.
 *
 * Transactions
 *   The caller begins, commits and rolls back; the library never does. outbox_append() refuses to
 *   run outside a transaction block, because the event would then be stored whatever becomes of
 *   the business data. It uses one statement and one round trip, needs the INSERT privilege on
 *   outbox.event only, names every object with its schema, and leaves no session state behind: no
 *   prepared statement, no setting, no lock beyond the transaction. So it also works through a
 *   transaction pooler.
 *   After a refusal by the library (OUTBOX_EINVAL, OUTBOX_ENOTXN, OUTBOX_ENOMEM) nothing was sent
 *   and the transaction is as usable as before. After an error of the server it is not: roll back.
 *   After a lost link the transaction is gone and the event is not committed: open a new
 *   connection and run the whole transaction again.
 *
 * Ownership
 *   Everything passed in is borrowed for the time of the call and never changed; nothing is kept
 *   after it. Nothing that is handed out has to be freed.
 *
 * Threads
 *   The only state of its own that the library holds is one atomic number, the time stamp of the
 *   last event id. A PGconn may be used by one thread at a time, as libpq requires; the library
 *   adds no locks. Functions on different connections never block each other. After fork() both
 *   processes may go on making ids; as libpq requires, they must not share a connection.
 *
 * Errors
 *   Every function that can fail returns OUTBOX_OK (0) or a negative OUTBOX_E code, and writes the
 *   text to a caller-owned outbox_error, on failure only. Decide on the code and the flags, never
 *   on the text. Texts are one line of UTF-8, name the field and the limit, and never contain the
 *   key, the payload or the value of a header.
 *
 * Limits
 *   See the OUTBOX_MAX_ macros. They are checked before anything is sent. A tighter limit of
 *   the topic itself is known to the relay only.
 *
 * Host process
 *   The library never prints, logs, exits, aborts, forks, sleeps, starts a thread, sets a signal
 *   handler, changes the locale or depends on it, or installs libpq notice hooks. It allocates
 *   memory only for events whose headers do not fit into 2 KiB. libpq's own rules for SIGPIPE hold.
 *
 * ABI
 *   The soname is liboutbox.so.0 and changes with any incompatible change. Both structs begin with
 *   their size and may grow at the end: start from OUTBOX_EVENT_INIT and OUTBOX_ERROR_INIT. Codes
 *   and flags keep their values; new ones may come.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define OUTBOX_API __attribute__((visibility("default")))
#define OUTBOX_MUST_USE __attribute__((warn_unused_result))
#else
#define OUTBOX_API
#define OUTBOX_MUST_USE
#endif

/* ---- Version ------------------------------------------------------------------------------- */

#define OUTBOX_VERSION_MAJOR 0
#define OUTBOX_VERSION_MINOR 1
#define OUTBOX_VERSION_PATCH 0
#define OUTBOX_VERSION_STRING "0.1.0"
/** One number to compare: major * 10000 + minor * 100 + patch. */
#define OUTBOX_VERSION_NUMBER \
    (OUTBOX_VERSION_MAJOR * 10000 + OUTBOX_VERSION_MINOR * 100 + OUTBOX_VERSION_PATCH)

/** The migration that this library was written for; see outbox_check_schema(). */
#define OUTBOX_SCHEMA_VERSION 1

/** Version of the library that runs, as OUTBOX_VERSION_NUMBER. Cannot fail. */
OUTBOX_API int outbox_version_number(void);

/** Version of the library that runs, as OUTBOX_VERSION_STRING. Static text. Cannot fail. */
OUTBOX_API const char *outbox_version_string(void);

/* ---- Limits -------------------------------------------------------------------------------- */

/** Kafka takes topic names of 1 to 249 characters out of [a-zA-Z0-9._-], and not "." or "..". */
#define OUTBOX_MAX_TOPIC_BYTES 249
/** The type becomes a record header; 255 is the limit of the table. */
#define OUTBOX_MAX_TYPE_BYTES 255
/** RFC 6838 allows 127 + 1 + 127 characters without parameters; 255 is the limit of the table. */
#define OUTBOX_MAX_CONTENT_TYPE_BYTES 255
/** correlation_id and causation_id are identifiers, so as long as a type at most. */
#define OUTBOX_MAX_CORRELATION_BYTES 255
/** Kafka has no limit; but every record carries all of its headers, and consumers search them. */
#define OUTBOX_MAX_HEADERS 64
/**
 * Key + payload + names and values of all headers, correlation and trace fields included;
 * tracestate counts twice, as it leaves under two names.
 * A broker by default refuses record batches over 1 MiB + 12 (message.max.bytes = 1048588). 4 KiB
 * of that are left for what the relay and Kafka add to a record that travels alone: 61 for the
 * batch, 500 for the lengths of the record and of 80 headers, 900 for the CloudEvents attributes
 * (type and content type with 255 each), and 2 KiB for the source, which only the relay knows.
 */
#define OUTBOX_MAX_EVENT_BYTES (1024 * 1024 - 4096)

/* ---- Errors -------------------------------------------------------------------------------- */

/** What every function returns. The state that each code leaves behind stands at each function. */
enum outbox_code {
    OUTBOX_OK = 0,
    OUTBOX_EINVAL = -1,   /* an argument or a limit: a defect of the caller, nothing was sent */
    OUTBOX_ENOTXN = -2,   /* no transaction is open: nothing was sent */
    OUTBOX_EABORTED = -3, /* the transaction has failed already: only ROLLBACK is left */
    OUTBOX_ELINK = -4,    /* the connection is lost, and with it the transaction */
    OUTBOX_ESCHEMA = -5,  /* the tables are missing, or older or newer than this library takes */
    OUTBOX_EDB = -6,      /* the database refused; sqlstate and flags say more */
    OUTBOX_ENOMEM = -7    /* no memory, or no random bytes for an id: nothing was sent */
};

/** Roll back and run the whole transaction again: it failed by bad luck, not by its content. */
#define OUTBOX_ERRF_RETRY_TXN 0x1u
/** The transaction cannot commit any more; the server takes nothing but ROLLBACK. */
#define OUTBOX_ERRF_TXN_ABORTED 0x2u
/** The connection is gone and its transaction with it. Run it again on a new connection. */
#define OUTBOX_ERRF_LINK_LOST 0x4u

#define OUTBOX_ERROR_MESSAGE_SIZE 512

/** Owned by the caller, may be reused. Start from OUTBOX_ERROR_INIT: with a struct_size that is
 *  not set nothing is written. Written on failure only, and then as a whole. */
typedef struct outbox_error {
    uint32_t struct_size;
    int32_t code;                            /* the same as the return value */
    uint32_t flags;                          /* OUTBOX_ERRF_... */
    char sqlstate[6];                        /* "" when the server was not involved */
    char message[OUTBOX_ERROR_MESSAGE_SIZE]; /* one line of UTF-8, always terminated */
} outbox_error;

#define OUTBOX_ERROR_INIT { (uint32_t)sizeof(outbox_error), 0, 0, "", "" }

/** Text for a code, without a full stop. Static; for an unknown code too. Cannot fail. */
OUTBOX_API const char *outbox_strerror(int code);

/* ---- Events -------------------------------------------------------------------------------- */

/** libpq's connection. Declared here so that this header compiles without libpq-fe.h. */
typedef struct pg_conn PGconn;

/** One record header. Names may repeat; the order is kept. Both parts are UTF-8 without NUL; the
 *  value is not NULL ("" with 0 is an empty value) and needs no terminator. Refused are names that
 *  start with "ce_", which the relay writes, and the names of the fields below: correlationid,
 *  causationid, traceparent, tracestate, hops. */
typedef struct outbox_header {
    const char *name;
    const void *value;
    size_t value_len;
} outbox_header;

/** One event. Start from OUTBOX_EVENT_INIT, set topic and type and what else is known. Text is
 *  NUL-terminated UTF-8 whatever the locale, and has no control characters. All pointers are
 *  borrowed. NULL means absent where it is allowed. */
typedef struct outbox_event {
    size_t struct_size;
    const char *topic;            /* required; OUTBOX_MAX_TOPIC_BYTES */
    const void *key;              /* any bytes; NULL: no key, no order; "" with 0: an empty key */
    size_t key_len;               /* 0 when key is NULL */
    const char *type;             /* required; not empty; OUTBOX_MAX_TYPE_BYTES */
    int32_t schema_version;       /* of the payload; 1 or more */
    const char *content_type;     /* NULL or media type, but not application/cloudevents... */
    const void *payload;          /* any bytes; NULL: a tombstone; "" with 0: an empty payload */
    size_t payload_len;           /* 0 when payload is NULL */
    const outbox_header *headers; /* NULL when n_headers is 0 */
    size_t n_headers;             /* OUTBOX_MAX_HEADERS */
    const char *event_id;         /* NULL: made by the library; else a UUID as 36 characters */
    const char *correlation_id;   /* NULL or not empty; OUTBOX_MAX_CORRELATION_BYTES */
    const char *causation_id;     /* NULL or not empty; OUTBOX_MAX_CORRELATION_BYTES */
    const char *traceparent;      /* NULL or a W3C version 00 value, 55 lower-case characters */
    const char *tracestate;       /* NULL or the W3C value that goes with traceparent */
    int64_t available_at_us;      /* Unix microseconds, not to be sent before; 0: now */
    uint32_t flags;               /* 0: no flag is defined yet, unknown ones are refused */
} outbox_event;

#define OUTBOX_EVENT_INIT \
    { sizeof(outbox_event), NULL, NULL, 0, NULL, 1, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, \
      NULL, NULL, 0, 0 }

/**
 * Store one event as part of the caller's open transaction.
 *
 * On success the event is a row of outbox.event in that transaction, and leaves for Kafka if and
 * only if the caller commits.
 *
 * @param conn   borrowed; connected, in a transaction block, idle, not in pipeline mode
 * @param event  borrowed
 * @param err    borrowed; may be NULL
 * @return OUTBOX_OK, or
 *   OUTBOX_EINVAL    NULL conn or event, wrong struct_size, pipeline mode, a command or COPY in
 *                    progress, unknown flags, a broken limit, or text outside ASCII over a
 *                    connection whose client_encoding is neither UTF8 nor SQL_ASCII.
 *                    Nothing was sent, the transaction is untouched.
 *   OUTBOX_ENOTXN    no transaction block is open. Nothing was sent.
 *   OUTBOX_EABORTED  the transaction had failed before. Nothing was sent; roll back.
 *                    flags: TXN_ABORTED
 *   OUTBOX_ENOMEM    no memory for long headers, or no random bytes for the id. Nothing was sent,
 *                    the transaction is untouched.
 *   OUTBOX_ELINK     the connection was bad or broke. The transaction did not commit: run it again
 *                    on a new connection. flags: LINK_LOST
 *   OUTBOX_ESCHEMA   the tables are not there or not as expected; roll back, apply
 *                    sql/001_outbox.up.sql. flags: TXN_ABORTED
 *   OUTBOX_EDB       any other refusal; sqlstate says which. Roll back. flags: TXN_ABORTED when the
 *                    server has aborted the transaction, RETRY_TXN when running it again is the
 *                    cure (serialization failure, deadlock, lock timeout). Without TXN_ABORTED the
 *                    transaction is open but does not hold the event; except when sqlstate is empty
 *                    and RETRY_TXN set: then libpq had no memory for the answer, and the event may be
 *                    in it.
 * Blocks for one round trip, also on a non-blocking connection.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_append(PGconn *conn, const outbox_event *event,
                                             outbox_error *err);

/**
 * Tell whether the tables in this database are ones that this library can write to. Meant for the
 * start of a program: outbox_append() does not repeat the check.
 *
 * Works inside a transaction and outside of one. A missing schema is an answer here and no error
 * of the server, so an open transaction stays usable. Inside a transaction it keeps an ACCESS
 * SHARE lock on outbox.schema_version until the end of it, as any SELECT does.
 *
 * @param conn   borrowed; connected, idle, not in pipeline mode
 * @param err    borrowed; may be NULL
 * @return OUTBOX_OK, or
 *   OUTBOX_ESCHEMA   not installed, older than OUTBOX_SCHEMA_VERSION, or newer with a change that
 *                    this library does not know how to live with; the message says which and what
 *                    to do. The transaction is untouched.
 *   OUTBOX_EINVAL    NULL conn, pipeline mode, a command or COPY in progress. Nothing was sent.
 *   OUTBOX_EABORTED  the transaction had failed before. Nothing was sent. flags: TXN_ABORTED
 *   OUTBOX_ELINK     the connection was bad or broke. flags: LINK_LOST
 *   OUTBOX_EDB       the role may not read outbox.schema_version (the transaction is untouched), or
 *                    any other refusal. flags as for outbox_append()
 * Blocks for two round trips.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_check_schema(PGconn *conn, outbox_error *err);

/**
 * Make an event id: a UUIDv7 (RFC 9562) in lower-case text, for a caller who must know the id
 * before the append. Put it into event.event_id.
 *
 * Ids of one process are strictly increasing in the order of the calls, over all threads, also
 * when the clock is set back. Ids of other processes, forked children included, differ by 62 fresh
 * random bits each. An id says when it was made; it does not say where its event stands in Kafka.
 *
 * @param ret_id  36 characters and a NUL; untouched on failure
 * @return OUTBOX_OK, or
 *   OUTBOX_EINVAL    ret_id is NULL
 *   OUTBOX_ENOMEM    the system gives no random bytes (getrandom(2) fails)
 * Any thread may call it at any time. It does not block once the system's random number generator
 * has been seeded, which happens early at boot.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_event_id_new(char ret_id[37]);

#ifdef __cplusplus
}
#endif

#endif /* OUTBOX_H */
