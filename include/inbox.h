/**
 * inbox.h - consume events from Kafka so that each takes effect once.
 *
 * This header is the description of the library; what is not in it is not part of the interface.
 * Link with `pkg-config --cflags --libs inbox`. Needs libpq and librdkafka. C11 and C++11.
 *
 *     static int on_order(PGconn *conn, const inbox_message *msg, void *arg)
 *     {
 *         ... statements on conn: they commit with the event's id and its position ...
 *         return INBOX_DONE;
 *     }
 *
 *     static void on_log(int level, const char *line, void *arg)
 *     {
 *         if (level <= 6)
 *             fprintf(stderr, "<%d>%s\n", level, line);
 *     }
 *
 *     const char *settings[] = { "dsn", "dbname=shop", "group", "billing", "topics", "orders",
 *                                "kafka.bootstrap.servers", "localhost:9092", NULL };
 *     inbox_consumer *c = NULL;
 *     outbox_error err = OUTBOX_ERROR_INIT;
 *     int code = inbox_consumer_new(settings, &c, &err);
 *     if (code == OUTBOX_OK)
 *         inbox_consumer_log(c, on_log, NULL);
 *     if (code != OUTBOX_OK || inbox_consumer_on(c, NULL, on_order, NULL, &err) != OUTBOX_OK ||
 *         inbox_consumer_run(c, &err) != OUTBOX_OK)
 *         fprintf(stderr, "%s\n", err.message);
 *     inbox_consumer_free(c);
 *
 * Set the log: what run() goes on trying (a wrong password, a broker that does not answer) and what a
 * handler failed of is told there and nowhere else.
 *
 * lib/examples/consumer.c is the whole program. sql/002_inbox.up.sql makes the tables, in the
 * database that the handlers write to; the producer's outbox may be in another one.
 *
 * Guarantees
 *   Once: what a handler does on its connection commits in one transaction with the event's id
 *   (inbox.seen) and the position behind it (inbox.position). An id that is there already, for the
 *   same group, is dropped: whether the relay sent it twice, the consumer was killed anywhere,
 *   PostgreSQL or a broker crashed, partitions moved or were added, or somebody replayed it, within
 *   dedupe.keep. Where the database comes back without transactions that it had committed (a standby
 *   that had not got them was promoted) what they did is done again. What a handler does elsewhere
 *   (HTTP, files, another connection) is not part of the transaction, and may happen more than once.
 *   Order: the events of one key in one partition are applied one after the other as they stand
 *   there, over retries, restarts and rebalances. An event that fails holds back its key only. After
 *   an event has become a dead letter the later ones of its key go on without it, also while it is sent
 *   back. Events without a key have no order.
 *   Nothing is passed over: the position moves past an event when it was applied, dropped as a
 *   repeat, put into inbox.dead, or has no handler. What Kafka itself has deleted before it came (its
 *   retention) is told as an error and counted (expired). The position in the database is the truth; the
 *   offset that Kafka has of the group follows it, as a hint for tools and for a database without
 *   a row.
 *   A consumer that lost a partition and does not know it yet cannot commit for it: each assignment
 *   writes its owner into inbox.position, and a transaction whose owner is not there any more rolls
 *   back.
 *   Not guaranteed: an order between keys; once for events whose id comes again after dedupe.keep;
 *   anything for a handler that commits or rolls back by itself (it is told, see Handlers).
 *
 * Identity
 *   The id is the record header ce_id (envelope cloudevents), or without it the header id if that is
 *   a UUID (envelope debezium). A UUID stands for itself: a producer whose header id has the UUID of
 *   something else than the event, such as a customer, must set ce_id too, or all but the first of
 *   its records with one are dropped. Any other ce_id is unique only within its source
 *   (CloudEvents), so it counts together with ce_source, or where that is missing with the topic.
 *   A record without an id, or with one that is longer than
 *   INBOX_MAX_ID_BYTES or not printable ASCII, counts by topic, partition and offset: such a record
 *   is applied once too, but one that was sent twice are two (INBOX_MESSAGE_NO_ID).
 *
 * Handlers
 *   A handler is called with a transaction open on conn, isolation READ COMMITTED. It may do on it
 *   what a transaction may do, its own savepoints included (names that begin with inbox are the
 *   library's), and outbox_append(). It does not end the transaction, leaves no query running, no
 *   pipeline mode and no COPY, and changes nothing of the session that outlives the transaction. What
 *   lives as long as that (SET LOCAL, a temporary table, an advisory lock) is met by the handlers of
 *   the next events, which share it unless batch.rows is 1; a role set by SET LOCAL must be reset, and
 *   the transaction not be made READ ONLY, since the library works in it too. It returns
 *     INBOX_DONE    applied; commits soon, maybe together with other events
 *     INBOX_RETRY   not now: what it did is undone, and it is called again after a backoff
 *     INBOX_REJECT  never: what it did is undone, and the event goes to inbox.dead at once
 *   or calls inbox_fail(msg, text), to say why, and returns one of these. INBOX_DONE in a transaction
 *   that an SQL error has aborted counts as INBOX_RETRY. An event is called again as well when its
 *   transaction fails for a reason of the database: a lost link, a deadlock, a serialization failure, a
 *   time-out at its COMMIT.
 *   That costs none of its attempts, except when it is the third transaction in a row that failed, and
 *   it did so while this event alone was handled: the server ends such links after a time, or
 *   dies of them, and the other keys must go on. A handler that ends the
 *   transaction gets no second chance to hide it (unless the next one has failed by an SQL error):
 *   consumer_run() rolls back what is left and returns INBOX_EHANDLER, with the type in the message.
 *   What such a handler committed, with the work of those called before it in the same transaction,
 *   is not known to the inbox.
 *   Messages of the connection are of verbosity PQERRORS_VERBOSE: from them the library takes the
 *   SQLSTATE that inbox.attempt and a dead letter keep (error_code). A handler that passes one on
 *   shows PQresultErrorField PG_DIAG_MESSAGE_PRIMARY, or nothing at all: see inbox_fail().
 *   While a handler runs nothing else does. One that takes longer than Kafka's max.poll.interval.ms
 *   (5 minutes unless set) loses its partitions. Where another process has taken them by then, its work
 *   is rolled back and done there.
 *
 * Ownership
 *   Settings and texts are copied. Messages and all they point to are lent for the call of the
 *   handler. A consumer belongs to the caller, who frees it when run() has returned.
 *
 * Threads
 *   run() is one thread's, and handlers are called on it. inbox_consumer_stop() may be called from
 *   any thread and from a signal handler; inbox_consumer_stats() and inbox_consumer_metrics() from
 *   any thread while the consumer exists. Everything else before run() or on its thread. Different
 *   consumers do not know of each other. librdkafka starts threads of its own. The log callback is
 *   called from them too. While there is no link to the database and the dsn has names of hosts, one
 *   thread more looks them up, with all signals blocked. It touches nothing of the consumer: when name
 *   servers say nothing it is left behind by inbox_consumer_free(), and ends when the resolver does.
 *   libinbox.so therefore stays loaded after dlclose(); do not unload a plugin that libinbox.a is in.
 *   Threads do not survive a fork(): consume in the process that called run(), not in a child of it.
 *
 * Errors
 *   As in outbox.h: OUTBOX_OK or a negative code, and the text in a caller-owned outbox_error.
 *   Texts never contain a key, a payload or the value of a header, but for the type of an event.
 *
 * Host process
 *   The library never prints, exits, forks, sets a signal handler or changes the locale. It logs to
 *   the callback of inbox_consumer_log() and else nowhere; librdkafka's own lines too.
 *
 * ABI
 *   The soname is libinbox.so.0. Structs that begin with their size may grow at the end: a program
 *   that was built with an older header works with a newer library. One that was built with a newer
 *   header is refused by an older library's inbox_accept() (OUTBOX_EINVAL, struct_size), and
 *   inbox_consumer_stats() leaves what that does not know as it was. Only the
 *   library makes an inbox_message for a handler; a program that makes one for inbox_accept()
 *   starts from INBOX_MESSAGE_INIT.
 */
