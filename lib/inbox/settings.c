/* settings.c - see settings.h. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outbox/error.h"
#include "lib/outbox/text.h"
#include "lib/shared/nearest.h"
#include "lib/shared/number.h"

/* -- the table -------------------------------------------------------------------------------- */

static const struct number_unit durations[] = { { "ms", 1 },        { "s", 1000 },
                                                { "m", 60 * 1000 }, { "h", 3600 * 1000 },
                                                { "d", 86400000 },  { NULL, 0 } };

static const struct {
    const char *name;
    const struct number_unit *units;
    size_t field;
    const char *dflt, *least, *most;
} numbers[] = {
#define NUMBER(name, units, field, dflt, least, most)                                              \
    { name, units, offsetof(struct inbox__settings, field), dflt, least, most }
    NUMBER("batch.rows", number_counts, batch_rows, "64", "1", "64"),
    NUMBER("retry.base", durations, retry_base_ms, "200ms", "1ms", "1d"),
    NUMBER("retry.max", durations, retry_max_ms, "1m", "1ms", "1d"),
    NUMBER("retry.attempts", number_counts, retry_attempts, "10", "0", "1000000"),
    NUMBER("retry.total", durations, retry_total_ms, "15m", "0s", "365d"),
    NUMBER("inflight.rows", number_counts, inflight_rows, "10000", "1", "10000000"),
    NUMBER("inflight.bytes", number_sizes, inflight_bytes, "64MiB", "1KiB", "1024GiB"),
    NUMBER("dedupe.keep", durations, dedupe_keep_ms, "7d", "1m", "3650d"),
};
#define N_NUMBERS (sizeof numbers / sizeof numbers[0])

/* Ours to decide: the guarantees rest on them. */
static const struct {
    const char *name, *why;
} owned[] = {
    { "group.id", "it is the setting group" },
    { "enable.auto.commit", "it is always off: the position in the database is the truth, and "
                            "Kafka is told after it was committed" },
    { "enable.auto.offset.store", "it is always off: what was handed out is not applied yet" },
    { "auto.commit.enable", "it is always off: the position in the database is the truth" },
    { "partition.assignment.strategy", "it is always cooperative-sticky: a rebalance takes away "
                                       "only the partitions that move" },
    { "auto.offset.reset", "say inbox.start for a partition without any position; one whose "
                           "position is no longer in the log goes on at the earliest record" },
    { "enable.partition.eof", "the library sets it" },
    { "log.queue", "it is always off: else librdkafka's log lines would not reach inbox_consumer_log()" },
    { "rebalance_cb", "the library sets it" },
};

/* -- reading ---------------------------------------------------------------------------------- */

static int no_memory(outbox_error *err)
{
    return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for the settings");
}

static int set_text(char **field, const char *value, outbox_error *err)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return no_memory(err);
    free(*field);
    *field = copy;
    return OUTBOX_OK;
}

/* ", with a unit: B, KiB, MiB or GiB"; nothing where there is none. */
static void unit_words(const struct number_unit *units, char ret[64])
{
    size_t at = 0;

    ret[0] = '\0';
    for (const struct number_unit *u = units; units != number_counts && u->name != NULL; u++)
        at += (size_t)snprintf(ret + at, 64 - at, "%s%s", u == units         ? ", with a unit: "
                                                          : u[1].name == NULL ? " or "
                                                                              : ", ", u->name);
}

static int set_number(struct inbox__settings *s, size_t n, const char *value, outbox_error *err)
{
    uint64_t number = 0, least = 0, most = 0;
    char words[64];
    char quoted[OUTBOX__QUOTE_SIZE];

    (void)number_parse(numbers[n].units, numbers[n].least, &least);
    (void)number_parse(numbers[n].units, numbers[n].most, &most);
    unit_words(numbers[n].units, words);
    if (!number_parse(numbers[n].units, value, &number) || number < least || number > most)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "%s: %s is not allowed; it may be %s to %s%s%s", numbers[n].name,
                                 outbox__quote(value, strlen(value), quoted), numbers[n].least,
                                 numbers[n].most, words,
                                 words[0] != '\0' && strchr(value, ' ') != NULL
                                     ? "; no blank before the unit" : "");
    memcpy((char *)s + numbers[n].field, &number, sizeof number);
    return OUTBOX_OK;
}

