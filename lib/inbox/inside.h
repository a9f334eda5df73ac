/* inside.h - what the files of libinbox share: the consumer and its parts.
 *
 * The way of an event: kafka.c (record) -> received.c (handler found, into the window) -> batch.c (batch_calls.c:
 * transaction, handlers; batch_end.c: COMMIT) -> window.c (done, again, waiting). Only connect.c, db.c, batch_*.c, call.c,
 * steps.c, attempts.c, failures.c, redrive.c and accept.c know libpq, only kafka.c, kafka_properties.c,
 * kafka_offsets.c and kafka_waits.c librdkafka, and window.c, record.c and settings.c neither.
 * All of it runs on the thread of inbox_consumer_run(), but for inbox_consumer_stop(), the figures that stats.c has
 * published, and inbox__log(), which librdkafka's threads call too. Names are looked up beside it: lib/shared/lookup.h.
 */
#ifndef INBOX_LIB_INSIDE_H
#define INBOX_LIB_INSIDE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "inbox.h"
#include "lib/shared/restraint.h"
#include "record.h"
#include "settings.h"
#include "window.h"

/* What becomes of an event when its batch commits. */
enum inbox__fate {
    INBOX__AGAIN,     /* not called: its key failed before it, or the batch ended early */
    INBOX__APPLIED,
    INBOX__DUPLICATE,
    INBOX__FAILED,    /* to be called again later */
    INBOX__REJECTED,  /* to inbox.dead; so are the next two */
    INBOX__ATTEMPTS,
    INBOX__TIME
};

struct inbox__handler {
    char *type; /* NULL: the default */
    inbox_handler call;
    void *arg;
};

/* A record whose place and contents are known, to tell its log from another under the same name. */
struct inbox__witness {
    int64_t offset; /* -1: there is none */
    uint64_t mark;  /* of that record */
};

/* What the database has of a partition. */
struct inbox__place {
    int64_t next; /* -1: nothing */
    struct inbox__witness witness;
    bool owned; /* somebody was written there as its owner: one that did not give it up, or this process by an
                 * earlier claim whose answer was lost */
};

/* A partition that Kafka has assigned to this process. */
struct inbox__partition {
    struct inbox__part part; /* first: a part is the partition that it begins */
    char *topic;
    int32_t number;
    bool claimed;            /* ours in the database; without it its records are dropped */
    bool paused;             /* not fetched */
    bool crowded;            /* paused because of what it has in memory behind a held key */
    uint64_t due_ms;         /* when it is tried next to claim it, or to let it go back */
    struct restraint said_waits; /* that it cannot be claimed, in the log, and */
    uint64_t waits_for;      /* hash of why; 0: it was not said */
    int64_t back_to;         /* the log goes back to here, when all in memory is finished; -1: no */
    struct inbox__witness witness; /* what came last; at first what the database has */
    bool looks_back;         /* nothing has come yet: the first record may be the witness */
    int64_t began;           /* where, as Kafka knew it, for the database had no position; -1: nobody knows */
    struct inbox__note *notes; /* attempts.c's own, by offset */
    size_t n_notes;
    uint32_t suspects;       /* so many events are called alone: the last owner may have died of one */
    bool knows_owner;        /* the database has told who that was */
    int64_t reached;         /* Kafka has said that all up to here has come; -1: not since it began */
    int64_t end;             /* of its log, as the broker said at the last look, when nothing has come since; -1: unknown */
    uint32_t silent;         /* looks, one after the other, at which it was behind and had given nothing */
    uint32_t anew;           /* times that it was assigned anew, and has given nothing since */
    int64_t hinted;          /* what Kafka has as the group's offset, as far as known; -1: unknown */
    struct inbox__partition *next;
};