#ifndef INBOX_H
#define INBOX_H

#include "outbox.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The migration that this library was written for: sql/002_inbox.up.sql. */
#define INBOX_SCHEMA_VERSION 2

/** Longer ids are not taken as ids; see Identity. */
#define INBOX_MAX_ID_BYTES 255
/** The group is also the name under which the inbox knows this consumer. */
#define INBOX_MAX_GROUP_BYTES 249
/** The most that batch.rows may be: as many subtransactions of one transaction the server keeps in
 *  its fast memory; more would slow down all its other sessions. */
#define INBOX_MAX_BATCH_ROWS 64

/** What a handler returns. Any other value counts as INBOX_RETRY. */
enum inbox_outcome { INBOX_DONE = 0, INBOX_RETRY = 1, INBOX_REJECT = 2 };

/** What inbox_accept() finds. */
enum inbox_acceptance { INBOX_NEW = 0, INBOX_DUPLICATE = 1 };

/** Codes of this library, besides those of enum outbox_code. */
enum inbox_code {
    INBOX_EKAFKA = -32,  /* librdkafka refused the settings, or gave up for good */
    INBOX_EHANDLER = -33 /* a handler ended the transaction that it was lent: a defect of it */
};

/** A short static text for any code that a function of this library returns, those of enum
 *  outbox_code too; for an unknown one, such as what is above 0, "unknown outbox error code".
 *  outbox_strerror() does not know the codes of this library. Never NULL. Any thread. */
