/* status.h - what the loop publishes once a second, and the HTTP thread shows.
 *
 * The thread rule. The loop fills a struct status of its own, publishes it, and never touches it again;
 * the HTTP thread takes the newest one, reads, and lets go of it; the last to let go frees it. The only
 * lock is held for the change of one pointer, so neither waits for the other's work. The rest of what both
 * touch is the two times below, each one atomic. Nothing else of the relay may be used by the HTTP thread:
 * not the log, not the core, not the settings.
 */
#ifndef RELAY_HTTP_STATUS_H
#define RELAY_HTTP_STATUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/figures.h"
#include "relay/log.h"
#include "relay/metrics.h"
#include "relay/verdict.h"

#define STATUS_TOPICS 100
#define STATUS_ERRORS 20
#define STATUS_SAMPLES 180
#define STATUS_SAMPLE_MS 5000 /* 180 of them: 15 minutes */

struct status_topic {
    char name[256];
    bool paused;
    char why[300]; /* while it is paused; may be "" */
    double rate;   /* confirmed per second; negative: not known */
    int64_t pending, held, dead; /* negative: not known */
    double oldest_s;             /* negative: nothing waits, or not known */
};

/* As in verdict.h. */
struct status_failure {
    double s;
    char why[300];
    char code[6];
    const char *remedy; /* static */
    bool stands;
};

struct status_sample { /* negative: not known */
    float rate, pending, latency_s; /* the 99th percentile of what was confirmed meanwhile */
};

struct status {
    unsigned refs; /* guarded by the board's lock */
    uint64_t number; /* of publication */
    uint64_t made_ms; /* on the monotonic clock */
    int64_t unix_ms, started_unix_ms;
    struct metrics metrics;
    struct verdict verdict;
    enum verdict_role role;
    char owner[160];
    const char *version; /* static */
    char leader[160];        /* who has the lease; "": not known */
    double leader_silent_s;  /* since the leader was last heard of; negative: not known */
    double leader_looked_s;  /* since it was looked at whether it was */
    double lease_left_s;     /* of another relay's lease; negative: not known, or it has ended */
    bool db_up, db_was_up;
    double db_lost_s; /* since the link was lost; negative: it is up, or never was */
    int schema_ends; /* the version that the next connection would be refused for; 0: none */
    char db_error[300];
    double db_again_s; /* until the database is tried again; negative: it is up or being tried */
    const char *db_remedy; /* as in verdict.h; static */
    enum verdict_fact kafka_up;
    char kafka_error[300];
    double stuck_s; /* 0: it moves */
    struct status_failure failure;
    int64_t twice_id; /* as in verdict.h */
    double rate, latency_s; /* negative: not known */
    double idle_s;          /* since the last confirmation; negative: there was none */
    uint32_t inflight_rows;
    int64_t pending;        /* negative: not known */
    bool pending_about;     /* it is an estimate */
    double pending_age_s;   /* so long ago that was so; 0: now */
    double oldest_s;        /* negative: nothing waits, or not known */
    double overdue_s;       /* how long ago a bucket should have been emptied; negative: none, or not known */
    int64_t bytes;          /* of the outbox on disk; negative: not known */
    bool figures_known;
    double figures_age_s;
    struct figures figures;
    struct status_topic topic[STATUS_TOPICS]; /* those that take nothing first */
    uint32_t n_topics, n_more_topics, n_paused;
    struct log_line error[STATUS_ERRORS]; /* newest first */
    uint32_t n_errors;
    struct status_sample sample[STATUS_SAMPLES]; /* oldest first */
    uint32_t n_samples;
};

struct status_board {
    pthread_mutex_t lock;
    struct status *current;
    _Atomic uint64_t turned_ms; /* when the loop last came round, on the monotonic clock */
    _Atomic uint64_t looked_ms; /* when somebody last asked for figures; 0: never */
};

void status_board_init(struct status_board *b);
/* Nobody may use it any more, and all that was taken has been released. */
void status_board_deinit(struct status_board *b);

/* Takes s, from malloc. */
void status_publish(struct status_board *b, struct status *s);
/* The newest one, or NULL when there is none yet. To be released. */
const struct status *status_take(struct status_board *b);
void status_release(struct status_board *b, const struct status *s);

#endif
