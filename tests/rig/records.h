/* records.h - topics and records for tests that read topics by other means than the relay.
 *
 * As rig.h: every helper fails the running test. Topics are made with tests/tools/broker, in the
 * broker that the runner started (OUTBOX_TEST_BROKER_DIR); the test runs in the tree's top
 * directory.
 */
#ifndef TESTS_RIG_RECORDS_H
#define TESTS_RIG_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A topic's name in tests that the build with sanitizers runs as well, against the same broker. */
#if defined(__SANITIZE_ADDRESS__)
#define TOPIC(name) "asan-" name
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOPIC(name) "asan-" name
#endif
#endif
#ifndef TOPIC
#define TOPIC(name) name
#endif

/** config: "name=value", or NULL. */
void records_topic(const char *name, int partitions, const char *config);
/** From here on it has this setting, and no other of its own; a real Kafka only. */
void records_topic_config(const char *name, const char *config);
/** n topics name0, name1, ... in one request; a real Kafka only. */
void records_topics(const char *name, int n, int partitions);
/** Does the cluster have it? Asked in a way that makes no topic. */
bool records_topic_exists(const char *name);

/** Asks about it so that a broker that makes topics by itself makes it; waits until it is there. */
void records_ask_for_topic(const char *name);

/** The n-th event id, and its text. */
void records_id(uint64_t n, uint8_t ret_id[16]);
const char *records_id_text(uint64_t n, char ret_text[37]);

/** A producer; NULL, or a transactional.id. */
struct records *records_open(const char *transactional_id);
/** Everything is in the log, in the order of the calls per partition, when it returns. */
void records_close(struct records *r);
#define RECORDS_TYPE "test"

/** One record of `bytes` bytes (0: a tombstone), with header `name` holding the text of the n-th
 * id, that of row n and of RECORDS_TYPE. */
void records_put(struct records *r, const char *topic, int32_t partition, const char *name,
                 uint64_t n, size_t bytes);
/** The same of another row with that id. */
void records_put_twin(struct records *r, const char *topic, int32_t partition, const char *name,
                      uint64_t n, uint64_t row, size_t bytes);
/** The same with nothing but one header of any value; value NULL: no header at all. */
void records_put_text(struct records *r, const char *topic, int32_t partition, const char *name,
                      const char *value, size_t bytes);
void records_begin(struct records *r);
/** Ends the transaction: commit or abort, each of which adds a control record per partition. */
void records_end(struct records *r, bool commit);

#endif
