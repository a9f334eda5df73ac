/* records.c - see records.h. */
#include "tests/rig/records.h"

#include <check.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rig/rig.h"

enum { MAX_BYTES = 1 << 20 };

struct records {
    rd_kafka_t *rk;
};

/* tests/tools/broker topic, with these words behind the broker's directory; NULL: no third one */
static void broker_topic(const char *first, const char *second, const char *third)
{
    const char *dir = getenv("OUTBOX_TEST_BROKER_DIR");
    const char *const argv[] = { "tests/tools/broker", "topic", dir, first, second, third, NULL };

    ck_assert_ptr_nonnull(dir);
    struct rig_child child = rig_spawn(argv, NULL);
    ck_assert_int_eq(rig_wait(&child, RIG_DEADLINE_MS), 0);
}

void records_topic(const char *name, int partitions, const char *config)
{
    char number[16];

    snprintf(number, sizeof number, "%d", partitions);
    broker_topic(name, number, config);
}

void records_topic_config(const char *name, const char *config)
{
    broker_topic("config", name, config);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        ck_abort_msg("%s: %s", name, why);
}

static const char *late(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR__TIMED_OUT ? "timed out: " : "";
}

static void check(rd_kafka_resp_err_t err)
{
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        ck_abort_msg("%s%s", late(err), rd_kafka_err2str(err));
}

static void check_error(rd_kafka_error_t *error)
{
    if (error != NULL)
        ck_abort_msg("%s%s", late(rd_kafka_error_code(error)), rd_kafka_error_string(error));
}

static rd_kafka_t *producer(rd_kafka_conf_t *conf)
{
    char why[256];

    set(conf, "bootstrap.servers", rig_brokers());
    set(conf, "allow.auto.create.topics", "false");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (rk == NULL)
        ck_abort_msg("%s", why);
    return rk;
}

void records_topics(const char *name, int n, int partitions)
{
    rd_kafka_t *rk = producer(rd_kafka_conf_new());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t **topic = calloc((size_t)n, sizeof(rd_kafka_NewTopic_t *));
    char why[256], full[256];

    ck_assert_ptr_nonnull(topic);
    for (int i = 0; i < n; i++) {
        snprintf(full, sizeof full, "%s%d", name, i);
        topic[i] = rd_kafka_NewTopic_new(full, partitions, 1, why, sizeof why);
        ck_assert_ptr_nonnull(topic[i]);
    }
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    check(rd_kafka_AdminOptions_set_request_timeout(options, RIG_DEADLINE_MS, why, sizeof why));
    rd_kafka_CreateTopics(rk, topic, (size_t)n, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, RIG_DEADLINE_MS);
    ck_assert_msg(ev != NULL, "timed out: no topic is made");
    check(rd_kafka_event_error(ev));
    rd_kafka_event_destroy(ev);
    rd_kafka_NewTopic_destroy_array(topic, (size_t)n);
    free(topic);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

bool records_topic_exists(const char *name)
{
    rd_kafka_t *rk = producer(rd_kafka_conf_new());
    const struct rd_kafka_metadata *md;
    bool found = false;

    check(rd_kafka_metadata(rk, 1, NULL, &md, RIG_DEADLINE_MS));
    for (int i = 0; i < md->topic_cnt; i++)
        found =
            found || (strcmp(md->topics[i].topic, name) == 0 && md->topics[i].partition_cnt > 0);
    rd_kafka_metadata_destroy(md);
    rd_kafka_destroy(rk);
    return found;
}

static bool topic_exists(void *name)
{
    return records_topic_exists(name);
}

void records_ask_for_topic(const char *name)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const struct rd_kafka_metadata *md;

    set(conf, "bootstrap.servers", rig_brokers());
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    ck_assert_ptr_nonnull(rk);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    ck_assert_ptr_nonnull(topic);
    check(rd_kafka_metadata(rk, 0, topic, &md, RIG_DEADLINE_MS));
    rd_kafka_metadata_destroy(md);
    if (!rig_wait_until(topic_exists, (void *)(uintptr_t)name, RIG_DEADLINE_MS))
        ck_abort_msg("timed out: the broker does not make %s by itself", name);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
}

