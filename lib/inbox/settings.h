/* settings.h - the pairs that inbox_consumer_new() takes, read and checked. Knows neither libpq nor
 * librdkafka. The table of them is in settings.c; inbox.h says what they mean. */
#ifndef INBOX_LIB_SETTINGS_H
#define INBOX_LIB_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inbox.h"

struct inbox__pair {
    char *name, *value;
};

struct inbox__settings {
    char *dsn, *group, *start;
    char *sequence_header; /* NULL: ce_sequence */
    char **topics;
    size_t n_topics;
    struct inbox__pair *kafka; /* without the prefix */
    size_t n_kafka;
    uint64_t batch_rows;
    uint64_t retry_base_ms, retry_max_ms, retry_attempts, retry_total_ms;
    uint64_t inflight_rows, inflight_bytes;
    uint64_t dedupe_keep_ms;
};

/* OUTBOX_OK; OUTBOX_EINVAL or OUTBOX_ENOMEM with ret to be given to deinit all the same. */
int inbox__settings_read(const char *const *pairs, struct inbox__settings *ret, outbox_error *err);
/* Is everything there, and do the values go together? Best after librdkafka has seen its properties:
 * it knows a misspelt name that would only be said to be missing here. */
int inbox__settings_check(const struct inbox__settings *s, outbox_error *err);
void inbox__settings_deinit(struct inbox__settings *s);

#endif
