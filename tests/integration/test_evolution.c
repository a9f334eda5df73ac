/* test_evolution.c - an old and a new consumer side by side read what an old and a new producer wrote,
 * by the rules of outbox_append(3): additions with a default, and a new type for all else.
 *
 * Each consumer reads the whole topic into its own struct and knows nothing of the other. Needs
 * OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
 */
#include "tests/integration/appends.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/rig/records.h"

#define PLACED "com.example.order.placed"
#define PLACED_2 "com.example.order.placed.v2"

enum { N_EVENTS = 6 };

static char topic_name[64]; /* of this run: a broker may serve several */

/* ---- Producers ------------------------------------------------------------------------------- */

static void store(const char *type, int32_t version, const char *json)
{
    event.topic = topic_name;
    event.key = "k";
    event.key_len = 1;
    event.type = type;
    event.schema_version = version;
    event.content_type = "application/json";
    event.payload = json;
    event.payload_len = strlen(json);
    append_ok();
}

/* Before, during and after the roll-out of the producers. The last change is no addition (the item
 * became a list), so it is an event of another type, and both are written while both are read. */
static void produce(void)
{
    rig_exec(conn, "begin");
    store(PLACED, 1, "{\"order\": 1, \"item\": \"book\"}");
    store(PLACED, 2, "{\"order\": 2, \"item\": \"pen\", \"currency\": \"NOK\"}");
    store(PLACED, 1, "{\"order\": 3, \"item\": \"cup\"}");
    store(PLACED, 3, "{\"order\": 4, \"item\": \"map\", \"currency\": \"SEK\", \"gift\": true}");
    store(PLACED, 3, "{\"order\": 5, \"item\": \"hat\", \"currency\": \"SEK\"}");
    store(PLACED_2, 1, "{\"order\": 5, \"items\": [\"hat\", \"scarf\"], \"currency\": \"SEK\"}");
    rig_exec(conn, "commit");
}

static void relay(void)
{
    char dsn[600], brokers[200];
    /* it gives up when it does not lead within the lease and a second */
    const char *const argv[] = { rig_relay(), "--once", "-X", dsn, "-X", brokers, "-X", "lease.ttl=180s", NULL };
    char log[200];

    snprintf(dsn, sizeof dsn, "dsn=%s", rig_dsn());
    snprintf(brokers, sizeof brokers, "kafka.bootstrap.servers=%s", rig_brokers());
    snprintf(log, sizeof log, "%s/relay.log", rig_tmpdir());
    struct rig_child child = rig_spawn(argv, log);
    ck_assert_int_eq(rig_wait(&child, RIG_DEADLINE_MS), 0);
}

/* ---- Consumers ------------------------------------------------------------------------------- */

struct order_1 {
    json_int_t order;
    char item[20];
};

struct order_2 {
    json_int_t order;
    char item[40];
    char currency[4]; /* came with version 2: EUR before */
    bool gift;        /* came with version 3: not a gift before */
};

struct seen {
    struct order_1 old[N_EVENTS];
    struct order_2 new[N_EVENTS];
    size_t n;
};

struct record {
    char type[64];
    int version;
    json_t *json;
};

static void copy_text(char *to, size_t size, const char *from)
{
    ck_assert_ptr_nonnull(from);
    snprintf(to, size, "%s", from);
}

/* Written against version 1, and never touched since. */
static void old_consumer(struct seen *s, const struct record *r)
{
    if (strcmp(r->type, PLACED) != 0)
        return; /* not for me */
    s->old[s->n].order = json_integer_value(json_object_get(r->json, "order"));
    copy_text(s->old[s->n].item, sizeof s->old[0].item,
              json_string_value(json_object_get(r->json, "item")));
    s->n++;
}

/* Knows version 3 and the type that came after. It reads versions 1 and 2 with defaults, and leaves
 * out the old event of what it reads as the new one. */
