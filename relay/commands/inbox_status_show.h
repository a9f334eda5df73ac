/* inbox_status_show.h - what `inbox status` has found, and how it is shown. Asks nobody. */
#ifndef RELAY_COMMANDS_INBOX_STATUS_SHOW_H
#define RELAY_COMMANDS_INBOX_STATUS_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/commands/findings.h"
#include "relay/source/operate_inbox.h"
#include "relay/text.h"

/* Of one consumer; n 0: nothing fails. See struct operate_failing for what the numbers mean. */
struct inbox_failing {
    struct operate_failing is; /* its text is below */
    char topic[256], event_id[1104], error_code[8], error[2008];
};

struct inbox_consumer {
    char name[256], keep[64];
    struct operate_consumer is; /* its text is above */
    int64_t lag;                /* negative: not known */
    double oldest_s;
    struct inbox_failing failing;
    char dead_code[8], dead_error[2008]; /* "": there is none */
};

/* What was found. Start from zeroes. */
struct inbox_look {
    struct inbox_consumer *consumers;
    size_t n_consumers;
    struct operate_inbox_server server;
    bool kafka_asked, kafka_up; /* not asked: lag and age are not known */
    struct findings findings;
    struct table positions;
    json_t *position_list; /* NULL: tables are wanted */
    bool failed;           /* out of memory */
};

void inbox_look_deinit(struct inbox_look *l);

/* A row of the list or table; the texts are copied; negative: not known. Out of memory: `failed` here, or in the table. */
void inbox_status_add_position(struct inbox_look *l, const struct operate_position *p, int64_t lag, double oldest_s);
/* All of it, on stdout; JSON when there is a list. Out of memory: as above. */
void inbox_status_print(struct inbox_look *l);

#endif
