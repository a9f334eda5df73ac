/* doctor.h - the two halves of `doctor`. Each runs whatever the other found. */
#ifndef RELAY_COMMANDS_DOCTOR_H
#define RELAY_COMMANDS_DOCTOR_H

#include "relay/commands/findings.h"
#include "relay/commands/options.h"
#include "relay/commands/relays.h"
#include "relay/commands/space.h"
#include "relay/sink/inspect.h"
#include "relay/source/operate_doctor.h"
#include "relay/source/operate_status.h"

#define DOCTOR_TOPICS 100 /* asked about at most */

struct doctor_need {
    struct operate_need need; /* its texts are in the arrays */
    char topic[256], error_code[64], error[512];
};

enum doctor_lease {
    LEASE_HELD,
    LEASE_OVER,
    LEASE_COPIED, /* what is seen is a standby's copy: the relays are connected to the primary */
    LEASE_FREE /* for so long that whoever stands by would have taken it */
};

struct doctor {
    struct options *o;
    struct findings findings;
    struct space space;
    struct doctor_need need[DOCTOR_TOPICS];
    size_t n_needs;
    bool needs_known;
};

/* The server, the schema, the rights and what holds cleaning back; and which topics are needed. */
void doctor_database(struct doctor *d);
/* The brokers, and those topics. */
void doctor_kafka(struct doctor *d);

/* What librdkafka of this version is known for: 0x020002ff is 2.0.2. Pure. */
void doctor_library(struct findings *f, unsigned version, bool compresses);
/* One topic and what waits for it. Pure. compresses: the producer does. */
void doctor_topic(struct findings *f, const struct inspect_topic *t, const struct operate_need *need,
                  bool compresses);
/* Whether what the producer puts into one batch is more than the topic takes. Pure. */
void doctor_batch(struct findings *f, const struct inspect_topic *t, int64_t batch_bytes, bool compresses);
/* The server's clock against ours: server_s in between, in Unix time. Pure. */
void doctor_clock(struct findings *f, double before_s, double server_s, double after_s);
/* Will buckets ever be emptied? Pure. period_s: of the ring; not above 0: not known. */
void doctor_retention(struct findings *f, double period_s, uint64_t retention_ms);
/* What the outbox takes, and why a bucket is still there. Pure. */
void doctor_space(struct findings *f, const struct space *s);
/* That one of the facts. Pure. */
void doctor_lead(struct findings *f, const struct operate_fact *x);
/* The same where nobody leads, on a server where no relay can work. */
void doctor_lead_nowhere(struct findings *f);
/* Which relays are connected. Of a lease that is not held relays_nobody_leads knows. Pure. */
void doctor_relays(struct findings *f, const struct relays *r, enum doctor_lease lease);
/* Do events flow under the relay that leads? keeps_marks_out: a transaction that does; none: its holds_marks is false. Pure. */
void doctor_flow(struct findings *f, const struct operate_lead *lead, const struct verdict_blocker *keeps_marks_out);
/* A transaction that has held the outbox back for a minute; where no bucket is due to be emptied, only by its events. Pure. */
void doctor_blocker(struct findings *f, const struct operate_blocker *b, bool bucket_is_due);
/* A fact about the database. Pure. */
void doctor_fact(struct findings *f, const struct operate_fact *fact);

#endif
