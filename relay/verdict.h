/* verdict.h - do events flow, and if not why: from plain figures to one sentence. Pure.
 *
 * The status page, /readyz?verbose and the command `status` say the same, because all ask here. What the
 * caller does not know it leaves at its unknown value (VERDICT_INPUT_UNKNOWN); nothing is concluded from
 * that. Texts of others (errors, names) are borrowed during the call, and come out as they are: whoever
 * shows the verdict escapes it for where it is shown.
 */
#ifndef RELAY_VERDICT_H
#define RELAY_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

/* What helps where a server cannot be used, behind "mend ", and where the schema has changed, behind "install "; log,
 * page, status and doctor say the same. */
#define VERDICT_MEND_DATABASE \
    "the server or the way to it, and a relay that runs goes on by itself; or correct dsn and restart it. A " \
    "password file (passfile) is read again at each attempt"
/* Where ids were handed out again. */
#define VERDICT_MEND_IDS "the statements in man 7 outbox, COPIES AND CRASHES, set the sequence and give events new ids"
/* Behind a remedy for what this dsn is refused for. */
#define VERDICT_TRIES_AGAIN "; the relay tries again by itself, and takes a changed dsn when it is restarted"
#define VERDICT_MEND_KAFKA \
    "the brokers or the way to them, and a relay that runs goes on by itself; or correct " \
    "kafka.bootstrap.servers, or the kafka.security and kafka.sasl settings, and restart it. Nothing is lost meanwhile"

#define VERDICT_MEND_SCHEMA \
    "the outbox-relay that goes with this schema and restart it; until then the loss of a connection ends it"
/* Behind the GRANT of pg_read_all_stats. */
#define VERDICT_GRANTED_BY_ROLES "; sql/roles.sql does so where whoever runs it may"
/* Whole; where the relay's role lacks a right. */
#define VERDICT_GRANT_ROLE "apply sql/roles.sql and grant outbox_relay to the role of the dsn"

/* Where a policy may hide rows from the relay's role. */
#define VERDICT_SEE_ALL_ROWS                                                                                            \
    "as a superuser: ALTER ROLE ... BYPASSRLS for the role of the dsn, or ALTER TABLE ... DISABLE ROW LEVEL SECURITY of these"

/* Where the server or the role has no connection left. */
#define VERDICT_MORE_CONNECTIONS                                                                                       \
    "a relay needs three connections, and each command one more: let the DBA raise CONNECTION LIMIT of the role or of "  \
    "the database, or max_connections of the server, or end sessions that nobody needs"

/* Where the server is a standby, or read-only by a setting. */
#define VERDICT_READ_WRITE                                                                                              \
    "let the dsn name the primary, or all servers; where none of them is a primary, " VERDICT_PROMOTE "; if it is the " \
    "primary, set default_transaction_read_only to off for the role of the dsn"
/* Where all the servers that there are, are standbys or gone. */
#define VERDICT_PROMOTE "promote a standby or bring the primary back"

/* A part of a sentence: where to look when a lock of somebody else's is in the way. */
#define VERDICT_WHO_LOCKS \
    "SELECT pid, mode, relation::regclass FROM pg_locks WHERE relation IS NOT NULL AND mode IN ('ShareLock', " \
    "'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') says who locks a table"

/* The command for what is paused under a name that is a mistake: before that name, behind it, and as a format. */
#define VERDICT_DISCARD_TOPIC "outbox-relay discard --topic "
#define VERDICT_DISCARD_PAUSED " --paused --reason TEXT"
#define VERDICT_DISCARD VERDICT_DISCARD_TOPIC "%.249s" VERDICT_DISCARD_PAUSED

enum verdict_role {
    VERDICT_STARTING,     /* it has not asked yet who leads */
    VERDICT_NOT_KNOWN,    /* it has led or stood by, and then lost its lead or the database; it has not heard yet who leads */
    VERDICT_LEADS,        /* seen from outside: some relay leads */
    VERDICT_STANDS_BY,    /* another relay leads */
    VERDICT_NOBODY_LEADS, /* seen from outside: the lease has ended and nobody has taken it */
    VERDICT_STOPPING
};

