/* sink.h - Kafka: records out, the fate of each back. The only module that knows librdkafka.
 *
 * Two lanes, each a producer of its own (core/fate.h): the main one is pipelined and stops exactly
 * at the first refusal (enable.gapless.guarantee); the solo one puts each record into a batch of its
 * own, so that a refusal names its culprit, and is made when first needed. Both are idempotent
 * with acks=all and never time a record out. A producer is disposable: sink_reset makes a new one.
 *
 * librdkafka's threads only queue; everything here runs on the caller's thread.
 */
#ifndef RELAY_SINK_SINK_H
#define RELAY_SINK_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/core/fate.h"
#include "relay/row.h"

struct sink;

struct sink_property {
    const char *name, *value; /* of librdkafka */
};

struct sink_report {
    uint32_t slot;
    enum lane lane;
    enum outcome outcome;
    enum blame blame;
    int32_t partition; /* persisted: where */
    int64_t offset;    /* negative: not known */
    const char *code;  /* librdkafka's name of the error, or "no report"; static */
    const char *text;  /* and its words; static or good during the call */
};

#define SINK_BROKERS 16

/* Of the main lane's producer, since it was made. */
struct sink_statistics {
    uint64_t queue_messages, sent_messages;
    uint64_t n_answers; /* of all brokers */
    bool any_up;        /* some broker is connected */
    uint32_t n_brokers;
    struct {
        char name[128]; /* host:port/id */
        double rtt_s;   /* negative: not known */
        uint64_t n_errors;
    } broker[SINK_BROKERS];
};

struct sink_config {
    const struct sink_property *properties; /* borrowed during sink_new */
    size_t n_properties;
    uint32_t max_rows;  /* rows out at once, at most: the range of slots */
    uint64_t max_bytes;
    void *arg;
    /* Called from sink_poll, sink_reset and sink_free. */
    void (*on_report)(void *arg, const struct sink_report *report);
    void (*on_fatal)(void *arg, enum lane lane);
    /* May be NULL, as the next. What librdkafka tells of its own accord; all_down: no broker answers. */
    void (*on_error)(void *arg, const char *code, const char *text, bool all_down);
    void (*on_statistics)(void *arg, const struct sink_statistics *s);
};

/* A record to produce. Key, payload and headers are borrowed until the report; the rest is copied. */
struct sink_record {
    uint32_t slot;
    uint32_t topic; /* the core's number of the topic, small and dense */
    const struct row *row;
    const struct header *headers;
    size_t n_headers;
};

enum sink_take {
    SINK_TAKEN,
    SINK_FULL,    /* nothing taken: try again after a report */
    SINK_REFUSED  /* nothing taken, and *ret_report says why; its text is good until the next call */
};

/* Does librdkafka take a property by itself? 0, or -1 with a message in err that begins with its key. */
int sink_check_property(const struct sink_property *p, char *err, size_t err_size);

/* 0; -1: a property is not to librdkafka's liking, or there is no memory or no pipe; err says which. */
int sink_new(const struct sink_config *cfg, struct sink **ret_sink, char *err, size_t err_size);
/* Rows that are still out are reported first. Accepts NULL. */
void sink_free(struct sink *s);
/* Readable when sink_poll has something to do. */
int sink_fd(const struct sink *s);
/* Serves what waits: reports, errors, log lines. */
void sink_poll(struct sink *s);
/* Does any broker answer a question about nothing in particular? Waits for it. */
bool sink_reachable(const struct sink *s, int timeout_ms);
/* A record larger than its topic takes, as far as that is known (limits.h), is refused here: no batch
 * fails for it, and nothing else of the lane is touched. Not so with compression, when only the broker
 * can tell. */
enum sink_take sink_produce(struct sink *s, enum lane lane, const struct sink_record *rec,
                            struct sink_report *ret_report);
/* Must this row wait for the report of another one of its topic? A broker takes whatever comes first from
 * a producer that it does not know on a partition, so a batch that is on its way behind a refused first
 * one would be written, guarantee or not (seen with Kafka 4.1.1). Hence of the rows with a key one goes
 * first to each partition, alone among them, for each new producer of the main lane. */
bool sink_must_wait(const struct sink *s, enum lane lane, uint32_t topic, const struct row *row);
/* Takes back what is not written yet, reports every row that is out in the lane, and replaces the
 * producer. Blocks for milliseconds, a few seconds at worst. 0, or -1 when there is no new one. */
int sink_reset(struct sink *s, enum lane lane);

/* librdkafka's version, as text. */
const char *sink_library_version(void);

#endif
