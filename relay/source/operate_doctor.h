/* operate_doctor.h - what the database looks like to somebody who asks why something may not work, for
 * `doctor`: facts, without a judgement. Changes nothing. See operate.h for the connection, which needs only
 * to be open (operate_open).
 */
#ifndef RELAY_SOURCE_OPERATE_DOCTOR_H
#define RELAY_SOURCE_OPERATE_DOCTOR_H

#include "relay/source/operate.h"

enum operate_fact_kind {
    FACT_SERVER,       /* name: its version, detail: "standby", "read only" or "", number: the version's */
    FACT_ROLE,         /* name: the role, detail: the database */
    FACT_POOLER,       /* the session is not the one that was opened */
    FACT_CLOCK,        /* number: Unix time, in seconds */
    FACT_SETTING,      /* name: a setting that makes commits unsafe, detail: its value */
    FACT_ASYNC_COMMIT, /* name: whose commits do not wait for the disk; detail: "own": of this role */
    FACT_INSTALLED,    /* name: the database; number: 1 or 0 */
    FACT_USAGE,        /* number: may the role use the schema? detail: "roles": sql/roles.sql must be applied; mend: the
                          statement that allows it, then; or "" */
    FACT_VERSION,      /* number: the newest migration, detail: the newest breaking one; name: "hidden" where a policy hides all */
    FACT_RIGHT,        /* lacking: name: of what, detail: which, mend: the statement that grants it. Without a name: the role
                          lacks most; the rest as with FACT_USAGE */
    FACT_HIDDEN,       /* name: tables of which row-level security may hide rows from this role */
    FACT_LEAF,         /* of the ring, that is not as it must be: name, detail: what it is */
    FACT_INDEX,        /* that is missing or not valid: name: of which table, detail: which */
    FACT_DEFAULT,      /* detail: the expression that chooses the bucket, number: the period in seconds, or -1 */
    FACT_SEQUENCE,     /* number: how many ids the sequence lies below the highest one; -1: may not be seen */
    FACT_CLUSTER,      /* the relay's state comes from another cluster */
    FACT_LEAD,         /* name: who leads, or led last, detail: "leads", "ended", "resigned" or "never", number: seconds since the
                          lease was renewed or given back. Or detail: "missing": its row is, mend: the statement that makes it;
                          "hidden": by a policy */
    FACT_DEAD,         /* number: dead rows, detail: since when the oldest is, or "" */
    FACT_BLIND,        /* this role may not see how old others' transactions are; mend: the statement that allows it */
    FACT_OLD,          /* transaction: name: its application, detail: pid, number: its age in seconds */
    FACT_PREPARED,     /* name, number: its age in seconds */
    FACT_SLOT,         /* of replication: name, detail: "inactive" or "active", number: bytes of log it keeps */
    N_FACTS
};

struct operate_fact {
    enum operate_fact_kind kind;
    const char *name, *detail; /* "" when there is none */
    double number;
    const char *mend;
};

/* A topic that events wait for, or were appended for lately. */
struct operate_need {
    const char *topic;
    int64_t waiting;
    int64_t largest_bytes; /* of key, payload and headers of one that waits */
    int64_t largest_id;
    bool largest_is_dead; /* it waits for a person */
    double oldest_s; /* since the oldest that waits was appended; negative: none waits */
    const char *error_code, *error; /* why it is paused; or NULL */
};

typedef void operate_on_fact(void *arg, const struct operate_fact *fact);
typedef void operate_on_need(void *arg, const struct operate_need *need);

/* Calls on_fact for each fact of that kind. */
int operate_facts(struct operate *o, enum operate_fact_kind kind, operate_on_fact *on_fact, void *arg);

/* At most `limit` topics, those with most waiting first; looked at are the first 100,000 events that wait. */
int operate_needs(struct operate *o, int64_t limit, operate_on_need *on_need, void *arg);

#endif
