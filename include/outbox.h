/**
 * outbox.h - store events in the database transaction that changes the data.
 *
 * This header is the description of the library; what is not in it is not part of the interface.
 * Link with `pkg-config --cflags --libs outbox`. Needs libpq (14 or later; servers from 13 on) and
 * nothing else. C11 and C++11. Linux. lib/examples/hello.c is a whole program; what matters in it:
 *
 *     PGresult *r = PQexec(conn, "BEGIN");                     ... business statements ...
 *     outbox_event event = OUTBOX_EVENT_INIT;
 *     outbox_error err = OUTBOX_ERROR_INIT;
 *     event.topic = "orders";             event.key = "4711";      event.key_len = 4;
 *     event.type = "com.example.order";   event.payload = text;   event.payload_len = strlen(text);
 *     if (outbox_append(conn, &event, &err) != OUTBOX_OK)
 *         fprintf(stderr, "%s\n", err.message);                ... and PQexec(conn, "ROLLBACK") ...
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
 *   the business data. It uses one statement and one round trip, needs INSERT on outbox.event and
 *   USAGE of its schema, names every object with its schema, and leaves no session state behind: no
 *   prepared statement, no setting, no lock beyond the transaction. So it also works through a
 *   transaction pooler. The server keeps the plan by itself: the statement is CALL
 *   outbox.append_event(...), which inserts with the rights of the caller. outbox_append_many() does
 *   the same for an array of events, outbox_append_send() for connections in pipeline or non-blocking
 *   mode. All that stays in a session is what outbox_prepare() puts there, for callers who ask for it.
 *   After a refusal by the library (OUTBOX_EINVAL, OUTBOX_ENOTXN, OUTBOX_ENOMEM) nothing was sent
 *   and the transaction is as usable as before. After an error of the server it is not: roll back.
 *   After a lost link the transaction is gone and the event is not committed: open a new connection
 *   and run the whole transaction again. Only where COMMIT was sent already, as in a pipeline, may
 *   it have committed: ask first (lib/examples/retry.c).
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
 *   A function that can fail returns OUTBOX_OK (0) or a negative OUTBOX_E code, and writes the text
 *   to the caller-owned outbox_error that it is given, on failure only. (outbox_frame_confluent(),
 *   which gives a length, says 0.) Decide on the code and the flags, never on the text. Texts are
 *   one line of UTF-8, name the field and the limit, and never contain the key, the payload or the
 *   value of a header.
 *
 * Limits
 *   See the OUTBOX_MAX_ macros. They are checked before anything is sent. A tighter limit of
 *   the topic itself is known to the relay only. Whoever lets a topic take larger records raises
 *   the limit of an event with max_event_bytes.
 *
 * Host process
 *   The library never prints, logs, exits, aborts, forks, sleeps, starts a thread, sets a signal
 *   handler, changes the locale or depends on it, or installs libpq notice hooks. It allocates
 *   memory only for events whose headers do not fit into 2 KiB, and for the arrays of
 *   outbox_append_many(). libpq's own rules for SIGPIPE hold; a signal whose handler returns does
 *   not disturb a call.
 *
 * ABI
 *   The soname is liboutbox.so.0 and changes with any incompatible change. Structs that begin with
 *   their size may grow at the end: start from OUTBOX_EVENT_INIT and its like. A program that was
 *   built with an older header goes on to work with a newer library; one that was built with a
 *   newer header is refused by an older library (OUTBOX_EINVAL, struct_size). Codes and flags keep
 *   their values; new ones may come.
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
/** The most that event.max_event_bytes may allow instead: what the table takes as a payload. */
#define OUTBOX_MAX_EVENT_BYTES_CEILING (32 * 1024 * 1024)
/** What the table takes as a key, whatever max_event_bytes says. Its limit of headers is as high, as
 *  the database stores them: more is refused by the server (OUTBOX_EDB). */
#define OUTBOX_MAX_KEY_BYTES (1024 * 1024)

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
/** The connection is gone and its transaction with it. Run it again on a new connection. If its COMMIT
 *  was sent and had no answer, ask there first whether it committed, as lib/examples/retry.c does. */
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
    int64_t event_index; /* outbox_append_many(): the event it is about; -1: none in particular */
} outbox_error;

