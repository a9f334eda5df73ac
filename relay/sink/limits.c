/* limits.c - see limits.h. */
#include "relay/sink/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/room.h"

#define REFRESH_MS (3 * 60 * 1000)
#define RETRY_MS (30 * 1000)   /* the question failed, or the topic is not there */
#define DOUBT_MS 1000          /* not oftener than this, however many rows are refused */
#define REQUEST_MS (10 * 1000)
#define MAX_TOPICS 200         /* in one question */
#define LIMIT_NAME "max.message.bytes"

struct limit {
    char *name;       /* NULL: not wanted */
    size_t max_bytes; /* 0: not known */
    uint64_t asked_ms;
    uint64_t due_ms; /* ask when a row is seen after this; UINT64_MAX: never */
    bool wanted, asked, doubted;
};

struct limits {
    struct limit *limit; /* by the core's number of the topic */
    uint32_t n;
    uint32_t n_wanted;
    bool waiting; /* for an answer */
};

struct limits *limits_new(void)
{
    return calloc(1, sizeof(struct limits));
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < l->n; i++)
        free(l->limit[i].name);
    free(l->limit);
    free(l);
}

/* -- what is known -------------------------------------------------------------------------- */

static struct limit *limit_of(struct limits *l, uint32_t topic)
{
    struct limit *limit = room_for(topic, l->limit, &l->n, sizeof *limit);

    if (limit == NULL)
        return NULL;
    l->limit = limit;
    return &limit[topic];
}

static void set_wanted(struct limits *l, struct limit *limit, bool wanted)
{
    if (wanted && !limit->wanted)
        l->n_wanted++;
    if (!wanted && limit->wanted)
        l->n_wanted--;
    limit->wanted = wanted;
}

void limits_want(struct limits *l, uint32_t topic, const char *name, uint64_t now_ms)
{
    struct limit *limit = limit_of(l, topic);

    if (limit == NULL || limit->wanted || limit->asked)
        return;
    if (limit->doubted && limit->due_ms != UINT64_MAX && now_ms - limit->asked_ms >= DOUBT_MS)
        limit->due_ms = 0;
    if (limit->due_ms > now_ms)
        return;
    if (limit->name == NULL && (limit->name = strdup(name)) == NULL)
        return; /* the next row asks again */
    set_wanted(l, limit, true);
}

void limits_doubt(struct limits *l, uint32_t topic)
{
    if (topic < l->n)
        l->limit[topic].doubted = true;
}

size_t limits_of(const struct limits *l, uint32_t topic)
{
    return topic < l->n ? l->limit[topic].max_bytes : 0;
}

bool limits_too_large(const struct limits *l, uint32_t topic, size_t record_bytes)
{
    size_t max = limits_of(l, topic);

    return max > 0 && record_bytes > max;
}

/* -- the question --------------------------------------------------------------------------- */

/* Moves up to max topics from wanted to asked. */
static size_t take_wanted(struct limits *l, rd_kafka_ConfigResource_t **resource, size_t max,
                          uint64_t now_ms)
{
    size_t n = 0;

    for (uint32_t i = 0; i < l->n && n < max; i++) {
        struct limit *limit = &l->limit[i];
        if (!limit->wanted)
            continue;
        resource[n] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, limit->name);
        if (resource[n] == NULL) {
            limit->due_ms = UINT64_MAX; /* no name for a topic; nothing can be asked about it */
        } else {
            /* only this one; in a question the value has no meaning */
            (void)rd_kafka_ConfigResource_set_config(resource[n], LIMIT_NAME, "");
            limit->asked = true;
            limit->doubted = false;
            limit->asked_ms = now_ms;
            n++;
        }
        set_wanted(l, limit, false);
    }
    return n;
}

void limits_ask(struct limits *l, rd_kafka_t *rk, rd_kafka_queue_t *queue, uint64_t now_ms)
{
    rd_kafka_ConfigResource_t *resource[MAX_TOPICS];
    char why[128];

    if (l->waiting || l->n_wanted == 0)
        return;
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    if (options == NULL)
        return;
    size_t n = take_wanted(l, resource, MAX_TOPICS, now_ms);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_MS, why, sizeof why);
    if (n > 0) {
        rd_kafka_DescribeConfigs(rk, resource, n, options, queue);
        rd_kafka_ConfigResource_destroy_array(resource, n);
        l->waiting = true;
    }
    rd_kafka_AdminOptions_destroy(options);
}