void records_id(uint64_t n, uint8_t ret_id[16])
{
    memset(ret_id, 0x5a, 8);
    for (int i = 0; i < 8; i++)
        ret_id[15 - i] = (uint8_t)(n >> 8 * i);
}

const char *records_id_text(uint64_t n, char ret_text[37])
{
    snprintf(ret_text, 37, "5a5a5a5a-5a5a-5a5a-%04x-%012llx", (unsigned)(n >> 48),
             (unsigned long long)(n & 0xffffffffffff));
    return ret_text;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    (void)opaque;
    check(m->err);
}

struct records *records_open(const char *transactional_id)
{
    struct records *r = calloc(1, sizeof *r);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    ck_assert_ptr_nonnull(r);
    set(conf, "enable.idempotence", "true");
    set(conf, "linger.ms", "5");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    if (transactional_id != NULL) {
        set(conf, "transactional.id", transactional_id);
        set(conf, "transaction.timeout.ms", "600000");
    }
    r->rk = producer(conf);
    if (transactional_id != NULL)
        check_error(rd_kafka_init_transactions(r->rk, RIG_DEADLINE_MS));
    return r;
}

void records_close(struct records *r)
{
    check(rd_kafka_flush(r->rk, RIG_DEADLINE_MS));
    rd_kafka_destroy(r->rk);
    free(r);
}

/* Takes headers. */
static void put(struct records *r, const char *topic, int32_t partition, rd_kafka_headers_t *headers,
                size_t bytes)
{
    static const char payload[MAX_BYTES];
    void *value_bytes = bytes > 0 ? (void *)(uintptr_t)payload : NULL;
    rd_kafka_resp_err_t err;

    ck_assert_uint_le(bytes, sizeof payload);
    for (;;) {
        rd_kafka_headers_t *copy = rd_kafka_headers_copy(headers);
        err = rd_kafka_producev(r->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_HEADERS(copy),
                                RD_KAFKA_V_VALUE(value_bytes, bytes),
                                RD_KAFKA_V_END);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        rd_kafka_headers_destroy(copy);
        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            check(err);
        (void)rd_kafka_poll(r->rk, 10);
    }
    rd_kafka_headers_destroy(headers);
}

void records_put_text(struct records *r, const char *topic, int32_t partition, const char *name,
                      const char *value, size_t bytes)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);

    if (value != NULL)
        check(rd_kafka_header_add(headers, name, -1, value, -1));
    put(r, topic, partition, headers, bytes);
}

void records_put_twin(struct records *r, const char *topic, int32_t partition, const char *name,
                      uint64_t n, uint64_t row, size_t bytes)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
    char text[37], sequence[24];

    snprintf(sequence, sizeof sequence, "%020llu", (unsigned long long)row);
    check(rd_kafka_header_add(headers, name, -1, records_id_text(n, text), -1));
    check(rd_kafka_header_add(headers, "ce_sequence", -1, sequence, -1));
    check(rd_kafka_header_add(headers, "eventType", -1, RECORDS_TYPE, -1));
    put(r, topic, partition, headers, bytes);
}

void records_put(struct records *r, const char *topic, int32_t partition, const char *name,
                 uint64_t n, size_t bytes)
{
    records_put_twin(r, topic, partition, name, n, n, bytes);
}

void records_begin(struct records *r)
{
    check_error(rd_kafka_begin_transaction(r->rk));
}

void records_end(struct records *r, bool commit)
{
    check(rd_kafka_flush(r->rk, RIG_DEADLINE_MS)); /* else an abort may take records back unwritten */
    check_error(commit ? rd_kafka_commit_transaction(r->rk, RIG_DEADLINE_MS)
                       : rd_kafka_abort_transaction(r->rk, RIG_DEADLINE_MS));
}