/* redrive.c's own: what it knows of dead letters that were sent back, by their ids; 0: none. */
struct inbox__sent_back {
    int64_t last;     /* the one that was called last, and */
    uint32_t losses;  /* the links lost by it, */
    uint32_t undone;  /* and the deadlocks that it met, one after the other */
    int64_t called;   /* the one whose row may still say that this process calls it */
    int64_t away;     /* the one whose caller is away, and */
    uint64_t away_ms; /* since when, as seen here */
    uint32_t busy;    /* looks without any to see, one after the other */
};

struct inbox__way;   /* connect.c's own */
struct inbox__kafka; /* kafka.c's own */

struct inbox_consumer {
    struct inbox__settings set;
    struct inbox__handler *handlers;
    size_t n_handlers;
    inbox_log log;
    void *log_arg;
    atomic_int stop;
    atomic_int running;

    char owner[96];          /* of this run: what inbox.position says when a partition is ours */
    uint64_t chance;         /* state of retry_random() */
    struct inbox__window window;
    struct inbox__partition *partitions;
    uint32_t n_part_ids;
    bool full;               /* memory is: partitions are paused */
    bool any_crowded;
    bool drained;            /* since the last second: there was nothing to poll, and a link to the database */
    uint32_t calm_s;         /* such seconds since the last look for partitions that stall */
    uint32_t stall_s;        /* so many are between two looks: INBOX__STALL_S, but in tests */

    PGconn *conn;            /* NULL: no link */
    struct inbox__way *way;  /* to one */
    bool server_is_utf8;
    uint32_t n_connects;
    char last_id[INBOX__IDENTITY_SIZE]; /* of the last transaction that stored any; "": none */
    uint64_t last_id_ms;     /* when */
    uint32_t connect_failures;
    uint64_t connect_due_ms;
    uint32_t batch_failures; /* batches that failed as a whole, one after the other */
    uint64_t batch_due_ms;
    uint32_t careful;        /* so many events still go in savepoints: one failed lately */
    size_t batch_limit;      /* how many events the next batch may have */
    struct restraint said_failed; /* batch.c's own: attempts that failed, in the log */
    bool one_by_one;         /* the last one called its only event with care */
    uint64_t second_due_ms, turn_due_ms, redrive_due_ms, waiting_due_ms;
    const char *waits_for;   /* what was last said of having no partition; "": nothing; static */
    struct inbox__sent_back sent_back;

    struct inbox__kafka *kafka; /* NULL: not in the group */
    uint64_t patience_ms;    /* so long it stays there without a link to the database */
    uint64_t leave_due_ms;   /* UINT64_MAX: there is a link, or there was none yet */

    inbox_stats figures;     /* of the running thread */
    struct inbox__sequences *sequences;
    pthread_mutex_t lock;    /* for: */
    inbox_stats published;
};

/* The longest wait: how soon a stop is seen. */
#define INBOX__IDLE_MS 100

/* -- log.c ------------------------------------------------------------------------------------- */

/* Of CLOCK_MONOTONIC. */
uint64_t inbox__now_ms(void);
uint64_t inbox__now_us(void);
/* One line to the function of inbox_consumer_log(), if there is one; level: of syslog. */
__attribute__((format(printf, 3, 4)))
void inbox__log(struct inbox_consumer *c, int level, const char *format, ...);

/* -- received.c -------------------------------------------------------------------------------- */

/* NULL: there is none. */
const struct inbox__handler *inbox__handler_of(const struct inbox_consumer *c, const char *type);
/* The record is the window's from here on, or freed. */
void inbox__received(struct inbox_consumer *c, struct inbox__partition *p, struct inbox__record *r);

/* -- partitions.c ------------------------------------------------------------------------------ */

struct inbox__partition *inbox__partition_find(struct inbox_consumer *c, const char *topic,
                                               int32_t number);
/* Assigned: claims it where the database answers, and before until_ms; otherwise tend() does. ret_start: the
 * offset to fetch from, -1 for where Kafka has the group. NULL: out of memory. */