#define OUTBOX_ERROR_INIT { sizeof(outbox_error), 0, 0, "", "", -1 }

/** Text for a code, without a full stop. Static; for an unknown code too. Cannot fail. */
OUTBOX_API const char *outbox_strerror(int code);

/* ---- Events -------------------------------------------------------------------------------- */

/** libpq's connection and result. Declared here so that this header compiles without libpq-fe.h. */
typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;

/** One record header. Names may repeat; the order is kept. Both parts are UTF-8 without NUL, of which a
 *  database of another encoding than UTF8 takes ASCII, and may refuse the rest (OUTBOX_EDB); the
 *  value is not NULL ("" with 0 is an empty value) and needs no terminator. Refused are names that
 *  start with "ce_", which the relay writes, and the names of the fields below: correlationid,
 *  causationid, traceparent, tracestate, hops.
 *  This struct never grows: it stands in arrays and has no size of its own. Nor need it, for a
 *  header of Kafka is a name and a value; what else is to be said of an event gets a field there. */
typedef struct outbox_header {
    const char *name;
    const void *value;
    size_t value_len;
} outbox_header;

/** event.flags: take a lock on topic and key, held until the transaction ends, before the event gets
 *  its place in the order. For writers of one key that nothing else brings in order: without it the
 *  event of the transaction that commits last may come first. A second writer waits until the first
 *  has committed or rolled back. Needs a key. It is the advisory transaction lock
 *  hashtextextended(topic || '/' || encode(key, 'hex'), 0): keys that share the hash only wait for
 *  each other, and whoever writes with SQL takes the same. Transactions that append to several keys
 *  in different orders can deadlock, which the server resolves (OUTBOX_ERRF_RETRY_TXN). Each key takes
 *  a place in the server's table of locks (max_locks_per_transaction): thousands of them in one
 *  transaction may be too many (OUTBOX_EDB, SQLSTATE 53200). */
#define OUTBOX_APPEND_ORDERED 0x1u
/** event.flags: use the statements that outbox_prepare() left on this connection. */
#define OUTBOX_APPEND_PREPARED 0x2u

/** One event. Start from OUTBOX_EVENT_INIT, set topic and type and what else is known. Text is
 *  NUL-terminated UTF-8 whatever the locale, and has no control characters. All pointers are
 *  borrowed. NULL means absent where it is allowed. */
typedef struct outbox_event {
    size_t struct_size;
    const char *topic;            /* required; OUTBOX_MAX_TOPIC_BYTES */
    const void *key;              /* any bytes; NULL: no key, no order; "" with 0: an empty key */
    size_t key_len;               /* 0 when key is NULL; forgotten, all such events have one key: the empty one */
    const char *type;             /* required; not empty; OUTBOX_MAX_TYPE_BYTES */
    int32_t schema_version;       /* of the payload; 1 or more */
    const char *content_type;     /* NULL or media type, but not application/cloudevents... */
    const void *payload;          /* any bytes; NULL: a tombstone; "" with 0: an empty payload */
    size_t payload_len;           /* 0 when payload is NULL */
    const outbox_header *headers; /* NULL when n_headers is 0 */
    size_t n_headers;             /* OUTBOX_MAX_HEADERS */
    const char *event_id;         /* NULL: made by the library; else a UUID as 36 characters, another one for
                                     each event: consumers drop the second, the database does not look */
    const char *correlation_id;   /* NULL or not empty; OUTBOX_MAX_CORRELATION_BYTES */
    const char *causation_id;     /* NULL or not empty; OUTBOX_MAX_CORRELATION_BYTES */
    const char *traceparent;      /* NULL or a W3C version 00 value, 55 lower-case characters */
    const char *tracestate;       /* NULL or the W3C value that goes with traceparent */
    int64_t available_at_us;      /* not to be sent before; Unix microseconds from 2000 on; 0: now */
    uint32_t flags;               /* OUTBOX_APPEND_...; unknown ones are refused */
    size_t max_event_bytes;       /* in place of OUTBOX_MAX_EVENT_BYTES; 0: that one */
    uint32_t hops;                /* how many events caused one another before this one; 0: none */
    uint32_t reserved;            /* 0 */
} outbox_event;