/* -- the answer ----------------------------------------------------------------------------- */

static size_t max_message_bytes(const rd_kafka_ConfigResource_t *r)
{
    size_t n;
    const rd_kafka_ConfigEntry_t **entry = rd_kafka_ConfigResource_configs(r, &n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entry[i]), LIMIT_NAME) != 0)
            continue;
        const char *value = rd_kafka_ConfigEntry_value(entry[i]);
        char *end;
        errno = 0;
        unsigned long long bytes = value != NULL ? strtoull(value, &end, 10) : 0;
        return bytes > 0 && errno == 0 && *end == '\0' ? (size_t)bytes : 0;
    }
    return 0;
}

static struct limit *limit_asked(struct limits *l, const char *name)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->limit[i].asked && strcmp(l->limit[i].name, name) == 0)
            return &l->limit[i];
    return NULL;
}

static void set_limit(struct limit *limit, const rd_kafka_ConfigResource_t *r, uint64_t now_ms)
{
    limit->asked = false;
    switch ((int)rd_kafka_ConfigResource_error(r)) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        limit->max_bytes = max_message_bytes(r);
        limit->due_ms = now_ms + REFRESH_MS;
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        limit->max_bytes = 0;
        limit->due_ms = UINT64_MAX;
        log_debug("sink", "the size limit of a topic may not be seen; the broker judges sizes",
                  "topic", limit->name);
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        limit->max_bytes = 0;
        limit->due_ms = now_ms + RETRY_MS;
        break;
    default: /* a passing fault */
        limit->due_ms = now_ms + RETRY_MS;
        break;
    }
}

void limits_answer(struct limits *l, rd_kafka_event_t *ev, uint64_t now_ms)
{
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(ev);
    rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
    const rd_kafka_ConfigResource_t **resource = NULL;
    size_t n = 0;

    if (result != NULL && err == RD_KAFKA_RESP_ERR_NO_ERROR)
        resource = rd_kafka_DescribeConfigs_result_resources(result, &n);
    else
        log_debug("sink", "the size limits of topics cannot be had", "code",
                  rd_kafka_err2name(err));
    for (size_t i = 0; i < n; i++) {
        struct limit *limit = limit_asked(l, rd_kafka_ConfigResource_name(resource[i]));
        if (limit != NULL)
            set_limit(limit, resource[i], now_ms);
    }
    for (uint32_t i = 0; i < l->n; i++) { /* those without an answer; what was known stays so */
        struct limit *limit = &l->limit[i];
        if (limit->asked)
            limit->due_ms =
                err == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ? UINT64_MAX : now_ms + RETRY_MS;
        limit->asked = false;
    }
    l->waiting = false;
}

void limits_forget_question(struct limits *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->limit[i].asked)
            l->limit[i].due_ms = 0;
        l->limit[i].asked = false;
    }
    l->waiting = false;
}

/* -- the size of a record ------------------------------------------------------------------- */

#define BATCH_HEADER_BYTES 61
#define RECORD_FIXED_BYTES 3 /* attributes; time and offset as differences to the batch's: 0 */

/* A length as a zigzag varint. */
static size_t length_bytes(size_t length)
{
    size_t n = 1;

    for (uint64_t v = (uint64_t)length << 1; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static size_t field_bytes(size_t length) /* absent is written as -1: one byte, as for 0 */
{
    return length_bytes(length) + length;
}

size_t limits_record_bytes(const struct row *row, const struct header *headers, size_t n_headers)
{
    size_t n = RECORD_FIXED_BYTES + field_bytes(row->key_len) + field_bytes(row->payload_len) +
               length_bytes(n_headers);

    for (size_t i = 0; i < n_headers; i++)
        n += field_bytes(strlen(headers[i].name)) + field_bytes(headers[i].value_len);
    return BATCH_HEADER_BYTES + field_bytes(n);
}
