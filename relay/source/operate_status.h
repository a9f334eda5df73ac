/* operate_status.h - what there is to see in the database about how events flow, for `status`. One look,
 * changes nothing. See operate.h for the connection and what functions return.
 */
#ifndef RELAY_SOURCE_OPERATE_STATUS_H
#define RELAY_SOURCE_OPERATE_STATUS_H

#include "relay/source/operate.h"

/* Times are in seconds, by the server's clock; negative: there is none. */
struct operate_lead {
    const char *owner; /* NULL: nobody leads */
    double left_s;     /* until the lease ends */
    bool ended;        /* it has */
    double renewed_s;  /* so long ago */
    int64_t epoch;
    double rate;          /* events marked per second, of the last marks */
    double since_mark_s;  /* the last mark; negative: none */
    double oldest_s;      /* how long the oldest event that is due and not taken up has waited */
    int64_t refused;      /* events that Kafka refused for themselves and that go again; of the first 1,000 that wait for a time */
    const char *refused_code; /* why the first one was; or NULL */
    int64_t refused_id;   /* its id */
    bool is_standby;      /* the server only follows another one */
    bool one_of_several;  /* the dsn names others as well; of a standby or a read-only one: and none of these can be written to */
    bool is_read_only;    /* a new session of this role may not write, by default_transaction_read_only */
    double leading_s;     /* since the lead began; negative: not known */
    int64_t twice_id;     /* an id that two events have which are neither sent nor held; 0: none was found */
    int64_t behind;       /* the sequence hands out so many ids again; not positive: none, or it may not be seen */
};

/* A relay that is connected to this database. */
struct operate_relay {
    bool leads;       /* or did last */
    const char *from; /* "10.0.0.5:58156"; NULL: this role may not see it */
    double silent_s;  /* since it said a word to the server; negative: this role may not see it */
};

struct operate_topic {
    const char *topic;
    int64_t pending, held, dead;
    double oldest_s;                       /* negative: none is due */
    const char *paused_code, *paused_why;  /* of the first paused row; NULL: none is */
    bool more; /* there are more pending ones than were counted */
};

/* A row of the view outbox.blocker. */
struct operate_blocker {
    int64_t pid;          /* 0: a prepared transaction */
    const char *prepared; /* its name; or NULL */
    const char *username, *application; /* or NULL */
    double age_s;                       /* negative: this role may not see it, or it has ended this moment */
    const char *age_mend; /* the GRANT that lets this role see it; NULL: nothing hides it */
    bool holds_rows, holds_truncate;
    bool holds_marks; /* by its lock nothing can be written to a leaf of outbox.sent */
    const char *leaves; /* "{event_3,sent_3}" */
};

/* A part of the outbox on disk. */
struct operate_part {
    const char *name; /* "0" to "7": a bucket; "kept", "held" */
    int64_t bytes;
    double overdue_s; /* a bucket, so long older than the retention; negative: it is not, or it is empty */
    /* Of an overdue one, why it may still be there: */
    int64_t unsent_id; /* the first event behind the cursor that is neither sent nor held; 0: none */
    bool crowded;      /* more is held of it than the relay moves */
    bool locked;       /* by this transaction */
    struct operate_blocker holder;
};

struct operate_status {
    void *arg;
    void (*on_lead)(void *arg, const struct operate_lead *lead);
    void (*on_topic)(void *arg, const struct operate_topic *topic);       /* the oldest first */
    void (*on_blocker)(void *arg, const struct operate_blocker *blocker); /* the oldest first */
};

/* What the outbox takes on disk, and which buckets should have been emptied by then. retention_ms 0: none. */
int operate_space(struct operate *o, uint64_t retention_ms,
                  void (*on_part)(void *arg, const struct operate_part *part), void *arg);

/* Calls on_lead once, the others for at most `limit` topics and blockers each. */
int operate_status(struct operate *o, int64_t limit, const struct operate_status *status);

/* Of these only who leads, and whether anything moves; */
int operate_look_at_lead(struct operate *o, void (*on_lead)(void *arg, const struct operate_lead *lead), void *arg);

/* only the relays that are connected; those that have been so for longest first. On a standby server they are not seen. */
int operate_relays(struct operate *o, void (*on_relay)(void *arg, const struct operate_relay *relay), void *arg);

/* only the blockers. */
int operate_blockers(struct operate *o, int64_t limit,
                     void (*on_blocker)(void *arg, const struct operate_blocker *blocker), void *arg);

#endif