OUTBOX_API const char *inbox_strerror(int code);

/** message.flags: the record has no usable id and counts by its place; see Identity. */
#define INBOX_MESSAGE_NO_ID 0x1u
/** message.flags: a dead letter that somebody sent back (outbox-relay inbox retry). Later events of
 *  its key may have been applied before, and others may be handled at the same time, by another process. */
#define INBOX_MESSAGE_REDRIVEN 0x2u

/** One event, as it came. Texts end with a NUL, which in a handler's message stands behind key and payload as well,
 *  beyond their lengths; NULL means that the record does not have it. */
typedef struct inbox_message {
    size_t struct_size;
    const char *topic;
    int32_t partition;
    uint32_t flags;               /* INBOX_MESSAGE_... */
    int64_t offset;
    const void *key;              /* NULL: no key; "" with 0: an empty one */
    size_t key_len;
    const void *payload;          /* NULL: a tombstone; "" with 0: an empty payload */
    size_t payload_len;
    const outbox_header *headers; /* all of the record's, in order; here a value may be NULL */
    size_t n_headers;
    const char *event_id;         /* ce_id, or id if a UUID; NULL: INBOX_MESSAGE_NO_ID */
    const char *type;             /* ce_type or eventType */
    int32_t schema_version;       /* ce_schemaversion; 1 when there is none */
    uint32_t hops;                /* ce_hops; 0 when there is none */
    const char *source;           /* ce_source */
    const char *content_type;     /* content-type */
    const char *correlation_id;   /* ce_correlationid or correlationid */
    const char *causation_id;     /* ce_causationid or causationid */
    const char *traceparent;
    const char *tracestate;
    const char *sequence;         /* ce_sequence: the row's id at its producer, as 20 digits */
    int64_t timestamp_ms;         /* the record's, Unix milliseconds; -1: it has none */
    uint32_t attempt;             /* 1 for the first call of the handler, and so on */
    uint32_t reserved;
    void *internal;               /* the library's; NULL in a message of your own */
} inbox_message;

#define INBOX_MESSAGE_INIT \
    { sizeof(inbox_message), NULL, 0, 0, 0, NULL, 0, NULL, 0, NULL, 0, NULL, NULL, 1, 0, NULL, \
      NULL, NULL, NULL, NULL, NULL, NULL, -1, 1, 0, NULL }

typedef struct inbox_consumer inbox_consumer;

/**
 * Apply one event: see Handlers.
 *
 * @param conn  lent; in a transaction
 * @param msg   lent for the call
 * @param arg   what inbox_consumer_on() was given
 * @return INBOX_DONE, INBOX_RETRY or INBOX_REJECT
 */
typedef int (*inbox_handler)(PGconn *conn, const inbox_message *msg, void *arg);

/** One line of the log, without a newline. level as in syslog(3): 3 error, 4 warning, 6 info,
 *  7 debug. line is lent for the call. */
typedef void (*inbox_log)(int level, const char *line, void *arg);

