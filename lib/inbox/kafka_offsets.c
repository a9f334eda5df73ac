/* kafka_offsets.c - what Kafka is told and asked about offsets of partitions: positions as hints, where logs begin
 * and end. Fetches nothing and changes no assignment: kafka.c. */
#include "kafka_inside.h"

#define WATERMARKS_UNKNOWN (-1001)

void inbox__kafka_hint(struct inbox_consumer *c)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (p->claimed && p->part.stored >= 0 && p->part.stored != p->hinted) {
            rd_kafka_topic_partition_list_add(list, p->topic, p->number)->offset = p->part.stored;
            p->hinted = p->part.stored;
        }
    if (list->cnt > 0)
        (void)rd_kafka_commit(c->kafka->rk, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

int64_t inbox__kafka_low(const struct inbox_consumer *c, const struct inbox__partition *p)
{
    int64_t low = -1, high;

    if (rd_kafka_get_watermark_offsets(c->kafka->rk, p->topic, p->number, &low, &high) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return -1;
    return low >= 0 ? low : -1;
}

int64_t inbox__kafka_lag(struct inbox_consumer *c)
{
    int64_t lag = 0;

    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        int64_t low = 0, high = WATERMARKS_UNKNOWN;
        if (rd_kafka_get_watermark_offsets(c->kafka->rk, p->topic, p->number, &low, &high) !=
                RD_KAFKA_RESP_ERR_NO_ERROR || high < 0)
            continue;
        low = p->part.stored > low ? p->part.stored : low;
        lag += high > low ? high - low : 0; /* less: the topic was made anew */
    }
    return lag;
}

/* The timestamp of which Kafka answers with the end of the log, behind the last event that is committed. Unlike
 * rd_kafka_query_watermark_offsets() it is one question for all, and does not wait for a broker that hangs. */
#define END_OF_LOG RD_KAFKA_OFFSET_END
#define ENDS_TIMEOUT_MS 1000

void inbox__kafka_ends(struct inbox_consumer *c)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    bool answered;

    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (!inbox__partition_rests(c, p))
            rd_kafka_topic_partition_list_add(list, p->topic, p->number)->offset = END_OF_LOG;
    answered = list->cnt > 0 && rd_kafka_offsets_for_times(c->kafka->rk, list, ENDS_TIMEOUT_MS) ==
                                    RD_KAFKA_RESP_ERR_NO_ERROR;
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next) {
        const rd_kafka_topic_partition_t *tp =
            rd_kafka_topic_partition_list_find(list, p->topic, p->number);
        bool known = answered && tp != NULL && tp->err == RD_KAFKA_RESP_ERR_NO_ERROR && tp->offset >= 0;
        p->end = known ? tp->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
}