static int set_kafka(struct inbox__settings *s, const char *name, const char *value,
                     outbox_error *err)
{
    struct inbox__pair *more;
    char quoted[OUTBOX__QUOTE_SIZE];

    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        if (strcmp(owned[i].name, name) == 0)
            return outbox__error_set(err, OUTBOX_EINVAL, "kafka.%s cannot be set: %s", name,
                                     owned[i].why);
    if (strcmp(name, "isolation.level") == 0 && strcmp(value, "read_committed") != 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "kafka.isolation.level cannot be %s: "
                                 "records of an aborted transaction would be applied",
                                 outbox__quote(value, strlen(value), quoted));
    if (strcmp(name, "group.protocol") == 0 && strcmp(value, "classic") != 0)
        return outbox__error_set(err, OUTBOX_EINVAL, "kafka.group.protocol cannot be %s: it is always classic, the one "
                                 "that has partition.assignment.strategy", outbox__quote(value, strlen(value), quoted));
    more = realloc(s->kafka, (s->n_kafka + 1) * sizeof *more);
    if (more == NULL)
        return no_memory(err);
    s->kafka = more;
    more[s->n_kafka] = (struct inbox__pair){ strdup(name), strdup(value) };
    s->n_kafka++;
    return more[s->n_kafka - 1].name != NULL && more[s->n_kafka - 1].value != NULL ? OUTBOX_OK
                                                                                   : no_memory(err);
}

static void forget_topics(struct inbox__settings *s)
{
    for (size_t i = 0; i < s->n_topics; i++)
        free(s->topics[i]);
    free(s->topics);
    s->topics = NULL;
    s->n_topics = 0;
}

static bool is_topic(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", name[i]) ==
            NULL)
            return false;
    return len > 0 && len <= OUTBOX_MAX_TOPIC_BYTES;
}

static int add_topic(struct inbox__settings *s, const char *name, size_t len, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];
    char **more;

    for (size_t i = 0; i < s->n_topics; i++)
        if (strlen(s->topics[i]) == len && memcmp(s->topics[i], name, len) == 0)
            return outbox__error_set(err, OUTBOX_EINVAL, "topics: %s stands there twice", outbox__quote(name, len, quoted));
    if (!is_topic(name, len))
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "topics: %s is not the name of a topic: 1 to 249 of a-z A-Z 0-9 . "
                                 "_ -; several with commas between them",
                                 outbox__quote(name, len, quoted));
    more = realloc(s->topics, (s->n_topics + 1) * sizeof *more);
    if (more == NULL)
        return no_memory(err);
    s->topics = more;
    more[s->n_topics] = strndup(name, len);
    return more[s->n_topics++] != NULL ? OUTBOX_OK : no_memory(err);
}

static int set_topics(struct inbox__settings *s, const char *value, outbox_error *err)
{
    int code = OUTBOX_OK;

    forget_topics(s);
    for (const char *at = value; code == OUTBOX_OK; at++) {
        size_t len;
        at += strspn(at, " ");
        len = strcspn(at, ",");
        while (len > 0 && at[len - 1] == ' ')
            len--;
        code = add_topic(s, at, len, err);
        at += strcspn(at, ",");
        if (*at == '\0')
            break;
    }
    return code;
}

static int set_start(struct inbox__settings *s, const char *value, outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    if (strcmp(value, "earliest") != 0 && strcmp(value, "latest") != 0)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "inbox.start: %s is not allowed; it may be earliest or latest",
                                 outbox__quote(value, strlen(value), quoted));
    return set_text(&s->start, value, err);
}

static int set_sequence(struct inbox__settings *s, const char *value, outbox_error *err)
{
    if (value[0] == '\0')
        return outbox__error_set(err, OUTBOX_EINVAL, "sequence.header is empty: it is the name of a header");
    return set_text(&s->sequence_header, value, err);
}

static int unknown(const char *name, outbox_error *err)
{
    static const char *const others[] = { "kafka.bootstrap.servers", "dsn", "group", "topics",
                                          "inbox.start", "sequence.header" };
    const char *nearest = strcmp(name, "bootstrap.servers") == 0 ? others[0] : NULL;
    unsigned limit = nearest_limit(name);
    char quoted[OUTBOX__QUOTE_SIZE];

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (nearest_is(name, others[i], &limit))
            nearest = others[i];
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (nearest_is(name, numbers[i].name, &limit))
            nearest = numbers[i].name;
    outbox__quote(name, strlen(name), quoted);
    if (nearest != NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "setting %s is unknown; did you mean %s?",
                                 quoted, nearest);
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "setting %s is unknown; there are dsn, group, topics, kafka.*, "
                             "batch.rows, retry.base, retry.max, retry.attempts, retry.total, "
                             "inflight.rows, inflight.bytes, dedupe.keep, inbox.start, sequence.header",
                             quoted);
}

