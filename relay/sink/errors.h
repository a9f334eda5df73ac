/* errors.h - what an error of librdkafka means for a record. Used by sink.c only. */
#ifndef RELAY_SINK_ERRORS_H
#define RELAY_SINK_ERRORS_H

#include <librdkafka/rdkafka.h>

#include "relay/core/fate.h"

enum blame errors_blame(rd_kafka_resp_err_t err);
/* offset: of the report */
enum outcome errors_outcome(rd_kafka_resp_err_t err, rd_kafka_msg_status_t status, int64_t offset);

#endif