/**
 * Make a consumer. Nothing is connected yet.
 *
 * Settings are pairs of name and value; a NULL ends them. A later pair wins. Durations carry a unit
 * (ms, s, m, h, d), sizes too (B, KiB, MiB, GiB).
 *   dsn              required; a libpq connection string or URI. Whether libpq can read it is checked
 *                           here; the message shows no part of it
 *   group            required; group.id, and the consumer's name in the tables of the inbox
 *   topics           required; names with commas between them, each once
 *   kafka.NAME       property NAME of librdkafka; kafka.bootstrap.servers is required. Its numbers
 *                    are plain ones, and a unit is refused. So are properties that the guarantees
 *                    rest on: group.id, enable.auto.commit, enable.auto.offset.store,
 *                    partition.assignment.strategy, enable.partition.eof, log.queue,
 *                    isolation.level=read_uncommitted, group.protocol=consumer, auto.offset.reset (see
 *                    inbox.start)
 *   batch.rows       64     the most events in one transaction, 1 to INBOX_MAX_BATCH_ROWS. How many
 *                           it takes follows what is there and how long handlers take
 *   retry.base       200ms  the first backoff of an event that failed; doubles from one to the next,
 *                           of which half is chance
 *   retry.max        1m     the longest backoff
 *   retry.attempts   10     calls of the handler, the first one counted too, after which an event is
 *                           dead; 0: any number. (The relay's setting of this name counts what comes
 *                           after the first, so that 0 is none)
 *   retry.total      15m    time since the first failure after which it is dead; 0s: any time. Not
 *                           both 0: the longest wait must stay below half of dedupe.keep. Calls are
 *                           counted over restarts, those that ended their process too (see
 *                           inbox(7)); the time is this process's
 *   inflight.rows    10000  events in memory, those that are held back included. When so many are
 *                           there partitions are paused, until a quarter of what those that wait
 *                           leave is free. A partition with a key that is held back is paused by
 *                           itself when it has more than a quarter of what the others leave, so
 *                           that these go on; its other keys wait then: see inbox(7)
 *   inflight.bytes   64MiB  the same by size; one event larger than that is taken alone
 *   dedupe.keep      7d     how long ids are remembered, 1m at least
 *   inbox.start      earliest  where a partition begins that neither inbox.position nor Kafka has a
 *                           position of: earliest, or latest, which then is its position. Where a
 *                           position is no longer in the log (retention, a topic made anew) it goes
 *                           on at the earliest record, and ids drop what was applied
 *                           With latest, what is written to a partition that is added later, before a
 *                           process sees it (topic.metadata.refresh.interval.ms), is passed over
 *   sequence.header  ce_sequence  a header in which the producer numbers the events of each key itself,
 *                           by one each (the version of an aggregate): then sequence_gaps counts
 *                           what is missing, see inbox_stats. It may be ce_sequence itself, where a
 *                           producer's counts by the key; outbox-relay's does not
 *
 * @param settings      borrowed, copied
 * @param ret_consumer  the consumer; untouched on failure
 * @param err           borrowed; may be NULL
 * @return OUTBOX_OK, or
 *   OUTBOX_EINVAL  a NULL that is not allowed; a setting that is unknown, missing, refused or out of
 *                  its range: the message names it, its value and what it may be
 *   INBOX_EKAFKA   librdkafka does not take the properties; the message is its own
 *   OUTBOX_ENOMEM  no memory
 */
OUTBOX_API OUTBOX_MUST_USE int inbox_consumer_new(const char *const *settings,
                                                  inbox_consumer **ret_consumer, outbox_error *err);

/**
 * Name the handler of an event type. Events whose type has none, when there is no default one
 * either, are passed by and counted (ignored).
 *
 * @param c        borrowed; not running
 * @param type     borrowed, copied; NULL: the default, for every type without a handler of its own
 * @param handler  not NULL; takes the place of an earlier one of this type
 * @param arg      handed to it; may be NULL
 * @param err      borrowed; may be NULL
 * @return OUTBOX_OK; OUTBOX_EINVAL: a NULL that is not allowed; OUTBOX_ENOMEM
 */
OUTBOX_API OUTBOX_MUST_USE int inbox_consumer_on(inbox_consumer *c, const char *type,
                                                 inbox_handler handler, void *arg,
                                                 outbox_error *err);

/** Where log lines go; NULL: nowhere, which is so at first. c is borrowed and not running; arg is
 *  handed on. log is called from several threads. Each attempt that fails is a line, with the reason
 *  and when the next one comes, but no more than 100 of them in 10 s; so is each dead letter. Cannot
 *  fail. */
OUTBOX_API void inbox_consumer_log(inbox_consumer *c, inbox_log log, void *arg);

/**
 * Consume until inbox_consumer_stop(), or an error that waiting does not mend.
 *
 * While PostgreSQL or Kafka is away it goes on trying, and says so in the log and in the figures: a
 * service may start before either. It joins the group with its first link to the database, and when
 * that has been gone for kafka.session.timeout.ms (45 s unless set) it leaves the group until the
 * next one, so that those members that have one take its partitions. When it returns nothing is half done: the last transaction is
 * committed or rolled back, the group is left, connections are closed. It may be called again.
 *
 * @param c    borrowed; with a handler
 * @param err  borrowed; may be NULL
 * @return OUTBOX_OK after a stop, or
 *   OUTBOX_EINVAL    c is NULL, has no handler, or runs already
 *   OUTBOX_ESCHEMA   the tables of the inbox are not in this database, or of another version
 *   OUTBOX_EDB       a linked database refuses a statement for good, such as for want of a right. (That
 *                    no link can be had is in the log and it goes on trying, whatever the reason: a
 *                    wrong password, a database or role that does not exist, may be mended meanwhile.)
 *   INBOX_EKAFKA     librdkafka has met an error that it calls fatal, or refuses the properties as it
 *                    begins, such as for a certificate that it cannot read
 *   INBOX_EHANDLER   a handler ended its transaction
 *   OUTBOX_ENOMEM    no memory
 * Blocks.
 */
