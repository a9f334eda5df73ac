/* inbox_status_judge.c - see inbox_status_judge.h. */
#include "relay/commands/inbox_status_judge.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/commands/inbox_status_failing.h"
#include "relay/exit_codes.h"
#include "relay/verdict.h"

#define LONG_GONE_S 86400.0 /* so long no process of it connected or finished anything, and it may be one that is to be no more */
#define MOVES_S 60.0        /* what has moved since then on a standby moves on a primary that it follows */

/* -- the server ------------------------------------------------------------------------------- */

#define GO_ON "promote a standby, or bring the primary back; consumers whose dsn names all servers then go on by themselves."

static bool any_moves(const struct inbox_look *l)
{
    for (size_t i = 0; i < l->n_consumers; i++)
        if (l->consumers[i].is.moved_s >= 0 && l->consumers[i].is.moved_s < MOVES_S)
            return true;
    return false;
}

void inbox_judge_server(struct inbox_look *l)
{
    static const char subject[] = "server";
    static const char one[] = "let the dsn name the primary, or all servers (the one that is no standby is taken); where there is none, " GO_ON;

    if (!l->server.is_standby)
        return;
    if (l->server.one_of_many)
        findings_fail(&l->findings, EXIT_UNAVAILABLE, subject, GO_ON,
                      "no server of the dsn is a primary; this one is a standby, where no consumer can apply anything");
    else if (any_moves(l))
        findings_warn(&l->findings, subject, one,
                      "this server is a standby: it may lag behind, and does not show which consumers are connected");
    else
        findings_fail(&l->findings, EXIT_UNAVAILABLE, subject, one,
                      "this server is a standby, where no consumer can apply anything, and nothing comes from its primary that one has");
}

/* -- consumers -------------------------------------------------------------------------------- */

#define WAITS                                                                                      \
    "kafka.session.timeout.ms (45 s unless set) for a member that was killed, or was away for as long; or it cannot claim its " \
    "partitions (a lock on inbox.position, a right)"

/* May its rows go? Not while it may only be away. */
static bool is_long_gone(const struct inbox_look *l, const struct inbox_consumer *c)
{
    return c->is.seen_s >= LONG_GONE_S && (l->kafka_up || !l->kafka_asked);
}

static void fail_owner(struct inbox_look *l, const struct inbox_consumer *c)
{
    char remedy[700], age[32];

    if (c->is.linked) {
        findings_fail(&l->findings, EXIT_UNAVAILABLE, "owner",
                      "see its log: no broker may answer it, or its topics may not exist; its group may wait up to " WAITS ".",
                      "consumer %s is connected here, and no process of it has a partition", c->name);
        return;
    }
    snprintf(remedy, sizeof remedy, "start it, or see its log if it runs; its group may wait up to " WAITS ".%s",
             is_long_gone(l, c) ? " If it is to be no more: man 7 inbox, TO END A CONSUMER." : "");
    findings_fail(&l->findings, EXIT_UNAVAILABLE, "owner", remedy, "no process of consumer %s has a partition; one last connected, or finished an event, %s ago",
                  c->name, verdict_age(c->is.seen_s, age, sizeof age));
}

void inbox_judge_consumer(struct inbox_look *l, const struct inbox_consumer *c)
{
    const struct operate_consumer *is = &c->is;

    if (is->partitions == 0)
        findings_warn(&l->findings, "owner", "does it run, do its topics exist, and may it read them? One that was given "
                      "partitions and cannot claim them in this database (a lock on inbox.position, a right) says so in its log.",
                      "consumer %s has started and never had a partition", c->name);
    else if (is->owned == 0)
        fail_owner(l, c);
    else if (is->owned < is->partitions)
        findings_warn(&l->findings, "owner", "a rebalance may be under way; later see the logs of its processes. Only where it reads "
                      "a topic no more delete the topic's rows of inbox.position.",
                      "of consumer %s's %" PRId64 " partitions %" PRId64 " have no owner", c->name, is->partitions, is->partitions - is->owned);
    inbox_dead_judge(l, c);
}
