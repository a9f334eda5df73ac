/* topic.c - create, delete and grow topics through librdkafka's admin API, without a JVM.
 *
 *   topic BOOTSTRAP NAME PARTITIONS [config=value ...]     create, wait until every partition leads
 *   topic BOOTSTRAP delete NAME                            delete, wait until it is gone
 *   topic BOOTSTRAP partitions NAME PARTITIONS             grow
 * Exits 0 when the cluster's metadata shows the result.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

enum { REQUEST_MS = 15000, METADATA_MS = 5000, DEADLINE_S = 20 };

static rd_kafka_t *client_new(const char *bootstrap)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;

    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, why, sizeof why) !=
        RD_KAFKA_CONF_OK) {
        fprintf(stderr, "topic: %s\n", why);
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (rk == NULL) {
        fprintf(stderr, "topic: %s\n", why);
        rd_kafka_conf_destroy(conf);
    }
    return rk;
}

/* Says what went wrong; true when nothing did. */
static bool is_ok(rd_kafka_resp_err_t err, const char *name, const char *text)
{
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return true;
    fprintf(stderr, "topic: %s: %s: %s\n", name, rd_kafka_err2name(err), text != NULL ? text : "");
    return false;
}

static bool topic_results_ok(const rd_kafka_topic_result_t **results, size_t n_results)
{
    bool ok = n_results > 0;

    for (size_t i = 0; i < n_results; i++) {
        if (!is_ok(rd_kafka_topic_result_error(results[i]), rd_kafka_topic_result_name(results[i]),
                   rd_kafka_topic_result_error_string(results[i])))
            ok = false;
    }
    return ok;
}

/* Waits for the one event of an admin request and judges it. */
static bool request_ok(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS + 5000);
    const rd_kafka_topic_result_t **results = NULL;
    size_t n_results = 0;
    bool ok;

    if (event == NULL) {
        fprintf(stderr, "topic: no answer\n");
        return false;
    }
    ok = is_ok(rd_kafka_event_error(event), "request", rd_kafka_event_error_string(event));
    if (ok) {
        if (rd_kafka_event_CreateTopics_result(event) != NULL)
            results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
                                                          &n_results);
        else if (rd_kafka_event_DeleteTopics_result(event) != NULL)
            results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event),
                                                          &n_results);
        else if (rd_kafka_event_CreatePartitions_result(event) != NULL)
            results = rd_kafka_CreatePartitions_result_topics(
                rd_kafka_event_CreatePartitions_result(event), &n_results);
        ok = topic_results_ok(results, n_results);
    }
    rd_kafka_event_destroy(event);
    return ok;
}

/* How many partitions of the topic have a leader; 0 when the topic is not there, -1 unknown. */
static int n_led_partitions(rd_kafka_t *rk, const char *name)
{
    const struct rd_kafka_metadata *metadata;
    const struct rd_kafka_metadata_topic *topic;
    int n_led = 0;

    /* All topics: asking for one by name would create it where the broker does that. */
    if (rd_kafka_metadata(rk, 1, NULL, &metadata, METADATA_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return -1;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        topic = &metadata->topics[i];
        if (strcmp(topic->topic, name) != 0 || topic->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        for (int p = 0; p < topic->partition_cnt; p++)
            n_led += topic->partitions[p].leader >= 0;
    }
    rd_kafka_metadata_destroy(metadata);
    return n_led;
}

static bool wait_for_partitions(rd_kafka_t *rk, const char *name, int expected)
{
    struct timespec start;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        if (n_led_partitions(rk, name) == expected)
            return true;
        (void)poll(NULL, 0, 10);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < DEADLINE_S);
    fprintf(stderr, "topic: %s: metadata does not show %d partitions after %d s\n", name, expected,
            DEADLINE_S);
    return false;
}

static bool set_configs(rd_kafka_NewTopic_t *topic, char **configs, size_t n_configs)
{
    char *value;

    for (size_t i = 0; i < n_configs; i++) {
        value = strchr(configs[i], '=');
        if (value == NULL) {
            fprintf(stderr, "topic: setting without value: %s\n", configs[i]);
            return false;
        }
        *value++ = '\0';
        if (rd_kafka_NewTopic_set_config(topic, configs[i], value) != RD_KAFKA_RESP_ERR_NO_ERROR)
            return false;
    }
    return true;
}

static bool create(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name, int n_partitions,
                   char **configs, size_t n_configs)
{
    char why[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, n_partitions, 1, why, sizeof why);
    bool ok;

    if (topic == NULL) {
        fprintf(stderr, "topic: %s: %s\n", name, why);
        return false;
    }
    ok = set_configs(topic, configs, n_configs);
    if (ok) {
        rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
        ok = request_ok(queue) && wait_for_partitions(rk, name, n_partitions);
    }
    rd_kafka_NewTopic_destroy(topic);
    return ok;
}

static bool delete_topic(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name)
{
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    bool ok;

    rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
    ok = request_ok(queue) && wait_for_partitions(rk, name, 0);
    rd_kafka_DeleteTopic_destroy(topic);
    return ok;
}

static bool grow(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name, int n_partitions)
{
    char why[256];
    rd_kafka_NewPartitions_t *parts =
        rd_kafka_NewPartitions_new(name, (size_t)n_partitions, why, sizeof why);
    bool ok;

    if (parts == NULL) {
        fprintf(stderr, "topic: %s: %s\n", name, why);
        return false;
    }
    rd_kafka_CreatePartitions(rk, &parts, 1, NULL, queue);
    ok = request_ok(queue) && wait_for_partitions(rk, name, n_partitions);
    rd_kafka_NewPartitions_destroy(parts);
    return ok;
}

static int parse_partitions(const char *text)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    return errno != 0 || *end != '\0' || value < 1 || value > 10000 ? -1 : (int)value;
}

/* 0 done, 1 failed, 64 not understood. */
static int run(rd_kafka_t *rk, rd_kafka_queue_t *queue, int argc, char **argv)
{
    bool ok;

    if (argc == 4 && strcmp(argv[2], "delete") == 0)
        ok = delete_topic(rk, queue, argv[3]);
    else if (argc == 5 && strcmp(argv[2], "partitions") == 0 && parse_partitions(argv[4]) > 0)
        ok = grow(rk, queue, argv[3], parse_partitions(argv[4]));
    else if (argc >= 4 && parse_partitions(argv[3]) > 0)
        ok = create(rk, queue, argv[2], parse_partitions(argv[3]), argv + 4, (size_t)argc - 4);
    else
        return 64;
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int status;

    if (argc < 4) {
        fprintf(stderr, "usage: topic BOOTSTRAP NAME PARTITIONS [config=value ...]\n"
                        "       topic BOOTSTRAP delete NAME | partitions NAME PARTITIONS\n");
        return 64;
    }
    rk = client_new(argv[1]);
    if (rk == NULL)
        return EXIT_FAILURE;
    queue = rd_kafka_queue_new(rk);
    status = run(rk, queue, argc, argv);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return status;
}
