/* chaos.c - carries records from one topic to another as an unkind network would: some late, some again.
 *
 *   chaos BROKERS FROM TO SEED     both topics are there and have as many partitions
 * Each record goes whole (key, headers, timestamp, payload) into the partition of its number. What becomes of
 * the n-th record of a key follows from SEED, key and n alone: one in twelve is held for up to three seconds,
 * and with it what comes meanwhile of its key; one in ten comes once or twice more, at once or seconds later,
 * behind newer ones of its key. So the first appearances of a key stay in their order, and the keys pass
 * each other. What has no key is passed on as it comes.
 * Obeys one command per line of stdin:
 *   where     answers "left N late N again N ends OFFSET ...": how many records of FROM have not come to TO yet,
 *             with those that will come again (-1: no broker says so); how many were held for a second or
 *             longer; how many came again; the end of each partition of TO
 * Ends on EOF of stdin, on TERM and on INT. One that cannot be delivered, or was gone from FROM before it was
 * read, ends it with status 1.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "lib/shared/hash.h"
#include "lib/shared/retry.h"
#include "tests/tools/kafka_client.h"

enum {
    LATE_ONE_IN = 12,
    LATE_MS = 3000,
    LONG_MS = 1000,
    AGAIN_ONE_IN = 10,
    AGAIN_MS = 4000,
    MAX_PARTITIONS = 64,
    N_LANES = 1 << 16,
    BATCH = 500,
    LOOK_MS = 10,
    REQUEST_MS = 5000,
    LINE = 100,
};

/* Keys with the same place share what one key would have for itself: an order and a count. */
struct lane {
    int64_t due_ms; /* of its last record */
    uint64_t n;
};

/* A record on its way; it goes to TO when it is due and `again` times after that. */
struct load {
    int64_t due_ms;
    uint64_t turn; /* of two that are due at once the lower one goes first */
    rd_kafka_message_t *record;
    unsigned again;
    uint64_t chance;
};

struct partition {
    int64_t next; /* offset in FROM that is read next */
    int64_t end;  /* of what TO has confirmed */
};

struct chaos {
    rd_kafka_t *consumer, *producer;
    rd_kafka_topic_t *from, *to;
    rd_kafka_queue_t *queue;
    struct partition partitions[MAX_PARTITIONS];
    int n_partitions;
    struct lane lanes[N_LANES];
    struct load *heap; /* of what is on its way; first the one that is due first */
    size_t n_heap, room;
    uint64_t seed, n_turns, n_late, n_again;
    int64_t n_unconfirmed;
    char line[LINE];
    size_t n_line;
};

/* -- what is on its way --------------------------------------------------------------------- */

static bool before(const struct load *a, const struct load *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->turn < b->turn;
}