static void new_consumer(struct seen *s, const struct record *r)
{
    struct order_2 *o = &s->new[s->n];
    const json_t *items = json_object_get(r->json, "items");
    const char *currency = json_string_value(json_object_get(r->json, "currency"));

    if (strcmp(r->type, PLACED) == 0)
        copy_text(o->item, sizeof o->item,
                  json_string_value(json_object_get(r->json, "item")));
    else if (strcmp(r->type, PLACED_2) == 0)
        snprintf(o->item, sizeof o->item, "%s+%s", json_string_value(json_array_get(items, 0)),
                 json_string_value(json_array_get(items, 1)));
    else
        return;
    o->order = json_integer_value(json_object_get(r->json, "order"));
    copy_text(o->currency, sizeof o->currency, currency != NULL ? currency : "EUR");
    o->gift = json_is_true(json_object_get(r->json, "gift"));
    if (s->n > 0 && s->new[s->n - 1].order == o->order)
        s->new[s->n - 1] = *o; /* the same order, told in the new way */
    else
        s->n++;
}

static const char *header_of(const rd_kafka_message_t *m, const char *name, char *ret, size_t size)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t len;

    ck_assert_int_eq(rd_kafka_message_headers(m, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_header_get_last(headers, name, &value, &len),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    snprintf(ret, size, "%.*s", (int)len, (const char *)value);
    return ret;
}

static struct record record_of(const rd_kafka_message_t *m)
{
    struct record r;
    char version[12];

    header_of(m, "ce_type", r.type, sizeof r.type);
    r.version = atoi(header_of(m, "ce_schemaversion", version, sizeof version));
    r.json = json_loadb(m->payload, m->len, 0, NULL);
    ck_assert_ptr_nonnull(r.json);
    return r;
}

/* The topic from its beginning, on a handle of its own. Returns the greatest version that was met. */
static int consume(void (*consumer)(struct seen *, const struct record *), struct seen *s)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int64_t deadline = rig_now_ms() + RIG_DEADLINE_MS;
    int n = 0, greatest = 0;

    ck_assert_int_eq(rd_kafka_conf_set(conf, "bootstrap.servers", rig_brokers(), text, sizeof text),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    ck_assert_ptr_nonnull(rk);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    ck_assert_int_eq(rd_kafka_consume_start(topic, 0, RD_KAFKA_OFFSET_BEGINNING), 0);
    while (n < N_EVENTS) {
        rd_kafka_message_t *m = rd_kafka_consume(topic, 0, 100);
        ck_assert_msg(rig_now_ms() < deadline, "timed out: %d of %d records", n, N_EVENTS);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            struct record r = record_of(m);
            consumer(s, &r);
            greatest = r.version > greatest ? r.version : greatest;
            json_decref(r.json);
            n++;
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consume_stop(topic, 0);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    return greatest;
}

START_TEST(evolution_old_and_new_consumers_read_old_and_new_events)
{
    static struct seen old, new;
    static const char *const items[] = { "book", "pen", "cup", "map", "hat" };
    static const char *const currencies[] = { "EUR", "NOK", "EUR", "SEK", "SEK" };

    snprintf(topic_name, sizeof topic_name, "%s-%d", TOPIC("evolution"), (int)getpid());
    records_topic(topic_name, 1, NULL);
    produce();
    relay();
    ck_assert_int_eq(consume(old_consumer, &old), 3); /* it met versions that it never heard of */
    consume(new_consumer, &new);
    ck_assert_uint_eq(old.n, 5);
    ck_assert_uint_eq(new.n, 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(old.old[i].order, (json_int_t)i + 1);
        ck_assert_str_eq(old.old[i].item, items[i]);
        ck_assert_int_eq(new.new[i].order, (json_int_t)i + 1);
        ck_assert_str_eq(new.new[i].item, i < 4 ? items[i] : "hat+scarf");
        ck_assert_str_eq(new.new[i].currency, currencies[i]);
        ck_assert_int_eq(new.new[i].gift, i == 3);
    }
}
END_TEST

Suite *suite_evolution(void);
Suite *suite_evolution(void)
{
    Suite *suite = suite_create("evolution");
    TCase *tcase = tcase_create("evolution");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, evolution_old_and_new_consumers_read_old_and_new_events);
    suite_add_tcase(suite, tcase);
    return suite;
}
