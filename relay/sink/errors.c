/* errors.c - the one table from an error to who is to blame. See errors.h. */
#include "relay/sink/errors.h"

/* With idempotence and retries without end, what is passing never reaches us as a report; what does
 * is about a batch, a topic or the producer, or our own purge. */
enum blame errors_blame(rd_kafka_resp_err_t err)
{
    switch ((int)err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN: /* the broker's word for what it cannot name; below zero too */
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: /* for the whole batch; there may be no culprit */
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return BLAME_ROW;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
        return BLAME_TOPIC;
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: /* of every idempotent write */
        return BLAME_NONE;
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER: /* what the broker knows of the producer */
    case RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
        return BLAME_PRODUCER;
    default:
        break;
    }
    /* Errors below zero are librdkafka's own: the link, a purge, a fatal state. A broker's error that
     * nobody foresaw is taken for the record's: alone it shows who is meant. */
    return err < 0 ? BLAME_NONE : BLAME_ROW;
}

/* A broker's confirmation says where the record is. Without an offset it is a conclusion of librdkafka: a
 * later batch of the partition was accepted, so this one, which failed, must be there as well. That does
 * not hold where the broker does not know the producer yet, for then it accepts any sequence number. */
enum outcome errors_outcome(rd_kafka_resp_err_t err, rd_kafka_msg_status_t status, int64_t offset)
{
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return offset >= 0 ? OUTCOME_PERSISTED : OUTCOME_MAYBE;
    switch (status) {
    case RD_KAFKA_MSG_STATUS_NOT_PERSISTED:
        return OUTCOME_NOT_PERSISTED;
    case RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED:
    case RD_KAFKA_MSG_STATUS_PERSISTED: /* with an error: not the confirmation we ask for */
        break;
    }
    return OUTCOME_MAYBE;
}
