/* inspect.c - see inspect.h. */
#include "relay/sink/inspect.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/loop.h"
#include "relay/sink/brokers.h"
#include "relay/sink/client.h"
#include "relay/sink/consumer.h"

#define MAX_PROBE_BYTES (16 * 1024 * 1024) /* larger records are not sent about for a question */
#define PROBE_SLACK_BYTES 1024             /* above the limit, whatever is counted */

struct inspect {
    rd_kafka_t *rk;
    rd_kafka_queue_t *events, *answers;
    struct sink_property *properties; /* their texts are the caller's */
    size_t n_properties;
    struct brokers brokers;
    char why[256]; /* the last error that names none of them; "": none */
};

struct inspect *inspect_new(const struct sink_property *properties, size_t n, char *err,
                            size_t err_size)
{
    struct inspect *i = calloc(1, sizeof *i);

    if (i == NULL || (i->properties = calloc(n + 1, sizeof *i->properties)) == NULL) {
        snprintf(err, err_size, "out of memory");
        free(i);
        return NULL;
    }
    memcpy(i->properties, properties, n * sizeof *properties);
    i->n_properties = n;
    i->rk = consumer_open(properties, n, "500", err, err_size);
    if (i->rk == NULL) {
        inspect_free(i);
        return NULL;
    }
    i->events = rd_kafka_queue_get_main(i->rk);
    i->answers = rd_kafka_queue_new(i->rk);
    return i;
}

void inspect_free(struct inspect *i)
{
    if (i == NULL)
        return;
    client_free(i->rk, i->answers, i->events);
    free(i->properties);
    free(i);
}

unsigned inspect_library_version(void)
{
    return (unsigned)rd_kafka_version();
}

/* -- is anybody there ------------------------------------------------------------------------ */

/* That all brokers are down says less than what is known of each. */
static void note_error(struct inspect *i, rd_kafka_event_t *ev)
{
    const char *text = rd_kafka_event_error_string(ev);

    if (!brokers_error(&i->brokers, text) && rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(i->why, sizeof i->why, "%s", text);
}

static void serve(struct inspect *i)
{
    rd_kafka_event_t *ev;

    while ((ev = rd_kafka_queue_poll(i->events, 0)) != NULL) {
        if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_LOG)
            client_log(ev);
        else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            note_error(i, ev);
        else if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_STATS)
            brokers_statistics(&i->brokers, rd_kafka_event_stats(ev));
        rd_kafka_event_destroy(ev);
    }
}

bool inspect_reach(struct inspect *i, int timeout_ms, int *ret_brokers, char *err, size_t err_size)
{
    const struct rd_kafka_metadata *about = NULL;
    rd_kafka_resp_err_t e = rd_kafka_metadata(i->rk, 0, NULL, &about, timeout_ms);

    serve(i);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
        char words[1024];
        brokers_words(&i->brokers, (uint64_t)timeout_ms, words, sizeof words);
        snprintf(err, err_size, "%s%s%s", i->why, i->why[0] != '\0' && words[0] != '\0' ? "; " : "",
                 i->why[0] != '\0' || words[0] != '\0' ? words : rd_kafka_err2str(e));
        return false;
    }
    *ret_brokers = about->broker_cnt;
    rd_kafka_metadata_destroy(about);
    return true;
}

enum inspect_rights inspect_rights(struct inspect *i, int timeout_ms)
{
    char why[128];
    rd_kafka_AclBindingFilter_t *any = rd_kafka_AclBindingFilter_new(
        RD_KAFKA_RESOURCE_TOPIC, NULL, RD_KAFKA_RESOURCE_PATTERN_ANY, NULL, NULL,
        RD_KAFKA_ACL_OPERATION_WRITE, RD_KAFKA_ACL_PERMISSION_TYPE_DENY, why, sizeof why);
    enum inspect_rights rights = INSPECT_RIGHTS_UNKNOWN;

    if (any == NULL)
        return rights;
    rd_kafka_DescribeAcls(i->rk, any, NULL, i->answers);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(i->answers, timeout_ms);
    if (ev != NULL && rd_kafka_event_error(ev) == RD_KAFKA_RESP_ERR_SECURITY_DISABLED)
        rights = INSPECT_RIGHTS_ALL;
    if (ev != NULL)
        rd_kafka_event_destroy(ev);
    rd_kafka_AclBinding_destroy(any);
    serve(i);
    return rights;
}

/* -- topics ---------------------------------------------------------------------------------- */

