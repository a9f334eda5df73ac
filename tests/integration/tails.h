/* tails.h - what test_tail.c and test_kafka_tail.c share: a tail, waited for as the loop does. */
#ifndef TESTS_INTEGRATION_TAILS_H
#define TESTS_INTEGRATION_TAILS_H

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "relay/sink/tail.h"
#include "tests/rig/quiet.h"
#include "tests/rig/records.h"
#include "tests/rig/rig.h"

enum { TAILS_MANY_BYTES = 1 << 30 };

static inline struct tail *tails_open(enum envelope_kind kind, uint32_t rows, uint64_t max_bytes)
{
    const struct sink_property properties[] = {
        { "bootstrap.servers", rig_brokers() },
        { "linger.ms", "7" }, /* as users have them: some are for producers only */
        { "compression.type", "lz4" },
        { "batch.size", "100000" },
        { "message.max.bytes", "2000000" },
        { "group.id", "must-not-be-used" },
        { "partitioner", "murmur2" },
    };
    const struct tail_config cfg = { properties, sizeof properties / sizeof properties[0], kind,
                                     rows, max_bytes };
    char err[256] = "";
    struct tail *t = tail_new(&cfg, err, sizeof err);

    if (t == NULL)
        ck_abort_msg("%s", err);
    return t;
}

/* Wakes only when the descriptor says so. */
static inline enum tail_state tails_wait(struct tail *t, const char *topic)
{
    int64_t end_ms = rig_now_ms() + RIG_DEADLINE_MS;

    while (tail_state(t, topic) == TAIL_READING) {
        struct pollfd fd = { .fd = tail_fd(t), .events = POLLIN };
        if (rig_now_ms() >= end_ms || poll(&fd, 1, RIG_DEADLINE_MS) != 1)
            ck_abort_msg("timed out: %s was not read, and nothing woke the loop", topic);
        tail_poll(t);
    }
    tail_poll(t);
    return tail_state(t, topic);
}

static inline void tails_read(struct tail *t, const char *topic)
{
    ck_assert_int_eq(tail_read(t, topic, RIG_DEADLINE_MS), 0);
    ck_assert_int_eq(tails_wait(t, topic), TAIL_READY);
}

/* The row of which records_put writes the n-th record, as a tombstone where that counts. */
static inline struct row tails_row(const char *topic, uint64_t n)
{
    struct row row = { .id = (int64_t)n, .topic = topic, .type = RECORDS_TYPE };

    records_id(n, row.event_id);
    return row;
}

static inline bool tails_has(const struct tail *t, const char *topic, uint64_t n)
{
    int32_t partition;
    int64_t offset;
    const struct row row = tails_row(topic, n);

    return tail_find(t, &row, &partition, &offset);
}

static inline void tails_expect(const struct tail *t, const char *topic, uint64_t n,
                                int32_t partition, int64_t offset)
{
    int32_t p = -1;
    int64_t o = -1;
    const struct row row = tails_row(topic, n);

    if (!tail_find(t, &row, &p, &o) || p != partition || o != offset)
        ck_abort_msg("event %llu: partition %d offset %lld instead of %d, %lld",
                     (unsigned long long)n, p, (long long)o, partition, (long long)offset);
}

#endif
