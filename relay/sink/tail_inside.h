/* tail_inside.h - a tail from inside: what its files share, and who owns what. Used by tail*.c only.
 *
 * tail.c is the loop's side. tail_reader.c is the reader's thread; it asks tail_plan.c where the ends of the
 * topics are, and tail_topic.c to read one. The loop's thread owns the list of topics; the reader a topic from
 * the mailbox on until its state is final (release in tail_reader.c), then the loop again.
 */
#ifndef RELAY_SINK_TAIL_INSIDE_H
#define RELAY_SINK_TAIL_INSIDE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "relay/sink/id_table.h"
#include "relay/sink/tail.h"

#define TAIL_BATCH 500 /* topics that are planned, records that are taken, together */

struct tail_part {
    int64_t low, high; /* the log, when reading began */
    int64_t start;     /* records below are not looked at */
    int64_t end;       /* reading [start, end) now */
    uint64_t n, bytes; /* looked at */
    bool reading;
};

enum tail_stage { STAGE_PLAN, STAGE_SAMPLE, STAGE_REST, STAGE_DONE };

struct tail_topic {
    char *name;
    _Atomic int state; /* enum tail_state */
    uint64_t began_ms, deadline_ms;
    struct tail_topic *next_mail;   /* under the lock */
    struct tail_topic *next_active; /* the reader's, as is what follows */
    enum tail_stage stage;
    enum tail_state outcome; /* when DONE */
    uint64_t retry_ms;
    rd_kafka_topic_t *handle;
    struct tail_part *part; /* by partition */
    int32_t n_parts, n_reading;
    int32_t n_counted; /* of its partitions, in the tail's n_parts; it may be read anew */
    struct id_table ids;
    uint64_t took_ms;
    char why[160]; /* it failed */
    bool told;     /* the loop's: the final state was logged */
};

struct tail {
    rd_kafka_t *rk;
    rd_kafka_queue_t *events;  /* the loop's: log lines and errors */
    rd_kafka_queue_t *records; /* the reader's */
    enum envelope_kind envelope;
    uint32_t rows;
    uint64_t max_bytes;
    uint64_t n_parts; /* the reader's: of all topics so far */
    int wake[2];      /* the reader and librdkafka write, the loop polls */
    struct tail_topic **topic;
    size_t n_topics;
    pthread_t reader;
    bool running;
    pthread_mutex_t lock; /* of the mailbox */
    pthread_cond_t mail;
    struct tail_topic *mailbox;
    atomic_bool stop;
};

/* -- tail_reader.c. Starts the thread: 0, or -1. */
int tail_start_reader(struct tail *t);
/* By the reader at its end, or by the loop when there was none: that may take its time while no broker
 * answers. */
void tail_close_client(struct tail *t);

/* -- tail_plan.c. Looks up where the topics end that are due for it, of those that are active; the first
 * reading of what was found begins. */
void tail_plan_due(struct tail *t, struct tail_topic *active);

/* -- tail_topic.c. Begins to read all partitions for the stage, SAMPLE or REST; see
 * advance() in tail_reader.c for its end. */
void tail_read_stage(struct tail *t, struct tail_topic *topic, enum tail_stage stage);
/* Takes what has come of all topics; waits a moment for the first record. */
void tail_read_records(struct tail *t);
/* Nothing more to do for it; it is handed back to the loop when the reader comes round. */
void tail_finish(struct tail_topic *topic, enum tail_state outcome);
void tail_fail(struct tail_topic *topic, const char *why);
/* The error is kept for the case that time runs out. */
void tail_retry_later(struct tail_topic *topic, rd_kafka_resp_err_t err);

#endif