static void set_partitions(struct inspect_topic *t, const struct rd_kafka_metadata_topic *mt)
{
    t->code = mt->err != RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_err2name(mt->err) : NULL;
    t->error = t->code != NULL ? rd_kafka_err2str(mt->err) : NULL;
    t->partitions = mt->partition_cnt;
    for (int p = 0; p < mt->partition_cnt; p++) {
        const struct rd_kafka_metadata_partition *part = &mt->partitions[p];
        t->without_leader += part->leader < 0;
        if (t->replicas < 0 || part->replica_cnt < t->replicas)
            t->replicas = part->replica_cnt;
        if (t->in_sync < 0 || part->isr_cnt < t->in_sync)
            t->in_sync = part->isr_cnt;
    }
}

/* One request for the topics that have a handle. */
static int ask_partitions(struct inspect *i, struct inspect_topic *t, size_t n, int timeout_ms,
                          char *err, size_t err_size)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t **handle = calloc(n + 1, sizeof *handle);
    rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR__FAIL;

    for (size_t k = 0; handle != NULL && k < n; k++)
        handle[k] = rd_kafka_topic_new(i->rk, t[k].name, NULL);
    if (handle != NULL)
        e = rd_kafka_metadata(i->rk, 0, NULL, &md, timeout_ms);
    for (int m = 0; e == RD_KAFKA_RESP_ERR_NO_ERROR && m < md->topic_cnt; m++)
        for (size_t k = 0; k < n; k++)
            if (strcmp(md->topics[m].topic, t[k].name) == 0)
                set_partitions(&t[k], &md->topics[m]);
    if (md != NULL)
        rd_kafka_metadata_destroy(md);
    for (size_t k = 0; handle != NULL && k < n; k++)
        if (handle[k] != NULL)
            rd_kafka_topic_destroy(handle[k]);
    free(handle);
    serve(i);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        snprintf(err, err_size, "%s", rd_kafka_err2str(e));
    return e == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

static void set_config(struct inspect_topic *t, const char *name, const char *value)
{
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {
        { "max.message.bytes", &t->max_message_bytes },
        { "min.insync.replicas", &t->min_insync_replicas },
        { "retention.ms", &t->retention_ms },
        { "message.timestamp.before.max.ms", &t->timestamp_before_ms },
        { "message.timestamp.after.max.ms", &t->timestamp_after_ms },
    };

    if (value == NULL)
        return;
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (strcmp(name, numbers[k].name) == 0 && errno == 0 && *end == '\0')
            *numbers[k].to = v;
    }
    if (strcmp(name, "cleanup.policy") == 0)
        t->compacted = strstr(value, "compact") != NULL;
    if (strcmp(name, "compression.type") == 0)
        t->compresses = strcmp(value, "producer") != 0 && strcmp(value, "uncompressed") != 0;
}

static void set_configs(struct inspect_topic *t, const rd_kafka_ConfigResource_t *r)
{
    size_t n;
    rd_kafka_resp_err_t e = rd_kafka_ConfigResource_error(r);
    const rd_kafka_ConfigEntry_t **entry = rd_kafka_ConfigResource_configs(r, &n);

    t->config_code = e != RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_err2name(e) : NULL;
    for (size_t k = 0; e == RD_KAFKA_RESP_ERR_NO_ERROR && k < n; k++)
        set_config(t, rd_kafka_ConfigEntry_name(entry[k]), rd_kafka_ConfigEntry_value(entry[k]));
}

static void take_configs(rd_kafka_event_t *ev, struct inspect_topic *t, size_t n)
{
    rd_kafka_resp_err_t e =
        ev != NULL ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_DescribeConfigs_result_t *result =
        ev != NULL ? rd_kafka_event_DescribeConfigs_result(ev) : NULL;
    const rd_kafka_ConfigResource_t **resource = NULL;
    size_t n_resources = 0;

    for (size_t k = 0; k < n; k++)
        t[k].config_code = rd_kafka_err2name(e != RD_KAFKA_RESP_ERR_NO_ERROR
                                                 ? e : RD_KAFKA_RESP_ERR__FAIL);
    if (result != NULL && e == RD_KAFKA_RESP_ERR_NO_ERROR)
        resource = rd_kafka_DescribeConfigs_result_resources(result, &n_resources);
    for (size_t r = 0; r < n_resources; r++)
        for (size_t k = 0; k < n; k++)
            if (strcmp(rd_kafka_ConfigResource_name(resource[r]), t[k].name) == 0)
                set_configs(&t[k], resource[r]);
}

