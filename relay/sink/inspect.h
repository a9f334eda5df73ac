/* inspect.h - questions to the brokers that change nothing, for the commands `status` and `doctor`.
 * Synchronous: each call blocks for its timeout at most. No topic comes into being by asking.
 */
#ifndef RELAY_SINK_INSPECT_H
#define RELAY_SINK_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/sink/sink.h"

struct inspect;

/* The properties as for the sink; borrowed during the call. NULL: not possible, and err says why. */
struct inspect *inspect_new(const struct sink_property *properties, size_t n, char *err,
                            size_t err_size);
void inspect_free(struct inspect *i); /* accepts NULL */

/* Does some broker answer? Then *ret_brokers is how many the cluster has; else err says what is known of each. */
bool inspect_reach(struct inspect *i, int timeout_ms, int *ret_brokers, char *err, size_t err_size);

enum inspect_rights {
    INSPECT_RIGHTS_UNKNOWN, /* the broker does not tell this client */
    INSPECT_RIGHTS_ALL      /* it has no authorizer: everybody may do everything */
};
/* What may clients do at all? */
enum inspect_rights inspect_rights(struct inspect *i, int timeout_ms);

/* A topic, as far as the brokers tell. Numbers that are not known are negative. */
struct inspect_topic {
    const char *name;  /* the caller's */
    const char *code;  /* librdkafka's name of the error; NULL: the topic is there. Static */
    const char *error; /* in words; static */
    int partitions, without_leader;
    int replicas, in_sync; /* of the partition that has fewest */
    const char *config_code; /* why the settings below are not known; NULL: they are */
    int64_t max_message_bytes, min_insync_replicas, retention_ms;
    int64_t timestamp_before_ms, timestamp_after_ms; /* how far off a record's time may be */
    bool compacted, compresses; /* cleanup.policy; the broker recompresses, so sizes cannot be compared */
};

/* Fills ret[i] for each of the names. 0, or -1 and err says why nothing could be asked. */
int inspect_topics(struct inspect *i, const char *const *names, size_t n, int timeout_ms,
                   struct inspect_topic *ret, char *err, size_t err_size);

/* May this client write to the topic? The broker is asked by a produce request that no broker can accept:
 * it demands two acknowledgements, where only none, one and all exist, and its one record is larger than
 * max_message_bytes (which must be known). A Kafka broker looks at the rights first and refuses the request
 * whole; one that did not know the rule would refuse the record for its size. Nothing is ever written.
 * 1: it may, 0: it may not; -1: not known, and err says why. */
int inspect_may_write(struct inspect *i, const char *topic, int64_t max_message_bytes,
                      int timeout_ms, char *err, size_t err_size);

/* librdkafka as it runs: 0x020002ff for 2.0.2. */
unsigned inspect_library_version(void);

#endif