static void push(struct chaos *c, struct load load)
{
    size_t i = c->n_heap;

    if (c->n_heap == c->room) {
        c->room = c->room * 2 + 1024;
        c->heap = checked(realloc(c->heap, c->room * sizeof *c->heap));
    }
    load.turn = c->n_turns++;
    for (; i > 0 && before(&load, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        c->heap[i] = c->heap[(i - 1) / 2];
    c->heap[i] = load;
    c->n_heap++;
}

static struct load pop(struct chaos *c)
{
    struct load first = c->heap[0];
    struct load last = c->heap[--c->n_heap];
    size_t i = 0;

    for (size_t child = 1; child < c->n_heap; child = 2 * i + 1) {
        if (child + 1 < c->n_heap && before(&c->heap[child + 1], &c->heap[child]))
            child++;
        if (before(&last, &c->heap[child]))
            break;
        c->heap[i] = c->heap[child];
        i = child;
    }
    c->heap[i] = last;
    return first;
}

/* -- the schedule --------------------------------------------------------------------------- */

static bool one_in(uint32_t n, uint64_t *chance)
{
    return retry_random(chance) % n == 0;
}

/* The record is the load's from here on. */
static void take(struct chaos *c, rd_kafka_message_t *record, int64_t now)
{
    struct load load = { .due_ms = now, .record = record };
    struct partition *p = &c->partitions[record->partition];
    uint64_t hash = hash_fnv1a(HASH_FNV1A, record->key, record->key_len);
    struct lane *lane = &c->lanes[hash % N_LANES];

    if (record->offset != p->next)
        give_up("partition %" PRId32 ": wanted offset %" PRId64 ", got %" PRId64, record->partition,
                p->next, record->offset);
    p->next++;
    if (record->key != NULL) {
        load.chance = c->seed ^ (hash + lane->n++ * UINT64_C(0xd1342543de82ef95));
        if (one_in(LATE_ONE_IN, &load.chance))
            load.due_ms += retry_random(&load.chance) % LATE_MS;
        if (one_in(AGAIN_ONE_IN, &load.chance))
            load.again = 1 + retry_random(&load.chance) % 2;
        if (load.due_ms < lane->due_ms)
            load.due_ms = lane->due_ms;
        lane->due_ms = load.due_ms;
    }
    c->n_late += load.due_ms - now >= LONG_MS;
    push(c, load);
}

/* -- to TO ---------------------------------------------------------------------------------- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct chaos *c = opaque;

    (void)rk;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        give_up("a record was not delivered: %s", rd_kafka_err2str(message->err));
    c->n_unconfirmed--;
    if (message->offset >= c->partitions[message->partition].end)
        c->partitions[message->partition].end = message->offset + 1;
}

/* False: there is no room now. */
static bool produce(struct chaos *c, const rd_kafka_message_t *record)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t kind;
    rd_kafka_resp_err_t err;

    err = rd_kafka_message_headers(record, &headers);
    headers = err == RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_headers_copy(headers)
                                                : rd_kafka_headers_new(1);
    err = rd_kafka_producev(c->producer, RD_KAFKA_V_RKT(c->to), RD_KAFKA_V_PARTITION(record->partition),
                            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                            RD_KAFKA_V_KEY(record->key, record->key_len),
                            RD_KAFKA_V_VALUE(record->payload, record->len),
                            RD_KAFKA_V_TIMESTAMP(rd_kafka_message_timestamp(record, &kind)),
                            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        c->n_unconfirmed++;
        return true;
    }
    rd_kafka_headers_destroy(headers);
    if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        give_up("a record was not taken: %s", rd_kafka_err2str(err));
    return false;
}

static void send_what_is_due(struct chaos *c, int64_t now)
{
    struct load load;

    while (c->n_heap > 0 && c->heap[0].due_ms <= now && produce(c, c->heap[0].record)) {
        load = pop(c);
        if (load.again == 0) {
            rd_kafka_message_destroy(load.record);
            continue;
        }
        load.again--;
        c->n_again++;
        load.due_ms = now;
        if (one_in(2, &load.chance))
            load.due_ms += retry_random(&load.chance) % AGAIN_MS;
        push(c, load);
    }
}

/* -- from FROM ------------------------------------------------------------------------------ */

static void read_some(struct chaos *c)
{
    static rd_kafka_message_t *messages[BATCH];
    ssize_t n = rd_kafka_consume_batch_queue(c->queue, LOOK_MS, messages, BATCH);
    int64_t now = now_ms();

    for (ssize_t i = 0; i < n; i++) {
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            take(c, messages[i], now);
        else
            rd_kafka_message_destroy(messages[i]); /* the client goes on trying */
    }
}

/* -- commands ------------------------------------------------------------------------------- */

static int64_t n_left(const struct chaos *c)
{
    int64_t n = (int64_t)c->n_heap + c->n_unconfirmed, low, high;

    for (int i = 0; i < c->n_partitions; i++) {
        if (rd_kafka_query_watermark_offsets(c->consumer, rd_kafka_topic_name(c->from), i, &low, &high,
                                             REQUEST_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
            return -1;
        n += high - c->partitions[i].next;
    }
    return n;
}

static void answer(const struct chaos *c, const char *command)
{
    if (strcmp(command, "where") != 0) {
        puts("error: the command is: where");
        return;
    }
    printf("left %" PRId64 " late %" PRIu64 " again %" PRIu64 " ends", n_left(c), c->n_late, c->n_again);
    for (int i = 0; i < c->n_partitions; i++)
        printf(" %" PRId64, c->partitions[i].end);
    putchar('\n');
}

/* False at the end of stdin. */
static bool obey(struct chaos *c)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    char *end;
    ssize_t n;

    if (poll(&in, 1, 0) <= 0)
        return true;
    n = read(STDIN_FILENO, c->line + c->n_line, LINE - 1 - c->n_line);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    c->n_line += (size_t)n;
    c->line[c->n_line] = '\0';
    while ((end = strchr(c->line, '\n')) != NULL) {
        *end++ = '\0';
        answer(c, c->line);
        c->n_line -= (size_t)(end - c->line);
        memmove(c->line, end, c->n_line + 1);
    }
    return c->n_line < LINE - 1;
}

/* -- beginning and end ---------------------------------------------------------------------- */

static int count_partitions(rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &metadata, REQUEST_MS);
    int n;

    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        give_up("topic %s: %s", rd_kafka_topic_name(topic), rd_kafka_err2str(err));
    n = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    if (n < 1 || n > MAX_PARTITIONS)
        give_up("topic %s has %d partitions", rd_kafka_topic_name(topic), n);
    return n;
}

static void begin(struct chaos *c, const char *brokers, const char *from, const char *to)
{
    static const char *const reading[][2] = {
        { "group.id", "chaos" }, /* no group is joined, librdkafka only wants a name */
        { "auto.offset.reset", "earliest" }, /* take() sees that something is gone */
        { "fetch.wait.max.ms", "50" },
        { "fetch.error.backoff.ms", "50" },
        { "reconnect.backoff.max.ms", "500" },
        { "log_level", "3" },
    };
    /* One request at a time keeps the order where an answer is lost, and nothing is given up. */
    static const char *const writing[][2] = {
        { "max.in.flight.requests.per.connection", "1" },
        { "message.timeout.ms", "0" },
        { "linger.ms", "1" },
        { "retry.backoff.ms", "50" },
        { "reconnect.backoff.max.ms", "500" },
        { "log_level", "3" },
    };

    rd_kafka_conf_t *producing = kafka_conf(brokers, writing, sizeof writing / sizeof writing[0]);

    rd_kafka_conf_set_opaque(producing, c);
    rd_kafka_conf_set_dr_msg_cb(producing, on_delivery);
    c->producer = kafka_client(RD_KAFKA_PRODUCER, producing);
    c->consumer = kafka_client(RD_KAFKA_CONSUMER, kafka_conf(brokers, reading, sizeof reading / sizeof reading[0]));
    c->from = rd_kafka_topic_new(c->consumer, from, NULL);
    c->to = rd_kafka_topic_new(c->producer, to, NULL);
    c->queue = rd_kafka_queue_new(c->consumer);
    if (c->from == NULL || c->to == NULL)
        give_up("%s: %s", c->from == NULL ? from : to, rd_kafka_err2str(rd_kafka_last_error()));
    c->n_partitions = count_partitions(c->consumer, c->from);
    if (count_partitions(c->producer, c->to) != c->n_partitions)
        give_up("topics %s and %s differ in their number of partitions", from, to);
    for (int i = 0; i < c->n_partitions; i++)
        if (rd_kafka_consume_start_queue(c->from, i, 0, c->queue) != 0)
            give_up("%s[%d]: %s", from, i, rd_kafka_err2str(rd_kafka_last_error()));
}

static void end(struct chaos *c)
{
    for (int i = 0; i < c->n_partitions; i++)
        (void)rd_kafka_consume_stop(c->from, i);
    while (c->n_heap > 0)
        rd_kafka_message_destroy(c->heap[--c->n_heap].record);
    free(c->heap);
    rd_kafka_queue_destroy(c->queue);
    rd_kafka_topic_destroy(c->from);
    rd_kafka_topic_destroy(c->to);
    rd_kafka_destroy(c->consumer);
    rd_kafka_destroy(c->producer);
}

int main(int argc, char **argv)
{
    static struct chaos chaos;
    char *rest = NULL;

    if (argc == 5)
        chaos.seed = strtoull(argv[4], &rest, 10);
    if (rest == NULL || rest == argv[4] || *rest != '\0') {
        fprintf(stderr, "usage: chaos BROKERS FROM TO SEED\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    stop_on_signals();
    begin(&chaos, argv[1], argv[2], argv[3]);
    while (!stop_requested && obey(&chaos)) {
        read_some(&chaos);
        send_what_is_due(&chaos, now_ms());
        (void)rd_kafka_poll(chaos.producer, 0);
    }
    end(&chaos);
    return EXIT_SUCCESS;
}