/* When nobody leads. */
#define VERDICT_TAKE_LEASE                                                                                             \
    "a relay that runs asks for the lease every second, or says in its log why it cannot; one that says nothing any more " \
    "is frozen: end it and start another"

/* A relay that leads renews its lease every second; when it is silent for longer, something is wrong with it. */
#define LEADER_SILENT_S 10.0

/* When a leader's silence is worth a word: it may just have ended, or its server has become read-only. */
#define LEADER_LATE_S 3.0

enum verdict_fact { FACT_UNKNOWN, FACT_NO, FACT_YES };

/* A transaction that holds rows back, or the emptying of a bucket (view outbox.blocker): the oldest. */
struct verdict_blocker {
    int64_t pid;             /* 0: a prepared transaction */
    const char *application; /* or the name of the prepared one; NULL: not known */
    double age_s;            /* negative: not known */
    bool holds_rows;         /* it has written events; they wait for its commit */
    bool holds_truncate;
    bool holds_marks; /* by its lock nothing can be written to outbox.sent */
};

/* Why a bucket that is old enough is not emptied. */
enum verdict_obstacle {
    OBSTACLE_UNKNOWN,
    OBSTACLE_UNSENT,  /* an event of it is neither sent nor held */
    OBSTACLE_LOCKED,  /* a transaction has a lock on it */
    OBSTACLE_CROWDED, /* more of its events are held than can be moved */
    OBSTACLE_FAILED   /* the database refused or did not answer, as the log says */
};

/* A bucket that could be emptied may wait its turn, and for somebody who reads it. Then it is worth a word. */
#define OVERDUE_S 1800.0

/* The bucket that should have been emptied longest ago. */
struct verdict_overdue {
    double s; /* so long ago; negative: there is none, or it is not known */
    int bucket;
    enum verdict_obstacle why;
    int64_t id;                    /* of an event that is not sent, for UNSENT */
    struct verdict_blocker holder; /* for LOCKED; nothing known of it: it was not found any more */
};

/* What the database refused last of what the relay writes: a mark, a hold, the lease with the cursor. */
struct verdict_failure {
    double s;           /* so long ago; negative: none is known of */
    const char *why;    /* what failed, and the database's words */
    const char *code;   /* its SQLSTATE */
    const char *remedy; /* a clause of our own; NULL: there is none for that */
    bool stands;        /* nothing of the kind has succeeded since */
};

