/* status_show.h - what `status` has found, and how it is shown. Asks nobody. */
#ifndef RELAY_COMMANDS_STATUS_SHOW_H
#define RELAY_COMMANDS_STATUS_SHOW_H

#include <jansson.h>
#include <stdbool.h>

#include "relay/commands/relays.h"
#include "relay/commands/space.h"
#include "relay/source/operate_status.h"
#include "relay/text.h"
#include "relay/verdict.h"

/* What was found. Not to be moved: `in` and `lead` point to the texts in it. */
struct look {
    struct verdict_input in;
    struct verdict verdict;
    struct operate_lead lead; /* its text is in owner */
    bool looked;              /* at the database */
    struct relays relays;
    char owner[160], refused_code[64], paused_topic[256], paused_why[512], application[160];
    char ages_mend[200];
    char db_error[1024], kafka_error[1024];
    struct operate_place place;
    char place_words[700];
    int brokers;
    struct space space;
    struct table topics, blockers;
    json_t *topic_list, *blocker_list; /* NULL: tables are wanted */
    int code;    /* EXIT_OK: the database let us look */
    bool failed; /* out of memory */
};

/* A row of the list or table; the texts are copied. Out of memory: `failed` here, or in the table. */
void status_add_topic(struct look *l, const struct operate_topic *t);
void status_add_blocker(struct look *l, const struct operate_blocker *b);
/* All of it, on stdout; JSON when there are lists. Out of memory: as above. */
void status_print(struct look *l);

#endif
