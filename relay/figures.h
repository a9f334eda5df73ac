/* figures.h - what waits, what is held and what blocks, as asked from the database now and then. Plain
 * data: relay/source fills it, the monitor and the commands read it.
 */
#ifndef RELAY_FIGURES_H
#define RELAY_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#define FIGURES_TOPICS 100 /* the rest is in the last one, whose name is "" */
#define FIGURES_HELD 10
#define FIGURES_BLOCKERS 10
#define FIGURES_PARTS 10 /* of the outbox on disk: the buckets 0 to 7, what was kept, outbox.held */
#define FIGURES_STATES 6 /* of outbox.held, in the order of enum metric_state */

struct figures_topic {
    char name[256];
    int64_t pending, held, dead;
    double oldest_s; /* of what waits and will go by itself; negative: nothing does */
    double behind_s; /* of what waits behind a dead one of its key, so for a person; negative: nothing does */
};

/* Text of others may be cut. */
struct figures_held {
    int64_t id;
    char event_id[37];
    char topic[256];
    char state[16];
    int64_t attempts;
    double since_s; /* since its first error, or since it was created; negative: not known */
    double next_s;  /* until its next attempt; negative: it waits for something else */
    char code[64];
    char error[300];
};

struct figures_blocker {
    int64_t pid; /* 0: a prepared transaction */
    char application[80], user[64];
    double age_s; /* negative: may not be seen */
    bool holds_rows, holds_truncate;
};

struct figures {
    int64_t pending; /* of all topics */
    bool estimated;  /* for more than the first 10,000 */
    double oldest_s; /* negative: nothing waits */
    int64_t held[FIGURES_STATES];
    uint32_t n_topics, n_held, n_blockers, n_more_blockers;
    struct figures_topic topic[FIGURES_TOPICS + 1];
    struct figures_held row[FIGURES_HELD]; /* dead ones first, then the oldest */
    struct figures_blocker blocker[FIGURES_BLOCKERS]; /* the oldest first */
    int64_t bytes[FIGURES_PARTS]; /* on disk */
};

#endif