#define OUTBOX_EVENT_INIT \
    { sizeof(outbox_event), NULL, NULL, 0, NULL, 1, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, \
      NULL, NULL, 0, 0, 0, 0, 0 }

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
 *                    progress, unknown flags, a broken limit, or a type or content_type outside
 *                    ASCII over a connection whose client_encoding is neither UTF8 nor, where that
 *                    of the database is UTF8 or SQL_ASCII, SQL_ASCII.
 *                    Nothing was sent, the transaction is untouched.
 *   OUTBOX_ENOTXN    no transaction block is open. Nothing was sent.
 *   OUTBOX_EABORTED  the transaction had failed before. Nothing was sent; roll back.
 *                    flags: TXN_ABORTED
 *   OUTBOX_ENOMEM    no memory for long headers, or no random bytes for the id. Nothing was sent,
 *                    the transaction is untouched.
 *   OUTBOX_ELINK     the connection was bad or broke. The transaction did not commit: run it again
 *                    on a new connection. flags: LINK_LOST. So is called too whatever the server
 *                    gives an SQLSTATE of class 08, such as the lost link of a trigger of yours to
 *                    another server: that one meets the new connection as well.
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
 * Store n_events events as part of the caller's open transaction, in the order of the array.
 *
 * On success all of them are rows of outbox.event in that transaction, with ascending ids in the
 * order of the array. Any number is taken. What takes up to 4 MiB as parameters, some 10,000 small
 * events, is one statement and one round trip; more is split into as many of them as it needs.
 * Either way the transaction makes it one, when an error is followed by a rollback (to a savepoint
 * from before the call will do). After an error of the server it can end in no other way. But after
 * OUTBOX_EDB without TXN_ABORTED it is open and may hold a part of the events: COMMIT would keep it.
 * With OUTBOX_APPEND_ORDERED the keys of a statement are locked in one fixed order, so that two
 * calls of one statement each cannot deadlock; those of more can, which the server notices
 * (OUTBOX_EDB, RETRY_TXN).
 *
 * @param conn      borrowed; as for outbox_append()
 * @param events    borrowed; NULL when n_events is 0; all of one struct_size, which is the distance
 *                  from one to the next. Either all have OUTBOX_APPEND_PREPARED or none
 * @param n_events  0: nothing is sent, only the connection is looked at
 * @param err       borrowed; may be NULL
 * @return OUTBOX_OK, or the codes of outbox_append() with their states, and
 *   OUTBOX_EINVAL    an event is wrong: err->event_index and the message say which. All are checked
 *                    before the first is sent, so nothing was sent, the transaction is untouched.
 *   OUTBOX_ENOMEM    no memory for the arrays, or no random bytes. Nothing was sent.
 *   OUTBOX_EDB       also without TXN_ABORTED, with a part of the events in the open transaction:
 *                    memory or random bytes ran out behind the first statement (RETRY_TXN is set), or
 *                    a trigger or rule of the database took some away (it is not). Roll back.
 * Blocks for its round trips, also on a non-blocking connection. Memory: up to 8 MiB here, and as
 * much in libpq, which keeps its buffer for the life of the connection; an event that is larger
 * than 4 MiB takes what it needs.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_append_many(PGconn *conn, const outbox_event *events,
                                                  size_t n_events, outbox_error *err);

