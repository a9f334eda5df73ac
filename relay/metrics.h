/* metrics.h - counters, gauges and histograms, and their text in Prometheus' format.
 *
 * The metrics themselves are the rows of metrics.def. struct metrics is plain data: whoever counts adds to
 * a field, and a copy by assignment is a snapshot. Labels have few values whatever the world does: of
 * topics, reasons, codes and brokers the first ones seen get a value of their own, all others share
 * "(other)", which no topic, error or broker is called. Knows neither who counts nor who shows.
 */
#ifndef RELAY_METRICS_H
#define RELAY_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define METRIC_TOPICS 100
#define METRIC_CODES 24
#define METRIC_BROKERS 16

enum metric_op { OP_READ, OP_MARK, OP_HOLD, OP_LEASE, OP_SWEEP, OP_CLEANUP, OP_FIGURES, N_METRIC_OPS };
enum metric_state {
    STATE_RETRYING, /* in the order of enum hold_state */
    STATE_BLOCKED,
    STATE_PAUSED,
    STATE_SCHEDULED,
    STATE_DEAD,
    STATE_DISCARDED,
    N_METRIC_STATES
};

/* How many series a metric with these labels can have at most. */
#define LABELS_NONE 1
#define LABELS_BUILD 1
#define LABELS_TOPIC (METRIC_TOPICS + 1)
#define LABELS_CODE (METRIC_CODES + 1)
#define LABELS_TOPIC_REASON (LABELS_TOPIC * LABELS_CODE)
#define LABELS_OP N_METRIC_OPS
#define LABELS_STATE N_METRIC_STATES
#define LABELS_LANE 2
#define LABELS_PART 10
#define LABELS_BROKER (METRIC_BROKERS + 1)

#define HISTOGRAM_BUCKETS 19

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS + 1]; /* not cumulative; the last one is above all bounds */
    double sum, most; /* most: the largest */
};

/* Values of a label, in the order in which they came; one more index, n == most, stands for the others. */
struct label_values {
    const char *const *name; /* borrowed from the struct metric_names */
    uint32_t n, most;
    bool others; /* some value had no room */
};

#define METRIC_COUNTER uint64_t
#define METRIC_GAUGE double
#define METRIC_TIME_COUNTER double
#define METRIC_HISTOGRAM struct histogram
#define METRIC_ROWS_HISTOGRAM struct histogram

struct metrics {
#define METRIC(field, name, type, labels, help) METRIC_##type field[LABELS_##labels];
#include "relay/metrics.def"
#undef METRIC
    struct label_values topics, codes, brokers;
    const char *version, *librdkafka, *libpq; /* of build_info; borrowed */
};

/* Where the texts of label values live: they stay until metrics_deinit, so that copies of a struct metrics
 * may point to them. */
struct metric_names {
    char *topic[METRIC_TOPICS], *code[METRIC_CODES], *broker[METRIC_BROKERS];
};

/* All zero, gauges unknown. deinit frees the names; copies must be gone. */
void metrics_init(struct metrics *m, struct metric_names *names);
void metrics_deinit(struct metric_names *names);

/* The index of a label's value, taken when it is new; the shared one when there is no room or memory. */
uint32_t metrics_topic(struct metrics *m, const char *topic);
uint32_t metrics_code(struct metrics *m, const char *code);
uint32_t metrics_broker(struct metrics *m, const char *broker);
/* The index into a field that is labelled TOPIC_REASON. */
static inline uint32_t metrics_topic_reason(uint32_t topic, uint32_t code)
{
    return topic * LABELS_CODE + code;
}

void metrics_seconds(struct histogram *h, double seconds);
void metrics_rows(struct histogram *h, uint32_t rows);

/* Of seconds: the value below which a share of all observed lies, as far as the buckets tell, and none that was not reached; NaN when
 * nothing was. */
double metrics_quantile(const struct histogram *h, double share);

/* All of it in Prometheus' text format 0.0.4. False: out of memory, or the stream failed. */
bool metrics_write(const struct metrics *m, FILE *out);
/* The table for people: name, type, labels, help. */
void metrics_help(FILE *out);

#endif
