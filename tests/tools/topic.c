/* topic.c - create, delete, grow and change topics through librdkafka's admin API, without a JVM.
 *
 *   topic BOOTSTRAP NAME PARTITIONS [config=value ...]     create, wait until every partition leads
 *   topic BOOTSTRAP delete NAME                            delete, wait until it is gone
 *   topic BOOTSTRAP partitions NAME PARTITIONS             grow
 *   topic BOOTSTRAP config NAME config=value ...           these settings and no others
 *   topic BOOTSTRAP deny NAME | allow NAME                 nobody may write | all may; needs an
 *                                                          authorizer, and takes a moment there
 * Exits 0 when the cluster's metadata shows the result.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "tests/tools/kafka_client.h"

/* A slow machine must not miss it: it only ends what would last for ever. */
enum { DEADLINE_MS = 180000, METADATA_MS = 20000 };

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

static bool config_results_ok(rd_kafka_event_t *event)
{
    size_t n;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_AlterConfigs_result_resources(
        rd_kafka_event_AlterConfigs_result(event), &n);
    bool ok = n > 0;

    for (size_t i = 0; i < n; i++) {
        if (!is_ok(rd_kafka_ConfigResource_error(resources[i]),
                   rd_kafka_ConfigResource_name(resources[i]),
                   rd_kafka_ConfigResource_error_string(resources[i])))
            ok = false;
    }
    return ok;
}

static bool error_is_ok(const rd_kafka_error_t *error)
{
    return error == NULL || is_ok(rd_kafka_error_code(error), "ACL", rd_kafka_error_string(error));
}

static bool acl_results_ok(rd_kafka_event_t *event)
{
    const rd_kafka_CreateAcls_result_t *created = rd_kafka_event_CreateAcls_result(event);
    const rd_kafka_DeleteAcls_result_t *deleted = rd_kafka_event_DeleteAcls_result(event);
    size_t n = 0;
    bool ok = true;

    if (created != NULL) {
        const rd_kafka_acl_result_t **results = rd_kafka_CreateAcls_result_acls(created, &n);
        for (size_t i = 0; i < n; i++)
            ok = error_is_ok(rd_kafka_acl_result_error(results[i])) && ok;
    } else {
        const rd_kafka_DeleteAcls_result_response_t **responses =
            rd_kafka_DeleteAcls_result_responses(deleted, &n);
        for (size_t i = 0; i < n; i++)
            ok = error_is_ok(rd_kafka_DeleteAcls_result_response_error(responses[i])) && ok;
    }
    return ok && n > 0;
}

/* Waits for the one event of an admin request and judges it. */
static bool request_ok(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, DEADLINE_MS);
    const rd_kafka_topic_result_t **results = NULL;
    size_t n_results = 0;
    bool ok;

    if (event == NULL) {
        fprintf(stderr, "topic: no answer\n");
        return false;
    }
    ok = is_ok(rd_kafka_event_error(event), "request", rd_kafka_event_error_string(event));
    if (ok && rd_kafka_event_type(event) == RD_KAFKA_EVENT_ALTERCONFIGS_RESULT) {
        ok = config_results_ok(event);
    } else if (ok && (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATEACLS_RESULT ||
                      rd_kafka_event_type(event) == RD_KAFKA_EVENT_DELETEACLS_RESULT)) {
        ok = acl_results_ok(event);
    } else if (ok) {
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
    int64_t end_ms = now_ms() + DEADLINE_MS;

    do {
        if (n_led_partitions(rk, name) == expected)
            return true;
        (void)poll(NULL, 0, 10);
    } while (now_ms() < end_ms);
    fprintf(stderr, "topic: %s: metadata does not show %d partitions after %d s\n", name, expected,
            DEADLINE_MS / 1000);
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

static const char *value_in(const rd_kafka_ConfigResource_t *resource, const char *name)
{
    size_t n;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);

    for (size_t i = 0; i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0)
            return value != NULL ? value : "";
    }
    return "";
}

/* Does a broker, asked for its settings of the topic, tell what is wanted? */
static bool tells_config(rd_kafka_t *rk, rd_kafka_queue_t *queue, rd_kafka_ConfigResource_t *wanted)
{
    size_t n = 0, n_wanted;
    rd_kafka_DescribeConfigs(rk, &wanted, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, DEADLINE_MS);
    const rd_kafka_DescribeConfigs_result_t *result =
        event != NULL ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
    const rd_kafka_ConfigResource_t **told =
        result != NULL ? rd_kafka_DescribeConfigs_result_resources(result, &n) : NULL;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(wanted, &n_wanted);
    bool same = n == 1;

    for (size_t i = 0; same && i < n_wanted; i++)
        same = strcmp(value_in(told[0], rd_kafka_ConfigEntry_name(entries[i])),
                      rd_kafka_ConfigEntry_value(entries[i])) == 0;
    if (event != NULL)
        rd_kafka_event_destroy(event);
    return same;
}

