/* record_id.h - which record is which row's: 16 bytes, made of what both of them have.
 *
 * The event id alone does not say it. Nothing keeps an application from giving two events one id, and
 * the second would be taken for sent where only the first is. So what tells the rows apart in their
 * topic is mixed into it: with CloudEvents the row's number (ce_sequence), with Debezium's headers,
 * where there is none, type, key and payload.
 */
#ifndef RELAY_SINK_RECORD_ID_H
#define RELAY_SINK_RECORD_ID_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/row.h"
#include "relay/sink/envelope.h"

/* False: it is not a record of that envelope. */
bool record_id_of_message(enum envelope_kind envelope, const rd_kafka_message_t *m,
                          uint8_t ret_id[16]);
void record_id_of_row(enum envelope_kind envelope, const struct row *row, uint8_t ret_id[16]);

#endif