struct inbox__partition *inbox__partition_add(struct inbox_consumer *c, const char *topic,
                                              int32_t number, uint64_t until_ms,
                                              int64_t *ret_start);
/* Kafka gives it from this offset on, or has nothing below it. Where nothing was known of it that is its position, which the
 * database gets although nothing is finished: else Kafka would say where a database begins that has lost what came after,
 * and say what it was told since. */
void inbox__partition_begins(struct inbox__partition *p, int64_t offset);
/* Is its position another one than the database has; and a lower one, because its log went back? */
bool inbox__partition_moves(const struct inbox__partition *p);
bool inbox__partition_goes_back(const struct inbox__partition *p);
/* Is it not to be fetched now? */
bool inbox__partition_rests(const struct inbox_consumer *c, const struct inbox__partition *p);
/* It cannot be claimed, for this reason: to the log when that begins, when the reason is another, and now and then. */
void inbox__partition_waits(struct inbox_consumer *c, struct inbox__partition *p, const char *why);
/* Taken away: forgets its events. */
void inbox__partition_remove(struct inbox_consumer *c, struct inbox__partition *p);
void inbox__partitions_clear(struct inbox_consumer *c);
/* Claim again what could not be claimed, and let go back what is to, where it is due: the longest due first,
 * and after INBOX__ROUND_MS the others in the next round, because who does not poll is taken for dead. */
#define INBOX__ROUND_MS 1000
void inbox__partitions_tend(struct inbox_consumer *c, uint64_t now_ms);
/* What is in memory of it goes from there; it is claimed again, and begins where the database says, from due_ms on. */
void inbox__partition_let_go(struct inbox_consumer *c, struct inbox__partition *p, uint64_t due_ms);
/* The database says that another owns some: forget those. */
void inbox__partitions_fenced(struct inbox_consumer *c);
/* The database has lost transactions that it had committed: what is in memory goes from there, and all are claimed again. */
void inbox__partitions_begin_again(struct inbox_consumer *c);
/* Pause all when memory is full, one that has too much of it behind a held key by itself; and let them go on. */
void inbox__partitions_pressure(struct inbox_consumer *c);
struct inbox__bound inbox__bound(const struct inbox_consumer *c);
/* A record of it has come. False: it is not to be applied: the partition is not ours; the record is the
 * witness before the position; or the log goes back (the topic was made anew, or has lost its end): then what is
 * in memory is finished first, and nothing new is taken. */
bool inbox__partition_admits(struct inbox_consumer *c, struct inbox__partition *p,
                             const struct inbox__record *r);
/* Of its position, as it is when all taken events with `finished` leave. */
struct inbox__witness inbox__partition_witness(const struct inbox__partition *p);

/* -- watch.c ----------------------------------------------------------------------------------- */

/* Twice as long as a partition that moves to another leader is away, and sixty times as long as a broker lets a fetch wait. */
#define INBOX__STALL_S 30
/* It begins, or rests: what was seen of it before says nothing. */
void inbox__partition_unseen(struct inbox__partition *p);
/* A record of it has come. */
void inbox__partition_lives(struct inbox__partition *p);
/* Kafka says that all up to this offset has come. */
void inbox__partition_ends(struct inbox__partition *p, int64_t offset);
/* Once a second, outside of a batch: assign those anew that stall. */
void inbox__partitions_watch(struct inbox_consumer *c);

/* -- connect.c --------------------------------------------------------------------------------- */

/* -1: out of memory. */
int inbox__way_init(struct inbox_consumer *c);
void inbox__way_deinit(struct inbox_consumer *c);
/* One piece of it, which takes INBOX__IDLE_MS at most, or less when there is a stop. 0: call again; 1: there is a
 * connection; -1: none can be had now, and why says it. */
int inbox__way_go(struct inbox_consumer *c, PGconn **ret_conn, char *why, size_t size);
/* No more of it. */
void inbox__way_leave(struct inbox_consumer *c);

/* -- db.c -------------------------------------------------------------------------------------- */