/* The answer to the change may come before the broker goes by it. */
static bool wait_for_config(rd_kafka_t *rk, rd_kafka_queue_t *queue, rd_kafka_ConfigResource_t *wanted)
{
    int64_t end_ms = now_ms() + DEADLINE_MS;

    do {
        if (tells_config(rk, queue, wanted))
            return true;
        (void)poll(NULL, 0, 10);
    } while (now_ms() < end_ms);
    fprintf(stderr, "topic: %s: no broker tells the new settings after %d s\n",
            rd_kafka_ConfigResource_name(wanted), DEADLINE_MS / 1000);
    return false;
}

static bool set_config(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name, char **configs,
                       size_t n_configs)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    bool ok = resource != NULL;

    for (size_t i = 0; ok && i < n_configs; i++) {
        char *value = strchr(configs[i], '=');
        ok = value != NULL;
        if (ok) {
            *value++ = '\0';
            ok = rd_kafka_ConfigResource_set_config(resource, configs[i], value) ==
                 RD_KAFKA_RESP_ERR_NO_ERROR;
        }
    }
    if (ok) {
        rd_kafka_AlterConfigs(rk, &resource, 1, NULL, queue);
        ok = request_ok(queue) && wait_for_config(rk, queue, resource);
    }
    if (resource != NULL)
        rd_kafka_ConfigResource_destroy(resource);
    return ok;
}

/* Who is refused one operation by name needs the others by name as well. */
static bool deny_writing(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name)
{
    char why[256] = "";
    rd_kafka_AclBinding_t *acl[] = {
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                                "User:*", "*", RD_KAFKA_ACL_OPERATION_WRITE,
                                RD_KAFKA_ACL_PERMISSION_TYPE_DENY, why, sizeof why),
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                                "User:*", "*", RD_KAFKA_ACL_OPERATION_ALL,
                                RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, why, sizeof why),
    };
    bool ok = acl[0] != NULL && acl[1] != NULL;

    if (ok) {
        rd_kafka_CreateAcls(rk, acl, 2, NULL, queue);
        ok = request_ok(queue);
    } else {
        fprintf(stderr, "topic: %s: %s\n", name, why);
    }
    for (int i = 0; i < 2; i++)
        if (acl[i] != NULL)
            rd_kafka_AclBinding_destroy(acl[i]);
    return ok;
}

static bool allow_writing(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *name)
{
    char why[256];
    rd_kafka_AclBindingFilter_t *all = rd_kafka_AclBindingFilter_new(
        RD_KAFKA_RESOURCE_TOPIC, name, RD_KAFKA_RESOURCE_PATTERN_LITERAL, NULL, NULL,
        RD_KAFKA_ACL_OPERATION_ANY, RD_KAFKA_ACL_PERMISSION_TYPE_ANY, why, sizeof why);
    bool ok;

    if (all == NULL) {
        fprintf(stderr, "topic: %s: %s\n", name, why);
        return false;
    }
    rd_kafka_DeleteAcls(rk, &all, 1, NULL, queue);
    ok = request_ok(queue);
    rd_kafka_AclBinding_destroy(all);
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

static int usage(void)
{
    fprintf(stderr, "usage: topic BOOTSTRAP NAME PARTITIONS [config=value ...]\n"
                    "       topic BOOTSTRAP delete|deny|allow NAME\n"
                    "       topic BOOTSTRAP partitions NAME PARTITIONS\n"
                    "       topic BOOTSTRAP config NAME config=value ...\n");
    return 64;
}

/* 0 done, 1 failed, 64 not understood. */
static int run(rd_kafka_t *rk, rd_kafka_queue_t *queue, int argc, char **argv)
{
    bool ok;

    if (argc == 4 && strcmp(argv[2], "delete") == 0)
        ok = delete_topic(rk, queue, argv[3]);
    else if (argc == 5 && strcmp(argv[2], "partitions") == 0 && parse_partitions(argv[4]) > 0)
        ok = grow(rk, queue, argv[3], parse_partitions(argv[4]));
    else if (argc == 4 && strcmp(argv[2], "deny") == 0)
        ok = deny_writing(rk, queue, argv[3]);
    else if (argc == 4 && strcmp(argv[2], "allow") == 0)
        ok = allow_writing(rk, queue, argv[3]);
    else if (argc >= 5 && strcmp(argv[2], "config") == 0)
        ok = set_config(rk, queue, argv[3], argv + 4, (size_t)argc - 4);
    else if (argc >= 4 && parse_partitions(argv[3]) > 0)
        ok = create(rk, queue, argv[2], parse_partitions(argv[3]), argv + 4, (size_t)argc - 4);
    else
        return usage();
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const char *const properties[][2] = { { "socket.timeout.ms", "170000" } };
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int status;

    if (argc < 4)
        return usage();
    rk = kafka_client(RD_KAFKA_PRODUCER, kafka_conf(argv[1], properties, 1));
    queue = rd_kafka_queue_new(rk);
    status = run(rk, queue, argc, argv);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return status;
}
