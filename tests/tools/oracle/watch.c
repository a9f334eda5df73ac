/* watch.c - every record of the topics as a line of a file, whatever is on them. It knows Kafka only, and judges nothing.
 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "lib/shared/hash.h"
#include "tests/tools/oracle/oracle.h"

#include "tests/tools/kafka_client.h"
#include "tests/tools/oracle/sha256.h"

enum {
    BATCH = 1000,
    BATCH_WAIT_MS = 50,
    DISCOVER_MS = 200,
    REQUEST_MS = 5000,
    END_DEADLINE_MS = 300000,
    UUID_LEN = 36,
};

struct partition {
    int64_t next; /* the offset expected next; 0 before the first */
    int64_t end;  /* where to stop, once that is known */
};

struct topic {
    struct topic *following;
    rd_kafka_topic_t *handle;
    int32_t n_partitions;
    struct partition *partitions;
};

struct watch {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    struct topic *topics;
    const char *patterns;
    FILE *out;
};

static rd_kafka_t *consumer_new(const char *brokers)
{
    static const char *const properties[][2] = {
        { "group.id", "oracle" }, /* no group is joined, librdkafka only wants a name */
        { "enable.partition.eof", "true" },
        { "auto.offset.reset", "earliest" },
        { "allow.auto.create.topics", "false" },
        { "fetch.wait.max.ms", "50" },
        { "fetch.error.backoff.ms", "50" },
        { "reconnect.backoff.max.ms", "500" },
        { "socket.nagle.disable", "true" },
        { "log_level", "3" },
    };
    return kafka_client(RD_KAFKA_CONSUMER,
                        kafka_conf(brokers, properties, sizeof properties / sizeof properties[0]));
}

static bool is_wanted(const char *patterns, const char *name)
{
    char *list;
    char *rest = NULL;
    bool wanted = false;

    if (strcmp(patterns, "all") == 0)
        return strncmp(name, "__", 2) != 0; /* Kafka's own */
    list = checked(strdup(patterns));
    for (char *item = strtok_r(list, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest))
        wanted = wanted || fnmatch(item, name, 0) == 0;
    free(list);
    return wanted;
}

static struct topic *topic_of(struct watch *watch, const char *name)
{
    rd_kafka_topic_conf_t *conf;
    struct topic *topic;

    for (topic = watch->topics; topic != NULL; topic = topic->following) {
        if (strcmp(rd_kafka_topic_name(topic->handle), name) == 0)
            return topic;
    }
    topic = checked(calloc(1, sizeof *topic));
    conf = rd_kafka_topic_conf_new();
    rd_kafka_topic_conf_set_opaque(conf, topic);
    topic->handle = rd_kafka_topic_new(watch->rk, name, conf);
    if (topic->handle == NULL)
        give_up("topic %s: %s", name, rd_kafka_err2str(rd_kafka_last_error()));
    topic->following = watch->topics;
    watch->topics = topic;
    return topic;
}

static void read_partitions(struct watch *watch, struct topic *topic, int n_partitions)
{
    if (n_partitions <= topic->n_partitions)
        return;
    topic->partitions =
        checked(realloc(topic->partitions, (size_t)n_partitions * sizeof *topic->partitions));
    for (; topic->n_partitions < n_partitions; topic->n_partitions++) {
        topic->partitions[topic->n_partitions] = (struct partition){ 0 };
        if (rd_kafka_consume_start_queue(topic->handle, topic->n_partitions,
                                         RD_KAFKA_OFFSET_BEGINNING, watch->queue) != 0)
            give_up("%s[%d]: %s", rd_kafka_topic_name(topic->handle), (int)topic->n_partitions,
                    rd_kafka_err2str(rd_kafka_last_error()));
    }
}

/* False when no broker answered; there will be another time. */
static bool discover(struct watch *watch)
{
    const struct rd_kafka_metadata *metadata;

    if (rd_kafka_metadata(watch->rk, 1, NULL, &metadata, REQUEST_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];

        if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR && is_wanted(watch->patterns, topic->topic))
            read_partitions(watch, topic_of(watch, topic->topic), topic->partition_cnt);
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* Names and values with their lengths, so that no two lists of headers give the same bytes. */
static uint64_t headers_hash(const rd_kafka_headers_t *headers)
{
    uint64_t hash = HASH_FNV1A;
    const char *name;
    const void *value;
    size_t len;

    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        hash = hash_fnv1a(hash, name, strlen(name) + 1);
        hash = hash_fnv1a(hash, &len, sizeof len);
        hash = hash_fnv1a(hash, value, value == NULL ? 0 : len);
    }
    return hash;
}

static bool is_uuid(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-'
                 : strchr("0123456789abcdefABCDEF", text[i]) == NULL || text[i] == '\0')
            return false;
    }
    return len == UUID_LEN;
}

static void print_id(FILE *out, const rd_kafka_headers_t *headers)
{
    const void *value;
    size_t len;

    if (headers != NULL &&
        (rd_kafka_header_get_last(headers, "ce_id", &value, &len) == 0 ||
         rd_kafka_header_get_last(headers, "id", &value, &len) == 0) &&
        value != NULL && is_uuid(value, len))
        fwrite(value, 1, len, out);
    else
        fputc('-', out);
}

static void print_hex(FILE *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        putc_unlocked(digits[bytes[i] >> 4], out);
        putc_unlocked(digits[bytes[i] & 15], out);
    }
}

