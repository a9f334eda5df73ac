/* oracle.c - the judge: what arrived in Kafka against what PostgreSQL committed.
 *
 *   oracle watch --brokers B --out FILE [--topics A,B* | all] [--to-end]
 *   oracle check --dsn D --records FILE [--ledger QUERY] [--deadline SECONDS] [--allow-pending]
 *                [--allow-held]
 *
 * watch reads every partition of the topics from the beginning, also of topics that appear later,
 * and writes one line per record, flushed after each batch. TERM or INT: it reads to the end that
 * the brokers report then, and exits 0. --to-end does that at once. FILE is written anew; its
 * fields are separated by tabs:
 *   topic, partition, offset, timestamp
 *   key        hex, "-" for none
 *   event id   header ce_id, or id (debezium envelope); "-" for none
 *   payload    LENGTH:HEX, the first half of its SHA-256, or "null"
 *   headers    a hash over all of them, in order
 * Records that the broker threw away before they could be read show as payload gap:COUNT.
 *
 * check loads that file into temporary tables of the database, beside outbox.event and outbox.sent,
 * and judges there: each number is one query of the tables `numbers` and `faults` below. With
 * --ledger, committed means the event ids that this query returns (the application's own table).
 * Writers must have ended; with --deadline it waits until all has arrived and is marked. With
 * --allow-held an event is excused from both if outbox.held says that it is dead or discarded, or
 * blocked behind a dead one of its key; `excused` counts these, `excused_arrived` those that came all
 * the same. Tests use one writer per key, so that the order of ids is the order of commits; an event
 * with an available_at after its creation has no place in that order. Prints key=value lines,
 * examples on stderr. Exit status: 0 good, 1 bad, 2 could not judge, 64 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include "tests/tools/sha256.h"

enum {
    EXIT_BAD = 1,
    EXIT_UNJUDGED = 2,
    EXIT_USAGE = 64,
    BATCH = 1000,
    BATCH_WAIT_MS = 50,
    DISCOVER_MS = 200,
    REQUEST_MS = 5000,
    END_DEADLINE_MS = 300000,
    UUID_LEN = 36,
    CHUNK = 4 << 20, /* longer than any line: a key of 1 MiB is 2 MiB of hex */
    LOOK_AGAIN_MS = 100,
};

static volatile sig_atomic_t stop_requested;

static void on_stop(int sig)
{
    (void)sig;
    stop_requested = 1;
}