OUTBOX_API OUTBOX_MUST_USE int inbox_consumer_run(inbox_consumer *c, outbox_error *err);

/** Let run() leave the group and return when the transaction that it is in has ended; on the way to a
 *  link it ceases to wait within a tenth of a second. Brokers that do not answer are waited for 10 s, and some
 *  seconds more where a partition is about to begin. It is not heard while libpq asks a Kerberos or LDAP server for a link, nor, when no
 *  thread can be had, while it looks up names, nor in a statement of the library whose server has gone
 *  silent (see OPERATION in inbox(7) for how long). A stop that comes before run() ends
 *  that one at once; each ends one. c is borrowed; NULL is allowed. Any thread, any signal handler. */
OUTBOX_API void inbox_consumer_stop(inbox_consumer *c);

/** c may be NULL, and must not be running. */
OUTBOX_API void inbox_consumer_free(inbox_consumer *c);

/** Say why a handler returns INBOX_RETRY or INBOX_REJECT: shown by inbox.failing as long as the event
 *  is called again, kept with the dead letter, and in the log.
 *  Without it that is the last error of the connection, if there was one, without its details, which
 *  would show values of rows. msg is the handler's; text is copied, as one line, and cut after 500
 *  bytes. Nothing happens with a message of your own, or a NULL. Returns nothing, so that
 *  `inbox_fail(msg, "..."); return INBOX_REJECT;` reads well. */
OUTBOX_API void inbox_fail(const inbox_message *msg, const char *text);

/**
 * Take an event in a transaction of your own: for those who have their own loop.
 *
 * Call it before the handler's work, in the transaction that does it, and do the work when it says
 * INBOX_NEW; then commit, and only then tell Kafka. It stores nothing but the id; positions are
 * yours. Not in a handler under the name of its own group: the consumer stores that id itself, and
 * would repeat the transaction for ever. When another transaction has taken the same id and not ended
 * it waits for that one. Ids are remembered as long as the longest dedupe_keep in inbox.consumer, 7
 * days where there is none, and leave only when somebody calls inbox.turn(): consumers do, and so may
 * a cron job.
 *
 * @param conn      borrowed; in a transaction block, isolation READ COMMITTED, idle, not in pipeline
 *                  mode
 * @param consumer  borrowed; the name under which ids are remembered, such as the group
 * @param msg       borrowed; topic, partition and offset, and event_id and source if it has them.
 *                  See inbox_message_from_headers() for how to fill one
 * @param err       borrowed; may be NULL
 * @return INBOX_NEW, INBOX_DUPLICATE, or a negative code:
 *   OUTBOX_EINVAL    a NULL that is not allowed, a struct_size that is larger than this library's or
 *                    that no header had, a group that is too long, no topic or too long a one,
 *                    pipeline mode or a command in progress. Nothing was sent.
 *   OUTBOX_ENOTXN, OUTBOX_EABORTED, OUTBOX_ELINK, OUTBOX_ESCHEMA, OUTBOX_EDB
 *                    as for outbox_append(), with the same flags
 * Blocks for one round trip, and for the other transaction.
 */
OUTBOX_API OUTBOX_MUST_USE int inbox_accept(PGconn *conn, const char *consumer,
                                            const inbox_message *msg, outbox_error *err);

/**
 * Fill event_id, type, schema_version, source and the like from msg->headers: those of the relay's
 * envelopes cloudevents, debezium and plain.
 *
 * @param msg   borrowed; starts from INBOX_MESSAGE_INIT, with headers set. What it is given points
 *              into the values of the headers, which must each be followed by a NUL, as librdkafka's
 *              are
 * Fields that no header names stay as they are, but for schema_version, which is 1 then. Sets or clears INBOX_MESSAGE_NO_ID. Cannot fail.
 */
OUTBOX_API void inbox_message_from_headers(inbox_message *msg);

