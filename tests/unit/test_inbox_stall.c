/* test_inbox_stall.c - a partition that librdkafka does not fetch, though it is ours and not paused, gives its events
 * in the end, each once; one that is fetched and quiet is left alone. The broker is librdkafka's mock, in this process;
 * the database is faked. When a partition stalls: test_inbox_watch.c. */
#include <check.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/attempts.h"
#include "lib/inbox/inside.h"
#include "tests/rig/fake.h"
#include "tests/rig/rig.h"

enum { N_EVENTS = 5, FIRST = 2, LOOK_S = 4 };

/* -- fakes ------------------------------------------------------------------------------------ */

static bool drop_assign, drop_start, drop_resume; /* once; the last two are as if librdkafka did */

static bool take(bool *what)
{
    bool was = *what;

    *what = false;
    return was;
}

FAKE(rd_kafka_error_t *, rd_kafka_incremental_assign, (rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list))
{
    rd_kafka_topic_partition_list_t *same = rd_kafka_topic_partition_list_copy(list);
    rd_kafka_error_t *error = take(&drop_assign) ? NULL : __real_rd_kafka_incremental_assign(rk, list);

    if (take(&drop_resume))
        ck_assert_int_eq(rd_kafka_pause_partitions(rk, same), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (take(&drop_start))
        ck_assert_ptr_null(rd_kafka_incremental_unassign(rk, same));
    rd_kafka_topic_partition_list_destroy(same);
    return error;
}

static unsigned n_received; /* and committed */

FAKE(bool, inbox__db_claim, (struct inbox_consumer *c, struct inbox__partition *p, struct inbox__place *ret))
{
    (void)c, (void)p;
    *ret = (struct inbox__place){ .next = FIRST + n_received, .witness = { .offset = -1 } };
    return true;
}

FAKE(bool, inbox__db_release, (struct inbox_consumer *c, const struct inbox__partition *p))
{
    (void)c, (void)p;
    return true;
}

FAKE(bool, inbox__attempts_load, (struct inbox_consumer *c, struct inbox__partition *p))
{
    (void)c, (void)p;
    return true;
}

static unsigned n_looks; /* that the broker answered */

FAKE(void, inbox__kafka_ends, (struct inbox_consumer *c))
{
    __real_inbox__kafka_ends(c);
    n_looks += c->partitions != NULL && c->partitions->end >= 0;
}

FAKE(void, inbox__received, (struct inbox_consumer *c, struct inbox__partition *p, struct inbox__record *r))
{
    (void)c;
    ck_assert_int_eq(r->item.offset, FIRST + (int64_t)n_received);
    n_received++;
    inbox__window_pass(&p->part, r->item.offset);
    inbox__record_free(r);
}

/* -- a consumer ------------------------------------------------------------------------------- */

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *mock;
static inbox_consumer *c;
static outbox_error err;
static uint64_t until_ms;

static void produce(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_VALUE("event", 5), RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_flush(producer, RIG_DEADLINE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void make_broker(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;
    char why[512];

    /* The mock is its handle's, which has no use of its own. */
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    ck_assert_msg(rk != NULL, "%s", why);
    mock = rd_kafka_mock_cluster_new(rk, 1);
    ck_assert_ptr_nonnull(mock);
    ck_assert_int_eq(rd_kafka_mock_topic_create(mock, "t", 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(mock), why,
                                       sizeof why), RD_KAFKA_CONF_OK);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    ck_assert_msg(producer != NULL, "%s", why);
}

static int on_event(PGconn *conn, const inbox_message *msg, void *arg)
{
    (void)conn, (void)msg, (void)arg;
    return INBOX_DONE;
}

static void setup(void)
{
    make_broker();
    const char *const settings[] = { "dsn", "dbname=none", "group", "g", "topics", "t", "kafka.bootstrap.servers",
                                     rd_kafka_mock_cluster_bootstraps(mock), NULL };
    produce(N_EVENTS);
    err = (outbox_error)OUTBOX_ERROR_INIT;
    ck_assert_msg(inbox_consumer_new(settings, &c, &err) == OUTBOX_OK, "%s", err.message);
    ck_assert_int_eq(inbox_consumer_on(c, NULL, on_event, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(inbox__window_init(&c->window, 100), 0);
    c->stall_s = LOOK_S;
    n_received = n_looks = 0;
    drop_assign = drop_start = drop_resume = false;
    until_ms = inbox__now_ms() + RIG_DEADLINE_MS;
}

static void teardown(void)
{
    rd_kafka_t *rk = rd_kafka_mock_cluster_handle(mock);

    inbox__kafka_close(c);
    inbox__partitions_clear(c);
    inbox__window_deinit(&c->window);
    inbox_consumer_free(c);
    rd_kafka_destroy(producer);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(rk);
}

/* As consumer.c does, but with seconds of 100 ms. */
static void turn(bool watched)
{
    bool any;

    ck_assert_msg(inbox__now_ms() < until_ms, "timed out: %u events have come", n_received);
    ck_assert_msg(inbox__kafka_poll(c, 100, &any, &err) == OUTBOX_OK, "%s", err.message);
    c->drained = !any;
    inbox__partitions_tend(c, inbox__now_ms());
    if (watched)
        inbox__partitions_watch(c);
}

static void turn_until_received(unsigned n, bool watched)
{
    while (n_received < n)
        turn(watched);
}

static void all_come_after_a_stall(void)
{
    ck_assert_int_eq(inbox__kafka_open(c, &err), OUTBOX_OK);
    turn_until_received(N_EVENTS - FIRST, true);
    ck_assert_uint_ge(c->figures.stalls, 1);
}

/* -- tests ------------------------------------------------------------------------------------ */

START_TEST(a_resume_that_was_dropped)
{
    drop_resume = true;
    all_come_after_a_stall();
}
END_TEST

START_TEST(a_start_that_was_dropped)
{
    drop_start = true;
    all_come_after_a_stall();
}
END_TEST

START_TEST(an_assignment_that_failed)
{
    drop_assign = true;
    all_come_after_a_stall();
}
END_TEST

/* However long a fetch takes here: watched is it only while it has all. */
START_TEST(one_that_is_quiet_is_left_alone)
{
    ck_assert_int_eq(inbox__kafka_open(c, &err), OUTBOX_OK);
    turn_until_received(N_EVENTS - FIRST, false);
    while (c->partitions->reached < N_EVENTS)
        turn(false);
    while (n_looks < 3)
        turn(true);
    ck_assert_int_eq(c->partitions->end, N_EVENTS);
    ck_assert_int_eq(c->partitions->reached, N_EVENTS);
    ck_assert_uint_eq(c->figures.stalls, 0);
    ck_assert_uint_eq(c->figures.kafka_errors, 0);
    produce(1);
    turn_until_received(N_EVENTS - FIRST + 1, false);
}
END_TEST

Suite *suite_inbox_stall(void);
Suite *suite_inbox_stall(void)
{
    Suite *s = suite_create("inbox_stall");
    TCase *tc = tcase_create("stall");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 4 * RIG_DEADLINE_MS / 1000);
    tcase_add_test(tc, a_resume_that_was_dropped);
    tcase_add_test(tc, a_start_that_was_dropped);
    tcase_add_test(tc, an_assignment_that_failed);
    tcase_add_test(tc, one_that_is_quiet_is_left_alone);
    suite_add_tcase(s, tc);
    return s;
}