static _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *format, ...)
{
    va_list args;

    fputs("oracle: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_UNJUDGED);
}

static void *checked(void *memory)
{
    if (memory == NULL)
        give_up("out of memory");
    return memory;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- watch --- */

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

static void set_conf(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        give_up("%s", why);
}

static rd_kafka_t *consumer_new(const char *brokers)
{
    static const char *const settings[][2] = {
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
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;
    char why[256];

    set_conf(conf, "bootstrap.servers", brokers);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        set_conf(conf, settings[i][0], settings[i][1]);
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (rk == NULL)
        give_up("%s", why);
    return rk;
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

static uint64_t fnv1a(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Names and values with their lengths, so that no two lists of headers give the same bytes. */
static uint64_t headers_hash(const rd_kafka_headers_t *headers)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const char *name;
    const void *value;
    size_t len;

    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        hash = fnv1a(hash, name, strlen(name) + 1);
        hash = fnv1a(hash, &len, sizeof len);
        hash = fnv1a(hash, value, value == NULL ? 0 : len);
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

static int run_watch(const char *brokers, const char *path, const char *patterns, bool to_end)
{
    struct watch watch = { .patterns = patterns };
    struct sigaction action = { .sa_handler = on_stop };
    int64_t discover_at = 0;
    bool complete;

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
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

/* --- check --- */

struct check {
    PGconn *conn;
    const char *ledger; /* a query, or NULL */
    bool allow_pending;
    bool allow_held;
    int records_fd;
    char *chunk;
    size_t n_chunk;    /* bytes of an incomplete last line */
    int64_t n_records; /* lines loaded */
};

/* The temporary tables: record, a line of the file; truth, what outbox.event and outbox.sent say of
 * an event; committed, the ids that must arrive; arrival, one line for each event id that came. The
 * temporary view excused is of events that need not arrive. */
static const char SQL_SETUP[] =
    "set jit = off; set work_mem = '256MB'; set client_min_messages = warning;"
    "create temp table record (topic text, part int, off bigint, ts bigint, key text,"
    " event_id uuid, payload text, headers text)";
static const char SQL_EXCUSED[] =
    "create temp view excused as select e.event_id, h.id"
    " from outbox.held h join outbox.event e on e.id = h.id"
    " where not exists (select from outbox.sent s where s.id = h.id)"
    "  and (h.state in ('dead', 'discarded') or h.state = 'blocked' and exists"
    "   (select from outbox.held d where d.state = 'dead' and d.topic = h.topic"
    "     and sha256(d.key) = sha256(h.key) and d.id < h.id))";
static const char SQL_NONE_EXCUSED[] =
    "create temp view excused as select e.event_id, e.id from outbox.event e where false";
static const char SQL_TRUTH[] =
    "analyze record;"
    "create temp table truth as"
    " select e.id, e.event_id, e.topic, encode(e.key, 'hex') as key,"
    "  coalesce(length(e.payload) || ':' || left(encode(sha256(e.payload), 'hex'), 32), 'null')"
    "   as payload,"
    "  s.id is not null as marked, coalesce(e.available_at > e.created_at, false) as scheduled"
    " from outbox.event e left join outbox.sent s on s.id = e.id;"
    "create temp table arrival as"
    " select event_id, count(*) as copies, min(part) as part, min(off) as off"
    " from record where event_id is not null group by event_id;"
    "analyze truth; analyze arrival";
static const char SQL_COMMITTED_BY_LEDGER[] =
    "create temp table committed as select distinct event_id::uuid from (";
static const char SQL_COMMITTED_BY_TABLE[] =
    "create temp table committed as select event_id from outbox.event";
static const char SQL_WAITING_FOR[] =
    "select count(*) from committed c"
    " where not exists (select from record r where r.event_id = c.event_id)"
    "  and not exists (select from excused x where x.event_id = c.event_id)";
/* A record that was sent once more, and marked, may be read a moment after its mark. */
static const char SQL_AHEAD_OF_RECORDS[] =
    "select count(*) from outbox.sent s join outbox.event e on e.bucket = s.bucket and e.id = s.id"
    " left join (select topic, part, max(off) as last from record group by topic, part) r"
    "  on r.topic = e.topic and r.part = s.kafka_partition"
    " where s.kafka_offset >= 0 and s.kafka_offset > coalesce(r.last, -1)";

static const char SQL_UNMARKED_NOW[] =
    "select count(*) from outbox.event e"
    " where not exists (select from outbox.sent s where s.id = e.id)"
    "  and not exists (select from excused x where x.id = e.id)";

/* Plain numbers, in the order in which they are printed. */
static const struct number {
    const char *name;
    const char *sql;
} numbers[] = {
    { "committed", "select count(*) from committed" },
    { "arrived", "select count(*) from arrival join committed using (event_id)" },
    { "duplicates",
      "select coalesce(sum(copies - 1), 0) from arrival join committed using (event_id)" },
    { "marks", "select count(*) from outbox.sent" },
    { "excused", "select count(*) from excused" },
    { "excused_arrived", "select count(*) from excused join arrival using (event_id)" },
    { "gaps", "select coalesce(sum(substr(payload, 5)::bigint), 0) from record"
              " where payload like 'gap:%'" },
};

/* Each query returns one text per fault. */
static const struct fault {
    const char *name;
    bool may_be_pending; /* no fault with --allow-pending */
    const char *sql;
} faults[] = {
    { "missing", false,
      "select format('committed, never arrived: %s id %s', c.event_id, t.id)"
      " from committed c left join truth t using (event_id)"
      " where not exists (select from arrival a where a.event_id = c.event_id)"
      "  and not exists (select from excused x where x.event_id = c.event_id)" },
    { "phantom", false,
      "select format('arrived, not committed: %s[%s] offset %s event %s', topic, part, off,"
      "  coalesce(event_id::text, 'without id'))"
      " from record r where payload not like 'gap:%' and (event_id is null"
      "  or not exists (select from committed c where c.event_id = r.event_id))" },
    { "altered", false,
      "select distinct format('altered: event %s id %s', r.event_id, t.id)"
      " from record r join truth t using (event_id)"
      " where r.topic <> t.topic or r.key is distinct from t.key or r.payload <> t.payload"
      " union "
      "select format('copies differ in their headers: event %s', event_id)"
      " from record where event_id is not null"
      " group by event_id having min(headers) <> max(headers)" },
    { "reordered", false,
      "select format('%s key %s: id %s arrived first at offset %s, after id %s',"
      "  topic, key, id, off, earlier)"
      " from (select t.id, t.topic, t.key, a.off, max(t.id) over (partition by t.topic, t.key,"
      "   a.part order by a.off rows between unbounded preceding and 1 preceding) as earlier"
      "  from truth t join arrival a using (event_id)"
      "  where t.key is not null and not t.scheduled) x"
      " where id < earlier" },
    { "split", false,
      "select format('%s key %s is in partition %s and in %s', topic, key, min(part), max(part))"
      " from record where key is not null"
      " group by topic, key having min(part) <> max(part)" },
    /* A mark without offset is true when the event is there at all. */
    { "false_marks", false,
      "select format('mark of id %s (%s) says partition %s offset %s, where there is %s', s.id,"
      "  t.event_id, s.kafka_partition, s.kafka_offset,"
      "  coalesce(r.event_id::text, 'no such event'))"
      " from outbox.sent s left join truth t on t.id = s.id left join record r"
      "  on r.topic = t.topic and r.part = s.kafka_partition and r.off = s.kafka_offset"
      " where t.id is null or case when s.kafka_offset >= 0"
      "  then r.event_id is distinct from t.event_id"
      "  else not exists (select from arrival a where a.event_id = t.event_id) end" },
    { "unmarked", true,
      "select format('not marked: id %s', t.id) from truth t where not t.marked"
      "  and not exists (select from excused x where x.id = t.id)" },
};

static PGresult *query(struct check *check, const char *sql)
{
    PGresult *result = PQexec(check->conn, sql);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
        give_up("%sin: %s", PQerrorMessage(check->conn), sql);
    return result;
}

static void run(struct check *check, const char *sql)
{
    PQclear(query(check, sql));
}

static int64_t number_of(struct check *check, const char *sql)
{
    PGresult *result = query(check, sql);
    int64_t value;

    if (PQntuples(result) != 1)
        give_up("no number: %s", sql);
    value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return value;
}

/* Sends all complete lines of the chunk and keeps the rest for the next call. */
static void send_lines(struct check *check)
{
    const char *last = memrchr(check->chunk, '\n', check->n_chunk);
    size_t n_send = last == NULL ? 0 : (size_t)(last - check->chunk) + 1;

    if (n_send > 0 && PQputCopyData(check->conn, check->chunk, (int)n_send) != 1)
        give_up("%s", PQerrorMessage(check->conn));
    for (size_t i = 0; i < n_send; i++)
        check->n_records += check->chunk[i] == '\n';
    check->n_chunk -= n_send;
    memmove(check->chunk, check->chunk + n_send, check->n_chunk);
}

/* Loads what the file has got since the last call. */
static void load_records(struct check *check)
{
    PGresult *result;
    ssize_t n;

    run(check, "copy record from stdin (null '-')");
    while ((n = read(check->records_fd, check->chunk + check->n_chunk, CHUNK - check->n_chunk)) >
           0) {
        check->n_chunk += (size_t)n;
        send_lines(check);
        if (check->n_chunk == CHUNK)
            give_up("a line of the records is longer than %d bytes", CHUNK);
    }
    if (n < 0)
        give_up("reading the records: %s", strerror(errno));
    if (PQputCopyEnd(check->conn, NULL) != 1)
        give_up("%s", PQerrorMessage(check->conn));
    while ((result = PQgetResult(check->conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            give_up("the records cannot be read: %s", PQerrorMessage(check->conn));
        PQclear(result);
    }
}

static void load_committed(struct check *check)
{
    size_t size;
    char *sql;

    run(check, "drop table if exists pg_temp.committed");
    if (check->ledger == NULL) {
        run(check, SQL_COMMITTED_BY_TABLE);
    } else {
        size = sizeof SQL_COMMITTED_BY_LEDGER + strlen(check->ledger) + 16;
        sql = checked(malloc(size));
        snprintf(sql, size, "%s%s) l (event_id)", SQL_COMMITTED_BY_LEDGER, check->ledger);
        run(check, sql);
        free(sql);
    }
    run(check, "analyze committed");
}

/* The exact question is asked only when there are lines enough: it reads everything. */
static bool all_arrived(struct check *check, int64_t n_committed)
{
    int64_t n_before = check->n_records;

    load_records(check);
    if (check->n_records < n_committed && !check->allow_held)
        return false;
    if (check->n_records > n_before)
        run(check, "analyze record");
    return number_of(check, SQL_WAITING_FOR) == 0 &&
           (check->allow_pending || number_of(check, SQL_UNMARKED_NOW) == 0) &&
           number_of(check, SQL_AHEAD_OF_RECORDS) == 0;
}

static void wait_for_arrival(struct check *check, int deadline_s)
{
    int64_t end_ms = now_ms() + (int64_t)deadline_s * 1000;
    int64_t n_committed;

    load_committed(check);
    n_committed = number_of(check, "select count(*) from committed");
    while (!all_arrived(check, n_committed) && now_ms() < end_ms)
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
}

/* Prints count and examples of one kind of fault; returns the count. */
static int64_t count_fault(struct check *check, const struct fault *fault)
{
    static char sql[4096];
    PGresult *result;
    int64_t n;

    snprintf(sql, sizeof sql,
             "with f (text) as (%s) select (select count(*) from f),"
             " (select string_agg('oracle: ' || text || E'\\n', '')"
             " from (select text from f limit 5) x)",
             fault->sql);
    result = query(check, sql);
    n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    printf("%s=%" PRId64 "\n", fault->name, n);
    if (n > 0 && !(fault->may_be_pending && check->allow_pending))
        fputs(PQgetvalue(result, 0, 1), stderr);
    PQclear(result);
    return fault->may_be_pending && check->allow_pending ? 0 : n;
}

static bool judge(struct check *check)
{
    int64_t n_faults = 0;

    /* Records first, truth after: what arrived was then committed when the tables are read. */
    load_records(check);
    run(check, "begin isolation level repeatable read");
    run(check, SQL_TRUTH);
    load_committed(check);
    if (number_of(check, "select count(*) - count(distinct event_id) from truth") != 0)
        give_up("an event_id stands twice in outbox.event; arrivals cannot be told apart");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        printf("%s=%" PRId64 "\n", numbers[i].name, number_of(check, numbers[i].sql));
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        n_faults += count_fault(check, &faults[i]);
    run(check, "rollback");
    printf("verdict=%s\n", n_faults == 0 ? "good" : "bad");
    return n_faults == 0;
}

static int run_check(struct check *check, const char *dsn, const char *path, int deadline_s)
{
    bool good;

    check->records_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (check->records_fd < 0)
        give_up("%s: %s", path, strerror(errno));
    check->conn = PQconnectdb(dsn);
    if (PQstatus(check->conn) != CONNECTION_OK)
        give_up("%s", PQerrorMessage(check->conn));
    check->chunk = checked(malloc(CHUNK));
    run(check, SQL_SETUP);
    run(check, check->allow_held ? SQL_EXCUSED : SQL_NONE_EXCUSED);
    if (deadline_s > 0)
        wait_for_arrival(check, deadline_s);
    good = judge(check);
    PQfinish(check->conn);
    close(check->records_fd);
    free(check->chunk);
    return good ? EXIT_SUCCESS : EXIT_BAD;
}

/* --- command line --- */

static int usage(void)
{
    fputs("usage: oracle watch --brokers B --out FILE [--topics A,B* | all] [--to-end]\n"
          "       oracle check --dsn D --records FILE [--ledger QUERY] [--deadline SECONDS]\n"
          "                    [--allow-pending] [--allow-held]\n",
          stderr);
    return EXIT_USAGE;
}

struct arguments {
    const char *brokers, *out, *topics, *dsn, *records, *ledger, *deadline;
    bool to_end, allow_pending, allow_held;
};

static bool parse_arguments(int argc, char **argv, struct arguments *args)
{
    static const struct option options[] = {
        { "brokers", required_argument, NULL, 'b' }, { "out", required_argument, NULL, 'o' },
        { "topics", required_argument, NULL, 't' },  { "to-end", no_argument, NULL, 'e' },
        { "dsn", required_argument, NULL, 'd' },     { "records", required_argument, NULL, 'r' },
        { "ledger", required_argument, NULL, 'l' },  { "deadline", required_argument, NULL, 'w' },
        { "allow-pending", no_argument, NULL, 'p' }, { "allow-held", no_argument, NULL, 'h' },
        { 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'b': args->brokers = optarg; break;
        case 'o': args->out = optarg; break;
        case 't': args->topics = optarg; break;
        case 'e': args->to_end = true; break;
        case 'd': args->dsn = optarg; break;
        case 'r': args->records = optarg; break;
        case 'l': args->ledger = optarg; break;
        case 'w': args->deadline = optarg; break;
        case 'p': args->allow_pending = true; break;
        case 'h': args->allow_held = true; break;
        default: return false;
        }
    }
    return optind == argc - 1;
}

int main(int argc, char **argv)
{
    struct arguments args = { .topics = "all", .deadline = "0" };
    struct check check = { 0 };

    if (!parse_arguments(argc, argv, &args))
        return usage();
    if (strcmp(argv[optind], "watch") == 0 && args.brokers != NULL && args.out != NULL)
        return run_watch(args.brokers, args.out, args.topics, args.to_end);
    if (strcmp(argv[optind], "check") == 0 && args.dsn != NULL && args.records != NULL) {
        check.ledger = args.ledger;
        check.allow_pending = args.allow_pending;
        check.allow_held = args.allow_held;
        return run_check(&check, args.dsn, args.records, atoi(args.deadline));
    }
    return usage();
}