/** The cause for outbox_event_from_cause(), of an event that a handler appends. Points into msg. An
 *  event without an id has no cause to name: then event_id is NULL, which that function refuses. */
static inline outbox_cause inbox_cause(const inbox_message *msg)
{
    outbox_cause cause = OUTBOX_CAUSE_INIT;

    cause.event_id = msg->event_id;
    cause.correlation_id = msg->correlation_id;
    cause.traceparent = msg->traceparent;
    cause.tracestate = msg->tracestate;
    cause.hops = msg->hops;
    return cause;
}

/* ---- Figures --------------------------------------------------------------------------------- */

#define INBOX_LATENCY_BUCKETS 14

/** What a consumer has done since it was made, and where it stands. Start from INBOX_STATS_INIT. */
typedef struct inbox_stats {
    size_t struct_size;
    uint64_t received;             /* events taken from Kafka */
    uint64_t applied;              /* handler done, and committed */
    uint64_t duplicates;           /* dropped: their ids had been applied */
    uint64_t ignored;              /* of a type without a handler */
    uint64_t retries;              /* failed calls that are followed by another */
    uint64_t dead;                 /* put into inbox.dead, rejected ones included */
    uint64_t rejected;             /* of these by INBOX_REJECT */
    uint64_t redriven;             /* dead letters that were sent back, and applied */
    uint64_t transactions;         /* committed */
    uint64_t rollbacks;            /* transactions that failed as a whole and were repeated */
    uint64_t fenced;               /* of these because the partition had another owner */
    uint64_t rebalances;
    uint64_t db_reconnects;
    uint64_t kafka_errors;         /* errors that librdkafka reported, and goes on after */
    uint64_t sequence_repeats;     /* ce_sequence was that of the key's last event: sent twice */
    uint64_t sequence_backwards;   /* it was lower: a replay, or writers that nothing ordered. Both
                                      within a key, partition and ce_source, as they came, dropped or not,
                                      of some 16,384 keys, since the partition came here */
    uint64_t handler_us;           /* time spent in handlers, microseconds */
    uint64_t handler_calls;
    uint64_t handler_bucket[INBOX_LATENCY_BUCKETS]; /* calls by duration, see the metrics' text;
                                                       the last has those above all bounds */
    int64_t lag;                   /* events between the positions and the ends of the partitions
                                      that are assigned, as far as known: 0 while it is
                                      out of the group; markers of
                                      Kafka's transactions count, so it may stay at 1 */
    int64_t last_commit_unix_ms;   /* when the last transaction committed; 0: none yet */
    uint32_t in_flight_rows;       /* in memory: waiting, held back, or not committed yet */
    uint32_t held_keys;            /* keys with an event that failed */
    uint64_t in_flight_bytes;
    uint32_t partitions;           /* assigned */
    uint32_t partitions_paused;    /* of these not fetched: memory is full, or
                                      they have too much of it behind a held key, or
                                      are not claimed yet */
    uint32_t db_up;                /* 1: there is a link to the database */
    uint32_t reserved;
    uint64_t sequence_gaps;        /* numbers of the key were missing before it. Only with sequence.header:
                                      ce_sequence counts all events of a producer's outbox, not those of
                                      a key, so that what is missing there says nothing */
    uint64_t expired;              /* offsets that Kafka had deleted (retention) before they came here */
    uint64_t stalls;               /* partitions that gave nothing although Kafka had events, and were
                                      assigned anew: see inbox(7) */
} inbox_stats;

#define INBOX_STATS_INIT \
    { sizeof(inbox_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, { 0 }, \
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** Copy the figures. c is borrowed. Untouched when a pointer is NULL or ret->struct_size is smaller
 *  than any header's; fields that the caller's older struct does not have are left out, those of a
 *  newer one as they were. Any thread. */
OUTBOX_API void inbox_consumer_stats(inbox_consumer *c, inbox_stats *ret);

/**
 * Write the figures in the text format of Prometheus, version 0.0.4: inbox_..., with the label
 * group.
 *
 * @param c       borrowed
 * @param buffer  the caller's; NULL when size is 0
 * @return the length of the text without its NUL. When that is size or more the text was cut: call
 *         again with a larger buffer. 32 KiB are enough for any group. 0: c is NULL.
 * Any thread.
 */
OUTBOX_API OUTBOX_MUST_USE size_t inbox_consumer_metrics(inbox_consumer *c, char *buffer,
                                                         size_t size);

#ifdef __cplusplus
}
#endif

#endif /* INBOX_H */
