/* kafka_inside.h - what kafka.c, kafka_properties.c, kafka_offsets.c and kafka_waits.c share: the handle of
 * librdkafka. */
#ifndef INBOX_LIB_KAFKA_INSIDE_H
#define INBOX_LIB_KAFKA_INSIDE_H

#include <librdkafka/rdkafka.h>

#include "inside.h"

struct inbox__kafka {
    rd_kafka_t *rk;
    outbox_header *headers; /* of the record that is being copied */
    size_t room;
    bool assigned; /* since rk is there, or since all were lost */
    bool lost;     /* all were: the group has given it up; until it is assigned any again */
    int code;      /* of what failed in a callback and ends the run, with: */
    outbox_error why;
};

/* Sets all properties. OUTBOX_OK, or the code with the property named in err. */
int inbox__kafka_configure(const struct inbox_consumer *c, rd_kafka_conf_t *conf, outbox_error *err);

/* Has it a place in the group, but no assignment yet? */
bool inbox__kafka_between(const struct inbox__kafka *k);

#endif