static void print_record(FILE *out, const rd_kafka_message_t *message)
{
    uint8_t digest[SHA256_SIZE];
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t kind;

    (void)rd_kafka_message_headers(message, &headers);
    fprintf(out, "%s\t%" PRId32 "\t%" PRId64 "\t%" PRId64 "\t", rd_kafka_topic_name(message->rkt),
            message->partition, message->offset, rd_kafka_message_timestamp(message, &kind));
    if (message->key == NULL)
        fputc('-', out);
    else
        print_hex(out, message->key, message->key_len);
    fputc('\t', out);
    print_id(out, headers);
    if (message->payload == NULL) {
        fputs("\tnull", out);
    } else {
        sha256(message->payload, message->len, digest);
        fprintf(out, "\t%zu:", message->len);
        print_hex(out, digest, SHA256_SIZE / 2);
    }
    fprintf(out, "\t%016" PRIx64 "\n", headers == NULL ? 0 : headers_hash(headers));
}

/* Offsets that transactions use for their markers are skipped silently; those below the low
 * watermark were records once. */
static void note_gap(struct watch *watch, const rd_kafka_message_t *message, int64_t expected)
{
    int64_t low = 0;
    int64_t high = 0;
    const char *name = rd_kafka_topic_name(message->rkt);

    if (rd_kafka_get_watermark_offsets(watch->rk, name, message->partition, &low, &high) != 0 ||
        low <= expected)
        return;
    fprintf(watch->out, "%s\t%" PRId32 "\t%" PRId64 "\t0\t-\t-\tgap:%" PRId64 "\t-\n", name,
            message->partition, expected, message->offset - expected);
}

static void take_message(struct watch *watch, const rd_kafka_message_t *message)
{
    struct topic *topic;
    struct partition *partition;

    if (message->rkt == NULL || message->partition < 0)
        return; /* an error of the client as a whole; it goes on trying */
    topic = rd_kafka_topic_opaque(message->rkt);
    partition = &topic->partitions[message->partition];
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (message->offset > partition->next)
            partition->next = message->offset;
    } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (message->offset > partition->next)
            note_gap(watch, message, partition->next);
        print_record(watch->out, message);
        partition->next = message->offset + 1;
    }
}

static void read_batch(struct watch *watch)
{
    static rd_kafka_message_t *messages[BATCH];
    ssize_t n = rd_kafka_consume_batch_queue(watch->queue, BATCH_WAIT_MS, messages, BATCH);

    for (ssize_t i = 0; i < n; i++) {
        take_message(watch, messages[i]);
        rd_kafka_message_destroy(messages[i]);
    }
    if (n > 0 && fflush(watch->out) != 0)
        give_up("writing the records: %s", strerror(errno));
}

static bool find_ends(struct watch *watch)
{
    int64_t low;

    for (struct topic *topic = watch->topics; topic != NULL; topic = topic->following) {
        for (int32_t p = 0; p < topic->n_partitions; p++) {
            if (rd_kafka_query_watermark_offsets(watch->rk, rd_kafka_topic_name(topic->handle), p,
                                                 &low, &topic->partitions[p].end, REQUEST_MS) != 0)
                return false;
        }
    }
    return true;
}

static bool all_read(const struct watch *watch)
{
    for (const struct topic *topic = watch->topics; topic != NULL; topic = topic->following) {
        for (int32_t p = 0; p < topic->n_partitions; p++) {
            if (topic->partitions[p].next < topic->partitions[p].end)
                return false;
        }
    }
    return true;
}

static bool read_to_end(struct watch *watch)
{
    int64_t deadline_ms = now_ms() + END_DEADLINE_MS;

    while (!discover(watch) || !find_ends(watch)) {
        if (now_ms() >= deadline_ms)
            return false;
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
    while (!all_read(watch)) {
        if (now_ms() >= deadline_ms)
            return false;
        read_batch(watch);
    }
    return true;
}

static void watch_free(struct watch *watch)
{
    struct topic *topic;

    while ((topic = watch->topics) != NULL) {
        for (int32_t p = 0; p < topic->n_partitions; p++)
            (void)rd_kafka_consume_stop(topic->handle, p);
        watch->topics = topic->following;
        rd_kafka_topic_destroy(topic->handle);
        free(topic->partitions);
        free(topic);
    }
    rd_kafka_queue_destroy(watch->queue);
    rd_kafka_destroy(watch->rk);
}

int oracle_watch(const char *brokers, const char *path, const char *patterns, bool to_end)
{
    struct watch watch = { .patterns = patterns };
    int64_t discover_at = 0;
    bool complete;

    stop_on_signals();
    watch.out = fopen(path, "w");
    if (watch.out == NULL)
        give_up("%s: %s", path, strerror(errno));
    watch.rk = consumer_new(brokers);
    watch.queue = rd_kafka_queue_new(watch.rk);
    while (!stop_requested && !to_end) {
        if (now_ms() >= discover_at) {
            (void)discover(&watch);
            discover_at = now_ms() + DISCOVER_MS;
        }
        read_batch(&watch);
    }
    complete = read_to_end(&watch);
    watch_free(&watch);
    if (fclose(watch.out) != 0)
        give_up("%s: %s", path, strerror(errno));
    if (!complete)
        give_up("could not read to the end of all partitions in %d s", END_DEADLINE_MS / 1000);
    return EXIT_SUCCESS;
}
