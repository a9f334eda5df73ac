/* inbox_parts.h - what the tests of libinbox's partitions share: a consumer whose database, Kafka and clock are
 * faked, and one partition p of it.
 */
#ifndef TESTS_UNIT_INBOX_PARTS_H
#define TESTS_UNIT_INBOX_PARTS_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/attempts.h"
#include "lib/inbox/inside.h"
#include "tests/rig/fake.h"

enum { BEGIN_MS = 5000, N_MANY = 300 };

/* -- fakes ------------------------------------------------------------------------------------ */

static uint64_t now_ms;
static bool db_answers, kafka_answers;
static const char *why_not = "the test";
static bool answer_lost; /* of the next claim, which is made */
static struct inbox__place stored;
static unsigned n_begun;
static int64_t begun_at;
static bool was_begun[N_MANY];
static int64_t log_begins_at;

FAKE(uint64_t, inbox__now_ms, (void))
{
    return now_ms;
}

FAKE(bool, inbox__db_claim, (struct inbox_consumer *c, struct inbox__partition *p, struct inbox__place *ret))
{
    now_ms += 10;
    if (!db_answers)
        inbox__partition_waits(c, p, why_not);
    if (db_answers && !answer_lost)
        *ret = stored;
    stored.owned = stored.owned || db_answers;
    return db_answers && !answer_lost;
}

FAKE(bool, inbox__attempts_load, (struct inbox_consumer *c, struct inbox__partition *p))
{
    (void)c;
    (void)p;
    return db_answers;
}

FAKE(bool, inbox__kafka_begin, (struct inbox_consumer *c, struct inbox__partition *p, int64_t *offset))
{
    (void)c;
    n_begun++;
    begun_at = *offset;
    was_begun[p->number] = true;
    if (!kafka_answers)
        now_ms += BEGIN_MS;
    return kafka_answers;
}

FAKE(int64_t, inbox__kafka_low, (const struct inbox_consumer *c, const struct inbox__partition *p))
{
    (void)c;
    (void)p;
    return log_begins_at;
}

FAKE(void, inbox__kafka_pause, (struct inbox_consumer *c, struct inbox__partition *p, bool pause))
{
    (void)c;
    p->paused = pause;
}

/* -- a consumer ------------------------------------------------------------------------------- */

static struct inbox_consumer *c;
static struct inbox__partition *p;
static int64_t start;

static void begin(void)
{
    now_ms = 1000000;
    db_answers = kafka_answers = true;
    answer_lost = false;
    stored = (struct inbox__place){ .next = -1, .witness = { .offset = -1 } };
    n_begun = 0;
    begun_at = -2;
    log_begins_at = -1;
    memset(was_begun, 0, sizeof was_begun);
    c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    c->set.inflight_rows = 100;
    c->set.inflight_bytes = 1000000;
    ck_assert_int_eq(inbox__window_init(&c->window, 100), 0);
}

static void end(void)
{
    inbox__partitions_clear(c);
    inbox__window_deinit(&c->window);
    free(c);
}

static void assign(void)
{
    p = inbox__partition_add(c, "t", 0, UINT64_MAX, &start);
    ck_assert_ptr_nonnull(p);
}

static inline struct inbox__record *record(int64_t offset, const char *payload)
{
    struct inbox__raw raw = { .topic = "t", .offset = offset, .payload = payload,
                              .payload_len = strlen(payload), .timestamp_ms = 1000 + offset };
    struct inbox__record *r = inbox__record_new(&raw);

    ck_assert_ptr_nonnull(r);
    return r;
}

/* As kafka.c does with a record. Returns whether it is in memory now. */
static inline bool comes(int64_t offset, const char *payload)
{
    struct inbox__record *r = record(offset, payload);
    bool admitted = inbox__partition_admits(c, p, r);

    if (admitted) {
        r->item.part = &p->part;
        inbox__window_add(&c->window, &r->item);
    } else {
        inbox__record_free(r);
    }
    return admitted;
}

static inline void finish_one(void)
{
    struct inbox__item *item;

    ck_assert_uint_eq(inbox__window_take(&c->window, now_ms, &item, 1), 1);
    inbox__window_done(&c->window, item);
    inbox__record_free((struct inbox__record *)item);
}

/* As after a restart: what the database would have now. */
static inline void assign_again(void)
{
    stored.next = inbox__window_position(&p->part);
    stored.witness = inbox__partition_witness(p);
    inbox__partition_remove(c, p);
    assign();
}

#endif