/**
 * Send what outbox_append() sends and return without waiting for the answer: for connections in
 * pipeline mode, and for event loops.
 *
 * Neither enters nor leaves pipeline mode, and sends no Sync there. In pipeline mode the event is
 * queued behind what was sent before; outside of it the connection must be idle. On a non-blocking
 * connection it waits for nothing: what libpq could not hand to the system yet stays in its buffer,
 * and the caller calls PQflush() until it is 0, as after any PQsend function. On a blocking one libpq
 * waits until the system has taken the bytes that it sends. Then PQgetResult() gives one
 * result for it and NULL after that, and outbox_append_result() says what the result means. Success
 * here means nothing about the event.
 *
 * What it can know about the transaction: outside of pipeline mode all that outbox_append() knows.
 * In pipeline mode libpq knows the state as of the last Sync that was answered, and only while no
 * command is out. If one is, a BEGIN may be on its way, or a ROLLBACK, and nothing is refused: then
 * it is for the caller to have sent BEGIN. Without one, the event belongs to the implicit
 * transaction of all that stands between two Syncs. If none is out, OUTBOX_ENOTXN and
 * OUTBOX_EABORTED are given for that last known state. So after a BEGIN whose result was read
 * without a Sync (PQsendFlushRequest()), libpq still says that no transaction is open, and so does
 * this function: send the append before BEGIN's result is read, or send a Sync after BEGIN.
 *
 * @param conn   borrowed; connected; in pipeline mode, or idle in a transaction block
 * @param event  borrowed; copied into libpq's buffer before the return
 * @param err    borrowed; may be NULL
 * @return OUTBOX_OK, or
 *   OUTBOX_EINVAL, OUTBOX_ENOTXN, OUTBOX_EABORTED, OUTBOX_ENOMEM
 *                    as for outbox_append(). Nothing was sent or queued.
 *   OUTBOX_ELINK     the connection was bad or broke. flags: LINK_LOST
 *   OUTBOX_EDB       libpq had no memory to queue the event. sqlstate is empty, flags: RETRY_TXN.
 *                    Roll back, or close the connection.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_append_send(PGconn *conn, const outbox_event *event,
                                                  outbox_error *err);

/**
 * Tell what the result of an outbox_append_send() means.
 *
 * @param result  borrowed, PQclear() stays the caller's; what PQgetResult() gave for that append
 * @param err     borrowed; may be NULL
 * @return OUTBOX_OK: the event is in the transaction; or
 *   OUTBOX_EINVAL    result is NULL or not that of an append: it says nothing about the event
 *   OUTBOX_EABORTED  an earlier command failed, and this one was not run; or the transaction had
 *                    failed before. flags: TXN_ABORTED
 *   OUTBOX_ELINK     the server ended the connection, or the result is libpq's own: the connection
 *                    broke, or libpq had no memory for the answer. Close the connection and run the
 *                    transaction again on a new one. If COMMIT was sent behind the append (without
 *                    BEGIN: a Sync), it may have committed: ask there first. flags: LINK_LOST
 *   OUTBOX_ESCHEMA, OUTBOX_EDB
 *                    as for outbox_append(). flags: TXN_ABORTED, and RETRY_TXN when running the
 *                    transaction again is the cure
 * Any thread; nothing is sent or read. In pipeline mode a failed transaction is over for the caller
 * when the Sync has been read and ROLLBACK sent.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_append_result(const PGresult *result, outbox_error *err);

/**
 * Prepare the statements of all appends on this connection, so that the server parses and plans
 * them once. Optional; events with OUTBOX_APPEND_PREPARED in their flags use them. It saves most for
 * OUTBOX_APPEND_ORDERED; of other single ones the server keeps the plan anyway.
 *
 * The library keeps no note of it: what was prepared is known to the server's session, under names
 * that start with "outbox_". So the flag on a connection that was not prepared, or on which DISCARD
 * ALL or DEALLOCATE ALL was run since, is an error of the server (SQLSTATE 26000) that aborts the
 * transaction. Behind a pooler that hands out other sessions (transaction or statement mode) that
 * happens sooner or later, unless it follows prepared statements (PgBouncer from 1.21,
 * max_prepared_statements): leave it out there. Calling it again on the same connection is
 * harmless, except behind such a pooler: it keeps the statements under names of its own, so they
 * are not found and prepared once more, and it ends the connection of a client that prepares a name
 * twice. There call it once for each connection, and open another when it fails. Prepared
 * statements outlive transactions, rolled back ones too.
 *
 * @param conn   borrowed; connected, idle, not in pipeline mode; in a transaction or not
 * @param err    borrowed; may be NULL
 * @return OUTBOX_OK, or the codes of outbox_check_schema() with their states; OUTBOX_ESCHEMA and
 *         OUTBOX_EDB abort an open transaction (flags: TXN_ABORTED), and what is not prepared yet
 *         stays so: call it again (see above). The INSERT privilege is asked for at each append.
 * Blocks for five round trips at most.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_prepare(PGconn *conn, outbox_error *err);

/**
 * Tell whether the tables in this database are ones that this library can write to, and whether this
 * role may, on this server. Meant for the start of a program: outbox_append() does not repeat the check.
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
 *   OUTBOX_EDB       the role may not read outbox.schema_version, or a policy hides its rows; or it
 *                    lacks a privilege that an append needs: the message is the GRANT. Or nothing can be written: the server is a
 *                    standby, or the transaction is read-only, the open one, or without one the one
 *                    that the session begins by itself (default_transaction_read_only; if you set
 *                    that and begin yours READ WRITE, ask in such a one). The transaction is untouched.
 *                    Or any other refusal. flags as for outbox_append()
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
 * Any thread may call it at any time. It does not block once the system's random numbers are seeded.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_event_id_new(char ret_id[37]);

/* ---- Events that cause events ---------------------------------------------------------------- */