static void ask_configs(struct inspect *i, struct inspect_topic *t, size_t n, int timeout_ms)
{
    rd_kafka_ConfigResource_t **resource = calloc(n + 1, sizeof *resource);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(i->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    char why[128];
    size_t n_resources = 0;

    for (size_t k = 0; resource != NULL && k < n; k++)
        if ((resource[n_resources] =
                 rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, t[k].name)) != NULL)
            n_resources++;
    if (options != NULL && n_resources > 0) {
        (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, why, sizeof why);
        rd_kafka_DescribeConfigs(i->rk, resource, n_resources, options, i->answers);
        rd_kafka_event_t *ev = rd_kafka_queue_poll(i->answers, timeout_ms + 1000);
        take_configs(ev, t, n);
        if (ev != NULL)
            rd_kafka_event_destroy(ev);
        rd_kafka_ConfigResource_destroy_array(resource, n_resources);
    }
    if (options != NULL)
        rd_kafka_AdminOptions_destroy(options);
    free(resource);
    serve(i);
}

int inspect_topics(struct inspect *i, const char *const *names, size_t n, int timeout_ms,
                   struct inspect_topic *ret, char *err, size_t err_size)
{
    for (size_t k = 0; k < n; k++)
        ret[k] = (struct inspect_topic){
            .name = names[k],
            .code = rd_kafka_err2name(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC),
            .error = "the brokers said nothing about it",
            .replicas = -1,
            .in_sync = -1,
            .max_message_bytes = -1,
            .min_insync_replicas = -1,
            .retention_ms = -1,
            .timestamp_before_ms = -1,
            .timestamp_after_ms = -1,
        };
    if (n == 0)
        return 0;
    if (ask_partitions(i, ret, n, timeout_ms, err, err_size) < 0)
        return -1;
    ask_configs(i, ret, n, timeout_ms);
    return 0;
}

/* -- may it write ---------------------------------------------------------------------------- */

/* A producer for the one request that cannot be accepted. */
static rd_kafka_t *open_prober(const struct inspect *i, char *err, size_t err_size)
{
    static const struct sink_property fixed[] = {
        { "enable.idempotence", "false" },   { "request.required.acks", "2" },
        { "compression.codec", "none" },     { "message.max.bytes", "20000000" },
        { "message.send.max.retries", "0" }, { "log.queue", "true" },
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk = NULL;

    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    for (size_t k = 0; k < i->n_properties; k++)
        if (strncmp(i->properties[k].name, "transaction", 11) != 0 &&
            client_set_all(conf, &i->properties[k], 1, err, err_size) < 0)
            goto out;
    if (client_set_all(conf, fixed, sizeof fixed / sizeof fixed[0], err, err_size) < 0)
        goto out;
    rk = client_new(RD_KAFKA_PRODUCER, conf, err, err_size);
    if (rk != NULL)
        return rk;
out:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* The delivery report of the one record; _TIMED_OUT when none came. */
static rd_kafka_resp_err_t report_of(rd_kafka_t *rk, int timeout_ms)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    uint64_t until_ms = loop_now_ms() + (uint64_t)timeout_ms;
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool reported = false;

    (void)rd_kafka_set_log_queue(rk, NULL);
    while (!reported && loop_now_ms() < until_ms) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, 50);
        const rd_kafka_message_t *m = ev != NULL ? rd_kafka_event_message_next(ev) : NULL;
        if (m != NULL) {
            err = m->err;
            reported = true;
        }
        if (ev != NULL)
            rd_kafka_event_destroy(ev);
    }
    rd_kafka_queue_destroy(queue);
    return err;
}

int inspect_may_write(struct inspect *i, const char *topic, int64_t max_message_bytes,
                      int timeout_ms, char *err, size_t err_size)
{
    if (max_message_bytes < 0 || max_message_bytes > MAX_PROBE_BYTES) {
        snprintf(err, err_size, max_message_bytes < 0 ? "the topic's max.message.bytes is not known"
                                                      : "the topic's max.message.bytes is too large");
        return -1;
    }
    size_t size = (size_t)max_message_bytes + PROBE_SLACK_BYTES;
    char *bytes = calloc(1, size);
    rd_kafka_t *rk = bytes != NULL ? open_prober(i, err, err_size) : NULL;
    rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR__FAIL;
    if (rk != NULL) {
        e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(0),
                              RD_KAFKA_V_VALUE(bytes, size), RD_KAFKA_V_END);
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
            e = report_of(rk, timeout_ms);
        snprintf(err, err_size, "%s: %s", rd_kafka_err2name(e), rd_kafka_err2str(e));
        (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(rk, 100);
        rd_kafka_destroy(rk);
    }
    free(bytes);
    if (e == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return 0;
    return e == RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS || e == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
               ? 1 : -1;
}