static int set_one(struct inbox__settings *s, const char *name, const char *value,
                   outbox_error *err)
{
    char quoted[OUTBOX__QUOTE_SIZE];

    if (value == NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "setting %s has no value: NULL stands there",
                                 outbox__quote(name, strlen(name), quoted));
    if (strcmp(name, "dsn") == 0)
        return set_text(&s->dsn, value, err);
    if (strcmp(name, "group") == 0)
        return set_text(&s->group, value, err);
    if (strcmp(name, "topics") == 0)
        return set_topics(s, value, err);
    if (strcmp(name, "inbox.start") == 0)
        return set_start(s, value, err);
    if (strcmp(name, "sequence.header") == 0)
        return set_sequence(s, value, err);
    if (strncmp(name, "kafka.", 6) == 0 && name[6] != '\0')
        return set_kafka(s, name + 6, value, err);
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (strcmp(numbers[i].name, name) == 0)
            return set_number(s, i, value, err);
    return unknown(name, err);
}

/* -- checks ----------------------------------------------------------------------------------- */

#define MS_PER_HOUR 3600000.0

/* An event that is held back keeps the position where it is, and after a restart all behind it comes
 * again: the ids must still be there. Half of dedupe.keep leaves room for the restart. */
static int check_retries(const struct inbox__settings *s, outbox_error *err)
{
    uint64_t longest = UINT64_MAX;

    if (s->retry_total_ms != 0)
        longest = s->retry_total_ms;
    if (s->retry_attempts != 0 && s->retry_attempts * s->retry_max_ms < longest)
        longest = s->retry_attempts * s->retry_max_ms;
    if (longest <= s->dedupe_keep_ms / 2)
        return OUTBOX_OK;
    if (longest == UINT64_MAX)
        return outbox__error_set(err, OUTBOX_EINVAL,
                                 "retry.attempts is 0 and retry.total is 0s: not both may be 0, since an event "
                                 "that is held back must be finished within half of dedupe.keep (%.4g h): set one of them",
                                 (double)s->dedupe_keep_ms / 2 / MS_PER_HOUR);
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "an event may be held back for %.4g h, longer than half of dedupe.keep (%.4g h): lower "
                             "retry.total, or retry.attempts times retry.max, or raise dedupe.keep",
                             (double)longest / MS_PER_HOUR, (double)s->dedupe_keep_ms / 2 / MS_PER_HOUR);
}

static bool has_kafka(const struct inbox__settings *s, const char *name)
{
    for (size_t i = 0; i < s->n_kafka; i++)
        if (strcmp(s->kafka[i].name, name) == 0)
            return true;
    return false;
}

int inbox__settings_check(const struct inbox__settings *s, outbox_error *err)
{
    const char *missing = s->dsn == NULL      ? "dsn"
                          : s->group == NULL  ? "group"
                          : s->n_topics == 0  ? "topics"
                                              : NULL;

    if (missing == NULL && !has_kafka(s, "bootstrap.servers") &&
        !has_kafka(s, "metadata.broker.list"))
        missing = "kafka.bootstrap.servers";
    if (missing != NULL)
        return outbox__error_set(err, OUTBOX_EINVAL, "setting %s is missing", missing);
    if (s->group[0] == '\0' || strlen(s->group) > INBOX_MAX_GROUP_BYTES ||
        outbox__utf8_check(s->group, strlen(s->group)) != OUTBOX__TEXT_OK)
        return outbox__error_set(err, OUTBOX_EINVAL, "group: it may be 1 to %d bytes of UTF-8",
                                 INBOX_MAX_GROUP_BYTES);
    if (s->retry_max_ms < s->retry_base_ms)
        return outbox__error_set(err, OUTBOX_EINVAL, "retry.max is less than retry.base");
    return check_retries(s, err);
}

int inbox__settings_read(const char *const *pairs, struct inbox__settings *ret, outbox_error *err)
{
    int code = OUTBOX_OK;

    *ret = (struct inbox__settings){ 0 };
    for (size_t i = 0; i < N_NUMBERS && code == OUTBOX_OK; i++)
        code = set_number(ret, i, numbers[i].dflt, err);
    if (code == OUTBOX_OK)
        code = set_start(ret, "earliest", err);
    for (size_t i = 0; code == OUTBOX_OK && pairs[i] != NULL; i += 2)
        code = set_one(ret, pairs[i], pairs[i + 1], err);
    return code;
}

void inbox__settings_deinit(struct inbox__settings *s)
{
    for (size_t i = 0; i < s->n_kafka; i++) {
        free(s->kafka[i].name);
        free(s->kafka[i].value);
    }
    free(s->kafka);
    forget_topics(s);
    free(s->dsn);
    free(s->group);
    free(s->start);
    free(s->sequence_header);
    *s = (struct inbox__settings){ 0 };
}
