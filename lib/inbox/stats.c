/* stats.c - figures: counted on the thread of run(), published for others, printed for Prometheus.
 *
 * The running thread counts in c->figures without a lock and copies it to c->published under one.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

/* -- sequences -------------------------------------------------------------------------------- */

/* The last sequence of so many keys; another key with the same place takes it over, and then one
 * repeat or gap may go uncounted. */
#define N_SEQUENCES 16384

struct inbox__sequences {
    struct {
        uint64_t key, last;
    } place[N_SEQUENCES];
};

/* False: it has none. */
static bool read_sequence(const struct inbox_consumer *c, const struct inbox__record *r, uint64_t *ret)
{
    const char *name = c->set.sequence_header;
    const char *text = name == NULL ? r->msg.sequence : inbox__record_header(&r->msg, name);
    char *end;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}

/* ce_sequence counts all events of an outbox, so that what is missing there says nothing of the key. */
static void compare(struct inbox_consumer *c, uint64_t last, uint64_t sequence)
{
    c->figures.sequence_repeats += sequence == last;
    c->figures.sequence_backwards += sequence < last;
    c->figures.sequence_gaps += c->set.sequence_header != NULL && sequence > last && sequence - last > 1;
}

void inbox__stats_sequence(struct inbox_consumer *c, const struct inbox__record *r)
{
    uint64_t key, sequence;

    if (r->item.key == 0 || !read_sequence(c, r, &sequence))
        return;
    /* A sequence is the source's own. */
    key = inbox__hash(r->item.key, &r->item.part->id, sizeof r->item.part->id);
    if (r->msg.source != NULL)
        key = inbox__hash(key, r->msg.source, strlen(r->msg.source));
    if (c->sequences->place[key % N_SEQUENCES].key == key)
        compare(c, c->sequences->place[key % N_SEQUENCES].last, sequence);
    c->sequences->place[key % N_SEQUENCES].key = key;
    c->sequences->place[key % N_SEQUENCES].last = sequence;
}

/* -- counting --------------------------------------------------------------------------------- */

/* Upper bounds of the first buckets in microseconds; the last has none. */
static const uint64_t bounds_us[INBOX_LATENCY_BUCKETS - 1] = {
    250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 500000, 1000000, 10000000, 60000000
};

void inbox__stats_handler(struct inbox_consumer *c, uint64_t us)
{
    int i = 0;

    while (i < INBOX_LATENCY_BUCKETS - 1 && us > bounds_us[i])
        i++;
    c->figures.handler_bucket[i]++;
    c->figures.handler_us += us;
    c->figures.handler_calls++;
}

int inbox__stats_init(struct inbox_consumer *c)
{
    c->figures = c->published = (inbox_stats)INBOX_STATS_INIT;
    c->sequences = calloc(1, sizeof *c->sequences);
    if (c->sequences == NULL)
        return -1;
    return pthread_mutex_init(&c->lock, NULL) == 0 ? 0 : -1;
}

void inbox__stats_deinit(struct inbox_consumer *c)
{
    if (c->sequences == NULL)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c->sequences);
}

void inbox__stats_publish(struct inbox_consumer *c)
{
    inbox_stats *f = &c->figures;

    f->in_flight_rows = c->window.n_rows;
    f->in_flight_bytes = c->window.n_bytes;
    f->held_keys = c->window.n_held_keys;
    f->partitions = f->partitions_paused = 0;
    for (const struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        f->partitions++;
        f->partitions_paused += p->paused;
    }
    pthread_mutex_lock(&c->lock);
    c->published = *f;
    pthread_mutex_unlock(&c->lock);
}

/* The size that the struct had first. */
#define STATS_SIZE_1 (offsetof(inbox_stats, reserved) + sizeof(uint32_t))

void inbox_consumer_stats(inbox_consumer *c, inbox_stats *ret)
{
    inbox_stats now;
    size_t size;

    if (c == NULL || ret == NULL || ret->struct_size < STATS_SIZE_1)
        return;
    size = ret->struct_size;
    pthread_mutex_lock(&c->lock);
    now = c->published;
    pthread_mutex_unlock(&c->lock);
    now.struct_size = size;
    memcpy(ret, &now, size < sizeof now ? size : sizeof now);
}