struct verdict_input {
    enum verdict_role role;
    const char *leader; /* who leads, for STANDS_BY; who led, for NOBODY_LEADS. NULL: not known */
    enum verdict_fact db_up, kafka_up;
    bool by_command; /* it is not a relay that asks: what it cannot do a relay may */
    const char *db_error, *kafka_error; /* why not, or NULL */
    const char *kafka_misset; /* why no broker could be asked with these settings; NULL: nothing is wrong with them */
    double db_again_s; /* until it is tried again; negative: not known, or it is being tried */
    const char *db_remedy; /* what mends that, a clause of our own; NULL: what helps where a server cannot be used */
    int schema_ends; /* the version of a schema that a relay which runs could not connect to any more; 0: it could */
    int64_t pending;     /* neither sent nor held, and due; negative: not known */
    bool pending_capped; /* there are more than that */
    bool pending_about;  /* it is an estimate */
    double as_of_s;      /* so long ago what waits was as it is said here; 0: it is so now */
    double oldest_s;     /* how long the oldest due event has waited; negative: not known */
    double unmoved_s;    /* so long the same event has been the oldest, as was seen at two times; negative: not known */
    double rate;         /* confirmed per second, lately; negative: not known */
    double idle_s;       /* since the last one was confirmed; negative: not known, or there was none */
    double silent_s;     /* since the leader was last heard of, or gave the lease back; negative: not known */
    double looked_s;     /* of that the part since the lease was looked at, in which it may have been renewed */
    double lease_left_s; /* of another relay that leads: until its lease ends; negative: not known, or it has ended */
    const char *read_only; /* that no relay with this dsn can write there, and why, a clause; NULL: it can, or it is not known */
    bool none_writable;    /* that is so on each of the servers that the dsn names, which are several */
    double stuck_s;      /* so long nothing has moved although something could; 0: it moves, or not known */
    struct verdict_failure failure;
    const char *aside_error; /* why the connection for what may wait does not work; NULL: it does */
    const char *aside_remedy; /* what mends that, a clause of our own; NULL: nothing of its own */
    int64_t twice_id;    /* an id that two events have: nothing is read past them; 0: none is known of */
    int64_t behind;      /* the sequence of the ids hands out so many again; not positive: none, or not known */
    int64_t held, dead;  /* in outbox.held: those that wait by themselves, those that wait for a person */
    int64_t refused;     /* of the held ones: refused for themselves, and tried again */
    const char *refused_code; /* why the first of them was; NULL: not known */
    int64_t refused_id;  /* and its id; 0: not known */
    uint32_t n_paused;   /* topics that take nothing */
    const char *paused_topic, *paused_why; /* the first of them; why may be NULL */
    uint32_t n_blockers;
    struct verdict_blocker blocker;
    const char *ages_mend; /* the GRANT without which the age of a blocker may not be seen; NULL: none is hidden */
    struct verdict_overdue overdue;
    bool short_ring; /* the ring of buckets is shorter than the retention: none is ever emptied */
};

#define VERDICT_INPUT_UNKNOWN                                                                      \
    ((struct verdict_input){ .pending = -1, .oldest_s = -1, .unmoved_s = -1, .rate = -1, .idle_s = -1, .silent_s = -1,        \
                             .lease_left_s = -1, .db_again_s = -1, .failure.s = -1, .blocker.age_s = -1, .overdue.s = -1 })

enum verdict_level {
    VERDICT_GOOD,
    VERDICT_WARN, /* events flow, and something needs a look */
    VERDICT_BAD   /* events do not flow */
};

struct verdict_finding {
    enum verdict_level level;
    char text[400];     /* a clause: no capital, no full stop */
    char remedy[500];   /* what to do, in sentences of our own */
    bool said;          /* the sentence says it as part of its figures */
};

/* Each that verdict_judge() looks for. */
#define VERDICT_FINDINGS 21

struct verdict {
    enum verdict_level level;
    char text[800]; /* the sentence */
    struct verdict_finding finding[VERDICT_FINDINGS]; /* all that was found, worst first */
    uint32_t n_findings;
};

/* Nothing in *ret_verdict is borrowed. */
void verdict_reach(const struct verdict_input *in, struct verdict *ret_verdict);

/* A lower rate is none. */
#define VERDICT_NO_RATE 0.05

/* "12 min", for people: the two largest units at most. Returns to. */
const char *verdict_age(double seconds, char *to, uint32_t to_size);
/* "0.3" or "1,240", of events per second. Returns to. */
const char *verdict_rate(double rate, char *to, uint32_t to_size);
/* "1.2 GiB". Returns to. */
const char *verdict_bytes(int64_t n, char *to, uint32_t to_size);
/* What makes a sentence of a clause that may end with another's words: "." or nothing. */
const char *verdict_full_stop(const char *clause);
/* "12,345". Returns to. */
const char *verdict_count(int64_t n, char *to, uint32_t to_size);
/* "let it end, or end it: `SELECT pg_terminate_backend(42)`, ...". Returns to. */
const char *verdict_end_session(int64_t pid, char *to, uint32_t to_size);
/* "good", "warn", "bad". */
const char *verdict_level_name(enum verdict_level level);

#endif
