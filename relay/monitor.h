/* monitor.h - what the relay knows of itself: counts what passes, and once a second publishes it for
 * whoever looks (relay/http). The loop's side of it: every function here is for the loop's thread. Decides
 * nothing about rows; a relay without it would do the same.
 */
#ifndef RELAY_MONITOR_H
#define RELAY_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/core/core.h"
#include "relay/figures.h"
#include "relay/incidents.h"
#include "relay/janitor.h"
#include "relay/metrics.h"
#include "relay/row.h"
#include "relay/sink/sink.h"
#include "relay/verdict.h"

struct monitor;

struct monitor_config {
    const char *listen; /* as in the setting http.listen; NULL: serve nobody. Borrowed, like the others */
    const char *owner;
    const char *version, *librdkafka, *libpq;
    uint64_t stall_timeout_ms; /* 0: never */
};

/* NULL: out of memory. An address that cannot be had is logged, and tried again. */
struct monitor *monitor_new(const struct monitor_config *cfg, uint64_t now_ms);
/* Ends the HTTP thread. Accepts NULL. */
void monitor_free(struct monitor *m);

void monitor_configure(struct monitor *m, uint64_t stall_timeout_ms);

/* A turn of the loop begins. */
void monitor_turn(struct monitor *m, uint64_t now_ms);
/* It has ended: what has become of everything. */
void monitor_state(struct monitor *m, const struct core *core, const struct incidents *incidents,
                   const struct janitor *janitor);
/* Do events flow, and if not why: in a sentence, a second old at most. */
const char *monitor_sentence(const struct monitor *m);
/* When monitor_turn wants to be called although nothing happens; UINT64_MAX: never. */
uint64_t monitor_deadline(const struct monitor *m);

/* -- the database. One statement of each kind at a time. */
void monitor_asked(struct monitor *m, enum metric_op op);
void monitor_answered(struct monitor *m, enum metric_op op);
/* why: the reason, when it is down; NULL: not known. remedy: what mends that, static; NULL: nothing of its own. */
void monitor_link(struct monitor *m, bool up, const char *why, const char *remedy);
/* Why the third connection does not work, and what mends that, as above; NULL: it does, or there is none. */
void monitor_aside(struct monitor *m, const char *why, const char *remedy);
/* When the link is tried again, by the clock of monitor_turn; 0: it is up or being tried. */
void monitor_next_attempt(struct monitor *m, uint64_t at_ms);
/* Rows were read; of_outbox: new ones, not of what is held. */
void monitor_page(struct monitor *m, uint32_t n_rows, bool of_outbox);
/* A lead begins; or the lease was asked for, and another relay has it. */
void monitor_lease(struct monitor *m, bool ours);
/* Who has the lease: NULL: not known. So long ago it was renewed, and so long is left of it; negative: not known. */
void monitor_leader(struct monitor *m, const char *owner, double silent_s, double left_s);
void monitor_marked(struct monitor *m, uint32_t n_rows);
/* A read has failed: two events have this id; 0: for something else. */
void monitor_twice(struct monitor *m, int64_t id);
/* An answer to OP_READ, OP_MARK, OP_HOLD or OP_LEASE. NULL: it did not fail, or why is not known. The remedy of a failure is
 * static. */
void monitor_outcome(struct monitor *m, enum metric_op op, const struct verdict_failure *failure);
void monitor_cleanup(struct monitor *m, const struct janitor *janitor);
void monitor_swept(struct monitor *m, uint32_t n_found);

/* -- rows; topic: the core's number of it. */
void monitor_read(struct monitor *m, uint32_t topic, const char *name);
void monitor_produced(struct monitor *m, uint32_t topic, const struct row *row);
/* sent_ms: when it was produced. */
void monitor_report(struct monitor *m, uint32_t topic, const struct row *row, uint64_t sent_ms,
                    const struct sink_report *report);
void monitor_held(struct monitor *m, uint32_t topic, const char *name, enum hold_state state);
void monitor_found(struct monitor *m, uint64_t n_found); /* since the beginning */

/* -- Kafka */
/* Do brokers answer? `up` is no more than a chance look: what answers later says so by itself. */
void monitor_kafka(struct monitor *m, bool up, const char *why);
/* What was last heard of why no broker answers; NULL: nothing. Good until the next call. */
const char *monitor_kafka_said(const struct monitor *m);
void monitor_kafka_error(struct monitor *m, const char *code, const char *text, bool all_down);
void monitor_reset(struct monitor *m, enum lane lane);
void monitor_statistics(struct monitor *m, const struct sink_statistics *s);

/* -- figures from the database. Should they be asked for now? */
bool monitor_wants_figures(const struct monitor *m);
/* NULL: they could not be had. */
void monitor_figures(struct monitor *m, const struct figures *f);

/* -- the schema. Should its version be asked for now? */
bool monitor_wants_schema(const struct monitor *m);
void monitor_asked_schema(struct monitor *m);
/* version: of a schema that the next connection would be refused for; 0: there is no such thing. */
void monitor_schema(struct monitor *m, int version);

#endif