/* -- Prometheus ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *type, *help;
    size_t field;
    int width; /* bytes */
} metrics[] = {
#define U64(field, name, type, help) { name, type, help, offsetof(inbox_stats, field), 8 }
#define U32(field, name, help) { name, "gauge", help, offsetof(inbox_stats, field), 4 }
    U64(received, "inbox_received_total", "counter", "Events taken from Kafka."),
    U64(applied, "inbox_applied_total", "counter", "Events whose handler succeeded, committed."),
    U64(duplicates, "inbox_duplicates_total", "counter", "Events dropped: applied before."),
    U64(ignored, "inbox_ignored_total", "counter", "Events of a type without a handler."),
    U64(retries, "inbox_retries_total", "counter", "Failed calls that are followed by another."),
    U64(dead, "inbox_dead_total", "counter", "Events put into inbox.dead."),
    U64(rejected, "inbox_rejected_total", "counter", "Of these those that the handler rejected."),
    U64(redriven, "inbox_redriven_total", "counter", "Dead letters sent back and applied."),
    U64(transactions, "inbox_transactions_total", "counter", "Transactions committed."),
    U64(rollbacks, "inbox_rollbacks_total", "counter", "Transactions that failed as a whole."),
    U64(fenced, "inbox_fenced_total", "counter", "Of these those of a partition with a new owner."),
    U64(rebalances, "inbox_rebalances_total", "counter", "Assignments and revocations."),
    U64(db_reconnects, "inbox_db_reconnects_total", "counter", "Links to the database after the first."),
    U64(kafka_errors, "inbox_kafka_errors_total", "counter", "Errors that librdkafka reported."),
    U64(sequence_repeats, "inbox_sequence_repeats_total", "counter",
        "Events with the sequence of the last one of their key."),
    U64(sequence_backwards, "inbox_sequence_backwards_total", "counter",
        "Events with a lower sequence than the last one of their key."),
    U64(sequence_gaps, "inbox_sequence_gaps_total", "counter",
        "Events before which numbers of their key are missing; only with sequence.header."),
    U64(expired, "inbox_expired_total", "counter", "Offsets that Kafka deleted before they came."),
    U64(stalls, "inbox_stalls_total", "counter",
        "Partitions assigned anew because nothing came although Kafka had events."),
    U64(lag, "inbox_lag_events", "gauge", "Events behind the ends of the partitions assigned."),
    U32(in_flight_rows, "inbox_in_flight_events", "Events in memory, not finished."),
    U64(in_flight_bytes, "inbox_in_flight_bytes", "gauge", "Their size."),
    U32(held_keys, "inbox_held_keys", "Keys held back by an event that failed."),
    U32(partitions, "inbox_partitions", "Partitions assigned."),
    U32(partitions_paused, "inbox_partitions_paused", "Of these not fetched."),
    U32(db_up, "inbox_db_up", "1 with a link to the database."),
};

struct text {
    char *buffer;
    size_t size, len; /* len: of the whole text, also where it was cut */
};

__attribute__((format(printf, 2, 3)))
static void add(struct text *t, const char *format, ...)
{
    size_t room = t->len < t->size ? t->size - t->len : 0;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(room > 0 ? t->buffer + t->len : NULL, room, format, args);
    va_end(args);
    t->len += n > 0 ? (size_t)n : 0;
}

/* A label value: backslash, quote and newline are escaped. */
static void escape(const char *from, char to[2 * INBOX_MAX_GROUP_BYTES + 1])
{
    for (; *from != '\0'; from++) {
        if (*from == '\\' || *from == '"' || *from == '\n')
            *to++ = '\\';
        *to++ = *from == '\n' ? 'n' : *from;
    }
    *to = '\0';
}

/* With a point, which printf() takes from the program's locale; without zeros that say nothing. */
static const char *bound_text(uint64_t us, char to[28])
{
    int n = snprintf(to, 28, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);

    while (to[n - 1] == '0')
        n--;
    to[to[n - 1] == '.' ? n - 1 : n] = '\0';
    return to;
}

static void add_histogram(struct text *t, const inbox_stats *s, const char *group)
{
    uint64_t sum = 0;
    char bound[28];

    add(t, "# HELP inbox_handler_seconds Time in handlers.\n# TYPE inbox_handler_seconds histogram\n");
    for (int i = 0; i < INBOX_LATENCY_BUCKETS; i++) {
        sum += s->handler_bucket[i];
        if (i < INBOX_LATENCY_BUCKETS - 1)
            add(t, "inbox_handler_seconds_bucket{group=\"%s\",le=\"%s\"} %" PRIu64 "\n", group,
                bound_text(bounds_us[i], bound), sum);
    }
    add(t, "inbox_handler_seconds_bucket{group=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", group, sum);
    add(t, "inbox_handler_seconds_sum{group=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", group, s->handler_us / 1000000,
        s->handler_us % 1000000);
    add(t, "inbox_handler_seconds_count{group=\"%s\"} %" PRIu64 "\n", group, sum);
}

static uint64_t value_of(const char *field, int width)
{
    uint32_t narrow;
    uint64_t wide;

    memcpy(&narrow, field, sizeof narrow);
    if (width == (int)sizeof narrow)
        return narrow;
    memcpy(&wide, field, sizeof wide);
    return wide;
}

size_t inbox_consumer_metrics(inbox_consumer *c, char *buffer, size_t size)
{
    struct text t = { buffer, size, 0 };
    inbox_stats s = INBOX_STATS_INIT;
    char group[2 * INBOX_MAX_GROUP_BYTES + 1];

    if (c == NULL)
        return 0;
    inbox_consumer_stats(c, &s);
    escape(c->set.group, group);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        uint64_t n = value_of((const char *)&s + metrics[i].field, metrics[i].width);
        add(&t, "# HELP %s %s\n# TYPE %s %s\n%s{group=\"%s\"} %" PRIu64 "\n", metrics[i].name,
            metrics[i].help, metrics[i].name, metrics[i].type, metrics[i].name, group, n);
    }
    add(&t, "# HELP inbox_last_commit_timestamp_seconds When a transaction last committed, 0: never.\n"
            "# TYPE inbox_last_commit_timestamp_seconds gauge\n"
            "inbox_last_commit_timestamp_seconds{group=\"%s\"} %" PRId64 ".%03" PRId64 "\n", group,
        s.last_commit_unix_ms / 1000, s.last_commit_unix_ms % 1000);
    add_histogram(&t, &s, group);
    return t.len;
}
