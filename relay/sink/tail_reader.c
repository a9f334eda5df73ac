/* tail_reader.c - the thread that reads the ends of topics: takes what is asked for, drives each topic from
 * stage to stage, and hands it back. Knows nothing of records and offsets.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/loop.h"
#include "relay/sink/client.h"
#include "relay/sink/tail_inside.h"

void tail_close_client(struct tail *t)
{
    client_free(t->rk, t->records, t->events);
    t->records = t->events = NULL;
    t->rk = NULL;
}

/* On to the next stage, where all partitions are read. Only between two batches of messages: what
 * librdkafka has handed out already may be of a partition that was stopped meanwhile, and must find
 * it so. What it has not, it drops. False: nothing is left to do. */
static bool advance(struct tail *t, struct tail_topic *active)
{
    bool any = false;

    for (struct tail_topic *topic = active; topic != NULL; topic = topic->next_active) {
        if (topic->stage == STAGE_SAMPLE && topic->n_reading == 0)
            tail_read_stage(t, topic, STAGE_REST);
        if (topic->stage == STAGE_REST && topic->n_reading == 0)
            tail_finish(topic, TAIL_READY);
        any = any || topic->stage != STAGE_DONE;
    }
    return any;
}

static void expire(struct tail_topic *active, uint64_t now_ms)
{
    char why[sizeof active->why];

    for (struct tail_topic *topic = active; topic != NULL; topic = topic->next_active) {
        if (topic->stage == STAGE_DONE || topic->deadline_ms > now_ms)
            continue;
        snprintf(why, sizeof why, "not within its time%s%.100s", topic->why[0] != '\0' ? ": " : "",
                 topic->why);
        tail_fail(topic, why);
    }
}

/* Hands back those that are done; not looked at after that, for the loop may ask for one anew. */
static struct tail_topic *release(struct tail *t, struct tail_topic *active)
{
    struct tail_topic *kept = NULL;
    bool any = false;

    for (struct tail_topic *topic = active, *next; topic != NULL; topic = next) {
        next = topic->next_active;
        if (topic->stage == STAGE_DONE) {
            atomic_store(&topic->state, topic->outcome);
            any = true;
        } else {
            topic->next_active = kept;
            kept = topic;
        }
    }
    if (any)
        (void)!write(t->wake[1], "", 1); /* full: then it is readable already */
    return kept;
}

/* Waits while there is nothing to do at all. */
static struct tail_topic *take_mail(struct tail *t, struct tail_topic *active)
{
    struct tail_topic *mail;

    pthread_mutex_lock(&t->lock);
    while (active == NULL && t->mailbox == NULL && !atomic_load(&t->stop))
        pthread_cond_wait(&t->mail, &t->lock);
    mail = t->mailbox;
    t->mailbox = NULL;
    pthread_mutex_unlock(&t->lock);
    for (struct tail_topic *topic = mail; topic != NULL; topic = topic->next_mail) {
        topic->next_active = active;
        active = topic;
    }
    return active;
}

static void *reader_main(void *arg)
{
    struct tail *t = arg;
    struct tail_topic *active = NULL;

    for (;;) {
        active = take_mail(t, active);
        if (atomic_load(&t->stop))
            break;
        tail_plan_due(t, active);
        if (advance(t, active)) {
            tail_read_records(t);
            (void)advance(t, active);
        }
        expire(active, loop_now_ms());
        active = release(t, active);
    }
    for (struct tail_topic *topic = active; topic != NULL; topic = topic->next_active)
        tail_fail(topic, "stopped");
    (void)release(t, active);
    tail_close_client(t);
    return NULL;
}

/* Signals are the loop's. */
int tail_start_reader(struct tail *t)
{
    sigset_t all, before;

    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return -1;
    t->running = pthread_create(&t->reader, NULL, reader_main, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t->running ? 0 : -1;
}
