/* watch.c - partitions that stall: the broker has events of them, and none comes. Knows neither libpq nor librdkafka.
 *
 * librdkafka may drop an order that another one overtakes, of a pause, a resume or a start, and says nothing: then
 * the partition is ours, is not paused and is not fetched, for ever. What comes of a healthy one is records, or
 * the word that all has come, which is also said of transaction markers and of what compaction took: so one that is
 * quiet is never taken for one that stalls. Only such seconds count in which all that librdkafka had fetched was
 * taken: what waits there behind the events of other partitions does not stall.
 */
#include "inside.h"

/* The pause between two attempts doubles, to sixteen minutes: a fetch may take longer than a look, and each
 * attempt begins it anew. */
#define MAX_DOUBLINGS 5

void inbox__partition_unseen(struct inbox__partition *p)
{
    p->reached = p->end = -1;
    p->silent = 0;
}

void inbox__partition_lives(struct inbox__partition *p)
{
    p->end = -1;
    p->silent = p->anew = 0;
}

void inbox__partition_ends(struct inbox__partition *p, int64_t offset)
{
    inbox__partition_lives(p);
    inbox__partition_begins(p, offset);
    p->reached = offset;
}

/* What it should give next. Where that is not known yet, its whole log: its end would have been said. */
static int64_t next_of(const struct inbox__partition *p)
{
    int64_t next = p->part.next > p->reached ? p->part.next : p->reached;

    return next > 0 ? next : 0;
}

static bool stalls(struct inbox__partition *p)
{
    p->silent = p->end > next_of(p) ? p->silent + 1 : 0;
    return p->silent >= 1u << p->anew;
}

static void assign_anew(struct inbox_consumer *c, struct inbox__partition *p)
{
    inbox__log(c, 4, "%s/%d stalls: Kafka has %lld events from offset %lld on, and none has come for %u s or more; it is "
               "assigned anew and begins at the database's position", p->topic, (int)p->number,
               (long long)(p->end - next_of(p)), (long long)next_of(p),
               (unsigned)(p->silent * c->stall_s));
    c->figures.stalls++;
    p->anew += p->anew < MAX_DOUBLINGS;
    inbox__partition_let_go(c, p, 0);
}

void inbox__partitions_watch(struct inbox_consumer *c)
{
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (inbox__partition_rests(c, p)) {
            p->end = -1;
            p->silent = 0;
        }
    c->calm_s += c->drained;
    c->drained = false;
    if (c->calm_s < c->stall_s)
        return;
    c->calm_s = 0;
    for (struct inbox__partition *p = c->partitions; p != NULL; p = p->next)
        if (stalls(p))
            assign_anew(c, p);
    inbox__kafka_ends(c);
}