/** What is known of a consumed event, by the names of its record headers. Start from
 *  OUTBOX_CAUSE_INIT. All pointers are borrowed. */
typedef struct outbox_cause {
    size_t struct_size;
    const char *event_id;       /* ce_id; required */
    const char *correlation_id; /* ce_correlationid; NULL: it had none */
    const char *traceparent;    /* NULL: it had none */
    const char *tracestate;
    uint32_t hops;              /* ce_hops; 0: it had none */
    uint32_t reserved;          /* 0 */
} outbox_cause;

#define OUTBOX_CAUSE_INIT { sizeof(outbox_cause), NULL, NULL, NULL, NULL, 0, 0 }

/**
 * Make an event say which event caused it.
 *
 * Sets correlation_id to the cause's, or to its event id when it has none, causation_id to its event
 * id, traceparent and tracestate to its own, and hops to one more than its hops. A traceparent that
 * is not a valid one of version 00 is left out, and its tracestate with it.
 * Other fields stay as they are; what the caller wants otherwise is set afterwards. The relay stops
 * an event with more hops than its setting hops.max: it becomes a dead row that says so. So events
 * that cause each other in a circle come to an end.
 *
 * @param event  changed on success only; points into cause from then on
 * @param cause  borrowed; its texts must live until the append
 * @param err    borrowed; may be NULL
 * @return OUTBOX_OK, or
 *   OUTBOX_EINVAL    a NULL pointer, a struct_size that has no hops or is larger than this library's,
 *                    reserved not 0, no event id, or hops at their end. Whether the texts are within
 *                    their limits is checked by the append.
 * Pure.
 */
OUTBOX_API OUTBOX_MUST_USE int outbox_event_from_cause(outbox_event *event,
                                                       const outbox_cause *cause,
                                                       outbox_error *err);

/* ---- Payloads of a schema registry ----------------------------------------------------------- */

/**
 * Put the framing of a schema registry before a payload: a zero byte and the schema's id in four
 * bytes, the highest first; for Protobuf the path of message indexes after it, as zigzag varints
 * with their number before them, where the path [0] is the one byte 0.
 *
 * No network and no registry: the id is the caller's. The result is the payload of an event.
 *
 * @param schema_id    what the registry calls the schema
 * @param indexes      Protobuf: the path to the message in its schema, none negative; else NULL
 * @param n_indexes    0: no path is written, as for Avro and JSON Schema
 * @param payload      borrowed; may lie in the buffer, also where the frame will be; NULL when
 *                     payload_len is 0
 * @param payload_len  bytes
 * @param buffer       the caller's; NULL when size is 0
 * @param size         of the buffer
 * @return the number of bytes of frame and payload. When it is more than size, nothing was written:
 *         call again with a buffer of that size. With payload_len 0 it is the length of the frame
 *         alone. 0: an invalid argument (a NULL that is not allowed, a negative index, a sum that
 *         no size_t holds); nothing was written.
 * Pure.
 */
OUTBOX_API OUTBOX_MUST_USE size_t outbox_frame_confluent(uint32_t schema_id, const int32_t *indexes,
                                                         size_t n_indexes, const void *payload,
                                                         size_t payload_len, void *buffer,
                                                         size_t size);

#ifdef __cplusplus
}
#endif

#endif /* OUTBOX_H */