/* Can libpq read the dsn? OUTBOX_EINVAL, and a text without any of it, when not. */
int inbox__db_check(const struct inbox_consumer *c, outbox_error *err);
/* Connect when it is due. OUTBOX_OK, also while there is no link yet; a code that waiting does not
 * mend. */
int inbox__db_tend(struct inbox_consumer *c, uint64_t now_ms, outbox_error *err);
void inbox__db_close(struct inbox_consumer *c);
/* False: the database did not answer; try later. */
bool inbox__db_claim(struct inbox_consumer *c, struct inbox__partition *p, struct inbox__place *ret);
/* Give it up. False: that failed, as where somebody has its row locked; then the row says still that it is ours. */
bool inbox__db_release(struct inbox_consumer *c, const struct inbox__partition *p);
/* Is it still ours? True too when the database does not answer. */
bool inbox__db_owns(struct inbox_consumer *c, const struct inbox__partition *p);
/* Empty old ids' bucket, when it is time. */
void inbox__db_turn(struct inbox_consumer *c);

/* -- batch.c, redrive.c ------------------------------------------------------------------------ */

/* One transaction, if there is anything for it. OUTBOX_OK, or a code that waiting does not mend. */
int inbox__batch_run(struct inbox_consumer *c, uint64_t now_ms, bool flush, outbox_error *err);
/* One dead letter that was sent back, if there is any. The same codes. */
int inbox__redrive(struct inbox_consumer *c, bool *ret_more, outbox_error *err);
/* No dead letter says any more that this process calls it. False: one may. */
bool inbox__redrive_take_back(struct inbox_consumer *c);

/* -- kafka.c, kafka_properties.c, kafka_offsets.c, kafka_waits.c --------------------------------------------- */

/* Does librdkafka take the properties? */
int inbox__kafka_check(struct inbox_consumer *c, outbox_error *err);
/* Join the group, and be patient as long as it is with a member that says nothing: session.timeout.ms. */
int inbox__kafka_open(struct inbox_consumer *c, outbox_error *err);
/* Leave it. */
void inbox__kafka_close(struct inbox_consumer *c);
/* Serve what there is; at most one record, which inbox__received() gets. ret_any: there was one.
 * A code: librdkafka gave up for good. Out of the group it only waits. */
int inbox__kafka_poll(struct inbox_consumer *c, int timeout_ms, bool *ret_any, outbox_error *err);
/* Why it may have no partition, in words; static. Takes a second at most. */
const char *inbox__kafka_waits_for(const struct inbox_consumer *c);
/* Fetch p from the offset on; -1: from where Kafka has the group, or inbox.start says, and offset becomes
 * that where it is known. False: try later. */
bool inbox__kafka_begin(struct inbox_consumer *c, struct inbox__partition *p, int64_t *offset);
void inbox__kafka_pause(struct inbox_consumer *c, struct inbox__partition *p, bool pause);
/* Tell Kafka the positions that it does not know yet, without waiting. */
void inbox__kafka_hint(struct inbox_consumer *c);
/* Where the log of p begins, as far as known; -1: it is not. */
int64_t inbox__kafka_low(const struct inbox_consumer *c, const struct inbox__partition *p);
/* Events from the positions to the ends of the partitions, as far as known. */
int64_t inbox__kafka_lag(struct inbox_consumer *c);
/* Ask where the logs of the partitions end that do not rest: their `end`. Takes a second at most. */
void inbox__kafka_ends(struct inbox_consumer *c);

/* -- stats.c ----------------------------------------------------------------------------------- */

int inbox__stats_init(struct inbox_consumer *c);
void inbox__stats_deinit(struct inbox_consumer *c);
void inbox__stats_sequence(struct inbox_consumer *c, const struct inbox__record *r);
void inbox__stats_handler(struct inbox_consumer *c, uint64_t us);
void inbox__stats_publish(struct inbox_consumer *c);

#endif
