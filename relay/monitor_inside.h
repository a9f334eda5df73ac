/* monitor_inside.h - the monitor from inside: what monitor.c (the database, and when to publish), monitor_rows.c (rows
 * and brokers) and monitor_status.c (the picture that is published) share.
 */
#ifndef RELAY_MONITOR_INSIDE_H
#define RELAY_MONITOR_INSIDE_H

#include "relay/http/server.h"
#include "relay/http/status.h"
#include "relay/monitor.h"

/* Where rows that could move may get stuck. */
enum stage { STAGE_READ, STAGE_SEND, STAGE_MARK, STAGE_HOLD, N_STAGES };

/* What had been confirmed at the end of a sample. */
struct tally {
    uint64_t ms;
    uint64_t acked[LABELS_TOPIC];
    uint64_t all;
};

struct monitor {
    struct monitor_config cfg;
    struct metrics metrics;
    struct metric_names names;
    uint16_t *topic_index; /* of the metrics, by the core's number */
    uint32_t n_topic_index;
    uint64_t now_ms;
    int64_t unix_us, started_unix_ms;
    uint64_t asked_us[N_METRIC_OPS]; /* 0: not under way */

    bool db_up, db_was_up;
    uint64_t db_lost_ms; /* when it was, last */
    bool had_role; /* it has led or stood by */
    bool followed; /* another relay was heard to lead since the link came up */
    struct {
        char owner[160]; /* "": not known */
        double silent_s, left_s; /* negative: not known */
        uint64_t ms; /* when that was so */
    } leader;
    char db_error[300];
    const char *db_remedy; /* static, or NULL */
    char aside_error[300]; /* "": it works */
    const char *aside_remedy; /* static, or NULL */
    uint64_t db_again_ms;  /* when it is tried next; 0: it is up or being tried */
    enum verdict_fact kafka_up;
    uint64_t kafka_down_ms; /* since then */
    char kafka_error[300];
    uint64_t n_answers; /* of the brokers, as the statistics counted */
    struct status_failure failure; /* of the link that is up; `s` is filled in when it is published, */
    uint64_t failure_ms;           /* since which time it is so long; 0: there was none */
    enum metric_op failure_op;
    int64_t twice_id; /* two events have it, and no page was read since; 0: none */
    uint64_t moved_ms[N_STAGES]; /* when the stage moved last, or had nothing to move */

    struct histogram confirmed; /* latencies since the last sample */
    struct tally tally[3];      /* ring; the oldest one is 10 to 15 seconds old */
    uint32_t n_tallies;
    struct status_sample sample[STATUS_SAMPLES]; /* ring */
    uint32_t n_samples;
    uint64_t sample_ms; /* the next one */

    int schema_ends; /* the version that the next connection would be refused for; 0: none */
    uint64_t schema_asked_ms;

    struct figures *figures; /* the newest */
    uint64_t figures_ms;     /* when they came; 0: never */
    uint64_t figures_asked_ms;
    double oldest_since_s;   /* since when the oldest event waits, as they say, by the loop's clock; infinite: none does, */
    uint64_t oldest_ms;      /* and when that was seen first */

    char sentence[800];  /* the verdict that was published last */
    uint64_t publish_ms; /* the next time */
    uint64_t n_published;
    struct status_board board;
    struct http_server *server; /* NULL: nobody is served */
};

/* Unix microseconds. */
int64_t monitor_unix_us(void);
/* So many confirmed per second lately, of one topic by its index, or of all with LABELS_TOPIC. */
double monitor_rate(const struct monitor *m, uint32_t topic_index);
/* What the database said last of what waits; NULL: nothing, or so long ago that it says nothing of now. */
const struct figures *monitor_fresh_figures(const struct monitor *m);
/* Something of that stage has moved, or it had nothing to move. */
void monitor_moves(struct monitor *m, enum stage stage);
/* How long rows that could move have not moved; 0 while that is less than anybody should worry about. */
double monitor_stuck_s(const struct monitor *m);
/* Fills in what is known by now and publishes it. */
void monitor_publish(struct monitor *m, const struct core *core, const struct incidents *incidents,
                     const struct janitor *janitor);

#endif
