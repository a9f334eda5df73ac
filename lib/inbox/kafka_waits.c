/* kafka_waits.c - why a process may have no partition: asked of the brokers, and of what the group has said. */
#include "kafka_inside.h"

#define ANSWER_MS 1000

bool inbox__kafka_between(const struct inbox__kafka *k)
{
    char *id = k->assigned ? NULL : rd_kafka_memberid(k->rk);
    bool joined = id != NULL && *id != '\0';

    rd_kafka_mem_free(k->rk, id);
    return joined;
}

/* What was said of a broker that failed says nothing of now. */
static bool any_answers(rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *m = NULL;
    bool answers = rd_kafka_metadata(rk, 0, NULL, &m, ANSWER_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;

    rd_kafka_metadata_destroy(m);
    return answers;
}

const char *inbox__kafka_waits_for(const struct inbox_consumer *c)
{
    if (c->kafka == NULL)
        return "it joins when it has a link to the database";
    if (!any_answers(c->kafka->rk))
        return "no broker answers";
    if (c->kafka->assigned)
        return "the others of the group have them all, or the topics have none, or a rebalance is under way";
    if (c->kafka->lost)
        return "it was away for too long and joins anew; the group may wait for the member that it was before, until "
               "kafka.session.timeout.ms has passed";
    if (inbox__kafka_between(c->kafka))
        return "it has joined, and waits for the other members; one that was killed or restarted counts until its "
               "session.timeout.ms has passed";
    return "no broker has let it join yet, or its topics do not exist";
}
